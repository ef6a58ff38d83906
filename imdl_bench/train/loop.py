"""Train a model by a recipe: stages one after the other, stopped at any moment and taken up again."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path

import yaml

from imdl_bench.cache import sole_writer, write_atomically
from imdl_bench.train.checkpoints import read_checkpoint
from imdl_bench.train.course import Course, Order, plan_course
from imdl_bench.train.hardware import Hardware, repeatable, start_fabric
from imdl_bench.train.logs import Logs
from imdl_bench.train.outcome import Trained
from imdl_bench.train.progress import Progress
from imdl_bench.train.provenance import BEST, LAST_WEIGHTS
from imdl_bench.train.running import Run
from imdl_bench.train.sources import Material


def train(
    model: str,
    recipe: str,
    out: Path | str,
    *,
    photos: Path | str | None = None,
    data: str | None = None,
    data_root: Path | str | None = None,
    start: str | None = None,
    samples: int | None = None,
    batch: int | None = None,
    accumulate: int = 1,
    precision: str = "float32",
    seed: int = 0,
    accept_licence: bool = False,
    hardware: Hardware | None = None,
) -> Trained:
    """Train a model, or go on with a training that was stopped.

    Args:
        model: ``NAME`` or ``NAME:KEY=VALUE,...``.
        recipe: ``unified``, a recipe of the model's recipe.yaml, or a YAML file that holds one.
        out: folder for weights, logs and ``last.ckpt``; with a checkpoint of the same training in it, that goes on.
        photos: folder of photographs that manipulations are made of.
        data: ``NAME`` or ``NAME:SPLIT``, a labelled data set to learn from.
        data_root: its folder.
        start: weights to start from, as :func:`imdl_bench.load_model` takes them; random ones by default.
        samples: examples in all, in place of the recipe's; its schedule is scaled with them.
        batch: examples of a step, in place of the recipe's.
        accumulate: parts that each device makes of its share of a step, one after the other.
        precision: ``float32``, ``bfloat16`` or ``float16`` (mixed).
        seed: of weights, examples and draws.
        accept_licence: you have read the licence of the weights to start from.
        hardware: how it runs.

    Raises:
        UsageError: a name or combination that cannot be run, or ``out`` holds another training.
        CardError: a recipe that does not fit its learner.
        DataError: photographs or data set are not what they should be.
        TrainingError: a loss or gradient is not finite.
        KeyboardInterrupt: stopped by Ctrl-C, after a checkpoint.
    """
    material = Material(_path(photos), data, _path(data_root))
    order = Order(model, recipe, material, start, samples, batch, accumulate, precision, seed, accept_licence)
    hardware = hardware or Hardware()
    fabric = start_fabric(hardware, precision)
    folder = Path(out).expanduser()
    with ExitStack() as held:
        held.enter_context(repeatable(hardware))
        course = plan_course(order, folder, hardware, fabric)
        if fabric.is_global_zero:
            busy = f"{folder}: another process trains there"
            held.enter_context(sole_writer(folder / "train.lock", busy))
        return _carry_out(course)


def _carry_out(course: Course) -> Trained:
    state = read_checkpoint(course.out, course.key)
    course.fabric.barrier()  # all have read before one writes
    progress = Progress.from_dict(state["progress"]) if state else Progress()
    before, started = progress.before + progress.seen, time.perf_counter()
    with closing(Logs(course.out, state["logs"] if state else {}, write=course.fabric.is_global_zero)) as logs:
        if course.fabric.is_global_zero:
            _write_recipe(course)
        at_work = state["at_work"] if state else None
        while not progress.finished:
            Run(course, progress, logs, at_work).stage_to_its_end()
            at_work = None
    samples = progress.before + progress.seen
    return Trained(
        course.out / BEST, course.out / LAST_WEIGHTS, samples, samples - before, course.recipe.stages[-1].watch,
        progress.best, time.perf_counter() - started, resumed=state is not None,
        first=course.fabric.is_global_zero,
    )  # fmt: skip


def _write_recipe(course: Course) -> None:
    content = course.recipe.model_dump(mode="json", exclude_none=True)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    head = f"# What {course.about.model} was trained by; `--recipe` takes this file.\n"
    write_atomically(course.out / "recipe.yaml", (head + text).encode())


def _path(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given).expanduser()
