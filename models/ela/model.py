"""Error Level Analysis: how much a picture changes when it is saved once more as JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from imdl_bench.images import as_image, encode_jpeg, read_image
from imdl_bench.types import Image, Prediction

QUALITY = 90
SUBSAMPLING: Final = "4:2:0"
GAIN = 15
LARGEST_SUM = 3 * 255

# Rows per step. A sum of absolute differences needs three 16-bit temporaries, which nobody wants of 40 megapixels.
BAND = 256


class ELA:
    """ELA as a model: ``mask = ela_map / 3825``, the same fixed scale for every image."""

    concurrent = True

    def predict(self, images: Sequence[Image]) -> list[Prediction]:
        return [Prediction(mask=_scaled_sums(as_image(image), 1 / LARGEST_SUM, np.float32)) for image in images]


def ela_map(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """ELA of uint8 (H, W, 3) RGB as float64 (H, W) in 0..3825, multiples of 5, high = changed much by the saving.

    The picture is saved as JPEG (libjpeg quality 90, 4:2:0) and decoded again; the map is 15 times the mean over the
    channels of the absolute difference (Krawetz 2007; gain and quality of the evaluation toolbox). Flat: all zero.

    Raises:
        ImageError: a side above 65,500 pixels, which JPEG cannot hold.
    """
    return _scaled_sums(as_image(image), GAIN / 3, np.float64)


def resaved(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB after one saving as JPEG of quality 90 with 4:2:0 chroma."""
    return np.asarray(read_image(encode_jpeg(image, QUALITY, SUBSAMPLING)))


def sum_of_differences(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Sum over the channels of ``|image - other|``: uint16 (H, W) in 0..765, exact."""
    change = np.maximum(image, other) - np.minimum(image, other)
    return np.asarray(np.add(change[..., 0], change[..., 1], dtype=np.uint16) + change[..., 2])


def _scaled_sums(image: Image, scale: float, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    pixels, other = np.asarray(image), resaved(image)
    scaled = np.empty(pixels.shape[:2], dtype)
    for top in range(0, len(pixels), BAND):
        rows = slice(top, top + BAND)
        scaled[rows] = sum_of_differences(pixels[rows], other[rows]) * dtype(scale)
    return scaled
