"""The engine of one process: threads that each take an image through decoding, distortion, network and scoring."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from imdl_bench.batching import MAX_WAITING_PIXELS, ShapeBatches, predict_each
from imdl_bench.cards import Protocol
from imdl_bench.dataset import Dataset
from imdl_bench.distortions import Distortion, parse_distortions
from imdl_bench.engine.decoded import Decoded, decode, distort
from imdl_bench.engine.scored import Scored, Sort, failed, score
from imdl_bench.errors import ImageError, PredictionError
from imdl_bench.memory import keep_freed_memory, pixels_at_once
from imdl_bench.metrics.histogram import sort_scores
from imdl_bench.metrics.names import Metric, parse_metric
from imdl_bench.predictions import Recorded
from imdl_bench.threads import one_thread_each
from imdl_bench.types import Model, PairModel, Prediction, Sample


@dataclass(frozen=True, slots=True)
class Work:
    """Images of one line of a protocol's data, with their positions in it, and what is done with them.

    ``pixels_of_all``: pixels of pristine images count too.
    """

    dataset: Dataset
    samples: Sequence[tuple[int, Sample]]
    distortions: Sequence[Distortion]
    metrics: Sequence[Metric]
    pixels_of_all: bool
    seed: int

    @classmethod
    def of(cls, protocol: Protocol, dataset: Dataset, samples: Sequence[tuple[int, Sample]], seed: int) -> Work:
        """What a protocol does with some samples of a data set."""
        metrics = [parse_metric(name) for name in protocol.metrics]
        return cls(dataset, samples, parse_distortions(protocol.distort), metrics, protocol.pixels_of == "all", seed)

    @property
    def with_truth(self) -> bool:
        """Whether anything looks at the truths."""
        return any(metric.level == "pixel" for metric in self.metrics) or any(d.needs_truth for d in self.distortions)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A model, or predictions made elsewhere; its name in messages; what it promises; what is scored already."""

    label: str
    model: Model | PairModel | Recorded
    outputs: tuple[str, ...]
    done: frozenset[tuple[str, str]] = field(default_factory=frozenset, repr=False)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may ask it at once, for one image each."""
        return isinstance(self.model, Recorded) or bool(getattr(self.model, "concurrent", False))

    @property
    def sort(self) -> Sort:
        """What sorts the pixels of its masks: a network's GPU, if it is on one."""
        device = str(getattr(self.model, "device", "cpu"))
        if not device.startswith("cuda"):
            return sort_scores
        from imdl_bench.device_scores import sort_scores_on

        return partial(sort_scores_on, device)


# By the place of the entrant.
Found: TypeAlias = tuple[int, Scored]


def score_all(work: Work, entrants: Sequence[Entrant], *, workers: int, batch_size: int) -> Iterator[Found]:
    """Score every image at every level that an entrant lacks; each file is decoded once for all of them.

    What is yielded does not depend on ``workers`` and ``batch_size``, bit for bit on the CPU. No more images wait at
    any time than memory is there for.
    """
    keep_freed_memory()
    with ExitStack() as held:
        # Also for a model that is never asked by two threads: its numbers may not depend on what runs beside it.
        held.enter_context(one_thread_each())
        pools = [ThreadPoolExecutor(count, thread_name_prefix="imdl-bench") for count in (workers, 1)]
        for pool in pools:
            held.callback(pool.shutdown, wait=True, cancel_futures=True)
        yield from _Pipeline(work, entrants, workers, batch_size, *pools).run()


