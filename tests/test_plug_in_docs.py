"""Every example of docs/plug-ins.md does what the page says, from an empty folder."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/plug-ins.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
BLOCK = re.compile(r"(?:^`(?P<file>[^`\n]+)`\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(section: str) -> Iterator[tuple[str | None, str, str]]:
    for block in BLOCK.finditer(section):
        yield block["file"], block["language"], block["text"]


def _follow(section: str, folder: Path) -> str:
    """Write the files and give the commands of a section, in order; returns all that was printed."""
    bin_folder = folder.parent / "bin"
    bin_folder.mkdir(exist_ok=True)
    for name, call in (("python", ""), ("imdl-bench", "-m imdl_bench")):
        (bin_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        (bin_folder / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    printed = ""
    for file, language, text in _blocks(section):
        if file is not None:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
        elif language == "bash":
            done = subprocess.run(
                ["bash", "-eu", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            printed += done.stdout
    return printed


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def _values(path: Path) -> dict[str, dict[str, str]]:
    """Value by model and metric."""
    found: dict[str, dict[str, str]] = {}
    for line in csv.DictReader(path.open(encoding="utf-8")):
        found.setdefault(line["model"], {})[line["metric"]] = f"{line['value']} {line['ci_low']} {line['ci_high']}"
    return found


def test_the_page_has_the_five_examples() -> None:
    assert [name.partition(".")[0] for name in SECTIONS] == ["1", "2", "3", "4", "5"]
    for name, section in SECTIONS.items():
        kinds = [language for file, language, _ in _blocks(section) if file is None]
        assert "bash" in kinds and set(kinds) <= {"bash", "text"}, f"{name}: a file's block has no name above it"


@pytest.mark.parametrize(
    ("number", "table", "models"),
    [
        ("1", "quickstart", {"red", "ela"}),
        ("2", "quickstart", {"twolayers:width=16"}),
        ("3", "on_inverted", {"ela"}),
        ("4", "after_jpeg", {"ela"}),
    ],
)
def test_an_example_leads_from_an_empty_folder_to_a_leaderboard(
    empty: Path, number: str, table: str, models: set[str]
) -> None:
    section = next(part for name, part in SECTIONS.items() if name.startswith(number))
    printed = _follow(section, empty)
    assert set(_values(empty / f"results/leaderboards/{table}.csv")) == models
    if number == "2":
        assert "untrained" in printed and (empty / "twolayers.safetensors").is_file()


def test_recorded_predictions_get_the_numbers_of_the_model_that_makes_them(empty: Path) -> None:
    """The claim of the last section: the red channel written by a loop is the plug-in `red` to the last digit."""
    first, last = (next(part for name, part in SECTIONS.items() if name.startswith(number)) for number in "15")
    both = first.replace("imdl-bench run quickstart --model red --model ela --limit 12", "") + last.replace(
        "imdl-bench run quickstart --model", "IMDL_BENCH_PATH=mine imdl-bench run quickstart --model red --model"
    )
    _follow(both, empty)
    values = _values(empty / "results/leaderboards/quickstart.csv")
    assert set(values) == {"red", "predictions:theirs"}
    assert values["red"] == values["predictions:theirs"] and len(values["red"]) == 14


def test_the_readmes_tiny_model_runs(empty: Path) -> None:
    """Its blocks carry their file's name in the first line."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("\n## Your own ")[1].split("\n## ")[0]
    assert "(docs/plug-ins.md)" in section
    named = re.sub(r"^(```\w+)\n# (\S+)\n", r"`\2`\n\n\1\n", section, flags=re.MULTILINE)
    command = re.search(r"^IMDL_BENCH_PATH=.*$", section, re.MULTILINE)
    assert command is not None
    _follow(f"{named}\n```bash\n{command[0]} --limit 8\n```\n", empty)
    assert set(_values(empty / "results/leaderboards/quickstart.csv")) == {"mynet", "ela"}
