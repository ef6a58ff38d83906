"""Which images a report shows, and everything about each: the best, the middling, the worst, and false alarms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imdl_bench.distortions import NONE
from imdl_bench.records import Row, default_workers
from imdl_bench.report.pictures import Photographs, Picture, data_address, find_photographs, read_picture, stretch
from imdl_bench.report.same_images import SameImages
from imdl_bench.thumbnails import KeptMask
from imdl_bench.types import DONOR


@dataclass(frozen=True, slots=True)
class ModelMask:
    """What one model made of an image.

    Attributes:
        mask: the kept mask as a data address, empty where there is none.
        top: what white in it stands for.
        stretch: by how much its values are multiplied before they tint the photograph.
    """

    label: str
    value: str
    mask: str = ""
    top: float = 1.0
    stretch: float = 1.0


@dataclass(frozen=True, slots=True)
class Plate:
    """One image with its truth and the masks of all models. Sizes in pixels of the photograph."""

    sample: str
    about: str
    width: int
    height: int
    picture: Picture
    masks: tuple[ModelMask, ...]


@dataclass(frozen=True, slots=True)
class Shelf:
    """Images shown for one reason."""

    title: str
    about: str
    plates: tuple[Plate, ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """The shelves of runs on the same images; ``missing`` says why photographs are."""

    title: str
    missing: str
    shelves: tuple[Shelf, ...]


def make_gallery(group: SameImages, count: int) -> Gallery | None:
    """At most ``count`` images a shelf; ``None`` where no mask was kept or none is wanted."""
    chosen = _chosen(group, count) if group.level == NONE else []
    if not any(samples for _, _, samples in chosen):
        return None
    photographs = find_photographs(group.runs[0], default_workers())
    shown = [sample for _, _, samples in chosen for sample in samples]
    kept = [run.masks(shown) for run in group.runs]
    if not any(kept):
        return None
    shelves = [
        Shelf(title, about, tuple(_plate(group, sample, photographs, kept) for sample in samples))
        for title, about, samples in chosen
        if samples
    ]
    return Gallery(group.title, photographs.missing, tuple(shelves))


def _chosen(group: SameImages, count: int) -> list[tuple[str, str, list[str]]]:
    best, median, worst = _ranked(group, count)
    over_models = ", averaged over models" if len(group.runs) > 1 else ""
    by = f"by {group.value_name}{over_models}"
    return [
        ("Best found forgeries", by, best),
        ("Forgeries in the middle", f"around the median {by}", median),
        ("Worst found forgeries", by, worst),
        ("Worst false alarms", "pristine images with the highest mean of the mask" + over_models,
         _false_alarms(group, count)),
    ]  # fmt: skip


def _ranked(group: SameImages, count: int) -> tuple[list[str], list[str], list[str]]:
    """Forged images from the best down; those that all models have a value of, or else those that any has."""
    if group.metric is None:
        return [], [], []
    forged = np.array([group.row(sample).forged for sample in group.samples], bool)
    known = ~np.isnan(group.values)
    wanted = forged & known.all(axis=1)
    wanted = wanted if wanted.any() else forged & known.any(axis=1)
    places = np.flatnonzero(wanted)
    means = np.nanmean(group.values[places], axis=1) if len(places) else np.zeros(0)
    order = places[np.argsort(means if group.metric.statistic.lower_is_better else -means, kind="stable")]
    end = max(count, len(order) - count)
    between = order[count:end]
    first = max(0, (len(between) - count) // 2)
    parts = (order[:count], between[first : first + count], order[end:][::-1])
    best, median, worst = ([group.samples[place] for place in part] for part in parts)
    return best, median, worst


def _false_alarms(group: SameImages, count: int) -> list[str]:
    means = {}
    for sample in group.samples:
        found = [row.mask_mean for row in group.rows[sample] if row is not None and row.mask_mean is not None]
        if found and not group.row(sample).forged:
            means[sample] = sum(found) / len(found)
    return sorted(means, key=lambda sample: -means[sample])[:count]


def _plate(group: SameImages, sample: str, photographs: Photographs, kept: Sequence[dict[str, KeptMask]]) -> Plate:
    row = group.row(sample)
    place = group.samples.index(sample)
    masks = [
        _model_mask(label, _value(row, other, group.values[place, n]), kept[n].get(sample))
        for n, (label, other) in enumerate(zip(group.labels, group.rows[sample], strict=True))
    ]
    width, height = row.width or 1, row.height or 1
    second = "second image of a pair" if sample.endswith(DONOR) else ""
    size = f"{width} × {height}" if row.width else ""
    about = ", ".join(filter(None, (second, row.kind, None if row.forged else "pristine", size)))
    picture = read_picture(photographs, sample)
    return Plate(sample.removesuffix(DONOR), about, width, height, picture, tuple(masks))


def _value(row: Row, own: Row | None, value: float) -> str:
    """The metric of a forged image, the mask's mean of a pristine one."""
    if own is None or own.status != "ok":
        return "failed"
    if not row.forged:
        return "" if own.mask_mean is None else f"mean {own.mask_mean:.3f}"
    return "undefined" if math.isnan(value) else f"{value:.3f}"


def _model_mask(label: str, value: str, mask: KeptMask | None) -> ModelMask:
    if mask is None:
        return ModelMask(label, value)
    return ModelMask(label, value, data_address("jpeg", mask.jpeg), mask.top, stretch(mask))
