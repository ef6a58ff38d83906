"""Where the truth goes when an image is resized or cropped, and how a mask comes back to where the truth is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imdl_bench.errors import UsageError
from imdl_bench.types import Image

Truth = NDArray[np.bool_]
Mask = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a distorted image, measured from the edge of its first pixel: pixel i covers [i, i + 1).

    Attributes:
        start, stop: pixels of the truth that are still in the image.
        size: pixels of the distorted image.
        scale, offset: what lies at x in the truth lies at ``scale * x + offset`` in the distorted image.
    """

    start: int
    stop: int
    size: int
    scale: float = 1.0
    offset: float = 0.0

    def resized(self, size: int) -> Axis:
        """The same pixels, sampled ``size`` times."""
        ratio = size / self.size
        return replace(self, size=size, scale=self.scale * ratio, offset=self.offset * ratio)

    def cropped(self, first: int, size: int) -> Axis:
        """Distorted pixels ``first`` to ``first + size``, and the truth's pixels whose centres lie in them.

        Where no centre does (a crop of an enlarged image), the truth keeps the one pixel nearest to the middle.
        """
        centres = self._centres()
        kept = np.flatnonzero((centres >= first) & (centres < first + size))
        if not kept.size:
            kept = np.array([np.abs(centres - (first + size / 2)).argmin()])
        start, stop = self.start + int(kept[0]), self.start + int(kept[-1]) + 1
        return replace(self, start=start, stop=stop, size=size, offset=self.offset - first)

    def interpolate(self, mask: Mask, axis: int) -> Mask:
        """Sample ``mask`` linearly where the truth's pixel centres lie; the outermost values go on to the edge."""
        if self.scale == 1 and self.stop - self.start == self.size and self.offset == -self.start:
            return mask
        at = np.clip(self._centres() - 0.5, 0, self.size - 1)
        below = at.astype(np.intp)
        low, high = mask.take(below, axis), mask.take(np.minimum(below + 1, self.size - 1), axis)
        high -= low
        high *= np.expand_dims((at - below).astype(np.float32), 1 - axis)
        high += low
        return high

    def nearest(self) -> NDArray[np.intp]:
        """Which of the truth's pixels the centre of each distorted pixel lies in."""
        at = (np.arange(self.size) + 0.5 - self.offset) / self.scale
        return np.clip(at.astype(np.intp), self.start, self.stop - 1)

    def _centres(self) -> NDArray[np.float64]:
        return np.asarray(self.scale * (np.arange(self.start, self.stop) + 0.5) + self.offset, np.float64)


@dataclass(frozen=True, slots=True)
class Distorted:
    """A distorted image and how truths and masks of it move.

    Attributes:
        image: uint8 (h, w, 3) RGB. ``path`` is ``None`` unless nothing was done: what reads the JPEG stream must not
            find that of the undistorted file. It may share its memory with the undistorted image.
    """

    image: Image
    original: tuple[int, int]
    rows: Axis
    columns: Axis
    moves: tuple[Callable[[Truth], Truth], ...] = ()

    @classmethod
    def nothing_done(cls, image: Image) -> Distorted:
        height, width = image.shape[:2]
        return cls(image, (height, width), Axis(0, height, height), Axis(0, width, width))

    def move_truth(self, truth: Truth) -> Truth:
        """Truth bool (H, W) of the undistorted image -> truth bool of what is left of it, at its own resolution.

        Only cropping and moving pixels change a truth; resizing does not. Nothing forged may be left.

        Raises:
            UsageError: a truth of another size than the undistorted image.
        """
        window = self._moved(truth)[self.rows.start : self.rows.stop, self.columns.start : self.columns.stop]
        return np.ascontiguousarray(window)

    def truth_of_pixels(self, truth: Truth) -> Truth:
        """Truth bool (H, W) of the undistorted image -> truth bool (h, w), one value for each pixel of ``image``.

        A pixel has the value of the truth's pixel in which its centre lies.

        Raises:
            UsageError: a truth of another size than the undistorted image.
        """
        return self._moved(truth)[self.rows.nearest()[:, None], self.columns.nearest()[None, :]]

    def _moved(self, truth: Truth) -> Truth:
        if truth.shape != self.original:
            raise UsageError(f"truth of shape {truth.shape} for an undistorted image of {self.original}")
        for move in self.moves:
            truth = move(truth)
        return truth

    def map_back(self, mask: Mask) -> Mask:
        """Mask float32 (h, w) of the distorted image -> mask float32 at the size of the moved truth.

        Bilinear between pixel centres, without smoothing; stays in [0, 1]. Where nothing was resized, ``mask`` itself.

        Raises:
            UsageError: a mask of another size than the distorted image.
        """
        if mask.shape != self.image.shape[:2]:
            raise UsageError(f"mask of shape {mask.shape} for a distorted image of {self.image.shape[:2]}")
        return self.columns.interpolate(self.rows.interpolate(mask, 0), 1)

    def with_pixels(self, pixels: NDArray[np.uint8]) -> Distorted:
        """The same view in other pixels: resized, where their number differs."""
        rows, columns = self.rows.resized(pixels.shape[0]), self.columns.resized(pixels.shape[1])
        return replace(self, image=Image(pixels), rows=rows, columns=columns)

    def cropped(self, top: int, left: int, height: int, width: int) -> Distorted:
        pixels = np.ascontiguousarray(np.asarray(self.image)[top : top + height, left : left + width])
        rows, columns = self.rows.cropped(top, height), self.columns.cropped(left, width)
        return replace(self, image=Image(pixels), rows=rows, columns=columns)

    def moved(self, pixels: NDArray[np.uint8], move: Callable[[Truth], Truth]) -> Distorted:
        """Other pixels, whose truth is ``move`` of the truth at the present image's size and stays at their size."""
        rows, columns = self.rows.nearest(), self.columns.nearest()

        def from_original(truth: Truth) -> Truth:
            return move(truth[rows[:, None], columns[None, :]])

        start = Distorted.nothing_done(Image(pixels))
        return replace(start, original=self.original, moves=(*self.moves, from_original))
