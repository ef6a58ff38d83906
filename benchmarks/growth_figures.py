"""Growth drawn: cost against size on logarithmic axes, with the fitted lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measurement import Growth


def draw(growths: Sequence[Growth], folder: Path) -> list[Path]:
    """One figure for each unit, as SVG and PNG; the files written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for unit in dict.fromkeys(growth.unit for growth in growths):
        shown = [growth for growth in growths if growth.unit == unit]
        with pyplot.rc_context({"svg.hashsalt": "growth", "font.size": 9}):
            figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
            for place, growth in enumerate(shown):
                _draw_one(axes, growth, place)
            axes.set(xscale="log", yscale="log", xlabel=unit, ylabel="CPU seconds", title=f"Cost against {unit}")
            ticks = sorted({size for growth in shown for size in growth.sizes})
            axes.set_xticks(ticks, [f"{tick:.2g}" if tick < 100 else f"{tick:.0f}" for tick in ticks])
            axes.set_xticks([], minor=True)
            axes.grid(visible=True, which="major", alpha=0.3)
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, title="exponent of growth")
            for suffix in ("svg", "png"):
                path = folder / f"growth-{unit}.{suffix}"
                figure.savefig(path, dpi=150, metadata={"Date": None} if suffix == "svg" else None)
                written.append(path)
            pyplot.close(figure)
    return written


def _draw_one(axes: Any, growth: Growth, place: int) -> None:
    sizes, seconds = np.array(growth.sizes), np.array(growth.seconds)
    level = np.exp(np.mean(np.log(seconds) - growth.exponent * np.log(sizes)))
    colour, marker = f"C{place % 10}", "osD^v"[place // 10 % 5] if place >= 10 else "o"
    axes.plot(sizes, level * sizes**growth.exponent, color=colour, linewidth=1, alpha=0.6)
    axes.plot(sizes, seconds, marker, color=colour, markersize=5, label=f"{growth.name}: {growth.exponent:.2f}")
