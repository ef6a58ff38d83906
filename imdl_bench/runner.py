"""Protocol x model x data set x distortion -> rows. Decodes each file once for all, resumes, records what fails."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imdl_bench import records
from imdl_bench.batching import MAX_WAITING_PIXELS, ShapeBatches, predict_each
from imdl_bench.cache import sole_writer
from imdl_bench.cards import Protocol
from imdl_bench.dataset import Dataset
from imdl_bench.distortions import NONE, Distortion
from imdl_bench.errors import ImageError, ImdlBenchError, PredictionError
from imdl_bench.geometry import Distorted
from imdl_bench.images import read_image
from imdl_bench.memory import keep_freed_memory
from imdl_bench.metrics.histogram import ScorePool, coarsen, pack_counts
from imdl_bench.metrics.names import Metric, parse_metric
from imdl_bench.metrics.pixel import PixelScores, score_pixels
from imdl_bench.planning import Cell, Options, Plan, Progress
from imdl_bench.predictions import Recorded
from imdl_bench.records import Row, RunFile
from imdl_bench.thumbnails import KeptMask, mask_thumbnail
from imdl_bench.types import DONOR, Image, Prediction, Sample

COMMIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Decoded:
    """A sample with its pixels after a distortion, or the reason why there are none.

    ``moved`` brings masks back to where the truths are.
    """

    sample: Sample
    position: int
    images: tuple[Image, ...] = ()
    truths: tuple[NDArray[np.bool_] | None, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    file_size: int | None = None
    distortion: str = NONE
    moved: tuple[Distorted, ...] = ()


# A prediction or the reason why there is none, for each image of a batch; and the seconds each took, of a model.
Answers: TypeAlias = tuple[list[Prediction | str], float | None]


@dataclass(frozen=True, slots=True)
class Scored:
    """What one prediction left behind: rows (two for a pair), their pixel scores, thumbnails of clean masks by row."""

    distortion: str
    rows: list[Row]
    pixels: list[PixelScores]
    masks: dict[str, KeptMask]


@dataclass(frozen=True, slots=True)
class Job:
    """One cell at work: what answers for a batch, the images that wait for one, its record."""

    cell: Cell
    answer: Callable[[Sequence[Decoded]], Answers]
    waiting: ShapeBatches[Decoded]
    writer: Writer


def execute(plan: Plan, protocol: Protocol, options: Options, progress: Progress) -> None:
    """Run what is left of a plan. Stopped at any moment, the same call goes on where this one was.

    Raises:
        UsageError: another process works on one of the runs.
    """
    keep_freed_memory()
    with ExitStack() as held:
        pool = ThreadPoolExecutor(options.workers, thread_name_prefix="imdl-bench")
        held.callback(pool.shutdown, wait=True, cancel_futures=True)
        jobs = [_start(cell, protocol, options, progress, held) for cell in plan.cells if cell.todo]
        of_pixels = any(parse_metric(name).level == "pixel" for name in protocol.metrics)
        with_truth = of_pixels or any(distortion.needs_truth for distortion in plan.distortions)
        done = [job.writer.done for job in jobs]
        for clean in _decode_ahead(plan, done, pool, options.workers, with_truth=with_truth):
            for decoded in _distort_ahead(clean, plan.distortions, done, pool, options):
                for job in jobs:
                    if (decoded.distortion, decoded.sample.id) not in job.writer.done:
                        _take(job, decoded, pool)
        for job in jobs:
            for batch in job.waiting.rest():
                _predict_batch(job, batch, pool)
            job.writer.finish()


def _start(cell: Cell, protocol: Protocol, options: Options, progress: Progress, held: ExitStack) -> Job:
    held.enter_context(sole_writer(cell.folder / "run.lock", f"{cell.folder}: another process works on this run"))
    metrics = [parse_metric(name) for name in protocol.metrics]
    writer = Writer(cell.folder / "run.sqlite", metrics, protocol.pixels_of == "all", progress)
    held.callback(writer.close)
    assert cell.model is not None
    if isinstance(cell.model, Recorded):
        return Job(cell, partial(_look_up, cell.model), ShapeBatches(1), writer)
    return Job(cell, partial(_ask, cell.model.predict, cell.outputs), ShapeBatches(options.images_at_once), writer)


def _take(job: Job, decoded: Decoded, pool: ThreadPoolExecutor) -> None:
    if decoded.reason is not None:
        job.writer.fail(decoded, decoded.reason)
        return
    shape = tuple(side for image in decoded.images for side in image.shape[:2])
    for batch in job.waiting.add(decoded, shape):
        _predict_batch(job, batch, pool)


class Writer:
    """Scores predictions in threads and writes rows and pool to the run's file, at most a second apart."""

    def __init__(self, path: Path, metrics: Sequence[Metric], pixels_of_all: bool, progress: Progress) -> None:
        self._file = RunFile(path, write=True)
        self.done = self._file.done()
        self._metrics = metrics
        self._pixels_of_all = pixels_of_all
        self._progress = progress
        self._pools: dict[str, ScorePool] = {}
        self._rows: list[Row] = []
        self._masks: dict[str, KeptMask] = {}
        self._futures: deque[tuple[Future[Scored], int]] = deque()
        self._waiting_pixels = 0
        self._committed = time.monotonic()

    def fail(self, decoded: Decoded, reason: str) -> None:
        """Record an image that has no numbers."""
        self._take(Scored(decoded.distortion, [_row(decoded, status="failed", reason=reason)], [], {}))

    def score(self, decoded: Decoded, prediction: Prediction, seconds: float | None, pool: ThreadPoolExecutor) -> None:
        """Score one prediction behind the caller's back; waits when too many, or too large ones, wait."""
        pixels = sum(image.shape[0] * image.shape[1] for image in decoded.images)
        future = pool.submit(_score, decoded, prediction, seconds, self._metrics, pixels_of_all=self._pixels_of_all)
        self._futures.append((future, pixels))
        self._waiting_pixels += pixels
        while self._futures and (self._futures[0][0].done() or self._too_many_wait()):
            self._take_first()

    def finish(self) -> None:
        """Everything scored and written."""
        while self._futures:
            self._take_first()
        self._commit()

    def close(self) -> None:
        """Let go of the file. What is not written yet is dropped: stopped half way, rows and pool might disagree."""
        self._file.close()

    def _too_many_wait(self) -> bool:
        return len(self._futures) > 8 or self._waiting_pixels > MAX_WAITING_PIXELS

    def _take_first(self) -> None:
        future, pixels = self._futures.popleft()
        self._waiting_pixels -= pixels
        self._take(future.result())

    def _take(self, scored: Scored) -> None:
        if scored.distortion not in self._pools:
            self._pools[scored.distortion] = self._file.pool(scored.distortion)
        for pixels in scored.pixels:
            if pixels.histogram is not None:
                self._pools[scored.distortion].add(pixels.scores, pixels.histogram)
        self._rows += scored.rows
        self._masks |= scored.masks
        self._progress(1)
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        if self._rows:
            touched = {row.distortion for row in self._rows}
            self._file.append(self._rows, {name: self._pools[name] for name in sorted(touched)}, self._masks)
        self._rows, self._masks = [], {}
        self._committed = time.monotonic()


