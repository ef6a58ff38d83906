"""DMAC learns: it overfits a handful of pairs, and finds what unseen pairs share."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from learning import learn, pixel_auc, scene

from imdl_bench.examples import Example
from imdl_bench.learner import Learner

layers = importlib.import_module("imdl_bench.models.dmac.layers")
training = importlib.import_module("imdl_bench.models.dmac.training")

SIDE = 64

pytestmark = pytest.mark.usefixtures("one_thread")


def pair(number: int) -> Example:
    """Two scenes that share a rectangle, at any place in either that is a multiple of the network's stride."""
    rng = np.random.default_rng(number)
    probe, donor = scene(rng, SIDE), scene(rng, SIDE)
    cells = SIDE // layers.STRIDE
    size = rng.integers(cells * 3 // 8, cells * 3 // 4, 2)
    places = [rng.integers(0, cells - size) for _ in range(2)]
    height, width = (int(each) for each in size * layers.STRIDE)
    (y, x), (v, u) = ((int(each) for each in place * layers.STRIDE) for place in places)
    probe[y : y + height, x : x + width] = donor[v : v + height, u : u + width]
    truths = np.zeros((2, SIDE, SIDE), bool)
    truths[0, y : y + height, x : x + width] = truths[1, v : v + height, u : u + width] = True
    return Example(f"made {number}", probe, truths[0], True, "foreground", donor, truths[1])


def pairs_of(step: int) -> list[Example]:
    return [pair(8 * step + place) for place in range(8)]


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


def test_dmac_overfits_a_handful() -> None:
    torch.manual_seed(0)
    learner = training.MaskLearner(layers.DMACNet(), {})
    for name, parameter in learner.named_parameters():
        parameter.requires_grad_("classifier" in name)
    pairs = [pair(number) for number in range(4)]
    learn(learner, 50, 3e-3, lambda step: pairs, precision=torch.bfloat16)
    assert probe_auc(learner, pairs, pairs) > 0.95


def test_dmac_finds_what_unseen_pairs_share() -> None:
    torch.manual_seed(0)
    network = layers.DMACNet()
    features = training.CorrespondenceLearner(network, {"start": "centred"})
    learn(features, 50, 1e-3, pairs_of, precision=torch.bfloat16)
    learner = training.MaskLearner(network, {})
    for name, parameter in learner.named_parameters():
        parameter.requires_grad_("classifier" in name)
    learn(learner, 16, 3e-3, pairs_of, precision=torch.bfloat16)
    unseen = [pair(10_000 + number) for number in range(32)]
    found = probe_auc(learner, unseen, unseen)
    # Beside a stranger's donor only the usual places of rectangles, and their seams, can be known.
    stranger = probe_auc(learner, unseen, unseen[1:] + unseen[:1])
    assert found > 0.7
    assert found > stranger + 0.06
