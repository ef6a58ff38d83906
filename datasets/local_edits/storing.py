"""The made folder: pictures in one folder per edit, settings first, the list of patches last."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imdl_bench.errors import DataError
from imdl_bench.making import write_atomically

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
    write_atomically(root / SETTINGS, (json.dumps(settings, indent=1) + "\n").encode())


def write_list(root: Path, made: Made) -> None:
    """The list of patches, which says that the folder is whole."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for number, (patch, share) in enumerate(zip(made.patches, made.shares, strict=True)):
        table.writerow([file_name(number), patch.photograph, patch.top, patch.left, f"{share:.4f}"])
    write_atomically(root / LIST, text.getvalue().encode("utf-8"))


def files_of(count: int, folders: list[str]) -> list[str]:
    """Paths of the pictures of ``count`` patches, relative to the folder."""
    return [f"{folder}/{file_name(number)}" for folder in folders for number in range(count)]
