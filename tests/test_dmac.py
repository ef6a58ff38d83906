"""DMAC against the released network (its reference arrays), and what must hold of any pair of photographs."""

from __future__ import annotations

import importlib
import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from reference import GOLDEN, fill_plain, noise

import imdl_bench
from imdl_bench.errors import ImdlBenchError

correlation = importlib.import_module("imdl_bench.models.dmac.correlation")
heads = importlib.import_module("imdl_bench.models.dmac.heads")
layers = importlib.import_module("imdl_bench.models.dmac.layers")
loss = importlib.import_module("imdl_bench.models.dmac.loss")
model = importlib.import_module("imdl_bench.models.dmac.model")

FOLDER = GOLDEN / "dmac"
KEYS: dict[str, Any] = json.loads((GOLDEN / "dmac.keys.json").read_text())
CORRELATIONS = sorted(path.stem for path in FOLDER.glob("corr_*.npz"))
SEEDS = (16, 20)


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


@cache
def filled(part: str) -> dict[str, np.ndarray]:
    return {key: fill_plain(key, tuple(shape)) for key, shape, _ in KEYS[part]["keys"]}


def load(part: str, network: torch.nn.Module) -> torch.nn.Module:
    network.load_state_dict({key: torch.as_tensor(value) for key, value in filled(part).items()})
    return network.eval()


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The photographs of the reference cases: uint8 (256, 256, 3), RGB here, BGR in their recipe."""
    rng = np.random.default_rng(seed)
    a, b = _smooth(rng), _smooth(rng)
    h, w = (int(side) for side in rng.integers(64, 129, 2))
    y0, x0 = int(rng.integers(0, 256 - h)), int(rng.integers(0, 256 - w))
    y1, x1 = int(rng.integers(0, 256 - h)), int(rng.integers(0, 256 - w))
    a[y1 : y1 + h, x1 : x1 + w] = b[y0 : y0 + h, x0 : x0 + w]
    return a[..., ::-1], b[..., ::-1]


def _smooth(rng: np.random.Generator) -> np.ndarray:
    total = np.zeros((256, 256, 3))
    for cells, strength in ((8, 60.0), (32, 40.0), (128, 20.0)):
        grid = rng.standard_normal((cells, cells, 3))
        total += strength * np.kron(grid, np.ones((256 // cells, 256 // cells, 1)))
    return np.clip(np.rint(128 + total), 0, 255).astype(np.uint8)


@cache
def dmac() -> Any:
    return imdl_bench.load_model("dmac", weights=filled("dmac"))


@cache
def described(seed: int) -> tuple[Any, Any]:
    with torch.inference_mode():
        a, b = (dmac().network.describe(model.network_input(image, 256)[None]) for image in pair(seed))
    return a, b


def close(found: torch.Tensor | np.ndarray, wanted: np.ndarray, share: float) -> None:
    """Greatest absolute error below ``share`` of the greatest absolute value."""
    found = np.asarray(found)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=share * np.abs(wanted).max())


# The correlation layer


@pytest.mark.parametrize("name", CORRELATIONS)
@pytest.mark.parametrize("most_products", [1, 50, 1 << 22], ids=["by row", "in parts", "at once"])
def test_correlation_equals_the_equations(name: str, most_products: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "MOST_PRODUCTS", most_products)
    wanted = golden(name)
    a, b = torch.from_numpy(wanted["fa"]), torch.from_numpy(wanted["fb"])
    on_b, on_a = correlation.cross_correlation(a, b)
    for suffix, maps in {"ab": on_b, "ba": on_a, "aa": correlation.self_correlation(a)}.items():
        close(maps, wanted[f"pooled_code_{suffix}"], 1e-6)
        close(maps[0] * len(a), wanted[f"max_{suffix}"], 1e-6)
        close(maps[1] * len(a), wanted[f"avg_{suffix}"], 1e-6)
        close(maps[2:] * len(a), wanted[f"srt_{suffix}"], 1e-6)
        close(maps[2:] * len(a), wanted[f"c_{suffix}"][wanted[f"idx_{suffix}"]], 1e-6)
    close(torch.cat([on_b, correlation.self_correlation(a)]), wanted["c1_code"], 1e-6)
    close(torch.cat([on_a, correlation.self_correlation(b)]), wanted["c2_code"], 1e-6)


@pytest.mark.parametrize("name", CORRELATIONS)
def test_sums_and_chosen_shifts_equal_the_equations(name: str) -> None:
    wanted = golden(name)
    a, b = torch.from_numpy(wanted["fa"]), torch.from_numpy(wanted["fb"])
    for suffix, sums in sums_of(a, b).items():
        close(sums.flatten(), wanted[f"sum_{suffix}"], 1e-6)
        assert correlation.strongest_shifts(sums).tolist() == wanted[f"idx_{suffix}"].tolist()


def sums_of(a: torch.Tensor, b: torch.Tensor) -> dict[str, torch.Tensor]:
    """Shift sums of the four comparisons, in the order of the reference arrays."""
    across = correlation.shift_sums(a, b)
    own = {f"{name}{name}": correlation.symmetric(correlation.shift_sums(x, x)) for name, x in (("a", a), ("b", b))}
    return {"ab": across, "ba": correlation.opposite(across), **own}


# The whole network


@pytest.mark.parametrize("seed", SEEDS)
def test_photographs_are_those_of_the_reference(seed: int) -> None:
    for name, image in zip("ab", pair(seed), strict=True):
        assert image[..., ::-1].sum((0, 1)).tolist() == golden(f"dmac_seed{seed}")[f"{name}_sum"].tolist()
        assert (image[::16, ::16, ::-1] == golden(f"dmac_seed{seed}")[f"{name}_bgr_s16"]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_features(seed: int) -> None:
    wanted = golden(f"dmac_seed{seed}")
    for number, side in enumerate(described(seed), start=1):
        for name, level in zip((3, 4, 5), side.levels, strict=True):
            close(level[0, ::64][:4], wanted[f"f{number}_{name}_ch"], 1e-4)
            close(level[0].mean((1, 2)), wanted[f"f{number}_{name}_mean"], 1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_chosen_shifts_are_exactly_those_of_the_reference(seed: int) -> None:
    wanted, (a, b) = golden(f"dmac_seed{seed}"), described(seed)
    for number, (level_a, level_b) in enumerate(zip(a.levels, b.levels, strict=True)):
        for place, sums in enumerate(sums_of(level_a[0], level_b[0]).values()):
            shifts = correlation.strongest_shifts(sums)
            assert shifts.tolist() == wanted["topk"][number, place].tolist()
            largest = sums.flatten().sort(descending=True).values[:7] / len(level_a[0])
            close(largest, wanted["topk_sum"][number, place], 1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_correlation_maps_and_logits(seed: int) -> None:
    wanted = golden(f"dmac_seed{seed}")
    with torch.inference_mode():
        maps = layers.correlation_maps(*described(seed))
        logits = dmac().network.match(*described(seed))
    for number in (1, 2):
        close(maps[number - 1][0], wanted[f"c{number}"], 1e-4)
        close(logits[number - 1][0], wanted[f"logits{number}"], 1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_and_score(seed: int) -> None:
    wanted = golden(f"dmac_seed{seed}")
    found = dmac().predict(*([image] for image in pair(seed)))[0]
    close(found.mask[::8, ::8], wanted["prob1_s8"], 1e-4)
    close(found.donor_mask[::8, ::8], wanted["prob2_s8"], 1e-4)
    scores = [model.region_score(torch.from_numpy(mask)) for mask in (found.mask, found.donor_mask)]
    close(np.array([*scores, found.score]), wanted["score"], 1e-4)


def test_one_parameter_list_with_the_released_network() -> None:
    keys = {key: tuple(shape) for key, shape, _ in KEYS["dmac"]["keys"]}
    assert list(model.official_keys().items()) == list(keys.items())
    network = layers.DMACNet()
    counts = [sum(p.numel() for p in part.parameters()) for part in (network, *network.children())]
    assert counts == [14_920_520, 1_735_488, 5_899_776, 7_079_424, 205_832]


# The networks of adversarial training, and the losses


def judged() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Network inputs of both photographs, and the made-up masks of the reference."""
    rng = np.random.default_rng(16 + 5000)
    masks = [torch.from_numpy(rng.random((1, 1, 32, 32))[:, 0]).float() for _ in range(2)]
    return [model.network_input(image, 256)[None] for image in pair(16)], masks


