"""What ELA-PPM is trained on: every pixel's probability of having been tampered with, against the truth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def tampering_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross entropy (paper section 4.2) of the softmax probability of class 1: the mean over all pixels.

    The softmax of two logits is the sigmoid of their difference, so this is also their cross entropy.

    Args:
        logits: (B, 2, H, W); anything below float32 is raised to it, under autocast too.
        truth: bool (B, H, W), True = tampered.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    with torch.autocast(logits.device.type, enabled=False):
        return binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], truth.to(logits.dtype))
