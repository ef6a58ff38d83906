"""What perceptual hashes find and make up at each distance, on a folder of distinct photographs, and their speed.

    python benchmarks/bench_near_duplicates.py PHOTOS [--limit 500] [--synthetic 12000]

Every photograph is recompressed, resized, edited, mirrored and cropped in memory; a copy is found where its hash, or
that of its mirror image, is within the distance. Made up are pairs of different photographs within it (look at the
nearest, which are printed: a folder may hold true duplicates).
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from imdl_bench.images import read_image
from imdl_bench.layouts import list_images
from imdl_bench.near_duplicates import perceptual_hash, similar_hashes
from imdl_bench.types import Image

DISTANCES = (0, 2, 4, 6, 8, 10, 12)


def main() -> None:
    """Print found and made up by distance, and seconds of the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument("--synthetic", type=int, default=12_000)
    options = parser.parse_args()
    paths = list_images(options.photos)[: options.limit]
    photos = [read_image(path) for path in paths]
    hashes = [perceptual_hash(photo) for photo in photos]
    known = [place for place, found in enumerate(hashes) if found]
    plain, mirrored = (np.array([hashes[place][side] for place in known]) for side in (0, 1))  # type: ignore[index]
    print(f"{len(photos)} photographs, {len(photos) - len(known)} without structure")
    print(f"{'copy':<24}" + "".join(f"{f'<={d}':>9}" for d in DISTANCES))
    rng = np.random.default_rng(0)
    copies: dict[str, list[int]] = {}
    for place, number in enumerate(known):
        for name, copy in edited(photos[number], photos[known[place - 1]], rng).items():
            other = perceptual_hash(Image(copy))
            hashes_of = (plain[place], mirrored[place])
            distance = min(int((mine != other[0]).sum()) for mine in hashes_of) if other else 64
            copies.setdefault(name, []).append(distance)
    for name, distances in copies.items():
        found = "".join(f"{np.mean(np.array(distances) <= d):>9.1%}" for d in DISTANCES)
        print(f"{name:<24}{found}")
    pairs = made_up(plain, mirrored)
    print(f"{'made up, pairs':<24}" + "".join(f"{sum(p[0] <= d for p in pairs):>9}" for d in DISTANCES))
    print(f"of {len(known) * (len(known) - 1) // 2} pairs; the nearest:")
    for apart, row, column in sorted(pairs)[:20]:
        print(f"  {apart:>2}  {paths[known[row]].name}  {paths[known[column]].name}")
    random = rng.random((2, options.synthetic, 64)) < 0.5
    start = time.perf_counter()
    count = sum(1 for _ in similar_hashes(random[0], random[1], 6))
    print(
        f"{options.synthetic} x {options.synthetic} random hashes: {time.perf_counter() - start:.2f} s, {count} pairs"
    )


def made_up(plain: NDArray[np.bool_], mirrored: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Distance and places of different photographs within the widest distance, each pair once."""
    nearest: dict[tuple[int, int], int] = {}
    for hashes in (plain, mirrored):
        for row, column, apart in similar_hashes(hashes, plain, DISTANCES[-1]):
            if row != column:
                pair = (min(row, column), max(row, column))
                nearest[pair] = min(nearest.get(pair, 64), apart)
    return [(apart, *pair) for pair, apart in nearest.items()]


def edited(photo: Image, other: Image, rng: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    """Copies of a photograph as they occur in data sets; ``other`` gives the pixels of a splice."""
    pixels = np.asarray(photo)
    height, width = pixels.shape[:2]
    half = PIL.Image.fromarray(pixels).resize((width // 2, height // 2), PIL.Image.Resampling.BICUBIC)
    copies = {
        "JPEG 50": recompressed(pixels, 50),
        "resized 0.5": np.asarray(half),
        "resized 0.5, JPEG 50": recompressed(np.asarray(half), 50),
        "brightness +20": np.clip(pixels.astype(int) + 20, 0, 255).astype(np.uint8),
        "mirrored, JPEG 70": recompressed(pixels[:, ::-1], 70),
        "cropped by 2 % a side": pixels[height // 50 : -height // 50, width // 50 : -width // 50],
    }
    for share in (2, 5, 10):
        copies[f"splice of {share} %"] = spliced(pixels, np.asarray(other), share / 100, rng)
    return copies


def recompressed(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Through JPEG and back."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(buffer))


def spliced(
    pixels: NDArray[np.uint8], other: NDArray[np.uint8], share: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A rectangle of ``share`` of the area, in the image's proportions, from another photograph, at a random place."""
    height, width = (int(side * share**0.5) for side in pixels.shape[:2])
    top, left = (
        int(rng.integers(0, side - part)) for side, part in zip(pixels.shape[:2], (height, width), strict=True)
    )
    piece = PIL.Image.fromarray(other).resize((width, height), PIL.Image.Resampling.BICUBIC)
    copy = pixels.copy()
    copy[top : top + height, left : left + width] = np.asarray(piece)
    return copy


if __name__ == "__main__":
    main()
