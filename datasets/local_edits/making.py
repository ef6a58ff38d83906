"""Make the data set out of a folder of photographs; what was stopped goes on, what is there is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL
import scipy

from imdl_bench.errors import UsageError
from imdl_bench.layouts import list_images, sample_id

from .manipulations import MANIPULATIONS, Pixels, every_edit, folder_of
from .patches import Mask, Patch, choose_patches, draw_region
from .storing import (
    MASKS,
    PRISTINE,
    Made,
    encode_png,
    file_name,
    read_made,
    read_settings,
    write,
    write_list,
    write_settings,
)

RECIPE = 1  # raise it when the same seed gives other pictures
PAPER_COUNT = 5000


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
            of other photographs, more than ``count`` of them, or something else.
    """
    wanted = PAPER_COUNT if count is None else count
    if not photos.is_dir():
        raise UsageError(f"{photos} is not a folder of photographs")
    if out.resolve().is_relative_to(photos.resolve()):
        raise UsageError(f"{out} lies under {photos}: what is made would be taken for photographs; name another folder")
    settings = _settings(photos, seed)
    _refuse_other(out, settings, wanted)
    patches, unreadable = choose_patches(photos, wanted, seed)
    write_settings(out, settings)
    shares = []
    for number, patch in enumerate(patches):
        region = draw_region(patch.random(seed, "region"))
        shares.append(float(region.mean()))
        _store(out, number, patch, photos, region, seed)
        progress(number + 1, wanted)
    write_list(out, Made(settings, patches, shares))
    return [f"could not be read, and is left out: {photos / name}" for name in unreadable]


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
    write(mask, encode_png(region.astype(np.uint8) * 255))
    write(pristine, encode_png(pixels))
    for path, edit in edits.items():
        write(path, encode_png(edited(pixels, region, patch, edit, seed)))


def _settings(photos: Path, seed: int) -> dict[str, object]:
    """What must be the same for pictures to belong together."""
    paths = list_images(photos)
    lines = [f"{sample_id(path, photos)}\0{path.stat().st_size}\n" for path in paths]
    return {
        "data set": "local_edits",
        "recipe": RECIPE,
        "seed": seed,
        "photographs": len(paths),
        "photographs sha256": hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest(),
        "versions": {
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "pillow": PIL.__version__,
            "scipy": scipy.__version__,
        },
    }


def _refuse_other(out: Path, settings: dict[str, object], count: int) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    found = read_settings(out)
    if found is None:
        raise UsageError(f"{out} holds something else; name a new or empty folder")
    for key in settings:
        if found.get(key) != settings[key]:
            raise UsageError(
                f"{out} holds patches made with another {key} ({found.get(key)}, now {settings[key]}); "
                "name another folder, or delete this one"
            )
    made = read_made(out)
    if made and len(made.patches) > count:
        raise UsageError(
            f"{out} holds {len(made.patches)} patches, more than {count}; name another folder, "
            f"or give --count {len(made.patches)} or more"
        )
