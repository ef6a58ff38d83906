"""Which Bayer pattern a picture was taken with (idea of Dirik & Memon 2009), in exact integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Row and column (modulo 2) where red and blue are measured; green is measured at the other two places.
PATTERNS: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "GRBG": ((0, 1), (1, 0)),
    "GBRG": ((1, 0), (0, 1)),
    "BGGR": ((1, 1), (0, 0)),
    "RGGB": ((0, 0), (1, 1)),
}
BLOCK = 16
LEAST_DEVIATION = 5
BAND = 256


def green_is_even(image: NDArray[np.uint8]) -> bool:
    """Whether the likeliest pattern measures green where row + column is even; the first pattern wins ties."""
    errors = bayer_errors(image)
    best = "GRBG" if np.isnan(errors).any() else list(PATTERNS)[int(np.argmin(errors))]
    return best in ("GRBG", "GBRG")


def bayer_errors(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean squared error of re-interpolating uint8 (H, W, 3) RGB from what each of ``PATTERNS`` would have measured.

    float64 (4,), averaged over the (16x16 block, channel) pairs whose standard deviation exceeds 5; nan where there is
    none. Bilinear, rounded to integers, zeros beyond the border; an odd last row or column is left out.
    """
    height, width = (side - side % 2 for side in image.shape[:2])
    pixels = np.asarray(image)[:height, :width]
    total, pairs = np.zeros(len(PATTERNS)), 0
    for top in range(0, height, BAND):
        for channel in range(3):
            band = _with_neighbours(pixels[..., channel], top)
            count = _pixels_per_block(band.shape[0] - 2, width)
            textured = _textured(band[1:-1, 1:-1], count)
            pairs += int(textured.sum())
            places = _green_errors(band) if channel == 1 else _chroma_errors(band)
            for number, (red, blue) in enumerate(PATTERNS.values()):
                measured = blue if channel == 2 else red
                total[number] += (places[measured] / count)[textured].sum()
    return total / pairs if pairs else np.full(len(PATTERNS), np.nan)


def _with_neighbours(channel: NDArray[np.uint8], top: int) -> NDArray[np.int32]:
    """Rows ``top .. top + BAND`` with one more on every side: the picture's own, or zeros beyond its border."""
    first, last = max(top - 1, 0), min(top + BAND + 1, len(channel))
    above, below = int(first == top), int(last <= top + BAND)
    return np.pad(channel[first:last].astype(np.int32), ((above, below), (1, 1)))


def _green_errors(band: NDArray[np.int32]) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Squared error per block for red measured at a place: green is then filled in there and diagonally from there."""
    cross = band[:-2, 1:-1] + band[2:, 1:-1] + band[1:-1, :-2] + band[1:-1, 2:]
    error = ((cross + 2) // 4 - band[1:-1, 1:-1]) ** 2
    even = _lattice_sums(error, 0, 0) + _lattice_sums(error, 1, 1)
    odd = _lattice_sums(error, 0, 1) + _lattice_sums(error, 1, 0)
    return {(0, 0): even, (1, 1): even, (0, 1): odd, (1, 0): odd}


def _chroma_errors(band: NDArray[np.int32]) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Squared error per block for the channel measured at each of the four places of a cell, filled in elsewhere."""
    pixels, pairs = band[1:-1, 1:-1], band[:, :-2] + band[:, 2:]
    beside = ((pairs[1:-1] + 1) // 2 - pixels) ** 2
    above = ((band[:-2, 1:-1] + band[2:, 1:-1] + 1) // 2 - pixels) ** 2
    corner = ((pairs[:-2] + pairs[2:] + 2) // 4 - pixels) ** 2
    return {
        (row, column): _lattice_sums(beside, row, 1 - column)
        + _lattice_sums(above, 1 - row, column)
        + _lattice_sums(corner, 1 - row, 1 - column)
        for row in (0, 1)
        for column in (0, 1)
    }


def _lattice_sums(values: NDArray[np.int32], row: int, column: int) -> NDArray[np.int64]:
    return _block_sums(values[row::2, column::2], BLOCK // 2)


def _block_sums(values: NDArray[np.int32], block: int) -> NDArray[np.int64]:
    """Sums over blocks from the top left; the last ones are as large as the picture leaves them."""
    across = np.add.reduceat(values, np.arange(0, values.shape[1], block), axis=1)
    return np.asarray(np.add.reduceat(across, np.arange(0, len(values), block), axis=0, dtype=np.int64))


def _pixels_per_block(height: int, width: int) -> NDArray[np.int64]:
    rows, columns = (np.diff(np.append(np.arange(0, side, BLOCK), side)) for side in (height, width))
    return np.outer(rows, columns)


def _textured(pixels: NDArray[np.int32], count: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a block's standard deviation (N - 1) exceeds 5, without a division or a root."""
    scatter = count * _block_sums(pixels**2, BLOCK) - _block_sums(pixels, BLOCK) ** 2
    return np.asarray(scatter > LEAST_DEVIATION**2 * count * (count - 1))
