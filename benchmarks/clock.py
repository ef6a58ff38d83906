"""A model that a run is given in place of the one it would load, with a clock around its predictions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from imdl_bench import catalog
from imdl_bench.types import Image, Prediction


class Clock:
    """Behaves as ``model``, and counts images and CPU seconds of the threads that predict."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.concurrent = getattr(model, "concurrent", False)
        self.calls: list[tuple[int, float]] = []  # appended by any thread

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def predict(self, *inputs: Sequence[Image]) -> list[Prediction]:
        """The model's predictions."""
        started = time.thread_time()
        found: list[Prediction] = self.model.predict(*inputs)
        self.calls.append((len(inputs[0]), time.thread_time() - started))
        return found

    def take(self) -> tuple[int, float]:
        """Images and CPU seconds since the last time. Raises RuntimeError where there were none."""
        calls, self.calls = self.calls, []
        if not calls:
            raise RuntimeError("no prediction passed the clock: the run loads its model by another way")
        return sum(images for images, _ in calls), sum(seconds for _, seconds in calls)


@contextmanager
def served(model: Any) -> Iterator[Clock]:
    """Within this, whatever model a run loads is ``model``, behind a clock: loading is not measured."""
    clock = Clock(model)
    with patch.object(catalog, "load_model", lambda *_, **__: clock):
        yield clock
