"""What proofs of learning share: scenes to look at, and the loop at its barest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from imdl_bench.examples import Example
from imdl_bench.learner import TOTAL, Batch, Learner


def scene(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Clouds of three sizes in colour, uint8 (side, side, 3)."""
    total = np.full((side, side, 3), 128.0)
    for cells, strength in ((4, 50), (12, 45), (32, 20)):
        grid = rng.standard_normal((cells, cells, 3))
        total += strength * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(total, 0, 255).astype(np.uint8)


def batch_of(learner: Learner, examples: Sequence[Example]) -> Batch:
    made = [learner.inputs(example, learner.options) for example in examples]
    return {key: torch.stack([one[key] for one in made]) for key in made[0]}


def learn(
    learner: Learner, steps: int, lr: float, examples: Callable[[int], Sequence[Example]], *, precision: torch.dtype
) -> None:
    """Steps of Adam on the only turn, the batch of step n from ``examples(n)``; weights without gradient stay."""
    (turn,) = learner.turns
    learner.train()
    optimizer = torch.optim.Adam([each for each in learner.parameters() if each.requires_grad], lr)
    for step in range(steps):
        batch = batch_of(learner, examples(step))
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = learner(batch, turn.name)[TOTAL]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
        optimizer.step()
        learner.constrain()
    learner.eval()


def pixel_auc(truth: NDArray[np.bool_], mask: NDArray[np.float32]) -> float:
    return float(roc_auc_score(truth.ravel(), mask.ravel()))
