"""One pair: draw a region, a host and a change until the region stays whole and in its class."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from imdl_bench.errors import DataError
from imdl_bench.synthesis.pasting import Change, fits, pasted
from imdl_bench.synthesis.photographs import Photographs
from imdl_bench.synthesis.regions import Mask, Pixels, in_class, outline_points

from .plan import CLASSES, SIZE, PairName, draw_change, draw_kinds

_REGIONS = 2000
_AMOUNTS = 500


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
    rng, bounds = name.random(seed), CLASSES[name.area_class]
    kinds = draw_kinds(name.set, rng)
    unreadable: set[str] = set()
    for _ in range(_REGIONS):
        donor_name, host_name = _two_names(photographs, rng)
        donor, host = photographs.read(donor_name), photographs.read(host_name)
        unreadable |= {n for n, pixels in ((donor_name, donor), (host_name, host)) if pixels is None}
        if donor is None or host is None:
            continue
        mask = photographs.region(donor_name, bounds, rng)
        change = None if mask is None else _fitting_change(mask, kinds, bounds, rng)
        if mask is None or change is None:
            continue
        probe, region = pasted(host, donor, mask, change)
        if in_class(region, bounds):
            areas = {"donor_area": float(mask.mean()), "probe_area": float(region.mean())}
            record = {"id": name.id, "donor": donor_name, "host": host_name, **asdict(change), **areas}
            return Pair(probe, region, donor, mask, record | {"unreadable": sorted(unreadable)})
    low, high = bounds
    broken = f"; {len(unreadable)} could not be read, such as {min(unreadable)}" if unreadable else ""
    raise DataError(
        f"{photographs.root}: {name.id}: no region of {low:.0%} to {high:.0%} that fits was found in {_REGIONS} "
        f"drawn from {len(photographs.donors)} photographs{broken}; give more photographs"
    )


def _two_names(photographs: Photographs, rng: np.random.Generator) -> tuple[str, str]:
    donor = photographs.donors[int(rng.integers(len(photographs.donors)))]
    while (host := photographs.names[int(rng.integers(len(photographs.names)))]) == donor:
        pass
    return donor, host


def _fitting_change(
    mask: Mask, kinds: tuple[str, ...], bounds: tuple[float, float], rng: np.random.Generator
) -> Change | None:
    if not set(kinds) - {"luminance"}:
        return draw_change(kinds, rng)
    rim, share = outline_points(mask), float(mask.mean())
    for _ in range(_AMOUNTS):
        change = draw_change(kinds, rng)
        if fits(change, rim, share, bounds, SIZE):
            return change
    return None
