"""Pixel metrics against scikit-learn, brute force and goldens."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imdl_bench.metrics import counts, parse_metric, ranking
from imdl_bench.metrics.histogram import (
    BINS,
    COARSE_BINS,
    MAX_EXACT_VALUES,
    ScorePool,
    bin_edges,
    bin_of,
    bin_scores,
    coarse_edges,
    coarsen,
    dense_curve,
    pack_counts,
    sort_scores,
    unpack_counts,
)
from imdl_bench.metrics.image import value_of
from imdl_bench.metrics.pixel import pixel_metric, score_pixels

SHAPE = (300, 400)


def _truth(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    truth = np.zeros(shape, bool)
    truth[shape[0] // 4 : shape[0] // 2, shape[1] // 3 : shape[1] // 2] = True
    return truth


def _scores(name: str, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng(3)
    truth, noise = _truth(shape), rng.random(shape)
    made = {
        "smooth": 0.6 * noise + 0.3 * truth,
        "confident": 1 / (1 + np.exp(-(rng.normal(-14, 2, shape) + 13 * truth * (noise < 0.8)))),
        "two-ended": np.where(noise < 0.5, 1e-7 * rng.random(shape), 1 - 1e-3 * rng.random(shape)),
        "quantised": np.round((0.7 * noise + 0.2 * truth) * 255) / 255,
        "saturated": np.where(rng.random(shape) < 0.9, 0.0, noise),
        "near-constant": 0.5 + 1e-5 * (noise + truth),
        "constant": np.full(shape, 0.3),
        "zero": np.zeros(shape),
        "one": np.ones(shape),
    }[name]
    return np.clip(made, 0, 1).astype(np.float32)


KINDS = ["smooth", "confident", "two-ended", "quantised", "saturated", "near-constant", "constant", "zero", "one"]


def _metric(name: str, mask: np.ndarray, truth: np.ndarray) -> float:
    return pixel_metric(parse_metric(name), mask, truth)


def _pooled(name: str, *pairs: tuple[np.ndarray, np.ndarray]) -> float:
    pool = ScorePool()
    for mask, truth in pairs:
        scores = sort_scores(mask, truth)
        pool.add(scores, bin_scores(scores))
    return float(value_of(parse_metric(name), pool.curve()))


@pytest.mark.parametrize("kind", KINDS)
def test_per_image_rankings_equal_scikit_learn(kind: str) -> None:
    mask, truth = _scores(kind), _truth()
    flat = truth.ravel(), mask.ravel()
    assert _metric("pixel_auc/per-image", mask, truth) == pytest.approx(reference.roc_auc_score(*flat), abs=1e-12)
    assert _metric("pixel_ap/per-image", mask, truth) == pytest.approx(
        reference.average_precision_score(*flat), abs=1e-12
    )


@pytest.mark.parametrize("shape", [(5, 7), (60, 50), (900, 1100)])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "near-constant"])
def test_pooled_rankings_equal_scikit_learn(kind: str, shape: tuple[int, int]) -> None:
    pairs = [(_scores(kind, shape), _truth(shape)), (_scores("smooth", shape), ~_truth(shape))]
    labels, scores = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (1, 0))
    assert _pooled("pixel_auc/pooled", *pairs) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-6)
    assert _pooled("pixel_ap/pooled", *pairs) == pytest.approx(
        reference.average_precision_score(labels, scores), abs=1e-6
    )


def test_a_constant_map_scores_one_half() -> None:
    assert _metric("pixel_auc/per-image", _scores("constant"), _truth()) == 0.5


DECISIONS = {
    "f1": reference.f1_score,
    "iou": reference.jaccard_score,
    "mcc": reference.matthews_corrcoef,
    "accuracy": reference.accuracy_score,
    "balanced_accuracy": reference.balanced_accuracy_score,
    "precision": reference.precision_score,
    "recall": reference.recall_score,
    "f1_weighted": lambda t, p: reference.f1_score(t, p, average="weighted", zero_division=0),
    "precision_weighted": lambda t, p: reference.precision_score(t, p, average="weighted", zero_division=0),
    "recall_weighted": lambda t, p: reference.recall_score(t, p, average="weighted"),
}


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.123456789])
@pytest.mark.parametrize("stat", DECISIONS)
@pytest.mark.parametrize("kind", ["smooth", "confident", "quantised", "two-ended"])
def test_fixed_thresholds_equal_scikit_learn(kind: str, stat: str, threshold: float) -> None:
    mask, truth = _scores(kind), _truth()
    expected = DECISIONS[stat](truth.ravel(), mask.ravel() >= threshold)
    assert _metric(f"pixel_{stat}@{threshold}/per-image", mask, truth) == pytest.approx(expected, abs=1e-12)


def test_thresholds_compare_as_real_numbers() -> None:
    mask = np.array([[np.float32(0.3), np.nextafter(np.float32(0.3), np.float32(0))]])
    truth = np.array([[True, True]])
    assert sort_scores(mask, truth).counts_at(0.3) == (1, 0)
    assert sort_scores(mask, truth).inverse().counts_at(0.7) == (1, 0)  # 1 - p >= 0.7 where p <= 0.3
    assert sort_scores(mask, truth).counts_at(float(np.float32(0.3))) == (1, 0)
    assert sort_scores(np.zeros((1, 2), np.float32), truth).counts_at(0.0) == (2, 0)
    assert sort_scores(np.ones((1, 2), np.float32), truth).counts_at(1.0) == (2, 0)


def test_negative_zero_is_zero() -> None:
    mask = np.array([[-0.0, 0.0, 0.5]], np.float32)
    assert _metric("pixel_auc/per-image", mask, np.array([[True, False, False]])) == 0.25


TYPICAL = [float(np.float32(value)) for value in (0.0, 1e-9, 3e-6, 0.25, 0.5, 0.75, 1 - 1e-6, 1.0)]
arrays = st.tuples(st.integers(1, 6), st.integers(2, 6)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.sampled_from(TYPICAL))
        | hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32)),
        hnp.arrays(bool, shape),
    )
)


@settings(max_examples=300, deadline=None)
@given(arrays)
def test_random_maps_equal_brute_force(pair: tuple[np.ndarray, np.ndarray]) -> None:
    mask, truth = pair
    values = np.unique(mask)
    forged, pristine = (np.array([(mask[side] == v).sum() for v in values], float) for side in (truth, ~truth))
    curve = dense_curve(values.astype(float), forged, pristine)
    for name in ("auc", "ap", "eer"):
        expected = float(getattr(ranking, name)(curve))
        np.testing.assert_allclose(_metric(f"pixel_{name}/per-image", mask, truth), expected, atol=1e-12)
    for name in ("f1", "iou", "mcc", "accuracy", "balanced_accuracy", "precision", "recall", "nmm"):
        metric = parse_metric(f"pixel_{name}@best/per-image")
        expected = float(ranking.decision_at(curve, metric.decision, ranking.best_at(curve, metric.sought)))
        np.testing.assert_allclose(pixel_metric(metric, mask, truth), expected, atol=1e-12)
    if truth.any() and not truth.all():
        expected = reference.roc_auc_score(truth.ravel(), mask.ravel())
        np.testing.assert_allclose(_metric("pixel_auc/per-image", mask, truth), expected, atol=1e-12)
        _check_eer(mask, truth)
    else:
        assert math.isnan(_metric("pixel_auc/per-image", mask, truth))


def _check_eer(mask: np.ndarray, truth: np.ndarray) -> None:
    """Against scikit-learn's ROC: the crossing by interpolation, the threshold by the closest pair of rates."""
    fpr, tpr, thresholds = reference.roc_curve(truth.ravel(), mask.ravel(), drop_intermediate=False)
    gap = fpr - (1 - tpr)
    after = int(np.argmax(gap >= 0))
    step = -gap[after - 1] / (gap[after] - gap[after - 1])
    crossing = fpr[after - 1] + step * (fpr[after] - fpr[after - 1])
    np.testing.assert_allclose(_metric("pixel_eer/per-image", mask, truth), crossing, atol=1e-12)
    at = 1 + int(np.argmin(np.abs(gap[1:])))
    tp, fp, threshold = sort_scores(mask, truth).eer_counts()
    assert (tp, fp) == (round(tpr[at] * truth.sum()), round(fpr[at] * (~truth).sum()))
    assert threshold == pytest.approx(thresholds[at], abs=0)