def test_detection_network() -> None:
    wanted = golden("heads_seed16")
    network, (images, masks) = load("detector", heads.DetectionNet()), judged()
    for number, mask in enumerate(masks, start=1):
        close(mask.double().sum(), wanted[f"mask{number}_sum"], 1e-6)
    close(torch.nn.functional.avg_pool2d(images[0], 8)[0], wanted["pool1"], 1e-6)
    seen = [heads.masked(image, mask) for image, mask in zip(images, masks, strict=True)]
    with torch.inference_mode():
        close(network(*seen), wanted["det_logits"], 1e-4)
        close(network.conv(seen[0])[0, ::16], wanted["det_feat1_s"], 1e-4)


def test_discriminator_steps_its_power_iteration_in_eval_mode_too() -> None:
    wanted = golden("heads_seed16")
    network, (images, masks) = load("discriminator", heads.Discriminator()), judged()
    seen = [heads.masked_by_class(image, mask) for image, mask in zip(images, masks, strict=True)]
    with torch.inference_mode():
        close(torch.stack([network(one) for one in seen]), wanted["dis_first_call"], 1e-4)
        close(network.conv[0].module["weight_u"], wanted["dis_u_after_first_call_conv0"], 1e-4)
        for _ in range(300):
            network(seen[0])
        close(torch.stack([network(one) for one in seen]), wanted["dis_converged"], 1e-4)


