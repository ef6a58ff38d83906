"""Score the pixels of one image: every metric from one sort, and what the data set's totals need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imdl_bench.metrics import ranking
from imdl_bench.metrics.histogram import BinnedScores, Counts, Curve, SortedScores, bin_scores, sort_scores
from imdl_bench.metrics.names import Metric, Threshold


@dataclass(frozen=True, slots=True)
class PixelScores:
    """What one image adds to a run.

    Attributes:
        values: per metric asked for, nan where undefined; nan too for metrics that exist only for the whole set.
        totals: int64 (2 + 2 T,): forged and pristine pixels, then true and false positives at each fixed threshold.
        histogram: of the bins that hold pixels, or None where no metric of the set needs it.
        scores: the sorted pixels, for a :class:`~imdl_bench.metrics.histogram.ScorePool`.
    """

    values: tuple[float, ...]
    totals: Counts
    histogram: BinnedScores | None
    scores: SortedScores


def fixed_thresholds(metrics: Sequence[Metric]) -> list[float]:
    """Numbers among the thresholds of pooled pixel metrics: counted directly, they need not be bin edges."""
    return sorted({m.threshold for m in metrics if m.average == "pooled" and isinstance(m.threshold, float)})


def needs_histogram(metrics: Sequence[Metric]) -> bool:
    """Whether any metric looks at the whole set's scores: pooled rankings, ``@best-set``, ``@eer-set``."""
    return any(m.level == "pixel" and not has_own_value(m) and not isinstance(m.threshold, float) for m in metrics)


def score_pixels(
    mask: NDArray[np.float32],
    truth: NDArray[np.bool_],
    metrics: Sequence[Metric],
    scores: SortedScores | None = None,
) -> PixelScores:
    """Score one predicted mask against its truth.

    Args:
        mask: float32 (H, W) in [0, 1], high = forged.
        truth: bool (H, W), True = forged.
        metrics: as asked by the protocol; image-level ones are passed over (nan).
        scores: these pixels, where they are sorted already.
    """
    if scores is None:
        scores = sort_scores(mask, truth)
    own = _own_values([metric for metric in metrics if has_own_value(metric)], scores)
    values = tuple(own.get(metric.name, math.nan) for metric in metrics)
    at = [scores.counts_at(threshold) for threshold in fixed_thresholds(metrics)]
    totals = np.array([scores.forged, scores.pristine, *(count for pair in at for count in pair)], np.int64)
    histogram = bin_scores(scores) if needs_histogram(metrics) else None
    return PixelScores(values, totals, histogram, scores)


def pixel_metric(metric: Metric, mask: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """One per-image pixel metric of one mask; nan where undefined. Arguments as :func:`score_pixels`."""
    return score_pixels(mask, truth, [metric]).values[0]


def has_own_value(metric: Metric) -> bool:
    """Whether one image alone has a value of this metric: a per-image pixel metric without a set-wide threshold."""
    set_wide = isinstance(metric.threshold, str) and metric.threshold.endswith("-set")
    return metric.level == "pixel" and metric.average == "per-image" and not set_wide


# Of the inverse map or not; a number, "eer", or what is greatest there.
_Point: TypeAlias = tuple[bool, Threshold | ranking.Decision]


def _own_values(metrics: Sequence[Metric], scores: SortedScores) -> dict[str, float]:
    """Values by name. Each decision is computed once, at all points of the image together."""
    sources = _Sources(scores)
    sides = {metric.name: _sides(metric, scores) for metric in metrics}
    decided = [metric for metric in metrics if metric.threshold is not None]
    points = dict.fromkeys(_point(metric, inverse) for metric in decided for inverse in sides[metric.name])
    tp, fp = np.array([sources.counts(*point) for point in points], np.float64).reshape(-1, 2).T
    totals = np.asarray(float(scores.forged)), np.asarray(float(scores.pristine))
    at = {
        decision: dict(zip(points, decision(tp, fp, *totals).tolist(), strict=True))
        for decision in dict.fromkeys(metric.decision for metric in decided)
    }
    found = {}
    for metric in metrics:
        if metric.statistic.of_curve is not None:
            each = [float(metric.statistic.of_curve(sources.curve(inverse))) for inverse in sides[metric.name]]
        elif metric.threshold == "eer" and not (scores.forged and scores.pristine):
            each = [math.nan]
        else:
            each = [at[metric.decision][_point(metric, inverse)] for inverse in sides[metric.name]]
        found[metric.name] = min(each) if metric.statistic.lower_is_better else max(each)
    return found


def _sides(metric: Metric, scores: SortedScores) -> list[bool]:
    """Whether the metric's rule looks at the map, at its inverse, or at both for the better one."""
    if metric.rule == "max-inverse":
        return [False, True]
    return [metric.rule == "negate-majority" and scores.forged > scores.pristine]


def _point(metric: Metric, inverse: bool) -> _Point:
    assert metric.threshold is not None
    return inverse, metric.sought if metric.threshold == "best" else metric.threshold


class _Sources:
    """Sorted scores and curve of the map and of its inverse, each made once and only when asked for."""

    def __init__(self, scores: SortedScores) -> None:
        self._scores = {False: scores}
        self._curves: dict[bool, Curve] = {}

    def scores(self, inverse: bool) -> SortedScores:
        if inverse not in self._scores:
            self._scores[inverse] = self._scores[False].inverse()
        return self._scores[inverse]

    def curve(self, inverse: bool) -> Curve:
        if inverse not in self._curves:
            self._curves[inverse] = self.scores(inverse).curve()
        return self._curves[inverse]

    def counts(self, inverse: bool, at: Threshold | ranking.Decision) -> tuple[float, float]:
        """True and false positives at a point; none where no equal error rate exists."""
        scores = self.scores(inverse)
        if callable(at):
            curve = self.curve(inverse)
            place = ranking.best_at(curve, at)
            return float(curve.tp[place]), float(curve.fp[place])
        if isinstance(at, float):
            return scores.counts_at(at)
        return scores.eer_counts()[:2] if scores.forged and scores.pristine else (0, 0)
