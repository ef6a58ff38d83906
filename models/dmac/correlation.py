"""DMAC's correlation layer: every position of one feature map against every position of the other (paper III-B).

Features are (C, h, w), never negative (they come after ReLU and pooling). A shift k = w * it + jt moves the second map
on a torus: ``corr[k, i, j] = <a[:, i, j], b[:, (i + it) % h, (j + jt) % w]> / C``, hw maps on the first map's grid.

The hw maps are never made. For one position the shifts run over all positions of the other map, so mean and maximum
over the shifts are those of a row of the matrix a^T b; the sum of one map is a cross-correlation, which an FFT gives
for all shifts together; and only the six maps with the largest sums are written out.
"""

from __future__ import annotations

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
    largest_a, largest_b = _largest_products(a, b)
    sums = shift_sums(a, b)
    return (
        _maps(a, b, largest_a, strongest_shifts(sums)),
        _maps(b, a, largest_b, strongest_shifts(opposite(sums))),
    )


def self_correlation(a: Tensor) -> Tensor:
    """As :func:`cross_correlation`, of one image with itself: (8, h, w); the shift by nothing comes first."""
    largest, _ = _largest_products(a, a)
    return _maps(a, a, largest, strongest_shifts(symmetric(shift_sums(a, a))))


def shift_sums(a: Tensor, b: Tensor) -> Tensor:
    """``C * sum_ij corr[k, i, j]`` for all shifts: float64 (h, w), row ``it``, column ``jt``."""
    with torch.no_grad():
        spectrum = (torch.fft.rfft2(a.double()).conj() * torch.fft.rfft2(b.double())).sum(0)
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


def _maps(a: Tensor, b: Tensor, largest: Tensor, shifts: Tensor) -> Tensor:
    channels, _, width = a.shape
    mean = torch.einsum("cij,c->ij", a, b.mean((1, 2)))
    kept = [(a * b.roll((-(k // width), -(k % width)), (1, 2))).sum(0) for k in shifts.tolist()]
    return torch.stack([largest, mean, *kept]) / channels


def _largest_products(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """For each position the largest product with any position of the other map: (h, w) for a, and for b."""
    rows, columns = a.flatten(1).T, b.flatten(1)
    of_rows, of_columns = [], []
    for part in torch.split(rows, max(1, MOST_PRODUCTS // columns.shape[1])):
        products = part @ columns
        of_rows.append(products.amax(1))
        of_columns.append(products.amax(0))
    return torch.cat(of_rows).view(a.shape[1:]), torch.stack(of_columns).amax(0).view(b.shape[1:])
