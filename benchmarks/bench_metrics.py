"""Pixel metrics beside scikit-learn and torchmetrics on the same arrays.

    python benchmarks/bench_metrics.py [options of run.py]

"every metric" is every per-image pixel metric of METRICS, at 0.5, best and eer; "and pooled" adds those of a set.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from inputs import every_metric, score_maps, truth
from measurement import LeftOut, Measurement, Row, Settings, measured
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score, roc_curve
from timing import Rounds, alternate

from imdl_bench.metrics import Metric, parse_metric
from imdl_bench.metrics.histogram import ScorePool
from imdl_bench.metrics.pixel import score_pixels

GROUP = "metrics"
SIZES = ((512, 512), (1920, 1080))
FIVE = [parse_metric(f"pixel_{name}/per-image") for name in ("auc", "ap", "f1@0.5", "f1@best", "eer")]
TWO = FIVE[:2]
TORCHMETRICS = "torchmetrics' AUROC and AP"

Mask = NDArray[np.float32]
Truth = NDArray[np.bool_]


def measure(settings: Settings) -> Iterator[Row]:
    """Four rows for each size and kind of score map."""
    with_torchmetrics = importlib.util.find_spec("torchmetrics") is not None
    if with_torchmetrics:
        importlib.import_module("torchmetrics.functional")  # takes seconds, which are nobody's round
    else:
        yield LeftOut(GROUP, TORCHMETRICS, "torchmetrics is not installed")
    for width, height in ((256, 256),) if settings.quick else SIZES:
        for kind, mask in score_maps(width, height).items():
            jobs = _jobs(mask, truth(width, height), with_torchmetrics=with_torchmetrics)
            found = alternate(jobs, settings.rounds, settings.budget)
            known = {name: rounds for name, rounds in found.items() if isinstance(rounds, Rounds)}
            yield from _rows(f"{kind} {width}x{height}", known, mask, truth(width, height))


def _jobs(mask: Mask, forged: Truth, *, with_torchmetrics: bool) -> dict[str, Callable[[], object]]:
    per_image = every_metric("per-image")
    jobs: dict[str, Callable[[], object]] = {
        "every metric": partial(score_pixels, mask, forged, per_image),
        "every metric, and pooled": partial(_score_into, ScorePool(), mask, forged, [*per_image, *every_metric("pooled")]),  # noqa: E501
        "five": partial(score_pixels, mask, forged, FIVE),
        "two": partial(score_pixels, mask, forged, TWO),
        "roc_auc_score": partial(roc_auc_score, forged.ravel(), mask.ravel()),
        "sklearn five": partial(sklearn_five, mask, forged),
    }  # fmt: skip
    if with_torchmetrics:
        jobs["torchmetrics two"] = partial(torchmetrics_two, mask, forged)
    return jobs


def _rows(kind: str, found: dict[str, Rounds], mask: Mask, forged: Truth) -> Iterator[Measurement]:
    alone = found["roc_auc_score"]
    for name in ("every metric", "every metric, and pooled"):
        yield measured(GROUP, f"{name}, {kind}", found[name], alone, against="scikit-learn's AUC alone")
    five = score_pixels(mask, forged, FIVE).values
    apart = f"differ by {_difference(five, sklearn_five(mask, forged)):.1e}"
    yield measured(GROUP, f"AUC, AP, F1@0.5, F1@best, EER, {kind}", found["five"], found["sklearn five"], against="scikit-learn", note=apart)  # fmt: skip  # noqa: E501
    if "torchmetrics two" in found:
        apart = f"differ by {_difference(five[:2], torchmetrics_two(mask, forged)):.1e}"
        yield measured(GROUP, f"AUC, AP, {kind}", found["two"], found["torchmetrics two"], against="torchmetrics", note=apart)  # fmt: skip  # noqa: E501


def sklearn_five(mask: Mask, forged: Truth) -> tuple[float, ...]:
    """AUC, AP, F1 at 0.5, best F1 and EER as one writes them with scikit-learn."""
    labels, scores = forged.ravel(), mask.ravel()
    precision, recall, _ = precision_recall_curve(labels, scores)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    false, true, _ = roc_curve(labels, scores)
    eer = np.interp(0, false - (1 - true), false)  # where false positives and misses cross
    f1 = f1_score(labels, scores >= 0.5)
    return (roc_auc_score(labels, scores), average_precision_score(labels, scores), float(f1), float(best), float(eer))


def torchmetrics_two(mask: Mask, forged: Truth) -> tuple[float, ...]:
    """AUC and AP by torchmetrics, without rounding to thresholds."""
    import torch
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    scores, labels = torch.from_numpy(mask.ravel()), torch.from_numpy(forged.ravel()).int()
    return float(binary_auroc(scores, labels)), float(binary_average_precision(scores, labels))


def _score_into(pool: ScorePool, mask: Mask, forged: Truth, metrics: list[Metric]) -> None:
    """Score one image and add it to the data set's scores, as a run does."""
    scored = score_pixels(mask, forged, metrics)
    assert scored.histogram is not None
    pool.add(scored.scores, scored.histogram)


def _difference(ours: tuple[float, ...], theirs: tuple[float, ...]) -> float:
    return float(np.max(np.abs(np.subtract(ours, theirs))))


if __name__ == "__main__":
    from run import main

    sys.exit(main(["--only", GROUP, *sys.argv[1:]]))
