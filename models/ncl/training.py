"""How NCL learns: contrasts of patches, and pixels weighted at the contour at three sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imdl_bench.examples import Example
from imdl_bench.images import resize_mask
from imdl_bench.learner import TOTAL, Batch, Learner

from .layers import AuxiliaryHeads, DeepLab, PivotNetwork
from .loss import MU, TEMPERATURE, contrastive_loss, patch_labels, pivot_consistent_loss
from .model import network_input


class NCLLearner(Learner):
    """Equation (9): ``omega`` times the contrasts, and the pivot-consistent loss of the mask and two auxiliary ones.

    Options: ``omega``; ``temperature`` and ``most`` patches of a class and image, of the contrasts; ``mu`` and the
    ``contour_width``; ``auxiliary``, the weights of the encoder's and the decoder's auxiliary mask.
    """

    network: DeepLab
    defaults: ClassVar[Mapping[str, Any]] = {
        "omega": 0.01, "temperature": TEMPERATURE, "most": 1024, "mu": MU, "contour_width": 3, "auxiliary": [1, 1],
    }  # fmt: skip

    def __init__(self, network: nn.Module, options: Mapping[str, Any]) -> None:
        super().__init__(network, options)
        self.pivot = PivotNetwork(self.network.tap_channels)
        self.heads = AuxiliaryHeads()

    @staticmethod
    def inputs(example: Example, options: Mapping[str, Any]) -> Batch:
        """``image`` float32 (3, side, side) and ``truth`` bool (side, side), from an example of any size."""
        side = options["side"]
        return {"image": network_input(example.image, side), "truth": _stretched(example.truth, side)}

    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        chosen, truth = self.options, batch["truth"]
        features = self.network.features(batch["image"])
        most = chosen["most"]
        contrast = contrastive_loss(
            features.tap, patch_labels(truth, self.network.tap_stride), self.pivot,
            temperature=chosen["temperature"], most_tampered=most, most_authentic=most, most_contour=most,
            generator=None if self.training else torch.Generator().manual_seed(0),
        )  # fmt: skip
        mask, encoder, decoder = (
            pivot_consistent_loss([logits], truth, mu=chosen["mu"], width=chosen["contour_width"])
            for logits in (features.logits, *self.heads(features))
        )
        of_encoder, of_decoder = chosen["auxiliary"]
        total = chosen["omega"] * contrast + mask + of_encoder * encoder + of_decoder * decoder
        return {
            TOTAL: total, "contrast": contrast.detach(), "mask": mask.detach(),
            "encoder": encoder.detach(), "decoder": decoder.detach(),
        }  # fmt: skip


def _stretched(truth: NDArray[np.bool_], side: int) -> Tensor:
    """Bool (side, side): more than half forged, as the photograph is stretched."""
    return torch.from_numpy(resize_mask(truth, (side, side), PIL.Image.Resampling.BILINEAR))
