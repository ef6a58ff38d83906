"""ELA-PPM: a photograph and its ELA image, both at 576 x 576 or less, to a tampering mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imdl_bench.torch_model import TorchModel, state_shapes, to_masks, to_tensor
from imdl_bench.types import Image, Prediction

from .error_level import ela_image
from .layers import TwoStreamPyramidNet, resized

TAMPERED = 1


class ElaPpm(TorchModel):
    """ELA-PPM as a model. ``mask`` is the softmax probability of class 1, resized bilinearly to the photograph."""

    network: TwoStreamPyramidNet
    # Not the first convolution: the means over the whole picture add up what its weights lose by rounding, to 2e-5.
    followers: ClassVar[Mapping[str, str]] = {"conv_dw": "bn1", "conv_pw": "bn2", "conv1": "bn1"}
    memory_format = torch.channels_last

    def build(self, settings: Mapping[str, Any]) -> nn.Module:
        return TwoStreamPyramidNet(settings["alpha"], settings["width"])

    def prepare(self, image: Image) -> Tensor:
        return network_input(np.asarray(image), self.settings)

    def compiled_parts(self) -> list[tuple[nn.Module, str]]:
        return [(self.network, "fused"), (self.network, "decide")]

    def forward(self, batch: Tensor) -> Tensor:
        # Traces of JPEG are one or two levels of grey strong, and half precision does not hold 256 of them.
        with torch.autocast(batch.device.type, enabled=False):
            fused = self.network.fused(batch)
        return self.network.decide(fused, batch.shape[-2:])

    def finish(self, outputs: Tensor, images: Sequence[Image]) -> list[Prediction]:
        tampered = outputs.float().softmax(dim=1)[:, TAMPERED:]
        masks = to_masks(
            resized(probability[None], torch.Size(image.shape[:2]))[0, 0]
            for probability, image in zip(tampered, images, strict=True)
        )
        return [Prediction(mask=mask) for mask in masks]


def network_input(pixels: NDArray[np.uint8], settings: Mapping[str, Any]) -> Tensor:
    """Float32 (6, side, side) in [0, 1] of uint8 (H, W, 3): RGB, then ELA made at the photograph's own resolution.

    Raises:
        ImageError: a side above 65,500 pixels, which JPEG cannot hold.
    """
    ela = ela_image(pixels, settings["amplification"])
    return torch.cat([_squeezed(pixels, settings["side"]), _squeezed(ela, settings["side"])])


def official_keys() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the network with default settings. No authors' files exist, so they are our own."""
    return state_shapes(lambda: TwoStreamPyramidNet(alpha=1.0, width=512))


def _squeezed(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """Float32 (3, side, side) in [0, 1], aspect not kept; Pillow's bicubic weighs all pixels where it shrinks."""
    picture = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    return to_tensor(np.asarray(picture.resize((side, side), PIL.Image.Resampling.BICUBIC)).view(Image)) / 255
