"""``synth``: make a data set out of photographs of one's own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imdl_bench import catalog
from imdl_bench.commands.options import DONE, Commands, positive, seed


def add_synth(commands: Commands) -> None:
    command = commands.add_parser("synth", help="make a data set from your photographs", description=(
        "Makes the data set NAME from every picture under --photos and writes it to --out, its manifest last. Pictures "
        "that cannot be read are named and left out. A stopped command goes on when it is given again; with a larger "
        "--count, more are added."))  # fmt: skip
    command.add_argument("name", metavar="NAME", help="a data set whose card has a line `make`")
    command.add_argument("--photos", metavar="DIR", type=Path, required=True, help="folder of photographs")
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="new folder for the data set")
    command.add_argument("--count", metavar="N", type=positive, help="in each of its sets (default: as many as the paper has)")  # fmt: skip  # noqa: E501
    command.add_argument("--seed", metavar="N", type=seed, default=0)
    command.set_defaults(
        command=_synth,
        on_interrupt="What is made is kept; give the same command again to go on from there.",
    )


def _synth(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    make = catalog.dataset_maker(options.name)
    with tqdm(desc=options.name, file=sys.stderr, disable=None) as bar:

        def progress(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        remarks = make(options.photos, options.out, count=options.count, seed=options.seed, progress=progress)
    for remark in remarks:
        print(remark, file=sys.stderr)
    print(f"written: {options.out}")
    return DONE
