"""Weights that training and conversion write: what their file says, and those that come with a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_network import mask_of, official_state

import imdl_bench
from imdl_bench import catalog
from imdl_bench.errors import DataError, UsageError


def test_a_file_brings_the_settings_it_was_written_for(checkpoint: Path, photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "twice.safetensors"
    catalog.convert_weights(f"tiny:gain=2@official:{checkpoint}", path)
    assert str(catalog.read_spec(f"tiny@{path}")[0]) == f"tiny:gain=2@{path}"
    assert str(catalog.read_spec(f"tiny:gain=1@{path}")[0]) == f"tiny@{path}"
    doubled = mask_of(official_state(), photo, settings={"gain": 2})
    np.testing.assert_array_equal(mask_of(path, photo), doubled)
    np.testing.assert_array_equal(mask_of(path, photo, settings={"gain": 1}), mask_of(official_state(), photo))


def test_packaged_weights_lie_beside_the_card(checkpoint: Path, photo: np.ndarray, cli: Callable[..., Any]) -> None:
    folder = checkpoint.parent / "models/tiny"
    catalog.convert_weights(f"tiny:gain=2@official:{checkpoint}", folder / "bench.safetensors")
    sha256 = hashlib.sha256((folder / "bench.safetensors").read_bytes()).hexdigest()
    card = folder / "card.yaml"
    card.write_text(card.read_text() + f"""
  bench:
    files: [bench.safetensors]
    sha256: ["{sha256}"]
    packaged: true
    licence: CC0-1.0
    trained_on: [my photographs]
""")  # fmt: skip
    assert str(catalog.read_spec("tiny@bench")[0]) == "tiny:gain=2@bench"
    np.testing.assert_array_equal(mask_of("bench", photo), mask_of(official_state(), photo, settings={"gain": 2}))
    done = cli("weights", "fetch", "tiny@bench", IMDL_BENCH_PATH=str(checkpoint.parent))
    assert done.stdout.strip() == str(folder / "bench.safetensors"), done.stderr
    with pytest.raises(UsageError, match=r"has no body.pth, head.pth, all.pth$"):
        imdl_bench.load_model("tiny", f"official:{folder}")
    (folder / "bench.safetensors").write_bytes(b"other")
    with pytest.raises((DataError, UsageError), match=r"bench.safetensors: (is not the file|cannot be read)"):
        imdl_bench.load_model("tiny", "bench")
    (folder / "bench.safetensors").unlink()
    with pytest.raises(DataError, match=r"tiny@bench: .*bench.safetensors is missing; install imdl-bench again"):
        imdl_bench.load_model("tiny", "bench")


def test_half_a_file_keeps_what_it_says_and_what_it_computes(
    checkpoint: Path, photo: np.ndarray, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    from imdl_bench.checkpoint import read_metadata, read_tensors, write_tensors

    catalog.convert_weights(f"tiny@official:{checkpoint}", tmp_path / "plain.safetensors")
    trained = tmp_path / "trained.safetensors"
    about = read_metadata(tmp_path / "plain.safetensors") | {"recipe": "unified", "samples": "7"}
    write_tensors(trained, read_tensors(tmp_path / "plain.safetensors"), about)
    out = tmp_path / "half.safetensors"
    done = cli("weights", "convert", f"tiny@{trained}", "--out", out, "--half", IMDL_BENCH_PATH=str(checkpoint.parent))
    assert done.returncode == 0, done.stderr
    assert read_metadata(out)["recipe"] == "unified" and read_metadata(out)["samples"] == "7"
    kinds = {tensor.dtype for tensor in read_tensors(out).values() if tensor.dim() > 1}
    assert kinds == {torch.float16}
    one_axis = {key: tensor for key, tensor in read_tensors(out).items() if tensor.dim() <= 1}
    assert one_axis and all(torch.equal(tensor, read_tensors(trained)[key]) for key, tensor in one_axis.items())
    np.testing.assert_allclose(mask_of(out, photo), mask_of(trained, photo), atol=2e-3)