@settings(max_examples=100, deadline=None)
@given(arrays)
def test_the_inverse_reverses_every_rank(pair: tuple[np.ndarray, np.ndarray]) -> None:
    mask, truth = pair
    auc = _metric("pixel_auc/per-image", mask, truth)
    both = _metric("pixel_auc[max-inverse]/per-image", mask, truth)
    np.testing.assert_allclose(both, max(auc, 1 - auc) if not math.isnan(auc) else math.nan, atol=1e-12)
    inverse = sort_scores(mask, truth).inverse()
    for threshold in (0.0, 0.25, 0.5, 0.3, 1.0):
        called = mask.astype(np.float64) <= 1 - threshold
        assert inverse.counts_at(threshold) == ((called & truth).sum(), (called & ~truth).sum())


def test_mantranet_negation_only_where_the_truth_is_mostly_forged() -> None:
    mask, truth = _scores("smooth"), _truth()
    plain = _metric("pixel_auc/per-image", mask, truth)
    assert _metric("pixel_auc[negate-majority]/per-image", mask, truth) == plain
    inverted = _metric("pixel_auc/per-image", mask, ~truth)
    assert _metric("pixel_auc[negate-majority]/per-image", mask, ~truth) == pytest.approx(1 - inverted, abs=1e-12)


