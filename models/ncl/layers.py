"""DeepLabV3+ with two classes (Chen et al. 2018), and the modules that only NCL's training adds to it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imdl_bench.errors import UsageError

from .encoders import make_encoder

CLASSES = 2
WIDTH = 256
RATES = (1, 12, 24, 36)  # NCL, section 4; meant for output stride 8


class Features(NamedTuple):
    """What training reads besides the logits.

    Attributes:
        tap: the map that the contrastive loss compares patches on: (B, C, ceil(H / s), ceil(W / s)).
        encoder: output of the pyramid: (B, 256, H / 8, W / 8) with a ResNet.
        decoder: last map before the classifier: (B, 256, H / 4, W / 4).
        logits: (B, 2, H, W) float32; class 1 is forged.
    """

    tap: Tensor
    encoder: Tensor
    decoder: Tensor
    logits: Tensor


class DeepLab(nn.Module):
    """Encoder, atrous spatial pyramid, decoder. All upsampling is bilinear with ``align_corners=True``.

    Args:
        backbone: ``resnet101``, ``resnet50``, or a trunk that encoders.py knows.
        tap: map that the contrastive loss reads: ``layer1``, ``layer4``, or ``conv1`` where the backbone has it.

    Attributes:
        tap_channels: channels of that map.
        tap_stride: image pixels per position of it.

    Raises:
        UsageError: the backbone has no such map.
    """

    def __init__(self, backbone: str = "resnet101", tap: str = "layer1") -> None:
        super().__init__()
        self.backbone = make_encoder(backbone)
        channels, strides = self.backbone.channels, self.backbone.strides
        if tap not in channels:
            raise UsageError(f"{backbone} has no map {tap} to tap; choose {' or '.join(channels)}")
        self.tap, self.tap_channels, self.tap_stride = tap, channels[tap], strides[tap]
        self.aspp = ASPP(channels["layer4"], strides["layer4"])
        self.decoder = Decoder(channels["layer1"])

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 (B, 2, H, W) of normalised images (B, 3, H, W)."""
        return self.features(images).logits

    def features(self, images: Tensor) -> Features:
        """Logits and the maps that training supervises."""
        maps = self.backbone(images)
        encoded = self.aspp(maps["layer4"])
        decoded = self.decoder(encoded, maps["layer1"])
        # Half precision would round the interpolated logits once more.
        logits = _upsample(self.decoder.classify(decoded).float(), images)
        return Features(maps[self.tap], encoded, decoded, logits)


