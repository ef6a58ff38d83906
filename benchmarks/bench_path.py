"""What happens to an image on its way through a run, in CPU seconds per image: decode, distort, score, record.

    python benchmarks/bench_path.py [options of run.py]

And the whole runner around a model that costs nothing, and around PSCC-Net.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from clock import Clock, served
from inputs import NULL_MODEL, every_metric, photograph, protocol, score_maps, truth, write_data
from measurement import LeftOut, Measurement, Row, Settings, measured
from numpy.typing import NDArray
from timing import Rounds, alternate

import imdl_bench
from imdl_bench import catalog
from imdl_bench.cards import Protocol
from imdl_bench.distortions import DISTORTIONS, FOREIGN, parse_distortions
from imdl_bench.images import read_image, read_mask
from imdl_bench.metrics import Metric
from imdl_bench.metrics.pixel import score_pixels
from imdl_bench.thumbnails import mask_thumbnail
from imdl_bench.types import Image

GROUP = "path"
SIZES = ((512, 512), (4000, 3000))
LEVELS: dict[str, dict[str, object]] = {
    "resize": {"scale": 0.5}, "downscale_upscale": {"scale": 0.5}, "crop": {"fraction": 0.9},
    "gaussian_blur": {"kernel": 9}, "median": {"kernel": 5}, "gaussian_noise": {"sigma": 9}, "sharpen": {"amount": 1},
    "contrast": {"factor": 1.5}, "brightness": {"shift": 20}, "gamma": {"exponent": 0.8}, "jpeg": {"quality": 70},
    "double_jpeg": {"first": 90, "second": 70}, "webp": {"quality": 70}, "social": {"side": 1600, "quality": 75},
    "edge_smoothing": {"sigma": 2},
}  # fmt: skip
NETWORK = "psccnet@random"
QUICK_NETWORK = "ela_ppm@bench"


def measure(settings: Settings) -> Iterator[Row]:
    """Decode, distortions, scoring and thumbnails at two sizes; the runner."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for width, height in ((256, 256),) if settings.quick else SIZES:
            yield from _decode(folder, width, height, settings)
            yield from _distortions(width, height, settings)
            yield from _scoring(width, height, settings)
        yield from _null_runner(folder, settings)
        yield from _network_runner(folder, settings)


def _decode(folder: Path, width: int, height: int, settings: Settings) -> Iterator[Measurement]:
    for kind, path in write_pictures(folder, width, height).items():
        jobs: dict[str, Callable[[], object]] = {
            "ours": partial(read_image, path),
            "reference": partial(_plain_decode, path),
        }
        found = _counted(jobs, settings)
        against = "OpenCV to BGR" if kind == "16-bit TIFF" else "Pillow to RGB"
        yield measured(GROUP, f"decode {kind} {width}x{height}", found["ours"], found["reference"], against=against)


def write_pictures(folder: Path, width: int, height: int) -> dict[str, Path]:
    """One photograph as JPEG of quality 90, as PNG, and as TIFF of 16 bits."""
    pixels = photograph(width, height)
    stem = folder / f"{width}x{height}"
    paths = {kind: stem.with_suffix(suffix) for kind, suffix in (("JPEG", ".jpg"), ("PNG", ".png"), ("16-bit TIFF", ".tif"))}  # fmt: skip  # noqa: E501
    PIL.Image.fromarray(pixels).save(paths["JPEG"], quality=90)
    PIL.Image.fromarray(pixels).save(paths["PNG"])
    grain = np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint16)
    cv2.imwrite(str(paths["16-bit TIFF"]), pixels[..., ::-1].astype(np.uint16) * 256 + grain)
    return paths


def _plain_decode(path: Path) -> NDArray[np.uint8]:
    if path.suffix == ".tif":
        return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR))
    with PIL.Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _distortions(width: int, height: int, settings: Settings) -> Iterator[Row]:
    image, forged = Image(photograph(width, height)), truth(width, height)
    for kind in DISTORTIONS:
        if kind == FOREIGN:
            continue
        if kind not in LEVELS:
            yield LeftOut(GROUP, f"distort {kind} {width}x{height}", "no level of it is written in bench_path.py")
            continue
        level = parse_distortions([{kind: LEVELS[kind]}])[-1]
        job = partial(level.apply, image, seed=0, sample="photograph", truth=forged)
        yield measured(GROUP, f"distort {level.name} {width}x{height}", _counted({"ours": job}, settings)["ours"])


