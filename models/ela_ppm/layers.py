"""The two-stream network of Meng et al.: MobileNetV1 with Coordinate Attention twice, added, pyramid pooling, head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 2
BINS = (1, 2, 3, 6)
HEAD_CHANNELS = 512
LEAST_SQUEEZED, REDUCTION = 8, 32

# Channels (at width 1) and number of blocks of the feature levels F1..F5; all but the first begin with stride 2.
LEVELS = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))
FIRST_ATTENDED = 2  # F3

# TensorFlow's defaults; its momentum 0.99 keeps what PyTorch's 0.01 lets in.
BATCH_NORM_EPS, BATCH_NORM_MOMENTUM = 1e-3, 0.01


class TwoStreamPyramidNet(nn.Module):
    """RGB and ELA in, two logits per pixel out (paper sections 3.2 and 3.3, figures 5 and 6).

    Args:
        alpha: channels of both streams, as a multiple of MobileNetV1's.
        width: channels of each pyramid branch; the head has 512 whatever it is.
    """

    def __init__(self, alpha: float, width: int) -> None:
        super().__init__()
        self.rgb = Stream(alpha)
        self.ela = Stream(alpha)
        channels = self.rgb.channels
        self.pyramid = PyramidPooling(channels, width)
        self.fuse = pointwise(channels + len(BINS) * width, HEAD_CHANNELS)
        self.classifier = nn.Conv2d(HEAD_CHANNELS, CLASSES, 3, padding=1)
        self._initialise()

    def forward(self, both: Tensor) -> Tensor:
        """Logits (B, 2, H, W), class 1 = tampered, for (B, 6, H, W): RGB / 255, then ELA / 255.

        The pyramid's bins are even where H and W are multiples of 192.
        """
        return self.decide(self.fused(both), both.shape[-2:])

    def fused(self, both: Tensor) -> Tensor:
        """What both streams found, added: (B, C, ceil(H / 32), ceil(W / 32))."""
        added: Tensor = self.rgb(both[:, :3]) + self.ela(both[:, 3:])
        return added

    def decide(self, fused: Tensor, size: torch.Size) -> Tensor:
        """Logits (B, 2, *size) of what :meth:`fused` gave."""
        return resized(self.classifier(self.fuse(self.pyramid(fused))), size)

    def _initialise(self) -> None:
        """He's rule, which keeps the scale of what the layers pass on; the paper is silent."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = BATCH_NORM_EPS, BATCH_NORM_MOMENTUM


class Stream(nn.Module):
    """MobileNetV1 without its classifier, and Coordinate Attention in line behind F3, F4 and F5.

    (B, 3, H, W) to (B, ``channels``, ceil(H / 32), ceil(W / 32)). Keys outside ``attention`` are those of timm's
    ``mobilenetv1_100``. Strides pad both sides, as there; Keras' own MobileNet pads right and below only.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        stem = int(32 * alpha)
        self.conv_stem = nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.blocks = nn.ModuleList()
        self.attention = nn.ModuleList()
        self.channels = stem
        for level, (channels, count) in enumerate(LEVELS):
            blocks = nn.Sequential()
            for place in range(count):
                stride = 2 if level > 0 and place == 0 else 1
                blocks.append(DepthwiseSeparable(self.channels, int(channels * alpha), stride))
                self.channels = int(channels * alpha)
            self.blocks.append(blocks)
            self.attention.append(CoordinateAttention(self.channels) if level >= FIRST_ATTENDED else nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.bn1(self.conv_stem(x)))
        for blocks, attention in zip(self.blocks, self.attention, strict=True):
            x = attention(blocks(x))
        return x


class DepthwiseSeparable(nn.Module):
    """3x3 per channel, then 1x1 across channels, each with BatchNorm and ReLU6 (paper figure 3)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv_pw = nn.Conv2d(channels, out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.bn1(self.conv_dw(x)))
        return functional.relu6(self.bn2(self.conv_pw(x)))


class CoordinateAttention(nn.Module):
    """Hou et al., Coordinate Attention, CVPR 2021: each pixel is weighted by its row and by its column.

    (B, C, H, W) to the same shape. Both means pass the squeeze together, so train-mode statistics are joint.
    """

    def __init__(self, channels: int, reduction: int = REDUCTION) -> None:
        super().__init__()
        squeezed = max(LEAST_SQUEEZED, channels // reduction)
        self.conv1 = nn.Conv2d(channels, squeezed, 1)
        self.bn1 = nn.BatchNorm2d(squeezed)
        self.conv_h = nn.Conv2d(squeezed, channels, 1)
        self.conv_w = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height = x.shape[2]
        rows, columns = x.mean(dim=3, keepdim=True), x.mean(dim=2, keepdim=True)
        both = torch.cat([rows, columns.transpose(2, 3)], dim=2)
        squeezed = functional.hardswish(self.bn1(self.conv1(both)))
        rows, columns = squeezed[:, :, :height], squeezed[:, :, height:]
        row_gate: Tensor = self.conv_h(rows).sigmoid()
        column_gate: Tensor = self.conv_w(columns.transpose(2, 3)).sigmoid()
        return x * column_gate * row_gate


class PyramidPooling(nn.Module):
    """The input beside its means over 1, 2 x 2, 3 x 3 and 6 x 6 bins, each reduced to ``width`` channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(pointwise(channels, width) for _ in BINS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C + 4 * width, H, W)."""
        pooled = (functional.adaptive_avg_pool2d(x, bins) for bins in BINS)
        branches = (branch(means) for branch, means in zip(self.branches, pooled, strict=True))
        return torch.cat([x, *(resized(branch, x.shape[-2:]) for branch in branches)], dim=1)


def pointwise(channels: int, out: int) -> nn.Sequential:
    """1x1 convolution without bias, BatchNorm, ReLU."""
    layers = {"conv": nn.Conv2d(channels, out, 1, bias=False), "bn": nn.BatchNorm2d(out), "relu": nn.ReLU(inplace=True)}
    return nn.Sequential(OrderedDict(layers))


def resized(x: Tensor, size: torch.Size) -> Tensor:
    """(B, C, h, w) at another height and width: bilinear between pixel centres, as TensorFlow 2 resizes."""
    return functional.interpolate(x, size=list(size), mode="bilinear", align_corners=False)


def load_imagenet(stream: Stream, tensors: Mapping[str, Tensor]) -> None:
    """Copy the state dict of timm's ``mobilenetv1_100`` into a stream of alpha 1; attention stays as it is.

    Raises:
        KeyError: names what is missing or left over.
        RuntimeError: another width of MobileNetV1.
    """
    backbone = {key: tensor for key, tensor in tensors.items() if not key.startswith("classifier.")}
    wanted = {key for key in stream.state_dict() if not key.startswith("attention.")}
    if wanted != backbone.keys():
        raise KeyError(f"not a state dict of timm's mobilenetv1: {sorted(wanted ^ backbone.keys())[:8]}")
    stream.load_state_dict(backbone, strict=False)
