"""What is done to whole images or, under a mask, to regions: uint8 (H, W, 3) RGB -> uint8 RGB of the same size.

The algorithms of ManTra-Net's map of manipulations (CVPR 2019, supplement). The map gives each parameter a letter and
values, but does not define what noise strength, morphology element, contrast, quantization and the K of the wavelets
are: those meanings are this module's. Every function takes the image, its parameters and a source of random numbers.
"""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pywt
from numpy.typing import NDArray
from scipy import ndimage

from imdl_bench.images import encode_jpeg, read_image, resize_nearest

Pixels = NDArray[np.uint8]
Number = int | float

WAVELET, WAVELET_LEVELS = "db8", 4
WAVELET_NOISE = 5.0  # standard deviation that is taken for noise, in grey levels
TILES = (8, 8)  # of the frame, in each of which the histogram is equalised


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


def wavelet_denoise(rgb: Pixels, kernel: Number, _: np.random.Generator) -> Pixels:
    """Mihcak's filter (ICASSP 1999), which camera fingerprints are extracted with, per channel.

    Of a ``db8`` transform of four levels (fewer where a side is below 240 pixels), every detail is multiplied by
    v / (v + 25): v is the mean of the squared details in ``kernel`` x ``kernel`` around it, less the 25 of a noise of
    5 grey levels, and at least 0.
    """
    channels = [_denoised(rgb[..., place].astype(np.float64), int(kernel)) for place in range(3)]
    return _to_uint8(np.stack(channels, axis=2))


