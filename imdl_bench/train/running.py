"""One stage from its first step, or from a checkpoint, to its end: steps, logs, validations, checkpoints."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from imdl_bench import catalog
from imdl_bench.cards import Stage
from imdl_bench.errors import TrainingError
from imdl_bench.examples import Example
from imdl_bench.learner import Batch, Learner
from imdl_bench.train.checkpoints import LAST, write_checkpoint
from imdl_bench.train.course import Course, build_model, stage_weights
from imdl_bench.train.curves import draw_curves
from imdl_bench.train.loading import Share, live_workers, load_batches, next_readable, stacked
from imdl_bench.train.logs import Logs
from imdl_bench.train.progress import LOSS, Progress
from imdl_bench.train.provenance import BEST, LAST_WEIGHTS, write_weights
from imdl_bench.train.stage import StageAtWork
from imdl_bench.train.validation import metrics_of, score_examples

VALIDATION_BATCH = 8
SECONDS_BETWEEN_CURVES = 60


class Run:
    """One stage at work with all that surrounds it."""

    def __init__(self, course: Course, progress: Progress, logs: Logs, state: Mapping[str, Any] | None) -> None:
        self._course = course
        self._progress = progress
        self._logs = logs
        self._stage: Stage = course.recipe.stages[progress.stage]
        self._fabric = course.fabric
        self._model = build_model(course, progress.stage)
        self._learner_class: type[Learner] = catalog.model_learner(course.card.name, self._stage.learner)
        self._options = {**self._learner_class.defaults, **course.about.settings, **self._stage.options}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(course.about.seed + progress.stage)
            learner = self._learner_class(self._model.network, self._options)
        self._at_work = StageAtWork(
            self._fabric, self._stage, learner, accumulate=course.accumulate, seed=course.about.seed
        )
        if state is not None:
            self._at_work.load_state(state)
        self._held_out = self._held_out_examples(fresh=state is None) if self._fabric.is_global_zero else []
        self._clock = time.perf_counter()
        self._saved = self._drawn = self._clock

    def stage_to_its_end(self) -> None:
        """Take steps until the stage is over, and set the progress to the next one, or to finished.

        Raises:
            TrainingError: a loss or gradient is not finite.
            KeyboardInterrupt: Ctrl-C; a checkpoint was written.
        """
        progress, stage = self._progress, self._stage
        batches = self._batches()
        with self._bar() as bar, _stop_asked() as stop, live_workers():
            while True:
                if progress.validation_due(stage):
                    self._validate(bar)
                if progress.stage_over(stage):
                    break
                self._step(batches, bar)
                self._stop_or_save(stop)
        del batches  # ends the worker processes
        self._finish()

    def _batches(self) -> Iterator[Any]:
        fabric, stage, course = self._fabric, self._stage, self._course
        size = stage.batch // (fabric.world_size * course.accumulate)
        return load_batches(
            course.sources[self._progress.stage][0], self._learner_class, self._options,
            Share(size, self._progress.seen, fabric.global_rank, fabric.world_size), augment=stage.augment,
            seed=course.about.seed, workers=course.hardware.loaders, pin=fabric.device.type == "cuda",
        )  # fmt: skip

    def _step(self, batches: Iterator[Any], bar: tqdm[Any]) -> None:
        progress, stage, before = self._progress, self._stage, self._progress.seen
        try:
            terms = self._at_work.step(batches, progress)
        except TrainingError as error:
            path = self._course.out / LAST
            good = f"the last good checkpoint is {path}" if path.exists() else "there is no checkpoint before it"
            raise TrainingError(f"{error}; {good}") from None
        progress.add_losses(terms)
        self._logs.skipped(stage.name, self._at_work.skipped)
        self._at_work.skipped = []
        bar.update(progress.seen - before)
        bar.set_postfix_str(f"loss {terms[LOSS]:.4g}", refresh=False)
        if progress.line_due(stage):
            self._logs.losses(stage.name, progress.seen, progress.before + progress.seen, progress.take_line())

    def _stop_or_save(self, stop: threading.Event) -> None:
        asked = stop.is_set()
        if self._fabric.world_size > 1:
            asked = bool(self._fabric.all_reduce(torch.tensor(float(asked)), reduce_op="sum") > 0)
        if asked or time.perf_counter() - self._saved > 60 * self._course.hardware.checkpoint_minutes:
            self._save(self._at_work.state())
        if asked:
            raise KeyboardInterrupt

    def _validate(self, bar: tqdm[Any]) -> None:
        progress, stage = self._progress, self._stage
        started = time.perf_counter()
        values = self._validation_values() if self._fabric.is_global_zero else {}
        value = float(self._fabric.broadcast(values.get(stage.watch, 0.0)))
        better = progress.take_validation(stage, value)
        if self._fabric.is_global_zero:
            self._logs.validation(stage.name, progress.seen, progress.before + progress.seen, values)
            self._write(LAST_WEIGHTS, value)
            if better:
                self._write(BEST, value)
            bar.write(
                f"{stage.name}: {progress.seen} of {stage.samples} examples, {stage.watch} {value:.4f}"
                f"{' (best so far)' if better else ''}, {self._rate()}", file=sys.stderr,
            )  # fmt: skip
            self._logs.time(
                stage=stage.name, samples=progress.seen, seconds=round(self._seconds(), 3),
                device=self._course.about.device,
                validation_seconds=round(time.perf_counter() - started, 3), unix_time=round(time.time()),
            )  # fmt: skip
            if time.perf_counter() - self._drawn > SECONDS_BETWEEN_CURVES:
                self._draw()
        self._save(self._at_work.state())

    def _validation_values(self) -> dict[str, float]:
        self._at_work.learner.eval()
        values = self._at_work.validation_losses(self._held_out_batches())
        if self._stage.watch != LOSS:
            metrics = metrics_of(self._stage.watch)
            values |= score_examples(self._model, self._held_out, metrics, self._course.card.outputs)
        self._at_work.train()
        return values

    def _held_out_batches(self) -> Iterator[Batch]:
        size = min(VALIDATION_BATCH, self._stage.batch)
        for start in range(0, len(self._held_out), size):
            part = self._held_out[start : start + size]
            yield stacked([self._learner_class.inputs(each, self._options) for each in part])

    def _held_out_examples(self, *, fresh: bool) -> list[Example]:
        """Made once and kept, since every validation sees the same ones."""
        source = self._course.sources[self._progress.stage][1]
        count = min(self._stage.validation, source.epoch or self._stage.validation)
        with ThreadPoolExecutor(max(1, self._course.hardware.loaders)) as pool:
            found = list(pool.map(partial(next_readable, source), range(count)))
        if fresh:
            rows = [skipped for _, each in found for skipped in each]
            self._logs.skipped(f"{self._stage.name} (held out)", rows)
        return [example for example, _ in found]

    def _finish(self) -> None:
        """Go to the next stage: its checkpoint holds no tensors, it starts from the best weights of this one."""
        progress, last = self._progress, self._progress.stage + 1 == len(self._course.recipe.stages)
        if last:
            progress.finished = True
        if self._fabric.is_global_zero:
            self._draw()
        if not last and self._fabric.is_global_zero:
            shutil.copyfile(self._course.out / BEST, stage_weights(self._course, progress.stage))
        self._fabric.barrier()
        progress.seconds = self._seconds()
        if not last:
            progress.next_stage()
        self._save(None)

    def _save(self, at_work: Mapping[str, Any] | None) -> None:
        self._progress.seconds, self._clock = self._seconds(), time.perf_counter()
        if self._fabric.is_global_zero:
            content = {
                "key": self._course.key, "progress": self._progress.to_dict(), "logs": self._logs.positions(),
                "at_work": at_work,
            }  # fmt: skip
            write_checkpoint(self._course.out, content)
        self._saved = time.perf_counter()

    def _write(self, name: str, value: float) -> None:
        stage, progress = self._stage, self._progress
        reached = {
            "stage": stage.name, "stages": [each.name for each in self._course.recipe.stages],
            "samples": progress.before + progress.seen, "batch": stage.batch, "watch": stage.watch,
            "value": repr(value),
            "data": {"training": self._course.sources[progress.stage][0].about, "validation": len(self._held_out)},
        }  # fmt: skip
        write_weights(self._course.out / name, self._model.network, self._course.about, reached)

    def _draw(self) -> None:
        draw_curves(self._course.out)
        self._drawn = time.perf_counter()

    def _seconds(self) -> float:
        return self._progress.seconds + time.perf_counter() - self._clock

    def _rate(self) -> str:
        done = self._progress.before + self._progress.seen
        return f"{done / max(self._seconds(), 1e-9):.3g} examples/s"

    def _bar(self) -> tqdm[Any]:
        shown = self._course.hardware.progress and self._fabric.is_global_zero
        return tqdm(
            desc=self._stage.name, total=self._stage.samples, initial=self._progress.seen, unit="ex", file=sys.stderr,
            disable=None if shown else True, dynamic_ncols=True,
        )  # fmt: skip


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """Set at the first Ctrl-C, so that a step is never left half done; the second one stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(*_: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
