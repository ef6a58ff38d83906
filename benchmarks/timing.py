"""Jobs measured by turns, so that a slow moment of the machine hits all of them; CPU time, wall time, peak memory."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

LEAST_SECONDS = 0.02  # a shorter job is repeated within a round until it takes this long
LONG_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Rounds:
    """Seconds of one call, a number for each round; MiB that the first call needed above what was held before it."""

    cpu: tuple[float, ...]
    wall: tuple[float, ...]
    peak_mib: float | None


def alternate(
    jobs: Mapping[str, Callable[[], object]],
    rounds: int,
    budget: float = math.inf,
    failures: tuple[type[Exception], ...] = (),
) -> dict[str, Rounds | str]:
    """Rounds of every job, the jobs taking turns in each.

    A first call of each warms up and tells what a round costs. As many rounds follow as fit into ``budget`` CPU
    seconds, at most ``rounds``. Where not one does, the first calls are the measurement: one round.

    Args:
        failures: a job whose first call raises one of these is given as the error's words, and takes no further part.
    """
    first: dict[str, Rounds] = {}
    failed: dict[str, str] = {}
    for name, job in jobs.items():
        try:
            first[name] = _first_call(job)
        except failures as error:
            failed[name] = (str(error) or type(error).__name__).splitlines()[0]
    spent = of_a_round = sum(once.cpu[0] for once in first.values())
    repeats = {name: _repeats(jobs[name], once) for name, once in first.items()}
    seconds: list[dict[str, tuple[float, float]]] = []
    while first and len(seconds) < rounds and spent + of_a_round <= budget:
        started = time.process_time()
        seconds.append({name: _timed(jobs[name], repeats[name]) for name in first})
        of_a_round = time.process_time() - started
        spent += of_a_round
    if not seconds:
        return first | failed
    counted = {
        name: Rounds(tuple(turn[name][0] for turn in seconds), tuple(turn[name][1] for turn in seconds), once.peak_mib)
        for name, once in first.items()
    }
    return counted | failed


def _repeats(job: Callable[[], object], first: Rounds) -> int:
    """Calls per round. A first call may be far slower than the next ones, so a short one is asked again."""
    cpu = first.cpu[0]
    if cpu < LONG_SECONDS:
        cpu = _timed(job, 1)[0]
    return max(1, math.ceil(LEAST_SECONDS / max(cpu, 1e-7)))


def _timed(job: Callable[[], object], repeats: int) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        job()
    return (time.process_time() - cpu) / repeats, (time.perf_counter() - wall) / repeats


def _first_call(job: Callable[[], object]) -> Rounds:
    held = _start_of_peak()
    cpu, wall = _timed(job, 1)
    peak = None if held is None else max(0.0, resident_mib("VmHWM") - held)
    return Rounds((cpu,), (wall,), peak)


def _start_of_peak() -> float | None:
    """Give freed memory back to the system, and let its record of the peak start here; what is held now, in MiB."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return resident_mib("VmRSS")
    except (OSError, AttributeError, KeyError):  # not Linux, or not its C library
        return None


def resident_mib(kind: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process, from Linux."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(lines[kind].split()[0]) / 1024
