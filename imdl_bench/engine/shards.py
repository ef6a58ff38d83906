"""Which worker scores which images: shards sized by measured cost, longest work first, retries of what was lost.

Pure bookkeeping: no clock, no processes. The cluster engine and ``benchmarks/simulate_scale.py`` drive the same code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FIRST_IMAGES = 2  # of a shard whose cost nobody has measured
LEAST_SECONDS, MOST_SECONDS = 2.0, 120.0  # of a shard; a worker that is lost costs no more than that
ROUNDS = 8  # shards that each worker still gets of what remains: late ones are small, so that all end together
ATTEMPTS = 3  # of one image before it is held to be what ends the workers
SWITCHING = 2.0  # how much longer other work must be for a worker to load another model


@dataclass(frozen=True, slots=True)
class CellWork:
    """What is left of one model on one split.

    Attributes:
        images: how many wait.
        model: cells of equal ``model`` share what a worker has loaded.
        kind: of worker that it needs.
    """

    images: int
    model: Hashable
    kind: str


@dataclass(frozen=True, slots=True)
class Shard:
    """Images ``start`` to ``stop`` of what waits in a cell, at all levels of distortion. ``losses``: so far."""

    cell: int
    start: int
    stop: int
    losses: int = 0

    def __len__(self) -> int:
        return self.stop - self.start


class Schedule:
    """Cuts the work of cells into shards, on demand.

    A cell's first shards are small; once one is back, its cost per image is known, and shards take between
    ``LEAST_SECONDS`` and ``MOST_SECONDS``. Workers get the cell in which each of them has most left to do; they stay
    with the model they have loaded unless another cell is ``SWITCHING`` times longer.
    """

    def __init__(self, cells: Sequence[CellWork], workers: int) -> None:
        self._cells = cells
        self._workers = max(1, workers)
        self._left = np.array([cell.images for cell in cells], np.int64)  # images that nobody has had yet
        self._seconds = np.zeros(len(cells))
        self._measured = np.zeros(len(cells), np.int64)  # images
        self._again: deque[Shard] = deque()
        self._at_work = np.zeros(len(cells), np.int64)
        self._loaded: dict[Hashable, Hashable] = {}
        self._of_kind = _places([cell.kind for cell in cells])
        self._of_model = _places([cell.model for cell in cells])

    def next(self, worker: Hashable, kind: str) -> Shard | None:
        """The next shard for a worker, or None while there is nothing for its kind."""
        shard = self._lost_one(kind) or self._new_one(worker, kind)
        if shard is not None:
            self._at_work[shard.cell] += 1
            self._loaded[worker] = self._cells[shard.cell].model
        return shard

    def done(self, shard: Shard, seconds: float) -> None:
        """A shard is scored; ``seconds`` without what loading the model took."""
        self._at_work[shard.cell] -= 1
        self._seconds[shard.cell] += seconds
        self._measured[shard.cell] += len(shard)

    def lost(self, shard: Shard) -> bool:
        """A worker ended over a shard. It is tried again, next time in halves.

        Returns:
            True where it was one image that has now ended ``ATTEMPTS`` workers: it will not be tried again.
        """
        self._at_work[shard.cell] -= 1
        losses = shard.losses + 1
        if len(shard) == 1 and losses >= ATTEMPTS:
            return True
        if losses < 2 or len(shard) == 1:
            self._again.append(replace(shard, losses=losses))
            return False
        middle = (shard.start + shard.stop) // 2
        self._again += [replace(shard, stop=middle, losses=1), replace(shard, start=middle, losses=1)]
        return False

    @property
    def finished(self) -> bool:
        """Whether every image was scored or given up."""
        return not self._again and not self._at_work.any() and not self._left.any()

    def _lost_one(self, kind: str) -> Shard | None:
        for place, shard in enumerate(self._again):
            if self._cells[shard.cell].kind == kind:
                del self._again[place]
                return shard
        return None

    def _new_one(self, worker: Hashable, kind: str) -> Shard | None:
        if kind not in self._of_kind:
            return None
        costs = self._costs()
        seconds = np.where(self._of_kind[kind], self._left * costs, 0.0)
        lengths = np.where(self._of_kind[kind] & (self._left > 0), seconds / (1 + self._at_work), -1.0)
        longest = int(lengths.argmax())
        if lengths[longest] < 0:
            return None
        loaded = self._loaded.get(worker)
        if loaded in self._of_model:
            here = np.where(self._of_model[loaded], lengths, -1.0)
            longest = int(here.argmax()) if lengths[longest] < SWITCHING * here.max() else longest
        start = self._cells[longest].images - int(self._left[longest])
        size = min(int(self._left[longest]), self._size(longest, float(costs[longest]), float(seconds.sum())))
        self._left[longest] -= size
        return Shard(longest, start, start + size)

    def _size(self, cell: int, cost: float, remaining: float) -> int:
        if not self._measured[cell]:
            return FIRST_IMAGES
        seconds = min(max(remaining / (ROUNDS * self._workers), LEAST_SECONDS), MOST_SECONDS)
        return max(1, int(seconds / max(cost, 1e-9)))

    def _costs(self) -> NDArray[np.float64]:
        """Seconds per image of each cell; where not measured yet, the usual."""
        usual = self._seconds.sum() / self._measured.sum() if self._measured.any() else 1.0
        return np.where(self._measured > 0, self._seconds / np.maximum(self._measured, 1), usual)


def _places(names: Sequence[Hashable]) -> dict[Hashable, NDArray[np.bool_]]:
    """Where each name stands."""
    return {name: np.array([other == name for other in names], bool) for name in dict.fromkeys(names)}
