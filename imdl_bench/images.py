"""Read and write pictures: the one place for channel order, range, bit depth and EXIF orientation."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

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
LONGEST_JPEG_SIDE = 65_500

Forged = Literal["white", "black", "green"]
SizePolicy = Literal["error", "skip", "resize", "transpose"]
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
Pixel = TypeVar("Pixel", bound=np.generic)


def max_pixels() -> int:
    """Largest picture that is decoded, in pixels: ``IMDL_BENCH_MAX_PIXELS`` or 200 million."""
    setting = os.environ.get("IMDL_BENCH_MAX_PIXELS", str(DEFAULT_MAX_PIXELS))
    try:
        limit = int(float(setting))
    except (ValueError, OverflowError):
        limit = 0
    if limit < 1:
        raise UsageError(f"IMDL_BENCH_MAX_PIXELS={setting!r} is not a positive number of pixels")
    return limit


def read_image(source: Path | str | bytes, path: Path | None = None) -> Image:
    """Decode a picture to uint8 (H, W, 3) RGB, upright.

    JPEG, PNG, TIFF, BMP, WebP and GIF (first frame); 1, 8 and 16 bits per channel (16 bits keep their high byte);
    grey is repeated into three channels, palettes are expanded, CMYK is converted, alpha is dropped, colour profiles
    are ignored, EXIF orientation is applied (broken EXIF is ignored). The array is writable and contiguous.

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


def read_levels(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decode a PNG to the grey values that it stores: (H, W) uint8, or uint16 of 16 bits, upright.

    Fewer than 8 bits are spread over 0..255. Colours and palettes of 8 bits are taken where every pixel is grey.

    Raises:
        ImageError: as :func:`read_image`; another format, a pixel that is not grey or not opaque, 16 bits of colour.
    """
    return _oriented(path, path, lambda picture: _levels(picture, path))


def read_size(path: Path | str) -> tuple[int, int]:
    """Height and width of an upright picture, as :func:`read_image` gives them, without decoding it.

    Only a PNG with text or EXIF behind its pixels is decoded, because that is where its orientation may stand.

    Raises:
        ImageError: as :func:`read_image`, as far as the header shows it.
    """
    with _opened(path, Path(path)) as picture:
        width, height = picture.size
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            # As stored: whether ``size`` is already turned depends on Pillow's version.
            width, height = picture.tag_v2[256], picture.tag_v2[257]
        decoded = picture.format == "PNG" and _metadata_follows_pixels(Path(path))
        turned = _orientation(picture, decoded=decoded) >= 5
    return (width, height) if turned else (height, width)


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


def resize_nearest(array: NDArray[Pixel], shape: tuple[int, int]) -> NDArray[Pixel]:
    """Resize the first two axes by the nearest pixel centre: source index ``floor((i + 0.5) * n_in / n_out)``."""
    rows, columns = (
        np.minimum(((np.arange(out) + 0.5) * n / out).astype(np.intp), n - 1)
        for n, out in zip(array.shape[:2], shape, strict=True)
    )
    return np.ascontiguousarray(array[rows[:, None], columns[None, :]])


def resize_mask(mask: NDArray[np.bool_], shape: tuple[int, int], resampling: PIL.Image.Resampling) -> NDArray[np.bool_]:
    """A bool mask at ``shape`` (height, width): where Pillow's filter finds at least half of a pixel marked."""
    grey = PIL.Image.fromarray(mask.astype(np.uint8) * 255).resize(shape[::-1], resampling)
    return np.asarray(np.asarray(grey) >= 128)


def encode_jpeg(rgb: NDArray[np.uint8], quality: int, subsampling: Subsampling) -> bytes:
    """The JPEG stream of uint8 (H, W, 3) RGB at libjpeg ``quality`` 1..100, standard tables, no metadata.

    Raises:
        UsageError: another quality.
        ImageError: a side above 65,500 pixels.
    """
    if not 1 <= quality <= 100:
        raise UsageError(f"JPEG quality {quality} is not in 1..100")
    height, width = rgb.shape[:2]
    if max(height, width) > LONGEST_JPEG_SIDE:
        raise ImageError(f"{width}x{height} does not fit into a JPEG: at most {LONGEST_JPEG_SIDE} pixels per side")
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.asarray(rgb)).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.bool_], *, compress_level: int = 6) -> bytes:
    """The PNG stream of uint8 (H, W, 3) RGB, uint8 or uint16 (H, W) grey, or bool (H, W) as 0 and 255."""
    buffer = io.BytesIO()
    levels = pixels.astype(np.uint8) * np.uint8(255) if pixels.dtype == bool else pixels
    PIL.Image.fromarray(levels).save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def as_image(pixels: object) -> Image:
    """Accept an array as an image. Raises UsageError unless it is uint8 (H, W, 3) with at least one pixel."""
    if not isinstance(pixels, np.ndarray):
        raise UsageError(
            f"an image is a uint8 array (H, W, 3), not {type(pixels).__name__}; read files with read_image"
        )
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise UsageError(f"an image is a uint8 array (H, W, 3) RGB, not {pixels.dtype} {pixels.shape}")
    return pixels if isinstance(pixels, Image) else Image(pixels)


