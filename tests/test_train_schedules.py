"""Learning rates against values computed by hand, and optimisers against what their card says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from imdl_bench.cards import OptimizerCard, ScheduleCard, Stage
from imdl_bench.errors import CardError
from imdl_bench.train.progress import Progress
from imdl_bench.train.schedules import rate_factor
from imdl_bench.train.stage import build_optimizer

STEP = {"name": "step", "factor": 0.1, "every": 30}


@pytest.mark.parametrize(
    ("schedule", "seen", "expected"),
    [
        ({"name": "constant"}, 99, 1.0),
        (STEP, 0, 1.0),
        (STEP, 29, 1.0),
        (STEP, 30, 0.1),
        (STEP, 90, 0.001),
        ({"name": "poly", "power": 0.9}, 0, 1.0),
        ({"name": "poly", "power": 0.9}, 50, 0.5**0.9),
        ({"name": "poly", "power": 2.0}, 75, 0.0625),
        ({"name": "cosine"}, 0, 1.0),
        ({"name": "cosine"}, 50, 0.5),
        ({"name": "cosine"}, 25, (1 + math.sqrt(0.5)) / 2),
        ({"name": "cosine"}, 100, 0.0),
        ({"name": "plateau", "factor": 0.5, "patience": 1}, 70, 0.25),
        ({"name": "constant", "warmup": 20}, 0, 0.2),
        ({"name": "constant", "warmup": 20}, 12, 0.8),
        ({"name": "constant", "warmup": 20}, 16, 1.0),
        ({"name": "cosine", "warmup": 100}, 50, 0.54 * 0.5),
    ],
)
def test_rates_are_those_computed_by_hand(schedule: dict, seen: int, expected: float) -> None:
    card = ScheduleCard(**schedule)
    found = rate_factor(card, seen, 100, step=4, reductions=2)
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_plateau_lowers_the_rate_after_its_patience_and_again_after_as_long() -> None:
    stage = _stage(schedule={"name": "plateau", "patience": 2}, watch="loss")
    progress = Progress()
    reductions = []
    for value in (3.0, 2.0, 2.5, 2.1, 2.2, 2.2, 1.0, 1.5):
        progress.take_validation(stage, value)
        reductions.append(progress.reductions)
    assert reductions == [0, 0, 0, 1, 1, 2, 2, 2]
    assert progress.best == 1.0


def test_a_stage_ends_early_when_nothing_got_better_for_its_patience() -> None:
    stage = _stage(patience=2, watch="pixel_auc/per-image")
    progress = Progress()
    over = []
    for value in (0.5, 0.7, float("nan"), 0.8, 0.8, 0.7):
        progress.take_validation(stage, value)
        over.append(progress.stage_over(stage))
    assert over == [False, False, False, False, False, True]
    assert progress.best == 0.8


def test_rates_go_to_the_parameters_that_their_longest_prefix_names() -> None:
    network = nn.ModuleDict({"body": nn.Linear(1, 1), "head": nn.Linear(1, 1)})
    card = OptimizerCard(name="sgd", lr=0.1, momentum=0.9, rates={"head.": 10.0, "head.bias": 20.0})
    optimizer = build_optimizer(card, dict(network.named_parameters()))
    found = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    named = {name: found[id(parameter)] for name, parameter in network.named_parameters()}
    assert named == {"body.weight": 0.1, "body.bias": 0.1, "head.weight": 1.0, "head.bias": 2.0}
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


def test_an_optimiser_says_which_of_its_keys_does_not_fit() -> None:
    parameters = {"weight": nn.Parameter(torch.zeros(1))}
    with pytest.raises(CardError, match="betas"):
        build_optimizer(OptimizerCard(name="sgd", lr=0.1, betas=(0.9, 0.99)), parameters)
    with pytest.raises(CardError, match="did you mean 'weight'"):
        build_optimizer(OptimizerCard(name="sgd", lr=0.1, rates={"weigth": 2.0}), parameters)


def _stage(**changed: object) -> Stage:
    content = {"name": "s", "learner": "training:L", "optimizers": {"network": {"name": "adam", "lr": 1}}, "batch": 4,
               "data": "unified", "side": 32, "samples": 100, "validate_every": 10, "validation": 4}  # fmt: skip
    return Stage.model_validate(content | changed)
