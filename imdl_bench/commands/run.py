"""``run``: score models under a protocol."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from imdl_bench import catalog
from imdl_bench.cards import Protocol
from imdl_bench.commands.options import (
    DONE,
    FAILURES,
    SCORED_HELP,
    Commands,
    add_model_options,
    data_folders,
    named_paths,
    positive,
    seed,
)
from imdl_bench.errors import UsageError, nearest

SHOWN_RUNS = 3  # of which the rows are named at the end

if TYPE_CHECKING:
    from imdl_bench.benchmark import RunResult


def add_run(commands: Commands) -> None:
    command = commands.add_parser("run", help="score models under a protocol", description=(
        "Writes DIR/leaderboards/PROTOCOL.csv (what this command ran, one number per line), "
        "DIR/runs/PROTOCOL/MODEL/.../run.sqlite (the "
        "record) with rows.csv and rows.parquet (one image per line), and prints the table. A stopped run goes on when "
        "the same command is given again; a finished one is returned at once. Images that cannot be scored are "
        "recorded with their reason, and the exit code is 1."))  # fmt: skip
    add_run_options(command)
    command.set_defaults(command=_run)


def add_run_options(command: argparse.ArgumentParser) -> None:
    """What is run, where it goes and how it is done."""
    command.add_argument("protocol", metavar="PROTOCOL", help="a name from `list protocols`, or a YAML file")
    command.add_argument("--model", metavar="MODEL", action="append", default=[], help=SCORED_HELP)
    command.add_argument("--data", metavar="[NAME=]DIR", action="append", default=[],
                         help="folder that holds the data sets, or one data set's own folder (repeatable)")  # fmt: skip
    command.add_argument("--dataset", metavar="NAME", action="append", default=[], help="only this part of PROTOCOL")
    command.add_argument("--split-file", metavar="NAME=FILE", action="append", default=[],
                         help="list to use in place of the published one of data set NAME")  # fmt: skip
    command.add_argument("--out", metavar="DIR", type=Path, default=Path("results"))
    command.add_argument("--limit", metavar="N", type=positive, help="at most N samples per split, evenly spaced")
    add_model_options(command)
    command.add_argument("--batch-size", metavar="N", type=positive,
                         help="images of equal shape at once (8 on the CPU; on a GPU, what fits)")  # fmt: skip
    command.add_argument("--workers", metavar="N", type=positive,
                         help="threads that each take an image from its file to its numbers; with ray, processes")  # fmt: skip  # noqa: E501
    command.add_argument("--engine", choices=["local", "ray"], default="local",
                         help="threads of this process, or worker processes that Ray starts here or on a cluster")  # fmt: skip  # noqa: E501
    command.add_argument("--address", metavar="ADDRESS", help="of a running Ray cluster to join, such as auto")
    command.add_argument("--seed", metavar="N", type=seed, default=0, help="of the bootstrap and of random weights")
    command.add_argument("--timing", action="store_true", help="fill the seconds in the CSV files (they then differ from run to run)")  # fmt: skip  # noqa: E501
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.set_defaults(on_interrupt="What is scored is kept; give the same command again to go on from there.")


def _run(options: argparse.Namespace) -> int:
    return show_result(run_protocol(chosen_protocol(options), options))


def chosen_protocol(options: argparse.Namespace) -> Protocol:
    """The protocol, or the part of it that ``--dataset`` names."""
    protocol = catalog.load_protocol(options.protocol)
    if not options.dataset:
        return protocol
    chosen = [line for line in protocol.data if line.dataset in options.dataset]
    known = [line.dataset for line in protocol.data]
    for name in options.dataset:
        if name not in known:
            raise UsageError(
                f"{protocol.name} has no data set {name!r}{nearest(name, known)} (it has {', '.join(known)})"
            )
    return protocol.model_copy(update={"data": chosen})


def run_protocol(protocol: Protocol, options: argparse.Namespace) -> RunResult:
    """Run it as the options of :func:`add_run_options` say."""
    from imdl_bench.benchmark import run

    return run(
        protocol, options.model, data_folders(options.data),
        out=options.out, limit=options.limit, device=options.device, precision=options.precision,
        compile=options.compile, accept_licence=options.accept_licence, batch_size=options.batch_size,
        workers=options.workers, seed=options.seed, split_files=named_paths(options.split_file, "--split-file"),
        engine=options.engine, address=options.address, timing=options.timing, progress=not options.quiet,
    )  # fmt: skip


def show_result(result: RunResult) -> int:
    """Print the tables and where the numbers lie; the exit code."""
    from imdl_bench.tables import overview

    print(result)
    if summary := overview(result.lines):
        print(f"\n{summary}")
    if result.n_new == 0:
        print("nothing to do: this run was already finished")
    print(f"leaderboard: {result.leaderboard}")
    for path in result.runs[:SHOWN_RUNS]:
        print(f"per image:   {path.with_name('rows.csv')}")
    if len(result.runs) > SHOWN_RUNS:
        print(f"             +{len(result.runs) - SHOWN_RUNS} more rows.csv of the same layout")
    if result.n_failed:
        print(
            f"{result.n_failed} images could not be scored; their reasons stand in rows.csv "
            "(to try them again, delete the run's folder)",
            file=sys.stderr,
        )
    return FAILURES if result.n_failed else DONE
