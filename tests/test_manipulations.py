"""Each manipulation against a reference that is not ours; the hierarchy's counts and nesting; what letters mean."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import pywt
from scipy import ndimage

from imdl_bench.errors import UsageError
from imdl_bench.synthesis.classes import FAMILIES, LEVELS, Leaf, classes, draw_leaf, label_of, leaves

BY_NAME = {leaf.name: leaf for leaf in leaves()}


@pytest.fixture(scope="module")
def patch(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[100:356, 100:356])


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return np.full((400, 400, 3), 128, np.uint8)


def changed(name: str, pixels: np.ndarray, seed: int = 3) -> np.ndarray:
    return BY_NAME[name].apply(pixels, np.random.default_rng(seed))


def of(algorithm: str) -> list[Leaf]:
    return [leaf for leaf in leaves() if leaf.algorithm == algorithm]


# --- the hierarchy --------------------------------------------------------------------------------------------------


def test_the_levels_have_as_many_classes_as_the_map() -> None:
    assert LEVELS == (7, 27, 49, 96, 191, 380)
    assert [len(classes(level)) for level in LEVELS] == list(LEVELS)
    with pytest.raises(UsageError, match="385 manipulation classes: the hierarchy has 7, 27"):
        classes(385)


def test_families_have_the_leaves_and_algorithms_of_the_map() -> None:
    counts = {found.name: len(found.leaves) for found in classes(7)}
    assert counts == dict(zip(FAMILIES, (52, 80, 96, 64, 64, 9, 15), strict=True))
    nodes = [sum(found.leaves[0].family == family for found in classes(27)) for family in FAMILIES]
    assert nodes == [4, 5, 6, 4, 4, 2, 2]
    assert all(leaf.family == found.name for found in classes(7) for leaf in found.leaves)
    assert len(BY_NAME) == 380


def test_every_class_lies_in_one_class_of_each_coarser_level() -> None:
    for coarse, fine in pairwise(LEVELS):
        assert [leaf for found in classes(fine) for leaf in found.leaves] == list(leaves())
        for found in classes(fine):
            assert found == classes(fine)[found.label]
            assert len({label_of(leaf, coarse) for leaf in found.leaves}) == 1
            assert {label_of(leaf, fine) for leaf in found.leaves} == {found.label}


def test_classes_are_named_after_what_they_hold() -> None:
    names = {level: [found.name for found in classes(level)] for level in LEVELS}
    assert all(len(set(found)) == level for level, found in names.items())
    assert names[27][10:12] == ["jpeg_twice-36-40..44-100", "jpeg_twice-53-40..61-100"]
    assert names[380][0] == "box_blur-3" and {"dither", "jpeg_twice-95-100", "resample_area-0.15"} <= {*names[380]}


@pytest.mark.parametrize("algorithm", ["box_blur", "resample_area", "webp", "closing", "poisson_noise"])
def test_lists_of_sixteen_values_are_evenly_spaced_and_rounded_down(algorithm: str) -> None:
    values = [leaf.values[0] for leaf in of(algorithm)]
    per_unit = 100 if values[-1] < 1 else 1
    even = np.linspace(values[0], values[-1], 16) * per_unit
    assert [round(value * per_unit) for value in values] == np.floor(even + 1e-6).tolist()


def test_classes_of_a_level_are_drawn_equally_often() -> None:
    rng = np.random.default_rng(5)
    counts = np.bincount([label_of(draw_leaf(7, rng), 7) for _ in range(7000)], minlength=7)
    assert counts.min() > 880 and counts.max() < 1120
    drawn = {leaf.name for leaf in (draw_leaf(27, rng) for _ in range(2000)) if leaf.algorithm == "equalize"}
    assert len(drawn) == 7


# --- all of them ----------------------------------------------------------------------------------------------------


def test_every_manipulation_keeps_shape_and_input_and_depends_on_its_numbers_alone(patch: np.ndarray) -> None:
    odd = np.ascontiguousarray(patch[:131, :97])
    before = odd.copy()
    odd.setflags(write=False)
    for leaf in leaves():
        first = leaf.apply(odd, np.random.default_rng(1))
        assert first.shape == odd.shape and first.dtype == np.uint8, leaf.name
        np.testing.assert_array_equal(first, pickle.loads(pickle.dumps(leaf)).apply(odd, np.random.default_rng(1)))
    np.testing.assert_array_equal(odd, before)


def test_all_but_the_mildest_contrast_change_a_photograph(patch: np.ndarray) -> None:
    same = {leaf.name for leaf in leaves() if np.array_equal(leaf.apply(patch, np.random.default_rng(1)), patch)}
    assert same <= {"auto_contrast-0"}


@pytest.mark.parametrize("algorithm", dict.fromkeys(leaf.algorithm for leaf in leaves() if leaf.algorithm != "dither"))
def test_neighbouring_parameters_give_different_images(algorithm: str, patch: np.ndarray) -> None:
    made = [leaf.apply(patch, np.random.default_rng(1)) for leaf in of(algorithm)]
    assert all(not np.array_equal(one, other) for one, other in pairwise(made))


# --- one by one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [3, 9, 33])
def test_blurring_is_the_mean_the_gaussian_and_the_median(side: int, patch: np.ndarray) -> None:
    mean = ndimage.uniform_filter(patch.astype(float), (side, side, 1), mode="mirror")
    assert np.abs(changed(f"box_blur-{side}", patch) - mean).max() <= 0.51
    sigma = 0.3 * ((side - 1) * 0.5 - 1) + 0.8
    spread = ndimage.gaussian_filter(patch.astype(float), (sigma, sigma, 0), mode="mirror", radius=(side // 2,) * 2 + (0,))  # fmt: skip  # noqa: E501
    # OpenCV rounds the weights of bytes to 1/256.
    difference = np.abs(changed(f"gaussian_blur-{side}", patch) - spread)
    assert difference.mean() <= 0.5 and difference.max() <= 2
    middle = ndimage.median_filter(patch, (side, side, 1), mode="nearest")
    np.testing.assert_array_equal(changed(f"median-{side}", patch), middle)


@pytest.mark.parametrize("side", [3, 9])
def test_wavelet_denoising_weighs_details_by_their_local_power(side: int, patch: np.ndarray) -> None:
    part = patch[:240, :256]
    expected = np.empty(part.shape)
    for channel in range(3):
        parts = pywt.wavedec2(part[..., channel].astype(float), "db8", "symmetric", 4)
        for level in parts[1:]:
            for details in level:
                padded = np.pad(details**2, side // 2, mode="symmetric")
                power = np.lib.stride_tricks.sliding_window_view(padded, (side, side)).mean(axis=(2, 3))
                details *= np.maximum(power - 25, 0) / (np.maximum(power - 25, 0) + 25)
        expected[..., channel] = pywt.waverec2(parts, "db8", "symmetric")
    assert np.abs(changed(f"wavelet_denoise-{side}", part) - expected.clip(0, 255)).max() <= 0.51


def test_wavelet_denoising_takes_noise_away_and_keeps_the_picture(grey: np.ndarray) -> None:
    noisy = changed("gaussian_noise-5", grey)
    cleaner = changed("wavelet_denoise-9", noisy)
    assert noisy.std() == pytest.approx(5, abs=0.1) and cleaner.std() < 2


def interpolating(out: int, size: int, kernel: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(out, size): weights of the old pixels in the new ones, whose centres lie evenly; edges repeated."""
    centres = (np.arange(out) + 0.5) * size / out - 0.5
    taps = np.arange(-8, size + 8)
    weights = kernel(centres[:, None] - taps)
    matrix = np.zeros((out, size))
    np.add.at(matrix.T, taps.clip(0, size - 1), weights.T)
    return matrix / matrix.sum(axis=1, keepdims=True)


