"""ROC, and precision against recall: of pooled pixels, and of image scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imdl_bench.distortions import NONE
from imdl_bench.metrics.histogram import Curve
from imdl_bench.metrics.image import score_curve, value_of
from imdl_bench.metrics.names import Metric, parse_metric
from imdl_bench.metrics.pixel import needs_histogram
from imdl_bench.report.images import image_scores
from imdl_bench.report.plot import COLUMN, INK, Board, Entrant, Plot, counted, number, spread
from imdl_bench.report.style import finish, house_style, line_of, new_figure, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoreCurve:
    """One model's counts at falling thresholds, and the number of images behind them."""

    entrant: Entrant
    curve: Curve
    n: int


def roc(board: Board) -> list[Plot]:
    """True-positive against false-positive rate: pooled pixels; images where some are pristine."""
    return [_roc(board, level, curves) for level, curves in _by_level(board)]


def precision_recall(board: Board) -> list[Plot]:
    """Precision against recall: pooled pixels; images where some are pristine."""
    return [_precision_recall(board, level, curves) for level, curves in _by_level(board)]


def pooled(board: Board) -> list[ScoreCurve]:
    """All pixel scores together, of runs that kept them: where a metric of the protocol needs them."""
    found = []
    for entrant in board.entrants:
        if needs_histogram(entrant.run.metrics):
            scored = entrant.run.scored(NONE)
            found.append(ScoreCurve(entrant, scored.pool.curve(), int(scored.with_pixels.sum())))
    return [each for each in found if _has_both(each.curve)]


def roc_points(curve: Curve) -> Points:
    """False- and true-positive rates (n, 2), rising; the line between them ties equal scores at half."""
    return np.stack([curve.fp / curve.pristine, curve.tp / curve.forged], axis=-1)


def precision_points(curve: Curve) -> Points:
    """Recall and precision (n, 2), recall rising: corners of the line under which average precision is the area.

    It steps at each score, and slopes within a bin of different scores.
    """
    recall, called = curve.tp[1:] / curve.forged, curve.tp[1:] + curve.fp[1:]
    ends = np.stack([recall, curve.tp[1:] / called], axis=-1)
    starts = np.stack([curve.tp_before[1:] / curve.forged, ends[:, 1]], axis=-1)
    if curve.mixed is not None:
        sloped = np.flatnonzero(curve.mixed[1:])
        sloped = sloped[sloped > 0]
        starts[sloped] = ends[sloped - 1]
    return np.stack([starts, ends], axis=1).reshape(-1, 2)


def forged_share(curve: Curve) -> float:
    """What a guess has as precision."""
    return float(curve.forged[0] / (curve.forged[0] + curve.pristine[0]))


def _roc(board: Board, level: str, curves: Sequence[ScoreCurve]) -> Plot:
    metric = parse_metric("pixel_auc/pooled" if level == "pixel" else "image_auc")
    points = [thinned(roc_points(each.curve)) for each in curves]
    with house_style():
        figure, (axes,) = new_figure(1, width=COLUMN, height=3.2, columns=1)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, alpha=0.6)
        handles = _draw(axes, curves, points, metric)
        axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
        finish(figure, handles)
    caption = (
        f"{_what(level, curves)} AUC is {metric.name}, ties at half; the diagonal is chance. "
        "Points that move a line by less than 0.001 are left out."
    )
    head = ("model", "false-positive rate", "true-positive rate")
    title = f"ROC of {level}s, {board.title}"
    return Plot(board.key("roc", level), title, caption, head, _rows(curves, points), figure)


def _precision_recall(board: Board, level: str, curves: Sequence[ScoreCurve]) -> Plot:
    metric = parse_metric("pixel_ap/pooled" if level == "pixel" else "image_ap")
    points = [thinned(precision_points(each.curve)) for each in curves]
    with house_style():
        figure, (axes,) = new_figure(1, width=COLUMN, height=3.2, columns=1)
        for share in {round(forged_share(each.curve), 4) for each in curves}:
            axes.axhline(share, color=INK, linewidth=0.6, alpha=0.6)
        handles = _draw(axes, curves, points, metric)
        axes.set(xlabel="recall", ylabel="precision")
        finish(figure, handles)
    caption = (
        f"{_what(level, curves)} AP is {metric.name}, not interpolated; the horizontal line is chance, the share of "
        f"forged {level}s. Points that move a line by less than 0.001 are left out."
    )
    head = ("model", "recall", "precision")
    title = f"Precision and recall of {level}s, {board.title}"
    return Plot(board.key("precision-recall", level), title, caption, head, _rows(curves, points), figure)


def _by_level(board: Board) -> list[tuple[str, list[ScoreCurve]]]:
    levels = (("pixel", pooled(board)), ("image", _of_images(board)))
    return [(level, curves) for level, curves in levels if curves]


def _of_images(board: Board) -> list[ScoreCurve]:
    found = []
    for entrant in board.entrants:
        each = image_scores(entrant.run)
        if len(each.scores):
            found.append(ScoreCurve(entrant, score_curve(each.scores, each.forged), len(each.scores)))
    return [each for each in found if _has_both(each.curve)]


def _has_both(curve: Curve) -> bool:
    return bool(curve.forged[0] > 0 and curve.pristine[0] > 0)


def _draw(axes: Axes, curves: Sequence[ScoreCurve], points: Sequence[Points], metric: Metric) -> list[Any]:
    handles = []
    for place, (each, line) in enumerate(zip(curves, points, strict=True)):
        along = line.mean(axis=1) if metric.stat == "auc" else line[:, 0]
        label = f"{each.entrant.label}, {metric.stat.upper()} {float(value_of(metric, each.curve)):.3f}"
        handles += axes.plot(*line.T, label=label, **line_of(each.entrant.look, place, along))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    return handles


def _what(level: str, curves: Sequence[ScoreCurve]) -> str:
    if level == "pixel":
        return f"Pixels of all images together, without distortion ({counted([each.n for each in curves])})."
    rules = sorted({image_scores(each.entrant.run).rule for each in curves})
    return f"Scores of images ({', '.join(rules)}), without distortion ({counted([each.n for each in curves])})."


def _rows(curves: Sequence[ScoreCurve], points: Sequence[Points]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (each.entrant.label, *map(number, point))
        for each, line in zip(curves, points, strict=True)
        for point in line[spread(len(line))]
    )
