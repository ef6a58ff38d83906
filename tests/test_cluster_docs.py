"""The examples of docs/clusters.md are whole: files parse, commands and options exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from imdl_bench import cli

PAGE = (Path(__file__).resolve().parents[1] / "docs/clusters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SCRIPTS = [text for language, text in BLOCKS if language == "bash"]


def test_the_cluster_file_is_what_ray_takes() -> None:
    pytest.importorskip("ray")
    (text,) = [text for language, text in BLOCKS if language == "yaml"]
    config = yaml.safe_load(text)
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config))
    assert any("--head" in command for command in config["head_start_ray_commands"])


@pytest.mark.parametrize("script", SCRIPTS, ids=["run", "train"])
def test_slurm_scripts_are_bash(script: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert script.startswith("#!/bin/bash\n#SBATCH")


def test_every_command_on_the_page_is_one_that_exists() -> None:
    joined = PAGE.replace("\\\n", " ")
    commands = re.findall(r"(?:imdl-bench|-m imdl_bench) ((?:run|sweep|train) [^\n'`]+)", joined)
    assert len(commands) >= 4
    for command in commands:
        cli._parser().parse_args(shlex.split(command))
