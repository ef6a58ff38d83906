"""What is made, as a table: which photograph, which manipulation, which outline. Edit here to change the data set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from .photographs import LANDSCAPE, SHAPES, Frame, draw_frame, moved

RECIPE = 1
REGION, CURVE = "region", "curve"


@dataclass(frozen=True)
class Job:
    """One forged picture to make.

    Attributes:
        kind: as in ``imdl_bench.types.KINDS``.
        photograph: the host.
        outline: a key of ``outlines.OBJECTS``, ``region`` (watershed) or ``curve`` (smooth random curve).
        operation: of an enhancement, see ``manipulations.enhanced``.
        amount: of an enhancement.
        donor: of a spliced curve: the photograph it is cut from; an object says itself where it comes from.
        place: of a pasted object: x and y of its centre in percent of the host's whole photograph, and its height in
            percent of the crop; one that reaches the foot of the picture is made to stand on it.
        shade: of a pasted object: percent of red, green and blue kept.
        wide: whether the frame must be a landscape, for a large object.
    """

    kind: str
    photograph: str
    outline: str
    operation: str = ""
    amount: int = 0
    donor: str = ""
    place: tuple[int, int, int] = (50, 50, 40)
    shade: tuple[int, int, int] = (100, 100, 100)
    wide: bool = False


@dataclass(frozen=True)
class Entry:
    """One sample to make: its name without suffix, its frame, its seed, and its job if it is forged."""

    name: str
    frame: Frame
    seed: tuple[int, int, int]
    job: Job | None = None

    @property
    def suffix(self) -> str:
        """``.png`` or ``.jpg``, by the frame's compression."""
        return ".png" if self.frame.quality is None else ".jpg"

    @property
    def file(self) -> str:
        """The sample's id: its path relative to the data root."""
        return ("forged/" if self.job else "pristine/") + self.name + self.suffix


_NIGHT = (38, 42, 60)
JOBS = (
    Job("splicing", "china", "rocket", place=(75, 50, 55)),
    Job("splicing", "china", "person", place=(76, 80, 48)),
    Job("splicing", "coffee", "dahlia", place=(90, 25, 34)),
    Job("splicing", "coffee", CURVE, donor="chelsea"),
    Job("splicing", "flower", CURVE, donor="rocket"),
    Job("splicing", "flower", "cup", place=(86, 70, 34), shade=(60, 70, 75), wide=True),
    Job("splicing", "rocket", "pagoda", place=(38, 82, 42), shade=_NIGHT, wide=True),
    Job("splicing", "rocket", CURVE, donor="flower"),
    Job("splicing", "chelsea", "dahlia", place=(86, 74, 34)),
    Job("splicing", "chelsea", CURVE, donor="ihc"),
    Job("splicing", "astronaut", "rocket", place=(25, 32, 46)),
    Job("splicing", "ihc", CURVE, donor="chelsea"),
    Job("copy-move", "china", REGION),
    Job("copy-move", "coffee", "spoon"),
    Job("copy-move", "flower", "dahlia", wide=True),
    Job("copy-move", "rocket", "rocket"),
    Job("copy-move", "rocket", "mast"),
    Job("copy-move", "chelsea", CURVE),
    Job("copy-move", "astronaut", "emblem"),
    Job("copy-move", "ihc", REGION),
    Job("copy-move", "ihc", CURVE),
    Job("copy-move", "retina", CURVE),
    Job("copy-move", "retina", REGION),
    Job("copy-move", "retina", CURVE),
    Job("removal", "china", CURVE),
    Job("removal", "coffee", "spoon"),
    Job("removal", "flower", "second dahlia"),
    Job("removal", "flower", "bud"),
    Job("removal", "rocket", "rocket"),
    Job("removal", "chelsea", CURVE),
    Job("removal", "astronaut", "emblem"),
    Job("removal", "astronaut", "name tag"),
    Job("removal", "ihc", REGION),
    Job("removal", "ihc", CURVE),
    Job("removal", "retina", REGION),
    Job("removal", "retina", CURVE),
    Job("enhancement", "china", "roof", "saturation", 190),
    Job("enhancement", "china", CURVE, "noise", 18),
    Job("enhancement", "coffee", "espresso", "gamma", 65),
    Job("enhancement", "coffee", CURVE, "sharpen", 2),
    Job("enhancement", "flower", "heart", "contrast", 140),
    Job("enhancement", "rocket", CURVE, "gamma", 80),
    Job("enhancement", "chelsea", CURVE, "blur", 3),
    Job("enhancement", "chelsea", REGION, "noise", 14),
    Job("enhancement", "astronaut", CURVE, "blur", 3),
    Job("enhancement", "astronaut", "emblem", "saturation", 30),
    Job("enhancement", "ihc", REGION, "contrast", 150),
    Job("enhancement", "retina", CURVE, "sharpen", 3),
)


@cache
def entries(seed: int = 0) -> tuple[Entry, ...]:
    """All samples, forged then pristine.

    The n-th pristine picture has the photograph, size, resampling and compression of the n-th forged one and another
    crop: whatever a file's header or size says, it says as often of one class as of the other.
    """
    forged, pristine, counts = [], [], dict.fromkeys((job.kind for job in JOBS), 0)
    for n, job in enumerate(JOBS):
        rng = np.random.Generator(np.random.PCG64([seed, RECIPE, n]))
        first = int(rng.integers(80, 95, endpoint=True)) if n % 2 else None
        quality = int(rng.integers(75, 95, endpoint=True)) if n % 6 != 4 else None
        frame = draw_frame(job.photograph, rng, first, quality, LANDSCAPE if job.wide else SHAPES)
        name = f"{job.kind}_{counts[job.kind]:02d}"
        counts[job.kind] += 1
        forged.append(Entry(name, frame, (seed, RECIPE, 1000 + n), job))
        pristine.append(Entry(f"{n:02d}", moved(frame, rng), (seed, RECIPE, 2000 + n)))
    return (*forged, *pristine)
