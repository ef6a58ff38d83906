"""IEEE IFS-TC Image Forensics Challenge 2013, phase 1, training part: the only part with labels and masks."""

from __future__ import annotations

import re
from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.layouts import (
    by_key,
    find_list,
    index_list,
    index_tp_gt,
    list_folders,
    list_images,
    nothing_found,
    one_layout,
    sample_id,
)
from imdl_bench.types import Sample

LISTS = ("IFS-TC.txt", "IFS_TC.txt", "IFS-TC.json")
LAYOUTS = {"official": ("dataset-dist", "phase-01", "training", "fake", "pristine"), "IMDL-BenCo": ("Tp", "Gt")}
_NAME = re.compile(r"^[0-9a-f]{32}$", re.IGNORECASE)
_MASK = re.compile(r"[._](mask|gt)$", re.IGNORECASE)
_MASK_FOLDERS = ("mask", "masks", "gt")


def index(root: Path) -> list[Sample]:
    """IFS-TC: 450 forged images in ``fake``, masks ``<md5>.mask.png``, 1050 in ``pristine``.

    Masks are taken beside the images, in ``fake/masks`` or in ``masks`` beside ``fake``, where users move them.
    Which side of a mask is forged is not documented: see :func:`mask_forged`.

    Raises:
        DataError: two layouts, two copies, or none.
    """
    listed = find_list("ifs_tc", root, LISTS)
    if listed:
        return index_list(listed)
    flattened = index_tp_gt(root)
    folder = _training(root)
    found = {"fake and pristine": folder is not None, "Tp and Gt": bool(flattened)}
    if one_layout("ifs_tc", root, [name for name, there in found.items() if there]) is None:
        raise nothing_found("ifs_tc", root, "fake/<32 hexadecimal digits>.png", LAYOUTS)
    return _of_training(folder) if folder else flattened


def mask_forged(samples: list[Sample]) -> str:
    """Sources disagree on the polarity, so many masks are opened and the smaller side is taken as forged."""
    return "detect"


def split_key(name: str) -> str:
    """The md5 name, whatever stands before or after it."""
    return name.rpartition("/")[2].partition(".")[0].lower()


def _training(root: Path) -> Path | None:
    """The folder that holds ``fake`` with images named by their md5."""
    found = [
        folder.parent
        for folder in list_folders(root)
        if folder.name.lower() == "fake" and any(_NAME.match(entry.stem) for entry in folder.iterdir())
    ]
    if len(found) > 1:
        raise DataError(f"ifs_tc: {found[0]} and {found[1]} are two copies under {root}; give the one to use")
    return found[0] if found else None


def _of_training(folder: Path) -> list[Sample]:
    inside = {entry.name.lower(): entry for entry in folder.iterdir() if entry.is_dir()}
    forged: list[Path] = []
    masks: list[Path] = []
    for path in list_images(inside["fake"]):
        is_mask = _MASK.search(path.stem) or path.parent.name.lower() in _MASK_FOLDERS
        (masks if is_mask else forged).append(path)
    masks += [path for name in _MASK_FOLDERS if name in inside for path in list_images(inside[name])]
    paired = by_key(masks, lambda path: _MASK.sub("", path.stem).lower())
    pristine = list_images(inside["pristine"]) if "pristine" in inside else []
    return [
        Sample(sample_id(path, folder), path, forged=True, mask=paired.get(path.stem.lower())) for path in forged
    ] + [Sample(sample_id(path, folder), path, forged=False) for path in pristine]
