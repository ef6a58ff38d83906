"""NOI1: the standard deviation of the noise, block by block, from the finest diagonal wavelet coefficients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pywt
from numpy.typing import NDArray

from imdl_bench.images import as_image, resize_nearest
from imdl_bench.types import Image, Prediction

BLOCK = 8
WAVELET = "db8"
MAD_OF_UNIT_NOISE = 0.6745
HALF_MASK_SIGMA = 5.0
CONSTANT = 1e-9

# Rows or columns per step of the transform: bounds the float64 temporaries on large pictures.
BAND = 256


class NOI1:
    """NOI1 as a model: ``mask = sigma / (sigma + 5)``, stretched to the image by the nearest pixel centre.

    A map whose values differ by less than 1e-9 is constant up to rounding, and the mask is all zero.
    """

    concurrent = True

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [Prediction(mask=_mask(as_image(image))) for image in images]


def noi1_map(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Noise sigma of uint8 (H, W, 3) RGB per 8x8 block of diagonal coefficients, in grey levels of BT.601 luma, >= 0.

    float64 (rows, cols), rows = floor(floor((H + 15) / 2) / 8) >= 1 and cols likewise: one block is 16x16 pixels.
    sigma = median |D| / 0.6745 (Mahdian & Saic 2009, without the merging of regions, as the evaluation toolbox).
    Flat or clipped areas give about 1e-15 and less, not exactly 0.
    """
    return block_sigma(diagonal_band(luma(as_image(image))))


def luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BT.601 studio-range luma of uint8 (H, W, 3) RGB, rounded half up in exact integers: uint8 (H, W), 16..235."""
    rgb = np.asarray(image)
    rounded = np.empty(rgb.shape[:2], np.uint8)
    for top in range(0, len(rgb), BAND):
        red, green, blue = np.moveaxis(rgb[top : top + BAND].astype(np.uint32), 2, 0)
        rounded[top : top + BAND] = (65481 * red + 128553 * green + 24966 * blue + 127500) // 255000 + 16
    return rounded


def diagonal_band(channel: NDArray[np.uint8]) -> NDArray[np.float64]:
    """High-high band of one level of the Daubechies-8 transform of (H, W), half-sample symmetric extension.

    float64 (floor((H + 15) / 2), floor((W + 15) / 2)); equals ``pywt.dwt2(channel, "db8", "symmetric")[1][2]``.
    """
    height, width = channel.shape
    across = np.empty((height, (width + 15) // 2))
    for top in range(0, height, BAND):
        across[top : top + BAND] = _high_pass(channel[top : top + BAND].astype(np.float64), axis=1)
    band = np.empty(((height + 15) // 2, across.shape[1]))
    for left in range(0, across.shape[1], BAND):
        band[:, left : left + BAND] = _high_pass(across[:, left : left + BAND], axis=0)
    return band


def block_sigma(band: NDArray[np.float64]) -> NDArray[np.float64]:
    """median |D| / 0.6745 over whole 8x8 blocks; coefficients beyond the last whole block are left out."""
    rows, columns = band.shape[0] // BLOCK, band.shape[1] // BLOCK
    blocks = np.abs(band[: rows * BLOCK, : columns * BLOCK]).reshape(rows, BLOCK, columns, BLOCK)
    return np.asarray(np.median(blocks, axis=(1, 3), overwrite_input=True) / MAD_OF_UNIT_NOISE)


def _high_pass(signal: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return np.asarray(pywt.dwt(signal, WAVELET, mode="symmetric", axis=axis)[1])


def _mask(image: Image) -> NDArray[np.float32]:
    sigma = noi1_map(image)
    if np.ptp(sigma) < CONSTANT:
        return np.zeros(image.shape[:2], np.float32)
    return resize_nearest((sigma / (sigma + HALF_MASK_SIGMA)).astype(np.float32), image.shape[:2])
