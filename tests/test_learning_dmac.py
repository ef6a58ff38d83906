"""DMAC learns: it overfits a handful of pairs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from learning import learn, pixel_auc, scene

from imdl_bench.examples import Example
from imdl_bench.learner import Learner

layers = importlib.import_module("imdl_bench.models.dmac.layers")
training = importlib.import_module("imdl_bench.models.dmac.training")

SIDE = 64


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def learner() -> Learner:
    """Only the classifier learns, over random features."""
    torch.manual_seed(0)
    network = layers.DMACNet()
    for stage in (network.Scale_3, network.Scale_4, network.Scale_5):
        stage.requires_grad_(False)
    made: Learner = training.MaskLearner(network, {})
    return made


def pair(number: int) -> Example:
    """Two scenes that share a rectangle, at any place in either."""
    rng = np.random.default_rng(number)
    probe, donor = scene(rng, SIDE), scene(rng, SIDE)
    height, width = rng.integers(SIDE // 3, SIDE * 5 // 8, 2)
    (y, x), (v, u) = (rng.integers(0, (SIDE - height, SIDE - width)) for _ in range(2))
    probe[y : y + height, x : x + width] = donor[v : v + height, u : u + width]
    truths = np.zeros((2, SIDE, SIDE), bool)
    truths[0, y : y + height, x : x + width] = truths[1, v : v + height, u : u + width] = True
    return Example(f"made {number}", probe, truths[0], True, "foreground", donor, truths[1])


def probe_auc(learner: Learner, pairs: Sequence[Example], donors: Sequence[Example]) -> float:
    """Mean pixel AUC of the probes' masks, each beside the donor of another list."""
    found = []
    for one, other in zip(pairs, donors, strict=True):
        mixed = Example(one.id, one.image, one.truth, True, one.kind, other.donor, other.donor_truth)
        made = learner.inputs(mixed, {})
        with torch.no_grad():
            logits, _ = learner.network(made["probe"][None], made["donor"][None])
        large = torch.nn.functional.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=True)
        found.append(pixel_auc(one.truth, large.softmax(1)[0, 1].numpy()))
    return float(np.mean(found))


def test_dmac_overfits_a_handful(learner: Learner) -> None:
    pairs = [pair(number) for number in range(4)]
    learn(learner, 50, 3e-3, lambda step: pairs, precision=torch.float32)
    assert probe_auc(learner, pairs, pairs) > 0.95
