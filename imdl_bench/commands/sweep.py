"""``sweep``: run a protocol of distortions and draw what they do."""

from __future__ import annotations

import argparse
import sys
import time

from imdl_bench.commands.options import Commands
from imdl_bench.commands.run import add_run_options, chosen_protocol, run_protocol, show_result


def add_sweep(commands: Commands) -> None:
    command = commands.add_parser("sweep", help="run a protocol of distortions and draw what they do", description=(
        "Does what `run` does, with the same options, for a PROTOCOL that has levels of distortion; then writes "
        "DIR/sweeps/PROTOCOL-DATASET-METRIC.png and .svg: each metric over the levels, the models of this command "
        "beside every other finished run of the same protocol and images under DIR/runs."))  # fmt: skip
    add_run_options(command)
    command.set_defaults(command=_sweep)


def _sweep(options: argparse.Namespace) -> int:
    from imdl_bench.sweep import draw_sweep, refuse_without_levels

    started = time.perf_counter()
    protocol = chosen_protocol(options)
    refuse_without_levels(protocol)
    result = run_protocol(protocol, options)
    code = show_result(result)
    drawn = draw_sweep(result, options.out)
    for remark in drawn.left_out:
        print(f"not drawn: {remark}", file=sys.stderr)
    for path in drawn.files:
        print(f"figure:      {path}")
    print(f"{len(drawn.beside)} earlier runs drawn beside these; {time.perf_counter() - started:.1f} s")
    return code
