"""Coarse score histograms of every image of a set, read some images at a time: intervals and set-wide thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imdl_bench.metrics import confidence, ranking
from imdl_bench.metrics.histogram import Curve, coarse_edges, dense_curve, unpack_counts
from imdl_bench.metrics.names import Metric

Array = NDArray[np.float64]
IMAGES_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class CoarseGrid:
    """The histograms of all images, packed, and the bins where any pixel lies.

    Counts are integers below 2**53, so that products and sums in float64 are exact in whatever order they are taken.
    """

    packed: Sequence[bytes]
    occurs: NDArray[np.intp]

    @classmethod
    def over(cls, packed: Sequence[bytes]) -> CoarseGrid:
        """The grid over histograms as :func:`~imdl_bench.metrics.histogram.pack_counts` wrote them."""
        anywhere = np.zeros(len(coarse_edges()), bool)
        for each in packed:
            anywhere |= unpack_counts(each).any(axis=0)
        return cls(packed, np.flatnonzero(anywhere))

    def parts(self) -> Iterator[tuple[slice, Array, Array]]:
        """Which images, and their forged and pristine counts, float64 (images, bins)."""
        for start in range(0, len(self.packed), IMAGES_AT_ONCE):
            place = slice(start, min(start + IMAGES_AT_ONCE, len(self.packed)))
            counts = np.array([unpack_counts(each)[:, self.occurs] for each in self.packed[place]], np.float64)
            yield place, np.ascontiguousarray(counts[:, 0]), np.ascontiguousarray(counts[:, 1])

    def curve(self, forged: Array, pristine: Array) -> Curve:
        """The curve of counts in this grid's bins."""
        return dense_curve(coarse_edges()[self.occurs], forged, pristine)

    def resampled(self, weights: NDArray[np.uint16]) -> Iterator[Curve]:
        """Pooled curves of the resamples, some resamples at a time."""
        forged, pristine = (np.zeros((len(weights), len(self.occurs))) for _ in range(2))
        for place, forged_part, pristine_part in self.parts():
            chosen = weights[:, place].astype(np.float64)
            forged += chosen @ forged_part
            pristine += chosen @ pristine_part
        for rows in confidence.row_slices(len(weights), 2 * len(self.occurs)):
            yield self.curve(forged[rows], pristine[rows])

    def at_set_threshold(self, metric: Metric) -> Array:
        """Per-image values at one threshold for all: the greatest mean, or the pooled equal error rate.

        Thresholds are the coarse bin edges (64 per octave of p and of 1 - p).
        """
        at = self._pooled_eer_at() if metric.threshold == "eer-set" else self._best_mean_at(metric)
        values = [
            ranking.decision_at(self.curve(forged, pristine), metric.decision, np.full(len(forged), at))
            for _, forged, pristine in self.parts()
        ]
        return np.concatenate([np.empty(0), *values])

    def _pooled_eer_at(self) -> int:
        forged, pristine = (np.zeros(len(self.occurs)) for _ in range(2))
        for _, forged_part, pristine_part in self.parts():
            forged += forged_part.sum(axis=0)
            pristine += pristine_part.sum(axis=0)
        return int(ranking.eer_at(self.curve(forged, pristine)))

    def _best_mean_at(self, metric: Metric) -> int:
        total = np.zeros(len(self.occurs) + 1)
        for _, forged, pristine in self.parts():
            curve = self.curve(forged, pristine)
            total += np.nan_to_num(metric.sought(curve.tp, curve.fp, curve.forged, curve.pristine)).sum(axis=0)
        return int(total.argmax())
