"""ELA-PPM against the reference cases, and against what is easily got wrong where the paper is silent."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np
import pytest
import torch
from reference import GOLDEN, fill_plain, noise

import imdl_bench
from imdl_bench.errors import ImageError
from imdl_bench.types import Image

layers: Any = importlib.import_module("imdl_bench.models.ela_ppm.layers")
error_level: Any = importlib.import_module("imdl_bench.models.ela_ppm.error_level")
model: Any = importlib.import_module("imdl_bench.models.ela_ppm.model")

FOLDER = GOLDEN / "ela_ppm"
KEYS = json.loads((FOLDER / "coordatt.keys.json").read_text(encoding="utf-8"))
ATTENTION = [
    ("coordatt_c16_r8_7x3_s4", 16, 8, (7, 3)),
    ("coordatt_c32_r32_8x12_s1", 32, 32, (8, 12)),
    ("coordatt_c256_r32_6x9_s2", 256, 32, (6, 9)),
    ("coordatt_c512_r32_4x4_s4", 512, 32, (4, 4)),
    ("coordatt_c64_r32_5x5_s3_train", 64, 32, (5, 5)),
]


@pytest.fixture(scope="module")
def untrained() -> Any:
    return imdl_bench.load_model("ela_ppm", weights="random", seed=0)


@pytest.fixture(scope="module")
def plain() -> Any:
    """As ``untrained``, with its BatchNorms."""
    return imdl_bench.load_model("ela_ppm", weights="random", seed=0, plain=True)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def filled(module: torch.nn.Module) -> torch.nn.Module:
    state = module.state_dict()
    module.load_state_dict({key: torch.as_tensor(fill_plain(key, tuple(t.shape))) for key, t in state.items()})
    return module


@pytest.mark.parametrize(("name", "channels", "reduction", "size"), ATTENTION)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_coordinate_attention(
    name: str, channels: int, reduction: int, size: tuple[int, int], dtype: torch.dtype
) -> None:
    golden = np.load(FOLDER / f"{name}.npz")
    x = np.random.default_rng(int(golden["seed"])).standard_normal((2, channels, *size))
    np.testing.assert_array_equal(x.ravel()[:8], golden["x_first"])
    block = filled(layers.CoordinateAttention(channels, reduction)).to(dtype)
    block.train(name.endswith("_train"))
    with torch.no_grad():
        y = block(torch.as_tensor(x, dtype=dtype)).double().numpy()
    for found, expected in [(y[:, :: max(1, channels // 32)], golden["y"]), (y.mean((2, 3)), golden["y_mean"])]:
        if dtype == torch.float64:
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        else:
            assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", KEYS)
def test_coordinate_attention_keys(name: str) -> None:
    channels, reduction = (int(part[1:]) for part in name.split("_")[1:])
    block = layers.CoordinateAttention(channels, reduction)
    assert [[key, list(tensor.shape)] for key, tensor in block.state_dict().items()] == [
        entry[:2] for entry in KEYS[name]["keys"]
    ]
    assert parameters(block) == KEYS[name]["params"]


def test_pyramid_pooling() -> None:
    golden = np.load(FOLDER / "pyramid_s21.npz")
    pooled: list[np.ndarray] = []
    pyramid = layers.PyramidPooling(2, 1)
    for place in range(len(layers.BINS)):
        pyramid.branches[place] = torch.nn.Identity()
        pyramid.branches[place].register_forward_hook(lambda _module, _inputs, out: pooled.append(out[0].numpy()))
    found = pyramid(torch.as_tensor(golden["x"])[None])[0].numpy()
    assert len(pooled) == 4
    np.testing.assert_array_equal(found[:2], golden["x"])
    for place, bins in enumerate(layers.BINS):
        np.testing.assert_allclose(pooled[place], golden[f"pool{bins}"], rtol=1e-6)
        up = found[2 * place + 2 : 2 * place + 4]
        np.testing.assert_allclose(up, golden[f"up{bins}_ac0"], rtol=1e-6, atol=1e-12)
    assert np.abs(found[-2:] - golden["up6_ac1"]).max() > 1e-2


@pytest.mark.parametrize("quality", [75, 90, 95])
def test_jpeg_difference(quality: int) -> None:
    golden = np.load(FOLDER / "ela_s31.npz")
    found = error_level.jpeg_difference(golden["image"], quality)
    apart = np.abs(found.astype(int) - golden[f"ela_q{quality}"])
    assert apart.mean() < 0.5
    assert apart.max() <= 3


@pytest.mark.parametrize(
    ("alpha", "width", "total"),
    [(1.0, 512, 10_363_858), (1.0, 256, 8_788_946), (0.5, 256, 3_031_554), (0.25, 128, 985_138)],
)
def test_parameter_count(alpha: float, width: int, total: int) -> None:
    with torch.device("meta"):
        assert parameters(layers.TwoStreamPyramidNet(alpha, width)) == total


def test_parameter_count_of_each_part(plain: Any) -> None:
    network = plain.network
    for stream in (network.rgb, network.ela):
        assert [parameters(block) for block in stream.attention] == [0, 0, 6_680, 25_648, 100_448]
        assert parameters(stream) == 3_339_752
        statistics = [buffer for key, buffer in stream.named_buffers() if "running" in key and "attention" not in key]
        assert sum(buffer.numel() for buffer in statistics) == 21_888
    assert parameters(network.pyramid) == 2_101_248
    assert parameters(network.fuse) == 1_573_888
    assert parameters(network.classifier) == 9_218


def test_feature_levels(untrained: Any) -> None:
    """F1..F5 of the paper: 64 to 1024 channels at strides 2 to 32."""
    stream, found = untrained.network.rgb, []
    hooks = [
        blocks.register_forward_hook(lambda _m, _i, out: found.append(tuple(out.shape[1:]))) for blocks in stream.blocks
    ]
    with torch.inference_mode():
        stream(torch.zeros(1, 3, 576, 576))
    for hook in hooks:
        hook.remove()
    assert found == [(64, 288, 288), (128, 144, 144), (256, 72, 72), (512, 36, 36), (1024, 18, 18)]


def test_official_keys_are_our_own(plain: Any, untrained: Any) -> None:
    state = plain.network.state_dict()
    assert model.official_keys() == {key: tuple(tensor.shape) for key, tensor in state.items()}
    assert list(model.official_keys())[:2] == ["rgb.conv_stem.weight", "rgb.bn1.weight"]
    again = imdl_bench.load_model("ela_ppm", weights={key: tensor.numpy() for key, tensor in state.items()})
    photo = Image(noise(3, 40, 50))
    np.testing.assert_array_equal(again.predict([photo])[0].mask, untrained.predict([photo])[0].mask)


def test_imagenet_weights_of_timm() -> None:
    """timm's own network and a stream without attention say the same, so its weights mean the same here."""
    import timm

    torch.manual_seed(5)
    theirs = timm.create_model("mobilenetv1_100", pretrained=False)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    ours = layers.Stream(1.0)
    attention = {key: tensor.clone() for key, tensor in ours.state_dict().items() if "attention" in key}
    layers.load_imagenet(ours, theirs.state_dict())
    assert all(torch.equal(ours.state_dict()[key], tensor) for key, tensor in attention.items())
    ours.attention = torch.nn.ModuleList(torch.nn.Identity() for _ in ours.attention)
    x = torch.randn(2, 3, 97, 128)
    with torch.no_grad():
        expected = theirs.eval().forward_features(x)
        torch.testing.assert_close(ours.eval()(x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_imagenet_weights_of_another_network() -> None:
    tensors = {key: tensor for key, tensor in layers.Stream(1.0).state_dict().items() if "attention" not in key}
    with pytest.raises(KeyError, match=r"conv_stem\.weight"):
        layers.load_imagenet(layers.Stream(1.0), {key: t for key, t in tensors.items() if key != "conv_stem.weight"})
    with pytest.raises(KeyError, match=r"blocks\.5"):
        layers.load_imagenet(layers.Stream(1.0), tensors | {"blocks.5.0.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="size mismatch"):
        layers.load_imagenet(layers.Stream(0.5), tensors)


def test_every_batch_norm_has_tensorflow_defaults(plain: Any) -> None:
    norms = [module for module in plain.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 2 * (1 + 2 * 13 + 3) + 4 + 1
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


def test_streams_are_not_shared_and_only_added(untrained: Any) -> None:
    network = untrained.network
    assert not {id(p) for p in network.rgb.parameters()} & {id(p) for p in network.ela.parameters()}
    assert not torch.equal(network.rgb.conv_stem.weight, network.ela.conv_stem.weight)
    both = torch.rand(1, 6, 192, 192)
    seen = []
    hook = network.pyramid.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        logits = network(both)
        torch.testing.assert_close(seen[0], network.rgb(both[:, :3]) + network.ela(both[:, 3:]))
    hook.remove()
    assert logits.shape == (1, 2, 192, 192)


def test_attention_is_in_line(untrained: Any) -> None:
    """What F3's attention returns is what F4 gets: a side output there would be dead code."""
    stream, got, given = untrained.network.rgb, [], []
    hooks = [
        stream.attention[2].register_forward_hook(lambda _module, _inputs, out: given.append(out)),
        stream.blocks[3].register_forward_pre_hook(lambda _module, inputs: got.append(inputs[0])),
    ]
    with torch.inference_mode():
        stream(torch.rand(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    assert got[0] is given[0]


@pytest.mark.parametrize("size", [(192, 192), (64, 96), (33, 70)])
def test_network_takes_other_input_sizes(untrained: Any, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert untrained.network(torch.rand(2, 6, *size)).shape == (2, 2, *size)


def test_amplification() -> None:
    photo = noise(7, 64, 48)
    plain = error_level.jpeg_difference(photo, 90).astype(int)
    np.testing.assert_array_equal(error_level.ela_image(photo, "none"), plain)
    np.testing.assert_array_equal(error_level.ela_image(photo, "fixed"), np.minimum(15 * plain, 255))
    brightest = error_level.ela_image(photo, "max")
    np.testing.assert_array_equal(brightest, np.rint(plain * (255 / plain.max())))
    assert brightest.max() == 255


def test_unchanged_photograph_has_a_black_ela_image() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    for amplification in ("max", "fixed", "none"):
        assert not error_level.ela_image(grey, amplification).any()


def test_one_gain_for_all_channels() -> None:
    photo = noise(8, 64, 64)
    photo[..., 1] = 100
    ela, plain = error_level.ela_image(photo, "max"), error_level.jpeg_difference(photo, 90)
    peaks = plain.max(axis=(0, 1)).astype(float)
    np.testing.assert_array_equal(ela.max(axis=(0, 1)), np.rint(peaks * (255 / peaks.max())))


def test_input_is_rgb_then_ela_each_squeezed_and_divided_by_255(untrained: Any, photo: np.ndarray) -> None:
    import PIL.Image

    pixels = photo[:300, :451]
    tensor = untrained.prepare(Image(pixels)).numpy()
    assert tensor.shape == (6, 576, 576)
    assert tensor.dtype == np.float32
    for found, source in [(tensor[:3], pixels), (tensor[3:], error_level.ela_image(pixels, "max"))]:
        resized = PIL.Image.fromarray(source).resize((576, 576), PIL.Image.Resampling.BICUBIC)
        np.testing.assert_allclose(found, np.moveaxis(np.asarray(resized), 2, 0) / 255, atol=1e-7)


def test_ela_is_made_before_resizing(untrained: Any, photo: np.ndarray) -> None:
    """ELA of a photograph that was resized first is another picture: the 8x8 grid it should show is gone."""
    import PIL.Image

    small = np.asarray(PIL.Image.fromarray(photo).resize((576, 576), PIL.Image.Resampling.BICUBIC))
    resized_first = np.moveaxis(error_level.ela_image(small, "max"), 2, 0) / 255
    assert np.abs(untrained.prepare(Image(photo)).numpy()[3:] - resized_first).mean() > 0.01


def test_amplification_setting_reaches_the_input() -> None:
    photo = Image(noise(9, 80, 80))
    tensors = []
    for choice in ("max", "fixed", "none"):
        settings = {"amplification": choice, "alpha": 0.25, "width": 128}
        tensors.append(imdl_bench.load_model("ela_ppm", weights="random", settings=settings).prepare(photo))
    means = [float(tensor[3:].mean()) for tensor in tensors]
    assert means[1] > means[0] > means[2] > 0
    for tensor in tensors[1:]:
        assert torch.equal(tensor[:3], tensors[0][:3])


def test_mask_is_the_tampered_probability_at_the_photographs_size(untrained: Any) -> None:
    photo = Image(noise(10, 60, 90))
    logits = untrained.forward(untrained.prepare(photo)[None])
    tampered = logits.double().exp()[:, 1:] / logits.double().exp().sum(dim=1, keepdim=True)
    expected = torch.nn.functional.interpolate(tampered, size=(60, 90), mode="bilinear", align_corners=False)
    prediction = untrained.predict([photo])[0]
    assert prediction.score is None
    np.testing.assert_allclose(prediction.mask, expected[0, 0].detach().numpy(), atol=1e-6)


def test_batching_changes_nothing(untrained: Any, photo: np.ndarray) -> None:
    photos = [Image(photo), Image(noise(11, 61, 47)), Image(photo[::2, 1::3]), Image(noise(12, 30, 200))]
    together = untrained.predict(photos)
    for image, prediction in zip(photos, together, strict=True):
        alone = untrained.predict([image])[0].mask
        assert prediction.mask.shape == image.shape[:2]
        np.testing.assert_allclose(prediction.mask, alone, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (16, 3000), (3000, 16)])
def test_odd_and_small_sizes(untrained: Any, size: tuple[int, int]) -> None:
    mask = untrained.predict([Image(noise(13, *size))])[0].mask
    assert mask.shape == size
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1


def test_grey_photograph(untrained: Any, photo: np.ndarray) -> None:
    grey = np.repeat(photo[..., :1], 3, axis=2)
    assert np.isfinite(untrained.predict([Image(grey)])[0].mask).all()


@pytest.mark.parametrize("size", [(40, 1), (1, 40), (15, 40)])
def test_too_small_is_refused(untrained: Any, size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="at least 16"):
        untrained.predict([Image(noise(14, *size))])


def test_side_that_jpeg_cannot_hold_is_refused(untrained: Any) -> None:
    with pytest.raises(ImageError, match="65500"):
        untrained.predict([Image(np.zeros((16, 65_501, 3), np.uint8))])


def test_read_only_and_strided_photographs(untrained: Any, photo: np.ndarray) -> None:
    strided = photo[::-2, ::3, ::-1]
    plain = np.ascontiguousarray(strided)
    frozen = plain.copy()
    frozen.flags.writeable = False
    expected = untrained.predict([Image(plain)])[0].mask
    for pixels in (strided, frozen):
        np.testing.assert_array_equal(untrained.predict([Image(pixels)])[0].mask, expected)
    np.testing.assert_array_equal(plain, frozen)


def test_random_weights_follow_the_seed_and_say_something(untrained: Any, photo: np.ndarray) -> None:
    mask = untrained.predict([Image(photo)])[0].mask
    assert np.ptp(mask) > 1e-3
    same, other = (imdl_bench.load_model("ela_ppm", weights="random", seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(same.predict([Image(photo)])[0].mask, mask)
    assert np.abs(other.predict([Image(photo)])[0].mask - mask).max() > 1e-3


def test_lower_precision_stays_close(untrained: Any) -> None:
    photo = Image(noise(15, 48, 64))
    rounded = imdl_bench.load_model("ela_ppm", weights="random", seed=0, precision="bfloat16")
    apart = np.abs(rounded.predict([photo])[0].mask - untrained.predict([photo])[0].mask)
    assert 0 < apart.max() < 0.05
