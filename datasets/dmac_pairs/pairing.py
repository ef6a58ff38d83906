"""One pair: draw a region, a host and a change until the region stays whole and in its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imdl_bench.errors import DataError
from imdl_bench.synthesis.pairs import AREA_CLASSES, compose, draw_names
from imdl_bench.synthesis.photographs import Photographs
from imdl_bench.synthesis.regions import Mask, Pixels

from .plan import PairName, draw_kinds

_REGIONS = 2000


@dataclass(frozen=True, slots=True)
class Pair:
    """Two uint8 (SIZE, SIZE, 3) images that share a region, its bool (SIZE, SIZE) masks in both, and how it was made.

    ``record`` holds the names of both photographs, the change (None where one is not applied), the region's share of
    both frames, and the pictures that were drawn and could not be read.
    """

    probe: Pixels
    probe_mask: Mask
    donor: Pixels
    donor_mask: Mask
    record: dict[str, Any]


def make_pair(name: PairName, seed: int, photographs: Photographs) -> Pair:
    """The pair of that name and seed; it depends on nothing else but the photographs.

    Raises:
        DataError: no photograph gives a region that fits.
    """
    rng, bounds = name.random(seed), AREA_CLASSES[name.area_class]
    kinds = draw_kinds(name.set, rng)
    unreadable: set[str] = set()
    for _ in range(_REGIONS):
        names = draw_names(photographs, rng)
        unreadable |= {one for one in names if photographs.read(one) is None}
        if (made := compose(photographs, names, kinds, bounds, rng)) is not None:
            record = {"id": name.id, **made.record, "unreadable": sorted(unreadable)}
            return Pair(made.pixels, made.mask, made.donor, made.donor_mask, record)
    low, high = bounds
    broken = f"; {len(unreadable)} could not be read, such as {min(unreadable)}" if unreadable else ""
    raise DataError(
        f"{photographs.root}: {name.id}: no region of {low:.0%} to {high:.0%} that fits was found in {_REGIONS} "
        f"drawn from {len(photographs.donors)} photographs{broken}; give more photographs"
    )
