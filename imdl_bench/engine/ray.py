"""The engine of many processes, on this machine or on a cluster: Ray starts workers, the driver alone writes."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imdl_bench import records
from imdl_bench.engine.shards import ATTEMPTS, CellWork, Schedule, Shard
from imdl_bench.engine.tasks import CellTask, ShardScores, failed_shard, score_shard
from imdl_bench.errors import DataError, ImdlBenchError, UsageError
from imdl_bench.records import default_workers

WAITING_SECONDS = 60.0  # without any worker at work, until the user is told
NEVER_READY = 5  # workers that end before they are ready, one after another: something is wrong with the machines
RESULTS_BYTES = 256 << 20  # of shared memory for what is on its way, where this process starts Ray


@dataclass(frozen=True, slots=True)
class _Crew:
    """Workers of one kind: how many, and what each asks Ray for."""

    count: int
    cpus: int
    gpus: float


class ShardWorker:
    """A worker process. It loads a model when it meets the first shard of it."""

    def __init__(self, cpus: int, folder: Path) -> None:
        self._cpus = min(cpus, default_workers())
        if folder.is_dir():  # what the command names relative to its folder is found from there
            os.chdir(folder)

    def about(self) -> dict[str, Any]:
        """What must be as on the driver."""
        return {"node": platform.node(), "libraries": _libraries()}

    def score(self, cell: CellTask, samples: Any, done: Any) -> ShardScores:
        """Score some samples of a cell. Raises as :func:`~imdl_bench.engine.tasks.score_shard`."""
        return score_shard(cell, samples, done, self._cpus)


def score_on_cluster(
    cells: Sequence[CellTask], address: str | None, processes: int | None
) -> Iterator[tuple[int, ShardScores]]:
    """Score cells on the workers of a Ray cluster; yields whole shards, by the place of their cell.

    A shard whose worker ends is scored again by another one. An image over which ``ATTEMPTS`` workers have ended is
    recorded as failed.

    Args:
        address: of a running cluster (``auto``, ``ray://...`` or ``HOST:PORT``); none starts one on this machine.
        processes: workers; none: as many as there are processors, for networks on GPUs as many as fit on these.

    Raises:
        UsageError: Ray is not installed, there is no such cluster, or it has no GPU where one is asked for.
        DataError: a worker's machine lacks the data, the weights, or has other versions of what numbers depend on.
    """
    with _ray(address, processes) as ray:
        crews = _crews(ray, cells, processes)
        work = [CellWork(len(cell.samples), (cell.model.spec, cell.model.code), _kind(cell)) for cell in cells]
        schedule = Schedule(work, sum(crew.count for crew in crews.values()))
        yield from _Driver(ray, cells, crews, schedule).run()


class _Driver:
    """Keeps every worker busy until the schedule is done."""

    def __init__(self, ray: Any, cells: Sequence[CellTask], crews: dict[str, _Crew], schedule: Schedule) -> None:
        self._ray = ray
        self._cells = cells
        self._crews = crews
        self._schedule = schedule
        self._worker = ray.remote(ShardWorker)
        self._sent = [ray.put(cell.without_samples()) for cell in cells]
        self._running: dict[Any, tuple[Any, str, Shard | None]] = {}  # by what Ray will answer
        self._idle: list[tuple[Any, str]] = []
        self._never_ready = 0

    def run(self) -> Iterator[tuple[int, ShardScores]]:
        for kind, crew in self._crews.items():
            for _ in range(crew.count):
                self._hire(kind)
        while not self._schedule.finished:
            answers, _ = self._ray.wait(list(self._running), num_returns=1, timeout=WAITING_SECONDS)
            for answer in answers:
                worker, kind, shard = self._running.pop(answer)
                yield from self._take(answer, worker, kind, shard)
            if not answers and not any(shard for _, _, shard in self._running.values()):
                free = self._ray.available_resources()
                room = ", ".join(f"{free.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
                logging.getLogger(__name__).warning("waiting for workers: Ray's cluster has %s free", room)
            self._send_out()

    def _hire(self, kind: str) -> None:
        crew = self._crews[kind]
        # GPUs say how many there can be; with processors asked for too, some would find room on no machine.
        cpus = 0 if crew.gpus else crew.cpus
        told = {"env_vars": variables} if (variables := _variables()) else None
        asked = self._worker.options(num_cpus=cpus, num_gpus=crew.gpus, max_restarts=0, runtime_env=told)
        worker = asked.remote(crew.cpus, Path.cwd())
        self._running[worker.about.remote()] = (worker, kind, None)

    def _take(self, answer: Any, worker: Any, kind: str, shard: Shard | None) -> Iterator[tuple[int, ShardScores]]:
        """What a worker gave back. One that ended is replaced; one that met an error goes on with other work."""
        try:
            found = self._ray.get(answer)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ImdlBenchError):
                raise type(error.cause)(f"a worker says: {error.cause}") from None
            if shard is None:
                raise DataError(f"a worker cannot start: {error.cause}") from None
            self._idle.append((worker, kind))
            yield from self._lost(shard, f"{type(error.cause).__name__}: {error.cause}")
        except self._ray.exceptions.RayError as error:
            self._never_ready = 0 if shard else self._never_ready + 1
            if self._never_ready == NEVER_READY:
                raise DataError(f"{NEVER_READY} workers ended before they were ready; the last: {error}") from None
            self._hire(kind)
            if shard is not None:
                yield from self._lost(shard, f"ended the worker process ({type(error).__name__})")
        else:
            self._idle.append((worker, kind))
            self._never_ready = 0
            if shard is None:
                _refuse_other_libraries(found)
            else:
                self._schedule.done(shard, found.seconds)
                yield shard.cell, found

    def _lost(self, shard: Shard, reason: str) -> Iterator[tuple[int, ShardScores]]:
        if self._schedule.lost(shard):
            cell = self._cells[shard.cell]
            samples = cell.samples[shard.start : shard.stop]
            yield shard.cell, failed_shard(cell, samples, cell.done_of(samples), f"{reason}, {ATTEMPTS} times")

    def _send_out(self) -> None:
        """A shard for every idle worker, as long as there are any."""
        waiting, self._idle = self._idle, []
        for worker, kind in waiting:
            shard = self._schedule.next(worker, kind)
            if shard is None:
                self._idle.append((worker, kind))
                continue
            cell = self._cells[shard.cell]
            samples = cell.samples[shard.start : shard.stop]
            answer = worker.score.remote(self._sent[shard.cell], samples, cell.done_of(samples))
            self._running[answer] = (worker, kind, shard)


def _variables() -> dict[str, str]:
    """What the environment says to this library; plug-in folders absolute, as they are looked up at once."""
    found = {name: value for name, value in os.environ.items() if name.startswith("IMDL_BENCH_")}
    if plugins := found.get("IMDL_BENCH_PATH"):
        folders = (Path(folder).expanduser().absolute() for folder in plugins.split(os.pathsep) if folder)
        found["IMDL_BENCH_PATH"] = os.pathsep.join(map(str, folders))
    return found


def _kind(cell: CellTask) -> str:
    return "gpu" if cell.model.gpus else "cpu"


def _crews(ray: Any, cells: Sequence[CellTask], processes: int | None) -> dict[str, _Crew]:
    """One crew for networks on GPUs, sized by the largest share that a card asks for, and one for all others."""
    has = ray.cluster_resources()
    cpus, gpus = int(has.get("CPU", 1)), has.get("GPU", 0.0)
    kinds = {_kind(cell) for cell in cells}
    crews: dict[str, _Crew] = {}
    if "gpu" in kinds:
        share = max(cell.model.gpus for cell in cells)
        if gpus < share:
            raise UsageError(
                f"a network here asks for {share:g} GPUs, and Ray's cluster has {gpus:g}; use --device cpu"
            )
        count = min(processes or cpus, int(gpus / share))
        crews["gpu"] = _Crew(count, max(1, cpus // count // len(kinds)), share)
        cpus -= count * crews["gpu"].cpus
    if "cpu" in kinds:
        crews["cpu"] = _Crew(max(1, min(processes or cpus, cpus)), 1, 0.0)
    return crews


def _libraries() -> dict[str, str]:
    """Versions that numbers, or what workers are sent, depend on."""
    return {"python": ".".join(map(str, sys.version_info[:2])), **records.pixel_libraries()}


def _refuse_other_libraries(about: dict[str, Any]) -> None:
    own, theirs = _libraries(), about["libraries"]
    names = [name for name in own | theirs if own.get(name) != theirs.get(name)]
    other = [f"{name} {theirs.get(name)} (here {own.get(name)})" for name in names]
    if other:
        raise DataError(f"machine {about['node']} has {', '.join(other)}; numbers depend on them: install the same")


@contextmanager
def _ray(address: str | None, processes: int | None) -> Iterator[Any]:
    """Ray, joined or started here; one that the caller has started already is used and left as it is."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's default to be: without it Ray warns
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray needs Ray: pip install 'imdl-bench[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    own: dict[str, Any] = {"num_cpus": processes or default_workers(), "object_store_memory": RESULTS_BYTES}
    try:
        ray.init(
            address or "local", log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False,
            **({} if address else own),
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"--engine ray: {address or 'no cluster'} cannot be used: {error}") from None
    try:
        yield ray
    finally:
        ray.shutdown()
