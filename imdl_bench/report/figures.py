"""Figures of finished runs, for papers and for pages. Values are the leaderboard's, by the same functions."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from imdl_bench.cache import write_atomically
from imdl_bench.errors import UsageError, nearest
from imdl_bench.metrics.names import refuse_absent
from imdl_bench.report.curves import precision_recall, roc
from imdl_bench.report.images import area, file_size, scores
from imdl_bench.report.kinds import KINDS
from imdl_bench.report.plot import INK, Board, Plot, boards
from imdl_bench.report.robustness import robustness
from imdl_bench.report.style import house_style
from imdl_bench.report.thresholds import f1_threshold
from imdl_bench.runs import Run

__all__ = ["KINDS", "Plot", "figure_suffix", "plots", "save", "to_svg"]

_OF_SCORES: dict[str, Callable[[Board], list[Plot]]] = {
    "roc": roc,
    "precision-recall": precision_recall,
    "f1-threshold": f1_threshold,
    "scores": scores,
}
_OF_A_METRIC: dict[str, Callable[[Board, str | None], list[Plot]]] = {
    "robustness": robustness,
    "area": area,
    "file-size": file_size,
}
_NO_DATE = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def plots(kind: str, runs: Sequence[Run], *, metric: str | None = None) -> list[Plot]:
    """One plot per protocol and split (and pixel or image level), all models together.

    Args:
        kind: one of :data:`KINDS`.
        runs: finished ones, each once.
        metric: a name from the runs' protocols, for ``robustness``, ``area`` and ``file-size``; each has a default.

    Returns:
        Empty where the runs hold nothing for this kind, see :data:`~imdl_bench.report.kinds.NEEDS`.

    Raises:
        UsageError: no such kind, or a metric that no run has or that this kind has no use for.
        DataError: a run's file is damaged.
    """
    if kind not in KINDS:
        raise UsageError(f"no figure {kind!r}{nearest(kind, KINDS)} (known: {', '.join(KINDS)})")
    if kind in _OF_SCORES:
        if metric is not None:
            raise UsageError(f"{kind} is drawn from all scores and takes no metric; {', '.join(_OF_A_METRIC)} take one")
        return [plot for board in boards(runs) for plot in _OF_SCORES[kind](board)]
    wanted = [] if metric is None else [metric]
    refuse_absent(wanted, list(dict.fromkeys(each.name for run in runs for each in run.metrics)))
    return [plot for board in boards(runs) for plot in _OF_A_METRIC[kind](board, metric)]


def save(plot: Plot, path: Path) -> None:
    """Write a plot as PNG (300 dpi), SVG or PDF, by the suffix; the same bytes for the same plot.

    Raises:
        UsageError: another suffix.
    """
    kind = figure_suffix(path)
    with house_style():
        buffer = io.BytesIO()
        colour = "white" if kind == ".png" else "none"
        plot.figure.savefig(buffer, format=kind[1:], dpi=300, metadata=_NO_DATE[kind], facecolor=colour)
    write_atomically(path, buffer.getvalue())


def figure_suffix(path: Path) -> str:
    """The suffix of a figure's file, in lower case. Raises UsageError for one that :func:`save` does not write."""
    kind = path.suffix.lower()
    if kind not in _NO_DATE:
        raise UsageError(f"{path}: figures are written as {', '.join(_NO_DATE)}; end the name with one of these")
    return kind


def to_svg(plot: Plot) -> str:
    """A plot as an ``<svg>`` element for HTML: text stays text, axes take the page's colour, ids are the plot's own."""
    with house_style(svg_text="none"):
        buffer = io.StringIO()
        plot.figure.savefig(buffer, format="svg", metadata={"Date": None}, facecolor="none")
    root = ElementTree.fromstring(buffer.getvalue())
    return ElementTree.tostring(_for_html(root, plot), encoding="unicode")


def _for_html(root: ElementTree.Element, plot: Plot) -> ElementTree.Element:
    """In place: no namespaces, no rules for the whole page, no ids but those that are used."""
    for element in root.iter():
        element.tag = _plain(element.tag)
        element.attrib = {_plain(name): value for name, value in element.attrib.items()}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "style"):
                parent.remove(child)
    text = ElementTree.tostring(root, encoding="unicode")
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name is not None and (f"#{name})" in text or f'href="#{name}"' in text):
            element.set("id", f"{plot.key}-{name}")
        for attribute, value in list(element.attrib.items()):
            value = value.replace(INK, "currentColor").replace("url(#", f"url(#{plot.key}-")
            element.set(attribute, f"#{plot.key}-{value[1:]}" if attribute == "href" and value[0] == "#" else value)
    return _named(root, plot)


def _named(root: ElementTree.Element, plot: Plot) -> ElementTree.Element:
    """With title and description for readers who cannot see it."""
    root.set("xmlns", "http://www.w3.org/2000/svg")
    root.set("role", "img")
    root.set("aria-labelledby", f"{plot.key}-title {plot.key}-desc")
    root.set("stroke-linejoin", "round")
    root.set("stroke-linecap", "butt")
    for place, (tag, text) in enumerate((("title", plot.title), ("desc", plot.caption))):
        element = ElementTree.Element(tag, {"id": f"{plot.key}-{tag}"})
        element.text = text
        root.insert(place, element)
    return root


def _plain(name: str) -> str:
    """Without its namespace, which HTML knows by itself."""
    return name.rpartition("}")[2]