def _decode_ahead(
    plan: Plan, done: Sequence[set[tuple[str, str]]], pool: ThreadPoolExecutor, workers: int, *, with_truth: bool
) -> Iterator[Decoded]:
    """Decode in threads, in order, never more than a few images ahead."""
    wanted = [
        (position, sample)
        for position, sample in enumerate(plan.samples)
        if any(_missing(distortion, sample, done) for distortion in plan.distortions)
    ]
    coming: deque[Future[Decoded]] = deque()
    for position, sample in wanted:
        coming.append(pool.submit(_decode, plan.dataset, sample, position, with_truth=with_truth))
        if len(coming) > workers + 1:
            yield coming.popleft().result()
    while coming:
        yield coming.popleft().result()


def _missing(distortion: Distortion, sample: Sample, done: Sequence[set[tuple[str, str]]]) -> bool:
    return any((distortion.name, sample.id) not in finished for finished in done)


def _distort_ahead(
    clean: Decoded,
    distortions: Sequence[Distortion],
    done: Sequence[set[tuple[str, str]]],
    pool: ThreadPoolExecutor,
    options: Options,
) -> Iterator[Decoded]:
    """Every level that some model still lacks, made in threads, in order, never more than a few ahead."""
    coming: deque[Future[Decoded]] = deque()
    for distortion in distortions:
        if _missing(distortion, clean.sample, done):
            coming.append(pool.submit(_distorted, clean, distortion, options.seed))
            if len(coming) > options.workers + 1:
                yield coming.popleft().result()
    while coming:
        yield coming.popleft().result()


def _distorted(clean: Decoded, distortion: Distortion, seed: int) -> Decoded:
    """A decoded sample after a distortion; of a pair, both images are distorted, each in its own draw."""
    if not distortion.steps or clean.reason is not None:
        return replace(clean, distortion=distortion.name)
    keys = (clean.sample.id, clean.sample.id + DONOR)
    try:
        moved = tuple(
            distortion.apply(image, seed=seed, sample=key, truth=truth)
            for image, truth, key in zip(clean.images, clean.truths, keys, strict=False)
        )
        truths = tuple(
            None if truth is None else each.move_truth(truth) for truth, each in zip(clean.truths, moved, strict=True)
        )
    except ImdlBenchError as error:
        return replace(clean, distortion=distortion.name, images=(), truths=(), reason=str(error))
    for each in moved:
        each.image.flags.writeable = False
    return replace(clean, distortion=distortion.name, images=tuple(m.image for m in moved), truths=truths, moved=moved)


