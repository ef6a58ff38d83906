"""What each kind of bad file gets: an ImageError that names it, or a whole picture; nothing else, and no hang."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imdl_bench.errors import ImageError, UsageError
from imdl_bench.images import read_image, read_mask, read_size


def photo(height: int = 48, width: int = 64) -> PIL.Image.Image:
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 40, (height, width, 3))
    return PIL.Image.fromarray((np.stack([3 * x, 4 * y, 2 * (x + y)], axis=2) % 216 + noise).astype(np.uint8))


def encoded(kind: str, **options: object) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    photo().save(buffer, kind, **({} if kind in ("BMP", "GIF") else {"exif": exif}), **options)
    return buffer.getvalue()


WHOLE = {
    "jpeg": encoded("JPEG", quality=90),
    "progressive": encoded("JPEG", quality=90, progressive=True),
    "png": encoded("PNG"),
    "tiff": encoded("TIFF"),
    "tiff-lzw": encoded("TIFF", compression="tiff_lzw"),
    "tiff-deflate": encoded("TIFF", compression="tiff_adobe_deflate"),
    "tiff-jpeg": encoded("TIFF", compression="jpeg"),
    "webp": encoded("WEBP", quality=80),
    "webp-lossless": encoded("WEBP", lossless=True),
    "bmp": encoded("BMP"),
    "gif": encoded("GIF"),
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_declaring(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def tiff_of(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(array).save(buffer, "TIFF")
    return buffer.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
PNG, JPEG = WHOLE["png"], WHOLE["jpeg"]

BAD: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "not a picture"),
    "one_byte.png": (b"\x89", "not a picture"),
    "text.jpg": (b"this is text\n" * 99, "not a picture"),
    "page.html.png": (b"<!doctype html><title>404</title>", "not a picture"),
    "zeros.tif": (bytes(4096), "not a picture"),
    "signature_only.png": (PNG[:8], "not a picture|cannot be opened"),
    "signature_only.jpg": (JPEG[:3], "not a picture"),
    "start_and_end.jpg": (b"\xff\xd8\xff\xd9", "not a picture"),
    "riff_of_sound.webp": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "not a picture"),
    "drawing.eps": (EPS, "not a picture"),
    "document.pdf": (b"%PDF-1.4\n1 0 obj<<>>endobj\n%%EOF\n", "not a picture"),
    "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a picture"),
    "icon.ico": (b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0\x68\4\0\0\x16\0\0\0" + bytes(1128), "not a picture"),
    "portable.ppm": (b"P6 2 2 255\n" + bytes(12), "not a picture"),
    "layers.psd": (b"8BPS\0\1" + bytes(60), "not a picture"),
    "archive.zip": (b"PK\3\4" + bytes(60), "not a picture"),
    "bomb.png": (png_declaring(60_000, 60_000), "IMDL_BENCH_MAX_PIXELS"),
    "bomb.bmp": (WHOLE["bmp"][:18] + struct.pack("<ii", 60_000, 60_000) + WHOLE["bmp"][26:], "IMDL_BENCH_MAX_PIXELS"),
    "no_pixels.png": (png_declaring(0, 0), "not a picture|cannot be"),
    "few_pixels.png": (png_declaring(64, 64), "cannot be decoded"),
    "no_data.png": (PNG[:33] + chunk(b"IEND", b""), "cannot be|not a picture"),
    "not_compressed.png": (
        PNG[:33] + chunk(b"IDAT", b"no zlib stream") + chunk(b"IEND", b""),
        "cannot be decoded",
    ),
    "wrong_crc.png": (PNG[:29] + b"\0\0\0\0" + PNG[33:], "not a picture|cannot be"),
    "text_bomb.png": (
        PNG[:33] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(90_000_000))) + PNG[33:],
        "cannot be",
    ),
    "float.tif": (tiff_of(np.ones((4, 5), np.float32)), "floating-point"),
    "int32.tif": (tiff_of(np.full((4, 5), 255, np.int32)), "32-bit"),
    "no_directory.tif": (b"II*\0" + struct.pack("<I", 4000), "cannot be|not a picture"),
    "circular.tif": (b"II*\0" + struct.pack("<IHI", 8, 0, 8), "cannot be|not a picture"),
    "junk_after_start.webp": (WHOLE["webp"][:12] + b"VP8 " + b"\xff" * 200, "cannot be|not a picture"),
    "header_only.bmp": (WHOLE["bmp"][:54], "cannot be decoded"),
    "header_only.gif": (WHOLE["gif"][:13], "cannot be|not a picture"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_named_with_its_reason(tmp_path: Path, name: str) -> None:
    data, reason = BAD[name]
    path = tmp_path / name
    path.write_bytes(data)
    for read in (read_image, read_mask):
        with pytest.raises(ImageError, match=reason) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    with pytest.raises(ImageError, match=r"^image in memory: "):
        read_image(data)
    with pytest.raises(ImageError, match=f"^{name}: "):
        read_image(data, path=Path(name))


def test_missing_file_folder_and_impossible_name(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.png", "no such file"), (tmp_path, "directory"), (Path("a\0b"), "null")):
        for read in (read_image, read_mask, read_size):
            with pytest.raises(ImageError, match=reason) as caught:
                read(path)
            assert str(path) in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(PNG)
    path.chmod(0)
    with pytest.raises(ImageError, match=r"locked\.png: Permission denied"):
        read_image(path)


def test_the_limit_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    monkeypatch.setenv("IMDL_BENCH_MAX_PIXELS", str(48 * 64))
    assert read_image(path).shape == (64, 48, 3)
    monkeypatch.setenv("IMDL_BENCH_MAX_PIXELS", str(48 * 64 - 1))
    for read in (read_image, read_size):
        with pytest.raises(ImageError, match=r"64x48 is above the limit of 3071 pixels; raise IMDL_BENCH_MAX_PIXELS"):
            read(path)
    for wrong in ("0", "-3", "many", "nan", "inf", ""):
        monkeypatch.setenv("IMDL_BENCH_MAX_PIXELS", wrong)
        with pytest.raises(UsageError, match="IMDL_BENCH_MAX_PIXELS"):
            read_image(path)


def test_a_higher_limit_reads_what_pillow_alone_would_refuse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    PIL.Image.new("1", (30_000, 7_000)).save(path)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 89_478_485)
    with pytest.raises(ImageError, match="IMDL_BENCH_MAX_PIXELS"):
        read_size(path)
    monkeypatch.setenv("IMDL_BENCH_MAX_PIXELS", "3e8")
    assert read_size(path) == (7_000, 30_000)
    assert read_mask(path).shape == (7_000, 30_000)


def outcome(data: bytes) -> np.ndarray | None:
    """The picture, or ``None`` for an ImageError; whatever else happens fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read_image(data)
        except ImageError:
            return None


