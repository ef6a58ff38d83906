"""Models held against each other on the same images: differences, ranks, wins, and whether metrics agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imdl_bench.metrics import confidence
from imdl_bench.metrics.summary import Spread

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """``value`` = a - b, its 95 % interval, and the two-sided bootstrap p of "no difference". nan where undefined."""

    value: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class RankSpread:
    """The rank of a model by its value (1 is best), and over the resamples: mean, 95 % interval, share of firsts."""

    rank: float
    mean: float
    low: float
    high: float
    first: float


def paired_difference(a: Spread, b: Spread) -> PairedDifference:
    """The difference a - b of two spreads over the same groups, resamples and seed.

    p is twice the share of resamples on the far side of 0, ties on both sides, itself counted as one more resample:
    it is never 0 (Davison and Hinkley, Bootstrap Methods, 4.2).
    """
    differences = a.resampled - b.resampled
    return PairedDifference(a.value - b.value, *confidence.interval(differences), bootstrap_p(differences))


def bootstrap_p(differences: Array) -> float:
    """Two-sided p of resampled differences (resamples,), nan left out; nan where none is left."""
    defined = differences[~np.isnan(differences)]
    if len(defined) == 0:
        return math.nan
    smaller_side = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (1 + smaller_side) / (len(defined) + 1))


def ranks_of(values: Array, *, lower_is_better: bool) -> Array:
    """Ranks along the first axis (models, ...), 1 is best; ties share the mean of their ranks. No nan among values."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values if lower_is_better else -values, axis=0), np.float64)


def rank_spreads(found: Sequence[Spread], *, lower_is_better: bool) -> list[RankSpread]:
    """Ranks of models by one metric, from spreads over the same groups, resamples and seed.

    A model without a value has no rank (nan) and takes none from the others. Resamples count where all ranked models
    are defined. Models that tie for the first place share it.
    """
    ranked = [place for place, each in enumerate(found) if not math.isnan(each.value)]
    spread = [RankSpread(*[math.nan] * 5)] * len(found)
    if not ranked:
        return spread
    ranks = ranks_of(np.array([found[place].value for place in ranked]), lower_is_better=lower_is_better)
    values = np.array([found[place].resampled for place in ranked])
    values = values[:, ~np.isnan(values).any(axis=0)]
    resampled = ranks_of(values, lower_is_better=lower_is_better)
    best = resampled == resampled.min(axis=0)
    first = best / best.sum(axis=0)
    for place, rank, own, shares in zip(ranked, ranks, resampled, first, strict=True):
        drawn = len(own) > 0
        mean, share = (float(own.mean()), float(shares.mean())) if drawn else (math.nan, math.nan)
        spread[place] = RankSpread(float(rank), mean, *confidence.interval(own), share)
    return spread


def win_rate(a: Array, b: Array, *, lower_is_better: bool) -> tuple[float, int]:
    """Share of images on which a is better than b, ties half, and of how many.

    Args:
        a, b: per-image values (n,) of one metric on the same images; an image where either is nan is left out.
    """
    both = ~(np.isnan(a) | np.isnan(b))
    if not both.any():
        return math.nan, 0
    wins = np.sign(b[both] - a[both]) if lower_is_better else np.sign(a[both] - b[both])
    return float((wins.mean() + 1) / 2), int(both.sum())


def rank_agreement(a: Array, b: Array) -> float:
    """Kendall's tau-b between two rankings (models,) of the same models; nan where one of them ties all."""
    from scipy.stats import kendalltau

    return float(kendalltau(a, b).statistic)