def _decode(dataset: Dataset, sample: Sample, position: int, *, with_truth: bool) -> Decoded:
    try:
        image = _read_only(sample.image)
        truth, remark = dataset.read_truth(sample, image.shape[:2]) if with_truth else (None, None)
        size = sample.image.stat().st_size
        found = Decoded(sample, position, (image,), (truth,), (remark,) if remark else (), file_size=size)
        if dataset.card.input == "single":
            return found
        if sample.donor is None:
            raise ImageError(f"{sample.id}: a pair without its second image")
        donor = _read_only(sample.donor)
        donor_truth = dataset.read_donor_truth(sample, donor.shape[:2])[0] if with_truth else None
        return replace(found, images=(image, donor), truths=(truth, donor_truth))
    except (ImageError, OSError) as error:
        return Decoded(sample, position, reason=str(error))


def _read_only(path: Path) -> Image:
    """All models of a run see one decode: none may write into it."""
    image = read_image(path)
    image.flags.writeable = False
    return image


def _predict_batch(job: Job, batch: Sequence[Decoded], pool: ThreadPoolExecutor) -> None:
    answers, seconds = job.answer(batch)
    for item, answer in zip(batch, answers, strict=True):
        if isinstance(answer, str):
            job.writer.fail(item, f"{job.cell.spec}: {answer}")
        else:
            job.writer.score(item, answer, seconds, pool)


def _ask(predict: Callable[..., list[Prediction]], outputs: Sequence[str], batch: Sequence[Decoded]) -> Answers:
    """A model's predictions."""
    inputs = zip(*(item.images for item in batch), strict=True)
    started = time.perf_counter()
    predictions = predict_each(predict, *inputs, outputs=outputs)
    return predictions, (time.perf_counter() - started) / len(batch)


def _look_up(recorded: Recorded, batch: Sequence[Decoded]) -> Answers:
    """Predictions made elsewhere, read from their files."""
    answers: list[Prediction | str] = []
    for item in batch:
        try:
            shapes = [(image.shape[0], image.shape[1]) for image in item.images]
            answers.append(recorded.read(item.sample.id, item.distortion, shapes))
        except (ImageError, PredictionError) as error:
            answers.append(str(error))
    return answers, None


def _score(
    decoded: Decoded, prediction: Prediction, seconds: float | None, metrics: Sequence[Metric], *, pixels_of_all: bool
) -> Scored:
    prediction = _moved_back(decoded, prediction)
    rows, pixels = _scored(decoded, prediction, seconds, metrics, pixels_of_all)
    return Scored(decoded.distortion, rows, pixels, _clean_masks(decoded, prediction))


def _clean_masks(decoded: Decoded, prediction: Prediction) -> dict[str, KeptMask]:
    if decoded.distortion != NONE:
        return {}
    masks = {decoded.sample.id: prediction.mask, decoded.sample.id + DONOR: prediction.donor_mask}
    return {key: mask_thumbnail(mask) for key, mask in masks.items() if mask is not None}


def _moved_back(decoded: Decoded, prediction: Prediction) -> Prediction:
    """Masks where the truths are."""
    if not decoded.moved:
        return prediction
    masks = [prediction.mask, prediction.donor_mask][: len(decoded.moved)]
    back = [None if mask is None else each.map_back(mask) for mask, each in zip(masks, decoded.moved, strict=True)]
    return replace(prediction, mask=back[0], donor_mask=back[1] if len(back) == 2 else None)


def _scored(
    decoded: Decoded, prediction: Prediction, seconds: float | None, metrics: Sequence[Metric], pixels_of_all: bool
) -> tuple[list[Row], list[PixelScores]]:
    row = _row(decoded, seconds=seconds, score=prediction.score)
    if prediction.mask is None:
        return [row], []
    mean, top = float(prediction.mask.mean(dtype=np.float64)), float(prediction.mask.max())
    row = replace(row, mask_mean=mean, mask_max=top)
    truth = decoded.truths[0]
    of_pixels = any(metric.level == "pixel" for metric in metrics)
    if truth is None or not of_pixels or not (decoded.sample.forged or pixels_of_all):
        return [row], []
    scores = score_pixels(prediction.mask, truth, metrics)
    rows, all_scores = [_with_pixels(row, scores)], [scores]
    if len(decoded.truths) == 2 and decoded.truths[1] is not None and prediction.donor_mask is not None:
        scores = score_pixels(prediction.donor_mask, decoded.truths[1], metrics)
        shape = decoded.images[1].shape
        donor = replace(row, sample=row.sample + DONOR, height=shape[0], width=shape[1], score=None)
        rows.append(_with_pixels(replace(donor, mask_mean=None, mask_max=None, seconds=None), scores))
        all_scores.append(scores)
    return rows, all_scores


def _row(decoded: Decoded, status: str = "ok", **more: Any) -> Row:
    sample = decoded.sample
    height, width = decoded.images[0].shape[:2] if decoded.images else (None, None)
    return Row(
        *(sample.id, decoded.position, sample.forged, sample.kind, sample.group, status),
        warnings=decoded.warnings, height=height, width=width, file_size=decoded.file_size,
        distortion=decoded.distortion, **more,
    )  # fmt: skip


def _with_pixels(row: Row, scores: PixelScores) -> Row:
    return replace(
        row,
        values=records.float_blob(scores.values),
        totals=records.count_blob(scores.totals),
        coarse=None if scores.histogram is None else pack_counts(coarsen(scores.histogram)),
    )
