"""NIST Nimble Challenge 2016 (NC2016): the official release, and the copies that other projects made of it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from imdl_bench.errors import DataError
from imdl_bench.layouts import (
    by_key,
    find_list,
    index_list,
    index_tp_gt,
    list_folders,
    list_images,
    nothing_found,
    one_layout,
)
from imdl_bench.types import Sample

LISTS = ("NIST16_for_finetuned.txt", "NIST16_for_pretrained.txt", "NIST16.txt", "NIST16.json")
LAYOUTS = {
    "official": ("probe", "reference", "manipulation", "NC2016-manipulation-ref.csv"),
    "PSCC-Net": ("probe", "mask", "NIST16_for_pretrained.txt"),
    "MVSS-Net": ("NIST16_test", "probe_save", "mask"),
    "IMDL-BenCo": ("Tp", "Gt"),
}
_REFERENCE = re.compile(r"^NC2016[-_](manipulation|splice|remov(?:e|al))[-_]ref\.csv$", re.IGNORECASE)
_PROBE = re.compile(r"NC2016_\d{4}", re.IGNORECASE)
_OFFICIAL_MASK = re.compile(r"^(mani_)?NC2016_\d{4}$", re.IGNORECASE)
_TYPES = {"splice": "splicing", "removal": "removal", "remove": "removal", "copyclone": "copy-move"}
_FLAGS = {
    "ismanipulationtypesplice": "splicing",
    "ismanipulationtyperemoval": "removal",
    "ismanipulationtypecopyclone": "copy-move",
}


def index(root: Path) -> list[Sample]:
    """NIST16: 564 manipulated probes and 560 others (80 of them controls), paired with masks by the reference csv.

    Probe and mask have different numbers, so the csv or a list is needed; PSCC-Net's and TruFor's lists, MVSS-Net's
    export (image and mask of one name) and IMDL-BenCo's ``Tp``/``Gt`` are read as well. ``group`` is the base
    photograph of the csv, otherwise the mask, which the two versions of one edit share.

    Raises:
        DataError: two layouts, none, or a csv without the columns of the release.
    """
    reference_given = root.is_file() and bool(_REFERENCE.match(root.name))
    listed = None if reference_given else find_list("nist16", root, LISTS)
    references = [root] if reference_given else _references(root)
    exported = [] if listed else _exported(root)
    tp_gt = [] if listed else index_tp_gt(root)
    found = {
        "a list file": bool(listed),
        "the official reference csv": bool(references),
        "MVSS-Net's export": bool(exported),
        "Tp and Gt": bool(tp_gt),
    }
    layout = one_layout("nist16", root, [name for name, there in found.items() if there])
    if listed:
        return _from_list(listed)
    if references:
        return _from_csv(references)
    if layout is None:
        raise nothing_found("nist16", root, "NC2016_0128.jpg with NC2016-manipulation-ref.csv or a list", LAYOUTS)
    return [_typed(sample) for sample in exported or tp_gt]


def mask_forged(samples: list[Sample]) -> str:
    """Masks under their official numbers are black where forged; those renamed after their image may be either."""
    masks = [(sample.mask, sample.image) for sample in samples if sample.mask]
    official = all(_OFFICIAL_MASK.match(mask.stem) and mask.stem != image.stem for mask, image in masks)
    return "black" if official else "detect"


def split_key(name: str) -> str:
    """``NC2016_####``: what a probe is called in every layout and list."""
    numbered = _PROBE.search(name.rpartition("/")[2])
    return numbered[0].upper() if numbered else name.lower()


def _references(root: Path) -> list[Path]:
    """The reference csv of the release: of all manipulations, or where that is absent those of the single tasks."""
    found = [path for folder in list_folders(root) for path in sorted(folder.iterdir()) if _REFERENCE.match(path.name)]
    releases = sorted({_release(path) for path in found})
    if len(releases) > 1:
        raise DataError(f"nist16: {releases[0]} and {releases[1]} are two releases under {root}; give the one to use")
    whole = [path for path in found if "manipulation" in path.name.lower()]
    return whole[:1] or found


def _release(reference: Path) -> Path:
    above = reference.parent.parent
    return above.parent if above.name.lower() == "reference" else reference.parent


