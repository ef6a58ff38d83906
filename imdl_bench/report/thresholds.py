"""F1 of pooled pixels against the threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imdl_bench.metrics import counts, ranking
from imdl_bench.metrics.histogram import Curve
from imdl_bench.metrics.image import value_of
from imdl_bench.metrics.names import parse_metric
from imdl_bench.report.curves import pooled
from imdl_bench.report.plot import COLUMN, INK, Board, Plot, counted, number, spread
from imdl_bench.report.style import finish, house_style, new_figure, thinned

Points = NDArray[np.float64]
NEAREST = 2.0**-31  # to 0 and to 1: a pool does not tell scores beyond it apart
SEEN = 0.005  # of F1: less is no reason to make the axis longer
MARKS = {"0.5": ("o", "at 0.5"), "eer": ("s", "at the EER"), "best": ("*", "best F1")}


def f1_threshold(board: Board) -> list[Plot]:
    """F1 at every threshold, on a logit axis: networks put most pixels close to 0 and to 1."""
    curves = pooled(board)
    if not curves:
        return []
    marks = [marked_thresholds(each.curve) for each in curves]
    low, high = _limits([each.curve for each in curves], marks)
    rows: list[tuple[str, ...]] = []
    handles: list[Any] = []
    with house_style():
        figure, (axes,) = new_figure(1, width=COLUMN, height=2.6, columns=1)
        axes.axvline(0.5, color=INK, linewidth=0.6, alpha=0.6)
        for each, marked in zip(curves, marks, strict=True):
            label, look = each.entrant.label, each.entrant.look
            points = f1_points(each.curve, low, high)
            handles += axes.plot(*points.T, label=label, color=look.colour, linestyle=look.dashes)
            rows += [(label, *map(number, point), "") for point in points[spread(len(points), 25)]]
            for name, point in marked.items():
                shown = np.clip(point, [low, 0], [high, 1])
                axes.plot(*shown, color=look.colour, clip_on=False, zorder=3, **_mark(name))
                rows.append((label, *map(number, point), MARKS[name][1]))
        axes.set_xscale("logit")
        axes.set(xlim=(low, high), ylim=(0, None), xlabel="threshold (logit axis)", ylabel="F1 of pixels, pooled")
        axes.minorticks_off()
        handles += [axes.plot([], color=INK, label=MARKS[name][1], **_mark(name))[0] for name in MARKS]
        finish(figure, handles)
    caption = (
        f"F1 of the forged class over the pixels of all images together, without distortion, at each threshold "
        f"({counted([each.n for each in curves])}). EER: equal error rate. "
        "The best threshold knows the truth. Marks closer to 0 or 1 than the axis goes stand at its ends."
    )
    head = ("model", "threshold", "F1", "mark")
    return [Plot(board.key("f1-threshold"), f"F1 and threshold, {board.title}", caption, head, tuple(rows), figure)]


def marked_thresholds(curve: Curve) -> dict[str, Points]:
    """Threshold and F1 (2,) at 0.5, at the equal error rate, and where F1 is best."""
    places = {
        "0.5": 0.5,
        "eer": curve.thresholds[ranking.eer_at(curve)],
        "best": curve.thresholds[ranking.best_at(curve, counts.f1)],
    }
    return {
        name: np.array([place, value_of(parse_metric(f"pixel_f1@{name}/pooled"), curve)], np.float64)
        for name, place in places.items()
    }


def f1_points(curve: Curve, low: float, high: float) -> Points:
    """Threshold and F1 (n, 2), thresholds rising from ``low`` to ``high``: corners of the steps of F1."""
    threshold, value = _f1_of(curve)
    # A value holds from above the next lower score up to its own.
    reaches = np.clip(np.stack([np.append(0, threshold[:-1]), threshold], axis=-1).ravel(), low, high)
    corners = np.stack([_logit(reaches), np.repeat(value, 2)], axis=-1)
    span = np.array([_logit(np.array(high)) - _logit(np.array(low)), 1])
    kept = thinned(corners / span) * span
    return np.stack([1 / (1 + np.exp(-kept[:, 0])), kept[:, 1]], axis=-1)


def _f1_of(curve: Curve) -> tuple[Points, Points]:
    """Thresholds and F1, rising in threshold; the infinite threshold last."""
    return curve.thresholds[::-1], counts.f1(curve.tp, curve.fp, curve.forged, curve.pristine)[::-1]


def _limits(curves: list[Curve], marks: list[dict[str, Points]]) -> tuple[float, float]:
    """Powers of ten from 0 and from 1 between which F1 moves and all marks lie."""
    places = [float(point[0]) for marked in marks for point in marked.values()]
    inside = [0.01, 0.99, *(place for place in places if NEAREST < place < 1 - NEAREST)]
    for curve in curves:
        threshold, value = (part[curve.thresholds[::-1] > NEAREST] for part in _f1_of(curve))
        inside += threshold[np.abs(value - value[0]) > SEEN][:1].tolist()
        inside += threshold[(value > SEEN) & (threshold < 1)][-1:].tolist()
    low, high = (np.clip(edge, NEAREST, 1 - NEAREST) for edge in (min(inside), max(inside)))
    return float(10 ** np.floor(np.log10(low))), float(1 - 10 ** np.floor(np.log10(1 - high)))


def _logit(value: Points) -> Points:
    return np.asarray(np.log(value) - np.log1p(-value))


def _mark(name: str) -> dict[str, Any]:
    return {"marker": MARKS[name][0], "linestyle": "none", "markerfacecolor": "none", "markersize": 5}
