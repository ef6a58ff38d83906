"""How figures look: one style whatever the user has set, panels, legends, thinned lines. Matplotlib without pyplot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from imdl_bench.report.plot import INK, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHARACTER = 0.062  # inches: the mean width of a letter in a legend
_LOCK = RLock()


def thinned(points: NDArray[np.float64], distance: float = 5e-4) -> NDArray[np.float64]:
    """Fewer of the points (n, 2) of a line, which moves by at most ``distance`` (Douglas and Peucker)."""
    from skimage.measure import approximate_polygon

    return np.asarray(approximate_polygon(points, distance)) if len(points) > 2 else points


@contextmanager
def house_style(*, svg_text: Literal["path", "none"] = "path") -> Iterator[None]:
    """Matplotlib's own defaults and ours, whatever the user has set; one thread at a time, as they are global.

    In an SVG letters are shapes, which look the same everywhere; with ``svg_text="none"`` they are text.
    """
    from matplotlib import style

    with _LOCK, style.context(["default", _settings() | {"svg.fonttype": svg_text}]):
        yield


def line_of(look: Look, place: int, along: NDArray[np.float64]) -> dict[str, Any]:
    """A long line with a few markers, at other places for each model; ``along`` (n,) rises with its points, 0 to 1."""
    wanted = np.arange(0.06 + 0.03 * (place % 5), 1, 0.15)
    return solid(look) | {"markevery": np.unique(np.searchsorted(along, wanted)).tolist()}


def solid(look: Look) -> dict[str, Any]:
    """A line with a marker at each point."""
    return {"color": look.colour, "marker": look.marker, "linestyle": look.dashes}


def hollow(look: Look) -> dict[str, Any]:
    """Empty markers without a line, for numbers that are not ours."""
    return {
        "color": look.colour,
        "marker": look.marker,
        "linestyle": "none",
        "markerfacecolor": "none",
        "markersize": 6,
    }


def new_figure(
    panels: int, *, width: float, height: float, columns: int, share: Literal["none", "y", "both"] = "none"
) -> tuple[Figure, list[Axes]]:
    """A figure of ``panels`` axes in rows of at most ``columns``, each row ``height`` inches high."""
    from matplotlib.figure import Figure

    columns = min(panels, columns)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    grid = (
        figure.subplots(rows, columns, sharex=share == "both", sharey=share != "none", squeeze=False).ravel().tolist()
    )
    for unused in grid[panels:]:
        unused.remove()
    return figure, grid[:panels]


def finish(figure: Figure, handles: Sequence[Any] = ()) -> Figure:
    """Put the legend below the axes and settle the layout, so that every file of the figure has the same."""
    if handles:
        width = figure.get_figwidth()
        for handle in handles:
            handle.set_label(fill(handle.get_label(), int(width / CHARACTER) - 8))
        longest = max(len(line) for handle in handles for line in handle.get_label().splitlines())
        across = max(1, min(len(handles), int(width / (CHARACTER * longest + 0.5))))
        rows = -(-len(handles) // across)
        figure.set_figheight(figure.get_figheight() + 0.16 * rows + 0.1)
        figure.legend(handles=handles, loc="outside lower center", ncols=across)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _settings() -> dict[str, Any]:
    ink = ("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "text.color", "xtick.color", "ytick.color")
    small = ("xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    return {
        **dict.fromkeys(ink, INK),
        **dict.fromkeys(small, 7),
        "font.family": ["DejaVu Sans"],
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "figure.labelsize": 8,
        "figure.dpi": 100,
        "grid.color": INK,
        "grid.alpha": 0.15,
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "pdf.fonttype": 42,
        "svg.hashsalt": "imdl-bench",
    }
