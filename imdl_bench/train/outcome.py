"""What a training leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        best: the weights best in ``watch`` on held-out examples.
        last: those of the last step.
        samples: examples that were learned from, in all stages and calls.
        new: those of this call.
        watch: what the last stage chose its best weights by.
        value: its best value.
        seconds: of this call.
        resumed: whether an earlier call had begun it.
        first: whether this process is the first of those that trained together; the others need not report.
    """

    best: Path
    last: Path
    samples: int
    new: int
    watch: str
    value: float | None
    seconds: float
    resumed: bool
    first: bool

    def __str__(self) -> str:
        value = "undefined" if self.value is None else f"{self.value:.4f}"
        return f"{self.samples} examples, {self.new} of them now in {self.seconds:.0f} s; best {self.watch}: {value}"
