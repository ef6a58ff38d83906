"""Pictures of one's own: a Tp/Gt/Au folder, a CSV, or any list file that other projects write."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from imdl_bench.errors import DataError, nearest
from imdl_bench.layouts import index_list, index_tp_gt, list_fields, nothing_found, one_layout
from imdl_bench.types import KINDS, Sample

ROLES = {
    "forged": ("tp", "forged", "fake", "tampered"),
    "masks": ("gt", "mask", "masks", "groundtruth"),
    "pristine": ("au", "pristine", "authentic", "real"),
}
LISTS = ("index.csv", "index.json", "index.txt")
LAYOUTS = {"Tp, Gt, Au": ("Tp", "Gt"), "list": ("index.csv",)}
COLUMNS = ("image", "mask", "forged", "donor", "donor_mask", "kind", "group")
_PATHS = ("image", "mask", "donor", "donor_mask")
_NO_FILE = ("", "none", "negative")
_FORGED = {
    **dict.fromkeys(("1", "true", "yes", "y", "forged", "tampered", "fake"), True),
    **dict.fromkeys(("0", "false", "no", "n", "pristine", "authentic", "real"), False),
}


def index(root: Path) -> list[Sample]:
    """Any folder with ``Tp`` (forged), ``Gt`` (masks), ``Au`` (pristine), or a list file.

    ``root`` is the folder, the list file, or a folder that holds it as ``index.csv``, ``index.json`` or ``index.txt``.
    A CSV has a header with ``image`` and, as wanted, the other :data:`COLUMNS`; lists are those of MVSS-Net, PSCC-Net,
    TruFor, CAT-Net and IMDL-BenCo. Every listed file must be there: one's own list leaves nothing out unnoticed.

    Raises:
        DataError: two layouts, none, an absent file, or a line that cannot be read; names file and line.
    """
    if root.is_file():
        return _from_file(root)
    lists = [root / name for name in LISTS if (root / name).is_file()]
    samples = index_tp_gt(root, ROLES)
    layout = one_layout("folder", root, [path.name for path in lists] + (["Tp, Gt or Au"] if samples else []))
    if layout is None:
        raise nothing_found("folder", root, "Tp/1.jpg with Gt/1.png", LAYOUTS)
    return samples or _from_file(lists[0])


def _from_file(path: Path) -> list[Sample]:
    if path.suffix.lower() == ".csv" and _has_header(path):
        return _once(path, read_csv(path))
    for line, fields in enumerate(list_fields(path), 1):
        for name in fields[:2]:
            if name.lower() not in _NO_FILE:
                _existing(path, line, name)
    return index_list(path)


def _has_header(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        return "image" in [field.strip(' "\r\n').lower() for field in lines.readline().replace(";", ",").split(",")]


def _once(path: Path, lines: list[tuple[int, Sample]]) -> list[Sample]:
    samples: dict[str, Sample] = {}
    for line, sample in lines:
        if samples.setdefault(sample.id, sample) is not sample:
            raise DataError(f"{path}:{line}: {sample.id} is listed twice")
    return list(samples.values())


def read_csv(path: Path) -> list[tuple[int, Sample]]:
    """The lines of a CSV under a header of :data:`COLUMNS`, each with its number. An id is the image's path.

    Raises:
        DataError: an absent file, a column or a word that is not known, or no line; names file and line.
    """
    samples = [(line, _sample(path, line, row)) for line, row in _rows(path)]
    if not samples:
        raise DataError(f"{path}: no lines after the header")
    return samples


def _sample(path: Path, line: int, row: dict[str, str]) -> Sample:
    files = {column: _existing(path, line, row.get(column, "")) for column in _PATHS}
    image = files["image"]
    if image is None:
        raise DataError(f"{path}:{line}: column image is empty")
    forged = _forged(path, line, row.get("forged", ""), with_mask=files["mask"] is not None)
    return Sample(
        id=name_of(path, image),
        image=image,
        forged=forged,
        mask=files["mask"] if forged else None,
        donor=files["donor"],
        donor_mask=files["donor_mask"] if forged else None,
        kind=_kind(path, line, row.get("kind", "")),
        group=row.get("group") or None,
    )


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            delimiter = ";" if ";" in lines.readline() else ","
            lines.seek(0)
            table = csv.reader(lines, delimiter=delimiter)
            header = [name.strip().lower() for name in next(table)]
            rows = [(table.line_num, list(map(str.strip, row))) for row in table if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from None
    for name in header:
        if name not in COLUMNS:
            raise DataError(f"{path}: unknown column {name!r}{nearest(name, COLUMNS)} (known: {', '.join(COLUMNS)})")
        if header.count(name) > 1:
            raise DataError(f"{path}: column {name!r} stands there twice")
    for line, row in rows:
        if len(row) > len(header):
            raise DataError(f"{path}:{line}: {len(row)} fields, but the header has {len(header)}")
    return [(line, dict(zip(header, row, strict=False))) for line, row in rows]


def _existing(path: Path, line: int, name: str) -> Path | None:
    """The file that a list names: beside or below the list, or anywhere if written as an absolute path."""
    if name.lower() in _NO_FILE:
        return None
    posix = PurePosixPath(name.replace("\\", "/"))
    if ".." in posix.parts:
        raise DataError(f"{path}:{line}: {name!r} leaves the list's folder; write a path below it or an absolute one")
    place = path.parent / posix
    if not place.is_file():
        raise DataError(f"{path}:{line}: {place} does not exist (paths are read relative to {path.parent})")
    return place


def name_of(path: Path, image: Path) -> str:
    """A listed image relative to its list, POSIX; elsewhere on the disk by its whole path."""
    inside = image.is_relative_to(path.parent)
    return image.relative_to(path.parent).as_posix() if inside else image.as_posix().lstrip("/")


def _forged(path: Path, line: int, field: str, *, with_mask: bool) -> bool:
    if not field:
        return with_mask
    if field.lower() not in _FORGED:
        raise DataError(f"{path}:{line}: forged is {field!r}; write 1 or 0")
    return _FORGED[field.lower()]


def _kind(path: Path, line: int, field: str) -> str | None:
    if field and field not in KINDS:
        raise DataError(f"{path}:{line}: kind {field!r}{nearest(field, KINDS)} (known: {', '.join(KINDS)})")
    return field or None
