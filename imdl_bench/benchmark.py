"""``imdl_bench.run``: a protocol from its name to its leaderboard."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imdl_bench import catalog, records
from imdl_bench.cache import write_atomically
from imdl_bench.cards import Protocol
from imdl_bench.comparison import compare_runs
from imdl_bench.comparison_tables import Comparison
from imdl_bench.errors import DataError
from imdl_bench.leaderboard import Line, read_lines
from imdl_bench.planning import Options, Plan, Progress, plan_run
from imdl_bench.runner import execute
from imdl_bench.runs import find_runs, read_runs
from imdl_bench.tables import export_rows, to_csv, to_html, to_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run gives back: its numbers, where they lie, and how many images could not be scored.

    Shows itself as a table, also in a notebook.
    """

    lines: tuple[Line, ...]
    leaderboard: Path | None
    runs: tuple[Path, ...]
    n_failed: int
    n_new: int

    @property
    def table(self) -> pd.DataFrame:
        """The leaderboard as a data frame, one number per row, columns as in its CSV."""
        import pandas as pd

        return pd.DataFrame(self.lines)

    def __repr__(self) -> str:
        return to_text(self.lines)

    def _repr_html_(self) -> str:
        return to_html(self.lines) if self.lines else "<p>no finished run</p>"


def run(
    protocol: str | Path | Protocol,
    models: Sequence[str] | str = (),
    data: Path | str | Mapping[str, Path] | None = None,
    *,
    out: Path | str = "results",
    limit: int | None = None,
    device: str = "cpu",
    precision: str = "float32",
    compile: bool = False,
    accept_licence: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    split_files: Mapping[str, Path] | None = None,
    engine: str = "local",
    address: str | None = None,
    timing: bool = False,
    progress: bool = False,
) -> RunResult:
    """Score models under a protocol; resumes what was stopped, returns at once what is done.

    Args:
        protocol: a name, or a YAML file of one's own.
        models: ``NAME``, ``NAME@WEIGHTS`` or ``NAME:KEY=VALUE,KEY=VALUE@WEIGHTS`` (settings from the model's card);
            the protocol's own list by default.
        data: folder that holds the data sets (``data/<name>`` or the data set itself), or a folder per name.
        out: ``runs/`` and ``leaderboards/`` are written below it.
        limit: at most so many samples per split, evenly spaced; the numbers say so in ``remarks``.
        device: where networks run.
        precision: ``float32``, ``bfloat16`` or ``float16``, of networks.
        compile: let ``torch.compile`` make networks faster, which takes minutes first and moves numbers by a hair.
        accept_licence: you have read the licences of the weights that restrict their use, and may use them.
        batch_size: images of equal shape per call of ``predict``: 8 on the CPU, as many as fit on a GPU, if ``None``.
        workers: threads that decode, predict and score, or worker processes of the engine ``ray``; by default as many
            as there are processors. Moves no number: on the CPU not one byte.
        seed: of the bootstrap, and of random weights.
        split_files: lists to use in place of a data set's published one, by data-set name.
        engine: ``local`` (threads of this process) or ``ray`` (worker processes, here or on a cluster).
        address: of a running Ray cluster, ``auto`` for the one this machine belongs to; none starts one here.
        timing: fill the seconds in the CSV files, which then differ from run to run.
        progress: show a bar on standard error.

    Raises:
        UsageError, CardError, DataError: before the first image is read.
    """
    card = protocol if isinstance(protocol, Protocol) else catalog.load_protocol(protocol)
    options = Options(
        out=Path(out).expanduser(),
        limit=limit,
        device=device,
        precision=precision,
        compile=compile,
        accept_licence=accept_licence,
        batch_size=batch_size,
        workers=records.default_workers() if workers is None else workers,
        engine=engine,
        address=address,
        processes=workers,
        seed=seed,
        split_files=dict(split_files or {}),
    )
    with _bar("looking at the data", "file", None, shown=progress) as looked_at:
        plans = plan_run(card, [models] if isinstance(models, str) else models, data, options, looked_at)
    n_new = sum(cell.todo for plan in plans for cell in plan.cells)
    _execute_all(plans, card, options, n_new, progress=progress)
    runs = find_runs(cell.folder / "run.sqlite" for plan in plans for cell in plan.cells)
    lines, left_out = read_lines(runs)
    if left_out:
        raise DataError("\n".join(left_out))
    for path in runs:
        export_rows(path, timing=timing)
    table = options.out / "leaderboards" / f"{card.name}.csv"
    write_atomically(table, to_csv(lines, timing=timing).encode())
    return RunResult(tuple(lines), table, tuple(runs), _failures(lines), n_new)


def leaderboard(*places: Path | str) -> RunResult:
    """Every finished run at or under the given files and folders, as one table; unfinished ones are left out.

    Raises:
        UsageError: a place holds no run.
    """
    runs = find_runs(Path(place) for place in places)
    lines, _ = read_lines(runs)
    return RunResult(tuple(lines), None, tuple(runs), _failures(lines), 0)


def compare(
    *places: Path | str, metrics: Sequence[str] | None = None, resamples: int | None = None, seed: int = 0
) -> Comparison:
    """The finished runs at or under files and folders held against each other, wherever two scored the same images.

    Args:
        places: files or folders that hold runs; unfinished ones are left out.
        metrics: names; by default all that the runs have in common.
        resamples: of the bootstrap; by default the protocol's.
        seed: of the bootstrap.

    Raises:
        UsageError: a place holds no run, no run has one of the metrics, or no two runs can be compared.
    """
    runs, _ = read_runs(find_runs(Path(place) for place in places))
    return compare_runs(runs, metrics, resamples=resamples, seed=seed)


def _failures(lines: Sequence[Line]) -> int:
    return sum({(line.run, line.distortion): line.n_failed for line in lines}.values())


def _execute_all(plans: Sequence[Plan], card: Protocol, options: Options, total: int, *, progress: bool) -> None:
    if total:
        with _bar(card.name, "image", total, shown=progress) as advance:
            execute(plans, card, options, advance)


@contextmanager
def _bar(title: str, unit: str, total: int | None, *, shown: bool) -> Iterator[Progress]:
    from tqdm import tqdm

    with tqdm(total=total, desc=title, unit=unit, disable=None if shown else True, file=sys.stderr) as bar:
        yield bar.update
