"""Distortions against references written by hand, in scipy, Pillow and scikit-image; goldens; where the truth goes."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageEnhance
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.exposure import adjust_gamma

from imdl_bench import distortions
from imdl_bench.distortions import DISTORTIONS, Distortion, parse_distortions
from imdl_bench.errors import ImageError, UsageError
from imdl_bench.geometry import Distorted
from imdl_bench.types import Image

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).parent / "golden" / "distortions" / "distorted.npz"

# One of each; the last value says by how many grey levels a pixel may differ on average from the golden.
EACH = [
    ({"resize": {"scale": 0.78}}, 0.0),
    ({"resize": {"scale": 0.25, "interpolation": "area"}}, 0.0),
    ({"resize": {"scale": 1.5, "interpolation": "cubic"}}, 0.0),
    ({"resize": {"scale": 0.6, "interpolation": "lanczos4"}}, 0.0),
    ({"resize": {"scale": 0.6, "interpolation": "nearest"}}, 0.0),
    ({"downscale_upscale": {"scale": 0.5}}, 0.0),
    ({"crop": {"fraction": 0.7}}, 0.0),
    ({"crop": {"fraction": 0.5, "grid": 8}}, 0.0),
    ({"gaussian_blur": {"kernel": 3}}, 0.0),
    ({"gaussian_blur": {"kernel": 15}}, 0.0),
    ({"median": {"kernel": 5}}, 0.0),
    ({"gaussian_noise": {"sigma": 3}}, 0.0),
    ({"gaussian_noise": {"sigma": 15}}, 0.0),
    ({"sharpen": {"amount": 0.5}}, 0.0),
    ({"contrast": {"factor": 1.5}}, 0.0),
    ({"brightness": {"shift": -40}}, 0.0),
    ({"gamma": {"exponent": 2.2}}, 0.0),
    ({"jpeg": {"quality": 100}}, 0.5),
    ({"jpeg": {"quality": 50}}, 0.5),
    ({"jpeg": {"quality": 50, "subsampling": "4:4:4"}}, 0.5),
    ({"double_jpeg": {"first": 60, "second": 90}}, 0.5),
    ({"webp": {"quality": 50}}, 0.5),
    ({"social": {"side": 30, "quality": 71}}, 0.5),
    ({"chain": [{"resize": {"scale": 0.5}}, {"gaussian_noise": {"sigma": 5}}, {"jpeg": {"quality": 70}}]}, 0.5),
    ({"chain": [{"gaussian_noise": {"sigma": 9}}, {"crop": {"fraction": 0.8}}]}, 0.0),
]
UNCHANGED = [
    {"resize": {"scale": 1}}, {"downscale_upscale": {"scale": 1.0}}, {"crop": {"fraction": 1}},
    {"gaussian_blur": {"kernel": 1}}, {"median": {"kernel": 1}}, {"gaussian_noise": {"sigma": 0}},
    {"sharpen": {"amount": 0}}, {"contrast": {"factor": 1}}, {"brightness": {"shift": 0}}, {"gamma": {"exponent": 1}},
]  # fmt: skip


def level(entry: object) -> Distortion:
    return parse_distortions([entry])[-1]


def distort(entry: object, pixels: np.ndarray, sample: str = "a.png", seed: int = 0) -> Distorted:
    return level(entry).apply(Image(pixels), seed=seed, sample=sample)


def pixels_of(entry: object, pixels: np.ndarray, sample: str = "a.png") -> np.ndarray:
    return np.asarray(distort(entry, pixels, sample).image)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pattern(height: int, width: int) -> np.ndarray:
    """Ramps and blocks, made of whole numbers."""
    y, x, c = np.mgrid[:height, :width, :3]
    return ((5 * x + 3 * y + 40 * c + 60 * ((x // 8 + y // 8) % 2)) % 256).astype(np.uint8)


# --- each against a reference ---------------------------------------------------------------------------------------


def fixed_point_blur(rgb: np.ndarray, kernel: int) -> np.ndarray:
    """OpenCV's arithmetic: weights of 8 bits that carry their rounding error on, one rounding at the end."""
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    exact = np.exp(-((np.arange(kernel) - kernel // 2) ** 2) / (2 * sigma**2))
    exact, weights, error = exact / exact.sum() * 256, np.zeros(kernel, np.int64), 0.0
    for i in range(kernel // 2):
        weights[i] = weights[-1 - i] = np.rint(exact[i] + error)
        error += exact[i] - weights[i]
    weights[kernel // 2] = 256 - weights.sum()
    blurred = ndimage.correlate1d(rgb.astype(np.int64), weights, 0, mode="mirror")
    return ((ndimage.correlate1d(blurred, weights, 1, mode="mirror") + 2**15) >> 16).astype(np.uint8)


@pytest.mark.parametrize("kernel", [3, 5, 7, 15, 31])
@pytest.mark.parametrize("shape", [(37, 41), (6, 5), (1, 9)])
def test_gaussian_blur_is_opencvs_with_the_sigma_of_its_rule(kernel: int, shape: tuple[int, int]) -> None:
    rgb = noise(*shape)
    np.testing.assert_array_equal(pixels_of({"gaussian_blur": {"kernel": kernel}}, rgb), fixed_point_blur(rgb, kernel))


@pytest.mark.parametrize(("kernel", "sigma"), [(3, 0.8), (15, 2.6)])
def test_gaussian_blur_is_a_gaussian(photo: np.ndarray, kernel: int, sigma: float) -> None:
    smooth = ndimage.gaussian_filter(photo.astype(float), (sigma, sigma, 0), mode="mirror", radius=kernel // 2)
    difference = pixels_of({"gaussian_blur": {"kernel": kernel}}, photo) - smooth
    assert np.abs(difference).mean() < 0.3 and abs(difference.mean()) < 0.01 and np.abs(difference).max() < 2


@pytest.mark.parametrize("kernel", [3, 5, 9])
@pytest.mark.parametrize("shape", [(37, 41), (4, 3), (1, 1)])
def test_median_is_scipys(kernel: int, shape: tuple[int, int]) -> None:
    rgb = noise(*shape)
    expected = ndimage.median_filter(rgb, (kernel, kernel, 1), mode="nearest")
    np.testing.assert_array_equal(pixels_of({"median": {"kernel": kernel}}, rgb), expected)


def test_gaussian_noise_is_what_the_seed_says_in_bands_as_at_once() -> None:
    rgb = noise(700, 900)  # more than one band
    words = json.dumps([7, "dir/ä.jpg", "gaussian_noise(sigma=3)"]).encode()
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(words).digest(), "big"))
    expected = np.clip(np.rint(rgb + 3 * rng.standard_normal(rgb.shape)), 0, 255)
    np.testing.assert_array_equal(distort({"gaussian_noise": {"sigma": 3}}, rgb, "dir/ä.jpg", 7).image, expected)


@pytest.mark.parametrize("sigma", [3, 15])
def test_gaussian_noise_has_its_standard_deviation_in_grey_levels(sigma: int) -> None:
    grey = np.full((400, 400, 3), 128, np.uint8)
    added = pixels_of({"gaussian_noise": {"sigma": sigma}}, grey).astype(float) - 128
    assert added.std() == pytest.approx((sigma**2 + 1 / 12) ** 0.5, rel=0.01)  # 1/12: rounding
    assert abs(added.mean()) < 5 * sigma / added.size**0.5
    channels = np.corrcoef(added.reshape(-1, 3).T)
    assert np.abs(channels - np.eye(3)).max() < 0.02


@pytest.mark.parametrize("quality", [1, 50, 90, 100])
@pytest.mark.parametrize(("subsampling", "number"), [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)])
def test_jpeg_is_pillows(photo: np.ndarray, quality: int, subsampling: str, number: int) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(photo).save(buffer, "JPEG", quality=quality, subsampling=number)
    found = pixels_of({"jpeg": {"quality": quality, "subsampling": subsampling}}, photo)
    np.testing.assert_array_equal(found, np.asarray(PIL.Image.open(buffer)))


def test_jpeg_is_near_opencvs(photo: np.ndarray) -> None:
    stream = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    other = cv2.imdecode(stream, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(pixels_of({"jpeg": {"quality": 50}}, photo).astype(int) - other).mean() < 0.5


def test_double_jpeg_is_jpeg_twice(photo: np.ndarray) -> None:
    twice = pixels_of({"jpeg": {"quality": 90}}, pixels_of({"jpeg": {"quality": 60}}, photo))
    np.testing.assert_array_equal(pixels_of({"double_jpeg": {"first": 60, "second": 90}}, photo), twice)


def test_webp_is_pillows(photo: np.ndarray) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(photo).save(buffer, "WEBP", quality=50)
    np.testing.assert_array_equal(pixels_of({"webp": {"quality": 50}}, photo), np.asarray(PIL.Image.open(buffer)))


def test_social_downsizes_by_area_then_compresses(photo: np.ndarray) -> None:
    wide = photo[:300]
    means = wide.reshape(150, 2, 256, 2, 3).mean((1, 3))
    small = pixels_of({"social": {"side": 256, "quality": 100}}, wide)
    assert small.shape == (150, 256, 3) and np.abs(small - means).mean() < 2  # colour is subsampled
    exact = pixels_of({"jpeg": {"quality": 71}}, pixels_of({"resize": {"scale": 0.5, "interpolation": "area"}}, wide))
    np.testing.assert_array_equal(pixels_of({"social": {"side": 256, "quality": 71}}, wide), exact)
    same = pixels_of({"jpeg": {"quality": 71}}, wide)
    for side in (512, 2048):
        np.testing.assert_array_equal(pixels_of({"social": {"side": side, "quality": 71}}, wide), same)
    assert pixels_of({"social": {"side": 1, "quality": 71}}, wide).shape == (1, 1, 3)


@pytest.mark.parametrize("amount", [0.5, 1, 2.25])
def test_sharpen_adds_what_blurring_removes(amount: float) -> None:
    rgb = noise(40, 50)
    blurred = fixed_point_blur(rgb, 5).astype(float)
    expected = np.clip(np.rint(rgb + amount * (rgb - blurred)), 0, 255)
    np.testing.assert_array_equal(pixels_of({"sharpen": {"amount": amount}}, rgb), expected)


@pytest.mark.parametrize("factor", [0, 0.4, 1.7])
def test_contrast_is_about_the_mean_grey(photo: np.ndarray, factor: float) -> None:
    found = pixels_of({"contrast": {"factor": factor}}, photo)
    mean = (photo.reshape(-1, 3).mean(0) * [0.299, 0.587, 0.114]).sum()
    np.testing.assert_array_equal(found, np.clip(np.rint(mean + factor * (photo - mean)), 0, 255))
    pillows = PIL.ImageEnhance.Contrast(PIL.Image.fromarray(photo)).enhance(factor)  # cuts off where we round
    assert np.abs(found.astype(int) - np.asarray(pillows)).max() <= 1


def test_brightness_adds_grey_levels() -> None:
    rgb = noise(20, 20)
    for shift in (-255, -40, 0.5, 40, 255):
        expected = np.clip(np.rint(rgb.astype(float) + shift), 0, 255)
        np.testing.assert_array_equal(pixels_of({"brightness": {"shift": shift}}, rgb), expected)


@pytest.mark.parametrize("exponent", [0.45, 2.2])
def test_gamma_is_scikit_images(exponent: float) -> None:
    rgb = noise(30, 30)
    expected = np.rint(255 * adjust_gamma(rgb / 255, exponent))
    np.testing.assert_array_equal(pixels_of({"gamma": {"exponent": exponent}}, rgb), expected)


def separable(rgb: np.ndarray, shape: tuple[int, int], radius: int, weight: object) -> np.ndarray:
    """Interpolate at pixel centres with the weights of a kernel, the outermost pixels repeated."""
    result = rgb.astype(float)
    for axis, size in enumerate(shape):
        n = rgb.shape[axis]
        at = (np.arange(size) + 0.5) * n / size - 0.5
        taps = np.floor(at).astype(int)[:, None] + np.arange(1 - radius, radius + 1)
        weights = weight(at[:, None] - taps)
        weights /= weights.sum(1, keepdims=True)
        gathered = np.take(result, np.clip(taps, 0, n - 1), axis=axis)
        result = np.moveaxis(
            np.einsum("st,st...->s...", weights, np.moveaxis(gathered, (axis, axis + 1), (0, 1))), 0, axis
        )
    return np.clip(result, 0, 255)


def cubic(x: np.ndarray) -> np.ndarray:
    x, a = np.abs(x), -0.75
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


KERNELS = {
    "linear": (1, lambda x: np.maximum(0, 1 - np.abs(x))),
    "cubic": (2, cubic),
    "lanczos4": (4, lambda x: np.where(np.abs(x) < 4, np.sinc(x) * np.sinc(x / 4), 0)),
}


@pytest.mark.parametrize("method", KERNELS)
@pytest.mark.parametrize("scale", [0.25, 0.78, 1.7])
@pytest.mark.parametrize("shape", [(40, 50), (1, 9), (3, 1)])
def test_resize_is_that_of_its_kernel(method: str, scale: float, shape: tuple[int, int]) -> None:
    rgb = noise(*shape)
    found = pixels_of({"resize": {"scale": scale, "interpolation": method}}, rgb)
    assert np.abs(found - separable(rgb, found.shape[:2], *KERNELS[method])).max() < 1  # OpenCV: weights of 11 bits


@pytest.mark.parametrize("scale", [0.3, 0.78, 1.5])
def test_resize_nearest_takes_the_pixel_under_the_centre(scale: float) -> None:
    rgb = noise(40, 50)
    found = pixels_of({"resize": {"scale": scale, "interpolation": "nearest"}}, rgb)
    rows, columns = (
        [(2 * i + 1) * n // (2 * m) for i in range(m)] for n, m in zip((40, 50), found.shape, strict=False)
    )
    np.testing.assert_array_equal(found, rgb[rows][:, columns])


def test_resize_area_is_the_mean() -> None:
    rgb = noise(40, 60)
    found = pixels_of({"resize": {"scale": 0.2, "interpolation": "area"}}, rgb)
    assert np.abs(found - rgb.reshape(8, 5, 12, 5, 3).mean((1, 3))).max() <= 0.5


def test_downscale_upscale_returns_to_the_original_size() -> None:
    rgb = pattern(37, 41)
    small = PIL.Image.fromarray(rgb).resize((21, 19), PIL.Image.Resampling.NEAREST)
    back = small.resize((41, 37), PIL.Image.Resampling.NEAREST)
    found = distort({"downscale_upscale": {"scale": 0.5, "interpolation": "nearest"}}, rgb)
    np.testing.assert_array_equal(found.image, back)
    mask = np.random.default_rng(0).random((37, 41), np.float32)
    assert found.map_back(mask) is mask


@given(side=st.integers(1, 9000), scale=st.decimals("0.001", "1", places=3))
def test_sizes_are_rounded_half_up(side: int, scale: Decimal) -> None:
    expected = max(1, int((scale * side).quantize(Decimal(1), ROUND_HALF_UP)))
    assert distortions._scaled(side, float(scale)) == expected


@pytest.mark.parametrize("entry", UNCHANGED, ids=str)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_a_level_of_nothing_changes_nothing(entry: object, shape: tuple[int, int], seed: int) -> None:
    rgb = noise(*shape, seed)
    distorted = distort(entry, rgb)
    np.testing.assert_array_equal(distorted.image, rgb)
    mask = np.random.default_rng(seed).random(shape, np.float32)
    np.testing.assert_array_equal(distorted.map_back(mask), mask)
    np.testing.assert_array_equal(distorted.move_truth(mask > 0.5), mask > 0.5)


# --- all of them ----------------------------------------------------------------------------------------------------


def test_each_is_tested() -> None:
    kinds = {step.kind for entry, _ in EACH for step in level(entry).steps}
    assert kinds == {name for name, row in DISTORTIONS.items() if not row.needs_truth} - {"albumentations"}


@pytest.mark.parametrize(
    ("entry", "mean"), EACH, ids=lambda value: level(value).name if isinstance(value, dict) else ""
)
def test_goldens(entry: object, mean: float) -> None:
    with np.load(GOLDEN) as golden:
        expected = golden[level(entry).name]
    found = pixels_of(entry, pattern(33, 45), "golden")
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() <= mean


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (17, 9)])
@pytest.mark.parametrize("entry", [entry for entry, _ in EACH], ids=lambda entry: level(entry).name)
def test_any_shape_any_memory_layout_the_same_every_time(entry: object, shape: tuple[int, int]) -> None:
    rgb = noise(*shape)
    frozen = rgb.copy()
    frozen.flags.writeable = False
    odd = np.asfortranarray(rgb)[::-1, ::-1, ::-1].copy(order="F")[::-1, ::-1, ::-1]
    first = distort(entry, frozen)
    assert first.image.dtype == np.uint8 and first.image.shape[2:] == (3,) and first.image.path is None
    np.testing.assert_array_equal(first.image, distort(entry, odd).image)
    np.testing.assert_array_equal(first.image, distort(entry, rgb).image)
    np.testing.assert_array_equal(rgb, frozen)
    mask = np.ones(first.image.shape[:2], np.float32)
    truth = first.move_truth(np.ones(shape, bool))
    back = first.map_back(mask)
    assert back.shape == truth.shape and back.dtype == np.float32 and truth.dtype == np.bool_
    assert (back == 1).all() and truth.all() and truth.size


def test_only_what_was_not_distorted_keeps_its_path() -> None:
    image = Image(noise(20, 20), Path("a.jpg"))
    for distortion in parse_distortions([entry for entry, _ in EACH] + UNCHANGED):
        path = distortion.apply(image, seed=0, sample="a").image.path
        assert path == (Path("a.jpg") if distortion.name == "none" else None)
    assert image.path == Path("a.jpg")


def test_chance_depends_on_seed_sample_and_level_alone() -> None:
    levels = parse_distortions([{"gaussian_noise": {"sigma": [5, 6]}}, {"crop": {"fraction": 0.5}}])
    work = [(one, name, seed) for one in levels for name in ("a", "b") for seed in (0, 1)]
    image = Image(noise(40, 40))
    alone = [np.asarray(one.apply(image, seed=seed, sample=name).image) for one, name, seed in work]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda job: job[0].apply(image, seed=job[2], sample=job[1]).image, reversed(work)))
    for one, other in zip(alone, reversed(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({pixels.tobytes() for pixels in alone[4:]}) == len(alone[4:])
    grey = np.full((40, 40, 3), 128, np.uint8)
    five, six = (pixels_of({"gaussian_noise": {"sigma": sigma}}, grey) - 128.0 for sigma in (5, 6))
    assert abs(np.corrcoef(five.ravel(), six.ravel())[0, 1]) < 0.05
    twice = pixels_of({"chain": [{"gaussian_noise": {"sigma": 8}}] * 2}, grey).astype(float)
    assert twice.std() == pytest.approx(8 * 2**0.5, rel=0.05)  # twice the same noise would be 16


def test_a_level_travels_to_other_processes() -> None:
    for distortion in parse_distortions([entry for entry, _ in EACH]):
        copy, image = pickle.loads(pickle.dumps(distortion)), Image(pattern(20, 30))
        assert copy == distortion and hash(copy) == hash(distortion)
        one, other = (d.apply(image, seed=1, sample="x").image for d in (distortion, copy))
        np.testing.assert_array_equal(one, other)


def test_noise_on_12_megapixels_needs_little_more_than_the_image() -> None:
    image = Image(np.zeros((3000, 4000, 3), np.uint8))
    distortion = level({"gaussian_noise": {"sigma": 15}})
    tracemalloc.start()
    try:
        distortion.apply(image, seed=0, sample="a")
        assert tracemalloc.get_traced_memory()[1] < image.nbytes + 2**25
    finally:
        tracemalloc.stop()


def test_images_that_are_too_large_name_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.zeros((1, 70_000, 3), np.uint8)
    for entry, reason in (({"jpeg": {"quality": 50}}, "65500"), ({"webp": {"quality": 50}}, "16383")):
        with pytest.raises(ImageError, match=re.escape(f"{level(entry).name}: 70000x1") + f".*{reason}"):
            distort(entry, wide)
    monkeypatch.setenv("IMDL_BENCH_MAX_PIXELS", "1000")
    with pytest.raises(ImageError, match=r"resize\(scale=4\): resized to 40x40.*1000 pixels"):
        distort({"resize": {"scale": 4}}, noise(10, 10))
    with pytest.raises(UsageError, match="an image is a uint8 array"):
        distort({"resize": {"scale": 4}}, np.zeros((4, 4), np.uint8))


# --- what a protocol writes -----------------------------------------------------------------------------------------


def test_a_protocol_gives_levels_in_order_the_clean_one_first() -> None:
    text = """
    - resize: {scale: [0.78, 0.25]}
    - jpeg: {subsampling: ["4:2:0", "4:4:4"], quality: [100, 50.0]}
    - none
    - chain: [{resize: {scale: [0.5, 1]}}, {jpeg: {quality: 70}}]
    - crop: {grid: 8, fraction: 0.5}
    """
    levels = parse_distortions(yaml.safe_load(text))
    assert [level.name for level in levels] == [
        "none",
        "resize(scale=0.78)",
        "resize(scale=0.25)",
        "jpeg(quality=100)",
        "jpeg(quality=50)",
        "jpeg(quality=100, subsampling=4:4:4)",
        "jpeg(quality=50, subsampling=4:4:4)",
        "resize(scale=0.5)+jpeg(quality=70)",
        "resize(scale=1)+jpeg(quality=70)",
        "crop(fraction=0.5, grid=8)",
    ]
    assert [level.name for level in parse_distortions([])] == ["none"]
    assert [level.name for level in parse_distortions(["none"])] == ["none"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jpeg: {quality: 50}", "write a list, one distortion per line"),
        ("jpeg", "write a list"),
        ("[none, none]", "'none' stands there twice"),
        ("[jpeg: {quality: [50, 50]}]", "'jpeg(quality=50)' stands there twice"),
        ('[jpeg: {quality: 5}, jpeg: {quality: 5, subsampling: "4:2:0"}]', "'jpeg(quality=5)' stands there twice"),
        ("[none, jpg: {quality: 5}]", "entry 2: unknown distortion 'jpg'; did you mean 'jpeg'? (known: none, chain,"),
        ("[7: {quality: 5}]", "entry 1: unknown distortion '7' (known:"),
        ("[jpeg]", "entry 1: jpeg: parameter 'quality' is missing: integer 1..100"),
        ("[jpeg: ]", "jpeg: parameter 'quality' is missing"),
        ("[jpeg: 50]", "jpeg: write jpeg: {quality: 50}"),
        ("[jpeg: [50, 70]]", "jpeg: write jpeg: {quality: [50, 70]}"),
        ("[jpeg: {qualty: 50}]", "jpeg: unknown parameter 'qualty'; did you mean 'quality'? (known: quality, subs"),
        ("[jpeg: {quality: 101}]", "jpeg: quality: 101 is not integer 1..100"),
        ("[jpeg: {quality: 50.5}]", "quality: 50.5 is not integer 1..100"),
        ("[jpeg: {quality: fifty}]", "quality: 'fifty' is not integer 1..100"),
        ("[jpeg: {quality: true}]", "quality: True is not"),
        ("[jpeg: {quality: [50, [60]]}]", "quality: [60] is not"),
        ("[jpeg: {quality: []}]", "quality: an empty list has no level"),
        ("[jpeg: {quality: 50, subsampling: 4:2:0}]", "subsampling: 14520 is not one of 4:4:4, 4:2:2, 4:2:0; write it"),
        ('[jpeg: {quality: 50, subsampling: "4:2:1"}]', "subsampling: '4:2:1' is not one of 4:4:4, 4:2:2, 4:2:0; did"),
        (
            "[resize: {scale: 1, interpolation: liner}]",
            "'liner' is not one of nearest, linear, cubic, area, lanczos4; ",
        ),
        ("[resize: {scale: 0}]", "scale: 0 is not a number 0.001..16"),
        ("[resize: {scale: 1e3}]", "scale: '1e3' is not a number"),
        ("[resize: {scale: .nan}]", "scale: nan is not a number"),
        ("[gaussian_blur: {kernel: 4}]", "kernel: 4 is not odd 1..999"),
        ("[gaussian_noise: {sigma: -1}]", "sigma: -1 is not a number 0..255"),
        ("[{jpeg: {quality: 5}, webp: {quality: 5}}]", "one distortion per entry, those to be done one after another"),
        ("[null]", "write NAME: {PARAMETER: VALUE}, not None"),
        ("[[jpeg]]", "write NAME: {PARAMETER: VALUE}, not ['jpeg']"),
        ("[{}]", "write NAME: {PARAMETER: VALUE}, not {}"),
        ("[none: {p: 1}]", "'none' is an entry of its own without parameters"),
        ("[chain: {jpeg: {quality: 5}}]", "write chain: [{resize: {scale: 0.5}}, {jpeg: {quality: 70}}]"),
        ("[chain: []]", "write chain: ["),
        ("[chain]", "write chain: ["),
        ("[chain: [none, {jpeg: {quality: 5}}]]", "'none' is an entry of its own"),
        ("[chain: [{chain: [{jpeg: {quality: 5}}]}]]", "'chain' is an entry of its own"),
        ("[chain: [{jpeg: {quality: 0}}]]", "entry 1: jpeg: quality: 0 is not integer 1..100"),
        ("[albumentations: RandomFog]", "albumentations: write albumentations: {name: RandomFog}"),
    ],
)
def test_every_mistake_is_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_distortions(yaml.safe_load(text))
    assert str(raised.value).startswith("distort") and message in str(raised.value)


def test_where_albumentations_is_missing_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(UsageError, match=r'entry 1: albumentations: .*pip install "albumentations>=2.0.8,<3"'):
        parse_distortions([{"albumentations": {"name": "RandomFog"}}])
    assert len(parse_distortions([{"jpeg": {"quality": 5}}])) == 2


def test_numpy_numbers_are_numbers() -> None:
    assert level({"jpeg": {"quality": np.int64(50)}}).name == "jpeg(quality=50)"
    assert level({"resize": {"scale": np.float32(0.5)}}).name == "resize(scale=0.5)"


def test_the_docs_have_every_distortion_with_its_parameters() -> None:
    lines = (ROOT / "docs" / "distortions.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    described = {row[0].strip("`"): row[1] for row in rows}
    for name, row in DISTORTIONS.items():
        for key, parameter in row.parameters.items():
            assert f"`{key}`" in described[name], (name, key)
            assert parameter.choices or parameter.allowed in described[name], (name, key, parameter.allowed)
            assert parameter.default is None or str(parameter.default) in described[name], (name, key)
