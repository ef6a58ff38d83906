"""What data sets that users make from their photographs have in common: who may write where, and what goes together.

For the ``make`` of a data set's card, also in plug-ins, beside ``images`` and ``layouts``: so that every folder that is
made is refused, continued and explained in the same way. What is drawn, and how it is stored, is the data set's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from imdl_bench.cache import cache_dir, sha256, sole_writer, write_atomically
from imdl_bench.errors import UsageError

__all__ = [
    "digest_of",
    "left_out",
    "library_versions",
    "made_from",
    "missing_files",
    "refuse_fewer",
    "refuse_other",
    "summary",
    "write_atomically",
]


@contextmanager
def made_from(photos: Path, out: Path) -> Iterator[None]:
    """Hold ``out`` while it is made from the folder ``photos``; nothing is written into it here.

    Raises:
        UsageError: ``photos`` is no folder, ``out`` lies under it, or another process makes ``out``.
        DataError: the lock cannot be written to the cache.
    """
    if not photos.is_dir():
        raise UsageError(f"{photos} is not a folder of photographs")
    if out.resolve().is_relative_to(photos.resolve()):
        raise UsageError(f"{out} lies under {photos}: what is made would be taken for photographs; name another folder")
    # In the cache, since the made folder holds nothing but the data set.
    lock = cache_dir() / "making" / f"{sha256(os.fsencode(out.resolve()))[:16]}.lock"
    with sole_writer(lock, f"{out}: another process makes this folder"):
        yield


def refuse_other(out: Path, found: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], things: str) -> None:
    """Only what was made with the same settings is continued.

    Args:
        out: may be missing or empty; with anything in it, it must have been made by this data set.
        found: the settings that were read from ``out``; none where it was not made by this data set.
        settings: those of now; every key must be the same.
        things: what it holds, in the plural.

    Raises:
        UsageError: ``out`` holds something else, or things made with other settings.
    """
    if not found and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} holds something else; name a new or empty folder")
    for before in found:
        for key, value in settings.items():
            if before.get(key) != value:
                raise UsageError(
                    f"{out} holds {things} made with another {key} ({before.get(key)}, now {value}); "
                    "name another folder, or delete this one"
                )


def refuse_fewer(out: Path, there: int, count: int, things: str) -> None:
    """A finished folder grows, it does not shrink. Raises UsageError where it holds more than ``count``."""
    if there > count:
        raise UsageError(
            f"{out} holds {there} {things}, more than {count}; name another folder, or give --count {there} or more"
        )


def library_versions() -> dict[str, str]:
    """Of the libraries whose decoding, interpolation or compression may differ between versions."""
    import cv2
    import scipy

    versions = {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": PIL.__version__}
    return versions | {"scipy": scipy.__version__}


def digest_of(files: Iterable[tuple[str, Path]]) -> str:
    """sha256 over names and sizes in bytes, -1 of links to nothing: other photographs make another data set."""
    lines = [f"{name}\0{path.stat().st_size if path.exists() else -1}\n" for name, path in files]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def missing_files(root: Path, names: Sequence[str]) -> list[str]:
    """Those of ``names``, as ``folder/file`` relative to ``root``, that are not there, in their order."""
    folders = sorted({name.rpartition("/")[0] for name in names})
    listed = [folder for folder in folders if (root / folder).is_dir()]
    there = {f"{folder}/{entry.name}" for folder in listed for entry in os.scandir(root / folder)}
    return [name for name in names if name not in there]


def summary(missing: Sequence[str]) -> str:
    """The first of the missing files, and how many more."""
    return f"missing {missing[0]}" + (f", +{len(missing) - 1} more" if len(missing) > 1 else "")


def left_out(photos: Path, names: Iterable[str]) -> list[str]:
    """Remarks on the photographs that could not be read, each once."""
    return [f"could not be read, and is left out: {photos / name}" for name in sorted(set(names))]
