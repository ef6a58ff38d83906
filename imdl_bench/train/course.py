"""A whole training as it was ordered: checked before anything is built, and what makes it this one and no other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imdl_bench import catalog
from imdl_bench.cards import UNTRAINED, ModelCard, Recipe, Stage
from imdl_bench.checkpoint import read_tensors
from imdl_bench.errors import CardError, UsageError, nearest
from imdl_bench.examples import Source
from imdl_bench.metrics import parse_metric
from imdl_bench.model_spec import ModelSpec, checked_settings
from imdl_bench.train.hardware import Hardware, device_name
from imdl_bench.train.progress import LOSS
from imdl_bench.train.provenance import Provenance, libraries
from imdl_bench.train.recipes import DATASET, on_dataset, read_recipe, scaled
from imdl_bench.train.sources import Material, open_sources, trained_on
from imdl_bench.weights import Weights, find_weights, settings_of


@dataclass(frozen=True, slots=True)
class Order:
    """What is trained, how and on what; arguments of :func:`imdl_bench.train.loop.train`."""

    model: str
    recipe: str
    material: Material
    start: str | None = None
    samples: int | None = None
    batch: int | None = None
    accumulate: int = 1
    precision: str = "float32"
    seed: int = 0
    accept_licence: bool = False


@dataclass(frozen=True, slots=True)
class Course:
    """An order that can be carried out.

    Attributes:
        sources: of each stage, to train on and held out.
        weights: that the first stage starts from.
        about: what files of weights say of their origin.
        key: what must be equal for a checkpoint to be of this training.
    """

    out: Path
    card: ModelCard
    recipe: Recipe
    sources: list[tuple[Source, Source]]
    weights: Weights
    about: Provenance
    key: dict[str, Any]
    hardware: Hardware
    accumulate: int
    fabric: Any


def plan_course(order: Order, out: Path, hardware: Hardware, fabric: Any) -> Course:
    """Read recipe and weights and open the sources. Raises as :func:`imdl_bench.train.loop.train`."""
    spec, card = _trainable(order.model)
    name, recipe = read_recipe(card, order.recipe)
    recipe = scaled(on_dataset(recipe, name, order.recipe, order.material.dataset), order.samples, order.batch)
    _check_shares(recipe, fabric.world_size, order.accumulate)
    if order.material.photos is not None and all(stage.data == DATASET for stage in recipe.stages):
        raise UsageError(f"recipe {name} learns from {order.material.dataset} alone; leave --photos out")
    folder = catalog.model_folder(card.name)
    start = order.start or UNTRAINED
    weights = find_weights(card, start, seed=order.seed, accept_licence=order.accept_licence, folder=folder)
    settings = checked_settings(card, settings_of(card, start, folder) | dict(spec.settings))
    for stage in recipe.stages:
        _check_stage(card, stage)
    sources = [
        open_sources(card, stage, order.material, seed=order.seed + place) for place, stage in enumerate(recipe.stages)
    ]
    learned = [*weights.trained_on, *(trained_on(training) for training, _ in sources)]
    about = Provenance(
        card.name, settings, name, recipe.source, order.seed, order.precision, device_name(fabric),
        list(dict.fromkeys(learned)), weights.label, weights.licence, libraries(),
    )  # fmt: skip
    key = {
        "model": card.name, "settings": settings, "from": weights.identity, "recipe": recipe.model_dump(mode="json"),
        "data": [training.about for training, _ in sources],
        "held out": [held_out.about for _, held_out in sources], "seed": order.seed, "precision": order.precision,
        "parts of a step": order.accumulate * fabric.world_size,
    }  # fmt: skip
    return Course(
        out, card, recipe, sources, weights, about, json.loads(json.dumps(key)), hardware, order.accumulate, fabric
    )


def build_model(course: Course, place: int) -> Any:
    """The TorchModel of a stage, with the weights that the stage starts from."""
    card, about = course.card, course.about
    weights = course.weights if place == 0 else find_weights(card, UNTRAINED, seed=about.seed + place)
    model: Any = catalog.load_model(
        card.name, weights, device=str(course.fabric.device), precision=about.precision, settings=about.settings,
        plain=True,
    )  # fmt: skip
    if not hasattr(model, "network"):
        raise UsageError(f"{card.name}: cannot be trained, it is no TorchModel")
    model.network.to(memory_format=model.memory_format)
    if place:
        tensors = read_tensors(stage_weights(course, place - 1))
        prefixes = tuple(course.recipe.stages[place].keep)
        for prefix in prefixes:
            if not any(key.startswith(prefix) for key in tensors):
                raise CardError(f"keep: no weight begins with {prefix!r}{nearest(prefix, tensors)}")
        kept = {key: tensor for key, tensor in tensors.items() if key.startswith(prefixes)}
        model.network.load_state_dict(kept, strict=False)
    return model


def stage_weights(course: Course, place: int) -> Path:
    """Where the best weights of a stage that is over lie."""
    return course.out / f"stage-{course.recipe.stages[place].name}.safetensors"


def _trainable(model: str) -> tuple[ModelSpec, ModelCard]:
    spec, card = catalog.read_spec(model)
    if spec.weights is not None:
        raise UsageError(f"{model}: write the weights to start from behind --from: --from {spec.weights}")
    if card.weights is None:
        raise UsageError(f"{card.name} has no weights to train")
    return spec, card


def _check_shares(recipe: Recipe, world: int, accumulate: int) -> None:
    for stage in recipe.stages:
        if stage.batch % (world * accumulate):
            raise UsageError(
                f"stage {stage.name}: a step of {stage.batch} examples cannot be divided among {world} devices times "
                f"{accumulate} parts; choose another --batch or --accumulate"
            )


def _check_stage(card: ModelCard, stage: Stage) -> None:
    """What would otherwise be found wrong only when the stage begins or is validated, after days, or never."""
    learner = catalog.model_learner(card.name, stage.learner)
    known = [*learner.defaults, *card.settings]
    for option in stage.options:
        if option not in known:
            takes = ", ".join(known) or "none"
            raise CardError(
                f"stage {stage.name}: {stage.learner} has no option {option!r}{nearest(option, known)} (it has {takes})"
            )
    if stage.watch != LOSS:
        parse_metric(stage.watch)
