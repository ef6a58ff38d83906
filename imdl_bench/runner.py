"""Protocol x model x data set x distortion -> rows in the run's file. Resumes, records what fails, writes alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from imdl_bench.cache import sole_writer
from imdl_bench.cards import Protocol
from imdl_bench.engine.local import Entrant, Work, score_all
from imdl_bench.engine.scored import Scored
from imdl_bench.engine.tasks import CellTask, ShardScores
from imdl_bench.metrics.histogram import ScorePool
from imdl_bench.planning import Cell, Options, Plan, Progress
from imdl_bench.predictions import Recorded
from imdl_bench.records import Row, RunFile
from imdl_bench.thumbnails import KeptMask

COMMIT_SECONDS = 1.0


def execute(plans: Sequence[Plan], protocol: Protocol, options: Options, progress: Progress) -> None:
    """Run what is left of plans. Stopped at any moment, the same call goes on where this one was.

    Raises:
        UsageError: another process works on one of the runs.
    """
    for plan in plans:
        here = [cell for cell in plan.cells if cell.todo and (options.engine == "local" or _is_recorded(cell))]
        if here:
            _score_here(plan, here, protocol, options, progress)
    if options.engine == "ray":
        waiting = [(plan, cell) for plan in plans for cell in plan.cells if cell.todo and not _is_recorded(cell)]
        if waiting:
            _score_on_cluster(waiting, protocol, options, progress)


def _score_here(
    plan: Plan, cells: Sequence[Cell], protocol: Protocol, options: Options, progress: Progress
) -> None:  # fmt: skip
    with ExitStack() as held:
        writers = [_open(cell, progress, held) for cell in cells]
        entrants = []
        for cell, writer in zip(cells, writers, strict=True):
            assert cell.model is not None
            entrants.append(Entrant(str(cell.spec), cell.model, cell.outputs, writer.done))
        work = Work.of(protocol, plan.dataset, list(enumerate(plan.samples)), options.seed)
        for place, scored in score_all(work, entrants, workers=options.workers, batch_size=options.images_at_once):
            writers[place].take(scored)
        for writer in writers:
            writer.finish()


def _score_on_cluster(
    waiting: Sequence[tuple[Plan, Cell]], protocol: Protocol, options: Options, progress: Progress
) -> None:
    from imdl_bench.engine.ray import score_on_cluster

    with ExitStack() as held:
        writers = [_open(cell, progress, held) for _, cell in waiting]
        tasks = [
            CellTask.of(plan, cell, protocol, options, writer.done)
            for (plan, cell), writer in zip(waiting, writers, strict=True)
        ]
        for place, scores in score_on_cluster(tasks, options.address, options.processes):
            writers[place].merge(scores)


def _is_recorded(cell: Cell) -> bool:
    return isinstance(cell.model, Recorded)


def _open(cell: Cell, progress: Progress, held: ExitStack) -> Writer:
    held.enter_context(sole_writer(cell.folder / "run.lock", f"{cell.folder}: another process works on this run"))
    writer = Writer(cell.folder / "run.sqlite", progress)
    held.callback(writer.close)
    return writer


class Writer:
    """Writes rows and pools to one run's file, at most a second apart."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._file = RunFile(path, write=True)
        self.done = frozenset(self._file.done())
        self._progress = progress
        self._pools: dict[str, ScorePool] = {}
        self._rows: list[Row] = []
        self._masks: dict[str, KeptMask] = {}
        self._committed = time.monotonic()

    def take(self, scored: Scored) -> None:
        """One prediction."""
        scored.add_to(self._pool(scored.distortion))
        self._keep(scored.rows, scored.masks, 1)
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self._commit()

    def merge(self, scores: ShardScores) -> None:
        """All of a shard, at once: a shard that was not written is scored again."""
        for distortion, pool in scores.pools.items():
            self._pool(distortion).merge(ScorePool.from_bytes(pool))
        self._keep(scores.rows, scores.masks, scores.count)
        self._commit()

    def finish(self) -> None:
        """Everything taken is written."""
        self._commit()

    def close(self) -> None:
        """Let go of the file. What is not written yet is dropped: stopped half way, rows and pool might disagree."""
        self._file.close()

    def _pool(self, distortion: str) -> ScorePool:
        if distortion not in self._pools:
            self._pools[distortion] = self._file.pool(distortion)
        return self._pools[distortion]

    def _keep(self, rows: Sequence[Row], masks: Mapping[str, KeptMask], count: int) -> None:
        self._rows += rows
        self._masks |= masks
        self._progress(count)

    def _commit(self) -> None:
        if self._rows:
            touched = {row.distortion for row in self._rows}
            pools = {name: self._pool(name) for name in sorted(touched)}
            self._file.append(self._rows, pools, self._masks)
        self._rows, self._masks = [], {}
        self._committed = time.monotonic()
