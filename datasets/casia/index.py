"""CASIA v1 and v2 as one test set of 6044 forged images, as PSCC-Net, SPAN and ManTra-Net pool them: files to rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.types import Sample

from ..casia_v1 import index as v1
from ..casia_v2 import index as v2


def index(root: Path) -> list[Sample]:
    """Both versions, anywhere under one folder: 921 + 5123 forged, 800 + 7491 pristine.

    v1 reuses photographs of v2 under a shorter number; both take v2's number as group.

    Raises:
        DataError: one of the two is not there, or in two layouts.
    """
    if root.is_file():
        raise DataError(f"casia: {root} is a list, which holds one version; give the folder that holds v1 and v2")
    first = [replace(sample, group=v1.photograph_in_v2(sample.group)) for sample in v1.index(root)]
    return sorted([*first, *v2.index(root)], key=lambda sample: sample.id)


def split_key(name: str) -> str:
    """A forged name's lasting part, as :mod:`casia_v1` and :mod:`casia_v2` define it; else the lower-case stem."""
    return v1.split_key(name) if name.rpartition("/")[2].lower().startswith("sp_") else v2.split_key(name)
