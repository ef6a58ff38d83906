"""``published``: numbers that papers print."""

from __future__ import annotations

import argparse

from imdl_bench.commands.options import DONE, Commands


def add_published(commands: Commands) -> None:
    command = commands.add_parser("published", help="numbers that papers print", description=(
        "Prints the numbers of results/published, all or those that carry the given words; likely misprints are marked "
        "and say why. Writes nothing."))  # fmt: skip
    command.add_argument("--paper", metavar="P", help="a file's name, such as pscc_net")
    command.add_argument("--table", metavar="T", help="as printed, such as 5 or II")
    command.add_argument("--dataset", metavar="D", help="the paper's word, such as NIST16")
    command.add_argument("--method", metavar="M", help="the paper's word, such as ManTra-Net")
    command.add_argument("--format", choices=["text", "csv", "md"], default="text")
    command.set_defaults(command=_published)


def _published(options: argparse.Namespace) -> int:
    from imdl_bench.published import read_published, select, to_csv, to_markdown, to_text

    wanted = {"table": options.table, "dataset": options.dataset, "method": options.method}
    draw = {"text": to_text, "md": to_markdown, "csv": to_csv}[options.format]
    print(draw(select(read_published(options.paper), wanted)).rstrip("\n"))
    return DONE
