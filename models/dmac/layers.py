"""DMAC's network: VGG16 with an atrous last block, correlation at three levels, atrous spatial pyramid pooling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from .correlation import CHANNELS, cross_correlation, self_correlation
from .heads import DetectionNet

LEVELS = 3
STRIDE = 8
RATES = (6, 12, 18, 24)

# Mean of the network's input, BGR in 0..255: the numbers of Caffe's VGG16.
MEAN_BGR = (104.008, 116.669, 122.675)


@dataclass(frozen=True, slots=True)
class Described:
    """What images bring into a comparison, whatever they are compared with.

    Attributes:
        levels: pooled features after VGG's third, fourth and fifth block: (B, 256 | 512 | 512, h, w), float32 at least.
        own: self-correlation per level: (B, 3, 8, h, w).
    """

    levels: tuple[Tensor, ...]
    own: Tensor

    def one(self, place: int) -> Described:
        """A single image of the batch, as a batch of one."""
        part = slice(place, place + 1)
        return Described(tuple(level[part] for level in self.levels), self.own[part])


class DMACNet(nn.Module):
    """Two images to the logits of what they share. Names of modules are the released ones.

    ``detector`` belongs to it only where the detection network gives the score of a pair.
    """

    def __init__(self, detector: DetectionNet | None = None) -> None:
        super().__init__()
        self.Scale_3 = Stage(
            ConvReLU(3, 64), ConvReLU(64, 64), nn.MaxPool2d(3, 2, 1),
            ConvReLU(64, 128), ConvReLU(128, 128), nn.MaxPool2d(3, 2, 1),
            ConvReLU(128, 256), ConvReLU(256, 256), ConvReLU(256, 256), nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        self.Scale_4 = Stage(ConvReLU(256, 512), ConvReLU(512, 512), ConvReLU(512, 512), nn.MaxPool2d(3, 1, 1))
        self.Scale_5 = Stage(*(ConvReLU(512, 512, dilation=2) for _ in range(3)), nn.MaxPool2d(3, 1, 1))
        self.classifier = ASPP(2 * CHANNELS * LEVELS)
        self.detector = detector

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 2, h, w) of both images, class 1 = shared; input as :meth:`describe`, equal sizes."""
        return self.match(self.describe(a), self.describe(b))

    def describe(self, images: Tensor) -> Described:
        """From BGR less ``MEAN_BGR``, (B, 3, H, W); h and w are H and W by ``STRIDE``, rounded up."""
        levels = self.levels(images)
        with torch.autocast(images.device.type, enabled=False):
            own = torch.stack([torch.stack([self_correlation(image) for image in level]) for level in levels], dim=1)
        return Described(levels, own)

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of :class:`Described` alone."""
        third = self.Scale_3(images)
        fourth = self.Scale_4(third)
        return tuple(_at_least_float32(level) for level in (third, fourth, self.Scale_5(fourth)))

    def match(self, a: Described, b: Described) -> tuple[Tensor, Tensor]:
        """Logits as :meth:`forward`."""
        maps_a, maps_b = correlation_maps(a, b)
        return self.classifier(maps_a), self.classifier(maps_b)


def correlation_maps(a: Described, b: Described) -> tuple[Tensor, Tensor]:
    """Input of the classifier for both images: (B, 48, h, w), per level 8 maps on the other image and 8 on itself."""
    on_b, on_a = [], []
    with torch.autocast(a.own.device.type, enabled=False):
        for level_a, level_b in zip(a.levels, b.levels, strict=True):
            pairs = [cross_correlation(one_a, one_b) for one_a, one_b in zip(level_a, level_b, strict=True)]
            on_b.append(torch.stack([pair[0] for pair in pairs]))
            on_a.append(torch.stack([pair[1] for pair in pairs]))
        maps_a = torch.cat([torch.stack(on_b, dim=1), a.own], dim=2)
        maps_b = torch.cat([torch.stack(on_a, dim=1), b.own], dim=2)
    return maps_a.flatten(1, 2), maps_b.flatten(1, 2)


class Stage(nn.Module):
    """Convolutions and a pool, one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.features(x)
        return pooled


class ConvReLU(nn.Module):
    """3x3 convolution that keeps the size, and ReLU."""

    def __init__(self, inputs: int, outputs: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.convb = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        nn.init.normal_(self.convb.weight, std=sqrt(2 / (9 * outputs)))
        nn.init.zeros_(self.convb.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.convb(x))


class ASPP(nn.Module):
    """Four branches of atrous convolution at growing rates, each down to two classes, summed (paper III-C)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv2d_list = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, 96, 3, padding=rate, dilation=rate), nn.BatchNorm2d(96), nn.ReLU(),
                nn.Conv2d(96, 96, 1), nn.BatchNorm2d(96), nn.ReLU(),
                nn.Conv2d(96, 2, 1),
            )
            for rate in RATES
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        return torch.stack([branch(maps) for branch in self.conv2d_list]).sum(0)


def load_vgg(network: DMACNet, state: Mapping[str, Tensor], mean: Sequence[float], std: Sequence[float]) -> None:
    """Start from torchvision's ``vgg16``, whose convolutions match one to one in their order.

    torchvision's networks see RGB in 0..1, less ``mean``, divided by ``std`` (the ``transforms`` of their weights).
    The first convolution is rewritten so that this network, on BGR in 0..255 less ``MEAN_BGR``, computes the same
    (up to the zeros that pad the picture, which stand for another colour).
    """
    ours = [layer.convb for layer in network.modules() if isinstance(layer, ConvReLU)]
    theirs = [key.removesuffix(".weight") for key in state if key.startswith("features.") and key.endswith(".weight")]
    with torch.no_grad():
        for layer, key in zip(ours, theirs, strict=True):
            layer.weight.copy_(state[f"{key}.weight"])
            layer.get_parameter("bias").copy_(state[f"{key}.bias"])
        colours = torch.tensor([mean[::-1], std[::-1]], dtype=torch.float64) * 255
        weight = ours[0].weight.double().flip(1) / colours[1].view(3, 1, 1)
        moved = torch.tensor(MEAN_BGR, dtype=torch.float64) - colours[0]
        ours[0].get_parameter("bias").add_(weight.sum((2, 3)) @ moved)
        ours[0].weight.copy_(weight)


def _at_least_float32(features: Tensor) -> Tensor:
    """Sums over 512 products of half-precision numbers would decide between shifts by their rounding."""
    return features.to(torch.promote_types(features.dtype, torch.float32))
