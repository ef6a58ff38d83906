"""``compare``: finished runs held against each other."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imdl_bench.commands.options import DONE, FAILURES, Commands, write_or_print
from imdl_bench.comparison_tables import TABLES


def add_compare(commands: Commands) -> None:
    command = commands.add_parser("compare", help="differences between models, with intervals and p", description=(
        "Reads every run under RUN (a file or folder) and compares those on the same images: ranks, paired "
        "differences, images won, and whether metrics agree. Prints tables, or writes them to --out FILE. Unfinished "
        "runs are left out and named on standard error; the exit code is then 1."))  # fmt: skip
    command.add_argument("runs", metavar="RUN", nargs="+", type=Path)
    command.add_argument("--metric", metavar="M", action="append", dest="metrics",
                         help="only this metric (repeatable); all that the runs have in common by default")  # fmt: skip
    command.add_argument("--table", choices=list(TABLES),
                         help="only this table; by default all, and as CSV the differences")  # fmt: skip
    command.add_argument("--format", choices=["text", "csv", "md"], default="text")
    command.add_argument("--out", metavar="FILE", type=Path)
    command.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> int:
    from imdl_bench.comparison import compare_runs
    from imdl_bench.comparison_tables import to_csv, to_markdown, to_text
    from imdl_bench.runs import find_runs, read_runs

    runs, left_out = read_runs(find_runs(options.runs))
    for remark in left_out:
        print(remark, file=sys.stderr)
    found = compare_runs(runs, options.metrics)
    for remark in found.left_out:
        print(remark, file=sys.stderr)
    tables = [options.table] if options.table else list(TABLES)
    if options.format == "csv":
        text = to_csv(found, options.table or next(iter(TABLES)))
    else:
        text = (to_text if options.format == "text" else to_markdown)(found, tables)
    write_or_print(text, options.out)
    return FAILURES if left_out else DONE
