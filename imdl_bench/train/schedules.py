"""Learning rates over a stage: one factor for all rates, from how many examples were seen."""

from __future__ import annotations

import math

from imdl_bench.cards import ScheduleCard


def rate_factor(schedule: ScheduleCard, seen: int, samples: int, *, step: int, reductions: int) -> float:
    """What every learning rate is multiplied by in the step that begins after ``seen`` of ``samples`` examples.

    Args:
        schedule: of the stage.
        seen: examples before this step.
        samples: of the whole stage.
        step: examples of this step; a warm-up is read at the step's end, so that no step is wasted at rate 0.
        reductions: how often a plateau was met; other schedules pass it over.
    """
    warm = min(1.0, (seen + step) / schedule.warmup) if schedule.warmup else 1.0
    return warm * _factor(schedule, seen, samples, reductions)


def _factor(schedule: ScheduleCard, seen: int, samples: int, reductions: int) -> float:
    done = min(1.0, seen / samples)
    if schedule.name == "step":
        return schedule.factor ** (seen // schedule.every) if schedule.every else 1.0
    if schedule.name == "poly":
        return float((1 - done) ** schedule.power)
    if schedule.name == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if schedule.name == "plateau":
        return schedule.factor**reductions
    return 1.0
