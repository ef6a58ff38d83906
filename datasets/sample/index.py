"""The built-in data set: made on first use from photographs that scikit-image and scikit-learn ship."""

from __future__ import annotations

from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.making import summary
from imdl_bench.types import Sample

from .plan import RECIPE, Entry, entries
from .storing import differences, donor_files, make, mask_file, read_marker

__all__ = ["differences", "index", "make", "remarks"]


def index(root: Path) -> list[Sample]:
    """48 forged images, 12 of each kind, then 48 pristine ones; they are made first where ``root`` is missing or empty.

    Masks are white where forged; a splice has its donor and the region taken from it; ``group`` is the host's
    photograph.

    Raises:
        DataError: ``root`` holds something else, another recipe's pictures, or not all of them.
    """
    if read_marker(root) is None:
        make(root)
    marker = read_marker(root)
    if marker is None or marker["recipe"] != RECIPE:
        raise DataError(f"{root} was made by another version of the sample; delete it and it is made again")
    samples = [_sample(entry, root) for entry in entries(int(marker["seed"]))]
    files = [path for s in samples for path in (s.image, s.mask, s.donor, s.donor_mask) if path is not None]
    missing = [path.relative_to(root).as_posix() for path in files if not path.is_file()]
    if missing:
        raise DataError(f"{root}: {summary(missing)}; delete {root} and it is made again")
    return samples


def remarks(root: Path) -> list[str]:
    """Says so where this machine's libraries made other pixels than the manifest holds."""
    differing = differences(root)
    if not differing:
        return []
    return [f"sample: {len(differing)} files differ from the manifest (other library versions), first {differing[0]}"]


def _sample(entry: Entry, root: Path) -> Sample:
    image, group = root / entry.file, entry.frame.photograph
    if entry.job is None:
        return Sample(id=entry.file, image=image, forged=False, group=group)
    spliced = entry.job.kind == "splicing"
    donor, donor_mask = (root / name for name in donor_files(entry))
    return Sample(
        id=entry.file,
        image=image,
        forged=True,
        mask=root / mask_file(entry),
        donor=donor if spliced else None,
        donor_mask=donor_mask if spliced else None,
        kind=entry.job.kind,
        group=group,
    )
