"""How a network learns: the contract between the training loop, which knows no model, and ``models/*/training.py``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from imdl_bench.examples import Example

__all__ = ["TOTAL", "Batch", "Learner", "Turn"]

TOTAL = "total"
NETWORK = "network"

Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Turn:
    """One optimiser step; the turns of a learner are taken in order, all of them in every training step.

    Attributes:
        name: key of the optimiser in the recipe, and the argument of :meth:`Learner.losses`.
        parameters: prefixes of the learner's parameter names (``network.``, ``discriminator.``) that this turn moves;
            all others get no gradient meanwhile.
        fresh: draws a new batch before it; otherwise it sees the batch of the turn before.
    """

    name: str
    parameters: tuple[str, ...] = ("",)
    fresh: bool = False


class Learner(nn.Module, ABC):
    """A network with everything that its training adds: judges, auxiliary heads, a decision block, losses.

    One class per way of training; a recipe's stage names it. The loop calls :meth:`inputs` in worker processes, stacks
    what it gives to batches, and calls :meth:`losses` on the device, under autocast unless in float32.

    Attributes:
        turns: usually one, which moves everything.
        defaults: what a recipe's ``options`` may say besides the model's settings, and what holds where it does not.
        network: the network that is kept when training is over, the very module of the TorchModel.
        options: of the recipe's stage, over the defaults.
    """

    turns: ClassVar[tuple[Turn, ...]] = (Turn(NETWORK),)
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, network: nn.Module, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.options = {**self.defaults, **options}

    @staticmethod
    @abstractmethod
    def inputs(example: Example, options: Mapping[str, Any]) -> Batch:
        """Tensors of one example, without a batch axis; same keys and shapes for every example of a stage.

        Args:
            example: of the stage's ``side``, or of any size where that is null.
            options: of the stage, over the settings of the model (``amplification``, ``backbone``, ...).
        """

    @abstractmethod
    def losses(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        """Scalars of one turn: ``total`` is minimised; the others are logged, and should be detached.

        A turn may leave tensors in ``batch`` for the turns after it. In eval mode it is called without gradients, on
        held-out examples: nothing may be random then.
        """

    @property
    def main_turn(self) -> Turn:
        """The turn that is validated and whose loss is shown: the one called ``network``, or else the first."""
        return next((turn for turn in self.turns if turn.name == NETWORK), self.turns[0])

    def forward(self, batch: Batch, turn: str) -> dict[str, Tensor]:
        """As :meth:`losses`; the loop comes through here, so that data-parallel wrappers see the call."""
        return self.losses(batch, turn)

    def constrain(self) -> None:
        """Bring the weights back to their constraints; called after every optimiser step."""
