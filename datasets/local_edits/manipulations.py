"""What is done to a region, at which strengths: uint8 (H, W, 3) RGB -> uint8 RGB of the same size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from imdl_bench.synthesis import manipulations as core
from imdl_bench.synthesis.manipulations import Number, Pixels

Change = Callable[[Pixels, Number, np.random.Generator], Pixels]

# Values of ManTra-Net's map of manipulations.
KERNELS = (3, 5, 9, 17)
LEVELS = (3, 7, 15, 28)
QUALITIES = (100, 95, 78, 57, 36)
SCALES = (0.95, 0.73, 0.52, 0.25)
ELEMENTS = (2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Manipulation:
    """A manipulation ``f`` with the parameters ``p`` at which it is done, from the weakest to the strongest."""

    values: tuple[Number, ...]
    change: Change


MANIPULATIONS: dict[str, Manipulation] = {
    "box_blur": Manipulation(KERNELS, core.box_blur),
    "gaussian_blur": Manipulation(KERNELS, core.gaussian_blur),
    "median": Manipulation(KERNELS, core.median),
    "gaussian_noise": Manipulation(LEVELS, core.gaussian_noise),
    "uniform_noise": Manipulation(LEVELS, core.uniform_noise),
    "impulse_noise": Manipulation(LEVELS, core.impulse_noise),
    "jpeg": Manipulation(QUALITIES, core.jpeg),
    "webp": Manipulation(QUALITIES, core.webp),
    "resample_nearest": Manipulation(SCALES, core.resample_nearest),
    "resample_linear": Manipulation(SCALES, partial(core.resample, interpolation=cv2.INTER_LINEAR)),
    "resample_lanczos4": Manipulation(SCALES, partial(core.resample, interpolation=cv2.INTER_LANCZOS4)),
    "dilate": Manipulation(ELEMENTS, core.dilate),
    "erode": Manipulation(ELEMENTS, core.erode),
    "quantize": Manipulation((225, 150, 100, 50), core.quantize),
    "auto_contrast": Manipulation((1, 3, 5, 7), core.auto_contrast),
}


def every_edit() -> list[tuple[str, Number]]:
    """Each manipulation with each of its parameters."""
    return [(name, value) for name, manipulation in MANIPULATIONS.items() for value in manipulation.values]


def folder_of(name: str, value: Number) -> str:
    """Its folder and split, such as ``gaussian_blur-3``."""
    return f"{name}-{value}"
