"""The unified mix for detectors that compare two images: each of its examples beside a donor.

Half of the pairs are splices beside the frame that their region was cut from. In the other half nothing was taken from
the donor, a frame of a photograph that the probe does not show; their truths are empty, also where the probe is forged:
what is asked for is what both images show.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imdl_bench.examples import PRISTINE
from imdl_bench.synthesis.finishing import Finish, draw_finish
from imdl_bench.synthesis.frames import draw_frame
from imdl_bench.synthesis.streams import Draw, Drawn, Mix
from imdl_bench.synthesis.unified import EDITS, edited

SPLICING, UNRELATED = "splicing", "unrelated splicing"
NEGATIVE = (PRISTINE, UNRELATED, "copy-move", "removal")
KINDS = (SPLICING,) * len(NEGATIVE) + NEGATIVE


def make(draw: Draw) -> Drawn | None:
    """A probe as the unified mix makes it, and a donor of the same size with a last processing of its own."""
    made = edited(replace(draw, kind=SPLICING if draw.kind == UNRELATED else draw.kind), EDITS)
    if made is None:
        return None
    probe, finish = made.drawn, _finish_of(draw, made.finish.canvas)
    if draw.kind == SPLICING:
        assert made.edit.donor is not None and made.edit.region is not None
        region = made.edit.region.astype(np.uint8) * np.uint8(255)
        truth = finish.truth(region, draw.side)
        if not truth.any():
            return None
        return replace(probe, donor=finish.image(made.edit.donor.pixels, draw.side), donor_truth=truth)
    shown = {probe.record["photograph"], probe.record.get("donor")}
    donor = draw_frame(draw.photographs, made.finish.canvas, draw.own)
    if donor is None or donor.photograph in shown:
        return None
    nothing = np.zeros_like(probe.truth)
    record = {**probe.record, "beside": donor.photograph}
    return replace(
        probe, truth=nothing, record=record, donor=finish.image(donor.pixels, draw.side), donor_truth=nothing
    )


def _finish_of(draw: Draw, canvas: int) -> Finish:
    """Of the donor: drawn as the probe's, but for the canvas, which both share."""
    return replace(draw_finish(draw.side, draw.own), canvas=canvas)


UNIFIED_PAIRS = Mix(recipe=1, kinds=KINDS, make=make, whole=False, negative=NEGATIVE)
