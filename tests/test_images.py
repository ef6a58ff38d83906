"""Every kind of picture is decoded to what stands in the file: written by hand, by Pillow or by OpenCV, then read."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdl_bench.errors import ImageError, UsageError
from imdl_bench.images import as_image, encode_jpeg, fit_mask, read_image, read_mask, read_size, resize_nearest
from imdl_bench.types import Image

GOLDEN = Path(__file__).parent / "golden" / "baselines" / "images"
SHAPES = [(1, 1), (1, 7), (5, 1), (2, 3), (13, 11), (64, 33)]


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: list[bytes], width: int, depth: int, colour: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG file from packed rows; colour type 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + chunk(b"IEND", b"")


def tiff(pixels: np.ndarray, order: str, *, bits: int | None = None, kind: int = 1, orientation: int = 1) -> bytes:
    """An uncompressed one-strip TIFF, little (<) or big (>) endian; ``kind`` is SampleFormat (1 unsigned, 3 float)."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    bits = bits or 8 * pixels.dtype.itemsize
    wide = struct.pack(f"{order}{channels}H", *[bits] * channels)
    kinds = struct.pack(f"{order}{channels}H", *[kind] * channels)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, channels, wide), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 2 if channels > 2 else 1), (273, 4, 1, 8), (274, 3, 1, orientation), (277, 3, 1, channels)]
    tags += [(278, 4, 1, height), (279, 4, 1, len(data)), (339, 3, channels, kinds)]
    if channels == 4:
        tags.insert(-1, (338, 3, 1, 2))
    data += b"\0" * (len(data) % 2)
    place = 8 + len(data)
    extra, entries = b"", b""
    for tag, form, count, value in tags:
        if isinstance(value, bytes) and len(value) > 4:
            field = struct.pack(f"{order}I", place + len(extra))
            extra += value
        elif isinstance(value, bytes):
            field = value.ljust(4, b"\0")
        else:
            field = struct.pack(f"{order}I", value) if form == 4 else struct.pack(f"{order}HH", value, 0)
        entries += struct.pack(f"{order}HHI", tag, form, count) + field
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, place + len(extra))
    return start + data + extra + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def saved(picture: PIL.Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def grey3(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_the_high_byte_and_drops_alpha(
    shape: tuple[int, int], colour: int, channels: int, dtype: type
) -> None:
    pixels = noise(*shape, channels, dtype=dtype)
    rows = [row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels]
    high = pixels if dtype is np.uint8 else (pixels >> 8).astype(np.uint8)
    image = read_image(png(rows, shape[1], 8 * pixels.dtype.itemsize, colour))
    np.testing.assert_array_equal(image, grey3(high[..., 0]) if channels < 3 else high[..., :3])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_of_both_byte_orders_keeps_the_high_byte(order: str, channels: int, dtype: type) -> None:
    pixels = noise(13, 11, channels, dtype=dtype)
    high = pixels if dtype is np.uint8 else (pixels >> 8).astype(np.uint8)
    image = read_image(tiff(pixels[..., 0] if channels == 1 else pixels, order))
    np.testing.assert_array_equal(image, grey3(high[..., 0]) if channels == 1 else high[..., :3])


def test_tiff_of_12_bits_uses_its_own_range() -> None:
    left, right = 0xABC, 0x123
    packed = np.array([[left >> 4, (left & 15) << 4 | right >> 8, right & 255]], np.uint8)
    data = bytearray(tiff(packed, "<", bits=12))
    at = data.index(struct.pack("<HHII", 256, 4, 1, 3))
    data[at : at + 12] = struct.pack("<HHII", 256, 4, 1, 2)
    np.testing.assert_array_equal(read_image(bytes(data))[0, :, 0], [left >> 4, right >> 4])


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_png_below_8_bits_fills_the_range(depth: int) -> None:
    levels = np.arange(2**depth, dtype=np.uint8)
    bits = np.unpackbits(levels[:, None], axis=1)[:, -depth:].ravel()
    image = read_image(png([np.packbits(bits).tobytes()], len(levels), depth, 0))
    np.testing.assert_array_equal(image[0, :, 0], levels * (255 // (2**depth - 1)))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("transparency", [b"", b"\0", b"\x80\0", b"\xff\xff\0\x10"])
@pytest.mark.filterwarnings("error")
def test_palettes_are_expanded_with_or_without_transparency(depth: int, transparency: bytes) -> None:
    count = 2**depth
    palette, indices = noise(count, 3), np.arange(count, dtype=np.uint8)[::-1]
    before = chunk(b"PLTE", palette.tobytes())
    before += chunk(b"tRNS", transparency[:count]) if transparency else b""
    bits = np.unpackbits(indices[:, None], axis=1)[:, -depth:].ravel()
    image = read_image(png([np.packbits(bits).tobytes()], count, depth, 3, before))
    np.testing.assert_array_equal(image[0], palette[indices])


@pytest.mark.filterwarnings("error")
def test_a_transparent_colour_is_still_that_colour() -> None:
    rgb = noise(3, 4, 3)
    before = chunk(b"tRNS", struct.pack(">HHH", *rgb[0, 0].tolist()))
    np.testing.assert_array_equal(read_image(png([row.tobytes() for row in rgb], 4, 8, 2, before)), rgb)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_lossless_files_give_their_pixels_back(shape: tuple[int, int], kind: str, options: dict[str, object]) -> None:
    rgb = noise(*shape, 3)
    image = read_image(saved(PIL.Image.fromarray(rgb), kind, **options))
    np.testing.assert_array_equal(image, rgb)
    assert image.dtype == np.uint8 and image.flags.writeable and image.flags.c_contiguous


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("CMYK", "JPEG"), ("L", "JPEG"), ("RGB", "JPEG"), ("YCbCr", "JPEG"), ("CMYK", "TIFF")]
    + [(mode, kind) for mode in ("1", "L", "P") for kind in ("PNG", "TIFF", "BMP", "GIF")]
    + [("LA", "PNG"), ("LA", "TIFF"), ("RGBA", "TIFF"), ("RGBA", "WEBP"), ("RGBA", "BMP"), ("PA", "TIFF")],
)
def test_modes_agree_with_pillow(mode: str, kind: str) -> None:
    photo = PIL.Image.fromarray(noise(24, 37, 3)).convert("L" if mode == "1" else mode)
    photo = photo.convert("1") if mode == "1" else photo
    data = saved(photo, kind)
    with PIL.Image.open(io.BytesIO(data)) as reference:
        expected = np.asarray(reference.convert("RGB"))
    image = read_image(data)
    np.testing.assert_array_equal(image, expected)
    assert image.flags.writeable and image.flags.c_contiguous


def exif(orientation: int) -> PIL.Image.Exif:
    made = PIL.Image.Exif()
    made[0x0112] = orientation
    return made


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_orientation_agrees_with_pillow(
    tmp_path: Path, orientation: int, kind: str, options: dict[str, object]
) -> None:
    if options.get("compression") and orientation not in range(1, 9):
        pytest.skip("libtiff does not write it")
    path = tmp_path / "photo"
    path.write_bytes(saved(PIL.Image.fromarray(noise(17, 40, 3)), kind, exif=exif(orientation), **options))
    with PIL.Image.open(path) as reference:
        expected = np.asarray(PIL.ImageOps.exif_transpose(reference).convert("RGB"))
    image = read_image(path)
    np.testing.assert_array_equal(image, expected)
    assert read_size(path) == image.shape[:2] == ((40, 17) if orientation in range(5, 9) else (17, 40))
    assert image.path == path and image.flags.c_contiguous


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_grey_tiff(tmp_path: Path, order: str, dtype: type, orientation: int) -> None:
    """Pillow 13 scrambles these when it is given the file's name."""
    path, grey = tmp_path / "mask.tif", noise(6, 9, dtype=dtype)
    path.write_bytes(tiff(grey, order, orientation=orientation))
    upright = PIL.Image.fromarray(grey if dtype is np.uint8 else (grey >> 8).astype(np.uint8))
    upright.getexif()[0x0112] = orientation
    expected = np.asarray(PIL.ImageOps.exif_transpose(upright))
    np.testing.assert_array_equal(read_mask(path), expected >= 128)
    assert read_size(path) == expected.shape


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_png_orientation_before_and_behind_the_pixels(tmp_path: Path, place: str, orientation: int) -> None:
    rgb, path = noise(4, 6, 3), tmp_path / "photo.png"
    block = chunk(b"eXIf", exif(orientation).tobytes()[6:])
    path.write_bytes(png([row.tobytes() for row in rgb], 6, 8, 2, **{place: block}))
    turned = {1: rgb, 3: rgb[::-1, ::-1], 6: np.rot90(rgb, -1), 7: np.rot90(rgb, 2).swapaxes(0, 1)}[orientation]
    np.testing.assert_array_equal(read_image(path), turned)
    assert read_size(path) == turned.shape[:2]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_from_xmp_alone(tmp_path: Path, kind: str) -> None:
    path, xmp = tmp_path / "photo", b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    picture = PIL.Image.fromarray(noise(5, 8, 3))
    if kind == "PNG":
        text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
        data = png([row.tobytes() for row in noise(5, 8, 3)], 8, 8, 2, after=text)
    elif kind == "TIFF":
        data = saved(picture, kind, tiffinfo={700: xmp})
    else:
        data = saved(picture, kind, xmp=xmp)
    path.write_bytes(data)
    assert read_size(path) == read_image(path).shape[:2] == (8, 5)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 40])
