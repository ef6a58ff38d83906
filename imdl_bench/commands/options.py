"""What several commands share: exit codes, options of models and data, whole numbers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from imdl_bench import catalog
from imdl_bench.cache import write_atomically
from imdl_bench.cards import RECORDED
from imdl_bench.errors import UsageError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

DONE, FAILURES, WRONG, INTERRUPTED = 0, 1, 2, 130
MODEL_HELP = "NAME, NAME@WEIGHTS or NAME:KEY=VALUE,KEY=VALUE@WEIGHTS (settings and weights: `show NAME`)"
SCORED_HELP = MODEL_HELP + f", or {RECORDED}:DIR, masks and scores made elsewhere (`show {RECORDED}`)"


def add_model_options(command: argparse.ArgumentParser) -> None:
    """How networks run."""
    command.add_argument("--device", default="cpu", help="where networks run: cpu, cuda, cuda:1")
    command.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="float32",
                         help="arithmetic of networks")  # fmt: skip
    command.add_argument("--compile", action="store_true",
                         help="let torch.compile make networks faster: minutes first (docs/speed.md)")  # fmt: skip
    command.add_argument("--accept-licence", action="store_true",
                         help="you have read the licence of the weights and may use them")  # fmt: skip


def data_folders(given: Sequence[str]) -> Path | dict[str, Path] | None:
    """``--data DIR`` once, or ``--data NAME=DIR`` for each data set."""
    if len(given) == 1 and ("=" not in given[0] or Path(given[0]).exists()):
        return Path(given[0])
    return named_paths(given, "--data") or None


def named_paths(given: Sequence[str], option: str) -> dict[str, Path]:
    """``NAME=PATH`` for each data set. Raises UsageError where NAME is missing or no data set."""
    named = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            raise UsageError(f"{option} {text}: name the data set it is for: {option} NAME={text}")
        catalog.dataset_card(name)
        named[name] = Path(path)
    return named


def write_or_print(text: str, out: Path | None) -> None:
    """A text to the file of ``--out``, or else to the terminal; it ends in one line feed."""
    text = text.rstrip("\n") + "\n"
    if out:
        write_atomically(out, text.encode())
    else:
        print(text, end="")


def positive(text: str) -> int:
    """A whole number from 1 up, as argparse wants it."""
    return _whole(text, 1)


def whole(text: str, most: int | None = None) -> int:
    """A whole number from 0 up, or to ``most``, as argparse wants it."""
    return _whole(text, 0, most)


def seed(text: str) -> int:
    """A whole number of at most 63 bits, as argparse wants it."""
    value = _whole(text, 0)
    if value >= 1 << 63:
        raise argparse.ArgumentTypeError(f"{text} has more than 63 bits")
    return value


def _whole(text: str, least: int, most: int | None = None) -> int:
    value = int(text) if text.isascii() and text.isdecimal() else -1
    if value < least or (most is not None and value > most):
        end = "up" if most is None else f"to {most}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} {end}")
    return value
