"""ELA, NOI1 and CFA1 against maps of the public reference implementations, and on every degenerate image."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score

import imdl_bench
from imdl_bench.errors import ImageError, UsageError
from imdl_bench.images import read_image, read_mask, resize_nearest
from imdl_bench.types import Image, Model

GOLDEN = Path(__file__).parent / "golden" / "baselines"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())
METHODS = ("ela", "noi1", "cfa1")


def code(method: str, module: str = "model") -> ModuleType:
    return importlib.import_module(f"imdl_bench.models.{method}.{module}")


def cases(method: str, *, without: tuple[str, ...] = ()) -> list[str]:
    names = [path.stem.partition("__")[0] for path in sorted((GOLDEN / "maps").glob(f"*__{method.upper()}.npz"))]
    return [name for name in names if name not in without]


def picture(case: str) -> Image:
    return read_image(GOLDEN / "images" / f"{case}.png")


def golden(case: str, method: str) -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "maps" / f"{case}__{method.upper()}.npz"))


def model(method: str) -> Model:
    loaded = imdl_bench.load_model(method)
    assert isinstance(loaded, Model)
    return loaded


def mask_of(method: str, image: np.ndarray) -> np.ndarray:
    mask = model(method).predict([image])[0].mask
    assert mask is not None
    return mask


def test_every_golden_map_is_used() -> None:
    assert {method: len(cases(method)) for method in METHODS} == {"ela": 4, "noi1": 7, "cfa1": 8}


@pytest.mark.parametrize("case", cases("ela"))
def test_ela_equals_the_reference(case: str) -> None:
    image, reference = picture(case), golden(case, "ela")
    difference = np.abs(code("ela").ela_map(image) - reference["map"])
    assert difference.mean() <= 0.25, "another libjpeg may move the map a little"
    assert difference.max() == 0, "libjpeg-turbo, as in the wheels of Pillow, gives it exactly"


@pytest.mark.parametrize("case", cases("ela"))
@pytest.mark.parametrize(("key", "saving"), [("map", "rec420"), ("map_444", "rec444")])
def test_ela_formula_on_the_reference_saving(case: str, key: str, saving: str) -> None:
    reference = golden(case, "ela")
    if key not in reference:
        pytest.skip("stored for one image only")
    sums = code("ela").sum_of_differences(picture(case), picture(f"{case}__{saving}"))
    np.testing.assert_allclose(5.0 * sums, reference[key], rtol=0, atol=1e-3)


@pytest.mark.parametrize("case", cases("noi1", without=("flat128",)))
@pytest.mark.parametrize(("key", "tolerance"), [("map_f64", 1e-6), ("map", 1e-5)])
def test_noi1_equals_the_reference(case: str, key: str, tolerance: float) -> None:
    np.testing.assert_allclose(code("noi1").noi1_map(picture(case)), golden(case, "noi1")[key], rtol=0, atol=tolerance)


def test_noi1_of_a_flat_image_is_zero_up_to_rounding() -> None:
    sigma = code("noi1").noi1_map(picture("flat128"))
    assert sigma.shape == golden("flat128", "noi1")["map_f64"].shape
    assert sigma.max() < 1e-9


@pytest.mark.parametrize("case", cases("noi1"))
def test_noi1_luma(case: str) -> None:
    luma = code("noi1").luma(picture(case))
    np.testing.assert_array_equal(luma[:48, :48], golden(case, "noi1")["luma_u8"])


@pytest.mark.parametrize("case", cases("noi1"))
def test_noi1_diagonal_band(case: str) -> None:
    noi1, reference = code("noi1"), golden(case, "noi1")
    band = noi1.diagonal_band(noi1.luma(picture(case)))
    rows, columns = reference["hh_top_left"].shape
    assert band.shape == tuple(reference["hh_shape"])
    sign = np.sign((band[:rows, :columns] * reference["hh_top_left"]).sum())
    np.testing.assert_allclose(sign * band[:rows, :columns], reference["hh_top_left"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(sign * band[-rows:, -columns:], reference["hh_bottom_right"], rtol=0, atol=1e-9)


COLLAPSED = ("flat128", "half_saturated")
ILL_CONDITIONED = ("clipped_collapse", *COLLAPSED)


@pytest.mark.parametrize("case", cases("cfa1", without=COLLAPSED))
@pytest.mark.parametrize("key", ["map_f64", "map"])
def test_cfa1_equals_the_reference(case: str, key: str) -> None:
    np.testing.assert_allclose(code("cfa1").cfa1_map(picture(case)), golden(case, "cfa1")[key], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", COLLAPSED)
def test_cfa1_is_zero_where_the_reference_is_nan(case: str) -> None:
    reference = golden(case, "cfa1")["map_f64"]
    assert np.isnan(reference).all()
    np.testing.assert_array_equal(code("cfa1").cfa1_map(picture(case)), np.zeros(reference.shape))
    assert not mask_of("cfa1", picture(case)).any()


@pytest.mark.parametrize("case", cases("cfa1"))
def test_cfa1_bayer_guess(case: str) -> None:
    bayer, reference = code("cfa1", "bayer"), golden(case, "cfa1")
    np.testing.assert_allclose(bayer.bayer_errors(picture(case)), reference["bayer_mse"], rtol=1e-6)
    even = bayer.green_is_even(picture(case))
    np.testing.assert_array_equal(reference["bayer_green"], [[1, 0], [0, 1]] if even else [[0, 1], [1, 0]])


@pytest.mark.parametrize("case", cases("cfa1"))
def test_cfa1_variance_up_to_the_border(case: str) -> None:
    image, reference = picture(case), golden(case, "cfa1")
    height, width = (side - side % 2 for side in image.shape[:2])
    variance = code("cfa1").error_variance(np.asarray(image)[:height, :width, 1])
    for corner, place in (("var_top_left", np.s_[:24, :24]), ("var_bottom_right", np.s_[-24:, -24:])):
        expected = reference[corner]
        np.testing.assert_allclose(variance[place], expected, rtol=0, atol=1e-9 * expected.max())


@pytest.mark.parametrize("case", cases("cfa1"))
def test_cfa1_block_statistic(case: str) -> None:
    expected, statistic = golden(case, "cfa1")["stat"], statistic_of(case)
    np.testing.assert_array_equal(statistic == 0, expected == 0)
    np.testing.assert_array_equal(statistic == 1, expected == 1)
    positive = expected > 0
    np.testing.assert_allclose(np.log(statistic[positive]), np.log(expected[positive]), rtol=0, atol=1e-6)


def statistic_of(case: str) -> np.ndarray:
    image = picture(case)
    return code("cfa1").block_statistic(image, even=code("cfa1", "bayer").green_is_even(image))


@pytest.mark.parametrize("case", cases("cfa1", without=ILL_CONDITIONED))
def test_cfa1_mixture_and_log_ratio(case: str) -> None:
    cfa1, reference = code("cfa1"), golden(case, "cfa1")
    statistic = statistic_of(case)
    mixture = cfa1.fit_mixture(statistic)
    for key in ("mu2", "sigma2", "sigma1", "mix1"):
        assert getattr(mixture, key) == pytest.approx(float(reference[key]), rel=1e-6), key
    assert mixture.em_updates == int(reference["em_updates"])
    np.testing.assert_allclose(cfa1.log_ratio(statistic, mixture), reference["L"], rtol=1e-6, atol=1e-6)


def test_cfa1_variance_is_the_reference_construction() -> None:
    """The one-pass window equals filtering each zero-filled checkerboard colour with replicated borders."""
    green = np.random.default_rng(0).integers(0, 256, (22, 30), dtype=np.uint8)
    weights, scale = code("cfa1")._window()
    values = np.pad(green.astype(float), 1, mode="edge")
    error = (values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]) / 4 - green
    expected = np.zeros(green.shape)
    for colour in (0, 1):
        own = np.add.outer(np.arange(22), np.arange(30)) % 2 == colour
        mean, square = (
            cv2.filter2D(filled, cv2.CV_64F, weights, borderType=cv2.BORDER_REPLICATE)
            for filled in (error * own, (error * own) ** 2)
        )
        expected[own] = ((square - mean**2) / scale)[own]
    np.testing.assert_allclose(code("cfa1").error_variance(green), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_bands_leave_no_seam(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large pictures are worked through in bands of rows, and the map knows nothing of them."""
    image = np.random.default_rng(3).integers(0, 256, (150, 90, 3), dtype=np.uint8)
    whole = getattr(code(method), f"{method}_map")(image)
    for module in (code(method), *([code(method, "bayer")] if method == "cfa1" else [])):
        monkeypatch.setattr(module, "BAND", 16)
    np.testing.assert_allclose(getattr(code(method), f"{method}_map")(image), whole, rtol=1e-9, atol=1e-12)


