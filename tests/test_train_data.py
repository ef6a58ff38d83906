"""What is learned from: recipes as the command line changes them, data sets, examples that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from imdl_bench.cards import Recipe
from imdl_bench.errors import DataError, ImageError, TrainingError, UsageError
from imdl_bench.examples import Example
from imdl_bench.train.labelled import open_labelled
from imdl_bench.train.loading import Share, augmented, live_workers, next_readable
from imdl_bench.train.recipes import on_dataset, scaled

STAGE = {"learner": "training:L", "optimizers": {"network": {"name": "adam", "lr": 1}}, "batch": 4, "side": 32,
         "validation": 4, "schedule": {"name": "step", "every": 300, "warmup": 100}}  # fmt: skip


def test_a_scaled_recipe_keeps_its_schedule_and_validations_in_proportion() -> None:
    first, second = scaled(_recipe(), 400).stages
    assert (first.samples, second.samples) == (100, 300)
    assert (first.validate_every, second.validate_every) == (20, 1)
    assert (first.schedule.every, first.schedule.warmup) == (30, 10)
    assert scaled(_recipe(), None, 8).stages[1].batch == 8


def test_a_data_set_takes_the_place_that_the_recipe_has_for_one() -> None:
    recipe = _recipe()
    assert [stage.data for stage in on_dataset(recipe, "paper", "paper", "edits").stages] == ["unified", "dataset"]
    with pytest.raises(UsageError, match="stage b learns from a data set"):
        on_dataset(recipe, "paper", "paper", None)
    mixes = recipe.model_copy(update={"stages": recipe.stages[:1]})
    with pytest.raises(UsageError, match="learns from unified, made from --photos"):
        on_dataset(mixes, "paper", "paper", "edits")
    assert on_dataset(mixes, "unified", "unified", "edits").stages[0].data == "dataset"


def test_related_images_are_never_on_both_sides_and_every_epoch_holds_each_once(with_plugin: Path) -> None:
    training, held = open_labelled("edits", with_plugin / "data", None, side=32, seed=3)
    groups = [{sample.group for sample in source.samples} for source in (training, held)]
    assert not groups[0] & groups[1]
    assert training.epoch + held.epoch == 12
    epochs = [[training.example(number).id for number in range(10 * e, 10 * e + 10)] for e in range(2)]
    assert training.epoch == 10
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(sample.id for sample in training.samples)
    assert epochs[0] != epochs[1]
    example = training.example(0)
    assert (example.image.shape, example.truth.shape, example.truth.any()) == ((32, 32, 3), (32, 32), example.forged)


def test_the_splits_of_a_data_set_are_used_by_their_names(with_plugin: Path) -> None:
    card = with_plugin / "datasets/edits/card.yaml"
    text = card.read_text()
    ids = {"train": ["00", "01", "02", "03"], "validation": ["04", "05"]}
    lines = "".join(f"  {name}: {{about: some, ids: [{', '.join(map(repr, each))}]}}\n" for name, each in ids.items())
    card.write_text(f"{text}splits:\n{lines}")
    training, held = open_labelled("edits", with_plugin / "data", None, side=32, seed=0)
    assert (training.epoch, held.epoch) == (4, 2)
    assert training.about["dataset"] == "edits/train"
    card.write_text(f"{text}splits:\n  test: {{about: some, ids: ['00']}}\n")
    with pytest.raises(UsageError, match="has a split 'test' and none called training"):
        open_labelled("edits", with_plugin / "data", None, side=32, seed=0)


@dataclass(frozen=True)
class _Broken:
    """Examples of which some cannot be read."""

    broken: frozenset[int]
    epoch: int | None = None
    about: dict[str, object] = field(default_factory=dict)

    def example(self, number: int) -> Example:
        if number in self.broken:
            raise ImageError(f"{number}.png: truncated")
        return Example(str(number), np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), bool), False, "pristine")


def test_the_next_number_stands_in_for_a_picture_that_cannot_be_read() -> None:
    source = _Broken(frozenset({3, 4}))
    example, skipped = next_readable(source, 3)
    assert (example.id, skipped) == ("5", [(3, "3.png: truncated"), (4, "4.png: truncated")])
    with pytest.raises(DataError, match=r"in a row cannot be read; the last one: 99\.png"):
        next_readable(_Broken(frozenset(range(100))), 0)


@pytest.mark.parametrize(
    "said", ["DataLoader worker (pid 7) is killed by signal: Killed. ", "DataLoader timed out after 9 s"]
)
def test_workers_that_are_gone_end_the_training_with_advice(said: str) -> None:
    with pytest.raises(TrainingError, match="give the same command again"), live_workers():
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="shape"), live_workers():
        raise RuntimeError("shape mismatch")


def test_processes_share_out_every_number_once_and_go_on_where_they_were() -> None:
    shares = [list(islice(iter(Share(2, 8, rank, 3)), 2)) for rank in range(3)]
    assert shares == [[[8, 9], [14, 15]], [[10, 11], [16, 17]], [[12, 13], [18, 19]]]


def test_augmentation_moves_image_and_truth_together_and_depends_on_the_number_alone() -> None:
    truth = np.arange(16).reshape(4, 4) % 5 == 0
    image = np.repeat(truth[..., None], 3, axis=2).astype(np.uint8)
    example = Example("x", image, truth, True, "splicing", image, truth)
    seen = set()
    for number in range(64):
        moved = augmented(example, "dihedral", 1, number)
        assert np.array_equal(moved.image[..., 0].astype(bool), moved.truth)
        assert np.array_equal(moved.donor_truth, moved.truth)
        seen.add(moved.truth.tobytes())
    everything = {np.rot90(side, k).tobytes() for side in (truth, truth[:, ::-1]) for k in range(4)}
    assert seen == everything
    assert np.array_equal(augmented(example, "dihedral", 1, 5).truth, augmented(example, "dihedral", 1, 5).truth)
    flips = {augmented(example, "flip", 1, number).truth.tobytes() for number in range(16)}
    assert flips == {truth.tobytes(), truth[:, ::-1].tobytes()}


def _recipe() -> Recipe:
    stages = [
        STAGE | {"name": "a", "data": "unified", "samples": 1000, "validate_every": 200},
        STAGE | {"name": "b", "data": "dataset", "samples": 3000, "validate_every": 1},
    ]
    return Recipe.model_validate({"source": "made by the tests", "stages": stages})
