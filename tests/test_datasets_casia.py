"""The CASIA sets in full: real name lists, three naming generations, pairs."""

from __future__ import annotations

import csv
import json
import re
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from dataset_trees import EXAMPLES, by_id, forged, index, published_names, select, touch

from imdl_bench import catalog, splits
from imdl_bench.errors import DataError
from imdl_bench.types import Sample


def casia_v1_tree(root: Path, *, old_images: bool = False, old_masks: bool = False) -> None:
    """All 921 forged and 800 pristine names; images or masks under the names from before the correction."""
    old = {new: before for before, new in renames("casia_v1")}
    names = [Path(name).stem for name in published_names("casia_v1_tampered921.txt")]
    masks = [Path(name).stem for name in published_names("casia_v1_tampered920.txt")]
    touch(root / "Tp", [f"{old.get(name, name) if old_images else name}.jpg" for name in names])
    touch(root / "CASIA 1.0 groundtruth", [f"{old.get(name, name) if old_masks else name}_gt.png" for name in masks])
    categories = ("ani", "arc", "art", "cha", "nat", "pla", "sec", "txt")
    touch(root / "Au", [f"Au_{category}_{n:04d}.jpg" for category in categories for n in range(1, 101)])


def casia_v2_tree(root: Path) -> None:
    names = published_names("casia_v2_tampered5123.txt")
    touch(root / "CASIA2.0_revised" / "Tp", names)
    touch(root / "CASIA2.0_revised" / "Au", published_names("casia_v2_authentic7491.txt"))
    touch(root / "CASIA2.0_Groundtruth", [f"{Path(name).stem}_gt.png" for name in names])


