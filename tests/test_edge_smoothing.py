"""Smoothing around the edge of what is forged: by hand, against scipy, in chains, in runs with and without truth."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from plugin_folder import write_pairs, write_text
from scipy import ndimage
from scipy.spatial.distance import cdist

import imdl_bench
from imdl_bench import catalog
from imdl_bench.distortions import DISTORTIONS, Distortion, parse_distortions
from imdl_bench.errors import ImageError, UsageError
from imdl_bench.geometry import Distorted
from imdl_bench.images import read_image, read_mask, resize_nearest
from imdl_bench.types import Image

SMOOTH = {"edge_smoothing": {"sigma": 1.5, "width": 3}}


def level(entry: object) -> Distortion:
    return parse_distortions([entry])[-1]


def distort(entry: object, pixels: np.ndarray, truth: np.ndarray | None) -> Distorted:
    return level(entry).apply(Image(pixels), seed=0, sample="a.png", truth=truth)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def disc(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.asarray((y - height / 3) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 4) ** 2)


@pytest.mark.parametrize(
    ("width", "row"),
    [
        (1, [0, 0, 0, 60, 140, 200, 200, 200]),
        (2, [0, 0, 12, 60, 140, 188, 200, 200]),
        (4, [0, 1, 12, 60, 140, 188, 199, 200]),
    ],
)
def test_a_step_becomes_a_ramp_within_the_band(width: int, row: list[int]) -> None:
    """A Gaussian of sigma 1 in weights of 8 bits is [1 14 62 102 62 14 1] / 256."""
    step = np.repeat(np.array([[0] * 4 + [200] * 4], np.uint8)[..., None], 3, axis=2)
    found = distort({"edge_smoothing": {"sigma": 1, "width": width}}, step, step[..., 0] > 0).image
    for channel in range(3):
        np.testing.assert_array_equal(found[0, :, channel], row)


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    share=st.floats(0.05, 0.95),
    width=st.integers(1, 6),
    sigma=st.sampled_from([0.4, 1, 2.5]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_the_band_is_smooth_and_everything_else_as_it_was(
    shape: tuple[int, int], share: float, width: int, sigma: float, seed: int
) -> None:
    rgb, truth = noise(*shape, seed), np.random.default_rng(seed).random(shape) < share
    distorted = distort({"edge_smoothing": {"sigma": sigma, "width": width}}, rgb, truth)
    forged, pristine = np.argwhere(truth), np.argwhere(~truth)
    band = np.zeros(shape, bool)
    if len(forged) and len(pristine):
        apart = cdist(forged, pristine)
        band[tuple(forged.T)], band[tuple(pristine.T)] = apart.min(1) <= width, apart.min(0) <= width
    radius = int(np.ceil(3 * sigma))
    smooth = ndimage.gaussian_filter(rgb.astype(float), (sigma, sigma, 0), mode="mirror", radius=(radius, radius, 0))
    found = np.asarray(distorted.image)
    np.testing.assert_array_equal(found[~band], rgb[~band])
    assert np.abs(found[band] - smooth[band]).max(initial=0) < 3  # weights of 8 bits
    np.testing.assert_array_equal(distorted.move_truth(truth), truth)
    mask = np.random.default_rng(seed).random(shape, np.float32)
    assert distorted.map_back(mask) is mask


def test_a_stronger_and_a_wider_one_change_more(photo: np.ndarray) -> None:
    truth = disc(*photo.shape[:2])
    levels = [(0, 5), (0.5, 5), (1, 5), (2, 5), (4, 5), (4, 9), (4, 30)]
    changes = [
        int(np.abs(distort({"edge_smoothing": {"sigma": s, "width": w}}, photo, truth).image - photo.astype(int)).sum())
        for s, w in levels
    ]
    assert changes[0] == 0 and changes == sorted(set(changes))


@pytest.mark.parametrize("everywhere", [False, True])
def test_where_nothing_or_everything_is_forged_there_is_no_edge(everywhere: bool) -> None:
    rgb = noise(20, 30)
    distorted = distort(SMOOTH, rgb, np.full((20, 30), everywhere))
    np.testing.assert_array_equal(distorted.image, rgb)
    assert distorted.image.path is None


@pytest.mark.parametrize("scale", [0.4, 0.75, 2])
def test_after_a_resize_the_band_lies_around_the_resized_truth(scale: float) -> None:
    rgb, truth = noise(41, 60), disc(41, 60)
    small = np.asarray(distort({"resize": {"scale": scale}}, rgb, None).image)
    expected = np.asarray(distort(SMOOTH, small, resize_nearest(truth, small.shape[:2])).image)
    assert (expected != small).any()
    chained = distort({"chain": [{"resize": {"scale": scale}}, SMOOTH]}, rgb, truth)
    np.testing.assert_array_equal(chained.image, expected)
    np.testing.assert_array_equal(chained.move_truth(truth), truth)


def test_after_a_crop_the_band_lies_around_what_is_left() -> None:
    rgb, truth = noise(41, 60), disc(41, 60)
    chained = distort({"chain": [{"crop": {"fraction": 0.7}}, SMOOTH]}, rgb, truth)
    y, x = np.mgrid[:41, :60]
    top, left = (int(np.flatnonzero([chained.move_truth(at == n).any() for n in range(41)])[0]) for at in (y, x))
    window, moved = (whole[top : top + 29, left : left + 42] for whole in (rgb, truth))
    assert 0 < moved.mean() < 1
    np.testing.assert_array_equal(chained.image, distort(SMOOTH, np.ascontiguousarray(window), moved).image)


def test_after_a_flip_the_band_is_flipped() -> None:
    rgb, truth = noise(41, 60), disc(41, 60)
    chained = distort({"chain": [{"albumentations": {"name": "HorizontalFlip"}}, SMOOTH]}, rgb, truth)
    flipped = np.ascontiguousarray(rgb[:, ::-1])
    np.testing.assert_array_equal(chained.image, distort(SMOOTH, flipped, truth[:, ::-1]).image)


def test_a_truth_of_another_size_or_none_is_told() -> None:
    with pytest.raises(ImageError, match=r"edge_smoothing\(sigma=1.5, width=3\): .*no truth for this forged image"):
        distort(SMOOTH, noise(10, 10), None)
    with pytest.raises(UsageError, match=r"truth of shape \(5, 5\)"):
        distort(SMOOTH, noise(10, 10), np.zeros((5, 5), bool))
    assert [name for name, row in DISTORTIONS.items() if row.needs_truth] == ["edge_smoothing"]
    assert level(SMOOTH).needs_truth and not level({"jpeg": {"quality": 50}}).needs_truth


# --- in runs --------------------------------------------------------------------------------------------------------


def write_protocol(folder: Path, metrics: str, dataset: str = "edits") -> None:
    write_text(folder / "protocols/seams.yaml", f"""
        name: seams
        version: 1
        title: Hidden seams
        task: both
        source: made by the tests
        data: [{{dataset: {dataset}}}]
        score: mask-mean
        distort: [{{edge_smoothing: {{sigma: 2}}}}]
        metrics: {metrics}
    """)  # fmt: skip
    catalog._cards.cache_clear()


def rows_of(result: imdl_bench.Result) -> dict[tuple[str, str], dict[str, str]]:
    lines = csv.DictReader(result.runs[0].with_name("rows.csv").open())
    return {(line["sample"], line["distortion"]): line for line in lines}


@pytest.mark.parametrize("metrics", ["[image_auc]", "[pixel_auc/per-image, image_auc]"])
def test_a_run_smooths_by_each_images_truth_whatever_is_measured(
    with_plugin: Path, tmp_path: Path, metrics: str
) -> None:
    write_protocol(with_plugin, metrics)
    result = imdl_bench.run("seams", ["red"], with_plugin / "data", out=tmp_path)
    smooth, rows = level({"edge_smoothing": {"sigma": 2}}), rows_of(result)
    assert result.n_failed == 0 and len(rows) == 24
    for (name, shown), row in rows.items():
        image, mask = read_image(with_plugin / "data/images" / name), with_plugin / "data/masks" / name
        truth = read_mask(mask) if int(name[:2]) % 3 else np.zeros(image.shape[:2], bool)
        seen = image if shown == "none" else smooth.apply(image, seed=0, sample=name, truth=truth).image
        red = np.asarray(seen)[..., 0].astype(np.float32) / np.float32(255)
        assert float(row["mask_mean"]) == pytest.approx(red.mean(dtype=np.float64), abs=1e-9)
        assert (row.get("pixel_auc/per-image", "") != "") == ("pixel" in metrics and int(name[:2]) % 3 > 0)


def test_a_forged_image_without_truth_fails_at_this_level_alone(with_plugin: Path, tmp_path: Path) -> None:
    index = with_plugin / "datasets/edits/index.py"
    index.write_text(index.read_text().replace("if forged else None\n", "if forged and number > 1 else None\n", 1))
    write_protocol(with_plugin, "[image_auc]")
    rows = rows_of(imdl_bench.run("seams", ["red"], with_plugin / "data", out=tmp_path))
    failed = {place: row["reason"] for place, row in rows.items() if row["status"] == "failed"}
    assert list(failed) == [("01.png", "edge_smoothing(sigma=2)")]
    assert "no truth for this forged image" in failed["01.png", "edge_smoothing(sigma=2)"]


def test_both_images_of_a_pair_are_smoothed_each_by_its_own_truth(with_plugin: Path, tmp_path: Path) -> None:
    write_pairs(with_plugin)
    write_protocol(with_plugin, "[image_auc]", "couples")
    rows = rows_of(imdl_bench.run("seams", ["twins"], with_plugin / "data", out=tmp_path / "a"))
    assert all(row["status"] == "ok" and "#donor" not in sample for (sample, _), row in rows.items())
    write_protocol(with_plugin, "[pixel_auc/per-image]", "couples")
    rows = rows_of(imdl_bench.run("seams", ["twins"], with_plugin / "data", out=tmp_path / "b"))
    truth = read_mask(with_plugin / "data/masks/02.png")
    image = read_image(with_plugin / "data/images/02.png")
    smooth = level({"edge_smoothing": {"sigma": 2}}).apply(image, seed=0, sample="1|2#donor", truth=truth)
    expected = reference.roc_auc_score(truth.ravel(), np.asarray(smooth.image)[..., 0].ravel())
    found = rows["1|2#donor", "edge_smoothing(sigma=2)"]["pixel_auc/per-image"]
    assert float(found) == pytest.approx(expected, abs=1e-9)
