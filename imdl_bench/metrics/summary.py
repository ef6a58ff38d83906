"""From the rows of a run to its numbers: one summary per metric, with n, what was skipped, and an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    weights = confidence.resample_groups(rows.groups, resamples, seed)
    pixels = np.flatnonzero(rows.with_pixels)
    packed = [each for each in rows.coarse if each]
    on_pixels = _Pixels(rows, pixels, weights[:, pixels], CoarseGrid.over(packed))
    found = {number.metric: number for number in _image_summaries(metrics, rows, score_rule, weights)}
    found |= {number.metric: number for number in _pooled_rankings(metrics, on_pixels)}
    for metric in (metric for metric in metrics if metric.name not in found):
        if metric.average == "pooled":
            found[metric.name] = _pooled_decision(metric, on_pixels, metrics)
        else:
            found[metric.name] = _per_image(metric, on_pixels)
    return [found[metric.name] for metric in metrics]


@dataclass(frozen=True, slots=True)
class _Pixels:
    """The part of the rows that entered pixel metrics, with its resamples."""

    rows: ScoredRows
    which: NDArray[np.intp]
    weights: NDArray[np.uint16]
    grid: CoarseGrid


def _image_summaries(
    wanted: Sequence[Metric], rows: ScoredRows, score_rule: str, weights: NDArray[np.uint16]
) -> list[Summary]:
    """Image-level metrics, those of one score rule together."""
    rules: dict[str, list[Metric]] = {}
    for metric in wanted:
        if metric.level == "image":
            rules.setdefault(metric.rule or score_rule, []).append(metric)
    return [
        number for rule, metrics in rules.items() for number in _of_scores(metrics, rows, rows.scores[rule], weights)
    ]


def _of_scores(
    metrics: Sequence[Metric], rows: ScoredRows, scores: Array, weights: NDArray[np.uint16]
) -> list[Summary]:
    used = np.flatnonzero(~np.isnan(scores) & ~rows.second)
    skipped = int((~rows.second).sum()) - len(used)
    if len(used) == 0:
        return [Summary(metric.name, math.nan, math.nan, math.nan, 0, skipped) for metric in metrics]
    scores, forged = scores[used], rows.forged[used]
    resampled = (score_curve(scores, forged, part) for part in confidence.chunks(weights[:, used]))
    spreads = [values_of(metrics, curve) for curve in resampled]
    values = values_of(metrics, score_curve(scores, forged))
    return [
        Summary(metric.name, float(value), *_interval([part[place] for part in spreads]), len(used), skipped)
        for place, (metric, value) in enumerate(zip(metrics, values, strict=True))
    ]


def _pooled_rankings(wanted: Sequence[Metric], on: _Pixels) -> list[Summary]:
    """Pooled metrics that need the scores themselves: value from the pool, interval from the coarse histograms.

    Coarse bins tie scores that lie close together (a faint map fills two or three), which moves every resample alike:
    the interval is moved back by as much as the whole set's own value is.
    """
    metrics = [m for m in wanted if m.average == "pooled" and not isinstance(m.threshold, float)]
    if not metrics or len(on.which) == 0:
        return [_undefined(metric, on) for metric in metrics]
    spreads = [values_of(metrics, curve) for curve in on.grid.resampled(on.weights)]
    values = values_of(metrics, on.rows.pool.curve())
    everything = np.ones((1, len(on.which)), np.uint16)
    coarse = values_of(metrics, next(on.grid.resampled(everything)))
    shifts = [float(value) - float(whole[0]) for value, whole in zip(values, coarse, strict=True)]
    return [
        _number(
            metric,
            float(values[place]),
            _interval([np.clip(part[place] + shifts[place], -1, 1) for part in spreads]),
            len(on.which),
            on,
        )
        for place, metric in enumerate(metrics)
    ]


def _pooled_decision(metric: Metric, on: _Pixels, metrics: Sequence[Metric]) -> Summary:
    """A pooled metric at a fixed threshold, from the counts of every image."""
    if len(on.which) == 0:
        return _undefined(metric, on)
    assert isinstance(metric.threshold, float)
    column = 2 + 2 * fixed_thresholds(metrics).index(metric.threshold)
    totals = on.rows.totals[on.which][:, [column, column + 1, 0, 1]].astype(np.float64)
    spread = [metric.decision(*(part @ totals).T) for part in confidence.chunks(on.weights)]
    return _number(metric, float(metric.decision(*totals.sum(axis=0))), _interval(spread), len(on.which), on)


def _per_image(metric: Metric, on: _Pixels) -> Summary:
    """The mean over images on which the metric is defined."""
    set_wide = isinstance(metric.threshold, str) and metric.threshold.endswith("-set")
    values = on.grid.at_set_threshold(metric) if set_wide else on.rows.values.get(metric.name, np.empty(0))[on.which]
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return _undefined(metric, on)
    spread = [confidence.weighted_means(values, part) for part in confidence.chunks(on.weights)]
    return _number(metric, float(defined.mean()), _interval(spread), len(defined), on)


def _undefined(metric: Metric, on: _Pixels) -> Summary:
    return _number(metric, math.nan, (math.nan, math.nan), 0, on)


def _number(metric: Metric, value: float, bounds: tuple[float, float], n: int, on: _Pixels) -> Summary:
    n = 0 if math.isnan(value) else n
    return Summary(metric.name, value, *bounds, n, len(on.which) - n + on.rows.n_without_truth)


def _interval(spread: Sequence[Array]) -> tuple[float, float]:
    return confidence.interval(np.concatenate([np.empty(0), *spread]))