def test_undefined_is_nan_and_never_zero_or_one() -> None:
    mask = _scores("smooth")
    nothing, everything = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    for name in (
        "auc",
        "ap",
        "eer",
        "f1@0.5",
        "f1@best",
        "iou@0.5",
        "mcc@0.5",
        "precision@0.5",
        "recall@eer",
        "nmm@0.5",
    ):
        assert math.isnan(_metric(f"pixel_{name}/per-image", mask, nothing)), name
    for name in ("auc", "ap", "eer", "balanced_accuracy@0.5", "f1@eer"):
        assert math.isnan(_metric(f"pixel_{name}/per-image", mask, everything)), name
    assert math.isnan(_metric("pixel_precision@0.9999/per-image", np.zeros(SHAPE, np.float32), _truth()))


def test_counts_equal_the_dmac_reference() -> None:
    """Rows with an empty truth are left out: the reference calls them 0 or 0/0, here they are undefined."""
    golden = json.loads((Path(__file__).parent / "golden/dmac/metrics.json").read_text())
    checked = 0
    for row in golden["rows"]:
        forged, pristine = np.float64(row["tp"] + row["fn"]), np.float64(row["fp"] + row["tn"])
        found = {name: getattr(counts, name)(np.float64(row["tp"]), np.float64(row["fp"]), forged, pristine)
                 for name in ("nmm", "mcc", "iou")}  # fmt: skip
        for name, value in found.items():
            if forged:
                assert float(value) == pytest.approx(row[name], abs=1e-12)
                checked += 1
            else:
                assert math.isnan(value)
    assert checked == 15


def test_every_score_lies_in_its_bin_and_one_half_is_an_edge() -> None:
    edges = bin_edges()
    assert len(edges) == BINS and (np.diff(edges) > 0).all() and 0.5 in edges
    rng = np.random.default_rng(0)
    scores = np.concatenate(
        [rng.random(50_000), 10 ** rng.uniform(-12, 0, 50_000), 1 - 10 ** rng.uniform(-9, 0, 50_000)]
    )
    scores = np.append(scores, [0.0, 0.5, 1.0, 2.0**-31, 1 - 2.0**-24]).astype(np.float32)
    bins = bin_of(scores.view(np.uint32))
    assert (edges[bins] <= scores).all()
    assert (scores[bins < BINS - 1] < edges[bins[bins < BINS - 1] + 1]).all()