@contextmanager
def _opened(source: Path | str | bytes, name: Path | None) -> Iterator[PIL.Image.Image]:
    label, limit = name or "image in memory", max_pixels()
    if PIL.Image.MAX_IMAGE_PIXELS is not None and limit > PIL.Image.MAX_IMAGE_PIXELS:
        PIL.Image.MAX_IMAGE_PIXELS = limit
    above = f"above the limit of {limit} pixels; raise IMDL_BENCH_MAX_PIXELS to read it"
    try:
        # Pillow gets no file name: it would map uncompressed TIFF into memory, and scrambles turned ones when it does.
        file = io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115
    except FileNotFoundError:
        raise ImageError(f"{label}: no such file") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{label}: {getattr(error, 'strerror', None) or error}") from None
    with file:
        try:
            picture = PIL.Image.open(file, formats=FORMATS)
        except PIL.UnidentifiedImageError:
            raise ImageError(f"{label}: not a picture, or broken at its start (known: {', '.join(FORMATS)})") from None
        except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
            raise ImageError(f"{label}: {above}") from None
        except Exception as error:
            raise ImageError(f"{label}: cannot be opened: {error}") from error
        with picture:
            if picture.width * picture.height > limit:
                raise ImageError(f"{label}: {picture.width}x{picture.height} is {above}")
            yield picture


def _oriented(
    source: Path | str | bytes, name: Path | None, pixels_of: Callable[[PIL.Image.Image], NDArray[Any]]
) -> NDArray[Any]:
    with _opened(source, name) as picture:
        try:
            picture.load()
            pixels = pixels_of(picture)
        except Exception as error:
            reason = str(error) if isinstance(error, ImageError) else f"cannot be decoded: {error}"
            raise ImageError(f"{name or 'image in memory'}: {reason}") from error
        return np.ascontiguousarray(_upright(pixels, _orientation(picture, decoded=True)))


def _orientation(picture: PIL.Image.Image, *, decoded: bool) -> int:
    """EXIF (or XMP) orientation 1..8 of a picture as it stands: Pillow turns TIFF itself, and it then reads 1."""
    try:
        # A PNG's own method decodes the picture to look behind the pixels.
        exif = picture.getexif() if decoded else PIL.Image.Image.getexif(picture)
        value = exif.get(0x0112, 1)
        return int(value) if value in range(1, 9) else 1
    except Exception:  # broken metadata must not cost the picture
        return 1


def _metadata_follows_pixels(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(8)
        pixels_seen = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            pixels_seen |= kind == b"IDAT"
            if pixels_seen and kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            file.seek(length + 4, os.SEEK_CUR)
    return False


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
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
    # Pillow would warn about transparency that RGB cannot hold; it is dropped on purpose.
    picture.info.pop("transparency", None)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _grey(picture: PIL.Image.Image) -> NDArray[np.uint8]:
    if picture.mode in ("L", "1"):
        return np.asarray(picture if picture.mode == "L" else picture.convert("L"))
    if picture.mode == "LA":
        return np.asarray(picture)[..., 0]
    if picture.mode.startswith("I"):
        return np.asarray(np.asarray(picture) >> (_integer_bits(picture) - 8), np.uint8)
    if picture.mode == "F":
        raise ImageError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    red, green, blue = np.moveaxis(_rgb(picture), 2, 0)
    return np.asarray((red.astype(np.uint16) + green + blue) // 3, np.uint8)


def _levels(picture: PIL.Image.Image, path: Path) -> NDArray[Any]:
    if not isinstance(picture, PngImagePlugin.PngImageFile):
        raise ImageError(f"is {picture.format}, not PNG; write a grey PNG of 8 or 16 bits")
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode in ("L", "1"):
        return np.array(picture.convert("L"))
    if _bits_per_channel(path) == 16:
        raise ImageError("has colour or alpha channels of 16 bits; write a grey PNG of 8 or 16 bits")
    red, green, blue, alpha = np.moveaxis(np.asarray(picture.convert("RGBA")), 2, 0)
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        raise ImageError("is coloured: no one value per pixel; write a grey PNG of 8 or 16 bits, without a colour map")
    if alpha.min() < 255:
        raise ImageError("has transparent pixels; write a grey PNG of 8 or 16 bits")
    return np.ascontiguousarray(red)


def _bits_per_channel(path: Path) -> int:
    """What a PNG's header says: Pillow keeps the high byte of 16-bit colours and does not tell."""
    with path.open("rb") as file:
        return file.read(25)[-1]


def _integer_bits(picture: PIL.Image.Image) -> int:
    """Bits of a grey pixel that Pillow holds as an integer: 16, or what a TIFF says (12 bits exist)."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return 16
    if picture.mode == "I":
        raise ImageError("signed or 32-bit integer pixels have no agreed range; save it with 8 or 16 bits")
    return int(picture.tag_v2[258][0])
