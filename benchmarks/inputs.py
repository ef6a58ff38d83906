"""What is measured on: photographs of any size, score maps like those of detectors, data sets, and every metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from imdl_bench.cards import Protocol
from imdl_bench.metrics import METRICS, Metric, parse_metric

NULL_MODEL = "null_red"
IMAGE_METRICS = ["image_auc", "image_ap", "image_eer", "image_tpr@fpr0.01"]
IMAGE_METRICS += [
    f"image_{stat}@{at}" for stat in ("f1", "accuracy", "balanced_accuracy") for at in ("0.5", "best", "eer")
]


def photograph(width: int, height: int, number: int = 0) -> NDArray[np.uint8]:
    """One of three photographs that scikit-image and scikit-learn ship, uint8 (height, width, 3).

    Continued by its mirror images where it is too small, so that its grain stays that of a photograph.
    """
    from skimage.data import astronaut
    from sklearn.datasets import load_sample_images

    source = np.asarray([astronaut(), *load_sample_images().images][number % 3])
    rows, columns = (_mirrored(side, length) for side, length in zip((height, width), source.shape, strict=False))
    return np.ascontiguousarray(source[rows][:, columns])


def _mirrored(wanted: int, length: int) -> NDArray[np.intp]:
    places = np.arange(wanted) % (2 * length)
    return np.where(places < length, places, 2 * length - 1 - places)


def truth(width: int, height: int) -> NDArray[np.bool_]:
    """A forged rectangle of a tenth of the image."""
    mask = np.zeros((height, width), bool)
    mask[height // 5 : height // 2, width // 3 : 2 * width // 3] = True
    return mask


def score_maps(width: int, height: int) -> dict[str, NDArray[np.float32]]:
    """Score maps like those of real detectors, for :func:`truth`."""
    rng = np.random.default_rng(0)
    forged = truth(width, height)
    noise = rng.random(forged.shape)
    maps = {
        "smooth": 0.6 * noise + 0.3 * forged,
        "confident": 1 / (1 + np.exp(-(rng.normal(-14, 2, forged.shape) + 13 * forged * (noise < 0.8)))),
        "two-ended": np.where(noise < 0.5, 1e-7 * rng.random(forged.shape), 1 - 1e-3 * rng.random(forged.shape)),
    }
    return {name: np.clip(made, 0, 1).astype(np.float32) for name, made in maps.items()}


def every_metric(average: str) -> list[Metric]:
    """Every pixel statistic, at 0.5, best and eer where it needs a threshold."""
    names = []
    for stat, row in METRICS.items():
        if "pixel" in row.levels:
            names += [stat] if row.of_curve else [f"{stat}@{at}" for at in ("0.5", "best", "eer")]
    return [parse_metric(f"pixel_{name}/{average}") for name in names]


def protocol(name: str, *, metrics: list[str] | None = None, distort: list[object] | None = None) -> Protocol:
    """A protocol on a folder of one's own, with every metric unless others are named."""
    pixels = [metric.name for average in ("per-image", "pooled") for metric in every_metric(average)]
    content = {
        "name": name, "version": 1, "title": "What is measured", "task": "both", "source": "benchmark",
        "data": [{"dataset": "folder"}], "score": "mask-mean", "distort": distort or [],
        "metrics": [*pixels, *IMAGE_METRICS] if metrics is None else metrics,
    }  # fmt: skip
    return Protocol.model_validate(content)


def write_data(folder: Path, count: int, side: int) -> None:
    """``count`` crops as JPEG, two of three forged (``Tp``, with elliptical masks in ``Gt``), the others in ``Au``."""
    rng = np.random.default_rng(0)
    for name in ("Tp", "Gt", "Au"):
        (folder / name).mkdir(parents=True)
    y, x = np.mgrid[:side, :side]
    sources = [photograph(side + 128, side + 96, number) for number in range(3)]
    for number in range(count):
        top, left = int(rng.integers(0, 97)), int(rng.integers(0, 129))
        crop = PIL.Image.fromarray(sources[number % 3][top : top + side, left : left + side])
        if number % 3 == 0:
            crop.save(folder / f"Au/{number:04}.jpg", quality=90)
            continue
        centre, radii = rng.uniform(0.25, 0.75, 2) * side, rng.uniform(0.06, 0.2, 2) * side
        mask = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1
        crop.save(folder / f"Tp/{number:04}.jpg", quality=90)
        PIL.Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"Gt/{number:04}.png")