WITH_MASK = [name for name, entry in MANIFEST.items() if isinstance(entry, dict) and "auc" in entry]


@pytest.mark.parametrize("name", WITH_MASK)
def test_rank_metrics_of_the_float32_mask_are_the_published_ones(name: str) -> None:
    case, _, method = name.partition("__")
    entry: dict[str, Any] = MANIFEST[name]
    mask, truth = mask_of(method.lower(), picture(case)), read_mask(GOLDEN / "images" / entry["mask"])
    assert mask.dtype == np.float32
    assert roc_auc_score(truth.ravel(), mask.ravel()) == pytest.approx(entry["auc"], abs=1e-4)
    assert best_f1(mask, truth) == pytest.approx(entry["best_f1"], abs=1e-4)
    assert best_f1(-mask, truth) == pytest.approx(entry["best_f1_negated_map"], abs=1e-4)


def best_f1(score: np.ndarray, truth: np.ndarray) -> float:
    """Largest F1 over every threshold, predicted = score >= threshold."""
    order = np.argsort(-score, axis=None)
    ranked, hits = score.ravel()[order], truth.ravel()[order].cumsum()
    ends = np.append(np.flatnonzero(np.diff(ranked)), ranked.size - 1)
    return float((2 * hits[ends] / (ends + 1 + truth.sum())).max())


