"""CASIA v2.0 (Dong, Wang and Tan 2013), under any of its three generations of names: files to rows."""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path, PurePosixPath

from imdl_bench.errors import DataError
from imdl_bench.layouts import Listed, key_of, listed_or_found, nothing_found
from imdl_bench.types import Sample

LISTS = ("CASIAv2.txt", "CASIAv2.json", "CASIA2.0.json")
LAYOUTS = {
    "official": ("CASIA2.0_revised", "Au", "Tp", "CASIA2.0_Groundtruth"),
    "CAT-Net": ("CASIA 2.0", "Au", "Tp", "CASIA 2 Groundtruth"),
    "Kaggle": ("Au", "Tp", "CASIA 2 Groundtruth"),
    "TruFor": ("Au", "Tp", "groundtruth"),
    "corrected masks, IMDL-BenCo": ("Tp", "Gt"),
    "MVSS-Net list": ("CASIAv2.txt",),
}
# four digits in a photograph's number: two of the original names have lost one
_FORGED = re.compile(
    r"tp_(?P<letter>[sd])_[a-z]{3}_[a-z]_[a-z]_(?P<host>[a-z]{3}\d{4,5})_(?P<donor>[a-z]{3}\d{4,5})_(?P<number>\d{5})"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
_PRISTINE = re.compile(r"au_([a-z]{3})_(\d{5})(?![a-z0-9])", re.IGNORECASE)


def index(root: Path) -> list[Sample]:
    """CASIA v2: 5123 forged and 7491 pristine images, masks ``<stem>_gt.png``, white = forged.

    The five digits at the end of a forged name identify the picture through every renaming: they pair it with its
    mask. Copy-move or splicing, and the host (the first photograph in the name, which is the group), follow the 2022
    names (``renames.csv``), under whichever name a file is found.

    Raises:
        DataError: no forged image is found, or two layouts lie in one folder.
    """
    samples = [_sample(line) for line in listed_or_found("casia_v2", root, LISTS, _key)]
    if not samples or (root.is_dir() and not any(sample.forged for sample in samples)):
        raise nothing_found("casia_v2", root, "Tp_D_NNN_M_B_nat10128_nat00099_11537.jpg", LAYOUTS)
    return sorted(samples, key=lambda sample: sample.id)


def split_key(name: str) -> str:
    """The five digits at the end of a forged name, with or without extension; else the lower-case stem."""
    base = PurePosixPath(name).name
    named = _FORGED.match(base)
    return named["number"] if named else PurePosixPath(base).stem.lower()


@cache
def _corrected() -> dict[str, str]:
    with Path(__file__).with_name("renames.csv").open(encoding="utf-8", newline="") as file:
        return {split_key(row["new"]): row["new"] for row in csv.DictReader(file)}


def _key(path: Path) -> str | None:
    named = _FORGED.match(path.name)
    if named:
        return named["number"]
    return key_of(path) if _PRISTINE.match(path.name) else None


def _sample(line: Listed) -> Sample:
    named = _FORGED.match(line.image.name)
    if named and line.forged is not False:
        corrected = _FORGED.match(_corrected().get(named["number"], "")) or named
        kind = "copy-move" if corrected["letter"] in "sS" else "splicing"
        group = corrected["host"].lower()
        return Sample(line.id, line.image, forged=True, mask=line.mask, kind=kind, group=group)
    pristine = _PRISTINE.match(line.image.name)
    if pristine is None or line.forged:
        side = {None: "", True: " as forged", False: " as pristine"}[line.forged]
        raise DataError(
            f"casia_v2: {line.image} is listed{side}, but CASIA v2 names forged images Tp_... and others Au_..."
        )
    return Sample(line.id, line.image, forged=False, group="".join(pristine.groups()).lower())
