"""`imdl-bench train` as a process: Ctrl-C, several processes, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import write_recipe, write_trainable

from imdl_bench.checkpoint import read_tensors


@pytest.fixture
def command(plugin: Path) -> list[str]:
    """The command without --out and what it trains for."""
    write_trainable(plugin)
    return ["train", "tiny", "--data", "edits", "--data-root", str(plugin / "data"), "--workers", "0", "--threads", "1"]


def test_ctrl_c_leaves_a_checkpoint_from_which_the_same_command_goes_on(
    command: list[str], plugin: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    wanted = [*command, "--recipe", "unified", "--samples", "4000", "--out", str(tmp_path / "run")]
    environment = os.environ | {"IMDL_BENCH_PATH": str(plugin)}
    process = subprocess.Popen(
        [sys.executable, "-m", "imdl_bench", *wanted], env=environment, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "run/losses.csv").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "give the same command again" in said
    assert "Traceback" not in said
    assert (tmp_path / "run/last.ckpt").is_file()
    other = cli(*wanted, "--seed", "1", IMDL_BENCH_PATH=str(plugin))
    assert (other.returncode, "seed is 0 there and 1 here" in other.stderr) == (2, True)


@pytest.mark.slow
def test_two_processes_learn_from_the_same_examples_as_one(
    command: list[str], plugin: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """Without batch normalisation in training mode and dropout, whose numbers depend on who sees which example."""
    recipe = write_recipe(tmp_path, samples=16, learner="training:Plain", freeze=["network.body."])
    wanted = [*command, "--recipe", str(recipe)]
    for name, processes in (("one", 1), ("two", 2)):
        done = cli(*wanted, "--out", tmp_path / name, "--devices", processes, IMDL_BENCH_PATH=str(plugin))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("16 examples") == 1
    one, two = (read_tensors(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-5, atol=1e-7)
