"""``predict``: masks and scores of single photographs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from imdl_bench.commands.options import DONE, FAILURES, MODEL_HELP, Commands, add_model_options, seed
from imdl_bench.errors import UsageError


def add_predict(commands: Commands) -> None:
    command = commands.add_parser("predict", help="masks and scores of single photographs", description=(
        "For each IMAGE writes to --out: NAME.mask.png (16 bit, 65535 = forged), NAME.overlay.png (the photograph with "
        "the mask over it, for the eye) and NAME.json (score, settings, versions); of a pair model also "
        "NAME.donor_mask.png and NAME.donor_overlay.png. A file that cannot be read is "
        "reported, the others go on, and the exit code is 1."))  # fmt: skip
    command.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    command.add_argument("images", metavar="IMAGE", nargs="+", type=Path)
    command.add_argument("--donor", metavar="IMAGE", action="append", default=[], type=Path, dest="donors",
                         help="second image of a pair model, once for each IMAGE, in order")  # fmt: skip
    command.add_argument("--weights", metavar="WEIGHTS",
                         help="a name from the card, random, official:PATH or FILE.safetensors")  # fmt: skip
    command.add_argument("--out", metavar="DIR", type=Path, default=Path("predictions"))
    add_model_options(command)
    command.add_argument("--seed", metavar="N", type=seed, default=0, help="of random weights")
    command.set_defaults(command=_predict, on_interrupt="What was written is whole.")


def _predict(options: argparse.Namespace) -> int:
    from imdl_bench.predict import predict_files

    if options.weights is not None and "@" in options.model:
        raise UsageError(f"{options.model} and --weights {options.weights}: give the weights once")
    model = options.model if options.weights is None else f"{options.model}@{options.weights}"
    failures, written = 0, None
    for path, outcome in predict_files(
        model, options.images, options.out, donors=options.donors, device=options.device, precision=options.precision,
        compile=options.compile, seed=options.seed, accept_licence=options.accept_licence,
    ):  # fmt: skip
        failures += isinstance(outcome, str)
        print(f"{path}: {outcome}" if isinstance(outcome, str) else f"{path} -> {outcome}")
        written = outcome if isinstance(outcome, Path) else written
    if written and json.loads(written.read_text())["settings"].get("untrained"):
        print("untrained: random weights; these masks and scores mean nothing")
    return FAILURES if failures else DONE
