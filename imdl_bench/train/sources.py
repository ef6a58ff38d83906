"""Where the examples of a stage come from: manipulations made of photographs, or a labelled data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imdl_bench.cards import ModelCard, Stage
from imdl_bench.catalog import dataset_card
from imdl_bench.errors import UsageError
from imdl_bench.examples import Source
from imdl_bench.train.labelled import open_labelled
from imdl_bench.train.recipes import DATASET


@dataclass(frozen=True, slots=True)
class Material:
    """What the user gives to learn from.

    Attributes:
        photos: folder of photographs that manipulations are made of.
        dataset: ``NAME`` or ``NAME:SPLIT`` of a labelled data set.
        root: its folder.
    """

    photos: Path | None = None
    dataset: str | None = None
    root: Path | None = None


def open_sources(card: ModelCard, stage: Stage, material: Material, *, seed: int) -> tuple[Source, Source]:
    """What a stage is trained on and what is held out for its validation.

    Raises:
        UsageError: the photographs or the data set are not given, or are not there, or do not suit the model.
        DataError: the folder is not what it should be.
    """
    if stage.data != DATASET:
        if material.photos is None:
            raise UsageError(f"stage {stage.name} makes {stage.data} out of photographs: give --photos DIR")
        from imdl_bench.synthesis.mixes import open_mix

        assert stage.side is not None, "the card refuses it"
        training = open_mix(stage.data, material.photos, seed=seed, side=stage.side, part="training")
        return training, open_mix(stage.data, material.photos, seed=seed, side=stage.side, part="held-out")
    assert material.dataset is not None, "recipes without a data set for such a stage are refused when read"
    name, _, split = material.dataset.partition(":")
    data = dataset_card(name)
    if data.input != card.input:
        raise UsageError(f"{name} holds {_words(data.input)}, but {card.name} takes {_words(card.input)}")
    return open_labelled(name, material.root, split or None, side=stage.side, seed=seed)


def trained_on(source: Source) -> str:
    """The name of what was learned from, as files of weights say it."""
    about = source.about
    if "dataset" in about:
        return str(about["dataset"])
    return f"photographs {str(about['photographs_sha256'])[:8]}"


def _words(kind: str) -> str:
    return "pairs of images" if kind == "pair" else "single images"
