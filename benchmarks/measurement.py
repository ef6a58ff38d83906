"""What a benchmark leaves behind: rows, and the JSON file that holds them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from timing import Rounds

FORMAT = "imdl-bench benchmarks 1"


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured.

    Attributes:
        quick: small sizes and few rounds.
        rounds: at most so many, after one that warms up.
        budget: CPU seconds that the measured calls of one cell may take; see :func:`timing.alternate`.
        memory_gib: what the process of one network may hold; beyond it an allocation fails, and the row says so.
        models: networks that are measured; empty for all.
        compiled: networks also through torch.compile.
    """

    quick: bool = False
    rounds: int = 7
    budget: float = 20.0
    memory_gib: float = 8.0
    models: tuple[str, ...] = ()
    compiled: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles over the rounds; all three are one number where there was one round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One thing measured, where there is something to hold it against beside it in the same rounds.

    Attributes:
        group: networks, metrics, path, sweep or growth.
        name: what was measured; unique in its group.
        rounds: that were counted. 1 means measured once, without a warm-up, because more would have passed the budget.
        ours_cpu: CPU seconds of this process and its threads.
        ours_wall: median of wall seconds.
        against: what the reference is; empty where there is none, and then so are its numbers.
        ratio: reference's CPU seconds by ours, round by round: above 1, ours is the faster.
        peak_mib: memory of the first call above what was held before it; ``None`` where the system does not tell.
        note: what else a reader must know.
    """

    group: str
    name: str
    rounds: int
    ours_cpu: Spread
    ours_wall: float
    against: str = ""
    reference_cpu: Spread | None = None
    reference_wall: float | None = None
    ratio: Spread | None = None
    peak_mib: float | None = None
    reference_peak_mib: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Growth:
    """CPU seconds against a size, and the straight line through them on logarithmic axes.

    ``exponent`` 1 is cost in proportion to size, 0 a cost that does not depend on it; ``error`` is its standard error,
    ``None`` of fewer than three points.
    """

    group: str
    name: str
    unit: str
    sizes: tuple[float, ...]
    seconds: tuple[float, ...]
    exponent: float
    error: float | None

    @property
    def last_exponent(self) -> float:
        """Between the two largest sizes alone, where fixed costs weigh least."""
        (small, large), (before, after) = self.sizes[-2:], self.seconds[-2:]
        return math.log(after / before) / math.log(large / small)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not measured, and why."""

    group: str
    name: str
    reason: str


Row: TypeAlias = Measurement | Growth | LeftOut


@dataclass(slots=True)
class Report:
    """Everything that one command measured."""

    machine: dict[str, Any]
    settings: Settings
    measurements: list[Measurement] = field(default_factory=list)
    growths: list[Growth] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def add(self, row: Row) -> None:
        kinds: dict[type, list[Any]] = {
            Measurement: self.measurements, Growth: self.growths, LeftOut: self.left_out,
        }  # fmt: skip
        kinds[type(row)].append(row)


def measured(
    group: str, name: str, ours: Rounds, reference: Rounds | None = None, *, against: str = "", per: int = 1,
    note: str = "",
) -> Measurement:  # fmt: skip
    """A row from the rounds of a job and of its reference; seconds are divided by ``per``, the images of one call."""
    found = Measurement(
        group, name, len(ours.cpu), Spread.of([each / per for each in ours.cpu]), float(np.median(ours.wall)) / per,
        peak_mib=ours.peak_mib, note=note,
    )  # fmt: skip
    if reference is None:
        return found
    return Measurement(
        group, name, found.rounds, found.ours_cpu, found.ours_wall, against,
        Spread.of([each / per for each in reference.cpu]), float(np.median(reference.wall)) / per,
        Spread.of([theirs / own for theirs, own in zip(reference.cpu, ours.cpu, strict=True)]),
        ours.peak_mib, reference.peak_mib, note,
    )  # fmt: skip


def fitted(group: str, name: str, unit: str, sizes: Sequence[float], seconds: Sequence[float]) -> Growth:
    """The line through two or more points on logarithmic axes, by least squares."""
    x, y = np.log(sizes), np.log(seconds)
    exponent, offset = np.polyfit(x, y, 1)
    error = None
    if len(sizes) > 2:
        residual = np.square(y - exponent * x - offset).sum() / (len(sizes) - 2)
        error = float(np.sqrt(residual / np.square(x - x.mean()).sum()))
    return Growth(group, name, unit, tuple(sizes), tuple(seconds), float(exponent), error)


def row_to_json(row: Row) -> dict[str, Any]:
    return {"row": type(row).__name__} | asdict(row)


def row_from_json(content: dict[str, Any]) -> Row:
    values = {key: value for key, value in content.items() if key != "row"}
    if content["row"] == "LeftOut":
        return LeftOut(**values)
    if content["row"] == "Growth":
        return Growth(**values | {key: tuple(values[key]) for key in ("sizes", "seconds")})
    for key in ("ours_cpu", "reference_cpu", "ratio"):
        values[key] = None if values[key] is None else Spread(**values[key])
    return Measurement(**values)


def settings_from_json(content: dict[str, Any]) -> Settings:
    return Settings(**content | {"models": tuple(content["models"])})


def write_report(report: Report, path: Path) -> None:
    """Write the report as JSON."""
    rows: list[Row] = [*report.measurements, *report.growths, *report.left_out]
    content = {"format": FORMAT, "machine": report.machine, "settings": asdict(report.settings)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | {"rows": [row_to_json(row) for row in rows]}, indent=1) + "\n")


def read_report(path: Path) -> Report:
    """Read what :func:`write_report` wrote. Raises ValueError for anything else."""
    content = json.loads(path.read_text())
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: not a file that run.py --out wrote ({FORMAT!r} is missing)")
    report = Report(content["machine"], settings_from_json(content["settings"]))
    for row in content["rows"]:
        report.add(row_from_json(row))
    return report
