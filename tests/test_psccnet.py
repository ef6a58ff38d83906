"""PSCC-Net: against arrays of the authors' code, tiled against whole, and what other versions of it get wrong."""

from __future__ import annotations

import copy
import hashlib
import importlib
import json

import numpy as np
import pytest
import reference
import torch
from conftest import shared
from reference import GOLDEN, block, compare, fill, noise, pyramid

from imdl_bench.examples import Example

layers = importlib.import_module("imdl_bench.models.psccnet.layers")
heads = importlib.import_module("imdl_bench.models.psccnet.heads")
tiles = importlib.import_module("imdl_bench.models.psccnet.tiles")
resizing = importlib.import_module("imdl_bench.models.psccnet.resize")
model = importlib.import_module("imdl_bench.models.psccnet.model")
loss = importlib.import_module("imdl_bench.models.psccnet.loss")
training = importlib.import_module("imdl_bench.models.psccnet.training")

FOLDER = GOLDEN / "psccnet"
CASES = {case["name"]: case for case in json.loads((FOLDER / "index.json").read_text())}
PARTS = json.loads((GOLDEN / "psccnet.keys.json").read_text())
FILLED = {key: fill(key, tuple(shape)) for part in PARTS.values() for key, shape, _ in part["keys"]}
FEATURES, MASKS, PUBLISHED_MASKS, LOGITS = 2e-4, 2e-4, 2e-3, 1e-4


def network(tensors: dict[str, np.ndarray] = FILLED, **settings: object) -> torch.nn.Module:
    made = model.Network(**settings)
    own = {model.PSCCNet.official_name(key): key for key in made.state_dict()}
    made.load_state_dict({own[key.removeprefix("module.")]: torch.as_tensor(v) for key, v in tensors.items()})
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def filled() -> torch.nn.Module:
    return network()


def picture(name: str) -> np.ndarray:
    return reference.picture(CASES[name]["input"], "psccnet")


def batch_of(*images: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)) / 255 for image in images])


def load(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / f"{name}.npz"))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["kind"] == "fill_image"])
def test_whole_network_equals_the_authors(filled: torch.nn.Module, name: str) -> None:
    arrays, batch = load(name), batch_of(picture(name))
    with torch.inference_mode():
        maps = filled.backbone(batch)
        outputs = filled.from_features(heads.resample(maps))
    for number, feature in enumerate(maps, start=1):
        compare(feature, f"feat{number}", arrays, FEATURES)
        compare(feature.mean((2, 3)), f"feat{number}_mean", arrays, FEATURES)
        compare(feature.std((2, 3), correction=0), f"feat{number}_std", arrays, FEATURES)
    for number, mask in enumerate(outputs.masks, start=1):
        compare(mask, f"mask{number}", arrays, MASKS)
    np.testing.assert_allclose(outputs.logits, arrays["logits"], rtol=LOGITS, atol=LOGITS)
    np.testing.assert_allclose(outputs.logits.softmax(1)[:, 1], arrays["prob_forged"], rtol=0, atol=LOGITS)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["kind"] == "real_heads_pyramid"])
def test_published_heads_equal_the_authors(name: str) -> None:
    folder = shared("golden", "IMDL_BENCH_GOLDEN") / "psccnet"
    published = {
        key: tensor
        for file in ("NLCDetection.pth", "DetectionHead.pth")
        for key, tensor in torch.load(folder / file, map_location="cpu", weights_only=True).items()
    }
    arrays, made = load(name), CASES[name]["input"]
    maps = pyramid(made["seed"], made["h"], made["w"], made["batch"], made["scale"])
    with torch.inference_mode():
        outputs = network(FILLED | published).from_features(heads.resample([torch.from_numpy(x) for x in maps]))
    for number, mask in enumerate(outputs.masks, start=1):
        compare(mask, f"mask{number}", arrays, PUBLISHED_MASKS)
    np.testing.assert_allclose(outputs.logits, arrays["logits"], rtol=LOGITS, atol=LOGITS)
    np.testing.assert_allclose(outputs.logits.softmax(1)[:, 1], arrays["prob_forged"], rtol=0, atol=LOGITS)


def test_keys_and_sizes_are_the_published_ones() -> None:
    listed = {key: tuple(shape) for part in PARTS.values() for key, shape, _ in part["keys"]}
    assert list(model.official_keys().items()) == list(listed.items())
    made = model.Network()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in made.named_children()}
    assert counts == {"backbone": 2_028_572, "masks": 719_824, "head": 919_546}
    assert sum(tensor.numel() for tensor in made.head.state_dict().values()) == 924_070