def _denoised(channel: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    levels = min(WAVELET_LEVELS, pywt.dwt_max_level(min(channel.shape), WAVELET))
    coarse, *details = pywt.wavedec2(channel, WAVELET, "symmetric", levels)
    kept = [coarse, *(tuple(_without_noise(part, side) for part in level) for level in details)]
    height, width = channel.shape
    return np.asarray(pywt.waverec2(kept, WAVELET, "symmetric")[:height, :width], np.float64)


def _without_noise(details: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    power = ndimage.uniform_filter(details**2, side, mode="reflect")
    signal = np.maximum(power - WAVELET_NOISE**2, 0)
    return np.asarray(details * signal / (signal + WAVELET_NOISE**2), np.float64)


def gaussian_noise(rgb: Pixels, sigma: Number, rng: np.random.Generator) -> Pixels:
    """As the distortion ``gaussian_noise``: normal values of standard deviation ``sigma`` grey levels."""
    return _to_uint8(rng.standard_normal(rgb.shape) * sigma + rgb)


def impulse_noise(rgb: Pixels, percent: Number, rng: np.random.Generator) -> Pixels:
    """``percent`` of the pixels, drawn one by one, turn black or white, each as likely as the other."""
    drawn = rng.random(rgb.shape[:2])[..., None] * 100
    return np.where(drawn < percent / 2, np.uint8(0), np.where(drawn < percent, np.uint8(255), rgb))


def poisson_noise(rgb: Pixels, expected: Number, rng: np.random.Generator) -> Pixels:
    """Counts of a Poisson law that expects ``expected``, less that, in each pixel and channel by itself.

    The mean stays, so that brightness does not give it away; the standard deviation is the root of ``expected``.
    """
    return _to_uint8(rng.poisson(expected, rgb.shape) - float(expected) + rgb)


def uniform_noise(rgb: Pixels, most: Number, rng: np.random.Generator) -> Pixels:
    """Whole grey levels from ``-most`` to ``most``, all equally likely, in each pixel and channel by itself."""
    return _to_uint8(rng.integers(-int(most), int(most), rgb.shape, endpoint=True) + rgb)


def jpeg(rgb: Pixels, quality: Number, _: np.random.Generator) -> Pixels:
    """As the distortion ``jpeg``: libjpeg ``quality``, 4:2:0, its blocks on the image's own grid."""
    return np.asarray(read_image(encode_jpeg(rgb, int(quality), "4:2:0")))


def jpeg_twice(rgb: Pixels, first: Number, second: Number, rng: np.random.Generator) -> Pixels:
    """:func:`jpeg` at ``first``, then at ``second``, on the same grid of blocks."""
    return jpeg(jpeg(rgb, first, rng), second, rng)


def webp(rgb: Pixels, quality: Number, _: np.random.Generator) -> Pixels:
    """As the distortion ``webp``: libwebp's lossy coder, method 4."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(rgb).save(buffer, "WEBP", quality=int(quality), method=4)
    return np.asarray(read_image(buffer.getvalue()))


def resample(rgb: Pixels, scale: Number, _: np.random.Generator, *, interpolation: int) -> Pixels:
    """As the distortion ``downscale_upscale``: to ``scale`` of both sides, and back, both with ``interpolation``.

    Args:
        interpolation: OpenCV's.
    """
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=interpolation)
    return np.asarray(cv2.resize(small, (width, height), interpolation=interpolation), np.uint8)


def resample_nearest(rgb: Pixels, scale: Number, _: np.random.Generator) -> Pixels:
    """The same, taking the pixel under the new pixel's centre."""
    height, width = rgb.shape[:2]
    return resize_nearest(resize_nearest(rgb, (round(height * scale), round(width * scale))), (height, width))


def dilate(rgb: Pixels, side: Number, _: np.random.Generator) -> Pixels:
    """Greatest value in a square of ``side`` pixels, per channel; an even side reaches further to the left and top."""
    return np.asarray(cv2.dilate(rgb, _square(side)), np.uint8)


def erode(rgb: Pixels, side: Number, _: np.random.Generator) -> Pixels:
    """Least value in a square of ``side`` pixels, per channel; an even side reaches further to the left and top."""
    return np.asarray(cv2.erode(rgb, _square(side)), np.uint8)


def opening(rgb: Pixels, side: Number, rng: np.random.Generator) -> Pixels:
    """:func:`erode`, then the greatest value in the mirrored square: bright details below ``side`` pixels go."""
    return np.asarray(cv2.dilate(erode(rgb, side, rng), _square(side), anchor=_mirrored_anchor(side)), np.uint8)


def closing(rgb: Pixels, side: Number, rng: np.random.Generator) -> Pixels:
    """:func:`dilate`, then the least value in the mirrored square: dark details below ``side`` pixels go."""
    return np.asarray(cv2.erode(dilate(rgb, side, rng), _square(side), anchor=_mirrored_anchor(side)), np.uint8)


def quantize(rgb: Pixels, colours: Number, _: np.random.Generator) -> Pixels:
    """The whole image in ``colours`` colours, chosen by Pillow's median cut, without dithering."""
    palette = PIL.Image.fromarray(rgb).quantize(
        int(colours), PIL.Image.Quantize.MEDIANCUT, dither=PIL.Image.Dither.NONE
    )
    return np.asarray(palette.convert("RGB"))


def dither(rgb: Pixels, _: np.random.Generator) -> Pixels:
    """The 216 colours whose channels are multiples of 51, by Floyd and Steinberg's error diffusion."""
    palette = PIL.Image.fromarray(rgb).convert(
        "P", palette=PIL.Image.Palette.WEB, dither=PIL.Image.Dither.FLOYDSTEINBERG
    )
    return np.asarray(palette.convert("RGB"))


def auto_contrast(rgb: Pixels, percent: Number, _: np.random.Generator) -> Pixels:
    """Each channel of the image stretched to 0..255 after ``percent`` of its pixels are cut off at either end."""
    return np.asarray(PIL.ImageOps.autocontrast(PIL.Image.fromarray(rgb), cutoff=percent))


def equalize(rgb: Pixels, limit: Number, _: np.random.Generator) -> Pixels:
    """Each channel's histogram equalised in 8 x 8 tiles, with slopes of at most ``limit`` (OpenCV's CLAHE)."""
    equalizer = cv2.createCLAHE(float(limit), TILES)
    return np.stack([np.asarray(equalizer.apply(rgb[..., place]), np.uint8) for place in range(3)], axis=2)


def _square(side: Number) -> Pixels:
    return np.ones((int(side), int(side)), np.uint8)


def _mirrored_anchor(side: Number) -> tuple[int, int]:
    # OpenCV anchors at side // 2; with the same anchor twice an even square would move the image by a pixel.
    place = int(side) - 1 - int(side) // 2
    return place, place


def _to_uint8(values: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
