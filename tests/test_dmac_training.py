"""DMAC's learners: what they make of a pair, what each turn minimises and moves, and gradients through correlation."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from imdl_bench.errors import UsageError
from imdl_bench.examples import Example

correlation = importlib.import_module("imdl_bench.models.dmac.correlation")
correspondence = importlib.import_module("imdl_bench.models.dmac.correspondence")
heads = importlib.import_module("imdl_bench.models.dmac.heads")
layers = importlib.import_module("imdl_bench.models.dmac.layers")
starting = importlib.import_module("imdl_bench.models.dmac.starting")
training = importlib.import_module("imdl_bench.models.dmac.training")

NO_OPTIONS: dict[str, Any] = {}
NAMES = ("probe", "donor")


def pair(side: int = 256, *, seed: int = 0, shared: bool = True) -> Example:
    rng = np.random.default_rng(seed)
    probe, donor = (rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(2))
    truths = np.zeros((2, side, side), bool)
    if shared:
        half = side // 2
        probe[:half, :half] = donor[-half:, -half:]
        truths[0, :half, :half] = truths[1, -half:, -half:] = True
    return Example("made", probe, truths[0], shared, "foreground", donor, truths[1])


def batch(learner: type, *examples: Example) -> dict[str, torch.Tensor]:
    made = [learner.inputs(example, NO_OPTIONS) for example in examples]
    return {key: torch.stack([one[key] for one in made]) for key in made[0]}


def learner_of(kind: type, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(layers.DMACNet(), options)


@pytest.mark.parametrize("side", [64, 256])
def test_inputs_are_bgr_less_the_mean_and_truths_sampled_at_an_eighth(side: int) -> None:
    example = pair(side)
    made = training.MaskLearner.inputs(example, NO_OPTIONS)
    assert made["probe"].shape == made["donor"].shape == (3, side, side)
    wanted = example.image[..., ::-1].astype(np.float32) - np.array(layers.MEAN_BGR, np.float32)
    np.testing.assert_allclose(made["probe"].permute(1, 2, 0), wanted, atol=1e-4)
    cells, half = side // 8, side // 16
    corner = torch.zeros(cells, cells)
    corner[:half, :half] = 1
    for name, wanted_truth in (("probe", corner), ("donor", corner.flip(0, 1))):
        torch.testing.assert_close(made[f"{name}_truth"], wanted_truth)
        lost = wanted_truth - made[f"{name}_class"]
        # Of whole cells a few are lost to rounding; see hard_label.
        assert lost.min() == 0 and lost.mean() < 0.01 and made[f"{name}_class"].dtype == torch.int64
    assert made["correlated"] == 1 and made["probe_truth"].dtype == torch.float32


def test_a_pair_that_shares_nothing_has_empty_truths() -> None:
    made = training.MaskLearner.inputs(pair(64, shared=False), NO_OPTIONS)
    assert made["correlated"] == 0
    assert not made["probe_class"].any() and not made["donor_truth"].any()


def test_one_image_alone_is_refused() -> None:
    example = pair(64)
    alone = Example(example.id, example.image, example.truth, True, "splicing")
    with pytest.raises(UsageError, match="pairs"):
        training.MaskLearner.inputs(alone, NO_OPTIONS)


def test_cross_entropy_is_the_mean_over_the_cells_of_either_mask_added() -> None:
    learner = learner_of(training.MaskLearner)
    made = batch(training.MaskLearner, pair(32), pair(32, seed=1, shared=False))
    found = learner.losses(made, "network")["total"]
    learner.eval()
    assert found.requires_grad
    found = learner.losses(made, "network")["total"]
    probe, donor = learner.network(made["probe"], made["donor"])
    terms = []
    for logits, truth in ((probe, made["probe_class"]), (donor, made["donor_class"])):
        chosen = logits.log_softmax(1).gather(1, truth[:, None])
        terms.append(-chosen.mean())
    torch.testing.assert_close(found, sum(terms))


def test_swapping_both_images_changes_no_loss() -> None:
    learner = learner_of(training.MaskLearner)
    made = batch(training.MaskLearner, pair(32), pair(32, seed=1))
    swapped = {"probe": made["donor"], "donor": made["probe"], "probe_class": made["donor_class"],
               "donor_class": made["probe_class"]}  # fmt: skip
    torch.testing.assert_close(learner.losses(made, "network"), learner.losses(swapped, "network"))


def test_judges_need_the_side_that_they_are_made_for() -> None:
    with pytest.raises(UsageError, match="256"):
        training.AdversarialLearner.inputs(pair(64), NO_OPTIONS)


def test_an_unknown_adversary_is_refused() -> None:
    with pytest.raises(UsageError, match="hinge"):
        learner_of(training.AdversarialLearner, adversary="wasserstein")


@pytest.mark.parametrize("own", [False, True], ids=["thrown away", "the network's own"])
@pytest.mark.parametrize("kind", ["AdversarialLearner", "JudgesFirstLearner"])
def test_the_turns_part_all_parameters_among_them(kind: str, own: bool) -> None:
    learner = getattr(training, kind)(layers.DMACNet(heads.DetectionNet() if own else None), NO_OPTIONS)
    names = [name for name, parameter in learner.named_parameters() if parameter.requires_grad]
    for name in names:
        assert sum(name.startswith(turn.parameters) for turn in learner.turns) == 1, name
    assert sum(".classifier_det." in name for name in names) == 4
    assert len(learner.state_dict()) == len({tensor.data_ptr() for tensor in learner.state_dict().values()})


def test_orders_of_the_updates() -> None:
    def order(kind: Any) -> list[tuple[str, bool]]:
        return [(turn.name, turn.fresh) for turn in kind.turns]

    official, algorithm = order(training.AdversarialLearner), order(training.JudgesFirstLearner)
    assert official == [("network", False), ("detector", False), ("discriminator", False)]
    assert algorithm == [("detector", False), ("discriminator", False), ("network", True)]


class Stub(torch.nn.Module):
    """A network whose logits are its parameters, so that a step on them is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = torch.nn.Parameter(torch.randn(2, 2, 2, 32, 32))
        self.detector = None

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.classifier[0], self.classifier[1]