def test_published_files_are_those_on_the_card() -> None:
    from imdl_bench.catalog import model_card

    weights = (model_card("psccnet").weights or {})["official"]
    folder = shared("golden", "IMDL_BENCH_GOLDEN") / "psccnet"
    for file, blob in list(zip(weights.files, weights.git_blob, strict=True))[1:]:
        content = (folder / file).read_bytes()
        assert hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == blob


@pytest.mark.parametrize("name", ["fill_noise_64x64", "fill_block_131x97", "fill_splice1"])
def test_predictions_equal_the_authors(name: str) -> None:
    arrays = load(name)
    (found,) = loaded().predict([picture(name)])
    assert found.mask.dtype == np.float32 and found.mask.shape == tuple(CASES[name]["shape"][2:])
    compare(found.mask[None], "mask_up", arrays, MASKS)
    np.testing.assert_allclose(found.score, arrays["prob_forged"][0], rtol=0, atol=LOGITS)


@pytest.mark.parametrize(
    ("height", "width", "tile"),
    [
        (16, 16, 1024),
        (131, 97, 64),
        (34, 421, 128),
        (421, 34, 128),
        pytest.param(333, 421, 256, marks=pytest.mark.slow),
        pytest.param(1000, 700, 256, marks=pytest.mark.slow),
    ],
)
def test_tiles_move_nothing(filled: torch.nn.Module, height: int, width: int, tile: int) -> None:
    batch = batch_of(block(1, height, width))
    laid_out = copy.deepcopy(filled).to(memory_format=model.PSCCNet.memory_format)
    with torch.inference_mode():
        features = heads.resample(laid_out.backbone(batch))
        tiled = tiles.tiled_features(laid_out.backbone, batch, tile)
        whole, outputs = laid_out.from_features(features), laid_out.from_features(tiled)
    for expected, found in zip(features, tiled, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    for expected, found in zip(whole.masks, outputs.masks, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(outputs.logits, whole.logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [601, 608])
@pytest.mark.parametrize("at", [304, 424])
def test_nothing_beyond_the_halo_is_read(filled: torch.nn.Module, width: int, at: int) -> None:
    """NaN spreads over all that depends on it, however little."""
    short = resizing.Span(0, 16, 16)
    for core in (resizing.Span(at, width, width), resizing.Span(0, at, width)):
        around = tiles._with_halo(core, tiles.HALO)
        batch = torch.full((1, 3, 16, width), torch.nan)
        batch[..., around.start : around.stop] = 0.5
        with torch.inference_mode():
            maps = filled.backbone(batch)
        assert all(bool(x.isnan().any()) for x in maps)
        for level, x in enumerate(maps):
            columns = tiles._read_from(core.halved(level), heads.SIZES[level])
            source = resizing.Window(short, resizing.Span(0, width, width)).halved(level)
            found = resizing.resize(x, source, resizing.Window(short.halved(level), columns))
            assert len(columns) > 0 and not found.isnan().any()


def test_every_resampled_row_comes_from_one_tile() -> None:
    for whole in (16, 97, 256, 1000, 3001):
        for level, size in enumerate(heads.SIZES):
            for tile in (64, 512):
                cores = [core.halved(level) for core in tiles._cores(whole, tile)]
                rows = [row for core in cores for row in range(size)[slice(*_bounds(core, size))]]
                assert rows == list(range(size))


def _bounds(core: object, size: int) -> tuple[int, int]:
    span = tiles._read_from(core, size)
    return span.start, span.stop


@pytest.mark.parametrize(
    ("before", "after"), [((5, 7), (5, 7)), ((9, 4), (32, 64)), ((70, 33), (32, 32)), ((2, 2), (3, 1))]
)
def test_resize_is_interpolate_with_aligned_corners(before: tuple[int, int], after: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *before)
    expected = torch.nn.functional.interpolate(x, size=after, mode="bilinear", align_corners=True)
    windows = resizing.Window.of_all(*before), resizing.Window.of_all(*after)
    np.testing.assert_allclose(resizing.resize(x, *windows), expected, rtol=0, atol=1e-6)


def loaded(**settings: object) -> object:
    import imdl_bench

    return imdl_bench.load_model("psccnet", weights=FILLED, settings=settings)


def test_batching_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "IMAGES_AT_ONCE", 2)
    psccnet = loaded()
    images = [block(1, 34, 48), noise(2, 20, 17), noise(3, 34, 48), block(4, 34, 48)]
    for together, image in zip(psccnet.predict(images), images, strict=True):
        (alone,) = psccnet.predict([image])
        assert together.mask.shape == image.shape[:2]
        np.testing.assert_allclose(together.mask, alone.mask, rtol=0, atol=1e-5)
        np.testing.assert_allclose(together.score, alone.score, rtol=0, atol=1e-5)


def test_any_array_layout_is_taken() -> None:
    psccnet = loaded()
    image = block(7, 40, 52)
    locked = image.copy()
    locked.setflags(write=False)
    turned = np.ascontiguousarray(image[::-1].transpose(1, 0, 2)).transpose(1, 0, 2)[::-1]
    first, *others = psccnet.predict([image, locked, turned])
    for other in others:
        np.testing.assert_allclose(other.mask, first.mask, rtol=0, atol=1e-6)


def test_too_small_a_picture_is_refused() -> None:
    from imdl_bench.errors import ImageError

    with pytest.raises(ImageError, match="at least 16"):
        loaded().predict([noise(1, 15, 40)])


def test_settings_choose_masks_and_score() -> None:
    image = block(102, 96, 128)
    arrays = load("fill_block_96x128")
    (full,) = loaded().predict([image])
    (early,) = loaded(stop_at_scale=4).predict([image])
    (averaged,) = loaded(score="mask-mean").predict([image])
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(arrays["mask4"])[None], size=(96, 128), mode="bilinear", align_corners=True
    )
    np.testing.assert_allclose(early.mask, expected[0, 0], rtol=0, atol=MASKS)
    assert early.score == pytest.approx(full.score, abs=1e-6)
    np.testing.assert_allclose(averaged.mask, full.mask, rtol=0, atol=1e-6)
    assert averaged.score == pytest.approx(float(full.mask.mean()), abs=1e-6)
    assert averaged.score != pytest.approx(full.score, abs=1e-3)


