"""Columbia Uncompressed Image Splicing Detection Evaluation Dataset (Hsu and Chang 2006): files to rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.layouts import Listed, key_of, listed_or_found, nothing_found
from imdl_bench.types import Sample

LISTS = ("Columbia.txt", "Columbia.json")
LAYOUTS = {
    "official": ("4cam_auth", "4cam_splc", "edgemask"),
    "MVSS-Net list": ("Columbia.txt",),
    "IMDL-BenCo": ("Tp", "Gt"),
}
_CAMERA = "(?:canong3|nikond70|canonxt|kodakdcs330)"
_SPLICED = re.compile(rf"{_CAMERA}_{_CAMERA}_sub_\d+", re.IGNORECASE)
_PRISTINE = re.compile(rf"({_CAMERA}_\d+)_sub_\d+", re.IGNORECASE)


def index(root: Path) -> list[Sample]:
    """Columbia: 180 spliced and 183 pristine uncompressed photographs of four cameras.

    Spliced images are named ``<camera>_<camera>_sub_<NN>``, pristine ones ``<camera>_<photograph>_sub_<NN>``; a mask
    is ``<stem>_edgemask.jpg`` (official) or ``Gt/<stem>.png`` (IMDL-BenCo). Names do not tell which photographs a
    splice was made of, so spliced images have no group.

    Raises:
        DataError: no spliced image is found, or two layouts lie in one folder.
    """
    samples = [_sample(line) for line in listed_or_found("columbia", root, LISTS, _key)]
    if not samples or (root.is_dir() and not any(sample.forged for sample in samples)):
        raise nothing_found("columbia", root, "canong3_nikond70_sub_01.tif", LAYOUTS)
    return sorted(samples, key=lambda sample: sample.id)


def mask_forged(samples: Sequence[Sample]) -> str:
    """``green`` for the official edge masks, which colour the two cameras; ``white`` for converted copies."""
    masks = [sample.mask for sample in samples if sample.mask is not None]
    official = any(mask.stem.lower().endswith("_edgemask") and mask.suffix.lower() != ".png" for mask in masks)
    return "green" if official or not masks else "white"


def _key(path: Path) -> str | None:
    stem = key_of(path)
    # some copies hold the same mask as .bmp beside the .jpg
    repeated = path.suffix.lower() == ".bmp" and path.with_suffix(".jpg").is_file()
    return None if repeated or not (_SPLICED.fullmatch(stem) or _PRISTINE.fullmatch(stem)) else stem


def _sample(line: Listed) -> Sample:
    if _SPLICED.fullmatch(line.image.stem) and line.forged is not False:
        return Sample(line.id, line.image, forged=True, mask=line.mask, kind="splicing")
    pristine = _PRISTINE.fullmatch(line.image.stem)
    if pristine is None or line.forged:
        side = {None: "", True: " as forged", False: " as pristine"}[line.forged]
        raise DataError(f"columbia: {line.image} is listed{side}, but is not named so: see datasets/columbia/README.md")
    return Sample(line.id, line.image, forged=False, group=pristine[1].lower())
