"""The made folder: four files for each pair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imdl_bench.images import encode_jpeg, encode_png
from imdl_bench.making import write_atomically

from .pairing import Pair

THINGS = "pairs"  # as the manifest calls them
QUALITY = 75  # what MATLAB's imwrite takes, and so the released generator
ENDS = ("_a.jpg", "_b.jpg", "_a_mask.png", "_b_mask.png")  # of the probe (the composite), the donor, their masks


def store(root: Path, pair: Pair) -> None:
    """Write the four files of a pair: both images as JPEG of one quality, both masks as PNG of 0 and 255."""
    contents = (
        *(encode_jpeg(pixels, QUALITY, "4:2:0") for pixels in (pair.probe, pair.donor)),
        *(encode_png(mask) for mask in (pair.probe_mask, pair.donor_mask)),
    )
    for end, content in zip(ENDS, contents, strict=True):
        write_atomically(root / f"{pair.record['id']}{end}", content)


def files_of(record: Mapping[str, Any]) -> list[str]:
    """Paths of a pair's files, relative to the folder."""
    return [f"{record['id']}{end}" for end in ENDS]
