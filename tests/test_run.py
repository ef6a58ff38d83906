"""Runs end to end on a plug-in: records, resumption, what a changed input does, what a bad one does."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
from plugin_folder import write_edits, write_model

import imdl_bench
from imdl_bench.errors import ImdlBenchError, UsageError
from imdl_bench.images import read_mask

Cli = Callable[..., subprocess.CompletedProcess[str]]


def _run(folder: Path, out: Path, **options: object) -> imdl_bench.RunResult:
    return imdl_bench.run("edits", data=folder / "data", out=out, **options)  # type: ignore[arg-type]


def _files(out: Path) -> dict[str, bytes]:
    """Everything a run writes for people, by its path; the hash in the folder's name too."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.csv"))}


def test_numbers_equal_scikit_learn_on_the_files(with_plugin: Path, tmp_path: Path) -> None:
    result = _run(with_plugin, tmp_path / "out")
    value = {line.metric: line for line in result.lines}
    aucs, labels, scores, means, forged = [], [], [], [], []
    for path in sorted((with_plugin / "data/images").iterdir()):
        red = imdl_bench.read_image(path)[..., 0] / np.float32(255)
        means.append(red.mean(dtype=np.float64))
        forged.append(int(path.stem) % 3 > 0)
        if forged[-1]:
            truth = read_mask(with_plugin / "data/masks" / path.name)
            aucs.append(reference.roc_auc_score(truth.ravel(), red.ravel()))
            labels.append(truth.ravel())
            scores.append(red.ravel())
    pooled = reference.roc_auc_score(np.concatenate(labels), np.concatenate(scores))
    assert value["pixel_auc/per-image"].value == pytest.approx(np.mean(aucs), abs=1e-12)
    assert value["pixel_auc/pooled"].value == pytest.approx(pooled, abs=1e-12)
    assert value["image_auc"].value == pytest.approx(reference.roc_auc_score(forged, means), abs=1e-12)
    assert (value["pixel_auc/per-image"].n, value["image_auc"].n) == (8, 12)
    assert value["pixel_auc/per-image"].ci_low < np.mean(aucs) < value["pixel_auc/per-image"].ci_high


def test_the_interval_of_a_faint_map_lies_around_its_value(with_plugin: Path, tmp_path: Path) -> None:
    """All scores within a hundredth: in the coarse bins of the intervals most of them tie."""
    write_model(with_plugin, "red", "return np.float32(0.47) + image[..., 0].astype(np.float32) / np.float32(25500)")
    for line in _run(with_plugin, tmp_path).lines:
        if line.metric in ("pixel_auc/pooled", "pixel_f1@best/pooled", "pixel_auc/per-image"):
            assert line.ci_low < line.value < line.ci_high, line


def test_the_answer_does_not_depend_on_how_the_run_is_done(with_plugin: Path, tmp_path: Path) -> None:
    first = _run(with_plugin, tmp_path / "a", batch_size=1, workers=1)
    others = [_run(with_plugin, tmp_path / f"b{n}", batch_size=n, workers=n) for n in (2, 5, 64)]
    assert all(len(_files(tmp_path / f"b{n}")) == 2 for n in (2, 5, 64))
    for n in (2, 5, 64):
        assert _files(tmp_path / f"b{n}") == _files(tmp_path / "a")
    assert all(other.lines[0].n == first.lines[0].n == 8 for other in others)


def test_a_finished_run_is_returned_at_once(with_plugin: Path, tmp_path: Path) -> None:
    first = _run(with_plugin, tmp_path)
    before = _files(tmp_path)
    again = _run(with_plugin, tmp_path)
    assert (first.n_new, again.n_new) == (12, 0)
    assert _files(tmp_path) == before
    assert again.runs == first.runs


def test_changed_inputs_are_other_runs(with_plugin: Path, tmp_path: Path) -> None:
    runs = [_run(with_plugin, tmp_path).runs[0]]
    crop = cv2.imread(str(with_plugin / "data/images/01.png"))
    cv2.imwrite(str(with_plugin / "data/images/01.png"), 255 - crop)
    runs.append(_run(with_plugin, tmp_path).runs[0])
    runs.append(_run(with_plugin, tmp_path, seed=1).runs[0])
    runs.append(_run(with_plugin, tmp_path, limit=5).runs[0])
    protocol = with_plugin / "protocols/edits.yaml"
    protocol.write_text(protocol.read_text().replace("pixel_f1@0.5/per-image", "pixel_iou@0.5/per-image"))
    runs.append(_run(with_plugin, tmp_path).runs[0])
    write_model(with_plugin, "red", "return image[..., 1].astype(np.float32) / np.float32(255)")
    runs.append(_run(with_plugin, tmp_path).runs[0])
    assert len(set(runs)) == len(runs)


