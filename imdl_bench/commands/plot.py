"""``plot``: figures of finished runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imdl_bench.commands.options import DONE, FAILURES, Commands
from imdl_bench.errors import UsageError
from imdl_bench.report.kinds import KINDS, NEEDS


def add_plot(commands: Commands) -> None:
    kinds = "; ".join(f"{kind}: {about}" for kind, about in KINDS.items())
    command = commands.add_parser("plot", help="draw figures of finished runs", description=(
        "Reads every run under RUN (a file or folder) and writes one figure of KIND to --out FILE; where there are "
        "several (data sets, protocols, pixels and images), each to FILE-KEY. Unfinished runs are left out and named "
        f"on standard error; the exit code is then 1. Kinds: {kinds}."))  # fmt: skip
    command.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    command.add_argument("runs", metavar="RUN", nargs="+", type=Path)
    command.add_argument("--out", metavar="FILE.png|.svg|.pdf", type=Path, required=True)
    command.add_argument("--metric", metavar="M", help="of robustness, area and file-size, a name from the protocol")
    command.set_defaults(command=_plot)


def _plot(options: argparse.Namespace) -> int:
    from imdl_bench.report.figures import figure_suffix, plots, save
    from imdl_bench.runs import find_runs, read_runs

    suffix = figure_suffix(options.out)
    runs, left_out = read_runs(find_runs(options.runs))
    for remark in left_out:
        print(remark, file=sys.stderr)
    found = plots(options.kind, runs, metric=options.metric)
    if not found:
        raise UsageError(f"nothing to draw: {options.kind} needs {NEEDS[options.kind]}; no finished run here has it")
    for plot in found:
        name = options.out if len(found) == 1 else options.out.with_name(f"{options.out.stem}-{plot.key}{suffix}")
        save(plot, name)
        print(name)
    return FAILURES if left_out else DONE
