"""NCL against reference arrays of its base network and its losses, and against what other readings would give."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from reference import GOLDEN, block, fill_plain, noise
from torch import Tensor, nn
from torchvision.models import resnet101

import imdl_bench
from imdl_bench.errors import ImageError, UsageError

layers: Any = importlib.import_module("imdl_bench.models.ncl.layers")
loss: Any = importlib.import_module("imdl_bench.models.ncl.loss")
model: Any = importlib.import_module("imdl_bench.models.ncl.model")

KEYS = json.loads((GOLDEN / "ncl_deeplab.keys.json").read_text())
SHAPES = {key: tuple(shape) for key, shape, _ in KEYS["keys"]}
TAUS = (0.07, 0.1, 0.5, 1)


def golden(name: str) -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN / "ncl" / f"{name}.npz") as file:
        return dict(file)


def parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


@pytest.fixture(scope="module")
def weights() -> dict[str, NDArray[Any]]:
    return {key: fill_plain(key, shape) for key, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def filled(weights: dict[str, NDArray[Any]]) -> Any:
    """The default model under the reference weights."""
    return imdl_bench.load_model("ncl", weights)


@pytest.fixture(scope="module")
def plain(weights: dict[str, NDArray[Any]]) -> Any:
    """As ``filled``, with its BatchNorms."""
    return imdl_bench.load_model("ncl", weights, plain=True)


@pytest.fixture(scope="module")
def small() -> Any:
    """Random weights on the cheapest backbone."""
    return imdl_bench.load_model("ncl", "random", seed=1, settings={"backbone": "pvt_v2_b2"})


@pytest.mark.parametrize("case", ["deeplab_s31_128x128", "deeplab_s32_160x96"])
def test_network_is_the_reference(filled: Any, case: str) -> None:
    want = golden(case)
    images = model.normalise(torch.from_numpy(want["image_rgb"]).permute(2, 0, 1).float())[None]
    with torch.inference_mode():
        features = filled.network.features(images)
        got = {
            "logits_s4": features.logits[0, :, ::4, ::4],
            "decoder": filled.network.decoder.classify(features.decoder)[0],
            "low_ch": features.tap[0, ::32],
            "enc_mean": filled.network.backbone(images)["layer4"][0].mean((1, 2)),
            "aspp_ch": features.encoder[0, ::8],
        }
    for name, array in got.items():
        np.testing.assert_allclose(array, want[name], rtol=0, atol=1e-4 * np.abs(want[name]).max(), err_msg=name)


def test_keys_are_those_of_the_public_base() -> None:
    assert list(model.official_keys().items()) == list(SHAPES.items())


def test_parameter_counts(plain: Any) -> None:
    network = plain.network
    parts = {"backbone": network.backbone, "aspp": network.aspp, "decoder": network.decoder, "total": network}
    assert {name: parameters(part) for name, part in parts.items()} == KEYS["params"]
    for layer, count in {"layer1": 215_808, "layer2": 1_219_584, "layer3": 26_090_496, "layer4": 14_964_736}.items():
        assert parameters(getattr(network.backbone, layer)) == count


def test_imagenet_weights_fit_the_backbone(plain: Any) -> None:
    theirs = {key for key in resnet101(weights=None).state_dict() if not key.startswith("fc.")}
    assert set(plain.network.backbone.state_dict()) == theirs


def test_first_blocks_of_the_dilated_layers_are_dilated_too(filled: Any) -> None:
    """torchvision's own dilation leaves the first block of each layer at the previous one, and has no multi-grid."""
    backbone = filled.network.backbone
    dilations = [[block.conv2.dilation for block in layer] for layer in (backbone.layer3, backbone.layer4)]
    assert dilations == [[(2, 2)] * 23, [(4, 4), (8, 8), (16, 16)]]


