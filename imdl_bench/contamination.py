"""Whether a model was trained on what it is tested on: the same images, the same photographs, or data nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imdl_bench import catalog, splits
from imdl_bench.cards import ModelCard
from imdl_bench.dataset import Dataset
from imdl_bench.errors import CardError, DataError, UsageError, nearest
from imdl_bench.types import Sample

CERTAIN, LIKELY = "certain: ", "likely: "


def contamination(trained_on: Sequence[str], dataset: Dataset, samples: Sequence[Sample]) -> str:
    """What a reader must know of numbers that weights ``trained_on`` some data get on ``samples`` of ``dataset``.

    Args:
        trained_on: ``DATASET`` or ``DATASET/SPLIT``, or names of other data, as on the model's card; empty where
            nobody knows.
        dataset: of which ``samples`` are tested. A training split of the same data set is selected from its index.
        samples: the images that are scored.

    Returns:
        Short statements joined by ``; ``, the gravest first. ``certain``: tested images or their base photographs
        (:attr:`Sample.group`) were trained on. ``likely``: two data sets are known to share photographs. ``overlap
        unknown``, ``not compared``, ``training data not known``: nobody can tell. Empty where everything was compared
        and nothing found.
    """
    if not trained_on:
        return "training data not known"
    entries = {entry: _known(entry) for entry in dict.fromkeys(trained_on)}
    found = []
    for entry, (name, split) in entries.items():
        if name == dataset.card.name and not dataset.card.any_content:
            found.append(_within_one_set(entry, split, dataset, samples))
        elif name:
            found.append(_between_sets(entry, name, dataset))
    other = [entry for entry, (name, _) in entries.items() if not name]
    if other:
        found.append(f"not compared: trained on {', '.join(other)}, not known here as data sets")
    gravity = (CERTAIN, LIKELY)
    said = [text for text in found if text]
    return "; ".join(sorted(said, key=lambda text: [not text.startswith(word) for word in gravity]))


def is_contaminated(statements: str) -> bool:
    """Whether :func:`contamination` found any that is certain or likely."""
    return statements.startswith((CERTAIN, LIKELY))


def refuse_unknown_training_data(card: ModelCard, path: Path) -> None:
    """Raise CardError where ``trained_on`` of the card at ``path`` names a split that a data set does not have.

    A name without a split may be that of any data; with one it must be of a data set that is known here.
    """
    for weights, entry in (card.weights or {}).items():
        for text in entry.trained_on:
            name, slash, split = text.partition("/")
            where = f"{path}: key 'weights.{weights}.trained_on': {text!r}"
            if slash and name not in catalog.list_datasets():
                raise CardError(f"{where}: no data set {name!r}{nearest(name, catalog.list_datasets())}")
            known = splits.split_names(catalog.dataset_card(name)) if slash else [split]
            if split not in known:
                raise CardError(f"{where}: {name} has no split {split!r}{nearest(split, known)}")


def _known(entry: str) -> tuple[str, str]:
    """Data set and split of an entry, or two empty names where no such data set is known here.

    Files of weights hold what people wrote: case and signs do not matter, and a split may be one that the card lacks.
    """
    name, _, split = entry.partition("/")
    by_letters = {_letters(known): known for known in catalog.list_datasets()}
    known = by_letters.get(_letters(name), "")
    return (known, split or "full") if known else ("", "")


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _within_one_set(entry: str, split: str, dataset: Dataset, samples: Sequence[Sample]) -> str:
    key = getattr(catalog.dataset_module(dataset.card.name), "split_key", splits.default_key)
    try:
        training, _ = splits.select(dataset.indexed, dataset.card, split, key)
    except (DataError, UsageError):
        training = []
    if not training:
        return f"overlap unknown: trained on {entry}, but the list of {entry} cannot be had or names no image here"
    seen, groups = {_files(sample) for sample in training}, {sample.group for sample in training if sample.group}
    rest = [sample for sample in samples if _files(sample) not in seen]
    related = sum(sample.group in groups for sample in rest)
    if related or len(rest) < len(samples):
        of = f"{len(samples) - len(rest)} of {len(samples)} images"
        return f"{CERTAIN}trained on {entry}: {of}, {related} more share their base photograph"
    doubts = _doubts(dataset, samples)
    return f"overlap unknown: trained on {entry}; none found, but {' and '.join(doubts)}" if doubts else ""


def _doubts(dataset: Dataset, samples: Sequence[Sample]) -> list[str]:
    """Why no shared photograph may have been found although there is one."""
    groupless = sum(sample.group is None for sample in samples)
    there, expected = sum(sample.forged for sample in dataset.indexed), dataset.card.expected.forged or 0
    doubts = [f"the base photographs of {groupless} images are not known"] if groupless else []
    return doubts + ([f"only {there} of {expected} forged images are here"] if there < expected else [])


def _files(sample: Sample) -> tuple[Path, Path | None]:
    """What makes two samples the same: lists that repeat a name number its ids."""
    return sample.image, sample.donor


def _between_sets(entry: str, name: str, dataset: Dataset) -> str:
    card = catalog.dataset_card(name)
    if card.any_content or dataset.card.any_content:
        return f"not compared: trained on {entry}; what {name} and {dataset.card.name} hold is up to their user"
    why = dataset.card.shares.get(name) or card.shares.get(dataset.card.name)
    return f"{LIKELY}trained on {entry}, which shares photographs with {dataset.card.name} ({why})" if why else ""
