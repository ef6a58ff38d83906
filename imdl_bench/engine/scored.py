"""What one prediction leaves behind: rows, the scores of its pixels, a small picture of its mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imdl_bench import records
from imdl_bench.distortions import NONE
from imdl_bench.engine.decoded import Decoded
from imdl_bench.metrics.histogram import ScorePool, SortedScores, coarsen, pack_counts, sort_scores
from imdl_bench.metrics.names import Metric
from imdl_bench.metrics.pixel import PixelScores, score_pixels
from imdl_bench.records import Row
from imdl_bench.thumbnails import KeptMask, mask_thumbnail
from imdl_bench.types import DONOR, Prediction

Sort: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.bool_]], SortedScores]


@dataclass(frozen=True, slots=True)
class Scored:
    """One prediction's rows (two for a pair), their pixel scores, and thumbnails of clean masks by row."""

    distortion: str
    rows: list[Row]
    pixels: list[PixelScores] = field(default_factory=list)
    masks: dict[str, KeptMask] = field(default_factory=dict)

    def add_to(self, pool: ScorePool) -> None:
        """Add the pixels to those of other images under the same distortion."""
        for pixels in self.pixels:
            if pixels.histogram is not None:
                pool.add(pixels.scores, pixels.histogram)


def failed(decoded: Decoded, reason: str) -> Scored:
    """An image that has no numbers."""
    return Scored(decoded.distortion, [_row(decoded, status="failed", reason=reason)])


def score(
    decoded: Decoded, prediction: Prediction, seconds: float | None, metrics: Sequence[Metric], *,
    pixels_of_all: bool, sort: Sort = sort_scores,
) -> Scored:  # fmt: skip
    """Score one prediction that was checked.

    Args:
        seconds: that the model took; none for predictions made elsewhere.
        pixels_of_all: pixels of pristine images count too.
        sort: what sorts the pixels of a mask float32 (H, W) with its truth bool (H, W).
    """
    prediction = _moved_back(decoded, prediction)
    rows, pixels = _scored(decoded, prediction, seconds, metrics, pixels_of_all, sort)
    return Scored(decoded.distortion, rows, pixels, _clean_masks(decoded, prediction))


def _clean_masks(decoded: Decoded, prediction: Prediction) -> dict[str, KeptMask]:
    if decoded.distortion != NONE:
        return {}
    masks = {decoded.sample.id: prediction.mask, decoded.sample.id + DONOR: prediction.donor_mask}
    return {key: mask_thumbnail(mask) for key, mask in masks.items() if mask is not None}


def _moved_back(decoded: Decoded, prediction: Prediction) -> Prediction:
    """Masks where the truths are."""
    if not decoded.moved:
        return prediction
    masks = [prediction.mask, prediction.donor_mask][: len(decoded.moved)]
    back = [None if mask is None else each.map_back(mask) for mask, each in zip(masks, decoded.moved, strict=True)]
    return replace(prediction, mask=back[0], donor_mask=back[1] if len(back) == 2 else None)


def _scored(
    decoded: Decoded, prediction: Prediction, seconds: float | None, metrics: Sequence[Metric], pixels_of_all: bool,
    sort: Sort,
) -> tuple[list[Row], list[PixelScores]]:  # fmt: skip
    row = _row(decoded, seconds=seconds, score=prediction.score)
    if prediction.mask is None:
        return [row], []
    mean, top = float(prediction.mask.mean(dtype=np.float64)), float(prediction.mask.max())
    row = replace(row, mask_mean=mean, mask_max=top)
    truth = decoded.truths[0]
    of_pixels = any(metric.level == "pixel" for metric in metrics)
    if truth is None or not of_pixels or not (decoded.sample.forged or pixels_of_all):
        return [row], []
    scores = score_pixels(prediction.mask, truth, metrics, sort(prediction.mask, truth))
    rows, all_scores = [_with_pixels(row, scores)], [scores]
    if len(decoded.truths) == 2 and decoded.truths[1] is not None and prediction.donor_mask is not None:
        donor_truth = decoded.truths[1]
        scores = score_pixels(prediction.donor_mask, donor_truth, metrics, sort(prediction.donor_mask, donor_truth))
        shape = decoded.images[1].shape
        donor = replace(row, sample=row.sample + DONOR, height=shape[0], width=shape[1], score=None)
        rows.append(_with_pixels(replace(donor, mask_mean=None, mask_max=None, seconds=None), scores))
        all_scores.append(scores)
    return rows, all_scores


def _row(decoded: Decoded, status: str = "ok", **more: Any) -> Row:
    sample = decoded.sample
    height, width = decoded.images[0].shape[:2] if decoded.images else (None, None)
    return Row(
        *(sample.id, decoded.position, sample.forged, sample.kind, sample.group, status),
        warnings=decoded.warnings, height=height, width=width, file_size=decoded.file_size,
        distortion=decoded.distortion, **more,
    )  # fmt: skip


def _with_pixels(row: Row, scores: PixelScores) -> Row:
    return replace(
        row,
        values=records.float_blob(scores.values),
        totals=records.count_blob(scores.totals),
        coarse=None if scores.histogram is None else pack_counts(coarsen(scores.histogram)),
    )
