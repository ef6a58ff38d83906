"""Measure imdl-bench on this machine: ratios to plain references, both measured by turns in one run.

    python benchmarks/run.py                                  # every group; minutes to an hour, see --budget
    python benchmarks/run.py --quick                          # small sizes, few rounds: does it work?
    python benchmarks/run.py --only networks --only metrics --out mine.json
    python benchmarks/run.py --compare mine.json              # measure again, then show what moved
    python benchmarks/run.py --compare old.json new.json      # measure nothing, show what moved between two files

What the columns mean: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compare import print_changes
from growth_figures import draw
from measurement import (
    Growth,
    Measurement,
    Report,
    Settings,
    read_report,
    row_from_json,
    settings_from_json,
    write_report,
)
from table import print_heading, print_left_out, print_machine, print_row

GROUPS = ("networks", "metrics", "path", "sweep", "growth")
FOLDER = Path(__file__).resolve().parent
QUICK = Settings(quick=True, rounds=3, budget=4.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 0 done, 1 a group failed, 2 wrong usage, 130 stopped by Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        known = [read_report(path) for path in options.compare or ()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"--compare: {error}")
    if len(known) == 2:
        print_changes(known[0], known[1])
        return 0
    try:
        report, failed = _measure(options.only or GROUPS, _settings(options), options.out)
    except KeyboardInterrupt:
        print("stopped; --out has the groups that were done", file=sys.stderr)
        return 130
    print_left_out(report.left_out)
    if options.figures is not None:
        for path in draw(report.growths, options.figures):
            print(f"wrote {path}", file=sys.stderr)
    if known:
        print_changes(known[0], report)
    return 1 if failed else 0


def _measure(groups: Sequence[str], settings: Settings, out: Path | None) -> tuple[Report, bool]:
    """The report, and whether a group failed; written after each group, because a long run may be stopped."""
    report, failed = Report({}, settings), False
    with _environment() as environment:
        for group in groups:
            print(f"measuring {group} ...", file=sys.stderr, flush=True)
            failed |= not _measure_group(group, report, environment)
            if out is not None:
                write_report(report, out)
    return report, failed


def _measure_group(group: str, report: Report, environment: dict[str, str]) -> bool:
    """Rows of one group, added and printed as they come; whether it came to its end."""
    command = [sys.executable, str(FOLDER / "group.py"), group, json.dumps(asdict(report.settings))]
    heading: type | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            content: dict[str, Any] = json.loads(line)
            if content["row"] == "machine":
                _told_once(report, {key: value for key, value in content.items() if key != "row"})
                continue
            row = row_from_json(content)
            report.add(row)
            if isinstance(row, (Measurement, Growth)):
                if type(row) is not heading:
                    print_heading(group, type(row))
                heading = type(row)
                print_row(row)
    if process.returncode:
        print(f"{group}: stopped with exit code {process.returncode}; its words stand above", file=sys.stderr)
    return process.returncode == 0


def _told_once(report: Report, machine: dict[str, Any]) -> None:
    if not report.machine:
        report.machine = machine
        print_machine(machine)


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """One thread, the null model, and a cache of its own; the imdl_bench of this checkout unless PYTHONPATH leads."""
    with tempfile.TemporaryDirectory() as cache:
        places = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
        own = {
            "IMDL_BENCH_PATH": str(FOLDER / "plugin"),
            "IMDL_BENCH_CACHE": cache,
            "PYTHONPATH": os.pathsep.join([*places, str(FOLDER.parent)]),
        }
        threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        yield os.environ | own | dict.fromkeys(threads, "1")


def _settings(options: argparse.Namespace) -> Settings:
    plain = QUICK if options.quick else Settings()
    given = {name: getattr(options, name) for name in ("rounds", "budget", "memory_gib", "models", "compiled")}
    return settings_from_json(asdict(plain) | {name: value for name, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="GROUP", help=f"one of {', '.join(GROUPS)}; repeatable")  # fmt: skip  # noqa: E501
    parser.add_argument("--model", dest="models", action="append", metavar="NAME", help="only this network; repeatable")
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds; under two minutes")
    parser.add_argument("--rounds", type=_positive(int), help="at most so many rounds of each measurement (7)")
    parser.add_argument("--budget", type=_positive(float), metavar="SECONDS", help="CPU seconds of one cell's rounds (20); what takes longer is measured once, or left out and listed")  # fmt: skip  # noqa: E501
    parser.add_argument("--memory-gib", type=_positive(float), metavar="GIB", help="what a network's process may hold (8)")  # fmt: skip  # noqa: E501
    parser.add_argument("--compiled", action="store_true", default=None, help="networks through torch.compile too, which takes minutes to start")  # fmt: skip  # noqa: E501
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the numbers here")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="draw the growth here, as SVG and PNG")
    parser.add_argument("--compare", type=Path, nargs="+", action=_OneOrTwo, metavar="OLD.json [NEW.json]", help="show what moved since OLD.json")  # fmt: skip  # noqa: E501
    return parser


class _OneOrTwo(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        if len(values) > 2:
            parser.error("--compare takes one file, or two")
        setattr(namespace, self.dest, values)


def _positive(kind: type[int] | type[float]) -> Any:
    def read(text: str) -> int | float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return read


if __name__ == "__main__":
    sys.exit(main())
