"""Bilinear resizing with aligned corners, of whole maps or of pieces of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """Rows (or columns) ``start`` to ``stop`` of an axis that has ``whole`` of them."""

    start: int
    stop: int
    whole: int

    def __len__(self) -> int:
        return self.stop - self.start

    def halved(self, times: int) -> Span:
        """The same stretch after so many stride-2 convolutions; ``start`` must be a multiple of ``2 ** times``."""
        step = 1 << times
        return Span(self.start // step, -(-self.stop // step), -(-self.whole // step))

    def within(self, outer: Span) -> slice:
        """Where this stretch lies in an array that holds ``outer``."""
        return slice(self.start - outer.start, self.stop - outer.start)


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a picture."""

    rows: Span
    columns: Span

    @classmethod
    def of_all(cls, height: int, width: int) -> Window:
        return cls(Span(0, height, height), Span(0, width, width))

    def cut(self, whole: Tensor) -> Tensor:
        """This piece of (..., H, W)."""
        return whole[..., self.rows.start : self.rows.stop, self.columns.start : self.columns.stop]

    def halved(self, times: int) -> Window:
        return Window(self.rows.halved(times), self.columns.halved(times))


def resize(piece: Tensor, source: Window, target: Window) -> Tensor:
    """The window ``target`` of the resized map, from ``piece``, the window ``source`` of the map before.

    Row y of a map of n rows is read at row y (m - 1) / (n - 1) of one of m rows: where the piece lies in the whole
    matters. What the piece does not reach is read at its nearest border.

    Args:
        piece: (B, C, rows of ``source``, columns of ``source``).

    Returns:
        (B, C, rows of ``target``, columns of ``target``); for whole maps what ``interpolate`` gives with
        ``mode="bilinear", align_corners=True``.
    """
    # With the channels innermost whole pixels are moved, which is several times faster than values.
    x = piece.permute(0, 2, 3, 1)
    x = _interpolated(x, 2, source.columns, target.columns)
    x = _interpolated(x, 1, source.rows, target.rows)
    return x.permute(0, 3, 1, 2)


def source_positions(source: int, target: int) -> Tensor:
    """Float32 (target,): where each of ``target`` rows is read among ``source`` rows."""
    # In float32, as PyTorch computes them: at a thousand rows the rounding is 1e-4 of a row.
    return torch.arange(target, dtype=torch.float32) * (torch.tensor(source - 1.0) / max(target - 1, 1))


def _interpolated(x: Tensor, axis: int, source: Span, target: Span) -> Tensor:
    """One axis of :func:`resize`, for (B, rows, columns, C)."""
    if source == target:
        return x
    positions = source_positions(source.whole, target.whole)[target.start : target.stop]
    low = positions.floor()
    weight = (positions - low).to(x.device, x.dtype).view([-1 if place == axis else 1 for place in range(4)])
    first = low.long().to(x.device) - source.start
    near, far = (x.index_select(axis, (first + step).clamp(0, len(source) - 1)) for step in (0, 1))
    return torch.lerp(near, far, weight)
