"""NCL: DeepLabV3+ trained with non-mutually exclusive contrasts of patches (Zhou et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from imdl_bench.torch_model import TorchModel, state_shapes, to_masks, to_tensor
from imdl_bench.types import Image, Prediction

from .layers import DeepLab, settle

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class NCL(TorchModel):
    """NCL as a model: ``mask`` is the softmax of the forged class. There is no score of the whole image."""

    followers: ClassVar[Mapping[str, str]] = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3", "atrous_conv": "bn"}
    memory_format = torch.channels_last

    def build(self, settings: Mapping[str, Any]) -> nn.Module:
        return DeepLab(backbone=settings["backbone"], tap=settings["tap"])

    def settle(self) -> None:
        settle(self.network)

    def prepare(self, image: Image) -> Tensor:
        return network_input(np.asarray(image), self.settings["side"])

    def finish(self, outputs: Tensor, images: Sequence[Image]) -> list[Prediction]:
        """The probability, not the logit, is interpolated to each photograph's size (bilinear, pixel centres)."""
        forged = outputs.softmax(dim=1)[:, 1:]
        masks = to_masks(
            F.interpolate(one[None], image.shape[:2], mode="bilinear")[0, 0]
            for one, image in zip(forged, images, strict=True)
        )
        return [Prediction(mask=mask) for mask in masks]


def network_input(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """Float32 (3, side, side) of uint8 (H, W, 3): stretched by Pillow's bilinear filter, normalised.

    The filter averages where it shrinks.
    """
    picture = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    resized = np.asarray(picture.resize((side, side), PIL.Image.Resampling.BILINEAR))
    return normalise(to_tensor(Image(resized)))


def normalise(pixels: Tensor) -> Tensor:
    """ImageNet mean and deviation taken out of float32 (3, H, W) RGB in 0..255."""
    return (pixels / 255 - MEAN) / DEVIATION


def official_keys() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the public DeepLabV3+ (ResNet-101, two classes) that NCL's release is built on, in order."""
    return state_shapes(DeepLab)
