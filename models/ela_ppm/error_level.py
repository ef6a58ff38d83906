"""The ELA image: what one more saving as JPEG changes, brightened so that a network can see it."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from imdl_bench.images import encode_jpeg, read_image

QUALITY = 90
SUBSAMPLING: Final = "4:2:0"
FIXED_GAIN = 15
WHITE = 255


def ela_image(rgb: NDArray[np.uint8], amplification: str) -> NDArray[np.uint8]:
    """Amplified ELA (paper section 3.1) of uint8 (H, W, 3) RGB, in the same shape, dtype and resolution.

    Args:
        rgb: the photograph at its own size: resizing would destroy the 8x8 grid whose traces ELA shows.
        amplification: ``max`` scales the image's greatest difference to 255 (an image that JPEG does not change stays
            black), ``fixed`` multiplies by 15 and clips, ``none`` leaves the differences as they are.

    Raises:
        ImageError: a side above 65,500 pixels, which JPEG cannot hold.
    """
    difference = jpeg_difference(rgb, QUALITY)
    levels = np.arange(WHITE + 1, dtype=np.float64)
    if amplification == "max":
        levels *= WHITE / max(int(difference.max()), 1)
    elif amplification == "fixed":
        levels *= FIXED_GAIN
    # A table costs one pass in bytes; scaling the pixels themselves would take eight times the photograph.
    return np.asarray(cv2.LUT(difference, np.rint(np.minimum(levels, WHITE)).astype(np.uint8)), np.uint8)


def jpeg_difference(rgb: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """``|rgb - saved|`` per channel, saved once as JPEG of ``quality`` with 4:2:0 chroma: uint8 (H, W, 3)."""
    pixels = np.ascontiguousarray(rgb)
    saved = np.asarray(read_image(encode_jpeg(pixels, quality, SUBSAMPLING)))
    return np.asarray(cv2.absdiff(pixels, saved, dst=saved), np.uint8)