def renames(name: str) -> list[tuple[str, str]]:
    with (catalog.card_path("datasets", name).parent / "renames.csv").open(encoding="utf-8", newline="") as file:
        return [(row["old"], row["new"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def casia_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("casia")
    casia_v1_tree(root / "v1")
    casia_v2_tree(root / "v2")
    return root


@pytest.mark.parametrize("name", ["casia_v1", "casia_v2"])
def test_rename_table_is_the_published_one(name: str) -> None:
    published = [
        tuple(Path(field).stem for field in line.split(",")) for line in published_names(f"{name}_renames.csv")
    ]
    assert renames(name) == published


@pytest.mark.parametrize("name", ["casia_v1", "casia_v2"])
def test_renamed_images_keep_their_key(name: str) -> None:
    key = catalog.dataset_module(name).split_key
    for old, new in renames(name):
        for extension in (".jpg", ".tif", "_gt.png"):
            assert key(old + extension) == key(new + extension) == key(f"some/folder/{new}{extension}")
    assert catalog.dataset_module("casia_v2").split_key("Tp_D_NRD_M_B_arc20062_arc20062_02482") == "02482"


def test_casia_v1_in_full(casia_root: Path) -> None:
    rows = index("casia_v1", casia_root)
    card = catalog.dataset_card("casia_v1")
    assert (len(forged(rows)), len(rows)) == (card.expected.forged, 921 + 800)
    assert sum(row.mask is not None for row in rows) == card.expected.masks
    assert Counter(row.kind for row in forged(rows)) == {"copy-move": 459, "splicing": 462}
    assert [row.image.stem for row in forged(rows) if row.mask is None] == ["Sp_D_NRN_A_cha0011_sec0011_0542"]
    key = catalog.dataset_module("casia_v1").split_key
    assert len({key(row.id) for row in rows}) == len(rows)
    pristine = {row.group for row in rows if not row.forged}
    assert sum(row.group in pristine for row in forged(rows)) > 900


@pytest.mark.parametrize("old_images", [False, True])
@pytest.mark.parametrize("old_masks", [False, True])
def test_casia_v1_under_old_names_is_the_same_set(
    tmp_path: Path, casia_root: Path, *, old_images: bool, old_masks: bool
) -> None:
    casia_v1_tree(tmp_path, old_images=old_images, old_masks=old_masks)
    key = catalog.dataset_module("casia_v1").split_key

    def facts(rows: list[Sample]) -> dict[str, tuple[object, ...]]:
        return {key(row.id): (row.kind, row.group, key(row.mask.stem) if row.mask else None) for row in forged(rows)}

    assert facts(index("casia_v1", tmp_path)) == facts(index("casia_v1", casia_root))
    for file, count in (("casia_v1_tampered921.txt", 921), ("casia_v1_tampered920.txt", 920)):
        (tmp_path / "list.txt").write_text("\n".join(published_names(file)), encoding="utf-8")
        assert len(select("casia_v1", index("casia_v1", tmp_path), "full", tmp_path / "list.txt")) == count


def test_casia_v1_pairs_masks_by_the_same_name(casia_root: Path) -> None:
    for row in index("casia_v1", casia_root):
        assert row.mask is None or row.mask.stem == row.image.stem + "_gt"


def test_splits_of_casia_are_the_published_lists(casia_root: Path) -> None:
    for name, split, file in (
        ("casia_v1", "tampered920", "casia_v1_tampered920.txt"),
        ("casia_v2", "catnet5105", "casia_v2_tampered5105_catnet.txt"),
        ("casia_v2", "mvss5063", "casia_v2_tampered5063_mvss.txt"),
    ):
        key = catalog.dataset_module(name).split_key
        rows = index(name, casia_root)
        chosen = select(name, rows, split)
        assert sorted(key(row.id) for row in forged(chosen)) == sorted(key(entry) for entry in published_names(file))
        assert len(chosen) - len(forged(chosen)) == len(rows) - len(forged(rows))


def test_casia_v2_in_full_and_fast(casia_root: Path) -> None:
    index("casia_v2", casia_root / "v2")
    start = time.process_time()
    rows = index("casia_v2", casia_root / "v2")
    assert time.process_time() - start < 5  # quadratic search takes minutes
    assert (len(forged(rows)), len(rows)) == (5123, 12614)
    assert all(row.mask and row.mask.stem == row.image.stem + "_gt" for row in forged(rows))
    assert Counter(row.kind for row in forged(rows)) == {"copy-move": 3295, "splicing": 1828}
    pristine = {row.group for row in rows if not row.forged}
    assert all(row.group in pristine for row in forged(rows))


def test_three_generations_of_casia_v2_are_one_set(tmp_path: Path, casia_root: Path) -> None:
    """Images under the names of 2012, masks under those of 2019 and 2022: one key, one kind, one group."""
    old = {new: before for before, new in renames("casia_v2")}
    names = [Path(name) for name in published_names("casia_v2_tampered5123.txt")]
    touch(tmp_path / "Tp", [old.get(name.stem, name.stem) + name.suffix for name in names])
    touch(tmp_path / "Gt", [re.sub(r"xxx\d{5}", "xxx00000", name.stem) + "_gt.png" for name in names])
    key = catalog.dataset_module("casia_v2").split_key
    first, second = forged(index("casia_v2", tmp_path)), forged(index("casia_v2", casia_root / "v2"))
    assert {key(row.id): (row.kind, row.group) for row in first} == {
        key(row.id): (row.kind, row.group) for row in second
    }
    assert all(row.mask and key(row.mask.name) == key(row.id) for row in first)
    for split, count in (("catnet5105", 5105), ("mvss5063", 5063)):
        assert len(select("casia_v2", first, split)) == count


def test_casia_v2_finds_the_mask_with_the_odd_ending(tmp_path: Path) -> None:
    stem = "Tp_D_NRD_S_N_cha10002_cha10001_20094"
    touch(tmp_path, [f"Tp/{stem}.jpg", f"CASIA 2 Groundtruth/{stem}_gt3.png", "Tp/Thumbs.db", "Tp/_list.txt"])
    (row,) = index("casia_v2", tmp_path)
    assert row.mask and row.mask.name == f"{stem}_gt3.png"


def test_casia_v2_on_kaggle(tmp_path: Path) -> None:
    pairs = EXAMPLES["casia_v2"]["catnet_kaggle"]["kaggle"]
    touch(tmp_path, [name for pair in pairs for name in pair])
    assert {row.id: row.mask for row in index("casia_v2", tmp_path)} == {a: tmp_path / b for a, b in pairs}
    shutil.rmtree(tmp_path / "CASIA2" / "CASIA 2 Groundtruth")
    assert all(row.forged and row.mask is None for row in index("casia_v2", tmp_path))


@pytest.mark.parametrize("ending", ["", "_gt", "_mask"])
def test_imdl_benco_folders_are_paired_by_name_not_position(tmp_path: Path, ending: str) -> None:
    stems = ["Sp_D_NNN_A_nat0051_cha0056_0324", "Sp_S_NNN_C_txt0011_txt0011_0011", "Sp_S_NNN_C_txt0061_txt0061_0061"]
    touch(tmp_path, [f"Tp/{stem}.jpg" for stem in stems] + [f"Gt/{stem}{ending}.png" for stem in stems[1:]])
    touch(tmp_path, ["Gt/0000_stray.png", "Tp/IMG_0001.jpg"])
    rows = index("casia_v1", tmp_path)
    assert [(row.image.stem, row.mask and row.mask.stem) for row in rows] == [
        (stems[0], None),
        *((stem, stem + ending) for stem in stems[1:]),
    ]


def test_a_list_may_call_the_forged_image_without_mask_pristine(tmp_path: Path) -> None:
    name = "Sp_D_NRN_A_cha0011_sec0011_0542.jpg"
    touch(tmp_path, [f"Tp/{name}"])
    (tmp_path / "mine.json").write_text(json.dumps([[f"./Tp/{name}", "Negative"]]), encoding="utf-8")
    assert [(row.id, row.forged) for row in index("casia_v1", tmp_path / "mine.json")] == [(f"Tp/{name}", False)]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path / "store", ["Tp/Tp_S_NRN_S_O_sec00036_sec00036_00764.tif"])
    root = tmp_path / "data"
    root.mkdir()
    (root / "CASIA2").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "store" / "loop").symlink_to(root, target_is_directory=True)
    assert [row.id for row in index("casia_v2", root)] == ["CASIA2/Tp/Tp_S_NRN_S_O_sec00036_sec00036_00764.tif"]


def test_kind_and_host_follow_the_name(tmp_path: Path) -> None:
    touch(tmp_path, [
        "Sp_D_NNN_A_ani0099_ani0100.0288.jpg", "Sp_S_NNN_C_txt0011_txt0011_0011.jpg", "Au/Au_ani_0099.JPG",
        "Sp_S_CRN_A_arc0007_arc0005_0228.jpg", "Sp_D_NNN_A_sec0049_sec0049_0117.jpg",
        "Tp_S_CnN_S_N_txt00071_txt00071_01297.tif", "Tp_S_NRN_S_B_ind00025_cha10101_10050.tif",
        "Tp_D_NNN_S_N_sec00085_sec00085_00816.tif", "Au/Au_txt_00071.bmp",
    ])  # fmt: skip
    assert {row.id: (row.kind, row.group) for row in index("casia_v1", tmp_path)} == {
        "Sp_D_NNN_A_ani0099_ani0100.0288.jpg": ("splicing", "ani0099"),
        "Sp_S_NNN_C_txt0011_txt0011_0011.jpg": ("copy-move", "txt0011"),
        "Sp_S_CRN_A_arc0007_arc0005_0228.jpg": ("splicing", "arc0007"),
        "Sp_D_NNN_A_sec0049_sec0049_0117.jpg": ("splicing", "sec0049"),
        "Au/Au_ani_0099.JPG": (None, "ani0099"),
    }
    assert {row.id: (row.kind, row.group) for row in index("casia_v2", tmp_path)} == {
        "Tp_S_CnN_S_N_txt00071_txt00071_01297.tif": ("copy-move", "txt00071"),
        "Tp_S_NRN_S_B_ind00025_cha10101_10050.tif": ("copy-move", "cha10101"),
        "Tp_D_NNN_S_N_sec00085_sec00085_00816.tif": ("copy-move", "ani00085"),
        "Au/Au_txt_00071.bmp": (None, "txt00071"),
    }


def test_casia_pools_both_versions(casia_root: Path) -> None:
    rows = index("casia", casia_root)
    card = catalog.dataset_card("casia")
    by_id(rows)
    assert len(forged(rows)) == card.expected.forged == 6044
    assert len(rows) - len(forged(rows)) == card.expected.pristine
    assert sum(row.mask is not None for row in rows) == card.expected.masks
    pristine_v2 = {row.group for row in rows if row.id.startswith("v2/") and not row.forged}
    assert sum(row.group in pristine_v2 for row in forged(rows) if row.id.startswith("v1/")) >= 920


@pytest.mark.parametrize("name", ["casia", "casia_d"])
@pytest.mark.parametrize("half", ["v1", "v2"])
def test_half_of_casia_and_a_list_are_refused(casia_root: Path, name: str, half: str) -> None:
    with pytest.raises(DataError, match="no image named like"):
        index(name, casia_root / half)
    with pytest.raises(DataError, match="is a list"):
        index(name, Path(__file__))


def test_casia_d_is_the_papers_921_and_921(tmp_path: Path, casia_root: Path) -> None:
    lists = ("casia_d_forged.txt", "casia_d_authentic.txt")
    names = [name for file in lists for name in published_names(file)]
    (tmp_path / "casia_d.txt").write_text("\n".join(names), encoding="utf-8")
    chosen = select("casia_d", index("casia_d", casia_root), "full", tmp_path / "casia_d.txt")
    by_id(chosen)
    assert Counter(row.forged for row in chosen) == {True: 921, False: 921}
    assert sum(row.id.endswith("#2") for row in chosen) == 28
    assert sum(row.image.name.startswith("Sp_") for row in chosen) == 146
    assert any(row.image.name.startswith("Tp_D_NRD_M_B_arc20062_xxx00005_02482") for row in chosen)


def test_casia_d_card_has_the_lists_checksums() -> None:
    for published, file in zip(
        catalog.dataset_card("casia_d").splits["full"].lists,
        ("casia_d_forged.txt", "casia_d_authentic.txt"),
        strict=True,
    ):
        names = published_names(file)
        assert (len(names), splits.sha256("\n".join(names).encode())) == (published.entries, published.sha256)


# --- pairs -----------------------------------------------------------------------------------------------------------


def pairs_tree(root: Path, rows: list[list[str]]) -> Path:
    touch(
        root / "CASIA2.0" / "Tp",
        ["Tp_D_CRN_S_N_cha00063_art00014_11818.jpg", "Tp_D_NRD_M_B_arc20062_xxx00005_02482.tif"],
    )
    touch(root / "CASIA2.0" / "Au", ["Au_cha_00063.jpg", "Au_art_00014.jpg", "Au_ani_00001.jpg", "Au_ani_00002.bmp"])
    path = root / "paired_CASIA_ids.csv"
    path.write_text("\n".join(",".join(row) for row in [["ProbeID", "DonorID", "Label"], *rows]), encoding="utf-8")
    return path


@pytest.mark.parametrize("give", ["folder", "file"])
def test_pairs_are_resolved_whatever_the_names_year(tmp_path: Path, give: str) -> None:
    rows = EXAMPLES["paired_casia"]["dmvn_ids_csv"]["rows"]
    old = ["Tp_D_NRD_M_B_arc20062_arc20062_02482", "Au_ani_00002", "1"]
    path = pairs_tree(tmp_path, [*rows, old, rows[2], ["Au_nat_99999", "Au_ani_00001", "0"]])
    samples = index("casia_pairs", path if give == "file" else tmp_path)
    assert [(sample.id, sample.forged) for sample in samples] == [
        ("Tp_D_CRN_S_N_cha00063_art00014_11818|Au_cha_00063", True),
        ("Tp_D_CRN_S_N_cha00063_art00014_11818|Au_art_00014", True),
        ("Au_ani_00001|Au_ani_00002", False),
        ("Tp_D_NRD_M_B_arc20062_arc20062_02482|Au_ani_00002", True),
        ("Au_ani_00001|Au_ani_00002#2", False),
    ]
    first, fourth = samples[0], samples[3]
    assert first.donor == tmp_path / "CASIA2.0/Au/Au_cha_00063.jpg"
    assert fourth.image.name == "Tp_D_NRD_M_B_arc20062_xxx00005_02482.tif"
    assert all(sample.mask is None and sample.donor_mask is None for sample in samples)
    assert (first.group, samples[2].group) == ("cha00063", "ani00001")


def test_pairs_without_their_file_are_refused(tmp_path: Path) -> None:
    pairs_tree(tmp_path, []).unlink()
    with pytest.raises(DataError, match=r"no paired_CASIA_ids\.csv .* negative ones were drawn at random"):
        index("casia_pairs", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2", "expected ProbeID"),
        ("ProbeID,DonorID,Label\nAu_ani_00001,Au_ani_00002,2", "line 2: label '2'"),
        ("ProbeID,DonorID,Label\nAu_nat_00009,Au_nat_00008,0", "none of its 1 pairs"),
    ],
)
def test_a_bad_pair_file_is_refused_by_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    pairs_tree(tmp_path, []).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        index("casia_pairs", tmp_path)
