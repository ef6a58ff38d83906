"""ManTra-Net learns: its extractor tells manipulations apart, and the whole network overfits a handful."""

from __future__ import annotations

import importlib

import cv2
import numpy as np
import pytest
import torch
from learning import batch_of, learn, pixel_auc, scene

from imdl_bench.examples import Example, Pixels

model = importlib.import_module("imdl_bench.models.mantranet.model")
training = importlib.import_module("imdl_bench.models.mantranet.training")

CLASSES = ("nothing", "blur", "compression", "noise")
PATCH, SIDE = 16, 32

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    made: torch.nn.Module = model.ManTraNetwork().to(memory_format=torch.channels_last)
    return made


def manipulated(pixels: Pixels, name: str, rng: np.random.Generator) -> Pixels:
    if name == "blur":
        return np.asarray(cv2.GaussianBlur(pixels, (5, 5), 0), np.uint8)
    if name == "compression":
        written = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
        return np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), np.uint8)
    if name == "noise":
        return np.clip(pixels + rng.normal(0, 20, pixels.shape), 0, 255).astype(np.uint8)
    return pixels


def patch(number: int) -> Example:
    """All classes in turn."""
    rng = np.random.default_rng(number)
    label = number % len(CLASSES)
    pixels = manipulated(scene(rng, PATCH), CLASSES[label], rng)
    return Example(f"made {number}", pixels, np.zeros((PATCH, PATCH), bool), True, CLASSES[label], label=label)


def splice(number: int) -> Example:
    """A square of another scene, blurred, at any place."""
    rng = np.random.default_rng(number)
    image, other = scene(rng, SIDE), cv2.GaussianBlur(scene(rng, SIDE), (5, 5), 0)
    truth = np.zeros((SIDE, SIDE), bool)
    size = SIDE // 3
    y, x = rng.integers(0, SIDE - size, 2)
    truth[y : y + size, x : x + size] = True
    image[truth] = other[truth]
    return Example(f"made {number}", image, truth, True, "splicing")


def test_the_extractor_tells_unseen_manipulations_apart(network: torch.nn.Module) -> None:
    learner = training.ExtractorLearner(network, {"classes": len(CLASSES)})
    learn(learner, 30, 3e-4, lambda step: [patch(12 * step + place) for place in range(12)], precision=torch.bfloat16)
    with torch.no_grad():
        found = learner.losses(batch_of(learner, [patch(10_000 + number) for number in range(64)]), "extractor")
    assert found["accuracy"] > 2 / len(CLASSES)


def test_mantranet_overfits_a_handful(network: torch.nn.Module) -> None:
    splices = [splice(number) for number in range(4)]
    learner = training.WholeLearner(network, {})
    learn(learner, 35, 1e-3, lambda step: splices, precision=torch.bfloat16)
    with torch.no_grad():
        masks = network(batch_of(learner, splices)["image"])[:, 0].numpy()
    found = [pixel_auc(one.truth, mask) for one, mask in zip(splices, masks, strict=True)]
    assert np.mean(found) > 0.95
