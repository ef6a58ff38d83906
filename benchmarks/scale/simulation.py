"""A run of the cluster engine without a cluster: the engine's own schedule, workers that are times in a heap.

The order of events is the engine's: the driver plans, workers start, each asks for a shard, loads the model where it
has not, scores, and sends one message; the driver takes messages one at a time and writes them; in the end it sums up.
Storage gives bytes in the order in which they were asked for, so that all workers together get its bandwidth.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from scale.costs import Costs
from scale.grid import Cell, Cluster, Grid, Habits
from scale.policies import Policy, policy, shard_limits

from imdl_bench.engine.shards import CellWork, Shard

KIND = "worker"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run would take; seconds and bytes.

    Attributes:
        plan, work, finish: of the driver before the first shard, of the workers, of the driver after the last.
        ideal: ``work`` if all workers were busy with predictions from first to last.
        busy: share of the workers' time that went into predictions; ``gpu_busy``: in which their GPU had work; others
            had the processors alone at work, on pixels; ``waiting``: for the driver;
            ``storage_waiting``: for bytes; ``loading``: models; ``lost``: work to be repeated, and repairs;
            ``tail``: start, and nothing left to do.
        driver_busy: share of ``work`` in which the driver handled messages; ``queue``: most messages waiting for it.
        read_rate, message_rate: mean bytes per second during ``work``.
    """

    gpus: int
    plan: float
    work: float
    finish: float
    ideal: float
    busy: float
    gpu_busy: float
    waiting: float
    storage_waiting: float
    loading: float
    lost: float
    tail: float
    driver_busy: float
    queue: int
    queue_bytes: float
    read_bytes: float
    read_rate: float
    message_bytes: float
    message_rate: float
    predictions: int
    shards: int
    loads: int
    failures: int
    given_up: int
    driver_memory: float
    finish_memory: float
    stored_bytes: float

    @property
    def makespan(self) -> float:
        """From the command to its end."""
        return self.plan + self.work + self.finish

    @property
    def efficiency(self) -> float:
        """Share of ``work`` that could not be saved."""
        return self.ideal / self.work if self.work else 1.0

    def columns(self) -> dict[str, float]:
        """For a CSV."""
        return asdict(self) | {"makespan": self.makespan, "efficiency": self.efficiency}


@dataclass(slots=True)
class _Worker:
    node: int
    speed: float
    loaded: OrderedDict[str, None] = field(default_factory=OrderedDict)
    shard: Shard | None = None
    life: int = 0  # of a worker that was lost, events still under way count no more
    since: float = 0.0
    free: float = 0.0


@dataclass(slots=True)
class _Sums:
    busy: float = 0.0
    waiting: float = 0.0
    storage: float = 0.0
    loading: float = 0.0
    lost: float = 0.0
    driver: float = 0.0
    read: float = 0.0
    sent: float = 0.0
    shards: int = 0
    loads: int = 0
    failures: int = 0
    given_up: int = 0
    queue: int = 0
    queue_bytes: float = 0.0


