"""What a stage reports of itself: means over examples, and the terms of the network's own turn."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from imdl_bench.cards import ScheduleCard, Stage, WeightsCard
from imdl_bench.learner import Batch, Learner, Turn
from imdl_bench.train.hardware import Hardware, start_fabric
from imdl_bench.train.stage import StageAtWork


class JudgeFirst(Learner):
    """The loss of a turn is the mean of its inputs, times a weight that starts at 1 or 100."""

    turns: ClassVar[tuple[Turn, ...]] = (Turn("judge", ("judge",)), Turn("network", ("network.",)))

    def __init__(self, network: nn.Module, options: Any) -> None:
        super().__init__(network, options)
        self.judge = nn.Parameter(torch.tensor(100.0))

    @staticmethod
    def inputs(example: Any, options: Any) -> Batch:
        raise NotImplementedError

    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        weight = self.judge if turn == "judge" else self.network.weight
        return {"total": (batch["x"] * weight).mean()}


@pytest.fixture
def at_work() -> StageAtWork:
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    adam = {"name": "adam", "lr": 0.1}
    stage = Stage.model_validate({
        "name": "x", "learner": "a:B", "data": "dataset", "side": 32, "batch": 2, "samples": 8, "validate_every": 4,
        "validation": 3, "optimizers": {"judge": {**adam, "lr": 0.5}, "network": adam},
    })  # fmt: skip
    fabric = start_fabric(Hardware(progress=False), "float32")
    return StageAtWork(fabric, stage, JudgeFirst(network, {}), accumulate=1, seed=0)


def test_validation_weighs_examples_alike_and_looks_at_the_networks_turn(at_work: StageAtWork) -> None:
    at_work.learner.eval()
    batches: list[Batch] = [{"x": torch.tensor([[1.0], [2.0]])}, {"x": torch.tensor([[9.0]])}]
    assert at_work.validation_losses(iter(batches)) == {"loss": 4.0}


@pytest.mark.parametrize("schedule", [{"name": "step"}, {"name": "plateau"}])
def test_a_schedule_says_when_it_lowers_the_rate(schedule: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"needs (every|patience), 1 or more"):
        ScheduleCard.model_validate(schedule)


def test_packaged_weights_are_always_verified() -> None:
    card = {"files": ["bench.safetensors"], "licence": "CC0-1.0", "packaged": True}
    with pytest.raises(ValidationError, match="packaged weights need their sha256"):
        WeightsCard.model_validate(card)