class ASPP(nn.Module):
    """Atrous spatial pyramid: four convolutions of different reach and the image's mean, joined to 256 channels.

    ``RATES`` hold at stride 8; at another stride they keep their reach in image pixels, as DeepLab halves them at 16.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        rates = [max(1, rate * 8 // stride) for rate in RATES]
        self.aspp1 = AtrousBlock(channels, kernel=1, rate=1)
        self.aspp2 = AtrousBlock(channels, kernel=3, rate=rates[1])
        self.aspp3 = AtrousBlock(channels, kernel=3, rate=rates[2])
        self.aspp4 = AtrousBlock(channels, kernel=3, rate=rates[3])
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()
        )
        self.conv1 = nn.Conv2d(5 * WIDTH, WIDTH, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.dropout = nn.Dropout(0.5)
        _initialise(self)

    def forward(self, encoded: Tensor) -> Tensor:
        """(B, 256, h, w) of (B, channels, h, w)."""
        branches = [self.aspp1(encoded), self.aspp2(encoded), self.aspp3(encoded), self.aspp4(encoded)]
        branches.append(_upsample(self.global_avg_pool(encoded), encoded))
        joined: Tensor = self.dropout(F.relu(self.bn1(self.conv1(torch.cat(branches, dim=1)))))
        return joined


class AtrousBlock(nn.Module):
    """Dilated convolution to 256 channels that keeps the size, BatchNorm, ReLU."""

    def __init__(self, channels: int, kernel: int, rate: int) -> None:
        super().__init__()
        padding = rate if kernel == 3 else 0
        self.atrous_conv = nn.Conv2d(channels, WIDTH, kernel, padding=padding, dilation=rate, bias=False)
        self.bn = nn.BatchNorm2d(WIDTH)

    def forward(self, encoded: Tensor) -> Tensor:
        return F.relu(self.bn(self.atrous_conv(encoded)))


class Decoder(nn.Module):
    """Joins the pyramid's output with the map at stride 4."""

    def __init__(self, low_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(low_channels, 48, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(48)
        self.last_conv = nn.Sequential(
            nn.Conv2d(WIDTH + 48, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Dropout(0.5),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Dropout(0.1),
            nn.Conv2d(WIDTH, CLASSES, 1),
        )  # fmt: skip
        _initialise(self)

    def forward(self, encoded: Tensor, low: Tensor) -> Tensor:
        """The map that :meth:`classify` reads, (B, 256, h, w) at the size of ``low`` (B, low_channels, h, w)."""
        low = F.relu(self.bn1(self.conv1(low)))
        joined: Tensor = self.last_conv[:-1](torch.cat((_upsample(encoded, low), low), dim=1))
        return joined

    def classify(self, decoded: Tensor) -> Tensor:
        """Logits (B, 2, h, w)."""
        logits: Tensor = self.last_conv[-1](decoded)
        return logits


def settle(network: nn.Module) -> None:
    """Give fresh BatchNorm layers the statistics of one batch of noise; weights stay as they are.

    At its initial 0 and 1 BatchNorm normalises nothing in eval mode, and every residual block multiplies what it
    gets: logits of an untrained ResNet-101 would reach 1e5, where float32 no longer tells one batch from another.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    # Like photographs: patches of every size, and images of different mean, which the pyramid normalises too.
    batch, side = 3, 160
    cells = [torch.randn(batch, 3, count, count) for count in (1, 2, 4, 8, 16, 32, side)]
    with torch.no_grad():
        network.train()(sum(F.interpolate(each, side, mode="nearest") for each in cells) / 2)
    for norm in norms:
        norm.momentum = 0.1
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.zero_()


class PivotNetwork(nn.Module):
    """Training only: one tampered and one authentic vector from all contour patches of an image (NCL, section 3.2).

    Two branches that share nothing: 1x1 convolution C -> C, BatchNorm, ReLU on every contour vector, then the mean
    over the image's k vectors. The paper's convolution over k "channels" would change its shape with every image; the
    mean takes any k, in any order.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.plus = _pivot_branch(channels)
        self.minus = _pivot_branch(channels)
        _initialise(self)

    def forward(self, contour: Tensor, owner: Tensor, images: int) -> tuple[Tensor, Tensor]:
        """se+ and se-, each (images, C); zero for an image without a contour patch.

        Args:
            contour: (K, C) contour vectors of a batch, at least two in training mode.
            owner: int64 (K,), the image that each belongs to.
            images: how many the batch has.
        """
        count = torch.bincount(owner, minlength=images).clamp(min=1).to(contour.dtype)[:, None]
        plus, minus = (
            contour.new_zeros(images, contour.shape[1]).index_add(0, owner, branch(contour[..., None, None])[..., 0, 0])
            / count
            for branch in (self.plus, self.minus)
        )
        return plus, minus


class AuxiliaryHeads(nn.Module):
    """Training only: a 1x1 classifier on the pyramid's output and one on the decoder's map (NCL, section 3.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(WIDTH, CLASSES, 1)
        self.decoder = nn.Conv2d(WIDTH, CLASSES, 1)
        _initialise(self)

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """Logits (B, 2, h, w) at the encoder's and at the decoder's size: 64 and 128 for an input of 512."""
        return self.encoder(features.encoder), self.decoder(features.decoder)


def _pivot_branch(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())


def _upsample(small: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(small, like.shape[-2:], mode="bilinear", align_corners=True)


def _initialise(part: nn.Module) -> None:
    """He-normal weights; BatchNorm keeps 1 and 0, biases PyTorch's own."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
