"""What DeepLabV3+ reads an image with: a dilated ResNet of torchvision, or a trunk of timm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet, resnet50, resnet101

RESNETS = {"resnet101": resnet101, "resnet50": resnet50}
TRUNKS: dict[str, dict[str, Any]] = {
    "resnet18": {"output_stride": 8, "out_indices": (1, 4)},  # what comes before its first blocks is left out
    "convnext_tiny": {"output_stride": 8},
    "pvt_v2_b2": {},
}


class Encoder(nn.Module):
    """Maps of an image under the names that a ResNet has for them.

    Attributes:
        channels: of ``conv1`` (where there is a map at stride 2), ``layer1`` (stride 4) and ``layer4``.
        strides: image pixels per position of each map.
    """

    channels: dict[str, int]
    strides: dict[str, int]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps (B, channels, ceil(H / stride), ceil(W / stride)) of normalised images (B, 3, H, W)."""
        raise NotImplementedError


class ResNetEncoder(Encoder):
    """ResNet of bottlenecks at output stride 8; keys are torchvision's, so its ImageNet weights fit (without ``fc``).

    Strides of layer3 and layer4 are replaced by dilations 2 (every block, its first one too) and 4, 8, 16 (multi-grid
    1, 2, 4). Fresh weights are torchvision's: normal with deviation sqrt(2 / (k * k * out)), BatchNorm 1 and 0.
    """

    channels = {"conv1": 64, "layer1": 256, "layer4": 2048}  # noqa: RUF012
    strides = {"conv1": 2, "layer1": 4, "layer4": 8}  # noqa: RUF012

    def __init__(self, name: str) -> None:
        super().__init__()
        net: ResNet = RESNETS[name](weights=None, replace_stride_with_dilation=[False, True, True])
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        _dilate(self.layer3, [2] * len(self.layer3))
        _dilate(self.layer4, [4, 8, 16])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        conv1 = self.relu(self.bn1(self.conv1(images)))
        layer1 = self.layer1(self.maxpool(conv1))
        return {"conv1": conv1, "layer1": layer1, "layer4": self.layer4(self.layer3(self.layer2(layer1)))}


class TimmEncoder(Encoder):
    """A trunk of timm, its map at stride 4 as ``layer1`` and its last as ``layer4``; fresh weights are timm's."""

    def __init__(self, name: str) -> None:
        super().__init__()
        trunk: Any = timm.create_model(name, features_only=True, pretrained=False, **TRUNKS[name])
        self.trunk = trunk
        strides, channels = trunk.feature_info.reduction(), trunk.feature_info.channels()
        self.strides = {"layer1": strides[0], "layer4": strides[-1]}
        self.channels = {"layer1": channels[0], "layer4": channels[-1]}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.trunk(images)
        return {"layer1": maps[0], "layer4": maps[-1]}


def make_encoder(name: str) -> Encoder:
    """The encoder of a name in RESNETS or TRUNKS, with fresh weights."""
    return ResNetEncoder(name) if name in RESNETS else TimmEncoder(name)


def _dilate(layer: nn.Sequential, dilations: Sequence[int]) -> None:
    for block, dilation in zip(layer, dilations, strict=True):
        assert isinstance(block, Bottleneck)
        block.conv2.dilation = block.conv2.padding = (dilation, dilation)