def test_kill_nine_at_any_moment_changes_nothing(plugin: Path, tmp_path: Path) -> None:
    """Ten runs killed and resumed until done, each compared byte for byte with an unbroken one."""
    command = [sys.executable, "-m", "imdl_bench", "run", "edits", "--model", "slow_red", "--quiet"]
    command += ["--data", str(plugin / "data")]
    environment = os.environ | {"IMDL_BENCH_PATH": str(plugin)}
    subprocess.run([*command, "--out", str(tmp_path / "whole")], env=environment, check=True, capture_output=True)
    chance = random.Random(0)
    killed = 0
    for trial in range(10):
        out = tmp_path / f"killed{trial}"
        for _ in range(2):
            process = subprocess.Popen(
                [*command, "--out", str(out)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(chance.uniform(0.4, 2.4))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        subprocess.run([*command, "--out", str(out)], env=environment, check=True, capture_output=True)
        assert _files(out) == _files(tmp_path / "whole")
    assert killed >= 10


def test_interrupt_keeps_what_is_done_and_says_how_to_go_on(plugin: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "imdl_bench",
        "run",
        "edits",
        "--model",
        "slow_red",
        "--out",
        str(tmp_path / "out"),
    ]
    command += ["--data", str(plugin / "data"), "--quiet"]
    environment = os.environ | {"IMDL_BENCH_PATH": str(plugin)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "same command again" in errors and "Traceback" not in errors
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "pixel_auc/per-image" in done.stdout


def test_bad_images_are_recorded_and_the_run_goes_on(plugin: Path, tmp_path: Path, cli: Cli) -> None:
    whole = (plugin / "data/images/04.png").read_bytes()
    (plugin / "data/images/04.png").write_bytes(whole[: len(whole) // 2])
    (plugin / "data/images/06.png").write_text("not a picture")
    (plugin / "data/masks/05.png").unlink()
    done = cli(
        "run", "edits", "--data", plugin / "data", "--out", tmp_path / "out", "--quiet", IMDL_BENCH_PATH=str(plugin)
    )
    assert done.returncode == 1, done.stderr
    assert "3 images could not be scored" in done.stderr
    rows = next((tmp_path / "out").rglob("rows.csv"))
    failed = {row["sample"]: row["reason"] for row in csv.DictReader(rows.open()) if row["status"] == "failed"}
    assert set(failed) == {"04.png", "05.png", "06.png"}
    assert "04.png" in failed["04.png"] and "no such file" in failed["05.png"]
    lines = list(csv.DictReader((tmp_path / "out/leaderboards/edits.csv").open()))
    assert {line["n_failed"] for line in lines} == {"3"}
    assert next(line["n"] for line in lines if line["metric"] == "pixel_auc/per-image") == "6"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return image[..., 0].astype(np.float32)", "outside [0, 1]"),
        ("return np.full(image.shape[:2], 1.0001, np.float32)", "outside [0, 1]"),
        ("return np.full(image.shape[:2], np.nan, np.float32)", "not finite"),
        ("return image[..., 0] / 255", "float64, not a float32"),
        ("return np.zeros((image.shape[0], image.shape[1] + 1), np.float32)", "has shape"),
        ("return None", "not a float32 array"),
        ("raise MemoryError('too large')", "MemoryError: too large"),
    ],
)
def test_what_is_no_prediction_is_refused_not_mended(with_plugin: Path, tmp_path: Path, body: str, reason: str) -> None:
    write_model(with_plugin, "wrong", body)
    imdl_bench.catalog._cards.cache_clear()
    result = _run(with_plugin, tmp_path / "out", models=["wrong"])
    assert result.n_failed == 12
    rows = pd.read_csv(result.runs[0].with_name("rows.csv"))
    assert rows["reason"].str.contains(reason, regex=False).all()
    assert all(np.isnan(line.value) for line in result.lines)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("score='high'", "score 'high' is not a number"),
        ("donor_mask='x'", "a donor_mask, but there is no donor"),
        ("score=2.0", "score 2.0 is not a number"),
    ],
)
def test_what_the_card_does_not_promise_is_checked_too(
    with_plugin: Path, tmp_path: Path, more: str, reason: str
) -> None:
    write_model(with_plugin, "wrong", "return image[..., 0].astype(np.float32) / np.float32(255)")
    path = with_plugin / "models/wrong/model.py"
    path.write_text(path.read_text().replace("mask=mask_of(i)", f"mask=mask_of(i), {more}"))
    imdl_bench.catalog._cards.cache_clear()
    result = _run(with_plugin, tmp_path / "out", models=["wrong"])
    rows = pd.read_csv(result.runs[0].with_name("rows.csv"))
    assert result.n_failed == 12 and rows["reason"].str.contains(reason, regex=False).all()


def test_one_image_the_model_cannot_take_costs_only_itself(with_plugin: Path, tmp_path: Path) -> None:
    body = "assert image.shape[0] != 97, 'too odd'; return image[..., 0].astype(np.float32) / np.float32(255)"
    write_model(with_plugin, "picky", body)
    imdl_bench.catalog._cards.cache_clear()
    result = _run(with_plugin, tmp_path / "out", models=["picky"], batch_size=64)
    rows = pd.read_csv(result.runs[0].with_name("rows.csv"))
    assert rows.loc[rows.status == "failed", "height"].unique().tolist() == [97]
    assert (rows.status == "ok").sum() == 8


def test_two_models_of_one_class_name_keep_their_own_scores(with_plugin: Path, tmp_path: Path) -> None:
    write_model(with_plugin, "blue", "return image[..., 2].astype(np.float32) / np.float32(255)")
    imdl_bench.catalog._cards.cache_clear()
    result = _run(with_plugin, tmp_path, models=["red", "blue"])
    values = {line.model: line.value for line in result.lines if line.metric == "pixel_auc/per-image"}
    alone = _run(with_plugin, tmp_path / "alone", models=["blue"])
    assert values["red"] != values["blue"] == alone.lines[0].value


def test_no_sample_is_dropped_whatever_the_batch(with_plugin: Path, tmp_path: Path) -> None:
    for batch_size in (5, 7, 11):
        result = _run(with_plugin, tmp_path / str(batch_size), batch_size=batch_size)
        assert len(pd.read_csv(result.runs[0].with_name("rows.csv"))) == 12


def test_groups_decide_the_interval(with_plugin: Path, tmp_path: Path) -> None:
    index = with_plugin / "datasets/edits/index.py"
    wide = _run(with_plugin, tmp_path)
    index.write_text(index.read_text().replace("str(number // 2)", "'one photograph'"))
    imdl_bench.catalog.importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.startswith("imdl_bench.datasets.edits")]:
        del sys.modules[name]
    os.utime(index, (1, 1))
    alone = _run(with_plugin, tmp_path)
    assert np.isfinite(wide.lines[0].ci_low) and np.isnan(alone.lines[0].ci_low)


