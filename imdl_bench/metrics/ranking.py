"""Metrics of a ranking: pure functions of a :class:`~imdl_bench.metrics.histogram.Curve`, over its last axis.

The same functions serve one image, a pool, image-level scores, and all bootstrap resamples at once (leading axes).
nan unless both classes occur.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from imdl_bench.metrics.histogram import Curve

Array = NDArray[np.float64]
Decision = Callable[[Array, Array, Array, Array], Array]


def auc(curve: Curve) -> Array:
    """Area under the ROC with ties at half, so that a constant map scores 0.5."""
    pairs = _total(curve.forged) * _total(curve.pristine)
    area = ((curve.tp - curve.tp_before) * (2 * curve.pristine - curve.fp - curve.fp_before)).sum(axis=-1)
    return _defined(curve, area / np.where(pairs > 0, 2 * pairs, 1))


def ap(curve: Curve) -> Array:
    """Average precision, the sum of precision times step in recall; no interpolation (as scikit-learn).

    Within a bin of different scores the two classes are taken as evenly mixed: a step at the bin's end alone would be
    biased.
    """
    called = curve.tp + curve.fp
    precision = np.divide(curve.tp, called, out=np.zeros_like(called), where=called > 0)
    steps = (curve.tp - curve.tp_before) * precision
    if curve.mixed is not None:
        steps = np.where(curve.mixed, _mixed_steps(curve), steps)
    forged = _total(curve.forged)
    return _defined(curve, steps.sum(axis=-1) / np.where(forged > 0, forged, 1))


def _mixed_steps(curve: Curve) -> Array:
    """The integral of (tp + t) / (tp + t + fp + r t) over the bin's forged pixels t, at r pristine ones for each."""
    forged, pristine = curve.tp - curve.tp_before, curve.fp - curve.fp_before
    slope = 1 + pristine / np.where(forged > 0, forged, 1)
    called = curve.tp_before + curve.fp_before
    grown = np.log1p(slope * forged / np.where(called > 0, called, 1))
    from_before = (curve.tp_before - called / slope) / slope * np.where(called > 0, grown, 0)
    return np.where(forged > 0, forged / slope + from_before, 0)


def eer(curve: Curve) -> Array:
    """Equal error rate: where the ROC, linear between its points, has as many false positives as false negatives."""
    crossed = curve.fp * curve.forged + curve.tp * curve.pristine >= curve.forged * curve.pristine
    at = crossed.argmax(axis=-1)[..., None]
    forged, pristine = np.maximum(_total(curve.forged), 1), np.maximum(_total(curve.pristine), 1)
    fpr, fpr_before = (np.take_along_axis(fp, at, -1)[..., 0] / pristine for fp in (curve.fp, curve.fp_before))
    fnr, fnr_before = (1 - np.take_along_axis(tp, at, -1)[..., 0] / forged for tp in (curve.tp, curve.tp_before))
    after, before = fpr - fnr, fpr_before - fnr_before
    step = np.where(after > before, -before / np.where(after > before, after - before, 1), 0.0)
    between = fpr_before + np.clip(step, 0, 1) * (fpr - fpr_before)
    return _defined(curve, np.where(before >= 0, fnr_before, between))


def tpr_at_fpr(curve: Curve, limit: float) -> Array:
    """Greatest true-positive rate of any threshold whose false-positive rate is at most ``limit``; not interpolated."""
    allowed = curve.fp <= limit * curve.pristine * (1 + 1e-12)
    forged = _total(curve.forged)
    return _defined(curve, np.where(allowed, curve.tp, 0).max(axis=-1) / np.where(forged > 0, forged, 1))


def best_at(curve: Curve, decision: Decision) -> NDArray[np.intp]:
    """Index of the highest threshold at which ``decision`` is greatest."""
    value = decision(curve.tp, curve.fp, curve.forged, curve.pristine)
    undefined = np.isnan(value)
    return np.asarray((np.where(undefined, -np.inf, value) if undefined.any() else value).argmax(axis=-1))


def eer_at(curve: Curve) -> NDArray[np.intp]:
    """Index of the threshold with the closest false-positive and false-negative rates; the higher of two."""
    gap = curve.fp / np.maximum(curve.pristine, 1) - (1 - curve.tp / np.maximum(curve.forged, 1))
    return np.asarray(np.abs(gap).argmin(axis=-1))


def decision_at(curve: Curve, decision: Decision, at: NDArray[np.intp]) -> Array:
    """``decision`` at point ``at`` of the curve."""
    tp, fp = (np.take_along_axis(counts, at[..., None], -1)[..., 0] for counts in (curve.tp, curve.fp))
    return decision(tp, fp, _total(curve.forged), _total(curve.pristine))


def _total(count: Array) -> Array:
    return count[..., 0] if np.ndim(count) else count


def _defined(curve: Curve, value: Array) -> Array:
    return np.where((_total(curve.forged) > 0) & (_total(curve.pristine) > 0), value, np.nan)
