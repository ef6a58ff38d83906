"""Protocol x model x data set -> rows. Decodes each file once for all models, resumes, records what fails."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import imdl_bench
from imdl_bench import catalog, records
from imdl_bench.batching import ShapeBatches, predict_each
from imdl_bench.cards import DataLine, ModelCard, Protocol
from imdl_bench.dataset import Dataset, load_dataset
from imdl_bench.errors import ImageError, UsageError
from imdl_bench.images import read_image
from imdl_bench.metrics.histogram import coarsen, pack_counts
from imdl_bench.metrics.names import Metric, parse_metric
from imdl_bench.metrics.pixel import PixelScores, score_pixels
from imdl_bench.records import Row, RunFile, RunKey
from imdl_bench.types import Image, Prediction, Sample

COMMIT_SECONDS = 1.0
Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """``NAME`` or ``NAME@WEIGHTS`` as a user writes it."""

    name: str
    weights: str | None

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        name, _, weights = text.partition("@")
        return cls(name, weights or None)

    def __str__(self) -> str:
        return f"{self.name}@{self.weights}" if self.weights else self.name


@dataclass(slots=True)
class Cell:
    """One model on one split: its run file, what is done, and what waits."""

    spec: ModelSpec
    card: ModelCard
    folder: Path
    key: RunKey
    done: set[str] = field(default_factory=set)
    todo: int = 0
    predict: Callable[..., list[Prediction]] | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A sample with its pixels, or the reason why there are none."""

    sample: Sample
    position: int
    images: tuple[Image, ...] = ()
    truths: tuple[NDArray[np.bool_] | None, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One line of a protocol's data with the cells that run on it."""

    dataset: Dataset
    samples: tuple[Sample, ...]
    cells: tuple[Cell, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is done; none of it moves a number but ``seed`` (of the bootstrap) and ``limit``."""

    out: Path = Path("results")
    limit: int | None = None
    device: str = "cpu"
    batch_size: int = 8
    workers: int = field(default_factory=records.default_workers)
    seed: int = 0
    split_files: Mapping[str, Path] = field(default_factory=dict)


def plan_run(
    protocol: Protocol, models: Sequence[str], data: Path | str | Mapping[str, Path] | None, options: Options
) -> list[Plan]:
    """Check everything that can be checked before the first image is decoded, and open what is there to resume.

    Raises:
        UsageError, CardError, DataError: nothing has been written yet.
    """
    metrics = [parse_metric(name) for name in protocol.metrics]
    if not models and not protocol.models:
        raise UsageError(f"{protocol.name} names no models of its own; give --model NAME")
    if options.batch_size < 1 or options.workers < 1 or (options.limit is not None and options.limit < 1):
        raise UsageError("batch size, workers and limit are whole numbers from 1 up")
    specs = list(dict.fromkeys(ModelSpec.parse(text) for text in (models or protocol.models)))
    cards = [catalog.model_card(spec.name) for spec in specs]
    for line in protocol.data:
        for card in cards:
            _refuse_mismatch(protocol, line, card, metrics)
    return [_plan_line(protocol, line, list(zip(specs, cards, strict=True)), data, options) for line in protocol.data]


def execute(plan: Plan, protocol: Protocol, options: Options, progress: Progress) -> None:
    """Run what is left of a plan. Stopped at any moment, the same call goes on where this one was."""
    cells = [cell for cell in plan.cells if cell.todo]
    for cell in cells:
        cell.predict = catalog.load_model(
            cell.spec.name, cell.spec.weights, device=options.device, seed=options.seed
        ).predict
    metrics = [parse_metric(name) for name in protocol.metrics]
    pixels_of_all = protocol.pixels_of == "all"
    writers = {id(cell): Writer(cell.folder / "run.sqlite", metrics, pixels_of_all, progress) for cell in cells}
    pool = ThreadPoolExecutor(options.workers, thread_name_prefix="imdl-bench")
    try:
        batches = {id(cell): ShapeBatches[Decoded](options.batch_size) for cell in cells}
        for decoded in _decode_ahead(plan, cells, pool, options.workers):
            for cell in cells:
                if decoded.sample.id in cell.done:
                    continue
                if decoded.reason is not None:
                    writers[id(cell)].fail(decoded, decoded.reason)
                    continue
                shape = tuple(side for image in decoded.images for side in image.shape[:2])
                for batch in batches[id(cell)].add(decoded, shape):
                    _predict_batch(cell, batch, writers[id(cell)], pool)
        for cell in cells:
            for batch in batches[id(cell)].rest():
                _predict_batch(cell, batch, writers[id(cell)], pool)
        for cell in cells:
            writers[id(cell)].finish()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for writer in writers.values():
            writer.close()


class Writer:
    """Scores predictions in threads and writes rows and pool to the run's file, at most a second apart."""

    def __init__(self, path: Path, metrics: Sequence[Metric], pixels_of_all: bool, progress: Progress) -> None:
        self._file = RunFile(path)
        self._metrics = metrics
        self._pixels_of_all = pixels_of_all
        self._progress = progress
        self._pool = self._file.pool()
        self._rows: list[Row] = []
        self._futures: deque[Future[tuple[list[Row], list[PixelScores]]]] = deque()
        self._committed = time.monotonic()

    def fail(self, decoded: Decoded, reason: str) -> None:
        """Record an image that has no numbers."""
        self._take([_row(decoded, status="failed", reason=reason)], [])

    def score(self, decoded: Decoded, prediction: Prediction, seconds: float, pool: ThreadPoolExecutor) -> None:
        """Score one prediction behind the caller's back; waits when too many wait."""
        self._futures.append(
            pool.submit(_score, decoded, prediction, seconds, self._metrics, pixels_of_all=self._pixels_of_all)
        )
        while self._futures and (self._futures[0].done() or len(self._futures) > 8):
            self._take(*self._futures.popleft().result())

    def finish(self) -> None:
        """Everything scored and written."""
        while self._futures:
            self._take(*self._futures.popleft().result())
        self._commit()

    def close(self) -> None:
        """Let go of the file. What is not written yet is dropped: stopped half way, rows and pool might disagree."""
        self._file.__exit__()

    def _take(self, rows: list[Row], scores: list[PixelScores]) -> None:
        for scored in scores:
            if scored.histogram is not None:
                self._pool.add(scored.scores, scored.histogram)
        self._rows += rows
        self._progress(1)
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        if self._rows:
            self._file.append(self._rows, self._pool)
        self._rows = []
        self._committed = time.monotonic()


def _refuse_mismatch(protocol: Protocol, line: DataLine, card: ModelCard, metrics: Sequence[Metric]) -> None:
    wanted = catalog.dataset_card(line.dataset).input
    if card.input != wanted:
        kinds = {"single": "one image at a time", "pair": "pairs of images"}
        raise UsageError(
            f"{card.name} takes {kinds[card.input]}, but {protocol.name} runs on {line.dataset}: {kinds[wanted]}"
        )
    if "mask" not in card.outputs and any(metric.level == "pixel" for metric in metrics):
        raise UsageError(f"{card.name} gives no mask, but {protocol.name} has pixel metrics")
    rules = {metric.rule or protocol.score for metric in metrics if metric.level == "image"}
    if "score" not in card.outputs and "model" in rules:
        raise UsageError(
            f"{card.name} gives no score of its own: name the rule in {protocol.name}, score: mask-mean or mask-max"
        )
    if "mask" not in card.outputs and rules & {"mask-mean", "mask-max"}:
        raise UsageError(f"{card.name} gives no mask, but {protocol.name} scores images by it")


def _plan_line(
    protocol: Protocol,
    line: DataLine,
    models: Sequence[tuple[ModelSpec, ModelCard]],
    data: Path | str | Mapping[str, Path] | None,
    options: Options,
) -> Plan:
    dataset = load_dataset(
        line.dataset,
        data_root(line.dataset, data),
        line.split,
        split_file=options.split_files.get(line.dataset),
        size_mismatch=line.size_mismatch,
    )
    samples = tuple(s for s in dataset.samples if line.keep == "all" or s.forged == (line.keep == "forged"))
    if not samples:
        raise UsageError(f"{protocol.name}: {line.dataset}/{line.split} has no {line.keep} images under {dataset.root}")
    remarks = dataset.remarks
    if options.limit is not None and options.limit < len(samples):
        remarks = (*remarks, f"limited to {options.limit} of {len(samples)} samples, evenly spaced")
        samples = tuple(samples[i * len(samples) // options.limit] for i in range(options.limit))
    decoding = {"forged": dataset.forged, "size_mismatch": dataset.size_mismatch}
    content = records.data_fingerprint(samples, decoding, options.workers)
    cells = [_open_cell(protocol, line, spec, card, content, samples, options) for spec, card in models]
    for cell in cells:
        with RunFile(cell.folder / "run.sqlite") as file:
            file.write_meta(
                key=asdict(cell.key), n_samples=len(samples), remarks=remarks, environment=records.environment(),
                protocol=protocol.model_dump(mode="json"), library=imdl_bench.__version__,
            )  # fmt: skip
    return Plan(dataset, samples, tuple(cells), remarks)


def _open_cell(
    protocol: Protocol,
    line: DataLine,
    spec: ModelSpec,
    card: ModelCard,
    content: str,
    samples: Sequence[Sample],
    options: Options,
) -> Cell:
    rules = protocol.model_dump(mode="json", include={"metrics", "score", "pixels_of", "bootstrap"})
    key = RunKey(
        protocol=protocol.name,
        version=protocol.version,
        rules=rules | {"keep": line.keep},
        model=spec.name,
        model_code=catalog.fingerprint("models", spec.name),
        weights=spec.weights or "",
        dataset=line.dataset,
        split=line.split,
        data=content,
        seed=options.seed,
        scoring=records.SCORING_VERSION,
        libraries=records.pixel_libraries(),
    )
    place = options.out / "runs" / protocol.name / _file_name(str(spec))
    cell = Cell(spec, card, place / f"{line.dataset}-{_file_name(line.split)}-{key.hash}", key)
    with RunFile(cell.folder / "run.sqlite") as file:
        cell.done = file.done()
    cell.todo = sum(sample.id not in cell.done for sample in samples)
    return cell


def data_root(dataset: str, data: Path | str | Mapping[str, Path] | None) -> Path | None:
    """Where a data set lies: its own folder in a mapping, ``data/<name>`` if there is one, else ``data`` itself."""
    if data is None:
        return None
    if isinstance(data, Mapping):
        return data.get(dataset)
    folder = Path(data).expanduser()
    if folder.is_dir():
        for inside in sorted(folder.iterdir()):
            if inside.is_dir() and inside.name.lower() == dataset:
                return inside
    return None if catalog.dataset_card(dataset).built_in else folder


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "@._-" else "_" for letter in text)


def _decode_ahead(plan: Plan, cells: Sequence[Cell], pool: ThreadPoolExecutor, workers: int) -> Iterator[Decoded]:
    """Decode in threads, in order, never more than a few images ahead."""
    wanted = [
        (position, sample)
        for position, sample in enumerate(plan.samples)
        if any(sample.id not in cell.done for cell in cells)
    ]
    coming: deque[Future[Decoded]] = deque()
    for position, sample in wanted:
        coming.append(pool.submit(_decode, plan.dataset, sample, position))
        if len(coming) > workers + 1:
            yield coming.popleft().result()
    while coming:
        yield coming.popleft().result()


def _decode(dataset: Dataset, sample: Sample, position: int) -> Decoded:
    try:
        image = read_image(sample.image)
        truth, remark = dataset.read_truth(sample, image.shape[:2])
        found = Decoded(sample, position, (image,), (truth,), (remark,) if remark else ())
        if dataset.card.input == "single":
            return found
        if sample.donor is None:
            raise ImageError(f"{sample.id}: a pair without its second image")
        donor = read_image(sample.donor)
        donor_truth, remark = dataset.read_donor_truth(sample, donor.shape[:2])
        return replace(found, images=(image, donor), truths=(truth, donor_truth))
    except ImageError as error:
        return Decoded(sample, position, reason=str(error))


def _predict_batch(cell: Cell, batch: Sequence[Decoded], writer: Writer, pool: ThreadPoolExecutor) -> None:
    assert cell.predict is not None
    inputs = [[item.images[0] for item in batch]]
    if cell.card.input == "pair":
        inputs.append([item.images[1] for item in batch])
    started = time.perf_counter()
    predictions = predict_each(cell.predict, *inputs, outputs=cell.card.outputs)
    seconds = (time.perf_counter() - started) / len(batch)
    for item, prediction in zip(batch, predictions, strict=True):
        if isinstance(prediction, str):
            writer.fail(item, f"{cell.spec}: {prediction}")
        else:
            writer.score(item, prediction, seconds, pool)


def _score(
    decoded: Decoded, prediction: Prediction, seconds: float, metrics: Sequence[Metric], *, pixels_of_all: bool
) -> tuple[list[Row], list[PixelScores]]:
    row = _row(decoded, seconds=seconds, score=prediction.score)
    if prediction.mask is None:
        return [row], []
    mean, top = float(prediction.mask.mean(dtype=np.float64)), float(prediction.mask.max())
    row = replace(row, mask_mean=mean, mask_max=top)
    truth = decoded.truths[0]
    if truth is None or not (decoded.sample.forged or pixels_of_all):
        return [row], []
    scores = score_pixels(prediction.mask, truth, metrics)
    rows, all_scores = [_with_pixels(row, scores)], [scores]
    if len(decoded.truths) == 2 and decoded.truths[1] is not None and prediction.donor_mask is not None:
        scores = score_pixels(prediction.donor_mask, decoded.truths[1], metrics)
        shape = decoded.images[1].shape
        donor = replace(row, sample=f"{row.sample}#donor", height=shape[0], width=shape[1], score=None)
        rows.append(_with_pixels(replace(donor, mask_mean=None, mask_max=None, seconds=None), scores))
        all_scores.append(scores)
    return rows, all_scores


def _row(decoded: Decoded, status: str = "ok", **more: Any) -> Row:
    sample = decoded.sample
    height, width = decoded.images[0].shape[:2] if decoded.images else (None, None)
    return Row(
        *(sample.id, decoded.position, sample.forged, sample.kind, sample.group, status),
        warnings=decoded.warnings, height=height, width=width, **more,
    )  # fmt: skip


def _with_pixels(row: Row, scores: PixelScores) -> Row:
    return replace(
        row,
        values=records.float_blob(scores.values),
        totals=records.count_blob(scores.totals),
        coarse=None if scores.histogram is None else pack_counts(coarsen(scores.histogram)),
    )
