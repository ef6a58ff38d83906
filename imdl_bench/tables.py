"""Leaderboards and rows as files and tables: tidy CSV, Parquet, text for a terminal, Markdown, LaTeX."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from imdl_bench.cache import write_atomically
from imdl_bench.cards import RECORDED
from imdl_bench.columns import csv_number, csv_of, drawn, github
from imdl_bench.contamination import is_contaminated
from imdl_bench.distortions import NONE
from imdl_bench.leaderboard import Line
from imdl_bench.metrics.names import parse_metric
from imdl_bench.metrics.pixel import has_own_value
from imdl_bench.records import Row, RunFile
from imdl_bench.runs import model_labels
from imdl_bench.weights import is_untrained

ROW_COLUMNS = (
    *("sample", "distortion", "forged", "kind", "group", "status", "reason", "warnings"),
    *("height", "width", "file_size", "seconds", "score", "mask_mean", "mask_max"),
)

DAGGER = "†"  # behind the name of a model that may have been trained on what it is tested on


def export_rows(run: Path, *, timing: bool) -> list[Path]:
    """Write a run's rows beside its file: ``rows.csv``, and ``rows.parquet`` where pyarrow is installed.

    ``seconds`` stays empty unless ``timing``: wall times differ from run to run, these files do not.
    """
    with RunFile(run) as file:
        meta, rows = file.read_meta(), file.rows()
    metrics = [parse_metric(name) for name in meta["protocol"]["metrics"]]
    own = [(place, metric.name) for place, metric in enumerate(metrics) if has_own_value(metric)]
    remark = ("untrained: random weights",) if is_untrained(meta["key"]["weights"]) else ()
    table: list[dict[str, Any]] = [_exported(row, own, remark, timing=timing) for row in rows]
    written = [run.with_name("rows.csv")]
    write_atomically(written[0], csv_of(list(table[0]), table).encode())
    if importlib.util.find_spec("pyarrow") is not None:
        import pyarrow
        import pyarrow.parquet

        written.append(run.with_name("rows.parquet"))
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), buffer)
        write_atomically(written[1], buffer.getvalue())
    return written


def to_csv(lines: Sequence[Line], *, timing: bool) -> str:
    """The tidy CSV: one number per line, undefined values empty, eight decimals."""
    names = [field.name for field in fields(Line)]
    table = []
    for line in lines:
        entry = {name: csv_number(getattr(line, name)) for name in names}
        if not timing:
            entry["seconds_per_image"] = ""
        table.append(entry)
    return csv_of(names, table)


def to_text(lines: Sequence[Line]) -> str:
    """Tables for a terminal: per data set and protocol, metrics down, models across, intervals in brackets.

    Behind the last table of a data set stand what a reader must know of its runs, and what papers print.
    """
    parts = _by_data(lines)
    on_data: dict[tuple[str, int, str, str], list[Line]] = {}
    for _, part in parts:
        on_data.setdefault(part[0].place, []).extend(part)
    texts = []
    for place, (title, part) in enumerate(parts):
        follows = place + 1 < len(parts) and parts[place + 1][1][0].place == part[0].place
        said = [] if follows else [*_notes(on_data[part[0].place]), *_beside(on_data[part[0].place])]
        texts.append("\n".join([*_text_table(title, part), *said]))
    return "\n\n".join(texts)


def overview(lines: Sequence[Line]) -> str:
    """Of a protocol with several data sets and metrics, the first metric: data down, models across; empty without."""
    first = [line for line in lines if line.metric == lines[0].metric]
    if len(first) == len(lines):
        return ""
    return "\n\n".join("\n".join(_text_table(title, part)) for title, part in _by_data(first) if _across_data(part))


def to_html(lines: Sequence[Line]) -> str:
    """Tables for a notebook: per data set, models down, metrics across, and what a reader must know below."""
    marks = Marks("<b>{}</b>", "<s>{}</s>", escape, "")
    parts = []
    for title, part in _by_data(lines):
        head, *body = _rows(part, marks)
        cells = "".join(f"<th>{cell}</th>" for cell in head)
        rows = "".join(f"<tr><th>{first}</th>{''.join(f'<td>{c}</td>' for c in rest)}</tr>" for first, *rest in body)
        notes = "".join(f"<p>{escape(note)}</p>" for note in _notes(part))
        parts.append(f"<p><b>{escape(title)}</b></p><table><tr>{cells}</tr>{rows}</table>{notes}")
    return "".join(parts)


def to_markdown(lines: Sequence[Line]) -> str:
    """GitHub tables: per data set, models down, metrics across, best in bold; printed numbers beside each model's."""
    marks = Marks("**{}**", "~~{}~~", str, "")
    parts = []
    for title, part in _by_data(lines):
        table = github(_rows(part, marks), others="---:")
        parts.append("\n".join([f"**{title}**", "", *table, *(f"\n{note}" for note in _notes(part))]))
    return "\n\n".join(parts)


