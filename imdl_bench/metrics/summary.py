"""From the rows of a run to its numbers: one summary per metric, with n, what was skipped, and an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imdl_bench.metrics import confidence, ranking
from imdl_bench.metrics.histogram import Counts, ScorePool, coarse_edges, dense_curve
from imdl_bench.metrics.image import image_metric, value_of
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
    coarse = np.array([rows.coarse[i] for i in pixels if rows.coarse[i] is not None], dtype=np.float64)
    return [
        _image_summary(metric, rows, score_rule, weights)
        if metric.level == "image"
        else _pixel_summary(metric, rows, pixels, coarse, weights[:, pixels], metrics)
        for metric in wanted
    ]


def _image_summary(metric: Metric, rows: ScoredRows, score_rule: str, weights: Array) -> Summary:
    scores = rows.scores[metric.rule or score_rule]
    used = np.flatnonzero(~np.isnan(scores))
    scores, forged = scores[used], rows.forged[used]
    if len(used) == 0:
        return Summary(metric.name, math.nan, math.nan, math.nan, 0, len(rows.forged))
    spread = [
        image_metric(metric, scores, forged, weights[start : start + CHUNK, used])
        for start in range(0, len(weights), CHUNK)
    ]
    value = float(image_metric(metric, scores, forged))
    return Summary(metric.name, value, *_interval(spread), len(used), len(rows.forged) - len(used))


def _pixel_summary(
    metric: Metric, rows: ScoredRows, pixels: NDArray[np.intp], coarse: Array, weights: Array, metrics: Sequence[Metric]
) -> Summary:
    if len(pixels) == 0:
        return Summary(metric.name, math.nan, math.nan, math.nan, 0, rows.n_without_truth)
    if metric.average == "pooled":
        value, spread = _pooled(metric, rows, pixels, coarse, weights, metrics)
        return Summary(metric.name, value, *_interval(spread), len(pixels), rows.n_without_truth)
    set_wide = isinstance(metric.threshold, str) and metric.threshold.endswith("-set")
    values = _at_set_threshold(metric, coarse) if set_wide else rows.values[metric.name][pixels]
    defined = int((~np.isnan(values)).sum())
    mean = float(values[~np.isnan(values)].mean()) if defined else math.nan
    spread = [confidence.weighted_means(values, weights)]
    skipped = len(pixels) - defined + rows.n_without_truth
    return Summary(metric.name, mean, *_interval(spread), defined, skipped)


def _pooled(
    metric: Metric, rows: ScoredRows, pixels: NDArray[np.intp], coarse: Array, weights: Array, metrics: Sequence[Metric]
) -> tuple[float, list[Array]]:
    """Value from the exact totals or the pool; interval from totals or the coarse histograms."""
    if isinstance(metric.threshold, float):
        column = 2 + 2 * fixed_thresholds(metrics).index(metric.threshold)
        totals = rows.totals[pixels][:, [column, column + 1, 0, 1]].astype(np.float64)
        value = float(metric.decision(*totals.sum(axis=0)))
        return value, [metric.decision(*(weights @ totals).T)] if len(weights) else []
    spread = []
    for start in range(0, len(weights), CHUNK):
        part = weights[start : start + CHUNK]
        # integers below 2**53: exact in float64 whatever order the library sums in
        forged, pristine = (part @ coarse[:, side] for side in (0, 1))
        spread.append(value_of(metric, dense_curve(coarse_edges(), forged, pristine)))
    return float(value_of(metric, rows.pool.curve())), spread


def _at_set_threshold(metric: Metric, coarse: Array) -> Array:
    """Per-image values at the one threshold that suits the set: the greatest mean, or the pooled equal error rate.

    Thresholds are the coarse bin edges (64 per octave of p and of 1 - p).
    """
    curve = dense_curve(coarse_edges(), coarse[:, 0], coarse[:, 1])
    if metric.threshold == "eer-set":
        pooled = dense_curve(coarse_edges(), *coarse.sum(axis=0))
        at = ranking.eer_at(pooled)
    else:
        sought = metric.sought(curve.tp, curve.fp, curve.forged, curve.pristine)
        defined = ~np.isnan(sought).all(axis=-1)
        at = np.nan_to_num(sought[defined], nan=0.0).mean(axis=0).argmax() if defined.any() else np.intp(0)
    return ranking.decision_at(curve, metric.decision, np.full(len(coarse), at))


def _interval(spread: list[Array]) -> tuple[float, float]:
    return confidence.interval(np.concatenate(spread)) if spread else (math.nan, math.nan)
