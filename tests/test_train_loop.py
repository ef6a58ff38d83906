"""Training as a user sees it: weights that work, records, and a training that goes on where it was stopped."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tiny_training import write_recipe, write_trainable

import imdl_bench
from imdl_bench import catalog
from imdl_bench.checkpoint import read_metadata, read_tensors
from imdl_bench.errors import CardError, TrainingError, UsageError
from imdl_bench.train.hardware import Hardware
from imdl_bench.train.loop import train
from imdl_bench.weights import find_weights

IMPORTED_ONCE = ["imdl_bench.train.loop", "lightning.fabric.strategies.ddp", "torch.utils.tensorboard", "pandas",
                 "matplotlib.figure", "matplotlib.backends.backend_agg"]  # fmt: skip
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


def test_killed_at_random_moments_it_ends_with_the_same_bytes(edits: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED_ONCE)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert _in_process(context, edits, whole, kill_at=None, wait=0)
    length = (whole / "losses.csv").stat().st_size
    draw = random.Random(5)
    for share in (0.1, 0.4, 0.7):  # of the run; the rest is chance: in a step, a validation, a checkpoint
        kill_at = (share + draw.uniform(0, 0.2)) * length
        assert not _in_process(context, edits, broken, kill_at=kill_at, wait=draw.uniform(0, 0.05))
    assert _in_process(context, edits, broken, kill_at=None, wait=0)
    for name in ("losses.csv", "validation.csv", "best.safetensors", "last.safetensors", "stage-body.safetensors"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes(), name


def _in_process(context: Any, edits: Path, out: Path, *, kill_at: float | None, wait: float) -> bool:
    """Train in a process of its own, killed ``wait`` seconds after its log has ``kill_at`` bytes; whether it ended."""
    process = context.Process(target=_train_edits, args=(edits, out))
    process.start()
    log = out / "losses.csv"
    while kill_at is not None and process.is_alive() and not (log.exists() and log.stat().st_size >= kill_at):
        time.sleep(0.002)
    process.join(None if kill_at is None else wait)
    finished = not process.is_alive()
    process.kill()
    process.join()
    assert not finished or process.exitcode == 0
    return finished


def _train_edits(edits: Path, out: Path) -> None:
    from imdl_bench.train.hardware import Hardware
    from imdl_bench.train.loop import train

    multiprocessing.set_start_method("fork", force=True)  # its workers end with it, not with the server
    hardware = Hardware(workers=1, threads=1, progress=False, checkpoint_minutes=0.0005)
    train("tiny", "paper", out, data="edits", data_root=edits, samples=60, hardware=hardware)


def test_workers_and_threads_change_nothing(edits: Path, tmp_path: Path) -> None:
    for workers in (0, 2):
        hardware = Hardware(workers=workers, threads=1, progress=False)
        train("tiny", "paper", tmp_path / str(workers), data="edits", data_root=edits, samples=32, hardware=hardware)
    for name in ("losses.csv", "validation.csv", "best.safetensors"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_a_finished_training_is_not_repeated_and_another_one_is_refused_by_what_differs(
    edits: Path, tmp_path: Path
) -> None:
    def again(model: str = "tiny", **changed: Any) -> Any:
        return train(model, "unified", tmp_path, data="edits", data_root=edits, hardware=QUIET, **changed)

    first = again(samples=8)
    assert (first.new, again(samples=8).new) == (8, 0)
    with pytest.raises(UsageError, match=r"recipe\.stages\.0.samples is 8 there and 12 here"):
        again(samples=12)
    with pytest.raises(UsageError, match="seed is 0 there and 3 here"):
        again(samples=8, seed=3)
    with pytest.raises(UsageError, match=r"settings\.gain is 1 there and 2 here"):
        again("tiny:gain=2", samples=8)


def test_a_loss_that_is_not_finite_stops_with_the_examples_and_leaves_the_good_checkpoint(
    edits: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, samples=40, validate_every=8, options={"breaks_at": 4})
    with pytest.raises(TrainingError, match=r"step 4 \(after 16 examples\).*not finite: total.*\d\d\.png") as error:
        train("tiny", str(recipe), tmp_path / "run", data="edits", data_root=edits, hardware=QUIET)
    path = tmp_path / "run/last.ckpt"
    assert str(path) in str(error.value)
    state = torch.load(path, weights_only=True)
    assert state["progress"]["seen"] == 8
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state["at_work"]["learner"].values())


def test_accumulated_parts_of_a_step_move_the_weights_as_the_whole_step_does(edits: Path, tmp_path: Path) -> None:
    """Without batch normalisation in training mode and dropout, whose numbers depend on the parts."""
    found = []
    for accumulate in (1, 2):
        out = tmp_path / str(accumulate)
        recipe = write_recipe(tmp_path, samples=16, learner="training:Plain", freeze=["network.body."])
        train("tiny", str(recipe), out, data="edits", data_root=edits, accumulate=accumulate, hardware=QUIET)
        found.append(read_tensors(out / "last.safetensors"))
    start = imdl_bench.load_model("tiny", "random").network.state_dict()
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], rtol=1e-5, atol=1e-7)
        assert torch.equal(tensor, start[name]) == name.startswith("body."), name


def test_stages_keep_freeze_and_constrain_what_the_recipe_says(edits: Path, tmp_path: Path) -> None:
    train("tiny", "paper", tmp_path, data="edits", data_root=edits, samples=44, hardware=QUIET)
    before, after = (read_tensors(tmp_path / f"{name}.safetensors") for name in ("stage-body", "last"))
    assert torch.equal(before["body.0.weight"], after["body.0.weight"])
    assert not torch.equal(before["body.1.weight"], after["body.1.weight"])
    drawn = imdl_bench.load_model("tiny", "random", seed=1).network.state_dict()
    assert (after["head.weight"] - drawn["head.weight"]).abs().max() < 0.2 < (before["head.weight"] - drawn["head.weight"]).abs().max()  # fmt: skip  # noqa: E501
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["progress"]["finished"]


def test_bfloat16_trains_on_the_cpu(edits: Path, tmp_path: Path) -> None:
    trained = train(
        "tiny", "unified", tmp_path, data="edits", data_root=edits, samples=8, precision="bfloat16", hardware=QUIET
    )
    assert read_metadata(trained.best)["precision"] == "bfloat16"


def test_a_file_of_weights_says_where_it_comes_from(edits: Path, tmp_path: Path) -> None:
    trained = train("tiny", "unified", tmp_path, data="edits", data_root=edits, samples=8, hardware=QUIET)
    about = read_metadata(trained.best)
    assert json.loads(about["trained_on"]) == ["edits/full"]
    assert (about["recipe"], about["samples"], about["watch"]) == ("unified", "4", "pixel_auc/per-image")
    assert float(about["value"]) == trained.value
    weights = find_weights(catalog.model_card("tiny"), trained.best)
    assert weights.trained_on == ("edits/full",)
    assert not weights.untrained
    again = train("tiny", str(tmp_path / "recipe.yaml"), tmp_path / "again", start=str(trained.best), data="edits",
                  data_root=edits, hardware=QUIET)  # fmt: skip
    assert read_metadata(again.best)["started_from"] == weights.label


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"options": {"breaks_ta": 4}}, r"no option 'breaks_ta'; did you mean 'breaks_at'"),
        ({"watch": "pixel_acu/per-image"}, "pixel_acu"),
    ],
)
def test_a_recipe_that_would_fail_after_days_is_refused_at_once(
    edits: Path, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    recipe = write_recipe(tmp_path, **changed)
    with pytest.raises((CardError, UsageError), match=said):
        train("tiny", str(recipe), tmp_path / "run", data="edits", data_root=edits, hardware=QUIET)
    assert not (tmp_path / "run").exists()


def test_weights_to_keep_that_no_stage_has_are_refused(edits: Path, tmp_path: Path) -> None:
    own = edits.parent / "models/tiny/recipe.yaml"
    own.write_text(own.read_text().replace("keep: [body.]", "keep: [bodi.]"))
    with pytest.raises(CardError, match=r"keep: no weight begins with 'bodi\.'"):
        train("tiny", "paper", tmp_path / "run", data="edits", data_root=edits, hardware=QUIET)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "red"}, "red has no weights to train"),
        ({"model": "tiny@random"}, "write the weights to start from behind --from"),
        ({"recipe": "papre"}, "did you mean 'paper'"),
        ({"data": None}, "stage body learns from a data set"),
        ({"data": None, "recipe": "unified"}, "give --photos DIR"),
        ({"data": "edits:trian"}, "no split 'trian'"),
        ({"batch": 3, "accumulate": 2}, "cannot be divided"),
        ({"precision": "float16"}, "float16 trains on CUDA GPUs only"),
        ({"hardware": Hardware(device="cuda", devices=64)}, "64: "),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    edits: Path, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    given = {"model": "tiny", "recipe": "paper", "data": "edits", "data_root": edits, "hardware": QUIET} | changed
    with pytest.raises(UsageError, match=said):
        train(out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()
