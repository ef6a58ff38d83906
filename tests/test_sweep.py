"""Runs under distortions: one decode for all levels, the numbers of distorted files, truths and masks that move."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import sklearn.metrics as reference
from plugin_folder import write_model, write_pairs, write_text

import imdl_bench
from imdl_bench.distortions import parse_distortions
from imdl_bench.engine import decoded
from imdl_bench.errors import UsageError
from imdl_bench.images import read_image, read_mask

NINE = """[{jpeg: {quality: [90, 70, 50]}}, {resize: {scale: 0.5}}, {gaussian_blur: {kernel: [3, 7]}},
           {gaussian_noise: {sigma: 5}}, {crop: {fraction: 0.75}}]"""


@pytest.fixture
def sweep(with_plugin: Path) -> Path:
    """The plug-in with a protocol `swept` of nine levels over the twelve edits."""
    write_protocol(with_plugin, NINE)
    return with_plugin


def write_protocol(folder: Path, distort: str) -> None:
    from imdl_bench import catalog

    write_text(folder / "protocols/swept.yaml", f"""
        name: swept
        version: 1
        title: Nine levels on twelve edits
        task: both
        source: made by the tests
        data: [{{dataset: edits}}]
        models: [red]
        score: mask-mean
        distort: {distort}
        metrics: [pixel_auc/per-image, pixel_auc/pooled, pixel_f1@best-set/per-image, pixel_f1@0.5/pooled, image_auc]
    """)  # fmt: skip
    catalog._cards.cache_clear()


def test_nine_levels_open_each_file_once(sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[Path] = Counter()

    def counted(path: Path) -> imdl_bench.Image:
        opened[path] += 1
        return read_image(path)

    monkeypatch.setattr(decoded, "read_image", counted)
    write_model(sweep, "green", "return image[..., 1].astype(np.float32) / np.float32(255)")
    result = imdl_bench.run("swept", ["red", "green"], sweep / "data", out=tmp_path)
    assert result.n_new == 2 * 9 * 12
    assert sorted(opened.values()) == [1] * 12


def test_levels_stand_in_the_protocols_order_with_the_clean_one_first(sweep: Path, tmp_path: Path) -> None:
    result = imdl_bench.run("swept", data=sweep / "data", out=tmp_path)
    levels = list(dict.fromkeys(line.distortion for line in result.lines))
    assert levels == ["none", "jpeg(quality=90)", "jpeg(quality=70)", "jpeg(quality=50)", "resize(scale=0.5)",
                      "gaussian_blur(kernel=3)", "gaussian_blur(kernel=7)", "gaussian_noise(sigma=5)",
                      "crop(fraction=0.75)"]  # fmt: skip
    assert len(result.lines) == 9 * 5 and len(result.runs) == 1
    shown = repr(result)
    assert shown.count("swept v1 on edits/full: pixel_auc/per-image") == 1
    drawn = shown.split("\n\n")[0].splitlines()
    assert [line.split("  ")[0] for line in drawn[4:13]] == levels
    rows = list(csv.DictReader(result.runs[0].with_name("rows.csv").open()))
    assert Counter(row["distortion"] for row in rows) == dict.fromkeys(levels, 12)


def test_the_clean_level_has_the_numbers_of_a_plain_run(sweep: Path, tmp_path: Path) -> None:
    swept = imdl_bench.run("swept", data=sweep / "data", out=tmp_path)
    write_protocol(sweep, "[]")
    plain = imdl_bench.run("swept", data=sweep / "data", out=tmp_path)
    assert {line.metric: (line.value, line.ci_low) for line in swept.lines if line.distortion == "none"} == {
        line.metric: (line.value, line.ci_low) for line in plain.lines
    }
    assert {line.run for line in swept.lines}.isdisjoint({line.run for line in plain.lines})


@pytest.mark.parametrize("level", ["{jpeg: {quality: 50}}", "{gaussian_noise: {sigma: 5}}", "{median: {kernel: 5}}"])
def test_a_level_has_the_numbers_of_distorted_files(sweep: Path, tmp_path: Path, level: str) -> None:
    import yaml

    write_protocol(sweep, f"[{level}]")
    swept = imdl_bench.run("swept", data=sweep / "data", out=tmp_path / "a", seed=3)
    distortion = parse_distortions([yaml.safe_load(level)])[1]
    shutil.copytree(sweep / "data", tmp_path / "data")
    for path in (tmp_path / "data/images").iterdir():
        changed = distortion.apply(read_image(path), seed=3, sample=path.name).image
        cv2.imwrite(str(path), np.ascontiguousarray(np.asarray(changed)[..., ::-1]))
    write_protocol(sweep, "[]")
    files = imdl_bench.run("swept", data=tmp_path / "data", out=tmp_path / "b", seed=3)
    found = {line.metric: line.value for line in swept.lines if line.distortion == distortion.name}
    assert found == {line.metric: line.value for line in files.lines}


def test_a_mask_of_a_resized_image_is_scored_at_the_truths_size(sweep: Path, tmp_path: Path) -> None:
    write_protocol(sweep, "[{resize: {scale: 0.5}}]")
    result = imdl_bench.run("swept", data=sweep / "data", out=tmp_path)
    rows = {(r["sample"], r["distortion"]): r for r in csv.DictReader(result.runs[0].with_name("rows.csv").open())}
    for name in ("01.png", "02.png", "04.png"):
        image, truth = read_image(sweep / f"data/images/{name}"), read_mask(sweep / f"data/masks/{name}")
        height, width = image.shape[:2]
        small = cv2.resize(np.asarray(image), ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_LINEAR)
        mask = cv2.resize(small[..., 0] / np.float32(255), (width, height), interpolation=cv2.INTER_LINEAR)
        row = rows[name, "resize(scale=0.5)"]
        assert (int(row["height"]), int(row["width"])) == small.shape[:2]
        expected = reference.roc_auc_score(truth.ravel(), mask.ravel())
        assert float(row["pixel_auc/per-image"]) == pytest.approx(expected, abs=2e-4)


def test_a_crop_takes_its_truth_along(sweep: Path, tmp_path: Path) -> None:
    write_protocol(sweep, "[{crop: {fraction: 0.75}}]")
    result = imdl_bench.run("swept", data=sweep / "data", out=tmp_path, seed=1)
    crop = parse_distortions([{"crop": {"fraction": 0.75}}])[1]
    rows = {(r["sample"], r["distortion"]): r for r in csv.DictReader(result.runs[0].with_name("rows.csv").open())}
    checked = 0
    for path in sorted((sweep / "data/images").iterdir()):
        if int(path.stem) % 3:
            moved = crop.apply(read_image(path), seed=1, sample=path.name)
            truth = moved.move_truth(read_mask(sweep / "data/masks" / path.name))
            if 0 < truth.mean() < 1:
                red = np.asarray(moved.image)[..., 0].ravel()
                found = float(rows[path.name, crop.name]["pixel_auc/per-image"])
                assert found == pytest.approx(reference.roc_auc_score(truth.ravel(), red), abs=1e-12)
                checked += 1
    assert checked > 4


def test_a_level_that_an_image_cannot_take_fails_alone(sweep: Path, tmp_path: Path) -> None:
    write_protocol(sweep, "[{chain: [{resize: {scale: 2}}, {webp: {quality: 50}}]}, {jpeg: {quality: 50}}]")
    cv2.imwrite(str(sweep / "data/images/00.png"), np.zeros((10, 9000, 3), np.uint8))
    (sweep / "data/masks/00.png").unlink()
    result = imdl_bench.run("swept", data=sweep / "data", out=tmp_path)
    failed = {line.distortion: line.n_failed for line in result.lines}
    assert failed == {"none": 0, "resize(scale=2)+webp(quality=50)": 1, "jpeg(quality=50)": 0} and result.n_failed == 1


def test_both_images_of_a_pair_are_distorted(sweep: Path, tmp_path: Path) -> None:
    write_pairs(sweep)
    write_protocol(sweep, "[{resize: {scale: 0.5}}]")
    protocol = (sweep / "protocols/swept.yaml").read_text().replace("dataset: edits", "dataset: couples")
    (sweep / "protocols/swept.yaml").write_text(protocol)
    result = imdl_bench.run("swept", "twins", sweep / "data", out=tmp_path)
    rows = [r for r in csv.DictReader(result.runs[0].with_name("rows.csv").open()) if r["distortion"] != "none"]
    donors = [row for row in rows if row["sample"].endswith("#donor")]
    assert donors and all(row["status"] == "ok" for row in rows)
    assert all(int(row["height"]) <= 80 for row in rows)


def test_a_killed_sweep_goes_on_to_the_same_bytes(sweep: Path, tmp_path: Path) -> None:
    write_protocol(sweep, "[{jpeg: {quality: 50}}, {gaussian_noise: {sigma: 5}}]")
    whole = imdl_bench.run("swept", "slow_red", sweep / "data", out=tmp_path / "whole")
    command = [sys.executable, "-m", "imdl_bench", "run", "swept", "--model", "slow_red", "--data", sweep / "data",
               "--out", tmp_path / "killed", "--quiet", "--batch-size", "3"]  # fmt: skip
    environment = os.environ | {"IMDL_BENCH_PATH": str(sweep)}
    for seconds in (2.0, 3.0, 2.5):
        started = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        started.send_signal(signal.SIGKILL)
        started.wait()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    rows = whole.runs[0].with_name("rows.csv").relative_to(tmp_path / "whole")
    for name in ("leaderboards/swept.csv", rows):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("distort", "hint"),
    [
        ("[{jepg: {quality: 50}}]", "entry 1: unknown distortion 'jepg'; did you mean 'jpeg'"),
        ("[{jpeg: {quality: 500}}]", "quality"),
        ("[{jpeg: {quality: [50, 50]}}]", "stands there twice"),
    ],
)
def test_a_wrong_level_stops_before_anything_is_written(sweep: Path, tmp_path: Path, distort: str, hint: str) -> None:
    write_protocol(sweep, distort)
    with pytest.raises(UsageError, match=hint):
        imdl_bench.run("swept", data=sweep / "data", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
