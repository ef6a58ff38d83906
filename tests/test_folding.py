"""Folded networks: the same masks up to rounding, whoever asks and however often."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_network import official_state, write_tiny
from torch import Tensor, nn

import imdl_bench
from imdl_bench import catalog
from imdl_bench.checkpoint import read_tensors
from imdl_bench.errors import UsageError
from imdl_bench.folding import fold_norms, prefer_onednn
from imdl_bench.torch_model import TorchPairModel
from imdl_bench.types import Image
from imdl_bench.weights import find_weights

CASES: dict[str, tuple[str, str, dict[str, object]]] = {
    "psccnet": ("psccnet", "random", {}),
    "psccnet without": ("psccnet", "random", {"stop_at_scale": 3, "without": ["channel"]}),
    "mantranet": ("mantranet", "random", {}),
    "mantranet own statistics": ("mantranet", "random", {"statistics": "image"}),
    "dmac": ("dmac", "random", {"score": "detection-net"}),
    "ncl": ("ncl", "bench", {}),
    "ela_ppm": ("ela_ppm", "bench", {}),
}


def with_statistics(network: nn.Module) -> None:
    """Fresh BatchNorms do next to nothing: these shift and scale, each channel in its own way."""
    torch.manual_seed(7)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.addcmul_(module.running_var.sqrt(), torch.randn(module.num_features), value=0.2)
            module.running_var.mul_(torch.empty(module.num_features).uniform_(0.6, 1.6))
            module.weight.uniform_(0.7, 1.3)
            module.bias.normal_(0, 0.1)


def both(name: str, weights: str, settings: dict[str, object]) -> tuple[Any, Any]:
    """A model plain and folded, of the same weights."""
    plain: Any = catalog.load_model(name, weights, seed=3, settings=settings, plain=True)
    if weights == "random":
        with_statistics(plain.network)
    folded = copy.deepcopy(plain)
    folded.fold()
    return plain, folded


def asked(model: Any, image: Image) -> list[np.ndarray | float]:
    """Everything that a model says about one image, or about it beside its mirror image."""
    if isinstance(model, TorchPairModel):
        (found,) = model.predict([image], [Image(np.ascontiguousarray(image[:, ::-1]))])
    else:
        (found,) = model.predict([image])
    return [each for each in (found.mask, found.donor_mask, found.score) if each is not None]


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("case", CASES)
def test_folding_moves_masks_by_rounding_only(case: str, photo: np.ndarray) -> None:
    plain, folded = both(*CASES[case])
    assert norms(folded.network) == (2 if case == "ela_ppm" else 0)
    assert norms(plain.network) > 2 or CASES[case][0] == "mantranet"
    for expected, found in zip(
        asked(plain, Image(photo[:96, :131])), asked(folded, Image(photo[:96, :131])), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert np.ndim(expected) == 0 or np.ptp(expected) > 1e-4


@pytest.mark.parametrize("case", ["psccnet without", "mantranet", "ncl", "ela_ppm"])
def test_answers_are_the_same_bits_in_any_company(case: str, photo: np.ndarray) -> None:
    """Alone, in a list, and from two threads at once."""
    _, folded = both(*CASES[case])
    images = [Image(photo[:64, :96]), Image(photo[200:296, 100:164]), Image(photo[40:104, 60:156])]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = [asked(folded, image) for image in images]
        together = [
            [each for each in (p.mask, p.donor_mask, p.score) if each is not None] for p in folded.predict(images)
        ]
        with ThreadPoolExecutor(2) as pool:
            at_once = list(pool.map(lambda image: asked(folded, image), images))
    finally:
        torch.set_num_threads(threads)
    for expected, *others in zip(alone, together, at_once, strict=True):
        for other in others:
            for a, b in zip(expected, other, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18"])
def test_folding_is_exact_in_double_precision(backbone: str) -> None:
    """In float32 a deep network of random weights carries its own rounding further than folding does."""
    plain: Any = catalog.load_model("ncl", "random", settings={"backbone": backbone}, plain=True)
    with_statistics(plain.network.double())
    folded = copy.deepcopy(plain)
    folded.fold()
    x = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    expected = plain.network(x)
    torch.testing.assert_close(folded.network(x), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
    assert norms(folded.network) == 0


def conv(*sizes: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(*sizes, **options)


class Shared(nn.Module):
    """One convolution before two BatchNorms, and one that is also read by something else."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = conv(3, 3, 1)
        self.first = nn.Sequential(self.twice, nn.BatchNorm2d(3))
        self.second = nn.Sequential(self.twice, nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.first(x) + self.second(x) + self.twice(x))


class OneNorm(nn.Module):
    """One BatchNorm behind two convolutions, which a mapping could name for both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = conv(3, 3, 1), conv(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.norm(self.a(x)) + self.norm(self.b(x)))


class SharedWeight(nn.Module):
    """Two convolutions of one weight, only one of which is normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(conv(3, 3, 1), nn.BatchNorm2d(3))
        self.b = conv(3, 3, 1)
        self.b.weight = self.a[0].weight

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.a(x) + self.b(x))


