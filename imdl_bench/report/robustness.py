"""A metric over levels of distortion: one panel per family, one line per model, numbers of papers beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from imdl_bench.distortions import NONE
from imdl_bench.leaderboard import Line, lines_of
from imdl_bench.metrics.names import Metric
from imdl_bench.report.plot import INK, PAGE, Board, Entrant, Plot, counted, number
from imdl_bench.report.style import CHARACTER, finish, hollow, house_style, new_figure, solid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NUMBER = re.compile(r"(\w+)=(-?[0-9.]+(?:e-?[0-9]+)?)(?=[,)])")
PANEL = 1.5  # inches: the width of a panel's axes where there are four in a row
SIDE_BY_SIDE = 0.16  # of a panel's range: where single levels of all models stand
NONE_AT = 0.25  # of a panel's range: how far before the first level the undistorted images stand


@dataclass(frozen=True, slots=True)
class Family:
    """Levels that differ in one number.

    Attributes:
        title: what they have in common, such as ``jpeg``.
        parameter: what differs; empty where the family has one level.
        levels: labels of the levels, in the protocol's order.
        values: of the parameter.
    """

    title: str
    parameter: str
    levels: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Series:
    """One model's numbers of one metric by level."""

    entrant: Entrant
    lines: dict[str, Line]

    @property
    def published(self) -> dict[str, float]:
        """What papers print beside them, by level; suspect numbers never."""
        return {
            level: line.published
            for level, line in self.lines.items()
            if not line.published_suspect and not math.isnan(line.published)
        }


def robustness(
    board: Board, metric: str | None = None, lines: Mapping[str, Sequence[Line]] | None = None
) -> list[Plot]:
    """One plot of one metric; ``lines`` holds each run's by hash, where they are known already."""
    families = families_of(list(dict.fromkeys(level for each in board.entrants for level in each.run.levels)))
    name = metric or default_metric(board.entrants[0].run.metrics).name
    series = []
    for entrant in board.entrants:
        known = lines[entrant.run.key.hash] if lines is not None else lines_of(entrant.run)
        at = {line.distortion: line for line in known if line.metric == name and not math.isnan(line.value)}
        if at:
            series.append(_Series(entrant, at))
    if not families or not series:
        return []
    with house_style():
        figure, panels = new_figure(len(families), width=PAGE, height=1.7, columns=4, share="y")
        for axes, family in zip(panels, families, strict=True):
            for place, each in enumerate(series):
                _draw(axes, family, each, shift=(place / max(1, len(series) - 1) - 0.5) * SIDE_BY_SIDE)
            _label(axes, family)
        figure.supylabel(name)
        finish(figure, _handles(axes, series))
    published = any(each.published for each in series)
    caption = (
        f"{name} over levels of distortion ({counted([line.n for each in series for line in each.lines.values()])}); "
        "none: images as they are. Bands: 95 % bootstrap intervals."
        + (" Hollow markers: numbers that papers print, whose rules may differ." if published else "")
    )
    head = ("model", "distortion", name, "95 % from", "to", "n", "published")
    rows = tuple(row for each in series for row in _rows(each))
    return [Plot(board.key("robustness", name), f"{name} under distortion, {board.title}", caption, head, rows, figure)]


def default_metric(metrics: Sequence[Metric]) -> Metric:
    """The first pixel metric averaged over images, else the first of all."""
    return next((metric for metric in metrics if metric.average == "per-image"), metrics[0])


def families_of(levels: Sequence[str]) -> list[Family]:
    """Levels with the same words; where several numbers differ, a family for each value of all but one of them."""
    groups: dict[str, list[str]] = {}
    for level in levels:
        if level != NONE:
            groups.setdefault(_NUMBER.sub(r"\1=", level), []).append(level)
    return [family for group in groups.values() for family in _families(group)]


