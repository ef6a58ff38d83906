"""Pair models on pair data sets: both masks are scored, the pair counts once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import sklearn.metrics as reference
from plugin_folder import write_pairs

import imdl_bench
from imdl_bench import catalog
from imdl_bench.errors import UsageError
from imdl_bench.images import read_mask


@pytest.fixture
def pairs(with_plugin: Path) -> Path:
    write_pairs(with_plugin)
    catalog._cards.cache_clear()
    return with_plugin


def test_both_masks_are_scored_and_the_pair_counts_once(pairs: Path, tmp_path: Path) -> None:
    result = imdl_bench.run("couples", data=pairs / "data", out=tmp_path, batch_size=4)
    value = {line.metric: line for line in result.lines}
    aucs, labels, scores = [], [], []
    for number in (1, 2, 4, 5, 7, 8, 2, 10):
        red = imdl_bench.read_image(pairs / f"data/images/{number:02}.png")[..., 0] / np.float32(255)
        truth = read_mask(pairs / f"data/masks/{number:02}.png")
        aucs.append(reference.roc_auc_score(truth.ravel(), red.ravel()))
        labels.append(truth.ravel())
        scores.append(red.ravel())
    pooled = reference.roc_auc_score(np.concatenate(labels), np.concatenate(scores))
    assert (value["pixel_auc/per-image"].n, value["image_auc"].n) == (8, 6)
    assert value["pixel_auc/per-image"].value == pytest.approx(np.mean(aucs), abs=1e-12)
    assert value["pixel_auc/pooled"].value == pytest.approx(pooled, abs=1e-12)
    rows = pd.read_csv(result.runs[0].with_name("rows.csv"))
    assert list(rows["sample"]) == ["1|2", "1|2#donor", "4|5", "4|5#donor", "7|8", "7|8#donor", "0|3", "6|9", "2|10", "2|10#donor"]  # fmt: skip  # noqa: E501


def test_single_and_pair_do_not_mix(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="twins takes pairs of images, but edits runs on edits: one image at a time"):
        imdl_bench.run("edits", ["twins"], data=pairs / "data", out=tmp_path)
    with pytest.raises(UsageError, match="red takes one image at a time"):
        imdl_bench.run("couples", ["red"], data=pairs / "data", out=tmp_path)


def test_a_missing_second_image_is_recorded(pairs: Path, tmp_path: Path) -> None:
    (pairs / "data/images/05.png").unlink()
    result = imdl_bench.run("couples", data=pairs / "data", out=tmp_path)
    rows = pd.read_csv(result.runs[0].with_name("rows.csv")).set_index("sample")
    assert result.n_failed == 1 and "05.png: no such file" in rows.loc["4|5", "reason"]


def test_predict_takes_donors(pairs: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    environment = {"IMDL_BENCH_PATH": str(pairs)}
    images = sorted((pairs / "data/images").iterdir())[:3]
    lone = cli("predict", "twins", images[0], "--out", tmp_path, **environment)
    assert lone.returncode == 2 and "1 images need as many donors, 0 are given" in lone.stderr
    single = cli("predict", "red", images[0], "--donor", images[1], "--out", tmp_path, **environment)
    assert single.returncode == 2 and "takes one image at a time, no donors" in single.stderr
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    done = cli("predict", "twins", images[0], images[1], "--donor", images[2], "--donor", broken,
               "--out", tmp_path, **environment)  # fmt: skip
    assert done.returncode == 1 and f"{images[1]}: {broken}" in done.stdout, done.stdout
    about = json.loads((tmp_path / f"{images[0].stem}.json").read_text())
    donor = imdl_bench.read_image(images[2])
    assert (about["donor"]["height"], about["donor"]["width"]) == donor.shape[:2]
    written = np.asarray(PIL.Image.open(tmp_path / about["donor"]["mask"]), np.float64) / 65535
    np.testing.assert_allclose(written, donor[..., 0] / 255, atol=1e-5)
    assert PIL.Image.open(tmp_path / about["donor"]["overlay"]).size == (donor.shape[1], donor.shape[0])
    assert PIL.Image.open(tmp_path / about["mask"]).size == PIL.Image.open(images[0]).size
