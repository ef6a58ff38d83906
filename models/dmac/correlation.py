"""DMAC's correlation layer: every position of one feature map against every position of the other (paper III-B).

Features are (C, h, w), never negative (they come after ReLU and pooling). A shift k = w * it + jt moves the second map
on a torus: ``corr[k, i, j] = <a[:, i, j], b[:, (i + it) % h, (j + jt) % w]> / C``, hw maps on the first map's grid.

The hw maps are never made. For one position the shifts run over all positions of the other map, so mean and maximum
over the shifts are those of a row of the matrix a^T b; the sum of one map is a cross-correlation, which an FFT gives
for all shifts together; and of the six maps with the largest sums, each value is an entry of that matrix too. The order
of the shifts has no gradient; the maps have.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

KEPT = 6
CHANNELS = 2 + KEPT

# Entries of a^T b that are held at once: 16 MB in float32. At 256 x 256 pixels the whole matrix has 2^20.
MOST_PRODUCTS = 1 << 22

# Sums closer than this to each other, as a share of the largest, count as equal: float64 FFTs are 1e-15 apart.
SAME = 2.0**-30


def cross_correlation(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Eight maps of (C, h, w) features ``a`` on b, and of ``b`` on a: (8, h, w) each.

    Channels: maximum over the shifts, mean, and the maps of the six shifts with the largest sums, in falling order.
    """
    sums = shift_sums(a, b)
    ahead, back = strongest_shifts(sums), strongest_shifts(opposite(sums))
    met = partners(ahead, a.shape[1:])
    meeting, met_by = partners(back, a.shape[1:]), partners(back, a.shape[1:], direction=-1)
    largest_a, kept_a, largest_b, kept_b = [], [], [], []
    for products, places in _products(a, b):
        largest_a.append(products.amax(1))
        largest_b.append(products.amax(0))
        kept_a.append(products.gather(1, met[places]))
        kept_b.append(products.gather(1, met_by[places]))
    return (
        _maps(a, b, torch.cat(largest_a), torch.cat(kept_a)),
        _maps(b, a, torch.stack(largest_b).amax(0), torch.cat(kept_b).gather(0, meeting)),
    )


def self_correlation(a: Tensor) -> Tensor:
    """As :func:`cross_correlation`, of one image with itself: (8, h, w); the shift by nothing comes first."""
    met = partners(strongest_shifts(symmetric(shift_sums(a, a))), a.shape[1:])
    parts = [(products.amax(1), products.gather(1, met[places])) for products, places in _products(a, a)]
    largest, kept = zip(*parts, strict=True)
    return _maps(a, a, torch.cat(largest), torch.cat(kept))


def shift_sums(a: Tensor, b: Tensor) -> Tensor:
    """``C * sum_ij corr[k, i, j]`` for all shifts: float64 (h, w), row ``it``, column ``jt``."""
    with torch.no_grad():
        of_a = torch.fft.rfft2(a.double())
        of_b = of_a if a is b else torch.fft.rfft2(b.double())
        spectrum = (of_a.conj() * of_b).sum(0)
        sums: Tensor = torch.fft.irfft2(spectrum, s=a.shape[1:])
        return sums


def opposite(sums: Tensor) -> Tensor:
    """The sums at the negative shifts, which are those of b on a."""
    return sums.flip(0, 1).roll((1, 1), (0, 1))


def symmetric(sums: Tensor) -> Tensor:
    """Of one image with itself, a shift and its negative have the same sum; this makes them equal to the last bit."""
    return (sums + opposite(sums)) / 2


def strongest_shifts(sums: Tensor) -> Tensor:
    """The six shifts k with the largest sums, largest first; of equal sums the lowest shift first. int64 (6,).

    The released code leaves the order of equal sums to rounding. It matters: a shift and its negative have different
    maps, and of the third such pair only one is kept.
    """
    steps = torch.round(sums.flatten() / (sums.max().clamp_min(1e-30) * SAME))
    return torch.sort(steps, descending=True, stable=True).indices[:KEPT]


def partners(shifts: Tensor, size: tuple[int, ...], *, direction: int = 1) -> Tensor:
    """For each position of the first map the one of the second that it meets: int64 (hw, shifts), rows times width.

    ``direction`` -1 undoes the shifts: for each position of the second map the one of the first.
    """
    height, width = size
    place = torch.arange(height * width, device=shifts.device)[:, None]
    row = (place // width + direction * (shifts // width)) % height
    return row * width + (place % width + direction * (shifts % width)) % width


def _products(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, slice]]:
    """Rows of a^T b, as many at a time as may be held, and which positions of ``a`` they belong to."""
    rows, columns = a.flatten(1).T, b.flatten(1)
    step = max(1, MOST_PRODUCTS // columns.shape[1])
    for start in range(0, len(rows), step):
        places = slice(start, start + step)
        yield rows[places] @ columns, places


def _maps(a: Tensor, b: Tensor, largest: Tensor, kept: Tensor) -> Tensor:
    mean = torch.einsum("cij,c->ij", a, b.mean((1, 2)))
    maps = torch.cat([largest[None], mean.flatten()[None], kept.T]) / len(a)
    return maps.view(-1, *a.shape[1:])
