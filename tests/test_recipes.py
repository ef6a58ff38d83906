"""Every recipe of every model: readable, with a learner that exists and an optimiser for each of its turns."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from imdl_bench import train
from imdl_bench.cards import Budget, Method, ModelCard, RecipeCard, Stage, read_card
from imdl_bench.images import read_image
from imdl_bench.learner import Learner
from imdl_bench.metrics import parse_metric
from imdl_bench.train.labelled import open_labelled

MODELS = Path(__file__).resolve().parents[1] / "models"
MIXES = {"unified", "four-kinds", "anomalies", "patches", "pairs"}
CARDS = {path.parent.name: read_card(path, RecipeCard) for path in sorted(MODELS.glob("*/recipe.yaml"))}
STAGES = [
    pytest.param(model, stage, id=f"{model}-{name}-{stage.name}")
    for model, card in CARDS.items()
    for name, recipe in card.recipes.items()
    for stage in recipe.stages
]


METHODS = STAGES + [pytest.param(model, card.unified, id=f"{model}-unified") for model, card in CARDS.items()]


def learner(model: str, method: Method) -> type[Learner]:
    module, name = method.learner.split(":")
    found = getattr(importlib.import_module(f"imdl_bench.models.{model}.{module}"), name)
    assert issubclass(found, Learner)
    return found


@pytest.mark.parametrize(("model", "method"), METHODS)
def test_every_turn_has_an_optimiser(model: str, method: Method) -> None:
    assert set(method.optimizers) == {turn.name for turn in learner(model, method).turns}


@pytest.mark.parametrize(("model", "method"), METHODS)
def test_every_option_is_one_that_the_learner_or_the_model_has(model: str, method: Method) -> None:
    settings = read_card(MODELS / model / "card.yaml", ModelCard).settings
    assert set(method.options) <= set(learner(model, method).defaults) | set(settings)


@pytest.mark.parametrize(("model", "stage"), STAGES)
def test_every_stage_can_be_fed_and_judged(model: str, stage: Stage) -> None:
    assert stage.data in MIXES | {"dataset"}
    assert stage.watch == "loss" or parse_metric(stage.watch).name == stage.watch
    assert stage.samples >= stage.validate_every >= stage.batch
    assert stage.schedule.name != "step" or stage.schedule.every > 0
    assert stage.schedule.name != "plateau" or stage.schedule.patience > 0


@pytest.mark.parametrize("model", CARDS)
def test_every_recipe_says_where_it_comes_from(model: str) -> None:
    for recipe in CARDS[model].recipes.values():
        assert len(recipe.source) > 20
        assert len({stage.name for stage in recipe.stages}) == len(recipe.stages)
        assert recipe.stages[0].keep == [""], "there is no stage before the first"


def test_the_unified_budget_is_valid_and_alike_for_all() -> None:
    budget = read_card(Path(train.__file__).with_name("unified.yaml"), Budget)
    assert budget.data == "unified"
    assert parse_metric(budget.watch).name == budget.watch
    for card in CARDS.values():
        assert budget.samples > 100 * card.unified.batch
        assert card.unified.schedule.warmup < budget.samples


@pytest.mark.parametrize(
    ("data", "side", "valid"), [("dataset", None, True), ("unified", 64, True), ("unified", None, False)]
)
def test_only_data_sets_have_sizes_of_their_own(data: str, side: int | None, valid: bool) -> None:
    stage = {
        "name": "whole", "learner": "training:Any", "optimizers": {"network": {"name": "adam", "lr": 0.1}}, "batch": 1,
        "data": data, "side": side, "samples": 1, "validate_every": 1, "validation": 1,
    }  # fmt: skip
    if valid:
        assert Stage.model_validate(stage).side == side
    else:
        with pytest.raises(ValidationError, match="side is null"):
            Stage.model_validate(stage)


def test_images_of_a_data_set_keep_their_size_where_no_side_is_given() -> None:
    native, _ = open_labelled("sample", None, "full", side=None, seed=0)
    square, _ = open_labelled("sample", None, "full", side=64, seed=0)
    for number in range(3):
        example, small = native.example(number), square.example(number)
        path = next(sample.image for sample in native.samples if sample.id == example.id == small.id)
        np.testing.assert_array_equal(example.image, read_image(path))
        assert example.truth.shape == example.image.shape[:2] != small.truth.shape == (64, 64)
