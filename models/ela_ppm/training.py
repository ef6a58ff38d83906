"""How ELA-PPM learns: the whole network against the truth at the network's own size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from imdl_bench.examples import Example
from imdl_bench.images import resize_mask
from imdl_bench.learner import TOTAL, Batch, Learner

from .loss import tampering_loss
from .model import network_input


class ElaPpmLearner(Learner):
    """Cross entropy of every pixel. Options: the settings of the model (``amplification``, ``side``), nothing else."""

    @staticmethod
    def inputs(example: Example, options: Mapping[str, Any]) -> Batch:
        """``image`` float32 (6, side, side) and ``truth`` bool (side, side), from an example of any size."""
        return {"image": network_input(example.image, options), "truth": _squeezed(example.truth, options["side"])}

    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        return {TOTAL: tampering_loss(self.network(batch["image"]), batch["truth"])}


def _squeezed(truth: NDArray[np.bool_], side: int) -> Tensor:
    """Bool (side, side): more than half forged, as the photograph is squeezed."""
    return torch.from_numpy(resize_mask(truth, (side, side), PIL.Image.Resampling.BICUBIC))