def _scoring(width: int, height: int, settings: Settings) -> Iterator[Measurement]:
    mask, forged = score_maps(width, height)["confident"], truth(width, height)
    jobs: dict[str, Callable[[], object]] = {
        "score every per-image metric": partial(score_pixels, mask, forged, every_metric("per-image")),
        "thumbnail of the mask": partial(mask_thumbnail, mask),
    }
    for name, rounds in _counted(jobs, settings).items():
        yield measured(GROUP, f"{name} {width}x{height}", rounds)


def _null_runner(folder: Path, settings: Settings) -> Iterator[Measurement]:
    """With one worker and with two; the reference does by hand what must be done for every image."""
    count = 12 if settings.quick else 240
    data, rules = folder / "data", protocol("bench-null")
    write_data(data, count, 128 if settings.quick else 512)
    metrics = every_metric("per-image")
    for workers in (1, 2):
        jobs: dict[str, Callable[[], object]] = {
            "ours": partial(run_afresh, rules, NULL_MODEL, data, folder / "out", workers=workers),
            "reference": partial(_by_hand, data, metrics),
        }
        found = _counted(jobs, settings)
        rate = count / np.median(found["ours"].cpu)
        yield measured(
            GROUP, f"runner, null model, every metric, {workers} worker{'s' * (workers > 1)}",
            found["ours"], found["reference"], against="decode, score per image, thumbnail in a plain loop", per=count,
            note=f"{rate:.0f} images per CPU-second (wanted: 200), {count} images",
        )  # fmt: skip


def run_afresh(rules: Protocol, model: str, data: Path, out: Path, *, workers: int) -> imdl_bench.RunResult:
    """A whole run into an empty folder. Raises RuntimeError where an image failed: its cost would not count."""
    shutil.rmtree(out, ignore_errors=True)
    result = imdl_bench.run(rules, model, data, out=out, workers=workers)
    if result.n_failed or not result.n_new:
        raise RuntimeError(f"{result.n_failed} images failed, {result.n_new} were new")
    return result


def _by_hand(data: Path, metrics: Sequence[Metric]) -> None:
    for path in sorted(data.glob("*/*.jpg")):
        image = read_image(path)
        mask = np.divide(image[..., 0], np.float32(255), dtype=np.float32)
        mask_thumbnail(mask)
        if path.parent.name == "Tp":
            score_pixels(mask, read_mask(data / "Gt" / f"{path.stem}.png"), metrics)


def _network_runner(folder: Path, settings: Settings) -> Iterator[Row]:
    """The run around a network that is loaded already, less the network's own time, by turns with predict alone."""
    count, side = (2, 64) if settings.quick else (8, 256)
    data, rules = folder / "for-network", protocol("bench-network")
    write_data(data, count, side)
    images = [read_image(path) for path in sorted(data.glob("*/*.jpg"))]
    network = QUICK_NETWORK if settings.quick else NETWORK
    with served(catalog.load_model(*network.split("@"))) as clock:
        jobs: dict[str, Callable[[], object]] = {
            "run": partial(run_afresh, rules, network, data, folder / "out", workers=1),
            "alone": partial(_one_by_one, clock, images),
        }
        found = _counted(jobs, settings)
    ratio = np.median([run / alone for run, alone in zip(found["run"].cpu, found["alone"].cpu, strict=True)])
    yield measured(
        GROUP, f"run around {network} {side}x{side}, every metric", found["run"], found["alone"],
        against="predict alone, image by image", per=count,
        note=f"the runner adds {ratio - 1:.1%} (of PSCC-Net wanted: below 5 %); {count} images, network loaded before",
    )  # fmt: skip


def _one_by_one(clock: Clock, images: list[Image]) -> None:
    for image in images:
        clock.model.predict([image])


def _counted(jobs: Mapping[str, Callable[[], object]], settings: Settings) -> dict[str, Rounds]:
    found = alternate(jobs, settings.rounds, settings.budget)
    return {name: rounds for name, rounds in found.items() if isinstance(rounds, Rounds)}


if __name__ == "__main__":
    from run import main

    sys.exit(main(["--only", GROUP, *sys.argv[1:]]))
