"""Runs -> tidy CSV, rows per image, and tables to read or to paste into a paper."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from imdl_bench import metrics
from imdl_bench.errors import DataError
from imdl_bench.metrics.names import Metric, refuse_absent
from imdl_bench.metrics.summary import Summary, summarize
from imdl_bench.published import Match, PublishedNumber, match
from imdl_bench.remembered import file_stamp, recall, remember
from imdl_bench.runs import Run, read_runs
from imdl_bench.types import DONOR
from imdl_bench.weights import is_untrained

NUMBERS = "numbers"
KEY_COLUMNS = ("protocol", "version", "model", "weights", "precision", "device", "dataset", "split", "seed")


@dataclass(frozen=True, slots=True)
class Line:
    """One number of a leaderboard; the columns of its CSV (meanings in results/README.md)."""

    protocol: str
    version: int
    model: str
    weights: str
    precision: str
    device: str
    dataset: str
    split: str
    data: str
    distortion: str
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    n_skipped: int
    n_failed: int
    seconds_per_image: float
    score_rule: str
    seed: int
    run: str
    library_version: str
    contamination: str
    published: float
    difference: float
    published_in: str
    published_suspect: str
    published_note: str
    remarks: str

    @property
    def place(self) -> tuple[str, int, str, str]:
        """Protocol and data: lines of one place stand in one table."""
        return (self.protocol, self.version, self.dataset, self.split)

    @property
    def about_published(self) -> list[str]:
        """What must be said of the published number."""
        suspect = f"suspect: {self.published_suspect}" if self.published_suspect else ""
        return [text for text in (suspect, self.published_note) if text]


def read_lines(runs: Sequence[Path]) -> tuple[list[Line], list[str]]:
    """The numbers of finished runs in a fixed order, and why runs were left out: unfinished, damaged, repeated.

    Raises:
        DataError: runs are damaged and none is left to show.
    """
    found, left_out = read_runs(runs)
    numbered, damaged = with_lines(found)
    if damaged and not numbered:
        raise DataError("\n".join(damaged))
    return in_order([line for _, lines in numbered for line in lines]), left_out + damaged


def with_lines(runs: Iterable[Run]) -> tuple[list[tuple[Run, list[Line]]], list[str]]:
    """Runs with their numbers, and why others have none: their files are damaged."""
    numbered, damaged = [], []
    for run in runs:
        try:
            numbered.append((run, lines_of(run)))
        except DataError as error:
            damaged.append(str(error))
    return numbered, damaged


def of_metrics(lines: Sequence[Line], names: Sequence[str] | None) -> list[Line]:
    """The lines of the named metrics; all of them without names. Raises UsageError for one that no run has."""
    refuse_absent(names or (), list(dict.fromkeys(line.metric for line in lines)))
    return [line for line in lines if names is None or line.metric in names]


def in_order(lines: Sequence[Line]) -> list[Line]:
    """By protocol, data and level of distortion, then model; metrics stay in the protocol's order."""
    levels = list(dict.fromkeys(line.distortion for line in lines))  # in the protocol's order
    return sorted(lines, key=lambda line: _order(line, levels))


def lines_of(run: Run) -> list[Line]:
    """The numbers of one run, by level of distortion. Raises DataError where the run's file is damaged."""
    numbers = _numbers(run)
    return [line for level in run.levels for line in _at_level(run, level, numbers[level])]


def _numbers(run: Run) -> dict[str, list[Summary]]:
    """A finished run's numbers by level, computed once: they change with its file and with the code of the metrics."""
    key = f"{run.key.hash} {file_stamp(run.path)} {_code_of_metrics()}"
    try:
        if kept := recall(NUMBERS, [key]):
            return {level: [Summary(*each) for each in part] for level, part in json.loads(kept[key]).items()}
    except DataError:  # no cache to be had: slower, not wrong
        return _summarized(run)
    found = _summarized(run)
    remember(NUMBERS, {key: json.dumps({level: [astuple(each) for each in part] for level, part in found.items()})})
    return found