def cubic(x: np.ndarray) -> np.ndarray:
    x, a = np.abs(x), -0.75
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


KERNELS = {
    "linear": lambda x: np.maximum(1 - np.abs(x), 0),
    "cubic": cubic,
    "lanczos4": lambda x: np.where(np.abs(x) < 4, np.sinc(x) * np.sinc(x / 4), 0),
    "nearest": lambda x: (x >= -0.5) & (x < 0.5),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("scale", [0.15, 0.52, 0.95])
def test_resampling_goes_down_and_back_up_with_one_kernel(name: str, scale: float, patch: np.ndarray) -> None:
    def sampled(pixels: np.ndarray, side: int) -> np.ndarray:
        matrix = interpolating(side, len(pixels), KERNELS[name]).astype(float)
        made = np.einsum("ij,jkc,lk->ilc", matrix, pixels.astype(float), matrix, optimize=True)
        return np.rint(made).clip(0, 255)

    expected = sampled(sampled(patch, round(256 * scale)), 256)
    # OpenCV rounds weights to 1/2048 and grey levels once per resize.
    assert np.abs(changed(f"resample_{name}-{scale:g}", patch) - expected).max() <= (0 if name == "nearest" else 2)


def test_resampling_by_area_averages_blocks() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    means = blocks.reshape(20, 4, 20, 4, 3).mean(axis=(1, 3))
    assert np.abs(changed("resample_area-0.25", blocks)[2::4, 2::4] - means).max() <= 0.51


def test_compression_is_pillows(patch: np.ndarray) -> None:
    def through(pixels: np.ndarray, kind: str, quality: int, **more: int) -> np.ndarray:
        buffer = io.BytesIO()
        PIL.Image.fromarray(pixels).save(buffer, kind, quality=quality, **more)
        return np.asarray(PIL.Image.open(buffer).convert("RGB"))

    once = through(patch, "JPEG", 36, subsampling=2)
    np.testing.assert_array_equal(changed("jpeg-36", patch), once)
    np.testing.assert_array_equal(changed("jpeg_twice-36-91", patch), through(once, "JPEG", 91, subsampling=2))
    np.testing.assert_array_equal(changed("webp-53", patch), through(patch, "WEBP", 53, method=4))


@pytest.mark.parametrize("side", [2, 4, 19])
def test_morphology_is_scipys_with_a_square(side: int, patch: np.ndarray) -> None:
    square = (side, side, 1)
    inner = (slice(40, -40), slice(40, -40))
    for name, reference in {
        "dilate": ndimage.maximum_filter, "erode": ndimage.minimum_filter,
        "opening": ndimage.grey_opening, "closing": ndimage.grey_closing,
    }.items():  # fmt: skip
        np.testing.assert_array_equal(changed(f"{name}-{side}", patch)[inner], reference(patch, square)[inner])
    opened, closed = changed(f"opening-{side}", patch), changed(f"closing-{side}", patch)
    assert (opened <= patch).all() and (closed >= patch).all()
    np.testing.assert_array_equal(changed(f"opening-{side}", opened), opened)


@pytest.mark.parametrize("strength", [3, 15, 35])
def test_noise_has_the_stated_law(strength: int, grey: np.ndarray) -> None:
    def noise(name: str) -> np.ndarray:
        return changed(f"{name}-{strength}", grey).astype(int) - 128

    normal, even, counts = noise("gaussian_noise"), noise("uniform_noise"), noise("poisson_noise")
    assert normal.std() == pytest.approx(np.hypot(strength, 1 / 12**0.5), rel=0.01)
    assert set(np.unique(even)) == set(range(-strength, strength + 1))
    assert counts.min() >= -strength and np.abs(counts.mean()) < 0.05
    assert counts.var() == pytest.approx(strength, rel=0.02)
    skew = ((counts - counts.mean()) ** 3).mean() / counts.std() ** 3
    assert skew == pytest.approx(strength**-0.5, abs=0.05)
    impulses = changed(f"impulse_noise-{strength}", grey)
    assert (impulses == impulses[..., :1]).all()
    shares = [(impulses[..., 0] == value).mean() * 100 for value in (0, 255)]
    assert shares == pytest.approx([strength / 2] * 2, abs=0.3)


def test_quantization_keeps_so_many_colours_and_dithering_216(patch: np.ndarray) -> None:
    for colours in (50, 225):
        made = changed(f"quantize-{colours}", patch)
        assert len(np.unique(made.reshape(-1, 3), axis=0)) <= colours
    dithered = changed("dither", patch)
    assert set(np.unique(dithered)) <= set(range(0, 256, 51))
    # Error diffusion keeps local means.
    assert np.abs(ndimage.uniform_filter(dithered - patch.astype(float), (33, 33, 1))).max() < 8


def test_auto_contrast_stretches_what_is_left_after_the_cut() -> None:
    ramp = np.repeat(np.arange(50, 150, dtype=np.uint8)[None, :, None], 100, axis=0).repeat(3, axis=2)
    stretched = changed("auto_contrast-5", ramp)[0, :, 0].astype(int)
    # 5 of the 100 levels are cut off at either end: 55 becomes 0 and 144 becomes 255.
    expected = np.clip((np.arange(50, 150) - 55) * 255 / (144 - 55), 0, 255)
    assert np.abs(stretched - expected).max() <= 1


@pytest.mark.parametrize("limit", [1, 4, 7])
def test_histograms_are_equalised_in_tiles_with_limited_slope(limit: int, patch: np.ndarray) -> None:
    made = changed(f"equalize-{limit}", patch)
    # At a tile's middle, pixel (16, 16) of 32 x 32, no neighbouring tile has a say.
    for row, column in ((0, 0), (3, 5)):
        tile = patch[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        for channel in range(3):
            counts = np.bincount(tile[..., channel].ravel(), minlength=256)
            most = limit * 1024 // 256
            cut = int((counts - most).clip(0).sum())
            counts = counts.clip(max=most) + cut // 256
            counts[:: max(256 // (cut % 256), 1)][: cut % 256] += 1 if cut % 256 else 0
            table = np.rint(counts.cumsum() * 255 / 1024)
            assert made[32 * row + 16, 32 * column + 16, channel] == table[tile[16, 16, channel]]
