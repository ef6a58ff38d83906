"""Small pictures of masks and photographs: what a report shows, so that runs need not keep whole masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MASK_SIDE = 256  # pixels of the longer side of a kept mask
MASK_QUALITY, PHOTO_QUALITY = 60, 85  # a kept mask takes 4 to 9 kB


@dataclass(frozen=True, slots=True)
class KeptMask:
    """A small mask as grey JPEG, in which 255 stands for ``top``: faint maps keep their shades."""

    jpeg: bytes
    top: float

    def values(self) -> NDArray[np.float64]:
        """The mask float64 (h, w) in [0, 1], within what 8 bits and JPEG leave of it."""
        import cv2

        return np.asarray(cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)) * (self.top / 255)


def mask_thumbnail(mask: NDArray[np.float32]) -> KeptMask:
    """A mask float32 (H, W) in [0, 1], at most 256 pixels a side, averaged over areas."""
    small = _smaller(mask, MASK_SIDE)
    top = float(small.max())
    shades = small / np.float32(top) if top else small  # 255 / top would overflow where all is near 1e-40
    return KeptMask(_jpeg(np.rint(shades * 255).astype(np.uint8), MASK_QUALITY), top)


def photo_thumbnail(image: NDArray[np.uint8], side: int) -> bytes:
    """A photograph uint8 (H, W, 3) RGB as JPEG, at most ``side`` pixels a side."""
    return _jpeg(np.ascontiguousarray(_smaller(image, side)[..., ::-1]), PHOTO_QUALITY)


def truth_thumbnail(truth: NDArray[np.bool_], side: int) -> bytes:
    """A truth bool (H, W) as grey PNG, 255 = forged, at most ``side`` pixels a side."""
    import cv2

    small = _smaller(truth.astype(np.uint8) * 255, side)
    return cv2.imencode(".png", small)[1].tobytes()


def _smaller(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    import cv2

    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    import cv2

    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
