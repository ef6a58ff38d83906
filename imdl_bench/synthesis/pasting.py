"""What happens to a region on its way into another picture, where it comes to lie, and the composite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imdl_bench.synthesis.blending import blended, moved_layer, turned
from imdl_bench.synthesis.regions import Mask, Pixels


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to a region on its way; ``None`` where a change is not applied.

    Attributes:
        shift: to the right and down, in pixels.
        rotation: whole degrees, counter-clockwise, about the centre of the frame.
        luminance: grey levels that are added.
        scale: factor about the centre of the frame.
        deformation: factor of the width, about the centre of the frame.
    """

    shift: tuple[int, int] | None = None
    rotation: int | None = None
    luminance: int | None = None
    scale: float | None = None
    deformation: float | None = None

    def matrix(self, side: int) -> NDArray[np.float64]:
        """float64 (2, 3): from a pixel (x, y) of the donor to its place in the host, both (side, side)."""
        linear = turned(self.rotation or 0, self.scale or 1.0, mirrored=False, width=self.deformation or 1.0)
        centre = np.full(2, (side - 1) / 2)
        moved = linear @ (np.array(self.shift or (0, 0)) - centre) + centre
        return np.column_stack([linear, moved])


def fits(change: Change, rim: NDArray[np.float64], share: float, bounds: tuple[float, float], side: int) -> bool:
    """Whether a region of that rim and share of the (side, side) frame stays whole in it and in its class of area."""
    matrix = change.matrix(side)
    if not bounds[0] <= share * abs(float(np.linalg.det(matrix[:, :2]))) <= bounds[1]:
        return False
    moved = rim @ matrix[:, :2].T + matrix[:, 2]
    return bool(moved.min() >= -0.5 and moved.max() <= side - 0.5)


def pasted(host: Pixels, donor: Pixels, mask: Mask, change: Change) -> tuple[Pixels, Mask]:
    """The host with the changed region over it, hard-edged, and where the region lies now.

    All geometry is one bilinear interpolation of the donor; a shift alone copies pixels exactly. Luminance is added to
    the region only and clipped to 0..255.

    Args:
        host, donor: uint8 (side, side, 3).
        mask: bool (side, side), the region in the donor.
    """
    layer = moved_layer(donor, mask, change.matrix(len(host)), luminance=change.luminance or 0)
    return blended(host, layer), layer.alpha >= 128
