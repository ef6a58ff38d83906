"""Examples from a labelled data set: its training split, and what is held out of it to choose the best weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from imdl_bench import splits
from imdl_bench.catalog import dataset_card
from imdl_bench.dataset import Dataset, load_dataset
from imdl_bench.errors import DataError, ImageError, UsageError
from imdl_bench.examples import PRISTINE, Example
from imdl_bench.images import read_image, resize_nearest
from imdl_bench.types import Sample

TRAINING = ("training", "train")
TESTING = ("test", "testing")
VALIDATION = ("validation", "valid", "val")
HELD_OUT = 10  # one group in so many, where the data set has no validation split


@dataclass(frozen=True, slots=True)
class Labelled:
    """A :class:`~imdl_bench.examples.Source` of a data set's samples, shuffled anew in every epoch.

    Images have their own sizes where ``side`` is None.
    """

    dataset: Dataset
    samples: tuple[Sample, ...]
    side: int | None
    seed: int

    @property
    def epoch(self) -> int:
        return len(self.samples)

    @property
    def about(self) -> dict[str, object]:
        ids = "\n".join(sample.id for sample in self.samples)
        return {
            "dataset": f"{self.dataset.card.name}/{self.dataset.split}",
            "samples": len(self.samples),
            "ids_sha256": hashlib.sha256(ids.encode()).hexdigest(),
        }

    def example(self, number: int) -> Example:
        """Sample ``number`` in the order of its epoch, resized to ``side`` if any. Raises ImageError."""
        epoch, place = divmod(number, len(self.samples))
        order = np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(len(self.samples))
        sample = self.samples[order[place]]
        image, truth = self._resized(sample.image, sample, second=False)
        kind = (sample.kind or "forged") if sample.forged else PRISTINE
        found = Example(sample.id, image, truth, sample.forged, kind)
        if self.dataset.card.input == "single":
            return found
        if sample.donor is None:
            raise ImageError(f"{sample.id}: a pair without its second image")
        donor, donor_truth = self._resized(sample.donor, sample, second=True)
        return replace(found, donor=donor, donor_truth=donor_truth)

    def _resized(self, path: Path, sample: Sample, *, second: bool) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        image = read_image(path)
        read = self.dataset.read_donor_truth if second else self.dataset.read_truth
        truth, remark = read(sample, image.shape[:2])
        if truth is None:
            raise ImageError(f"{path}: {remark}")
        if self.side is None:
            return np.asarray(image), truth
        picture = PIL.Image.fromarray(np.ascontiguousarray(image))
        small = picture.resize((self.side, self.side), PIL.Image.Resampling.BICUBIC)
        return np.array(small), resize_nearest(truth, (self.side, self.side))


def open_labelled(
    name: str, root: Path | None, split: str | None, *, side: int | None, seed: int
) -> tuple[Labelled, Labelled]:
    """What is trained on and what is held out.

    Held out is the card's validation split where it has one, which is then left out of what is trained on, else every
    tenth group of related images, by name: where names tell the kind, every kind is held out.

    Raises:
        UsageError: no such data set or split; or the data set has a training split and none is named, but ``full``.
        DataError: the folder is not this data set, or has too few images to hold some out.
    """
    chosen = _training_split(name, split)
    dataset = load_dataset(name, root, chosen)
    samples = _with_truth(dataset)
    held_split = next((known for known in VALIDATION if known in dataset.card.splits and known != chosen), None)
    if held_split:
        held_set = load_dataset(name, root, held_split)
        held = _with_truth(held_set)
        kept = {_files(sample) for sample in held}
        samples = tuple(sample for sample in samples if _files(sample) not in kept)
    else:
        held_set = dataset
        chosen_groups = set(sorted({_group(sample) for sample in samples})[::-HELD_OUT])
        held = tuple(sample for sample in samples if _group(sample) in chosen_groups)
        samples = tuple(sample for sample in samples if _group(sample) not in chosen_groups)
    if not samples or not held:
        raise DataError(f"{name}/{chosen}: too few images with truth to train on some and hold others out")
    return Labelled(dataset, samples, side, seed), Labelled(held_set, held, side, seed)


def _training_split(name: str, split: str | None) -> str:
    known = splits.split_names(dataset_card(name))
    if split is not None:
        return split
    if own := next((each for each in TRAINING if each in known), None):
        return own
    if tested := next((each for each in TESTING if each in known), None):
        raise UsageError(
            f"{name} has a split {tested!r} and none called training: name the one to train on, --data {name}:SPLIT "
            f"({', '.join(known)})"
        )
    return "full"


def _with_truth(dataset: Dataset) -> tuple[Sample, ...]:
    return tuple(sample for sample in dataset.samples if sample.mask is not None or not sample.forged)


def _group(sample: Sample) -> str:
    return sample.group or sample.id


def _files(sample: Sample) -> tuple[Path, Path | None]:
    return sample.image, sample.donor
