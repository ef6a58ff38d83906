"""Sorting pixels where the network runs gives the bits that sorting them on the CPU gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from imdl_bench import device_scores
from imdl_bench.device_scores import sort_scores, sort_scores_on
from imdl_bench.metrics import histogram
from imdl_bench.metrics.histogram import SortedScores
from imdl_bench.metrics.names import parse_metric
from imdl_bench.metrics.pixel import score_pixels

EDGES = [0.0, -0.0, 1.0, 0.5, float(np.float32(1e-45)), float(np.nextafter(np.float32(1), np.float32(0)))]
SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=12)


def assert_same_bits(found: SortedScores, expected: SortedScores) -> None:
    assert (found.keys.dtype, found.forged_at.dtype) == (np.uint32, np.int64)
    np.testing.assert_array_equal(found.keys, expected.keys)
    np.testing.assert_array_equal(found.forged_at, expected.forged_at)
    assert found.inverted == expected.inverted


@given(data=st.data(), shape=SHAPES)
@settings(max_examples=200, deadline=None)
def test_the_same_bits_as_on_the_cpu(data: st.DataObject, shape: tuple[int, int]) -> None:
    scores = st.one_of(st.sampled_from(EDGES), st.floats(0, 1, width=32))
    mask = data.draw(arrays(np.float32, shape, elements=scores))
    truth = data.draw(arrays(np.bool_, shape))
    assert_same_bits(sort_scores(torch.from_numpy(mask), torch.from_numpy(truth)), histogram.sort_scores(mask, truth))


@pytest.mark.parametrize("forged", [True, False])
def test_pixels_of_one_class(forged: bool) -> None:
    mask = np.random.default_rng(0).random((30, 40), np.float32)
    truth = np.full(mask.shape, forged)
    assert_same_bits(sort_scores_on("cpu", mask, truth), histogram.sort_scores(mask, truth))


def test_views_are_taken_and_left_as_they_are() -> None:
    whole = np.random.default_rng(1).random((60, 80), np.float32)
    mask, truth = whole[::2, ::-2], (whole > 0.7)[::2, ::-2]
    before = whole.copy()
    assert_same_bits(sort_scores_on("cpu", mask, truth), histogram.sort_scores(mask, truth))
    turned = torch.from_numpy(whole).T, torch.from_numpy(whole > 0.3).T
    assert_same_bits(sort_scores(*turned), histogram.sort_scores(whole.T, (whole > 0.3).T))
    np.testing.assert_array_equal(whole, before)


def test_on_a_gpu_the_network_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU that says it is one: all that is enqueued is enqueued in a stream of its own."""
    events: list[str] = []

    @contextmanager
    def stream(own: str) -> Iterator[None]:
        events.append(f"in {own}")
        yield
        events.append("out")

    def pinned(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        events.append(f"copy {dtype}")
        return torch.empty(shape, dtype=dtype)

    monkeypatch.setattr(device_scores, "on_gpu", lambda device: True)
    monkeypatch.setattr(device_scores, "pinned", pinned)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device, priority: f"stream of {device}, {priority}")
    monkeypatch.setattr(torch.cuda, "stream", stream)
    device_scores._stream.cache_clear()
    mask = np.random.default_rng(3).random((20, 30), np.float32)
    mask.flags.writeable = False
    assert_same_bits(sort_scores_on("cpu", mask, mask > 0.5), histogram.sort_scores(mask, mask > 0.5))
    device_scores._stream.cache_clear()
    assert events == ["in stream of cpu, -1", "copy torch.float32", "copy torch.bool", "out"]


def test_sorted_pixels_are_scored_without_being_sorted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    mask, truth = rng.random((50, 50), np.float32), rng.random((50, 50)) > 0.8
    names = ["pixel_auc/per-image", "pixel_f1@0.5/per-image", "pixel_f1@best/per-image", "pixel_auc/pooled"]
    metrics = [parse_metric(name) for name in names]
    expected = score_pixels(mask, truth, metrics)
    scores = sort_scores_on("cpu", mask, truth)
    monkeypatch.setattr("imdl_bench.metrics.pixel.sort_scores", None)
    found = score_pixels(mask, truth, metrics, scores)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.totals, expected.totals)
    assert found.histogram is not None and expected.histogram is not None
    np.testing.assert_array_equal(found.histogram.bins, expected.histogram.bins)
    np.testing.assert_array_equal(found.histogram.counts, expected.histogram.counts)
