"""Which worker scores which images: shards sized by measured cost, longest work first, retries of what was lost.

Pure bookkeeping: no clock, no processes. The cluster engine and ``benchmarks/simulate_scale.py`` drive the same code.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

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
        self._next = [0] * len(cells)  # first image of each cell that nobody has had yet
        self._seconds = [0.0] * len(cells)
        self._measured = [0] * len(cells)  # images
        self._again: deque[Shard] = deque()
        self._at_work: Counter[int] = Counter()
        self._loaded: dict[Hashable, Hashable] = {}

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
        return not self._again and not any(self._at_work.values()) and not any(self._left(cell) for cell in self._all())

    def waiting(self, kind: str) -> bool:
        """Whether some work waits for workers of a kind."""
        return any(self._cells[shard.cell].kind == kind for shard in self._again) or any(
            self._cells[cell].kind == kind and self._left(cell) for cell in self._all()
        )

    def _lost_one(self, kind: str) -> Shard | None:
        for place, shard in enumerate(self._again):
            if self._cells[shard.cell].kind == kind:
                del self._again[place]
                return shard
        return None

    def _new_one(self, worker: Hashable, kind: str) -> Shard | None:
        usual = self._usual_cost()
        lengths = {
            cell: self._left(cell) * self._cost(cell, usual) / (1 + self._at_work[cell])
            for cell in self._all()
            if self._left(cell) and self._cells[cell].kind == kind
        }
        if not lengths:
            return None
        longest = max(lengths, key=lambda cell: lengths[cell])
        here = [cell for cell in lengths if self._cells[cell].model == self._loaded.get(worker)]
        if here:
            stay = max(here, key=lambda cell: lengths[cell])
            longest = stay if lengths[longest] < SWITCHING * lengths[stay] else longest
        start = self._next[longest]
        self._next[longest] = min(self._cells[longest].images, start + self._size(longest, usual))
        return Shard(longest, start, self._next[longest])

    def _size(self, cell: int, usual: float) -> int:
        if not self._measured[cell]:
            return FIRST_IMAGES
        kind = self._cells[cell].kind
        remaining = sum(self._left(c) * self._cost(c, usual) for c in self._all() if self._cells[c].kind == kind)
        seconds = min(max(remaining / (ROUNDS * self._workers), LEAST_SECONDS), MOST_SECONDS)
        return max(1, int(seconds / max(self._cost(cell, usual), 1e-9)))

    def _cost(self, cell: int, usual: float) -> float:
        """Seconds per image; of a cell not measured yet, the usual."""
        return self._seconds[cell] / self._measured[cell] if self._measured[cell] else usual

    def _usual_cost(self) -> float:
        return sum(self._seconds) / sum(self._measured) if any(self._measured) else 1.0

    def _left(self, cell: int) -> int:
        return self._cells[cell].images - self._next[cell]

    def _all(self) -> range:
        return range(len(self._cells))