def _from_csv(references: list[Path]) -> list[Sample]:
    base = _release(references[0])
    rows = [row for path in references for row in _rows(path)]
    places = _places(base, (name for row in rows for name in (_image(row), _mask(row))))
    groups = _groups(rows)
    whole = "manipulation" in references[0].name.lower()
    samples: dict[str, Sample] = {}
    for row in rows:
        image = _image(row)
        forged = _yes(row.get("istarget", ""))
        # A probe that is no target of one task may be one of another: only the csv of all tasks tells pristine ones.
        if not image or image in samples or not (forged or whole):
            continue
        mask = places.get(_mask(row)) if forged else None
        group = groups.get(split_key(image)) or (mask.stem if mask else None)
        kinds = [kind for flag, kind in _FLAGS.items() if _yes(row.get(flag, ""))]
        kind = kinds[0] if forged and len(kinds) == 1 else None
        path = places.get(image)
        if path is not None:
            samples[image] = Sample(image, path, forged=forged, mask=mask, kind=kind, group=group)
    if not samples:
        raise DataError(f"nist16: {references[0]} names {len(rows)} probes, of which none is under {base}")
    return sorted(samples.values(), key=lambda sample: sample.id)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        table = [[field.strip() for field in line] for line in csv.reader(lines, delimiter="|") if line]
    header = [name.lower() for name in table[0]] if table else []
    if "istarget" not in header or not {"probefilename", "imgfname"} & set(header):
        raise DataError(f"{path}: expected columns ProbeFileName and IsTarget split by '|', found {header[:4]}")
    return [dict(zip(header, fields, strict=False)) for fields in table[1:]]


def _yes(field: str) -> bool:
    return field.lower() in ("y", "yes", "true", "1")


def _image(row: dict[str, str]) -> str:
    return row.get("probefilename") or row.get("imgfname", "")


def _mask(row: dict[str, str]) -> str:
    return row.get("probemaskfilename") or row.get("maskfname", "")


def _groups(rows: list[dict[str, str]]) -> dict[str, str]:
    """Base photograph of every probe; a control belongs to the photograph whose forgeries name it."""
    groups: dict[str, str] = {}
    for row in rows:
        base = split_key(row["basefilename"]) if row.get("basefilename") else ""
        control = row.get("correspondingcontrolfilename", "")
        if base:
            groups[split_key(_image(row))] = base
            if control:
                groups.setdefault(split_key(control), base)
    return groups


def _places(base: Path, names: Iterable[str]) -> dict[str, Path]:
    """Where the csv's names lie: whatever the case of the suffix, in ``remove`` or ``removal``."""
    folders: dict[Path, dict[str, Path]] = {}

    def find(name: str) -> Path | None:
        path = base / name
        if path.parent not in folders:
            folders[path.parent] = by_key(list_images(path.parent, recursive=False), lambda file: file.stem.lower())
        return folders[path.parent].get(path.stem.lower())

    found = {}
    for name in set(names) - {""}:
        spellings = (name, name.replace("/remove/", "/removal/"), name.replace("/removal/", "/remove/"))
        place = next((place for place in map(find, spellings) if place), None)
        if place is not None:
            found[name] = place
    return found


def _from_list(path: Path) -> list[Sample]:
    known = {sample.id: sample for sample in _described(path.parent)}
    samples = [_typed(replace(sample, group=_mask_number(sample.mask))) for sample in index_list(path)]
    return [
        replace(sample, kind=known[sample.id].kind, group=known[sample.id].group) if sample.id in known else sample
        for sample in samples
    ]


def _mask_number(mask: Path | None) -> str | None:
    return mask.stem.removeprefix("mani_") if mask and _OFFICIAL_MASK.match(mask.stem) else None


def _described(base: Path) -> list[Sample]:
    """What the official csv, where it lies beside the list, says about kinds and base photographs."""
    references = _references(base) if (base / "reference").is_dir() else []
    return _from_csv(references) if references else []


def _exported(root: Path) -> list[Sample]:
    """MVSS-Net's export: ``probe_save`` and ``mask`` side by side, image and mask of one name."""
    folders = [folder for folder in list_folders(root) if folder.name.lower() == "probe_save"]
    samples = []
    for folder in folders:
        masks = by_key(list_images(folder.parent / "mask"), lambda path: path.stem.lower())
        for image in list_images(folder):
            name = image.relative_to(root).as_posix()
            samples.append(Sample(name, image, forged=True, mask=masks.get(image.stem.lower())))
    return samples


def _typed(sample: Sample) -> Sample:
    """With the kind that the mask's task folder or an exported name says, where all regions are of one kind."""
    task = sample.mask.parent.parent.name.lower() if sample.mask else ""
    kinds = {kind for name, kind in _TYPES.items() if f"_{name}" in sample.image.stem.lower() or task == name}
    return replace(sample, kind=kinds.pop()) if len(kinds) == 1 else sample
