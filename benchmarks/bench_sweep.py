"""Nine levels of distortion in one run, against nine runs, and against nine forward passes and one decode.

    python benchmarks/bench_sweep.py [options of run.py]

Levels and metrics are those of the protocol robustness-quick. A single run of the reference distorts nothing: it is the
least that a run of one level costs. The budget is nine times that of other cells.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from bench_path import NETWORK, QUICK_NETWORK, run_afresh
from clock import Clock, served
from inputs import NULL_MODEL, protocol, write_data
from measurement import Measurement, Row, Settings, measured
from timing import Rounds, alternate

from imdl_bench import catalog
from imdl_bench.cards import Protocol
from imdl_bench.distortions import Distortion, parse_distortions
from imdl_bench.images import read_image
from imdl_bench.types import Image

GROUP = "sweep"


def measure(settings: Settings) -> Iterator[Row]:
    """Two rows around a model that costs nothing, two around a network."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        side = 64 if settings.quick else 256
        yield from _sweep(NULL_MODEL, 4 if settings.quick else 24, side, folder / "null", settings)
        yield from _sweep(QUICK_NETWORK if settings.quick else NETWORK, 2, side, folder / "network", settings)


def _sweep(model: str, count: int, side: int, folder: Path, settings: Settings) -> Iterator[Measurement]:
    known = catalog.load_protocol("robustness-quick")
    levels = parse_distortions(known.distort)
    nine = protocol("bench-sweep", metrics=known.metrics, distort=known.distort)
    one = protocol("bench-single", metrics=known.metrics)
    data, out = folder / "data", folder / "out"
    write_data(data, count, side)
    name, _, weights = model.partition("@")
    with served(catalog.load_model(name, weights or None)) as clock:
        sweep = partial(run_afresh, nine, model, data, out, workers=1)
        jobs: dict[str, Callable[[], object]] = {
            "sweep": sweep,
            "singles": partial(_singles, len(levels), one, model, data, out),
            "forwards": _forwards(clock.model.predict, sorted(data.glob("*/*.jpg")), levels),
        }
        found = alternate(jobs, settings.rounds, len(levels) * settings.budget)
        rounds = {job: each for job, each in found.items() if isinstance(each, Rounds)}
        label = f"{len(levels)} levels, {model} {side}x{side}"
        yield from _rows(label, rounds, count * len(levels), _shares(clock, sweep))


def _rows(name: str, found: dict[str, Rounds], forwards: int, shares: str) -> Iterator[Measurement]:
    sweep, bound = found["sweep"], found["forwards"]
    cost = np.median([ours / least for ours, least in zip(sweep.cpu, bound.cpu, strict=True)])
    yield measured(
        GROUP, f"{name}, to single runs", sweep, found["singles"], per=forwards,
        against="as many runs of one level",
    )  # fmt: skip
    yield measured(
        GROUP, f"{name}, to forward passes", sweep, bound, per=forwards,
        against="one decode, a forward pass for each level, nothing else",
        note=f"{cost:.3g} times its cost (wanted of PSCC-Net: below 1.05); {shares}",
    )  # fmt: skip


def _shares(clock: Clock, sweep: Callable[[], object]) -> str:
    """How many images pass the model in a sweep, and what of its CPU time is spent there, by a clock around it."""
    clock.calls.clear()
    started = time.process_time()
    sweep()
    whole = time.process_time() - started
    images, inside = clock.take()
    return f"{images} images passed the model, {inside:.3g} of {whole:.3g} CPU s in it"


def _singles(count: int, rules: Protocol, model: str, data: Path, out: Path) -> None:
    for _ in range(count):
        run_afresh(rules, model, data, out, workers=1)


def _forwards(
    predict: Callable[[list[Image]], object], paths: Sequence[Path], levels: Sequence[Distortion]
) -> Callable[[], None]:
    """Each file decoded once, and a forward pass for each level of it; the levels are made beforehand."""
    made = [
        [level.apply(read_image(path), seed=0, sample=path.name).image for level in levels] for path in paths
    ]  # fmt: skip

    def forwards() -> None:
        for path, images in zip(paths, made, strict=True):
            read_image(path)
            for image in images:
                predict([image])

    return forwards


if __name__ == "__main__":
    from run import main

    sys.exit(main(["--only", GROUP, *sys.argv[1:]]))
