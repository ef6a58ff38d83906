"""DMAC: what two photographs share, marked in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from imdl_bench.torch_model import TorchPairModel, state_shapes, to_mask
from imdl_bench.types import Image, Prediction

from .heads import DetectionNet, masked
from .layers import MEAN_BGR, Described, DMACNet

SIDE = 256
WINDOWS = ((0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE))


@dataclass(frozen=True, slots=True)
class Matched:
    """One pair: both masks (S, S) in [0, 1] at the network's size, and the pair's score in [0, 1]."""

    probe: Tensor
    donor: Tensor
    score: float


class DMAC(TorchPairModel):
    """Deep matching with atrous convolution (Liu et al., arXiv 1809.02791).

    Settings: ``window`` is ``whole`` or ``sliding``, ``score`` is ``mask`` or ``detection-net``; see the README.
    """

    network: DMACNet
    followers: ClassVar[Mapping[str, str]] = {}  # all are neighbours
    memory_format = torch.channels_last

    def build(self, settings: Mapping[str, Any]) -> DMACNet:
        return DMACNet(DetectionNet() if settings["score"] == "detection-net" else None)

    @staticmethod
    def official_name(key: str) -> str:
        """The released detection network is a file of its own, whose keys have no prefix."""
        return key.removeprefix("detector.")

    def compiled_parts(self) -> list[tuple[nn.Module, str]]:
        return [(self.network, "levels"), (self.network.classifier, "forward")]

    def prepare(self, image: Image) -> Tensor:
        """(3, 256, 256), see :func:`network_input`; to slide, (15, 256, 256): the four windows of 512 x 512 follow."""
        whole = network_input(image, SIDE)
        if self.settings["window"] == "whole":
            return whole
        large = network_input(image, 2 * SIDE)
        return torch.cat([whole, *(large[:, top : top + SIDE, left : left + SIDE] for top, left in WINDOWS)])

    def forward(self, probes: Tensor, donors: Tensor) -> list[Matched]:
        """One pair at a time: convolutions of a batch round differently, which can decide between near-equal shifts."""
        return [self._match(probe, donor) for probe, donor in zip(probes, donors, strict=True)]

    def finish(self, outputs: list[Matched], probes: Sequence[Image], donors: Sequence[Image]) -> list[Prediction]:
        return [
            Prediction(mask=_resized(pair.probe, probe), donor_mask=_resized(pair.donor, donor), score=pair.score)
            for pair, probe, donor in zip(outputs, probes, donors, strict=True)
        ]

    def _match(self, probe: Tensor, donor: Tensor) -> Matched:
        probes, donors = probe.view(-1, 3, SIDE, SIDE), donor.view(-1, 3, SIDE, SIDE)
        described = self.network.describe(probes), self.network.describe(donors)
        whole = self.network.match(described[0].one(0), described[1].one(0))
        if self.settings["window"] == "whole":
            masks = [forged_probability(logits, SIDE) for logits in whole]
        else:
            masks = self._slide(*described)
            for mask, logits in zip(masks, whole, strict=True):
                torch.maximum(mask, forged_probability(logits, 2 * SIDE), out=mask)
        if self.network.detector is None:
            score = (region_score(masks[0]) + region_score(masks[1])) / 2
        else:
            seen = [
                masked(images[:1], logits.softmax(1)[:, 1])
                for images, logits in zip((probes, donors), whole, strict=True)
            ]
            score = float(self.network.detector(*seen).float().softmax(1)[0, 1])
        return Matched(masks[0], masks[1], score)

    def _slide(self, probe: Described, donor: Described) -> list[Tensor]:
        """Every window of one photograph against every window of the other, the largest probability at each pixel."""
        masks = [torch.zeros(2 * SIDE, 2 * SIDE, device=probe.own.device) for _ in range(2)]
        for place_a, (top_a, left_a) in enumerate(WINDOWS, start=1):
            for place_b, (top_b, left_b) in enumerate(WINDOWS, start=1):
                logits = self.network.match(probe.one(place_a), donor.one(place_b))
                corners = ((top_a, left_a), (top_b, left_b))
                for mask, one, (top, left) in zip(masks, logits, corners, strict=True):
                    window = mask[top : top + SIDE, left : left + SIDE]
                    torch.maximum(window, forged_probability(one, SIDE), out=window)
        return masks


def official_keys() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the released network's state dict, in its order."""
    return state_shapes(DMACNet)


def network_input(image: NDArray[np.uint8], side: int) -> Tensor:
    """uint8 (H, W, 3) RGB to float32 (3, side, side): BGR in 0..255 less the mean, resized without keeping the ratio.

    Bilinear between pixel centres, with no smoothing before it: OpenCV's INTER_LINEAR on floating-point pixels.
    """
    pixels = np.asarray(image)
    upper, lower, share = _between(pixels.shape[0], side)
    rows = pixels[upper] * (1 - share)[:, None, None] + pixels[lower] * share[:, None, None]
    left, right, share = _between(pixels.shape[1], side)
    resized = rows[:, left] * (1 - share)[:, None] + rows[:, right] * share[:, None]
    centred = resized[..., ::-1] - np.array(MEAN_BGR, np.float32)
    return torch.from_numpy(np.ascontiguousarray(centred.transpose(2, 0, 1)))


def forged_probability(logits: Tensor, side: int) -> Tensor:
    """From logits (1, 2, h, w) to float32 (side, side) in [0, 1]: the logits are stretched, corner to corner."""
    large = F.interpolate(logits.float(), (side, side), mode="bilinear", align_corners=True)
    return large.softmax(1)[0, 1]


def region_score(mask: Tensor) -> float:
    """Mean of what lies above 0.5 (paper IV-D); 0 where nothing does."""
    region = mask[mask > 0.5]
    return float(region.mean()) if len(region) else 0.0


def _between(n: int, side: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The two source pixels of each new one, and the share of the second."""
    centre = np.clip((np.arange(side) + 0.5) * n / side - 0.5, 0, n - 1)
    first = np.floor(centre).astype(np.intp)
    return first, np.minimum(first + 1, n - 1), (centre - first).astype(np.float32)


def _resized(mask: Tensor, image: Image) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    large = cv2.resize(to_mask(mask), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(large, 0, 1, out=large))
