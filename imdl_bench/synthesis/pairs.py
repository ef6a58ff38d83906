"""Pairs of pictures, one pasted into another: how DMAC's are drawn, and the mix that its networks are trained on.

DMAC (arXiv 1809.02791), Section IV-A. A region of one photograph, the donor, is pasted into another, the host. Any two
of donor, host and composite make a pair.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from imdl_bench.images import encode_jpeg, read_image
from imdl_bench.synthesis.pasting import Change, fits, pasted
from imdl_bench.synthesis.photographs import Photographs
from imdl_bench.synthesis.regions import Mask, Pixels, in_class, outline_points
from imdl_bench.synthesis.streams import Draw, Drawn, Mix

AREA_CLASSES = {"difficult": (0.01, 0.10), "normal": (0.10, 0.25), "easy": (0.25, 0.50)}
CHANGES = ("shift", "rotation", "luminance", "scale", "deformation")  # in the order in which they act
KINDS = ("foreground", "background", "negative")
QUALITY = 75  # of both pictures of every pair, as MATLAB's imwrite and so the released generator
_AMOUNTS = 500
_OUTLINES = 2  # watershed regions of which the better one is taken, where nothing is annotated
_TRIES = 50  # compositions, before the stream gives up one of its draws


@dataclass(frozen=True, slots=True)
class Composite:
    """A region of one picture pasted into another.

    Attributes:
        donor, host: uint8 (side, side, 3).
        donor_mask: bool (side, side), the region in the donor.
        pixels: uint8 (side, side, 3), the host with the region over it.
        mask: bool (side, side), where it lies now.
        record: names of both photographs, the change (None where one is not applied), the region's shares.
    """

    donor: Pixels
    donor_mask: Mask
    host: Pixels
    pixels: Pixels
    mask: Mask
    record: dict[str, Any]


def draw_names(photographs: Photographs, rng: np.random.Generator) -> tuple[str, str]:
    """A donor, and another photograph for a host."""
    donor = photographs.donors[int(rng.integers(len(photographs.donors)))]
    while (host := photographs.names[int(rng.integers(len(photographs.names)))]) == donor:
        pass
    return donor, host


def draw_combination(rng: np.random.Generator) -> tuple[str, ...]:
    """Which changes act in DMAC's set Combination and in its training: a shift, and each other one by a coin."""
    return ("shift", *(kind for kind in CHANGES[1:] if rng.integers(2)))


def draw_change(kinds: tuple[str, ...], side: int, rng: np.random.Generator) -> Change:
    """Amounts, uniform in the paper's ranges: whole pixels, degrees and levels, factors in thousandths.

    Shifts go up to 127 pixels in a frame of 256, and in proportion in others.
    """
    drawn: dict[str, Any] = {}
    for kind in kinds:
        if kind == "shift":
            most = side // 2 - 1
            drawn[kind] = int(rng.integers(-most, most + 1)), int(rng.integers(-most, most + 1))
        elif kind == "rotation":
            drawn[kind] = int(rng.integers(-30, 31))
        elif kind == "luminance":
            drawn[kind] = int(rng.integers(-32, 33))
        else:
            largest = {"scale": 4000, "deformation": 2000}[kind]
            drawn[kind] = int(rng.integers(500, largest + 1)) / 1000
    return Change(**drawn)


def compose(
    photographs: Photographs,
    names: tuple[str, str],
    changes: tuple[str, ...],
    bounds: tuple[float, float],
    rng: np.random.Generator,
    *,
    draws: int = 8,
) -> Composite | None:
    """Paste a region of the first photograph into the second, after all of ``changes``.

    The region's share lies in ``bounds`` before and after, and it stays whole in the frame. Where nothing is annotated,
    it is the best of ``draws`` watershed regions. None where no such region or change is drawn, or a photograph cannot
    be read.
    """
    donor, host = (photographs.read(name) for name in names)
    if donor is None or host is None:
        return None
    mask = photographs.region(names[0], bounds, rng, draws=draws)
    change = None if mask is None else _fitting_change(mask, changes, bounds, rng)
    if mask is None or change is None:
        return None
    pixels, region = pasted(host, donor, mask, change)
    if not in_class(region, bounds):
        return None
    areas = {"donor_area": float(mask.mean()), "probe_area": float(region.mean())}
    record = {"donor": names[0], "host": names[1], **asdict(change), **areas}
    return Composite(donor, mask, host, pixels, region, record)


def _fitting_change(
    mask: Mask, kinds: tuple[str, ...], bounds: tuple[float, float], rng: np.random.Generator
) -> Change | None:
    side = len(mask)
    if not set(kinds) - {"luminance"}:
        return draw_change(kinds, side, rng)
    rim, share = outline_points(mask), float(mask.mean())
    for _ in range(_AMOUNTS):
        change = draw_change(kinds, side, rng)
        if fits(change, rim, share, bounds, side):
            return change
    return None


def make(draw: Draw) -> Drawn | None:
    """A pair of the kind, of a class of area drawn evenly; a coin says which of the two pictures is the probe.

    ``foreground``: donor and composite, whose truths are the region in each. ``background``: host and composite, whose
    truths are all but the region. ``negative``: donor and host, which share nothing; their truths are empty.
    Photographs and compositions are drawn alike for all kinds, and both pictures of every pair compressed alike.
    """
    area, swapped = list(AREA_CLASSES)[int(draw.common.integers(len(AREA_CLASSES)))], bool(draw.common.integers(2))
    for _ in range(_TRIES):
        names, changes = draw_names(draw.photographs, draw.common), draw_combination(draw.common)
        made = compose(draw.photographs, names, changes, AREA_CLASSES[area], draw.common, draws=_OUTLINES)
        if made is not None:
            record = made.record | {"area class": area, "photograph": made.record["host"]}
            return _pair(made, draw.kind, record, swapped=swapped)
    return None


def _pair(made: Composite, kind: str, record: dict[str, Any], *, swapped: bool) -> Drawn:
    nothing = np.zeros_like(made.mask)
    pair = {
        "foreground": ((made.pixels, made.mask), (made.donor, made.donor_mask)),
        "background": ((made.pixels, ~made.mask), (made.host, ~made.mask)),
        "negative": ((made.host, nothing), (made.donor, nothing)),
    }[kind]
    (image, truth), (donor, donor_truth) = pair[::-1] if swapped else pair
    return Drawn(_compressed(image), truth, record | {"swapped": swapped}, _compressed(donor), donor_truth)


def _compressed(pixels: Pixels) -> Pixels:
    return np.asarray(read_image(encode_jpeg(pixels, QUALITY, "4:2:0")))


PAIRS = Mix(recipe=1, kinds=KINDS, make=make, whole=True, negative=("negative",))
