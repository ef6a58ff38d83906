"""The made folder: pictures in one folder per edit, settings first, the list of patches last."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from imdl_bench.errors import DataError

from .patches import Patch

SETTINGS, LIST = "settings.json", "patches.csv"
PRISTINE, MASKS = "pristine", "masks"
COLUMNS = ("file", "photograph", "top", "left", "forged_share")


@dataclass(frozen=True, slots=True)
class Made:
    """What a finished folder holds: how it was made, its patches in order, and how much of each is edited."""

    settings: dict[str, Any]
    patches: list[Patch]
    shares: list[float]


def file_name(number: int) -> str:
    """The same in every folder."""
    return f"{number:05}.png"


def read_settings(root: Path) -> dict[str, Any] | None:
    """How the folder is or was being made; None where it was not made by this data set."""
    try:
        settings = json.loads((root / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return settings if isinstance(settings, dict) else None


def read_made(root: Path) -> Made | None:
    """None where the folder is not finished. Raises DataError where its list cannot be understood."""
    settings = read_settings(root)
    if settings is None or not (root / LIST).is_file():
        return None
    try:
        with (root / LIST).open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        patches = [Patch(row["photograph"], int(row["top"]), int(row["left"])) for row in rows]
        return Made(settings, patches, [float(row["forged_share"]) for row in rows])
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(f"{root / LIST}: cannot be read: {error}; make the folder again") from None


def write_settings(root: Path, settings: dict[str, Any]) -> None:
    write(root / SETTINGS, (json.dumps(settings, indent=1) + "\n").encode())


def write_list(root: Path, made: Made) -> None:
    """The list of patches, which says that the folder is whole."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for number, (patch, share) in enumerate(zip(made.patches, made.shares, strict=True)):
        table.writerow([file_name(number), patch.photograph, patch.top, patch.left, f"{share:.4f}"])
    write(root / LIST, text.getvalue().encode("utf-8"))


def missing_files(root: Path, count: int, folders: list[str]) -> list[str]:
    """Files that are not there, relative to the folder."""
    there = {folder: {entry.name for entry in _inside(root / folder)} for folder in folders}
    names = [file_name(number) for number in range(count)]
    return [f"{folder}/{name}" for folder in folders for name in names if name not in there[folder]]


def _inside(folder: Path) -> list[os.DirEntry[str]]:
    return list(os.scandir(folder)) if folder.is_dir() else []


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(
        buffer, "PNG", compress_level=1
    )  # higher levels take twice the time for the same size
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    """A file that is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
