"""Weights that a training wrote, with where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from imdl_bench.checkpoint import write_tensors

BEST, LAST_WEIGHTS = "best.safetensors", "last.safetensors"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What stays the same over a training; see :func:`write_weights`."""

    model: str
    settings: dict[str, Any]
    recipe: str
    source: str
    seed: int
    precision: str
    device: str
    trained_on: Sequence[str]
    started_from: str
    licence: str
    libraries: dict[str, str]


def write_weights(path: Path, network: nn.Module, about: Provenance, reached: dict[str, Any]) -> None:
    """Write a network as safetensors, to be loaded as ``NAME@PATH``.

    Args:
        reached: stage, samples, batch, data, and the watched metric with its value.
    """
    metadata = {
        "format": "imdl-bench", "model": about.model, "settings": about.settings, "source": "imdl-bench train",
        "recipe": about.recipe, "recipe_source": about.source, "seed": about.seed, "precision": about.precision,
        "device": about.device, "trained_on": list(about.trained_on), "started_from": about.started_from,
        "licence": about.licence, "libraries": about.libraries, "untrained": False,
    }  # fmt: skip
    write_tensors(path, network.state_dict(), metadata | reached)


def libraries() -> dict[str, str]:
    """Versions of what makes the numbers."""
    from importlib.metadata import version

    import imdl_bench

    names = ("torch", "numpy", "opencv-python-headless", "pillow")
    return {"imdl-bench": imdl_bench.__version__} | {name: version(name) for name in names}