@pytest.mark.parametrize(("part", "build"), [("detector", heads.DetectionNet), ("discriminator", heads.Discriminator)])
def test_judges_have_the_released_parameters(part: str, build: Any) -> None:
    network = build()
    keys = [(key, tuple(shape)) for key, shape, _ in KEYS[part]["keys"]]
    assert [(key, tuple(tensor.shape)) for key, tensor in network.state_dict().items()] == keys
    assert sum(p.numel() for p in network.parameters()) == KEYS[part]["params"]["total"]
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trainable == KEYS[part]["params"]["trainable"]


def test_losses() -> None:
    wanted = {key: torch.from_numpy(value) for key, value in golden("losses_s70").items()}
    g, t = (wanted["dis_gen_a"], wanted["dis_gen_b"]), (wanted["dis_gt_a"], wanted["dis_gt_b"])
    found = {
        "ce": loss.mask_loss(wanted["logits_a"], wanted["logits_b"], wanted["gt_a"], wanted["gt_b"]),
        "detG": loss.detection_loss(wanted["det_gen"], wanted["label"]),
        "detD": loss.detector_loss(wanted["det_gen"], wanted["det_gt"], wanted["label"]),
        "disG_bce": loss.deception_loss(*g, "bce"),
        "disG_hinge": loss.deception_loss(*g, "hinge"),
        "disD_bce": loss.discriminator_loss(*g, *t, "bce"),
        "disD_hinge": loss.discriminator_loss(*g, *t, "hinge"),
    }
    for adversary in ("bce", "hinge"):
        total = loss.total_loss(found["ce"], found["detG"], found[f"disG_{adversary}"])
        found[f"total_{adversary}"] = total
    for name, value in found.items():
        np.testing.assert_allclose(float(value), float(wanted[name]), rtol=1e-6, err_msg=name)
    # Equation (9) prints a sum over the cells, here 4 x 4.
    np.testing.assert_allclose(float(found["ce"]) * 16, float(wanted["ce_sum_over_pixels_eq9"]), rtol=1e-6)


