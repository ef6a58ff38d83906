"""`imdl-bench plot` and `imdl-bench sweep`: what they write, what they refuse, and that a sweep decodes once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_folder import write_model, write_text

import imdl_bench
from imdl_bench import cli as command_line
from imdl_bench.engine import decoded
from imdl_bench.images import read_image
from imdl_bench.sweep import draw_sweep

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def swept(with_plugin: Path) -> Path:
    """The plug-in with a protocol `swept` of nine levels over the twelve edits, and a second model."""
    from imdl_bench import catalog

    write_model(with_plugin, "green", "return image[..., 1].astype(np.float32) / np.float32(255)")
    write_text(with_plugin / "protocols/swept.yaml", """
        name: swept
        version: 1
        title: Nine levels on twelve edits
        task: both
        source: made by the tests
        data: [{dataset: edits}]
        models: [red]
        score: mask-mean
        bootstrap: 20
        distort: [{jpeg: {quality: [90, 70, 50]}}, {resize: {scale: 0.5}}, {gaussian_blur: {kernel: [3, 7]}},
                  {gaussian_noise: {sigma: 5}}, {crop: {fraction: 0.75}}]
        metrics: [pixel_f1@best/per-image, image_auc]
    """)  # fmt: skip
    catalog._cards.cache_clear()
    return with_plugin


def test_a_sweep_decodes_each_file_once_and_draws_every_metric(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: Counter[Path] = Counter()

    def counted(path: Path) -> imdl_bench.Image:
        opened[path] += 1
        return read_image(path)

    monkeypatch.setattr(decoded, "read_image", counted)
    out = tmp_path / "results"
    with pytest.raises(SystemExit) as left:
        command_line.main(
            ["sweep", "swept", "--model", "red", "--model", "green", "--data", str(swept / "data"), "--out", str(out),
             "--quiet"]
        )  # fmt: skip
    assert left.value.code == 0 and sorted(opened.values()) == [1] * 12
    printed = capsys.readouterr().out
    names = {f"swept-edits-{metric}{suffix}" for metric in ("pixel_f1@best_per-image", "image_auc")
             for suffix in (".png", ".svg")}  # fmt: skip
    assert {path.name for path in (out / "sweeps").iterdir()} == names
    assert all(str(out / "sweeps" / name) in printed for name in names) and "gaussian_noise(sigma=5)" in printed


def test_a_sweep_stands_beside_earlier_runs_of_the_same_images(swept: Path, tmp_path: Path) -> None:
    other = imdl_bench.run("swept", ["green"], swept / "data", out=tmp_path, seed=5)
    imdl_bench.run("swept", ["green"], swept / "data", out=tmp_path, limit=6)  # fewer images: not comparable
    imdl_bench.run("edits", ["green"], swept / "data", out=tmp_path)
    result = imdl_bench.run("swept", ["red"], swept / "data", out=tmp_path)
    drawn = draw_sweep(result, tmp_path)
    assert drawn.beside == other.runs and drawn.left_out == ()
    again = draw_sweep(imdl_bench.run("swept", ["red", "green"], swept / "data", out=tmp_path, seed=5), tmp_path)
    assert [path.parts[-3] for path in again.beside] == ["red"]


def test_a_figure_of_a_sweep_has_the_same_bytes_again(swept: Path, tmp_path: Path) -> None:
    result = imdl_bench.run("swept", ["red"], swept / "data", out=tmp_path)
    first = [path.read_bytes() for path in draw_sweep(result, tmp_path).files]
    assert [path.read_bytes() for path in draw_sweep(result, tmp_path).files] == first and len(first) == 4


def test_a_protocol_without_levels_is_not_swept(cli: Cli, tmp_path: Path) -> None:
    done = cli("sweep", "quickstart", "--model", "ela", cwd=tmp_path)
    assert done.returncode == 2 and "no levels of distortion" in done.stderr and "robustness-quick" in done.stderr
    write_text(tmp_path / "robust.yaml", """
        name: robust
        version: 1
        title: A protocol without levels
        task: both
        source: made by the tests
        data: [{dataset: sample}]
        metrics: [pixel_auc/pooled]
    """)  # fmt: skip
    done = cli("sweep", "robust.yaml", "--model", "ela", cwd=tmp_path)
    assert done.returncode == 2 and "did you mean 'robustness'" in done.stderr
    assert not (tmp_path / "results").exists()


def test_plot_writes_one_figure_or_one_for_each_key(cli: Cli, tmp_path: Path) -> None:
    imdl_bench.run("quickstart", ["ela"], out=tmp_path / "results", limit=8)
    done = cli("plot", "f1-threshold", "results/runs", "--out", "figure.pdf", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "figure.pdf\n")
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    done = cli("plot", "roc", "results", "--out", "out/roc.svg", cwd=tmp_path)
    expected = [f"out/roc-roc-quickstart-v1-sample-full-{level}.svg" for level in ("pixel", "image")]
    assert done.stdout.splitlines() == expected and all((tmp_path / name).is_file() for name in expected)


def test_plot_says_what_is_wrong(cli: Cli, tmp_path: Path) -> None:
    imdl_bench.run("quickstart", ["ela"], out=tmp_path / "results", limit=4)
    for arguments, hint in (
        (["rocs", "results", "--out", "a.png"], "did you mean 'roc'"),
        (["roc", "results", "--out", "a.jpg"], ".png, .svg, .pdf"),
        (["robustness", "results", "--out", "a.png"], "needs levels of distortion"),
        (["area", "results", "--out", "a.png", "--metric", "image_auc"], "needs a per-image pixel metric"),
        (["roc", "nowhere", "--out", "a.png"], "no run here"),
    ):
        done = cli("plot", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and hint in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("a*"))


def test_the_command_line_reads_the_kinds_without_loading_what_draws_them() -> None:
    code = "import sys; from imdl_bench.cli import _parser; _parser(); print('imdl_bench.report.page' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
