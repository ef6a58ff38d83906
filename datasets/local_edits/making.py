"""Make the data set out of a folder of photographs; what was stopped goes on, what is there is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from imdl_bench.images import encode_png
from imdl_bench.layouts import list_images, sample_id
from imdl_bench.making import (
    digest_of,
    left_out,
    library_versions,
    made_from,
    refuse_fewer,
    refuse_other,
    write_atomically,
)
from imdl_bench.synthesis.manipulations import Pixels

from .manipulations import MANIPULATIONS, every_edit, folder_of
from .patches import Mask, Patch, choose_patches, draw_region
from .storing import MASKS, PRISTINE, Made, file_name, read_made, read_settings, write_list, write_settings

RECIPE = 1  # raise it when the same seed gives other pictures
PAPER_COUNT = 5000
COMPRESSION = 1  # of PNG: higher levels take twice the time for the same size


def make(
    photos: Path,
    out: Path,
    *,
    count: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> list[str]:
    """Write ``count`` patches (5000 if not given, as in the paper) into ``out``: each pristine, and after every edit.

    Patch i of a seed is the same for every ``count``; a folder is continued where it was stopped, and grows if only
    ``count`` does. ``progress`` is told how many patches are done, and of how many.

    Returns:
        remarks: pictures that could not be read.

    Raises:
        UsageError: the photographs hold fewer patches, ``out`` lies under ``photos``, or holds patches of another seed,
            of other photographs, more than ``count`` of them, or something else; or another process makes it.
    """
    wanted = PAPER_COUNT if count is None else count
    with made_from(photos, out):
        settings = _settings(photos, seed)
        _refuse(out, settings, wanted)
        patches, unreadable = choose_patches(photos, wanted, seed)
        write_settings(out, settings)
        shares = []
        for number, patch in enumerate(patches):
            region = draw_region(patch.random(seed, "region"))
            shares.append(float(region.mean()))
            _store(out, number, patch, photos, region, seed)
            progress(number + 1, wanted)
        write_list(out, Made(settings, patches, shares))
    return left_out(photos, unreadable)


def edited(pixels: Pixels, region: Mask, patch: Patch, edit: tuple[str, int | float], seed: int) -> Pixels:
    """The patch with the region taken from an edited copy of the whole patch: filters see past the region's edge."""
    name, value = edit
    changed = MANIPULATIONS[name].change(pixels, value, patch.random(seed, folder_of(name, value)))
    return np.where(region[..., None], changed, pixels)


def _store(out: Path, number: int, patch: Patch, photos: Path, region: Mask, seed: int) -> None:
    edits = {out / folder_of(*edit) / file_name(number): edit for edit in every_edit()}
    pristine, mask = (out / folder / file_name(number) for folder in (PRISTINE, MASKS))
    if all(path.is_file() for path in (pristine, mask, *edits)):
        return
    pixels = patch.read(photos)
    _write(mask, region)
    _write(pristine, pixels)
    for path, edit in edits.items():
        _write(path, edited(pixels, region, patch, edit, seed))


def _write(path: Path, picture: Pixels | Mask) -> None:
    write_atomically(path, encode_png(picture, compress_level=COMPRESSION))


def _settings(photos: Path, seed: int) -> dict[str, object]:
    """What must be the same for pictures to belong together."""
    paths = list_images(photos)
    return {
        "data set": "local_edits",
        "recipe": RECIPE,
        "seed": seed,
        "photographs": len(paths),
        "photographs sha256": digest_of((sample_id(path, photos), path) for path in paths),
        "versions": library_versions(),
    }


def _refuse(out: Path, settings: dict[str, object], count: int) -> None:
    found = read_settings(out)
    refuse_other(out, [found] if found is not None else [], settings, "patches")
    if made := read_made(out):
        refuse_fewer(out, len(made.patches), count, "patches")
