"""What PSCC-Net makes of the backbone's maps: masks from coarse to fine, and whether the picture is forged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from .layers import CHANNELS, Bottleneck

SIZES = (256, 128, 64, 32)
FOLDS = (4, 2, 2, 1)  # r of each scale's correlation module
SPATIAL, CHANNEL = "spatial", "channel"


def resample(maps: Sequence[Tensor]) -> list[Tensor]:
    """The backbone's four maps at 256, 128, 64 and 32 pixels a side, whatever size they have."""
    return [_stretched(x, size) for x, size in zip(maps, SIZES, strict=True)]


class MaskBranch(nn.Module):
    """The bottom-up path: a mask from the coarsest map first, each mask guiding the next finer scale (section 3.2).

    Args:
        stop_at_scale: the finest scale, 1 to 4, to compute a mask at.
        without: attentions to leave out, of ``spatial`` and ``channel``.
    """

    def __init__(self, stop_at_scale: int = 1, without: Sequence[str] = ()) -> None:
        super().__init__()
        self.getmask4, self.getmask3, self.getmask2, self.getmask1 = (
            CorrelationModule(CHANNELS[scale], FOLDS[scale], without) for scale in (3, 2, 1, 0)
        )
        self.stop_at_scale = stop_at_scale

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The maps of :func:`resample` to masks, the finest first: float32 (B, 1, h, h) in [0, 1], high = forged."""
        modules = (self.getmask1, self.getmask2, self.getmask3, self.getmask4)
        masks: list[Tensor] = []
        for scale in range(4, self.stop_at_scale - 1, -1):
            x = features[scale - 1]
            if masks:
                x = x * _stretched(masks[0], x.shape[-1])
            masks.insert(0, modules[scale - 1](x))
        return masks


class CorrelationModule(nn.Module):
    """Spatio-channel correlation module, SCCM (section 3.3): (B, C, H, W) to a mask (B, 1, H, W).

    ``fold`` is the paper's r: attention works on C r^2 channels and H W / r^2 positions.
    """

    def __init__(self, channels: int, fold: int, without: Sequence[str] = ()) -> None:
        super().__init__()
        inner = channels * fold**2
        self.gamma_s = nn.Parameter(torch.ones(1))
        self.gamma_c = nn.Parameter(torch.ones(1))
        self.g = nn.Conv2d(inner, inner, 1)
        self.theta = nn.Conv2d(inner, inner, 1)
        self.phi = nn.Conv2d(inner, inner, 1)
        self.W_s = nn.Conv2d(channels, channels, 1)
        self.W_c = nn.Conv2d(channels, channels, 1)
        self.getmask = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(16, 1, 3, padding=1)
        )
        self.fold = fold
        self.without = tuple(without)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        # Reinterpreted in memory, which mixes channels and rows: the published weights need exactly this.
        folded = x.reshape(batch, channels * self.fold**2, height // self.fold, width // self.fold)
        g, theta, phi = (conv(folded).flatten(2) for conv in (self.g, self.theta, self.phi))
        z = x
        if SPATIAL not in self.without:
            z = z + self.gamma_s * self.W_s(_spatial(g, theta, phi).reshape(x.shape))
        if CHANNEL not in self.without:
            # (B, positions, channels) read as (B, C, H, W): not the way back of the folding, but what was trained.
            z = z + self.gamma_c * self.W_c(_channel(g, theta, phi).reshape(x.shape))
        return torch.sigmoid(self.getmask(z).float())


class DetectionHead(nn.Module):
    """The maps of :func:`resample` to (B, 2) float32 logits, authentic and forged."""

    def __init__(self) -> None:
        super().__init__()
        self.incre_modules = nn.ModuleList(nn.Sequential(Bottleneck(c, c, 2 * c)) for c in CHANNELS)
        self.downsamp_modules = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2 * fine, 2 * coarse, 3, stride=2, padding=1),
                nn.BatchNorm2d(2 * coarse, momentum=0.01),
                nn.ReLU(inplace=True),
            )
            for fine, coarse in pairwise(CHANNELS)
        )
        self.final_layer = nn.Sequential(
            nn.Conv2d(2 * CHANNELS[-1], 128, 1), nn.BatchNorm2d(128, momentum=0.01), nn.ReLU(inplace=True)
        )
        self.classifier = nn.Sequential(nn.Linear(128, 16), nn.ReLU(inplace=True), nn.Linear(16, 2))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        first, *others = (block(x) for block, x in zip(self.incre_modules, features, strict=True))
        y = first
        for downsample, other in zip(self.downsamp_modules, others, strict=True):
            y = other + downsample(y)
        logits: Tensor = self.classifier(self.final_layer(y).mean(dim=(2, 3)))
        return logits.float()


def _spatial(g: Tensor, theta: Tensor, phi: Tensor) -> Tensor:
    """Attention between positions: three times (B, C, N) to (B, C, N) (equation 1, transposed)."""
    with torch.autocast(g.device.type, enabled=False):
        query, key, value = (x.float().transpose(1, 2)[:, None] for x in (theta, phi, g))
        # In blocks: the whole matrix has 4096 x 4096 weights.
        return scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0].transpose(1, 2)


def _channel(g: Tensor, theta: Tensor, phi: Tensor) -> Tensor:
    """Attention between channels: three times (B, C, N) to (B, N, C) (equation 2)."""
    with torch.autocast(g.device.type, enabled=False):
        g, theta, phi = g.float(), theta.float(), phi.float()
        attention = torch.softmax(theta @ phi.transpose(1, 2), dim=-1)
        return g.transpose(1, 2) @ attention


def _stretched(x: Tensor, side: int) -> Tensor:
    return interpolate(x, size=(side, side), mode="bilinear", align_corners=True)
