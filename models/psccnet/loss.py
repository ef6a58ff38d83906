"""What PSCC-Net is trained on: four masks against the truth at four sizes, and the detection head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, cross_entropy

from .heads import SIZES

FORMS = ("official", "paper")
# A quarter of the authors' training pictures is authentic.
CLASS_WEIGHTS = (1 / 0.25, 1 / 0.75)


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars, before they are added: one per scale (finest first), the detection head's, and what is minimised."""

    masks: list[Tensor]
    detection: Tensor
    total: Tensor


def training_loss(
    masks: Sequence[Tensor],
    logits: Tensor,
    truths: Sequence[Tensor],
    forged: Tensor,
    form: Literal["official", "paper"] = "official",
) -> Losses:
    """The loss of a batch.

    ``official`` is the authors' code, which made the published weights: the sum of four class-balanced binary cross
    entropies and a class-weighted cross entropy. ``paper`` is the paper's equation 5: plain ones, and the mean of the
    four.

    Args:
        masks: float32 or float64 (B, 1, h, h) in [0, 1], the finest first.
        logits: float32 or float64 (B, 2): authentic, forged.
        truths: bool (B, 1, h, h), of the masks' sizes; see :func:`truth_at_scales`.
        forged: int64 (B,), 0 or 1.
    """
    if form == "paper":
        terms = [binary_cross_entropy(mask, truth.to(mask.dtype)) for mask, truth in zip(masks, truths, strict=True)]
        detection = cross_entropy(logits, forged)
        return Losses(terms, detection, torch.stack(terms).mean() + detection)
    terms = [balanced_cross_entropy(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
    detection = cross_entropy(logits, forged, weight=logits.new_tensor(CLASS_WEIGHTS))
    return Losses(terms, detection, torch.stack(terms).sum() + detection)


def balanced_cross_entropy(mask: Tensor, truth: Tensor) -> Tensor:
    """Binary cross entropy in which forged and pristine pixels of the batch weigh a half each.

    Plain where the batch has no forged pixel.
    """
    truth_values = truth.to(mask.dtype)
    fraction = truth_values.mean()
    weights = torch.where(truth, 0.5 / fraction, 0.5 / (1 - fraction)) if fraction > 0 else None
    return binary_cross_entropy(mask, truth_values, weight=weights)


def truth_at_scales(mask: NDArray[Any]) -> list[NDArray[np.bool_]]:
    """A truth (256, 256), nonzero = forged, at the sizes of the four masks: bicubic, more than half forged."""
    picture = PIL.Image.fromarray((np.asarray(mask) != 0).astype(np.uint8) * 255)
    smaller = (picture.resize((size, size), PIL.Image.Resampling.BICUBIC) for size in SIZES[1:])
    return [np.asarray(each) > 127 for each in (picture, *smaller)]
