"""The few types that models, data sets and the engine exchange. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

DONOR = "#donor"  # ends the key of a pair's second image in the tables
KINDS = ("splicing", "copy-move", "removal", "enhancement")


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a data set: paths only, nothing decoded.

    Attributes:
        id: stable, POSIX, relative to the data root: the key in every table.
        image: the image, or the probe of a pair.
        forged: whether the image was manipulated.
        mask: truth of a forged image. ``None`` on a pristine image means all zero, on a forged one that there is no
            truth: such a sample enters image-level metrics only.
        donor: second image of a pair.
        donor_mask: truth of the second image of a pair.
        kind: ``splicing``, ``copy-move``, ``removal`` or ``enhancement`` where the data set says so.
        group: name of the base photograph; confidence intervals resample groups, not images.
    """

    id: str
    image: Path
    forged: bool
    mask: Path | None = None
    donor: Path | None = None
    donor_mask: Path | None = None
    kind: str | None = None
    group: str | None = None


class Image(np.ndarray[Any, np.dtype[np.uint8]]):
    """A decoded photograph: uint8 (H, W, 3) RGB, 0..255, EXIF-oriented, never normalised.

    It is a numpy array; ``path`` names the file it came from (for methods that read the JPEG stream) or is ``None``.
    """

    path: Path | None

    def __new__(cls, pixels: NDArray[np.uint8], path: Path | None = None) -> Image:
        image = np.asarray(pixels).view(cls)
        image.path = path
        return image

    def __array_finalize__(self, source: object) -> None:
        self.path = getattr(source, "path", None)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says about one image (or one pair).

    Attributes:
        mask: float32 (H, W) in [0, 1] at the input's own size, high = forged; ``None`` if the model does not localise.
        score: in [0, 1], high = forged; ``None`` where the model has no image-level score of its own.
        donor_mask: float32 (H, W) in [0, 1] at the donor's size; pair models only.
    """

    mask: NDArray[np.float32] | None = None
    score: float | None = None
    donor_mask: NDArray[np.float32] | None = None


@runtime_checkable
class Model(Protocol):
    """Anything that turns images into predictions, one per image and in order, whatever the batch is made of.

    A model may have an attribute ``concurrent``. Where it is true, ``predict`` may be called from several threads at
    once, one image each, and answers as if it had been called from one; where it is false or missing, one thread calls
    ``predict``, with as many images as it likes.
    """

    def predict(self, images: Sequence[Image]) -> list[Prediction]: ...


@runtime_checkable
class PairModel(Protocol):
    """A model that compares two images (``input: pair`` in its card); ``concurrent`` as for :class:`Model`."""

    def predict(self, probes: Sequence[Image], donors: Sequence[Image]) -> list[Prediction]: ...
