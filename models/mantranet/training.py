"""How ManTra-Net learns: the extractor tells manipulations apart, then the whole network finds them (section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from imdl_bench.errors import UsageError
from imdl_bench.examples import Example
from imdl_bench.images import as_image
from imdl_bench.learner import TOTAL, Batch, Learner, Turn
from imdl_bench.torch_model import to_tensor

from .layers import DecisionBlock
from .loss import accuracy, classification_loss, mask_loss
from .model import ManTraNetwork


class ExtractorLearner(Learner):
    """The extractor under a decision block that is thrown away; the detector does not move.

    Options: ``classes``, how many the data have.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"classes": 380}
    turns = (Turn("extractor", ("network.IMTFE.", "decision.")),)
    network: ManTraNetwork

    def __init__(self, network: ManTraNetwork, options: Mapping[str, Any]) -> None:
        super().__init__(network, options)
        self.decision = DecisionBlock(options["classes"])

    @staticmethod
    def inputs(example: Example, options: Mapping[str, Any]) -> Batch:
        """``image`` float32 (3, H, W) in -1..1 and ``label``, int64."""
        if example.label is None or not 0 <= example.label < options["classes"]:
            raise UsageError(
                f"{example.id}: class {example.label}, but the extractor learns {options['classes']} classes from 0 up;"
                " choose data of manipulation classes, and as many `classes` as they have"
            )
        return {"image": network_input(example), "label": torch.tensor(example.label)}

    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        logits = self.decision(self.network.IMTFE(batch["image"])).float()
        return {
            TOTAL: classification_loss(logits, batch["label"]),
            "accuracy": accuracy(logits.detach(), batch["label"]),
        }

    def constrain(self) -> None:
        self.network.constrain()


class WholeLearner(Learner):
    """Extractor and detector against the truth. BatchNorm's statistics are those of training; the LSTM is float32."""

    network: ManTraNetwork

    @staticmethod
    def inputs(example: Example, options: Mapping[str, Any]) -> Batch:
        """``image`` float32 (3, H, W) in -1..1 and ``truth`` bool (H, W)."""
        return {"image": network_input(example), "truth": torch.from_numpy(example.truth)}

    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        return {TOTAL: mask_loss(self.network(batch["image"]), batch["truth"])}

    def constrain(self) -> None:
        self.network.constrain()


def network_input(example: Example) -> Tensor:
    return to_tensor(as_image(example.image)) / 255 * 2 - 1
