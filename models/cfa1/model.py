"""CFA1: where the trace of demosaicing is missing, from the green channel's local prediction error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.special import expit

from imdl_bench.images import as_image, resize_nearest
from imdl_bench.types import Image, Prediction

from .bayer import green_is_even

BLOCK = 8
REACH = 3
LOG_OF_ZERO_STATISTIC = float(np.log(1e-320))
LEAST_VARIANCE = 1e-300
TOLERANCE, MOST_UPDATES = 1e-3, 499

# Rows per step, a multiple of 16 (blocks, Bayer cells); a band is filtered with HALO more rows on each side, even so
# that the checkerboard keeps its phase, and more than the 1 + 3 rows that prediction and window reach over.
BAND, HALO = 256, 8


class CFA1:
    """CFA1 as a model: the ranks of the posterior "no demosaicing trace" on a scale that float32 can hold.

    ``mask = 1 / (1 + exp(asinh(L)))`` of the filtered log-likelihood ratio L: 0.5 where the posterior is 0.5. All
    zero where the mixture collapses (flat or half-saturated images).
    """

    concurrent = True

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [Prediction(mask=_mask(as_image(image))) for image in images]


@dataclass(frozen=True, slots=True)
class Mixture:
    """``mix1 N(0, sigma1^2) + (1 - mix1) N(mu2, sigma2^2)``: blocks without and with a demosaicing trace."""

    mu2: float
    sigma2: float
    sigma1: float
    mix1: float
    em_updates: int


def cfa1_map(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Posterior that an 8x8 block of uint8 (H, W, 3) RGB lacks a demosaicing trace, in [0, 1], high = tampered.

    float64 (ceil(H' / 8), ceil(W' / 8)) with H', W' made even by cropping, at least (1, 1). 1 / (1 + exp(L)) of
    :func:`filtered_log_ratio` (Ferrara et al. 2012; sigmoid, window and Bayer guess of the evaluation toolbox).
    All zero where that is ``None``.
    """
    image = as_image(image)
    ratio = filtered_log_ratio(image)
    return np.zeros(map_shape(image)) if ratio is None else np.asarray(expit(-ratio))


