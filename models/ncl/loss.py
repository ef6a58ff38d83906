"""Losses of NCL's training: contrasts of tampered, authentic and contour patches, and pixels weighted at the contour.

Equations (7) and (8) of Zhou et al., ICCV 2023, with the minus signs that their print lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import PivotNetwork

AUTHENTIC, TAMPERED, CONTOUR = 0, 1, 2
TEMPERATURE = 0.1  # the paper gives none
MU = 0.9
# A patch of ReLU features can be all zero; the slope of its normalisation is then 1 / LEAST_NORM.
LEAST_NORM = 1e-3


def patch_labels(mask: Tensor, stride: int) -> Tensor:
    """Class of every position of a map at ``stride``: int64 (B, ceil(H / stride), ceil(W / stride)).

    From the truth (B, H, W) of zeros and ones: TAMPERED or AUTHENTIC where all ``stride`` x ``stride`` pixels that a
    position owns agree, else CONTOUR (NCL, Fig. 2). Resizing the truth would have no contour, or a wrong one.
    """
    share = F.avg_pool2d(mask[:, None].float(), stride, ceil_mode=True)[:, 0]
    labels = torch.full(share.shape, CONTOUR, device=mask.device)
    return labels.masked_fill(share == 1, TAMPERED).masked_fill(share == 0, AUTHENTIC)


def contrastive_terms(
    tampered: Tensor, authentic: Tensor, pivot: tuple[Tensor, Tensor] | None, temperature: float = TEMPERATURE
) -> Tensor:
    """The three terms of equation (7) for one image: tampered patches, se+ and se- as anchors. (3,), >= 0.

    Each is a mean of -log(e^s / (e^s + sum of e^s over the negatives)) with s the dot product / ``temperature``: the
    denominator has the one positive of the numerator only. Anchor and positive are two different tampered patches in
    the first term. Computed as softplus(logsumexp(negatives) - s), which cannot overflow.

    Args:
        tampered: (P, C), of unit length where s shall be the cosine.
        authentic: (N, C).
        pivot: se+ and se-, each (C,); ``None`` without a contour patch: the second and third term are then 0.

    All terms are 0 without a tampered or without an authentic patch, the first with a single tampered one.
    """
    first = second = third = tampered.new_zeros(())
    if len(tampered) and len(authentic):
        if len(tampered) > 1:
            positives = tampered @ tampered.T / temperature
            negatives = (tampered @ authentic.T / temperature).logsumexp(dim=1, keepdim=True)
            others = ~torch.eye(len(tampered), dtype=torch.bool, device=tampered.device)
            first = F.softplus(negatives - positives)[others].mean()
        if pivot is not None:
            plus, minus = pivot
            second = F.softplus((authentic @ plus / temperature).logsumexp(0) - tampered @ plus / temperature).mean()
            third = F.softplus((tampered @ minus / temperature).logsumexp(0) - authentic @ minus / temperature).mean()
    return torch.stack((first, second, third))


def contrastive_loss(
    features: Tensor,
    labels: Tensor,
    pivot: PivotNetwork,
    *,
    temperature: float = TEMPERATURE,
    most_tampered: int = 1024,
    most_authentic: int = 1024,
    most_contour: int = 1024,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Equation (7) with cosine similarity, per image, then the mean over the images: a float32 scalar, never NaN.

    Patches are compared within their own image only, as the pivot is one image's. At stride 4 a 512 x 512 crop has
    16,384 patches, so at most ``most_*`` of each class are drawn per image, without replacement; fewer authentic ones
    shift the loss by about the logarithm of their share.

    Args:
        features: the tapped map (B, C, h, w); computed in float32 even under autocast.
        labels: int64 (B, h, w) of :func:`patch_labels`.
        generator: of the draw, on the CPU; torch's own where ``None``.
    """
    with torch.autocast(features.device.type, enabled=False):
        vectors = features.float().flatten(2).transpose(1, 2)
        classes = labels.flatten(1)
        caps = {AUTHENTIC: most_authentic, TAMPERED: most_tampered, CONTOUR: most_contour}
        drawn = [
            {kind: image[_draw(kinds == kind, cap, generator)] for kind, cap in caps.items()}
            for image, kinds in zip(vectors, classes, strict=True)
        ]
        pivots = _pivots([patches[CONTOUR] for patches in drawn], pivot)
        sums = [
            contrastive_terms(_unit(patches[TAMPERED]), _unit(patches[AUTHENTIC]), of_image, temperature).sum()
            for patches, of_image in zip(drawn, pivots, strict=True)
        ]
        return torch.stack(sums).mean()