@pytest.mark.parametrize("shape", ["rect", "ellipse"])
def test_labels_are_point_samples_and_truncated(shape: str) -> None:
    wanted = golden("label_s16")
    mask = np.unpackbits(wanted[shape]).reshape(1, 256, 256)
    soft = loss.soft_label(torch.from_numpy(mask))
    close(soft[0], wanted[f"{shape}_soft32"], 1e-6)
    assert (loss.hard_label(soft)[0].numpy() == wanted[f"{shape}_hard32"]).all()


# Any photographs


def test_network_input_is_what_opencv_reads() -> None:
    mean = np.array([104.008, 116.669, 122.675], np.float32)
    for number, shape in enumerate([(256, 256), (512, 512), (300, 411), (100, 37), (16, 1000), (257, 255)]):
        image = noise(number, *shape)
        resized = cv2.resize(image[..., ::-1].astype(np.float32), (256, 256), interpolation=cv2.INTER_LINEAR)
        found = model.network_input(image, 256)
        assert found.dtype == torch.float32 and found.is_contiguous()
        np.testing.assert_allclose(found.numpy(), (resized - mean).transpose(2, 0, 1), atol=2e-4, rtol=0)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> int:
    """The network sees 64 x 64 instead of 256 x 256, which costs a sixteenth."""
    side = 64
    monkeypatch.setattr(model, "SIDE", side)
    monkeypatch.setattr(model, "WINDOWS", ((0, 0), (0, side), (side, 0), (side, side)))
    return side


def photographs() -> list[np.ndarray]:
    read_only = noise(3, 200, 333)
    read_only.setflags(write=False)
    return [*pair(16), noise(1, 16, 16), noise(2, 97, 61)[::-1, ::-1, ::-1], read_only]


@pytest.mark.parametrize("window", ["whole", "sliding"])
def test_batches_change_nothing_and_masks_fit(window: str, small_windows: int) -> None:
    ours = imdl_bench.load_model("dmac", weights=filled("dmac"), settings={"window": window})
    probes = photographs()
    donors = [probes[1], probes[4], probes[3], probes[2], probes[0]]
    together = ours.predict(probes, donors)
    for probe, donor, one in zip(probes, donors, together, strict=True):
        alone = ours.predict([probe], [donor])[0]
        assert one.mask.shape == probe.shape[:2] and one.donor_mask.shape == donor.shape[:2]
        for found, again in ((one.mask, alone.mask), (one.donor_mask, alone.donor_mask)):
            assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
            np.testing.assert_allclose(found, again, atol=1e-5)
        assert 0 <= one.score <= 1 and abs(one.score - alone.score) < 1e-5


def test_probe_and_donor_trade_places() -> None:
    a, b = pair(20)
    one, other = dmac().predict([a], [b])[0], dmac().predict([b], [a])[0]
    np.testing.assert_allclose(one.mask, other.donor_mask, atol=1e-5)
    np.testing.assert_allclose(one.donor_mask, other.mask, atol=1e-5)
    assert abs(one.score - other.score) < 1e-6


def test_a_photograph_and_itself_get_one_mask() -> None:
    """Every shift ties with its negative then; rounding would order a and b differently."""
    same = dmac().predict([pair(16)[0]], [pair(16)[0].copy()])[0]
    np.testing.assert_array_equal(same.mask, same.donor_mask)


@pytest.mark.parametrize("flat", [0, 127, 255])
def test_flat_photographs(flat: int) -> None:
    image = np.full((64, 80, 3), flat, np.uint8)
    found = dmac().predict([image], [pair(16)[0]])[0]
    assert np.isfinite(found.mask).all() and np.isfinite(found.donor_mask).all() and np.isfinite(found.score)


def test_features_of_nothing_keep_the_lowest_shifts() -> None:
    nothing = torch.zeros(4, 3, 3)
    assert correlation.strongest_shifts(correlation.shift_sums(nothing, nothing)).tolist() == [0, 1, 2, 3, 4, 5]
    assert correlation.self_correlation(nothing).abs().max() == 0


def test_small_photographs_are_refused() -> None:
    with pytest.raises(ImdlBenchError, match="at least 16"):
        dmac().predict([noise(1, 15, 64)], [noise(1, 64, 64)])


