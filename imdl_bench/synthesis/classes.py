"""The hierarchy of manipulation classes: 380 manipulations, in 7, 27, 49, 96, 191 or 380 classes.

Read from the map in ManTra-Net's repository. Its paper speaks of 385 classes, and of 25 and 185 at two of the levels
(Table 2); the map shows 380, 27 and 191, and nothing in it says what the five others are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial

import cv2
import numpy as np

from imdl_bench.errors import UsageError
from imdl_bench.synthesis import manipulations as of
from imdl_bench.synthesis.manipulations import Number, Pixels

KERNELS = (3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33)
SCALES = (0.15, 0.20, 0.25, 0.31, 0.36, 0.41, 0.47, 0.52, 0.57, 0.63, 0.68, 0.73, 0.79, 0.84, 0.89, 0.95)
QUALITIES = (36, 40, 44, 48, 53, 57, 61, 65, 70, 74, 78, 82, 87, 91, 95, 100)
SIDES = (2, 4, 6, 8, 10, 12, 14, 16, 19, 21, 23, 25, 27, 29, 31, 34)
STRENGTHS = (3, 5, 7, 9, 11, 13, 15, 17, 20, 22, 24, 26, 28, 30, 32, 35)

FAMILIES = ("blurring", "resampling", "compression", "morphology", "noise", "quantization", "contrast")
# How many neighbouring parameters of an algorithm make a class; at the coarsest level a family is one.
LEAVES_PER_CLASS = {27: 16, 49: 8, 96: 4, 191: 2, 380: 1}
LEVELS = (len(FAMILIES), *LEAVES_PER_CLASS)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One manipulation: an algorithm with its parameters.

    Attributes:
        family: one of :data:`FAMILIES`.
        algorithm: such as ``box_blur`` or ``jpeg_twice``.
        values: its parameters: none of dithering, two of JPEG twice, otherwise one.
        function: takes the image, the values, and a source of random numbers.
    """

    family: str
    algorithm: str
    values: tuple[Number, ...]
    function: Callable[..., Pixels]

    @property
    def parameters(self) -> str:
        """The values in text, such as ``36-40``."""
        return "-".join(f"{value:g}" for value in self.values)

    @property
    def name(self) -> str:
        """Such as ``box_blur-3``, ``jpeg_twice-36-40`` or ``dither``."""
        return "-".join(filter(None, [self.algorithm, self.parameters]))

    def apply(self, rgb: Pixels, rng: np.random.Generator) -> Pixels:
        """uint8 (H, W, 3) -> uint8 of the same shape."""
        return self.function(rgb, *self.values, rng)


@dataclass(frozen=True, slots=True)
class ManipulationClass:
    """The manipulations that one label stands for: neighbours of one algorithm, or a whole family.

    Attributes:
        label: from 0 up, in the order of the map.
        name: of the family, of the only leaf, or such as ``box_blur-3..17``.
        leaves: from the smallest parameter to the largest.
    """

    label: int
    name: str
    leaves: tuple[Leaf, ...]


@cache
def leaves() -> tuple[Leaf, ...]:
    """All 380 in the order of the map: families, algorithms, parameters (of JPEG twice the first quality slowest)."""
    interpolations = {
        "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC, "lanczos4": cv2.INTER_LANCZOS4, "linear": cv2.INTER_LINEAR
    }  # fmt: skip
    resampling = {name: partial(of.resample, interpolation=value) for name, value in interpolations.items()}
    return (
        *_leaves("blurring", "box_blur", KERNELS, of.box_blur),
        *_leaves("blurring", "gaussian_blur", KERNELS, of.gaussian_blur),
        *_leaves("blurring", "median", KERNELS, of.median),
        *_leaves("blurring", "wavelet_denoise", KERNELS[:4], of.wavelet_denoise),
        *(leaf for name, f in resampling.items() for leaf in _leaves("resampling", f"resample_{name}", SCALES, f)),
        *_leaves("resampling", "resample_nearest", SCALES, of.resample_nearest),
        *_leaves("compression", "jpeg", QUALITIES, of.jpeg),
        *(
            Leaf("compression", "jpeg_twice", (first, second), of.jpeg_twice)
            for first in QUALITIES[::2] for second in QUALITIES[1::2]
        ),
        *_leaves("compression", "webp", QUALITIES, of.webp),
        *_leaves("morphology", "closing", SIDES, of.closing),
        *_leaves("morphology", "dilate", SIDES, of.dilate),
        *_leaves("morphology", "erode", SIDES, of.erode),
        *_leaves("morphology", "opening", SIDES, of.opening),
        *_leaves("noise", "gaussian_noise", STRENGTHS, of.gaussian_noise),
        *_leaves("noise", "impulse_noise", STRENGTHS, of.impulse_noise),
        *_leaves("noise", "poisson_noise", STRENGTHS, of.poisson_noise),
        *_leaves("noise", "uniform_noise", STRENGTHS, of.uniform_noise),
        *_leaves("quantization", "quantize", range(50, 226, 25), of.quantize),
        Leaf("quantization", "dither", (), of.dither),
        *_leaves("contrast", "auto_contrast", range(8), of.auto_contrast),
        *_leaves("contrast", "equalize", range(1, 8), of.equalize),
    )  # fmt: skip


@cache
def classes(level: int) -> tuple[ManipulationClass, ...]:
    """The classes of the level that has ``level`` of them; every class lies within one class of each coarser level.

    Raises:
        UsageError: not one of :data:`LEVELS`.
    """
    if level not in LEVELS:
        raise UsageError(f"{level} manipulation classes: the hierarchy has {', '.join(map(str, LEVELS))}")
    groups = _groups(leaves(), level)
    return tuple(ManipulationClass(label, name, members) for label, (name, members) in enumerate(groups))


def label_of(leaf: Leaf, level: int) -> int:
    """The label of the class of that level to which the leaf belongs."""
    return _labels(level)[leaf.name]


def draw_leaf(level: int, rng: np.random.Generator) -> Leaf:
    """A leaf of a class, every class of the level equally likely, and every leaf in it."""
    found = classes(level)
    members = found[int(rng.integers(len(found)))].leaves
    return members[int(rng.integers(len(members)))]


@cache
def _labels(level: int) -> dict[str, int]:
    return {leaf.name: found.label for found in classes(level) for leaf in found.leaves}


def _leaves(family: str, algorithm: str, values: Iterable[Number], function: Callable[..., Pixels]) -> tuple[Leaf, ...]:
    return tuple(Leaf(family, algorithm, (value,), function) for value in values)


def _groups(every: tuple[Leaf, ...], level: int) -> list[tuple[str, tuple[Leaf, ...]]]:
    if level == len(FAMILIES):
        return [(family, tuple(leaf for leaf in every if leaf.family == family)) for family in FAMILIES]
    size = LEAVES_PER_CLASS[level]
    groups = []
    for algorithm in dict.fromkeys(leaf.algorithm for leaf in every):
        members = tuple(leaf for leaf in every if leaf.algorithm == algorithm)
        chunks = [members[start : start + size] for start in range(0, len(members), size)]
        groups += [(_name(chunk), chunk) for chunk in chunks]
    return groups


def _name(chunk: tuple[Leaf, ...]) -> str:
    first, last = chunk[0], chunk[-1]
    return first.name if len(chunk) == 1 else f"{first.name}..{last.parameters}"
