"""Numbers of finished runs are computed once, and never believed of another file."""

from __future__ import annotations

import importlib
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import imdl_bench
from imdl_bench.cache import cache_dir
from imdl_bench.errors import DataError
from imdl_bench.remembered import recall, remember
from imdl_bench.tables import to_csv

leaderboard = importlib.import_module("imdl_bench.leaderboard")  # the package's attribute of that name is a function


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A cache of its own, and the levels that were summarized."""
    monkeypatch.setenv("IMDL_BENCH_CACHE", str(tmp_path / "own cache"))
    seen: list[str] = []
    summarize = leaderboard.summarize

    def counting(*arguments: object, **options: object) -> object:
        seen.append("summarized")
        return summarize(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(leaderboard, "summarize", counting)
    return seen


def test_a_finished_run_is_summarized_once(with_plugin: Path, tmp_path: Path, counted: list[str]) -> None:
    first = imdl_bench.run("edits", ["red", "slow_red"], with_plugin / "data", out=tmp_path / "out")
    assert len(counted) == 2
    again = imdl_bench.leaderboard(tmp_path / "out")
    assert len(counted) == 2 and to_csv(again.lines, timing=True) == to_csv(first.lines, timing=True)
    for kept, made in zip(again.lines, first.lines, strict=True):
        np.testing.assert_array_equal([kept.value, kept.ci_low, kept.ci_high], [made.value, made.ci_low, made.ci_high])


def test_a_touched_file_is_summarized_and_checked_again(with_plugin: Path, tmp_path: Path, counted: list[str]) -> None:
    result = imdl_bench.run("edits", "red", with_plugin / "data", out=tmp_path / "out")
    with sqlite3.connect(result.runs[0]) as db:
        db.execute("DELETE FROM pools")
    with pytest.raises(DataError, match="pooled scores and rows disagree"):
        imdl_bench.leaderboard(tmp_path / "out")


def test_other_metrics_code_is_summarized_again(
    with_plugin: Path, tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    imdl_bench.run("edits", "red", with_plugin / "data", out=tmp_path / "out")
    monkeypatch.setattr(leaderboard, "_code_of_metrics", lambda: "changed")
    imdl_bench.leaderboard(tmp_path / "out")
    assert len(counted) == 2


def test_without_a_cache_it_is_slower_and_not_wrong(
    with_plugin: Path, tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = imdl_bench.run("edits", "red", with_plugin / "data", out=tmp_path / "out")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("IMDL_BENCH_CACHE", str(tmp_path / "file"))
    again = imdl_bench.leaderboard(tmp_path / "out")
    assert to_csv(again.lines, timing=False) == to_csv(first.lines, timing=False)
    with pytest.raises(DataError, match="set IMDL_BENCH_CACHE"):
        recall("numbers", ["a"])


def test_damaged_stores_begin_anew(counted: list[str]) -> None:
    cache_dir().mkdir(parents=True)
    (cache_dir() / "numbers.sqlite").write_bytes(b"no database" * 100)
    assert recall("numbers", ["a"]) == {}
    remember("numbers", {"a": "1", "b": "2"})
    remember("numbers", {"a": "3"})
    assert recall("numbers", ["a", "b", "c"]) == {"a": "3", "b": "2"}


def test_a_store_damaged_within_is_begun_anew_when_it_is_met(counted: list[str]) -> None:
    remember("numbers", {str(number): "x" * 2000 for number in range(100)})
    path = cache_dir() / "numbers.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes([255]) * (len(content) - 4096))
    assert recall("numbers", [str(number) for number in range(100)]) == {}
    remember("numbers", {"7": "again"})
    assert recall("numbers", ["7", "8"]) == {"7": "again"}
