"""Runs -> tidy CSV, rows per image, and tables to read or to paste into a paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imdl_bench.errors import DataError, UsageError
from imdl_bench.metrics.histogram import ScorePool
from imdl_bench.metrics.names import Metric, parse_metric
from imdl_bench.metrics.pixel import needs_histogram
from imdl_bench.metrics.summary import ScoredRows, summarize
from imdl_bench.records import Row, RunFile, RunKey
from imdl_bench.types import DONOR

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
    """The numbers of finished runs in a fixed order, and why runs were left out: unfinished, damaged, repeated.

    Raises:
        DataError: runs are damaged and none is left to show.
    """
    lines: dict[str, list[Line]] = {}
    left_out: list[str] = []
    damaged: list[str] = []
    for path in runs:
        try:
            found = _read_run(path)
        except DataError as error:
            damaged.append(str(error))
            continue
        if isinstance(found, str):
            left_out.append(found)
        elif found and found[0].run in lines:
            left_out.append(f"{path}: the same run as one before, counted once")
        elif found:
            lines[found[0].run] = found
    if damaged and not lines:
        raise DataError("; ".join(damaged))
    found = [line for part in lines.values() for line in part]
    levels = list(dict.fromkeys(line.distortion for line in found))  # in the protocol's order
    return sorted(found, key=lambda line: _place(line, levels)), left_out + damaged


def _read_run(path: Path) -> list[Line] | str:
    """The lines of a run, or why it has none yet."""
    with RunFile(path) as file:
        meta, rows = file.read_meta(), file.rows()
        n_images = sum(not row.sample.endswith(DONOR) for row in rows)
        wanted = meta["n_samples"] * len(meta["distortions"]) if "distortions" in meta else None
        if wanted is None or n_images < wanted:
            return f"{path}: unfinished, {n_images} of {wanted or '?'} images; run it again"
        return [
            line
            for distortion in meta["distortions"]
            for line in _lines(meta, distortion, [row for row in rows if row.distortion == distortion], file)
        ]


def _lines(meta: dict[str, Any], distortion: str, rows: list[Row], file: RunFile) -> list[Line]:
    known, protocol = _run_key(meta["key"], file.path), meta["protocol"]
    images = [row for row in rows if not row.sample.endswith(DONOR)]
    metrics = [parse_metric(name) for name in protocol["metrics"]]
    good = [row for row in rows if row.status == "ok"]
    scored = _scored_rows(good, metrics, file.pool(distortion), protocol["pixels_of"])
    if needs_histogram(metrics) and scored.pool.histogram[:4].sum() != scored.totals[:, :2].sum():
        raise DataError(f"{file.path}: pooled scores and rows disagree; delete the run and make it again")
    numbers = summarize(scored, metrics, score_rule=protocol["score"], resamples=protocol["bootstrap"], seed=known.seed)
    timed = [row.seconds for row in images if row.seconds is not None]
    common = {
        **{name: getattr(known, name) for name in KEY_COLUMNS},
        "distortion": distortion,
        "n_failed": sum(row.status == "failed" for row in images),
        "seconds_per_image": sum(timed) / len(timed) if timed else math.nan,
        "run": known.hash,
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


def _run_key(key: dict[str, Any], path: Path) -> RunKey:
    try:
        return RunKey(**key)
    except TypeError:
        raise DataError(f"{path}: was made by another version of imdl-bench; make the run again") from None


def _scored_rows(rows: list[Row], metrics: list[Metric], pool: ScorePool, pixels_of: str) -> ScoredRows:
    width = len(metrics)
    values = np.array([np.frombuffer(row.values, "<f8") if row.values else [math.nan] * width for row in rows])
    totals = [np.frombuffer(row.totals, "<i8") if row.totals else None for row in rows]
    length = next((len(total) for total in totals if total is not None), 2)
    with_pixels = np.array([total is not None for total in totals], bool)
    wanted = [row.forged or pixels_of == "all" for row in rows]
    return ScoredRows(
        forged=np.array([row.forged for row in rows], bool),
        groups=[row.group or row.sample.removesuffix(DONOR) for row in rows],
        second=np.array([row.sample.endswith(DONOR) for row in rows], bool),
        scores={
            "model": _column([row.score for row in rows]),
            "mask-mean": _column([row.mask_mean for row in rows]),
            "mask-max": _column([row.mask_max for row in rows]),
        },
        values={metric.name: values[:, place] for place, metric in enumerate(metrics)} if rows else {},
        totals=np.array([np.zeros(length) if t is None else t for t in totals], np.int64).reshape(len(rows), length),
        coarse=[row.coarse or b"" for row in rows],
        pool=pool,
        with_pixels=with_pixels,
        n_without_truth=sum(want and not has for want, has in zip(wanted, with_pixels, strict=True)),
    )


def _column(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _score_rule(metric: Metric, rule: str) -> str:
    return (metric.rule or rule) if metric.level == "image" else ""


def _place(line: Line, levels: Sequence[str]) -> tuple[Any, ...]:
    """Sorts by everything but the metric, whose order is the protocol's (sorting keeps it)."""
    level = levels.index(line.distortion)
    return (line.protocol, line.version, line.dataset, line.split, level, line.model, line.weights, line.run)
