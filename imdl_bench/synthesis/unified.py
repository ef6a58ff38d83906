"""The mix that every method can be trained on: photographs of any size, outlines of both kinds, hard and soft edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from imdl_bench.examples import PRISTINE
from imdl_bench.synthesis.blending import Layer, blended, moved_layer, placed, really_changed, turned
from imdl_bench.synthesis.curves import curve_of_share
from imdl_bench.synthesis.finishing import Finish, draw_finish
from imdl_bench.synthesis.frames import Frame, draw_frame
from imdl_bench.synthesis.inpainting import dilated, navier_stokes, telea
from imdl_bench.synthesis.outlines import object_outline
from imdl_bench.synthesis.photographs import Photographs
from imdl_bench.synthesis.regions import Mask, Pixels
from imdl_bench.synthesis.streams import Draw, Drawn, Mix

AREAS = (0.01, 0.5)  # of what is pasted, as shares of the image
AREAS_INSIDE = (0.01, 0.3)  # of what is copied or removed: the rest of the image has to give room and filling
OVERLAP = 0.1
_TRIES = 8  # to edit a host before another is drawn
_OUTLINES = 2  # watershed regions of which the better one is taken


@dataclass(frozen=True, slots=True)
class Edit:
    """What a kind makes of its host.

    Attributes:
        pixels: uint8 (canvas, canvas, 3).
        alpha: uint8 (canvas, canvas), the share of what is new.
        record: how it was done.
        donor: the frame that a pasted region was cut from; in a copy-move the host.
        region: bool (canvas, canvas), that region in the donor's frame.
    """

    pixels: Pixels
    alpha: Pixels
    record: Mapping[str, Any]
    donor: Frame | None = None
    region: Mask | None = None


@dataclass(frozen=True, slots=True)
class Edited:
    """A finished example, and what it was before its last processing."""

    drawn: Drawn
    edit: Edit
    finish: Finish


MakeEdit = Callable[[Frame, Draw], Edit | None]


def make(draw: Draw) -> Drawn | None:
    """One example of a kind of :data:`EDITS`, or a pristine one."""
    made = edited(draw, EDITS)
    return None if made is None else made.drawn


def edited(draw: Draw, edits: Mapping[str, MakeEdit]) -> Edited | None:
    """One example. Host, frame and finish are drawn in the same way, from numbers of their own, for every kind."""
    finish = draw_finish(draw.side, draw.common)
    host = draw_frame(draw.photographs, finish.canvas, draw.common)
    if host is None:
        return None
    if draw.kind == PRISTINE:
        untouched = np.zeros(host.pixels.shape[:2], np.uint8)
        return _finished(host, Edit(host.pixels, untouched, {}), finish, draw.side)
    for _ in range(_TRIES):
        edit = edits[draw.kind](host, draw)
        if edit is None:
            continue
        made = _finished(host, edit, finish, draw.side)
        if AREAS[0] <= made.drawn.truth.mean() <= AREAS[1]:
            return made
    return None


def _finished(host: Frame, edit: Edit, finish: Finish, side: int) -> Edited:
    truth = finish.truth(edit.alpha, side)
    record = {"photograph": host.photograph, "cut": [host.left, host.top, host.cut], **edit.record}
    record |= {"canvas": finish.canvas, "quality": finish.quality, "area": round(float(truth.mean()), 4)}
    return Edited(Drawn(finish.image(edit.pixels, side), truth, record), edit, finish)


def _splicing(host: Frame, draw: Draw) -> Edit | None:
    donor = draw_frame(draw.photographs, len(host.pixels), draw.own, beside=host.photograph)
    if donor is None:
        return None
    return _pasted(host, donor, AREAS, None, draw)


def _copy_move(host: Frame, draw: Draw) -> Edit | None:
    return _pasted(host, host, AREAS_INSIDE, OVERLAP, draw)


def _pasted(host: Frame, donor: Frame, areas: tuple[float, float], apart: float | None, draw: Draw) -> Edit | None:
    outline, mask = _region(donor, draw.photographs, areas, draw.own)
    turns, scales, lights, soft, mirrors = draw.own.random(5)
    degrees = 0 if turns < 0.5 else int(draw.own.integers(-30, 31))
    scale = 1.0 if scales < 0.5 else float(np.exp(draw.own.uniform(np.log(0.5), np.log(2))))
    luminance = 0 if lights < 0.5 else int(draw.own.integers(-32, 33))
    softness = 0.0 if soft < 0.5 else float(draw.own.uniform(0.5, 2))
    mirrored = bool(mirrors < 0.25)
    if mask is None or not areas[0] <= mask.mean() * scale**2 <= areas[1]:
        return None
    matrix = placed(mask, turned(degrees, scale, mirrored=mirrored), draw.own, apart=apart)
    if matrix is None:
        return None
    layer = moved_layer(donor.pixels, mask, matrix, luminance=luminance, softness=softness)
    record: dict[str, Any] = {
        "donor": None if donor is host else donor.photograph,
        "outline": outline,
        "rotation": degrees,
    }
    record |= {"scale": round(scale, 3), "mirrored": mirrored, "luminance": luminance, "softness": round(softness, 2)}
    pixels = blended(host.pixels, layer)
    if not really_changed(host.pixels, pixels, layer.alpha >= 128):
        return None
    return Edit(pixels, layer.alpha, record, donor, mask)


def _removal(host: Frame, draw: Draw) -> Edit | None:
    outline, mask = _region(host, draw.photographs, AREAS_INSIDE, draw.own)
    width, fast = 1 + 2 * int(draw.own.integers(5)), bool(draw.own.integers(2))
    if mask is None:
        return None
    hole = dilated(mask, width)
    filled = (telea if fast else navier_stokes)(host.pixels, hole)
    alpha = hole.astype(np.uint8) * 255
    record = {"outline": outline, "dilation": width, "inpainting": "Telea" if fast else "Navier-Stokes"}
    pixels = blended(host.pixels, Layer(filled, alpha))
    return Edit(pixels, alpha, record) if really_changed(host.pixels, pixels, hole) else None


def _region(
    frame: Frame, photographs: Photographs, areas: tuple[float, float], rng: np.random.Generator
) -> tuple[str, Mask | None]:
    """An annotated or a watershed object, or a curve, by a coin; None where its share is not in ``areas``."""
    if rng.integers(2):
        outline, mask = "curve", curve_of_share(len(frame.pixels), areas, rng)
    elif count := photographs.instance_count(frame.photograph):
        whole = photographs.read(frame.photograph)
        assert whole is not None
        number = int(rng.integers(count))
        outline, mask = "instance", frame.framed(photographs.instance(frame.photograph, number, whole.shape[:2]))
    else:
        outline, mask = "watershed", object_outline(frame.pixels, areas, rng, draws=_OUTLINES)
    return outline, None if mask is None or not areas[0] <= mask.mean() <= areas[1] else mask


EDITS: dict[str, MakeEdit] = {
    "splicing": _splicing,
    "copy-move": _copy_move,
    "removal": _removal,
}
UNIFIED = Mix(recipe=1, kinds=(PRISTINE, *EDITS), make=make, whole=False)
