"""How PSCC-Net learns: all three parts together, from four masks and the decision about the whole picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imdl_bench.errors import UsageError, nearest
from imdl_bench.examples import Example
from imdl_bench.images import resize_mask
from imdl_bench.learner import TOTAL, Batch, Learner

from .heads import SIZES
from .loss import FORMS, training_loss, truth_at_scales
from .model import Network, network_input


class PSCCNetLearner(Learner):
    """Options: ``loss``, ``official`` (the authors' code) or ``paper`` (equation 5); see :func:`loss.training_loss`.

    Raises:
        UsageError: another loss.
    """

    network: Network
    defaults: ClassVar[Mapping[str, Any]] = {"loss": "official"}

    def __init__(self, network: nn.Module, options: Mapping[str, Any]) -> None:
        super().__init__(network, options)
        form = self.options["loss"]
        if form not in FORMS:
            raise UsageError(f"option loss: no {form!r}{nearest(str(form), FORMS)} ({', '.join(FORMS)})")
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        self._momentum_of = {norm: norm.momentum or 0.0 for norm in norms}

    @staticmethod
    def inputs(example: Example, options: Mapping[str, Any]) -> Batch:
        """``image`` float32 (3, H, W) in [0, 1]; ``truth256`` to ``truth32`` bool (1, h, h); ``forged`` int64, 0 or 1.

        The truth is as the masks are, 256 pixels a side and less, whatever the image's size.
        """
        truths = truth_at_scales(_at_full_size(example.truth))
        named = {f"truth{len(truth)}": torch.from_numpy(truth)[None] for truth in truths}
        return named | {"image": network_input(example.image), "forged": torch.tensor(int(example.forged))}

    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        if self.training:
            self._weigh_statistics()
        outputs = self.network(batch["image"])
        # A network that stops early has the coarser masks only.
        sizes = SIZES[-len(outputs.masks) :]
        with torch.autocast(batch["image"].device.type, enabled=False):
            found = training_loss(
                outputs.masks, outputs.logits, [batch[f"truth{size}"] for size in sizes], batch["forged"],
                self.options["loss"],
            )  # fmt: skip
        masks = {f"mask{size}": loss.detach() for size, loss in zip(sizes, found.masks, strict=True)}
        return {TOTAL: found.total, "detection": found.detection.detach(), **masks}

    def _weigh_statistics(self) -> None:
        """Running statistics are the plain mean of the batches seen, until their momentum gives a batch more weight.

        The first convolutions are so small (deviation 0.001) that variances are near 1e-6: at a momentum of 0.01 the
        initial 1 would outweigh them for a thousand steps, and every validation until then would judge another network.
        """
        tracked = self.network.backbone.bn1.num_batches_tracked
        assert tracked is not None
        seen = int(tracked)
        for norm, momentum in self._momentum_of.items():
            norm.momentum = max(momentum, 1 / (seen + 1))


def _at_full_size(truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bool (256, 256): bicubic as in the authors' code, more than half forged; as it is where it has that size."""
    return resize_mask(truth, (SIZES[0], SIZES[0]), PIL.Image.Resampling.BICUBIC)
