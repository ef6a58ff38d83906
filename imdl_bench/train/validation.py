"""Score held-out examples with the metrics of every table, on the masks that the model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from imdl_bench.batching import predict_each
from imdl_bench.errors import TrainingError
from imdl_bench.examples import Example
from imdl_bench.metrics import Metric, parse_metric
from imdl_bench.metrics.histogram import ScorePool, coarsen, pack_counts
from imdl_bench.metrics.pixel import score_pixels
from imdl_bench.metrics.summary import ScoredRows, summarize
from imdl_bench.types import Image, Prediction

ALWAYS = ("pixel_auc/per-image", "pixel_f1@0.5/per-image", "pixel_f1@best/per-image", "image_auc")
AT_ONCE = 8


def metrics_of(watch: str) -> list[Metric]:
    """What a validation gives: a few metrics always, and the one that is watched."""
    return [parse_metric(name) for name in dict.fromkeys([watch, *ALWAYS])]


def score_examples(
    model: Any, examples: Sequence[Example], metrics: Sequence[Metric], outputs: Sequence[str]
) -> dict[str, float]:
    """Each metric over the examples; nan where undefined. Image scores are the model's own, or else the mask's mean.

    Raises:
        TrainingError: the model gives no prediction for an example.
    """
    collected = _Collected(metrics)
    for start in range(0, len(examples), AT_ONCE):
        part = examples[start : start + AT_ONCE]
        inputs = [[Image(example.image) for example in part]]
        if part[0].donor is not None:
            inputs.append([Image(example.donor) for example in part if example.donor is not None])
        predictions = predict_each(model.predict, *inputs, outputs=outputs)
        for example, prediction in zip(part, predictions, strict=True):
            if isinstance(prediction, str):
                raise TrainingError(f"validation: no prediction for {example.id}: {prediction}")
            collected.add(example, prediction)
    return collected.summary()


class _Collected:
    """Rows as a run has them; both images of a pair are rows."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics
        self._pool = ScorePool()
        self._forged: list[bool] = []
        self._scores: list[tuple[float, float, float]] = []
        self._values: list[tuple[float, ...]] = []
        self._totals: list[Any] = []
        self._coarse: list[bytes] = []
        self._second: list[bool] = []
        self._with_pixels: list[bool] = []

    def add(self, example: Example, prediction: Prediction) -> None:
        mean, top = float("nan"), float("nan")
        if prediction.mask is not None:
            mean, top = float(prediction.mask.mean(dtype=np.float64)), float(prediction.mask.max())
        own = mean if prediction.score is None else prediction.score
        self._scores.append((own, mean, top))
        self._row(example.truth, prediction.mask, forged=example.forged, second=False)
        if example.donor_truth is not None and prediction.donor_mask is not None:
            self._scores.append((own, mean, top))
            self._row(example.donor_truth, prediction.donor_mask, forged=example.forged, second=True)

    def _row(self, truth: Any, mask: Any, *, forged: bool, second: bool) -> None:
        counted = forged and mask is not None
        blank = np.zeros((1, 1))
        found = score_pixels(
            mask if counted else blank.astype(np.float32), truth if counted else blank.astype(bool), self._metrics
        )
        packed = b""
        if counted and found.histogram is not None:
            self._pool.add(found.scores, found.histogram)
            packed = pack_counts(coarsen(found.histogram))
        self._forged.append(forged)
        self._values.append(found.values)
        self._totals.append(found.totals)
        self._coarse.append(packed)
        self._second.append(second)
        self._with_pixels.append(counted)

    def summary(self) -> dict[str, float]:
        scores = np.array(self._scores, np.float64)
        values = np.array(self._values, np.float64)
        rows = ScoredRows(
            np.array(self._forged, bool), [str(place) for place in range(len(self._forged))],
            {rule: scores[:, place] for place, rule in enumerate(("model", "mask-mean", "mask-max"))},
            {metric.name: values[:, place] for place, metric in enumerate(self._metrics)},
            np.array(self._totals, np.int64), self._coarse, self._pool, np.array(self._second, bool),
            np.array(self._with_pixels, bool),
        )  # fmt: skip
        found = summarize(rows, self._metrics, score_rule="model", resamples=0, seed=0)
        return {each.metric: each.value for each in found}
