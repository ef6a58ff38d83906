"""Trained on what it is tested on: found by image, by base photograph, by shared data sets, and marked everywhere."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from dataset_trees import build_tree, published_names, touch
from plugin_folder import write_text
from tiny_network import official_state, write_tiny

import imdl_bench
from imdl_bench import catalog, tables
from imdl_bench.cards import WeightsCard
from imdl_bench.contamination import contamination, is_contaminated, refuse_unknown_training_data
from imdl_bench.dataset import Dataset, load_dataset
from imdl_bench.errors import CardError
from imdl_bench.leaderboard import Line
from imdl_bench.records import RunFile

EDITS = """
    name: edits
    title: Twelve edits of one photograph
    source: made by the tests
    licence: CC0-1.0
    paper: none
    shares: {others: "the same photograph"}
    splits:
      train: {about: the first five, ids: ["00", "01", "02", "03", "04"]}
      test: {about: the rest, all_but: train}
      last: {about: two that share no group with train, ids: ["10", "11"]}
      afar: {about: a list nobody has, lists: [{url: "https://localhost:1/x", sha256: SHA, entries: 5}]}
      near: {about: the rest, all_but: afar}
"""
OTHERS = "{name: others, title: Others, source: none, licence: none, paper: none, any_content: ANY}"


@pytest.fixture
def edits(with_plugin: Path) -> Path:
    """The plug-in of twelve edits, two to a base photograph, with splits; `others` shares photographs with them."""
    write_text(with_plugin / "datasets/edits/card.yaml", EDITS.replace("SHA", "f" * 64))
    for name in ("others", "apart"):
        card = OTHERS.replace("ANY", "false").replace("name: others", f"name: {name}")
        write_text(with_plugin / f"datasets/{name}/card.yaml", card)
        write_text(with_plugin / f"datasets/{name}/index.py", "def index(root):\n    return []\n")
    catalog._cards.cache_clear()
    return with_plugin


def statements(plugin: Path, split: str, *trained_on: str) -> str:
    data = load_dataset("edits", plugin / "data", split)
    return contamination(trained_on, data, data.samples)


def test_the_same_images_are_counted(edits: Path) -> None:
    found = statements(edits, "full", "edits/train")
    assert found == "certain: trained on edits/train: 5 of 12 images, 1 more share their base photograph"
    assert statements(edits, "train", "edits").startswith("certain: trained on edits: 5 of 5 images, 0 more")


def test_images_of_the_same_photograph_are_counted(edits: Path) -> None:
    """Images 04 and 05 are of one photograph; 04 is in train, 05 in test."""
    found = statements(edits, "test", "edits/train")
    assert found == "certain: trained on edits/train: 0 of 7 images, 1 more share their base photograph"


def test_only_tested_samples_count(edits: Path) -> None:
    data = load_dataset("edits", edits / "data")
    assert contamination(["edits/train"], data, data.samples[5:6]).endswith("0 of 1 images, 1 more share their base photograph")  # fmt: skip  # noqa: E501
    assert contamination(["edits/train"], data, data.samples[6:]) == ""


def test_a_split_apart_is_clean(edits: Path) -> None:
    assert statements(edits, "last", "edits/train") == ""


def test_nothing_is_claimed_where_base_photographs_are_not_known(edits: Path) -> None:
    data = load_dataset("edits", edits / "data", "last")
    nameless = [replace(sample, group=None) for sample in data]
    found = contamination(["edits/train"], data, nameless)
    assert found.startswith("overlap unknown: ") and "base photographs of 2 images" in found


def test_nothing_is_claimed_where_much_of_the_set_is_missing(edits: Path) -> None:
    data = load_dataset("edits", edits / "data", "last")
    card = data.card.model_copy(update={"expected": data.card.expected.model_copy(update={"forged": 99})})
    assert "only 8 of 99 forged images are here" in contamination(["edits/train"], replace(data, card=card), data)


def test_a_list_that_cannot_be_had_is_said_and_stops_nothing(edits: Path) -> None:
    for split in ("afar", "near"):
        found = statements(edits, "full", f"edits/{split}")
        assert found.startswith("overlap unknown: ") and f"the list of edits/{split} cannot be had" in found
        assert not is_contaminated(found)


def test_data_sets_that_share_photographs_hold_both_ways(edits: Path) -> None:
    likely = "likely: trained on others, which shares photographs with edits (the same photograph)"
    assert statements(edits, "last", "others") == likely
    edits_data = load_dataset("edits", edits / "data")
    others = replace(edits_data, card=catalog.dataset_card("others"))
    back = contamination(["edits/train"], others, others.samples)
    assert back == "likely: trained on edits/train, which shares photographs with others (the same photograph)"
    assert is_contaminated(likely) and is_contaminated(back)


def test_other_data_sets_and_free_names_are_no_contamination(edits: Path) -> None:
    assert statements(edits, "full", "apart") == ""
    free = statements(edits, "full", "dresden", "red/photos")
    assert free == "not compared: trained on dresden, red/photos, not known here as data sets"
    assert not is_contaminated(free)


def test_files_of_weights_may_spell_a_data_set_otherwise_and_name_splits_of_their_own(edits: Path) -> None:
    assert statements(edits, "last", "Edits/train") == statements(edits, "last", "edits/train").replace(
        "edits/", "Edits/"
    )
    assert statements(edits, "full", "EDITS").startswith("certain: trained on EDITS: 12 of 12 images")
    assert statements(edits, "full", "others/mine").startswith("likely: trained on others/mine, which shares")
    own = statements(edits, "full", "edits/no-such-split")
    assert own.startswith("overlap unknown: ") and "edits/no-such-split cannot be had" in own


def test_a_folder_of_anything_is_not_compared_by_its_name(edits: Path) -> None:
    write_text(edits / "datasets/others/card.yaml", OTHERS.replace("ANY", "true"))
    assert statements(edits, "full", "others").startswith("not compared: ")


def test_nobody_knows_the_training_data(edits: Path) -> None:
    assert statements(edits, "full") == "training data not known"
    assert not is_contaminated("training data not known") and not is_contaminated("")


def test_the_gravest_comes_first(edits: Path) -> None:
    found = statements(edits, "full", "dresden", "others", "edits/train").split("; ")
    assert [text.partition(":")[0] for text in found] == ["certain", "likely", "not compared"]


@pytest.fixture
def nist16(tmp_path: Path) -> Dataset:
    """The 564 manipulated probes as their published list names them, and of these the 160 of the test split."""
    pairs = published_names("nist16_all_pairs.txt")
    touch(tmp_path, [name for line in pairs for name in line.split()])
    (tmp_path / "NIST16_for_pretrained.txt").write_text("\n".join(pairs))
    test = tmp_path / "test.txt"
    test.write_text("\n".join(published_names("nist16_finetune_test_pairs.txt")))
    return load_dataset("nist16", tmp_path, "test", split_file=test, forged="black")


def test_nist16_twins_in_its_training_split_are_found(nist16: Dataset) -> None:
    """142 of the 160, counted in the published lists; the list given by hand serves for the training split too."""
    found = contamination(["nist16/train"], nist16, nist16.samples)
    assert found == "certain: trained on nist16/train: 0 of 160 images, 142 more share their base photograph"


def test_casia_v1_shares_with_casia_v2(tmp_path: Path) -> None:
    build_tree(tmp_path, "casia_v1", "kaggle_casia1")
    data = load_dataset("casia_v1", tmp_path)
    assert contamination(["casia_v2"], data, data.samples).startswith("likely: trained on casia_v2, which shares")
    assert contamination(["columbia"], data, data.samples) == ""


@pytest.mark.parametrize("name", imdl_bench.list_datasets())
def test_every_data_set_shares_with_known_ones(name: str) -> None:
    shares = catalog.dataset_card(name).shares
    assert set(shares) <= set(imdl_bench.list_datasets()) - {name} and all(shares.values())
    for other in shares:
        back = catalog.dataset_card(other).shares.get(name)
        assert back in (None, shares[other]), f"{name} and {other} give two reasons"


@pytest.mark.parametrize("name", imdl_bench.list_models())
def test_every_model_names_training_data_that_exist(name: str) -> None:
    refuse_unknown_training_data(catalog.model_card(name), catalog.card_path("models", name))


@pytest.mark.parametrize(
    ("entry", "hint"), [("nist16/trian", "did you mean 'train'"), ("nist61/train", "did you mean 'nist16'")]
)
def test_a_misspelt_split_on_a_card_is_an_error(entry: str, hint: str) -> None:
    weights = {"own": WeightsCard(files=["x.pth"], licence="MIT", trained_on=["dresden", "nist16", entry])}
    card = catalog.model_card("psccnet").model_copy(update={"weights": weights})
    with pytest.raises(CardError, match=rf"card\.yaml.*weights\.own\.trained_on.*{hint}"):
        refuse_unknown_training_data(card, Path("card.yaml"))


def lines_of(plugin: Path, *models: str, out: str = "out") -> list[Line]:
    return list(imdl_bench.run("edits", list(models), plugin / "data", out=plugin / out).lines)


@pytest.fixture
def trained(edits: Path) -> Path:
    """Files of a tiny network that was trained on `edits/train`; returns the folder that holds them."""
    files = write_tiny(edits)
    card = edits / "models/tiny/card.yaml"
    card.write_text(card.read_text().replace("[columbia]", "[edits/train]"))
    catalog._cards.cache_clear()
    return files


def test_a_run_is_marked_in_its_record_and_in_every_table(edits: Path, trained: Path) -> None:
    lines = lines_of(edits, f"tiny@official:{trained}", "tiny@random", "red")
    told = "certain: trained on edits/train: 5 of 12 images, 1 more share their base photograph"
    assert {line.weights: line.contamination for line in lines} == {"official": told, "random": "", "": ""}
    metas = [RunFile(path).read_meta() for path in (edits / "out/runs").rglob("run.sqlite")]
    assert sorted(meta["contamination"] for meta in metas) == ["", "", told]
    table = list(csv.DictReader(tables.to_csv(lines, timing=False).splitlines()))
    assert {(row["weights"], row["contamination"]) for row in table} >= {("official", told), ("random", "")}
    for text in (tables.to_text(lines), tables.to_markdown(lines), tables.to_html(lines)):
        assert "tiny@official†" in text and f"tiny@official†: {told}" in text
        assert text.count("†") == 2
    latex = tables.to_latex(lines)
    assert r"tiny@official\dag{} &" in latex and told in latex.partition("\\end{tabular}")[2]


def test_unknown_training_data_are_a_note_without_a_mark(edits: Path, trained: Path) -> None:
    torch.save(official_state(seed=2), edits / "mine.pth")
    text = tables.to_text(lines_of(edits, f"tiny@official:{edits / 'mine.pth'}"))
    assert ": training data not known" in text and "†" not in text


def test_nobody_knows_how_predictions_came_about(edits: Path) -> None:
    shutil.copytree(edits / "data/masks", edits / "elsewhere")
    lines = lines_of(edits, f"predictions:{edits / 'elsewhere'}")
    assert {line.contamination for line in lines} == {"training data not known"}


def test_a_finished_run_learns_what_cards_say_later(edits: Path, trained: Path) -> None:
    card = edits / "models/tiny/card.yaml"
    card.write_text(card.read_text().replace("[edits/train]", "[apart]"))
    model = f"tiny@official:{trained}"
    first = lines_of(edits, model)
    assert not first[0].contamination
    write_text(edits / "datasets/apart/card.yaml", """
        {name: apart, title: Apart, source: none, licence: none, paper: none, shares: {edits: same day}}
    """)  # fmt: skip
    again = lines_of(edits, model)
    assert again[0].contamination == "likely: trained on apart, which shares photographs with edits (same day)"
    assert again[0].run == first[0].run


def test_rows_say_nothing_of_it(edits: Path, trained: Path) -> None:
    result = imdl_bench.run("edits", [f"tiny@official:{trained}"], edits / "data", out=edits / "out")
    assert result.lines[0].contamination and "trained on" not in result.runs[0].with_name("rows.csv").read_text()
