"""Squares cut out of photographs of any size, resampled and compressed as cameras and websites do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image

from imdl_bench.images import encode_jpeg, read_image, resize_mask
from imdl_bench.synthesis.photographs import Photographs
from imdl_bench.synthesis.regions import Mask, Pixels

_FILTERS = ("BILINEAR", "BICUBIC", "LANCZOS")
FIRST_QUALITY = (70, 100)


@dataclass(frozen=True, slots=True)
class Frame:
    """A square of a photograph.

    Attributes:
        photograph: its name.
        left, top, cut: corner and side of the square in the photograph.
        pixels: uint8 (side, side, 3), resampled from it.
    """

    photograph: str
    left: int
    top: int
    cut: int
    pixels: Pixels

    def framed(self, mask: Mask) -> Mask:
        """bool (side, side): a mask over the whole photograph, cut and resampled as the pixels are."""
        square = mask[self.top : self.top + self.cut, self.left : self.left + self.cut]
        height, width = self.pixels.shape[:2]
        return resize_mask(square, (height, width), PIL.Image.Resampling.BILINEAR)


def draw_frame(photographs: Photographs, side: int, rng: np.random.Generator, *, beside: str = "") -> Frame | None:
    """A random square of a random photograph other than ``beside``; None if that one cannot be read.

    The square's side lies anywhere between ``side`` and the photograph's shorter side; a smaller one is enlarged. The
    filter is drawn from three, and every second frame is compressed once: JPEG of quality 70 to 100.
    """
    name = photographs.names[int(rng.integers(len(photographs.names)))]
    at, along, down, filter_name, first = rng.random(5)
    quality = int(rng.integers(*FIRST_QUALITY, endpoint=True))
    pixels = None if name == beside else photographs.read(name)
    if pixels is None:
        return None
    height, width = pixels.shape[:2]
    shorter = min(height, width)
    smallest = min(side, shorter)
    cut = smallest + int(at * (shorter - smallest + 1))
    left, top = int(along * (width - cut + 1)), int(down * (height - cut + 1))
    square = PIL.Image.fromarray(np.ascontiguousarray(pixels[top : top + cut, left : left + cut]))
    resampling = PIL.Image.Resampling[_FILTERS[int(filter_name * len(_FILTERS))]]
    framed = np.asarray(square.resize((side, side), resampling))
    if first < 0.5:
        framed = np.asarray(read_image(encode_jpeg(framed, quality, "4:2:0")))
    return Frame(name, left, top, cut, framed)
