"""A loss on features alone, for networks that do not start from VGG16's weights: ours, in no paper.

From random weights the products of features say how strong each is, not how alike two are, and the masks' cross entropy
hardly changes that. Here the network sees a photograph and a warped copy of it, and each position of the copy has to
find the one that it came from, among all of the photograph, by the very products that the correlation layer takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import STRIDE

TEMPERATURE = 0.1
SMALLEST_LENGTH = 1e-6

# As DMAC's pairs are drawn (section IV-A), each with a probability of a half, the shift always.
DEGREES, LARGEST_SCALE, LUMINANCE = 30.0, 1.65, 32.0
LARGEST_SHIFT = 0.6  # of half the side


def warped(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Copies of (B, 3, S, S), rotated, scaled, shifted and brightened at random, and where their cells come from.

    Returns:
        the copies; the cell of the image that each cell of the copy shows, int64 (B, cells), row by row; and whether
        it lies inside the image, bool (B, cells). Cells are ``STRIDE`` pixels wide.
    """
    count, _, side, _ = images.shape
    angle = _uniform(images, -DEGREES, DEGREES) * pi / 180 * _half(images)
    scale = LARGEST_SCALE ** (_uniform(images, -1, 1) * _half(images))
    shift = torch.stack([_uniform(images, -LARGEST_SHIFT, LARGEST_SHIFT) for _ in range(2)], dim=1)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    rotation = torch.stack([torch.stack([cosine, -sine], dim=1), torch.stack([sine, cosine], dim=1)], dim=1)
    matrix = torch.cat([rotation, shift[:, :, None]], dim=2)
    grid = F.affine_grid(matrix, [count, 3, side, side], align_corners=False)
    brighter = _uniform(images, -LUMINANCE, LUMINANCE) * _half(images)
    copies = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False) + brighter[:, None, None, None]
    cells = -(-side // STRIDE)
    places = F.affine_grid(matrix, [count, 1, cells, cells], align_corners=False).flatten(1, 2)
    column, row = (((places + 1) * cells - 1) / 2).round().long().clamp(0, cells - 1).unbind(2)
    return copies, row * cells + column, (places.abs() < 1).all(2)


def correspondence_loss(
    photographs: Sequence[Tensor], copies: Sequence[Tensor], places: Tensor, inside: Tensor
) -> Tensor:
    """Cross entropy of the places and squared logarithm of the lengths, summed over levels (B, C, h, w).

    Products tell how alike two features are only where all are about equally long, here |a|^2 = C.

    Args:
        photographs: per level, features of the images.
        copies: per level, features of their copies.
        places: as :func:`warped` gives them.
        inside: cells that count.
    """
    losses = []
    for level, other in zip(photographs, copies, strict=True):
        features, sought = level.flatten(2), other.flatten(2).transpose(1, 2)
        products = sought @ features / features.shape[1]
        lengths = features.square().mean(1).clamp_min(SMALLEST_LENGTH)
        found = F.cross_entropy(products[inside] / TEMPERATURE, places[inside])
        losses.append(found + lengths.log().square().mean())
    return torch.stack(losses).sum()


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    return torch.empty(len(images), device=images.device).uniform_(low, high)


def _half(images: Tensor) -> Tensor:
    return (torch.rand(len(images), device=images.device) < 0.5).float()
