"""What every data-set index needs to find files: list a tree, pair by name, read list files. No decoding."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from imdl_bench.errors import DataError
from imdl_bench.images import SUFFIXES
from imdl_bench.types import Sample

_JUNK = re.compile(r"^(\._.*|\.ds_store|thumbs\.db|desktop\.ini|__macosx)$", re.IGNORECASE)
_MASK_FOLDER = re.compile(r"(^|[ _.-])(gt|masks?|edgemask|ground[ _-]?truths?)$", re.IGNORECASE)
_MASK_STEM = re.compile(r"_(gt\d?|mask|edgemask)$", re.IGNORECASE)
_JPEG_COPIES = frozenset({"jpg", "0jpg"})
_NO_MASK = frozenset({"", "none", "negative"})
MASK_ENDINGS = ("_gt", "_mask", "_forged", "_edgemask")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a list file.

    Attributes:
        id: the image as the list writes it, POSIX, without a leading ``./`` or ``/``.
        image: where it is on disk.
        mask: its mask; ``None`` where the list names none or the file is not there.
        forged: ``None`` where the line does not say.
        label: the integer of an MVSS-Net line: 0 pristine, 1 forged, or in some lists 1 copy-move, 2 splicing,
            3 inpainting.
    """

    id: str
    image: Path
    mask: Path | None
    forged: bool | None
    label: int | None = None


def list_images(folder: Path, *, recursive: bool = True) -> list[Path]:
    """Picture files under ``folder`` by suffix (any case), sorted; system junk is left out, links are followed."""
    found: list[Path] = []
    for parent, names in _walk(folder, recursive=recursive):
        found += (parent / name for name in names if _is_picture(name))
    return sorted(found)


def list_folders(root: Path) -> list[Path]:
    """``root`` and every folder under it, sorted; system junk is left out, links are followed."""
    return [folder for folder, _ in _walk(root, recursive=True)]


def separate_masks(root: Path) -> tuple[list[Path], list[Path]]:
    """Photographs and masks under ``root``.

    A mask lies in a folder named like one (``Gt``, ``mask``, ``CASIA 2 Groundtruth``) or its stem ends like one
    (``_gt``, ``_gt3``, ``_mask``, ``_edgemask``). CAT-Net's JPEG copies (folders ``jpg``, ``0jpg``) are left out.
    """

    @cache
    def role(folder: Path) -> str:
        parts = folder.relative_to(root).parts
        if any(_MASK_FOLDER.search(part) for part in parts):
            return "mask"
        return "copy" if any(part.lower() in _JPEG_COPIES for part in parts) else "image"

    images: list[Path] = []
    masks: list[Path] = []
    for path in list_images(root):
        place = role(path.parent)
        if place != "copy":
            (masks if place == "mask" or _MASK_STEM.search(path.stem) else images).append(path)
    return images, masks


def unnest(folder: Path) -> Path:
    """Descend while a folder holds nothing but one folder of its own name (``4cam_splc/4cam_splc``)."""
    while True:
        inside = [entry for entry in folder.iterdir() if not _JUNK.match(entry.name)]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() != folder.name.lower():
            return folder
        folder = inside[0]


def sample_id(path: Path, root: Path) -> str:
    """The sample's key: its path relative to the data root, POSIX."""
    return path.relative_to(root).as_posix()


def key_of(path: Path) -> str:
    """What an image and its mask share: the stem in lower case without one of ``MASK_ENDINGS``."""
    stem = path.stem.lower()
    for ending in MASK_ENDINGS:
        stem = stem.removesuffix(ending)
    return stem


def by_key(paths: Iterable[Path], key: Callable[[Path], str] = key_of) -> dict[str, Path]:
    """Paths by the name that pairs them. Raises DataError where two files claim one name."""
    named: dict[str, Path] = {}
    for path in paths:
        first = named.setdefault(key(path), path)
        if first != path:
            raise DataError(
                f"{path} and {first} pair with the same name {key(path)!r}: two layouts in one folder? "
                f"Remove one, or give the folder that holds only the other"
            )
    return named


def find_list(dataset: str, root: Path, names: Sequence[str]) -> Path | None:
    """The list file to read: ``root`` itself where it is a file, or the one of ``names`` (any case) that lies in it.

    Raises DataError where several lie there: nothing says which one is meant.
    """
    if root.is_file():
        return root
    known = {name.lower() for name in names}
    found = sorted(entry for entry in root.iterdir() if entry.name.lower() in known) if root.is_dir() else []
    if len(found) > 1:
        both = " and ".join(str(path) for path in found)
        raise DataError(
            f"{dataset}: found {both}; give the one you mean: `imdl-bench check {dataset} --data {found[0]}`"
        )
    return found[0] if found else None


