"""DMAC's synthetic pairs (arXiv 1809.02791, Section IV-A), made again out of the user's photographs."""

from __future__ import annotations

from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.making import missing_files, summary
from imdl_bench.synthesis.manifests import MANIFEST, UNFINISHED, Manifest, read_manifest, read_unfinished
from imdl_bench.types import Sample

from .making import RECIPE
from .plan import PAPER_COUNT
from .storing import ENDS, THINGS, files_of

COMMAND = "imdl-bench synth dmac_pairs"


def index(root: Path) -> list[Sample]:
    """The pairs of a folder that ``imdl-bench synth dmac_pairs`` made: 21 sets and classes with equally many pairs.

    The image is the composite (the paper's probe), the donor is the photograph that its region was cut from; both have
    a mask. ``group`` is the donor's photograph, which both images of a pair show.

    Raises:
        DataError: the folder was not made by this command, is not finished, or lacks files.
    """
    manifest = _manifest(root)
    files = [file for record in manifest.records.values() for file in files_of(record)]
    if missing := missing_files(root, files):
        raise DataError(f"dmac_pairs: {root}: {summary(missing)}; the same `{COMMAND}` makes them again")
    return [_sample(root, name, str(record["donor"])) for name, record in manifest.records.items()]


def remarks(root: Path) -> list[str]:
    """How many pairs of what: numbers on them are not those on the paper's."""
    made = _manifest(root)
    outlines = {"coco": "COCO's instance masks", "watershed": "watershed regions"}[made.settings["outlines"]]
    return [
        f"dmac_pairs: {made.count} pairs in each set, of {outlines} in {made.settings['photographs']} photographs, "
        f"seed {made.settings['seed']}; the paper has {PAPER_COUNT}, of COCO val2014"
    ]


def _manifest(root: Path) -> Manifest:
    manifest = read_manifest(root, THINGS)
    if manifest is None:
        if root.is_dir() and read_unfinished(root) is not None:
            raise DataError(f"dmac_pairs: {root} is not finished ({UNFINISHED}); give the same `{COMMAND}` again")
        raise DataError(
            f"dmac_pairs: no {MANIFEST} in {root}; make the pairs with `{COMMAND} --photos DIR --out {root}`"
        )
    if manifest.settings.get("recipe") != RECIPE:
        raise DataError(f"dmac_pairs: {root} was made by another version of `{COMMAND}`; make it again")
    return manifest


def _sample(root: Path, name: str, group: str) -> Sample:
    probe, donor, probe_mask, donor_mask = (root / f"{name}{end}" for end in ENDS)
    return Sample(
        f"{name}{ENDS[0]}", probe, forged=True, mask=probe_mask, donor=donor, donor_mask=donor_mask, kind="splicing",
        group=group,
    )  # fmt: skip
