"""Measures costs with the library itself, on this machine's processor and with one thread."""

from __future__ import annotations

import os
import pickle
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from scale.costs import Costs, LevelCosts, ModelCosts
from scale.driver import Finished, finished_run, measure_driver, measure_worker_start
from scale.pictures import write_pictures

from imdl_bench import catalog
from imdl_bench.batching import predict_each
from imdl_bench.cards import UNTRAINED, Protocol
from imdl_bench.dataset import Dataset, load_dataset
from imdl_bench.distortions import NONE, Distortion, parse_distortions
from imdl_bench.engine.decoded import Decoded, decode, distort
from imdl_bench.engine.scored import Scored, score
from imdl_bench.metrics.histogram import ScorePool, sort_scores
from imdl_bench.metrics.names import Metric, parse_metric
from imdl_bench.types import Prediction

LEVELS = 30
TOO_LONG = 20.0  # seconds of one prediction: larger pictures are left out
Result = TypeVar("Result")


def measure_costs(
    models: Sequence[str], protocol: Protocol, sizes: Sequence[tuple[int, int]], repeats: int, workers: int
) -> Costs:
    """All costs of a grid: of the models named, or of all that take single images.

    Args:
        protocol: its metrics, and the first ``LEVELS`` of its levels.
        sizes: width and height of pictures.
        repeats: pictures of each size.
        workers: that start at once; 0 leaves Ray alone, and a worker's start is that of a process.
    """
    import torch

    torch.set_num_threads(1)
    metrics = [parse_metric(name) for name in protocol.metrics]
    distortions = parse_distortions(protocol.distort)[:LEVELS]
    names = models or [name for name in catalog.list_models() if catalog.model_card(name).input == "single"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder / "data", 3 * len(sizes) * repeats, sizes)
        dataset = load_dataset("folder", folder / "data")
        chosen = _by_size(dataset, len(sizes), repeats)
        clean = [decode(dataset, *each, with_truth=True) for each in chosen]
        _say("decoding and levels")
        decoding = _points(chosen, clean, lambda each: decode(dataset, *each, with_truth=True))
        levels = {distortion.name: _level(distortion, clean) for distortion in distortions}
        found: dict[str, ModelCosts] = {}
        largest: list[Scored] = []
        for model in names:
            _say(model)
            found[model], scored = _model(model, clean, metrics)
            if found[model].row_bytes == max(each.row_bytes for each in found.values()):
                largest = scored
        _say("the driver")
        driver = measure_driver(folder / "driver", largest, protocol, ray=workers > 0)
        return Costs(
            measured_on=_machine(),
            worker_start=measure_worker_start(workers),
            image_bytes=[[_megapixels(each), float(_file_bytes(each))] for each in clean],
            decode=decoding,
            driver=driver,
            levels=levels,
            models=found,
        )


def measure_rows(model: str, protocol: Protocol, counts: Sequence[int]) -> Iterator[Finished]:
    """What runs of so many rows take once they are finished; rows like those of a model on pictures of 512x512."""
    metrics = [parse_metric(name) for name in protocol.metrics]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["IMDL_BENCH_CACHE"] = str(folder / "cache")
        write_pictures(folder / "data", 24, [(512, 512)])
        write_pictures(folder / "tiny", 3, [(16, 16)])
        dataset = load_dataset("folder", folder / "data")
        clean = [decode(dataset, *each, with_truth=True) for each in _by_size(dataset, 1, 16)]
        _, scored = _model(model, clean, metrics)
        for count in counts:
            yield finished_run(folder, protocol, scored, count)


def _by_size(dataset: Dataset, sizes: int, repeats: int) -> list[tuple[Any, int]]:
    """Forged samples with positions, ``repeats`` of each size, small ones first."""
    forged = [(sample, place) for place, sample in enumerate(dataset.samples) if sample.forged]
    return [pair for size in range(sizes) for pair in forged[size::sizes][:repeats]]


