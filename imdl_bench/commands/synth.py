"""``synth``: make a data set out of photographs of one's own, or write the examples that a training streams."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from imdl_bench import catalog
from imdl_bench.commands.options import DONE, Commands, positive, seed
from imdl_bench.errors import UsageError, nearest


def add_synth(commands: Commands) -> None:
    command = commands.add_parser("synth", help="make a data set from your photographs", description=(
        "Makes the data set NAME from every picture under --photos and writes it to --out, its manifest last. NAME may "
        "also be a mix that networks are trained on: its examples are then written for the data set `folder`, or "
        "`pairs`. Pictures that cannot be read are named and left out. A stopped command goes on when it is given "
        "again; with a larger --count, more are added."))  # fmt: skip
    command.add_argument("name", metavar="NAME", help="a data set whose card has a line `make`, or a mix such as unified")  # fmt: skip  # noqa: E501
    command.add_argument("--photos", metavar="DIR", type=Path, required=True, help="folder of photographs")
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="new folder for the data set")
    command.add_argument("--count", metavar="N", type=positive, help="in each of its sets (default: as many as the paper has); of a mix: examples")  # fmt: skip  # noqa: E501
    command.add_argument("--seed", metavar="N", type=seed, default=0)
    command.add_argument("--side", metavar="N", type=positive, help="of a mix: height and width of its examples (default: 256)")  # fmt: skip  # noqa: E501
    command.add_argument("--part", choices=("all", "training", "held-out"), help="of a mix: which photographs (default: all); held-out is the last tenth by name")  # fmt: skip  # noqa: E501
    command.set_defaults(
        command=_synth,
        on_interrupt="What is made is kept; give the same command again to go on from there.",
    )


def _synth(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    make = _maker(options)
    with tqdm(desc=options.name, file=sys.stderr, disable=None) as bar:

        def progress(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        remarks = make(options.photos, options.out, count=options.count, seed=options.seed, progress=progress)
    for remark in remarks:
        print(remark, file=sys.stderr)
    print(f"written: {options.out}")
    return DONE


def _maker(options: argparse.Namespace) -> Callable[..., list[str]]:
    from imdl_bench.synthesis.folders import write_folder
    from imdl_bench.synthesis.mixes import list_mixes

    if options.name not in list_mixes():
        try:
            make = catalog.dataset_maker(options.name)
        except UsageError as error:
            raise UsageError(
                f"{error}; mixes: {', '.join(list_mixes())}{nearest(options.name, list_mixes())}"
            ) from None
        if options.side or options.part:
            raise UsageError(f"--side and --part are for mixes ({', '.join(list_mixes())}); {options.name} has its own")
        return make
    if options.count is None:
        raise UsageError(f"{options.name} is a mix without an end: give --count N")
    return partial(write_folder, options.name, side=options.side or 256, part=options.part or "all")