@pytest.mark.parametrize("method", METHODS)
def test_masks_lose_no_ranks(method: str) -> None:
    for case in cases(method, without=ILL_CONDITIONED):
        image = picture(case)
        raw = (
            code("cfa1").filtered_log_ratio(image)
            if method == "cfa1"
            else getattr(code(method), f"{method}_map")(image)
        )
        raw = -raw if method == "cfa1" else raw
        stretched = resize_nearest(raw, image.shape[:2]).ravel()
        if np.ptp(stretched) < 1e-9:
            continue
        in_order = mask_of(method, image).ravel()[np.argsort(stretched, kind="stable")]
        assert (np.diff(in_order) >= 0).all()
        assert len(np.unique(in_order)) >= 0.999 * len(np.unique(raw))


@pytest.mark.parametrize("case", cases("cfa1", without=COLLAPSED))
def test_cfa1_mask_keeps_the_half(case: str) -> None:
    image = picture(case)
    posterior = resize_nearest(code("cfa1").cfa1_map(image), image.shape[:2])
    np.testing.assert_array_equal(mask_of("cfa1", image) > 0.5, posterior > 0.5)


def test_cfa1_mask_holds_ratios_that_the_posterior_saturates() -> None:
    ratio = np.concatenate([-np.arange(1000.0, 0, -1), np.arange(0.0, 1001)])
    mask = expit(-np.arcsinh(ratio)).astype(np.float32)
    assert (np.diff(mask) < 0).all()
    assert mask[1000] == 0.5
    assert len(np.unique(expit(-ratio).astype(np.float32))) < 200


