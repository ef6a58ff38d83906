"""What is done to a region, at which strengths: uint8 (H, W, 3) RGB -> uint8 RGB of the same size."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from imdl_bench.images import encode_jpeg, read_image, resize_nearest

Pixels = NDArray[np.uint8]
Number = int | float
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


def box_blur(rgb: Pixels, kernel: Number, _: np.random.Generator) -> Pixels:
    """Mean of ``kernel`` x ``kernel`` pixels, mirrored about the outermost pixel."""
    side = int(kernel)
    return np.asarray(cv2.blur(rgb, (side, side), borderType=cv2.BORDER_REFLECT_101), np.uint8)


def gaussian_blur(rgb: Pixels, kernel: Number, _: np.random.Generator) -> Pixels:
    """As the distortion ``gaussian_blur``: sigma = 0.3 * ((kernel - 1) / 2 - 1) + 0.8, mirrored."""
    side, sigma = int(kernel), 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    return np.asarray(cv2.GaussianBlur(rgb, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101), np.uint8)


def median(rgb: Pixels, kernel: Number, _: np.random.Generator) -> Pixels:
    """As the distortion ``median``: of ``kernel`` x ``kernel`` pixels per channel."""
    return np.asarray(cv2.medianBlur(rgb, int(kernel)), np.uint8)


def gaussian_noise(rgb: Pixels, sigma: Number, rng: np.random.Generator) -> Pixels:
    """As the distortion ``gaussian_noise``: normal values of standard deviation ``sigma`` grey levels."""
    return _to_uint8(rng.standard_normal(rgb.shape) * sigma + rgb)


def uniform_noise(rgb: Pixels, most: Number, rng: np.random.Generator) -> Pixels:
    """Whole grey levels from ``-most`` to ``most``, all equally likely, in each pixel and channel by itself."""
    return _to_uint8(rng.integers(-int(most), int(most), rgb.shape, endpoint=True) + rgb)


def impulse_noise(rgb: Pixels, percent: Number, rng: np.random.Generator) -> Pixels:
    """``percent`` of the pixels, drawn one by one, turn black or white, each as likely as the other."""
    drawn = rng.random(rgb.shape[:2])[..., None] * 100
    return np.where(drawn < percent / 2, np.uint8(0), np.where(drawn < percent, np.uint8(255), rgb))


def jpeg(rgb: Pixels, quality: Number, _: np.random.Generator) -> Pixels:
    """As the distortion ``jpeg``: libjpeg ``quality``, 4:2:0, its blocks on the patch's own grid."""
    return np.asarray(read_image(encode_jpeg(rgb, int(quality), "4:2:0")))


def webp(rgb: Pixels, quality: Number, _: np.random.Generator) -> Pixels:
    """As the distortion ``webp``: libwebp's lossy coder, method 4."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(rgb).save(buffer, "WEBP", quality=int(quality), method=4)
    return np.asarray(read_image(buffer.getvalue()))


def resample(rgb: Pixels, scale: Number, _: np.random.Generator, *, interpolation: int) -> Pixels:
    """As the distortion ``downscale_upscale``: to ``scale`` of both sides, and back, both with ``interpolation``."""
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=interpolation)
    return np.asarray(cv2.resize(small, (width, height), interpolation=interpolation), np.uint8)


def resample_nearest(rgb: Pixels, scale: Number, _: np.random.Generator) -> Pixels:
    """The same, taking the pixel under the new pixel's centre."""
    height, width = rgb.shape[:2]
    return resize_nearest(resize_nearest(rgb, (round(height * scale), round(width * scale))), (height, width))


def dilate(rgb: Pixels, side: Number, _: np.random.Generator) -> Pixels:
    """Greatest value in a square of ``side`` pixels, per channel."""
    return np.asarray(cv2.dilate(rgb, np.ones((int(side), int(side)), np.uint8)), np.uint8)


def erode(rgb: Pixels, side: Number, _: np.random.Generator) -> Pixels:
    """Least value in a square of ``side`` pixels, per channel."""
    return np.asarray(cv2.erode(rgb, np.ones((int(side), int(side)), np.uint8)), np.uint8)


def quantize(rgb: Pixels, colours: Number, _: np.random.Generator) -> Pixels:
    """The whole patch in ``colours`` colours, chosen by Pillow's median cut, without dithering."""
    palette = PIL.Image.fromarray(rgb).quantize(
        int(colours), PIL.Image.Quantize.MEDIANCUT, dither=PIL.Image.Dither.NONE
    )
    return np.asarray(palette.convert("RGB"))


def auto_contrast(rgb: Pixels, percent: Number, _: np.random.Generator) -> Pixels:
    """Each channel of the patch stretched to 0..255 after ``percent`` of its pixels are cut off at either end."""
    return np.asarray(PIL.ImageOps.autocontrast(PIL.Image.fromarray(rgb), cutoff=percent))


def _to_uint8(values: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


MANIPULATIONS: dict[str, Manipulation] = {
    "box_blur": Manipulation(KERNELS, box_blur),
    "gaussian_blur": Manipulation(KERNELS, gaussian_blur),
    "median": Manipulation(KERNELS, median),
    "gaussian_noise": Manipulation(LEVELS, gaussian_noise),
    "uniform_noise": Manipulation(LEVELS, uniform_noise),
    "impulse_noise": Manipulation(LEVELS, impulse_noise),
    "jpeg": Manipulation(QUALITIES, jpeg),
    "webp": Manipulation(QUALITIES, webp),
    "resample_nearest": Manipulation(SCALES, resample_nearest),
    "resample_linear": Manipulation(SCALES, partial(resample, interpolation=cv2.INTER_LINEAR)),
    "resample_lanczos4": Manipulation(SCALES, partial(resample, interpolation=cv2.INTER_LANCZOS4)),
    "dilate": Manipulation(ELEMENTS, dilate),
    "erode": Manipulation(ELEMENTS, erode),
    "quantize": Manipulation((225, 150, 100, 50), quantize),
    "auto_contrast": Manipulation((1, 3, 5, 7), auto_contrast),
}


def every_edit() -> list[tuple[str, Number]]:
    """Each manipulation with each of its parameters."""
    return [(name, value) for name, manipulation in MANIPULATIONS.items() for value in manipulation.values]


def folder_of(name: str, value: Number) -> str:
    """Its folder and split, such as ``gaussian_blur-3``."""
    return f"{name}-{value}"