class _Run:
    """One simulated run, from the first shard to the last message."""

    def __init__(self, cells: Sequence[Cell], costs: Costs, cluster: Cluster, habits: Habits, seed: int) -> None:
        rng = np.random.default_rng([seed, cluster.gpus])
        speeds = rng.lognormal(0, cluster.spread, cluster.gpus) * np.where(
            rng.random(cluster.gpus) < cluster.slow, 2.0, 1.0
        )
        self.cells, self.costs, self.cluster, self.habits = cells, costs, cluster, habits
        work = [CellWork(cell.images, cell.model, KIND) for cell in cells]
        self.schedule: Policy = policy(habits, work, cluster.gpus)
        self.workers = [_Worker(place // cluster.per_node, float(speed)) for place, speed in enumerate(speeds)]
        self.speed = float((1 / speeds).sum())  # of all workers together, in workers of usual speed
        self.rng = rng
        self.events: list[tuple[float, int, str, int, int]] = []  # when, order, what, worker or node, life
        self.order = 0
        self.idle: set[int] = set()
        self.driver_free = self.storage_free = self.now = self.end = 0.0
        self.queued: list[tuple[float, float]] = []  # messages the driver has not finished: until when, bytes
        self.sums = _Sums()
        self.row = habits.row_seconds if habits.row_seconds is not None else costs.driver.row
        self.pool = habits.pool_seconds if habits.pool_seconds is not None else costs.driver.pool

    def run(self) -> None:
        for place in range(len(self.workers)):
            self._push(self.costs.worker_start, "ready", place)
        if self.cluster.mtbf_hours is not None:
            for node in range(self.workers[-1].node + 1):
                self._push(self._until_failure(), "failure", node)
        while self.events and not self.schedule.finished:
            self.now, _, what, place, life = heapq.heappop(self.events)
            if what == "failure":
                self._fail(place)
            elif life == self.workers[place].life:
                if what == "scored":
                    self._take(place)
                else:
                    self._hand_out(place, self.now)
        self.end = max(self.end, self.driver_free)

    def _push(self, when: float, what: str, place: int, life: int = 0) -> None:
        self.order += 1
        heapq.heappush(self.events, (when, self.order, what, place, life))

    def _until_failure(self) -> float:
        return self.now + float(self.rng.exponential(3600 * (self.cluster.mtbf_hours or np.inf)))

    def _hand_out(self, place: int, when: float) -> None:
        worker = self.workers[place]
        shard = self.schedule.next(place, KIND)
        worker.free = when
        if shard is None:
            self.idle.add(place)
            return
        self.idle.discard(place)
        worker.shard, worker.since = shard, when
        ready = when + self._load(worker, self.cells[shard.cell], when)
        scored = ready + self._scoring(worker, shard)
        read = self._read(self._image_bytes(shard), ready)
        self.sums.storage += max(0.0, read - scored)
        self._push(max(scored, read), "scored", place, worker.life)

    def _load(self, worker: _Worker, cell: Cell, when: float) -> float:
        if cell.model in worker.loaded:
            worker.loaded.move_to_end(cell.model)
            return 0.0
        worker.loaded[cell.model] = None
        if len(worker.loaded) > self.cluster.kept:
            worker.loaded.popitem(last=False)
        self.sums.loads += 1
        read = self._read(cell.weight_bytes, when)
        seconds = max(cell.load_seconds / self.cluster.cpu_speed, read - when)
        self.sums.loading += seconds
        return seconds

    def _read(self, size: float, when: float) -> float:
        self.sums.read += size
        self.storage_free = max(self.storage_free, when) + size / self.cluster.storage
        return self.storage_free

    def _image_bytes(self, shard: Shard) -> float:
        cell = self.cells[shard.cell]
        return cell.bytes.of(len(shard), self._megapixels(shard)) / self.habits.sharing

    def _megapixels(self, shard: Shard) -> float:
        summed = self.cells[shard.cell].summed
        return float(summed[shard.stop] - summed[shard.start])

    def _scoring(self, worker: _Worker, shard: Shard) -> float:
        cell = self.cells[shard.cell]
        beside = cell.shard_level * cell.costs.predictions / self.cluster.cpu_speed
        images = scoring_seconds(cell, len(shard), self._megapixels(shard), self.cluster, self.habits)
        return (images + beside) * worker.speed

    def _take(self, place: int) -> None:
        """The driver takes a message once it has written those before."""
        worker = self.workers[place]
        shard, worker.shard = worker.shard, None
        assert shard is not None
        cell = self.cells[shard.cell]
        predictions = len(shard) * cell.costs.predictions
        thumbnails = len(shard) * cell.thumbnail_bytes
        size = predictions * cell.row_bytes + thumbnails + cell.costs.predictions * cell.pool_bytes
        taking = self.costs.driver.shard + predictions * self.row + cell.costs.predictions * self.pool
        taking = taking / self.cluster.cpu_speed + size / self.cluster.network
        begun = max(self.now, self.driver_free)
        self.driver_free = begun + taking
        self._count_queue(size)
        seconds = self._scoring(worker, shard)
        self.schedule.done(shard, seconds)
        handed = self.driver_free if self.habits.writes_first else begun
        self.sums.busy += seconds
        self.sums.waiting += handed - self.now
        self.sums.driver += taking
        self.sums.sent += size
        self.sums.shards += 1
        self.end = max(self.end, self.driver_free)
        self._hand_out(place, handed)

    def _count_queue(self, size: float) -> None:
        self.queued = [message for message in self.queued if message[0] > self.now] + [(self.driver_free, size)]
        self.sums.queue = max(self.sums.queue, len(self.queued))
        self.sums.queue_bytes = max(self.sums.queue_bytes, sum(each for _, each in self.queued))

    def _fail(self, node: int) -> None:
        self.sums.failures += 1
        for place, worker in enumerate(self.workers):
            if worker.node != node:
                continue
            worker.life += 1
            worker.loaded.clear()
            self.idle.discard(place)
            if worker.shard is not None:
                self.sums.lost += max(0.0, self.now - worker.since)
                self.sums.given_up += self.schedule.lost(worker.shard)
                worker.shard = None
            back = self.now + self.cluster.repair_seconds + self.costs.worker_start
            self.sums.lost += self.cluster.repair_seconds
            self._push(back, "ready", place, worker.life)
        for place in sorted(self.idle):
            self._hand_out(place, self.now)
        self._push(self._until_failure(), "failure", node)


def scoring_seconds(cell: Cell, images: int, megapixels: float, cluster: Cluster, habits: Habits) -> float:
    """Of some images at all levels by one worker of usual speed.

    On a GPU worker the network runs beside the threads that decode, distort and score: the slower side decides. On a
    processor all of it is shared among the threads.
    """
    costs = cell.costs
    shared = costs.decode.of(images, megapixels) + costs.distort.of(images, megapixels)
    threads = (shared / habits.sharing + costs.score.of(images, megapixels)) / (cluster.cores * cluster.cpu_speed)
    if costs.gpu is not None:
        return max(threads, costs.gpu.of(images, megapixels))
    return threads + costs.forward.of(images, megapixels) / (cluster.cores * cluster.cpu_speed)


def simulate(
    cells: Sequence[Cell], grid: Grid, costs: Costs, cluster: Cluster, habits: Habits, seed: int = 0
) -> Outcome:
    """One run of a whole grid. Same arguments, same outcome."""
    with shard_limits(habits):
        run = _Run(cells, costs, cluster, habits, seed)
        run.run()
    sums, work = run.sums, run.end
    total = sum(scoring_seconds(cell, cell.images, float(cell.summed[-1]), cluster, habits) for cell in cells)
    predictions = sum(cell.images * cell.costs.predictions for cell in cells)
    largest = max(cell.images * cell.costs.predictions for cell in cells)
    driver, time = costs.driver, work * cluster.gpus
    spent = sums.busy + sums.waiting + sums.storage + sums.loading + sums.lost
    return Outcome(
        gpus=cluster.gpus,
        plan=plan_seconds(cells, grid, costs, cluster, habits),
        work=work,
        finish=_finish_seconds(cells, costs, cluster, habits),
        ideal=total / run.speed,
        busy=sums.busy / time,
        gpu_busy=sum(_on_gpu(cell) for cell in cells) / time,
        waiting=sums.waiting / time,
        storage_waiting=sums.storage / time,
        loading=sums.loading / time,
        lost=sums.lost / time,
        tail=max(0.0, 1 - spent / time),
        driver_busy=sums.driver / work,
        queue=sums.queue,
        queue_bytes=sums.queue_bytes,
        read_bytes=sums.read,
        read_rate=sums.read / work,
        message_bytes=sums.sent,
        message_rate=sums.sent / work,
        predictions=predictions,
        shards=sums.shards,
        loads=sums.loads,
        failures=sums.failures,
        given_up=sums.given_up,
        driver_memory=grid.images * driver.sample_bytes + len(cells) * len(grid.levels) * driver.pool_memory,
        finish_memory=largest * driver.finish_row_bytes,
        stored_bytes=predictions * driver.stored_row_bytes,
    )


def _finish_seconds(cells: Sequence[Cell], costs: Costs, cluster: Cluster, habits: Habits) -> float:
    """Of the driver; or of threads of the workers, which cannot be faster than the longest level of one run."""
    row = costs.driver.finish_row / cluster.cpu_speed
    whole = row * sum(cell.images * cell.costs.predictions for cell in cells)
    if not habits.finish_on_workers:
        return whole
    return max(whole / (cluster.gpus * cluster.cores), row * max(cell.images for cell in cells))


def _on_gpu(cell: Cell) -> float:
    return cell.costs.gpu.of(cell.images, float(cell.summed[-1])) if cell.costs.gpu is not None else 0.0


def plan_seconds(cells: Sequence[Cell], grid: Grid, costs: Costs, cluster: Cluster, habits: Habits) -> float:
    """Of the driver before the first shard: start, index, hashes of all files once, what is left of every cell."""
    driver = costs.driver
    sets = {cell.data: cell for cell in cells}.values()
    size = sum(cell.bytes.of(cell.images, float(cell.summed[-1])) for cell in sets)
    hashing = size / min(cluster.storage, driver.hash_bytes_per_second * cluster.hashing * cluster.cpu_speed)
    hashing = 0.0 if habits.remembered else hashing + grid.images * driver.hash_file / cluster.cpu_speed
    predictions = sum(cell.images * cell.costs.predictions for cell in cells)
    looking = grid.images * driver.index + predictions * driver.plan_prediction
    return (driver.start + looking) / cluster.cpu_speed + hashing