@pytest.fixture
def adversarial() -> tuple[Any, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    learner = training.AdversarialLearner(Stub(), {"adversary": "hinge"})
    made = batch(training.AdversarialLearner, pair(), pair(seed=1, shared=False))
    # The discriminator's power iteration has settled after some calls.
    with torch.no_grad():
        for _ in range(60):
            learner.discriminator(torch.zeros(1, 6, 32, 32))
    return learner.eval(), made


@pytest.mark.parametrize("turn", ["detector", "discriminator"])
def test_judges_get_gradients_from_all_the_masks_of_a_turn(
    adversarial: tuple[Any, dict[str, torch.Tensor]], turn: str
) -> None:
    learner, made = adversarial
    learner.train().requires_grad_(True)
    learner.losses(made, turn)["total"].backward()
    judge = dict(getattr(learner, turn).named_parameters())
    estimates = {name for name in judge if name.endswith(("weight_u", "weight_v"))}
    assert {name for name, parameter in judge.items() if parameter.grad is None} == estimates
    assert all(parameter.grad.isfinite().all() for name, parameter in judge.items() if name not in estimates)
    assert learner.network.classifier.grad is None


def test_dmac_minimises_equation_8(adversarial: tuple[Any, dict[str, torch.Tensor]]) -> None:
    learner, made = adversarial
    found = learner.losses(made, "network")
    logits = learner.network(made["probe"], made["donor"])
    masks = [each.softmax(1)[:, 1] for each in logits]
    mask = sum(cross_entropy(each, made[key]) for each, key in zip(logits, ("probe_class", "donor_class"), strict=True))
    seen = [heads.masked(made[key], each) for key, each in zip(NAMES, masks, strict=True)]
    detection = cross_entropy(learner.detector(*seen), torch.tensor([1, 0]))
    seen = [heads.masked_by_class(made[key], each) for key, each in zip(NAMES, masks, strict=True)]
    deception = -sum(learner.discriminator(each).mean() for each in seen)
    torch.testing.assert_close(found["total"], mask + 0.01 * detection + 0.01 * deception, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["mask"], mask.detach())
    assert not any(value.requires_grad for key, value in found.items() if key != "total")


def test_judges_see_the_masks_from_before_the_step_and_the_true_ones(
    adversarial: tuple[Any, dict[str, torch.Tensor]],
) -> None:
    learner, made = adversarial
    learner.losses(made, "network")
    before = [each.softmax(1)[:, 1] for each in learner.network(made["probe"], made["donor"])]
    with torch.no_grad():
        learner.network.classifier.neg_()
    found = learner.losses(made, "detector")["total"]
    logits = [
        learner.detector(*(heads.masked(made[key], mask) for key, mask in zip(NAMES, masks, strict=True)))
        for masks in (before, (made["probe_truth"], made["donor_truth"]))
    ]
    torch.testing.assert_close(found, sum(cross_entropy(each, torch.tensor([1, 0])) for each in logits))
    found.backward()
    assert learner.network.classifier.grad is None
    found = learner.losses(made, "discriminator")["total"]
    with torch.no_grad():
        generated, true = (
            [
                learner.discriminator(heads.masked_by_class(made[key], mask))
                for key, mask in zip(NAMES, masks, strict=True)
            ]
            for masks in (before, (made["probe_truth"], made["donor_truth"]))
        )
    hinges = [(1 + each).clamp(min=0).mean() for each in generated] + [(1 - each).clamp(min=0).mean() for each in true]
    torch.testing.assert_close(found, sum(hinges), rtol=1e-4, atol=1e-4)


def test_judges_that_come_first_ask_the_network_once(adversarial: tuple[Any, dict[str, torch.Tensor]]) -> None:
    learner, made = adversarial
    learner.losses(made, "detector")
    left = made["probe_mask"]
    learner.losses(made, "discriminator")
    assert made["probe_mask"] is left
    torch.testing.assert_close(left, learner.network.classifier[0].softmax(1)[:, 1].detach())


def plain_maps(a: torch.Tensor, b: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """The definition: all maps by rolling, then maximum, mean, and the chosen ones."""
    height, width = a.shape[1:]
    maps = [(a * b.roll((-it, -jt), (1, 2))).mean(0) for it in range(height) for jt in range(width)]
    every = torch.stack(maps)
    return torch.cat([every.amax(0)[None], every.mean(0)[None], every[shifts]])


@pytest.mark.parametrize("most_products", [24, 1 << 22], ids=["in parts", "at once"])
def test_gradients_through_the_correlation_are_those_of_the_definition(
    most_products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlation, "MOST_PRODUCTS", most_products)
    torch.manual_seed(0)
    a, b = (torch.rand(5, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weights = torch.randn(3, 8, 3, 4, dtype=torch.float64)
    sums = correlation.shift_sums(a, b)
    on_b, on_a = correlation.cross_correlation(a, b)
    found = torch.stack([on_b, on_a, correlation.self_correlation(a)])
    wanted = torch.stack([
        plain_maps(a, b, correlation.strongest_shifts(sums)),
        plain_maps(b, a, correlation.strongest_shifts(correlation.opposite(sums))),
        plain_maps(a, a, correlation.strongest_shifts(correlation.symmetric(correlation.shift_sums(a, a)))),
    ])  # fmt: skip
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad((maps * weights).sum(), (a, b), retain_graph=True) for maps in (found, wanted)]
    torch.testing.assert_close(*gradients)


def test_gradients_through_the_correlation_are_those_of_small_steps() -> None:
    torch.manual_seed(0)
    a, b = (torch.rand(2, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(correlation.cross_correlation, (a, b))
    assert torch.autograd.gradcheck(correlation.self_correlation, (a,))


# Correspondence


def test_cells_of_a_copy_show_the_cells_that_they_come_from() -> None:
    torch.manual_seed(0)
    side, cells = 128, 16
    down, along = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    images = torch.stack([down, along, torch.zeros(side, side)]).float().repeat(6, 1, 1, 1)
    copies, places, inside = correspondence.warped(images)
    brighter = copies[:, 2].mean((1, 2))
    assert 0 < inside.float().mean() < 1 and len(brighter.unique()) > 1
    # The middle of a cell lies between its fourth and fifth pixel.
    shown = (copies - brighter[:, None, None, None]).unflatten(2, (cells, 8)).unflatten(4, (cells, 8))
    shown = shown[:, :2, :, 3:5, :, 3:5].mean((3, 5)).flatten(2)
    middle = torch.stack([places // cells, places % cells], dim=1) * 8 + 3.5
    off = (shown - middle).abs().amax(1)
    assert off[inside].max() <= 4 + 0.5  # half a cell, and the reflection at the border
    assert off[inside].median() > 0.1


def test_correspondence_loss_by_hand() -> None:
    photographs = torch.zeros(1, 4, 1, 2)
    photographs[0, 0, 0, 0] = photographs[0, 1, 0, 1] = 2  # of length 4 = C, at right angles
    copies = photographs.flip(3)
    places, inside = torch.tensor([[1, 0]]), torch.tensor([[True, False]])
    found = correspondence.correspondence_loss([photographs], [copies], places, inside)
    torch.testing.assert_close(found, torch.tensor(0.0), atol=1e-4, rtol=0)
    wrong = correspondence.correspondence_loss([photographs], [photographs], places, inside)
    torch.testing.assert_close(wrong, torch.tensor(10.0), atol=1e-3, rtol=0)  # products 1 and 0, by a tenth
    long = correspondence.correspondence_loss([2 * photographs], [copies], places, inside)
    torch.testing.assert_close(long, torch.tensor(np.log(4) ** 2, dtype=torch.float32), atol=1e-4, rtol=0)


def test_copies_are_the_same_at_every_validation_and_others_in_training() -> None:
    made = batch(training.MaskLearner, pair(32), pair(32, seed=1))
    learner = learner_of(training.CorrespondenceLearner, start="centred")
    assert learner.losses(made, "extractor") != learner.losses(made, "extractor")
    state = torch.get_rng_state()
    assert learner.eval().losses(made, "extractor") == learner.losses(made, "extractor")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_centred_start_tells_the_parts_of_a_picture_apart() -> None:
    torch.manual_seed(0)
    network = layers.DMACNet().requires_grad_(False)
    pixels = torch.rand(1, 3, 128, 128).mul(60).add(100 * torch.rand(1, 3, 1, 1))

    def alike() -> list[float]:
        """Mean cosine of all pairs of positions, by level."""
        flat = [torch.nn.functional.normalize(level.flatten(2), dim=1)[0] for level in network.levels(pixels)]
        return [float((each.T @ each).mean()) for each in flat]

    drawn = alike()
    starting.centre_features(network)
    assert all(now < before - 0.02 for now, before in zip(alike(), drawn, strict=True))


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(UsageError, match="centred"):
        learner_of(training.CorrespondenceLearner, start="center")
