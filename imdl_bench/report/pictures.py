"""The photographs and truths of a run's images, read again, and its masks: small, and ready to stand in a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imdl_bench import records
from imdl_bench.cards import DataLine
from imdl_bench.dataset import Dataset, load_dataset
from imdl_bench.errors import ImageError, ImdlBenchError
from imdl_bench.images import read_image
from imdl_bench.report.folders import without_folders
from imdl_bench.runs import Run
from imdl_bench.thumbnails import KeptMask, photo_thumbnail, truth_thumbnail
from imdl_bench.types import DONOR, Image, Sample

PHOTO_SIDE = 960  # pixels of the longer side: the page enlarges the same file that it shows small
TRUTH_SIDE = 480
OUTLINE_STEP = 0.75  # pixels of the small truth that an outline may stray


@dataclass(frozen=True, slots=True)
class Photographs:
    """The images that a run saw, by key, or the reason why they cannot be shown."""

    dataset: Dataset | None
    samples: dict[str, Sample]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A photograph and its truth as data addresses, and the truth's outline as an SVG path; empty where missing."""

    photo: str = ""
    truth: str = ""
    outline: str = ""
    missing: str = ""


def find_photographs(run: Run, workers: int) -> Photographs:
    """The images of a run where it read them, if their content is what it was then."""
    root = str(run.meta["root"])
    try:
        dataset = load_dataset(run.key.dataset, root, size_mismatch=_line(run).size_mismatch)
    except ImdlBenchError as error:
        return Photographs(None, {}, without_folders(str(error), root))
    known = {sample.id: sample for sample in dataset}
    wanted = [row.sample for row in run.rows(run.levels[0]) if not row.sample.endswith(DONOR)]
    absent = [name for name in wanted if name not in known]
    if absent:
        return Photographs(None, {}, f"{len(absent)} of {len(wanted)} images are gone, such as {absent[0]}")
    chosen = [known[name] for name in wanted]
    decoding = {"forged": dataset.forged, "size_mismatch": dataset.size_mismatch}
    if records.data_fingerprint(chosen, decoding, workers, lambda _: None) != run.key.data:
        return Photographs(None, {}, "the files have changed since the run")
    return Photographs(dataset, {sample.id: sample for sample in chosen})


def read_picture(photographs: Photographs, key: str) -> Picture:
    """The photograph under a key (second images of pairs by theirs), at most 960 pixels a side, with its truth."""
    sample = photographs.samples.get(key.removesuffix(DONOR))
    if photographs.dataset is None or sample is None:
        return Picture()
    try:
        image, truth = _read(photographs.dataset, sample, second=key.endswith(DONOR))
    except ImageError as error:
        return Picture(missing=without_folders(str(error), str(photographs.dataset.root.absolute())))
    photo = data_address("jpeg", photo_thumbnail(image, PHOTO_SIDE))
    if truth is None:
        return Picture(photo, missing="no truth is given")
    return Picture(photo, data_address("png", truth_thumbnail(truth, TRUTH_SIDE)), outline(truth))


def data_address(kind: str, content: bytes) -> str:
    """A picture as an address that holds all of it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def outline(truth: NDArray[np.bool_]) -> str:
    """The edges of a truth bool (H, W) as an SVG path in its own pixels; empty where nothing is forged."""
    import cv2

    height, width = truth.shape
    scale = min(1.0, TRUTH_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(truth.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return "".join(_closed(cv2.approxPolyDP(line, OUTLINE_STEP, True)[:, 0], width / size[0]) for line in found)


def stretch(mask: KeptMask) -> float:
    """By how much a small mask's values are multiplied before they tint a photograph.

    As in :func:`imdl_bench.predict.overlay`: full tint is the greatest value; of a map that stays below 0.5 the 99.5 %
    quantile, so that a few bright pixels do not hide the rest.
    """
    values = mask.values()
    top = float(values.max())
    scale = top if top >= 0.5 else float(np.quantile(values, 0.995)) or top
    return float(f"{1 / scale:.2g}") if scale else 1.0


def _line(run: Run) -> DataLine:
    lines: Sequence[dict[str, Any]] = run.meta["protocol"]["data"]
    found = next(line for line in lines if (line["dataset"], line["split"]) == (run.key.dataset, run.key.split))
    return DataLine.model_validate(found)


def _read(dataset: Dataset, sample: Sample, *, second: bool) -> tuple[Image, NDArray[np.bool_] | None]:
    if not second:
        return dataset.read(sample)
    if sample.donor is None:
        raise ImageError(f"{sample.id}: a pair without its second image")
    image = read_image(sample.donor)
    return image, dataset.read_donor_truth(sample, image.shape[:2])[0]


def _closed(points: NDArray[Any], scale: float) -> str:
    steps = [f"{(x + 0.5) * scale:.0f} {(y + 0.5) * scale:.0f}" for x, y in points]
    return f"M{'L'.join(steps)}Z"
