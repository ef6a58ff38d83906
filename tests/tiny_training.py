"""What the tiny network needs to be trained: a learner, recipes; and the small data set it learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from plugin_folder import write_text
from tiny_network import write_tiny

LEARNER = '''
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from imdl_bench.learner import Learner, Turn


class TinyLearner(Learner):
    """Pixel-wise cross entropy, with dropout on the input and a decision on the whole image."""

    defaults = {"breaks_at": 0}

    def __init__(self, network, options):
        super().__init__(network, options)
        self.whole = nn.Linear(1, 1)

    @staticmethod
    def inputs(example, options):
        image = torch.from_numpy(example.image.transpose(2, 0, 1)).float() / 255
        return {"image": image, "truth": torch.from_numpy(example.truth)[None].float(),
                "forged": torch.tensor([float(example.forged)])}

    def losses(self, batch, turn):
        seen = nn.functional.dropout(batch["image"], 0.1, self.training)
        logits = self.network["head"](self.network["body"](seen)).float()
        pixels = binary_cross_entropy_with_logits(logits, batch["truth"])
        whole = binary_cross_entropy_with_logits(self.whole(logits.mean((2, 3))), batch["forged"])
        total = pixels + 0.1 * whole
        if self.training and self.options.get("breaks_at", 0):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == self.options["breaks_at"]:
                total = total / 0
        return {"total": total, "pixels": pixels.detach(), "whole": whole.detach()}


class Plain(TinyLearner):
    """Without anything that depends on how examples are put together."""

    def losses(self, batch, turn):
        logits = self.network["head"](self.network["body"](batch["image"])).float()
        return {"total": binary_cross_entropy_with_logits(logits, batch["truth"])}


class Judged(TinyLearner):
    """Two turns: the network, then the judge of a fresh batch, which reads nothing of the network's gradient."""

    turns = (Turn("network", ("network.",)), Turn("judge", ("whole.",), fresh=True))

    def constrain(self):
        with torch.no_grad():
            self.whole.weight.clamp_(-0.05, 0.05)
'''
RECIPE = """
recipes:
  paper:
    source: made by the tests
    stages:
      - {name: body, learner: "training:TinyLearner", optimizers: {network: {name: adam, lr: 0.01}}, batch: 4,
         data: dataset, side: 32, augment: dihedral, samples: 40, validate_every: 20, validation: 4, watch: loss}
      - {name: judged, learner: "training:Judged", batch: 4, clip: 1.0, keep: [body.], freeze: [network.body.0.],
         optimizers: {network: {name: sgd, lr: 0.01, momentum: 0.9, rates: {network.head.: 2.0}},
                      judge: {name: adam, lr: 0.001}},
         schedule: {name: step, factor: 0.5, every: 16, warmup: 8},
         data: dataset, side: 32, samples: 48, validate_every: 16, validation: 4}
unified:
  learner: training:TinyLearner
  optimizers: {network: {name: adam, lr: 0.01}}
  batch: 4
"""


def write_trainable(folder: Path) -> None:
    """The plug-in ``tiny`` with its learner; the plug-in's data set ``edits`` is what it learns from."""
    write_tiny(folder)
    write_text(folder / "models/tiny/training.py", LEARNER)
    write_text(folder / "models/tiny/recipe.yaml", RECIPE)


def write_recipe(folder: Path, **changed: Any) -> Path:
    """A recipe file of one stage, ``changed`` from a plain one."""
    stage = {"name": "own", "learner": "training:TinyLearner", "optimizers": {"network": {"name": "sgd", "lr": 0.1}},
             "batch": 4, "data": "dataset", "side": 32, "samples": 40, "validate_every": 20,
             "validation": 4}  # fmt: skip
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"source": "made by the tests", "stages": [stage | changed]}))
    return path