def _families(levels: Sequence[str]) -> list[Family]:
    """Families of levels with the same words."""
    numbers = np.array([[float(value) for _, value in _NUMBER.findall(level)] for level in levels])
    if not numbers.size:
        return [Family(level, "", (level,), (0.0,)) for level in levels]
    varied = int(np.argmax([len(set(column)) for column in numbers.T]))
    groups: dict[tuple[float, ...], list[int]] = {}
    for place, row in enumerate(numbers):
        groups.setdefault(tuple(np.delete(row, varied)), []).append(place)
    return [
        Family(
            _title(levels[places[0]], varied),
            _NUMBER.findall(levels[0])[varied][0],
            tuple(levels[place] for place in places),
            tuple(float(numbers[place, varied]) for place in places),
        )
        for places in groups.values()
    ]


def _title(level: str, varied: int) -> str:
    """A label without the number that differs: ``double_jpeg(second=80)``."""
    found = list(_NUMBER.finditer(level))[varied]
    left = level[: found.start()].removesuffix(", ") + level[found.end() :]
    return left.replace("(, ", "(").replace("()", "")


def _draw(axes: Axes, family: Family, series: _Series, shift: float) -> None:
    """One model in one panel. Single levels stand side by side, so that their intervals can be told apart."""
    look = series.entrant.look
    places, alone = _places(family), len(family.levels) == 1
    shown = [(x, series.lines[level], level) for level, x in places.items() if level in series.lines]
    x = np.array([x for x, *_ in shown]) + (shift * _span(family) if alone else 0)
    value, low, high = (
        np.array([getattr(line, name) for _, line, _ in shown]) for name in ("value", "ci_low", "ci_high")
    )
    if alone:
        axes.vlines(x, low, high, color=look.colour, linewidth=0.8, alpha=0.6)
    else:
        axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(x, value, **solid(look) | ({"linestyle": "none"} if alone else {}))
    printed = [series.published.get(level, math.nan) for *_, level in shown]
    axes.plot(x, printed, clip_on=False, zorder=3, **hollow(look))


def _places(family: Family) -> dict[str, float]:
    """Where levels stand; images without distortion before the first."""
    return {NONE: family.values[0] - NONE_AT * _span(family)} | dict(zip(family.levels, family.values, strict=True))


def _span(family: Family) -> float:
    """From the mildest to the strongest level; negative where the parameter falls, as a quality does."""
    return family.values[-1] - family.values[0] or 1.0


def _label(axes: Axes, family: Family) -> None:
    places, span = list(_places(family).values()), _span(family)
    margin = (SIDE_BY_SIDE / 2 + 0.02 if len(places) == 2 else 0.08) * span
    left, right = places[0] - margin, places[-1] + margin
    words = [NONE, *(f"{value:g}" for value in family.values)]
    apart = np.diff(places) / (right - left) * PANEL
    needed = [CHARACTER * (len(word) + len(other) + 1) / 2 for word, other in pairwise(words)]
    axes.set_xticks(places, words, rotation=90 if (apart < needed).any() else 0)
    axes.set_xlim(left, right)
    axes.axvline(places[0] + NONE_AT / 2 * span, color=INK, linewidth=0.6, alpha=0.4, linestyle=(0, (1, 2)))
    axes.set(title=fill(family.title, 30), xlabel=family.parameter)
    axes.grid(visible=False, axis="x")


def _handles(axes: Axes, shown: Sequence[_Series]) -> list[Any]:
    handles = []
    for series in shown:
        look = series.entrant.look
        handles += axes.plot(
            [], color=look.colour, marker=look.marker, linestyle=look.dashes, label=series.entrant.label
        )
    for series in shown:
        if series.published:
            handles += axes.plot([], label=f"{series.entrant.label}, published", **hollow(series.entrant.look))
    return handles


def _rows(series: _Series) -> list[tuple[str, ...]]:
    return [
        (
            *(series.entrant.label, level),
            *map(number, (line.value, line.ci_low, line.ci_high)),
            str(line.n),
            number(series.published.get(level, math.nan)),
        )
        for level, line in series.lines.items()
    ]
