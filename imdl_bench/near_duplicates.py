"""Photographs that occur in two data sets, or twice in one: recompressed, resized, lightly edited or mirrored."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdl_bench.cache import write_atomically
from imdl_bench.columns import drawn
from imdl_bench.dataset import Dataset
from imdl_bench.errors import DataError, ImageError
from imdl_bench.images import read_image
from imdl_bench.layouts import list_images
from imdl_bench.types import DONOR, Image

DISTANCE = 6
SIDE, BITS = 32, 64  # of the grey image that a hash is made of, and of the hash
ROWS_AT_ONCE = 1024
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that look alike.

    Attributes:
        image: id in the first data set (of a pair's second image with ``#donor``).
        against: id in the second.
        distance: bits of 64 in which their hashes differ.
        mirrored: one resembles the mirror image of the other.
        identical: the files are the same byte for byte.
    """

    image: str
    against: str
    distance: int
    mirrored: bool
    identical: bool


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """What :func:`near_duplicates` found.

    Attributes:
        names: of the two data sets with their splits.
        counts: images compared in each.
        pairs: nearest first, then by id.
        flat: ids of images without structure, which resemble each other whatever they show: compared by bytes alone.
        unreadable: ids and reasons.
    """

    names: tuple[str, str]
    counts: tuple[int, int]
    distance: int
    pairs: tuple[Pair, ...]
    flat: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def ok(self) -> bool:
        """Every image could be read, and none occurs twice."""
        return not self.pairs and not self.unreadable

    def table(self) -> str:
        """Text for people: the nearest pairs and counts of all."""
        first, second = self.names
        lines = [f"{first} ({self.counts[0]} images) against {second} ({self.counts[1]} images)"]
        if self.pairs:
            shown = [[p.image, p.against, str(p.distance), _how(p)] for p in self.pairs[:SHOWN]]
            lines += drawn([[first, second, "distance", ""], *shown])
        if len(self.pairs) > SHOWN:
            lines.append(f"+{len(self.pairs) - SHOWN} more (all with --csv FILE)")
        lines.append(self._summary())
        if self.flat:
            lines.append(f"{_counted(self.flat)} without structure, compared by bytes alone: {_first(self.flat)}")
        lines += [f"unreadable: {image}: {reason}" for image, reason in self.unreadable[:SHOWN]]
        if len(self.unreadable) > SHOWN:
            lines.append(f"+{len(self.unreadable) - SHOWN} more unreadable")
        return "\n".join(lines)

    def _summary(self) -> str:
        if not self.pairs:
            return f"no pairs within distance {self.distance}"
        at = Counter(pair.distance for pair in self.pairs)
        sides = len({pair.image for pair in self.pairs}), len({pair.against for pair in self.pairs})
        identical, mirrored = (sum(getattr(pair, name) for pair in self.pairs) for name in ("identical", "mirrored"))
        return (
            f"{len(self.pairs)} pairs within distance {self.distance} (of {sides[0]} and {sides[1]} images); "
            f"byte-identical {identical}, mirrored {mirrored}; "
            f"by distance: {', '.join(f'{distance}: {at[distance]}' for distance in sorted(at))}"
        )

    def to_csv(self, path: Path | str) -> None:
        """Write a line per pair; columns are the fields of :class:`Pair`."""
        buffer = io.StringIO()
        table = csv.writer(buffer, lineterminator="\n")
        table.writerow([field.name for field in fields(Pair)])
        table.writerows(astuple(pair) for pair in self.pairs)
        write_atomically(Path(path), buffer.getvalue().encode())


@dataclass(frozen=True, slots=True)
class _Look:
    """One image: its file's digest, hash and the hash of its mirror image, bool (64,); ``None`` where it is flat."""

    digest: str = ""
    bits: NDArray[np.bool_] | None = None
    mirrored: NDArray[np.bool_] | None = None
    problem: str = ""


def near_duplicates(
    first: Dataset,
    second: Dataset | Path | None = None,
    *,
    distance: int = DISTANCE,
    workers: int = 1,
    progress: Callable[[int], object] = lambda _: None,
) -> NearDuplicates:
    """Compare every image of one data set with every image of another by perceptual hash (pHash, 64 bits).

    How many duplicates of which kind a ``distance`` finds, and how many pairs it makes up, stands in
    ``docs/near_duplicates.md``.

    Args:
        first: a data set, or one of its splits.
        second: another, or a folder of whatever layout, all of its pictures; without it ``first`` is compared
            with itself, each pair of its images once. In a set of forgeries these are also a forgery and its
            photograph.
        distance: bits, of 64, in which two hashes may differ.
        workers: threads that decode.
        progress: told of every file read.

    Raises:
        DataError: the folder holds no picture.
    """
    inside, second = second is None, second or first
    ids = [_pictures(first), _pictures(second)]
    paths = sorted(ids[0].keys() | ids[1].keys())
    with ThreadPoolExecutor(max_workers=workers) as pool:
        looks = {}
        for path, look in zip(paths, pool.map(_look, paths), strict=True):
            looks[path] = look
            progress(1)
    names = ids[1] | ids[0]
    readable = [[path for path in side if not looks[path].problem] for side in ids]
    return NearDuplicates(
        names=(_title(first), _title(second)),
        counts=(len(readable[0]), len(readable[1])),
        distance=distance,
        pairs=_pairs(ids, readable, looks, distance, inside=inside),
        flat=tuple(names[path] for path in paths if looks[path].bits is None and not looks[path].problem),
        unreadable=tuple((names[path], looks[path].problem) for path in paths if looks[path].problem),
    )


