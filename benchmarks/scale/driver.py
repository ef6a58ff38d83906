"""What the driver of a run does, measured: planning, writing rows and pools, and reading a finished run back."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from scale.costs import DriverCosts
from scale.pictures import write_pictures

from imdl_bench.cards import Protocol
from imdl_bench.dataset import load_dataset
from imdl_bench.distortions import NONE as LEVEL
from imdl_bench.distortions import parse_distortions
from imdl_bench.engine.scored import Scored
from imdl_bench.leaderboard import lines_of
from imdl_bench.metrics.histogram import ScorePool
from imdl_bench.metrics.pixel import PixelScores
from imdl_bench.planning import Options, plan_run
from imdl_bench.records import Row, RunFile
from imdl_bench.remembered import hash_files
from imdl_bench.runs import read_run
from imdl_bench.tables import export_rows

TINY = 1500  # pictures of 16x16 whose planning is timed
FINISHED = 4000  # rows of the run that is read back
SHARD = 1000  # rows written at once
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished run of one level: bytes of its file, CPU seconds to write, read, sum up and export it.

    ``held``: bytes of its rows in memory; ``known``: of the names of what is done, which a resumed run holds.
    """

    rows: int
    stored: int
    writing: float
    reading: float
    summing: float
    exporting: float
    held: int
    known: int