def test_settings_are_checked() -> None:
    from imdl_bench.errors import UsageError

    assert loaded(without=["channel"]).network.masks.getmask1.without == ("channel",)
    with pytest.raises(UsageError, match="without"):
        loaded(without=["spacial"])
    with pytest.raises(UsageError, match="stop_at_scale"):
        loaded(stop_at_scale=5)


@pytest.mark.parametrize("left_out", [["spatial"], ["channel"], ["spatial", "channel"]])
def test_left_out_attention_is_a_zero_gamma(filled: torch.nn.Module, left_out: list[str]) -> None:
    gammas = tuple("gamma_" + attention[0] for attention in left_out)
    zeroed = {key: value * 0 if key.endswith(gammas) else value for key, value in FILLED.items()}
    features = heads.resample(filled.backbone(batch_of(noise(3, 32, 32))))
    for expected, found in zip(network(zeroed).masks(features), network(without=left_out).masks(features), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_bfloat16_stays_near_float32() -> None:
    import imdl_bench

    image = block(103, 64, 64)
    (exact,) = loaded().predict([image])
    (rounded,) = imdl_bench.load_model("psccnet", weights=FILLED, precision="bfloat16").predict([image])
    assert rounded.mask.dtype == np.float32
    assert np.abs(rounded.mask - exact.mask).max() < 0.1


def test_fresh_weights_are_drawn_as_the_authors_do() -> None:
    torch.manual_seed(0)
    made = model.Network()
    assert float(made.backbone.conv2.weight.detach().std()) == pytest.approx(1e-3, rel=0.05)
    assert made.masks.getmask1.gamma_s.tolist() == made.masks.getmask1.gamma_c.tolist() == [1]
    assert made.backbone.bn1.momentum == made.head.final_layer[1].momentum == 0.01


def test_imagenet_start_takes_what_fits() -> None:
    backbone = layers.HRNet()
    before = backbone.stage4[0].branches[0][0].conv1.weight.clone()
    tensors = {
        "conv1.weight": torch.ones(64, 3, 3, 3),
        "model.bn1.bias": torch.full((64,), 2.0),
        "model.stage3.0.branches.0.0.conv1.weight": torch.full((18, 18, 3, 3), 3.0),
        "stage3.1.branches.0.0.conv1.weight": torch.ones(18, 18, 3, 3),
        "stage4.0.branches.0.0.conv1.weight": torch.ones(20, 18, 3, 3),
        "classifier.weight": torch.ones(1000, 2048),
    }
    taken = layers.load_imagenet(backbone, tensors)
    assert taken == ["conv1.weight", "bn1.bias", "stage3.0.branches.0.0.conv1.weight"]
    assert backbone.conv1.weight.unique().tolist() == [1] and backbone.bn1.bias.unique().tolist() == [2]
    assert backbone.stage3[0].branches[0][0].conv1.weight.unique().tolist() == [3]
    assert torch.equal(backbone.stage4[0].branches[0][0].conv1.weight, before)


def truth(boxes: np.ndarray, count: int) -> list[np.ndarray]:
    """Forged boxes (sample, row0, row1, col0, col1) as uint8 (256, 256) truths."""
    masks = [np.zeros((256, 256), np.uint8) for _ in range(count)]
    for sample, top, bottom, left, right in boxes:
        masks[sample][top:bottom, left:right] = 255
    return masks


def at_scales(masks: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.stack(x))[:, None] for x in zip(*map(loss.truth_at_scales, masks), strict=True)]


