"""``train``: a model learns by a recipe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from imdl_bench.commands.options import DONE, FAILURES, Commands, positive, seed, whole
from imdl_bench.errors import TrainingError


def add_train(commands: Commands) -> None:
    command = commands.add_parser("train", help="train a model by a recipe", description=(
        "Trains MODEL on manipulations made on the fly from the photographs of --photos, or on the training split of a "
        "labelled data set (--data), and writes to --out: best.safetensors and last.safetensors (for --model "
        "MODEL@DIR/best.safetensors), losses.csv, validation.csv, curves.png, TensorBoard events, recipe.yaml as "
        "it was carried out, and last.ckpt. A stopped training goes on when the same command is given "
        "again."))  # fmt: skip
    command.add_argument("model", metavar="MODEL", help="NAME or NAME:KEY=VALUE,KEY=VALUE (settings: `show NAME`)")
    command.add_argument("--recipe", metavar="RECIPE", required=True,
                         help="a recipe of the model (paper, ...), unified (the same data and budget for all), or a YAML file")  # fmt: skip  # noqa: E501
    command.add_argument("--out", metavar="DIR", type=Path, required=True)
    command.add_argument("--photos", metavar="DIR", type=Path, help="photographs that manipulations are made of")
    command.add_argument("--data", metavar="NAME[:SPLIT]", help="labelled data set to learn from, for recipes that take one")  # fmt: skip  # noqa: E501
    command.add_argument("--data-root", metavar="DIR", type=Path, help="its folder")
    command.add_argument("--from", metavar="WEIGHTS", dest="start", help="weights to start from (default: random ones)")
    command.add_argument("--accept-licence", action="store_true",
                         help="you have read the licence of the weights and may use them")  # fmt: skip
    command.add_argument("--samples", metavar="N", type=positive, help="examples in all; the recipe's schedule is scaled")  # fmt: skip  # noqa: E501
    command.add_argument("--batch", metavar="N", type=positive, help="examples of a step (default: the recipe's)")
    command.add_argument("--accumulate", metavar="N", type=positive, default=1, help="parts of a step, one after the other")  # fmt: skip  # noqa: E501
    command.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    command.add_argument("--devices", metavar="N", type=positive, default=1, help="GPUs, or processes on the CPU")
    command.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="float32")
    command.add_argument("--workers", metavar="N", type=whole, help="processes that make examples (0: none of their own)")  # fmt: skip  # noqa: E501
    command.add_argument("--threads", metavar="N", type=positive, help="threads of the network on the CPU")
    command.add_argument("--checkpoint-minutes", metavar="N", type=positive, default=10, help="at most between two checkpoints")  # fmt: skip  # noqa: E501
    command.add_argument("--seed", metavar="N", type=seed, default=0, help="of weights, examples and draws")
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.set_defaults(
        command=_train,
        on_interrupt="What is learned is kept; give the same command again to go on from there.",
    )


def _train(options: argparse.Namespace) -> int:
    try:
        from imdl_bench.train.hardware import Hardware
        from imdl_bench.train.loop import train

        hardware = Hardware(
            options.device, options.devices, options.workers, options.threads, options.checkpoint_minutes,
            progress=not options.quiet,
        )  # fmt: skip
        trained = train(
            options.model, options.recipe, options.out, photos=options.photos, data=options.data,
            data_root=options.data_root, start=options.start, samples=options.samples, batch=options.batch,
            accumulate=options.accumulate, precision=options.precision, seed=options.seed,
            accept_licence=options.accept_licence, hardware=hardware,
        )  # fmt: skip
    except TrainingError as error:
        print(f"imdl-bench: {error}", file=sys.stderr)
        return FAILURES
    if not trained.first:
        return DONE
    if trained.new == 0:
        print("nothing to do: this training was already finished")
    print(trained)
    print(f"weights: {trained.best}")
    return DONE