def read_list(path: Path) -> list[Listed]:
    """The images of a list file that are on disk; paths are taken relative to the list's folder.

    Reads MVSS-Net's ``image mask|None label``, PSCC-Net's ``image mask``, TruFor's and CAT-Net's comma-separated lines
    and IMDL-BenCo's JSON pairs (``"Negative"`` = pristine). A listed mask that is not on disk becomes ``None``.

    Raises:
        DataError: unreadable, a path that leaves the folder, or none of the images is there.
    """
    lines = [_listed(fields, path) for fields in list_fields(path)]
    present = [line for line in lines if line.image.is_file()]
    if not present:
        first = f" (first: {lines[0].image})" if lines else ""
        raise DataError(
            f"{path}: none of the {len(lines)} listed images exists{first}; "
            f"its paths are read relative to {path.parent}: put the list beside the folders it names"
        )
    return present


def listed_or_found(dataset: str, root: Path, lists: Sequence[str], key: Callable[[Path], str | None]) -> list[Listed]:
    """The images of a data set with their masks: those of its list file, or else those of the folder, paired by key.

    Args:
        lists: names under which a list file may lie in ``root``.
        key: what an image and its mask share by name; ``None`` for files that are not part of the data set.

    Raises:
        DataError: several list files, an unreadable one, or two files with one key.
    """
    path = find_list(dataset, root, lists)
    if path is not None:
        return read_list(path)
    images, masks = (
        by_key((file for file in files if key(file) is not None), lambda file: key(file) or "")
        for files in separate_masks(root)
    )
    return [Listed(sample_id(image, root), image, masks.get(name), None) for name, image in images.items()]


def nothing_found(dataset: str, root: Path, example: str, layouts: Mapping[str, Sequence[str]]) -> DataError:
    """The error for a folder that is not the data set: what was looked for, the nearest layout, how to go on.

    Args:
        example: a file name as the data set has it.
        layouts: by name, the folders and list files each layout is made of.
    """
    here = sorted({folder.name for folder in list_folders(root)} | {path.name for path in _inside(root)})
    nearest = max(layouts, key=lambda name: sum(_likeness(part, here) for part in layouts[name]) / len(layouts[name]))
    missing = [part for part in layouts[nearest] if _likeness(part, here) < 1]
    known = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in layouts.items())
    return DataError(
        f"{dataset}: no image named like {example} under {root}. Known layouts: {known}. "
        f"Nearest is {nearest}" + (f", but {', '.join(missing)} is missing" if missing else "") + ". "
        f"Give the folder above them: `imdl-bench check {dataset} --data DIR`"
    )


def _walk(root: Path, *, recursive: bool) -> Iterator[tuple[Path, list[str]]]:
    visited: set[str] = set()
    for base, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(base)
        if real in visited:  # a link to a folder above it would never end
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not _JUNK.match(name)) if recursive else []
        yield Path(base), names


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES and not _JUNK.match(name)  # noqa: PTH122  a Path per file is slow


def _inside(root: Path) -> list[Path]:
    return list(root.iterdir()) if root.is_dir() else []


def _likeness(part: str, names: Sequence[str]) -> float:
    return max((difflib.SequenceMatcher(None, part.lower(), name.lower()).ratio() for name in names[:1000]), default=0)


