"""What every kind of figure shares: the plot with its numbers, the runs that are drawn together, how each looks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imdl_bench.runs import Run, model_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"  # text and axes; in HTML it becomes the page's own colour, so nothing else may have it
COLUMN, PAGE = 3.5, 7.16  # inches: one column and both columns of a paper
MOST_ROWS = 30  # of one model in a plot's table
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", INK)  # Okabe and Ito, without yellow
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure and the numbers in it.

    Attributes:
        key: safe as a file name and as an HTML id; unique among the plots of one kind.
        title: what is shown, of which protocol and data.
        caption: how it was made: average, threshold, interval, n.
        head, rows: the numbers drawn, for readers who cannot see the figure; curves are thinned.
        figure: laid out for a paper's column.
    """

    key: str
    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    figure: Figure


@dataclass(frozen=True, slots=True)
class Look:
    """How one model is drawn; each part alone tells few models apart, together they tell many."""

    colour: str
    marker: str
    dashes: Any


@dataclass(frozen=True, slots=True)
class Entrant:
    """One run in a figure, with the name that tables give it."""

    run: Run
    label: str
    look: Look


@dataclass(frozen=True, slots=True)
class Board:
    """The runs of one protocol on one split: what a figure shows together."""

    protocol: str
    version: int
    dataset: str
    split: str
    entrants: tuple[Entrant, ...]

    @property
    def title(self) -> str:
        return f"{self.protocol} v{self.version} on {self.dataset}/{self.split}"

    def key(self, *words: str) -> str:
        """A name for files and HTML of a plot of this board."""
        return _identifier(
            "-".join([words[0], self.protocol, f"v{self.version}", self.dataset, self.split, *words[1:]])
        )


def boards(runs: Sequence[Run]) -> list[Board]:
    """Runs by protocol, version, data set and split, in the order of the tables; a model looks the same on each."""
    groups: dict[tuple[str, int, str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.key.model, run.key.weights, run.key.hash)):
        groups.setdefault((run.key.protocol, run.key.version, run.key.dataset, run.key.split), []).append(run)
    names = {
        place: model_labels({run.key.hash: (run.key.model, run.key.weights) for run in group})
        for place, group in groups.items()
    }
    known = sorted({name for labels in names.values() for name in labels.values()})
    looks = {name: look_of(place) for place, name in enumerate(known)}
    return [
        Board(*place, tuple(Entrant(r, label := names[place][r.key.hash], looks[label]) for r in groups[place]))
        for place in sorted(groups)
    ]


def look_of(place: int) -> Look:
    """How the model at this place is drawn; 70 places differ, the first ten also without colour."""
    return Look(*(choice[place % len(choice)] for choice in (_COLOURS, _MARKERS, _DASHES)))


def number(value: float, digits: int = 4) -> str:
    """For a table: fixed digits, more where the value is small, nothing where it is undefined."""
    if np.isnan(value):
        return ""
    return f"{value:.{digits}f}" if value == 0 or abs(value) >= 10 ** (1 - digits) else f"{value:.3g}"


def spread(count: int, most: int = MOST_ROWS) -> NDArray[np.intp]:
    """At most ``most`` of ``count`` places, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def counted(numbers: Sequence[int]) -> str:
    """``n = 48`` or, where models differ, ``n = 46 to 48``."""
    least, most = min(numbers), max(numbers)
    return f"n = {most}" if least == most else f"n = {least} to {most}"


def _identifier(text: str) -> str:
    """Lower-case letters, digits, dots and dashes: also a name in HTML and in addresses, which ``@`` is not."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
