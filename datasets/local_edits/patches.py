"""Which patches of which photographs, and the region of each that is edited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdl_bench.errors import ImageError, UsageError
from imdl_bench.images import read_image
from imdl_bench.layouts import list_images, sample_id
from imdl_bench.synthesis.enhancement import field_region
from imdl_bench.synthesis.manipulations import Pixels

Mask = NDArray[np.bool_]

SIDE = 256
LEAST_DEVIATION = 32.0  # of grey; ManTra-Net rejects flatter patches
SHARES = (0.05, 0.30)
SMOOTHNESS = 16.0  # sigma of the field that regions are cut from, in pixels


@dataclass(frozen=True, slots=True)
class Patch:
    """A square of ``SIDE`` pixels of a photograph, which is named by its path below the folder of photographs."""

    photograph: str
    top: int
    left: int

    def read(self, photos: Path) -> Pixels:
        """uint8 (SIDE, SIDE, 3), cut without resampling. Raises ImageError."""
        pixels = np.asarray(read_image(photos / self.photograph))
        return np.ascontiguousarray(pixels[self.top : self.top + SIDE, self.left : self.left + SIDE])

    def random(self, seed: int, purpose: str) -> np.random.Generator:
        """A stream of numbers for one purpose, whatever else is made."""
        return _random([seed, self.photograph, self.top, self.left, purpose])


def choose_patches(photos: Path, count: int, seed: int) -> tuple[list[Patch], list[str]]:
    """``count`` patches, in an order that does not depend on ``count``, and the photographs that cannot be read.

    Each photograph is laid out in squares from its upper left corner; squares of a deviation below ``LEAST_DEVIATION``
    are rejected. Every photograph gives one square before any gives its second.

    Raises:
        UsageError: there are fewer.
    """
    names = [sample_id(path, photos) for path in list_images(photos)]
    order = [names[place] for place in _random([seed, "photographs"]).permutation(len(names))]
    unreadable: list[str] = []
    found: list[Patch] = []
    for patch in _by_turns(photos, order, seed, unreadable):
        if len(found) == count:
            break
        found.append(patch)
    if len(found) < count:
        raise UsageError(
            f"{photos}: {len(names)} pictures with {len(found)} squares of {SIDE} x {SIDE} pixels that are not flat, "
            f"fewer than {count}; give --count {len(found)} or more photographs"
            if found
            else f"{photos}: {len(names)} pictures, none with a square of {SIDE} x {SIDE} pixels that is not flat"
        )
    return found, sorted(unreadable)


def _by_turns(photos: Path, order: list[str], seed: int, unreadable: list[str]) -> Iterator[Patch]:
    waiting: list[list[Patch]] = []
    for name in order:
        try:
            squares = _squares(photos, name, seed)
        except ImageError:
            unreadable.append(name)
            continue
        yield from squares[:1]
        waiting.append(squares[1:])
    while waiting := [squares for squares in waiting if squares]:
        for squares in waiting:
            yield squares.pop(0)


def _squares(photos: Path, name: str, seed: int) -> list[Patch]:
    grey = np.asarray(read_image(photos / name)) @ np.array([0.299, 0.587, 0.114])
    height, width = grey.shape
    found = [
        Patch(name, top, left)
        for top in range(0, height - SIDE + 1, SIDE)
        for left in range(0, width - SIDE + 1, SIDE)
        if grey[top : top + SIDE, left : left + SIDE].std() >= LEAST_DEVIATION
    ]
    return [found[place] for place in _random([seed, name]).permutation(len(found))]


def draw_region(rng: np.random.Generator) -> Mask:
    """bool (SIDE, SIDE): where a smooth random field is highest, in one or several pieces; 5 to 30 % of the patch."""
    return field_region(SIDE, rng.uniform(*SHARES), SMOOTHNESS, rng)


def _random(words: list[object]) -> np.random.Generator:
    text = json.dumps(words).encode()
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(text).digest(), "big")))