CUTS = 40


@pytest.mark.parametrize("kind", WHOLE)
def test_truncated_file_is_refused_or_lost_nothing(kind: str) -> None:
    """At 40 lengths spread over the file, and at each of the last 16: never half a picture."""
    data, whole = WHOLE[kind], read_image(WHOLE[kind])
    for length in {*np.linspace(0, len(data) - 1, CUTS).astype(int).tolist(), *range(len(data) - 16, len(data))}:
        cut = outcome(data[:length])
        assert cut is None or np.array_equal(cut, whole), f"{kind} cut to {length} of {len(data)} bytes"


@pytest.mark.parametrize("kind", WHOLE)
@settings(
    max_examples=150, deadline=2000, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_flipped_bits_give_a_picture_or_an_image_error(
    kind: str, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    monkeypatch.setenv("IMDL_BENCH_MAX_PIXELS", "4e6")
    damaged = bytearray(WHOLE[kind])
    # Half of the flips in the first 200 bytes: headers, directories and tables are where decoders break.
    place = st.one_of(st.integers(0, min(200, len(damaged) - 1)), st.integers(0, len(damaged) - 1))
    for at, bit in data.draw(st.lists(st.tuples(place, st.integers(0, 7)), min_size=1, max_size=8)):
        damaged[at] ^= 1 << bit
    picture = outcome(bytes(damaged))
    assert picture is None or (picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3)


@pytest.mark.parametrize("kind", WHOLE)
def test_size_agrees_with_the_picture_even_in_damaged_files(kind: str, tmp_path: Path) -> None:
    path, rng = tmp_path / "damaged", np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(WHOLE[kind])
        damaged[rng.integers(0, min(200, len(damaged)))] ^= 1 << rng.integers(0, 8)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                shape = read_image(path).shape[:2]
            except ImageError:
                shape = None
            size = attempt(read_size, path)
        assert shape is None or size == shape


def attempt(read: Callable[[Path], tuple[int, int]], path: Path) -> tuple[int, int] | None:
    try:
        return read(path)
    except ImageError:
        return None
