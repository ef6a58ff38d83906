"""Instance masks of MS COCO: ``instances_*.json`` with polygons and run lengths."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from imdl_bench.errors import DataError
from imdl_bench.images import resize_nearest
from imdl_bench.synthesis.regions import Mask

_FRACTION = 4  # bits behind the point of a polygon's corners


@dataclass(frozen=True, slots=True)
class Instance:
    """One object: polygons ``[[x, y, x, y, ...], ...]`` or run lengths ``{"counts": ..., "size": [height, width]}``."""

    segmentation: Any
    height: int
    width: int


def find_annotations(photos: Path) -> list[Path]:
    """``annotations/instances_*.json`` in the folder of photographs or beside it; empty where there is none."""
    for folder in (photos, photos.absolute().parent):
        if found := sorted((folder / "annotations").glob("instances_*.json")):
            return found
    return []


def read_instances(path: Path) -> dict[str, list[Instance]]:
    """The annotated objects of each image, by the image's file name. Raises DataError where it is no COCO file."""
    try:
        content = json.loads(path.read_bytes())
        images = {image["id"]: image for image in content["images"]}
        found: dict[str, list[Instance]] = {}
        for line in content["annotations"]:
            image = images[line["image_id"]]
            instance = Instance(line["segmentation"], int(image["height"]), int(image["width"]))
            found.setdefault(Path(image["file_name"]).name, []).append(instance)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not COCO's instances: {type(error).__name__}: {error}") from None
    return found


def instance_mask(instance: Instance, shape: tuple[int, int]) -> Mask:
    """bool of ``shape``: the object, with its image resized to that height and width. Raises DataError."""
    if isinstance(instance.segmentation, dict):
        return resize_nearest(_run_lengths(instance.segmentation), shape)
    height, width = shape
    scale = np.array([width / instance.width, height / instance.height])
    mask = np.zeros(shape, np.uint8)
    for polygon in instance.segmentation:
        # COCO counts from the corner of a pixel, OpenCV from its centre.
        corners = np.reshape(np.asarray(polygon, np.float64), (-1, 2)) * scale - 0.5
        fixed = np.rint(corners * 2**_FRACTION).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 1, shift=_FRACTION)
    return mask > 0


def _run_lengths(segmentation: dict[str, Any]) -> Mask:
    """Runs of 0 and 1 by turns, down the columns, as numbers or in COCO's letters."""
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    runs = np.asarray(_spelled(counts) if isinstance(counts, str) else counts, np.int64)
    if runs.size == 0 or runs.min() < 0 or runs.sum() != height * width:
        raise DataError(f"run lengths of {int(runs.sum())} pixels for a mask of {width}x{height}")
    values = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


def _spelled(letters: str) -> list[int]:
    """Run lengths out of COCO's letters: from 48 up, five bits each, the sixth says that more follow.

    From the fourth run on, what is spelled is the difference to the run before the last; the highest bit of the last
    letter is its sign.
    """
    runs: list[int] = []
    value, bits = 0, 0
    for letter in letters:
        code = ord(letter) - 48
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        value -= (1 << bits) if code & 16 else 0
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, bits = 0, 0
    return runs
