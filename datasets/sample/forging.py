"""From a line of the plan to pictures: draw until the edit is of the right size and really changes the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from imdl_bench.errors import DataError

from .manipulations import (
    MARGIN,
    MAX_AREA,
    MIN_AREA,
    Edit,
    Pixels,
    blending_place,
    cut_out,
    enhanced,
    pasted,
    removed,
    shaded,
    worth_keeping,
)
from .outlines import OBJECTS, Mask, curve_outline, object_outline, region_outlines
from .photographs import (
    Frame,
    draw_frame,
    framed,
    framed_mask,
    moved,
    photograph,
    whole_frame,
)
from .plan import CURVE, REGION, Entry, Job

_TRIES = 60
_DRAWS = 30


def make_picture(entry: Entry) -> tuple[Edit | None, Pixels, tuple[Frame, Pixels] | None]:
    """The edit (None if pristine), the pixels to be stored, and a splice's donor with its frame.

    Raises DataError where no draw gives an edit worth keeping; it cannot happen with the recipe's own seed.
    """
    if entry.job is None:
        return None, framed(entry.frame), None
    rng = np.random.Generator(np.random.PCG64(list(entry.seed)))
    for _ in range(_TRIES):
        made = _drawn(entry.job, entry.frame, rng)
        if made is not None and worth_keeping(made[0]):
            return made[0], made[0].after, made[1]
    raise DataError(f"sample: no edit of 1 to 30 % for {entry.name} with seed {entry.seed[0]}; choose another seed")


def _drawn(job: Job, frame: Frame, rng: np.random.Generator) -> tuple[Edit, tuple[Frame, Pixels] | None] | None:
    if job.kind == "splicing":
        feather = int(rng.integers(0, 3))
        if job.outline == CURVE:
            return _texture_splice(job, frame, feather, rng)
        return _object_splice(job, frame, feather, rng)
    frame = moved(frame, rng, object_outline(job.outline) if job.outline in OBJECTS else None)
    host = framed(frame)
    mask = _outline(job, frame, host, rng)
    if mask is None:
        return None
    if job.kind == "removal":
        return removed(
            host, ndimage.binary_dilation(mask, iterations=int(rng.integers(3, 7))), navier_stokes=bool(rng.integers(2))
        ), None
    if job.kind == "enhancement":
        return enhanced(host, mask, job.operation, job.amount, int(rng.integers(0, 7)), rng), None
    edit = _copy_move(host, mask, int(rng.integers(0, 3)), rng)
    return None if edit is None else (edit, None)


def _outline(job: Job, frame: Frame, host: Pixels, rng: np.random.Generator) -> Mask | None:
    """The outline in the host, or None where this crop does not hold one that is of use."""
    largest = {"removal": 0.06, "copy-move": 0.12, "enhancement": 0.25}[job.kind]
    if job.outline == CURVE:
        draws = 6 if job.kind == "removal" else 1
        shares = [int(rng.integers(20, int(largest * 1000))) / 1000 for _ in range(draws)]
        return max(
            (curve_outline(frame.shape, share, rng) for share in shares), key=lambda mask: _removable(host, mask)
        )
    if job.outline == REGION:
        found = [mask for mask in region_outlines(host, rng) if 0.015 <= mask.mean() <= largest]
        return max(found, key=lambda mask: _removable(host, mask), default=None)
    return framed_mask(object_outline(job.outline), frame)


def _removable(host: Pixels, mask: Mask) -> int:
    """How much the masked part stands out from surroundings that are themselves even: people edit such things."""
    ring = ndimage.binary_dilation(mask, iterations=6) & ~mask
    contrast = int(np.abs(_mean_colour(host[mask]) - _mean_colour(host[ring])).sum())
    uneven = int(np.abs(host[ring].astype(np.int64) - _mean_colour(host[ring])).sum() // max(int(ring.sum()), 1))
    return (contrast + 10) * 1000 // (uneven + 10)


def _mean_colour(pixels: Pixels) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.asarray(pixels.reshape(-1, 3).sum(axis=0, dtype=np.int64) // max(len(pixels), 1))


def _copy_move(host: Pixels, mask: Mask, feather: int, rng: np.random.Generator) -> Edit | None:
    scale, degrees, mirrored = 1.0, 0, False
    if rng.integers(3) or mask.mean() > 0.1:
        most = min(1.0, (0.08 / float(mask.mean())) ** 0.5)
        scale, degrees = int(rng.integers(75, 110)) / 100 * most, int(rng.integers(-12, 12, endpoint=True))
        mirrored = bool(rng.integers(2))
    stamp = cut_out(host, mask, scale=scale, degrees=degrees, mirrored=mirrored)
    place = blending_place(host, stamp, ndimage.binary_dilation(mask, iterations=4), rng)
    return None if place is None else pasted(host, stamp, *place, feather)


def _object_splice(job: Job, frame: Frame, feather: int, rng: np.random.Generator) -> tuple[Edit, tuple[Frame, Pixels]]:
    full_height, full_width = photograph(job.photograph).shape[:2]
    spot = np.zeros((full_height, full_width), np.bool_)
    at_y, at_x = full_height * job.place[1] // 100, full_width * job.place[0] // 100
    spot[max(at_y - 60, 0) : at_y + 60, max(at_x - 60, 0) : at_x + 60] = True
    frame = moved(frame, rng, spot)
    host = framed(frame)
    donor_frame = whole_frame(OBJECTS[job.outline][0], rng, *_donor_qualities(rng))
    donor, mask = framed(donor_frame), framed_mask(object_outline(job.outline), donor_frame)
    stands = job.place[1] + job.place[2] // 2 >= 100
    tall = host.shape[0] * (job.place[2] + int(rng.integers(-3, 3, endpoint=True))) // 100
    stamp = cut_out(
        donor,
        mask,
        scale=tall / (int(np.ptp(np.nonzero(mask)[0])) + 1),
        degrees=0 if stands else int(rng.integers(-8, 8, endpoint=True)),
        mirrored=bool(rng.integers(2)),
    )
    left, top, right, bottom = frame.box
    height, width = stamp.mask.shape
    across = (at_x - left) * host.shape[1] // (right - left) - width // 2
    down = host.shape[0] - height + MARGIN if stands else (at_y - top) * host.shape[0] // (bottom - top) - height // 2
    edit = pasted(host, shaded(stamp, job.shade), down, across, feather)
    return replace(edit, donor_mask=mask), (donor_frame, donor)


def _texture_splice(
    job: Job, frame: Frame, feather: int, rng: np.random.Generator
) -> tuple[Edit, tuple[Frame, Pixels]] | None:
    """A smooth outline cut from the donor where, of a few draws, it goes best with some place in the host."""
    host = framed(moved(frame, rng))
    best = None
    for _ in range(_DRAWS):
        donor_frame = draw_frame(job.donor, rng, *_donor_qualities(rng))
        donor = framed(donor_frame)
        mask = curve_outline(donor_frame.shape, int(rng.integers(30, 110)) / 1000, rng)
        scale, degrees = int(rng.integers(80, 125)) / 100, int(rng.integers(-30, 30, endpoint=True))
        stamp = cut_out(donor, mask, scale=scale, degrees=degrees, mirrored=bool(rng.integers(2)))
        place = blending_place(host, stamp, None, rng, tries=40)
        if place is None:
            continue
        edit = pasted(host, stamp, *place, max(feather, 1))
        misfit = _misfit(edit)
        if MIN_AREA <= edit.truth.mean() <= MAX_AREA and (best is None or misfit < best[0]):
            best = misfit, replace(edit, donor_mask=mask), (donor_frame, donor)
    return None if best is None else best[1:]


def _misfit(edit: Edit) -> int:
    """How far the pasted colours are from those they replaced; a featureless paste counts as unfit."""
    truth = edit.truth
    difference = np.abs(edit.after[truth].astype(np.int64) - edit.before[truth])
    flat = int(edit.after[truth].std(axis=0).max()) < 6
    return int(difference.sum() // max(int(truth.sum()), 1)) + 500 * flat


def _donor_qualities(rng: np.random.Generator) -> tuple[int | None, int]:
    first = int(rng.integers(80, 95, endpoint=True)) if rng.integers(2) else None
    return first, int(rng.integers(75, 95, endpoint=True))