def _timed(work: Callable[[], Result]) -> tuple[Result, float, float]:
    """The result, wall seconds and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def _points(items: Sequence[Any], clean: Sequence[Decoded], work: Callable[[Any], object]) -> list[list[float]]:
    """Per picture [megapixels, wall, CPU]; the first one is done once before, to warm up."""
    work(items[0])
    found = []
    for item, picture in zip(items, clean, strict=True):
        _, wall, cpu = _timed(partial(work, item))
        found.append([_megapixels(picture), wall, cpu])
    return _medians(found)


def _medians(points: Sequence[Sequence[float]]) -> list[list[float]]:
    """One point for each size."""
    sizes = sorted({point[0] for point in points})
    columns = range(1, len(points[0]))
    return [
        [size, *(statistics.median(p[column] for p in points if p[0] == size) for column in columns)] for size in sizes
    ]


def _megapixels(picture: Decoded) -> float:
    return float(picture.images[0].shape[0] * picture.images[0].shape[1] / 1e6)


def _file_bytes(picture: Decoded) -> int:
    return sum(path.stat().st_size for path in (picture.sample.image, picture.sample.mask) if path is not None)


def _level(distortion: Distortion, clean: Sequence[Decoded]) -> LevelCosts:
    """Making the level, and moving a smooth mask back."""
    import cv2
    import numpy as np

    if distortion.name == NONE:
        return LevelCosts(1.0, [], [])
    made = [distort(each, distortion, 0) for each in clean]
    area = sum(_megapixels(each) for each in made) / sum(_megapixels(each) for each in clean)
    masks = [
        cv2.GaussianBlur(np.random.default_rng(0).random(each.images[0].shape[:2], np.float32), (0, 0), 3)
        for each in made
    ]
    back = _points(list(zip(made, masks, strict=True)), clean, lambda pair: pair[0].moved[0].map_back(pair[1]))
    return LevelCosts(area, _points(clean, clean, lambda each: distort(each, distortion, 0)), back)


def _model(name: str, clean: Sequence[Decoded], metrics: Sequence[Metric]) -> tuple[ModelCosts, list[Scored]]:
    """One model, with weights that come with the library or random ones: the arithmetic is the same."""
    card = catalog.model_card(name)
    packaged = [key for key, each in (card.weights or {}).items() if each.packaged]
    weights = None if card.weights is None else packaged[0] if packaged else UNTRAINED
    catalog.model_entry(name)  # its imports are a worker's start, not a model's load
    model, loading, _ = _timed(lambda: catalog.load_model(name, weights))
    forward: list[list[float]] = []
    answers: list[tuple[Decoded, Prediction]] = []
    predict_each(model.predict, [clean[0].images[0]], outputs=card.outputs)
    for picture in clean:
        if forward and forward[-1][2] * _megapixels(picture) / forward[-1][0] > TOO_LONG:
            break
        (answer,), wall, cpu = _timed(
            lambda picture=picture: predict_each(model.predict, [picture.images[0]], outputs=card.outputs)  # type: ignore[misc]
        )
        assert isinstance(answer, Prediction), answer
        forward.append([_megapixels(picture), wall, cpu])
        answers.append((picture, answer))
    network = getattr(model, "network", None)
    found, scoring, pool_bytes, first = _scores(answers, metrics)
    rows = [row for each in found for row in each.rows]
    return ModelCosts(
        network=network is not None,
        load_seconds=loading,
        weight_bytes=sum(t.numel() * t.element_size() for t in network.state_dict().values()) if network else 0,
        forward=_medians(forward),
        gflop=_gflop(model, clean[: len(forward)]) if network is not None else [],
        score=scoring,
        shard_level=first,
        row_bytes=len(pickle.dumps(rows)) // len(rows),
        thumbnail_bytes=len(pickle.dumps([each.masks for each in found])) // len(found),
        pool_bytes=pool_bytes,
    ), found


def _scores(
    answers: Sequence[tuple[Decoded, Prediction]], metrics: Sequence[Metric]
) -> tuple[list[Scored], list[list[float]], int, float]:
    """What was scored, points of scoring and pooling, bytes of a packed pool, and what a pool takes beside.

    A pool's first images are kept value by value, and in the end it is packed: that comes once per level and shard.
    """
    scoring = partial(score, pixels_of_all=False, sort=sort_scores)
    pool, begun = ScorePool(), 0.0
    points: list[list[float]] = []
    found: list[Scored] = []
    for turn in range(2):
        for picture, answer in answers:
            scored, wall, cpu = _timed(partial(scoring, picture, answer, 0.0, metrics))
            _, pooled, pooled_cpu = _timed(partial(_pool, pool, scored))
            begun += pooled_cpu if turn == 0 else -pooled_cpu
            if turn:
                found.append(scored)
                points.append([_megapixels(picture), wall + pooled, cpu + pooled_cpu])
    packed, _, packing = _timed(pool.to_bytes)
    return found, _medians(points), len(packed), max(0.0, begun) + packing


def _pool(pool: ScorePool, scored: Scored) -> None:
    for pixels in scored.pixels:
        if pixels.histogram is not None:
            pool.add(pixels.scores, pixels.histogram)


def _gflop(model: Any, pictures: Sequence[Decoded]) -> list[list[float]]:
    """Operations that PyTorch counts, a multiplication and an addition as two."""
    from torch.utils.flop_counter import FlopCounterMode

    points: list[list[float]] = []
    for picture in pictures:
        if any(point[0] == _megapixels(picture) for point in points):
            continue
        with FlopCounterMode(display=False) as counter:
            model.predict([picture.images[0]])
        points.append([_megapixels(picture), counter.get_total_flops() / 1e9])
    return points


def _machine() -> dict[str, Any]:
    import torch

    with Path("/proc/cpuinfo").open() as file:
        name = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "threads": 1,
        "torch": torch.__version__,
        "when": datetime.now().isoformat(timespec="minutes"),
        "load average": load,
    }


def _say(what: str) -> None:
    print(f"measuring {what}", flush=True)
