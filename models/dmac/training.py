"""How DMAC learns: by cross entropy (paper III-D, equation 9), then against two judges (III-E, Algorithm 2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from imdl_bench.checkpoint import read_tensors
from imdl_bench.errors import UsageError
from imdl_bench.examples import Example
from imdl_bench.learner import TOTAL, Batch, Learner, Turn

from .correspondence import correspondence_loss, warped
from .heads import DetectionNet, Discriminator, masked, masked_by_class
from .layers import STRIDE, DMACNet, load_vgg
from .loss import (
    deception_loss,
    detection_loss,
    detector_loss,
    discriminator_loss,
    hard_label,
    mask_loss,
    soft_label,
    total_loss,
)
from .model import SIDE, network_input
from .starting import centre_features

# torchvision's VGG16_Weights.IMAGENET1K_V1: RGB in 0..1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# A detection network inside the network has a turn of its own.
NETWORK = Turn("network", ("network.Scale_", "network.classifier."))
DETECTOR = Turn("detector", ("detector.", "network.detector."))
DISCRIMINATOR = Turn("discriminator", ("discriminator.",))


class MaskLearner(Learner):
    """Cross entropy of both masks at an eighth of the photographs' side.

    Options: ``vgg``, a file of torchvision's VGG16 (``IMAGENET1K_V1``) to start the extractor from; absent or null, it
    starts as it is.

    The authors also swap both images of a whole batch at random. The network and this loss treat them alike, so that
    would change nothing, and is left out.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"vgg": None}
    turns: ClassVar[tuple[Turn, ...]] = (NETWORK,)
    network: DMACNet

    def __init__(self, network: DMACNet, options: Mapping[str, Any]) -> None:
        super().__init__(network, options)
        if file := self.options["vgg"]:
            load_vgg(network, read_tensors(Path(file)), IMAGENET_MEAN, IMAGENET_STD)

    @staticmethod
    def inputs(example: Example, options: Mapping[str, Any]) -> Batch:
        """Both photographs (3, S, S) as the network sees them, and both truths (S / 8, S / 8), soft and as classes."""
        if example.donor is None or example.donor_truth is None:
            raise UsageError(f"{example.id}: DMAC learns from pairs, and this is one image; choose data of pairs")
        side = example.image.shape[0]
        cells = -(-side // STRIDE)
        truths = torch.stack([torch.from_numpy(example.truth), torch.from_numpy(example.donor_truth)])
        soft = soft_label(truths, (cells, cells))
        probe_class, donor_class = hard_label(soft)
        return {
            "probe": network_input(example.image, side), "donor": network_input(example.donor, side),
            "probe_class": probe_class, "donor_class": donor_class,
            "probe_truth": soft[0].float(), "donor_truth": soft[1].float(),
            "correlated": torch.tensor(int(example.forged)),
        }  # fmt: skip

    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        probe, donor = self.logits(batch)
        return {TOTAL: mask_loss(probe, donor, batch["probe_class"], batch["donor_class"])}

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """float32 (B, 2, h, w) of probes and donors."""
        probe, donor = self.network(batch["probe"], batch["donor"])
        return probe.float(), donor.float()


class CorrespondenceLearner(MaskLearner):
    """:func:`correspondence_loss` of the donors: a first stage for extractors that start from random weights.

    Options: ``start``, ``given`` (default) or ``centred``: :func:`centre_features`, which weights that have learned
    something must be spared.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"vgg": None, "start": "given"}
    turns = (Turn("extractor", ("network.Scale_",)),)

    def __init__(self, network: DMACNet, options: Mapping[str, Any]) -> None:
        super().__init__(network, options)
        start = self.options["start"]
        if start not in ("given", "centred"):
            raise UsageError(f"start {start!r}; write given or centred")
        if start == "centred":
            centre_features(network)

    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        images = batch["donor"]
        with torch.random.fork_rng(enabled=not self.training):
            if not self.training:
                torch.manual_seed(0)
            copies, places, inside = warped(images)
        levels = self.network.levels(images), self.network.levels(copies)
        with torch.autocast(images.device.type, enabled=False):
            return {TOTAL: correspondence_loss(*levels, places, inside)}


class AdversarialLearner(MaskLearner):
    """DMAC against a detection network and a discriminator, in the released code's order.

    DMAC steps first; the judges then step on the same batch, with the masks from before that step. The detection
    network is the network's own where the model's setting says so, and is thrown away otherwise.

    Options: ``adversary``, ``bce`` (default) or ``hinge``.
    """

    defaults: ClassVar[Mapping[str, Any]] = {"vgg": None, "adversary": "bce"}
    turns = (NETWORK, DETECTOR, DISCRIMINATOR)

    def __init__(self, network: DMACNet, options: Mapping[str, Any]) -> None:
        super().__init__(network, options)
        self.adversary = self.options["adversary"]
        if self.adversary not in ("bce", "hinge"):
            raise UsageError(f"adversary {self.adversary!r}; write bce or hinge")
        self.discriminator = Discriminator()
        # One module must not have two names in a state dict.
        self.detector = DetectionNet() if network.detector is None else None

    @staticmethod
    def inputs(example: Example, options: Mapping[str, Any]) -> Batch:
        """As :meth:`MaskLearner.inputs`; the judges are made for 32 x 32 cells, so the side must be 256."""
        if example.image.shape[0] != SIDE:
            raise UsageError(f"a side of {example.image.shape[0]}: DMAC's judges need {SIDE}")
        return MaskLearner.inputs(example, options)

    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        if turn == NETWORK.name:
            return self._network_losses(batch)
        if "probe_mask" not in batch:
            with torch.no_grad():
                self._leave_masks(batch, *self.logits(batch))
        with torch.autocast(batch["probe"].device.type, enabled=False):
            return {TOTAL: self._detector_loss(batch) if turn == DETECTOR.name else self._discriminator_loss(batch)}

    def _network_losses(self, batch: Batch) -> dict[str, Tensor]:
        probe, donor = self.logits(batch)
        mask = mask_loss(probe, donor, batch["probe_class"], batch["donor_class"])
        self._leave_masks(batch, probe, donor)
        # Estimates of singular values need more than 8 bits.
        with torch.autocast(batch["probe"].device.type, enabled=False):
            masks = probe.softmax(1)[:, 1], donor.softmax(1)[:, 1]
            detection = detection_loss(self._detected(batch, *masks), batch["correlated"])
            deception = deception_loss(*self._judged(batch, *masks), self.adversary)
        return {
            TOTAL: total_loss(mask, detection, deception),
            "mask": mask.detach(), "detection": detection.detach(), "deception": deception.detach(),
        }  # fmt: skip

    def _detector_loss(self, batch: Batch) -> Tensor:
        generated = self._detected(batch, batch["probe_mask"], batch["donor_mask"])
        true = self._detected(batch, batch["probe_truth"], batch["donor_truth"])
        return detector_loss(generated, true, batch["correlated"])

    def _discriminator_loss(self, batch: Batch) -> Tensor:
        generated = self._judged(batch, batch["probe_mask"], batch["donor_mask"])
        true = self._judged(batch, batch["probe_truth"], batch["donor_truth"])
        return discriminator_loss(*generated, *true, self.adversary)

    def _leave_masks(self, batch: Batch, probe: Tensor, donor: Tensor) -> None:
        batch["probe_mask"] = probe.detach().softmax(1)[:, 1]
        batch["donor_mask"] = donor.detach().softmax(1)[:, 1]

    def _detected(self, batch: Batch, probe: Tensor, donor: Tensor) -> Tensor:
        """Logits (B, 2) of the detection network on masks (B, 32, 32)."""
        detector = self.detector or self.network.detector
        assert detector is not None
        logits: Tensor = detector(masked(batch["probe"], probe), masked(batch["donor"], donor))
        return logits

    def _judged(self, batch: Batch, probe: Tensor, donor: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 1) of the discriminator on masks (B, 32, 32), one after the other."""
        first: Tensor = self.discriminator(masked_by_class(batch["probe"], probe))
        return first, self.discriminator(masked_by_class(batch["donor"], donor))


class JudgesFirstLearner(AdversarialLearner):
    """As the paper's Algorithm 2: the judges step first, and DMAC after them on a new batch."""

    turns = (DETECTOR, DISCRIMINATOR, Turn(NETWORK.name, NETWORK.parameters, fresh=True))
