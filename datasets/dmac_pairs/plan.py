"""The 21 sets, and how their changes are drawn: the ranges of the paper's Section IV-A."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from imdl_bench.synthesis.pasting import Change

SIZE = 256
PAPER_COUNT = 3000
SETS = ("combination", "raw", "shift", "rotation", "scale", "luminance", "deformation")
CLASSES = {"difficult": (0.01, 0.10), "normal": (0.10, 0.25), "easy": (0.25, 0.50)}
CHANGES = ("shift", "rotation", "luminance", "scale", "deformation")  # in the order in which they act


@dataclass(frozen=True, slots=True)
class PairName:
    """Which pair: one of ``SETS``, one of ``CLASSES``, a number from 0 up."""

    set: str
    area_class: str
    number: int

    @property
    def split(self) -> str:
        """Its folder, such as ``raw-easy``."""
        return f"{self.set}-{self.area_class}"

    @property
    def id(self) -> str:
        """Its files without their ends, such as ``raw-easy/00012``."""
        return f"{self.split}/{self.number:05}"

    def random(self, seed: int) -> np.random.Generator:
        """Its own stream of numbers, whatever other pairs are made."""
        place = SETS.index(self.set), list(CLASSES).index(self.area_class), self.number
        return np.random.Generator(np.random.PCG64([seed, *place]))


def every_pair(count: int) -> list[PairName]:
    """The names of all pairs, ``count`` in each set and class."""
    return [PairName(name, area, number) for name in SETS for area in CLASSES for number in range(count)]


def draw_kinds(set_name: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Which changes a pair undergoes: in Combination a shift and each other one by a coin; elsewhere the set's own."""
    if set_name == "combination":
        return ("shift", *(kind for kind in CHANGES[1:] if rng.integers(2)))
    return () if set_name == "raw" else (set_name,)


def draw_change(kinds: tuple[str, ...], rng: np.random.Generator) -> Change:
    """Amounts, uniform in the paper's ranges: whole pixels, degrees and levels, factors in thousandths."""
    drawn: dict[str, Any] = {}
    for kind in kinds:
        if kind == "shift":
            drawn[kind] = int(rng.integers(-127, 128)), int(rng.integers(-127, 128))
        elif kind == "rotation":
            drawn[kind] = int(rng.integers(-30, 31))
        elif kind == "luminance":
            drawn[kind] = int(rng.integers(-32, 33))
        else:
            largest = {"scale": 4000, "deformation": 2000}[kind]
            drawn[kind] = int(rng.integers(500, largest + 1)) / 1000
    return Change(**drawn)
