"""``leaderboard``: finished runs as one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imdl_bench.commands.options import DONE, FAILURES, Commands, write_or_print

ENDINGS = {".txt": "text", ".md": "md", ".tex": "latex"}


def add_leaderboard(commands: Commands) -> None:
    command = commands.add_parser("leaderboard", help="put finished runs into one table", description=(
        "Reads every run under RUN (a file or folder) and prints one table, or writes it to --out FILE. Unfinished "
        "runs are left out and named on standard error; the exit code is then 1."))  # fmt: skip
    command.add_argument("runs", metavar="RUN", nargs="+", type=Path)
    command.add_argument("--format", choices=["text", "csv", "md", "latex"],
                         help="by default what the ending of --out says (.txt, .csv, .md, .tex), else csv")  # fmt: skip
    command.add_argument("--metric", metavar="M", action="append", dest="metrics",
                         help="only this metric (repeatable), such as pixel_f1@best/per-image")  # fmt: skip
    command.add_argument("--out", metavar="FILE", type=Path)
    command.add_argument("--timing", action="store_true", help="fill seconds_per_image")
    command.set_defaults(command=_leaderboard)


def _leaderboard(options: argparse.Namespace) -> int:
    from imdl_bench.leaderboard import of_metrics, read_lines
    from imdl_bench.runs import find_runs
    from imdl_bench.tables import to_csv, to_latex, to_markdown, to_text

    lines, left_out = read_lines(find_runs(options.runs))
    for remark in left_out:
        print(remark, file=sys.stderr)
    lines = of_metrics(lines, options.metrics)
    draw = {"text": to_text, "md": to_markdown, "latex": to_latex}
    kind = options.format or (ENDINGS.get(options.out.suffix.lower(), "csv") if options.out else "csv")
    text = to_csv(lines, timing=options.timing) if kind == "csv" else draw[kind](lines)
    write_or_print(text, options.out)
    return FAILURES if left_out else DONE