def map_shape(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Blocks down and across; one where a side is a single pixel and holds no Bayer cell."""
    rows, columns = (max(1, -(-(side - side % 2) // BLOCK)) for side in image.shape[:2])
    return rows, columns


def filtered_log_ratio(image: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """5x5 median (half-sample symmetric border) of :func:`log_ratio`; high = trace present; ``None`` on a collapse."""
    if min(image.shape[:2]) < 2:
        return None
    statistic = block_statistic(image, even=green_is_even(image))
    mixture = fit_mixture(statistic)
    if mixture is None:
        return None
    return np.asarray(median_filter(log_ratio(statistic, mixture), size=5, mode="reflect"))


def block_statistic(image: NDArray[np.uint8], *, even: bool) -> NDArray[np.float64]:
    """Product of the error variances at measured over that at interpolated green pixels, per 8x8 block.

    ``even`` tells that green was measured where row + column is even. float64 of :func:`map_shape`, >= 0. 0/0 (flat,
    clipped, cut by the border) gives 1 and x/0 gives 0, as in the toolbox; products underflow as plain products do.
    """
    height, width = (side - side % 2 for side in image.shape[:2])
    green = np.asarray(image)[:height, :width, 1]
    statistic = np.ones(map_shape(image))
    columns = width // BLOCK
    for top in range(0, height, BAND):
        first, last = max(top - HALO, 0), min(top + BAND + HALO, height)
        variance = error_variance(green[first:last])[top - first :][:BAND]
        rows = len(variance) // BLOCK
        block_rows = slice(top // BLOCK, top // BLOCK + rows)
        whole = variance[: rows * BLOCK, : columns * BLOCK]
        statistic[block_rows, :columns] = _ratio_of_products(whole, even=even)
    return statistic


def error_variance(green: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Local variance of the green prediction error among pixels of the same checkerboard colour: float64 (H, W).

    The error is the mean of the four neighbours minus the pixel (borders replicated). The window is a 7x7 Gaussian
    over the centre's own colour. Beyond the border the reference replicates an image in which the other colour is
    zero, so a replicated pixel counts as itself or as zero, by the colour of the place it is copied to.
    """
    padded = np.pad(green, 1, mode="edge").astype(np.float64)
    error = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4 - padded[1:-1, 1:-1]
    error = np.pad(error, REACH, mode="edge")
    beyond_row, beyond_column = _steps_beyond(green.shape[0]), _steps_beyond(green.shape[1])
    for edge in (np.s_[:REACH], np.s_[-REACH:]):
        error[edge][(beyond_row[edge, None] + beyond_column) % 2 == 1] = 0
        error[:, edge][(beyond_row[:, None] + beyond_column[edge]) % 2 == 1] = 0
    weights, scale = _window()
    mean, square = (cv2.filter2D(values, cv2.CV_64F, weights) for values in (error, error * error))
    inside = np.s_[REACH:-REACH, REACH:-REACH]
    return np.asarray((square[inside] - mean[inside] ** 2) / scale)


def fit_mixture(statistic: NDArray[np.float64]) -> Mixture | None:
    """EM on the logarithms of the positive statistics, first mean held at zero; ``None`` if a variance collapses to 0.

    Stops as the toolbox does, when ``mix1`` moves by at most 1e-3: often before the variances settle.
    """
    x = np.log(statistic[statistic > 0])
    if len(x) < 2:
        return None
    mix, before, mu2, v2 = 0.5, 1.0, float(x.mean()), float(x.var(ddof=1))
    v1, updates = v2 / 10, 0
    while abs(mix - before) > TOLERANCE and updates < MOST_UPDATES:
        if min(v1, v2) < LEAST_VARIANCE or not 0 < mix < 1:
            return None
        odds = np.log(mix / (1 - mix)) + _log_normal(x, 0, v1) - _log_normal(x, mu2, v2)
        r1, r2 = expit(odds), expit(-odds)
        total1, total2 = float(r1.sum()), float(r2.sum())
        if min(total1, total2) < LEAST_VARIANCE:
            return None
        before, mix = mix, float(r1.mean())
        v1, mu2 = float(r1 @ x**2) / total1, float(r2 @ x) / total2
        v2 = float(r2 @ (x - mu2) ** 2) / total2
        updates += 1
    if min(v1, v2) < LEAST_VARIANCE:
        return None
    return Mixture(mu2=mu2, sigma2=v2**0.5, sigma1=v1**0.5, mix1=mix, em_updates=updates)


def log_ratio(statistic: NDArray[np.float64], mixture: Mixture) -> NDArray[np.float64]:
    """log N(x; mu2, sigma2) - log N(x; 0, sigma1) at x = log statistic (a zero counts as 1e-320): finite, unbounded."""
    x = np.full(statistic.shape, LOG_OF_ZERO_STATISTIC)
    np.log(statistic, out=x, where=statistic > 0)
    return _log_normal(x, mixture.mu2, mixture.sigma2**2) - _log_normal(x, 0, mixture.sigma1**2)


def _log_normal(x: NDArray[np.float64], mean: float, variance: float) -> NDArray[np.float64]:
    """Logarithm of the normal density, less log sqrt(2 pi)."""
    return np.asarray(-0.5 * ((x - mean) ** 2 / variance + np.log(variance)))


def _ratio_of_products(variance: NDArray[np.float64], *, even: bool) -> NDArray[np.float64]:
    rows, columns = variance.shape[0] // BLOCK, variance.shape[1] // BLOCK

    def product(row: int, column: int) -> NDArray[np.float64]:
        lattice = variance[row::2, column::2].reshape(rows, BLOCK // 2, columns, BLOCK // 2)
        return np.asarray(lattice.prod(axis=(1, 3)))

    with np.errstate(all="ignore"):
        evens, odds = product(0, 0) * product(1, 1), product(0, 1) * product(1, 0)
        ratio = evens / odds if even else odds / evens
    ratio = np.where(np.isnan(ratio), 1.0, ratio)
    # Rounding can leave a variance at -1e-17; the toolbox sets a negative ratio to 0 as it does an infinite one.
    return np.where(np.isinf(ratio) | (ratio < 0), 0.0, ratio)


def _steps_beyond(side: int) -> NDArray[np.intp]:
    """How far each index of an axis padded by the window's reach lies outside of the image."""
    index = np.arange(-REACH, side + REACH)
    return np.maximum(0, np.maximum(-index, index - side + 1))


def _window() -> tuple[NDArray[np.float64], float]:
    """Checkerboard Gaussian (sigma 1, taps 2/3 apart) of unit sum, and the reference's variance scale."""
    taps = np.arange(-REACH, REACH + 1)
    gauss = np.exp(-((taps * 2 / 3) ** 2) / 2)
    weights = np.outer(gauss, gauss) / (2 * np.pi)
    weights[(taps[:, None] + taps) % 2 == 1] = 0
    return weights / weights.sum(), float(1 - (weights**2).sum())


def _mask(image: Image) -> NDArray[np.float32]:
    ratio = filtered_log_ratio(image)
    if ratio is None:
        return np.zeros(image.shape[:2], np.float32)
    return resize_nearest(expit(-np.arcsinh(ratio)).astype(np.float32), image.shape[:2])
