"""Outlines of what is forged: known objects, regions found by watershed, smooth random curves. All bool (H, W)."""

from __future__ import annotations

from functools import cache

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from .photographs import photograph

Mask = NDArray[np.bool_]
Polygon = tuple[tuple[int, int], ...]

# Two markers for each object, in pixels of its photograph: well inside it, and a fence around it. The watershed puts
# the outline between them. An ellipse is given by two opposite corners of its box, any other marker by its corners.
OBJECTS: dict[str, tuple[str, Polygon, Polygon]] = {
    "dahlia": ("flower", ((195, 112), (418, 332)), ((158, 74), (456, 370))),
    "heart": ("flower", ((268, 186), (342, 258)), ((232, 148), (378, 298))),
    "bud": ("flower", ((578, 390), (622, 460)), ((562, 374), (639, 470))),
    "second dahlia": (
        "flower",
        ((310, 410), (345, 388), (400, 390), (430, 395), (430, 426), (310, 426)),
        ((278, 426), (280, 390), (340, 366), (440, 370), (452, 405), (482, 414), (482, 426)),
    ),
    "cup": (
        "coffee",
        ((100, 225), (150, 150), (195, 100), (190, 60), (260, 28), (340, 35), (385, 90), (390, 150), (460, 190),
         (468, 230), (430, 310), (350, 360), (250, 365), (170, 330), (120, 280)),
        ((64, 225), (90, 120), (160, 70), (164, 20), (240, 6), (340, 6), (385, 55), (428, 55), (440, 105), (496, 180),
         (500, 230), (475, 315), (405, 372), (320, 398), (230, 398), (135, 352), (76, 290)),
    ),
    "espresso": ("coffee", ((230, 125), (350, 182)), ((188, 84), (392, 204))),
    "spoon": ("coffee", ((336, 246), (392, 314)), ((316, 226), (412, 334))),
    "rocket": (
        "rocket",
        ((320, 140), (329, 140), (333, 160), (333, 395), (313, 395), (315, 160)),
        ((300, 118), (350, 118), (350, 402), (300, 402)),
    ),
    "mast": (
        "rocket",
        ((443, 130), (448, 130), (456, 250), (460, 390), (436, 390), (440, 250)),
        ((436, 118), (456, 118), (466, 250), (474, 402), (424, 402), (432, 250)),
    ),
    "pagoda": (
        "china",
        ((200, 36), (212, 36), (216, 70), (250, 100), (300, 122), (292, 200), (318, 250), (345, 290), (330, 300),
         (330, 335), (280, 370), (215, 380), (170, 345), (95, 310), (90, 270), (125, 240), (110, 195), (110, 120),
         (160, 100), (196, 70)),
        ((190, 24), (222, 24), (230, 66), (335, 110), (335, 205), (356, 255), (356, 290), (378, 325), (370, 350),
         (320, 385), (210, 398), (140, 362), (60, 330), (52, 262), (85, 240), (88, 200), (90, 100), (190, 66)),
    ),
    "roof": (
        "china",
        ((200, 60), (215, 60), (245, 95), (285, 115), (280, 125), (120, 122), (110, 115), (165, 95)),
        ((190, 45), (225, 45), (250, 85), (330, 106), (330, 142), (86, 142), (82, 105), (160, 86)),
    ),
    "person": (
        "astronaut",
        ((170, 40), (205, 22), (265, 30), (285, 80), (262, 130), (240, 165), (290, 190), (300, 230), (345, 285),
         (350, 345), (420, 355), (480, 420), (490, 511), (20, 511), (25, 400), (50, 280), (120, 215), (125, 185),
         (150, 160), (185, 150), (175, 120), (160, 90)),
        ((140, 60), (160, 18), (210, 5), (280, 12), (312, 70), (296, 110), (288, 140), (300, 160), (320, 205),
         (330, 240), (368, 290), (375, 332), (440, 340), (500, 400), (511, 460), (511, 511), (0, 511), (0, 400),
         (25, 265), (100, 190), (112, 160), (156, 138), (148, 110)),
    ),
    "emblem": ("astronaut", ((138, 352), (204, 420)), ((126, 340), (216, 434))),
    "name tag": (
        "astronaut",
        ((284, 348), (322, 344), (326, 370), (286, 376)),
        ((272, 336), (330, 332), (331, 374), (322, 382), (274, 388)),
    ),
}  # fmt: skip


