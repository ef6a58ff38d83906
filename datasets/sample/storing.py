"""Write the data set into a folder that is there completely or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imdl_bench.errors import DataError
from imdl_bench.images import encode_jpeg, encode_png, read_image
from imdl_bench.making import write_atomically

from .forging import make_picture
from .plan import RECIPE, Entry, entries

MARKER = "complete.json"
MANIFEST = Path(__file__).with_name("manifest.json")


def pixel_digest(path: Path) -> str:
    """sha256 of a picture's decoded pixels, RGB, after its shape: the same for every lossless rewriting of the file."""
    pixels = np.ascontiguousarray(read_image(path))
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def read_marker(root: Path) -> dict[str, Any] | None:
    """What ``complete.json`` says (``recipe``, ``seed``, ``differs``), or None where there is none."""
    try:
        marker: dict[str, Any] = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise DataError(f"{root / MARKER}: cannot be read: {error}; delete {root} and it is made again") from None
    return marker


def make(folder: Path, seed: int = 0) -> None:
    """Make the data set in ``folder``, which must be missing or empty, or hold it already.

    It is written beside ``folder`` and renamed into place: an interruption leaves nothing half made, and of two
    processes that make it at once one wins and the other takes the winner's. The same seed gives the same pixels;
    :func:`differences` tells where the libraries of this machine round otherwise than those of the manifest.

    Raises:
        DataError: ``folder`` holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()):
        marker = read_marker(folder)
        if marker is not None and (marker["recipe"], marker["seed"]) == (RECIPE, seed):
            return
        raise DataError(f"{folder} is not empty: name a missing or empty folder to make the sample in")
    folder.parent.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        # A folder inside the temporary one: mkdtemp's own is readable by its owner alone.
        made = workshop / folder.name
        for entry in entries(seed):
            _store(entry, made)
        marker = {"recipe": RECIPE, "seed": seed, "differs": _differing(made) if seed == 0 else []}
        (made / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
        _put(made, folder)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def differences(root: Path) -> list[str]:
    """Files whose pixels are not those of ``manifest.json``, as found when they were made; empty where all agree."""
    marker = read_marker(root)
    return [] if marker is None else list(marker["differs"])


def donor_files(entry: Entry) -> tuple[str, str]:
    """Paths of a splice's donor picture and donor mask, relative to the data root."""
    return f"donors/{entry.name}.jpg", f"masks/{entry.name}_donor.png"


def mask_file(entry: Entry) -> str:
    """Path of a forged picture's truth, relative to the data root."""
    return f"masks/{entry.name}.png"


def _store(entry: Entry, root: Path) -> None:
    edit, pixels, donor = make_picture(entry)
    write_atomically(root / entry.file, _encoded(pixels, entry.frame.quality))
    if edit is None:
        return
    write_atomically(root / mask_file(entry), encode_png(edit.truth))
    if donor is not None and edit.donor_mask is not None:
        frame, donor_pixels = donor
        picture, mask = donor_files(entry)
        write_atomically(root / picture, _encoded(donor_pixels, frame.quality))
        write_atomically(root / mask, encode_png(edit.donor_mask))


def _encoded(pixels: NDArray[np.uint8], quality: int | None) -> bytes:
    return encode_png(pixels) if quality is None else encode_jpeg(pixels, quality, "4:2:0")


def _put(made: Path, folder: Path) -> None:
    try:
        if folder.is_dir():
            folder.rmdir()
        made.rename(folder)
    except OSError:
        # Another process was first: its folder is as good as ours.
        if read_marker(folder) is None:
            raise


def _differing(made: Path) -> list[str]:
    expected = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return sorted(name for name, line in expected.items() if pixel_digest(made / name) != line["pixels"])


def describe(root: Path, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Every picture of a made folder with the digest of its pixels and what it is: the content of ``manifest.json``."""
    lines: dict[str, dict[str, Any]] = {}
    for entry in entries(seed):
        line: dict[str, Any] = {"role": "image", "forged": entry.job is not None, "group": entry.frame.photograph}
        lines[entry.file] = line
        if entry.job is None:
            continue
        line |= {"kind": entry.job.kind, "outline": entry.job.outline, "mask": mask_file(entry)}
        lines[mask_file(entry)] = {"role": "mask"}
        if entry.job.kind == "splicing":
            line["donor"], line["donor_mask"] = donor_files(entry)
            lines |= {line["donor"]: {"role": "donor"}, line["donor_mask"]: {"role": "donor mask"}}
    return {name: {"pixels": pixel_digest(root / name), **line} for name, line in sorted(lines.items())}
