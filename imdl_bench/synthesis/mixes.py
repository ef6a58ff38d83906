"""The mixes by name: streams of manipulated and pristine examples out of a folder of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from imdl_bench.errors import DataError, UsageError, nearest
from imdl_bench.synthesis.enhancement import ANOMALIES
from imdl_bench.synthesis.four_kinds import FOUR_KINDS
from imdl_bench.synthesis.pairs import PAIRS
from imdl_bench.synthesis.patches import PATCHES
from imdl_bench.synthesis.photographs import Photographs, list_photographs
from imdl_bench.synthesis.streams import Mix, Stream
from imdl_bench.synthesis.unified import UNIFIED
from imdl_bench.synthesis.unified_pairs import UNIFIED_PAIRS

Part = Literal["all", "training", "held-out"]

MIXES: dict[str, Mix] = {
    "anomalies": ANOMALIES,
    "four-kinds": FOUR_KINDS,
    "pairs": PAIRS,
    "unified": UNIFIED,
    "unified-pairs": UNIFIED_PAIRS,
    **PATCHES,
}


def list_mixes() -> list[str]:
    """The names that :func:`open_mix` takes, sorted."""
    return sorted(MIXES)


def open_mix(name: str, photos: Path, *, seed: int, side: int, part: Part = "all") -> Stream:
    """The endless source of a mix's examples, (side, side) each.

    Args:
        name: one of :func:`list_mixes`.
        photos: folder of photographs, of any size and format that is read; those that cannot be read are passed over.
            COCO's instance masks are used where ``annotations/instances_*.json`` lies in it or beside it.
        seed: example i of a seed is always the same.
        part: ``held-out`` is the last tenth of the photographs by name, at least two; ``training`` is the others.

    Raises:
        UsageError: no such mix or part, a side below 32, or ``photos`` is no folder.
        DataError: fewer than two photographs, or annotations that are none.
    """
    if name not in MIXES:
        raise UsageError(f"no mix {name!r}{nearest(name, MIXES)} (known: {', '.join(list_mixes())})")
    return open_stream(name, MIXES[name], photos, seed=seed, side=side, part=part)


def open_stream(name: str, mix: Mix, photos: Path, *, seed: int, side: int, part: Part = "all") -> Stream:
    """As :func:`open_mix`, of a mix of one's own; ``name`` enters the random numbers."""
    if side < 32:
        raise UsageError(f"side {side} is too small; examples need 32 pixels or more")
    if not photos.is_dir():
        raise UsageError(f"{photos} is not a folder of photographs")
    names = _names(list_photographs(photos), photos, part)
    photographs = Photographs(photos, side=side if mix.whole else None, names=names)
    return Stream(name, mix, photographs, seed=seed, side=side, part=part)


def _names(names: list[str], photos: Path, part: str) -> list[str]:
    if part == "all":
        return names
    if part not in ("training", "held-out"):
        raise UsageError(f"no part {part!r}{nearest(part, ['all', 'training', 'held-out'])}")
    if len(names) < 4:
        raise DataError(f"{photos}: {len(names)} pictures; training and held-out need two photographs each")
    held = max(2, len(names) // 10)
    return names[-held:] if part == "held-out" else names[:-held]
