"""torch.compile as an option, and how many images a model is given at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny_network import official_state, write_tiny

import imdl_bench
from imdl_bench import catalog
from imdl_bench.errors import UsageError
from imdl_bench.planning import Options
from imdl_bench.report.provenance import command
from imdl_bench.runs import read_runs
from imdl_bench.types import Image

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler (g++)")


@pytest.fixture
def with_tiny(with_plugin: Path) -> Path:
    """The plug-in folder with the tiny network in it; gives its weights' file."""
    write_tiny(with_plugin)
    catalog._cards.cache_clear()
    torch.save(official_state(), with_plugin / "all.pth")
    return with_plugin


@needs_compiler
def test_a_compiled_network_gives_the_same_masks(with_tiny: Path, photo: np.ndarray) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain: Any = imdl_bench.load_model("tiny", official_state())
    compiled: Any = imdl_bench.load_model("tiny", official_state(), compile=True)
    images = [Image(photo[:64, i : i + 64]) for i in range(2)]
    for a, b in zip(plain.predict(images), compiled.predict(images), strict=True):
        np.testing.assert_allclose(a.mask, b.mask, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 3, "the check, the body and the head"
    assert list(compiled.network.state_dict()) == list(plain.network.state_dict())


@pytest.mark.parametrize("name", [name for name in catalog.list_models() if catalog.model_card(name).weights])
def test_what_is_compiled_is_what_a_prediction_calls(name: str, photo: np.ndarray) -> None:
    model: Any = imdl_bench.load_model(name, "random")
    called: set[tuple[int, str]] = set()
    parts = list(model.compiled_parts())
    for module, method in parts:
        setattr(module, method, _noted(called, (id(module), method), getattr(module, method)))
    model.predict(*[[Image(photo[:64, :64])]] * (2 if catalog.model_card(name).input == "pair" else 1))
    assert called == {(id(module), method) for module, method in parts}


def _noted(called: set[tuple[int, str]], key: tuple[int, str], function: Callable[..., Any]) -> Callable[..., Any]:
    def noting(*arguments: Any) -> Any:
        called.add(key)
        return function(*arguments)

    return noting


@needs_compiler
def test_a_compiled_run_is_another_run_and_says_so(with_tiny: Path, tmp_path: Path) -> None:
    models = [f"tiny@official:{with_tiny / 'all.pth'}", "red"]
    result = imdl_bench.run("edits", models, with_tiny / "data", out=tmp_path, limit=2, compile=True)
    precisions = {(line.model, line.precision) for line in result.lines}
    assert precisions == {("tiny", "float32+compiled"), ("red", "")}, "what is no network is left as it is"
    (run,) = [run for run in read_runs(result.runs)[0] if run.key.model == "tiny"]
    assert command(run).endswith(" --compile") and "--precision" not in command(run)
    plain = imdl_bench.run("edits", models, with_tiny / "data", out=tmp_path, limit=2)
    assert plain.n_new == 2
    for a, b in zip(plain.lines, result.lines, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-5, nan_ok=True)


def test_without_a_compiler_the_option_is_refused_with_advice(
    with_tiny: Path, tmp_path: Path, photo: np.ndarray, cli: Callable[..., Any]
) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    environment = {"IMDL_BENCH_PATH": str(with_tiny), "CXX": "/no/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "c")}
    done = cli("predict", "tiny@random", tmp_path / "photo.png", "--compile", "--out", tmp_path / "out", **environment)
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert "torch.compile does not work here for cpu" in done.stderr and "leave --compile out" in done.stderr


def test_what_is_no_network_cannot_be_compiled(with_plugin: Path) -> None:
    with pytest.raises(UsageError, match="red cannot be compiled, it is no TorchModel; leave --compile out"):
        imdl_bench.load_model("red", compile=True)


def test_how_many_images_are_given_at_once() -> None:
    assert Options().images_at_once == 8
    assert Options(device="cuda:1").images_at_once == 64
    assert Options(device="cuda", batch_size=3).images_at_once == 3
