"""95 % bootstrap intervals that resample groups of images, because edits of one photograph are not independent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MOST_NUMBERS = 2_000_000  # in one array of resamples: bounds memory on sets of many thousand images


def resample_groups(groups: Sequence[str], resamples: int, seed: int) -> NDArray[np.uint16]:
    """How often each image counts in each resample, uint16 (resamples, n).

    A resample draws as many groups as there are, with replacement; an image counts as often as its group was drawn.
    Empty where fewer than two groups exist: one photograph says nothing about spread.
    """
    names, member_of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < 2 or resamples == 0:
        return np.empty((0, len(groups)), np.uint16)
    draws = np.random.Generator(np.random.PCG64(seed)).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=resamples
    )
    return np.minimum(draws, np.iinfo(np.uint16).max).astype(np.uint16)[:, member_of]


def chunks(weights: NDArray[np.uint16]) -> Iterator[Array]:
    """The resamples as float64, as many at a time as memory allows."""
    for rows in row_slices(len(weights), weights.shape[1]):
        yield weights[rows].astype(np.float64)


def row_slices(rows: int, width: int) -> list[slice]:
    """Slices of ``rows`` such that none spans more than ``MOST_NUMBERS`` numbers of rows ``width`` wide."""
    step = max(1, MOST_NUMBERS // max(width, 1))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def interval(values: Array) -> tuple[float, float]:
    """The 2.5 % and 97.5 % percentiles of the defined resamples; nan, nan where there are none."""
    return intervals([values])[0]


def intervals(resampled: Sequence[Array]) -> list[tuple[float, float]]:
    """The :func:`interval` of each number."""
    defined = [values[~np.isnan(values)] for values in resampled]
    bounds: dict[int, tuple[float, float]] = {}
    for length in {len(values) for values in defined} - {0}:  # together, because each call costs more than its work
        which = [place for place, values in enumerate(defined) if len(values) == length]
        low, high = np.percentile([defined[place] for place in which], [2.5, 97.5], axis=1).tolist()
        bounds.update(zip(which, zip(low, high, strict=True), strict=True))
    return [bounds.get(place, (float("nan"), float("nan"))) for place in range(len(defined))]


def weighted_means(values: Array, weights: Array) -> Array:
    """The mean of ``values`` (n,), nan left out, under each row of ``weights`` float64 (resamples, n)."""
    defined = ~np.isnan(values)
    total = (weights * defined).sum(axis=-1)
    summed = (weights * np.where(defined, values, 0.0)).sum(axis=-1)
    return np.where(total > 0, summed / np.where(total > 0, total, 1), np.nan)
