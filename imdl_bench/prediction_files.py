"""What single files of recorded predictions hold: a mask as PNG or NPY, a table of image scores."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imdl_bench.errors import DataError, PredictionError, nearest
from imdl_bench.images import read_levels, read_size

COLUMNS = ("sample", "score", "distortion", "dataset")
GREATEST = {"f2": 1, "f4": 1, "f8": 1, "b": 1, "u1": 255, "u2": 65535}  # value of "forged" by what an NPY holds


def read_recorded_mask(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A recorded mask, float32 (H, W) in [0, 1]; its size is looked at before its pixels.

    Raises:
        PredictionError: another size, type or range. ImageError: a PNG cannot be read.
    """
    if path.suffix == ".npy":
        return _read_npy(path, shape)
    _refuse_size(path, read_size(path), shape)
    levels = read_levels(path)
    return levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max)


def _read_npy(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # a header may claim any size; what is not in the file is refused
            stored: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")  # reads no pixel; refuses pickles
    except Exception as error:  # whatever a damaged header does
        raise PredictionError(f"{path}: cannot be read as an NPY file of numbers: {error}") from None
    kind = stored.dtype.kind if stored.dtype.kind == "b" else f"{stored.dtype.kind}{stored.dtype.itemsize}"
    if kind not in GREATEST:
        raise PredictionError(
            f"{path}: is {stored.dtype}; write floating point in [0, 1], bool, uint8 (0..255) or uint16 (0..65535)"
        )
    if stored.ndim != 2:
        raise PredictionError(f"{path}: has shape {stored.shape}; write (height, width)")
    _refuse_size(path, stored.shape, shape)
    numbers = stored.view(np.uint8) if kind == "b" else stored
    low, high = float(numbers.min()), float(numbers.max())
    if not (low >= 0 and high <= GREATEST[kind]):  # false for nan too
        raise PredictionError(f"{path}: holds values from {low} to {high}, outside [0, 1] or not finite")
    return np.array(numbers, np.float32, order="C") / np.float32(GREATEST[kind])


def _refuse_size(path: Path, found: tuple[int, ...], image: tuple[int, int]) -> None:
    if found != image:
        raise PredictionError(
            f"{path}: the mask is {found[1]}x{found[0]}, the image {image[1]}x{image[0]}; "
            "write masks at the image's own size"
        )


def read_scores(path: Path) -> Iterator[tuple[int, float, dict[str, str]]]:
    """Line number, score in [0, 1] and all columns as text of every line of a table of image scores.

    Raises:
        DataError: names the line and what is wrong there: columns, number, range.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            _check_header(path, header)
            for row in rows:
                if row and len(row) != len(header):
                    raise DataError(f"{path}:{rows.line_num}: {len(row)} fields under {len(header)} columns")
                if row:
                    fields = dict(zip(header, map(str.strip, row), strict=True))
                    yield rows.line_num, _score(path, rows.line_num, fields["score"]), fields
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from None


def _check_header(path: Path, header: Sequence[str]) -> None:
    for name in header:
        if name not in COLUMNS or header.count(name) > 1:
            raise DataError(f"{path}:1: column {name!r}{nearest(name, COLUMNS)} (columns: {', '.join(COLUMNS)})")
    for name in COLUMNS[:2]:
        if name not in header:
            raise DataError(f"{path}:1: no column {name!r}; the first line is `sample,score`")


def _score(path: Path, number: int, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        raise DataError(f"{path}:{number}: score {text!r} is not a number") from None
    if not 0 <= score <= 1:  # false for nan too
        raise DataError(f"{path}:{number}: score {text} is outside [0, 1]")
    return score
