"""PSCC-Net's mix (arXiv 2103.10596, Section IV-A; ranges of its released data): splicing, copy-move, removal, pristine.

The released files differ in format from kind to kind (JPEG, TIFF, PNG), and only some splices are turned and mirrored:
a network can learn that instead of the manipulation. Neither is imitated: hosts are treated alike, and so are results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imdl_bench.examples import PRISTINE
from imdl_bench.synthesis.blending import Layer, blended, moved_layer, placed, really_changed, turned
from imdl_bench.synthesis.curves import closed_curve, filled
from imdl_bench.synthesis.finishing import draw_compression
from imdl_bench.synthesis.inpainting import Inpainter, dilated, telea
from imdl_bench.synthesis.pasting import Change, fits, pasted
from imdl_bench.synthesis.regions import Mask, Pixels, outline_points
from imdl_bench.synthesis.streams import Draw, Drawn, Mix
from imdl_bench.synthesis.unified import Edit

AREAS = (0.01, 0.5)
CURVE_AREAS = (0.15, 0.5)
OBJECT_SHARE = 76_583 / 116_583  # of the splices: content-aware ones against those of random masks
DILATION = 9
OVERLAP = 0.1  # of a copy with what it was copied from
_TRIES = 8  # to edit a host before another is drawn
_AMOUNTS = 100  # of the changes of one region
_CURVE_TRIES = 20
_OUTLINES = 2  # watershed regions of which the better one is taken, where nothing is annotated


def four_kinds(inpaint: Inpainter = telea) -> Mix:
    """The mix, with ``inpaint`` in place of the network that filled the released removals."""
    about = {"inpainting": getattr(inpaint, "__name__", type(inpaint).__name__)}
    kinds = (PRISTINE, "splicing", "copy-move", "removal")
    return Mix(recipe=1, kinds=kinds, make=partial(make, inpaint=inpaint), whole=True, about=about)


def make(draw: Draw, inpaint: Inpainter) -> Drawn | None:
    """One example. Host and compression are drawn in the same way, from numbers of their own, for every kind."""
    finish = draw_compression(draw.side, draw.common)
    name = _drawn(draw.photographs.donors, draw.common)
    host = draw.photographs.read(name)
    if host is None:
        return None
    edit = _edited(name, host, draw, inpaint)
    if edit is None:
        return None
    truth = finish.truth(edit.alpha, draw.side)
    record = {"photograph": name, **edit.record, "quality": finish.quality, "area": round(float(truth.mean()), 4)}
    return Drawn(finish.image(edit.pixels, draw.side), truth, record)


def _edited(name: str, host: Pixels, draw: Draw, inpaint: Inpainter) -> Edit | None:
    if draw.kind == PRISTINE:
        return Edit(host, np.zeros(host.shape[:2], np.uint8), {})
    for _ in range(_TRIES):
        if draw.kind == "removal":
            edit = _removal(name, host, draw, inpaint)
        elif draw.kind == "copy-move":
            edit = _copy_move(name, host, draw)
        else:
            edit = (_object_splice if draw.own.random() < OBJECT_SHARE else _curve_splice)(name, host, draw)
        if edit is None:
            continue
        truth = edit.alpha >= 128
        if AREAS[0] <= truth.mean() <= AREAS[1] and really_changed(host, edit.pixels, truth):
            return edit
    return None


def _object_splice(name: str, host: Pixels, draw: Draw) -> Edit | None:
    """An object of another photograph: shifted; by a coin each turned, lit and scaled; hard-edged."""
    donor_name = _drawn(draw.photographs.donors, draw.own)
    donor = None if donor_name == name else draw.photographs.read(donor_name)
    mask = None if donor is None else draw.photographs.region(donor_name, AREAS, draw.own, draws=_OUTLINES)
    change = None if mask is None else _fitting_change(mask, draw.own)
    if donor is None or mask is None or change is None:
        return None
    pixels, region = pasted(host, donor, mask, change)
    outline = draw.photographs.outlines
    return Edit(pixels, _alpha(region), {"donor": donor_name, "outline": outline, **asdict(change)})


def _fitting_change(mask: Mask, rng: np.random.Generator) -> Change | None:
    """Amounts are drawn together until nothing of the object leaves the frame and its share stays in bounds."""
    side, rim, share = len(mask), outline_points(mask), float(mask.mean())
    turns, lights, scales = (bool(rng.integers(2)) for _ in range(3))
    for _ in range(_AMOUNTS):
        across, down = (int(shift) for shift in rng.integers(-(side // 2 - 1), side // 2, 2))
        change = Change(
            shift=(across, down),
            rotation=int(rng.integers(-10, 11)) if turns else None,
            luminance=int(rng.integers(-32, 33)) if lights else None,
            scale=int(rng.integers(500, 4001)) / 1000 if scales else None,
        )
        if fits(change, rim, share, AREAS, side):
            return change
    return None


def _curve_splice(name: str, host: Pixels, draw: Draw) -> Edit | None:
    """A piece of another photograph under a closed curve, after one of the eight turns and reflections; hard-edged."""
    rng = draw.own
    donor_name = _drawn(draw.photographs.names, rng)
    found = None if donor_name == name else draw.photographs.read(donor_name)
    quarters, reflected = int(rng.integers(4)), bool(rng.integers(2))
    if found is None:
        return None
    donor = np.ascontiguousarray(np.rot90(found[:, ::-1] if reflected else found, quarters))
    mask = filled(closed_curve(rng) * (draw.side - 1), draw.side)
    for _ in range(_CURVE_TRIES):
        matrix, record = _curve_matrix(draw.side, rng)
        layer = moved_layer(donor, mask, matrix)
        if CURVE_AREAS[0] <= (layer.alpha >= 128).mean() <= CURVE_AREAS[1]:
            record |= {"donor": donor_name, "outline": "curve", "quarters": quarters, "reflected": reflected}
            return Edit(blended(host, layer), layer.alpha, record)
    return None


def _curve_matrix(side: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """float64 (2, 3) about the centre: by a coin each a shift, a turn, a scale, a stretch along x or y."""
    shifts, turns, scales, stretches = (bool(rng.integers(2)) for _ in range(4))
    shift = rng.integers(-(side // 2 - 1), side // 2, 2) if shifts else np.zeros(2, int)
    degrees = int(rng.integers(-180, 181)) if turns else 0
    scale = float(rng.uniform(0.5, 2)) if scales else 1.0
    stretch = float(rng.uniform(0.5, 2)) if stretches else 1.0
    upright = bool(rng.integers(2))
    # A stretch along y is one along x by the inverse, with all of it scaled.
    linear = turned(
        degrees, scale * (stretch if upright else 1), mirrored=False, width=1 / stretch if upright else stretch
    )
    centre = np.full(2, (side - 1) / 2)
    record = {"shift": shift.tolist(), "rotation": degrees, "scale": round(scale, 3), "stretch": round(stretch, 3)}
    return np.column_stack([linear, centre + shift - linear @ centre]), record | {"upright": upright}


def _copy_move(name: str, host: Pixels, draw: Draw) -> Edit | None:
    """An object once more, elsewhere; by a coin each turned and scaled. Only the copy is marked, not its source."""
    mask = draw.photographs.region(name, AREAS, draw.own, draws=_OUTLINES)
    turns, scales = draw.own.random(2)
    degrees = int(draw.own.integers(-10, 11)) if turns < 0.5 else 0
    scale = float(draw.own.uniform(0.5, 2)) if scales < 0.5 else 1.0
    linear = turned(degrees, scale, mirrored=False)
    matrix = None if mask is None else placed(mask, linear, draw.own, apart=OVERLAP)
    if mask is None or matrix is None:
        return None
    layer = moved_layer(host, mask, matrix)
    record = {"outline": draw.photographs.outlines, "rotation": degrees, "scale": round(scale, 3)}
    return Edit(blended(host, layer), layer.alpha, record)


def _removal(name: str, host: Pixels, draw: Draw, inpaint: Inpainter) -> Edit | None:
    mask = draw.photographs.region(name, AREAS, draw.own, draws=_OUTLINES)
    if mask is None:
        return None
    hole = dilated(mask, DILATION)
    alpha = _alpha(hole)
    return Edit(blended(host, Layer(inpaint(host, hole), alpha)), alpha, {"outline": draw.photographs.outlines})


def _drawn(names: Sequence[str], rng: np.random.Generator) -> str:
    return names[int(rng.integers(len(names)))]


def _alpha(region: Mask) -> Pixels:
    return region.astype(np.uint8) * np.uint8(255)


FOUR_KINDS = four_kinds()
