"""A data set on disk, ready to be read: its samples, how its truth is decoded, and what was remarked on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args, overload

import numpy as np
from numpy.typing import NDArray

from imdl_bench import catalog, splits
from imdl_bench.cache import cache_dir
from imdl_bench.cards import DatasetCard
from imdl_bench.errors import DataError, ImageError, UsageError, nearest
from imdl_bench.images import Forged, SizePolicy, fit_mask, read_image, read_mask
from imdl_bench.types import DONOR, Image, Sample


@dataclass(frozen=True, slots=True)
class Dataset(Sequence[Sample]):
    """The samples of one split, a sequence of :class:`Sample`.

    Attributes:
        card: the data set's card.
        root: the folder (or list file) it was indexed from.
        split: name of the split.
        samples: in a fixed order, ids unique.
        forged: which value of a mask file means forged, polarity already detected.
        size_mismatch: what happens where mask and image differ in size.
        remarks: what a reader of the numbers must know, such as missing files.
        indexed: every sample found under ``root``, of which a split takes some.
    """

    card: DatasetCard
    root: Path
    split: str
    samples: tuple[Sample, ...]
    forged: Forged
    size_mismatch: SizePolicy
    remarks: tuple[str, ...]
    indexed: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    @overload
    def __getitem__(self, item: int) -> Sample: ...
    @overload
    def __getitem__(self, item: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, item: int | slice) -> Sample | tuple[Sample, ...]:
        return self.samples[item]

    def __repr__(self) -> str:
        forged = sum(sample.forged for sample in self.samples)
        return f"<{self.card.name}/{self.split}: {forged} forged, {len(self) - forged} pristine, {self.root}>"

    def read_truth(self, sample: Sample, shape: tuple[int, int]) -> tuple[NDArray[np.bool_] | None, str | None]:
        """The truth bool (H, W) of a sample whose image has ``shape``, and a remark where its size did not fit.

        A pristine sample without a mask is all zero; a forged one without a mask has no truth: ``None``.

        Raises:
            ImageError: the mask cannot be read, or its size does not fit and the policy is ``error``.
        """
        return self._truth(sample.mask, forged=sample.forged, shape=shape)

    def read_donor_truth(self, sample: Sample, shape: tuple[int, int]) -> tuple[NDArray[np.bool_] | None, str | None]:
        """As :meth:`read_truth`, for the second image of a pair."""
        return self._truth(sample.donor_mask, forged=sample.forged, shape=shape)

    def read(self, sample: Sample) -> tuple[Image, NDArray[np.bool_] | None]:
        """The decoded image and its truth. Raises ImageError."""
        image = read_image(sample.image)
        return image, self.read_truth(sample, image.shape[:2])[0]

    def _truth(
        self, mask: Path | None, *, forged: bool, shape: tuple[int, int]
    ) -> tuple[NDArray[np.bool_] | None, str | None]:
        if mask is None:
            return (None, "forged, but no truth is given") if forged else (np.zeros(shape, bool), None)
        try:
            return fit_mask(read_mask(mask, self.forged), shape, self.size_mismatch)
        except ImageError as error:
            raise ImageError(str(error) if str(mask) in str(error) else f"{mask}: {error}") from None


def load_dataset(
    name: str,
    root: Path | str | None = None,
    split: str = "full",
    *,
    split_file: Path | str | None = None,
    size_mismatch: SizePolicy | None = None,
    forged: Forged | None = None,
) -> Dataset:
    """Index a data set.

    Args:
        name: as in :func:`imdl_bench.list_datasets`.
        root: the folder or list file; a built-in data set needs none.
        split: ``full`` or a split of the card.
        split_file: a list of names to use in place of the card's.
        size_mismatch: ``error``, ``skip``, ``resize`` or ``transpose`` in place of the card's policy.
        forged: ``white``, ``black`` or ``green`` in place of the card's convention.

    Raises:
        UsageError: no such data set or split, or no ``root`` given.
        DataError: the folder is not this data set.
    """
    card = catalog.dataset_card(name)
    _refuse_unknown("size_mismatch", size_mismatch, get_args(SizePolicy))
    _refuse_unknown("forged", forged, get_args(Forged))
    folder = _root(card, root)
    samples = catalog.dataset_index(name)(folder)
    if not samples:
        raise DataError(f"{name}: nothing found under {folder}; run `imdl-bench check {name} --data {folder}`")
    _refuse_bad_ids(name, samples)
    module = catalog.dataset_module(name)
    remarks = _count_remarks(card, samples) if split == "full" and "full" not in card.splits else []
    key = getattr(module, "split_key", splits.default_key)
    chosen, split_remarks = splits.select(samples, card, split, key, Path(split_file) if split_file else None)
    remarks += getattr(module, "remarks", lambda _: [])(folder)
    convention = forged or getattr(module, "mask_forged", lambda _: card.mask.forged)(samples)
    if convention == "detect":
        convention, remark = detect_forged(samples)
        remarks = [*remarks, remark]
    policy = size_mismatch or card.mask.size_mismatch
    remarks += split_remarks
    return Dataset(card, folder, split, tuple(chosen), convention, policy, tuple(remarks), tuple(samples))


def detect_forged(samples: Sequence[Sample], looked_at: int = 64) -> tuple[Forged, str]:
    """Decide between white and black = forged by the mean share over many masks: forgery is the smaller side.

    Single masks do not decide (a few forgeries cover more than half); the mean over a set does.
    """
    masks = [sample.mask for sample in samples if sample.mask is not None]
    step = max(1, len(masks) // looked_at)
    shares = []
    for path in masks[::step]:
        try:
            shares.append(float(read_mask(path).mean()))
        except ImageError:  # the run records unreadable masks one by one
            continue
    if not shares:
        return "white", "no mask could be read to tell its polarity; white is taken as forged"
    white = float(np.mean(shares))
    forged: Forged = "white" if white <= 0.5 else "black"
    return forged, f"mask polarity detected: {forged} = forged (white covers {white:.1%} of {len(shares)} masks)"


def _root(card: DatasetCard, root: Path | str | None) -> Path:
    if root is not None:
        folder = Path(root).expanduser()
        if not str(folder).isascii() and any("\udc80" <= letter <= "\udcff" for letter in str(folder)):
            raise DataError(f"{card.name}: the path {str(folder)!r} is not UTF-8; rename the folder")
        if not folder.exists():
            raise DataError(f"{card.name}: {folder} does not exist")
        return folder
    if not card.built_in:
        raise UsageError(f"{card.name} is not built in: give its folder with --data DIR ({card.source})")
    return cache_dir() / f"{card.name}-{catalog.fingerprint('datasets', card.name)[:12]}"


def _refuse_unknown(option: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UsageError(f"{option}={value!r} is none of {', '.join(known)}{nearest(value, known)}")


def _refuse_bad_ids(name: str, samples: Sequence[Sample]) -> None:
    seen: set[str] = set()
    for sample in samples:
        if not sample.id.isprintable() and "\udc80" <= max(sample.id) <= "\udcff":
            raise DataError(f"{name}: the file name {sample.id!r} is not UTF-8; rename the file")
        if sample.id.endswith(DONOR):
            raise DataError(f"{name}: the id {sample.id!r} must not end in {DONOR!r}, the mark of a second image")
        if sample.id in seen:
            raise DataError(f"{name}: the id {sample.id!r} occurs twice; ids are the key of every table")
        seen.add(sample.id)


def _count_remarks(card: DatasetCard, samples: Sequence[Sample]) -> list[str]:
    found = {
        "forged": sum(sample.forged for sample in samples),
        "pristine": sum(not sample.forged for sample in samples),
    }
    expected = {"forged": card.expected.forged, "pristine": card.expected.pristine}
    differ = [
        f"{found[side]} of {count} {side}"
        for side, count in expected.items()
        if count is not None and found[side] != count
    ]
    if not differ:
        return []
    return [f"{card.name}: {' and '.join(differ)} images found; to list them: imdl-bench check {card.name} --data DIR"]
