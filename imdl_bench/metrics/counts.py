"""Metrics of a decision: pure functions of true and false positives, vectorised, float64.

Arguments of every function: ``tp``, ``fp`` (forged and pristine pixels, or images, called forged) and the totals
``forged``, ``pristine``; scalars or arrays that broadcast. Where a value is undefined it is nan, never 0 or 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def f1(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """F1 of the forged class, 2TP / (2TP + FP + FN). nan where nothing is forged."""
    return _where(forged > 0, 2 * tp, tp + fp + forged)


def iou(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """Intersection over union of the forged class, TP / (TP + FP + FN). nan where nothing is forged."""
    return _where(forged > 0, tp, fp + forged)


def mcc(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """Matthews correlation. 0 where the decision or the truth is constant, nan where nothing is forged."""
    called = tp + fp
    total = forged + pristine
    product = called * (total - called) * (forged * pristine)
    covariance = tp * total - called * forged
    value = _zero(covariance, np.sqrt(product))
    return value if np.all(forged > 0) else np.where(forged > 0, value, np.nan)


def accuracy(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """(TP + TN) / all."""
    return _where(forged + pristine > 0, tp + pristine - fp, forged + pristine)


def balanced_accuracy(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """Mean of true-positive and true-negative rate. nan unless both classes occur."""
    return (_where(forged > 0, tp, forged) + _where(pristine > 0, pristine - fp, pristine)) / 2


def precision(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """TP / (TP + FP). nan where nothing is called forged, or nothing is."""
    return _where((tp + fp > 0) & (forged > 0), tp, tp + fp)


def recall(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """TP / forged. nan where nothing is forged."""
    return _where(forged > 0, tp, forged)


def nmm(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """Nimble Mask Metric max(-1, (TP - FN - FP) / forged), -1..1 (DMAC, Section IV-A). nan where nothing is forged."""
    return np.maximum(-1.0, _where(forged > 0, 2 * tp - forged - fp, forged))


def f1_weighted(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """F1 of both classes weighted by their support (ELA-PPM, Table II); a class never named counts 0 as there."""
    tn, fn = pristine - fp, forged - tp
    return (forged * _zero(2 * tp, 2 * tp + fp + fn) + pristine * _zero(2 * tn, 2 * tn + fp + fn)) / (forged + pristine)


def precision_weighted(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """Precision of both classes weighted by support (ELA-PPM, Table II); a class never named counts 0 as there."""
    tn, fn = pristine - fp, forged - tp
    return (forged * _zero(tp, tp + fp) + pristine * _zero(tn, tn + fn)) / (forged + pristine)


def recall_weighted(tp: Array, fp: Array, forged: Array, pristine: Array) -> Array:
    """Recall of both classes weighted by their support, which is accuracy (ELA-PPM, Table II)."""
    return accuracy(tp, fp, forged, pristine)


def _where(defined: NDArray[np.bool_], above: Array, below: Array) -> Array:
    everywhere = defined.all() if np.ndim(defined) else defined
    if everywhere:  # one image with both classes: no need to guard each point
        return np.asarray(above / below)
    return np.where(defined, above / np.where(defined, below, 1), np.nan)


def _zero(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=below > 0)
