"""What networks are trained on: decoded examples, and sources that give example n of a seed. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["PRISTINE", "Example", "Source"]

PRISTINE = "pristine"

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Example:
    """One image, or one pair, with its truth.

    Attributes:
        id: says which one it is to somebody who has to look at it; a made one can be made again from it.
        image: uint8 (H, W, 3) RGB; the probe of a pair.
        truth: bool (H, W), True = forged; all False in a pristine image.
        forged: whether the image was manipulated; of a pair, whether both images show the same thing.
        kind: ``pristine``, or one of ``imdl_bench.types.KINDS``; a source of pairs or of manipulation classes has its
            own words.
        donor: uint8 (H, W, 3) RGB, second image of a pair, of the first one's size.
        donor_truth: bool (H, W), its truth.
        label: class of the manipulation that the whole image underwent, from 0 up, in sources that classify.
    """

    id: str
    image: Pixels
    truth: Mask
    forged: bool
    kind: str
    donor: Pixels | None = None
    donor_truth: Mask | None = None
    label: int | None = None


class Source(Protocol):
    """Examples by number. Sources go to worker processes, so they can be pickled and are small.

    Attributes:
        epoch: how many examples make an epoch; ``None`` of a source that never repeats itself.
        about: what the examples were made of, for the record: only strings, numbers, lists and dicts.
    """

    @property
    def epoch(self) -> int | None: ...
    @property
    def about(self) -> dict[str, object]: ...

    def example(self, number: int) -> Example:
        """Example ``number``, counted from 0 without end: the same whatever was asked for before, in any process.

        Raises:
            ImageError: a picture of a data set cannot be read; the training records it and takes the next number.
            DataError: the photographs do not give such an example at all.
        """
        ...
