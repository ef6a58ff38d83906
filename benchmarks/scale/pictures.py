"""Photographs of several sizes with elliptical forgeries: what costs are measured on and what validations run on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image


def write_pictures(folder: Path, count: int, sizes: Sequence[tuple[int, int]], seed: int = 0) -> None:
    """``count`` JPEG crops, sizes in turn, as data set ``folder``: a third pristine (Au), others forged (Tp, Gt).

    Crops are resized parts of the photographs that scikit-image and scikit-learn ship.
    """
    from skimage.data import astronaut
    from sklearn.datasets import load_sample_images

    photographs = [PIL.Image.fromarray(each) for each in (astronaut(), *load_sample_images().images)]
    rng = np.random.default_rng(seed)
    for name in ("Tp", "Gt", "Au"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        width, height = sizes[number % len(sizes)]
        picture = _crop(photographs[int(rng.integers(len(photographs)))], width, height, rng)
        forged = number % (3 * len(sizes)) >= len(sizes)
        picture.save(folder / ("Tp" if forged else "Au") / f"{number:06}.jpg", quality=90)
        if forged:
            _ellipse(width, height, rng).save(folder / f"Gt/{number:06}.png")


def _crop(photograph: PIL.Image.Image, width: int, height: int, rng: np.random.Generator) -> PIL.Image.Image:
    widest = min(photograph.width, photograph.height * width // height)
    across = int(rng.integers(widest * 3 // 5, widest + 1))
    down = across * height // width
    left = int(rng.integers(photograph.width - across + 1))
    top = int(rng.integers(photograph.height - down + 1))
    return photograph.resize((width, height), PIL.Image.Resampling.LANCZOS, (left, top, left + across, top + down))


def _ellipse(width: int, height: int, rng: np.random.Generator) -> PIL.Image.Image:
    y, x = np.mgrid[:height, :width]
    centre, radii = rng.uniform(0.25, 0.75, 2), rng.uniform(0.08, 0.22, 2)
    inside = ((y / height - centre[0]) / radii[0]) ** 2 + ((x / width - centre[1]) / radii[1]) ** 2 < 1
    return PIL.Image.fromarray(inside.astype(np.uint8) * 255)
