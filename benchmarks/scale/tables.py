"""What a simulation shows: a table, CSV files and figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scale.simulation import Outcome

from imdl_bench.cache import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADER = (
    f"{'GPUs':>5}{'makespan':>12}{'plan':>10}{'work':>12}{'finish':>12}{'effic.':>8}{'idle':>7}{'GPU':>7}{'driver':>8}"
    f"{'queue':>7}{'read MB/s':>11}{'sent MB/s':>11}{'shards':>9}{'loads':>7}"
)


def table(outcomes: Sequence[Outcome]) -> str:
    """One line per number of GPUs."""
    return "\n".join([HEADER, *map(_line, outcomes)])


def _line(each: Outcome) -> str:
    return (
        f"{each.gpus:>5}{duration(each.makespan):>12}{duration(each.plan):>10}{duration(each.work):>12}"
        f"{duration(each.finish):>12}{each.efficiency:>8.3f}{1 - each.busy:>7.3f}"
        f"{each.gpu_busy:>7.3f}{each.driver_busy:>8.3f}{each.queue:>7}"
        f"{each.read_rate / 1e6:>11.1f}{each.message_rate / 1e6:>11.2f}{each.shards:>9}{each.loads:>7}"
    )


def duration(seconds: float) -> str:
    """In the unit that reads best."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def write_csv(path: Path, outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    """One line per case and number of GPUs; seconds and bytes."""
    buffer = io.StringIO()
    rows = [{"case": case} | each.columns() for case, found in outcomes.items() for each in found]
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows)  # fmt: skip  # noqa: E501
    write_atomically(path, buffer.getvalue().encode())


def draw(path: Path, outcomes: Mapping[str, Sequence[Outcome]], remark: str) -> None:
    """Figures against the number of GPUs: three of every case, three of the first case alone."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(18, 9), layout="constrained")
    colours = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]
    above, below = axes
    shared: list[tuple[str, Callable[[Outcome], float], bool]] = [
        ("makespan, hours", lambda each: each.makespan / 3600, True),
        ("share of the workers' time that could not be saved", lambda each: each.efficiency, False),
        ("share of the time in which the driver works", lambda each: each.driver_busy, False),
    ]
    for axis, (title, value, logarithmic) in zip(above, shared, strict=True):
        axis.set_prop_cycle(color=colours)
        for case, found in outcomes.items():
            axis.plot([each.gpus for each in found], [value(each) for each in found], marker="o", label=case)
        _scales(axis, title, logarithmic=logarithmic)
    if len(outcomes) > 1:
        figure.legend(*above[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    _draw_parts(below, *next(iter(outcomes.items())))
    figure.suptitle(remark, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def _draw_parts(axes: Sequence[Axes], case: str, found: Sequence[Outcome]) -> None:
    gpus = [each.gpus for each in found]
    parts = {
        "plan": [each.plan / 3600 for each in found],
        "work": [each.work / 3600 for each in found],
        "finish": [each.finish / 3600 for each in found],
    }
    rates = {
        "read from storage": [each.read_rate / 1e6 for each in found],
        "sent to the driver": [each.message_rate / 1e6 for each in found],
    }
    for axis, title, lines in ((axes[0], "hours of each part", parts), (axes[1], "MB/s", rates)):
        for name, values in lines.items():
            axis.plot(gpus, values, marker="o", label=name)
        _scales(axis, f"{case}: {title}", logarithmic=True)
        axis.legend(fontsize=8)
    lost = {
        "for the driver": [each.waiting for each in found],
        "for storage": [each.storage_waiting for each in found],
        "loading models": [each.loading for each in found],
        "lost work and repairs": [each.lost for each in found],
        "start, and nothing left to do": [each.tail for each in found],
    }
    axes[2].stackplot(gpus, list(lost.values()), labels=list(lost))
    _scales(axes[2], f"{case}: share of the workers' time not spent on predictions", logarithmic=False)
    axes[2].legend(fontsize=8)


def _scales(axis: Axes, title: str, *, logarithmic: bool) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xscale("log", base=2)
    axis.set_xlabel("GPUs")
    axis.grid(alpha=0.3)
    if logarithmic:
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, 1.05)
