"""What is held out of a data set to choose the best weights: never trained on, and of every kind."""

from __future__ import annotations

from pathlib import Path

from plugin_folder import write_text

from imdl_bench.train.labelled import open_labelled

INDEX = """
from pathlib import Path
from imdl_bench.types import Sample

def index(root):
    return [Sample(f"{kind}{n:02}", Path(f"{kind}{n:02}.png"), forged=kind == "Tp", mask=Path("m.png"))
            for kind in ("Au", "Tp") for n in range(20)]
"""


def _write(folder: Path, splits: str = "") -> None:
    card = "name: kinds\ntitle: x\nsource: x\nlicence: x\npaper: x\n"
    write_text(folder / "datasets/kinds/card.yaml", card + splits)
    write_text(folder / "datasets/kinds/index.py", INDEX)


def test_one_in_ten_is_held_out_of_every_kind_that_names_tell(with_plugin: Path) -> None:
    _write(with_plugin)
    training, held = open_labelled("kinds", with_plugin, None, side=32, seed=0)
    assert [sample.id for sample in held.samples] == ["Au09", "Au19", "Tp09", "Tp19"]
    assert training.epoch == 36


def test_a_validation_split_is_left_out_of_the_whole_data_set(with_plugin: Path) -> None:
    _write(with_plugin, "splits:\n  validation: {about: some, ids: [Au03, Tp04]}\n")
    for split in (None, "full"):
        training, held = open_labelled("kinds", with_plugin, split, side=32, seed=0)
        assert [sample.id for sample in held.samples] == ["Au03", "Tp04"]
        assert training.epoch == 38
        assert not {sample.id for sample in training.samples} & {"Au03", "Tp04"}
