"""The report: finished runs as one HTML file with all that it shows inside, for people and for printing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imdl_bench
from imdl_bench.cache import write_atomically
from imdl_bench.errors import DataError, UsageError
from imdl_bench.leaderboard import Line, in_order, with_lines
from imdl_bench.report.comparison import compared
from imdl_bench.report.figures import KINDS, plots, to_svg
from imdl_bench.report.folders import without_folders
from imdl_bench.report.gallery import Gallery, make_gallery
from imdl_bench.report.image_table import image_table
from imdl_bench.report.leaderboard import make_leaderboard
from imdl_bench.report.provenance import provenance
from imdl_bench.report.same_images import SameImages, same_images
from imdl_bench.runs import Run, find_runs, model_labels, read_runs
from imdl_bench.tables import DAGGER

FOLDER = Path(__file__).parent
SCRIPTS = ("tables.js", "gallery.js", "page.js")
SHOWN_NAMES = 6
ENDINGS = (".html", ".htm")


@dataclass(frozen=True, slots=True)
class Report:
    """A written report: where it lies, its size in bytes, why runs were left out, and why photographs are missing."""

    path: Path
    size: int
    n_runs: int
    left_out: tuple[str, ...]
    missing: tuple[str, ...]


def write_report(places: Iterable[Path | str] | Path | str, out: Path | str, *, gallery: int = 4) -> Report:
    """Write every finished run at or under the given files and folders as one HTML file that asks nothing of a network.

    The same runs make the same bytes, as long as their data lie where they lay: photographs and truths are read again,
    masks are in the runs.

    Args:
        places: run files, or folders that hold them; one or several.
        out: the file, ``.html`` or ``.htm``.
        gallery: images on each shelf of the gallery; 0 leaves it out.

    Raises:
        UsageError: a place holds no run, ``gallery`` is negative, or ``out`` has another ending.
        DataError: no run is finished and whole, or the file cannot be written.
    """
    if gallery < 0:
        raise UsageError(f"a gallery of {gallery} images: give a whole number from 0 up")
    path = Path(out).expanduser()
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: a report is HTML; end the name with {' or '.join(ENDINGS)}")
    given = [places] if isinstance(places, (str, Path)) else places
    where = [Path(place).expanduser() for place in given]
    found, left_out = read_runs(find_runs(where))
    numbered, damaged = with_lines(sorted(found, key=_order))
    runs, lines = [run for run, _ in numbered], [line for _, own in numbered for line in own]
    left_out += damaged
    if not runs:
        raise DataError(f"no finished run to report: {'; '.join(left_out)}")
    told = [_below(reason, where) for reason in left_out]
    groups = same_images(runs)
    galleries = [made for group in groups if (made := make_gallery(group, gallery)) is not None]
    content = _page(runs, in_order(lines), told, groups, galleries).encode(errors="backslashreplace")
    write_atomically(path, content)
    missing = tuple(f"{each.title}: {each.missing}" for each in galleries if each.missing)
    return Report(path, len(content), len(runs), tuple(left_out), missing)


def _below(text: str, places: Sequence[Path]) -> str:
    """``text`` with paths from the folders that were given on; what lies above them is the writer's own."""
    for place in places:
        text = without_folders(text, str(place))
    return text


def _order(run: Run) -> tuple[Any, ...]:
    key = run.key
    return (key.protocol, key.version, key.dataset, key.split, key.model, key.weights, key.hash)


def _page(
    runs: Sequence[Run],
    lines: Sequence[Line],
    left_out: Sequence[str],
    groups: Sequence[SameImages],
    galleries: Sequence[Gallery],
) -> str:
    """Made of pieces that know nothing of HTML; what they hold is escaped here, by the template."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return templates.get_template("page.html").render(
        version=imdl_bench.__version__,
        title=_title(runs),
        dagger=DAGGER,
        about=_about(runs),
        left_out=left_out,
        leaderboard=make_leaderboard(lines),
        comparison=compared(runs),
        figures=_figures(runs),
        galleries=galleries,
        image_tables=[image_table(group) for group in groups],
        runs=_provenance(runs),
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
    )


def _title(runs: Sequence[Run]) -> str:
    models, data = _names(run.key.model for run in runs), _names(run.key.dataset for run in runs)
    return f"{_shortened(models, 'models')} on {_shortened(data, 'data sets')}"


def _shortened(names: Sequence[str], what: str) -> str:
    if len(names) > SHOWN_NAMES:
        return f"{len(names)} {what}"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _names(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _about(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    data = {(run.key.dataset, run.key.split, run.meta["n_samples"]): None for run in runs}
    return [
        ("Protocols", _names(f"{r.key.protocol} v{r.key.version}: {r.meta['protocol']['title']}" for r in runs)),
        ("Data", [f"{name}/{split}, {count} samples" for name, split, count in data]),
        ("Models", _names(f"{r.key.model}@{r.key.weights}" if r.key.weights else r.key.model for r in runs)),
    ]


def _figures(runs: Sequence[Run]) -> list[tuple[str, list[tuple[Any, Any]]]]:
    """By kind, each plot with its drawing, which is trusted as it stands: matplotlib escapes what it writes."""
    from markupsafe import Markup

    drawn = [(title, [(plot, Markup(to_svg(plot))) for plot in plots(kind, runs)]) for kind, title in KINDS.items()]
    return [(title, found) for title, found in drawn if found]


def _provenance(runs: Sequence[Run]) -> list[Any]:
    places: dict[tuple[Any, ...], dict[str, Run]] = {}
    for run in runs:
        places.setdefault(_order(run)[:4], {})[run.key.hash] = run
    told = []
    for inside in places.values():
        labels = model_labels({name: (run.key.model, run.key.weights) for name, run in inside.items()})
        told += [provenance(run, labels[name]) for name, run in inside.items()]
    return told