def test_unknown_keys_are_named(weights: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(UsageError, match="extra keys: pivot"):
        imdl_bench.load_model("ncl", weights | {"pivot.weight": np.zeros(1, np.float32)})


def test_fresh_weights_are_scaled_by_the_number_of_outputs() -> None:
    torch.manual_seed(0)
    network = layers.DeepLab("resnet50")
    weight = network.backbone.layer4[1].conv1.weight
    assert float(weight.detach().std()) == pytest.approx((2 / 512) ** 0.5, rel=0.01)
    weight = network.aspp.aspp3.atrous_conv.weight
    assert float(weight.detach().std()) == pytest.approx((2 / (9 * 2048)) ** 0.5, rel=0.01)


def test_random_weights_give_moderate_logits(photo: NDArray[np.uint8]) -> None:
    """Without settled statistics those of ResNet-101 reach 1e5."""
    network = imdl_bench.load_model("ncl", "random")
    pixels = model.normalise(torch.from_numpy(photo[:256, :256]).permute(2, 0, 1).float())[None]
    with torch.inference_mode():
        assert 0.01 < float(network.network(pixels).abs().max()) < 100


def test_bfloat16_is_finite_and_near(small: Any) -> None:
    half = imdl_bench.load_model("ncl", "random", seed=1, precision="bfloat16", settings={"backbone": "pvt_v2_b2"})
    photo = block(2, 100, 120)
    np.testing.assert_allclose(half.predict([photo])[0].mask, small.predict([photo])[0].mask, atol=0.05)


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18", "convnext_tiny", "pvt_v2_b2"])
def test_every_backbone_keeps_the_size(backbone: str) -> None:
    network = layers.DeepLab(backbone).eval()
    with torch.inference_mode():
        features = network.features(torch.zeros(1, 3, 96, 128))
    assert features.logits.shape == (1, 2, 96, 128)
    assert features.tap.shape == (1, network.tap_channels, 24, 32)
    assert features.decoder.shape == (1, 256, 24, 32)


def test_dilations_keep_their_reach_at_another_stride() -> None:
    aspp = layers.ASPP(8, stride=32)
    assert [each.atrous_conv.dilation[0] for each in (aspp.aspp2, aspp.aspp3, aspp.aspp4)] == [3, 6, 9]


@pytest.mark.parametrize(
    ("tap", "shape"), [("conv1", (64, 32, 48)), ("layer1", (256, 16, 24)), ("layer4", (2048, 8, 12))]
)
def test_tap(tap: str, shape: tuple[int, ...]) -> None:
    network = layers.DeepLab("resnet50", tap=tap).eval()
    with torch.inference_mode():
        assert network.features(torch.zeros(1, 3, 64, 96)).tap.shape[1:] == shape
    assert (network.tap_channels, 64 // network.tap_stride) == shape[:2]


def test_tap_that_a_backbone_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="pvt_v2_b2 has no map conv1 to tap; choose layer1 or layer4"):
        imdl_bench.load_model("ncl", "random", settings={"backbone": "pvt_v2_b2", "tap": "conv1"})


def test_mask_is_the_softmax_at_the_photographs_size(filled: Any) -> None:
    image = block(5, 40, 600)
    (prediction,) = filled.predict([image])
    assert prediction.mask.shape == (40, 600)
    assert prediction.mask.dtype == np.float32
    assert prediction.score is None
    with torch.inference_mode():
        logits = filled.network(filled.prepare(image)[None])
    forged = torch.sigmoid(logits[:, 1:] - logits[:, :1])
    want = F.interpolate(forged, (40, 600), mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(prediction.mask, want, atol=1e-6)


def test_input_is_averaged_when_it_shrinks(small: Any) -> None:
    """Pillow's bilinear filter grows with the factor; OpenCV's and PyTorch's would pick four pixels."""
    stripes = np.zeros((512, 2048, 3), np.uint8)
    stripes[:, 1::2] = 200
    prepared = small.prepare(stripes)
    assert prepared.shape == (3, 512, 512)
    assert prepared.dtype == torch.float32
    mean, deviation = model.MEAN, model.DEVIATION
    assert torch.allclose(prepared[:, :, 4:-4] * deviation + mean, torch.tensor(100 / 255), atol=1.5 / 255)


def test_photographs_of_512_are_only_normalised(small: Any, photo: NDArray[np.uint8]) -> None:
    pixels = photo.transpose(2, 0, 1) / 255
    want = (pixels - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array([0.229, 0.224, 0.225])[:, None, None]
    np.testing.assert_allclose(small.prepare(photo), want, atol=1e-5)


def test_batching_changes_nothing(small: Any) -> None:
    """In one forward pass, too, which on a CPU only a larger ``batch_pixels`` makes."""
    photos = [noise(1, 16, 16), block(2, 333, 517), block(3, 64, 700)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small, "batch_pixels", 1 << 20)
        predictions = small.predict(photos)
    for together, photo in zip(predictions, photos, strict=True):
        (alone,) = small.predict([photo])
        np.testing.assert_allclose(together.mask, alone.mask, atol=1e-5)
        assert together.mask.shape == photo.shape[:2]


def test_views_and_read_only_arrays(small: Any) -> None:
    photo = block(4, 100, 90)
    view = np.ascontiguousarray(photo[::-1, :, ::-1])[::-1, :, ::-1]
    view.flags.writeable = False
    np.testing.assert_array_equal(small.predict([view])[0].mask, small.predict([photo])[0].mask)


def test_images_below_16_pixels_are_refused(small: Any) -> None:
    with pytest.raises(ImageError, match="at least 16"):
        small.predict([noise(1, 15, 40)])


@pytest.mark.parametrize("case", ["a", "b"])
def test_patch_labels(case: str) -> None:
    want = golden(f"loss_{case}")
    labels = loss.patch_labels(torch.from_numpy(want["mask"])[None], int(want["stride"]))
    np.testing.assert_array_equal(labels[0], want["label"])
    counts = [(labels == kind).sum() for kind in (loss.TAMPERED, loss.AUTHENTIC, loss.CONTOUR)]
    assert counts == [want["n_pos"], want["n_neg"], want["n_contour"]]


def test_patch_labels_of_a_last_partial_patch() -> None:
    mask = torch.zeros(1, 5, 6)
    mask[0, 4, :] = 1
    mask[0, :, 5] = 1
    assert loss.patch_labels(mask, 4).tolist() == [[[0, 2], [1, 1]]]


def test_one_pixel_makes_a_contour_patch() -> None:
    mask = torch.zeros(1, 512, 512)
    mask[0, 3, 3] = 1
    labels = loss.patch_labels(mask, 4)
    assert labels[0, 0, 0] == loss.CONTOUR
    assert int((labels == loss.AUTHENTIC).sum()) == 128 * 128 - 1


def patches(case: str) -> tuple[dict[str, NDArray[Any]], Tensor, Tensor, tuple[Tensor, Tensor], Tensor]:
    """Reference arrays; tampered, authentic and pivot vectors in float64; the features that they were taken from."""
    want = golden(f"loss_{case}")
    features = torch.from_numpy(want["feat"]).requires_grad_()
    label = torch.from_numpy(want["label"])
    tampered, authentic = features[:, label == loss.TAMPERED].T, features[:, label == loss.AUTHENTIC].T
    return want, tampered, authentic, (torch.from_numpy(want["se_plus"]), torch.from_numpy(want["se_minus"])), features


def unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("case", ["a", "b"])
def test_contrastive_terms(case: str, tau: float) -> None:
    want, tampered, authentic, (plus, minus), _ = patches(case)
    cosine = loss.contrastive_terms(unit(tampered), unit(authentic), (unit(plus), unit(minus)), tau)
    dot = loss.contrastive_terms(tampered, authentic, (plus, minus), tau)
    for terms, name in ((cosine, "terms"), (dot, "terms_dot")):
        terms = terms.detach()
        np.testing.assert_allclose([*terms, terms.sum()], want[f"{name}_tau{tau}"], rtol=1e-6)


@pytest.mark.parametrize("case", ["a", "b"])
def test_an_anchor_is_not_its_own_positive(case: str) -> None:
    want, tampered, authentic, _, _ = patches(case)
    first = float(loss.contrastive_terms(unit(tampered), unit(authentic), None, 0.1)[0].detach())
    assert abs(first - want["term1_with_selfpairs_tau0.1"]) > 0.1


@pytest.mark.parametrize("case", ["a", "b"])
def test_printed_equation_is_ours_without_minus_and_temperature(case: str) -> None:
    want, tampered, authentic, (plus, minus), _ = patches(case)
    terms = loss.contrastive_terms(unit(tampered), unit(authentic), (unit(plus), unit(minus)), 1.0)
    np.testing.assert_allclose(-terms.sum().item(), want["eq7_as_printed_tau_cancels"], rtol=1e-6)


@pytest.mark.parametrize("case", ["a", "b"])
def test_gradient_of_the_contrast(case: str) -> None:
    want, tampered, authentic, (plus, minus), features = patches(case)
    loss.contrastive_terms(unit(tampered), unit(authentic), (unit(plus), unit(minus)), 0.1).sum().backward()
    expected = want["grad_feat_tau0.1"]
    np.testing.assert_allclose(features.grad, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_contrast_by_hand() -> None:
    want = json.loads((GOLDEN / "ncl" / "loss_hand.json").read_text())
    tampered, authentic, plus, minus = (
        torch.tensor(want[key], dtype=torch.float64) for key in ("P", "N", "se_plus", "se_minus")
    )
    cases = {
        "all": loss.contrastive_terms(tampered, authentic, (plus, minus), want["tau"]),
        "no contour": loss.contrastive_terms(tampered, authentic, None, want["tau"]),
        "one tampered patch": loss.contrastive_terms(tampered[:1], authentic, (plus, minus), want["tau"]),
        "no tampered": loss.contrastive_terms(tampered[:0], authentic, (plus, minus), want["tau"]),
    }
    for name, terms in cases.items():
        expected = want["terms"] if name == "all" else want["degenerate"][name]
        np.testing.assert_allclose([*terms, terms.sum()], expected, rtol=1e-6, err_msg=name)
    np.testing.assert_array_equal(loss.contrastive_terms(tampered, authentic[:0], (plus, minus)), np.zeros(3))


class FixedPivot(layers.PivotNetwork):  # type: ignore[misc]
    """Gives one se+ and se- for every image."""

    def __init__(self, plus: Tensor, minus: Tensor) -> None:
        super().__init__(len(plus))
        self.given = plus, minus

    def forward(self, contour: Tensor, owner: Tensor, images: int) -> tuple[Tensor, Tensor]:
        plus, minus = self.given
        return plus.expand(images, -1), minus.expand(images, -1)


@pytest.mark.parametrize("case", ["a", "b"])
def test_contrastive_loss_is_the_mean_over_images(case: str) -> None:
    want = golden(f"loss_{case}")
    features = torch.from_numpy(want["feat"]).float()[None]
    labels = torch.from_numpy(want["label"]).long()[None]
    pivot = FixedPivot(torch.from_numpy(want["se_plus"]).float(), torch.from_numpy(want["se_minus"]).float())
    for images in (1, 3):
        value = loss.contrastive_loss(features.expand(images, -1, -1, -1), labels.expand(images, -1, -1), pivot)
        np.testing.assert_allclose(value, want["terms_tau0.1"][3], rtol=1e-5)
    pristine = torch.zeros_like(labels)
    value = loss.contrastive_loss(features.expand(2, -1, -1, -1), torch.cat((labels, pristine)), pivot)
    np.testing.assert_allclose(value, want["terms_tau0.1"][3] / 2, rtol=1e-5)


@pytest.mark.parametrize("kinds", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_contrast_of_any_labels_is_finite_with_its_gradient(kinds: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    features = (100 * torch.randn(2, 6, 4, 5)).relu()
    features[0, :, 0] = 0
    features.requires_grad_()
    labels = torch.tensor(kinds)[torch.randint(len(kinds), (2, 4, 5))]
    value = loss.contrastive_loss(features, labels, layers.PivotNetwork(6)) + 0 * features.sum()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(features.grad).all()


def test_a_single_contour_patch_in_training() -> None:
    labels = torch.tensor([[[0, 1, 2]]])
    pivot = layers.PivotNetwork(4)
    alone = loss.contrastive_loss(torch.rand(1, 4, 1, 3), labels, pivot)
    assert float(alone.detach()) == 0
    assert float(loss.contrastive_loss(torch.rand(1, 4, 1, 3), labels, pivot.eval()).detach()) > 0


def test_drawn_patches_depend_on_the_generator_alone() -> None:
    torch.manual_seed(0)
    features, labels = torch.rand(1, 8, 40, 40), torch.randint(3, (1, 40, 40))
    pivot = layers.PivotNetwork(8).eval()

    def value(seed: int, most: int) -> float:
        return float(
            loss.contrastive_loss(
                features, labels, pivot, most_tampered=most, most_authentic=most, most_contour=most,
                generator=torch.Generator().manual_seed(seed),
            ).detach()
        )  # fmt: skip

    assert value(0, 50) == value(0, 50)
    assert value(0, 50) != value(1, 50)
    assert value(0, 1600) == value(1, 1600)


def test_contrast_is_float32_under_autocast() -> None:
    torch.manual_seed(0)
    features, labels = torch.rand(1, 8, 9, 9), torch.randint(3, (1, 9, 9))
    pivot = layers.PivotNetwork(8).eval()
    plain = loss.contrastive_loss(features, labels, pivot)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss.contrastive_loss(features, labels, pivot)
    assert mixed.dtype == torch.float32
    assert torch.equal(plain, mixed)


def test_pivot_takes_any_number_in_any_order() -> None:
    torch.manual_seed(0)
    pivot = layers.PivotNetwork(5).eval()
    contour, owner = torch.rand(7, 5), torch.tensor([0, 0, 0, 2, 2, 2, 2])
    plus, minus = pivot(contour, owner, 3)
    assert plus.shape == minus.shape == (3, 5)
    assert not plus[1].any()
    order = torch.randperm(7)
    torch.testing.assert_close(pivot(contour[order], owner[order], 3)[0], plus)
    torch.testing.assert_close(pivot(contour[:3], owner[:3], 1)[1][0], minus[0])
    assert not torch.allclose(plus, minus)
    assert parameters(layers.PivotNetwork(256)) == 2 * (256 * 256 + 512)


def test_auxiliary_heads() -> None:
    network = layers.DeepLab("resnet50").eval()
    heads = layers.AuxiliaryHeads()
    with torch.inference_mode():
        outputs = heads(network.features(torch.zeros(1, 3, 128, 128)))
    assert [tuple(each.shape) for each in outputs] == [(1, 2, 16, 16), (1, 2, 32, 32)]
    assert parameters(heads) == 2 * 514


@pytest.mark.parametrize("case", ["a", "b"])
def test_contour_weighted_loss(case: str) -> None:
    want = golden(f"pc_{case}")
    logit, mask = torch.from_numpy(want["logit"])[None], torch.from_numpy(want["mask"])[None]
    logits = torch.stack((torch.zeros_like(logit), logit), dim=1)
    for width in (3, 5):
        np.testing.assert_array_equal(loss.contour_band(mask, width)[0], want[f"band{width}"])
        for mu in (0.5, 0.9):
            value = loss.contour_weighted_loss(logits, mask, mu=mu, width=width)
            np.testing.assert_allclose(value, want[f"pc_k{width}_mu{mu}"], rtol=1e-6)
    value = loss.contour_weighted_loss(logits, torch.zeros_like(mask))
    np.testing.assert_allclose(value, want["pc_nocontour_mu0.9"], rtol=1e-6)


def test_contour_weight_is_each_images_own() -> None:
    """One image's long contour does not take weight from another's short one."""
    want = golden("pc_b")
    logit = torch.from_numpy(want["logit"]).expand(2, -1, -1)
    mask = torch.stack((torch.from_numpy(want["mask"]), torch.zeros(9, 7, dtype=torch.float64)))
    value = loss.contour_weighted_loss(torch.stack((torch.zeros_like(logit), logit), dim=1), mask)
    np.testing.assert_allclose(value, (want["pc_k3_mu0.9"] + want["pc_nocontour_mu0.9"]) / 2, rtol=1e-6)


def test_pivot_consistent_loss_adds_up_the_sizes() -> None:
    torch.manual_seed(0)
    mask = torch.zeros(2, 32, 32)
    mask[0, 8:24, 8:20] = 1
    outputs = [torch.randn(2, 2, 8, 8), torch.randn(2, 2, 32, 32)]
    want = loss.contour_weighted_loss(outputs[0], mask[:, 2::4, 2::4]) + loss.contour_weighted_loss(outputs[1], mask)
    torch.testing.assert_close(loss.pivot_consistent_loss(outputs, mask), want)
