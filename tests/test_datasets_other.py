"""IMD2020, DEFACTO, IFS-TC, own folders, and all layouts of these and NIST16: images and masks pair by name."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from imdl_bench import catalog, load_dataset
from imdl_bench.errors import DataError
from imdl_bench.types import Sample
from tests.dataset_trees import EXAMPLES, build_tree, published_names, touch

NAMES = ("nist16", "imd20", "defacto12k", "defacto84k", "ifs_tc", "folder")
LAYOUTS = [
    ("nist16", "nist16", "pscc_finetune_list"),
    ("nist16", "nist16", "pscc_pretrained_list"),
    ("nist16", "nist16", "mvss_list"),
    ("imd20", "imd20", "official"),
    ("imd20", "imd20", "benco_tp_gt"),
    ("defacto12k", "defacto", "mvss_list"),
    ("defacto84k", "defacto", "mvss_list"),
    ("defacto84k", "defacto", "official_kaggle"),
    ("ifs_tc", "ifs_tc", "phase1_training"),
    ("ifs_tc", "ifs_tc", "masks_moved_fake_masks"),
    ("ifs_tc", "ifs_tc", "masks_moved_masks"),
]


def index(name: str, root: Path) -> list[Sample]:
    return catalog.dataset_index(name)(root)


def by_id(samples: list[Sample]) -> dict[str, Sample]:
    assert len({sample.id for sample in samples}) == len(samples)
    return {sample.id: sample for sample in samples}


@pytest.mark.parametrize("name", NAMES)
def test_card_is_valid_and_its_index_can_be_imported(name: str) -> None:
    assert catalog.dataset_card(name).name == name
    assert callable(catalog.dataset_index(name))


@pytest.mark.parametrize(("name", "example_of", "layout"), LAYOUTS)
def test_every_layout_gives_its_images_with_their_own_masks(
    tmp_path: Path, name: str, example_of: str, layout: str
) -> None:
    example = build_tree(tmp_path, example_of, layout)
    rows = by_id(index(name, tmp_path))
    for entry in example["forged"]:
        sample = rows[entry["image"]]
        assert sample.forged
        assert sample.image == tmp_path / entry["image"]
        assert sample.mask == tmp_path / entry["mask"]
    listed_only = layout.startswith("pscc")
    pristine = {sample.id for sample in rows.values() if not sample.forged}
    assert pristine == (set() if listed_only else set(example["authentic"]))
    sidecars = {name for name in example.get("sidecars", []) if "_img/" in name}
    assert {sample.id for sample in rows.values() if sample.forged} == {
        entry["image"] for entry in example["forged"]
    } | sidecars


@pytest.mark.parametrize(("name", "example_of", "layout"), LAYOUTS)
def test_junk_and_strangers_change_nothing(tmp_path: Path, name: str, example_of: str, layout: str) -> None:
    build_tree(tmp_path, example_of, layout)
    before = index(name, tmp_path)
    folders = {sample.image.parent for sample in before} | {sample.mask.parent for sample in before if sample.mask}
    for folder in folders:
        touch(folder, ["Thumbs.db", ".DS_Store", "._x.png", "desktop.ini", "notes.txt"])
    touch(tmp_path, ["__MACOSX/fake/x.png", "readme.md"])
    assert index(name, tmp_path) == before


@pytest.mark.parametrize(("name", "example_of", "layout"), LAYOUTS)
def test_a_missing_mask_costs_its_image_only_the_truth(tmp_path: Path, name: str, example_of: str, layout: str) -> None:
    example = build_tree(tmp_path, example_of, layout)
    before = index(name, tmp_path)
    lost = example["forged"][0]
    (tmp_path / lost["mask"]).unlink()
    after = by_id(index(name, tmp_path))
    assert len(after) == len(before)
    assert after[lost["image"]].forged and after[lost["image"]].mask is None
    assert all(after[sample.id] == sample for sample in before if sample.id != lost["image"])


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_folder_is_refused_with_what_was_looked_for(tmp_path: Path, name: str) -> None:
    touch(tmp_path, ["holiday/IMG_0001.jpg"])
    with pytest.raises(DataError, match=f"imdl-bench check {name} --data") as error:
        index(name, tmp_path)
    assert str(tmp_path) in str(error.value)


# IMD2020


@pytest.mark.parametrize("nested", ["", "IMD2020", "IMD2020/IMD2020"])
def test_imd20_groups_by_folder_wherever_it_is_unpacked(tmp_path: Path, nested: str) -> None:
    example = build_tree(tmp_path / nested, "imd20", "official")
    found = by_id(index("imd20", tmp_path))
    for triple in example["triples"]:
        folder = triple["image"].partition("/")[0]
        assert found[triple["image"]].group == found[triple["original"]].group == folder
        assert found[triple["image"]].mask == tmp_path / nested / triple["mask"]


def test_imd20_two_copies_or_layouts_are_refused(tmp_path: Path) -> None:
    build_tree(tmp_path / "a", "imd20", "official")
    build_tree(tmp_path / "b", "imd20", "official")
    with pytest.raises(DataError, match="two copies"):
        index("imd20", tmp_path)
    build_tree(tmp_path / "a", "imd20", "benco_tp_gt")
    with pytest.raises(DataError, match="a folder per original and Tp and Gt"):
        index("imd20", tmp_path / "a")


def test_imd20_list_gives_what_it_lists(tmp_path: Path) -> None:
    example = build_tree(tmp_path, "imd20", "official")
    lines = [f"{t['image']},{t['mask']},{t['original']},{t['image']}" for t in example["triples"][:3]]
    (tmp_path / "IMD_valid_list.txt").write_text("\n".join(lines))
    found = index("imd20", tmp_path / "IMD_valid_list.txt")
    assert [(s.id, s.mask) for s in found] == [(t["image"], tmp_path / t["mask"]) for t in example["triples"][:3]]
    assert all(sample.forged and sample.group == sample.id.partition("/")[0] for sample in found)


# DEFACTO


def test_defacto_says_kind_and_photograph(tmp_path: Path) -> None:
    build_tree(tmp_path, "defacto", "mvss_list")
    found = by_id(index("defacto12k", tmp_path))
    assert found["DEFACTO/Copy-Move-images/img/7_000000536154.tif"].kind == "copy-move"
    assert found["DEFACTO/Copy-Move-images/img/7_000000536154.tif"].group == "000000536154"
    assert found["DEFACTO/Splicing-images-1/img/11222_000000553072.tif"].kind == "splicing"
    assert found["CoCo2014/test2014/COCO_test2014_000000317486.jpg"].group == "000000317486"
    assert {sample.kind for sample in found.values()} == {"copy-move", "splicing", "removal", None}


@pytest.mark.parametrize("nested", ["", "kaggle/defacto-all"])
def test_defacto12k_list_finds_its_images_in_the_kaggle_tree(tmp_path: Path, nested: str) -> None:
    listed = build_tree(tmp_path / "list", "defacto", "mvss_list")
    build_tree(tmp_path / "data" / nested, "defacto", "official_kaggle")
    touch(tmp_path / "data" / "test2014", [Path(name).name for name in listed["authentic"]])
    shutil.copy(tmp_path / "list" / "DEFACTO12k-test.txt", tmp_path / "data")
    here = by_id(index("defacto12k", tmp_path / "data"))
    there = by_id(index("defacto12k", tmp_path / "list"))
    kaggle = {Path(entry["image"]).name for entry in EXAMPLES["defacto"]["official_kaggle"]["forged"]}
    assert set(here) == {name for name in there if Path(name).name in kaggle or "COCO" in name}
    for name, sample in here.items():
        assert (sample.kind, sample.group, sample.forged) == (there[name].kind, there[name].group, there[name].forged)
        if sample.forged:
            assert sample.mask is not None and sample.mask.stem == sample.image.stem
            assert sample.mask.parent.name == "probe_mask"


def test_defacto_numbers_repeat_between_parts(tmp_path: Path) -> None:
    names = ["copymove_{}", "splicing_1_{}", "splicing_2_{}", "inpainting_{}"]
    touch(tmp_path, [f"{name.format('img')}/img/0_000000000071.tif" for name in names])
    touch(tmp_path, [f"{name.format('annotations')}/probe_mask/0_000000000071.jpg" for name in names])
    found = index("defacto84k", tmp_path)
    assert len(found) == 4
    for sample in found:
        assert sample.mask is not None
        assert sample.mask.parent.parent.name == sample.image.parent.parent.name.replace("img", "annotations")


def test_defacto_takes_inpaint_mask_only_without_probe_mask(tmp_path: Path) -> None:
    touch(tmp_path, [f"inpainting_img/img/{n}_000000000071.tif" for n in (0, 1)])
    touch(tmp_path, [f"inpainting_annotations/inpaint_mask/{n}_000000000071.tif" for n in (0, 1)])
    touch(tmp_path, ["inpainting_annotations/probe_mask/0_000000000071.jpg"])
    masks = [sample.mask for sample in index("defacto84k", tmp_path)]
    assert [mask.parent.name for mask in masks if mask] == ["probe_mask", "inpaint_mask"]


def test_defacto12k_without_its_list_says_where_to_get_it(tmp_path: Path) -> None:
    build_tree(tmp_path, "defacto", "official_kaggle")
    with pytest.raises(DataError, match=r"DEFACTO12k-test\.txt is not in .*github\.com/dong03"):
        index("defacto12k", tmp_path)


def test_defacto_list_cannot_leave_its_folder(tmp_path: Path) -> None:
    build_tree(tmp_path / "in", "defacto", "mvss_list")
    (tmp_path / "in" / "DEFACTO12k-test.txt").write_text("../x.tif None 0\n")
    with pytest.raises(DataError, match="leaves the list's folder"):
        index("defacto12k", tmp_path / "in")


def test_defacto84k_split_file_selects_by_kind_part_and_stem(tmp_path: Path) -> None:
    example = build_tree(tmp_path, "defacto", "official_kaggle")
    names = tmp_path / "mine.txt"
    names.write_text("./DEFACTO/Splicing-images-1/img/11222_000000553072.tif x.jpg 2\n")
    data = load_dataset("defacto84k", tmp_path, split_file=names)
    assert [sample.id for sample in data] == ["splicing_1_img/img/11222_000000553072.tif"]
    assert len(example["forged"]) > 1


# IFS-TC


def test_ifs_tc_is_found_in_the_whole_archive_and_its_polarity_detected(tmp_path: Path) -> None:
    build_tree(tmp_path / "dataset-dist/phase-01/training", "ifs_tc", "phase1_training")
    touch(tmp_path, ["dataset-dist/phase-01/testing/0123456789abcdef0123456789abcdef.png"])
    data = load_dataset("ifs_tc", tmp_path)
    assert Counter(sample.forged for sample in data) == {True: 8, False: 3}
    assert data.forged == "white" and any("polarity detected" in remark for remark in data.remarks)
    assert data[0].id.startswith("fake/")


def test_ifs_tc_two_copies_are_refused(tmp_path: Path) -> None:
    for copy in ("a", "b"):
        build_tree(tmp_path / copy, "ifs_tc", "phase1_training")
    with pytest.raises(DataError, match="two copies"):
        index("ifs_tc", tmp_path)


# Folders and lists of one's own


def test_folder_pairs_by_path_and_stem_never_by_position(tmp_path: Path) -> None:
    touch(tmp_path, ["Tp/a.jpg", "Tp/b.JPG", "Tp/c.tif", "Tp/s/a.jpg", "Gt/a_gt.png", "Gt/c.png", "Gt/s/a.png"])
    touch(tmp_path, ["Gt/b_mask.png", "Au/z.jpg"])
    found = by_id(index("folder", tmp_path))
    masks = {name: sample.mask.relative_to(tmp_path).as_posix() for name, sample in found.items() if sample.mask}
    assert masks == {
        "Tp/a.jpg": "Gt/a_gt.png", "Tp/b.JPG": "Gt/b_mask.png", "Tp/c.tif": "Gt/c.png", "Tp/s/a.jpg": "Gt/s/a.png",
    }  # fmt: skip
    assert not found["Au/z.jpg"].forged


def test_folder_mask_whose_image_ends_like_a_mask(tmp_path: Path) -> None:
    touch(tmp_path, ["tp/x.jpg", "tp/x_mask.jpg", "gt/x.png", "gt/x_mask.png"])
    found = by_id(index("folder", tmp_path))
    assert found["tp/x.jpg"].mask == tmp_path / "gt/x.png"
    assert found["tp/x_mask.jpg"].mask == tmp_path / "gt/x_mask.png"


def test_folder_refuses_two_masks_two_roles_and_unrelated_masks(tmp_path: Path) -> None:
    touch(tmp_path / "one", ["Tp/a.jpg", "Gt/a.png", "Gt/a.jpg"])
    touch(tmp_path / "two", ["Tp/a.jpg", "fake/a.jpg"])
    touch(tmp_path / "three", ["Tp/a.jpg", "Gt/b.png"])
    for name, words in {"one": "same name", "two": "both hold forged", "three": "no mask is named"}.items():
        with pytest.raises(DataError, match=words):
            index("folder", tmp_path / name)


def write_csv(root: Path, text: str) -> Path:
    path = root / "index.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_folder_csv_gives_every_column(tmp_path: Path) -> None:
    touch(tmp_path, ["a b/1.jpg", "m/1.png", "d/1.jpg", "d/1.png", "a b/2.jpg", "a b/3.jpg"])
    path = write_csv(tmp_path, (
        "\ufeffImage,mask,forged,donor,donor_mask,kind,group\n"
        "a b/1.jpg,m/1.png,1,d/1.jpg,d/1.png,splicing,g\n"
        "a b\\2.jpg,,1,,,,\n\n"
        "a b/3.jpg,None,,,,,\n"
    ))  # fmt: skip
    assert index("folder", tmp_path) == index("folder", path)
    one, two, three = index("folder", path)
    assert one == Sample(
        "a b/1.jpg", tmp_path / "a b/1.jpg", True, tmp_path / "m/1.png", tmp_path / "d/1.jpg", tmp_path / "d/1.png",
        "splicing", "g",
    )  # fmt: skip
    assert (two.id, two.forged, two.mask) == ("a b/2.jpg", True, None)
    assert not three.forged


def test_folder_csv_split_by_semicolons(tmp_path: Path) -> None:
    touch(tmp_path, ["1.jpg", "1.png"])
    (sample,) = index("folder", write_csv(tmp_path, "image;mask\n1.jpg;1.png\n"))
    assert sample.forged and sample.mask == tmp_path / "1.png"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,maks\n1.jpg,\n", "did you mean 'mask'"),
        ("image,forged\n1.jpg,perhaps\n", "forged is 'perhaps'"),
        ("image,kind\n1.jpg,splice\n", "did you mean 'splicing'"),
        ("image,image\n1.jpg,1.jpg\n", "column 'image' stands there twice"),
        ("image\n1.jpg,1.png\n", r"index\.csv:2: 2 fields, but the header has 1"),
        ("image\n2.jpg\n", r"index\.csv:2: .*2\.jpg does not exist"),
        ("image,mask\n1.jpg,gone.png\n", "gone.png does not exist"),
        ("image\n../1.jpg\n", "leaves the list's folder"),
        ("image\n1.jpg\n1.jpg\n", "listed twice"),
        ("image,mask\n,1.jpg\n", "column image is empty"),
        ("image\n", "no lines after the header"),
    ],
)
def test_folder_csv_errors_name_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    touch(tmp_path, ["1.jpg"])
    with pytest.raises(DataError, match=words) as error:
        index("folder", write_csv(tmp_path, text))
    assert "index.csv" in str(error.value)


def test_folder_absolute_paths_are_taken_as_written(tmp_path: Path) -> None:
    touch(tmp_path, ["elsewhere/1.jpg"])
    (sample,) = index("folder", write_csv(tmp_path / "lists", f"image\n{tmp_path}/elsewhere/1.jpg\n"))
    assert sample.image == tmp_path / "elsewhere/1.jpg"


def test_folder_reads_the_lists_of_other_projects(tmp_path: Path) -> None:
    generic = EXAMPLES["generic"]
    touch(tmp_path, ["Tp/6.jpg", "Tp/7.jpg", "Tp/8.jpg", "Gt/6.jpg", "Gt/7.jpg"])
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps(generic["benco_json"]["json"]))
    assert [(s.id, s.forged, bool(s.mask)) for s in index("folder", lists)] == [
        ("Tp/6.jpg", True, True), ("Tp/7.jpg", True, True), ("Tp/8.jpg", False, False),
    ]  # fmt: skip
    for form in ("trufor_list", "catnet_list", "mvss_list"):
        lines = generic[form]["lines"]
        fields = [[field for field in line.replace(",", " ").split()[:2] if field != "None"] for line in lines]
        touch(tmp_path / form, [name.removeprefix("./") for line in fields for name in line])
        path = tmp_path / form / "list.txt"
        path.write_text("\n".join(lines))
        found = index("folder", path)
        assert [(s.id, s.forged) for s in found] == [(f[0].removeprefix("./"), len(f) == 2) for f in fields]


def test_folder_list_of_forgeries_without_truth(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1.jpg", "a/2.jpg"])
    for name, forged in {"mine_fake.txt": True, "mine_real.txt": False, "mine.txt": False}.items():
        (tmp_path / name).write_text("a/1.jpg,None\na/2.jpg,None\n")
        assert [(s.forged, s.mask) for s in index("folder", tmp_path / name)] == [(forged, None)] * 2


def test_folder_list_leaves_nothing_out_unnoticed(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1.jpg", "a/1.png"])
    (tmp_path / "list.txt").write_text("a/1.jpg a/1.png 1\na/2.jpg a/2.png 1\n")
    with pytest.raises(DataError, match=r"list\.txt:2: .*2\.jpg does not exist"):
        index("folder", tmp_path / "list.txt")


def test_folder_refuses_collections_and_two_layouts(tmp_path: Path) -> None:
    for form in ("benco_test_collection_json", "benco_balanced_json"):
        path = tmp_path / f"{form}.json"
        path.write_text(json.dumps(EXAMPLES["generic"][form]["json"]))
        with pytest.raises(DataError):
            index("folder", path)
    touch(tmp_path, ["Tp/1.jpg", "Gt/1.png"])
    write_csv(tmp_path, "image\nTp/1.jpg\n")
    with pytest.raises(DataError, match=r"index\.csv and Tp, Gt or Au"):
        index("folder", tmp_path)


# The full published lists


def test_imd20_full(tmp_path: Path) -> None:
    triples = [line.split(",") for line in published_names("imd20_all2010.txt")]
    touch(tmp_path, {name for triple in triples for name in triple})
    start = time.process_time()
    samples = by_id(index("imd20", tmp_path))
    assert time.process_time() - start < 5  # quadratic search takes minutes
    assert Counter(sample.forged for sample in samples.values()) == {True: 2010, False: 414}
    assert len({sample.group for sample in samples.values()}) == 414
    for image, mask, _ in triples:
        assert samples[image].mask == tmp_path / mask


def test_defacto12k_full(tmp_path: Path) -> None:
    lines = published_names("defacto12k_test_mvss.txt")
    touch(tmp_path, [name for line in lines for name in line.split()[:2] if name != "None"])
    (tmp_path / "DEFACTO12k-test.txt").write_text("\n".join(lines))
    start = time.process_time()
    samples = index("defacto12k", tmp_path)
    assert time.process_time() - start < 5  # quadratic search takes minutes
    assert Counter(sample.kind for sample in samples) == {
        "copy-move": 2000, "splicing": 2000, "removal": 2000, None: 6000,
    }  # fmt: skip
    assert all(bool(sample.mask) == sample.forged for sample in samples)
    assert len({sample.id for sample in samples}) == 12000
