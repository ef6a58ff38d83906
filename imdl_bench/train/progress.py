"""Where a training stands, in numbers: what a checkpoint holds beside tensors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from imdl_bench.cards import Stage
from imdl_bench.metrics import parse_metric

LOSS = "loss"
LINES_BETWEEN_VALIDATIONS = 20


@dataclass(slots=True)
class Progress:
    """Of the stage at work unless said otherwise.

    Attributes:
        stage: its place in the recipe.
        seen: examples that were learned from.
        logged: ``seen`` at the last line of the loss log.
        validated: ``seen`` at the last validation.
        best: value of the watched metric at the best validation; ``None`` before the first.
        best_at: ``seen`` there.
        worse: validations since.
        reductions: how often a plateau was met.
        waited: validations since the last one that was better, or since the last reduction.
        before: examples of the stages that are over.
        seconds: of work in all, also of earlier calls.
        sums: loss terms since the last line of the log.
        steps: steps since that line.
        finished: the last stage is over.
    """

    stage: int = 0
    seen: int = 0
    logged: int = 0
    validated: int = 0
    best: float | None = None
    best_at: int = 0
    worse: int = 0
    reductions: int = 0
    waited: int = 0
    before: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    finished: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Numbers, texts and dicts only."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Progress:
        """What :meth:`to_dict` gave."""
        return cls(**{each.name: content[each.name] for each in fields(cls)})

    def next_stage(self) -> None:
        """The stage is over: the counts of the next begin at 0."""
        kept = Progress(stage=self.stage + 1, before=self.before + self.seen, seconds=self.seconds)
        for each in fields(self):
            setattr(self, each.name, getattr(kept, each.name))

    def add_losses(self, terms: dict[str, float]) -> None:
        """The loss terms of one step."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.steps += 1

    def take_line(self) -> dict[str, float]:
        """Mean loss terms since the last line, which this one then is."""
        means = {name: total / self.steps for name, total in self.sums.items()}
        self.sums, self.steps, self.logged = {}, 0, self.seen
        return means

    def line_due(self, stage: Stage) -> bool:
        """Whether the loss log gets a line now."""
        every = max(1, stage.validate_every // LINES_BETWEEN_VALIDATIONS)
        return self.steps > 0 and (self.seen // every > self.logged // every or self.seen >= stage.samples)

    def validation_due(self, stage: Stage) -> bool:
        """Whether a multiple of ``validate_every`` was passed, or the stage's end, since the last validation."""
        passed = self.seen // stage.validate_every > self.validated // stage.validate_every
        return passed or (self.seen >= stage.samples and self.validated < self.seen)

    def take_validation(self, stage: Stage, value: float) -> bool:
        """Record the watched value; returns whether it is the best so far."""
        self.validated = self.seen
        if is_better(stage.watch, value, self.best):
            self.best, self.best_at, self.worse, self.waited = value, self.seen, 0, 0
            return True
        self.worse += 1
        self.waited += 1
        if stage.schedule.name == "plateau" and self.waited >= stage.schedule.patience:
            self.reductions += 1
            self.waited = 0
        return False

    def stage_over(self, stage: Stage) -> bool:
        """Whether all examples were seen, or nothing got better for as long as the stage's patience."""
        return self.seen >= stage.samples or (stage.patience is not None and self.worse >= stage.patience)


def is_better(watch: str, value: float, best: float | None) -> bool:
    """Whether a watched value is the best so far; anything is better than none and than a value that is undefined."""
    if best is None:
        return True
    if math.isnan(value) or math.isnan(best):
        return math.isnan(best) and not math.isnan(value)
    lower = watch == LOSS or parse_metric(watch).statistic.lower_is_better
    return value < best if lower else value > best
