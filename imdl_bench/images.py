"""Read and write pictures: the one place for channel order, range, bit depth and EXIF orientation."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
from numpy.typing import NDArray

# Registered here, once: Pillow's lazy registration is not safe when threads open their first pictures together.
from PIL import (  # noqa: F401
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imdl_bench.errors import ImageError, UsageError
from imdl_bench.types import Image

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif"})
DEFAULT_MAX_PIXELS = 200_000_000

Forged = Literal["white", "black", "green"]
SizePolicy = Literal["error", "skip", "resize", "transpose"]


def max_pixels() -> int:
    """Largest picture that is decoded, in pixels: ``IMDL_BENCH_MAX_PIXELS`` or 200 million."""
    setting = os.environ.get("IMDL_BENCH_MAX_PIXELS", str(DEFAULT_MAX_PIXELS))
    try:
        limit = int(float(setting))
    except ValueError:
        limit = 0
    if limit < 1:
        raise UsageError(f"IMDL_BENCH_MAX_PIXELS={setting!r} is not a positive number of pixels")
    return limit


def read_image(source: Path | str | bytes, path: Path | None = None) -> Image:
    """Decode a picture to uint8 (H, W, 3) RGB, upright.

    JPEG, PNG, TIFF, BMP, WebP and GIF (first frame); 1, 8 and 16 bits per channel (16 bits keep their high byte);
    grey is repeated into three channels, palettes are expanded, CMYK is converted, alpha is dropped, colour profiles
    are ignored, EXIF orientation is applied.

    Args:
        source: a file, or the bytes of one.
        path: the file that ``bytes`` came from: it becomes ``.path`` and is named in errors.

    Raises:
        ImageError: missing, truncated, not a picture, an unsupported kind of pixel, or above :func:`max_pixels`.
    """
    name = path if isinstance(source, bytes) else Path(source)
    return Image(_oriented(source, name, _rgb), path=name)


def read_mask(source: Path | str | bytes, forged: Forged = "white", path: Path | None = None) -> NDArray[np.bool_]:
    """Decode a ground-truth mask to bool (H, W), True = forged.

    ``white`` and ``black`` threshold at half range (so that JPEG ringing is not forgery) after colour is averaged to
    one channel and alpha dropped; ``green`` marks pixels where green exceeds red (Columbia's edge masks).

    Raises:
        ImageError: as :func:`read_image`.
    """
    name = path if isinstance(source, bytes) else Path(source)
    if forged == "green":
        rgb = _oriented(source, name, _rgb)
        return np.asarray(rgb[..., 1] > rgb[..., 0])
    grey = _oriented(source, name, _grey)
    return np.asarray(grey >= 128) if forged == "white" else np.asarray(grey < 128)


def read_size(path: Path | str) -> tuple[int, int]:
    """Height and width of an upright picture, from its header alone. Raises ImageError."""
    with _opened(path, Path(path)) as picture:
        width, height = picture.size
        swapped = picture.format != "TIFF" and _orientation(picture) >= 5
    return (width, height) if swapped else (height, width)


def fit_mask(
    mask: NDArray[np.bool_], shape: tuple[int, int], policy: SizePolicy
) -> tuple[NDArray[np.bool_] | None, str | None]:
    """Bring a truth of another size to ``shape`` by ``policy``; returns it with a remark for the run's record.

    ``resize`` samples the nearest pixel centre; ``transpose`` swaps the axes where that mends the size exactly and
    resizes otherwise; ``skip`` returns ``None`` (no truth); ``error`` raises ImageError.
    """
    if mask.shape == shape:
        return mask, None
    sizes = f"mask {mask.shape[1]}x{mask.shape[0]}, image {shape[1]}x{shape[0]}"
    if policy == "skip":
        return None, f"size mismatch, skipped: {sizes}"
    if policy == "error":
        raise ImageError(f"size mismatch: {sizes}; choose size_mismatch: resize, transpose or skip")
    if policy == "transpose" and mask.shape == shape[::-1]:
        return np.ascontiguousarray(mask.T), f"mask transposed: {sizes}"
    return resize_nearest(mask, shape), f"mask resized: {sizes}"


def resize_nearest(array: NDArray, shape: tuple[int, int]) -> NDArray:  # type: ignore[type-arg]
    """Resize the first two axes by the nearest pixel centre: source index ``floor((i + 0.5) * n_in / n_out)``."""
    rows, columns = (
        np.minimum(((np.arange(out) + 0.5) * n / out).astype(np.intp), n - 1)
        for n, out in zip(array.shape[:2], shape, strict=True)
    )
    return np.ascontiguousarray(array[rows[:, None], columns[None, :]])


def encode_jpeg(rgb: NDArray[np.uint8], quality: int, subsampling: Literal["4:4:4", "4:2:2", "4:2:0"]) -> bytes:
    """The JPEG stream of uint8 (H, W, 3) RGB at libjpeg ``quality`` 1..100, standard tables, no metadata."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.asarray(rgb)).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def as_image(pixels: object) -> Image:
    """Accept an array as an image. Raises UsageError unless it is uint8 (H, W, 3) with at least one pixel."""
    if not isinstance(pixels, np.ndarray):
        raise UsageError(f"an image is a uint8 array (H, W, 3), not {type(pixels).__name__}; read files with read_image")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise UsageError(f"an image is a uint8 array (H, W, 3) RGB, not {pixels.dtype} {pixels.shape}")
    return pixels if isinstance(pixels, Image) else Image(pixels)


def _opened(source: Path | str | bytes, name: Path | None) -> PIL.Image.Image:
    limit = max_pixels()
    if PIL.Image.MAX_IMAGE_PIXELS is not None and limit > PIL.Image.MAX_IMAGE_PIXELS:
        PIL.Image.MAX_IMAGE_PIXELS = limit
    try:
        picture = PIL.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except PIL.UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture of a known kind ({', '.join(FORMATS)})") from None
    except Exception as error:
        raise ImageError(f"{name}: cannot be opened: {error}") from error
    if picture.width * picture.height > limit:
        size = f"{picture.width}x{picture.height}"
        picture.close()
        raise ImageError(f"{name}: {size} is above the limit of {limit} pixels; raise IMDL_BENCH_MAX_PIXELS to read it")
    return picture


def _oriented(source: Path | str | bytes, name: Path | None, pixels_of) -> NDArray[np.uint8]:  # type: ignore[no-untyped-def]
    with _opened(source, name) as picture:
        try:
            picture.load()
            orientation = _orientation(picture)
            pixels = pixels_of(picture)
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from None
        except Exception as error:
            raise ImageError(f"{name}: cannot be decoded: {error}") from error
    return np.ascontiguousarray(_upright(pixels, orientation))


def _orientation(picture: PIL.Image.Image) -> int:
    try:
        value = picture.getexif().get(0x0112, 1)
    except Exception:  # broken metadata must not cost the picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _rgb(picture: PIL.Image.Image) -> NDArray[np.uint8]:
    if picture.mode in ("L", "LA", "1") or picture.mode.startswith(("I", "F")):
        return np.repeat(_grey(picture)[..., None], 3, axis=2)
    if picture.mode == "P":
        picture = picture.convert("RGBA")
    return np.asarray(picture.convert("RGB"))


def _grey(picture: PIL.Image.Image) -> NDArray[np.uint8]:
    if picture.mode == "L":
        return np.asarray(picture)
    if picture.mode == "1":
        return np.asarray(picture.convert("L"))
    if picture.mode == "LA":
        return np.asarray(picture)[..., 0]
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError("more than 16 bits per pixel; save it with 8 or 16 bits")
        return (values >> 8).astype(np.uint8)
    if picture.mode == "F":
        raise ImageError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    rgb = _rgb(picture)
    return (rgb.sum(axis=2, dtype=np.uint16) // 3).astype(np.uint8)
