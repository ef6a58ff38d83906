"""``check``: is a copy of a data set complete and sane, and does it share photographs with another?"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imdl_bench.commands.options import DONE, FAILURES, Commands, positive, whole
from imdl_bench.errors import UsageError

if TYPE_CHECKING:
    from imdl_bench.check import CheckReport
    from imdl_bench.dataset import Dataset
    from imdl_bench.near_duplicates import NearDuplicates


def add_check(commands: Commands) -> None:
    command = commands.add_parser("check", help="compare a data folder with its card", description=(
        "Prints expected and found counts, missing and extra files, sizes that differ, wrong polarity, empty or full "
        "masks, duplicates and train/test leakage. Writes the same table to --csv FILE. Exit code 1 where an error "
        "was found. With --against or --against-data: the pairs of images that look alike in two data sets "
        "(recompressed, resized, lightly edited, mirrored), and exit code 1 where there are any "
        "(docs/near_duplicates.md)."))  # fmt: skip
    command.add_argument("dataset", metavar="DATASET")
    command.add_argument("--data", metavar="DIR", type=Path, help="the data set's folder or list file")
    command.add_argument("--split", default="full")
    command.add_argument("--split-file", metavar="FILE", type=Path, help="list to use in place of the published one")
    command.add_argument("--csv", metavar="FILE", type=Path)
    command.add_argument("--workers", type=positive)
    command.add_argument(
        "--against", metavar="DATASET", help="look for photographs of DATASET; the same one: inside it"
    )
    command.add_argument("--against-data", metavar="DIR", type=Path,
                         help="the folder or list file of --against; without that: any folder of pictures")  # fmt: skip
    command.add_argument("--distance", metavar="N", type=partial(whole, most=32),
                         help="with --against: bits of 64 that may differ (default 6)")  # fmt: skip
    command.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    if options.data is not None and not options.data.exists():
        raise UsageError(f"{options.data} does not exist")
    against = options.against is not None or options.against_data is not None
    if options.distance is not None and not against:
        raise UsageError("--distance goes with --against DATASET or --against-data DIR")
    report = _compare(options) if against else _look(options)
    print(report.table())
    if options.csv:
        report.to_csv(options.csv)
        print(f"written: {options.csv}")
    return DONE if report.ok else FAILURES


def _look(options: argparse.Namespace) -> CheckReport:
    from tqdm import tqdm

    from imdl_bench.check import check
    from imdl_bench.records import default_workers

    workers = options.workers or default_workers()
    with tqdm(desc=options.dataset, unit="file", file=sys.stderr, disable=None) as bar:
        return check(
            options.dataset, options.data, options.split, options.split_file, workers=workers, progress=bar.update
        )


def _compare(options: argparse.Namespace) -> NearDuplicates:
    from tqdm import tqdm

    from imdl_bench.dataset import load_dataset
    from imdl_bench.near_duplicates import DISTANCE, near_duplicates
    from imdl_bench.records import default_workers

    first = load_dataset(options.dataset, options.data, options.split, split_file=options.split_file)
    inside = options.against == options.dataset and options.against_data in (None, options.data)
    second = None if inside else _other(options.against, options.against_data)
    distance = DISTANCE if options.distance is None else options.distance
    names = f"{options.dataset}, {options.against or options.against_data}"
    with tqdm(desc=names, unit="file", file=sys.stderr, disable=None) as bar:
        workers = options.workers or default_workers()
        return near_duplicates(first, second, distance=distance, workers=workers, progress=bar.update)


def _other(name: str | None, place: Path | None) -> Dataset | Path:
    """The data set to compare with, or, without a name, a folder of pictures."""
    from imdl_bench.dataset import load_dataset

    if name is not None:
        return load_dataset(name, place)
    if place is None or not place.is_dir():
        raise UsageError(f"--against-data {place}: no such folder; a list of images needs --against DATASET too")
    return place
