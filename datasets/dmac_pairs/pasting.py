"""Where a region comes to lie, and the composite."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .plan import SIZE, Change

Mask = NDArray[np.bool_]
Pixels = NDArray[np.uint8]


def in_class(mask: Mask, bounds: tuple[float, float]) -> bool:
    """Whether the mask's share of the frame is in [low, high); the largest class keeps its upper bound."""
    low, high = bounds
    return bool(low <= mask.mean() < high or mask.mean() == high == 0.5)


def outline_points(mask: Mask) -> NDArray[np.float64]:
    """float64 (N, 2): x and y of the pixels on the rim."""
    rims, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.concatenate(rims)[:, 0].astype(np.float64)


def fits(change: Change, rim: NDArray[np.float64], share: float, bounds: tuple[float, float]) -> bool:
    """Whether a region of that rim and share of the frame stays whole in the frame and in its class of area."""
    matrix = change.matrix
    if not bounds[0] <= share * abs(float(np.linalg.det(matrix[:, :2]))) <= bounds[1]:
        return False
    moved = rim @ matrix[:, :2].T + matrix[:, 2]
    return bool(moved.min() >= -0.5 and moved.max() <= SIZE - 0.5)


def pasted(host: Pixels, donor: Pixels, mask: Mask, change: Change) -> tuple[Pixels, Mask]:
    """The host with the changed region over it, hard-edged, and where the region lies now.

    All geometry is one bilinear interpolation of the donor; a shift alone copies pixels exactly. Luminance is added to
    the region only and clipped to 0..255.

    Args:
        host, donor: uint8 (SIZE, SIZE, 3).
        mask: bool (SIZE, SIZE), the region in the donor.
    """
    matrix = change.matrix
    above = cv2.warpAffine(donor, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    grey = cv2.warpAffine(mask.astype(np.uint8) * 255, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    region = np.asarray(grey >= 128)
    lit = np.clip(above.astype(np.int16) + (change.luminance or 0), 0, 255).astype(np.uint8)
    return np.where(region[..., None], lit, host), region
