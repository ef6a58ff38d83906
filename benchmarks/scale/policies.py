"""What the schedule is compared with: shares fixed beforehand, and cells one after the other."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from scale.grid import Habits

from imdl_bench.engine import shards
from imdl_bench.engine.shards import CellWork, Schedule, Shard

SHARES_PER_CELL = 8  # a fixed share is sent in so many messages, so that a lost worker does not lose all of it


class Policy(Protocol):
    """What :class:`~imdl_bench.engine.shards.Schedule` offers."""

    def next(self, worker: Hashable, kind: str) -> Shard | None:
        """The next shard for a worker."""

    def done(self, shard: Shard, seconds: float) -> None:
        """A shard is scored."""

    def lost(self, shard: Shard) -> bool:
        """A worker ended over a shard; whether it is given up."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""


class StaticSplit:
    """Every worker has the same number of images of every cell from the start; what is lost goes to whoever asks."""

    def __init__(self, cells: Sequence[CellWork], workers: int) -> None:
        self._own: list[deque[Shard]] = [deque() for _ in range(workers)]
        self._open = 0
        self._again: deque[Shard] = deque()
        for place, cell in enumerate(cells):
            for worker in range(workers):
                edges = [cell.images * (worker * SHARES_PER_CELL + part) // (workers * SHARES_PER_CELL)
                         for part in range(SHARES_PER_CELL + 1)]  # fmt: skip
                found = [Shard(place, *pair) for pair in itertools.pairwise(edges) if pair[0] < pair[1]]
                self._own[worker] += found
                self._open += len(found)

    def next(self, worker: Hashable, kind: str) -> Shard | None:
        """Its own share, then what others lost."""
        own = self._own[int(str(worker))]
        return own.popleft() if own else self._again.popleft() if self._again else None

    def done(self, shard: Shard, seconds: float) -> None:
        """One less."""
        self._open -= 1

    def lost(self, shard: Shard) -> bool:
        """Again, whole."""
        self._again.append(shard)
        return False

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return self._open == 0


class InOrder(Schedule):
    """Shards sized as by the schedule, but cells in their order: the shortest may come first and the longest last."""

    def __init__(self, cells: Sequence[CellWork], workers: int) -> None:
        super().__init__(cells, workers)
        self._first = 0

    def _new_one(self, worker: Hashable, kind: str) -> Shard | None:
        while self._first < len(self._cells) and not self._left[self._first]:
            self._first += 1
        if self._first == len(self._cells):
            return None
        costs = self._costs()
        left, start = int(self._left[self._first]), self._cells[self._first].images - int(self._left[self._first])
        size = min(left, self._size(self._first, float(costs[self._first]), float((self._left * costs).sum())))
        self._left[self._first] -= size
        return Shard(self._first, start, start + size)


def policy(habits: Habits, cells: Sequence[CellWork], workers: int) -> Policy:
    """The one that the habits name."""
    kinds: dict[str, type[Schedule] | type[StaticSplit]]
    kinds = {"schedule": Schedule, "static": StaticSplit, "in-order": InOrder}
    return kinds[habits.policy](cells, workers)


@contextmanager
def shard_limits(habits: Habits) -> Iterator[None]:
    """Other limits of a shard's seconds than the engine's, for as long as this lasts."""
    kept = shards.LEAST_SECONDS, shards.MOST_SECONDS
    shards.LEAST_SECONDS = habits.least_seconds or kept[0]
    shards.MOST_SECONDS = habits.most_seconds or kept[1]
    try:
        yield
    finally:
        shards.LEAST_SECONDS, shards.MOST_SECONDS = kept
