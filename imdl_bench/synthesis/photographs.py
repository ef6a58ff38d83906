"""The folder of photographs that pictures are made from, and the regions cut out of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from imdl_bench.errors import DataError, ImageError
from imdl_bench.images import read_image
from imdl_bench.layouts import list_images, sample_id
from imdl_bench.making import digest_of
from imdl_bench.synthesis.coco import find_annotations, instance_mask, read_instances
from imdl_bench.synthesis.outlines import object_outline
from imdl_bench.synthesis.regions import Mask, Pixels, in_class

_KEPT_BYTES = 256 * 2**20  # of decoded photographs, in each process


class Photographs:
    """Every picture under a folder. Which of them cannot be read shows when they are drawn.

    Attributes:
        names: paths relative to the folder, sorted.
        side: photographs are brought to (side, side), their aspect not kept; None leaves them as they are.
        donors: those that regions are cut from: all, or those that COCO annotates.
        outlines: ``coco`` where instance masks lie with them, otherwise ``watershed``.
        unreadable: names that could not be read so far.
    """

    def __init__(self, root: Path, *, side: int | None = None, names: Sequence[str] | None = None) -> None:
        """``names`` restricts it to some of ``list_photographs(root)``.

        Raises:
            DataError: fewer than two pictures, annotations of none of them, or names not UTF-8.
        """
        self.root, self.side = root, side
        self.names = list_photographs(root) if names is None else list(names)
        if len(self.names) < 2:
            raise DataError(f"{root}: {len(self.names)} pictures; at least two photographs are needed")
        self._annotations = find_annotations(root)
        known = {name: found for path in self._annotations for name, found in read_instances(path).items()}
        self._instances = {name: known[Path(name).name] for name in self.names if Path(name).name in known}
        if self._annotations and not self._instances:
            raise DataError(f"{self._annotations[0]}: annotates none of the {len(self.names)} pictures under {root}")
        self.donors = list(self._instances) or self.names
        self.outlines = "coco" if self._annotations else "watershed"
        self.unreadable: set[str] = set()
        self._kept: OrderedDict[str, Pixels | None] = OrderedDict()
        self._kept_bytes = 0

    def digest(self) -> str:
        """sha256 over names and sizes in bytes of pictures and annotations: other photographs make other pictures."""
        paths = [*((name, self.root / name) for name in self.names), *((path.name, path) for path in self._annotations)]
        return digest_of(paths)

    def read(self, name: str) -> Pixels | None:
        """uint8 (side, side, 3), or (H, W, 3) where ``side`` is None; read-only. None if the file cannot be read."""
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        pixels = self._kept[name] = self._read(name)
        self._kept_bytes += 0 if pixels is None else pixels.nbytes
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= 0 if dropped is None else dropped.nbytes
        return pixels

    def instance(self, name: str, number: int, shape: tuple[int, int]) -> Mask:
        """bool of ``shape``: the photograph's annotated object ``number``, from 0 up.

        Raises:
            DataError: annotations that cannot be understood.
        """
        try:
            return instance_mask(self._instances[name][number], shape)
        except (DataError, ValueError, TypeError, KeyError, cv2.error) as error:
            raise DataError(f"{self._annotations[0].parent}: an object of {name}: {error}") from None

    def instance_count(self, name: str) -> int:
        """How many objects of a photograph are annotated."""
        return len(self._instances.get(name, ()))

    def region(
        self, name: str, bounds: tuple[float, float], rng: np.random.Generator, *, draws: int = 8
    ) -> Mask | None:
        """bool (side, side): a region of a readable photograph whose share is in ``bounds``, or None if none is drawn.

        Only where ``side`` is given; the best of ``draws`` watershed regions is taken. Raises DataError where
        annotations cannot be understood.
        """
        assert self.side is not None
        if self.outlines == "coco":
            mask = self.instance(name, int(rng.integers(self.instance_count(name))), (self.side, self.side))
            return mask if in_class(mask, bounds) else None
        pixels = self.read(name)
        assert pixels is not None
        return object_outline(pixels, bounds, rng, draws=draws)

    def _read(self, name: str) -> Pixels | None:
        try:
            pixels = np.asarray(read_image(self.root / name))
        except ImageError:
            self.unreadable.add(name)
            return None
        if self.side is None:
            pixels.setflags(write=False)
            return pixels
        wanted = self.side, self.side
        return np.asarray(PIL.Image.fromarray(pixels).resize(wanted, PIL.Image.Resampling.BICUBIC))

    def __getstate__(self) -> dict[str, object]:
        """Without the decoded photographs: worker processes are sent it."""
        return self.__dict__ | {"_kept": OrderedDict(), "_kept_bytes": 0}


def list_photographs(root: Path) -> list[str]:
    """Every picture under ``root`` by its path relative to it, sorted; of links to one file the first name only.

    Raises DataError where a name is not UTF-8.
    """
    first: dict[tuple[int, int] | Path, Path] = {}
    for path in list_images(root):
        first.setdefault(_file(path), path)
    names = [sample_id(path, root) for path in first.values()]
    if foreign := [name for name in names if any("\ud800" <= letter <= "\udfff" for letter in name)]:
        raise DataError(f"{root}: the file name {foreign[0]!r} is not UTF-8; rename the file")
    return names


def _file(path: Path) -> tuple[int, int] | Path:
    """Equal for names of the same file."""
    try:
        about = path.stat()
    except OSError:  # a link to nothing
        return path
    return (about.st_dev, about.st_ino) if about.st_ino else path
