"""DEFACTO-12k: the test list of MVSS-Net over the DEFACTO and COCO 2014 trees. Also what both DEFACTO sets share."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path, PurePosixPath

from imdl_bench.errors import DataError
from imdl_bench.layouts import find_list, index_tp_gt, list_fields, list_images, sample_id
from imdl_bench.types import Sample

LISTS = ("DEFACTO12k-test.txt", "DEFACTO12k_test.txt", "DEFACTO-12k.txt", "DEFACTO12k.json")
ADDRESS = "https://github.com/dong03/DEFACTO-84k-12k"
_PART = re.compile(
    r"^(copy-?move|splicing|inpainting)[-_ ]?(\d*)[-_ ]?(img|images|annotations?)[-_ ]?(\d*)$", re.IGNORECASE
)
_KINDS = {"copymove": "copy-move", "splicing": "splicing", "inpainting": "removal"}
_COCO = re.compile(r"^COCO_(?:train|val|test)2014_\d{12}$", re.IGNORECASE)
_NO_MASK = ("", "none", "negative")
_COCO_ID = re.compile(r"\d{12}$")


def index(root: Path) -> list[Sample]:
    """DEFACTO-12k: 2000 copy-moves, 2000 splices, 2000 removals of DEFACTO and 6000 photographs of COCO test2014.

    The list decides, whether the trees are named as MVSS-Net or as Kaggle names them. Masks are ``probe_mask``: what
    was changed. ``group`` is the COCO photograph, which occurs under several kinds.

    Raises:
        DataError: no list (the trees alone hold 149,000 forgeries, not these), or none of its images.
    """
    listed = find_list("defacto12k", root, LISTS)
    if listed:
        return index_listed("defacto12k", listed)
    flattened = index_tp_gt(root)
    if flattened:
        return flattened
    raise DataError(
        f"defacto12k: {LISTS[0]} is not in {root}. The data set is that list over DEFACTO and COCO test2014: get it "
        f"from {ADDRESS}, put it beside the folders DEFACTO (or copymove_img, splicing_1_img, ...) and CoCo2014, "
        f"or give IMDL-BenCo's Tp and Gt; then run `imdl-bench check defacto12k --data {root}`"
    )


def split_key(name: str) -> str:
    """Kind, part and stem: numbers of variants repeat between copy-move, splicing and its seven parts."""
    path = PurePosixPath(name)
    part = _part(path.parts[:-1])
    return f"{part[0]}{part[1]}/{path.stem.lower()}" if part else path.stem.lower()


def index_listed(dataset: str, path: Path) -> list[Sample]:
    """The samples of a list that are on disk: where the list says, or in the same part of a tree named otherwise."""
    base = path.parent
    lines = [(*fields, "", "")[:3] for fields in list_fields(path)]
    places = {name: base / _posix(path, name) for line in lines for name in line[:2] if name.lower() not in _NO_MASK}
    present = {name: place for name, place in places.items() if place.is_file()}
    images, masks = _tree(base) if len(present) < len(places) else ({}, {})
    samples: dict[str, Sample] = {}
    for image, mask, label in lines:
        name = _posix(path, image).as_posix().lstrip("/")
        forged = label != "0" if label else mask.lower() not in _NO_MASK
        place = present.get(image) or images.get(split_key(name))
        truth = present.get(mask) or masks.get(split_key(name))
        if place is not None:
            samples.setdefault(name, _sample(name, place, truth if forged else None, forged=forged))
    if not samples:
        raise DataError(
            f"{dataset}: none of the {len(lines)} images of {path} is under {base}; put the list beside the folders "
            f"that it names; run `imdl-bench check {dataset} --data {base}`"
        )
    return list(samples.values())


def index_tree(root: Path) -> list[Sample]:
    """Every forgery of the DEFACTO parts under ``root``, and every photograph named as COCO 2014 names them."""
    images, masks = _tree(root)
    samples = [
        _sample(sample_id(path, root), path, masks.get(key), forged=not _COCO.match(path.stem))
        for key, path in images.items()
    ]
    return sorted(samples, key=lambda sample: sample.id)


def _sample(name: str, image: Path, mask: Path | None, *, forged: bool) -> Sample:
    part = _part(PurePosixPath(name).parts[:-1])
    coco = _COCO_ID.search(image.stem)
    return Sample(
        id=name,
        image=image,
        forged=forged,
        mask=mask,
        kind=_KINDS[part[0]] if part and forged else None,
        group=coco[0] if coco else None,
    )


def _part(folders: tuple[str, ...]) -> tuple[str, str, str] | None:
    """Kind, number and content of a DEFACTO part: ``splicing_1_img``, ``Splicing-annotations-1`` among ``folders``."""
    match = next((match for folder in reversed(folders) if (match := _PART.match(folder))), None)
    return (match[1].lower().replace("-", ""), match[2] or match[4], match[3].lower()) if match else None


def _tree(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and masks under ``root`` by :func:`split_key`: ``probe_mask``, or else ``inpaint_mask``."""
    images: dict[str, Path] = {}
    masks: dict[str, dict[str, Path]] = {"inpaint_mask": {}, "probe_mask": {}}
    for folder, paths in groupby(list_images(root), key=lambda path: path.parent):
        part = _part(folder.relative_to(root.parent).parts)
        prefix = f"{part[0]}{part[1]}/" if part else ""
        named = {f"{prefix}{path.stem.lower()}": path for path in paths}
        if part is None:
            images |= {key: path for key, path in named.items() if _COCO.match(key)}
        elif part[2].startswith("im"):
            images |= named
        elif folder.name.lower() in masks:
            masks[folder.name.lower()] |= named
    return images, masks["inpaint_mask"] | masks["probe_mask"]


def _posix(path: Path, name: str) -> PurePosixPath:
    posix = PurePosixPath(name.replace("\\", "/"))
    if ".." in posix.parts:
        raise DataError(f"{path}: {name!r} leaves the list's folder; write paths relative to it")
    return posix
