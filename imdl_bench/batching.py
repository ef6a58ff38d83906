"""Batches of equal shapes with bounded memory, and prediction that survives a batch too large or one bad image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from imdl_bench.errors import ImdlBenchError, PredictionError
from imdl_bench.types import Image, Prediction

Item = TypeVar("Item")
MAX_WAITING_PIXELS = 64_000_000


class ShapeBatches(Generic[Item]):
    """Collects items of equal shape. Gives a batch when it is full, or the fullest one when too many pixels wait."""

    def __init__(self, batch_size: int, max_pixels: int = MAX_WAITING_PIXELS) -> None:
        self._batch_size = batch_size
        self._max_pixels = max_pixels
        self._waiting: dict[tuple[int, ...], list[Item]] = {}
        self._pixels = 0

    def add(self, item: Item, shape: tuple[int, ...]) -> Iterator[list[Item]]:
        """Take one item; yields the batches that are to be run now."""
        self._waiting.setdefault(shape, []).append(item)
        self._pixels += int(np.prod(shape))
        if len(self._waiting[shape]) >= self._batch_size:
            yield self._take(shape)
        while self._pixels > self._max_pixels:
            yield self._take(max(self._waiting, key=lambda waiting: len(self._waiting[waiting])))

    def rest(self) -> Iterator[list[Item]]:
        """Everything that still waits."""
        for shape in list(self._waiting):
            yield self._take(shape)

    def _take(self, shape: tuple[int, ...]) -> list[Item]:
        batch = self._waiting.pop(shape)
        self._pixels -= int(np.prod(shape)) * len(batch)
        return batch


def predict_each(
    predict: Callable[..., list[Prediction]], *inputs: Sequence[Image], outputs: Sequence[str]
) -> list[Prediction | str]:
    """One prediction per image, or the reason why there is none.

    A batch that fails (out of memory, one image the model cannot take) is halved until the failing image stands alone.

    Args:
        predict: ``model.predict``.
        inputs: the images; probes and donors for a pair model.
        outputs: what the card promises, ``mask`` and ``score``.
    """
    count = len(inputs[0])
    try:
        predictions = predict(*(list(images) for images in inputs))
        if len(predictions) != count:
            raise PredictionError(f"{len(predictions)} predictions for {count} images")
    except (Exception, SystemExit) as error:
        if count == 1:
            if isinstance(error, ImdlBenchError):  # its message is made to be read
                return [str(error)]
            return [f"{type(error).__name__}: {error}" if str(error) else type(error).__name__]
        half = count // 2
        halves = ([images[:half] for images in inputs], [images[half:] for images in inputs])
        return [each for part in halves for each in predict_each(predict, *part, outputs=outputs)]
    checked: list[Prediction | str] = []
    buffers: set[int] = set()
    for position, prediction in enumerate(predictions):
        try:
            check_prediction(prediction, *(images[position] for images in inputs), outputs=outputs)
            checked.append(_own_copy(prediction, buffers))
        except PredictionError as error:
            checked.append(str(error))
    return checked


def check_prediction(prediction: Prediction, *images: Image, outputs: Sequence[str]) -> None:
    """Raise PredictionError unless masks and score are what :class:`~imdl_bench.types.Prediction` promises.

    What ``outputs`` does not name may be missing; where it is there, it is recorded and so it is checked. Nothing is
    mended: no sigmoid, no clipping, no resizing.
    """
    if not isinstance(prediction, Prediction):
        raise PredictionError(f"predict returned {type(prediction).__name__}, not Prediction")
    if "mask" in outputs or prediction.mask is not None:
        _check_mask("mask", prediction.mask, images[0])
    if len(images) == 2 and ("mask" in outputs or prediction.donor_mask is not None):
        _check_mask("donor_mask", prediction.donor_mask, images[1])
    if len(images) == 1 and prediction.donor_mask is not None:
        raise PredictionError("a donor_mask, but there is no donor")
    if "score" in outputs or prediction.score is not None:
        score = prediction.score
        number = isinstance(score, (int, float, np.floating)) and not isinstance(score, bool)
        if not number or not 0 <= float(score or 0) <= 1:  # false for nan too
            raise PredictionError(f"score {score!r} is not a number in [0, 1]")


def _own_copy(prediction: Prediction, buffers: set[int]) -> Prediction:
    """The prediction in memory of its own: it is scored later, when the model may have reused its buffers."""
    masks = [mask for mask in (prediction.mask, prediction.donor_mask) if mask is not None]
    for mask in masks:
        if mask.ctypes.data in buffers:
            raise PredictionError("two predictions of one batch share one array; return a new one for each image")
        buffers.add(mask.ctypes.data)
    copies = [None if mask is None else mask.copy() for mask in (prediction.mask, prediction.donor_mask)]
    score = None if prediction.score is None else float(prediction.score)
    return Prediction(copies[0], score, copies[1])


def _check_mask(name: str, mask: object, image: Image) -> None:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.float32:
        kind = getattr(mask, "dtype", type(mask).__name__)
        raise PredictionError(f"{name} is {kind}, not a float32 array")
    if mask.shape != image.shape[:2]:
        raise PredictionError(f"{name} has shape {mask.shape}, the image {image.shape[:2]}")
    low, high = float(mask.min()), float(mask.max())
    if not (low >= 0 and high <= 1):  # false for nan too
        raise PredictionError(f"{name} holds values from {low} to {high}, outside [0, 1] or not finite")
