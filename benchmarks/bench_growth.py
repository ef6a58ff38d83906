"""How cost grows with the size of an image and with the number of images: exponents, fitted on logarithmic axes.

python benchmarks/bench_growth.py [options of run.py, such as --figures DIR]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from bench_networks import list_networks
from bench_path import run_afresh, write_pictures
from inputs import NULL_MODEL, every_metric, photograph, protocol, score_maps, truth, write_data
from measurement import Growth, LeftOut, Row, Settings, fitted
from network_cell import Cell, CellFound, run_cell
from timing import Rounds, alternate

import imdl_bench.benchmark
from imdl_bench.distortions import parse_distortions
from imdl_bench.images import read_image
from imdl_bench.metrics.pixel import score_pixels
from imdl_bench.types import Image

GROUP = "growth"
SIZES = ((256, 256), (512, 512), (1024, 768), (1920, 1080), (2560, 1920), (4000, 3000))
QUICK_SIZES = ((64, 64), (128, 128), (256, 256))
COUNTS = (50, 100, 200, 400, 800, 1600, 3200)
QUICK_COUNTS = (6, 12, 24)
MEGAPIXELS, IMAGES = "megapixels", "images"
DISTORTIONS: list[object] = [{"jpeg": {"quality": 70}}, {"gaussian_blur": {"kernel": 9}}, {"gaussian_noise": {"sigma": 9}}]  # fmt: skip  # noqa: E501


def measure(settings: Settings) -> Iterator[Row]:
    """With pixels: decode, distortions, scoring, networks. With images: planning, the run, the leaderboard."""
    sizes = QUICK_SIZES if settings.quick else SIZES
    with tempfile.TemporaryDirectory() as name:
        yield from _of_pixels(Path(name), sizes, settings)
        yield from _of_images(Path(name), QUICK_COUNTS if settings.quick else COUNTS)
    for network in settings.models or ([] if settings.quick else list_networks()):
        yield from _of_network(network, sizes, settings)


def _of_pixels(folder: Path, sizes: tuple[tuple[int, int], ...], settings: Settings) -> Iterator[Growth]:
    """Sizes take turns, so that a slow moment of the machine does not bend the line."""
    jobs: dict[str, dict[str, Callable[[], object]]] = {}
    for width, height in sizes:
        image, forged = Image(photograph(width, height)), truth(width, height)
        mask = score_maps(width, height)["confident"]
        here: dict[str, Callable[[], object]] = {
            f"decode {kind}": partial(read_image, path) for kind, path in write_pictures(folder, width, height).items()
        }
        for level in parse_distortions(DISTORTIONS)[1:]:
            here[f"distort {level.name}"] = partial(level.apply, image, seed=0, sample="photograph")
        here["score every per-image metric"] = partial(score_pixels, mask, forged, every_metric("per-image"))
        for kind, job in here.items():
            jobs.setdefault(kind, {})[f"{width}x{height}"] = job
    for kind, of_sizes in jobs.items():
        found = alternate(of_sizes, settings.rounds, settings.budget)
        seconds = [float(np.median(each.cpu)) for each in found.values() if isinstance(each, Rounds)]
        yield fitted(GROUP, kind, MEGAPIXELS, [width * height / 1e6 for width, height in sizes], seconds)


def _of_network(name: str, sizes: tuple[tuple[int, int], ...], settings: Settings) -> Iterator[Row]:
    known: list[tuple[float, float]] = []
    for width, height in sizes:
        label = f"{name} {width}x{height}"
        if known and known[-1][1] > settings.budget:
            words = f"the size before it took {known[-1][1]:.0f} s, above the budget of {settings.budget:g} s"
            yield LeftOut(GROUP, label, words)
            continue
        cell = Cell(
            name, width, height, 1, ("float32",), reference=False,
            rounds=1, budget=settings.budget, memory_gib=settings.memory_gib,
        )  # fmt: skip
        found = run_cell(cell)
        rounds = found.jobs["float32"] if isinstance(found, CellFound) else found
        if isinstance(rounds, str):
            yield LeftOut(GROUP, label, rounds)
            break
        known.append((width * height / 1e6, float(np.median(rounds.cpu))))
    if len(known) > 1:
        yield fitted(GROUP, f"{name} float32", MEGAPIXELS, [size for size, _ in known], [cpu for _, cpu in known])


def _of_images(folder: Path, counts: tuple[int, ...]) -> Iterator[Growth]:
    """One run of each size around a model that costs nothing, on images of 128x128, after one that warms up."""
    rules = protocol("bench-growth")
    seconds: dict[str, list[float]] = {"planning": [], "leaderboard": [], "run without these": [], "all": []}
    for place, count in enumerate((counts[0], *counts)):
        data = folder / f"{place}"
        write_data(data, count, 128)
        with _clocked("plan_run") as planning, _clocked("read_lines") as leaderboard:
            started = time.process_time()
            run_afresh(rules, NULL_MODEL, data, folder / f"out{place}", workers=1)
            whole = time.process_time() - started
        if place:
            parts = sum(planning), sum(leaderboard)
            for name, spent in zip(seconds, (*parts, whole - sum(parts), whole), strict=True):
                seconds[name].append(spent)
    for name, spent_by_count in seconds.items():
        yield fitted(GROUP, f"null model, {name}", IMAGES, counts, spent_by_count)


@contextmanager
def _clocked(name: str) -> Iterator[list[float]]:
    """CPU seconds of each call that ``imdl_bench.run`` makes of one of its parts."""
    part = getattr(imdl_bench.benchmark, name)
    spent: list[float] = []

    def clocked(*arguments: Any, **options: Any) -> Any:
        started = time.process_time()
        try:
            return part(*arguments, **options)
        finally:
            spent.append(time.process_time() - started)

    with patch.object(imdl_bench.benchmark, name, clocked):
        yield spent
    if not spent:
        raise RuntimeError(f"imdl_bench.run no longer calls {name}: clock what it calls now")


if __name__ == "__main__":
    from run import main

    sys.exit(main(["--only", GROUP, *sys.argv[1:]]))
