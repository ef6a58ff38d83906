"""What a grid of models, data sets and levels takes on 1 to 512 GPUs, from costs measured here.

    python benchmarks/simulate_scale.py measure --out costs.json [--model NAME ...]
    python benchmarks/simulate_scale.py predict --costs costs.json --gpus 1,8,64,512 [--grid grid.yaml] [--out FOLDER]
    python benchmarks/simulate_scale.py rows --model NAME --rows 1000,10000,100000
    python benchmarks/simulate_scale.py validate --out FOLDER

Measured: seconds of this machine's processor, bytes, operations per image. Assumed, by options: how fast a GPU carries
out operations, cores beside it, storage, network, failures. Every table says which is which.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread is what is measured

from scale.costs import Costs, read_costs, write_costs
from scale.grid import Cluster, Grid, Habits, cells_of, default_grid, read_grid
from scale.simulation import Outcome, simulate
from scale.tables import draw, table, write_csv

from imdl_bench import catalog
from imdl_bench.errors import ImdlBenchError

GPUS = "1,2,4,8,16,32,64,128,256,512"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 for a wrong call."""
    options = _options(arguments)
    try:
        return int(
            {"measure": _measure, "predict": _predict, "rows": _rows, "validate": _validate}[options.command](options)
        )
    except ImdlBenchError as error:
        print(error, file=sys.stderr)
        return 2


def _measure(options: argparse.Namespace) -> int:
    from scale.measuring import measure_costs

    sizes = [(int(width), int(height)) for width, height in (each.split("x") for each in options.sizes.split(","))]
    protocol = catalog.load_protocol(options.protocol)
    write_costs(measure_costs(options.model, protocol, sizes, options.repeats, options.ray), options.out)
    print(options.out)
    return 0


def _rows(options: argparse.Namespace) -> int:
    from scale.measuring import measure_rows

    titles = ("rows", "file MB", "write s", "read s", "sum up s", "export s", "held MB", "known MB")
    print("".join(f"{title:>10}" for title in titles))
    counts = [int(number) for number in options.rows.split(",")]
    for each in measure_rows(options.model, catalog.load_protocol(options.protocol), counts):
        seconds = (each.writing, each.reading, each.summing, each.exporting)
        numbers = (each.stored / 1e6, *seconds, each.held / 1e6, each.known / 1e6)
        print(f"{each.rows:>10}" + "".join(f"{number:>10.2f}" for number in numbers), flush=True)
    return 0


def _validate(options: argparse.Namespace) -> int:
    from scale.validation import validate

    workers = [int(number) for number in options.workers.split(",")]
    return validate(options.out, options.model, options.images, workers, options.rounds)


def _predict(options: argparse.Namespace) -> int:
    costs = read_costs(options.costs)
    grid = read_grid(options.grid) if options.grid else default_grid(costs)
    cluster = _cluster(options)
    gpus = [int(number) for number in options.gpus.split(",")]
    cases = {"engine": (cluster, Habits(remembered=options.remembered))}
    if options.ablations:
        cases |= _ablations(cluster)
    remark = describe(grid, costs, cluster, options.seed)
    print(remark)
    outcomes = {name: _outcomes(grid, costs, *case, gpus, options.seed, name) for name, case in cases.items()}
    if options.out:
        write_csv(options.out / "scale.csv", outcomes)
        draw(options.out / "scale.png", outcomes, remark)
        print(f"{options.out / 'scale.csv'}\n{options.out / 'scale.png'}")
    return 0


def _outcomes(
    grid: Grid, costs: Costs, cluster: Cluster, habits: Habits, gpus: Sequence[int], seed: int, name: str
) -> list[Outcome]:
    cells = cells_of(grid, costs, cluster, seed)
    found = [simulate(cells, grid, costs, replace(cluster, gpus=number), habits, seed) for number in gpus]
    print(f"\n{name}\n{table(found)}", flush=True)
    return found


def _ablations(cluster: Cluster) -> dict[str, tuple[Cluster, Habits]]:
    """One change each to the engine; below, to one whose driver neither merges pools nor writes rows nor sums up."""
    light = Habits(row_seconds=0.0, pool_seconds=0.0, finish_on_workers=True)
    return {
        "next shard before writing": (cluster, Habits(writes_first=False)),
        "pools merged for nothing": (cluster, Habits(pool_seconds=0.0)),
        "rows written for nothing": (cluster, Habits(row_seconds=0.0)),
        "shards of up to 600 s": (cluster, Habits(most_seconds=600.0)),
        "light driver": (cluster, light),
        "light, fixed shares": (cluster, replace(light, policy="static")),
        "light, cells in order": (cluster, replace(light, policy="in-order")),
        "light, shards of up to 20 s": (cluster, replace(light, most_seconds=20.0)),
        "light, shards of 30 s and more": (cluster, replace(light, least_seconds=30.0)),
        "light, object store of 20 GB/s": (replace(cluster, storage=20e9), light),
        "light, 32 cores per GPU": (replace(cluster, cores=32), light),
        "light, one decode for 4 models": (cluster, replace(light, sharing=4)),
        "light, one decode for all models": (cluster, replace(light, sharing=30)),
        "light, a node fails every 24 h": (replace(cluster, mtbf_hours=24.0), light),
        "light, 5 % of workers at half speed": (replace(cluster, slow=0.05), light),
        "light, fixed shares, 5 % at half speed": (replace(cluster, slow=0.05), replace(light, policy="static")),
    }


