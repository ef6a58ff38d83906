"""How what is removed is filled."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from imdl_bench.synthesis.regions import Mask, Pixels

Inpainter = Callable[[Pixels, Mask], Pixels]  # uint8 (H, W, 3) and what is to be filled, bool (H, W): the filled image

RADIUS = 4


def telea(pixels: Pixels, mask: Mask) -> Pixels:
    """Fast marching, Telea 2004, as in OpenCV."""
    return np.asarray(cv2.inpaint(pixels, mask.astype(np.uint8), RADIUS, cv2.INPAINT_TELEA), np.uint8)


def navier_stokes(pixels: Pixels, mask: Mask) -> Pixels:
    """Bertalmio, Bertozzi and Sapiro 2001, as in OpenCV."""
    return np.asarray(cv2.inpaint(pixels, mask.astype(np.uint8), RADIUS, cv2.INPAINT_NS), np.uint8)


def dilated(mask: Mask, width: int) -> Mask:
    """The mask, grown by a square of ``width`` x ``width`` pixels."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((width, width), np.uint8)) > 0)
