"""Leaderboards and rows as files and tables: tidy CSV, Parquet, text for a terminal, Markdown, LaTeX."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from imdl_bench.cache import write_atomically
from imdl_bench.columns import csv_number, csv_of, drawn
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
    """Tables for a terminal: per data set and protocol, metrics down, models across, intervals in brackets."""
    return "\n\n".join(_text_table(title, part) for title, part in _by_data(lines))


def to_html(lines: Sequence[Line]) -> str:
    """Tables for a notebook: per data set, models down, metrics across, and what a reader must know below."""
    parts = []
    for title, part in _by_data(lines):
        metrics, models, cells = _grid(part)
        head = "".join(f"<th>{escape(name)}</th>" for name in ("model", *metrics))
        body = "".join(
            "".join(["<tr>", f"<th>{escape(model)}</th>", *(f"<td>{cells.get((model, m), '')}</td>" for m in metrics)])
            for model in models
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in _notes(part))
        parts.append(f"<p><b>{escape(title)}</b></p><table><tr>{head}</tr>{body}</table>{notes}")
    return "".join(parts)


def to_markdown(lines: Sequence[Line]) -> str:
    """GitHub tables: per data set, models down, metrics across."""
    parts = []
    for title, part in _by_data(lines):
        metrics, models, cells = _grid(part)
        head = f"| model | {' | '.join(metrics)} |\n|---|{'---:|' * len(metrics)}"
        body = [f"| {model} | {' | '.join(cells.get((model, m), '') for m in metrics)} |" for model in models]
        parts.append("\n".join([f"**{title}**", "", head, *body, *(f"\n{note}" for note in _notes(part))]))
    return "\n\n".join(parts)


def to_latex(lines: Sequence[Line]) -> str:
    """``tabular`` environments (booktabs): per data set, models down, metrics across."""
    parts = []
    for title, part in _by_data(lines):
        metrics, models, cells = _grid(part)
        rows = [[_tex(model), *(cells.get((model, m), "--") for m in metrics)] for model in models]
        parts.append(
            "\n".join(
                [
                    f"% {title}",
                    f"\\begin{{tabular}}{{l{'r' * len(metrics)}}}",
                    "\\toprule",
                    " & ".join(["model", *map(_tex, metrics)]) + r" \\",
                    "\\midrule",
                    *(" & ".join(row) + r" \\" for row in rows),
                    "\\bottomrule",
                    "\\end{tabular}",
                    *(f"% {note}" for note in _notes(part)),
                ]
            )
        )
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
    """Tables: per data set the metrics; where there are several levels of distortion, per metric the levels."""
    levels: dict[tuple[str, int, str, str], set[str]] = {}
    for line in lines:
        levels.setdefault((line.protocol, line.version, line.dataset, line.split), set()).add(line.distortion)
    parts: dict[str, list[Line]] = {}
    for line in lines:
        title = f"{line.protocol} v{line.version} on {line.dataset}/{line.split}"
        if len(levels[line.protocol, line.version, line.dataset, line.split]) > 1:
            title += f": {line.metric}"
        elif line.distortion != NONE:
            title += f" after {line.distortion}"
        parts.setdefault(title, []).append(line)
    return list(parts.items())


def _heading(lines: Sequence[Line]) -> Callable[[Line], str]:
    """What tells the lines of one model apart within a table."""
    if len({line.distortion for line in lines}) > 1:
        return lambda line: line.distortion
    return lambda line: line.metric


def _grid(lines: Sequence[Line]) -> tuple[list[str], list[str], dict[tuple[str, str], str]]:
    labels, heading = _labels(lines), _heading(lines)
    cells = {(labels[line.run], heading(line)): "" if math.isnan(line.value) else f"{line.value:.4f}" for line in lines}
    return list(dict.fromkeys(map(heading, lines))), list(dict.fromkeys(labels[line.run] for line in lines)), cells


def _labels(lines: Sequence[Line]) -> dict[str, str]:
    return model_labels({line.run: (line.model, line.weights) for line in lines})


def _text_table(title: str, lines: list[Line]) -> str:
    labels, heading = _labels(lines), _heading(lines)
    by_model: dict[str, list[Line]] = {}
    for line in lines:
        by_model.setdefault(labels[line.run], []).append(line)
    cells = {(labels[line.run], heading(line)): _with_interval(line) for line in lines}
    rows = list(dict.fromkeys(map(heading, lines)))
    first = "metric" if rows[0] == lines[0].metric else "distortion"
    table = [[first, *by_model]] + [[row, *(cells.get((model, row), "") for model in by_model)] for row in rows]
    table.append(["images failed", *(str(_failed(part)) for part in by_model.values())])
    table.append(["seconds per image", *(_seconds(part) for part in by_model.values())])
    shown = drawn(table)
    return "\n".join([title, shown[-1], *shown, *_notes(lines)])


def _notes(lines: Sequence[Line]) -> list[str]:
    """What a reader of the table must know about each run: failures, and its remarks."""
    labels = _labels(lines)
    notes: dict[str, list[str]] = {}
    for line in {line.run: line for line in lines}.values():
        n_failed = _failed([other for other in lines if other.run == line.run])
        if n_failed:
            notes.setdefault(f"{n_failed} images failed", []).append(labels[line.run])
        if line.remarks:
            notes.setdefault(line.remarks, []).append(labels[line.run])
    return [f"{', '.join(models)}: {note}" for note, models in notes.items()]


def _failed(lines: Sequence[Line]) -> int:
    """Of one run, over its levels."""
    return sum({line.distortion: line.n_failed for line in lines}.values())


def _seconds(lines: Sequence[Line]) -> str:
    """Of one run, the mean over its levels."""
    known = [s for s in {line.distortion: line.seconds_per_image for line in lines}.values() if not math.isnan(s)]
    return f"{sum(known) / len(known):.3f}" if known else "-"


def _with_interval(line: Line) -> str:
    if math.isnan(line.value):
        return f"undefined (n={line.n})"
    interval = "" if math.isnan(line.ci_low) else f" [{line.ci_low:.3f}, {line.ci_high:.3f}]"
    return f"{line.value:.4f}{interval} n={line.n}" + (f" -{line.n_skipped}" if line.n_skipped else "")


def _tex(text: str) -> str:
    return "".join({"_": r"\_", "%": r"\%", "#": r"\#", "&": r"\&"}.get(letter, letter) for letter in text)
