"""``imdl-bench``: parse, call, print. Exit codes: 0 done, 1 finished with failures recorded, 2 wrong usage or input."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import imdl_bench
from imdl_bench import catalog
from imdl_bench.errors import ImdlBenchError, UsageError, nearest

DONE, FAILURES, WRONG, INTERRUPTED = 0, 1, 2, 130


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imdl-bench", description="Compare image-manipulation detectors; every number says how it was made."
    )
    parser.add_argument("--version", action="version", version=f"imdl-bench {imdl_bench.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        *(_add_list, _add_show, _add_check, _add_predict),
        *(_add_run, _add_leaderboard, _add_published, _add_weights),
    ):
        add(commands)
    return parser


def _add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("list", help="names of models, datasets, protocols or metrics", description=(
        "Prints one name per line with its title. Writes nothing."))  # fmt: skip
    command.add_argument("what", choices=["models", "datasets", "protocols", "metrics"])
    command.set_defaults(command=_list)


def _list(options: argparse.Namespace) -> int:
    from imdl_bench.metrics.names import PIXEL_RULES, SCORE_RULES

    for name, title in _titles(options.what):
        print(f"{name:<26} {title}".rstrip())
    if options.what == "metrics":
        print("\nwritten statistic[rule]@threshold/average, such as pixel_f1@best/per-image or image_tpr@fpr0.01")
        print("thresholds: a number, best, eer, best-set, eer-set; averages of pixels: per-image, pooled")
        print(f"rules of pixels: {', '.join(PIXEL_RULES)}; of images: {', '.join(SCORE_RULES)}")
    return DONE


def _titles(what: str) -> list[tuple[str, str]]:
    if what == "metrics":
        from imdl_bench.metrics.names import METRICS

        return [(f"{level}_{name}", row.about) for level in ("pixel", "image") for name, row in METRICS.items() if level in row.levels]  # fmt: skip  # noqa: E501
    if what == "models":
        return [(name, catalog.model_card(name).title) for name in catalog.list_models()]
    if what == "datasets":
        return [(name, catalog.dataset_card(name).title) for name in catalog.list_datasets()]
    return [(name, catalog.load_protocol(name).title) for name in catalog.list_protocols()]


def _add_show(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("show", help="the card of a model, data set or protocol", description=(
        "Prints the card of NAME and, where there is one, its README. Writes nothing."))  # fmt: skip
    command.add_argument("name", metavar="NAME")
    command.set_defaults(command=_show)


def _show(options: argparse.Namespace) -> int:
    kinds = {
        "models": catalog.list_models(),
        "datasets": catalog.list_datasets(),
        "protocols": catalog.list_protocols(),
    }
    found = [kind for kind, names in kinds.items() if options.name in names]
    if not found:
        known = [name for names in kinds.values() for name in names]
        raise UsageError(f"nothing is called {options.name!r}{nearest(options.name, known)}")
    for kind in found:
        path = catalog.card_path(kind, options.name)
        print(f"# {kind[:-1]} {options.name}  ({path})\n{path.read_text(encoding='utf-8').rstrip()}\n")
        readme = path.parent / "README.md"
        if kind != "protocols" and readme.is_file():
            print(readme.read_text(encoding="utf-8").rstrip() + "\n")
    return DONE


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("check", help="compare a data folder with its card", description=(
        "Prints expected and found counts, missing and extra files, sizes that differ, wrong polarity, empty or full "
        "masks, duplicates and train/test leakage. Writes the same table to --csv FILE. Exit code 1 where an error "
        "was found."))  # fmt: skip
    command.add_argument("dataset", metavar="DATASET")
    command.add_argument("--data", metavar="DIR", type=Path, help="the data set's folder or list file")
    command.add_argument("--split", default="full")
    command.add_argument("--split-file", metavar="FILE", type=Path, help="list to use in place of the published one")
    command.add_argument("--csv", metavar="FILE", type=Path)
    command.add_argument("--workers", type=_positive)
    command.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from imdl_bench.check import check
    from imdl_bench.records import default_workers

    if options.data is not None and not options.data.exists():
        raise UsageError(f"{options.data} does not exist")
    workers = options.workers or default_workers()
    with tqdm(desc=options.dataset, unit="file", file=sys.stderr, disable=None) as bar:
        report = check(
            options.dataset, options.data, options.split, options.split_file, workers=workers, progress=bar.update
        )
    print(report.table())
    if options.csv:
        report.to_csv(options.csv)
        print(f"written: {options.csv}")
    return DONE if report.ok else FAILURES


MODEL_HELP = "NAME, NAME@WEIGHTS or NAME:KEY=VALUE,KEY=VALUE@WEIGHTS (settings and weights: `show NAME`)"


def _add_model_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="cpu", help="where networks run: cpu, cuda, cuda:1")
    command.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="float32",
                         help="arithmetic of networks")  # fmt: skip
    command.add_argument("--accept-licence", action="store_true",
                         help="you have read the licence of the weights and may use them")  # fmt: skip


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    _add_model_options(command)
    command.add_argument("--seed", metavar="N", type=_seed, default=0, help="of random weights")
    command.set_defaults(command=_predict, on_interrupt="What was written is whole.")


def _predict(options: argparse.Namespace) -> int:
    from imdl_bench.predict import predict_files

    if options.weights is not None and "@" in options.model:
        raise UsageError(f"{options.model} and --weights {options.weights}: give the weights once")
    model = options.model if options.weights is None else f"{options.model}@{options.weights}"
    failures, written = 0, None
    for path, outcome in predict_files(
        model, options.images, options.out, donors=options.donors, device=options.device, precision=options.precision,
        seed=options.seed, accept_licence=options.accept_licence,
    ):  # fmt: skip
        failures += isinstance(outcome, str)
        print(f"{path}: {outcome}" if isinstance(outcome, str) else f"{path} -> {outcome}")
        written = outcome if isinstance(outcome, Path) else written
    if written and json.loads(written.read_text())["settings"].get("untrained"):
        print("untrained: random weights; these masks and scores mean nothing")
    return FAILURES if failures else DONE


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("run", help="score models under a protocol", description=(
        "Writes DIR/leaderboards/PROTOCOL.csv (what this command ran, one number per line), "
        "DIR/runs/PROTOCOL/MODEL/.../run.sqlite (the "
        "record) with rows.csv and rows.parquet (one image per line), and prints the table. A stopped run goes on when "
        "the same command is given again; a finished one is returned at once. Images that cannot be scored are "
        "recorded with their reason, and the exit code is 1."))  # fmt: skip
    command.add_argument("protocol", metavar="PROTOCOL", help="a name from `list protocols`, or a YAML file")
    command.add_argument("--model", metavar="MODEL", action="append", default=[], help=MODEL_HELP)
    command.add_argument("--data", metavar="[NAME=]DIR", action="append", default=[],
                         help="folder that holds the data sets, or one data set's own folder (repeatable)")  # fmt: skip
    command.add_argument("--dataset", metavar="NAME", action="append", default=[], help="only this part of PROTOCOL")
    command.add_argument("--split-file", metavar="NAME=FILE", action="append", default=[],
                         help="list to use in place of the published one of data set NAME")  # fmt: skip
    command.add_argument("--out", metavar="DIR", type=Path, default=Path("results"))
    command.add_argument("--limit", metavar="N", type=_positive, help="at most N samples per split, evenly spaced")
    _add_model_options(command)
    command.add_argument("--batch-size", metavar="N", type=_positive, default=8)
    command.add_argument("--workers", metavar="N", type=_positive, help="threads that decode and score")
    command.add_argument("--seed", metavar="N", type=_seed, default=0, help="of the bootstrap and of random weights")
    command.add_argument("--timing", action="store_true", help="fill the seconds in the CSV files (they then differ from run to run)")  # fmt: skip  # noqa: E501
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.set_defaults(
        command=_run,
        on_interrupt="What is scored is kept; give the same command again to go on from there.",
    )


def _run(options: argparse.Namespace) -> int:
    from imdl_bench.benchmark import run

    protocol = catalog.load_protocol(options.protocol)
    if options.dataset:
        chosen = [line for line in protocol.data if line.dataset in options.dataset]
        known = [line.dataset for line in protocol.data]
        for name in options.dataset:
            if name not in known:
                raise UsageError(f"{protocol.name} has no data set {name!r}{nearest(name, known)}")
        protocol = protocol.model_copy(update={"data": chosen})
    result = run(
        protocol, options.model, _data(options.data),
        out=options.out, limit=options.limit, device=options.device, precision=options.precision,
        accept_licence=options.accept_licence, batch_size=options.batch_size,
        workers=options.workers, seed=options.seed, split_files=_named_paths(options.split_file, "--split-file"),
        timing=options.timing, progress=not options.quiet,
    )  # fmt: skip
    print(result)
    if result.n_new == 0:
        print("nothing to do: this run was already finished")
    print(f"leaderboard: {result.leaderboard}")
    for path in result.runs:
        print(f"per image:   {path.with_name('rows.csv')}")
    if result.n_failed:
        print(
            f"{result.n_failed} images could not be scored; their reasons stand in rows.csv "
            "(to try them again, delete the run's folder)",
            file=sys.stderr,
        )
    return FAILURES if result.n_failed else DONE


def _add_leaderboard(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("leaderboard", help="put finished runs into one table", description=(
        "Reads every run under RUN (a file or folder) and prints one table, or writes it to --out FILE. Unfinished "
        "runs are left out and named on standard error; the exit code is then 1."))  # fmt: skip
    command.add_argument("runs", metavar="RUN", nargs="+", type=Path)
    command.add_argument("--format", choices=["text", "csv", "md", "latex"], default="csv")
    command.add_argument("--out", metavar="FILE", type=Path)
    command.add_argument("--timing", action="store_true", help="fill seconds_per_image")
    command.set_defaults(command=_leaderboard)


def _leaderboard(options: argparse.Namespace) -> int:
    from imdl_bench.cache import write_atomically
    from imdl_bench.leaderboard import find_runs, read_lines
    from imdl_bench.tables import to_csv, to_latex, to_markdown, to_text

    lines, left_out = read_lines(find_runs(options.runs))
    for remark in left_out:
        print(remark, file=sys.stderr)
    draw = {"text": to_text, "md": to_markdown, "latex": to_latex}
    text = to_csv(lines, timing=options.timing) if options.format == "csv" else draw[options.format](lines)
    text = text.rstrip("\n") + "\n"
    if options.out:
        write_atomically(options.out, text.encode())
    else:
        print(text, end="")
    return FAILURES if left_out else DONE


def _add_published(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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


def _add_weights(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
    convert.add_argument("--seed", metavar="N", type=_seed, default=0, help="of random weights")
    convert.set_defaults(command=_convert_weights)


def _fetch_weights(options: argparse.Namespace) -> int:
    from imdl_bench.model_spec import ModelSpec
    from imdl_bench.weights import fetch_weights

    spec = ModelSpec.parse(options.model)
    card = catalog.model_card(spec.name)
    if spec.weights is None or spec.weights not in (card.weights or {}):
        known = ", ".join(card.weights or {}) or "none"
        raise UsageError(f"{options.model}: the card of {spec.name} has these weights: {known}")
    for path in fetch_weights(card, spec.weights, accept_licence=options.accept_licence):
        print(path)
    return DONE


def _convert_weights(options: argparse.Namespace) -> int:
    catalog.convert_weights(options.model, options.out, seed=options.seed, accept_licence=options.accept_licence)
    print(f"written: {options.out}")
    return DONE


def _data(given: Sequence[str]) -> Path | dict[str, Path] | None:
    """``--data DIR`` once, or ``--data NAME=DIR`` for each data set."""
    if len(given) == 1 and ("=" not in given[0] or Path(given[0]).exists()):
        return Path(given[0])
    return _named_paths(given, "--data") or None


def _named_paths(given: Sequence[str], option: str) -> dict[str, Path]:
    named = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            raise UsageError(f"{option} {text}: name the data set it is for: {option} NAME={text}")
        catalog.dataset_card(name)
        named[name] = Path(path)
    return named


def _positive(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    value = _whole(text, 0)
    if value >= 1 << 63:
        raise argparse.ArgumentTypeError(f"{text} has more than 63 bits")
    return value


def _whole(text: str, least: int) -> int:
    value = int(text) if text.isascii() and text.isdecimal() else -1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} up")
    return value
