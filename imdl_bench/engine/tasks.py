"""What the cluster engine sends to workers and gets back: plain data that can be pickled, without a data set's list."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from imdl_bench import catalog
from imdl_bench.cards import Protocol
from imdl_bench.dataset import Dataset
from imdl_bench.engine.decoded import Decoded
from imdl_bench.engine.local import Entrant, Work, score_all
from imdl_bench.engine.scored import Scored, failed
from imdl_bench.errors import DataError
from imdl_bench.metrics.histogram import ScorePool
from imdl_bench.model_spec import ModelSpec
from imdl_bench.planning import Cell, Options, Plan
from imdl_bench.records import Row
from imdl_bench.thumbnails import KeptMask
from imdl_bench.types import Sample
from imdl_bench.weights import Weights

MODELS_KEPT = 4  # by a worker


@dataclass(frozen=True, slots=True)
class ModelTask:
    """A model to load, by name: workers read its code and weights from their own disk. ``code``: hash of its folder."""

    spec: ModelSpec
    weights: Weights | None
    outputs: tuple[str, ...]
    code: str
    device: str
    precision: str
    compile: bool
    gpus: float


@dataclass(frozen=True, slots=True)
class CellTask:
    """One model on one split.

    ``samples`` are those that lack a level, with their positions; they and what is ``done`` stay with the driver.
    """

    model: ModelTask
    dataset: Dataset
    protocol: Protocol
    batch_size: int
    seed: int
    levels: tuple[str, ...]
    samples: tuple[tuple[int, Sample], ...] = field(default=(), repr=False)
    done: frozenset[tuple[str, str]] = field(default_factory=frozenset, repr=False)

    @classmethod
    def of(
        cls, plan: Plan, cell: Cell, protocol: Protocol, options: Options, done: frozenset[tuple[str, str]]
    ) -> CellTask:
        """From a plan; ``done`` are level and sample of what is scored."""
        card = catalog.model_card(cell.spec.name)
        gpus = card.gpus if card.weights is not None and options.device.startswith("cuda") else 0.0
        model = ModelTask(
            cell.spec, cell.weights, cell.outputs, cell.about["key"]["model_code"], options.device.partition(":")[0],
            options.precision, options.compile and cell.weights is not None, gpus,
        )  # fmt: skip
        levels = tuple(distortion.name for distortion in plan.distortions)
        samples = tuple(
            (position, sample)
            for position, sample in enumerate(plan.samples)
            if any((level, sample.id) not in done for level in levels)
        )
        dataset = replace(plan.dataset, samples=(), indexed=())
        return cls(model, dataset, protocol, options.images_at_once, options.seed, levels, samples, done)

    def without_samples(self) -> CellTask:
        """What every shard of the cell has in common."""
        return replace(self, samples=(), done=frozenset())

    def done_of(self, samples: Sequence[tuple[int, Sample]]) -> frozenset[tuple[str, str]]:
        """What of some samples is scored already."""
        return self.done.intersection((level, sample.id) for level in self.levels for _, sample in samples)


@dataclass(frozen=True, slots=True)
class ShardScores:
    """What a shard leaves behind: rows, thumbnails, and the pool of each level as bytes.

    ``count``: predictions. ``seconds``: without ``loading``, the seconds that the model took to load.
    """

    rows: list[Row]
    masks: dict[str, KeptMask]
    pools: dict[str, bytes]
    count: int
    seconds: float = 0.0
    loading: float = 0.0


def score_shard(
    cell: CellTask, samples: Sequence[tuple[int, Sample]], done: frozenset[tuple[str, str]], workers: int
) -> ShardScores:
    """Score some samples of a cell in this process.

    Raises:
        DataError: the data set does not lie here.
        UsageError, CardError, DataError: the model cannot be loaded here, or is not the driver's.
    """
    if not cell.dataset.root.exists():
        raise DataError(f"{cell.dataset.root} is not there; data must lie under the same path on every machine")
    started = time.perf_counter()
    model = _model(cell.model)
    loaded = time.perf_counter()
    entrant = Entrant(str(cell.model.spec), model, cell.model.outputs, done)
    work = Work.of(cell.protocol, cell.dataset, samples, cell.seed)
    found = score_all(work, [entrant], workers=workers, batch_size=cell.batch_size)
    scores = _gathered(scored for _, scored in found)
    return replace(scores, seconds=time.perf_counter() - loaded, loading=loaded - started)


def failed_shard(
    cell: CellTask, samples: Sequence[tuple[int, Sample]], done: frozenset[tuple[str, str]], reason: str
) -> ShardScores:
    """Samples that no worker could score, at every level that is lacking."""
    return _gathered(
        failed(Decoded(sample, position, distortion=level), f"{cell.model.spec}: {reason}")
        for position, sample in samples
        for level in cell.levels
        if (level, sample.id) not in done
    )


def _gathered(found: Iterable[Scored]) -> ShardScores:
    """Predictions in one parcel; of pixels only the pools."""
    rows: list[Row] = []
    masks: dict[str, KeptMask] = {}
    pools: dict[str, ScorePool] = {}
    count = 0
    for scored in found:
        scored.add_to(pools.setdefault(scored.distortion, ScorePool()))
        rows += scored.rows
        masks |= scored.masks
        count += 1
    return ShardScores(rows, masks, {level: pool.to_bytes() for level, pool in pools.items()}, count)


@lru_cache(MODELS_KEPT)
def _model(task: ModelTask) -> Any:
    if catalog.fingerprint("models", task.spec.name) != task.code:
        raise DataError(f"{task.spec.name} has other code or another card than where the run was started")
    return catalog.load_model(
        task.spec.name, task.weights,
        device=task.device, precision=task.precision, compile=task.compile, settings=dict(task.spec.settings),
    )  # fmt: skip