def perceptual_hash(image: Image) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """pHash of an image and of its mirror image, bool (64,) each; ``None`` of an image without structure.

    Grey at 32 x 32, its lowest 8 x 8 cosine frequencies, each above their median or not.
    """
    import imagehash
    import PIL.Image

    small = PIL.Image.fromarray(np.asarray(image)).convert("L").resize((SIDE, SIDE), PIL.Image.Resampling.LANCZOS)
    if np.ptp(np.asarray(small)) < 2:  # one grey level of rounding and ringing is no structure
        return None
    turned = small.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    return imagehash.phash(small).hash.ravel(), imagehash.phash(turned).hash.ravel()


def _title(data: Dataset | Path) -> str:
    return str(data) if isinstance(data, Path) else f"{data.card.name}/{data.split}"


def _pictures(data: Dataset | Path) -> dict[Path, str]:
    """The id of every distinct image file; pairs use many of theirs more than once."""
    if isinstance(data, Path):
        pictures = {path: path.relative_to(data).as_posix() for path in list_images(data)}
        if not pictures:
            raise DataError(f"{data}: no picture lies in this folder")
        return pictures
    found: dict[Path, str] = {}
    for sample in data:
        found.setdefault(sample.image, sample.id)
        if sample.donor is not None:
            found.setdefault(sample.donor, sample.id + DONOR)
    return found


def _look(path: Path) -> _Look:
    try:
        content = path.read_bytes()
        hashes = perceptual_hash(read_image(content, path))
    except (OSError, ImageError) as error:
        return _Look(problem=str(error).removeprefix(f"{path}: "))
    digest = sha256(content).hexdigest()
    return _Look(digest, *hashes) if hashes else _Look(digest)


def _pairs(
    ids: Sequence[dict[Path, str]],
    readable: Sequence[Sequence[Path]],
    looks: dict[Path, _Look],
    distance: int,
    *,
    inside: bool,
) -> tuple[Pair, ...]:
    found: dict[tuple[Path, Path], tuple[int, bool]] = {}
    for a, b, apart, mirrored in chain(_identical(readable, looks), _similar(readable, looks, distance)):
        if inside and a == b:
            continue
        pair = (min(a, b), max(a, b)) if inside else (a, b)
        found[pair] = min(found.get(pair, (apart, mirrored)), (apart, mirrored))
    pairs = [
        Pair(ids[0][a], ids[1][b], apart, mirrored, looks[a].digest == looks[b].digest)
        for (a, b), (apart, mirrored) in found.items()
    ]
    return tuple(sorted(pairs, key=lambda pair: (pair.distance, pair.image, pair.against)))


def _identical(readable: Sequence[Sequence[Path]], looks: dict[Path, _Look]) -> Iterator[tuple[Path, Path, int, bool]]:
    """Byte-identical images without structure; all others are found by their hashes."""
    by_digest: dict[str, list[Path]] = {}
    for path in readable[1]:
        if looks[path].bits is None:
            by_digest.setdefault(looks[path].digest, []).append(path)
    for path in readable[0]:
        for other in by_digest.get(looks[path].digest, []):
            yield path, other, 0, False


def _similar(
    readable: Sequence[Sequence[Path]], looks: dict[Path, _Look], distance: int
) -> Iterator[tuple[Path, Path, int, bool]]:
    first, second = ([path for path in side if looks[path].bits is not None] for side in readable)
    against = np.array([looks[path].bits for path in second], bool).reshape(-1, BITS)
    for mirrored in (False, True):
        hashes = np.array([looks[path].mirrored if mirrored else looks[path].bits for path in first], bool)
        for row, column, apart in similar_hashes(hashes.reshape(-1, BITS), against, distance):
            yield first[row], second[column], apart, mirrored


def similar_hashes(a: NDArray[np.bool_], b: NDArray[np.bool_], distance: int) -> Iterator[tuple[int, int, int]]:
    """Row of ``a`` bool (N, 64), row of ``b`` bool (M, 64) and distance of all pairs within ``distance``.

    With bits as +1 and -1 the product of two hashes is 64 minus twice their distance: a product of matrices, exact in
    float32, 1024 rows at a time.
    """
    against = b.T.astype(np.float32) * 2 - 1
    for start in range(0, len(a), ROWS_AT_ONCE):
        product = (a[start : start + ROWS_AT_ONCE].astype(np.float32) * 2 - 1) @ against
        rows, columns = np.nonzero(product >= BITS - 2 * distance)
        apart = ((BITS - product[rows, columns]) / 2).astype(int)
        yield from zip((rows + start).tolist(), columns.tolist(), apart.tolist(), strict=True)


def _how(pair: Pair) -> str:
    return "byte-identical" if pair.identical else "mirrored" if pair.mirrored else ""


def _counted(images: Sequence[str]) -> str:
    return "1 image" if len(images) == 1 else f"{len(images)} images"


def _first(images: Sequence[str]) -> str:
    return ", ".join(images[:3]) + (f", +{len(images) - 3} more" if len(images) > 3 else "")
