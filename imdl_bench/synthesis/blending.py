"""A region on its way into a picture: turned, scaled, put somewhere, and blended in."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imdl_bench.synthesis.regions import Mask, Pixels, outline_points

LEAST_CHANGED = 0.9  # of the marked pixels: black put onto black is no manipulation


@dataclass(frozen=True, slots=True)
class Layer:
    """Pixels uint8 (side, side, 3) to be put over others, and their share uint8 (side, side), 0 to 255."""

    pixels: Pixels
    alpha: Pixels


def placed(
    mask: Mask, linear: NDArray[np.float64], rng: np.random.Generator, *, apart: float | None = None, tries: int = 8
) -> NDArray[np.float64] | None:
    """float64 (2, 3): ``linear`` (2, 2) with a shift in whole pixels that leaves the moved region whole in the frame.

    All such shifts are equally likely. With ``apart``, at most that share of the region's rectangle may lie over the
    place it came from. None where there is no such shift, or none in a few tries.
    """
    side = len(mask)
    rim = outline_points(mask)
    moved = rim @ linear.T
    # Whole pixels against the unmoved region: a shift alone then copies pixels as they are.
    low, high = np.ceil(-0.5 - moved.min(axis=0)), np.floor(side - 0.5 - moved.max(axis=0))
    if (low > high).any():
        return None
    for _ in range(tries):
        shift = rng.integers(low.astype(int), high.astype(int), endpoint=True)
        if apart is None or _overlap(rim, moved + shift) <= apart:
            return np.column_stack([linear, shift])
    return None


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Share of the other's rectangle that lies over the one's."""
    low, high = np.maximum(one.min(axis=0), other.min(axis=0)), np.minimum(one.max(axis=0), other.max(axis=0))
    return float(np.prod(np.maximum(high - low + 1, 0)) / np.prod(np.ptp(other, axis=0) + 1))


def turned(degrees: float, scale: float, *, mirrored: bool, width: float = 1.0) -> NDArray[np.float64]:
    """float64 (2, 2): mirrored, turned counter-clockwise, scaled, stretched along x, in this order."""
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(np.diag([width, 1.0]) @ rotation @ np.diag([-1.0 if mirrored else 1.0, 1.0]) * scale)


def moved_layer(
    donor: Pixels, mask: Mask, matrix: NDArray[np.float64], *, luminance: int = 0, softness: float = 0.0
) -> Layer:
    """The region of ``donor`` where the matrix brings it, by one bilinear interpolation.

    ``luminance`` is added to all channels and clipped; ``softness`` is the sigma of the blurred edge, 0 leaves it hard.
    """
    size = donor.shape[1], donor.shape[0]
    pixels = cv2.warpAffine(donor, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.warpAffine(mask.astype(np.uint8) * 255, matrix, size, flags=cv2.INTER_LINEAR)
    alpha = np.where(grey >= 128, np.uint8(255), np.uint8(0))
    if softness:
        alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), softness), np.uint8)
    if luminance:
        pixels = np.clip(np.asarray(pixels, np.int16) + luminance, 0, 255).astype(np.uint8)
    return Layer(np.asarray(pixels, np.uint8), alpha)


def blended(below: Pixels, layer: Layer) -> Pixels:
    """uint8 (side, side, 3): the layer over ``below``, in exact integers."""
    share = layer.alpha.astype(np.uint16)[..., None]
    return np.asarray((below * (255 - share) + layer.pixels * share + 127) // 255, np.uint8)


def really_changed(before: Pixels, after: Pixels, truth: Mask) -> bool:
    """Whether any pixel is marked and nearly all that are differ."""
    return bool(truth.any() and (before != after).any(axis=2)[truth].mean() >= LEAST_CHANGED)
