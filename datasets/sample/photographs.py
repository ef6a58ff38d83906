"""The base photographs, found on disk in scikit-image and scikit-learn, and the frames cut from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from imdl_bench.errors import DataError
from imdl_bench.images import encode_jpeg, read_image

_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
PHOTOGRAPHS = {
    "astronaut": ("skimage", "astronaut.png"),
    "chelsea": ("skimage", "chelsea.png"),
    "china": ("sklearn", "china.jpg"),
    "coffee": ("skimage", "coffee.png"),
    "flower": ("sklearn", "flower.jpg"),
    "ihc": ("skimage", "ihc.png"),
    "retina": ("skimage", "retina.jpg"),
    "rocket": ("skimage", "rocket.jpg"),
}
LANDSCAPE = ((320, 480), (333, 501), (256, 400), (400, 512), (426, 640), (257, 385))
SHAPES = (*LANDSCAPE, (384, 384), (301, 300), (411, 307), (448, 299), (400, 258), (385, 257), (512, 400), (320, 256))
LARGEST_GAIN = 130


@dataclass(frozen=True)
class Frame:
    """A crop of a photograph, resampled to (height, width), and how it is compressed.

    Attributes:
        photograph: a key of ``PHOTOGRAPHS``.
        box: left, top, right, bottom in pixels of the photograph.
        shape: height and width after resampling.
        first_quality: JPEG quality of the compression before any edit, ``None`` for none.
        quality: JPEG quality of the stored file, ``None`` for PNG.
    """

    photograph: str
    box: tuple[int, int, int, int]
    shape: tuple[int, int]
    first_quality: int | None
    quality: int | None


def photograph_path(name: str) -> Path:
    """Where the photograph lies on disk. Raises DataError if its library no longer ships it."""
    library, file = PHOTOGRAPHS[name]
    spec = find_spec(library)
    if spec is None or spec.origin is None:
        raise DataError(f"sample: {library} is not installed; it ships the photograph {file}")
    path = Path(spec.origin).parent / _FOLDERS[library] / file
    if not path.is_file():
        raise DataError(f"sample: {path} is missing; reinstall {library}, whose wheel ships it")
    return path


@cache
def photograph(name: str) -> NDArray[np.uint8]:
    """The photograph, uint8 (H, W, 3) RGB; read-only, because it is shared."""
    pixels = np.asarray(read_image(photograph_path(name)))
    pixels.setflags(write=False)
    return pixels


def draw_frame(
    name: str,
    rng: np.random.Generator,
    first_quality: int | None,
    quality: int | None,
    shapes: tuple[tuple[int, int], ...] = SHAPES,
) -> Frame:
    """A random crop of 75 to 92 % of the largest one that fits, at a random shape that enlarges it by 30 % at most."""
    full_height, full_width = photograph(name).shape[:2]
    while True:
        height, width = shapes[int(rng.integers(len(shapes)))]
        share = int(rng.integers(75, 92, endpoint=True))
        fit = min(full_height * 1000 // height, full_width * 1000 // width) * share // 100
        crop_height, crop_width = height * fit // 1000, width * fit // 1000
        if height * 100 <= crop_height * LARGEST_GAIN:
            break
    left = int(rng.integers(0, full_width - crop_width, endpoint=True))
    top = int(rng.integers(0, full_height - crop_height, endpoint=True))
    return Frame(name, (left, top, left + crop_width, top + crop_height), (height, width), first_quality, quality)


def moved(frame: Frame, rng: np.random.Generator, around: NDArray[np.bool_] | None = None) -> Frame:
    """The same frame with its crop elsewhere in the photograph: equal size, resampling and compression.

    With ``around``, a mask over the photograph, the crop holds as much of the masked part as its size allows.
    """
    left, top, right, bottom = frame.box
    height, width = bottom - top, right - left
    full_height, full_width = photograph(frame.photograph).shape[:2]
    left = _start(width, full_width, None if around is None else np.nonzero(around)[1], rng)
    top = _start(height, full_height, None if around is None else np.nonzero(around)[0], rng)
    box = (left, top, left + width, top + height)
    return Frame(frame.photograph, box, frame.shape, frame.first_quality, frame.quality)


def _start(length: int, full: int, held: NDArray[np.intp] | None, rng: np.random.Generator) -> int:
    lowest, highest = 0, full - length
    if held is not None:
        lowest, highest = sorted((int(held.max()) + 1 - length, int(held.min())))
        lowest, highest = max(lowest, 0), min(highest, full - length)
    return int(rng.integers(lowest, max(lowest, highest), endpoint=True))


def whole_frame(name: str, rng: np.random.Generator, first_quality: int | None, quality: int | None) -> Frame:
    """The whole photograph at 60 to 100 % of its size."""
    height, width = photograph(name).shape[:2]
    percent = int(rng.integers(60, 100, endpoint=True))
    shape = height * percent // 100, width * percent // 100
    return Frame(name, (0, 0, width, height), shape, first_quality, quality)


def framed(frame: Frame) -> NDArray[np.uint8]:
    """Pixels of the frame before any edit: crop, resample, first compression. uint8 (H, W, 3)."""
    height, width = frame.shape
    left, top, right, bottom = frame.box
    crop = PIL.Image.fromarray(photograph(frame.photograph)[top:bottom, left:right])
    # One axis at a time: releases of Pillow order the two passes differently, which rounds differently.
    picture = crop.resize((width, crop.height), PIL.Image.Resampling.BICUBIC)
    picture = picture.resize((width, height), PIL.Image.Resampling.BICUBIC)
    pixels = np.asarray(picture)
    if frame.first_quality is None:
        return pixels
    return np.asarray(read_image(encode_jpeg(pixels, frame.first_quality, "4:2:0")))


def framed_mask(mask: NDArray[np.bool_], frame: Frame) -> NDArray[np.bool_]:
    """A mask over the whole photograph, brought to the frame. bool (H, W)."""
    height, width = frame.shape
    grey = PIL.Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize((width, height), PIL.Image.Resampling.BILINEAR, box=frame.box)) >= 128