def test_loss_equals_the_authors() -> None:
    arrays = load("loss_a")
    rng = np.random.default_rng(CASES["loss_a"]["input"]["seed"])
    masks = [
        torch.from_numpy((1 / (1 + np.exp(-rng.standard_normal((3, size, size))))).astype(np.float32))[:, None]
        for size in heads.SIZES
    ]
    truths = at_scales(truth(arrays["gt_boxes"], 3))
    for number, smaller in enumerate(truths[1:], start=2):
        assert smaller.sum((1, 2, 3)).tolist() == arrays[f"gt{number}_sum"].tolist()
    np.testing.assert_array_equal(truths[3][:, 0], arrays["gt4"])
    found = loss.training_loss(masks, torch.from_numpy(arrays["logits"]), truths, torch.tensor([1, 1, 0]))
    np.testing.assert_allclose(found.masks, arrays["mask_losses"], rtol=1e-6)
    np.testing.assert_allclose(found.detection, arrays["cls_loss"], rtol=1e-6)
    np.testing.assert_allclose(found.total, arrays["total"], rtol=1e-6)


def test_loss_of_the_paper_is_the_plain_mean() -> None:
    masks = [torch.full((1, 1, 2, 2), value) for value in (0.5, 0.25, 0.75, 0.5)]
    truths = [torch.tensor([[[[True, False], [False, False]]]])] * 4
    found = loss.training_loss(masks, torch.tensor([[0.0, 0.0]]), truths, torch.tensor([1]), "paper")
    expected = [-(np.log(p) + 3 * np.log(1 - p)) / 4 for p in (0.5, 0.25, 0.75, 0.5)]
    np.testing.assert_allclose(found.masks, expected, rtol=1e-6)
    assert float(found.total) == pytest.approx(np.mean(expected) + np.log(2), rel=1e-6)


def test_loss_of_a_batch_of_one_kind_of_pixel_is_finite() -> None:
    mask = torch.full((1, 1, 4, 4), 0.5)
    assert float(loss.balanced_cross_entropy(mask, torch.zeros(1, 1, 4, 4, dtype=torch.bool))) == pytest.approx(
        np.log(2)
    )
    assert float(loss.balanced_cross_entropy(mask, torch.ones(1, 1, 4, 4, dtype=torch.bool))) == pytest.approx(
        np.log(2) / 2
    )


def test_training_step_equals_the_authors() -> None:
    """Through the learner, so that its scaling of the truth and its options are held too."""
    arrays, made = load("train_step_a"), CASES["train_step_a"]["input"]
    net = network().requires_grad_(True)
    net.backbone.bn1.num_batches_tracked.fill_(1000)  # a network long in training, as the authors' momentum supposes
    logits: list[torch.Tensor] = []
    net.head.register_forward_hook(lambda _module, _inputs, found: logits.append(found.detach()))
    learner = training.PSCCNetLearner(net, {"loss": "official"}).train()
    truths = truth(np.array([[0, 32, 128, 64, 224]]), 2)
    rows = [
        learner.inputs(Example(str(seed), block(seed, made["h"], made["w"]), mask != 0, mask.any(), "splicing"), {})
        for seed, mask in zip(made["seeds"], truths, strict=True)
    ]
    found = learner({key: torch.stack([row[key] for row in rows]) for key in rows[0]}, "network")
    found["total"].backward()
    masks = [found[f"mask{size}"].item() for size in heads.SIZES]
    np.testing.assert_allclose(masks, arrays["mask_losses"], rtol=1e-4)
    np.testing.assert_allclose(found["detection"].item(), arrays["cls_loss"], rtol=1e-4)
    np.testing.assert_allclose(found["total"].item(), arrays["total"], rtol=1e-4)
    np.testing.assert_allclose(logits[0], arrays["logits"], rtol=1e-4, atol=1e-4)
    for part, name in ((net.backbone, "HRNet"), (net.masks, "NLCDetection"), (net.head, "DetectionHead")):
        norm = torch.stack([p.grad.square().sum() for p in part.parameters()]).sum().sqrt()
        np.testing.assert_allclose(float(norm), arrays[f"grad_norm_{name}"], rtol=1e-2)
    np.testing.assert_allclose(net.backbone.bn1.running_mean, arrays["bn1_running_mean_after"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(net.backbone.bn1.running_var, arrays["bn1_running_var_after"], rtol=1e-4, atol=1e-6)
