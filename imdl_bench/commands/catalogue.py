"""``list`` and ``show``: what there is, and its cards."""

from __future__ import annotations

import argparse

from imdl_bench import catalog
from imdl_bench.cards import RECORDED
from imdl_bench.commands.options import DONE, Commands
from imdl_bench.errors import UsageError, nearest


def add_list(commands: Commands) -> None:
    command = commands.add_parser("list", help="names of models, datasets, protocols or metrics", description=(
        "Prints one name per line with its title. Writes nothing."))  # fmt: skip
    command.add_argument("what", choices=["models", "datasets", "protocols", "metrics"])
    command.set_defaults(command=_list)


def _list(options: argparse.Namespace) -> int:
    from imdl_bench.metrics.names import PIXEL_RULES, SCORE_RULES

    for name, title in _titles(options.what):
        print(f"{name:<26} {title}".rstrip())
    if options.what == "models":
        print(f"\n{RECORDED}:DIR scores masks and scores made elsewhere: imdl-bench show {RECORDED}")
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


def add_show(commands: Commands) -> None:
    command = commands.add_parser("show", help="the card of a model, data set or protocol", description=(
        f"Prints the card of NAME and, where there is one, its README; of {RECORDED}, how to score predictions made "
        "elsewhere. Writes nothing."))  # fmt: skip
    command.add_argument("name", metavar="NAME")
    command.set_defaults(command=_show)


def _show(options: argparse.Namespace) -> int:
    kinds = {
        "models": catalog.list_models(),
        "datasets": catalog.list_datasets(),
        "protocols": catalog.list_protocols(),
    }
    found = [kind for kind, names in kinds.items() if options.name in names]
    if options.name == RECORDED:
        from imdl_bench import predictions

        print((predictions.__doc__ or "").rstrip())
    elif not found:
        known = [name for names in kinds.values() for name in names]
        raise UsageError(f"nothing is called {options.name!r}{nearest(options.name, known)}")
    for kind in found:
        path = catalog.card_path(kind, options.name)
        print(f"# {kind[:-1]} {options.name}  ({path})\n{path.read_text(encoding='utf-8').rstrip()}\n")
        readme = path.parent / "README.md"
        if kind != "protocols" and readme.is_file():
            print(readme.read_text(encoding="utf-8").rstrip() + "\n")
    return DONE
