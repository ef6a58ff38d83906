"""The command line as a subprocess: what it prints, writes and returns."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

import imdl_bench

ROOT = Path(__file__).resolve().parents[1]
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("what", "expected"),
    [("models", "ela"), ("datasets", "columbia"), ("protocols", "quickstart"), ("metrics", "pixel_auc")],
)
def test_list(cli: Cli, what: str, expected: str) -> None:
    done = cli("list", what)
    assert done.returncode == 0 and any(line.split()[0] == expected for line in done.stdout.splitlines())


def test_show_prints_card_and_readme(cli: Cli) -> None:
    done = cli("show", "ela")
    assert done.returncode == 0 and "entry: model:" in done.stdout and done.stdout.count("# ") >= 2


@pytest.mark.parametrize("command", ["list", "show", "check", "predict", "run", "leaderboard", "report"])
def test_help_says_what_is_written(cli: Cli, command: str) -> None:
    done = cli(command, "--help")
    assert done.returncode == 0
    assert "rites" in done.stdout, "every help says what the command writes, and where"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["show", "elaa"], "did you mean 'ela'"),
        (["run", "quikstart"], "did you mean 'quickstart'"),
        (["run", "quickstart", "--model", "nio1"], "did you mean 'noi1'"),
        (["run", "quickstart", "--model", "ela@best"], "ela has no weights"),
        (["run", "quickstart", "--limit", "0"], "whole number from 1 up"),
        (["run", "standard", "--model", "ela"], "--data DIR"),
        (["run", "standard", "--model", "ela", "--data", "nowhere"], "nowhere does not exist"),
        (["run", "standard", "--dataset", "colombia"], "did you mean 'columbia'"),
        (["run", "missing.yaml"], "missing.yaml"),
        (["leaderboard", "nowhere"], "no run here"),
        (["report", "nowhere"], "no run here"),
        (["report", "nowhere", "--gallery", "-1"], "whole number from 0 up"),
        (["predict", "nothing", "a.jpg", "--out", "x"], "no model 'nothing'"),
        (["check", "columbia"], "--data DIR"),
        (["frobnicate"], "invalid choice"),
        (["rnu"], "did you mean 'run'"),
        (["run", "quickstart", "--modle", "ela"], "no option '--modle'; did you mean '--model'"),
        (["run", "quickstart", "--dataset", "columbia"], "it has sample"),
        (["run", "quickstart", "--model", "predictions:"], "names no folder"),
        (["run", "standard", "--model", "ela"], "--dataset NAME"),
        (["report", "nowhere", "-o", "x.pdf"], "end the name with .html"),
        (["check", "sample", "--against-data", "nowhere"], "no such folder"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(cli: Cli, tmp_path: Path, arguments: list[str], hint: str) -> None:
    done = cli(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert hint in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, "what is wrong, not the whole usage"


def test_run_writes_a_leaderboard_and_rows(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "quickstart", "--limit", "8", "--out", "results", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pixel_auc/per-image" in done.stdout and "limited to 8 of 96" in done.stdout
    lines = list(csv.DictReader((tmp_path / "results/leaderboards/quickstart.csv").open()))
    assert {"ela", "noi1", "cfa1", "ela_ppm:alpha=0.25,width=128"} <= {line["model"] for line in lines}
    assert all(line["library_version"] == imdl_bench.__version__ for line in lines)
    for line in lines:
        assert 0 <= float(line["ci_low"] or 0) <= float(line["ci_high"] or 1) <= 1 or "mcc" in line["metric"]
    rows = [Path(word) for word in done.stdout.split() if word.endswith("/rows.csv")]
    assert len(rows) == 3 and all(len((tmp_path / path).read_text().splitlines()) == 9 for path in rows)
    again = cli("run", "quickstart", "--limit", "8", "--out", "results", cwd=tmp_path)
    assert "nothing to do" in again.stdout

    printed = cli("leaderboard", "results/runs", cwd=tmp_path).stdout
    assert printed == (tmp_path / "results/leaderboards/quickstart.csv").read_text()
    markdown = cli("leaderboard", "results/runs", "--format", "md", cwd=tmp_path).stdout
    assert "| cfa1 |" in markdown
    latex = cli("leaderboard", "results/runs", "--format", "latex", "--out", "table.tex", cwd=tmp_path)
    assert latex.returncode == 0
    table = (tmp_path / "table.tex").read_text()
    assert "\\begin{tabular}" in table and r"pixel\_auc/per-image" in table
    assert {line.count(" & ") for line in table.splitlines() if " & " in line} == {len({li["metric"] for li in lines})}


def test_predict_writes_mask_overlay_and_settings(cli: Cli, tmp_path: Path, photo: np.ndarray) -> None:
    for name in ("a/photo.png", "b/photo.png"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), photo[:200, :300, ::-1])
    (tmp_path / "text.jpg").write_text("no picture")
    done = cli("predict", "noi1", "a/photo.png", "text.jpg", "b/photo.png", "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "text.jpg: not a picture" in done.stdout
    about = json.loads((tmp_path / "out/photo.png.json").read_text())
    assert about["image"] == "a/photo.png" and about["score"] is None and about["settings"]["model"] == "noi1"
    mask = cv2.imread(str(tmp_path / "out" / about["mask"]), cv2.IMREAD_UNCHANGED)
    expected = imdl_bench.load_model("noi1").predict([imdl_bench.read_image(tmp_path / "a/photo.png")])[0].mask
    assert mask.dtype == np.uint16 and mask.shape == (200, 300)
    np.testing.assert_allclose(mask / 65535, expected, atol=0.5 / 65535 + 1e-7)
    with PIL.Image.open(tmp_path / "out" / about["overlay"]) as overlay:
        assert overlay.size == (300, 200) and overlay.mode == "RGB"
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_check_prints_a_table_and_writes_it(cli: Cli, tmp_path: Path, plugin: Path) -> None:
    good = cli(
        "check", "edits", "--data", plugin / "data", "--csv", tmp_path / "check.csv", IMDL_BENCH_PATH=str(plugin)
    )
    assert good.returncode == 0, good.stdout + good.stderr
    assert (tmp_path / "check.csv").read_text().count("\n") >= 1
    (plugin / "data/masks/01.png").unlink()
    bad = cli("check", "edits", "--data", plugin / "data", IMDL_BENCH_PATH=str(plugin))
    assert bad.returncode == 1 and "01.png" in bad.stdout


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m imdl_bench list metrics | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == "" and done.stdout.startswith("pixel_auc")


def test_start_up_loads_no_heavy_library() -> None:
    heavy = ["torch", "pandas", "scipy", "sklearn", "skimage", "cv2", "matplotlib", "pywt", "tqdm"]
    code = f"import sys, imdl_bench; imdl_bench.list_models(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_leaderboard_of_one_metric_is_written_as_its_ending_says(cli: Cli, tmp_path: Path) -> None:
    cli("sweep", "robustness-quick", "--model", "ela", "--limit", "4", "--quiet", "--out", "out", cwd=tmp_path)
    chosen = ("leaderboard", "out/runs", "--metric", "pixel_auc/per-image")
    assert cli(*chosen, "--out", "a.tex", cwd=tmp_path).returncode == 0
    table = (tmp_path / "a.tex").read_text()
    assert table.count(r"\begin{tabular}") == 1 and "image_auc" not in table
    text = cli("leaderboard", "out/runs", "--format", "text", cwd=tmp_path).stdout
    assert text.count("ela: limited to 4 of 96 samples") == 1, "said once, not below the table of each metric"
    assert text.count("robustness-quick v1 on sample/full") == 3
    wrong = cli("leaderboard", "out/runs", "--metric", "pixel_auc", cwd=tmp_path)
    assert wrong.returncode == 2 and "did you mean 'pixel_auc/per-image'" in wrong.stderr
