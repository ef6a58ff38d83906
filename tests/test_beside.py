"""Published numbers beside ours: joined in the CSV, compared only where sound, shown in every kind of table."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from plugin_folder import write_model
from tiny_network import write_tiny

import imdl_bench
from imdl_bench import catalog, published
from imdl_bench.benchmark import RunResult
from imdl_bench.leaderboard import Line
from imdl_bench.published import COLUMNS
from imdl_bench.report.leaderboard import make_leaderboard
from imdl_bench.tables import to_latex, to_markdown, to_text

Cli = Callable[..., subprocess.CompletedProcess[str]]

PROTOCOL = """
name: edits
version: 1
title: Twelve edits
task: both
source: made by the tests
data: [{dataset: edits}]
score: mask-mean
metrics: [pixel_auc/per-image, pixel_auc/pooled, pixel_f1@0.5/per-image, image_eer]
published: {paper: mine, table: "2"}
"""
NAMES = """
models: [{where: {method: [Red]}, ours: [red]}]
datasets: [{where: {dataset: [Edits]}, ours: [edits/full]}]
distortions: [{where: {distortion: [none]}, ours: [none]}]
metrics:
  - {where: {level: [pixel], metric: [AUC]}, ours: [pixel_auc/per-image, pixel_auc/pooled], caveat: average not stated}
  - {where: {metric: [F1]}, ours: [pixel_f1@0.5/per-image]}
  - {where: {metric: [EER]}, ours: ["image_eer[mask-mean]"]}
