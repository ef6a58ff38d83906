"""PSCC-Net's backbone: a small HRNet-W18 whose stem keeps the full resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from .resize import Window, resize

CHANNELS = (18, 36, 72, 144)
STEM, WIDE = 64, 256


class HRNet(nn.Module):
    """The top-down path of PSCC-Net (paper, section 3.1; sizes as in the authors' code).

    Four maps of 18, 36, 72 and 144 channels at 1, 1/2, 1/4 and 1/8 of the picture's size, rounded up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv3(3, STEM)
        self.bn1 = _norm(STEM)
        self.conv2 = _conv3(STEM, STEM)
        self.bn2 = _norm(STEM)
        self.layer1 = nn.Sequential(Bottleneck(STEM, STEM, WIDE), Bottleneck(WIDE, STEM, WIDE))
        self.transition1 = nn.ModuleList(
            [_activated(WIDE, CHANNELS[0], stride=1), nn.Sequential(_activated(WIDE, CHANNELS[1], stride=2))]
        )
        self.stage2 = nn.Sequential(Exchange(2))
        self.transition2 = _new_branch(2)
        self.stage3 = nn.Sequential(Exchange(3))
        self.transition3 = _new_branch(3)
        self.stage4 = nn.Sequential(Exchange(4))
        self.relu = nn.ReLU(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.001)

    def forward(self, batch: Tensor) -> list[Tensor]:
        """Float32 (B, 3, H, W) RGB in [0, 1] to the four maps, of whole pictures and in one piece."""
        return self.branches(self.stem(batch), Window.of_all(*batch.shape[-2:]))

    def stem(self, batch: Tensor) -> list[Tensor]:
        """The first two branches before any exchange: reaches over 5 pixels, and needs most of the memory."""
        x = self.relu(self.bn1(self.conv1(batch)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        return [transition(x) for transition in self.transition1]

    def branches(self, maps: list[Tensor], window: Window) -> list[Tensor]:
        """From :meth:`stem` of a window of the pictures to the window's part of the four maps.

        ``maps`` is emptied: what is not needed any more is freed on the way.
        """
        maps = self.stage2[0](maps, window)
        maps.append(self.transition2["2"](maps[-1]))
        maps = self.stage3[0](maps, window)
        maps.append(self.transition3["3"](maps[-1]))
        return list(self.stage4[0](maps, window))


class Exchange(nn.Module):
    """One HRNet module: two basic blocks per branch, then every branch is added to every other."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(BasicBlock(channels), BasicBlock(channels)) for channels in CHANNELS[:count]
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleDict({str(j): _fusion(j, i) for j in range(count) if j != i}) for i in range(count)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: list[Tensor], window: Window) -> list[Tensor]:
        """The branches' maps of a window, before and after; the list given is emptied."""
        fine = [branch(maps.pop(0)) for branch in self.branches]
        return [self._fused(fine, i, window) for i in range(len(fine))]

    def _fused(self, maps: Sequence[Tensor], i: int, window: Window) -> Tensor:
        total: Tensor | None = None
        fusions = dict(self.fuse_layers[i].named_children())
        for j, x in enumerate(maps):
            if j != i:
                x = fusions[str(j)](x)
            if j > i:
                x = resize(x, window.halved(j), window.halved(i))
            # Only a sum may be added to in place: the branches themselves are still needed.
            total = x if total is None else total + x if j == 1 else total.add_(x)
        return torch.as_tensor(self.relu(total))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the identity: (B, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3(channels, channels)
        self.bn1 = _norm(channels)
        self.conv2 = _conv3(channels, channels)
        self.bn2 = _norm(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.as_tensor(self.relu(y.add_(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to ``out`` channels; a 1x1 convolution as shortcut where the channels change."""

    def __init__(self, channels: int, inner: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = _norm(inner)
        self.conv2 = _conv3(inner, inner)
        self.bn2 = _norm(inner)
        self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
        self.bn3 = _norm(out)
        self.relu = nn.ReLU(inplace=True)
        shortcut = [nn.Conv2d(channels, out, 1, bias=False), _norm(out)] if channels != out else []
        self.downsample = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.as_tensor(self.relu(y.add_(self.downsample(x))))


def load_imagenet(backbone: HRNet, tensors: Mapping[str, Tensor]) -> list[str]:
    """Start a backbone for training from the ImageNet file ``hrnet_w18_small_v2.pth``.

    Copies every tensor whose key, with ``model.`` removed, is one of ours and whose shape fits. Returns our keys that
    were taken; the rest of the backbone stays as it was.
    """
    own = backbone.state_dict()
    plain = {key.replace("model.", ""): tensor for key, tensor in tensors.items()}
    taken = [key for key, tensor in own.items() if key in plain and plain[key].shape == tensor.shape]
    for key in taken:
        own[key].copy_(plain[key])
    return taken


def _fusion(source: int, target: int) -> nn.Sequential:
    """From branch ``source`` to the channels of ``target``, and to its size too if that is smaller."""
    here, there = CHANNELS[source], CHANNELS[target]
    if source > target:
        return nn.Sequential(nn.Conv2d(here, there, 1, bias=False), _norm(there))
    steps = [_activated(here, here, stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, nn.Sequential(_conv3(here, there, stride=2), _norm(there)))


def _new_branch(number: int) -> nn.ModuleDict:
    """A further branch, at half the size of the last one; keyed by its number, as in the authors' files."""
    before, after = list(pairwise(CHANNELS))[number - 1]
    return nn.ModuleDict({str(number): nn.Sequential(_activated(before, after, stride=2))})


def _activated(channels: int, out: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(_conv3(channels, out, stride=stride), _norm(out), nn.ReLU(inplace=True))


def _conv3(channels: int, out: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=0.01)