class _Pipeline:
    """What is under way. Everything is handed out in the order of the samples."""

    def __init__(
        self, work: Work, entrants: Sequence[Entrant], workers: int, batch_size: int,
        pool: ThreadPoolExecutor, predictor: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self._work = work
        self._entrants = entrants
        self._pool = pool
        self._predictor = predictor
        self._batches = {
            place: ShapeBatches[Decoded](batch_size) for place, entrant in enumerate(entrants) if not entrant.concurrent
        }
        self._ahead = workers + 1
        self._most = 2 * workers + (batch_size if self._batches else 0)
        # Batches wait outside of networks, and one is in the network at a time.
        self._most_pixels = MAX_WAITING_PIXELS if self._batches else min(MAX_WAITING_PIXELS, pixels_at_once())
        self._under_way: deque[tuple[Callable[[], Iterator[Found]], int]] = deque()
        self._pixels = 0

    def run(self) -> Iterator[Found]:
        for clean in self._decoded_ahead():
            for distortion in self._work.distortions:
                lacking = self._lacking(distortion, clean.sample)
                if lacking:
                    yield from self._make_room(clean.pixels)
                    self._start_level(clean, distortion, lacking)
        yield from self._finish()
        for place, batches in self._batches.items():
            for batch in batches.rest():
                self._start_batch(place, batch)
        yield from self._finish()

    def _decoded_ahead(self) -> Iterator[Decoded]:
        """Decoded in threads, in order, never more than a few images ahead."""
        work = self._work
        coming: deque[Future[Decoded]] = deque()
        for position, sample in work.samples:
            if any(self._lacking(distortion, sample) for distortion in work.distortions):
                coming.append(self._pool.submit(decode, work.dataset, sample, position, with_truth=work.with_truth))
            if len(coming) > self._ahead:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()

    def _lacking(self, distortion: Distortion, sample: Sample) -> list[int]:
        key = (distortion.name, sample.id)
        return [place for place, entrant in enumerate(self._entrants) if key not in entrant.done]

    def _start_level(self, clean: Decoded, distortion: Distortion, lacking: Sequence[int]) -> None:
        here = [(place, self._entrants[place]) for place in lacking if place not in self._batches]
        future = self._pool.submit(_score_level, self._work, clean, distortion, here)
        batched = [place for place in lacking if place in self._batches]

        def take() -> Iterator[Found]:
            decoded, found = future.result()
            yield from found
            for place in batched:
                yield from self._collect(place, decoded)

        self._add(take, clean.pixels)

    def _collect(self, place: int, decoded: Decoded) -> Iterator[Found]:
        if decoded.reason is not None:
            yield place, failed(decoded, decoded.reason)
            return
        shape = tuple(side for image in decoded.images for side in image.shape[:2])
        for batch in self._batches[place].add(decoded, shape):
            self._start_batch(place, batch)

    def _start_batch(self, place: int, batch: Sequence[Decoded]) -> None:
        future = self._predictor.submit(self._predict_batch, self._entrants[place], batch)

        def take() -> Iterator[Found]:
            for scored in future.result():
                yield place, scored.result()

        self._add(take, sum(each.pixels for each in batch))

    def _predict_batch(self, entrant: Entrant, batch: Sequence[Decoded]) -> list[Future[Scored]]:
        answers, seconds = _ask(entrant, batch)
        return [
            self._pool.submit(_score_answer, self._work, entrant, decoded, answer, seconds)
            for decoded, answer in zip(batch, answers, strict=True)
        ]

    def _add(self, take: Callable[[], Iterator[Found]], pixels: int) -> None:
        self._under_way.append((take, pixels))
        self._pixels += pixels

    def _make_room(self, pixels: int) -> Iterator[Found]:
        while self._under_way and (
            len(self._under_way) >= self._most or self._pixels + pixels > self._most_pixels
        ):  # fmt: skip
            yield from self._take_first()

    def _finish(self) -> Iterator[Found]:
        while self._under_way:
            yield from self._take_first()

    def _take_first(self) -> Iterator[Found]:
        take, pixels = self._under_way.popleft()
        self._pixels -= pixels
        yield from take()


def _score_level(
    work: Work, clean: Decoded, distortion: Distortion, entrants: Sequence[tuple[int, Entrant]]
) -> tuple[Decoded, list[Found]]:
    """One image at one level, through all models that may be asked from this thread."""
    decoded = distort(clean, distortion, work.seed)
    found: list[Found] = []
    for place, entrant in entrants:
        if decoded.reason is not None:
            found.append((place, failed(decoded, decoded.reason)))
            continue
        (answer,), seconds = _ask(entrant, [decoded])
        found.append((place, _score_answer(work, entrant, decoded, answer, seconds)))
    return decoded, found


def _ask(entrant: Entrant, batch: Sequence[Decoded]) -> tuple[list[Prediction | str], float | None]:
    """A prediction or the reason why there is none for each image, and the seconds each took a model."""
    if isinstance(entrant.model, Recorded):
        return [_look_up(entrant.model, decoded) for decoded in batch], None
    inputs = zip(*(decoded.images for decoded in batch), strict=True)
    predict: Any = entrant.model.predict
    started = time.perf_counter()
    answers = predict_each(predict, *inputs, outputs=entrant.outputs)
    return answers, (time.perf_counter() - started) / len(batch)


def _look_up(recorded: Recorded, decoded: Decoded) -> Prediction | str:
    try:
        shapes = [(image.shape[0], image.shape[1]) for image in decoded.images]
        return recorded.read(decoded.sample.id, decoded.distortion, shapes)
    except (ImageError, PredictionError) as error:
        return str(error)


def _score_answer(
    work: Work, entrant: Entrant, decoded: Decoded, answer: Prediction | str, seconds: float | None
) -> Scored:
    if isinstance(answer, str):
        return failed(decoded, f"{entrant.label}: {answer}")
    return score(decoded, answer, seconds, work.metrics, pixels_of_all=work.pixels_of_all, sort=entrant.sort)
