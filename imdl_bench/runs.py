"""Finished runs, read back: what was run, and what every image left behind."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imdl_bench.distortions import NONE
from imdl_bench.errors import DataError, UsageError
from imdl_bench.metrics.histogram import ScorePool
from imdl_bench.metrics.names import Metric, parse_metric
from imdl_bench.metrics.pixel import needs_histogram
from imdl_bench.metrics.summary import ScoredRows
from imdl_bench.records import Row, RunFile, RunKey
from imdl_bench.thumbnails import KeptMask
from imdl_bench.types import DONOR
from imdl_bench.weights import is_untrained

WHAT_RUNS_ARE = "give a folder that `imdl-bench run` wrote, such as results/runs, or a run.sqlite in it"


class UnfinishedRun(DataError):
    """A run that has not scored all its images yet."""


@dataclass(frozen=True, slots=True)
class Run:
    """One model on one split, finished.

    Attributes:
        path: its ``run.sqlite``.
        key: everything that moves a number.
        meta: what else was recorded: ``protocol``, ``remarks``, ``environment``, ``library``, ``weights`` and so on.
        metrics: the protocol's, in its order.
        levels: labels of its distortions, in the protocol's order.
    """

    path: Path
    key: RunKey
    meta: dict[str, Any]
    metrics: tuple[Metric, ...]
    levels: tuple[str, ...]
    _rows: dict[str, list[Row]]

    @property
    def score_rule(self) -> str:
        """Where image scores come from, if a metric does not say."""
        return str(self.meta["protocol"]["score"])

    def data(self, level: str) -> str:
        """8 digits that tell other images, truths or rules of scoring apart.

        A seed draws the noise of a distortion: with another one the images are others.
        """
        key = self.key
        parts = [key.data, key.rules["score"], key.rules["pixels_of"], None if level == NONE else key.seed]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]

    def rows(self, level: str) -> list[Row]:
        """Every row at a level of distortion, in the data set's order; second images of pairs and failures too."""
        return self._rows[level]

    def scored(self, level: str) -> ScoredRows:
        """What the images that could be scored left behind at a level.

        Raises:
            DataError: the file's rows and pooled scores disagree.
        """
        good = [row for row in self._rows[level] if row.status == "ok"]
        with RunFile(self.path) as file:
            scored = _scored_rows(good, self.metrics, file.pool(level), self.meta["protocol"]["pixels_of"])
        if needs_histogram(self.metrics) and scored.pool.histogram[:4].sum() != scored.totals[:, :2].sum():
            raise DataError(f"{self.path}: pooled scores and rows disagree; delete the run and make it again")
        return scored

    def masks(self, samples: Iterable[str]) -> dict[str, KeptMask]:
        """Thumbnails of masks without distortion, by sample (second images of pairs by their key)."""
        with RunFile(self.path) as file:
            return file.masks(samples)


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Every run file at or under the given files and folders. Raises UsageError where a place holds none."""
    found: list[Path] = []
    for place in places:
        inside = [place] if place.is_file() else sorted(place.rglob("run.sqlite"))
        if not inside:
            raise UsageError(f"{place}: no run here; {WHAT_RUNS_ARE}")
        if place.is_file() and place.suffix != ".sqlite":
            raise UsageError(f"{place}: is no run; {WHAT_RUNS_ARE}")
        found += inside
    return list(dict.fromkeys(found))


def read_run(path: Path) -> Run:
    """Read a finished run.

    Raises:
        UnfinishedRun: images are still to be scored.
        DataError: no run file, a damaged one, or one of another version.
    """
    with RunFile(path) as file:
        meta, rows = file.read_meta(), file.rows()
    n_images = sum(not row.sample.endswith(DONOR) for row in rows)
    wanted = meta["n_samples"] * len(meta["distortions"]) if "distortions" in meta else None
    if wanted is None or n_images < wanted:
        raise UnfinishedRun(f"{path}: unfinished, {n_images} of {wanted or '?'} images; run it again")
    try:
        key = RunKey(**meta["key"])
    except TypeError:
        raise DataError(
            f"{path}: was made by another version of imdl-bench; delete its folder and make the run again"
        ) from None
    by_level: dict[str, list[Row]] = {level: [] for level in meta["distortions"]}
    for row in rows:
        by_level[row.distortion].append(row)
    metrics = tuple(parse_metric(name) for name in meta["protocol"]["metrics"])
    return Run(path, key, meta, metrics, tuple(meta["distortions"]), by_level)


def read_runs(paths: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """The finished runs among files, each once, and why the others were left out: unfinished, damaged, repeated.

    Raises:
        DataError: runs are damaged and none is left to show.
    """
    runs: dict[str, Run] = {}
    left_out: list[str] = []
    damaged: list[str] = []
    for path in paths:
        try:
            run = read_run(path)
        except UnfinishedRun as error:
            left_out.append(str(error))
        except DataError as error:
            damaged.append(str(error))
        else:
            if run.key.hash in runs:
                left_out.append(f"{path}: the same run as one before, counted once")
            runs.setdefault(run.key.hash, run)
    if damaged and not runs:
        raise DataError("\n".join(damaged))
    return list(runs.values()), left_out + damaged


def model_labels(runs: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """A name per run, from its hash to model and weights: with the hash's digits where one model has several runs."""
    plain = {run: _label(model, weights) for run, (model, weights) in runs.items()}
    names = list(plain.values())
    return {run: f"{name}#{run[:6]}" if names.count(name) > 1 else name for run, name in plain.items()}


def _label(model: str, weights: str) -> str:
    untrained = " (untrained)" if is_untrained(weights) else ""
    return f"{model}@{weights}{untrained}" if weights else model


def _scored_rows(rows: list[Row], metrics: Sequence[Metric], pool: ScorePool, pixels_of: str) -> ScoredRows:
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


def _column(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values], np.float64)
