"""What distortions do to models: the runs of one command, drawn beside those that were made before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imdl_bench import catalog
from imdl_bench.benchmark import RunResult
from imdl_bench.cache import file_name
from imdl_bench.cards import Protocol
from imdl_bench.distortions import parse_distortions
from imdl_bench.errors import UsageError, nearest
from imdl_bench.leaderboard import lines_of
from imdl_bench.report.figures import save
from imdl_bench.report.plot import Board, boards
from imdl_bench.report.robustness import robustness
from imdl_bench.runs import Run, find_runs, read_runs

SUFFIXES = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class SweepFigures:
    """Files that were written, earlier runs that are drawn in them, and why others are not."""

    files: tuple[Path, ...]
    beside: tuple[Path, ...]
    left_out: tuple[str, ...]


def refuse_without_levels(protocol: Protocol) -> None:
    """Raise UsageError where a protocol distorts nothing; names those that do."""
    if _has_levels(protocol):
        return
    known = [name for name in catalog.list_protocols() if _has_levels(catalog.load_protocol(name))]
    near = nearest(protocol.name, known)
    raise UsageError(f"{protocol.name} has no levels of distortion to sweep{near} (these have: {', '.join(known)})")


def draw_sweep(result: RunResult, out: Path | str) -> SweepFigures:
    """Draw each metric over the levels of distortion to ``OUT/sweeps/PROTOCOL-DATASET-METRIC.png`` and ``.svg``.

    Beside the result's own runs stand all other finished ones under ``OUT/runs`` of the same protocol and version on
    the same images; their seeds, devices and libraries may differ.

    Raises:
        DataError: a run's file is damaged, or a figure cannot be written.
    """
    out = Path(out).expanduser()
    own, earlier, left_out = _own_and_earlier(result, out)
    lines = {run.key.hash: [line for line in result.lines if line.run == run.key.hash] for run in own}
    lines |= {run.key.hash: lines_of(run) for run in earlier}
    shown = boards([*own, *earlier])
    files: list[Path] = []
    for board in shown:
        for metric in own[0].metrics:
            for plot in robustness(board, metric.name, lines):
                stem = f"{board.protocol}-{_data_name(board, shown)}-{file_name(metric.name)}"
                files += [out / "sweeps" / f"{stem}{suffix}" for suffix in SUFFIXES]
                for path in files[-len(SUFFIXES) :]:
                    save(plot, path)
    return SweepFigures(tuple(files), tuple(run.path for run in earlier), tuple(left_out))


def _has_levels(protocol: Protocol) -> bool:
    return len(parse_distortions(protocol.distort)) > 1


def _own_and_earlier(result: RunResult, out: Path) -> tuple[list[Run], list[Run], list[str]]:
    """The result's runs, other finished ones that are comparable with them, and why others cannot be read."""
    hashes = {line.run for line in result.lines}
    runs, left_out = read_runs(find_runs([*result.runs, out / "runs" / result.lines[0].protocol]))
    own = [run for run in runs if run.key.hash in hashes]
    same = {_comparable(run) for run in own}
    return own, [run for run in runs if run.key.hash not in hashes and _comparable(run) in same], left_out


def _comparable(run: Run) -> tuple[str | int, ...]:
    """What two runs share when their curves may stand in one figure."""
    key = run.key
    return (key.protocol, key.version, key.dataset, key.split, key.data, key.scoring)


def _data_name(board: Board, shown: Sequence[Board]) -> str:
    """The data set, with the split where the protocol takes several of it."""
    several = sum(other.dataset == board.dataset for other in shown) > 1
    return f"{board.dataset}-{file_name(board.split)}" if several else board.dataset
