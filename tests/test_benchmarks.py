"""benchmarks/run.py from start to end in small, and what it says of changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
from compare import interval
from measurement import Spread, fitted, measured
from timing import Rounds, alternate


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks/run.py"), *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


def rows(path: Path, kind: str) -> list[dict]:
    return [row for row in json.loads(path.read_text())["rows"] if row["row"] == kind]


def test_jobs_take_turns_after_a_call_of_each_that_is_not_counted() -> None:
    calls: list[str] = []

    def job(name: str) -> None:
        calls.append(name)
        started = time.process_time()
        while time.process_time() - started < 0.03:
            pass

    found = alternate({"a": lambda: job("a"), "b": lambda: job("b")}, rounds=3)
    assert calls == ["a", "b", "a", "b", "a", "b", "a", "b", "a", "b"]  # a first and a second call tell what it takes
    assert all(len(found[name].cpu) == len(found[name].wall) == 3 for name in "ab")
    assert 0.03 <= min(found["a"].cpu) < 0.05


def test_a_short_job_is_repeated_until_the_clock_can_tell() -> None:
    calls: list[int] = []
    found = alternate({"short": lambda: calls.append(1)}, rounds=2)
    assert len(calls) > 500
    assert min(found["short"].cpu) < 1e-4


def test_beyond_the_budget_the_first_calls_are_the_measurement() -> None:
    calls: list[str] = []
    jobs = {name: lambda name=name: calls.append(name) or sum(range(3_000_000)) for name in "ab"}
    found = alternate(jobs, rounds=9, budget=1e-3)
    assert [len(found[name].cpu) for name in "ab"] == [1, 1]


def test_a_job_that_fails_is_told_and_the_others_are_measured() -> None:
    found = alternate({"bad": lambda: 1 / 0, "good": lambda: None}, 2, failures=(ZeroDivisionError,))
    assert found["bad"] == "division by zero"
    assert len(found["good"].cpu) == 2


def test_a_ratio_is_made_round_by_round_and_seconds_are_per_image() -> None:
    ours, reference = Rounds((1.0, 2.0, 4.0), (2.0, 3.0, 4.0), 5.0), Rounds((2.0, 4.0, 12.0), (2.0, 4.0, 12.0), 7.0)
    row = measured("networks", "a", ours, reference, against="b", per=2)
    assert row.ratio == Spread(2.0, 2.0, 2.5)
    assert (row.ours_cpu.median, row.ours_wall, row.reference_cpu.median) == (1.0, 1.5, 2.0)
    assert (row.peak_mib, row.reference_peak_mib, row.rounds) == (5.0, 7.0, 3)


def test_growth_finds_the_power_behind_points() -> None:
    sizes = [1.0, 2.0, 4.0, 8.0]
    growth = fitted("growth", "a", "images", sizes, [3 * size**1.5 for size in sizes])
    assert growth.exponent == pytest.approx(1.5)
    assert growth.error == pytest.approx(0, abs=1e-9)
    assert growth.last_exponent == pytest.approx(1.5)


def test_few_rounds_widen_the_interval_of_a_median() -> None:
    assert interval(Spread(1.0, 0.9, 1.1), 4) == pytest.approx((1 - 0.157, 1 + 0.157))
    assert interval(Spread(1.0, 0.9, 1.1), 10_000) == pytest.approx((0.9, 1.1))


@pytest.mark.parametrize("group", ["metrics", "path"])
def test_a_quick_run_measures_a_group_beside_its_references(tmp_path: Path, group: str) -> None:
    out = tmp_path / "found.json"
    done = bench("--quick", "--rounds", 1, "--only", group, "--out", out)
    assert done.returncode == 0, done.stderr
    measured = rows(out, "Measurement")
    assert {row["group"] for row in measured} == {group}
    names = [row["name"] for row in measured]
    assert len(set(names)) == len(names) >= 12
    assert all(name in done.stdout for name in names)
    for row in measured:
        assert 0 < row["ours_cpu"]["low"] <= row["ours_cpu"]["median"] <= row["ours_cpu"]["high"]
        if row["rounds"] == 1:
            assert row["ratio"] is None or row["ratio"]["median"] == pytest.approx(
                row["reference_cpu"]["median"] / row["ours_cpu"]["median"]
            )
    assert any(row["ratio"] for row in measured)


def test_a_quick_run_holds_a_sweep_against_its_forward_passes_and_counts_them(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = bench("--quick", "--rounds", 1, "--only", "sweep", "--out", out)
    assert done.returncode == 0, done.stderr
    found = {row["name"]: row for row in rows(out, "Measurement")}
    assert len(found) == 4
    of_network = next(row for name, row in found.items() if "ela_ppm" in name and "forward passes" in name)
    assert "18 images passed the model" in of_network["note"]  # two images, nine levels


def test_a_quick_run_fits_growth_and_draws_it(tmp_path: Path) -> None:
    out, figures = tmp_path / "found.json", tmp_path / "figures"
    done = bench("--quick", "--rounds", 1, "--only", "growth", "--out", out, "--figures", figures)
    assert done.returncode == 0, done.stderr
    growths = {row["name"]: row for row in rows(out, "Growth")}
    assert {row["unit"] for row in growths.values()} == {"megapixels", "images"}
    noise = growths["distort gaussian_noise(sigma=9)"]
    assert len(noise["sizes"]) == len(noise["seconds"]) == 3
    assert 0.5 < noise["exponent"] < 1.5  # a number is drawn for each pixel
    assert sorted(path.name for path in figures.iterdir()) == [
        f"growth-{unit}.{suffix}" for unit in ("images", "megapixels") for suffix in ("png", "svg")
    ]  # fmt: skip
    assert (figures / "growth-images.png").stat().st_size > 10_000


def test_a_network_is_measured_beside_its_plain_module_within_a_budget_and_nothing_is_guessed(tmp_path: Path) -> None:
    """So small a budget that the smallest cell is measured once and the others are left out."""
    out = tmp_path / "found.json"
    done = bench("--only", "networks", "--model", "ela_ppm", "--budget", 0.001, "--out", out)
    assert done.returncode == 0, done.stderr
    measured, left = rows(out, "Measurement"), rows(out, "LeftOut")
    assert [row["name"] for row in measured] == [
        f"ela_ppm 256x256 batch 1 {kind}" for kind in ("float32", "bfloat16")
    ]  # fmt: skip
    for row in measured:
        assert row["against"] == "plain eager float32 module"
        assert row["rounds"] == 1
        assert row["ours_cpu"]["median"] > 0.01
        assert row["reference_cpu"]["median"] > 0.01
    sizes = ("256x256", "512x512", "1024x768", "1920x1080")
    others = [f"ela_ppm {size} batch {batch}" for batch in (1, 8) for size in sizes][1:]
    assert [row["name"] for row in left] == others
    assert all(name in done.stdout for name in others)
    assert all("above the budget" in row["reason"] for row in left)


def written(path: Path, **ratios: tuple[float, float, float]) -> Path:
    """A report of one measurement for each name: low, median and high of its ratio."""
    spread = {"median": 1.0, "low": 0.99, "high": 1.01}
    content = {
        "format": "imdl-bench benchmarks 1", "machine": {}, "settings": {"models": []},
        "rows": [
            {"row": "Measurement", "group": "metrics", "name": name, "rounds": 9, "ours_cpu": spread, "ours_wall": 1.0,
             "against": "it", "reference_cpu": spread, "reference_wall": 1.0, "peak_mib": None,
             "reference_peak_mib": None, "note": "", "ratio": {"low": low, "median": median, "high": high}}
            for name, (low, median, high) in ratios.items()
        ],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def test_compare_tells_what_moved_from_noise(tmp_path: Path) -> None:
    old = written(tmp_path / "old.json", up=(0.9, 1.0, 1.1), down=(0.9, 1.0, 1.1), same=(0.9, 1.0, 1.1), gone=(1, 1, 1))
    new = written(
        tmp_path / "new.json", up=(1.9, 2.0, 2.1), down=(0.4, 0.5, 0.6), same=(1.0, 1.15, 1.3), born=(1, 1, 1)
    )
    done = bench("--compare", old, new)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("metrics ")}
    assert lines["up"].endswith("+100.0%  faster")
    assert lines["down"].endswith("-50.0%  slower")
    assert lines["same"].endswith("+15.0%  within noise")
    assert "no longer measured: metrics gone" in done.stdout
    assert "measured for the first time: metrics born" in done.stdout


def test_a_file_that_is_no_report_is_named(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    done = bench("--compare", other, "--quick")
    assert done.returncode == 2
    assert "other.json: not a file that run.py --out wrote" in done.stderr
