"""Runs that saw the same images, side by side: what the gallery and the table per image show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imdl_bench.distortions import NONE
from imdl_bench.metrics.names import Metric
from imdl_bench.metrics.pixel import has_own_value
from imdl_bench.records import Row
from imdl_bench.runs import Run, model_labels


@dataclass(frozen=True, slots=True)
class SameImages:
    """Runs on the same images at one level of distortion, each model once, whatever protocols it was run under.

    Attributes:
        protocols: such as ``standard v1``.
        level: ``none`` where the images were scored without distortion, else the protocol's first.
        metric: the first F1 of a single image, else the first metric of a single image, else none.
        runs: one per model.
        labels: of the models, unique.
        samples: keys of the images in the data set's order; second images of pairs by their own.
        rows: by image, one per run, ``None`` where a run has none.
        values: (images, runs): the metric, or the image's score where there is no metric; nan where undefined.
    """

    protocols: tuple[str, ...]
    level: str
    metric: Metric | None
    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    samples: tuple[str, ...]
    rows: dict[str, tuple[Row | None, ...]]
    values: NDArray[np.float64]

    @property
    def data(self) -> str:
        """Data set and split."""
        return f"{self.runs[0].key.dataset}/{self.runs[0].key.split}"

    @property
    def title(self) -> str:
        """Protocols and data, as in the tables of the command line."""
        return f"{', '.join(self.protocols)} on {self.data}"

    @property
    def value_name(self) -> str:
        """What ``values`` are."""
        return self.metric.name if self.metric else f"image score ({self.runs[0].score_rule})"

    def row(self, sample: str) -> Row:
        """A row of an image, of a run that could score it where there is one."""
        rows = [row for row in self.rows[sample] if row is not None]
        return next((row for row in rows if row.status == "ok"), rows[0])


def same_images(runs: Sequence[Run]) -> list[SameImages]:
    """Runs grouped by their images and by the metric that each image has a value of."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        metric = _metric(run)
        level = NONE if NONE in run.levels else run.levels[0]
        what = metric.name if metric else run.score_rule
        pixels_of = run.meta["protocol"]["pixels_of"]
        place = (run.key.dataset, run.key.split, run.key.data, level, what, pixels_of)
        groups.setdefault(place, []).append(run)
    return [_side_by_side(group, place[3]) for place, group in groups.items()]


def _metric(run: Run) -> Metric | None:
    own = [metric for metric in run.metrics if has_own_value(metric)]
    return next((metric for metric in own if metric.stat == "f1"), own[0] if own else None)


def _side_by_side(runs: Sequence[Run], level: str) -> SameImages:
    models: dict[str, Run] = {}
    for run in runs:
        models.setdefault(_model(run), run)
    chosen = tuple(models.values())
    by_run = [{row.sample: row for row in run.rows(level)} for run in chosen]
    samples = tuple(dict.fromkeys(sample for rows in by_run for sample in rows))
    table = [[_value(run, rows.get(sample)) for run, rows in zip(chosen, by_run, strict=True)] for sample in samples]
    labels = model_labels({run.key.hash: (run.key.model, run.key.weights) for run in chosen})
    return SameImages(
        protocols=tuple(dict.fromkeys(f"{run.key.protocol} v{run.key.version}" for run in runs)),
        level=level,
        metric=_metric(chosen[0]),
        runs=chosen,
        labels=tuple(labels[run.key.hash] for run in chosen),
        samples=samples,
        rows={sample: tuple(rows.get(sample) for rows in by_run) for sample in samples},
        values=np.array(table, np.float64).reshape(len(samples), len(chosen)),
    )


def _model(run: Run) -> str:
    """Two runs of which this is equal make the same masks of the same images."""
    key = run.key
    parts = (key.model, key.model_code, key.weights_content or key.weights, key.precision, key.device, key.libraries)
    return repr((*parts, key.scoring))


def _value(run: Run, row: Row | None) -> float:
    metric = _metric(run)
    if row is None or row.status != "ok":
        return math.nan
    if metric is None:
        score = {"model": row.score, "mask-mean": row.mask_mean, "mask-max": row.mask_max}[run.score_rule]
        return math.nan if score is None else score
    place = [other.name for other in run.metrics].index(metric.name)
    return float(np.frombuffer(row.values, "<f8")[place]) if row.values else math.nan
