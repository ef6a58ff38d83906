"""Outlines that follow no object: closed Bezier curves through random points."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from imdl_bench.synthesis.regions import Mask

POINTS = 7
SPACING = 0.7 / POINTS
REACH = 0.2  # of the handles, as a share of the distance between two points
STEPS = 100  # in each segment
_FRACTION = 4  # bits behind the point of a polygon's corners


def closed_curve(rng: np.random.Generator) -> NDArray[np.float64]:
    """float64 (700, 2): a smooth closed curve through 7 random points of the unit square, at least 0.1 apart.

    The points are joined in the order of their angles about their mean; in each the curve runs along the mean of the
    directions to it and from it. Source: PSCC-Net's released data, as far as it is described.
    """
    corners = _spaced_points(rng)
    about = corners - corners.mean(axis=0)
    corners = corners[np.argsort(np.arctan2(about[:, 1], about[:, 0]))]
    onward = np.roll(corners, -1, axis=0) - corners
    lengths = np.linalg.norm(onward, axis=1, keepdims=True)
    directions = onward / lengths
    tangents = directions + np.roll(directions, 1, axis=0)
    tangents /= np.maximum(np.linalg.norm(tangents, axis=1, keepdims=True), 1e-9)
    start, end = corners, np.roll(corners, -1, axis=0)
    leaving, arriving = start + REACH * lengths * tangents, end - REACH * lengths * np.roll(tangents, -1, axis=0)
    t = np.linspace(0, 1, STEPS, endpoint=False)[None, :, None]
    parts = (start, (1 - t) ** 3), (leaving, 3 * t * (1 - t) ** 2), (arriving, 3 * t**2 * (1 - t)), (end, t**3)
    return np.asarray(sum(points[:, None] * weight for points, weight in parts)).reshape(-1, 2)


def filled(curve: NDArray[np.float64], side: int) -> Mask:
    """bool (side, side): the inside of a curve in pixels, its edge smoothed."""
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.rint(curve * 2**_FRACTION).astype(np.int32)], 255, shift=_FRACTION)
    return np.asarray(cv2.GaussianBlur(mask, (5, 5), 0) > 127)


def curve_of_share(side: int, bounds: tuple[float, float], rng: np.random.Generator) -> Mask | None:
    """bool (side, side): a closed curve whose share is drawn evenly in the logarithm, somewhere in the frame.

    None where it does not fit into the frame.
    """
    curve, share = closed_curve(rng), float(np.exp(rng.uniform(*np.log(bounds))))
    x, y = curve[:, 0], curve[:, 1]
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    curve = (curve - curve.min(axis=0)) * (share / area) ** 0.5 * side
    room = side - 1 - curve.max(axis=0)
    place = rng.random(2)
    return None if room.min() < 0 else filled(curve + place * room, side)


def _spaced_points(rng: np.random.Generator) -> NDArray[np.float64]:
    while True:
        points = rng.random((POINTS, 2))
        apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(POINTS)
        if apart.min() >= SPACING:
            return points
