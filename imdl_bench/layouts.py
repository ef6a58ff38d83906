"""What every data-set index needs to find files: list a tree, pair by name, read list files. No decoding."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.images import SUFFIXES

_JUNK = re.compile(r"^(\._.*|\.ds_store|thumbs\.db|desktop\.ini|__macosx)$", re.IGNORECASE)
MASK_ENDINGS = ("_gt", "_mask", "_forged", "_edgemask")


def list_images(folder: Path, *, recursive: bool = True) -> list[Path]:
    """Picture files under ``folder`` by suffix (any case), sorted; system junk is left out."""
    found: list[Path] = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _JUNK.match(name)) if recursive else []
        found += (Path(base, name) for name in names if Path(name).suffix.lower() in SUFFIXES and not _JUNK.match(name))
    return sorted(found)


def list_folders(root: Path) -> list[Path]:
    """``root`` and every folder under it, sorted."""
    found: list[Path] = []
    for base, folders, _ in os.walk(root):
        folders[:] = sorted(name for name in folders if not _JUNK.match(name))
        found.append(Path(base))
    return found


def unnest(folder: Path) -> Path:
    """Descend while a folder holds nothing but one folder of its own name (``4cam_splc/4cam_splc``)."""
    while True:
        inside = [entry for entry in folder.iterdir() if not _JUNK.match(entry.name)]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() != folder.name.lower():
            return folder
        folder = inside[0]


def sample_id(path: Path, root: Path) -> str:
    """The sample's key: its path relative to the data root, POSIX."""
    return path.relative_to(root).as_posix()


def key_of(path: Path) -> str:
    """What an image and its mask share: the stem in lower case without ``_gt``, ``_mask``, ``_forged``, ``_edgemask``."""
    stem = path.stem.lower()
    for ending in MASK_ENDINGS:
        stem = stem.removesuffix(ending)
    return stem


def by_key(paths: Iterable[Path], key: Callable[[Path], str] = key_of) -> dict[str, Path]:
    """Paths by the name that pairs them. Raises DataError where two files claim one name."""
    named: dict[str, Path] = {}
    for path in paths:
        first = named.setdefault(key(path), path)
        if first != path:
            raise DataError(f"{path} and {first} pair with the same name {key(path)!r}; remove one")
    return named
