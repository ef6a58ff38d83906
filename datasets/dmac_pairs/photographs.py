"""The folder of photographs that pairs are made from, and the regions cut out of them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import PIL.Image

from imdl_bench.errors import DataError, ImageError
from imdl_bench.images import read_image
from imdl_bench.layouts import list_images, sample_id
from imdl_bench.making import digest_of

from .coco import find_annotations, instance_mask, read_instances
from .outlines import object_outline
from .pasting import Mask, Pixels, in_class
from .plan import SIZE

_KEPT = 256  # decoded photographs, 0.2 MB each


class Photographs:
    """Every picture under a folder, at ``SIZE`` x ``SIZE``. Which of them cannot be read shows when they are drawn.

    Attributes:
        names: paths relative to the folder, sorted.
        donors: those that regions are cut from: all, or those that COCO annotates.
        outlines: ``coco`` where instance masks lie with them, otherwise ``watershed``.
    """

    def __init__(self, root: Path) -> None:
        """Raises DataError where there are fewer than two pictures, annotations of none, or names not UTF-8."""
        paths = list_images(root)
        if len(paths) < 2:
            raise DataError(f"{root}: {len(paths)} pictures; pairs need at least two photographs")
        self.root = root
        self.names = [sample_id(path, root) for path in paths]
        if foreign := [name for name in self.names if any("\ud800" <= letter <= "\udfff" for letter in name)]:
            raise DataError(f"{root}: the file name {foreign[0]!r} is not UTF-8; rename the file")
        self._annotations = find_annotations(root)
        known = {name: found for path in self._annotations for name, found in read_instances(path).items()}
        self._instances = {name: known[Path(name).name] for name in self.names if Path(name).name in known}
        if self._annotations and not self._instances:
            raise DataError(f"{self._annotations[0]}: annotates none of the {len(paths)} pictures under {root}")
        self.donors = list(self._instances) or self.names
        self.outlines = "coco" if self._annotations else "watershed"
        self.read = lru_cache(_KEPT)(self._read)

    def digest(self) -> str:
        """sha256 over names and sizes in bytes of pictures and annotations: other photographs make other pairs."""
        paths = [*((name, self.root / name) for name in self.names), *((path.name, path) for path in self._annotations)]
        return digest_of(paths)

    def _read(self, name: str) -> Pixels | None:
        """uint8 (SIZE, SIZE, 3), its aspect not kept, as in the paper; None where it cannot be read."""
        try:
            pixels = read_image(self.root / name)
        except ImageError:
            return None
        return np.asarray(PIL.Image.fromarray(pixels).resize((SIZE, SIZE), PIL.Image.Resampling.BICUBIC))

    def region(self, name: str, bounds: tuple[float, float], rng: np.random.Generator) -> Mask | None:
        """bool (SIZE, SIZE): a region of a readable photograph whose share is in ``bounds``, or None if none is drawn.

        Raises:
            DataError: annotations that cannot be understood.
        """
        if self.outlines == "coco":
            instances = self._instances[name]
            drawn = instances[int(rng.integers(len(instances)))]
            try:
                mask = instance_mask(drawn)
            except (DataError, ValueError, TypeError, KeyError) as error:
                raise DataError(f"{self._annotations[0].parent}: an object of {name}: {error}") from None
            return mask if in_class(mask, bounds) else None
        pixels = self.read(name)
        assert pixels is not None
        return object_outline(pixels, bounds, rng)
