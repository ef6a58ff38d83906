"""ManTra-Net in bounded memory: two passes over tiles, with the statistics of the whole image between them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from imdl_bench.errors import PredictionError

from .detector import ADAPTED, AnomalyDetector
from .layers import Borders, FeatureExtractor

LARGEST_IN_MEMORY = 4 << 30


class Tile(NamedTuple):
    """A rectangle ``core`` of an image and the larger one that must be seen to compute it, both (rows, columns)."""

    core: tuple[slice, slice]
    seen: tuple[slice, slice]
    borders: Borders

    def within(self) -> tuple[slice, slice]:
        """Where the core lies in what is seen."""
        (r, c), (rows, columns) = self.core, self.seen
        return (
            slice(r.start - rows.start, r.stop - rows.start),
            slice(c.start - columns.start, c.stop - columns.start),
        )


def tiles(height: int, width: int, side: int, margin: int) -> Iterator[Tile]:
    """Cut an image into about equal tiles of at most ``side`` pixels a side, which see ``margin`` more around them."""
    for rows in _pieces(height, side):
        for columns in _pieces(width, side):
            seen_rows, seen_columns = _widened(rows, margin, height), _widened(columns, margin, width)
            borders = Borders(
                top=seen_rows.start == 0,
                bottom=seen_rows.stop == height,
                left=seen_columns.start == 0,
                right=seen_columns.stop == width,
            )
            yield Tile((rows, columns), (seen_rows, seen_columns), borders)


def features(extractor: FeatureExtractor, image: Tensor, tile: Tile) -> Tensor:
    """The features (1, 256, h, w) of a tile's core; ``image`` is the whole (1, 3, H, W)."""
    margin = extractor.radius
    found: Tensor = extractor(image[(..., *tile.seen)], tile.borders)
    top, left = (0 if border else margin for border in (tile.borders.top, tile.borders.left))
    rows, columns = tile.within()
    return found[..., rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]


def mask(
    extractor: FeatureExtractor, detector: AnomalyDetector, image: Tensor, side: int, *, own_statistics: bool
) -> Tensor:
    """The mask float32 (H, W) in [0, 1] of one image (1, 3, H, W), as the network gives it for the whole, within 1e-5.

    Args:
        side: of the tiles' cores, in pixels.
        own_statistics: normalise by the image's own statistics, not by those that were stored in training.

    Raises:
        PredictionError: no room for the features of a large image.
    """
    height, width = image.shape[2:]
    adapted = _room(height, width, image.device)
    # Values lie within -1..1, so that the squares keep all but 1e-16 of them.
    total, squares = torch.zeros(2, 1, ADAPTED, 1, 1, dtype=torch.float64, device=image.device)
    for tile in tiles(height, width, side, extractor.radius):
        found = detector.adapt(features(extractor, image, tile))
        adapted[(..., *tile.core)] = found
        found = found.double()
        total += found.sum((2, 3), keepdim=True)
        squares += found.square().sum((2, 3), keepdim=True)
    mean = total / (height * width)
    variance = (squares / (height * width) - mean.square()).clamp(min=0)
    centre, scale = _normalisation(detector, (mean, variance) if own_statistics else None)
    sigma = detector.floored((variance.sqrt() * scale).float())
    mean, centre, scale = ((mean - centre) * scale).float(), centre.float(), scale.float()
    result = torch.empty(height, width, device=image.device)
    for tile in tiles(height, width, side, detector.radius):
        x = (adapted[(..., *tile.seen)].to(image.device) - centre) * scale
        result[tile.core] = detector.decide(x, mean, sigma)[(0, 0, *tile.within())]
    return result


def _normalisation(detector: AnomalyDetector, own: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Centre and scale, float64 (1, 64, 1, 1), of the batch normalisation."""
    stored = detector.bnorm.running_mean.double(), detector.bnorm.running_var.double()
    mean, variance = own or (each.view(1, -1, 1, 1) for each in stored)
    return mean, (variance + detector.bnorm.eps).rsqrt()


def _room(height: int, width: int, device: torch.device) -> Tensor:
    """An unfilled float32 (1, 64, H, W): on the device, or if large in a file that is already deleted."""
    size = height * width * ADAPTED * 4
    if size <= LARGEST_IN_MEMORY:
        return torch.empty(1, height, width, ADAPTED, device=device).permute(0, 3, 1, 2)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):
                # A disk that fills up while a mapped file is written would kill the process.
                os.posix_fallocate(file.fileno(), 0, size)
            mapped = np.memmap(file, np.float32, "w+", shape=(1, height, width, ADAPTED))
    except OSError as error:
        raise PredictionError(
            f"{width} x {height} pixels need {size / 1e9:.1f} GB for a while in {tempfile.gettempdir()}: "
            f"{error.strerror}; set TMPDIR to a folder with room"
        ) from None
    return torch.from_numpy(mapped).permute(0, 3, 1, 2)


def _pieces(length: int, side: int) -> Iterator[slice]:
    count = -(-length // side)
    for place in range(count):
        yield slice(place * length // count, (place + 1) * length // count)


def _widened(piece: slice, margin: int, length: int) -> slice:
    return slice(max(0, piece.start - margin), min(length, piece.stop + margin))