def striped(height: int, width: int) -> np.ndarray:
    return np.repeat((np.add.outer(np.arange(height), np.arange(width)) % 2 * 255)[..., None], 3, 2).astype(np.uint8)


def degenerate() -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    half = noise.copy()
    half[:, :40] = 255
    sizes = [(1, 1), (1, 2), (1, 9), (1, 80), (64, 1), (2, 2), (3, 2), (7, 7), (8, 8), (13, 11), (15, 16), (17, 33)]
    return {f"{height}x{width}": noise[:height, :width] for height, width in sizes} | {
        "black": np.zeros((40, 50, 3), np.uint8),
        "white": np.full((40, 50, 3), 255, np.uint8),
        "flat": np.full((33, 47, 3), (90, 13, 200), np.uint8),
        "clipped": np.where(noise < 128, 0, 255).astype(np.uint8),
        "grey": np.repeat(noise[..., :1], 3, axis=2),
        "half_saturated": half,
        "stripes": striped(64, 64),
        "gradient": np.repeat(np.tile(np.arange(64, dtype=np.uint8), (64, 1))[..., None], 3, axis=2),
        "one_pixel": np.pad(np.full((1, 1, 3), 255, np.uint8), ((30, 33), (30, 33), (0, 0))),
        "view": noise[::-2, ::3],
        "long": np.tile(noise[:1], (1, 100, 1)),
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", degenerate())
@pytest.mark.filterwarnings("error")
def test_degenerate_images_give_finite_masks(method: str, name: str) -> None:
    image = degenerate()[name]
    before = image.copy()
    raw = getattr(code(method), f"{method}_map")(image)
    mask = mask_of(method, image)
    assert raw.dtype == np.float64 and raw.size and np.isfinite(raw).all() and raw.min() >= 0
    check_mask(mask, image)
    assert name not in ("black", "white") or not mask.any()
    np.testing.assert_array_equal(image, before)


def check_mask(mask: np.ndarray, image: np.ndarray) -> None:
    assert mask.dtype == np.float32 and mask.shape == image.shape[:2]
    assert np.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    """Any size 1..40; few or many grey levels, so that flat, clipped and noisy blocks all occur."""
    height, width, levels = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.integers(1, 256))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, levels, (height, width, 3))
    return (noise * (255 // max(1, levels - 1))).astype(np.uint8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("error")
@settings(max_examples=120, deadline=None, derandomize=True)
@given(batch=st.lists(images(), min_size=1, max_size=3))
def test_any_image_in_any_batch(method: str, batch: list[np.ndarray]) -> None:
    loaded = model(method)
    for image, together in zip(batch, loaded.predict(batch), strict=True):
        assert together.mask is not None and together.score is None
        check_mask(together.mask, image)
        np.testing.assert_array_equal(together.mask, mask_of(method, image))


@pytest.mark.parametrize("method", METHODS)
def test_map_shapes(method: str) -> None:
    for height, width in [(1, 1), (16, 16), (17, 40), (64, 33)]:
        expected = {
            "ela": (height, width),
            "noi1": ((height + 15) // 2 // 8, (width + 15) // 2 // 8),
            "cfa1": tuple(max(1, -(-(side - side % 2) // 8)) for side in (height, width)),
        }[method]
        assert getattr(code(method), f"{method}_map")(np.zeros((height, width, 3), np.uint8)).shape == expected


@pytest.mark.parametrize("method", METHODS)
def test_only_images_are_taken(method: str) -> None:
    with pytest.raises(UsageError, match="uint8"):
        model(method).predict([np.zeros((8, 8), np.uint8)])
    assert model(method).predict([]) == []


def test_ela_says_what_jpeg_cannot_hold() -> None:
    with pytest.raises(ImageError, match="65501x1"):
        mask_of("ela", np.zeros((1, 65_501, 3), np.uint8))


@pytest.mark.parametrize("method", METHODS)
def test_card(method: str) -> None:
    card = imdl_bench.catalog.model_card(method)
    assert (card.input, card.outputs, card.weights) == ("single", ["mask"], None)
