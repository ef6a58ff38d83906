"""The simulation of a cluster: against sums by hand, and its command."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def points(base: float, per_megapixel: float) -> list[list[float]]:
    """What a measurement would give, the wall clock at twice the processor's time."""
    found = [base + per_megapixel * area for area in (0.25, 1.0)]
    return [[area, 2 * each, each] for area, each in zip((0.25, 1.0), found, strict=True)]


COSTS: dict[str, Any] = {
    "format": 1, "measured_on": {"processor": "none"}, "worker_start": 4.0,
    "image_bytes": [[0.25, 250e3], [1.0, 1e6]], "decode": points(0.0, 0.02),
    "driver": {
        "start": 3.0, "index": 0.0, "sample_bytes": 700.0, "hash_bytes_per_second": 1e9, "hash_file": 0.0,
        "plan_prediction": 0.0, "row": 1e-4, "pool": 0.01, "pool_memory": 2.5e6, "shard": 0.005,
        "stored_row_bytes": 500.0,
        "finish_row": 0.001, "finish_row_bytes": 800.0,
    },
    "levels": {
        "none": {"area": 1.0, "distort": [], "map_back": []},
        "half": {"area": 0.25, "distort": points(0.0, 0.01), "map_back": points(0.0, 0.005)},
    },
    "models": {
        "net": {
            "network": True, "load_seconds": 1.5, "weight_bytes": 2_000_000, "forward": points(0.1, 1.0),
            "gflop": [[0.25, 100.0], [1.0, 400.0]], "score": points(0.0, 0.03), "shard_level": 0.02,
            "row_bytes": 300, "thumbnail_bytes": 5000, "pool_bytes": 90_000,
        },
    },
}  # fmt: skip
PER_IMAGE = 0.02 + (0.1 + 1.0) + (0.1 + 0.25) + 0.01 + 0.005 + 2 * 0.03  # of one megapixel, at both levels
GRID = """
models: [{name: a, like: net}, {name: b, like: net, times: 2.0}]
data: [{name: few, images: 60, megapixels: 1.0, spread: 0.0}, {name: many, images: 900, megapixels: 0.3}]
levels: [none, half]
"""


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Simulate one model on one data set of 1-megapixel images, with processors for workers."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from scale.costs import read_costs
    from scale.grid import Cluster, Grid, GridData, GridModel, Habits, cells_of
    from scale.simulation import simulate

    (tmp_path / "costs.json").write_text(json.dumps(COSTS))
    costs = read_costs(tmp_path / "costs.json")

    def run(images: int, workers: int, *, driver: dict[str, float] | None = None, seed: int = 0, **changes: Any) -> Any:
        grid = Grid((GridModel("a", "net"),), (GridData("d", images, 1.0, 0.0),), ("none", "half"))
        habits = Habits(**{key: value for key, value in changes.items() if key in Habits.__slots__})
        machines = {key: value for key, value in changes.items() if key not in Habits.__slots__}
        cluster = Cluster(workers, **({"cores": 1, "flops": None, "spread": 0.0} | machines))
        changed = replace(costs, driver=replace(costs.driver, **(driver or {})))
        return simulate(cells_of(grid, changed, cluster, seed), grid, changed, cluster, habits, seed)

    return run


def test_one_worker_takes_the_sum_of_all_parts(scale: Callable[..., Any]) -> None:
    found = scale(2, 1)
    message = 4 * 300 + 2 * 5000 + 2 * 90_000
    driver = 0.005 + 4 * 1e-4 + 2 * 0.01 + message / 1.25e9
    assert found.shards == 1
    assert found.work == pytest.approx(4.0 + 1.5 + 2 * PER_IMAGE + 2 * 0.02 + driver)
    assert found.plan == pytest.approx(3.0 + 2e6 / 1e9)
    assert found.finish == pytest.approx(4 * 0.001)
    assert found.ideal == pytest.approx(2 * PER_IMAGE)
    assert found.read_bytes == pytest.approx(2e6 + 2e6)
    assert found.message_bytes == message


