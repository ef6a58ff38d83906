"""Paired CASIA (Wu, Abd-Almageed and Natarajan, DMVN 2017): pairs of CASIA v2 images that share a region or do not."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.layouts import find_list
from imdl_bench.types import Sample

from ..casia_v2 import index as v2

PAIRS = "paired_CASIA_ids.csv"
COLUMNS = ("ProbeID", "DonorID", "Label")


def index(root: Path) -> list[Sample]:
    """The pairs of ``paired_CASIA_ids.csv``, which lies in the folder that holds CASIA v2 (or is ``root`` itself).

    3642 positive pairs (a splice and one of its two parents) and 5000 negative ones (two pristine images of one
    category). ``forged`` says that the two share a region; there are no masks. Names in the file are those of the
    original release: forged ones are found by their number. The id is ``<ProbeID>|<DonorID>`` as the file has it.
    Pairs of which an image is missing are left out; the card's counts tell.

    Raises:
        DataError: no CSV file, other columns, no CASIA v2, or none of the pairs is there.
    """
    path = find_list("casia_pairs", root, [PAIRS])
    if path is None:
        raise DataError(
            f"casia_pairs: no {PAIRS} in {root}. Positive pairs could be rebuilt from the Tp_D_ names of CASIA v2, but "
            f"the 5000 negative ones were drawn at random and stand in that file only; put it beside CASIA v2 "
            f"(its source is in the card: `imdl-bench show casia_pairs`)"
        )
    images = {v2.split_key(sample.image.name): sample for sample in v2.index(path.parent)}
    rows = _rows(path)
    found = [row for row in rows if all(v2.split_key(name) in images for name in row[:2])]
    if not found:
        raise DataError(f"{path}: none of its {len(rows)} pairs is among the {len(images)} images under {path.parent}")
    seen: Counter[str] = Counter()
    samples = []
    for probe, donor, label in found:
        name = f"{probe}|{donor}"
        seen[name] += 1
        first, second = images[v2.split_key(probe)], images[v2.split_key(donor)]
        number = f"#{seen[name]}" if seen[name] > 1 else ""  # random negatives may repeat
        samples.append(
            Sample(name + number, first.image, forged=label == "1", donor=second.image, group=first.group),
        )
    return samples


def split_key(name: str) -> str:
    """A pair's id in lower case: stems hold no further dot, and both halves count."""
    return name.lower()


def _rows(path: Path) -> list[tuple[str, str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise DataError(f"{path}: columns {reader.fieldnames}, expected {', '.join(COLUMNS)}")
            rows = [tuple((row[column] or "").strip() for column in COLUMNS) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file: {error}") from None
    for number, row in enumerate(rows, start=2):
        if row[2] not in ("0", "1"):
            raise DataError(f"{path}: line {number}: label {row[2]!r}, expected 0 or 1")
    return [(probe, donor, label) for probe, donor, label in rows]
