"""Image-level metrics: how well scores of whole images tell forged from pristine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imdl_bench.metrics import ranking
from imdl_bench.metrics.histogram import Curve, dense_curve
from imdl_bench.metrics.names import Metric

Array = NDArray[np.float64]


def image_metric(metric: Metric, scores: Array, forged: NDArray[np.bool_], weights: Array | None = None) -> Array:
    """One image-level metric.

    Args:
        metric: parsed name, level ``image``.
        scores: float64 (n,) in [0, 1], high = forged.
        forged: bool (n,).
        weights: float64 (..., n), how often each image counts (bootstrap resamples); once by default.

    Returns:
        float64 (...): nan where a class is missing.
    """
    return value_of(metric, score_curve(scores, forged, weights))


def score_curve(scores: Array, forged: NDArray[np.bool_], weights: Array | None = None) -> Curve:
    """The curve over all distinct scores; leading axes of ``weights`` (..., n) are kept."""
    values, place = np.unique(scores, return_inverse=True)
    counted = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(values)))
    sides = [np.add.reduceat((counted * side)[..., order], starts, axis=-1) for side in (forged, ~forged)]
    return dense_curve(values, *sides)


def value_of(metric: Metric, curve: Curve) -> Array:
    """A metric of the whole set from its curve: image level, or pooled pixels."""
    return values_of([metric], curve)[0]


def values_of(metrics: Sequence[Metric], curve: Curve) -> list[Array]:
    """Several metrics of one curve; points they share are sought once."""
    points: dict[object, NDArray[np.intp]] = {}
    return [_value(metric, curve, points) for metric in metrics]


def _value(metric: Metric, curve: Curve, points: dict[object, NDArray[np.intp]]) -> Array:
    if metric.fpr is not None:
        return ranking.tpr_at_fpr(curve, metric.fpr)
    if metric.statistic.of_curve is not None:
        return metric.statistic.of_curve(curve)
    place = (metric.threshold, metric.sought if metric.threshold == "best" else None)
    if place not in points:
        points[place] = _at(metric, curve)
    return ranking.decision_at(curve, metric.decision, points[place])


def _at(metric: Metric, curve: Curve) -> NDArray[np.intp]:
    if metric.threshold == "best":
        return ranking.best_at(curve, metric.sought)
    if metric.threshold == "eer":
        return ranking.eer_at(curve)
    assert isinstance(metric.threshold, float)
    at = int(np.searchsorted(-curve.thresholds, -metric.threshold, side="right")) - 1
    return np.full(curve.tp.shape[:-1], at)