def test_the_slower_of_gpu_and_processors_decides(scale: Callable[..., Any]) -> None:
    slow_gpu = scale(100, 1, flops=1e12, cores=8)
    assert slow_gpu.ideal == pytest.approx(100 * 0.4 * 1.25)
    fast_gpu = scale(100, 1, flops=1e15, cores=8)
    assert fast_gpu.ideal == pytest.approx(100 * (PER_IMAGE - 1.45) / 8)


def test_two_workers_take_half_as_long(scale: Callable[..., Any]) -> None:
    one, two = scale(2000, 1), scale(2000, 2)
    assert one.predictions == two.predictions == 4000
    assert one.work / two.work == pytest.approx(2, rel=0.02)
    assert two.efficiency > 0.95


def test_a_driver_that_takes_longer_than_the_workers_sets_the_pace(scale: Callable[..., Any]) -> None:
    found = scale(2000, 64, driver={"row": 0.1})
    assert found.work >= 4000 * 0.1
    assert found.driver_busy > 0.95
    assert found.queue > 50
    assert scale(2000, 64).work < 0.3 * found.work


def test_storage_that_gives_less_than_the_workers_read_sets_the_pace(scale: Callable[..., Any]) -> None:
    found = scale(2000, 64, storage=5e6)
    assert found.work >= 2000 * 1e6 / 5e6
    assert found.storage_waiting > 0.5
    assert scale(2000, 64, storage=5e6, sharing=4).work < 0.5 * found.work


def test_failing_nodes_cost_time_and_no_image(scale: Callable[..., Any]) -> None:
    sound, failing = scale(4000, 16), scale(4000, 16, mtbf_hours=0.1, repair_seconds=30.0)
    assert failing.failures > 0
    assert failing.given_up == 0
    assert failing.lost > 0
    assert failing.work > sound.work
    assert failing.shards >= sound.shards
    assert failing == scale(4000, 16, mtbf_hours=0.1, repair_seconds=30.0)
    assert failing != scale(4000, 16, mtbf_hours=0.1, repair_seconds=30.0, seed=1)


def test_fixed_shares_end_with_the_slowest_worker(scale: Callable[..., Any]) -> None:
    kept, fixed = (scale(4000, 32, slow=0.1, policy=policy) for policy in ("schedule", "static"))
    assert fixed.work > 1.4 * kept.work
    assert fixed.predictions == kept.predictions


def test_limits_of_shards_last_for_one_simulation(scale: Callable[..., Any]) -> None:
    from imdl_bench.engine import shards

    before = shards.LEAST_SECONDS, shards.MOST_SECONDS
    assert scale(4000, 4, most_seconds=5.0).shards > 3 * scale(4000, 4).shards
    assert before == (shards.LEAST_SECONDS, shards.MOST_SECONDS)


def command(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    (folder / "costs.json").write_text(json.dumps(COSTS))
    (folder / "grid.yaml").write_text(GRID)
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks/simulate_scale.py", "predict", "--costs", "costs.json", "--grid",
         "grid.yaml", *map(str, arguments)],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_command_prints_and_writes_the_same_each_time_and_draws_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--gpus", "1,4", "--slow", "0.2", "--mtbf-hours", "0.5")
    first = command(tmp_path, *chosen, "--out", "a")
    assert first.returncode == 0, first.stderr
    assert "2 models x 2 data sets (960 images) x 2 levels = 3,840 predictions" in first.stdout
    assert "measured: processor none" in first.stdout
    assert "assumed: GPU 100 TFLOP/s" in first.stdout
    with (tmp_path / "a/scale.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["case"], line["gpus"], line["predictions"]) for line in lines] == [
        ("engine", "1", "3840"),
        ("engine", "4", "3840"),
    ]
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.chdir(tmp_path)
    import simulate_scale

    assert simulate_scale.main(["predict", "--costs", "costs.json", "--grid", "grid.yaml", *chosen]) == 0
    again = capsys.readouterr().out.strip()
    assert first.stdout.startswith(again)
    assert (tmp_path / "a/scale.png").read_bytes().startswith(b"\x89PNG")


def test_a_level_that_was_not_measured_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(GRID.replace("half", "halv"))
    found = command(tmp_path, "--gpus", "1", "--grid", "other.yaml")
    assert found.returncode == 2
    assert "halv" in found.stderr
    assert "did you mean" in found.stderr
    assert "half" in found.stderr
