"""DMAC's losses (paper III-D). Means are over the batch; where paper and released code differ, the code's is here."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Adversary = Literal["bce", "hinge"]


def soft_label(masks: Tensor, size: tuple[int, int] = (32, 32)) -> Tensor:
    """Masks (B, H, W) of 0 and 1 at the logits' size: bilinear between aligned corners, no smoothing. float64."""
    return F.interpolate(masks.double().unsqueeze(1), size, mode="bilinear", align_corners=True).squeeze(1)


def hard_label(soft: Tensor) -> Tensor:
    """int64 classes for :func:`mask_loss`: truncated, so that only cells with no pristine pixel behind them are forged.

    Of those a few are lost as well (5 of 182 in the reference case): weights of theirs add up to 0.9999999999999999.
    """
    return soft.long()


def mask_loss(logits_a: Tensor, logits_b: Tensor, label_a: Tensor, label_b: Tensor) -> Tensor:
    """Cross entropy of both masks, the mean over all cells of each, added: (B, 2, h, w) and int64 (B, h, w).

    Equation (9) prints the sum over the cells, 1024 times as much.
    """
    return F.cross_entropy(logits_a, label_a) + F.cross_entropy(logits_b, label_b)


def detection_loss(generated: Tensor, label: Tensor) -> Tensor:
    """Equation (11), for DMAC: logits (B, 2) of the detection network on generated masks; label 1 = correlated pair."""
    return F.cross_entropy(generated, label)


def detector_loss(generated: Tensor, true: Tensor, label: Tensor) -> Tensor:
    """Equation (12), for the detection network: its logits (B, 2) on generated and on true masks."""
    return F.cross_entropy(generated, label) + F.cross_entropy(true, label)


def deception_loss(generated_a: Tensor, generated_b: Tensor, adversary: Adversary) -> Tensor:
    """Equation (13) or (15), for DMAC: logits (B, 1) of the discriminator on the generated masks of a and b."""
    if adversary == "hinge":
        return -generated_a.mean() - generated_b.mean()
    return _bce(generated_a, 1) + _bce(generated_b, 1)


def discriminator_loss(
    generated_a: Tensor, generated_b: Tensor, true_a: Tensor, true_b: Tensor, adversary: Adversary
) -> Tensor:
    """Equation (14) or (16), for the discriminator: its logits (B, 1) on generated and on true masks."""
    if adversary == "hinge":
        hinges = [F.relu(1 - true_a), F.relu(1 - true_b), F.relu(1 + generated_a), F.relu(1 + generated_b)]
        return torch.stack([hinge.mean() for hinge in hinges]).sum()
    return _bce(generated_a, 0) + _bce(generated_b, 0) + _bce(true_a, 1) + _bce(true_b, 1)


def total_loss(mask: Tensor, detection: Tensor, deception: Tensor) -> Tensor:
    """Equation (8) with the weights of DMAC-adv, 0.01 and 0.01."""
    return mask + 0.01 * detection + 0.01 * deception


def _bce(logits: Tensor, target: int) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
