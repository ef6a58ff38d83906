"""Regions of irregular shape that underwent a manipulation, and the mix of all kinds of anomalies.

ManTra-Net (CVPR 2019), Section 4.2: Z = P (1 - M) + y(P) M, with an irregular mask M and a manipulation y of those that
its extractor learned to tell apart. Whole networks train on splicing, copy-move, removal and this, in shares that the
paper does not give; here they are equal.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from imdl_bench.synthesis.blending import Layer, blended
from imdl_bench.synthesis.classes import LEVELS, draw_leaf
from imdl_bench.synthesis.curves import curve_of_share
from imdl_bench.synthesis.frames import Frame
from imdl_bench.synthesis.regions import Mask
from imdl_bench.synthesis.streams import Draw, Drawn, Mix
from imdl_bench.synthesis.unified import AREAS, EDITS, Edit, edited

SMOOTHNESS = (1 / 32, 1 / 8)  # of the field that regions are cut from, as shares of the side


def field_region(side: int, share: float, smoothness: float, rng: np.random.Generator) -> Mask:
    """bool (side, side): the ``share`` of the frame where a smooth random field is highest, in one or several pieces.

    The field is white noise after a Gaussian of ``smoothness`` pixels.
    """
    field = ndimage.gaussian_filter(rng.standard_normal((side, side)), smoothness, mode="reflect")
    return np.asarray(field > np.quantile(field, 1 - share))


def irregular_mask(side: int, rng: np.random.Generator) -> tuple[str, Mask | None]:
    """A smooth field's region or the inside of a closed curve, by a coin, and its name; None where none fits.

    Shares are drawn evenly in the logarithm.
    """
    if rng.integers(2):
        return "curve", curve_of_share(side, AREAS, rng)
    share, smoothness = (float(np.exp(rng.uniform(*np.log(bounds)))) for bounds in (AREAS, SMOOTHNESS))
    return "field", field_region(side, share, smoothness * side, rng)


def enhancement(host: Frame, draw: Draw) -> Edit | None:
    """Any of the 380 manipulations of the whole frame, seen under an irregular mask; None where it changes nothing."""
    outline, mask = irregular_mask(len(host.pixels), draw.own)
    leaf = draw_leaf(max(LEVELS), draw.own)
    if mask is None:
        return None
    alpha = mask.astype(np.uint8) * np.uint8(255)
    pixels = blended(host.pixels, Layer(leaf.apply(host.pixels, draw.own), alpha))
    if np.array_equal(pixels, host.pixels):
        return None
    return Edit(pixels, alpha, {"outline": outline, "manipulation": leaf.name})


ANOMALY_EDITS = {**EDITS, "enhancement": enhancement}


def make(draw: Draw) -> Drawn | None:
    """One example: hosts, frames and the last processing as in the unified mix."""
    made = edited(draw, ANOMALY_EDITS)
    return None if made is None else made.drawn


ANOMALIES = Mix(recipe=1, kinds=tuple(ANOMALY_EDITS), make=make, whole=False)
