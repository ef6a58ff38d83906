"""COVERAGE (Wen et al., ICIP 2016): files to rows."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from imdl_bench.errors import DataError
from imdl_bench.layouts import Listed, listed_or_found, nothing_found
from imdl_bench.types import Sample

LISTS = ("COVERAGE.txt", "coverage.json")
LAYOUTS = {
    "official": ("image", "mask"),
    "MVSS-Net list": ("COVERAGE.txt",),
    "IMDL-BenCo": ("Tp", "Gt"),
}
_IMAGE = re.compile(r"(\d+)(t?)", re.IGNORECASE)
_PAIRED = re.compile(r"(\d+)(t|forged)?(?:_gt|_mask)?", re.IGNORECASE)


def index(root: Path) -> list[Sample]:
    """COVERAGE: 100 pristine images ``<n>`` and their 100 copy-move twins ``<n>t``, n = 1..100, masks ``<n>forged``.

    ``<n>copy`` and ``<n>paste`` masks (source region, similar genuine object) are not truth and are passed over.
    The group is n: both twins show one scene.

    Raises:
        DataError: no copy-move image is found, or two layouts lie in one folder.
    """
    samples = [_sample(line) for line in listed_or_found("coverage", root, LISTS, _key)]
    if not samples or (root.is_dir() and not any(sample.forged for sample in samples)):
        raise nothing_found("coverage", root, "41t.tif", LAYOUTS)
    return sorted(samples, key=lambda sample: sample.id)


def split_key(name: str) -> str:
    """The number: ``image/41t.tif``, ``41t`` and the pristine twin ``41.tif`` are one entry, on one side of a split."""
    return PurePosixPath(name).name.partition(".")[0].lower().removesuffix("t")


def _key(path: Path) -> str | None:
    named = _PAIRED.fullmatch(path.stem)
    return named and named[1] + ("t" if named[2] else "")


def _sample(line: Listed) -> Sample:
    named = _IMAGE.fullmatch(line.image.stem)
    if not named or line.forged not in (None, bool(named[2])):
        side = {None: "", True: " as forged", False: " as pristine"}[line.forged]
        raise DataError(
            f"coverage: {line.image} is listed{side}, but COVERAGE names images <n>.tif and forged <n>t.tif"
        )
    if named[2]:
        return Sample(line.id, line.image, forged=True, mask=line.mask, kind="copy-move", group=named[1])
    return Sample(line.id, line.image, forged=False, group=named[1])
