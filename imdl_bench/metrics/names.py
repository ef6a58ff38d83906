"""A metric's name says everything: level, statistic, rules, threshold, average. Nothing is called just "F1"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imdl_bench.errors import UsageError, nearest
from imdl_bench.metrics import counts, ranking
from imdl_bench.metrics.histogram import Curve

Array = NDArray[np.float64]
Threshold = float | Literal["best", "eer", "best-set", "eer-set"]

PIXEL_RULES = ("negate-majority", "max-inverse")
SCORE_RULES = ("model", "mask-mean", "mask-max")
_GRAMMAR = re.compile(
    r"(?P<level>pixel|image)_(?P<stat>[a-z0-9_]+?)(?:\[(?P<rule>[a-z-]+)\])?(?:@(?P<at>[a-z0-9.-]+))?(?:/(?P<average>[a-z-]+))?"
)


@dataclass(frozen=True, slots=True)
class Statistic:
    """One row of METRICS: what it is, and the function behind it (of a curve, or of a decision)."""

    about: str
    of_curve: Callable[[Curve], Array] | None = None
    of_decision: ranking.Decision | None = None
    levels: tuple[str, ...] = ("pixel", "image")
    lower_is_better: bool = False


METRICS: dict[str, Statistic] = {
    "auc": Statistic("area under the ROC, ties at half", of_curve=ranking.auc),
    "ap": Statistic("average precision, not interpolated", of_curve=ranking.ap),
    "eer": Statistic("equal error rate, ROC linear between points", of_curve=ranking.eer, lower_is_better=True),
    "tpr": Statistic("true-positive rate at @fprX: best threshold with FPR <= X", levels=("image",)),
    "f1": Statistic("2TP / (2TP + FP + FN) of the forged class", of_decision=counts.f1),
    "iou": Statistic("TP / (TP + FP + FN) of the forged class", of_decision=counts.iou, levels=("pixel",)),
    "mcc": Statistic("Matthews correlation", of_decision=counts.mcc),
    "accuracy": Statistic("(TP + TN) / all", of_decision=counts.accuracy),
    "balanced_accuracy": Statistic("mean of TPR and TNR", of_decision=counts.balanced_accuracy),
    "precision": Statistic("TP / (TP + FP); @best is the threshold of the best F1", of_decision=counts.precision),
    "recall": Statistic("TP / forged; @best is the threshold of the best F1", of_decision=counts.recall),
    "nmm": Statistic("Nimble Mask Metric max(-1, (TP - FN - FP) / forged)", of_decision=counts.nmm, levels=("pixel",)),
    "f1_weighted": Statistic("F1 weighted by class support", of_decision=counts.f1_weighted, levels=("pixel",)),
    "precision_weighted": Statistic(
        "precision weighted by class support", of_decision=counts.precision_weighted, levels=("pixel",)
    ),
    "recall_weighted": Statistic(
        "recall weighted by class support, which is accuracy", of_decision=counts.recall_weighted, levels=("pixel",)
    ),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A parsed metric name.

    Attributes:
        name: as written; the column of every table.
        level: ``pixel`` or ``image``.
        stat: a key of METRICS.
        rule: pixel: ``negate-majority`` (score the inverse map where more than half is forged, ManTra-Net Table 8) or
            ``max-inverse`` (the greater of map and inverse map). image: where the score comes from, in place of the
            protocol's ``score``.
        threshold: a number; ``best``, ``eer`` (own threshold of each image, or of the pool); ``best-set``, ``eer-set``
            (one threshold for all images, per-image averages); ``None`` for ranking metrics.
        average: ``per-image``, ``pooled``; ``None`` at image level.
        fpr: of ``image_tpr@fprX``.
    """

    name: str
    level: str
    stat: str
    rule: str | None
    threshold: Threshold | None
    average: str | None
    fpr: float | None = None

    @property
    def statistic(self) -> Statistic:
        return METRICS[self.stat]

    @property
    def decision(self) -> ranking.Decision:
        assert self.statistic.of_decision is not None
        return self.statistic.of_decision

    @property
    def sought(self) -> ranking.Decision:
        """What ``@best`` maximises: the statistic itself, F1 for precision and recall (alone they are trivial)."""
        return counts.f1 if self.stat in ("precision", "recall") else self.decision


def parse_metric(name: str) -> Metric:
    """Parse and check a metric name such as ``pixel_f1@0.5/per-image`` or ``image_tpr@fpr0.01``.

    Raises:
        UsageError: names the part that is wrong and the nearest right word.
    """
    match = _GRAMMAR.fullmatch(name)
    if match is None:
        raise UsageError(f"metric {name!r}: write level_statistic[rule]@threshold/average, e.g. pixel_f1@0.5/per-image")
    level, stat, rule, at, average = match.group("level", "stat", "rule", "at", "average")
    allowed = [known for known, row in METRICS.items() if level in row.levels]
    if stat not in allowed:
        raise UsageError(f"metric {name!r}: no {level} statistic {stat!r}{nearest(stat, allowed)}")
    _check_average(name, level, average)
    rules = PIXEL_RULES if level == "pixel" else SCORE_RULES
    if rule is not None and rule not in rules:
        raise UsageError(f"metric {name!r}: no {level} rule {rule!r}{nearest(rule, rules)}")
    if level == "pixel" and rule is not None and (average == "pooled" or (at or "").endswith("-set")):
        raise UsageError(f"metric {name!r}: the rule {rule!r} is decided per image; use /per-image without -set")
    threshold, fpr = _threshold(name, level, stat, at, average)
    return Metric(name, level, stat, rule, threshold, average, fpr)


def refuse_absent(names: Iterable[str], known: Sequence[str]) -> None:
    """Raise UsageError for a metric that none of the runs at hand has."""
    for name in names:
        if name not in known:
            raise UsageError(f"no run has the metric {name!r}{nearest(name, known)} (they have: {', '.join(known)})")


def _check_average(name: str, level: str, average: str | None) -> None:
    if level == "pixel" and average not in ("per-image", "pooled"):
        raise UsageError(f"metric {name!r}: say how pixels are averaged: {name.split('/')[0]}/per-image or /pooled")
    if level == "image" and average is not None:
        raise UsageError(f"metric {name!r}: image-level metrics have no average; write {name.split('/')[0]}")


def _threshold(
    name: str, level: str, stat: str, at: str | None, average: str | None
) -> tuple[Threshold | None, float | None]:
    if stat == "tpr":
        limit = _number(at.removeprefix("fpr")) if at and at.startswith("fpr") else None
        if limit is None:
            raise UsageError(f"metric {name!r}: say at which false-positive rate, e.g. image_tpr@fpr0.01")
        return None, limit
    if METRICS[stat].of_curve is not None:
        if at is not None:
            raise UsageError(f"metric {name!r}: {stat} has no threshold; leave out @{at}")
        return None, None
    words = ("best", "eer", "best-set", "eer-set") if average == "per-image" else ("best", "eer")
    value = _number(at) if at else None
    if value is not None:
        return value, None
    if at not in words:
        raise UsageError(f"metric {name!r}: say at which threshold: a number in [0, 1] or {', '.join(words)}")
    return at, None  # type: ignore[return-value]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None
