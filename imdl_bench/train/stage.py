"""One stage at work: its model, learner and optimisers, and the step that moves them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imdl_bench.cards import OptimizerCard, Stage
from imdl_bench.errors import CardError, TrainingError, nearest
from imdl_bench.learner import TOTAL, Batch, Learner, Turn
from imdl_bench.train.loading import Loaded, Skipped
from imdl_bench.train.progress import LOSS, Progress
from imdl_bench.train.schedules import rate_factor

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "adadelta": torch.optim.Adadelta,
}  # fmt: skip


class _Held:
    """Carries a batch past wrappers that would copy it: a turn may leave tensors in it for the turns after it."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class _Call(nn.Module):
    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, held: _Held, turn: str) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.learner(held.batch, turn)
        return found


class StageAtWork:
    """Takes steps. Everything that a checkpoint must bring back is in :meth:`state`.

    Attributes:
        learner: on the device.
        skipped: examples that could not be read, since they were last taken from here.
    """

    def __init__(self, fabric: Any, stage: Stage, learner: Learner, *, accumulate: int, seed: int) -> None:
        self._fabric = fabric
        self._stage = stage
        self._accumulate = accumulate
        self._seed = seed
        self.learner = learner.requires_grad_(True)
        self._main = learner.main_turn
        self._moved = {turn.name: _moved_by(learner, turn, stage) for turn in learner.turns}
        self._module = fabric.setup_module(_Call(learner))
        self._plain = {turn.name: self._optimizer(turn) for turn in learner.turns}
        self._optimizers = {name: fabric.setup_optimizers(each) for name, each in self._plain.items()}
        self.skipped: list[Skipped] = []
        self.train()

    def state(self) -> dict[str, Any]:
        """Tensors and numbers of the learner, the optimisers and the precision."""
        return {
            "learner": self.learner.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._plain.items()},
            "precision": self._fabric.strategy.precision.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state` gave."""
        self.learner.load_state_dict(state["learner"])
        for name, optimizer in self._plain.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._fabric.strategy.precision.load_state_dict(state["precision"])

    def train(self) -> None:
        """Training mode, but for frozen modules: their running statistics stay too."""
        self._module.train()
        for name, module in self.learner.named_modules():
            if name and _has_prefix(f"{name}.", self._stage.freeze):
                module.eval()

    def step(self, batches: Iterator[Loaded], progress: Progress) -> dict[str, float]:
        """All turns, once. Returns the network's learning rate and all loss terms, means over devices.

        Raises:
            TrainingError: a loss or gradient is not finite; no weight has moved by it.
        """
        self.train()
        self._seed_step(progress)
        factor = rate_factor(
            self._stage.schedule, progress.seen, self._stage.samples, step=self._stage.batch,
            reductions=progress.reductions,
        )  # fmt: skip
        terms: dict[str, float] = {"lr": factor * self._stage.optimizers[self._main.name].lr}
        parts: list[Loaded] = []
        for turn in self.learner.turns:
            if not parts or turn.fresh:
                parts = [self._next(batches) for _ in range(self._accumulate)]
                progress.seen += self._stage.batch
            found = self._turn(turn, parts, factor, progress)
            terms |= {self._term(turn, name): value for name, value in found.items()}
        self.learner.constrain()
        return terms

    def validation_losses(self, parts: Iterator[Batch]) -> dict[str, float]:
        """Mean loss terms of the network's turn over the examples of batches on the CPU, in eval mode."""
        sums: dict[str, float] = {}
        count = 0
        with torch.no_grad(), self._fabric.autocast():
            for batch in parts:
                moved = {key: tensor.to(self._fabric.device) for key, tensor in batch.items()}
                size = len(next(iter(batch.values())))
                for name, value in self.learner.losses(moved, self._main.name).items():
                    sums[name] = sums.get(name, 0.0) + float(value) * size
                count += size
        return {self._term(self._main, name): total / count for name, total in sums.items()}

    def _seed_step(self, progress: Progress) -> None:
        """Dropout and other draws depend on the step alone: a training that goes on draws as one that never stopped."""
        words = [self._seed, progress.stage, progress.seen, int(self._fabric.global_rank)]
        state = torch.tensor(words, dtype=torch.int64).numpy().tobytes()
        torch.manual_seed(int.from_bytes(_digest(state), "little") >> 1)

    def _next(self, batches: Iterator[Loaded]) -> Loaded:
        loaded = next(batches)
        self.skipped += loaded.skipped
        device = self._fabric.device
        moved = {key: tensor.to(device, non_blocking=True) for key, tensor in loaded.inputs.items()}
        return loaded._replace(inputs=moved)

    def _turn(self, turn: Turn, parts: list[Loaded], factor: float, progress: Progress) -> dict[str, float]:
        moved = self._moved[turn.name]
        for name, parameter in self.learner.named_parameters():
            parameter.requires_grad_(name in moved)
        optimizer = self._optimizers[turn.name]
        optimizer.zero_grad()
        sums: dict[str, Tensor] = {}
        for place, part in enumerate(parts):
            with self._fabric.no_backward_sync(self._module, enabled=place + 1 < len(parts)):
                losses = self._module(_Held(part.inputs), turn.name)
                self._fabric.backward(losses[TOTAL] / len(parts))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.detach().float() / len(parts)
        norm = self._gradient_norm(turn, moved)
        own = torch.stack([*sums.values(), norm])
        mean = self._fabric.all_reduce(own, reduce_op="mean").tolist()
        # A scaler of float16 skips steps whose gradients are too large by itself.
        checked = mean if self._scaler() is None else mean[:-1]
        if not all(map(math.isfinite, checked)):
            raise TrainingError(self._not_finite(turn, [*sums], own.tolist(), parts, progress))
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimizer.step()
        return dict(zip(sums, mean, strict=False))

    def _gradient_norm(self, turn: Turn, moved: Mapping[str, nn.Parameter]) -> Tensor:
        if self._scaler() is not None:
            self._fabric.strategy.precision.unscale_gradients(self._plain[turn.name])
        gradients = [parameter.grad for parameter in moved.values() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self._stage.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(moved.values(), self._stage.clip, norm)
        return norm.float()

    def _scaler(self) -> Any:
        return getattr(self._fabric.strategy.precision, "scaler", None)

    def _not_finite(
        self, turn: Turn, names: list[str], values: list[float], parts: list[Loaded], progress: Progress
    ) -> str:
        step = progress.seen // self._stage.batch
        bad = [name for name, value in zip([*names, "gradient"], values, strict=True) if not math.isfinite(value)]
        where = f"stage {self._stage.name}, step {step} (after {progress.seen} examples), turn {turn.name}"
        if not bad:
            return f"{where}: another process met a loss that is not finite"
        ids = ", ".join(each for part in parts for each in part.ids)
        return f"{where}: not finite: {', '.join(bad)}; the examples of this step: {ids}"

    def _term(self, turn: Turn, name: str) -> str:
        """The main turn's terms are named as those of a validation."""
        if turn is self._main:
            return LOSS if name == TOTAL else f"{LOSS}/{name}"
        return f"{turn.name}/{LOSS if name == TOTAL else name}"

    def _optimizer(self, turn: Turn) -> torch.optim.Optimizer:
        known = self._stage.optimizers
        if turn.name not in known:
            raise CardError(
                f"stage {self._stage.name}: the learner has a turn {turn.name!r} and `optimizers` has none of that name"
                f"{nearest(turn.name, known)} (it has {', '.join(known)})"
            )
        return build_optimizer(known[turn.name], self._moved[turn.name])


def build_optimizer(card: OptimizerCard, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """An optimiser over named parameters, in groups of equal rate: the longest prefix in ``rates`` counts."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        prefixes = [prefix for prefix in card.rates if name.startswith(prefix)]
        rate = card.rates[max(prefixes, key=len)] if prefixes else 1.0
        groups.setdefault(rate, []).append(parameter)
    if unused := [prefix for prefix in card.rates if not any(name.startswith(prefix) for name in parameters)]:
        raise CardError(f"rates: no parameter begins with {unused[0]!r}{nearest(unused[0], parameters)}")
    listed = [{"params": each, "lr": card.lr * rate, "initial_lr": card.lr * rate} for rate, each in groups.items()]
    chosen = {"betas": card.betas, "momentum": card.momentum}
    more = {key: value for key, value in chosen.items() if value is not None}
    try:
        build: Any = OPTIMIZERS[card.name]
        optimizer: torch.optim.Optimizer = build(listed, lr=card.lr, weight_decay=card.weight_decay, **more)
    except TypeError as error:
        raise CardError(f"optimiser {card.name}: {error}") from None
    return optimizer


def _moved_by(learner: Learner, turn: Turn, stage: Stage) -> dict[str, nn.Parameter]:
    named = dict(learner.named_parameters())
    for prefix in stage.freeze:
        if not any(name.startswith(prefix) for name in named):
            raise CardError(f"stage {stage.name}: no parameter begins with {prefix!r}{nearest(prefix, named)}")
    moved = {
        name: parameter
        for name, parameter in named.items()
        if _has_prefix(name, turn.parameters) and not _has_prefix(name, stage.freeze)
    }
    if not moved:
        raise CardError(
            f"stage {stage.name}: turn {turn.name} moves nothing: no parameter that is not frozen begins with "
            f"{' or '.join(map(repr, turn.parameters))}"
        )
    return moved


def _has_prefix(name: str, prefixes: tuple[str, ...] | list[str]) -> bool:
    return any(name.startswith(prefix) for prefix in prefixes)


def _digest(content: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(content).digest()[:8]
