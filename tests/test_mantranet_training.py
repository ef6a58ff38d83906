"""ManTra-Net's learners: losses by hand, what each stage moves, and weights that keep their constraints."""

from __future__ import annotations

import importlib
from math import log
from typing import Any

import numpy as np
import pytest
import torch

from imdl_bench.errors import UsageError
from imdl_bench.examples import Example

loss = importlib.import_module("imdl_bench.models.mantranet.loss")
model = importlib.import_module("imdl_bench.models.mantranet.model")
training = importlib.import_module("imdl_bench.models.mantranet.training")

CLASSES = {"classes": 3}


def example(label: int | None = None, side: int = 24) -> Example:
    rng = np.random.default_rng(0 if label is None else label)
    truth = np.zeros((side, side), bool)
    truth[: side // 2] = True
    return Example("made", rng.integers(0, 256, (side, side, 3), dtype=np.uint8), truth, True, "splicing", label=label)


def stacked(*made: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: torch.stack([one[key] for one in made]) for key in made[0]}


@pytest.fixture
def network() -> Any:
    torch.manual_seed(0)
    return model.ManTraNetwork()


def test_classification_loss_by_hand() -> None:
    logits = torch.zeros(2, 3, 1, 2)
    logits[0, 2, 0, 0] = log(4)  # of classes 1 : 1 : 4, beside 1 : 1 : 1
    found = loss.classification_loss(logits, torch.tensor([2, 0]))
    torch.testing.assert_close(found, torch.tensor((-log(4 / 6) - 3 * log(1 / 3)) / 4))


def test_accuracy_by_hand() -> None:
    logits = torch.zeros(2, 3, 1, 2)
    logits[0, 2] = 1
    logits[1, 1, 0, 0] = logits[1, 0, 0, 1] = 1
    assert loss.accuracy(logits, torch.tensor([2, 1])) == 0.75


def test_mask_loss_by_hand_takes_probabilities_not_logits() -> None:
    masks = torch.tensor([[[[0.9, 0.2]]], [[[0.5, 0.6]]]])
    truths = torch.tensor([[[True, False]], [[True, True]]])
    wanted = -(log(0.9) + log(0.8) + log(0.5) + log(0.6)) / 4
    torch.testing.assert_close(loss.mask_loss(masks, truths), torch.tensor(wanted))


def test_mask_loss_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = loss.mask_loss(torch.full((1, 1, 2, 2), 0.3), torch.ones(1, 2, 2, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor(-log(0.3)))


def test_inputs_are_those_of_the_model(network: Any) -> None:
    one = example(1)
    made = training.ExtractorLearner.inputs(one, CLASSES)
    wanted = one.image.transpose(2, 0, 1).astype(np.float32) / 255 * 2 - 1
    np.testing.assert_allclose(made["image"], wanted, atol=1e-6)
    assert made["label"] == 1
    made = training.WholeLearner.inputs(one, {})
    assert torch.equal(made["truth"], torch.from_numpy(one.truth))


@pytest.mark.parametrize("label", [None, 3])
def test_examples_without_a_known_class_are_refused(label: int | None) -> None:
    with pytest.raises(UsageError, match="3 classes"):
        training.ExtractorLearner.inputs(example(label), CLASSES)


def step(learner: Any, batch: dict[str, torch.Tensor], rate: float = 0.05) -> set[str]:
    """Parameters that one large step of the only turn moves, constraints restored."""
    (turn,) = learner.turns
    moved = [(n, p) for n, p in learner.named_parameters() if n.startswith(turn.parameters)]
    before = {name: parameter.detach().clone() for name, parameter in learner.named_parameters()}
    learner.train().losses(batch, turn.name)["total"].backward()
    torch.optim.SGD([parameter for _, parameter in moved], rate).step()
    learner.constrain()
    return {name for name, parameter in learner.named_parameters() if not torch.equal(parameter, before[name])}


def assert_constraints(network: Any) -> None:
    bayar = network.IMTFE.BayarConv2D.weight.detach()
    assert (bayar[..., 2, 2] == -1).all()
    torch.testing.assert_close(bayar.sum((-2, -1)), torch.zeros(3, 3), atol=1e-4, rtol=0)
    lengths = network.AnomalyDetector.adaptation.weight.detach().flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(64))
    assert network.AnomalyDetector.sigma_F.min() >= 0


def test_the_first_stage_moves_the_extractor_alone(network: Any) -> None:
    learner = training.ExtractorLearner(network, CLASSES)
    batch = stacked(*(training.ExtractorLearner.inputs(example(label), CLASSES) for label in (0, 1, 2)))
    before = network.AnomalyDetector.bnorm.running_mean.clone()
    names = step(learner, batch)
    assert "network.IMTFE.init_conv.weight" in names and "decision.conv.weight" in names
    # Restoring a unit length may round.
    assert {name for name in names if "AnomalyDetector" in name} <= {"network.AnomalyDetector.adaptation.weight"}
    assert torch.equal(network.AnomalyDetector.bnorm.running_mean, before)
    assert_constraints(network)
    found = learner.eval().losses(batch, "extractor")
    logits = learner.decision(network.IMTFE(batch["image"]))
    torch.testing.assert_close(found["total"], loss.classification_loss(logits, batch["label"]))
    assert not found["accuracy"].requires_grad


def test_the_second_stage_moves_everything_and_the_statistics(network: Any) -> None:
    learner = training.WholeLearner(network, {})
    batch = stacked(training.WholeLearner.inputs(example(1), {}), training.WholeLearner.inputs(example(2), {}))
    names = step(learner, batch)
    # The learned least deviation has no gradient while all deviations are above it.
    assert set(dict(learner.named_parameters())) - names <= {"network.AnomalyDetector.sigma_F"}
    assert network.AnomalyDetector.bnorm.running_mean.abs().max() > 0
    assert_constraints(network)
    found = learner.eval().losses(batch, "network")["total"]
    torch.testing.assert_close(found, loss.mask_loss(network(batch["image"]), batch["truth"]))
