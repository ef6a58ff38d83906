"""Image-level metrics, intervals and metric names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from imdl_bench.errors import UsageError
from imdl_bench.metrics import METRICS, parse_metric, ranking
from imdl_bench.metrics.confidence import interval, resample_groups, weighted_means
from imdl_bench.metrics.grid import CoarseGrid
from imdl_bench.metrics.histogram import bin_scores, coarse_edges, coarsen, pack_counts, sort_scores
from imdl_bench.metrics.image import image_metric


def _value(name: str, scores: np.ndarray, forged: np.ndarray, weights: np.ndarray | None = None) -> float:
    return float(image_metric(parse_metric(name), scores, forged, weights))


sets = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]) | st.floats(0, 1), st.booleans()), min_size=2, max_size=40
)


@settings(max_examples=200, deadline=None)
@given(sets)
def test_scores_of_images_equal_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    scores, forged = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    if forged.all() or not forged.any():
        assert math.isnan(_value("image_auc", scores, forged))
        return
    assert _value("image_auc", scores, forged) == pytest.approx(reference.roc_auc_score(forged, scores), abs=1e-12)
    assert _value("image_ap", scores, forged) == pytest.approx(
        reference.average_precision_score(forged, scores), abs=1e-12
    )
    for threshold in (0.5, 0.3):
        called = scores >= threshold
        assert _value(f"image_f1@{threshold}", scores, forged) == pytest.approx(reference.f1_score(forged, called))
        assert _value(f"image_accuracy@{threshold}", scores, forged) == pytest.approx(
            reference.accuracy_score(forged, called)
        )
    fpr, tpr, _ = reference.roc_curve(forged, scores, drop_intermediate=False)
    for limit in (0.01, 0.25):
        assert _value(f"image_tpr@fpr{limit}", scores, forged) == pytest.approx(tpr[fpr <= limit].max())


@settings(max_examples=50, deadline=None)
@given(sets, st.integers(0, 5))
def test_weights_count_as_repeats(rows: list[tuple[float, bool]], seed: int) -> None:
    scores, forged = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    weights = np.random.default_rng(seed).integers(0, 3, len(rows))
    repeated_scores, repeated_forged = np.repeat(scores, weights), np.repeat(forged, weights)
    for name in ("image_auc", "image_ap", "image_eer", "image_f1@best", "image_tpr@fpr0.1", "image_f1@0.5"):
        if len(repeated_scores):
            expected = _value(name, repeated_scores, repeated_forged)
            np.testing.assert_allclose(_value(name, scores, forged, weights.astype(float)), expected, atol=1e-12)


def test_resamples_draw_groups_not_images() -> None:
    weights = resample_groups(["a", "a", "b", "b", "c"], 200, seed=1)
    assert weights.shape == (200, 5)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 2] + weights[:, 4], 3)
    np.testing.assert_array_equal(weights, resample_groups(["a", "a", "b", "b", "c"], 200, seed=1))
    assert not np.array_equal(weights, resample_groups(["a", "a", "b", "b", "c"], 200, seed=2))
    assert resample_groups(["a", "a"], 200, seed=1).shape == (0, 2)


def test_grouped_intervals_are_wider_where_groups_agree() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(20), 10)
    alone = interval(weighted_means(values, resample_groups([str(i) for i in range(200)], 500, 0)))
    grouped = interval(weighted_means(values, resample_groups([str(i // 10) for i in range(200)], 500, 0)))
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


def test_intervals_cover_the_mean() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        values = rng.normal(0.3, 0.1, 40)
        low, high = interval(weighted_means(values, resample_groups([str(i) for i in range(40)], 400, trial)))
        hits += low <= 0.3 <= high
    assert 0.89 <= hits / 200 <= 0.98


def test_one_nan_poisons_no_mean() -> None:
    weights = np.ones((3, 4))
    np.testing.assert_allclose(weighted_means(np.array([1.0, np.nan, 2.0, 3.0]), weights), 2.0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("f1", "level_statistic"),
        ("pixel_f1/per-image", "at which threshold"),
        ("pixel_f1@0.5", "/per-image or /pooled"),
        ("pixel_f2@0.5/per-image", "did you mean 'f1'"),
        ("pixel_auc@0.5/per-image", "leave out @0.5"),
        ("image_iou@0.5", "no image statistic 'iou'"),
        ("image_auc/pooled", "no average"),
        ("image_tpr", "false-positive rate"),
        ("pixel_f1@1.5/per-image", "number in [0, 1]"),
        ("pixel_auc[negate]/per-image", "did you mean 'negate-majority'"),
        ("pixel_auc[max-inverse]/pooled", "decided per image"),
        ("pixel_f1@best-set/pooled", "at which threshold"),
    ],
)
def test_wrong_names_are_explained(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="metric") as error:
        parse_metric(name)
    assert hint in str(error.value)


def test_every_row_of_metrics_can_be_named() -> None:
    for stat, row in METRICS.items():
        for level in row.levels:
            at = "@fpr0.01" if stat == "tpr" else "" if row.of_curve else "@0.5"
            metric = parse_metric(f"{level}_{stat}{at}" + ("/pooled" if level == "pixel" else ""))
            assert metric.stat == stat and metric.level == level


def test_set_wide_thresholds_and_resamples_do_not_depend_on_how_many_images_are_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    packed, masks, truths = [], [], []
    for _ in range(7):
        truth = rng.random((20, 30)) < 0.3
        mask = np.clip(0.5 * rng.random((20, 30)) + 0.3 * truth, 0, 1).astype(np.float32)
        packed.append(pack_counts(coarsen(bin_scores(sort_scores(mask, truth)))))
        masks.append(mask)
        truths.append(truth)
    metric, weights = parse_metric("pixel_f1@best-set/per-image"), resample_groups(list("abcdefg"), 250, 0)
    whole = CoarseGrid.over(packed)
    values = whole.at_set_threshold(metric)
    eer = whole.at_set_threshold(parse_metric("pixel_f1@eer-set/per-image"))
    aucs = np.concatenate([ranking.auc(curve) for curve in whole.resampled(weights)])
    monkeypatch.setattr("imdl_bench.metrics.grid.IMAGES_AT_ONCE", 3)
    np.testing.assert_array_equal(CoarseGrid.over(packed).at_set_threshold(metric), values)
    np.testing.assert_array_equal(
        CoarseGrid.over(packed).at_set_threshold(parse_metric("pixel_f1@eer-set/per-image")), eer
    )
    again = np.concatenate([ranking.auc(curve) for curve in CoarseGrid.over(packed).resampled(weights)])
    np.testing.assert_array_equal(again, aucs)
    sweep = [np.mean([reference.f1_score(t.ravel(), m.ravel() >= edge) for m, t in zip(masks, truths, strict=True)])
             for edge in coarse_edges()[whole.occurs]]  # fmt: skip
    assert values.mean() == pytest.approx(max(sweep), abs=1e-12)
    repeats = weights[0]
    labels = np.concatenate([np.tile(t.ravel(), k) for t, k in zip(truths, repeats, strict=True)])
    scores = np.concatenate([np.tile(m.ravel(), k) for m, k in zip(masks, repeats, strict=True)])
    assert aucs[0] == pytest.approx(reference.roc_auc_score(labels, scores), abs=2e-3)