def test_an_unfinished_run_is_not_on_the_leaderboard(with_plugin: Path, tmp_path: Path) -> None:
    from imdl_bench.leaderboard import read_lines
    from imdl_bench.records import RunFile

    result = _run(with_plugin, tmp_path)
    assert imdl_bench.leaderboard(tmp_path).lines == result.lines
    with RunFile(result.runs[0], write=True) as file:
        file.write_meta({"n_samples": 13}, replace=True)
    lines, left_out = read_lines(list(result.runs))
    assert lines == [] and "12 of 13" in left_out[0]
    assert imdl_bench.leaderboard(tmp_path / "runs").lines == ()


def test_results_show_themselves(with_plugin: Path, tmp_path: Path) -> None:
    result = _run(with_plugin, tmp_path)
    assert "pixel_auc/per-image" in repr(result)
    assert "<table" in result._repr_html_()
    assert result.table["metric"].iloc[0] == "pixel_auc/per-image"
    parquet = pd.read_parquet(result.runs[0].with_name("rows.parquet"))
    assert list(parquet["sample"]) == list(pd.read_csv(result.runs[0].with_name("rows.csv"))["sample"])


def test_timing_is_asked_for(with_plugin: Path, tmp_path: Path) -> None:
    quiet = pd.read_csv(_run(with_plugin, tmp_path).leaderboard)
    assert quiet["seconds_per_image"].isna().all()
    timed = pd.read_csv(_run(with_plugin, tmp_path, timing=True).leaderboard)
    assert (timed["seconds_per_image"] > 0).all()


def test_mismatches_are_refused_before_anything_is_read(with_plugin: Path, tmp_path: Path) -> None:
    card = with_plugin / "models/red/card.yaml"
    plain = card.read_text()
    for change, hint in [
        (("paper: none", "paper: none\ninput: pair"), "takes pairs of images"),
        (("outputs: [mask]", "outputs: [score]"), "gives no mask"),
    ]:
        card.write_text(plain.replace(*change))
        with pytest.raises(UsageError, match=hint):
            imdl_bench.run("edits", data=tmp_path / "nowhere", out=tmp_path / "out")
    card.write_text(plain)
    protocol = with_plugin / "protocols/edits.yaml"
    protocol.write_text(protocol.read_text().replace("score: mask-mean\n", ""))
    with pytest.raises(UsageError, match="mask-mean or mask-max"):
        imdl_bench.run("edits", data=with_plugin / "data", out=tmp_path / "out")
    with pytest.raises(UsageError, match="has no weights"):
        protocol.write_text(protocol.read_text() + "score: mask-max\n")
        imdl_bench.run("edits", ["red@best"], data=with_plugin / "data", out=tmp_path / "out")
    with pytest.raises(ImdlBenchError, match="does not exist"):
        imdl_bench.run("edits", data=tmp_path / "nowhere", out=tmp_path / "out")
    assert not (tmp_path / "out/leaderboards").exists()


def test_large_sets_stay_bounded(with_plugin: Path, tmp_path: Path, photo: np.ndarray) -> None:
    from imdl_bench.batching import ShapeBatches

    batches: ShapeBatches[int] = ShapeBatches(8, max_pixels=1000)
    out, waiting = [], 0
    for number in range(200):
        waiting += 1
        for batch in batches.add(number, (number % 50 + 1, 20)):
            out += batch
            waiting -= len(batch)
        assert waiting <= 51
    out += [number for batch in batches.rest() for number in batch]
    assert sorted(out) == list(range(200))
    write_edits(tmp_path / "many/data", photo, 60)
    assert _run(tmp_path / "many", tmp_path / "out").lines[0].n == 40
