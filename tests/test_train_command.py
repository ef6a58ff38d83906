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
from tiny_training import write_trainable

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
def test_two_processes_learn_from_the_same_examples_as_one_that_makes_two_parts(
    command: list[str], plugin: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    wanted = [*command, "--recipe", "paper", "--samples", "44"]
    one = cli(*wanted, "--out", tmp_path / "one", "--accumulate", "2", IMDL_BENCH_PATH=str(plugin))
    two = cli(*wanted, "--out", tmp_path / "two", "--devices", "2", IMDL_BENCH_PATH=str(plugin))
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    found = [read_tensors(tmp_path / name / "last.safetensors") for name in ("one", "two")]
    assert found[0].keys() == found[1].keys()
    again = cli(*wanted, "--out", tmp_path / "two", "--devices", "2", IMDL_BENCH_PATH=str(plugin))
    assert "nothing to do" in again.stdout
