"""How a folder that is being made says what is done so far, and at last what it holds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imdl_bench.cache import write_atomically
from imdl_bench.errors import DataError
from imdl_bench.making import missing_files, refuse_fewer, refuse_other

MANIFEST, UNFINISHED = "manifest.json", "unfinished.jsonl"

Records = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder holds.

    Attributes:
        settings: what must be the same for pictures to belong together: recipe, seed, photographs, versions.
        count: how many were asked for.
        records: how each picture or pair was made, by its id.
    """

    settings: dict[str, Any]
    count: int
    records: Records


def read_manifest(root: Path, things: str) -> Manifest | None:
    """The manifest of a finished folder of ``things``, such as pairs; None where there is none.

    Raises:
        DataError: it cannot be understood.
    """
    path = root / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        records = {record["id"]: record for record in content[things]}
        return Manifest(content["settings"], int(content["count"]), records)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read: {type(error).__name__}: {error}; make the folder again") from None


def write_manifest(root: Path, things: str, manifest: Manifest) -> None:
    """Write it, one record per line, and drop the list of what is done so far."""
    lines = ",\n".join(json.dumps(record) for record in manifest.records.values())
    head = json.dumps({"settings": manifest.settings, "count": manifest.count}, indent=1)
    text = f'{head.removesuffix(chr(10) + "}")},\n "{things}": [\n{lines}\n]}}\n'
    write_atomically(root / MANIFEST, text.encode("utf-8"))
    (root / UNFINISHED).unlink(missing_ok=True)


def read_unfinished(root: Path) -> tuple[dict[str, Any], Records] | None:
    """Settings and records of a making that was stopped; None where there was none, or it had not begun."""
    try:
        lines = (root / UNFINISHED).read_text(encoding="utf-8").split("\n")[:-1]  # the last one may be torn
        settings, *records = map(json.loads, lines)
        return dict(settings), {record["id"]: record for record in records}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{root / UNFINISHED}: cannot be read: {error}; delete the folder and make it again") from None


def done_so_far(
    root: Path,
    things: str,
    settings: Mapping[str, Any],
    count: int,
    files_of: Callable[[dict[str, Any]], Sequence[str]],
    *,
    counted: str,
) -> Records:
    """Records of what lies whole in ``root`` and belongs to these settings, finished or stopped.

    Args:
        count: how many are wanted now; a finished folder does not shrink.
        files_of: the files of a record, relative to ``root``.
        counted: what ``count`` counts, as messages call it.

    Raises:
        UsageError: ``root`` holds things of other settings, more than ``count`` of them, or something else.
        DataError: what it says of itself cannot be understood.
    """
    manifest, unfinished = read_manifest(root, things), read_unfinished(root)
    known = ([(manifest.settings, manifest.records)] if manifest else []) + ([unfinished] if unfinished else [])
    refuse_other(root, [found for found, _ in known], settings, things)
    if manifest:
        refuse_fewer(root, manifest.count, count, counted)
    records = {key: record for _, some in known for key, record in some.items()}
    owner = {file: key for key, record in records.items() for file in files_of(record)}
    broken = {owner[file] for file in missing_files(root, list(owner))}
    return {key: record for key, record in records.items() if key not in broken}


@contextmanager
def unfinished_list(root: Path, settings: dict[str, Any], done: Records) -> Iterator[io.TextIOBase]:
    """A file that takes a record as each pair is done; it begins with those that are done already."""
    lines = [json.dumps(line) + "\n" for line in (settings, *done.values())]
    write_atomically(root / UNFINISHED, "".join(lines).encode("utf-8"))
    with (root / UNFINISHED).open("a", encoding="utf-8", buffering=1) as file:
        yield file
