"""A plug-in network small enough to be right at a glance, with weights in two official files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plugin_folder import write_text

import imdl_bench
from imdl_bench.types import Image

CARD = """
name: tiny
title: A network made by the tests
entry: model:Tiny
outputs: [mask]
paper: none
settings:
  gain: {about: multiplies the logit, default: 1, choices: [1, 2]}
  without: {about: what is left out, default: [], choices: [bias, norm]}
weights:
  official:
    files: [body.pth, head.pth]
    sha256: [SHA]
    licence: MIT
    trained_on: [columbia]
  restricted:
    files: [all.pth]
    url: ["https://example.org/all.pth"]
    sha256: [ALL]
    page: https://example.org
    licence: research only
    must_accept: true
"""
MODEL = '''
from torch import nn

from imdl_bench.torch_model import TorchModel, to_mask, to_tensor
from imdl_bench.types import Prediction


class Tiny(TorchModel):
    """Two convolutions."""

    tile = 1024

    def build(self, settings):
        return nn.ModuleDict({"body": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
                              "head": nn.Conv2d(4, 1, 1)})

    def prepare(self, image):
        return to_tensor(image) / 255

    def forward(self, batch):
        return self.network["head"](self.network["body"](batch)) * self.settings["gain"]

    def finish(self, outputs, images):
        return [Prediction(mask=to_mask(logit[0].float().sigmoid())) for logit in outputs]

    @staticmethod
    def official_name(key):
        return key.replace("body.0", "conv").replace("body.1", "bn")
'''
SHAPES = {
    "conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "bn.weight": (4,), "bn.bias": (4,), "bn.running_mean": (4,),
    "bn.running_var": (4,), "head.weight": (1, 4, 1, 1), "head.bias": (1,),
}  # fmt: skip


def official_state(seed: int = 1) -> dict[str, torch.Tensor]:
    """Weights under official keys, without ``num_batches_tracked``, as old files are."""
    rng = np.random.default_rng(seed)
    return {
        key: torch.from_numpy((rng.random(shape) + (0 if "conv" not in key else -0.5)).astype(np.float32))
        for key, shape in SHAPES.items()
    }


def write_tiny(folder: Path) -> Path:
    """The plug-in and, beside it, ``checkpoint/`` with the authors' files; returns the latter."""
    files = folder / "checkpoint"
    state = {f"module.{key}": value for key, value in official_state().items()}
    parts = {"body.pth": {k: v for k, v in state.items() if "head" not in k},
             "head.pth": {k: v for k, v in state.items() if "head" in k}, "all.pth": state}  # fmt: skip
    for name, part in parts.items():
        (files / name.removesuffix(".pth")).mkdir(parents=True)
        torch.save(part, files / name.removesuffix(".pth") / name)
    sums = {name: hashlib.sha256((files / name.removesuffix(".pth") / name).read_bytes()).hexdigest() for name in parts}
    card = CARD.replace("SHA", f"{sums['body.pth']}, {sums['head.pth']}").replace("ALL", sums["all.pth"])
    write_text(folder / "models/tiny/card.yaml", card)
    write_text(folder / "models/tiny/model.py", MODEL)
    return files


def mask_of(weights: Any, photo: np.ndarray, **more: Any) -> np.ndarray:
    """Of the tiny network, on a corner of the photograph."""
    mask = imdl_bench.load_model("tiny", weights, **more).predict([Image(photo[:64, :80])])[0].mask
    return np.asarray(mask)
