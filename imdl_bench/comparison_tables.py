"""What a comparison of models found, as records and as tables: CSV, text for a terminal, Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from imdl_bench.columns import csv_number, csv_of, drawn, github
from imdl_bench.distortions import NONE


@dataclass(frozen=True, slots=True)
class Compared:
    """On what runs were compared. ``data`` is 8 digits that tell other images, truths or rules of scoring apart."""

    protocol: str
    version: int
    dataset: str
    split: str
    distortion: str
    data: str


@dataclass(frozen=True, slots=True)
class Difference(Compared):
    """Two models by one metric on the images that both scored; columns in results/README.md."""

    metric: str
    model_a: str
    model_b: str
    run_a: str
    run_b: str
    value_a: float
    value_b: float
    difference: float
    ci_low: float
    ci_high: float
    p: float
    significant: bool
    better: str
    n: int
    n_left_out: int


@dataclass(frozen=True, slots=True)
class Rank(Compared):
    """One model among all by one metric, on the images that all scored; columns in results/README.md."""

    metric: str
    model: str
    run: str
    value: float
    rank: float
    mean_rank: float
    rank_low: float
    rank_high: float
    first: float
    n_models: int
    n: int
    n_left_out: int


@dataclass(frozen=True, slots=True)
class WinRate(Compared):
    """Share of ``n`` images on which model a is better than model b by their own values, ties half."""

    metric: str
    model_a: str
    model_b: str
    run_a: str
    run_b: str
    win_rate: float
    n: int


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two models of which one metric puts ``a`` first and another ``b``; ``significant`` where neither leaves room."""

    a: str
    b: str
    significant: bool

    def __str__(self) -> str:
        return f"{self.a} | {self.b}" + (" *" if self.significant else "")


@dataclass(frozen=True, slots=True)
class Agreement(Compared):
    """How alike two metrics order the models: Kendall's tau-b (nan below three models), and the pairs they turn round.

    In each of ``disagreements`` metric a puts model a first.
    """

    metric_a: str
    metric_b: str
    tau: float
    n_models: int
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that was found; ``left_out`` says which runs had none to be compared with, and why. Shows itself as text."""

    differences: tuple[Difference, ...]
    ranks: tuple[Rank, ...]
    win_rates: tuple[WinRate, ...]
    agreements: tuple[Agreement, ...]
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return to_text(self)


Record = TypeVar("Record", Difference, Rank, WinRate, Agreement)
TABLES = {"differences": Difference, "ranks": Rank, "win-rates": WinRate, "agreement": Agreement}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of words and numbers as text, its head first, with the sentences that belong below it."""

    title: str
    rows: list[list[str]]
    notes: tuple[str, ...] = ()


def to_text(comparison: Comparison, tables: Sequence[str] = tuple(TABLES)) -> str:
    """Tables for a terminal; ``tables`` are keys of TABLES."""
    parts = []
    for table in tables_of(comparison, tables):
        shown = drawn(table.rows)
        parts.append("\n".join([table.title, shown[-1], *shown, *table.notes]))
    return "\n\n".join(parts)


def to_markdown(comparison: Comparison, tables: Sequence[str] = tuple(TABLES)) -> str:
    """GitHub tables; ``tables`` are keys of TABLES."""
    parts = []
    for table in tables_of(comparison, tables):
        notes = [f"- {note}" for note in table.notes]
        parts.append("\n".join([f"**{table.title}**", "", *github(table.rows), *([""] if notes else []), *notes]))
    return "\n\n".join(parts)


def to_csv(comparison: Comparison, table: str) -> str:
    """One table, a record per line: undefined values empty, eight decimals."""
    kind, records = TABLES[table], _records(comparison)[table]
    names = [field.name for field in fields(kind)]
    lines: list[dict[str, Any]] = [{name: csv_number(getattr(record, name)) for name in names} for record in records]
    if kind is Agreement:
        names.insert(names.index("disagreements"), "n_significant")
        for line in lines:
            pairs = line["disagreements"]
            line["n_significant"] = sum(pair.significant for pair in pairs)
            line["disagreements"] = "; ".join(map(str, pairs))
    return csv_of(names, lines)


def _records(comparison: Comparison) -> dict[str, Sequence[Compared]]:
    found = (comparison.differences, comparison.ranks, comparison.win_rates, comparison.agreements)
    return dict(zip(TABLES, found, strict=True))


def tables_of(comparison: Comparison, tables: Sequence[str]) -> list[Table]:
    """Data set by data set, the tables of each in the order of TABLES."""
    titles = _titles(comparison)
    return [
        table
        for place, title in titles.items()
        for name, parts in (
            ("ranks", _rank_tables(title, _at(place, comparison.ranks))),
            ("differences", _difference_tables(title, _at(place, comparison.differences))),
            ("win-rates", _win_tables(title, _at(place, comparison.win_rates))),
            ("agreement", _agreement_tables(title, _at(place, comparison.agreements))),
        )
        if name in tables
        for table in parts
    ]


def place_of(record: Compared) -> Compared:
    """What a record is about, without what was found."""
    return Compared(*(getattr(record, field.name) for field in fields(Compared)))


def _at(place: Compared, records: Iterable[Record]) -> list[Record]:
    return [record for record in records if place_of(record) == place]


