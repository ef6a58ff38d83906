"""ManTra-Net's feature extractor, and the decision block that it is trained with (Wu et al., CVPR 2019, section 4)."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 64, 128, 128, 128, 256, 256, 256, 256, 256, 256)
FEATURES = WIDTHS[-1]
SMALLEST_NORM = 1e-6


class Borders(NamedTuple):
    """Which sides of a cut-out are borders of the image itself."""

    top: bool = True
    bottom: bool = True
    left: bool = True
    right: bool = True


WHOLE_IMAGE = Borders()


class FeatureExtractor(nn.Module):
    """Manipulation traces: one unit vector of 256 features per pixel.

    A 5x5 layer (regular, SRM and constrained filters), then 3x3 convolutions, with symmetric padding throughout.
    """

    # What lies further from a pixel than this does not reach its features.
    radius = 2 + len(WIDTHS) - 1

    def __init__(self) -> None:
        super().__init__()
        self.init_conv = nn.Conv2d(3, 4, 5, bias=False)
        self.BayarConv2D = ConstrainedConv(3, 3)
        self.SRMConv2D = SRMConv()
        layers: list[nn.Module] = []
        for before, after in pairwise(WIDTHS):
            layers += [nn.Conv2d(before, after, 3), nn.ReLU(inplace=True)]
        self.middle_and_last_block = nn.Sequential(*layers[:-1])
        start_as_keras(self)

    def forward(self, image: Tensor, borders: Borders = WHOLE_IMAGE) -> Tensor:
        """Features of an image or of a cut-out of one.

        Padding continues the maps of each layer, not the image, so it cannot be done once on the input: it is done
        layer by layer where the cut-out ends at the image's border, and left out where the image goes on.

        Args:
            image: float32 (B, 3, H, W) in -1..1, RGB.
            borders: sides on which the image ends.

        Returns:
            float32 (B, 256, H', W'): H and W, less ``radius`` on each side on which the image goes on.
        """
        kernels = torch.cat([self.init_conv.weight, self.SRMConv2D.weight, self.BayarConv2D.weight])
        # 8 bits cannot hold the differences of neighbouring pixels that these filters look for.
        with torch.autocast(image.device.type, enabled=False):
            x = F.conv2d(pad_symmetric(image, 2, borders), kernels).relu()
        for layer in self.middle_and_last_block:
            x = layer(pad_symmetric(x, 1, borders) if isinstance(layer, nn.Conv2d) else x)
        return F.normalize(x.float(), dim=1, eps=SMALLEST_NORM)

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring the weights back to their constraints; training calls it after each step."""
        self.BayarConv2D.constrain()


class ConstrainedConv(nn.Module):
    """5x5 filters that predict the centre from its neighbours (Bayar and Stamm 2016).

    The centre is -1 and the rest sum to 1. Stored weights meet this; using them does not enforce it again.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 5, 5))

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring the weights back to the constraint, for each pair of input and output."""
        self.weight[..., 2, 2] = 0
        self.weight.div_(self.weight.sum(dim=(-2, -1), keepdim=True) + 1e-7)
        self.weight[..., 2, 2] = -1


class SRMConv(nn.Module):
    """Three fixed 5x5 noise filters of the spatial rich model, each on R, G and B alone."""

    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", srm_kernels())


def srm_kernels() -> Tensor:
    """float32 (9, 3, 5, 5): the first filter on R, G, B, then the second, then the third."""
    filters = torch.zeros(3, 5, 5)
    filters[0, 1:4, 1:4] = torch.tensor([[-1.0, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
    corner = torch.tensor([[-1.0, 2, -2], [2, -6, 8], [-2, 8, -12]]) / 12
    half = torch.cat([corner, corner[:, :2].flip(1)], dim=1)
    filters[1] = torch.cat([half, half[:2].flip(0)])
    filters[2, 2, 1:4] = torch.tensor([1.0, -2, 1]) / 2
    kernels = torch.zeros(9, 3, 5, 5)
    for place in range(9):
        kernels[place, place % 3] = filters[place // 3]
    return kernels


class DecisionBlock(nn.Module):
    """Logits of the manipulation classes at each pixel, on top of the extractor's features; for its training only."""

    def __init__(self, n_classes: int = 385) -> None:
        super().__init__()
        self.conv = nn.Conv2d(FEATURES, n_classes, 3)
        start_as_keras(self)

    def forward(self, features: Tensor) -> Tensor:
        """(B, n_classes, H, W) from (B, 256, H, W)."""
        logits: Tensor = self.conv(pad_symmetric(features, 1, WHOLE_IMAGE))
        return logits


def pad_symmetric(x: Tensor, width: int, borders: Borders) -> Tensor:
    """Mirror ``width`` rows and columns beyond the given borders, the outermost ones first (b a | a b c)."""
    if width == 1 and not x.requires_grad:
        # Mirroring one pixel is repeating it, which takes one copy; a GPU's gradient of it would vary from run to run.
        sides = borders.left, borders.right, borders.top, borders.bottom
        # Autocast would widen it to float32 and back.
        with torch.autocast(x.device.type, enabled=False):
            return F.pad(x, [int(side) for side in sides], mode="replicate")
    if borders.top or borders.bottom:
        x = _mirrored(x, 2, width * borders.top, width * borders.bottom)
    if borders.left or borders.right:
        x = _mirrored(x, 3, width * borders.left, width * borders.right)
    return x


def _mirrored(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    size = x.shape[axis]
    first, last = x.narrow(axis, 0, before).flip(axis), x.narrow(axis, size - after, after).flip(axis)
    return torch.cat([first, x, last], dim=axis)


def start_as_keras(module: nn.Module) -> None:
    """Keras' initial values: Glorot uniform kernels, biases of zero; constrained filters meet their constraint."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, ConstrainedConv)):
            nn.init.xavier_uniform_(part.weight)
        if isinstance(part, nn.Conv2d) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, ConstrainedConv):
            part.constrain()