def _marker(shape: tuple[int, int], corners: Polygon) -> Mask:
    canvas = PIL.Image.new("L", (shape[1], shape[0]))
    draw = PIL.ImageDraw.Draw(canvas)
    if len(corners) == 2:
        draw.ellipse(corners, fill=1)
    else:
        draw.polygon(corners, fill=1)
    return np.asarray(canvas) > 0


def _flooded(rgb: NDArray[np.uint8], markers: NDArray[np.int32]) -> NDArray[np.int32]:
    strength = edge_strength(rgb).astype(np.int64)
    # Releases of scikit-image flood equal values in different orders, so no two are left equal: multiplying by an odd
    # number permutes the numbers below 2^20, which is more than a picture here has pixels.
    order = np.arange(strength.size, dtype=np.int64).reshape(strength.shape) * 664_525 % 2**20
    return np.asarray(watershed(strength * 2**20 + order, markers), np.int32)


def edge_strength(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Sum over the channels of the absolute central differences after a small blur, int32 (H, W): exact arithmetic."""
    smooth = np.asarray(PIL.Image.fromarray(rgb).filter(PIL.ImageFilter.BoxBlur(1))).astype(np.int32)
    padded = np.pad(smooth, ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = np.abs(padded[1:-1, 2:] - padded[1:-1, :-2])
    down = np.abs(padded[2:, 1:-1] - padded[:-2, 1:-1])
    return np.asarray((across + down).sum(axis=2), dtype=np.int32)


def smoothed(mask: Mask, radius: int) -> Mask:
    """The mask without holes, specks and ragged edges: its largest part after a blur and a threshold."""
    blurred = PIL.Image.fromarray(mask.astype(np.uint8) * 255).filter(PIL.ImageFilter.GaussianBlur(radius))
    parts, count = ndimage.label(ndimage.binary_fill_holes(np.asarray(blurred) >= 128))
    if count == 0:
        return np.zeros_like(mask)
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == 1 + int(sizes.argmax()))


@cache
def object_outline(name: str) -> Mask:
    """The outline of one of ``OBJECTS`` over its whole photograph."""
    host, inside, fence = OBJECTS[name]
    rgb = photograph(host)
    shape = rgb.shape[0], rgb.shape[1]
    markers = np.where(_marker(shape, inside), 2, np.where(_marker(shape, fence), 0, 1)).astype(np.int32)
    outline = smoothed(_flooded(rgb, markers) == 2, 1)
    outline.setflags(write=False)
    return outline


def region_outlines(rgb: NDArray[np.uint8], rng: np.random.Generator, count: int = 48) -> list[Mask]:
    """Regions that a watershed from ``count`` random points finds, each smooth and clear of the picture's border."""
    height, width = rgb.shape[:2]
    markers = np.zeros((height, width), np.int32)
    for label in range(1, count + 1):
        y, x = int(rng.integers(4, height - 4)), int(rng.integers(4, width - 4))
        markers[y - 2 : y + 3, x - 2 : x + 3] = label
    labels = _flooded(rgb, markers)
    border = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).tolist())
    return [smoothed(labels == label, 3) for label in range(1, count + 1) if label not in border]


def curve_outline(shape: tuple[int, int], share: float, rng: np.random.Generator) -> Mask:
    """A smooth closed random curve of about ``share`` of the picture, wholly inside it where it fits.

    In polar form r(t) = 1 + sum over k = 2..5 of a_k cos(k t + p_k), stretched along a random direction.
    """
    height, width = shape
    waves = [(k, int(rng.integers(0, 22)) / 100 * 2 / k, int(rng.integers(360)) * np.pi / 180) for k in range(2, 6)]
    stretch, turn = int(rng.integers(100, 150)) / 100, int(rng.integers(180)) * np.pi / 180
    radius = (share * height * width / np.pi) ** 0.5
    reach_x, reach_y = (min(int(radius * 1.2), side // 2 - 2) for side in (width, height))
    centre_x = int(rng.integers(reach_x, width - reach_x))
    centre_y = int(rng.integers(reach_y, height - reach_y))
    y, x = np.mgrid[:height, :width]
    u = ((x - centre_x) * np.cos(turn) + (y - centre_y) * np.sin(turn)) / stretch**0.5
    v = ((y - centre_y) * np.cos(turn) - (x - centre_x) * np.sin(turn)) * stretch**0.5
    angle = np.arctan2(v, u)
    edge = 1 + sum(a * np.cos(k * angle + p) for k, a, p in waves)
    return np.asarray(np.hypot(u, v) <= radius * edge)
