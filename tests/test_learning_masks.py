"""Methods that learn masks: their learners against their models and losses, and that they can learn at all."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

import imdl_bench
from imdl_bench.examples import PRISTINE, Example
from imdl_bench.learner import TOTAL, Batch, Learner
from imdl_bench.types import Image

LEARNERS = {"ela_ppm": "ElaPpmLearner"}
SMALL: dict[str, dict[str, object]] = {"ela_ppm": {"alpha": 0.25, "width": 128, "side": 192}}


def examples(count: int, side: int) -> list[Example]:
    """Soft clouds in colour, in each a box of another texture: noisy in the even ones, smoothed away in the odd."""
    rng = np.random.default_rng(7)
    return [_example(rng, number, side) for number in range(count)]


def _example(rng: np.random.Generator, number: int, side: int) -> Example:
    coarse = torch.from_numpy(rng.standard_normal((1, 3, 8, 8)))
    clouds = F.interpolate(coarse, (side, side), mode="bicubic")[0].numpy().transpose(1, 2, 0)
    image = 128 + 35 * clouds + 4 * rng.standard_normal((side, side, 3))
    truth = np.zeros((side, side), bool)
    # In a corner of its own, so that where the boxes usually are says nothing about any of them.
    top, left = (side // 2 * (number // step % 2) + int(rng.integers(side // 8)) for step in (1, 2))
    truth[top : top + side * 3 // 8, left : left + side * 3 // 8] = True
    inside = image + 20 * rng.standard_normal(image.shape) if number % 2 == 0 else 128 + 35 * clouds
    image = np.where(truth[..., None], inside, image)
    return Example(f"{number}", image.clip(0, 255).astype(np.uint8), truth, forged=True, kind="splicing")


def pristine(side: int) -> Example:
    one = examples(1, side)[0]
    return Example("pristine", one.image, np.zeros_like(one.truth), forged=False, kind=PRISTINE)


def untrained(name: str, **settings: object) -> Any:
    return imdl_bench.load_model(name, weights="random", seed=0, settings=settings)


def learner(name: str, made: Any, **options: object) -> Learner:
    """The learner of a model in train mode, seeded as its weights are."""
    torch.manual_seed(0)
    kind = getattr(importlib.import_module(f"imdl_bench.models.{name}.training"), LEARNERS[name])
    found: Learner = kind(made.network.requires_grad_(True), made.settings | options)
    return found.train()


def batch_of(learns: Learner, chosen: list[Example]) -> Batch:
    rows = [learns.inputs(example, learns.options) for example in chosen]
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def overfit(learns: Learner, chosen: list[Example], optimizer: torch.optim.Optimizer, steps: int) -> None:
    batch = batch_of(learns, chosen)
    for _ in range(steps):
        optimizer.zero_grad()
        learns(batch, "network")[TOTAL].backward()
        optimizer.step()


def pixel_auc(made: Any, chosen: list[Example]) -> float:
    """Over all pixels of the images, by what the model predicts as it would for anybody."""
    made.network.eval().requires_grad_(False)
    masks = [prediction.mask for prediction in made.predict([Image(example.image) for example in chosen])]
    return float(roc_auc_score(np.ravel([e.truth for e in chosen]), np.ravel(masks)))


def shorten_memory(network: torch.nn.Module) -> None:
    """Let running statistics follow within tens of steps: at a momentum of 0.01 they would still be the first ones."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("side", [96, 256])
def test_learners_see_what_models_see(name: str, side: int) -> None:
    made = untrained(name, **SMALL[name])
    example = examples(1, side)[0]
    found = learner(name, made).inputs(example, made.settings)
    torch.testing.assert_close(found["image"], made.prepare(Image(example.image)), rtol=0, atol=0)


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_of_pristine_images_give_finite_losses(name: str) -> None:
    learns = learner(name, untrained(name, **SMALL[name]))
    batch = batch_of(learns, [pristine(96), pristine(96)])
    assert torch.isfinite(learns(batch, "network")[TOTAL])
    with torch.no_grad():
        learns.eval()
        torch.testing.assert_close(learns(batch, "network")[TOTAL], learns(batch, "network")[TOTAL], rtol=0, atol=0)


def test_ela_ppm_is_trained_on_the_binary_cross_entropy_of_the_tampered_probability() -> None:
    loss = importlib.import_module("imdl_bench.models.ela_ppm.loss").tampering_loss
    truth = torch.tensor([[[True, False]]])
    # Probabilities 3/4 and 1/5 of having been tampered with.
    logits = torch.tensor([[[[0.0, np.log(4)]], [[np.log(3), 0.0]]]])
    assert float(loss(logits, truth)) == pytest.approx(-(np.log(3 / 4) + np.log(4 / 5)) / 2, rel=1e-6)
    generator = torch.Generator().manual_seed(3)
    logits = 5 * torch.randn(2, 2, 7, 5, generator=generator, dtype=torch.float64)
    truth = torch.rand(2, 7, 5, generator=generator) > 0.5
    torch.testing.assert_close(loss(logits, truth), F.cross_entropy(logits, truth.long()))
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(logits.bfloat16(), truth)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, F.cross_entropy(logits.bfloat16().float(), truth.long()))


def test_truth_of_ela_ppm_has_the_networks_size() -> None:
    example = examples(1, 96)[0]
    made = untrained("ela_ppm", **SMALL["ela_ppm"])
    truth = learner("ela_ppm", made).inputs(example, made.settings)["truth"]
    np.testing.assert_array_equal(truth, np.kron(example.truth, np.ones((2, 2), bool)))


@pytest.mark.usefixtures("one_thread")
def test_ela_ppm_learns() -> None:
    made, chosen = untrained("ela_ppm", **SMALL["ela_ppm"]), examples(4, 192)
    learns = learner("ela_ppm", made)
    shorten_memory(made.network)
    overfit(learns, chosen, torch.optim.Adam(learns.parameters(), 1e-3), steps=90)
    assert pixel_auc(made, chosen) > 0.95
