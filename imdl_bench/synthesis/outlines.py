"""Object-like regions of photographs that nobody annotated: a watershed between an ellipse and a fence around it."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from imdl_bench.synthesis.regions import Mask, Pixels, in_class

INSIDE, FENCE = 0.6, 1.4  # the two ellipses' axes, as shares of those of the wanted area


def object_outline(
    pixels: Pixels, bounds: tuple[float, float], rng: np.random.Generator, *, draws: int = 8
) -> Mask | None:
    """bool (side, side): an object-like region of a square picture, uint8 (side, side, 3).

    Of those drawn whose share is in ``bounds`` the one whose rim lies on the strongest edges; None where there is none.
    """
    edges = _edge_strength(pixels)
    found = [mask for _ in range(draws) if in_class(mask := _region(pixels, bounds, rng), bounds)]
    return max(found, key=lambda mask: float(edges[mask & ~ndimage.binary_erosion(mask)].mean()), default=None)


def _region(pixels: Pixels, bounds: tuple[float, float], rng: np.random.Generator) -> Mask:
    side = len(pixels)
    # Evenly in the logarithm: what is small is common in photographs, and leaves room to grow within its class.
    share, stretch = np.exp(rng.uniform(*np.log(bounds))), rng.uniform(1, 2) ** 0.5
    radius = (share / np.pi) ** 0.5 * side
    margin = min(radius, side / 2)
    centre = tuple(int(at) for at in rng.uniform(margin, side - margin, 2))
    turn = float(rng.uniform(0, 180))

    def ellipse(factor: float) -> Pixels:
        axes = round(radius * stretch * factor), round(radius / stretch * factor)
        canvas = np.zeros((side, side), np.uint8)
        return np.asarray(cv2.ellipse(canvas, centre, axes, turn, 0, 360, 1, -1))

    markers = np.where(ellipse(INSIDE) > 0, 2, np.where(ellipse(FENCE) > 0, 0, 1)).astype(np.int32)
    return _smoothed(cv2.watershed(cv2.medianBlur(pixels, 5), markers) == 2)


def _smoothed(mask: Mask) -> Mask:
    """The largest part, without holes and ragged edges."""
    blurred = cv2.GaussianBlur(mask.astype(np.uint8) * 255, (0, 0), 2.5)
    parts, count = ndimage.label(ndimage.binary_fill_holes(blurred >= 128))
    if count == 0:
        return np.zeros_like(mask)
    return np.asarray(parts == 1 + int(np.bincount(parts.ravel())[1:].argmax()))


def _edge_strength(pixels: Pixels) -> Pixels:
    """uint8 (side, side): the morphological gradient, largest over the channels."""
    kernel = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.morphologyEx(cv2.GaussianBlur(pixels, (0, 0), 1), cv2.MORPH_GRADIENT, kernel).max(axis=2))
