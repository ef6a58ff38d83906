"""Truth moves with the image, and masks come back: against coordinates written into the pixels, and against OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from imdl_bench.distortions import parse_distortions
from imdl_bench.errors import UsageError
from imdl_bench.geometry import Distorted
from imdl_bench.types import Image

SIDES = st.integers(1, 60)
SCALES = st.sampled_from([0.2, 0.37, 0.5, 0.78, 1, 1.3, 2, 4])


def distort(entry: object, pixels: np.ndarray, sample: str = "a.png") -> Distorted:
    return parse_distortions([entry])[-1].apply(Image(pixels), seed=0, sample=sample)


def coordinates(height: int, width: int) -> np.ndarray:
    """Each pixel holds its row and its column."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([y, x, np.zeros_like(x)], axis=2)


def left(distorted: Distorted, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the truth that are left, found by moving truths with one line each."""
    y, x = np.mgrid[:height, :width]
    rows = [n for n in range(height) if distorted.move_truth(y == n).any()]
    columns = [n for n in range(width) if distorted.move_truth(x == n).any()]
    return np.array(rows), np.array(columns)


@given(height=SIDES, width=SIDES, fraction=st.floats(0.001, 1), grid=st.sampled_from([1, 3, 8]), n=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_crop_moves_truth_and_image_alike(height: int, width: int, fraction: float, grid: int, n: int) -> None:
    distorted = distort({"crop": {"fraction": fraction, "grid": grid}}, coordinates(height, width), str(n))
    y, x = distorted.image[..., 0].astype(int), distorted.image[..., 1].astype(int)
    truth = np.random.default_rng(n).random((height, width)) < 0.5
    np.testing.assert_array_equal(distorted.move_truth(truth), truth[y, x])
    assert y[0, 0] % grid == 0 and x[0, 0] % grid == 0
    mask = np.random.default_rng(n).random(y.shape, np.float32)
    assert distorted.map_back(mask) is mask


def test_crop_reaches_every_place() -> None:
    corners = [distort({"crop": {"fraction": 0.5}}, coordinates(8, 7), str(n)).image[0, 0] for n in range(400)]
    seen = {(int(y), int(x)) for y, x, _ in corners}
    assert seen == {(y, x) for y in range(5) for x in range(4)}  # 4 of 8 rows, 4 of 7 columns


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (40, 50), (33, 20)])
@pytest.mark.parametrize("scale", [0.01, 0.25, 0.5, 0.78, 1.5, 3])
def test_a_mask_comes_back_bilinearly(shape: tuple[int, int], scale: float) -> None:
    distorted = distort({"resize": {"scale": scale}}, np.zeros((*shape, 3), np.uint8))
    mask = np.random.default_rng(1).random(distorted.image.shape[:2], np.float32)
    back = distorted.map_back(mask)
    np.testing.assert_allclose(back, cv2.resize(mask, shape[::-1]).reshape(shape), atol=2e-6)
    assert back.dtype == np.float32 and back.min() >= 0 and back.max() <= 1
    truth = np.random.default_rng(2).random(shape) < 0.5
    np.testing.assert_array_equal(distorted.move_truth(truth), truth)


def test_a_mask_of_ones_and_zeros_stays_in_range() -> None:
    values = np.array([0, 2**-24, 2**-25, 1e-9, 0.5, 1 - 2**-24, 1], np.float32)
    for n in range(20):
        distorted = distort({"resize": {"scale": 0.37}}, np.zeros((50, 60, 3), np.uint8))
        mask = np.random.default_rng(n).choice(values, distorted.image.shape[:2])
        back = distorted.map_back(mask)
        assert back.min() >= 0 and back.max() <= 1


@given(height=SIDES, width=SIDES, before=SCALES, fraction=st.floats(0.05, 1), after=SCALES, n=st.integers(0, 99))
@example(height=15, width=56, before=0.5, fraction=0.375, after=0.78, n=0)
@settings(max_examples=80, deadline=None)
def test_chains_of_resizes_and_crops_keep_coordinates(
    height: int, width: int, before: float, fraction: float, after: float, n: int
) -> None:
    """Where a pixel's own coordinates are the mask, mapping back gives each pixel of the truth its coordinates."""
    steps = [{"resize": {"scale": before}}, {"crop": {"fraction": fraction}}, {"resize": {"scale": after}}]
    fine = 255 // max(height, width)  # grey levels for a pixel's step, so that their roundings matter less
    distorted = distort({"chain": steps}, coordinates(height, width) * np.uint8(fine), str(n))
    lines = left(distorted, height, width)
    assert distorted.move_truth(np.ones((height, width), bool)).all()
    for axis, (kept, side) in enumerate(zip(lines, (height, width), strict=True)):
        np.testing.assert_array_equal(kept, np.arange(kept[0], kept[-1] + 1))
        found = distorted.map_back(distorted.image[..., axis].astype(np.float32)).mean(1 - axis) / fine
        # OpenCV's resizing of 8 bits may be off by a grey level, twice. At borders an image or a mask goes on as it is.
        line = (distorted.rows, distorted.columns)[axis]
        step = max(1, side / max(1, min(side, round(side * before * min(1, after)))))
        first, last = (np.array([0.5, line.size - 0.5]) - line.offset) / line.scale - 0.5
        inner = (kept >= first + step) & (kept <= last - step)
        assert np.abs(found - kept)[inner].max(initial=0) <= 2 / fine
        assert np.abs(found - kept).max() <= 2 / fine + step


def test_a_crop_of_a_resized_image_keeps_the_pixels_with_their_centres_in_it() -> None:
    start = Distorted.nothing_done(Image(np.zeros((10, 10, 3), np.uint8)))
    half = start.with_pixels(np.zeros((5, 5, 3), np.uint8)).cropped(1, 2, 3, 2)
    truth = np.arange(100).reshape(10, 10) % 3 == 0
    np.testing.assert_array_equal(half.move_truth(truth), truth[2:8, 4:8])
    third = start.with_pixels(np.zeros((3, 3, 3), np.uint8)).cropped(1, 1, 1, 1)  # 3.33 to 6.67
    np.testing.assert_array_equal(third.move_truth(truth), truth[3:7, 3:7])
    double = start.with_pixels(np.zeros((20, 20, 3), np.uint8)).cropped(1, 2, 3, 1)  # centres at 1, 3, 5, ...
    np.testing.assert_array_equal(double.move_truth(truth), truth[0:2, 1:2])
    grown = start.with_pixels(np.zeros((40, 40, 3), np.uint8)).cropped(5, 7, 1, 2)  # no centre in one of four rows
    np.testing.assert_array_equal(grown.move_truth(truth), truth[1:2, 1:2])
    assert grown.map_back(np.ones((1, 2), np.float32)).shape == (1, 1)


def test_a_mask_of_a_cropped_resized_image_is_sampled_at_the_truths_centres() -> None:
    start = Distorted.nothing_done(Image(np.zeros((30, 40, 3), np.uint8)))
    distorted = start.with_pixels(np.zeros((11, 13, 3), np.uint8)).cropped(3, 4, 6, 7)
    rows, columns = left(distorted, 30, 40)
    mask = np.random.default_rng(0).random((6, 7), np.float32)
    at = np.meshgrid((rows + 0.5) * 11 / 30 - 3 - 0.5, (columns + 0.5) * 13 / 40 - 4 - 0.5, indexing="ij")
    expected = ndimage.map_coordinates(mask.astype(float), at, order=1, mode="nearest")
    np.testing.assert_allclose(distorted.map_back(mask), expected, atol=1e-6)


def test_as_many_pixels_as_before_may_still_lie_elsewhere() -> None:
    start = Distorted.nothing_done(Image(np.zeros((1, 10, 3), np.uint8)))
    shifted = (
        start.with_pixels(np.zeros((1, 40, 3), np.uint8)).cropped(0, 5, 1, 8).with_pixels(np.zeros((1, 2, 3), np.uint8))
    )
    # Starts at 1.25: the centre of pixel 1 lies before the first distorted centre, that of pixel 2 at 3/4 of the way.
    np.testing.assert_array_equal(left(shifted, 1, 10)[1], [1, 2])
    np.testing.assert_allclose(shifted.map_back(np.array([[0.2, 0.6]], np.float32)), [[0.2, 0.5]], rtol=1e-6)


def test_sizes_that_do_not_belong_together_are_refused() -> None:
    distorted = distort({"resize": {"scale": 0.5}}, np.zeros((8, 10, 3), np.uint8))
    with pytest.raises(UsageError, match=r"truth of shape \(4, 5\) for an undistorted image of \(8, 10\)"):
        distorted.move_truth(np.zeros((4, 5), bool))
    with pytest.raises(UsageError, match=r"mask of shape \(8, 10\) for a distorted image of \(4, 5\)"):
        distorted.map_back(np.zeros((8, 10), np.float32))
