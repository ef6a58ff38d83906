"""Samples with their pixels: each file is decoded once, each level of distortion is made from that decode."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdl_bench.dataset import Dataset
from imdl_bench.distortions import NONE, Distortion
from imdl_bench.errors import ImageError, ImdlBenchError
from imdl_bench.geometry import Distorted
from imdl_bench.images import read_image
from imdl_bench.types import DONOR, Image, Sample


@dataclass(frozen=True, slots=True)
class Decoded:
    """A sample with its pixels after a distortion, or the reason why there are none.

    ``moved`` brings masks back to where the truths are.
    """

    sample: Sample
    position: int
    images: tuple[Image, ...] = ()
    truths: tuple[NDArray[np.bool_] | None, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    file_size: int | None = None
    distortion: str = NONE
    moved: tuple[Distorted, ...] = ()

    @property
    def pixels(self) -> int:
        """Of all its images."""
        return sum(image.shape[0] * image.shape[1] for image in self.images)


def decode(dataset: Dataset, sample: Sample, position: int, *, with_truth: bool) -> Decoded:
    """Read a sample's images and, where they are wanted, its truths."""
    try:
        image = _read_only(sample.image)
        truth, remark = dataset.read_truth(sample, image.shape[:2]) if with_truth else (None, None)
        size = sample.image.stat().st_size
        found = Decoded(sample, position, (image,), (truth,), (remark,) if remark else (), file_size=size)
        if dataset.card.input == "single":
            return found
        if sample.donor is None:
            raise ImageError(f"{sample.id}: a pair without its second image")
        donor = _read_only(sample.donor)
        donor_truth = dataset.read_donor_truth(sample, donor.shape[:2])[0] if with_truth else None
        return replace(found, images=(image, donor), truths=(truth, donor_truth))
    except (ImageError, OSError) as error:
        return Decoded(sample, position, reason=str(error))


def distort(clean: Decoded, distortion: Distortion, seed: int) -> Decoded:
    """A decoded sample after a distortion; of a pair, both images are distorted, each in its own draw."""
    if not distortion.steps or clean.reason is not None:
        return replace(clean, distortion=distortion.name)
    keys = (clean.sample.id, clean.sample.id + DONOR)
    try:
        moved = tuple(
            distortion.apply(image, seed=seed, sample=key, truth=truth)
            for image, truth, key in zip(clean.images, clean.truths, keys, strict=False)
        )
        truths = tuple(
            None if truth is None else each.move_truth(truth) for truth, each in zip(clean.truths, moved, strict=True)
        )
    except ImdlBenchError as error:
        return replace(clean, distortion=distortion.name, images=(), truths=(), reason=str(error))
    for each in moved:
        each.image.flags.writeable = False
    return replace(clean, distortion=distortion.name, images=tuple(m.image for m in moved), truths=truths, moved=moved)


def _read_only(path: Path) -> Image:
    """All models of a run see one decode: none may write into it."""
    image = read_image(path)
    image.flags.writeable = False
    return image
