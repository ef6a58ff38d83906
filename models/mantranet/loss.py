"""ManTra-Net's losses: cross entropy in both stages (Wu et al. 2019, section 5). Means over all pixels of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Of the manipulation at every pixel: logits float32 (B, classes, H, W), int64 (B,), one manipulation per image."""
    return F.cross_entropy(logits, _everywhere(labels, logits))


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the pixels whose likeliest class is right."""
    return (logits.argmax(1) == _everywhere(labels, logits)).float().mean()


def mask_loss(masks: Tensor, truths: Tensor) -> Tensor:
    """Binary cross entropy of probabilities float32 (B, 1, H, W) in [0, 1] against bool (B, H, W), True = forged.

    The network ends in a sigmoid; to take its output for logits, as IMDL-BenCo does, would apply a second one.
    """
    # Autocast refuses this loss, even on float32.
    with torch.autocast(masks.device.type, enabled=False):
        return F.binary_cross_entropy(masks.float().squeeze(1), truths.float())


def _everywhere(labels: Tensor, logits: Tensor) -> Tensor:
    return labels[:, None, None].expand(-1, *logits.shape[2:])
