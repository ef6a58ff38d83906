"""Runs -> tidy CSV, rows per image, and tables to read or to paste into a paper."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from imdl_bench.cache import write_atomically
from imdl_bench.errors import DataError, UsageError
from imdl_bench.metrics.names import Metric, parse_metric
from imdl_bench.metrics.pixel import has_own_value, needs_histogram
from imdl_bench.metrics.summary import ScoredRows, Summary, summarize
from imdl_bench.records import Row, RunFile
from imdl_bench.types import DONOR

ROW_COLUMNS = (
    *("sample", "distortion", "forged", "kind", "group", "status", "reason", "warnings"),
    *("height", "width", "seconds", "score", "mask_mean", "mask_max"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One number of a leaderboard; the columns of its CSV (meanings in results/README.md)."""

    protocol: str
    version: int
    model: str
    weights: str
    dataset: str
    split: str
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
    remarks: str


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Every run file at or under the given files and folders. Raises UsageError where a place holds none."""
    found: list[Path] = []
    for place in places:
        inside = [place] if place.is_file() else sorted(place.rglob("run.sqlite"))
        if not inside:
            raise UsageError(f"{place}: no run here; give a folder that `imdl-bench run` wrote, such as results/runs")
        found += inside
    return list(dict.fromkeys(found))


def read_lines(runs: Sequence[Path]) -> tuple[list[Line], list[str]]:
    """The numbers of finished runs, in a fixed order, and a remark for each run that is not finished and left out."""
    lines: list[Line] = []
    left_out: list[str] = []
    for path in runs:
        with RunFile(path) as file:
            meta, rows = file.read_meta(), file.rows()
            images = [row for row in rows if not row.sample.endswith(DONOR)]
            if "n_samples" not in meta or len(images) < meta["n_samples"]:
                left_out.append(
                    f"{path}: unfinished, {len(images)} of {meta.get('n_samples', '?')} images; run it again"
                )
                continue
            _refuse_half_pool(meta, rows, file)
            lines += _lines(meta, rows, images, file)
    return sorted(lines, key=_place), left_out


def export_rows(run: Path, *, timing: bool) -> list[Path]:
    """Write a run's rows beside its file: ``rows.csv``, and ``rows.parquet`` where pyarrow is installed.

    ``seconds`` stays empty unless ``timing``: wall times differ from run to run, these files do not.
    """
    with RunFile(run) as file:
        meta, rows = file.read_meta(), file.rows()
    metrics = [parse_metric(name) for name in meta["protocol"]["metrics"]]
    own = [(place, metric.name) for place, metric in enumerate(metrics) if has_own_value(metric)]
    table: list[dict[str, Any]] = [_exported(row, own, timing=timing) for row in rows]
    written = [run.with_name("rows.csv")]
    write_atomically(written[0], _csv(table).encode())
    if importlib.util.find_spec("pyarrow") is not None:
        import pandas as pd

        written.append(run.with_name("rows.parquet"))
        buffer = io.BytesIO()
        pd.DataFrame(table).to_parquet(buffer, index=False)
        write_atomically(written[1], buffer.getvalue())
    return written


def to_csv(lines: Sequence[Line], *, timing: bool) -> str:
    """The tidy CSV: one number per line, undefined values empty, eight decimals."""
    names = [field.name for field in fields(Line)]
    table = []
    for line in lines:
        entry = {name: _number(getattr(line, name)) for name in names}
        if not timing:
            entry["seconds_per_image"] = ""
        table.append(entry)
    return _csv(table) if table else ",".join(names) + "\n"


def to_text(lines: Sequence[Line]) -> str:
    """Tables for a terminal: per data set and protocol, metrics down, models across, intervals in brackets."""
    return "\n\n".join(_text_table(title, part) for title, part in _by_data(lines))


def to_markdown(lines: Sequence[Line]) -> str:
    """GitHub tables: per data set, models down, metrics across."""
    parts = []
    for title, part in _by_data(lines):
        metrics, models, cells = _grid(part)
        head = f"| model | {' | '.join(metrics)} |\n|---|{'---:|' * len(metrics)}"
        body = [f"| {model} | {' | '.join(cells.get((model, m), '') for m in metrics)} |" for model in models]
        parts.append("\n".join([f"**{title}**", "", head, *body]))
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
                ]
            )
        )
    return "\n\n".join(parts)


def _refuse_half_pool(meta: dict[str, Any], rows: list[Row], file: RunFile) -> None:
    """Rows and pool are written together; where they disagree, somebody else wrote."""
    if needs_histogram([parse_metric(name) for name in meta["protocol"]["metrics"]]):
        pixels = sum(int(np.frombuffer(row.totals, "<i8")[:2].sum()) for row in rows if row.totals)
        if int(file.pool().histogram[:4].sum()) != pixels:
            raise DataError(f"{file.path}: pooled scores and rows disagree; delete the run and make it again")


def _lines(meta: dict[str, Any], rows: list[Row], images: list[Row], file: RunFile) -> list[Line]:
    key, protocol = meta["key"], meta["protocol"]
    metrics = [parse_metric(name) for name in protocol["metrics"]]
    numbers = _summaries(rows, metrics, file, protocol, key["seed"])
    timed = [row.seconds for row in images if row.seconds is not None]
    common = {
        **{name: key[name] for name in ("protocol", "version", "model", "weights", "dataset", "split", "seed")},
        "distortion": "none",
        "n_failed": sum(row.status == "failed" for row in images),
        "seconds_per_image": sum(timed) / len(timed) if timed else math.nan,
        "run": file.path.parent.name.rpartition("-")[2],
        "library_version": meta["library"],
        "remarks": "; ".join(meta["remarks"]),
    }
    return [
        Line(
            metric=number.metric,
            value=number.value,
            ci_low=number.low,
            ci_high=number.high,
            n=number.n,
            n_skipped=number.n_skipped,
            score_rule=_score_rule(metric, protocol["score"]),
            **common,
        )
        for metric, number in zip(metrics, numbers, strict=True)
    ]


def _summaries(
    rows: list[Row], metrics: list[Metric], file: RunFile, protocol: dict[str, Any], seed: int
) -> list[Summary]:
    pixel_metrics = [metric for metric in metrics if metric.level == "pixel"]
    image_metrics = [metric for metric in metrics if metric.level == "image"]
    scored = [row for row in rows if row.status == "ok"]
    options = {"score_rule": protocol["score"], "resamples": protocol["bootstrap"], "seed": seed}
    found = {
        number.metric: number
        for chosen, part in (
            (pixel_metrics, scored),
            (image_metrics, [row for row in scored if not row.sample.endswith(DONOR)]),
        )
        for number in summarize(_scored_rows(part, metrics, file, protocol["pixels_of"]), chosen, metrics, **options)
    }
    return [found[metric.name] for metric in metrics]


def _scored_rows(rows: list[Row], metrics: list[Metric], file: RunFile, pixels_of: str) -> ScoredRows:
    width = len(metrics)
    values = np.array([np.frombuffer(row.values, "<f8") if row.values else [math.nan] * width for row in rows])
    totals = [np.frombuffer(row.totals, "<i8") if row.totals else None for row in rows]
    length = next((len(total) for total in totals if total is not None), 2)
    with_pixels = np.array([total is not None for total in totals], bool)
    wanted = [row.forged or pixels_of == "all" for row in rows]
    return ScoredRows(
        forged=np.array([row.forged for row in rows], bool),
        groups=[row.group or row.sample for row in rows],
        scores={
            "model": _column([row.score for row in rows]),
            "mask-mean": _column([row.mask_mean for row in rows]),
            "mask-max": _column([row.mask_max for row in rows]),
        },
        values={metric.name: values[:, place] for place, metric in enumerate(metrics)} if rows else {},
        totals=np.array([np.zeros(length, np.int64) if total is None else total for total in totals], np.int64),
        coarse=[row.coarse or b"" for row in rows],
        pool=file.pool(),
        with_pixels=with_pixels,
        n_without_truth=sum(want and not has for want, has in zip(wanted, with_pixels, strict=True)),
    )


def _column(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _score_rule(metric: Metric, rule: str) -> str:
    return (metric.rule or rule) if metric.level == "image" else ""


def _place(line: Line) -> tuple[Any, ...]:
    """Sorts by everything but the metric, whose order is the protocol's (sorting keeps it)."""
    return (line.protocol, line.version, line.dataset, line.split, line.distortion, line.model, line.weights, line.run)


