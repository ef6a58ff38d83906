"""Regions of a picture: how much of it they cover, and their rims."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

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
