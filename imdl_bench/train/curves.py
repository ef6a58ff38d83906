"""``curves.png``: every loss term and every metric of a training, over the examples seen."""

from __future__ import annotations

import io
from pathlib import Path

from imdl_bench.cache import write_atomically
from imdl_bench.train.logs import LOSSES, VALIDATION


def draw_curves(folder: Path) -> None:
    """Draw what ``losses.csv`` and ``validation.csv`` of a folder hold, one panel per term."""
    import pandas as pd
    from matplotlib.figure import Figure

    columns = {"training": (LOSSES, "term"), "validation": (VALIDATION, "metric")}
    panels: dict[tuple[str, str], dict[str, tuple[list[float], list[float]]]] = {}
    for where, (name, column) in columns.items():
        path = folder / name
        if not path.exists():
            continue
        for (stage, term), rows in pd.read_csv(path).groupby(["stage", column], sort=False):
            place = panels.setdefault((str(stage), str(term)), {})
            place[where] = (rows["samples"].tolist(), rows["value"].tolist())
    if not panels:
        return
    across = min(3, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(4.6 * across, 3.0 * down), dpi=100)
    figure.subplots_adjust(0.06, 0.5 / (3 * down), 0.99, 1 - 0.3 / (3 * down), 0.2, 0.45)
    for number, ((stage, term), lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(down, across, number)
        for where, (samples, values) in lines.items():
            axes.plot(samples, values, label=where, marker="." if len(samples) < 40 else "")
        axes.set_title(f"{stage}: {term}", fontsize=9)
        axes.set_xlabel("examples seen", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    held = io.BytesIO()
    figure.savefig(held, format="png")
    write_atomically(folder / "curves.png", held.getvalue())
