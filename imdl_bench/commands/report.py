"""``report``: finished runs as one HTML file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imdl_bench.commands.options import DONE, FAILURES, Commands, whole


def add_report(commands: Commands) -> None:
    command = commands.add_parser("report", help="make one HTML file of finished runs", description=(
        "Writes one self-contained HTML file with every run under RUN (a file or folder): leaderboard, figures, a "
        "gallery of photographs and masks, every image, and how each number was made. Photographs are read again from "
        "where the runs found them. Unfinished runs are left out and named on standard error; the exit code is then "
        "1."))  # fmt: skip
    command.add_argument("runs", metavar="RUN", nargs="+", type=Path)
    command.add_argument("-o", "--out", metavar="FILE", type=Path, default=Path("report.html"))
    command.add_argument("--gallery", metavar="N", type=whole, default=4,
                         help="images on each shelf of the gallery; 0 leaves it out (default 4)")  # fmt: skip
    command.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> int:
    from imdl_bench.report import write_report

    report = write_report(options.runs, options.out, gallery=options.gallery)
    for reason in report.left_out:
        print(f"left out: {reason}", file=sys.stderr)
    for reason in report.missing:
        print(f"without photographs: {reason}", file=sys.stderr)
    print(f"{report.path}: {report.n_runs} runs, {report.size / 1e6:.1f} MB")
    return FAILURES if report.left_out else DONE
