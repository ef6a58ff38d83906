"""From the rows of a run to its numbers: one summary per metric, with n, what was skipped, and an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imdl_bench.metrics import confidence, ranking
from imdl_bench.metrics.histogram import COARSE_BINS, Counts, ScorePool, coarse_edges, dense_curve
from imdl_bench.metrics.image import score_curve, value_of, values_of
from imdl_bench.metrics.names import Metric
from imdl_bench.metrics.pixel import fixed_thresholds

Array = NDArray[np.float64]
CHUNK = 100  # resamples held at once: bounds memory on sets of many thousand images


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
        coarse: per image (2, COARSE_BINS), or None where no metric needs it or the image has no pixel metrics.
        pool: all pixel scores together.
        with_pixels: bool (n,), images that entered the pixel metrics.
        n_without_truth: images that pixel metrics had to pass over because their truth is not given.
    """

    forged: NDArray[np.bool_]
    groups: Sequence[str]
    scores: dict[str, Array]
    values: dict[str, Array]
    totals: Counts
    coarse: Sequence[Counts | None]
    pool: ScorePool
    with_pixels: NDArray[np.bool_]
    n_without_truth: int = 0


def summarize(
    rows: ScoredRows,
    wanted: Sequence[Metric],
    metrics: Sequence[Metric],
    *,
    score_rule: str,
    resamples: int,
    seed: int,
) -> list[Summary]:
    """Reduce rows to one summary per wanted metric; deterministic, whatever the batches, workers or order were.

    ``metrics`` are all metrics of the run: they say which fixed thresholds ``rows.totals`` holds.
    """
    weights = confidence.resample_groups(rows.groups, resamples, seed)
    pixels = np.flatnonzero(rows.with_pixels)
    grid = _grid(rows, pixels)
    spreads = _pooled_spreads([m for m in wanted if _is_pooled_ranking(m)], grid, weights[:, pixels])
    found = {number.metric: number for number in _image_summaries(wanted, rows, score_rule, weights)}
    pooled = rows.pool.curve() if spreads and len(pixels) else None
    for metric in (metric for metric in wanted if metric.level == "pixel"):
        if len(pixels) == 0:
            found[metric.name] = Summary(metric.name, math.nan, math.nan, math.nan, 0, rows.n_without_truth)
        elif _is_pooled_ranking(metric):
            assert pooled is not None
            value, bounds = float(value_of(metric, pooled)), confidence.interval(spreads[metric.name])
            found[metric.name] = Summary(metric.name, value, *bounds, len(pixels), rows.n_without_truth)
        elif metric.average == "pooled":
            found[metric.name] = _pooled_decision(metric, rows, pixels, weights[:, pixels], metrics)
        else:
            found[metric.name] = _per_image(metric, rows, pixels, grid, weights[:, pixels])
    return [found[metric.name] for metric in wanted]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Coarse histograms of all images, float64 (n, bins) per side, at the ``edges`` where any pixel lies."""

    edges: Array
    forged: Array
    pristine: Array


def _grid(rows: ScoredRows, pixels: NDArray[np.intp]) -> _Grid:
    kept = [counts for i in pixels if (counts := rows.coarse[i]) is not None]
    stacked = np.array(kept) if kept else np.zeros((0, 2, COARSE_BINS), np.int64)
    occurs = np.flatnonzero(stacked.any(axis=(0, 1)))
    forged, pristine = (np.ascontiguousarray(stacked[:, side, occurs], dtype=np.float64) for side in (0, 1))
    return _Grid(coarse_edges()[occurs], forged, pristine)


def _is_pooled_ranking(metric: Metric) -> bool:
    return metric.average == "pooled" and not isinstance(metric.threshold, float)


def _pooled_spreads(metrics: Sequence[Metric], grid: _Grid, weights: Array) -> dict[str, Array]:
    """Resampled values of pooled metrics that need the scores themselves, from the coarse histograms."""
    spreads: dict[str, list[Array]] = {metric.name: [np.empty(0)] for metric in metrics}
    for start in range(0, len(weights) if metrics else 0, CHUNK):
        part = weights[start : start + CHUNK]
        # integers below 2**53: the product is exact in whatever order the library sums
        curve = dense_curve(grid.edges, part @ grid.forged, part @ grid.pristine)
        for metric, values in zip(metrics, values_of(metrics, curve), strict=True):
            spreads[metric.name].append(values)
    return {name: np.concatenate(parts) for name, parts in spreads.items()}


def _image_summaries(wanted: Sequence[Metric], rows: ScoredRows, score_rule: str, weights: Array) -> list[Summary]:
    """Image-level metrics, those of one score rule together."""
    rules: dict[str, list[Metric]] = {}
    for metric in wanted:
        if metric.level == "image":
            rules.setdefault(metric.rule or score_rule, []).append(metric)
    return [
        number for rule, metrics in rules.items() for number in _of_scores(metrics, rows, rows.scores[rule], weights)
    ]


def _of_scores(metrics: Sequence[Metric], rows: ScoredRows, scores: Array, weights: Array) -> list[Summary]:
    used = np.flatnonzero(~np.isnan(scores))
    skipped = len(scores) - len(used)
    if len(used) == 0:
        return [Summary(metric.name, math.nan, math.nan, math.nan, 0, skipped) for metric in metrics]
    scores, forged = scores[used], rows.forged[used]
    spreads = [
        values_of(metrics, score_curve(scores, forged, weights[start : start + CHUNK, used]))
        for start in range(0, len(weights), CHUNK)
    ]
    summaries = []
    for place, value in enumerate(values_of(metrics, score_curve(scores, forged))):
        bounds = confidence.interval(np.concatenate([np.empty(0), *(spread[place] for spread in spreads)]))
        summaries.append(Summary(metrics[place].name, float(value), *bounds, len(used), skipped))
    return summaries


def _pooled_decision(
    metric: Metric, rows: ScoredRows, pixels: NDArray[np.intp], weights: Array, metrics: Sequence[Metric]
) -> Summary:
    """A pooled metric at a fixed threshold, from the counts of every image."""
    assert isinstance(metric.threshold, float)
    column = 2 + 2 * fixed_thresholds(metrics).index(metric.threshold)
    totals = rows.totals[pixels][:, [column, column + 1, 0, 1]].astype(np.float64)
    value = float(metric.decision(*totals.sum(axis=0)))
    bounds = confidence.interval(metric.decision(*(weights @ totals).T))
    return Summary(metric.name, value, *bounds, len(pixels), rows.n_without_truth)


def _per_image(metric: Metric, rows: ScoredRows, pixels: NDArray[np.intp], grid: _Grid, weights: Array) -> Summary:
    """The mean over images on which the metric is defined."""
    set_wide = isinstance(metric.threshold, str) and metric.threshold.endswith("-set")
    values = _at_set_threshold(metric, grid) if set_wide else rows.values[metric.name][pixels]
    defined = ~np.isnan(values)
    mean = float(values[defined].mean()) if defined.any() else math.nan
    bounds = confidence.interval(confidence.weighted_means(values, weights))
    skipped = int((~defined).sum()) + rows.n_without_truth
    return Summary(metric.name, mean, *bounds, int(defined.sum()), skipped)


def _at_set_threshold(metric: Metric, grid: _Grid) -> Array:
    """Per-image values at the one threshold that suits the set: the greatest mean, or the pooled equal error rate.

    Thresholds are the coarse bin edges (64 per octave of p and of 1 - p).
    """
    curve = dense_curve(grid.edges, grid.forged, grid.pristine)
    if metric.threshold == "eer-set":
        pooled = dense_curve(grid.edges, grid.forged.sum(axis=0), grid.pristine.sum(axis=0))
        at = int(ranking.eer_at(pooled))
    else:
        sought = metric.sought(curve.tp, curve.fp, curve.forged, curve.pristine)
        defined = ~np.isnan(sought).all(axis=-1)
        means = np.nan_to_num(sought[defined], nan=0.0).mean(axis=0)
        at = int(means.argmax()) if defined.any() else 0
    return ranking.decision_at(curve, metric.decision, np.full(len(grid.forged), at))
