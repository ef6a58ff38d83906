"""Real runs of the ray engine on this machine, held against predictions from costs measured just before them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import yaml
from scale.costs import Costs, read_costs, seconds
from scale.grid import Cell, Cluster, Grid, GridData, GridModel, Habits, cells_of
from scale.pictures import write_pictures
from scale.simulation import simulate

from imdl_bench import catalog
from imdl_bench.cache import write_atomically
from imdl_bench.dataset import load_dataset
from imdl_bench.distortions import parse_distortions
from imdl_bench.records import RunFile
from imdl_bench.runs import find_runs

SIZES = ((256, 256), (384, 256))
LEVELS = ["none", {"jpeg": {"quality": [70]}}, {"gaussian_blur": {"kernel": [5]}}]
WITHIN = 0.15
HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: wall seconds predicted and taken, and the load of the machine before.

    ``predicted``: from CPU seconds measured beforehand, as on a machine with nothing else to do. ``stretch``: wall
    seconds of the network as the run recorded them, by its CPU seconds; much above 1, others used the processors.
    ``explained``: what would have been predicted with the network's seconds as recorded: whether the rest is right,
    such as the schedule, starts, decoding, scoring and the driver.
    """

    workers: int
    predicted: float
    stretch: float
    explained: float
    taken: float
    load: float


def validate(out: Path, model: str, images: int, workers: Sequence[int], rounds: int) -> int:
    """Measure, predict, run; per round once with each number of workers. 0 where all are within 15 %, else 1."""
    write_pictures(out / "data", images, SIZES)
    protocol = out / "protocol.yaml"
    protocol.write_text(yaml.safe_dump(_protocol()))
    trials = []
    for turn in range(rounds):
        for count in workers:
            load = os.getloadavg()[0]
            costs = _measured(out / f"costs-{turn}-{count}", model, protocol, count)
            predicted = _predicted(costs, model, out / "data", count)
            folder = out / f"run-{turn}-{count}"
            taken = _run(protocol, model, out / "data", folder, count)
            recorded = _with_recorded(costs, model, folder)
            explained = _predicted(recorded, model, out / "data", count)
            trials.append(Trial(count, predicted, _stretch(costs, recorded, model), explained, taken, load))
            print(_line(trials[-1]), flush=True)
    found = [asdict(each) for each in trials]
    write_atomically(out / "validation.json", (json.dumps(found, indent=1) + "\n").encode())
    return int(any(abs(each.predicted / each.taken - 1) > WITHIN for each in trials))


def _line(trial: Trial) -> str:
    return (
        f"{trial.workers} workers: taken {trial.taken:.1f} s, predicted {trial.predicted:.1f} s "
        f"({trial.predicted / trial.taken - 1:+.1%}); the network took {trial.stretch:.2f} times its CPU seconds, with "
        f"which {trial.explained:.1f} s would be predicted ({trial.explained / trial.taken - 1:+.1%}); "
        f"load average before {trial.load:.1f} on {os.cpu_count()} processors"
    )


def _protocol() -> dict[str, Any]:
    """As the protocol that costs are measured for, on pictures of one's own at a few levels."""
    base = catalog.load_protocol("robustness")
    return {
        "name": "validation", "version": 1, "title": "A real run for the simulation", "task": base.task,
        "source": "benchmark", "data": [{"dataset": "folder", "split": "full", "keep": "forged"}],
        "distort": LEVELS, "metrics": base.metrics,
    }  # fmt: skip


def _measured(stem: Path, model: str, protocol: Path, count: int) -> Costs:
    """Costs while as many processes measure as will work: they share this machine's memory and processors."""
    sizes = ",".join(f"{width}x{height}" for width, height in SIZES)
    paths = [stem.with_name(f"{stem.name}-{place}.json") for place in range(count)]
    running = [
        subprocess.Popen(
            [sys.executable, str(HERE / "simulate_scale.py"), "measure", "--out", str(path), "--model", model,
             "--protocol", str(protocol), "--sizes", sizes, "--repeats", "5", "--ray", str(0 if place else count)],
            stdout=subprocess.DEVNULL,
        )
        for place, path in enumerate(paths)
    ]  # fmt: skip
    for process in running:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)
    return _averaged([read_costs(path) for path in paths])


def _averaged(found: Sequence[Costs]) -> Costs:
    """The first one's, whose driver knows Ray, with what the model takes beside as many others."""
    first = found[0]
    model = next(iter(first.models))
    same = [costs.models[model] for costs in found]
    forward = _mean_points([each.forward for each in same])
    score = _mean_points([each.score for each in same])
    models = {model: replace(same[0], forward=forward, score=score)}
    return replace(first, models=models)


def _mean_points(found: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    return [[mean(column) for column in zip(*points, strict=True)] for points in zip(*found, strict=True)]


def _with_recorded(costs: Costs, model: str, folder: Path) -> Costs:
    """Costs with the network's wall seconds that a run wrote down, by area, on both clocks."""
    (path,) = find_runs([folder])
    by_area: dict[float, list[float]] = {}
    with RunFile(path) as file:
        for row in file.rows():
            if row.seconds is not None and row.height is not None and row.width is not None:
                by_area.setdefault(row.height * row.width / 1e6, []).append(row.seconds)
    forward = [[area, mean(found), mean(found)] for area, found in sorted(by_area.items())]
    return replace(costs, models={model: replace(costs.models[model], forward=forward)})


def _stretch(costs: Costs, recorded: Costs, model: str) -> float:
    """How much longer the network took in a run than on a processor of its own; all areas weigh the same."""
    taken, alone = recorded.models[model].forward, seconds(costs.models[model].forward, "cpu")
    return mean(point[1] / alone.at(point[0]) for point in taken)


def _predicted(costs: Costs, model: str, data: Path, count: int) -> float:
    """The makespan on processors of which each worker has one to itself; images are those of the run."""
    areas = [_area(sample.image) for sample in load_dataset("folder", data).samples if sample.forged]
    levels = tuple(each.name for each in parse_distortions(LEVELS))
    grid = Grid((GridModel(model, model),), (GridData("folder", len(areas), mean(areas), 0.0),), levels)
    cluster = Cluster(count, cores=1, flops=None, per_node=count, hashing=1, spread=0.0)
    cells: list[Cell] = cells_of(grid, costs, cluster, seed=0, clock="cpu")
    return simulate(cells, grid, costs, cluster, Habits()).makespan


def _area(path: Path) -> float:
    import PIL.Image

    with PIL.Image.open(path) as image:
        return image.width * image.height / 1e6


def _run(protocol: Path, model: str, data: Path, out: Path, count: int) -> float:
    """Wall seconds of the command, with a cache of its own."""
    card = catalog.model_card(model)
    spec = f"{model}@random" if card.weights is not None else model
    command = [sys.executable, "-m", "imdl_bench", "run", protocol, "--model", spec, "--data", data, "--out", out,
               "--engine", "ray", "--workers", count, "--quiet"]  # fmt: skip
    started = time.perf_counter()
    subprocess.run(
        [str(each) for each in command],
        check=True, stdout=subprocess.DEVNULL, env=os.environ | {"IMDL_BENCH_CACHE": str(out / "cache")},
    )  # fmt: skip
    return time.perf_counter() - started
