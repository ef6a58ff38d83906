"""The four manipulations. Each takes uint8 (H, W, 3) RGB and says what it changed; arithmetic is in integers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import PIL.Image
import PIL.ImageFilter
from numpy.typing import NDArray

from .outlines import Mask

Pixels = NDArray[np.uint8]
MARGIN = 6
MIN_AREA, MAX_AREA = 0.01, 0.30


@dataclass(frozen=True)
class Edit:
    """A forged picture before its compression.

    Attributes:
        before, after: uint8 (H, W, 3).
        alpha: uint8 (H, W), the share of the new pixel, 0..255; the truth is ``alpha >= 128``.
        donor_mask: bool, what was copied, in the donor picture; splices only.
    """

    before: Pixels
    after: Pixels
    alpha: NDArray[np.uint8]
    donor_mask: Mask | None = None

    @property
    def truth(self) -> Mask:
        """bool (H, W), True = forged."""
        return np.asarray(self.alpha >= 128)


@dataclass(frozen=True)
class Stamp:
    """A cut-out ready to be pasted: pixels (h, w, 3) and its outline (h, w) with a margin of context around it."""

    pixels: Pixels
    mask: Mask


def worth_keeping(edit: Edit) -> bool:
    """Whether the forged area is 1 to 30 % and at least 95 % of it really differs (black moved onto black does not)."""
    truth = edit.truth
    if not MIN_AREA <= truth.mean() <= MAX_AREA:
        return False
    differs = (edit.before != edit.after).any(axis=2)
    return bool(differs[truth].mean() >= 0.95)


def feathered(mask: Mask, radius: int) -> NDArray[np.uint8]:
    """Alpha of a mask whose edge is softened over about ``radius`` pixels; 0 leaves it hard."""
    alpha = PIL.Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(alpha if radius == 0 else alpha.filter(PIL.ImageFilter.GaussianBlur(radius)))


def blended(below: Pixels, above: Pixels, alpha: NDArray[np.uint8]) -> Pixels:
    """``above`` over ``below`` in exact integer arithmetic."""
    a = alpha.astype(np.int32)[..., None]
    return np.asarray((below * (255 - a) + above * a + 127) // 255, np.uint8)


def cut_out(pixels: Pixels, mask: Mask, *, scale: float = 1.0, degrees: int = 0, mirrored: bool = False) -> Stamp:
    """Cut the masked part out, scaled, turned and mirrored about its centre by bilinear interpolation."""
    ys, xs = np.nonzero(mask)
    centre_y, centre_x = (int(ys.min()) + int(ys.max())) // 2, (int(xs.min()) + int(xs.max())) // 2
    reach = int(max(np.ptp(ys), np.ptp(xs)) * scale * 0.75) + 2 * MARGIN
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    turn = degrees * np.pi / 180
    source_x = (x * np.cos(turn) + y * np.sin(turn)) / scale * (-1 if mirrored else 1) + centre_x
    source_y = (y * np.cos(turn) - x * np.sin(turn)) / scale + centre_y
    grey = _bilinear(mask.astype(np.uint8)[..., None] * 255, source_y, source_x)[..., 0]
    height, width = mask.shape
    outside = (source_y < -0.5) | (source_y > height - 0.5) | (source_x < -0.5) | (source_x > width - 0.5)
    shape = (grey >= 128) & ~outside
    rows, columns = _around(shape)
    return Stamp(_bilinear(pixels, source_y, source_x)[rows, columns], shape[rows, columns])


def _around(mask: Mask) -> tuple[slice, slice]:
    ys, xs = np.nonzero(mask)
    return tuple(slice(int(at.min()) - MARGIN, int(at.max()) + 1 + MARGIN) for at in (ys, xs))  # type: ignore[return-value]


def _bilinear(pixels: Pixels, y: NDArray[np.float64], x: NDArray[np.float64]) -> Pixels:
    """Sample at real positions; weights are rounded to 1/256 so that the last bit of a sine cannot matter."""
    height, width = pixels.shape[:2]
    fixed_y = np.clip(np.rint(y * 256).astype(np.int64), 0, (height - 1) * 256)
    fixed_x = np.clip(np.rint(x * 256).astype(np.int64), 0, (width - 1) * 256)
    top, left = fixed_y // 256, fixed_x // 256
    down, right = (fixed_y % 256)[..., None], (fixed_x % 256)[..., None]
    bottom, far = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    upper = pixels[top, left] * (256 - right) + pixels[top, far] * right
    lower = pixels[bottom, left] * (256 - right) + pixels[bottom, far] * right
    return np.asarray((upper * (256 - down) + lower * down + 32768) // 65536, np.uint8)


def pasted(host: Pixels, stamp: Stamp, top: int, left: int, feather: int) -> Edit:
    """Paste a stamp with its corner at (top, left), which may lie outside; what does not fit is cut off."""
    height, width = host.shape[:2]
    rows = slice(max(top, 0), min(top + stamp.mask.shape[0], height))
    columns = slice(max(left, 0), min(left + stamp.mask.shape[1], width))
    inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    alpha = np.zeros((height, width), np.uint8)
    alpha[rows, columns] = feathered(stamp.mask, feather)[inner]
    above = host.copy()
    above[rows, columns] = stamp.pixels[inner]
    return Edit(host, blended(host, above, alpha), alpha)


def shaded(stamp: Stamp, percent: tuple[int, int, int]) -> Stamp:
    """The stamp with red, green and blue scaled by ``percent``, as a forger would fit it to the light of the host."""
    scaled = stamp.pixels * np.array(percent, np.int32) // 100
    return Stamp(np.minimum(scaled, 255).astype(np.uint8), stamp.mask)


def blending_place(
    host: Pixels, stamp: Stamp, taken: Mask | None, rng: np.random.Generator, tries: int = 300
) -> tuple[int, int] | None:
    """Of random places wholly inside the host and clear of ``taken``, the one whose colours at the edge fit best.

    None where no place is clear, or the stamp is larger than the host.
    """
    height, width = stamp.mask.shape
    edge = feathered(stamp.mask, 2)
    ys, xs = np.nonzero((edge > 0) & ~stamp.mask)
    body_y, body_x = (part[::7] for part in np.nonzero(stamp.mask))
    wanted = stamp.pixels[ys, xs].astype(np.int64)
    free_y, free_x = host.shape[0] - height + MARGIN, host.shape[1] - width + MARGIN
    if min(free_y, free_x) < -MARGIN:
        return None
    best: tuple[int, tuple[int, int]] | None = None
    for _ in range(tries):
        top = int(rng.integers(-MARGIN, free_y, endpoint=True))
        left = int(rng.integers(-MARGIN, free_x, endpoint=True))
        if taken is not None and bool(taken[body_y + top, body_x + left].any()):
            continue
        at_y, at_x = np.clip(ys + top, 0, host.shape[0] - 1), np.clip(xs + left, 0, host.shape[1] - 1)
        misfit = int(np.abs(host[at_y, at_x] - wanted).sum())
        if best is None or misfit < best[0]:
            best = misfit, (top, left)
    return None if best is None else best[1]


def removed(host: Pixels, mask: Mask, *, navier_stokes: bool) -> Edit:
    """Fill the masked part from its surroundings: Telea's inpainting, or that of Bertalmio et al. on request."""
    alpha = mask.astype(np.uint8) * 255
    method = cv2.INPAINT_NS if navier_stokes else cv2.INPAINT_TELEA
    filled = cv2.inpaint(np.ascontiguousarray(host), alpha, 4, method)
    return Edit(host, blended(host, np.asarray(filled, np.uint8), alpha), alpha)