"""
ROWS = [
    "mine,1,Red,,pretrained,Photos,Edits,full,none,pixel,AUC,70.0,percent,,",
    "mine,2,Red,,finetuned,Photos,Edits,full,none,pixel,AUC,80.5,percent,a remark,",
    "mine,2,Red,,,,Edits,full,none,pixel,F1,0.25,fraction,,labels exchanged",
    "mine,3,Red,,,,Edits,full,none,image,EER,12.5,percent,,",
]


@pytest.fixture
def paper(with_plugin: Path) -> Iterator[Path]:
    """The plug-in folder with a protocol that stands for table 2 of a paper of four numbers, and a second model."""
    (with_plugin / "protocols/edits.yaml").write_text(PROTOCOL)
    folder = with_plugin / "results/published"
    folder.mkdir(parents=True)
    (folder / "mine.csv").write_text("\n".join([",".join(COLUMNS), *ROWS, ""]))
    (folder / "names.yaml").write_text(NAMES)
    write_model(with_plugin, "green", "return image[..., 1].astype(np.float32) / np.float32(300)")
    for cached in (catalog._cards, published._beside):
        cached.cache_clear()
    yield with_plugin
    published._beside.cache_clear()


def _run(folder: Path, out: Path) -> RunResult:
    return imdl_bench.run("edits", ["red", "green"], folder / "data", out=out)


def test_the_table_the_protocol_stands_for_comes_first(paper: Path, tmp_path: Path) -> None:
    result = _run(paper, tmp_path)
    ours = {(line.model, line.metric): line for line in result.lines}
    auc = ours["red", "pixel_auc/per-image"]
    assert (auc.published, auc.published_in, auc.published_suspect) == (0.805, "mine 2", "")
    assert auc.difference == pytest.approx(auc.value - 0.805)
    assert auc.published_note == "finetuned on Photos; average not stated; a remark; also mine 1: 0.7"
    assert ours["red", "pixel_auc/pooled"].published == 0.805
    assert ours["red", "image_eer"].published_in == "mine 3"
    assert all(not line.published_in for line in result.lines if line.model == "green")


def test_trainings_of_one_network_are_told_apart_by_the_papers_names(paper: Path, tmp_path: Path) -> None:
    folder = paper / "results/published"
    other = ROWS[1].replace("Red", "Red-adv").replace("80.5", "83.5")
    (folder / "mine.csv").write_text("\n".join([",".join(COLUMNS), *ROWS, other, ""]))
    (folder / "names.yaml").write_text(NAMES.replace("[Red]", "[Red, Red-adv]"))
    published._beside.cache_clear()
    line = next(line for line in _run(paper, tmp_path).lines if line.model == "red")
    assert (line.published, line.published_in) == (0.805, "mine 2")
    assert line.published_note == (
        "Red; finetuned on Photos; average not stated; a remark; also mine 2 (Red-adv): 0.835; also mine 1 (Red): 0.7"
    )


def test_a_limited_run_says_so_beside_what_is_printed(paper: Path, tmp_path: Path) -> None:
    lines = imdl_bench.run("edits", "red", paper / "data", out=tmp_path, limit=6).lines
    assert all(line.published_note.startswith("ours is of a part") for line in lines if line.published_in)


def test_a_suspect_number_is_shown_and_never_compared(paper: Path, tmp_path: Path) -> None:
    result = _run(paper, tmp_path)
    table = pd.read_csv(result.leaderboard)
    f1 = table[(table.model == "red") & (table.metric == "pixel_f1@0.5/per-image")].iloc[0]
    assert f1.published == 0.25 and f1.published_suspect == "labels exchanged" and pd.isna(f1.difference)
    assert "? 0.25" in to_text(result.lines) and "suspect: labels exchanged" in to_text(result.lines)
    assert "~~0.25~~" in to_markdown(result.lines) and r"\sout{0.25}" in to_latex(result.lines)


def test_the_run_prints_published_ours_difference_interval_and_n(paper: Path, tmp_path: Path, cli: Cli) -> None:
    done = cli(
        *("run", "edits", "--model", "red", "--data", paper / "data", "--out", tmp_path / "out"),
        IMDL_BENCH_PATH=str(paper),
    )
    head, _, first, *_ = done.stdout.partition("beside published numbers\n")[2].splitlines()
    assert head.split() == [
        *("model", "distortion", "metric", "published", "ours", "difference", "interval", "n", "in", "notes")
    ]
    line = pd.read_csv(tmp_path / "out/leaderboards/edits.csv").iloc[0]
    assert first.split()[:4] == ["red", "none", "pixel_auc/per-image", "0.805"]
    assert first.split()[4:6] == [f"{line.value:.4f}", f"{line.difference:+.4f}"]
    assert first.split()[6:] == [f"[{line.ci_low:.3f},", f"{line.ci_high:.3f}]", "8", "mine", "2", "[1]"]


def test_the_best_stands_in_bold_also_where_less_is_better(paper: Path, tmp_path: Path) -> None:
    lines = _run(paper, tmp_path).lines
    values = {(line.model, line.metric): f"{line.value:.4f}" for line in lines}
    for metric, best in (("pixel_auc/per-image", max), ("image_eer", min)):
        top = best(values["red", metric], values["green", metric])
        assert f"**{top}**" in to_markdown(lines) and rf"\textbf{{{top}}}" in to_latex(lines)
    rows = [line.split(" | ") for line in to_markdown(lines).splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {5}
    assert [row[0] for row in rows] == ["| model", "| green", "| red", "| red as published"]
    alone = [line for line in lines if line.model == "red"]
    assert "**0" not in to_markdown(alone)


def test_no_untrained_or_marked_model_and_none_on_other_images_is_best(paper: Path, tmp_path: Path) -> None:
    lines = [line for line in _run(paper, tmp_path).lines if line.metric == "pixel_auc/per-image"]
    top, other = sorted(lines, key=lambda line: -line.value)
    third = replace(other, model="blue", run="0" * 12, value=other.value / 2)

    def bold(*given: Line) -> tuple[list[str], list[bool]]:
        page = [entry.best for entry in make_leaderboard(given).entries]
        return re.findall(r"\*\*(0\.\d{4})\*\*", to_markdown(given)), page

    assert bold(top, other, third) == ([f"{top.value:.4f}"], [True, False, False])
    for change in ({"weights": "random"}, {"contamination": "certain: trained on edits"}):
        assert bold(replace(top, **change), other, third) == ([f"{other.value:.4f}"], [False, True, False])
        assert bold(replace(top, **change), other) == ([], [False, False])
    part = imdl_bench.run("edits", "green", paper / "data", out=tmp_path, limit=4).lines[0]
    assert part.data != top.data
    assert bold(next(line for line in lines if line.model == "red"), part) == ([], [False, False])


def test_untrained_networks_are_compared_with_nobody(paper: Path, tmp_path: Path) -> None:
    files = write_tiny(paper)
    (paper / "results/published/names.yaml").write_text(NAMES.replace("ours: [red]", "ours: [tiny]"))
    published._beside.cache_clear()
    catalog._cards.cache_clear()
    lines = imdl_bench.run("edits", "tiny@random", paper / "data", out=tmp_path).lines
    assert lines and all(not line.published_in for line in lines)
    trained = imdl_bench.run("edits", f"tiny@official:{files}", paper / "data", out=tmp_path).lines
    assert any(line.published_in for line in trained)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_table_compiles(paper: Path, tmp_path: Path) -> None:
    table = to_latex(_run(paper, tmp_path).lines)
    packages = r"\usepackage{booktabs}\usepackage[normalem]{ulem}"
    text = rf"\documentclass{{article}}{packages}\begin{{document}}{table}\end{{document}}"
    (tmp_path / "table.tex").write_text(text.replace(r"\end{document}", "\n\\end{document}\n"))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
