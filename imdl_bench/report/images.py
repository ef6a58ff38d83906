"""Figures with a point or a score per image: scores, and F1 against size of the forged region or of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from imdl_bench.distortions import NONE
from imdl_bench.metrics.names import Metric
from imdl_bench.metrics.pixel import has_own_value
from imdl_bench.report.plot import INK, PAGE, Board, Entrant, Plot, counted, number, spread
from imdl_bench.report.style import finish, house_style, new_figure
from imdl_bench.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = NDArray[np.float64]
MOST_POINTS = 400  # drawn per model; medians and quartiles take all
MOST_BINS, LEAST_IN_BIN = 8, 5
SIDES = {True: ("forged", "-"), False: ("pristine", (0, (4, 1.5)))}


@dataclass(frozen=True, slots=True)
class ImageScores:
    """Scores of whole images (n,), which of them are forged, and the rule the scores follow."""

    scores: Values
    forged: NDArray[np.bool_]
    rule: str


def image_scores(run: Run) -> ImageScores:
    """Scores without distortion by the protocol's rule; by the mask's mean where the model gives no score."""
    scored = run.scored(NONE)
    rule = run.score_rule if not np.isnan(scored.scores[run.score_rule]).all() else "mask-mean"
    scores = scored.scores[rule]
    used = ~np.isnan(scores) & ~scored.second
    return ImageScores(scores[used], scored.forged[used], rule)


def scores(board: Board) -> list[Plot]:
    """How many images of each class score at most so much, one panel per model."""
    found = [(entrant, image_scores(entrant.run)) for entrant in board.entrants]
    found = [(entrant, each) for entrant, each in found if len(each.scores)]
    if not found:
        return []
    rows: list[tuple[str, ...]] = []
    with house_style():
        figure, panels = new_figure(len(found), width=PAGE, height=1.9, columns=3, share="y")
        for axes, (entrant, each) in zip(panels, found, strict=True):
            rows += _draw_scores(axes, entrant, each)
        figure.supylabel("share of images")
        shown = sorted({bool(side) for _, each in found for side in each.forged}, reverse=True)
        handles = [axes.plot([], color=INK, linestyle=SIDES[side][1], label=SIDES[side][0])[0] for side in shown]
        finish(figure, handles)
    rules = ", ".join(sorted({each.rule for _, each in found}))
    caption = (
        f"Share of images whose score ({rules}) is at most the value on the axis, without distortion "
        f"({counted([len(each.scores) for _, each in found])}). Each model has its own scale."
    )
    head = ("model", "images", "share of images", "score at most")
    return [Plot(board.key("scores"), f"Image scores, {board.title}", caption, head, tuple(rows), figure)]


def area(board: Board, metric: str | None = None) -> list[Plot]:
    """A per-image metric against the share of pixels that is forged."""
    return _against(board, metric, "area", "share of forged pixels", _shares)


def file_size(board: Board, metric: str | None = None) -> list[Plot]:
    """A per-image metric against the size of the image's file."""
    return _against(board, metric, "file-size", "size of the file", _file_sizes)


def per_image_metric(metrics: Sequence[Metric], wanted: str | None) -> Metric | None:
    """The metric of that name, or the first F1 that every image has, or the first metric that every image has."""
    own = [metric for metric in metrics if has_own_value(metric)]
    if wanted is not None:
        return next((metric for metric in own if metric.name == wanted), None)
    return next((metric for metric in own if metric.stat == "f1"), own[0] if own else None)


