"""Recorded masks as PNG and NPY: every kind that is one to the last level, and why any other is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from plugin_folder import write_mask

from imdl_bench.errors import ImageError, PredictionError
from imdl_bench.prediction_files import read_recorded_mask


def test_png_of_16_bits_is_exact_to_the_last_level(tmp_path: Path) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    write_mask(tmp_path / "a.png", levels)
    write_mask(tmp_path / "b.npy", levels)
    exact = (levels.astype(np.float64) / 65535).astype(np.float32)
    for name in ("a.png", "b.npy"):
        found = read_recorded_mask(tmp_path / name, (256, 256))
        assert found.dtype == np.float32 and np.array_equal(found, exact)


@pytest.mark.parametrize("kind", ["?", "u1", "u2", ">u2", "f2", "f4", ">f4", "f8"])
def test_npy_of_every_kind_reads_to_the_same_scale(tmp_path: Path, kind: str) -> None:
    truth = np.zeros((5, 7), bool)
    truth[1:3, 2:6] = True
    full = {"u1": 255, "u2": 65535}.get(kind[-2:], 1)
    write_mask(tmp_path / "a.npy", np.asfortranarray(truth.astype(kind) * np.asarray(full).astype(kind)))
    assert np.array_equal(read_recorded_mask(tmp_path / "a.npy", (5, 7)), truth.astype(np.float32))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA"])
def test_a_png_that_is_grey_in_all_channels_counts_as_grey(tmp_path: Path, mode: str) -> None:
    grey = PIL.Image.new("L", (4, 3), 255)
    grey.putpixel((1, 1), 0)
    grey.convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read_recorded_mask(tmp_path / "a.png", (3, 4)), np.asarray(grey) / np.float32(255))


def _coloured(path: Path) -> None:
    PIL.Image.new("RGB", (4, 3), (255, 0, 0)).save(path)


def _palette(path: Path) -> None:
    picture = PIL.Image.new("P", (4, 3), 1)
    picture.putpalette([0, 0, 0, 200, 0, 0])
    picture.save(path)


def _transparent(path: Path) -> None:
    PIL.Image.new("LA", (4, 3), (255, 128)).save(path)


def _deep_colour(path: Path) -> None:
    cv2.imwrite(str(path), np.full((3, 4, 3), 300, np.uint16))


def _jpeg(path: Path) -> None:
    PIL.Image.new("L", (4, 3)).save(path, "JPEG")


def _cut(path: Path) -> None:
    write_mask(path, np.random.default_rng(0).integers(0, 256, (3, 4), np.uint8))
    path.write_bytes(path.read_bytes()[:45])


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (_coloured, "is coloured"), (_palette, "is coloured"), (_transparent, "transparent pixels"),
        (_deep_colour, "16 bits; write a grey PNG"), (_jpeg, "is JPEG, not PNG"), (_cut, "cannot be decoded"),
        (lambda path: path.write_text("none"), "not a picture"),
        (lambda path: write_mask(path, np.zeros((4, 3), np.uint8)), "the mask is 3x4, the image 4x3; write masks"),
    ],
)  # fmt: skip
def test_a_png_that_is_no_mask_says_why(tmp_path: Path, write: Callable[[Path], None], reason: str) -> None:
    write(tmp_path / "a.png")
    with pytest.raises((ImageError, PredictionError), match=reason) as raised:
        read_recorded_mask(tmp_path / "a.png", (3, 4))
    assert "a.png" in str(raised.value)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.full((3, 4), 1.0001), "outside \\[0, 1\\]"), (np.full((3, 4), -0.1, np.float32), "outside \\[0, 1\\]"),
        (np.full((3, 4), np.nan, np.float32), "not finite"), (np.zeros((3, 4), np.int64), "is int64; write floating"),
        (np.zeros((3, 4), complex), "is complex128"),
        (np.full((3, 4), 2, np.uint8).view(bool), "from 2.0 to 2.0, outside"),
        (np.zeros((1, 3, 4), np.float32), "has shape \\(1, 3, 4\\)"), (np.float32(1), "has shape \\(\\)"),
        (np.zeros((3, 5), np.float32), "the mask is 5x3, the image 4x3"),
        (np.array([[{"a": 1}]], object), "cannot be read as an NPY"),
    ],
)  # fmt: skip
def test_an_npy_that_is_no_mask_says_why(tmp_path: Path, mask: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "a.npy", mask, allow_pickle=True)
    with pytest.raises(PredictionError, match=reason):
        read_recorded_mask(tmp_path / "a.npy", (3, 4))


@pytest.mark.parametrize("keep", [0, 5, 60, 130])
def test_a_damaged_npy_says_so(tmp_path: Path, keep: int) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:keep])
    with pytest.raises(PredictionError, match="cannot be read as an NPY"):
        read_recorded_mask(tmp_path / "a.npy", (3, 4))


def test_an_npy_that_claims_to_be_huge_costs_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 30, 1 << 30)}
        )
    with pytest.raises(PredictionError, match="cannot be read as an NPY"):
        read_recorded_mask(tmp_path / "a.npy", (1 << 30, 1 << 30))
