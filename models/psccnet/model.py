"""PSCC-Net (Liu, Liu, Chen and Liu, IEEE TCSVT 2022): masks from coarse to fine, and a score of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from imdl_bench.torch_model import TorchModel, on_gpu, state_shapes, to_masks, to_tensor
from imdl_bench.types import Image, Prediction

from .heads import DetectionHead, MaskBranch, resample
from .layers import HRNet
from .tiles import tiled_features

# On a CPU: every picture, however small, costs two attentions of 4096 x 4096. On a GPU a batch holds what fits.
IMAGES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Outputs:
    """For a batch of B pictures.

    Attributes:
        masks: the finest first, float32 (B, 1, h, h) in [0, 1], h = 256, 128, 64, 32; fewer where stopped early.
        logits: float32 (B, 2): authentic, forged.
    """

    masks: list[Tensor]
    logits: Tensor


class Network(nn.Module):
    """The three parts, which the authors keep in a file each."""

    def __init__(self, stop_at_scale: int = 1, without: Sequence[str] = ()) -> None:
        super().__init__()
        self.backbone = HRNet()
        self.masks = MaskBranch(stop_at_scale, without)
        self.head = DetectionHead()

    def forward(self, batch: Tensor) -> Outputs:
        """Float32 (B, 3, H, W) RGB in [0, 1], H and W >= 16, in one piece."""
        return self.from_features(resample(self.backbone(batch)))

    def from_features(self, features: Sequence[Tensor]) -> Outputs:
        """From the backbone's resampled maps."""
        return Outputs(self.masks(features), self.head(features))


class PSCCNet(TorchModel):
    """Pictures at their own size, RGB / 255; the mask is made at 256 x 256 (or coarser) and enlarged."""

    network: Network
    followers: ClassVar[Mapping[str, str]] = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"}
    memory_format = torch.channels_last
    tile = 1024

    def build(self, settings: Mapping[str, Any]) -> nn.Module:
        return Network(settings["stop_at_scale"], settings["without"])

    @staticmethod
    def official_name(key: str) -> str:
        return key.partition(".")[2]

    def compiled_parts(self) -> list[tuple[nn.Module, str]]:
        backbone = self.network.backbone
        return [(backbone, "stem"), (backbone, "branches"), (self.network, "from_features")]

    def prepare(self, image: Image) -> Tensor:
        return network_input(image)

    def forward(self, batch: Tensor) -> Outputs:
        parts = [
            self.network.from_features(tiled_features(self.network.backbone, part, self.tile))
            for part in torch.split(batch, len(batch) if on_gpu(batch.device) else IMAGES_AT_ONCE)
        ]
        masks = [torch.cat(scale) for scale in zip(*(part.masks for part in parts), strict=True)]
        return Outputs(masks, torch.cat([part.logits for part in parts]))

    def finish(self, outputs: Outputs, images: Sequence[Image]) -> list[Prediction]:
        masks = to_masks(
            interpolate(small[None], size=image.shape[:2], mode="bilinear", align_corners=True)[0, 0]
            for image, small in zip(images, outputs.masks[0], strict=True)
        )
        predictions = []
        for mask, score in zip(masks, outputs.logits.softmax(dim=1)[:, 1].tolist(), strict=True):
            if self.settings["score"] == "mask-mean":
                score = float(mask.mean(dtype=float))
            predictions.append(Prediction(mask=mask, score=score))
        return predictions


def network_input(pixels: NDArray[np.uint8]) -> Tensor:
    """Float32 (3, H, W) in [0, 1] of uint8 (H, W, 3), at its own size."""
    return to_tensor(pixels.view(Image)) / 255


def official_keys() -> dict[str, tuple[int, ...]]:
    """Key and shape of every tensor of the authors' three files: HRNet.pth, NLCDetection.pth, DetectionHead.pth."""
    return {f"module.{PSCCNet.official_name(key)}": shape for key, shape in state_shapes(Network).items()}