def _summarized(run: Run) -> dict[str, list[Summary]]:
    resamples = run.meta["protocol"]["bootstrap"]
    return {
        level: summarize(
            run.scored(level), run.metrics, score_rule=run.score_rule, resamples=resamples, seed=run.key.seed
        )
        for level in run.levels
    }


@cache
def _code_of_metrics() -> str:
    files = sorted(Path(metrics.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _at_level(run: Run, level: str, numbers: Sequence[Summary]) -> list[Line]:
    images = [row for row in run.rows(level) if not row.sample.endswith(DONOR)]
    timed = [row.seconds for row in images if row.seconds is not None]
    common = {
        **{name: getattr(run.key, name) for name in KEY_COLUMNS},
        "data": run.data(level),
        "distortion": level,
        "n_failed": sum(row.status == "failed" for row in images),
        "seconds_per_image": sum(timed) / len(timed) if timed else math.nan,
        "run": run.key.hash,
        "library_version": run.meta["library"],
        "contamination": run.meta.get("contamination", "not recorded: run again to compare training with test data"),
        "remarks": "; ".join(run.meta["remarks"]),
    }
    return [
        Line(
            metric=number.metric,
            value=number.value,
            ci_low=number.low,
            ci_high=number.high,
            n=number.n,
            n_skipped=number.n_skipped,
            score_rule=_score_rule(metric, run.score_rule),
            **_published(run, level, number),
            **common,
        )
        for metric, number in zip(run.metrics, numbers, strict=True)
    ]


def _published(run: Run, level: str, number: Summary) -> dict[str, Any]:
    """What papers print for the same thing: the table the protocol stands for first, sound numbers before suspect ones.

    A network that has learned nothing is compared with nobody.
    """
    found: list[Match] = []
    if not is_untrained(run.key.weights):
        key = run.key
        found = match(key.model, key.dataset, key.split, level, number.metric, score_rule=run.score_rule)
    own = run.meta["protocol"].get("published") or {}
    found.sort(key=lambda each: (bool(each.number.suspect), not _stands_in(each.number, own)))
    if not found:
        nothing = {"published": math.nan, "difference": math.nan}
        return nothing | {"published_in": "", "published_suspect": "", "published_note": ""}
    first, *others = found
    several = len({each.number.method for each in found}) > 1  # trainings of one network under names of their own
    also = {f"also {_where(other.number, named=several)}: {other.number.fraction:g}": None for other in others
            if not other.number.suspect and other.number.fraction != first.number.fraction}  # fmt: skip
    trained = " on ".join(filter(None, (first.number.train_setting, first.number.train_set)))
    notes = (
        "ours is of a part of the images" if run.meta["limit"] else "",
        first.number.method if several else "",
        *(trained, *first.caveats, first.number.note, *also),
    )
    return {
        "published": first.number.fraction,
        "difference": math.nan if first.number.suspect else number.value - first.number.fraction,
        "published_in": _where(first.number),
        "published_suspect": first.number.suspect,
        "published_note": "; ".join(filter(None, notes)),
    }


def _stands_in(number: PublishedNumber, table: dict[str, str]) -> bool:
    return {"paper": number.paper, "table": number.table} == table


def _where(number: PublishedNumber, *, named: bool = False) -> str:
    return f"{number.paper} {number.table}" + (f" ({number.method})" if named else "")


def _score_rule(metric: Metric, rule: str) -> str:
    return (metric.rule or rule) if metric.level == "image" else ""


def _order(line: Line, levels: Sequence[str]) -> tuple[Any, ...]:
    """Sorts by everything but the metric, whose order is the protocol's (sorting keeps it)."""
    level = levels.index(line.distortion)
    return (*line.place, level, line.model, line.weights, line.run)
