"""``imdl-bench``: parse, call, print. Exit codes: 0 done, 1 finished with failures recorded, 2 wrong usage or input."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import imdl_bench
from imdl_bench.commands.catalogue import add_list, add_show
from imdl_bench.commands.check import add_check
from imdl_bench.commands.compare import add_compare
from imdl_bench.commands.leaderboard import add_leaderboard
from imdl_bench.commands.options import DONE, INTERRUPTED, WRONG
from imdl_bench.commands.plot import add_plot
from imdl_bench.commands.predict import add_predict
from imdl_bench.commands.published import add_published
from imdl_bench.commands.report import add_report
from imdl_bench.commands.run import add_run
from imdl_bench.commands.sweep import add_sweep
from imdl_bench.commands.synth import add_synth
from imdl_bench.commands.train import add_train
from imdl_bench.commands.weights import add_weights
from imdl_bench.errors import ImdlBenchError, nearest


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console script; always leaves through an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of any script, also where the terminal knows ASCII only
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options)
        sys.stdout.flush()
    except ImdlBenchError as error:
        print(f"imdl-bench: {error}", file=sys.stderr)
        code = WRONG
    except BrokenPipeError:  # `imdl-bench list models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    except KeyboardInterrupt:
        print(f"\nimdl-bench: stopped. {getattr(options, 'on_interrupt', '')}".rstrip(), file=sys.stderr)
        code = INTERRUPTED
    except OSError as error:
        print(f"imdl-bench: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        code = WRONG
    sys.exit(code)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest right word; the usage is what ``--help`` is for."""

    def error(self, message: str) -> NoReturn:
        found = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        hint = nearest(found[1], re.findall(r"[\w-]+", found[2])) if found else ""
        self.exit(WRONG, f"{self.prog}: {message}{hint} (all options: `{self.prog} --help`)\n")

    def parse_known_args(
        self, args: Any = None, namespace: Any = None
    ) -> Any:  # a command's parser is asked by this one
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"no option {unknown[0]!r}{nearest(unknown[0], self._options())}")
        return found, unknown

    def _options(self) -> Iterable[str]:
        return [name for action in self._actions for name in action.option_strings]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="imdl-bench", description="Compare image-manipulation detectors; every number says how it was made."
    )
    parser.add_argument("--version", action="version", version=f"imdl-bench {imdl_bench.__version__}")
    commands: Any = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        *(add_list, add_show, add_check, add_predict),
        *(add_run, add_sweep, add_leaderboard, add_compare, add_report, add_plot),
        *(add_published, add_synth, add_train, add_weights),
    ):
        add(commands)
    return parser
