"""Score the pixels of one image: every metric from one sort, and what the data set's totals need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imdl_bench.metrics import ranking
from imdl_bench.metrics.histogram import Counts, Curve, SortedScores, bin_scores, sort_scores
from imdl_bench.metrics.names import Metric, Threshold


@dataclass(frozen=True, slots=True)
class PixelScores:
    """What one image adds to a run.

    Attributes:
        values: per metric asked for, nan where undefined; nan too for metrics that exist only for the whole set.
        totals: int64 (2 + 2 T,): forged and pristine pixels, then true and false positives at each fixed threshold.
        histogram: (5, BINS), or None where no metric of the set needs it.
        scores: the sorted pixels, for a :class:`~imdl_bench.metrics.histogram.ScorePool`.
    """

    values: tuple[float, ...]
    totals: Counts
    histogram: Counts | None
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
    sources = _Sources(scores)
    values = tuple(_value(metric, sources) if has_own_value(metric) else math.nan for metric in metrics)
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


class _Sources:
    """Sorted scores, curve and thresholds of the map and of its inverse, each made once and only when asked for."""

    def __init__(self, scores: SortedScores) -> None:
        self._scores = {False: scores}
        self._curves: dict[bool, Curve] = {}
        self._counts: dict[object, tuple[int, int]] = {}
        self._best: dict[object, NDArray[np.intp]] = {}

    def scores(self, inverse: bool) -> SortedScores:
        if inverse not in self._scores:
            self._scores[inverse] = self._scores[False].inverse()
        return self._scores[inverse]

    def curve(self, inverse: bool) -> Curve:
        if inverse not in self._curves:
            self._curves[inverse] = self.scores(inverse).curve()
        return self._curves[inverse]

    def counts(self, inverse: bool, threshold: Threshold) -> tuple[int, int]:
        """True and false positives at a number or at ``eer``."""
        place = (inverse, threshold)
        if place not in self._counts:
            scores = self.scores(inverse)
            found = scores.counts_at(threshold) if isinstance(threshold, float) else scores.eer_counts()[:2]
            self._counts[place] = found
        return self._counts[place]

    def best(self, inverse: bool, sought: ranking.Decision) -> NDArray[np.intp]:
        """Where on the curve ``sought`` is greatest."""
        place = (inverse, sought)
        if place not in self._best:
            self._best[place] = ranking.best_at(self.curve(inverse), sought)
        return self._best[place]


def _value(metric: Metric, sources: _Sources) -> float:
    scores = sources.scores(inverse=False)
    if metric.rule == "negate-majority":
        return _plain_value(metric, sources, inverse=scores.forged > scores.pristine)
    if metric.rule == "max-inverse":
        both = [_plain_value(metric, sources, inverse=side) for side in (False, True)]
        return min(both) if metric.statistic.lower_is_better else max(both)
    return _plain_value(metric, sources, inverse=False)


def _plain_value(metric: Metric, sources: _Sources, *, inverse: bool) -> float:
    if metric.statistic.of_curve is not None:
        return float(metric.statistic.of_curve(sources.curve(inverse)))
    scores = sources.scores(inverse)
    if metric.threshold == "best":
        return float(ranking.decision_at(sources.curve(inverse), metric.decision, sources.best(inverse, metric.sought)))
    if metric.threshold == "eer" and not (scores.forged and scores.pristine):
        return math.nan
    assert metric.threshold is not None
    tp, fp = sources.counts(inverse, metric.threshold)
    counts = (np.float64(number) for number in (tp, fp, scores.forged, scores.pristine))
    return float(metric.decision(*counts))  # type: ignore[arg-type]