def to_latex(lines: Sequence[Line]) -> str:
    """``tabular`` environments: per data set, models down, metrics across, best in bold, printed numbers beside.

    Needs the packages booktabs, and ulem (option normalem) where a suspect number is struck out.
    """
    marks = Marks(r"\textbf{{{}}}", r"\sout{{{}}}", _tex, "--")
    parts = []
    for title, part in _by_data(lines):
        rows = _rows(part, marks)
        head, *body = (" & ".join(row) + r" \\" for row in rows)
        columns = f"\\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}"
        table = [f"% {title}", columns, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
        parts.append("\n".join([*table, *(f"% {note}" for note in _notes(part))]))
    return "\n\n".join(parts)


def _exported(row: Row, own: Sequence[tuple[int, str]], remark: tuple[str, ...], *, timing: bool) -> dict[str, Any]:
    values = np.frombuffer(row.values, "<f8") if row.values else None
    table = {name: getattr(row, name) for name in ROW_COLUMNS}
    table |= {"warnings": "; ".join(remark + row.warnings), "seconds": row.seconds if timing else None}
    table |= {
        name: None if values is None or math.isnan(values[place]) else float(values[place]) for place, name in own
    }
    return table


def _by_data(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Tables: per data set the metrics; of one metric alone the data sets; of several levels, per metric the levels."""
    levels: dict[tuple[str, int, str, str], set[str]] = {}
    metrics: dict[tuple[str, int], set[str]] = {}
    for line in lines:
        levels.setdefault(line.place, set()).add(line.distortion)
        metrics.setdefault((line.protocol, line.version), set()).add(line.metric)
    parts: dict[str, list[Line]] = {}
    for line in lines:
        title = f"{line.protocol} v{line.version} on {line.dataset}/{line.split}"
        several = sum(place[:2] == (line.protocol, line.version) for place in levels) > 1
        if several and len(metrics[line.protocol, line.version]) == 1 and levels[line.place] == {NONE}:
            title = f"{line.protocol} v{line.version}: {line.metric}"
        elif len(levels[line.place]) > 1:
            title += f": {line.metric}"
        elif line.distortion != NONE:
            title += f" after {line.distortion}"
        parts.setdefault(title, []).append(line)
    return list(parts.items())


def _heading(lines: Sequence[Line]) -> Callable[[Line], str]:
    """What tells the lines of one model apart within a table."""
    if _across_data(lines):
        return lambda line: f"{line.dataset}/{line.split}"
    if len({line.distortion for line in lines}) > 1:
        return lambda line: line.distortion
    return lambda line: line.metric


def _across_data(lines: Sequence[Line]) -> bool:
    return len({line.place for line in lines}) > 1


def _labels(lines: Sequence[Line]) -> dict[str, str]:
    """A name per run. Across data sets the dagger stands at the numbers that it is about."""
    return _models(lines) if _across_data(lines) else labels_of(lines)


def _models(lines: Sequence[Line]) -> dict[str, str]:
    """The model of each run, with the run's hash where one model has several runs on the same data."""
    on_data: dict[tuple[str, int, str, str], dict[str, tuple[str, str]]] = {}
    for line in lines:
        on_data.setdefault(line.place, {})[line.run] = (line.model, line.weights)
    return {run: label for runs in on_data.values() for run, label in model_labels(runs).items()}


@dataclass(frozen=True, slots=True)
class Marks:
    """How a format writes the best of a column, a suspect number, any text, and nothing."""

    best: str
    suspect: str
    text: Callable[[str], str]
    nothing: str


def _rows(lines: Sequence[Line], marks: Marks) -> list[list[str]]:
    """Head and body of a table: models down, metrics or data sets across; of a sweep, levels down, models across.

    What papers print for a model stands beside it.
    """
    labels, heading, across_data = _labels(lines), _heading(lines), _across_data(lines)
    columns = list(dict.fromkeys(map(heading, lines)))
    best = {column: best_value([line for line in lines if heading(line) == column]) for column in columns}
    rows = [[marks.text(text) for text in ("model", *columns)]]
    for label in dict.fromkeys(labels[line.run] for line in lines):
        own = {heading(line): line for line in lines if labels[line.run] == label}
        cells = [_cell(own.get(column), best[column], marks) for column in columns]
        daggers = [
            marks.text(DAGGER) if across_data and column in own and _is_marked(own[column]) else ""
            for column in columns
        ]
        rows.append([marks.text(label), *map(str.__add__, cells, daggers)])
        if any(line.published_in for line in own.values()):
            printed = [_printed(own.get(column), marks) for column in columns]
            rows.append([marks.text(f"{label.removesuffix(DAGGER)} as published"), *printed])
    if across_data or columns[0] == lines[0].metric:
        return rows
    rows[0][0] = "distortion"
    return [list(column) for column in zip(*rows, strict=True)]


def best_value(lines: Sequence[Line]) -> float:
    """The best among values of one metric; nan where it would mean nothing.

    Only models that have learned something and bear no dagger take part, at least two of them, on the same data: others
    may have the better number without being better.
    """
    fit = [line for line in lines if not (math.isnan(line.value) or is_untrained(line.weights) or _is_marked(line))]
    if len(fit) < 2 or len({line.data for line in fit}) > 1:
        return math.nan
    return (min if parse_metric(fit[0].metric).statistic.lower_is_better else max)(line.value for line in fit)


def is_best(line: Line, best: float) -> bool:
    """Whether a line ties, to the digits that tables show, with the :func:`best_value` of those it stands among."""
    return not (is_untrained(line.weights) or _is_marked(line)) and f"{line.value:.4f}" == f"{best:.4f}" != "nan"


def _is_marked(line: Line) -> bool:
    return is_contaminated(line.contamination)


def _cell(line: Line | None, best: float, marks: Marks) -> str:
    if line is None or math.isnan(line.value):
        return marks.nothing
    text = f"{line.value:.4f}"
    return marks.best.format(text) if is_best(line, best) else text


def _printed(line: Line | None, marks: Marks) -> str:
    if line is None or not line.published_in:
        return marks.nothing
    text = f"{line.published:g}"
    return marks.suspect.format(text) if line.published_suspect else text


def labels_of(lines: Sequence[Line]) -> dict[str, str]:
    """A name per run: the model's, with the run's hash where one model has several runs on the same data, and a dagger
    where the model was, or is likely to have been, trained on what it is tested on."""
    marked = {line.run for line in lines if _is_marked(line)}
    return {run: label + DAGGER if run in marked else label for run, label in _models(lines).items()}


def _text_table(title: str, lines: list[Line]) -> list[str]:
    labels, heading = _labels(lines), _heading(lines)
    by_model: dict[str, list[Line]] = {}
    for line in lines:
        by_model.setdefault(labels[line.run], []).append(line)
    cells = {(labels[line.run], heading(line)): _with_interval(line) for line in lines}
    rows = list(dict.fromkeys(map(heading, lines)))
    first = "data" if _across_data(lines) else "metric" if rows[0] == lines[0].metric else "distortion"
    table = [[first, *by_model]] + [[row, *(cells.get((model, row), "") for model in by_model)] for row in rows]
    table.append(["images failed", *(str(_failed(part)) for part in by_model.values())])
    seconds = [_seconds(part) for part in by_model.values()]
    table.append(["seconds per image", *("-" if math.isnan(each) else f"{each:.3f}" for each in seconds)])
    table += _relative_times(list(by_model.values()), seconds)
    shown = drawn(table)
    return [title, shown[-1], *shown]


def _beside(lines: Sequence[Line]) -> list[str]:
    """Published, ours, difference, interval and n, row by row, where papers print the same thing."""
    labels, notes = _who(lines), dict[str, int]()
    table = [["model", "distortion", "metric", "published", "ours", "difference", "interval", "n", "in", "notes"]]
    for line in (line for line in lines if line.published_in):
        places = [notes.setdefault(text, len(notes) + 1) for text in line.about_published]
        table.append(
            [
                *(labels[line.run], line.distortion, line.metric),
                f"? {line.published:g}" if line.published_suspect else f"{line.published:g}",
                "undefined" if math.isnan(line.value) else f"{line.value:.4f}",
                "" if math.isnan(line.difference) else f"{line.difference:+.4f}",
                "" if math.isnan(line.ci_low) else f"[{line.ci_low:.3f}, {line.ci_high:.3f}]",
                *(str(line.n), line.published_in, " ".join(f"[{place}]" for place in places)),
            ]
        )
    if len(table) == 1:
        return []
    return ["", "beside published numbers", *drawn(table), *(f"[{n}] {note}" for note, n in notes.items())]


def _notes(lines: Sequence[Line]) -> list[str]:
    """What a reader of the table must know about each run: failures, and its remarks."""
    labels = _who(lines)
    notes: dict[str, list[str]] = {}
    for line in {line.run: line for line in lines}.values():
        n_failed = _failed([other for other in lines if other.run == line.run])
        if n_failed:
            notes.setdefault(f"{n_failed} images failed", []).append(labels[line.run])
        for note in filter(None, (line.contamination, line.remarks)):
            notes.setdefault(note, []).append(labels[line.run])
    return [f"{', '.join(models)}: {note}" for note, models in notes.items()]


def _who(lines: Sequence[Line]) -> dict[str, str]:
    """A name per run, with its data where there are several."""
    labels = _labels(lines)
    on = {line.run: f" on {line.dataset}/{line.split}" for line in lines} if _across_data(lines) else {}
    return {run: f"{label}{on.get(run, '')}" for run, label in labels.items()}


def _failed(lines: Sequence[Line]) -> int:
    """Of one model, over its runs and levels."""
    return sum({(line.run, line.distortion): line.n_failed for line in lines}.values())


def _relative_times(models: Sequence[Sequence[Line]], seconds: Sequence[float]) -> list[list[str]]:
    """Where a model stands beside itself with other settings: its time as a part of its time without them."""
    timed = [(part[0], each) for part, each in zip(models, seconds, strict=True)]
    plain = {_without_settings(line): each for line, each in timed if line.model == _without_settings(line)[0]}
    if not any(_without_settings(line) in plain and _without_settings(line)[0] != line.model for line, _ in timed):
        return []
    ratios = [each / (plain.get(_without_settings(line)) or math.nan) for line, each in timed]
    return [["relative time", *("-" if math.isnan(ratio) else f"{ratio:.2f}" for ratio in ratios)]]


def _without_settings(line: Line) -> tuple[str, str]:
    return line.model if line.model.startswith(f"{RECORDED}:") else line.model.partition(":")[0], line.weights


def _seconds(lines: Sequence[Line]) -> float:
    """Of one model, the mean over its runs and levels; nan where it is not known."""
    seconds = {(line.run, line.distortion): line.seconds_per_image for line in lines}
    known = [each for each in seconds.values() if not math.isnan(each)]
    return sum(known) / len(known) if known else math.nan


def _with_interval(line: Line) -> str:
    if math.isnan(line.value):
        return f"undefined (n={line.n})"
    interval = "" if math.isnan(line.ci_low) else f" [{line.ci_low:.3f}, {line.ci_high:.3f}]"
    return f"{line.value:.4f}{interval} n={line.n}" + (f" ({line.n_skipped} skipped)" if line.n_skipped else "")


def _tex(text: str) -> str:
    words = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", DAGGER: r"\dag{}"}
    escaped = {letter: f"\\{letter}" for letter in "_%#&${}"}
    return "".join((words | escaped).get(letter, letter) for letter in text)
