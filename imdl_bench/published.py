"""Numbers that papers print, read from ``results/published``, and which of them stand beside a number of ours."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from imdl_bench import catalog
from imdl_bench.cards import read_card
from imdl_bench.columns import drawn, github
from imdl_bench.errors import CardError, UsageError, nearest
from imdl_bench.metrics.names import parse_metric

LEVELS = ("pixel", "image", "")
TRAIN_SETTINGS = ("pretrained", "finetuned", "benchmark-trained", "unsupervised", "")
UNITS = {"percent": (0, 100), "fraction": (-1, 1), "seconds": (0, math.inf), "count": (0, math.inf)}
SIGNS = {"percent": " %", "seconds": " s"}
NEEDED = ("table", "method", "distortion", "metric")
NAMES = "names.yaml"


@dataclass(frozen=True, slots=True)
class PublishedNumber:
    """One number as a paper prints it; the columns of ``results/published/*.csv`` (meanings in the README there).

    Words are the paper's own; :func:`match` knows which of ours they mean.

    Attributes:
        value: with the digits of the print, in ``unit``: ``percent`` (0 to 100), ``fraction`` (0 to 1, some measures
            from -1), ``seconds`` or ``count``.
        suspect: why the number, or a word beside it, is likely wrong. Not empty: show it struck, never compare it.
    """

    paper: str
    table: str
    method: str
    variant: str
    train_setting: str
    train_set: str
    dataset: str
    split: str
    distortion: str
    level: str
    metric: str
    value: Decimal
    unit: str
    note: str
    suspect: str

    @property
    def fraction(self) -> float:
        """The value as our leaderboards have it, 0.982 for 98.2 percent; nan for seconds and counts."""
        scale = {"percent": 100, "fraction": 1}.get(self.unit)
        return math.nan if scale is None else float(self.value / scale)


@dataclass(frozen=True, slots=True)
class Match:
    """A published number that stands beside one of ours, and what may differ between the two."""

    number: PublishedNumber
    caveats: tuple[str, ...]


COLUMNS = tuple(field.name for field in fields(PublishedNumber))
Column = Literal[
    "paper",
    "table",
    "method",
    "variant",
    "train_setting",
    "train_set",
    "dataset",
    "split",
    "distortion",
    "level",
    "metric",
]


class _Rule(BaseModel):
    """What words of the papers mean here: the first rule whose every column holds one of its words decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    where: dict[Column, list[str]] = Field(min_length=1)
    ours: list[str] = Field(description="empty: there is no counterpart")
    caveat: str = ""


class _Names(BaseModel):
    """``names.yaml`` beside the CSV files: for models, data sets, distortions and metrics, rules in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    models: list[_Rule]
    datasets: list[_Rule]
    distortions: list[_Rule]
    metrics: list[_Rule]


def read_published(paper: str | None = None) -> list[PublishedNumber]:
    """The numbers of one paper, or of all of them, in the order of the files.

    Papers are the CSV files in ``results/published`` of the package and of every folder on ``IMDL_BENCH_PATH``.

    Raises:
        UsageError: no such paper; names the nearest.
        CardError: a file that cannot be read; names file, line and column.
    """
    known = catalog.published_papers()
    if paper is not None and paper not in known:
        raise UsageError(f"no paper {paper!r}{nearest(paper, known)} (known: {', '.join(known)})")
    paths = known.values() if paper is None else [known[paper]]
    return [number for path in paths for number in _read(path)]


def select(numbers: Sequence[PublishedNumber], wanted: Mapping[str, str | None]) -> list[PublishedNumber]:
    """Those that carry the wanted word in each column, such as ``{"dataset": "casia_v1"}``; ``None`` takes all.

    Case does not matter, nor do spaces and signs where no word is the same with them (``psccnet`` is PSCC-Net).

    Raises:
        UsageError: no number that is left carries the word; names the nearest.
    """
    for column, word in wanted.items():
        if word is None:
            continue
        known = sorted({getattr(number, column) for number in numbers} - {""})
        chosen = [name for name in known if name.casefold() == word.casefold()]
        chosen = chosen or [name for name in known if _letters(name) == _letters(word)]
        if not chosen:
            raise UsageError(
                f"no published number has {column} {word!r}{nearest(word, known)} (here: {_listed(known)})"
            )
        numbers = [number for number in numbers if getattr(number, column) in chosen]
    return list(numbers)


def match(
    model: str, dataset: str, split: str, distortion: str, metric: str, *, score_rule: str = "model"
) -> list[Match]:
    """The published numbers that stand beside one of ours, suspect ones too.

    Args:
        model: with its settings, as in a leaderboard's column; weights are not looked at: ``train_setting`` and
            ``train_set`` of each number say what its network had learned.
        dataset, split: as in the data set's card.
        distortion: ``none``, or a label such as ``jpeg(quality=50)``.
        metric: such as ``pixel_auc/per-image``.
        score_rule: where image scores come from (``model``, ``mask-mean``, ``mask-max``), if the metric does not say.

    Raises:
        UsageError: no such metric.
        CardError: a file under ``results/published`` that cannot be used.
    """
    key = (model, f"{dataset}/{split}", distortion, _canonical_metric(metric, score_rule))
    return list(_beside(tuple(catalog.published_papers().values())).get(key, ()))


def to_csv(numbers: Iterable[PublishedNumber]) -> str:
    """The numbers in the files' own columns."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(number) for number in numbers)
    return buffer.getvalue()


def to_text(numbers: Sequence[PublishedNumber]) -> str:
    """A table for a terminal; ``?`` marks suspect numbers, notes stand below."""
    table, notes = _table(numbers, struck="? {}")
    return "\n".join([*drawn(table), *notes])


def to_markdown(numbers: Sequence[PublishedNumber]) -> str:
    """A GitHub table; suspect numbers are struck through, notes stand below."""
    table, notes = _table(numbers, struck="~~{}~~")
    return "\n".join([*github(table), *(f"\n{note}" for note in notes)])


def _read(path: Path) -> list[PublishedNumber]:
    try:
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: cannot be read: {error}") from None
    try:
        head = next(reader, [])
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise CardError(f"{path}: line {reader.line_num}: cannot be read: {error}") from None
    for name in head:
        if name not in COLUMNS:
            raise CardError(f"{path}: line 1: unknown column {name!r}{nearest(name, COLUMNS)}")
    if missing := [name for name in COLUMNS if name not in head]:
        raise CardError(f"{path}: line 1: missing columns: {', '.join(missing)}")
    if repeated := [name for name, count in Counter(head).items() if count > 1]:
        raise CardError(f"{path}: line 1: column {repeated[0]!r} stands there twice")
    problems = [
        f"{path}: line {line}{problem}" for line, row in rows for problem in _problems(head, row, path.stem)
    ] or [f"{path}: line {later}: the same cell as line {first}" for first, later in _repeated(head, rows)]
    if problems:
        raise CardError("\n".join(problems))
    return [_number(dict(zip(head, row, strict=True))) for _, row in rows]


def _number(cells: dict[str, Any]) -> PublishedNumber:
    return PublishedNumber(**(cells | {"value": Decimal(cells["value"])}))


def _problems(head: Sequence[str], row: Sequence[str], paper: str) -> Iterator[str]:
    if len(row) != len(head):
        yield f": {len(row)} cells for {len(head)} columns (a comma in a text needs quotes around it)"
        return
    cells = dict(zip(head, row, strict=True))
    for column, cell in cells.items():
        if cell != cell.strip():
            yield f", column {column!r}: {cell!r} begins or ends with a space"
        elif not cell and column in NEEDED:
            yield f", column {column!r}: is empty"
    if cells["paper"] != paper:
        yield f", column 'paper': {cells['paper']!r} differs from the file's name {paper!r}"
    for column, known in (("level", LEVELS), ("train_setting", TRAIN_SETTINGS), ("unit", tuple(UNITS))):
        if cells[column] not in known:
            near = nearest(cells[column], known)
            yield f", column {column!r}: unknown word {cells[column]!r}{near} (known: {_listed(known)})"
    low, high = UNITS.get(cells["unit"], (-math.inf, math.inf))
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", cells["value"]):
        yield f", column 'value': {cells['value']!r} is no number; write digits as the paper prints them"
    elif not low <= Decimal(cells["value"]) <= high:
        yield f", column 'value': {cells['value']} is outside {low} to {high}, where {cells['unit']} goes"


def _repeated(head: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]) -> Iterator[tuple[int, int]]:
    """Lines that differ from an earlier one in nothing but their value and what is said about it."""
    key = [place for place, name in enumerate(head) if name not in ("value", "unit", "note", "suspect")]
    first: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        earlier = first.setdefault(tuple(row[place] for place in key), line)
        if earlier != line:
            yield earlier, line


@cache
def _beside(papers: tuple[Path, ...]) -> dict[tuple[str, ...], list[Match]]:
    """Every published number by what it stands beside: model, data set and split, distortion, metric."""
    found: dict[tuple[str, ...], list[Match]] = {}
    for path in papers:
        names = _read_names(path.with_name(NAMES))
        for number in _read(path):
            rules = [
                _rule(names.models, number, "models", path),
                _rule(names.datasets, number, "datasets", path),
                _rule(names.distortions, number, "distortions", path),
                _rule(names.metrics, number, "metrics", path),
            ]
            entry = Match(number, tuple(rule.caveat for rule in rules if rule.caveat))
            for key in product(*(rule.ours for rule in rules)):
                found.setdefault(key, []).append(entry)
    return found


def _rule(rules: Sequence[_Rule], number: PublishedNumber, part: str, path: Path) -> _Rule:
    for rule in rules:
        if all(getattr(number, column) in words for column, words in rule.where.items()):
            return rule
    about = {
        "models": (number.method, number.variant),
        "datasets": (number.dataset, number.split),
        "distortions": (number.distortion,),
        "metrics": (number.level, number.metric),
    }[part]
    raise CardError(
        f"{path.with_name(NAMES)}: key {part!r}: no rule for {_listed(about)} of {path.name} (table {number.table}); "
        "add one, with `ours: []` if nothing of ours is the same"
    )


def _read_names(path: Path) -> _Names:
    """Read and check ``names.yaml``; models and metrics come back in the one spelling that tables use."""
    names = read_card(path, _Names)
    return _Names(
        models=[_checked(path, f"models.{place}", rule, _canonical_model) for place, rule in enumerate(names.models)],
        datasets=[_checked(path, f"datasets.{place}", rule, _known_split) for place, rule in enumerate(names.datasets)],
        distortions=[_checked(path, f"distortions.{n}", rule, _distortion) for n, rule in enumerate(names.distortions)],
        metrics=[_checked(path, f"metrics.{n}", rule, _canonical_metric) for n, rule in enumerate(names.metrics)],
    )


def _checked(path: Path, key: str, rule: _Rule, check: Callable[[str], str]) -> _Rule:
    try:
        return rule.model_copy(update={"ours": [check(word) for word in rule.ours]})
    except UsageError as error:
        raise CardError(f"{path}: key '{key}.ours': {error}") from None


def _canonical_model(text: str) -> str:
    return catalog.read_spec(text)[0].model


def _known_split(text: str) -> str:
    dataset, _, split = text.partition("/")
    known = ["full", *catalog.dataset_card(dataset).splits]
    if split not in known:
        raise UsageError(f"{text!r}: {dataset} has no split {split!r}{nearest(split, known)}; write DATASET/SPLIT")
    return text


def _distortion(text: str) -> str:
    if text != "none" and not re.fullmatch(r"[a-z_]+\([^()]+\)(\+[a-z_]+\([^()]+\))*", text):
        raise UsageError(f"{text!r} is no distortion; write none, or a label such as jpeg(quality=50)")
    return text


def _canonical_metric(name: str, score_rule: str = "model") -> str:
    """Image metrics always with the rule that their scores follow, which a protocol may leave to its ``score``."""
    metric = parse_metric(name)
    if metric.level != "image" or metric.rule is not None:
        return name
    start = f"image_{metric.stat}"
    return f"{start}[{score_rule}]{name.removeprefix(start)}"


def _table(numbers: Sequence[PublishedNumber], *, struck: str) -> tuple[list[list[str]], list[str]]:
    """Rows of cells under a head, columns that are empty throughout left out, and the numbered notes."""
    notes: dict[str, int] = {}
    rows = [["paper", "table", "method", "variant", "trained", "data", "distortion", "metric", "value", "notes"]]
    for number in numbers:
        value = f"{number.value}{SIGNS.get(number.unit, '')}"
        said = [f"suspect: {number.suspect}" if number.suspect else "", number.note]
        rows.append(
            [
                *(number.paper, number.table, number.method, number.variant),
                ": ".join(filter(None, (number.train_setting, number.train_set))),
                ", ".join(filter(None, (number.dataset, number.split))),
                *(number.distortion, f"{number.level} {number.metric}".strip()),
                struck.format(value) if number.suspect else value,
                " ".join(f"[{notes.setdefault(text, len(notes) + 1)}]" for text in filter(None, said)),
            ]
        )
    filled = [column for column in zip(*rows, strict=True) if any(column[1:])]
    below = [f"[{place}] {text}" for text, place in notes.items()]
    if count := sum(bool(number.suspect) for number in numbers):
        mark = struck.format("marked")
        below.append(f"{mark}: {count} of {len(numbers)} numbers are suspect; they are shown, never to be compared")
    return [list(row) for row in zip(*filled, strict=True)], below


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _listed(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words))