def measure_driver(folder: Path, scored: Sequence[Scored], protocol: Protocol, *, ray: bool) -> DriverCosts:
    """Everything that one process does for all workers. Works in ``folder``."""
    os.environ["IMDL_BENCH_CACHE"] = str(folder / "cache")
    write_pictures(folder / "tiny", TINY, ((16, 16),))
    files = sorted((folder / "tiny").rglob("*.*"))
    index, sample_bytes = _index(folder / "tiny")
    big = folder / "big"
    big.write_bytes(np.random.default_rng(0).bytes(64 << 20))
    per_file = _seconds(lambda: hash_files(files, 1, lambda _: None)) / len(files)
    rate = big.stat().st_size / _seconds(lambda: hash_files([big], 1, lambda _: None))
    rows, pool = _many(scored, 2000)
    row, shard, stored = _writing(folder / "rows.sqlite", rows)
    finished = finished_run(folder, protocol, scored, FINISHED)
    return DriverCosts(
        start=_start(folder, ray=ray),
        index=index,
        sample_bytes=sample_bytes,
        hash_bytes_per_second=rate,
        hash_file=per_file,
        plan_prediction=_planning(folder, protocol),
        row=row,
        pool=_pooling(pool),
        pool_memory=float(pool.histogram.nbytes),
        shard=shard,
        stored_row_bytes=stored,
        finish_row=(finished.reading + finished.summing + finished.exporting) / FINISHED,
        finish_row_bytes=finished.held / FINISHED,
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _wall(work: Callable[[], object]) -> float:
    """With what the disk takes; the least of several is taken where others use the processor."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _index(folder: Path) -> tuple[float, float]:
    """Seconds and bytes per image."""
    seconds = min(_seconds(lambda: load_dataset("folder", folder)) for _ in range(3))
    dataset, held = _held(lambda: load_dataset("folder", folder))
    return seconds / len(dataset), held / len(dataset)


def _planning(folder: Path, protocol: Protocol) -> float:
    """Seconds per image and level, once all files are hashed: a plan of all levels against one of none."""
    line = protocol.data[0].model_copy(update={"dataset": "folder", "split": "full", "keep": "all"})
    every = protocol.model_copy(update={"data": [line]})
    plain = every.model_copy(update={"distort": []})
    options = Options(out=folder / "plans", workers=1)

    def planning(card: Protocol) -> float:
        return _seconds(lambda: plan_run(card, ["ela"], folder / "tiny", options, lambda _: None))

    planning(plain)  # hashes the files
    without, with_levels = (min(planning(card) for _ in range(3)) for card in (plain, every))
    return max(0.0, with_levels - without) / (TINY * max(1, len(parse_distortions(protocol.distort)) - 1))


def _many(scored: Sequence[Scored], count: int) -> tuple[list[Row], ScorePool]:
    """``count`` rows like those measured, under names of their own, and the pool that holds them."""
    found = [row for each in scored for row in each.rows]
    rows = [
        replace(found[place % len(found)], sample=f"picture-{place:08}.jpg", position=place, group=None)
        for place in range(count)
    ]
    pixels = [each for one in scored for each in one.pixels]
    times, rest = divmod(count, len(pixels))
    once = _pool_of(pixels)
    pool = ScorePool(once.histogram * times, once.bits, once.counts * times)
    pool.merge(_pool_of(pixels[:rest]))
    return rows, pool


def _pool_of(pixels: Sequence[PixelScores]) -> ScorePool:
    pool = ScorePool()
    for each in pixels:
        if each.histogram is not None:
            pool.add(each.scores, each.histogram)
    return pool


def _writing(path: Path, rows: Sequence[Row]) -> tuple[float, float, float]:
    """Seconds per row (with its unpacking from a message) and per transaction, and bytes per row."""
    message = pickle.dumps(list(rows))
    unpacking = _seconds(lambda: pickle.loads(message)) / len(rows)
    part = len(rows) // 4
    with RunFile(path, write=True) as file:
        single = min(_wall(lambda row=row: file.append([row], {})) for row in rows[:20])  # type: ignore[misc]
        parts = [rows[start : start + part] for start in range(20, len(rows) - part, part)]
        whole = min(_wall(lambda each=each: file.append(each, {})) for each in parts)  # type: ignore[misc]
    written = 20 + part * len(parts)
    return whole / part + unpacking, single, path.stat().st_size / written


def _pooling(pool: ScorePool) -> float:
    """Unpack a level's pool of a shard, merge it, pack the whole."""
    packed, whole = pool.to_bytes(), ScorePool.from_bytes(pool.to_bytes())

    def once() -> None:
        whole.merge(ScorePool.from_bytes(packed))
        whole.to_bytes()

    return min(_seconds(once) for _ in range(10))


def finished_run(folder: Path, protocol: Protocol, scored: Sequence[Scored], count: int) -> Finished:
    """Write a run of one level with so many rows like those measured, shard by shard; read it back, sum it up."""
    line = protocol.data[0].model_copy(update={"dataset": "folder", "split": "full", "keep": "all"})
    card = protocol.model_copy(update={"data": [line], "distort": [], "version": count})
    cell = plan_run(card, ["ela"], folder / "tiny", Options(out=folder / "runs", workers=1), lambda _: None)[0].cells[0]
    rows, pool = _many(scored, count)
    with RunFile(cell.folder / "run.sqlite", write=True) as file:
        shards = [rows[start : start + SHARD] for start in range(0, count, SHARD)]
        writing = sum(_seconds(partial(file.append, each, {LEVEL: pool})) for each in shards)
        file.write_meta({"n_samples": count}, replace=True)
    return _finishing(cell.folder / "run.sqlite", writing)


def _finishing(path: Path, writing: float) -> Finished:
    reading = _seconds(lambda: read_run(path))
    run, held = _held(lambda: read_run(path))
    with RunFile(path) as file:
        _, known = _held(file.done)
    return Finished(
        rows=len(run.rows(LEVEL)),
        stored=path.stat().st_size,
        writing=writing,
        reading=reading,
        summing=_seconds(lambda: lines_of(run)),
        exporting=_seconds(lambda: export_rows(path, timing=False)),
        held=held,
        known=known,
    )


def _held(work: Callable[[], Result]) -> tuple[Result, int]:
    """A result and the bytes that Python holds for it."""
    tracemalloc.start()
    result = work()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return result, held


def _start(folder: Path, *, ray: bool) -> float:
    """Wall seconds of the command with next to nothing to do, less those of a worker's start."""
    write_pictures(folder / "few", 3, ((16, 16),))
    engine = ["--engine", "ray", "--workers", "1"] if ray else []
    command = ["run", "own-images", "--model", "ela", "--data", folder / "few", "--out", folder / "few-run", *engine]
    code = f"import sys; from imdl_bench.cli import main; sys.exit(main({[str(each) for each in command]}))"
    whole = _until(code, "")
    return max(0.0, whole - measure_worker_start(1)) if ray else whole


def measure_worker_start(workers: int) -> float:
    """Wall seconds until so many workers of Ray answer that import what networks need; of 0, a plain process does."""
    if workers == 0:
        return _until("import imdl_bench.torch_model", "")
    code = f"""
import os, time
from pathlib import Path
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from imdl_bench.engine.ray import ShardWorker
class Worker(ShardWorker):
    def ready(self):
        import imdl_bench.torch_model
        return self.about()
ray.init("local", num_cpus={workers}, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
started = time.perf_counter()
crew = [ray.remote(num_cpus=1)(Worker).remote(1, Path.cwd()) for _ in range({workers})]
ray.get([each.ready.remote() for each in crew])
print("seconds", time.perf_counter() - started)
"""
    return _until(code, "seconds")


def _until(code: str, word: str) -> float:
    """Wall seconds of a fresh interpreter, or what it prints after a word."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = [line.split()[1] for line in done.stdout.splitlines() if word and line.startswith(word)]
    return float(said[0]) if said else time.perf_counter() - started
