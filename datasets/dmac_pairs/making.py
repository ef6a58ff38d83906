"""Make the data set out of a folder of photographs; what was stopped goes on, what is there is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imdl_bench.making import left_out, library_versions, made_from
from imdl_bench.synthesis.manifests import Manifest, done_so_far, unfinished_list, write_manifest
from imdl_bench.synthesis.photographs import Photographs

from .pairing import make_pair
from .plan import PAPER_COUNT, SIZE, every_pair
from .storing import THINGS, files_of, store

RECIPE = 1  # raise it when the same seed gives other pairs


def make(
    photos: Path,
    out: Path,
    *,
    count: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> list[str]:
    """Write ``count`` pairs (3000 if not given, as in the paper) for each of the 21 sets and classes into ``out``.

    Pair i of a seed is the same for every ``count``; a folder is continued where it was stopped, and grows if only
    ``count`` does. ``progress`` is told how many pairs are done, and of how many.

    Returns:
        remarks: pictures that were drawn and could not be read.

    Raises:
        UsageError: ``out`` lies under ``photos``, or holds pairs of another seed, of other photographs, more than
            ``count`` of them, or something else; or another process makes it.
        DataError: the photographs cannot be used.
    """
    wanted = PAPER_COUNT if count is None else count
    with made_from(photos, out):
        photographs = Photographs(photos, side=SIZE)
        settings = _settings(photographs, seed)
        done = done_so_far(out, THINGS, settings, wanted, files_of, counted="pairs in each set")
        names = every_pair(wanted)
        with unfinished_list(out, settings, done) as finished:
            for place, name in enumerate(names, start=1):
                if name.id not in done:
                    pair = make_pair(name, seed, photographs)
                    store(out, pair)
                    finished.write(json.dumps(pair.record) + "\n")
                    done[name.id] = pair.record
                progress(place, len(names))
        records = {name.id: done[name.id] for name in names}
        write_manifest(out, THINGS, Manifest(settings, wanted, records))
    return left_out(photos, (name for record in records.values() for name in record["unreadable"]))


def _settings(photographs: Photographs, seed: int) -> dict[str, Any]:
    return {
        "data set": "dmac_pairs",
        "recipe": RECIPE,
        "seed": seed,
        "photographs": len(photographs.names),
        "photographs sha256": photographs.digest(),
        "outlines": photographs.outlines,
        "versions": library_versions(),
    }
