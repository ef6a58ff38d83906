"""CASIA v1.0 (Dong, Wang and Tan 2013), with the corrected names of its ground truth: files to rows."""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path, PurePosixPath

from imdl_bench.errors import DataError
from imdl_bench.layouts import Listed, key_of, listed_or_found, nothing_found
from imdl_bench.types import Sample

LISTS = ("CASIAv1.txt", "CASIAv1plus.txt", "CASIAv1.json", "CASIA1.0.json")
LAYOUTS = {
    "official": ("CASIA 1.0 dataset", "Au", "Modified Tp", "CASIA 1.0 groundtruth"),
    "photoholmes": ("Au", "Tp", "CASIA 1.0 groundtruth"),
    "TruFor": ("Au_corel", "Sp", "groundtruth"),
    "Kaggle (no masks)": ("Au", "Sp"),
    "MVSS-Net list": ("CASIAv1.txt",),
    "IMDL-BenCo": ("Tp", "Gt"),
}
# one published name has a dot before its number (..._ani0100.0288.jpg), so names are read from the left
_FORGED = re.compile(
    r"sp_(?P<letter>[sd])_(?P<edit>[a-z]{3}_[a-z])_(?P<host>[a-z]{3}\d{4})_(?P<donor>[a-z]{3}\d{4})[_.](?P<number>\d{4})"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
_PRISTINE = re.compile(r"au_([a-z]{3})_(\d{4})(?![a-z0-9])", re.IGNORECASE)
_COREL = "au_corel"


def index(root: Path) -> list[Sample]:
    """CASIA v1: 921 forged and 800 pristine images, 920 masks ``<stem>_gt.png``, white = forged.

    Copy-move or splicing follows the corrected names (``renames.csv``), under whichever name a file is found. The
    group is the host, the first of the two photographs in a forged name. ``Sp_D_NRN_A_cha0011_sec0011_0542`` has no
    public mask: it is identical to the pristine ``Au_cha_0011``. Pristine images are those of the folder ``Au``, or
    the Corel replacements of CASIAv1plus (folder ``Au_corel``, or MVSS-Net's ``CASIAv1plus.txt``).

    Raises:
        DataError: no forged image is found, or two layouts or two pristine sets lie in one folder.
    """
    samples = [_sample(line) for line in listed_or_found("casia_v1", root, LISTS, _key)]
    if not samples or (root.is_dir() and not any(sample.forged for sample in samples)):
        raise nothing_found("casia_v1", root, "Sp_D_NNN_A_nat0051_cha0056_0324.jpg", LAYOUTS)
    if root.is_dir():
        _refuse_two_pristine_sets(samples, root)
    return sorted(samples, key=lambda sample: sample.id)


def split_key(name: str) -> str:
    """What stays the same when a forged image is renamed: edit letters, host and number; else the lower-case stem.

    The number alone is no key: in the txt group it occurs up to four times.
    """
    base = PurePosixPath(name).name
    named = _FORGED.match(base)
    return _identity(named) if named else PurePosixPath(base).stem.lower()


def photograph_in_v2(group: str | None) -> str | None:
    """The number under which CASIA v2 holds the same photograph: ``nat0033`` is v2's ``nat00033``.

    Every host of v1 has a pristine v2 image of the padded number; that they show the same was checked for one.
    """
    return f"{group[:3]}0{group[3:]}" if group else None


@cache
def _corrected() -> dict[str, str]:
    with Path(__file__).with_name("renames.csv").open(encoding="utf-8", newline="") as file:
        return {split_key(row["old"] + ".jpg"): row["new"] for row in csv.DictReader(file)}


def _identity(named: re.Match[str]) -> str:
    return f"sp_{named['edit']}_{named['host']}_{named['number']}".lower()


def _key(path: Path) -> str | None:
    named = _FORGED.match(path.name)
    if named:
        return _identity(named)
    if path.parent.name.lower() == _COREL:
        return f"{_COREL}/{key_of(path)}"
    return key_of(path) if _PRISTINE.match(path.name) else None


def _sample(line: Listed) -> Sample:
    named = _FORGED.match(line.image.name)
    if named and line.forged is not False:  # a list may rightly call ..._0542 pristine
        name = _corrected().get(_identity(named), line.image.name)
        kind = "copy-move" if name[3] in "sS" else "splicing"
        group = named["host"].lower()
        return Sample(line.id, line.image, forged=True, mask=line.mask, kind=kind, group=group)
    if line.forged:
        raise DataError(f"casia_v1: {line.image} is listed as forged, but is not named Sp_...")
    pristine = _PRISTINE.match(line.image.name)
    return Sample(line.id, line.image, forged=False, group="".join(pristine.groups()).lower() if pristine else None)


def _refuse_two_pristine_sets(samples: list[Sample], root: Path) -> None:
    folders = {sample.image.parent for sample in samples if not sample.forged}
    corel = {folder for folder in folders if folder.name.lower() == _COREL}
    if corel and folders != corel:
        both = " and ".join(str(folder) for folder in sorted(folders))
        raise DataError(
            f"casia_v1: {both} both hold pristine images, and nothing says which set is meant; "
            f"move one out of {root} or give a list file: `imdl-bench check casia_v1 --data LIST`"
        )