def describe(grid: Grid, costs: Costs, cluster: Cluster, seed: int) -> str:
    """What is simulated, and which figures were measured and which assumed."""
    speed = f"{cluster.flops / 1e12:g} TFLOP/s reached on networks" if cluster.flops else "none"
    about = ", ".join(f"{key} {value}" for key, value in costs.measured_on.items())
    failing = (
        f"a node of {cluster.per_node} fails every {cluster.mtbf_hours:g} h" if cluster.mtbf_hours else "no failures"
    )
    return (
        f"grid: {len(grid.models)} models x {len(grid.data)} data sets ({grid.images:,} images) x {len(grid.levels)} "
        f"levels = {len(grid.models) * grid.images * len(grid.levels):,} predictions; seed {seed}\n"
        f"measured: {about}\n"
        f"assumed: GPU {speed}; {cluster.cores} cores per worker, {cluster.cpu_speed:g} times as fast as measured; "
        f"storage {cluster.storage / 1e9:g} GB/s and network {cluster.network / 1e9:g} GB/s in all; "
        f"speeds of workers vary by {cluster.spread:.0%}, {cluster.slow:.0%} at half speed; {failing}"
    )


def _cluster(options: argparse.Namespace) -> Cluster:
    return Cluster(
        gpus=1,
        cores=options.cores,
        flops=None if options.processors else options.gpu_tflops * options.gpu_share * 1e12,
        cpu_speed=options.cpu_speed,
        storage=options.storage * 1e9,
        network=options.network * 1e9,
        mtbf_hours=options.mtbf_hours,
        slow=options.slow,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="costs of this machine")
    measure.add_argument("--out", type=Path, required=True)
    measure.add_argument("--model", action="append", default=[], help="repeatable; all that take single images")
    measure.add_argument("--protocol", default="robustness", help="whose levels (the first 30) and metrics")
    measure.add_argument("--sizes", default="256x256,512x512,1024x768", help="WIDTHxHEIGHT, with commas")
    measure.add_argument("--repeats", type=int, default=3, help="pictures of each size")
    measure.add_argument("--ray", type=int, default=1, metavar="N", help="N workers that start at once; 0: without Ray")
    _add_predict(commands.add_parser("predict", help="a table for each number of GPUs"))
    rows = commands.add_parser("rows", help="what a finished run takes, against its rows")
    rows.add_argument("--model", default="ela_ppm")
    rows.add_argument("--protocol", default="robustness", help="whose metrics")
    rows.add_argument("--rows", default="1000,10000,100000", help="with commas")
    validate = commands.add_parser("validate", help="against real runs of the ray engine on this machine")
    validate.add_argument("--out", type=Path, required=True)
    validate.add_argument("--model", default="psccnet")
    validate.add_argument("--images", type=int, default=36, help="of which two thirds are forged and count")
    validate.add_argument("--rounds", type=int, default=1)
    validate.add_argument("--workers", default="1,2")
    return parser.parse_args(arguments)


def _add_predict(predict: argparse.ArgumentParser) -> None:
    predict.add_argument("--costs", type=Path, required=True)
    predict.add_argument("--gpus", default=GPUS, help="numbers of workers, with commas")
    predict.add_argument("--grid", type=Path, default=None)
    predict.add_argument("--out", type=Path, default=None, help="folder for scale.csv and scale.png")
    predict.add_argument("--ablations", action="store_true", help="what each part of the engine is worth")
    predict.add_argument("--seed", type=int, default=0)
    predict.add_argument("--gpu-tflops", type=float, default=400.0, help="assumed peak of a GPU in the precision used")
    predict.add_argument("--gpu-share", type=float, default=0.25, help="assumed share of it that networks reach")
    predict.add_argument(
        "--processors", action="store_true", help="workers without GPU; networks cost what was measured"
    )
    predict.add_argument("--cores", type=int, default=8, help="threads of each worker")
    predict.add_argument("--cpu-speed", type=float, default=1.0, help="of a core, against the measured one")
    predict.add_argument("--storage", type=float, default=1.0, help="GB/s of all workers together")
    predict.add_argument("--network", type=float, default=1.25, help="GB/s into the driver")
    predict.add_argument("--mtbf-hours", type=float, default=None, help="mean time between failures of a node")
    predict.add_argument("--slow", type=float, default=0.0, help="share of workers at half speed")
    predict.add_argument("--remembered", action="store_true", help="all files were hashed by an earlier run")


if __name__ == "__main__":
    sys.exit(main())
