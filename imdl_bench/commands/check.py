"""``check``: is a copy of a data set complete and sane?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imdl_bench.commands.options import DONE, FAILURES, Commands, positive
from imdl_bench.errors import UsageError


def add_check(commands: Commands) -> None:
    command = commands.add_parser("check", help="compare a data folder with its card", description=(
        "Prints expected and found counts, missing and extra files, sizes that differ, wrong polarity, empty or full "
        "masks, duplicates and train/test leakage. Writes the same table to --csv FILE. Exit code 1 where an error "
        "was found."))  # fmt: skip
    command.add_argument("dataset", metavar="DATASET")
    command.add_argument("--data", metavar="DIR", type=Path, help="the data set's folder or list file")
    command.add_argument("--split", default="full")
    command.add_argument("--split-file", metavar="FILE", type=Path, help="list to use in place of the published one")
    command.add_argument("--csv", metavar="FILE", type=Path)
    command.add_argument("--workers", type=positive)
    command.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from imdl_bench.check import check
    from imdl_bench.records import default_workers

    if options.data is not None and not options.data.exists():
        raise UsageError(f"{options.data} does not exist")
    workers = options.workers or default_workers()
    with tqdm(desc=options.dataset, unit="file", file=sys.stderr, disable=None) as bar:
        report = check(
            options.dataset, options.data, options.split, options.split_file, workers=workers, progress=bar.update
        )
    print(report.table())
    if options.csv:
        report.to_csv(options.csv)
        print(f"written: {options.csv}")
    return DONE if report.ok else FAILURES