def _exported(row: Row, own: Sequence[tuple[int, str]], *, timing: bool) -> dict[str, Any]:
    values = np.frombuffer(row.values, "<f8") if row.values else None
    table = {name: getattr(row, name) for name in ROW_COLUMNS}
    table |= {"warnings": "; ".join(row.warnings), "seconds": row.seconds if timing else None}
    table |= {
        name: None if values is None or math.isnan(values[place]) else float(values[place]) for place, name in own
    }
    return table


def _csv(table: Sequence[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue()


def _number(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.8f}"


def _by_data(lines: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    parts: dict[str, list[Line]] = {}
    for line in lines:
        parts.setdefault(f"{line.protocol} v{line.version} on {line.dataset}/{line.split}", []).append(line)
    return list(parts.items())


def _label(line: Line) -> str:
    return f"{line.model}@{line.weights}" if line.weights else line.model


def _grid(lines: Sequence[Line]) -> tuple[list[str], list[str], dict[tuple[str, str], str]]:
    labels = _labels(lines)
    metrics = list(dict.fromkeys(line.metric for line in lines))
    cells = {(labels[line.run], line.metric): "" if math.isnan(line.value) else f"{line.value:.4f}" for line in lines}
    return metrics, list(dict.fromkeys(labels[line.run] for line in lines)), cells


def _labels(lines: Sequence[Line]) -> dict[str, str]:
    """A name per run: the model's, with the run's hash where one model has several runs."""
    runs = {line.run: _label(line) for line in lines}
    names = list(runs.values())
    return {run: f"{name}#{run[:6]}" if names.count(name) > 1 else name for run, name in runs.items()}


def _text_table(title: str, lines: list[Line]) -> str:
    labels = _labels(lines)
    models = list(dict.fromkeys(labels[line.run] for line in lines))
    metrics = list(dict.fromkeys(line.metric for line in lines))
    cells = {(labels[line.run], line.metric): _with_interval(line) for line in lines}
    table = [["metric", *models]] + [[m, *(cells.get((model, m), "") for model in models)] for m in metrics]
    by_model = {labels[line.run]: line for line in lines}
    table.append(["images failed", *(str(by_model[model].n_failed) for model in models)])
    table.append(["seconds per image", *(_seconds(by_model[model]) for model in models)])
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    rule = "-" * max(map(len, drawn))
    return "\n".join([title, rule, drawn[0], rule, *drawn[1:], rule])


def _seconds(line: Line) -> str:
    return "-" if math.isnan(line.seconds_per_image) else f"{line.seconds_per_image:.3f}"


def _with_interval(line: Line) -> str:
    if math.isnan(line.value):
        return f"undefined (n={line.n})"
    interval = "" if math.isnan(line.ci_low) else f" [{line.ci_low:.3f}, {line.ci_high:.3f}]"
    return f"{line.value:.4f}{interval} n={line.n}" + (f" -{line.n_skipped}" if line.n_skipped else "")


def _tex(text: str) -> str:
    return "".join({"_": r"\_", "%": r"\%", "#": r"\#", "&": r"\&"}.get(letter, letter) for letter in text)
