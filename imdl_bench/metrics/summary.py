"""From the rows of a run to its numbers: one summary per metric, with n, what was skipped, and an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imdl_bench.metrics import confidence
from imdl_bench.metrics.grid import CoarseGrid
from imdl_bench.metrics.histogram import Counts, ScorePool
from imdl_bench.metrics.image import score_curve, values_of
from imdl_bench.metrics.names import Metric
from imdl_bench.metrics.pixel import fixed_thresholds

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Summary:
    """One number of the leaderboard. ``n`` images carry it; on ``n_skipped`` the metric is undefined."""

    metric: str
    value: float
    low: float
    high: float
    n: int
    n_skipped: int


@dataclass(frozen=True, slots=True)
class Spread:
    """One number with what stands behind its interval: its values under the resamples, float64 (resamples,).

    nan in resamples where it is undefined. Spreads over the same groups, resamples and seed drew the same images.
    """

    metric: str
    value: float
    resampled: Array
    n: int
    n_skipped: int


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """What the scored images of one run and distortion left behind, in order of sample id.

    Attributes:
        forged: bool (n,).
        groups: base photograph of each image.
        scores: image scores by rule (``model``, ``mask-mean``, ``mask-max``), float64 (n,), nan where there is none.
        values: per-image pixel values by metric name, float64 (n,).
        totals: int64 (n, 2 + 2 T) as :class:`~imdl_bench.metrics.pixel.PixelScores`; zeros on images without truth.
        coarse: packed histogram per image; empty where no metric needs it or the image has no pixel metrics.
        pool: all pixel scores together.
        second: bool (n,), rows of a pair's second image, which image-level metrics pass over.
        with_pixels: bool (n,), images that entered the pixel metrics.
        n_without_truth: images that pixel metrics had to pass over because their truth is not given.
        pooled: packed histograms of every image in ``pool`` where these rows are only some of them (:meth:`only`).
    """

    forged: NDArray[np.bool_]
    groups: Sequence[str]
    scores: dict[str, Array]
    values: dict[str, Array]
    totals: Counts
    coarse: Sequence[bytes]
    pool: ScorePool
    second: NDArray[np.bool_]
    with_pixels: NDArray[np.bool_]
    n_without_truth: int = 0
    pooled: Sequence[bytes] | None = None

    def only(self, kept: NDArray[np.bool_]) -> ScoredRows:
        """The rows where ``kept`` (n,) is true; ``n_without_truth`` stays that of all.

        A pool cannot be divided: it stays too, so that coarse histograms can be held against it.
        """
        if kept.all():
            return self
        return replace(
            self,
            forged=self.forged[kept],
            groups=[group for group, keep in zip(self.groups, kept, strict=True) if keep],
            scores={rule: scores[kept] for rule, scores in self.scores.items()},
            values={metric: values[kept] for metric, values in self.values.items()},
            totals=self.totals[kept],
            coarse=[packed for packed, keep in zip(self.coarse, kept, strict=True) if keep],
            second=self.second[kept],
            with_pixels=self.with_pixels[kept],
            pooled=self.pooled or [packed for packed in self.coarse if packed],
        )


def summarize(
    rows: ScoredRows,
    metrics: Sequence[Metric],
    *,
    score_rule: str,
    resamples: int,
    seed: int,
) -> list[Summary]:
    """Reduce rows to one summary per metric; deterministic, whatever the batches, workers or order were.

    ``metrics`` are all metrics of the run: they say which fixed thresholds ``rows.totals`` holds.
    """
    found = spreads(rows, metrics, metrics, score_rule=score_rule, resamples=resamples, seed=seed)
    intervals = confidence.intervals([each.resampled for each in found])
    return [
        Summary(each.metric, each.value, *interval, each.n, each.n_skipped)
        for each, interval in zip(found, intervals, strict=True)
    ]


def spreads(
    rows: ScoredRows,
    wanted: Sequence[Metric],
    metrics: Sequence[Metric],
    *,
    score_rule: str,
    resamples: int,
    seed: int,
) -> list[Spread]:
    """The numbers behind :func:`summarize`, of the ``wanted`` ones among all ``metrics`` of the run.

    Of rows that are only some of the run's, pooled rankings are read off coarse histograms, and moved by as much as
    those are wrong on the whole run.
    """
    weights = confidence.resample_groups(rows.groups, resamples, seed)
    pixels = np.flatnonzero(rows.with_pixels)
    packed = [each for each in rows.coarse if each]
    on_pixels = _Pixels(rows, pixels, weights[:, pixels], CoarseGrid.over(packed), fixed_thresholds(metrics))
    found = {number.metric: number for number in _image_spreads(wanted, rows, score_rule, weights)}
    found |= {number.metric: number for number in _pooled_rankings(wanted, on_pixels)}
    for metric in (metric for metric in wanted if metric.name not in found):
        if metric.average == "pooled":
            found[metric.name] = _pooled_decision(metric, on_pixels)
        else:
            found[metric.name] = _per_image(metric, on_pixels)
    return [found[metric.name] for metric in wanted]


@dataclass(frozen=True, slots=True)
class _Pixels:
    """The part of the rows that entered pixel metrics, with its resamples; ``thresholds`` are those of ``totals``."""

    rows: ScoredRows
    which: NDArray[np.intp]
    weights: NDArray[np.uint16]
    grid: CoarseGrid
    thresholds: Sequence[float]


def _image_spreads(
    wanted: Sequence[Metric], rows: ScoredRows, score_rule: str, weights: NDArray[np.uint16]
) -> list[Spread]:
    """Image-level metrics, those of one score rule together."""
    rules: dict[str, list[Metric]] = {}
    for metric in wanted:
        if metric.level == "image":
            rules.setdefault(metric.rule or score_rule, []).append(metric)
    return [
        number for rule, metrics in rules.items() for number in _of_scores(metrics, rows, rows.scores[rule], weights)
    ]


def _of_scores(metrics: Sequence[Metric], rows: ScoredRows, scores: Array, weights: NDArray[np.uint16]) -> list[Spread]:
    used = np.flatnonzero(~np.isnan(scores) & ~rows.second)
    skipped = int((~rows.second).sum()) - len(used)
    if len(used) == 0:
        nowhere = np.full(len(weights), math.nan)
        return [Spread(metric.name, math.nan, nowhere, 0, skipped) for metric in metrics]
    scores, forged = scores[used], rows.forged[used]
    resampled = (score_curve(scores, forged, part) for part in confidence.chunks(weights[:, used]))
    parts = [values_of(metrics, curve) for curve in resampled]
    values = values_of(metrics, score_curve(scores, forged))
    return [
        Spread(metric.name, float(value), _joined([part[place] for part in parts]), len(used), skipped)
        for place, (metric, value) in enumerate(zip(metrics, values, strict=True))
    ]


def _pooled_rankings(wanted: Sequence[Metric], on: _Pixels) -> list[Spread]:
    """Pooled metrics that need the scores themselves: value from the pool, resamples from the coarse histograms.

    Coarse bins tie scores that lie close together (a faint map fills two or three), which moves every resample alike:
    they are moved back by as much as the whole set's own value is.
    """
    metrics = [m for m in wanted if m.average == "pooled" and not isinstance(m.threshold, float)]
    if not metrics or len(on.which) == 0:
        return [_undefined(metric, on) for metric in metrics]
    parts = [values_of(metrics, curve) for curve in on.grid.resampled(on.weights)]
    values = [float(value) for value in values_of(metrics, on.rows.pool.curve())]
    coarse = _coarse_values(metrics, on.grid)
    of_pool = coarse if on.rows.pooled is None else _coarse_values(metrics, CoarseGrid.over(on.rows.pooled))
    shifts = [value - whole for value, whole in zip(values, of_pool, strict=True)]
    if on.rows.pooled is not None:
        values = [float(np.clip(own + shift, -1, 1)) for own, shift in zip(coarse, shifts, strict=True)]
    return [
        _number(metric, value, _joined([np.clip(part[place] + shift, -1, 1) for part in parts]), len(on.which), on)
        for place, (metric, value, shift) in enumerate(zip(metrics, values, shifts, strict=True))
    ]


def _coarse_values(metrics: Sequence[Metric], grid: CoarseGrid) -> list[float]:
    """Of all images of a grid, each once."""
    everything = np.ones((1, len(grid.packed)), np.uint16)
    return [float(value[0]) for value in values_of(metrics, next(grid.resampled(everything)))]


def _pooled_decision(metric: Metric, on: _Pixels) -> Spread:
    """A pooled metric at a fixed threshold, from the counts of every image."""
    if len(on.which) == 0:
        return _undefined(metric, on)
    assert isinstance(metric.threshold, float)
    column = 2 + 2 * on.thresholds.index(metric.threshold)
    totals = on.rows.totals[on.which][:, [column, column + 1, 0, 1]].astype(np.float64)
    parts = [metric.decision(*(part @ totals).T) for part in confidence.chunks(on.weights)]
    return _number(metric, float(metric.decision(*totals.sum(axis=0))), _joined(parts), len(on.which), on)


def _per_image(metric: Metric, on: _Pixels) -> Spread:
    """The mean over images on which the metric is defined."""
    set_wide = isinstance(metric.threshold, str) and metric.threshold.endswith("-set")
    values = on.grid.at_set_threshold(metric) if set_wide else on.rows.values.get(metric.name, np.empty(0))[on.which]
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return _undefined(metric, on)
    parts = [confidence.weighted_means(values, part) for part in confidence.chunks(on.weights)]
    return _number(metric, float(defined.mean()), _joined(parts), len(defined), on)


def _undefined(metric: Metric, on: _Pixels) -> Spread:
    return _number(metric, math.nan, np.full(len(on.weights), math.nan), 0, on)


def _number(metric: Metric, value: float, resampled: Array, n: int, on: _Pixels) -> Spread:
    n = 0 if math.isnan(value) else n
    return Spread(metric.name, value, resampled, n, len(on.which) - n + on.rows.n_without_truth)


def _joined(parts: Sequence[Array]) -> Array:
    return np.concatenate([np.empty(0), *parts])
