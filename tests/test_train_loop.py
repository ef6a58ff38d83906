"""Training as a user sees it: weights that work, records, and a training that goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny_training import write_trainable

import imdl_bench
from imdl_bench.train.hardware import Hardware
from imdl_bench.train.loop import train

QUIET = Hardware(workers=0, threads=1, progress=False)


@pytest.fixture
def edits(with_plugin: Path) -> Path:
    """The folder of the plug-in's data set; the plug-in ``tiny`` can be trained on it."""
    write_trainable(with_plugin)
    return with_plugin / "data"


def test_weights_of_a_training_are_a_model_like_any_other(edits: Path, tmp_path: Path) -> None:
    trained = train("tiny:gain=2", "paper", tmp_path / "run", data="edits", data_root=edits, hardware=QUIET)
    assert trained.samples == 40 + 48
    losses = pd.read_csv(tmp_path / "run/losses.csv")
    assert list(losses.groupby("stage", sort=False).samples.max()) == [40, 48]
    model = imdl_bench.load_model("tiny", trained.best)
    assert model.settings["gain"] == 2
    assert (tmp_path / "run/curves.png").stat().st_size > 1000