def enhanced(host: Pixels, mask: Mask, operation: str, amount: int, feather: int, rng: np.random.Generator) -> Edit:
    """Change the look of the masked part: ``blur`` or ``sharpen`` (radius), ``noise`` (grey levels), or in percent
    ``gamma``, ``contrast`` and ``saturation``.
    """
    alpha = feathered(mask, feather)
    return Edit(host, blended(host, _retouched(host, operation, amount, rng), alpha), alpha)


def _retouched(host: Pixels, operation: str, amount: int, rng: np.random.Generator) -> Pixels:
    picture, wide = PIL.Image.fromarray(host), host.astype(np.int32)
    if operation == "blur":
        return np.asarray(picture.filter(PIL.ImageFilter.GaussianBlur(amount)))
    if operation == "sharpen":
        return np.asarray(picture.filter(PIL.ImageFilter.UnsharpMask(amount, percent=250, threshold=0)))
    if operation == "noise":
        changed = wide + rng.integers(-amount, amount, host.shape, endpoint=True)
        return np.asarray(np.clip(changed, 0, 255), np.uint8)
    if operation == "gamma":
        table = np.rint(255 * (np.arange(256) / 255) ** (amount / 100)).astype(np.uint8)
        return np.asarray(table[host])
    pivot = np.int32(128) if operation == "contrast" else wide.sum(axis=2, keepdims=True) // 3
    return np.asarray(np.clip(pivot + (wide - pivot) * amount // 100, 0, 255), np.uint8)
