"""What one image, level, row and shard costs: measured figures in a JSON file, read as straight lines over area."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.optimize

from imdl_bench.cache import write_atomically
from imdl_bench.errors import DataError

FORMAT = 1
Clock = Literal["cpu", "wall"]


@dataclass(frozen=True, slots=True)
class Line:
    """``base + per_megapixel * area``; neither is below 0."""

    base: float = 0.0
    per_megapixel: float = 0.0

    def at(self, megapixels: float) -> float:
        """Of one image."""
        return self.base + self.per_megapixel * megapixels

    def of(self, images: float, megapixels: float) -> float:
        """Of many images with so many megapixels together."""
        return self.base * images + self.per_megapixel * megapixels

    def plus(self, other: Line) -> Line:
        """Both together."""
        return Line(self.base + other.base, self.per_megapixel + other.per_megapixel)

    def times(self, factor: float, area: float = 1.0) -> Line:
        """``factor`` times it, on images that are resized to ``area`` times their area before."""
        return Line(self.base * factor, self.per_megapixel * factor * area)

    @classmethod
    def through(cls, points: Sequence[Sequence[float]], column: int = 1) -> Line:
        """The line with the least relative errors at the points (megapixels, figure, ...)."""
        x, y = (np.array([point[place] for point in points], float) for place in (0, column))
        weights = 1 / np.maximum(y, 1e-9)
        if len(points) == 1:
            return cls(0.0, float(y[0] / x[0]))
        found, _ = scipy.optimize.nnls(np.stack([weights, weights * x], axis=1), weights * y)
        return cls(*map(float, found))


@dataclass(frozen=True, slots=True)
class ModelCosts:
    """One model. Points are [megapixels, wall seconds, CPU seconds]; ``gflop``: [megapixels, GFLOP], counted.

    ``shard_level``: seconds that a worker spends on each level of a shard beside its images. ``pool_bytes``: of one
    level's packed score pool. ``weight_bytes``: read by every worker that loads it.
    """

    network: bool
    load_seconds: float
    weight_bytes: int
    forward: list[list[float]]
    gflop: list[list[float]]
    score: list[list[float]]
    shard_level: float
    row_bytes: int
    thumbnail_bytes: int
    pool_bytes: int


@dataclass(frozen=True, slots=True)
class LevelCosts:
    """One level of distortion: how large its images are, what making them and moving masks back takes (points)."""

    area: float
    distort: list[list[float]]
    map_back: list[list[float]]


@dataclass(frozen=True, slots=True)
class DriverCosts:
    """What the driver does, in seconds unless it says otherwise.

    Attributes:
        start: of the command with its imports, before it plans.
        index: per image of a data set; ``sample_bytes``: of memory that it holds for each.
        hash_bytes_per_second: read and hashed by one thread, files in memory.
        hash_file: per file, beside its bytes.
        plan_prediction: per image and level, to find what is left to do.
        row, pool, shard: to write one row, to merge and pack one pool, to write one transaction; ``pool_memory``: bytes
            that a pool holds.
        stored_row_bytes: one row in run.sqlite.
        finish_row: per row, to read a run back, sum it up with its intervals and export it; ``_bytes``: memory.
    """

    start: float
    index: float
    sample_bytes: float
    hash_bytes_per_second: float
    hash_file: float
    plan_prediction: float
    row: float
    pool: float
    pool_memory: float
    shard: float
    stored_row_bytes: float
    finish_row: float
    finish_row_bytes: float


@dataclass(frozen=True, slots=True)
class Costs:
    """A file of costs. ``image_bytes``: [megapixels, bytes of the image's and its truth's files]."""

    measured_on: dict[str, Any]
    worker_start: float
    image_bytes: list[list[float]]
    decode: list[list[float]]
    driver: DriverCosts
    levels: dict[str, LevelCosts]
    models: dict[str, ModelCosts]


def read_costs(path: Path) -> Costs:
    """Raises DataError where it is no file of costs."""
    try:
        raw = json.loads(path.read_text())
        if raw.pop("format") != FORMAT:
            raise ValueError("another format")
        raw["driver"] = DriverCosts(**raw["driver"])
        raw["levels"] = {name: LevelCosts(**each) for name, each in raw["levels"].items()}
        raw["models"] = {name: ModelCosts(**each) for name, each in raw["models"].items()}
        return Costs(**raw)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no file of costs ({error}); make one with simulate_scale.py measure") from None


def write_costs(costs: Costs, path: Path) -> None:
    """As JSON."""
    text = json.dumps({"format": FORMAT} | asdict(costs), indent=1)
    write_atomically(path, (text + "\n").encode())


def seconds(points: Sequence[Sequence[float]], clock: Clock) -> Line:
    """The line through measured points, on the clock that counts."""
    return Line.through(points, 1 if clock == "wall" else 2)


@dataclass(frozen=True, slots=True)
class ImageCosts:
    """All levels of one image for one model. ``decode``, ``rest`` (distortions and scoring) and ``forward`` in seconds.

    ``predictions`` levels; ``gpu``: forward seconds on an assumed GPU, None where the model runs on processors.
    """

    predictions: int
    decode: Line
    distort: Line
    score: Line
    forward: Line
    gpu: Line | None


def image_costs(
    costs: Costs, model: ModelCosts, levels: Sequence[str], clock: Clock, flops: float | None
) -> ImageCosts:
    """Sum the levels up. ``flops``: assumed operations per second that a GPU reaches, None for runs on processors."""
    kinds = [costs.levels[level] for level in levels]
    areas = sum(each.area for each in kinds)
    forward, gflop = seconds(model.forward, clock), Line.through(model.gflop) if model.gflop else None
    distort = score = Line()
    for each in kinds:
        distort = distort.plus(seconds(each.distort, clock) if each.distort else Line())
        score = score.plus(seconds(model.score, clock)).plus(seconds(each.map_back, clock) if each.map_back else Line())
    gpu = gflop.times(1e9 / flops) if gflop and flops else None
    count = len(kinds)
    return ImageCosts(
        predictions=count,
        decode=seconds(costs.decode, clock),
        distort=distort,
        score=score,
        forward=Line(forward.base * count, forward.per_megapixel * areas),
        gpu=Line(gpu.base * count, gpu.per_megapixel * areas) if gpu else None,
    )
