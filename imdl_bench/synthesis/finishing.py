"""The last processing of an example, drawn in the same way for pristine and forged ones: it must tell nobody which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image

from imdl_bench.images import Subsampling, encode_jpeg, read_image
from imdl_bench.synthesis.regions import Mask, Pixels

QUALITIES = (60, 100)
RESIZES = (0.8, 1.25)


@dataclass(frozen=True, slots=True)
class Finish:
    """What happens last.

    Attributes:
        canvas: side that the example is composed at; it is then resized to its own side.
        quality: of the JPEG compression, None for none.
        subsampling: of its chroma.
    """

    canvas: int
    quality: int | None
    subsampling: Subsampling

    def image(self, pixels: Pixels, side: int) -> Pixels:
        """uint8 (side, side, 3) of the composed (canvas, canvas, 3)."""
        if self.canvas != side:
            pixels = np.asarray(PIL.Image.fromarray(pixels).resize((side, side), PIL.Image.Resampling.BICUBIC))
        if self.quality is None:
            return pixels
        return np.asarray(read_image(encode_jpeg(pixels, self.quality, self.subsampling)))

    def truth(self, alpha: Pixels, side: int) -> Mask:
        """bool (side, side): where at least half of a pixel is new, ``alpha`` being uint8 (canvas, canvas)."""
        if self.canvas != side:
            alpha = np.asarray(PIL.Image.fromarray(alpha).resize((side, side), PIL.Image.Resampling.BILINEAR))
        return np.asarray(alpha >= 128)


def draw_finish(side: int, rng: np.random.Generator) -> Finish:
    """With a third each: nothing; JPEG of quality 60 to 100; composed at 0.8 to 1.25 of the side, resized, and JPEG."""
    way, quality = int(rng.integers(3)), int(rng.integers(*QUALITIES, endpoint=True))
    subsampling: Subsampling = "4:2:0" if rng.integers(2) else "4:4:4"
    canvas = round(side * rng.uniform(*RESIZES))
    return Finish(canvas if way == 2 else side, None if way == 0 else quality, subsampling)


def draw_compression(side: int, rng: np.random.Generator) -> Finish:
    """By a coin: nothing, or JPEG of quality 60 to 100."""
    compressed, quality = bool(rng.integers(2)), int(rng.integers(*QUALITIES, endpoint=True))
    subsampling: Subsampling = "4:2:0" if rng.integers(2) else "4:4:4"
    return Finish(side, quality if compressed else None, subsampling)
