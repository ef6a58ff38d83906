"""The backbone on pictures of any size in bounded memory, with the numbers of a run in one piece.

A tile is run with as many pixels around it as its numbers depend on, so the zeros that convolutions add reach its core
only where the picture ends. Of the maps of a tile nothing is kept but what the resampled maps read from its core.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .heads import SIZES
from .layers import CHANNELS, HRNet
from .resize import Span, Window, resize, source_positions

# Pixels around a tile. The coarsest branch reaches over 67 before the last exchange; being resized costs two of its
# pixels (one neighbour, and one because aligned corners shift the grid by up to one), and being resampled one more.
HALO = 96
STEM_HALO = 8
STEM_PIXELS = 1 << 18


def tiled_features(backbone: HRNet, batch: Tensor, tile: int) -> list[Tensor]:
    """``resample(backbone(batch))``, computed in tiles of at most ``tile`` pixels a side (and HALO more around them).

    Args:
        backbone: in eval mode.
        batch: float32 (B, 3, H, W) RGB in [0, 1].
        tile: a multiple of 8.

    Returns:
        Float32 (B, 18, 256, 256), (B, 36, 128, 128), (B, 72, 64, 64), (B, 144, 32, 32).
    """
    height, width = batch.shape[-2:]
    features = [
        batch.new_empty(len(batch), channels, size, size) for channels, size in zip(CHANNELS, SIZES, strict=True)
    ]
    for rows in _cores(height, tile):
        for columns in _cores(width, tile):
            window = Window(_with_halo(rows, HALO), _with_halo(columns, HALO))
            pixels = batch[..., window.rows.start : window.rows.stop, window.columns.start : window.columns.stop]
            maps = backbone.branches(_stem_in_bands(backbone, pixels), window)
            for level, (feature, x) in enumerate(zip(features, maps, strict=True)):
                target = Window(*(_read_from(core.halved(level), len(feature[0, 0])) for core in (rows, columns)))
                place = feature[..., target.rows.start : target.rows.stop, target.columns.start : target.columns.stop]
                place.copy_(resize(x, window.halved(level), target))
    return features


def _stem_in_bands(backbone: HRNet, pixels: Tensor) -> list[Tensor]:
    """``backbone.stem`` in bands of rows: its 256 channels at full resolution are held for one band only."""
    count, _, height, width = pixels.shape
    per_band = max(16, STEM_PIXELS // (count * width) // 2 * 2)
    maps = [
        pixels.new_empty(count, channels, -(-height // step), -(-width // step))
        for channels, step in zip(CHANNELS, (1, 2), strict=False)
    ]
    for band in _cores(height, per_band):
        around = _with_halo(band, STEM_HALO)
        parts = backbone.stem(pixels[:, :, around.start : around.stop])
        for level, (whole, part) in enumerate(zip(maps, parts, strict=True)):
            rows = band.halved(level)
            whole[:, :, rows.start : rows.stop] = part[:, :, rows.within(around.halved(level))]
    return maps


def _cores(whole: int, longest: int) -> Iterator[Span]:
    """Cuts an axis in stretches of nearly equal length that begin at multiples of 8."""
    count = -(-whole // longest)
    length = -(-whole // count // 8) * 8
    for start in range(0, whole, length):
        yield Span(start, min(start + length, whole), whole)


def _with_halo(core: Span, halo: int) -> Span:
    return Span(max(core.start - halo, 0), min(core.stop + halo, core.whole), core.whole)


def _read_from(core: Span, size: int) -> Span:
    """Which of the ``size`` resampled rows lie at or right after a row of the core."""
    bounds = torch.tensor([core.start, core.stop], dtype=torch.float32)
    start, stop = torch.searchsorted(source_positions(core.whole, size), bounds).tolist()
    return Span(start, stop if core.stop < core.whole else size, size)