def binned(x: Values, y: Values) -> Values:
    """Median of ``x`` and quartiles of ``y`` (bins, 4) in bins of equally many images, at least five in each."""
    order = np.argsort(x, kind="stable")
    bins = np.array_split(order, max(1, min(MOST_BINS, len(x) // LEAST_IN_BIN)))
    return np.array([[np.median(x[b]), *np.percentile(y[b], [25, 50, 75])] for b in bins if len(b)]).reshape(-1, 4)


def _against(board: Board, wanted: str | None, kind: str, label: str, measure: Callable[[Run], Values]) -> list[Plot]:
    found = []
    for entrant in board.entrants:
        metric = per_image_metric(entrant.run.metrics, wanted)
        if metric is not None:
            x, y = measure(entrant.run), entrant.run.scored(NONE).values.get(metric.name, np.empty(0))
            used = ~np.isnan(x) & ~np.isnan(y) & (x > 0) if len(y) else np.zeros(0, bool)
            found.append((entrant, metric, x[used], y[used]))
    found = [each for each in found if len(each[2])]
    if not found:
        return []
    metric = found[0][1]
    rows: list[tuple[str, ...]] = []
    with house_style():
        figure, panels = new_figure(len(found), width=PAGE, height=1.9, columns=3, share="both")
        for axes, (entrant, _, x, y) in zip(panels, found, strict=True):
            rows += _draw_against(axes, entrant, x, y)
            _log_axis(axes, label, x, in_bytes=measure is _file_sizes)
        figure.supylabel(metric.name)
        finish(figure)
    caption = (
        f"{metric.name} of each image against the {label}, without distortion "
        f"({counted([len(x) for *_, x, _ in found])}; at most {MOST_POINTS} points drawn per model). Line and band: "
        "median and quartiles of all images in bins of equally many."
    )
    head = ("model", "images", f"median {label}", "lower quartile", f"median {metric.name}", "upper quartile")
    title = f"{metric.name} and {label}, {board.title}"
    return [Plot(board.key(kind, metric.name), title, caption, head, tuple(rows), figure)]


def _shares(run: Run) -> Values:
    totals = run.scored(NONE).totals[:, :2].astype(np.float64)
    pixels = totals.sum(axis=1)
    return np.asarray(np.divide(totals[:, 0], pixels, out=np.full(len(totals), np.nan), where=pixels > 0))


def _file_sizes(run: Run) -> Values:
    """In bytes; nan for second images of pairs, whose rows carry the size of the first one's file."""
    good = [row for row in run.rows(NONE) if row.status == "ok"]
    sizes = np.array([np.nan if row.file_size is None else row.file_size for row in good], np.float64)
    sizes[run.scored(NONE).second] = np.nan
    return sizes


def _draw_scores(axes: Axes, entrant: Entrant, each: ImageScores) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for side, (name, dashes) in SIDES.items():
        values = np.sort(each.scores[each.forged == side])
        if len(values):
            axes.ecdf(values, color=entrant.look.colour if side else INK, linestyle=dashes)
            share = np.arange(1, len(values) + 1) / len(values)
            rows += [(entrant.label, name, number(share[k]), number(values[k])) for k in spread(len(values), 15)]
    axes.set(title=entrant.label, xlabel=f"score ({each.rule})", ylim=(0, 1.02))
    _score_axis(axes, each.scores)
    return rows


def _score_axis(axes: Axes, scores: Values) -> None:
    """Few labels in full, on an axis long enough that they differ in digits that mean something."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    low, high = float(scores.min()), float(scores.max())
    margin = max(0.04 * (high - low), 0.01 * max(abs(low), abs(high)), 1e-6)
    plain = ScalarFormatter(useOffset=False)
    plain.set_scientific(False)
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(plain)


def _draw_against(axes: Axes, entrant: Entrant, x: Values, y: Values) -> list[tuple[str, ...]]:
    some = spread(len(x), MOST_POINTS)
    axes.plot(x[some], y[some], ".", color=entrant.look.colour, alpha=0.45, markersize=3, markeredgewidth=0)
    middle, low, half, high = binned(x, y).T
    axes.fill_between(middle, low, high, color=entrant.look.colour, alpha=0.2, linewidth=0)
    axes.plot(middle, half, color=entrant.look.colour, marker=entrant.look.marker)
    axes.set(title=entrant.label)
    counts = [str(len(part)) for part in np.array_split(x, len(middle))]
    return [(entrant.label, n, *map(number, bin)) for n, bin in zip(counts, binned(x, y), strict=True)]


def _log_axis(axes: Axes, label: str, x: Values, *, in_bytes: bool) -> None:
    """Few labels that are read at a glance: 0.02 or 50 kB."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, StrMethodFormatter

    axes.set(xscale="log", xlabel=label)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if x.max() < 30 * x.min() else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter("B") if in_bytes else StrMethodFormatter("{x:g}"))