def test_broken_exif_does_not_cost_the_picture(tmp_path: Path, kind: str, block: bytes) -> None:
    path = tmp_path / "photo"
    path.write_bytes(saved(PIL.Image.fromarray(noise(8, 12, 3)), kind, exif=block, quality=95))
    assert read_image(path).shape == (8, 12, 3)
    assert read_size(path) == (8, 12)


def test_a_frame_sequence_gives_its_first_picture() -> None:
    first, second = (PIL.Image.fromarray(noise(8, 9, 3, seed=seed)) for seed in (1, 2))
    for kind, options in (("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = saved(first, kind, save_all=True, append_images=[second], **options)
        np.testing.assert_array_equal(read_image(data), np.asarray(first))
    assert read_image(saved(first, "MPO", save_all=True, append_images=[second])).shape == (8, 9, 3)


def test_40_megapixels(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    PIL.Image.new("RGB", (8000, 5000), (1, 2, 3)).save(path, compress_level=1)
    assert read_size(path) == (5000, 8000)
    image = read_image(path)
    assert image.shape == (5000, 8000, 3)
    assert image[-1, -1].tolist() == [1, 2, 3]


def test_eight_threads_decode_the_same(tmp_path: Path) -> None:
    paths = []
    for number in range(24):
        kind = ("JPEG", "PNG", "TIFF", "WEBP")[number % 4]
        paths.append(tmp_path / f"{number}.{kind.lower()}")
        PIL.Image.fromarray(noise(120, 90, 3, seed=number)).save(paths[-1], exif=exif(number % 8 + 1))
    alone = [read_image(path) for path in paths]
    start = threading.Barrier(8)

    def decode_all(_: int) -> list[Image]:
        start.wait()
        return [read_image(path) for path in paths]

    with ThreadPoolExecutor(8) as pool:
        for together in pool.map(decode_all, range(8)):
            for one, other in zip(alone, together, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*__rec420.png")), ids=lambda path: path.stem)
def test_jpeg_in_memory_is_the_reference_encoder(path: Path) -> None:
    source = read_image(path.with_name(path.name.replace("__rec420", "")))
    stream = encode_jpeg(source, 90, "4:2:0")
    np.testing.assert_array_equal(read_image(stream), read_image(path))
    np.testing.assert_array_equal(read_image(path.with_suffix(".jpg")), read_image(path))


def test_jpeg_444_is_another_picture() -> None:
    source = read_image(GOLDEN / "coffee_ela_splice.png")
    reference = read_image(GOLDEN / "coffee_ela_splice__rec444.png")
    difference = np.abs(read_image(encode_jpeg(source, 90, "4:4:4")).astype(int) - reference)
    assert difference.max() <= 1
    assert not np.array_equal(read_image(encode_jpeg(source, 90, "4:2:0")), reference)


@pytest.mark.parametrize("quality", [0, -1, 101])
def test_jpeg_quality_outside_the_scale_is_refused(quality: int) -> None:
    with pytest.raises(UsageError, match=f"quality {quality}"):
        encode_jpeg(noise(8, 8, 3), quality, "4:2:0")


def test_jpeg_cannot_hold_a_longer_side() -> None:
    assert read_image(encode_jpeg(np.zeros((1, 65_500, 3), np.uint8), 90, "4:2:0")).shape == (1, 65_500, 3)
    with pytest.raises(ImageError, match="65501x1"):
        encode_jpeg(np.zeros((1, 65_501, 3), np.uint8), 90, "4:2:0")


def test_masks_threshold_at_half_range() -> None:
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    for data in (png([grey.tobytes()], 4, 8, 0), png([grey3(grey).tobytes()], 4, 8, 2)):
        assert read_mask(data).tolist() == [[False, False, True, True]]
        assert read_mask(data, "black").tolist() == [[True, True, False, False]]
    assert read_mask(png([b"\xa0"], 4, 1, 0)).tolist() == [[True, False, True, False]]
    assert read_mask(png([struct.pack(">HH", 0x7FFF, 0x8000)], 2, 16, 0)).tolist() == [[False, True]]
    palette = chunk(b"PLTE", bytes([255, 255, 255, 0, 0, 0]))
    assert read_mask(png([b"\x00\x01"], 2, 8, 3, palette)).tolist() == [[True, False]]
    red_green = np.array([[[255, 0, 0], [0, 255, 0], [255, 255, 255], [100, 101, 0]]], np.uint8)
    assert read_mask(png([red_green.tobytes()], 4, 8, 2), "green").tolist() == [[False, True, False, True]]
    assert read_mask(png([bytes([0, 255, 255, 0])], 2, 8, 4)).tolist() == [[False, True]]


@given(height=st.integers(1, 40), width=st.integers(1, 40), rows=st.integers(1, 60), columns=st.integers(1, 60))
def test_resize_takes_the_nearest_pixel_centre(height: int, width: int, rows: int, columns: int) -> None:
    array = np.arange(height * width).reshape(height, width)
    resized = resize_nearest(array, (rows, columns))
    expected = [((2 * i + 1) * height // (2 * rows)) for i in range(rows)]
    np.testing.assert_array_equal(resized[:, 0] // width, expected)
    np.testing.assert_array_equal(resized[0] % width, [((2 * j + 1) * width // (2 * columns)) for j in range(columns)])


def test_fit_mask_policies() -> None:
    mask = np.eye(3, 5, dtype=bool)
    assert fit_mask(mask, (3, 5), "error") == (mask, None)
    assert fit_mask(mask, (6, 10), "skip")[0] is None
    with pytest.raises(ImageError, match="mask 5x3, image 10x6"):
        fit_mask(mask, (6, 10), "error")
    resized, remark = fit_mask(mask, (6, 10), "transpose")
    np.testing.assert_array_equal(resized, mask.repeat(2, 0).repeat(2, 1))
    assert remark == "mask resized: mask 5x3, image 10x6"
    turned, remark = fit_mask(mask, (5, 3), "transpose")
    np.testing.assert_array_equal(turned, mask.T)
    assert remark == "mask transposed: mask 5x3, image 3x5"


@pytest.mark.parametrize(
    "wrong",
    [None, "a.png", [[1]], noise(4, 4), noise(4, 4, 4), noise(0, 4, 3), noise(4, 4, 3).astype(float)],
    ids=["none", "path", "list", "grey", "rgba", "empty", "float"],
)
def test_only_uint8_rgb_is_an_image(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"an image is a uint8 array \(H, W, 3\)"):
        as_image(wrong)


def test_as_image_keeps_the_path() -> None:
    image = as_image(noise(2, 2, 3))
    assert image.path is None and as_image(image) is image
    assert as_image(Image(noise(2, 2, 3), Path("a.png"))).path == Path("a.png")