class Renamed(nn.Module):
    """What a block of many networks looks like."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 4, 3, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.bn1(self.conv1(x)))


class OtherConv(nn.Conv2d):
    """Computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).abs()


FOLDED: dict[str, Callable[[], nn.Module]] = {
    "with a bias": lambda: nn.Sequential(conv(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    "without a bias": lambda: nn.Sequential(conv(3, 4, 3, bias=False), nn.BatchNorm2d(4)),
    "in groups": lambda: nn.Sequential(conv(3, 6, 3, groups=3), nn.BatchNorm2d(6)),
    "padded by reflection": lambda: nn.Sequential(conv(3, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4)),
    "not affine": lambda: nn.Sequential(conv(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
    "named": Renamed,
}
KEPT: dict[str, Callable[[], nn.Module]] = {
    "no running statistics": lambda: nn.Sequential(conv(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    "still training": lambda: nn.Sequential(conv(3, 4, 3), nn.BatchNorm2d(4).train()),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4)),
    "something between": lambda: nn.Sequential(conv(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
    "norm first": lambda: nn.Sequential(nn.BatchNorm2d(3), conv(3, 4, 3)),
    "of another class": lambda: nn.Sequential(OtherConv(3, 4, 3), nn.BatchNorm2d(4)),
    "reparametrized": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(conv(3, 4, 3)), nn.BatchNorm2d(4)),
    "shared convolution": Shared,
    "shared norm": OneNorm,
    "shared weight": SharedWeight,
}


def example(build: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor, Tensor]:
    """A network in eval mode but for what was put in train mode by itself, an input and what it says of it."""
    torch.manual_seed(0)
    made = build().requires_grad_(False)
    for module in made.modules():
        kept = isinstance(module, nn.BatchNorm2d) and build is KEPT["still training"]
        module.training = kept
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 3)
            if module.affine:
                module.weight.normal_()
                module.bias.normal_()
    x = torch.randn(2, 3, 9, 11)
    return made, x, copy.deepcopy(made)(x)


@pytest.mark.parametrize("case", FOLDED)
def test_a_norm_goes_into_the_convolution_before_it(case: str) -> None:
    made, x, expected = example(FOLDED[case])
    assert fold_norms(made, {"conv1": "bn1"}) == 1
    assert norms(made) == 0
    torch.testing.assert_close(made(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", KEPT)
def test_what_is_not_certain_stays(case: str) -> None:
    made, x, expected = example(KEPT[case])
    before = norms(made)
    assert fold_norms(made, {"a": "norm", "b": "norm"}) == 0
    assert norms(made) == before > 0
    torch.testing.assert_close(made(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_set_for_onednn_means_nothing_to_one_pixel(stride: int) -> None:
    made, x, expected = example(lambda: nn.Sequential(conv(3, 4, 1, stride=stride, padding=1), conv(4, 2, 3)))
    prefer_onednn(made)
    torch.testing.assert_close(made(x), expected, rtol=1e-6, atol=1e-6)


def test_nothing_named_is_nothing_folded() -> None:
    made, x, expected = example(Renamed)
    assert fold_norms(made, {}) == 0
    assert torch.equal(made(x), expected)


def test_a_plug_in_that_names_nothing_is_left_alone(with_plugin: Path) -> None:
    write_tiny(with_plugin)
    catalog._cards.cache_clear()
    plain, folded = (imdl_bench.load_model("tiny", official_state(), plain=plain) for plain in (True, False))
    assert folded.folded and not plain.folded
    theirs = plain.network.state_dict()
    assert all(torch.equal(theirs[key], tensor) for key, tensor in folded.network.state_dict().items())
    assert norms(folded.network) == 1


def test_files_of_weights_hold_what_was_given(tmp_path: Path, photo: np.ndarray) -> None:
    plain: Any = imdl_bench.load_model("ela_ppm", "random", seed=1, plain=True)
    catalog.convert_weights("ela_ppm@random", tmp_path / "x.safetensors", seed=1)
    kept, state = read_tensors(tmp_path / "x.safetensors"), plain.network.state_dict()
    assert kept.keys() == state.keys()
    assert all(torch.equal(kept[key], tensor) for key, tensor in state.items())
    again, folded = (imdl_bench.load_model("ela_ppm", w, seed=1) for w in (tmp_path / "x.safetensors", "random"))
    image = Image(photo[:64, :64])
    np.testing.assert_array_equal(again.predict([image])[0].mask, folded.predict([image])[0].mask)


def test_a_folded_network_is_not_saved(tmp_path: Path) -> None:
    weights = find_weights(catalog.model_card("ela_ppm"), "random")
    folded: Any = imdl_bench.load_model("ela_ppm", weights)
    with pytest.raises(UsageError, match="ela_ppm: folded weights are not kept; load the model with plain=True"):
        folded.save_weights(tmp_path / "x.safetensors", weights)
    assert not (tmp_path / "x.safetensors").exists()