def list_fields(path: Path) -> list[list[str]]:
    """The fields of every line of a list file, as :func:`read_list` splits them. Raises DataError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() != ".json":
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            return [[field.strip() for field in (line.split(",") if "," in line else line.split())] for line in lines]
        pairs = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a list of images: {error}") from None
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(field, str) for field in pair) for pair in pairs
    ):
        raise DataError(f'{path}: expected JSON pairs [["image", "mask" or "Negative"], ...]')
    return pairs


def _listed(fields: list[str], path: Path) -> Listed:
    image = _beside(path, fields[0])
    second = fields[1] if len(fields) > 1 else ""
    mask = None if second.lower() in _NO_MASK else _beside(path, second)
    label = int(fields[2]) if len(fields) == 3 and fields[2].isdigit() else None
    forged: bool | None = None
    if label is not None:
        forged = label > 0
    elif mask is not None or second.lower() == "negative":
        forged = mask is not None
    name = PurePosixPath(fields[0].replace("\\", "/")).as_posix().lstrip("/")
    return Listed(name, image, mask if mask and mask.is_file() else None, forged, label)


def _beside(path: Path, entry: str) -> Path:
    posix = PurePosixPath(entry.replace("\\", "/"))
    if ".." in posix.parts:
        raise DataError(f"{path}: {entry!r} leaves the list's folder; write paths relative to it")
    return path.parent / posix


TP_GT: dict[str, tuple[str, ...]] = {"forged": ("tp",), "masks": ("gt",), "pristine": ("au",)}


def index_tp_gt(root: Path, roles: Mapping[str, Sequence[str]] = TP_GT) -> list[Sample]:
    """The samples of a folder with ``Tp`` (forged), ``Gt`` (masks) and ``Au`` (pristine), as IMDL-BenCo lays them out.

    ``roles`` gives the folder names, in lower case, that stand for ``forged``, ``masks`` and ``pristine``. Masks are
    found by name, never by position; a forged image without one has ``mask=None``. Empty where neither forged nor
    pristine images are there.

    Raises:
        DataError: two folders for one role, two masks for one image, or masks of which none has an image's name.
    """
    folders: dict[str, Path] = {}
    for folder in (entry for entry in _inside(root) if entry.is_dir()):
        for role, names in roles.items():
            if folder.name.lower() in names and folders.setdefault(role, folder) != folder:
                raise DataError(f"{folder} and {folders[role]} both hold {role}: remove one, or give a list file")
    folders = {role: unnest(folder) for role, folder in folders.items()}
    photographs = {role: list_images(folder) for role, folder in folders.items()}
    forged, masks = photographs.get("forged", []), photographs.get("masks", [])
    paired = pair_masks(forged, masks, (folders["forged"], folders["masks"])) if forged and masks else {}
    if forged and masks and not paired:
        raise DataError(f"{root}: no mask is named like its image (first: {forged[0].name} and {masks[0].name})")
    samples = [Sample(sample_id(path, root), path, forged=True, mask=paired.get(path)) for path in forged]
    return samples + [Sample(sample_id(path, root), path, forged=False) for path in photographs.get("pristine", [])]


def pair_masks(images: Iterable[Path], masks: Iterable[Path], folders: tuple[Path, Path]) -> dict[Path, Path]:
    """The mask of each image, by its path below its folder without suffix, then without :data:`MASK_ENDINGS` too.

    ``folders`` are those of the images and of the masks. Images without a mask are left out.
    Raises DataError where two masks claim one image.
    """

    def below(path: Path, folder: Path) -> str:
        return path.relative_to(folder).with_suffix("").as_posix().lower()

    def unmarked(path: Path) -> str:
        return (path.relative_to(folders[1]).parent / key_of(path)).as_posix().lower()

    masks = list(masks)
    wanted = {image: below(image, folders[0]) for image in images}
    exact = by_key(masks, lambda path: below(path, folders[1]))
    taken = {exact[key] for key in wanted.values() if key in exact}
    marked = by_key((mask for mask in masks if mask not in taken), unmarked)
    found = {image: exact.get(key) or marked.get(key) for image, key in wanted.items()}
    return {image: mask for image, mask in found.items() if mask}


def one_layout(dataset: str, root: Path, matches: Sequence[str]) -> str | None:
    """The layout that matches, ``None`` where none does. Raises DataError that names both where two do."""
    if len(matches) > 1:
        raise DataError(
            f"{dataset}: {root} holds {' and '.join(matches)}, and nothing says which one is meant; "
            f"give the folder or list file of one of them, or move the other away"
        )
    return matches[0] if matches else None


def index_list(path: Path) -> list[Sample]:
    """The samples of a list file, repeats dropped, ids as the list writes them.

    Forged is what the line says; where it says nothing (``image,None``, or the image alone) the image is pristine,
    unless the list is one of forged images without truth, which TruFor names ``*_fake.*``.
    Raises DataError as :func:`read_list`.
    """
    forged_only = path.stem.lower().endswith("_fake")
    samples: dict[str, Sample] = {}
    for line in read_list(path):
        forged = line.forged if line.forged is not None else forged_only
        samples.setdefault(line.id, Sample(line.id, line.image, forged=forged, mask=line.mask if forged else None))
    return list(samples.values())
