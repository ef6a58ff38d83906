"""The leaderboard of a report: one number per row, best first, with what papers print and what must be known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imdl_bench.leaderboard import Line
from imdl_bench.metrics.names import parse_metric
from imdl_bench.report.folders import without_folders
from imdl_bench.tables import best_value, is_best, labels_of


@dataclass(frozen=True, slots=True)
class Entry:
    """One row.

    Attributes:
        best: none on the same data, after the same distortion and by the same metric is better; never of a model
            that has learned nothing or bears a dagger.
        first: the first row of those.
        interval: its low end, the value and its high end between 0 and 100; empty where one is undefined or outside.
        notes: numbers of notes on the published number.
    """

    line: Line
    label: str
    best: bool
    first: bool
    interval: tuple[float, ...]
    notes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All rows, and the numbered notes that rows point to.

    ``left_out`` has the columns that would say the same in every row, with what they would say.
    """

    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    about_runs: tuple[str, ...]
    left_out: dict[str, str]

    @property
    def data(self) -> list[str]:
        """Data set and split of the rows."""
        return list(dict.fromkeys(f"{entry.line.dataset}/{entry.line.split}" for entry in self.entries))

    @property
    def protocols(self) -> list[str]:
        """Name and version of the rows' protocols."""
        return list(dict.fromkeys(f"{entry.line.protocol} v{entry.line.version}" for entry in self.entries))


def make_leaderboard(lines: Sequence[Line]) -> Leaderboard:
    """Rows by protocol, data, level and metric in their order, and within from the best model to the worst."""
    groups: dict[tuple[object, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault((*line.place, line.data, line.distortion, line.metric), []).append(line)
    labels = labels_of(lines)
    notes: dict[str, int] = {}
    entries = [
        _entry(line, labels[line.run], notes, best, first=rank == 0)
        for group in sorted(groups.values(), key=_order(lines))
        for best in [best_value(group)]
        for rank, line in enumerate(sorted(group, key=_goodness))
    ]
    return Leaderboard(tuple(entries), tuple(notes), tuple(_about_runs(lines, labels)), _left_out(lines))


def _order(lines: Sequence[Line]) -> Callable[[Sequence[Line]], tuple[object, ...]]:
    places = {place: n for n, place in enumerate(dict.fromkeys(line.place for line in lines))}
    levels = {level: n for n, level in enumerate(dict.fromkeys(line.distortion for line in lines))}
    metrics = {metric: n for n, metric in enumerate(dict.fromkeys(line.metric for line in lines))}
    return lambda group: (places[group[0].place], levels[group[0].distortion], metrics[group[0].metric])


def _goodness(line: Line) -> float:
    if math.isnan(line.value):
        return math.inf
    return line.value if parse_metric(line.metric).statistic.lower_is_better else -line.value


def _entry(line: Line, label: str, notes: dict[str, int], best: float, *, first: bool) -> Entry:
    drawn = (line.ci_low, line.value, line.ci_high)
    inside = all(0 <= value <= 1 for value in drawn)
    return Entry(
        line=line,
        label=label,
        best=is_best(line, best),
        first=first,
        interval=tuple(round(100 * value, 1) for value in drawn) if inside else (),
        notes=tuple(notes.setdefault(text, len(notes) + 1) for text in line.about_published),
    )


def _about_runs(lines: Sequence[Line], labels: dict[str, str]) -> list[str]:
    """What a reader must know of whole runs, each sentence once with the models it is about."""
    models: dict[str, dict[str, None]] = {}
    for line in lines:
        where = f"{labels[line.run]} on {line.dataset}/{line.split}"
        for text in filter(None, (line.contamination, line.remarks)):
            models.setdefault(without_folders(text), {})[where] = None
    return [f"{', '.join(where)}: {remark}" for remark, where in models.items()]


def _left_out(lines: Sequence[Line]) -> dict[str, str]:
    columns = {
        "protocol": {f"{line.protocol} v{line.version}" for line in lines},
        "distortion": {line.distortion for line in lines},
        "skipped": {str(line.n_skipped) for line in lines} | {"0"},
        "failed": {str(line.n_failed) for line in lines} | {"0"},
        "published": {line.published_in or "none" for line in lines} | {"none"},
    }
    return {name: found.pop() for name, found in columns.items() if len(found) == 1}
