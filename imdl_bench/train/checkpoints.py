"""``last.ckpt``: everything that a stopped training needs to go on, written whole or not at all."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from imdl_bench.cache import write_atomically
from imdl_bench.errors import DataError, UsageError

LAST = "last.ckpt"
ADVICE = "give another --out, or delete it to begin anew"


def write_checkpoint(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``last.ckpt`` in a folder: tensors, numbers, texts, lists and dicts of them."""
    held = io.BytesIO()
    torch.save(dict(content), held)
    write_atomically(folder / LAST, held.getvalue())


def read_checkpoint(folder: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The checkpoint of a folder, on the CPU; ``None`` where there is none.

    Args:
        folder: where the training writes.
        key: what makes it this training and no other.

    Raises:
        UsageError: the folder is that of a training with another key; names what differs.
        DataError: the file cannot be read. Nothing in it is executed.
    """
    path = folder / LAST
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise DataError(f"{path}: cannot be read as a checkpoint ({str(error).splitlines()[0]}); {ADVICE}") from None
    if differing := _differences(content.get("key", {}), key):
        raise UsageError(f"{path}: belongs to another training: {'; '.join(differing)}; {ADVICE}")
    return content


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    """``key: there and here`` for each leaf that differs."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        keys = [*there, *(key for key in here if key not in there)]
        return [
            line for key in keys for line in _differences(there.get(key), here.get(key), f"{name}.{key}".strip("."))
        ]
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        return [
            line
            for place, (left, right) in enumerate(zip(there, here, strict=True))
            for line in _differences(left, right, f"{name}.{place}")
        ]
    return [] if there == here else [f"{name} is {there!r} there and {here!r} here"]
