"""The work to simulate: models like measured ones, data sets of drawn image sizes, levels; and the cluster for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from scale.costs import Clock, Costs, ImageCosts, Line, image_costs

from imdl_bench.errors import DataError, nearest


@dataclass(frozen=True, slots=True)
class GridModel:
    """A model that costs ``times`` what the measured model ``like`` does."""

    name: str
    like: str
    times: float = 1.0


@dataclass(frozen=True, slots=True)
class GridData:
    """A data set: how many images, their mean area in megapixels and its spread (sigma of its logarithm)."""

    name: str
    images: int
    megapixels: float
    spread: float = 0.5

    def areas(self, seed: int) -> NDArray[np.float64]:
        """Megapixels of each image, drawn."""
        rng = np.random.default_rng([seed, sum(self.name.encode())])
        return self.megapixels * rng.lognormal(-(self.spread**2) / 2, self.spread, self.images)


@dataclass(frozen=True, slots=True)
class Grid:
    """Every model on every data set at every level."""

    models: tuple[GridModel, ...]
    data: tuple[GridData, ...]
    levels: tuple[str, ...]

    @property
    def images(self) -> int:
        """Of all data sets."""
        return sum(each.images for each in self.data)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The machines. All of it is assumed.

    Attributes:
        gpus: one worker each; without GPUs (``flops`` None) workers are processors.
        cores: threads of each worker that decode, distort and score.
        flops: operations per second that a GPU reaches on a network; None: networks run on the processor.
        cpu_speed: of a core against the one that was measured.
        per_node: workers that are lost together.
        storage: bytes per second that all workers together read.
        network: bytes per second into the driver.
        hashing: threads of the driver that hash files.
        mtbf_hours: mean time between failures of a node; None: none fails.
        repair_seconds: until a lost node's workers are back.
        spread: sigma of the logarithm of workers' speeds; ``slow``: share of workers at half speed.
        kept: models that a worker holds.
    """

    gpus: int
    cores: int = 8
    flops: float | None = 100e12
    cpu_speed: float = 1.0
    per_node: int = 8
    storage: float = 1e9
    network: float = 1.25e9
    hashing: int = 8
    mtbf_hours: float | None = None
    repair_seconds: float = 600.0
    spread: float = 0.05
    slow: float = 0.0
    kept: int = 4


@dataclass(frozen=True, slots=True)
class Habits:
    """How the engine works; the defaults are its own, others show what a change would do.

    Attributes:
        policy: ``schedule``; ``static``: shares fixed beforehand; ``in-order``: one cell after the other.
        pool_seconds, row_seconds: that the driver takes instead of those measured.
        writes_first: the driver hands out the next shard only when it has written the last.
        sharing: models that are scored from one reading and decoding of an image.
        remembered: hashes of all files are known from an earlier run.
        finish_on_workers: each level of a finished run is read back and summed up by a worker, not by the driver.
        least_seconds, most_seconds: of a shard, in place of the schedule's.
    """

    policy: Literal["schedule", "static", "in-order"] = "schedule"
    pool_seconds: float | None = None
    row_seconds: float | None = None
    writes_first: bool = True
    sharing: int = 1
    remembered: bool = False
    finish_on_workers: bool = False
    least_seconds: float | None = None
    most_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one data set, costs summed over all levels.

    ``summed``: megapixels of the first 0, 1, 2, ... images together.
    """

    model: str
    data: str
    images: int
    summed: NDArray[np.float64] = field(repr=False)
    costs: ImageCosts
    bytes: Line
    load_seconds: float
    weight_bytes: int
    shard_level: float
    row_bytes: int
    thumbnail_bytes: int
    pool_bytes: int


def read_grid(path: Path) -> Grid:
    """From YAML: lists ``models`` and ``data`` with the fields above, and ``levels``. Raises DataError."""
    try:
        raw = yaml.safe_load(path.read_text())
        return Grid(
            tuple(GridModel(**each) for each in raw["models"]),
            tuple(GridData(**each) for each in raw["data"]),
            tuple(raw["levels"]),
        )
    except (OSError, TypeError, KeyError, yaml.YAMLError) as error:
        raise DataError(f"{path}: no grid ({error})") from None


def default_grid(costs: Costs) -> Grid:
    """30 models that cost 0.5 to 2 times a measured one, 10 data sets of 1,000 to a million images, 30 levels.

    Networks alone where any was measured: the classical baselines need no GPU.
    """
    known = [name for name, each in costs.models.items() if each.network] or list(costs.models)
    factors = (0.5, 0.7, 1.0, 1.4, 2.0)
    alike = [(known[n % len(known)], factors[n // len(known) % len(factors)]) for n in range(30)]
    models = tuple(GridModel(f"{like}-{n}", like, times) for n, (like, times) in enumerate(alike))
    sizes = (1_000, 1_000, 2_000, 5_000, 10_000, 12_000, 50_000, 84_000, 300_000, 1_000_000)
    areas = (0.3, 1.0, 0.1, 0.3, 0.15, 0.3, 0.5, 0.3, 0.26, 0.26)
    data = tuple(GridData(f"data-{n}", size, areas[n]) for n, size in enumerate(sizes))
    levels = list(costs.levels)
    return Grid(models, data, tuple(levels[n % len(levels)] for n in range(30)))


def cells_of(grid: Grid, costs: Costs, cluster: Cluster, seed: int, clock: Clock = "cpu") -> list[Cell]:
    """Everything that is to be done. Raises DataError for a model or level that was not measured."""
    for level in grid.levels:
        _refuse_unknown(level, costs.levels)
    files = Line.through(costs.image_bytes)
    cells = []
    sums = {data.name: np.concatenate([[0.0], np.cumsum(data.areas(seed))]) for data in grid.data}
    for model in grid.models:
        _refuse_unknown(model.like, costs.models)
        found = costs.models[model.like]
        per_image = _times(image_costs(costs, found, grid.levels, clock, cluster.flops), model.times)
        cells += [
            Cell(
                model.name, data.name, data.images, sums[data.name], per_image, files, found.load_seconds,
                found.weight_bytes, found.shard_level, found.row_bytes, found.thumbnail_bytes, found.pool_bytes,
            )
            for data in grid.data
        ]  # fmt: skip
    return cells


def _times(found: ImageCosts, factor: float) -> ImageCosts:
    gpu = found.gpu.times(factor) if found.gpu else None
    return ImageCosts(found.predictions, found.decode, found.distort, found.score, found.forward.times(factor), gpu)


def _refuse_unknown(name: str, known: Sequence[str] | dict[str, Any]) -> None:
    if name not in known:
        raise DataError(f"{name} is not among the costs measured{nearest(name, list(known))} ({', '.join(known)})")