def contour_band(mask: Tensor, width: int = 3) -> Tensor:
    """Contour pixels: bool (B, H, W), where dilation and erosion by an odd ``width`` x ``width`` square differ.

    The morphological gradient of a truth (B, H, W) of zeros and ones; nothing lies beyond the image's edge. The paper
    does not define its contour pixels.
    """
    pixels = mask[:, None].float()
    dilated = F.max_pool2d(pixels, width, stride=1, padding=width // 2)
    eroded = -F.max_pool2d(-pixels, width, stride=1, padding=width // 2)
    return (dilated > eroded)[:, 0]


def contour_weighted_loss(logits: Tensor, mask: Tensor, *, mu: float = MU, width: int = 3) -> Tensor:
    """Equation (8) at one size: mu x mean over contour pixels + (1 - mu) x mean over all pixels of the cross entropy.

    Per image, then the mean over images: a float32 scalar (float64 for such logits). An image without a contour has
    no first part.

    Args:
        logits: (B, 2, H, W); their softmax's cross entropy is the binary one of their difference.
        mask: (B, H, W) of zeros and ones.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    difference = logits[:, 1] - logits[:, 0]
    with torch.autocast(logits.device.type, enabled=False):
        entropy = F.binary_cross_entropy_with_logits(difference, mask.to(difference.dtype), reduction="none")
    band = contour_band(mask, width)
    of_contour = (entropy * band).sum((1, 2)) / band.sum((1, 2)).clamp(min=1)
    return (mu * of_contour + (1 - mu) * entropy.mean((1, 2))).mean()


def pivot_consistent_loss(outputs: Sequence[Tensor], mask: Tensor, *, mu: float = MU, width: int = 3) -> Tensor:
    """Sum of :func:`contour_weighted_loss` over outputs (B, 2, h, w) of any size: the network's and auxiliary ones.

    The truth (B, H, W) is shrunk to each size by the nearest pixel, and the contour is found there.
    """
    terms = [
        contour_weighted_loss(
            logits,
            F.interpolate(mask[:, None].float(), logits.shape[-2:], mode="nearest-exact")[:, 0],
            mu=mu,
            width=width,
        )
        for logits in outputs
    ]
    return torch.stack(terms).sum()


def _draw(chosen: Tensor, cap: int, generator: torch.Generator | None) -> Tensor:
    places = chosen.nonzero()[:, 0]
    if len(places) <= cap:
        return places
    order = torch.randperm(len(places), generator=generator)[:cap]
    return places[order.to(places.device)]


def _pivots(contours: Sequence[Tensor], pivot: PivotNetwork) -> list[tuple[Tensor, Tensor] | None]:
    """Unit se+ and se- per image, ``None`` where there is no contour patch to make them of."""
    counts = [len(contour) for contour in contours]
    # BatchNorm has no statistics of a single vector.
    if sum(counts) < (2 if pivot.training else 1):
        return [None] * len(counts)
    device = contours[0].device
    owner = torch.arange(len(counts), device=device).repeat_interleave(torch.tensor(counts, device=device))
    plus, minus = pivot(torch.cat(list(contours)), owner, len(counts))
    return [(p, m) if count else None for p, m, count in zip(_unit(plus), _unit(minus), counts, strict=True)]


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=1, eps=LEAST_NORM)
