"""Cards: every one is valid, every mistake in one is explained."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from plugin_folder import write_model

import imdl_bench
from imdl_bench import catalog
from imdl_bench.batching import check_prediction
from imdl_bench.cards import Protocol
from imdl_bench.errors import CardError, UsageError
from imdl_bench.metrics import parse_metric
from imdl_bench.types import Image

ROOT = Path(__file__).resolve().parents[1]


def test_the_catalog_holds_what_the_design_names() -> None:
    methods = {"psccnet", "mantranet", "ncl", "dmac", "ela_ppm", "ela", "noi1", "cfa1"}
    assert methods <= set(imdl_bench.list_models())
    assert {
        "columbia", "coverage", "casia_v1", "casia_v2", "casia", "casia_d", "nist16", "imd20", "defacto12k",
        "defacto84k", "ifs_tc", "casia_pairs", "dmac_pairs", "folder", "sample",
    } <= set(imdl_bench.list_datasets())  # fmt: skip
    assert "quickstart" in imdl_bench.list_protocols()


@pytest.mark.parametrize("name", imdl_bench.list_models())
def test_every_model_card_loads_a_model(name: str) -> None:
    assert catalog.model_card(name).name == name
    assert (catalog.card_path("models", name).parent / "README.md").is_file()


@pytest.mark.parametrize("name", imdl_bench.list_datasets())
def test_every_data_set_card_names_its_source(name: str) -> None:
    card = catalog.dataset_card(name)
    assert card.source and card.licence and card.title
    assert callable(catalog.dataset_index(name))
    for split, rule in card.splits.items():
        assert rule.ids or rule.lists or rule.match or rule.all_but in card.splits, f"{name}/{split} says nothing"


@pytest.mark.parametrize("name", imdl_bench.list_protocols())
def test_every_protocol_names_known_things(name: str) -> None:
    protocol = imdl_bench.load_protocol(name)
    assert [parse_metric(metric).name for metric in protocol.metrics] == protocol.metrics
    for line in protocol.data:
        card = catalog.dataset_card(line.dataset)
        assert line.split == "full" or line.split in card.splits
    assert {catalog.read_spec(model)[0].name for model in protocol.models} <= set(imdl_bench.list_models())


@pytest.mark.parametrize("name", imdl_bench.list_models())
def test_batching_changes_nothing(name: str, photo: np.ndarray) -> None:
    card = catalog.model_card(name)
    images = [Image(photo[:96, :128]), Image(photo[200:296, 100:228]), Image(photo[:96, 300:428])]
    others = [Image(photo[100:180, :112]), Image(photo[:80, 200:312]), Image(photo[300:380, 50:162])]
    inputs = [images, others] if card.input == "pair" else [images]
    model = imdl_bench.load_model(name, weights=None if card.weights is None else "random", seed=0)
    together = model.predict(*inputs)
    alone = [model.predict(*([image] for image in row))[0] for row in zip(*inputs, strict=True)]
    for place, (a, b) in enumerate(zip(together, alone, strict=True)):
        check_prediction(a, *(each[place] for each in inputs), outputs=card.outputs)
        for mask, other in ((a.mask, b.mask), (a.donor_mask, b.donor_mask)):
            assert (mask is None) == (other is None)
            if mask is not None:
                np.testing.assert_allclose(mask, other, atol=1e-5)
        assert a.score == pytest.approx(b.score, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "hints"),
    [
        (("entry:", "entri:"), ["unknown key 'entri'", "did you mean 'entry'", "card.yaml"]),
        (("entry: model:Made", "entry: model"), ["'entry'", "found 'model'"]),
        (("title: A model made by the tests\n", ""), ["'title' is missing"]),
        (("outputs: [mask]", "outputs: [heatmap]"), ["outputs.0", "'heatmap'"]),
        (("name: red", "name: blue"), ["'blue' differs", "'red'"]),
        (("name: red", "name: [red"), ["cannot be read"]),
    ],
)
def test_a_wrong_card_is_explained(with_plugin: Path, change: tuple[str, str], hints: list[str]) -> None:
    path = with_plugin / "models/red/card.yaml"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(CardError) as error:
        catalog.model_card("red")
    assert all(hint in str(error.value) for hint in hints), error.value


def test_a_wrong_entry_is_explained(with_plugin: Path) -> None:
    path = with_plugin / "models/red/card.yaml"
    path.write_text(path.read_text().replace("model:Made", "model:Maid"))
    with pytest.raises(CardError, match="no 'Maid'; did you mean 'Made'"):
        imdl_bench.load_model("red")
    path.write_text(path.read_text().replace("model:Maid", "modul:Made"))
    with pytest.raises(CardError, match="cannot be imported"):
        imdl_bench.load_model("red")


def test_unknown_names_are_met_with_the_nearest(with_plugin: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'ela'"):
        imdl_bench.load_model("elaa")
    with pytest.raises(UsageError, match="did you mean 'columbia'"):
        catalog.dataset_card("colombia")
    with pytest.raises(UsageError, match="did you mean 'quickstart'"):
        imdl_bench.load_protocol("quikstart")


def test_a_plugin_model_needs_no_installation(with_plugin: Path, photo: np.ndarray) -> None:
    assert "red" in imdl_bench.list_models() and "ela" in imdl_bench.list_models()
    prediction = imdl_bench.load_model("red").predict([Image(photo)])[0]
    np.testing.assert_array_equal(prediction.mask, photo[..., 0] / np.float32(255))


def test_one_name_for_two_models_is_an_error(with_plugin: Path) -> None:
    write_model(with_plugin, "ela", "return image[..., 0] / np.float32(255)")
    catalog._cards.cache_clear()
    with pytest.raises(CardError, match="same name 'ela'"):
        imdl_bench.list_models()


def test_nested_protocol_keys_are_explained(tmp_path: Path) -> None:
    text = (ROOT / "protocols/quickstart.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("split: full", "splitt: full"))
    with pytest.raises(CardError, match=r"unknown key 'data\.0\.splitt'; did you mean 'split'"):
        imdl_bench.load_protocol(path)
    path.write_text(text)
    assert isinstance(imdl_bench.load_protocol(path), Protocol)


def test_a_model_that_cannot_be_built_is_no_traceback(with_plugin: Path) -> None:
    path = with_plugin / "models/red/model.py"
    path.write_text(path.read_text().replace("class Made:", "class Made:\n    def __init__(self):\n        1 / 0\n"))
    with pytest.raises(UsageError, match="red: cannot be built: ZeroDivisionError"):
        imdl_bench.load_model("red")


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", ".hidden"])
def test_names_cannot_leave_their_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.yaml"
    text = (ROOT / "protocols/quickstart.yaml").read_text()
    path.write_text(text.replace("name: quickstart", f"name: {name!r}"))
    with pytest.raises(CardError, match="'name'"):
        imdl_bench.load_protocol(path)


def test_yaml_tags_run_no_code(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(CardError, match="cannot be read"):
        imdl_bench.load_protocol(path)


def test_a_plug_in_folder_that_holds_no_kind_of_plug_in_is_an_error(
    cli: Callable[..., subprocess.CompletedProcess[str]], plugin: Path
) -> None:
    done = cli("list", "models", IMDL_BENCH_PATH=str(plugin / "models"))
    assert done.returncode == 2 and "name their parent" in done.stderr
