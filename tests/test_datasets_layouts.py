"""Columbia, COVERAGE and the CASIA sets: every layout people have gives the same rows, whatever lies beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dataset_trees import EXAMPLES, build_tree, by_id, forged, index, published_names, select, touch

from imdl_bench import catalog
from imdl_bench.errors import DataError
from imdl_bench.images import read_mask
from imdl_bench.layouts import read_list

NAMES = ("columbia", "coverage", "casia_v1", "casia_v2", "casia", "casia_d", "casia_pairs")
SAME_INDEX = {"casia_v1plus": "casia_v1"}
LAYOUTS = [
    (dataset, layout) for dataset in ("columbia", "coverage", "casia_v1", "casia_v1plus", "casia_v2")
    for layout in EXAMPLES[dataset]
]  # fmt: skip
TREES = [(dataset, layout) for dataset, layout in LAYOUTS if "list_file" not in EXAMPLES[dataset][layout]]
MASKED = [(dataset, layout) for dataset, layout in LAYOUTS if EXAMPLES[dataset][layout]["forged"][0]["mask"]]


@pytest.mark.parametrize("name", NAMES)
def test_card_is_valid_and_its_index_can_be_imported(name: str) -> None:
    assert catalog.dataset_card(name).name == name
    assert callable(catalog.dataset_index(name))


@pytest.mark.parametrize(("dataset", "layout"), LAYOUTS)
def test_every_layout_gives_its_images_with_their_own_masks(tmp_path: Path, dataset: str, layout: str) -> None:
    example = build_tree(tmp_path, dataset, layout)
    rows = by_id(index(SAME_INDEX.get(dataset, dataset), tmp_path))
    pairs = {entry["image"]: entry["mask"] for entry in example["forged"]}
    pairs |= dict.fromkeys(example.get("no_mask", []))
    assert {row.id: row.mask for row in rows.values() if row.forged} == {
        image: mask and tmp_path / mask for image, mask in pairs.items()
    }
    assert {row.id for row in rows.values() if not row.forged} == set(example["authentic"])
    for row in rows.values():
        assert row.image == tmp_path / row.id
        assert row.donor is None and row.donor_mask is None
        assert (row.kind is None) == (not row.forged)
        assert row.forged or row.mask is None


@pytest.mark.parametrize(("dataset", "layout"), MASKED)
def test_masks_of_every_layout_decode_to_the_forged_quarter(tmp_path: Path, dataset: str, layout: str) -> None:
    build_tree(tmp_path, dataset, layout, size=(48, 32))
    name = SAME_INDEX.get(dataset, dataset)
    rows = index(name, tmp_path)
    decide = getattr(catalog.dataset_module(name), "mask_forged", lambda _: catalog.dataset_card(name).mask.forged)
    truth = np.zeros((32, 48), bool)
    truth[:16, :24] = True
    for row in [row for row in rows if row.mask][:2]:
        assert row.mask is not None
        assert (read_mask(row.mask, decide(rows)) == truth).mean() > 0.97  # JPEG masks ring


@pytest.mark.parametrize(("dataset", "layout"), TREES)
def test_a_tree_one_level_down_and_system_junk_change_only_the_ids(tmp_path: Path, dataset: str, layout: str) -> None:
    name = SAME_INDEX.get(dataset, dataset)
    build_tree(tmp_path / "plain", dataset, layout)
    build_tree(tmp_path / "nested" / "data" / "data", dataset, layout)
    for folder in [path for path in (tmp_path / "nested").rglob("*") if path.is_dir()]:
        touch(folder, ["Thumbs.db", ".DS_Store", "._0.png", "0_stray_gt.png", "zz stray.txt", "_list.txt"])
    plain = index(name, tmp_path / "plain")
    nested = index(name, tmp_path / "nested")
    assert [row.id for row in nested] == [f"data/data/{row.id}" for row in plain]
    assert [row.mask and row.mask.name for row in nested] == [row.mask and row.mask.name for row in plain]


@pytest.mark.parametrize(("dataset", "layout"), MASKED)
def test_a_missing_mask_leaves_every_other_pair_alone(tmp_path: Path, dataset: str, layout: str) -> None:
    build_tree(tmp_path, dataset, layout)
    name = SAME_INDEX.get(dataset, dataset)
    before = by_id(index(name, tmp_path))
    victim = next(row for row in before.values() if row.mask)
    assert victim.mask
    victim.mask.unlink()
    after = by_id(index(name, tmp_path))
    assert after.keys() == before.keys()
    assert after[victim.id].mask is None and after[victim.id].forged
    assert all(after[key] == before[key] for key in before if key != victim.id)


@pytest.mark.parametrize(("dataset", "layout"), TREES)
def test_upper_case_extensions_are_found(tmp_path: Path, dataset: str, layout: str) -> None:
    build_tree(tmp_path, dataset, layout)
    name = SAME_INDEX.get(dataset, dataset)
    before = index(name, tmp_path)
    for path in [path for path in tmp_path.rglob("*.*") if path.is_file()]:
        path.rename(path.with_suffix(path.suffix.upper()))
    after = index(name, tmp_path)
    assert [(row.image.stem, row.forged, row.mask and row.mask.stem) for row in after] == [
        (row.image.stem, row.forged, row.mask and row.mask.stem) for row in before
    ]


@pytest.mark.parametrize("name", NAMES[:6])
def test_a_wrong_folder_is_refused_with_what_was_looked_for(tmp_path: Path, name: str) -> None:
    touch(tmp_path, ["4cam_spl/holiday.tif", "IMG_0001.jpg"])
    with pytest.raises(DataError, match=r"no image named like .* Known layouts: .* Nearest is .*imdl-bench check"):
        index(name, tmp_path)
    with pytest.raises(DataError, match="imdl-bench check"):
        index(name, tmp_path / "4cam_spl")


def test_the_nearest_layout_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    touch(tmp_path, ["4cam_auth/canong3_02_sub_01.tif", "4cam_spliced/a.tif"])
    with pytest.raises(DataError, match="Nearest is official, but 4cam_splc, edgemask is missing"):
        index("columbia", tmp_path)


@pytest.mark.parametrize(
    ("dataset", "first", "second"),
    [
        ("columbia", "official", "benco_tp_gt"),
        ("casia_v1", "official_modified", "trufor_flat"),
        ("casia_v1", "photoholmes", "kaggle_casia1"),
        ("casia_v2", "official_revised", "catnet_kaggle"),
        ("casia_v2", "trufor", "sunnyhaze_corrected"),
    ],
)
def test_two_layouts_in_one_folder_are_refused_by_name(tmp_path: Path, dataset: str, first: str, second: str) -> None:
    build_tree(tmp_path, dataset, first)
    build_tree(tmp_path, dataset, second)
    with pytest.raises(DataError, match=r"(?s)\S+ and \S+.*(same name|both hold pristine)"):
        index(dataset, tmp_path)


def test_two_list_files_are_refused_and_either_can_be_given(tmp_path: Path) -> None:
    build_tree(tmp_path, "casia_v1", "mvss_list")
    plus = build_tree(tmp_path, "casia_v1plus", "mvss_list")
    with pytest.raises(DataError, match=r"CASIAv1\.txt and .*CASIAv1plus\.txt; give the one"):
        index("casia_v1", tmp_path)
    rows = index("casia_v1", tmp_path / "CASIAv1plus.txt")
    assert {row.id for row in rows if not row.forged} == set(plus["authentic"])
    assert {row.group for row in rows if row.id.startswith("corel-1k")} == {None}


def test_two_pristine_sets_of_casia_v1_are_refused(tmp_path: Path) -> None:
    build_tree(tmp_path, "casia_v1", "trufor_flat")
    touch(tmp_path, ["Au/Au_ani_0001.jpg"])
    with pytest.raises(DataError, match=r"Au and .*Au_corel both hold pristine"):
        index("casia_v1", tmp_path)


@pytest.mark.parametrize("write", ["trufor", "catnet", "json", "pscc"])
def test_other_lists_give_the_rows_of_the_tree(tmp_path: Path, write: str) -> None:
    example = build_tree(tmp_path, "coverage", "official")
    pairs = [(entry["image"], entry["mask"]) for entry in example["forged"]]
    lines = {
        "trufor": [f"{image},{mask}" for image, mask in pairs] + example["authentic"],
        "catnet": [f"{image},{mask},0jpg/{Path(image).stem}.jpg" for image, mask in pairs],
        "pscc": [f"{image} {mask}" for image, mask in pairs],
    }
    negatives = [[f"./{name}", "Negative"] for name in example["authentic"]]
    text = json.dumps([*pairs, *negatives]) if write == "json" else "\r\n".join(lines[write])
    path = tmp_path / ("mine.json" if write == "json" else "mine.txt")
    path.write_text("\ufeff" + text + "\n\n", encoding="utf-8")
    listed, tree = index("coverage", path), index("coverage", tmp_path)
    assert listed == (tree if write in ("trufor", "json") else forged(tree))


def test_cat_net_jpeg_copies_are_not_taken_for_images(tmp_path: Path) -> None:
    build_tree(tmp_path, "coverage", "official")
    before = index("coverage", tmp_path)
    touch(tmp_path, ["0jpg/41t.jpg", "0jpg/41.jpg"])
    assert index("coverage", tmp_path) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00\x80", "not a list"),
        (b"../../secret/1t.tif None 1", "leaves the list's folder"),
        (b"image/9999t.tif None 1", "none of the 1 listed images exists"),
        (b"", "none of the 0 listed images"),
        (b"image/holiday.tif None 1", "is listed as forged"),
        (b"image/1t.tif None 0", "is listed as pristine"),
    ],
)
def test_a_bad_list_is_refused_by_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    touch(tmp_path, ["image/1t.tif", "image/holiday.tif"])
    (tmp_path / "COVERAGE.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        index("coverage", tmp_path)


def test_lists_that_are_not_pairs_and_absolute_paths(tmp_path: Path) -> None:
    touch(tmp_path, ["image/1t.tif"])
    (tmp_path / "collection.json").write_text(json.dumps({"Columbia": "somewhere"}), encoding="utf-8")
    with pytest.raises(DataError, match="expected JSON pairs"):
        read_list(tmp_path / "collection.json")
    (tmp_path / "own.txt").write_text(f"{tmp_path.as_posix()}/image/1t.tif,None\n", encoding="utf-8")
    (line,) = read_list(tmp_path / "own.txt")
    assert line.image == tmp_path / "image/1t.tif"
    assert not line.id.startswith("/")
    assert line.forged is None


def test_columbia_groups_pristine_photographs_and_passes_over_other_colourings(tmp_path: Path) -> None:
    build_tree(tmp_path, "columbia", "official")
    touch(tmp_path, ["4cam_splc/edgemask/canong3_canonxt_sub_01_edgemask.bmp", "4cam_auth/edgemask/canong3_02_sub_01_edgemask.jpg"])  # fmt: skip  # noqa: E501
    rows = by_id(index("columbia", tmp_path))
    first = rows["4cam_splc/canong3_canonxt_sub_01.tif"]
    assert (first.mask and first.mask.name, first.kind, first.group) == (
        "canong3_canonxt_sub_01_edgemask.jpg", "splicing", None)  # fmt: skip
    assert rows["4cam_auth/canong3_02_sub_03.tif"].group == "canong3_02"


def test_coverage_twins_share_a_group_and_a_side_of_the_split(tmp_path: Path) -> None:
    build_tree(tmp_path, "coverage", "official")
    rows = by_id(index("coverage", tmp_path))
    assert rows["image/41t.tif"].group == rows["image/41.tif"].group == "41"
    assert rows["image/41t.tif"].kind == "copy-move"


def test_coverage_split_is_the_published_one(tmp_path: Path) -> None:
    test, train = published_names("coverage_finetune_test.txt"), published_names("coverage_finetune_train.txt")
    touch(tmp_path, [f"image/{n}{t}.tif" for n in range(1, 101) for t in ("", "t")])
    touch(tmp_path, [f"mask/{n}{region}.tif" for n in range(1, 101) for region in ("copy", "paste", "forged")])
    rows = index("coverage", tmp_path)
    assert len(rows) == 200
    for split, names in (("test", test), ("train", train)):
        chosen = select("coverage", rows, split)
        assert {row.image.name for row in chosen if row.forged} == set(names)
        assert {row.image.name for row in chosen if not row.forged} == {name.replace("t.", ".") for name in names}


def test_columbia_in_full(tmp_path: Path) -> None:
    spliced, pristine = published_names("columbia_spliced180.txt"), published_names("columbia_authentic183.txt")
    touch(tmp_path / "4cam_splc", [Path(name).name for name in spliced])
    touch(tmp_path / "4cam_auth", [Path(name).name for name in pristine])
    touch(tmp_path / "4cam_splc" / "edgemask", [f"{Path(name).stem}_edgemask.jpg" for name in spliced])
    rows = index("columbia", tmp_path)
    assert (len(forged(rows)), len(rows)) == (180, 363)
    assert sum(row.mask is not None for row in rows) == 180


# --- CASIA -----------------------------------------------------------------------------------------------------------