def _histogram(mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    histogram = np.zeros((5, BINS), np.int64)
    bin_scores(sort_scores(mask, truth)).add_to(histogram)
    return histogram


def test_a_sorted_image_bins_as_its_scores_do() -> None:
    for kind in KINDS:
        mask, truth = _scores(kind), _truth()
        expected = [np.bincount(bin_of(mask[side].view(np.uint32)), minlength=BINS) for side in (truth, ~truth)]
        histogram = _histogram(mask, truth)
        np.testing.assert_array_equal(histogram[:2] + histogram[2:4], expected)
        assert (histogram[2:4].sum() == mask.size) == (kind in ("quantised", "constant", "zero", "one"))


@settings(max_examples=100, deadline=None)
@given(arrays, st.sampled_from([0.001, 0.3, 1.0]))
def test_few_scores_and_many_fall_into_the_same_bins(pair: tuple[np.ndarray, np.ndarray], scale: float) -> None:
    mask, truth = np.repeat(pair[0] * np.float32(scale), 9, axis=0), np.repeat(pair[1], 9, axis=0)
    few = _histogram(mask, truth)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("imdl_bench.metrics.histogram.FEW_VALUES", 0)
        assert bin_scores(sort_scores(mask, truth)).values is None
        np.testing.assert_array_equal(_histogram(mask, truth), few)


def test_coarse_bins_are_unions_of_bins() -> None:
    histogram = _histogram(_scores("two-ended"), _truth())
    coarse, edges = coarsen(bin_scores(sort_scores(_scores("two-ended"), _truth()))), coarse_edges()
    assert coarse.shape == (2, COARSE_BINS) and (np.diff(edges) > 0).all() and 0.5 in edges
    np.testing.assert_array_equal(coarse.sum(axis=1), (histogram[:2] + histogram[2:4]).sum(axis=1))
    place = np.searchsorted(edges, bin_edges(), side="right") - 1
    fine = histogram[0] + histogram[2]
    np.testing.assert_array_equal(coarse[0], np.bincount(place, fine, minlength=COARSE_BINS))
    np.testing.assert_array_equal(unpack_counts(pack_counts(coarse)), coarse)


@pytest.mark.parametrize("kind", ["quantised", "smooth"])
def test_pools_add_in_any_order_and_survive_storage(kind: str) -> None:
    shapes = [(40, 50), (400, 500), (30, 30)]
    scores = [sort_scores(_scores(kind, shape), _truth(shape)) for shape in shapes]
    pools = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        pool = ScorePool()
        for place in order:
            pool.add(scores[place], bin_scores(scores[place]))
            pool = ScorePool.from_bytes(pool.to_bytes())
        pools.append(pool)
    assert (pools[0].bits is None) == (kind == "smooth")
    assert {pool.to_bytes() for pool in pools} == {pools[0].to_bytes()}
    assert pools[0].histogram[:4].sum() == sum(len(each.keys) for each in scores)
    assert MAX_EXACT_VALUES > 60_000


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_merged_pools_hold_the_bytes_of_one_pool(data: st.DataObject) -> None:
    kinds = st.sampled_from([("quantised", (20, 30)), ("confident", (20, 30)), ("one", (3, 2)), ("smooth", (400, 500))])
    images = data.draw(st.lists(kinds, min_size=1, max_size=6))
    limit = data.draw(st.sampled_from([1, 250, 800, MAX_EXACT_VALUES]))
    home = data.draw(st.lists(st.integers(0, 2), min_size=len(images), max_size=len(images)))
    one, parts = ScorePool(), [ScorePool() for _ in range(3)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("imdl_bench.metrics.histogram.MAX_EXACT_VALUES", limit)
        for (kind, shape), place in zip(images, home, strict=True):
            scores = sort_scores(_scores(kind, shape), _truth(shape))
            for pool in (one, parts[place]):
                pool.add(scores, bin_scores(scores))
        first, *others = data.draw(st.permutations(parts))
        before = [pool.to_bytes() for pool in others]
        for pool in others:
            first.merge(pool)
    assert first.to_bytes() == one.to_bytes()
    assert [pool.to_bytes() for pool in others] == before


def test_large_images_keep_their_whole_forgery() -> None:
    truth = np.zeros((3000, 2000), bool)
    truth[-10:, -10:] = True
    assert _metric("pixel_auc/per-image", truth.astype(np.float32), truth) == 1.0
    assert score_pixels(truth.astype(np.float32), truth, []).totals.tolist() == [100, 3000 * 2000 - 100]
