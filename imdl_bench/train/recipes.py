"""Which recipe: one of the model's own, the unified one, or a file; and what the command line changes in it."""

from __future__ import annotations

from pathlib import Path

from imdl_bench import catalog
from imdl_bench.cards import Budget, ModelCard, Recipe, ScheduleCard, Stage, read_card
from imdl_bench.errors import UsageError, nearest

UNIFIED = "unified"
DATASET = "dataset"  # in place of a mix: the training split that the user names
PAIRS = "-pairs"  # ends the name of the mix that a model of pairs learns from under the unified recipe


def read_recipe(card: ModelCard, wanted: str) -> tuple[str, Recipe]:
    """Name and content of a recipe: ``unified``, one of the model's recipe.yaml, or a YAML file that holds a Recipe.

    Raises:
        UsageError: the model has no such recipe, or none at all.
        CardError: a file that is no recipe.
    """
    if wanted.endswith((".yaml", ".yml")):
        return Path(wanted).stem, read_card(Path(wanted), Recipe)
    own = catalog.model_recipe(card.name)
    if wanted == UNIFIED:
        return UNIFIED, _unified(card)
    if wanted not in own.recipes:
        known = [*own.recipes, UNIFIED]
        raise UsageError(
            f"{card.name} has no recipe {wanted!r}{nearest(wanted, known)} (it has {', '.join(known)}; or give a YAML "
            "file)"
        )
    return wanted, own.recipes[wanted]


def scaled(recipe: Recipe, samples: int | None, batch: int | None = None) -> Recipe:
    """The recipe with ``samples`` examples in all: schedules, warm-up and validations keep their places in it."""
    if batch is not None:
        recipe = _with_stages(recipe, [stage.model_copy(update={"batch": batch}) for stage in recipe.stages])
    if samples is None:
        return recipe
    factor = samples / sum(stage.samples for stage in recipe.stages)
    return _with_stages(recipe, [_scaled(stage, factor) for stage in recipe.stages])


def on_dataset(recipe: Recipe, name: str, wanted: str, dataset: str | None) -> Recipe:
    """The recipe with ``dataset`` as the data of the stages that ask for one, or of the unified recipe.

    Raises:
        UsageError: a stage asks for a data set and none is given, or one is given and no stage takes it.
    """
    takes = [stage.name for stage in recipe.stages if stage.data == DATASET or wanted == UNIFIED]
    if takes and dataset is None and wanted != UNIFIED:
        raise UsageError(
            f"recipe {name}: stage {takes[0]} learns from a data set: name it with --data NAME --data-root DIR"
        )
    if dataset is None:
        return recipe
    if not takes:
        mixes = ", ".join(stage.data for stage in recipe.stages)
        raise UsageError(
            f"--data {dataset}: recipe {name} learns from {mixes}, made from --photos; leave --data out, or take a "
            f"recipe with `data: {DATASET}` or `--recipe {UNIFIED}`"
        )
    changed = [stage.model_copy(update={"data": DATASET}) if stage.name in takes else stage for stage in recipe.stages]
    return _with_stages(recipe, changed)


def _unified(card: ModelCard) -> Recipe:
    path = Path(__file__).with_name("unified.yaml")
    budget = read_card(path, Budget)
    method = catalog.model_recipe(card.name).unified
    content = budget.model_dump() | method.model_dump() | {"name": UNIFIED}
    if card.input == "pair":
        content["data"] = budget.data + PAIRS
    return Recipe(source="the same data and budget for every model", stages=[Stage.model_validate(content)])


def _scaled(stage: Stage, factor: float) -> Stage:
    schedule = stage.schedule
    changed: dict[str, object] = {
        "every": max(1, round(schedule.every * factor)) if schedule.every else 0,
        "warmup": round(schedule.warmup * factor),
    }
    return stage.model_copy(
        update={
            "samples": max(1, round(stage.samples * factor)),
            "validate_every": max(1, round(stage.validate_every * factor)),
            "schedule": ScheduleCard.model_validate(schedule.model_dump() | changed),
        }
    )


def _with_stages(recipe: Recipe, stages: list[Stage]) -> Recipe:
    return recipe.model_copy(update={"stages": stages})