# What other versions get wrong


def test_channels_in_reading_order_would_show() -> None:
    a, b = pair(16)
    found, swapped = dmac().predict([a], [b])[0], dmac().predict([a[..., ::-1]], [b[..., ::-1]])[0]
    assert np.abs(found.mask - swapped.mask).max() > 0.01


def test_probabilities_are_of_stretched_logits() -> None:
    logits = torch.randn(1, 2, 32, 32, generator=torch.Generator().manual_seed(0)) * 5
    stretched = torch.nn.functional.interpolate(logits, (256, 256), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(model.forged_probability(logits, 256), stretched.softmax(1)[0, 1], atol=1e-6)
    of_corners = model.forged_probability(logits, 256)[::255, ::255]
    np.testing.assert_allclose(of_corners, logits.softmax(1)[0, 1, ::31, ::31], atol=1e-6)


def test_score_of_empty_masks() -> None:
    empty, half = torch.full((4, 4), 0.5), torch.tensor([[0.5, 0.6], [0.8, 0.1]])
    assert model.region_score(empty) == 0
    assert model.region_score(half) == pytest.approx(0.7)


def test_initialisation() -> None:
    """The released code draws the VGG part from N(0, 2 / (9 out)) and leaves the pyramid to PyTorch."""
    torch.manual_seed(0)
    network = layers.DMACNet()
    for layer in network.modules():
        if isinstance(layer, layers.ConvReLU):
            assert layer.convb.bias.abs().max() == 0
            assert float(layer.convb.weight.detach().std()) == pytest.approx(
                (2 / (9 * layer.convb.out_channels)) ** 0.5, rel=0.1
            )
    first = network.classifier.conv2d_list[0][0]
    assert first.weight.detach().abs().max() <= (48 * 9) ** -0.5
    assert first.bias.abs().max() > 0


# Weights


@pytest.mark.parametrize("prefix", ["", "module."])
def test_old_checkpoints_load(prefix: str, tmp_path: Path) -> None:
    """PyTorch 0.4 wrote its own container, and BatchNorm without num_batches_tracked."""
    old = {
        prefix + key: torch.as_tensor(value)
        for key, value in filled("dmac").items()
        if not key.endswith("num_batches_tracked")
    }
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    loaded = imdl_bench.load_model("dmac", weights=f"official:{tmp_path / 'old.pth'}")
    images = [[image] for image in pair(16)]
    np.testing.assert_array_equal(loaded.predict(*images)[0].mask, dmac().predict(*images)[0].mask)


def test_detection_network_scores_the_pair(tmp_path: Path) -> None:
    both = filled("dmac") | filled("detector")
    ours = imdl_bench.load_model("dmac", weights=both, settings={"score": "detection-net"})
    found, plain = (each.predict(*([image] for image in pair(16)))[0] for each in (ours, dmac()))
    np.testing.assert_array_equal(found.mask, plain.mask)
    detector = load("detector", heads.DetectionNet())
    images = [model.network_input(image, 256)[None] for image in pair(16)]
    with torch.inference_mode():
        shares = [torch.from_numpy(golden("dmac_seed16")[f"logits{n}"]).softmax(0)[1][None] for n in (1, 2)]
        seen = [heads.masked(image, share) for image, share in zip(images, shares, strict=True)]
        wanted = float(detector(*seen).softmax(1)[0, 1])
    assert found.score == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(ImdlBenchError, match="extra keys"):
        imdl_bench.load_model("dmac", weights=both)


def test_vgg_from_torchvision() -> None:
    """On a photograph the first convolution gives what torchvision's gives, whatever scale its weights expect."""
    from torchvision.models import vgg16

    torch.manual_seed(0)
    theirs, ours = vgg16(), layers.DMACNet()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    with torch.no_grad():
        theirs.features[0].bias.normal_()
        layers.load_vgg(ours, theirs.state_dict(), mean, std)
        image = noise(5, 256, 256)
        rgb = torch.from_numpy(image.transpose(2, 0, 1) / 255).float()
        wanted = theirs.features[:4]((rgb - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
        found = ours.Scale_3.features[:2](model.network_input(image, 256))
    close(found[:, 2:-2, 2:-2], wanted[:, 2:-2, 2:-2].numpy(), 1e-5)
    convolutions = [layer for layer in theirs.features if isinstance(layer, torch.nn.Conv2d)]
    assert torch.equal(convolutions[-1].weight, ours.Scale_5.features[2].convb.weight)


# Sliding windows


def test_sliding_equals_seventeen_comparisons(small_windows: int) -> None:
    side, network = small_windows, dmac().network
    a, b = pair(20)
    ours = imdl_bench.load_model("dmac", weights=filled("dmac"), settings={"window": "sliding"})
    with torch.inference_mode():
        found = ours.forward(ours.prepare(a)[None], ours.prepare(b)[None])[0]
        wanted = torch.zeros(2, 2 * side, 2 * side)
        whole = network(*(model.network_input(image, side)[None] for image in (a, b)))
        for number, logits in enumerate(whole):
            wanted[number] = model.forged_probability(logits, 2 * side)
        large = [model.network_input(image, 2 * side) for image in (a, b)]
        for corners in product(product((0, side), repeat=2), repeat=2):
            windows = [
                image[None, :, top : top + side, left : left + side]
                for image, (top, left) in zip(large, corners, strict=True)
            ]
            for number, (logits, (top, left)) in enumerate(zip(network(*windows), corners, strict=True)):
                window = wanted[number, top : top + side, left : left + side]
                window.copy_(torch.maximum(window, model.forged_probability(logits, side)))
    close(found.probe, wanted[0].numpy(), 1e-4)
    close(found.donor, wanted[1].numpy(), 1e-4)
    assert found.score == pytest.approx(np.mean([model.region_score(mask) for mask in wanted]), abs=1e-4)
    assert (wanted > model.forged_probability(whole[0], 2 * side)).any()


@pytest.mark.slow
def test_detection_network_sees_the_whole_comparison_when_sliding() -> None:
    both, images = filled("dmac") | filled("detector"), [[image] for image in pair(16)]
    slid, whole = (
        imdl_bench.load_model("dmac", weights=both, settings={"window": window, "score": "detection-net"})
        for window in ("sliding", "whole")
    )
    found, wanted = slid.predict(*images)[0], whole.predict(*images)[0]
    assert found.score == pytest.approx(wanted.score, abs=1e-5)
    assert np.abs(found.mask - wanted.mask).max() > 0.01


def test_any_number_of_parts_gives_the_same_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger inputs are correlated in parts; a whole number of parts or not, nothing changes."""
    torch.manual_seed(0)
    a, b = torch.rand(8, 40, 40), torch.rand(8, 40, 40)
    at_once = correlation.cross_correlation(a, b)
    monkeypatch.setattr(correlation, "MOST_PRODUCTS", 1000 * 1600)
    for whole, parts in zip(at_once, correlation.cross_correlation(a, b), strict=True):
        np.testing.assert_allclose(whole, parts, rtol=1e-6)


def test_training_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network = layers.DMACNet().train()
    a, b = torch.randn(2, 3, 64, 64) * 50, torch.randn(2, 3, 64, 64) * 50
    label = torch.randint(0, 2, (2, 8, 8))
    loss.mask_loss(*network(a, b), label, label).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("window", ["whole", "sliding"])
def test_half_precision(window: str, small_windows: int) -> None:
    """Correlation stays in float32: sums over 512 products of 8-bit mantissas could not tell shifts apart."""
    ours = imdl_bench.load_model("dmac", weights="random", precision="bfloat16", settings={"window": window})
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        side = ours.network.describe(ours.prepare(pair(16)[0])[:3][None])
    assert {level.dtype for level in side.levels} == {side.own.dtype} == {torch.float32}
    found = ours.predict(*([image] for image in pair(16)))[0]
    assert found.mask.dtype == np.float32 and np.isfinite(found.mask).all() and 0 <= found.score <= 1
