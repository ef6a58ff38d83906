"""The 21 sets, and how their changes are drawn: the ranges of the paper's Section IV-A."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imdl_bench.synthesis.pairs import AREA_CLASSES, draw_combination

SIZE = 256
PAPER_COUNT = 3000
SETS = ("combination", "raw", "shift", "rotation", "scale", "luminance", "deformation")


@dataclass(frozen=True, slots=True)
class PairName:
    """Which pair: one of ``SETS``, one of ``AREA_CLASSES``, a number from 0 up."""

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
        place = SETS.index(self.set), list(AREA_CLASSES).index(self.area_class), self.number
        return np.random.Generator(np.random.PCG64([seed, *place]))


def every_pair(count: int) -> list[PairName]:
    """The names of all pairs, ``count`` in each set and class."""
    return [PairName(name, area, number) for name in SETS for area in AREA_CLASSES for number in range(count)]


def draw_kinds(set_name: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Which changes a pair undergoes: in Combination a shift and each other one by a coin; elsewhere the set's own."""
    if set_name == "combination":
        return draw_combination(rng)
    return () if set_name == "raw" else (set_name,)
