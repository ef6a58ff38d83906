"""The mix for extractors: squares of photographs that underwent one manipulation as a whole, to be told apart.

ManTra-Net (CVPR 2019), Section 4.1: patches of 256 x 256 pixels that are not flat, a random manipulation of a random
patch, then a random crop, of 128 pixels there. There is no class for what was not manipulated; the mildest leaf
(``auto_contrast-0``) leaves photographs that use the whole range as they are.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from imdl_bench.errors import UsageError
from imdl_bench.synthesis.classes import LEVELS, ManipulationClass, classes
from imdl_bench.synthesis.photographs import Photographs
from imdl_bench.synthesis.regions import Pixels
from imdl_bench.synthesis.streams import Draw, Drawn, Mix

SIDE = 256
LEAST_DEVIATION = 32.0  # of grey
GREY = np.array([0.299, 0.587, 0.114])
_TRIES = 10  # squares of other photographs, before the stream gives up one of its draws


def make(draw: Draw, *, level: int) -> Drawn | None:
    """A crop of a manipulated patch; ``truth`` marks nothing, since no part of it differs from the others.

    The class is the kind; every manipulation in it is equally likely. Raises UsageError for a side above 256.
    """
    if draw.side > SIDE:
        raise UsageError(f"side {draw.side}: manipulated patches have {SIDE} pixels, give {SIDE} or fewer")
    found = _class_named(draw.kind, level)
    square = next(filter(None, (_square(draw.photographs, draw.common) for _ in range(_TRIES))), None)
    if square is None:
        return None
    name, corner, pixels = square
    leaf = found.leaves[int(draw.own.integers(len(found.leaves)))]
    top, left = (int(place) for place in draw.common.integers(0, SIDE - draw.side, 2, endpoint=True))
    made = leaf.apply(pixels, draw.own)[top : top + draw.side, left : left + draw.side]
    record = {"photograph": name, "square": corner, "crop": [left, top], "manipulation": leaf.name}
    nothing = np.zeros(made.shape[:2], bool)
    return Drawn(np.ascontiguousarray(made), nothing, record, label=found.label)


def _square(photographs: Photographs, rng: np.random.Generator) -> tuple[str, list[int], Pixels] | None:
    """A photograph, left and top of a square in it, and its pixels; None of a small, a flat or an unreadable one."""
    name = photographs.names[int(rng.integers(len(photographs.names)))]
    down, along = rng.random(2)
    pixels = photographs.read(name)
    if pixels is None or min(pixels.shape[:2]) < SIDE:
        return None
    height, width = pixels.shape[:2]
    top, left = int(down * (height - SIDE + 1)), int(along * (width - SIDE + 1))
    square = np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])
    return (name, [left, top], square) if (square @ GREY).std() >= LEAST_DEVIATION else None


def _class_named(name: str, level: int) -> ManipulationClass:
    return next(found for found in classes(level) if found.name == name)


def _mix(level: int) -> Mix:
    names = tuple(found.name for found in classes(level))
    return Mix(recipe=1, kinds=names, make=partial(make, level=level), whole=False, about={"classes": list(names)})


# All 380 classes, and by number of classes the coarser levels.
PATCHES = {"patches" if level == max(LEVELS) else f"patches-{level}": _mix(level) for level in LEVELS}
