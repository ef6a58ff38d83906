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
    # The longer axis last: fewer values to compute in between.
    wider = interpolated(piece, 3, source.columns, target.columns)
    return interpolated(wider, 2, source.rows, target.rows)


def interpolated(piece: Tensor, axis: int, source: Span, target: Span) -> Tensor:
    """:func:`resize` along one axis."""
    if source == target:
        return piece
    positions = source_positions(source.whole, target.whole)[target.start : target.stop]
    low = positions.floor()
    shape = [-1 if place == axis else 1 for place in range(piece.ndim)]
    weight = (positions - low).to(piece.device, piece.dtype).view(shape)
    first = low.long().to(piece.device) - source.start
    near, far = (piece.index_select(axis, (first + step).clamp(0, len(source) - 1)) for step in (0, 1))
    return torch.lerp(near, far, weight)


def source_positions(source: int, target: int) -> Tensor:
    """Float32 (target,): where each of ``target`` rows is read among ``source`` rows."""
    # In float32, as PyTorch computes them: at a thousand rows the rounding is 1e-4 of a row.
    return torch.arange(target, dtype=torch.float32) * (torch.tensor(source - 1.0) / max(target - 1, 1))