def _titles(comparison: Comparison) -> dict[Compared, str]:
    """A title per data set and distortion; with the digits of ``data`` where nothing else tells two apart."""
    titles = {}
    for place in dict.fromkeys(map(place_of, comparison.differences)):
        after = "" if place.distortion == NONE else f" after {place.distortion}"
        titles[place] = f"{place.protocol} v{place.version} on {place.dataset}/{place.split}{after}"
    known = list(titles.values())
    return {
        place: f"{title}, data {place.data}" if known.count(title) > 1 else title for place, title in titles.items()
    }


def _rank_tables(title: str, ranks: Sequence[Rank]) -> list[Table]:
    """Metrics down, models across: rank, its interval, the share of resamples in which it is first."""
    models, metrics = _once(each.model for each in ranks), _once(each.metric for each in ranks)
    cells = {(each.metric, each.model): _rank_cell(each) for each in ranks}
    rows = [["metric", *models, "images"]]
    for metric in metrics:
        n = max(each.n for each in ranks if each.metric == metric)
        rows.append([metric, *(cells[metric, model] for model in models), str(n)])
    return [Table(f"{title}: rank [95 % interval] share of firsts", rows, _left_out(ranks[0].n_left_out))]


def _rank_cell(each: Rank) -> str:
    if math.isnan(each.rank):
        return "undefined"
    if math.isnan(each.mean_rank):
        return f"{each.rank:g}"
    return f"{each.rank:g} [{each.rank_low:g}, {each.rank_high:g}] {100 * each.first:.0f} %"


def _difference_tables(title: str, differences: Sequence[Difference]) -> list[Table]:
    rows = [["metric", "a", "b", "value a", "value b", "a - b", "p", "better", "images"]]
    for each in differences:
        values = [_short(value) for value in (each.value_a, each.value_b)]
        n = str(each.n) + (f" -{each.n_left_out}" if each.n_left_out else "")
        better = each.better + (" *" if each.significant else "")
        rows.append([each.metric, each.model_a, each.model_b, *values, _with_interval(each), _short(each.p), better, n])
    notes = ("* the interval of the difference leaves out 0; p is not corrected for the number of comparisons",)
    return [Table(f"{title}: paired differences [95 % interval]", rows, notes)]


def _with_interval(each: Difference) -> str:
    if math.isnan(each.difference):
        return "undefined"
    interval = "" if math.isnan(each.ci_low) else f" [{each.ci_low:+.4f}, {each.ci_high:+.4f}]"
    return f"{each.difference:+.4f}{interval}"


def _win_tables(title: str, rates: Sequence[WinRate]) -> list[Table]:
    """A matrix per metric: share of images on which the row's model beats the column's."""
    tables = []
    for metric in _once(each.metric for each in rates):
        part = [each for each in rates if each.metric == metric]
        models = _once(model for each in part for model in (each.model_a, each.model_b))
        cells = {(each.model_a, each.model_b): _percent(each.win_rate) for each in part}
        cells |= {(each.model_b, each.model_a): _percent(1 - each.win_rate) for each in part}
        rows = [["wins against", *models]] + [[a, *(cells.get((a, b), "") for b in models)] for a in models]
        tables.append(Table(f"{title}: share of images won, {metric}", rows))
    return tables


def _agreement_tables(title: str, agreements: Sequence[Agreement]) -> list[Table]:
    """A matrix of tau, and below it the models whose order depends on the metric although both are sure."""
    if not agreements:
        return []
    metrics = _once(metric for each in agreements for metric in (each.metric_a, each.metric_b))
    known = [each for each in agreements if not math.isnan(each.tau)]
    cells = {pair: f"{each.tau:.2f}" for each in known for pair in _both_ways(each)}
    numbers = [str(place + 1) for place in range(len(metrics))]
    rows = [["", "metric", *numbers]]
    for number, a in zip(numbers, metrics, strict=True):
        rows.append([number, a, *("1" if a == b else cells.get((a, b), "") for b in metrics)])
    sure, unsure = _deciding(agreements)
    notes = [
        f"the metric decides between {a} and {b}, all significant: {a} by {', '.join(by_a)}; {b} by {', '.join(by_b)}"
        for (a, by_a), (b, by_b) in sure
    ]
    if unsure:
        notes.append(f"{unsure} more times two metrics disagree on two models, but not both significantly")
    return [Table(f"{title}: do metrics agree on the order of models (Kendall's tau-b)", rows, tuple(notes))]


def _deciding(agreements: Sequence[Agreement]) -> tuple[list[list[tuple[str, list[str]]]], int]:
    """Two models, each with the metrics that put it before the other for sure; how many disagreements are not sure."""
    found: dict[frozenset[str], dict[str, list[str]]] = {}
    unsure = 0
    for each in agreements:
        for pair in each.disagreements:
            if not pair.significant:
                unsure += 1
                continue
            by_model = found.setdefault(frozenset((pair.a, pair.b)), {})
            for model, metric in ((pair.a, each.metric_a), (pair.b, each.metric_b)):
                by_model.setdefault(model, []).append(metric)
    return [[(model, _once(metrics)) for model, metrics in by_model.items()] for by_model in found.values()], unsure


def _both_ways(each: Agreement) -> list[tuple[str, str]]:
    return [(each.metric_a, each.metric_b), (each.metric_b, each.metric_a)]


def _left_out(n: int) -> tuple[str, ...]:
    return (f"{n} images are left out, on which a model failed",) if n else ()


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f} %"
