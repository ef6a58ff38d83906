"""Patches of photographs in which one region was edited, each edit at several strengths."""

from __future__ import annotations

from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.making import missing_files, summary
from imdl_bench.types import Sample

from .making import PAPER_COUNT, RECIPE
from .manipulations import every_edit, folder_of
from .storing import LIST, MASKS, PRISTINE, Made, file_name, files_of, read_made, read_settings

COMMAND = "imdl-bench synth local_edits"


def index(root: Path) -> list[Sample]:
    """The pictures of a folder that ``imdl-bench synth local_edits`` made: every edit of every patch, then the patches.

    All edits of a patch share its mask; ``group`` is its photograph.

    Raises:
        DataError: the folder was not made by this command, is not finished, or lacks files.
    """
    made = _made(root)
    edits = [folder_of(*edit) for edit in every_edit()]
    if missing := missing_files(root, files_of(len(made.patches), [*edits, PRISTINE, MASKS])):
        raise DataError(f"local_edits: {root}: {summary(missing)}; the same `{COMMAND}` makes them again")
    return [
        _sample(root, folder, number, patch.photograph)
        for folder in [*edits, PRISTINE]
        for number, patch in enumerate(made.patches)
    ]


def remarks(root: Path) -> list[str]:
    """What the pictures are made of: numbers on them are not those on the paper's."""
    made = _made(root)
    photographs = len({patch.photograph for patch in made.patches})
    return [
        f"local_edits: {len(made.patches)} patches of {photographs} photographs, seed {made.settings['seed']}; "
        f"the paper has {PAPER_COUNT}, of the Dresden database"
    ]


def _made(root: Path) -> Made:
    made = read_made(root)
    if made is None:
        if read_settings(root) is not None:
            raise DataError(f"local_edits: {root} is not finished (no {LIST}); give the same `{COMMAND}` again")
        raise DataError(f"local_edits: {root} was not made by `{COMMAND} --photos DIR --out {root}`")
    if made.settings.get("recipe") != RECIPE:
        raise DataError(f"local_edits: {root} was made by another version of `{COMMAND}`; make it again")
    return made


def _sample(root: Path, folder: str, number: int, group: str) -> Sample:
    name = file_name(number)
    if folder == PRISTINE:
        return Sample(f"{folder}/{name}", root / folder / name, forged=False, group=group)
    return Sample(
        f"{folder}/{name}", root / folder / name, forged=True, mask=root / MASKS / name, kind="enhancement", group=group
    )
