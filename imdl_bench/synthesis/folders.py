"""A mix written to disk: pictures, truths, and the list that the data sets ``folder`` and ``pairs`` read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imdl_bench.cache import write_atomically
from imdl_bench.errors import UsageError
from imdl_bench.images import encode_png
from imdl_bench.making import left_out, made_from
from imdl_bench.synthesis.manifests import Manifest, Records, done_so_far, unfinished_list, write_manifest
from imdl_bench.synthesis.mixes import Part, open_mix
from imdl_bench.synthesis.streams import Drawn, Stream
from imdl_bench.types import KINDS

INDEX, THINGS = "index.csv", "examples"
FOLDERS = {"image": "images", "mask": "truths", "donor": "donors", "donor_mask": "donor_truths"}
COLUMNS = (*FOLDERS, "forged", "kind", "group")
COMPRESSION = 1  # of PNG, for all alike: higher levels take twice the time for the same size


def write_folder(
    name: str,
    photos: Path,
    out: Path,
    *,
    count: int,
    seed: int = 0,
    side: int = 256,
    part: Part = "all",
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> list[str]:
    """Write the examples 0 to ``count - 1`` of a mix as PNG, with ``index.csv`` and at last ``manifest.json``.

    They are those that a training sees under this seed. A stopped folder is continued, and grows if only ``count``
    does: the same arguments give the same bytes. ``progress`` is told how many are done, and of how many.

    Returns:
        remarks: pictures that were drawn now and could not be read.

    Raises:
        UsageError: as ``open_mix``; the mix holds whole images of a class; ``out`` lies under ``photos``, or holds
            examples of other settings, more than ``count`` of them, or something else; another process makes it.
        DataError: the photographs do not give such examples.
    """
    with made_from(photos, out):
        stream = open_mix(name, photos, seed=seed, side=side, part=part)
        _refuse_classes(stream)
        settings = json.loads(json.dumps(stream.about))  # as it is read again
        there = done_so_far(out, THINGS, settings, count, _files, counted=THINGS)
        done = {key: record for key, record in there.items() if int(key) < count}
        with unfinished_list(out, settings, done) as finished:
            for number in range(count):
                if (key := f"{number:07}") not in done:
                    done[key] = _stored(out, key, stream, number)
                    finished.write(json.dumps(done[key]) + "\n")
                progress(number + 1, count)
        records = {key: done[key] for key in sorted(done)}
        write_atomically(out / INDEX, _index(records).encode("utf-8"))
        write_manifest(out, THINGS, Manifest(settings, count, records))
    return left_out(photos, stream.photographs.unreadable)


def _refuse_classes(stream: Stream) -> None:
    if stream.made(0).label is not None:
        raise UsageError(
            f"{stream.name} holds images that are manipulated as a whole, for classification: there is no truth to "
            "write; take another mix"
        )


def _stored(out: Path, key: str, stream: Stream, number: int) -> dict[str, Any]:
    """Write an example's files; returns its record."""
    drawn, kind = stream.made(number), stream.kind(number)
    forged = kind not in stream.mix.negative
    record = {"id": key, "kind": kind, "forged": forged, "pair": drawn.donor is not None, **drawn.record}
    for file, picture in zip(_files(record), _pictures(drawn, forged=forged), strict=True):
        write_atomically(out / file, encode_png(picture, compress_level=COMPRESSION))
    return record


def _pictures(drawn: Drawn, *, forged: bool) -> list[Any]:
    pictures = [drawn.image, *([drawn.truth] if forged else [])]
    if drawn.donor is None:
        return pictures
    return [*pictures, drawn.donor, *([drawn.donor_truth] if forged else [])]


def _files(record: dict[str, Any]) -> list[str]:
    return list(_columns(record).values())


def _columns(record: dict[str, Any]) -> dict[str, str]:
    """The files of an example by the column that names them; what is pristine has no truth."""
    names = [column for column in FOLDERS if record["pair"] or not column.startswith("donor")]
    wanted = [column for column in names if record["forged"] or not column.endswith("mask")]
    return {column: f"{FOLDERS[column]}/{record['id']}.png" for column in wanted}


def _index(records: Records) -> str:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for record in records.values():
        kind = record["kind"] if record["kind"] in KINDS else ""
        row = {"forged": int(record["forged"]), "kind": kind, "group": record.get("photograph", "")}
        table.writerow(_columns(record) | row)
    return text.getvalue()
