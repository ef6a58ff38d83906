"""Figures hold the leaderboard's numbers, the same bytes each time, and can be read without seeing them."""

from __future__ import annotations

from pathlib import Path

import pytest

import imdl_bench
from imdl_bench.report.figures import KINDS, plots, save, to_svg
from imdl_bench.runs import Run, read_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two models on ten pictures of the sample."""
    out = tmp_path_factory.mktemp("results")
    return read_runs(imdl_bench.run("quickstart", ["ela", "noi1"], out=out, limit=10).runs)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_plot_has_a_key_of_its_own_a_table_and_files(kind: str, runs: list[Run], tmp_path: Path) -> None:
    found = plots(kind, runs)
    assert bool(found) == (kind != "robustness")
    assert len({plot.key for plot in found}) == len(found)
    for plot in found:
        assert plot.rows and all(len(row) == len(plot.head) for row in plot.rows)
        assert to_svg(plot).startswith("<svg")
        save(plot, tmp_path / "plot.png")
