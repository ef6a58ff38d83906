"""The two networks that judge masks in adversarial training (paper III-E). They see 32 x 32 pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def masked(images: Tensor, probability: Tensor) -> Tensor:
    """What a judge sees of a class: network inputs (B, 3, 8h, 8w), pooled to the mask (B, h, w) and times the mask."""
    return F.avg_pool2d(images, 8) * probability.unsqueeze(1)


def masked_by_class(images: Tensor, probability: Tensor) -> Tensor:
    """Input of the discriminator, (B, 6, h, w): the pooled images times the mask of class 0, then of class 1."""
    return torch.cat([masked(images, 1 - probability), masked(images, probability)], dim=1)


class DetectionNet(nn.Module):
    """Whether two masked images show the same thing: a Siamese network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        # The dropout is the released code's; the paper has none.
        self.classifier_det = nn.Sequential(nn.Linear(8192, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 2))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits (B, 2), class 1 = correlated, from two :func:`masked` (B, 3, 32, 32)."""
        difference = (self.conv(a).flatten(1) - self.conv(b).flatten(1)).abs()
        logits: Tensor = self.classifier_det(difference)
        return logits


class Discriminator(nn.Module):
    """Whether a mask is a true one or a generated one; a and b of a pair are judged one by one, in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _spectral_conv(6, 32), nn.LeakyReLU(0.1),
            _spectral_conv(32, 64), nn.LeakyReLU(0.1), nn.MaxPool2d(3, 2, 1),
            _spectral_conv(64, 128), nn.LeakyReLU(0.1),
            _spectral_conv(128, 256), nn.LeakyReLU(0.1), nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        self.classifier_dis = SpectralNorm(nn.Linear(16384, 1), F.linear)

    def forward(self, masks: Tensor) -> Tensor:
        """Logits (B, 1), high = true mask, from :func:`masked_by_class` (B, 6, 32, 32)."""
        logits: Tensor = self.classifier_dis(self.conv(masks).flatten(1))
        return logits


class SpectralNorm(nn.Module):
    """A layer with its weight divided by an estimate of the weight's largest singular value.

    One step of power iteration per call, v first, then u, in eval mode too: outputs drift until u and v have settled.
    (``torch.nn.utils.spectral_norm`` steps in train mode only.) u and v are stored beside the weight.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, operation: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.operation = operation
        rows = layer.weight.flatten(1)
        u, v = (nn.Parameter(F.normalize(torch.randn(size), dim=0), requires_grad=False) for size in rows.shape)
        # Pairs, because a dict would be sorted.
        self.module = nn.ParameterDict(
            [("bias", layer.bias), ("weight_u", u), ("weight_v", v), ("weight_bar", layer.weight)]
        )

    def forward(self, x: Tensor) -> Tensor:
        weight = self.module["weight_bar"]
        rows = weight.flatten(1)
        # Not the stored vectors themselves: the next call changes those before this one's gradient is taken.
        with torch.no_grad():
            v = F.normalize(rows.T @ self.module["weight_u"], dim=0)
            u = F.normalize(rows @ v, dim=0)
            self.module["weight_v"].copy_(v)
            self.module["weight_u"].copy_(u)
        return self.operation(x, weight / (u @ rows @ v), self.module["bias"])


def _spectral_conv(inputs: int, outputs: int) -> SpectralNorm:
    return SpectralNorm(nn.Conv2d(inputs, outputs, 3), partial(F.conv2d, padding=1))
