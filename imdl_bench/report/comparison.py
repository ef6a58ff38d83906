"""The models of a report held against each other: ranks, images won, and whether metrics agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from imdl_bench.comparison import compare_runs
from imdl_bench.comparison_tables import Table, tables_of
from imdl_bench.distortions import NONE
from imdl_bench.errors import UsageError
from imdl_bench.runs import Run

TITLES = {
    "ranks": ("Ranks", "1 is best; every model sees the same resamples of the images that all models scored."),
    "win-rates": ("Images won", "Share of images on which the row’s model is better than the column’s, ties half."),
    "agreement": (
        "Do the metrics agree?",
        "Kendall’s τ between the orders that two metrics give, from three models up.",
    ),
}


@dataclass(frozen=True, slots=True)
class Compared:
    """Tables of one kind, for all data."""

    title: str
    about: str
    tables: tuple[Table, ...]


def compared(runs: Sequence[Run]) -> list[Compared]:
    """Tables of all runs that saw the same images, at one level each; empty where no two did."""
    at_one_level = [replace(run, levels=(NONE if NONE in run.levels else run.levels[0],)) for run in runs]
    try:
        comparison = compare_runs(at_one_level)
    except UsageError:  # nothing here can be compared, which is no fault of a report
        return []
    found = [Compared(title, about, tuple(tables_of(comparison, [kind]))) for kind, (title, about) in TITLES.items()]
    return [each for each in found if each.tables]
