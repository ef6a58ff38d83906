"""What a training writes while it goes on: CSV files that a resumed training continues, times, and TensorBoard."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOSSES, VALIDATION, SKIPPED, TIMES = "losses.csv", "validation.csv", "skipped.csv", "log.jsonl"


class Logs:
    """Lines go to the files at once. :meth:`positions` of a checkpoint bring them back to where they were then.

    ``losses.csv``, ``validation.csv`` and ``skipped.csv`` are the same however often a training was stopped on the way;
    what is not, times and speeds, stands in ``log.jsonl``. Of many processes only one has ``write``.
    """

    def __init__(self, folder: Path, positions: Mapping[str, int], *, write: bool) -> None:
        self._folder = folder
        self._write = write
        self._writer: Any = None
        if not write:
            return
        for name in (LOSSES, VALIDATION, SKIPPED):
            _cut(folder / name, positions.get(name, 0))

    def positions(self) -> dict[str, int]:
        """Length of each file in bytes."""
        paths = [self._folder / name for name in (LOSSES, VALIDATION, SKIPPED)]
        return {path.name: path.stat().st_size for path in paths if path.exists()}

    def losses(self, stage: str, samples: int, total: int, values: Mapping[str, float]) -> None:
        """Mean loss terms and the learning rates' factor since the last line; ``total`` counts all stages."""
        rows = [(stage, samples, term, value) for term, value in values.items()]
        self._append(LOSSES, ("stage", "samples", "term", "value"), rows)
        self._scalars(f"{stage}/training", values, total)

    def validation(self, stage: str, samples: int, total: int, values: Mapping[str, float]) -> None:
        """What a validation gave."""
        rows = [(stage, samples, metric, value) for metric, value in values.items()]
        self._append(VALIDATION, ("stage", "samples", "metric", "value"), rows)
        self._scalars(f"{stage}/validation", values, total)

    def skipped(self, stage: str, rows: Sequence[tuple[int, str]]) -> None:
        """Examples that could not be read."""
        if rows:
            self._append(SKIPPED, ("stage", "number", "reason"), [(stage, *row) for row in rows])

    def time(self, **facts: object) -> None:
        """A line of what changes from one call to the next: never compared."""
        with (self._folder / TIMES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")

    def close(self) -> None:
        """Write what TensorBoard still holds back."""
        if self._writer is not None:
            self._writer.close()

    def _append(self, name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        if not self._write:
            return
        path = self._folder / name
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not path.exists() or path.stat().st_size == 0:
            writer.writerow(header)
        writer.writerows([[_written(cell) for cell in row] for row in rows])
        with path.open("a", encoding="utf-8") as file:
            file.write(text.getvalue())

    def _scalars(self, group: str, values: Mapping[str, float], total: int) -> None:
        if not self._write:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder / "tensorboard"), purge_step=total)
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, total)


def _written(cell: object) -> object:
    return f"{cell:.7g}" if isinstance(cell, float) else cell


def _cut(path: Path, length: int) -> None:
    if not path.exists():
        return
    if length == 0:
        path.unlink()
        return
    with path.open("r+b") as file:
        file.truncate(length)
