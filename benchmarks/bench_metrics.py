"""Pixel metrics in megapixels per CPU-second, beside scikit-learn's roc_auc_score on the same arrays in the same run.

    python benchmarks/bench_metrics.py [--side 1024] [--rounds 5]

"all per image" is every per-image pixel metric of METRICS at 0.5, best and eer; "and pooled" adds the same, pooled.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from imdl_bench.metrics import METRICS, Metric, parse_metric
from imdl_bench.metrics.histogram import ScorePool
from imdl_bench.metrics.pixel import score_pixels


def main() -> None:
    """Print one line per kind of score map."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    per_image = every_metric("per-image")
    pooled = per_image + every_metric("pooled")
    print(f"{len(per_image)} per-image metrics, {len(pooled) - len(per_image)} pooled; {options.side}x{options.side}")
    print("MP per CPU-second   all per image   and pooled   roc_auc_score   ratio   |AUC difference|")
    for name, (mask, truth) in score_maps(options.side).items():
        flat = truth.ravel(), mask.ravel()
        jobs: list[Callable[[], object]] = [
            partial(score_pixels, mask, truth, per_image),
            partial(add_to_pool, mask, truth, pooled),
            partial(roc_auc_score, *flat),
        ]
        own, both, reference = (mask.size / 1e6 / seconds for seconds in alternate(jobs, options.rounds))
        difference = abs(score_pixels(mask, truth, per_image).values[0] - roc_auc_score(*flat))
        print(f"{name:<20}{own:>13.0f}{both:>13.0f}{reference:>16.1f}{own / reference:>8.1f}{difference:>12.1e}")


def every_metric(average: str) -> list[Metric]:
    """Every pixel statistic, at 0.5, best and eer where it needs a threshold."""
    names = []
    for stat, row in METRICS.items():
        if "pixel" in row.levels:
            names += [stat] if row.of_curve else [f"{stat}@{at}" for at in ("0.5", "best", "eer")]
    return [parse_metric(f"pixel_{name}/{average}") for name in names]


def score_maps(side: int) -> dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Score maps like those of real detectors, with a forged rectangle of a tenth of the image."""
    rng = np.random.default_rng(0)
    shape = (side, side)
    truth = np.zeros(shape, bool)
    truth[side // 5 : side // 2, side // 3 : 2 * side // 3] = True
    noise = rng.random(shape)
    maps = {
        "smooth": 0.6 * noise + 0.3 * truth,
        "confident": 1 / (1 + np.exp(-(rng.normal(-14, 2, shape) + 13 * truth * (noise < 0.8)))),
        "two-ended": np.where(noise < 0.5, 1e-7 * rng.random(shape), 1 - 1e-3 * rng.random(shape)),
        "quantised 8 bit": np.round((0.7 * noise + 0.2 * truth) * 255) / 255,
        "90 % zeros": np.where(rng.random(shape) < 0.9, 0.0, noise),
        "constant": np.full(shape, 0.3),
    }
    return {name: (np.clip(made, 0, 1).astype(np.float32), truth) for name, made in maps.items()}


def add_to_pool(mask: NDArray[np.float32], truth: NDArray[np.bool_], metrics: list[Metric]) -> None:
    """Score one image and add it to the data set's scores, as a run does."""
    scored = score_pixels(mask, truth, metrics)
    assert scored.histogram is not None
    POOL.add(scored.scores, scored.histogram)


POOL = ScorePool()


def alternate(jobs: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median CPU seconds of each job; the jobs take turns, so that a slow moment of the machine hits all of them."""
    seconds: list[list[float]] = [[] for _ in jobs]
    for turn in range(rounds + 1):
        for place, job in enumerate(jobs):
            started = time.process_time()
            job()
            if turn:  # the first round warms up
                seconds[place].append(time.process_time() - started)
    return [statistics.median(each) for each in seconds]


if __name__ == "__main__":
    main()
