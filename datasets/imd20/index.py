"""IMD2020, the real-life part: forgeries collected from the web, one folder per original."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.layouts import by_key, find_list, index_list, index_tp_gt, list_images, nothing_found, one_layout
from imdl_bench.types import Sample

LISTS = ("IMD2020.txt", "IMD20.txt", "IMD2020.json", "IMD20.json", "IMD_20_1024.json")
LAYOUTS = {"official": ("IMD2020", "1b8r7b"), "IMDL-BenCo": ("Tp", "Gt")}
_ORIGINAL = re.compile(r"_orig$", re.IGNORECASE)
_MASK = re.compile(r"_mask$", re.IGNORECASE)


def index(root: Path) -> list[Sample]:
    """IMD2020 (Novozamsky et al. 2020): 2010 forgeries of 414 originals, masks ``<stem>_mask.png``, white = forged.

    The original of a folder is found by ``*_orig.*`` (its name is not always the folder's) and is the pristine image;
    ``group`` is the folder. CAT-Net's and TruFor's lists and IMDL-BenCo's ``Tp``/``Gt`` copy are read as well.

    Raises:
        DataError: two layouts, two copies, or none.
    """
    listed = find_list("imd20", root, LISTS)
    if listed:
        return [replace(sample, group=sample.image.parent.name) for sample in index_list(listed)]
    flattened = index_tp_gt(root)
    folders = _folders(root)
    found = {"a folder per original": bool(folders), "Tp and Gt": bool(flattened)}
    if one_layout("imd20", root, [name for name, there in found.items() if there]) is None:
        raise nothing_found("imd20", root, "1b8r7b/1b8r7b_orig.jpg", LAYOUTS)
    return flattened or [sample for images in folders.values() for sample in _of_original(images)]


def _folders(root: Path) -> dict[Path, list[Path]]:
    """The pictures of every folder that holds an original."""
    folders: dict[Path, list[Path]] = {}
    for path in list_images(root):
        folders.setdefault(path.parent, []).append(path)
    folders = {
        folder: images for folder, images in folders.items() if any(_ORIGINAL.search(image.stem) for image in images)
    }
    tops = sorted({folder.parent for folder in folders})
    if len(tops) > 1:
        raise DataError(f"imd20: {tops[0]} and {tops[1]} are two copies under {root}; give the one to use")
    return folders


def _of_original(images: list[Path]) -> list[Sample]:
    masks = by_key((image for image in images if _MASK.search(image.stem)), lambda path: path.stem.lower())
    folder = images[0].parent
    return [
        Sample(
            id=f"{folder.name}/{image.name}",
            image=image,
            forged=not _ORIGINAL.search(image.stem),
            mask=masks.get(f"{image.stem.lower()}_mask"),
            group=folder.name,
        )
        for image in images
        if not _MASK.search(image.stem)
    ]
