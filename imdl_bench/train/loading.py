"""Batches from a source: examples by number, in order, whatever the number of worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from imdl_bench.errors import DataError, ImageError, ImdlBenchError, TrainingError
from imdl_bench.examples import Example, Source
from imdl_bench.learner import Batch, Learner

TRIES = 100  # unreadable pictures in a row after which something else is wrong
AHEAD = 4  # batches that each worker prepares
MOST_SECONDS = 600  # for a batch: a worker that takes longer will never answer


class Skipped(NamedTuple):
    """An example that could not be read."""

    number: int
    reason: str


class Item(NamedTuple):
    """One example as its learner takes it, or why the training cannot go on."""

    inputs: Batch
    id: str
    skipped: list[Skipped]
    failure: str


class Loaded(NamedTuple):
    """A batch: stacked tensors, ids in its order, what was passed over on the way."""

    inputs: Batch
    ids: list[str]
    skipped: list[Skipped]
    failures: list[str]


@dataclass(frozen=True, slots=True)
class Share:
    """Which numbers process ``rank`` of ``world`` takes, ``size`` at a time, after ``seen`` examples."""

    size: int
    seen: int = 0
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[list[int]]:
        first = self.seen + self.rank * self.size
        while True:
            yield list(range(first, first + self.size))
            first += self.size * self.world


class _Inputs(Dataset[Item]):
    def __init__(
        self, source: Source, learner: type[Learner], options: Mapping[str, Any], augment: str, seed: int
    ) -> None:
        self._source = source
        self._learner = learner
        self._options = options
        self._augment = augment
        self._seed = seed

    def __getitem__(self, number: int) -> Item:
        try:
            example, skipped = next_readable(self._source, number)
            example = augmented(example, self._augment, self._seed, number)
            return Item(self._learner.inputs(example, self._options), example.id, skipped, "")
        except ImdlBenchError as error:
            return Item({}, "", [], str(error))


def load_batches(
    source: Source,
    learner: type[Learner],
    options: Mapping[str, Any],
    share: Share,
    *,
    augment: str,
    seed: int,
    workers: int,
    pin: bool,
) -> Iterator[Loaded]:
    """Batches without end, to be taken within :func:`live_workers`. Raises DataError: the source gives no examples."""
    loader = DataLoader(
        _Inputs(source, learner, options, augment, seed),
        batch_sampler=share,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin,
        prefetch_factor=AHEAD if workers else None,
        timeout=MOST_SECONDS if workers else 0,
        worker_init_fn=_quiet_worker,
        generator=torch.Generator(),  # the loader draws a seed: not from the network's own generator
    )
    for loaded in loader:
        if loaded.failures:
            raise DataError(loaded.failures[0])
        yield loaded


@contextmanager
def live_workers() -> Iterator[None]:
    """Raise TrainingError where worker processes were killed or give nothing any more.

    PyTorch says so in the middle of whatever is done at that moment, not only where batches are taken.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise TrainingError(f"{reason}; give the same command again, with fewer --workers or 0") from None


def next_readable(source: Source, number: int) -> tuple[Example, list[Skipped]]:
    """Example ``number``, or the first after it that can be read. Raises DataError after too many that cannot."""
    skipped: list[Skipped] = []
    for place in range(number, number + TRIES):
        try:
            return source.example(place), skipped
        except ImageError as error:
            skipped.append(Skipped(place, str(error)))
    raise DataError(f"{TRIES} pictures in a row cannot be read; the last one: {skipped[-1].reason}")


def augmented(example: Example, augment: str, seed: int, number: int) -> Example:
    """The example mirrored as ``flip``, or turned and mirrored as ``dihedral``, draws for its number."""
    if augment == "none":
        return example
    draw = np.random.Generator(np.random.PCG64([seed, number]))
    mirror = bool(draw.integers(2))
    turns = int(draw.integers(4)) if augment == "dihedral" else 0

    def moved(array: Any) -> Any:
        if array is None:
            return None
        return np.ascontiguousarray(np.rot90(array[:, ::-1] if mirror else array, turns))

    return replace(
        example, image=moved(example.image), truth=moved(example.truth), donor=moved(example.donor),
        donor_truth=moved(example.donor_truth),
    )  # fmt: skip


def stacked(inputs: Sequence[Batch]) -> Batch:
    """A batch of what learners made of single examples."""
    return {key: torch.stack([each[key] for each in inputs]) for key in inputs[0]}


def _collate(items: list[Item]) -> Loaded:
    skipped = [each for item in items for each in item.skipped]
    failures = [item.failure for item in items if item.failure]
    inputs = {} if failures else stacked([item.inputs for item in items])
    return Loaded(inputs, [item.id for item in items], skipped, failures)


def _quiet_worker(worker: int) -> None:
    """Ctrl-C is the main process's affair; and one thread per worker, or they wait for one another."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
