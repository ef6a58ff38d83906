"""What the runner costs: a null model over 60 images of 512x512 with every metric, in images per CPU-second.

    python benchmarks/bench_runner.py [--images 60] [--rounds 3] [--workers N]

The images are photographs that scikit-image ships, as JPEG, with PNG masks; the null model copies the red channel.
Decoding, scoring, recording, intervals and the CSV files are included; start-up of Python is not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL.Image

IMAGE_METRICS = ["image_auc", "image_ap", "image_eer", "image_tpr@fpr0.01"]
IMAGE_METRICS += [
    f"image_{stat}@{at}" for stat in ("f1", "accuracy", "balanced_accuracy") for at in ("0.5", "best", "eer")
]


def main() -> None:
    """Print one line per round and the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["IMDL_BENCH_PATH"] = str(folder)  # read when imdl_bench is imported
        os.environ["IMDL_BENCH_CACHE"] = str(folder / "cache")
        write_plugin(folder, options.images)
        import pyarrow.parquet  # noqa: F401  (loaded before the clock starts)

        import imdl_bench

        figures = []
        for turn in range(options.rounds + 1):
            shutil.rmtree(folder / "out", ignore_errors=True)
            cpu, wall = time.process_time(), time.perf_counter()
            result = imdl_bench.run("null", data=folder / "data", out=folder / "out", workers=options.workers)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            assert result.n_failed == 0
            if turn:  # the first round warms up
                figures.append(options.images / cpu)
                print(f"{options.images / cpu:7.0f} images per CPU-second, {options.images / wall:7.0f} per second")
        print(f"median {statistics.median(figures):.0f} images per CPU-second, {len(result.lines)} metrics")


def write_plugin(folder: Path, count: int) -> None:
    """A plug-in folder with a null model, a protocol with every metric, and data."""
    from bench_metrics import every_metric

    texts = {
        "models/null_red/card.yaml": (
            "name: null_red\ntitle: Red channel\nentry: model:Red\noutputs: [mask]\npaper: none\n"
        ),
        "models/null_red/model.py": (
            "import numpy as np\nfrom imdl_bench.types import Prediction\n\n\nclass Red:\n"
            "    def predict(self, images):\n"
            "        return [Prediction(mask=np.divide(i[..., 0], np.float32(255), dtype=np.float32)) for i in images]\n"  # noqa: E501
        ),
        "protocols/null.yaml": (
            "name: 'null'\nversion: 1\ntitle: The runner alone\ntask: both\nsource: benchmark\n"
            "data: [{dataset: folder}]\nmodels: [null_red]\nscore: mask-mean\nmetrics:\n"
            + "".join(f"  - {m.name}\n" for average in ("per-image", "pooled") for m in every_metric(average))
            + "".join(f"  - {name}\n" for name in IMAGE_METRICS)
        ),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    write_data(folder / "data", count)


def write_data(folder: Path, count: int) -> None:
    """Crops of 512x512 in Tp and Au, elliptical masks in Gt."""
    from skimage.data import astronaut
    from sklearn.datasets import load_sample_images

    photographs = [astronaut(), *load_sample_images().images]
    rng = np.random.default_rng(0)
    for name in ("Tp", "Gt", "Au"):
        (folder / name).mkdir(parents=True)
    y, x = np.mgrid[:512, :512]
    for number in range(count):
        photograph = np.pad(photographs[number % 3], ((0, 96), (0, 0), (0, 0)), mode="reflect")
        top, left = (int(rng.integers(0, side - 511)) for side in photograph.shape[:2])
        crop = PIL.Image.fromarray(photograph[top : top + 512, left : left + 512])
        if number % 3 == 0:
            crop.save(folder / f"Au/{number:04}.jpg", quality=90)
            continue
        centre, radii = rng.integers(120, 400, 2), rng.integers(30, 110, 2)
        mask = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1
        crop.save(folder / f"Tp/{number:04}.jpg", quality=90)
        PIL.Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"Gt/{number:04}.png")


if __name__ == "__main__":
    main()
