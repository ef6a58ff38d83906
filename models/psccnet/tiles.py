"""The backbone on pictures of any size in bounded memory, with the numbers of a run in one piece.

A tile is run with as many pixels around it as its numbers depend on, so the zeros that convolutions add reach its core
only where the picture ends. Of the maps of a tile nothing is kept but what the resampled maps read from its core.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from imdl_bench.torch_model import on_gpu

from .heads import SIZES
from .layers import CHANNELS, HRNet
from .resize import Span, Window, resize, source_positions

# Pixels around a tile. The coarsest branch reaches over 67 before the last exchange; being resized costs two of its
# pixels of 8 (one neighbour, and one because aligned corners shift the grid by up to one), being resampled 4 at most.
HALO = 96
STEM_HALO = 6
# 256 channels of such a block take 30 MB; glibc returns larger arrays to the system each time, which costs page faults.
STEM_TILE = 160


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
            maps = backbone.branches(_stem(backbone, window.cut(batch)), window)
            for level, (feature, x) in enumerate(zip(features, maps, strict=True)):
                target = Window(*(_read_from(core.halved(level), len(feature[0, 0])) for core in (rows, columns)))
                target.cut(feature).copy_(resize(x, window.halved(level), target))
    return features


def _stem(backbone: HRNet, pixels: Tensor) -> list[Tensor]:
    """``backbone.stem``, on a CPU in small blocks: 256 channels at full resolution are held for one of them only."""
    count, _, height, width = pixels.shape
    maps = [
        torch.empty(
            (count, channels, -(-height // step), -(-width // step)),
            device=pixels.device, memory_format=torch.channels_last,
        )
        for channels, step in ((CHANNELS[0], 1), (CHANNELS[1], 2))
    ]  # fmt: skip
    side = max(height, width) if on_gpu(pixels.device) else STEM_TILE
    for rows in _cores(height, side):
        for columns in _cores(width, side):
            around = Window(_with_halo(rows, STEM_HALO), _with_halo(columns, STEM_HALO))
            parts = backbone.stem(around.cut(pixels))
            for level, (whole, part) in enumerate(zip(maps, parts, strict=True)):
                core, outer = Window(rows, columns).halved(level), around.halved(level)
                core.cut(whole).copy_(part[..., core.rows.within(outer.rows), core.columns.within(outer.columns)])
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
