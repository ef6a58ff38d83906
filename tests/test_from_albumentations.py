"""Transforms of albumentations by name: the same pixels as by hand, truth taken along, what cannot be used refused."""

from __future__ import annotations

import os

import numpy as np
import pytest
import yaml

from imdl_bench.distortions import Distortion, parse_distortions
from imdl_bench.errors import ImageError, UsageError
from imdl_bench.geometry import Distorted
from imdl_bench.types import Image

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
albumentations = pytest.importorskip("albumentations", reason='pip install "albumentations>=2.0.8,<3" to run these')


def level(written: str) -> Distortion:
    return parse_distortions([{"albumentations": yaml.safe_load(written)}])[-1]


def distort(written: str, pixels: np.ndarray, sample: str = "a") -> Distorted:
    return level(written).apply(Image(pixels), seed=0, sample=sample)


@pytest.fixture
def small(photo: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(photo[:90, 150:280])


def test_labels_hold_what_was_chosen() -> None:
    assert level("{name: RandomFog, p: 1.0}").name == "albumentations(name=RandomFog)"
    found = level("{p: 0.5, fog_coef_range: [0.3, 0.5], alpha_coef: 0.1, name: RandomFog}").name
    assert found == "albumentations(name=RandomFog, alpha_coef=0.1, fog_coef_range=[0.3, 0.5], p=0.5)"


def test_a_transform_without_chance_is_that_of_albumentations(small: np.ndarray) -> None:
    expected = albumentations.Posterize(num_bits=3, p=1)(image=small)["image"]
    distorted = distort("{name: Posterize, num_bits: 3}", small)
    np.testing.assert_array_equal(distorted.image, expected)
    truth, mask = np.eye(90, 130, dtype=bool), np.ones((90, 130), np.float32)
    np.testing.assert_array_equal(distorted.move_truth(truth), truth)
    assert distorted.map_back(mask) is mask


@pytest.mark.parametrize("written", ["{name: RandomFog}", "{name: GaussNoise}", "{name: ISONoise}", "{name: Rotate}"])
def test_chance_depends_on_the_sample_alone(small: np.ndarray, written: str) -> None:
    first, other = distort(written, small).image, distort(written, small, "b").image
    distort(written, small, "c")
    np.random.seed(1)  # noqa: NPY002  what others draw makes no difference
    np.testing.assert_array_equal(distort(written, small).image, first)
    assert not np.array_equal(first, other)


def test_p_is_the_share_of_images_that_change(small: np.ndarray) -> None:
    changed = [
        (distort("{name: InvertImg, p: 0.3}", small[:2, :2], str(n)).image != small[:2, :2]).any() for n in range(300)
    ]
    assert 60 < sum(changed) < 120


@pytest.mark.parametrize(
    "written",
    ["{name: HorizontalFlip}", "{name: D4}", "{name: Transpose}", "{name: RandomGridShuffle}",
     "{name: RandomCrop, height: 40, width: 50}", "{name: RandomRotate90, p: 0.5}"],
)  # fmt: skip
def test_truth_goes_where_its_pixels_go(written: str) -> None:
    y, x = np.mgrid[:60, :70].astype(np.uint8)
    truth = np.random.default_rng(0).random((60, 70)) < 0.5
    for sample in "abcdef":
        distorted = distort(written, np.stack([y, x, y], axis=2), sample)
        moved = distorted.move_truth(truth)
        np.testing.assert_array_equal(moved, truth[distorted.image[..., 0], distorted.image[..., 1]])
        mask = np.ones(moved.shape, np.float32)
        assert distorted.map_back(mask) is mask


@pytest.mark.parametrize("name", ["Rotate", "Perspective", "ElasticTransform, alpha: 200, sigma: 10"])
def test_truth_is_warped_as_the_image_is(name: str) -> None:
    truth = np.zeros((80, 100), bool)
    truth[20:50, 30:80] = True
    distorted = distort(f"{{name: {name}}}", np.repeat(truth[..., None], 3, axis=2).astype(np.uint8) * 255)
    moved = distorted.move_truth(truth)
    assert (moved != (distorted.image[..., 0] > 127)).mean() < 0.02 < (moved != truth).mean()


def test_in_a_chain_truth_goes_to_the_size_at_which_it_is_moved() -> None:
    truth = np.zeros((40, 60), bool)
    truth[:20, :30] = True
    flip, half = {"albumentations": {"name": "HorizontalFlip"}}, {"resize": {"scale": 0.5, "interpolation": "nearest"}}
    image = Image(np.repeat(truth[..., None], 3, axis=2).astype(np.uint8))
    distorted = parse_distortions([{"chain": [half, flip]}])[1].apply(image, seed=0, sample="a")
    np.testing.assert_array_equal(distorted.move_truth(truth), distorted.image[..., 0] == 1)
    later = parse_distortions([{"chain": [flip, half]}])[1].apply(image, seed=0, sample="a")
    np.testing.assert_array_equal(later.move_truth(truth), truth[:, ::-1])
    assert later.map_back(np.ones((20, 30), np.float32)).shape == (40, 60)
    both = parse_distortions([{"chain": [flip, half, {"crop": {"fraction": 0.5}}, flip]}])[1]
    distorted = both.apply(image, seed=0, sample="a")
    np.testing.assert_array_equal(distorted.move_truth(truth), distorted.image[..., 0] == 1)
    assert distorted.image.shape == (10, 15, 3) and both.name.count("albumentations") == 2


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{name: RandomFogg}", "no transform 'RandomFogg'; did you mean 'RandomFog'?"),
        ("{p: 1}", "no transform None"),
        ("{name: [RandomFog]}", "no transform ['RandomFog']"),
        ("{name: Compose}", "no transform 'Compose'"),
        ("{name: RandomFog, alpha: 1}", "RandomFog: unknown parameter 'alpha'; did you mean 'alpha_coef'?"),
        ("{name: RandomFog, alpha_coef: 7}", "RandomFog: 1 validation error"),
        ("{name: RandomFog, p: 7}", "RandomFog: 1 validation error"),
        ("{name: RandomCrop}", "height"),
        ("{name: MaskDropout}", "MaskDropout needs more than an image: mask"),
        ("{name: FDA}", "FDA needs more than an image: fda_metadata"),
    ],
)
def test_mistakes_are_explained_before_a_run(written: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        level(written)
    assert str(raised.value).startswith("distort, entry 1: albumentations: ") and message in str(raised.value)


def test_what_fails_or_gives_no_image_is_explained(small: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"albumentations\(name=Crop.*failed on 130x90 pixels"):
        distort("{name: Crop, x_max: 1000, y_max: 1000}", small)
    with pytest.raises(UsageError, match=r"ToFloat cannot be used: an image is a uint8 array .*not float32"):
        distort("{name: ToFloat}", small)


@pytest.mark.filterwarnings("ignore:Neither valid mask")
def test_what_looks_at_the_mask_is_refused(small: np.ndarray) -> None:
    truth = np.zeros((90, 130), bool)
    truth[20:70, 20:100] = True
    distorted = distort("{name: ConstrainedCoarseDropout, mask_indices: [1]}", small)
    with pytest.raises(UsageError, match="it looks at the mask"):
        distorted.move_truth(truth)


def test_tiny_images(small: np.ndarray) -> None:
    for written in ("{name: RandomFog}", "{name: HorizontalFlip}"):
        assert distort(written, small[:1, :1]).image.shape == (1, 1, 3)
