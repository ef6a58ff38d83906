"""``weights``: fetch them, or convert them to safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path

from imdl_bench import catalog
from imdl_bench.commands.options import DONE, MODEL_HELP, Commands, seed
from imdl_bench.errors import UsageError


def add_weights(commands: Commands) -> None:
    command = commands.add_parser("weights", help="fetch weights, or convert them to safetensors", description=(
        "fetch downloads a set of weights that the model's card names, verifies it and prints where it lies; convert "
        "writes any weights that --model takes as one safetensors file with its provenance."))  # fmt: skip
    actions = command.add_subparsers(required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download and verify, for machines that will have no network")
    fetch.add_argument("model", metavar="NAME@WEIGHTS")
    fetch.add_argument("--accept-licence", action="store_true")
    fetch.set_defaults(command=_fetch_weights)
    convert = actions.add_parser("convert", help="write one safetensors file with its provenance")
    convert.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    convert.add_argument("--out", metavar="FILE.safetensors", type=Path, required=True)
    convert.add_argument("--accept-licence", action="store_true")
    convert.add_argument("--seed", metavar="N", type=seed, default=0, help="of random weights")
    convert.add_argument("--half", action="store_true", help="float16: half the size; masks change in the third digit")
    convert.set_defaults(command=_convert_weights)


def _fetch_weights(options: argparse.Namespace) -> int:
    from imdl_bench.model_spec import ModelSpec
    from imdl_bench.weights import fetch_weights

    spec = ModelSpec.parse(options.model)
    card = catalog.model_card(spec.name)
    if spec.weights is None or spec.weights not in (card.weights or {}):
        known = ", ".join(card.weights or {}) or "none"
        raise UsageError(f"{options.model}: the card of {spec.name} has these weights: {known}")
    folder = catalog.model_folder(card.name)
    for path in fetch_weights(card, spec.weights, accept_licence=options.accept_licence, folder=folder):
        print(path)
    return DONE


def _convert_weights(options: argparse.Namespace) -> int:
    catalog.convert_weights(
        options.model, options.out, seed=options.seed, accept_licence=options.accept_licence, half=options.half
    )
    print(f"written: {options.out}")
    return DONE
