"""NIST16: probes and masks have different numbers, so every layout is held to the csv or list that pairs them."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from imdl_bench import catalog, load_dataset
from imdl_bench.cache import cache_dir, sha256
from imdl_bench.errors import DataError
from imdl_bench.types import Sample
from tests.dataset_trees import EXAMPLES, build_tree, published_names, save, touch

HEADER = EXAMPLES["nist16"]["official"]["csv_header_manipulation"]
REFERENCE = "reference/manipulation/NC2016-manipulation-ref.csv"


def index(name: str, root: Path) -> list[Sample]:
    return catalog.dataset_index(name)(root)


def by_id(samples: list[Sample]) -> dict[str, Sample]:
    assert len({sample.id for sample in samples}) == len(samples)
    return {sample.id: sample for sample in samples}


def row(probe: str, mask: str = "", kind: str = "", base: str = "", control: str = "", yes: str = "Y") -> str:
    """One line of the manipulation csv."""
    fields = dict.fromkeys(HEADER.split("|"), "")
    fields |= {"ProbeFileName": probe, "ProbeMaskFileName": mask, "IsTarget": yes if mask else "N"}
    fields |= {"BaseFileName": base, "CorrespondingControlFileName": control}
    for flag in ("Removal", "Splice", "CopyClone"):
        fields[f"IsManipulationType{flag}"] = yes if flag == kind else "N"
    return "|".join(fields.values())


def write_reference(root: Path, rows: list[str], name: str = REFERENCE, header: str = HEADER, quote: str = "") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["|".join(f"{quote}{field}{quote}" for field in line.split("|")) for line in [header, *rows]]
    path.write_bytes(("\ufeff" + "\r\n".join(lines)).encode() if quote else "\n".join(lines).encode())


def official_nist(root: Path) -> dict[str, list[dict[str, str]]]:
    """The official tree with a csv that names all its probes."""
    example = build_tree(root, "nist16", "official")
    rows = [row(entry["image"], entry["mask"], "Splice", "world/NC2016_3272.jpg") for entry in example["forged"]]
    write_reference(root, rows + [row(name) for name in example["authentic"]])
    return example


@pytest.mark.parametrize("nested", ["", "NC2016_Test0613", "NC2016_Test0613/NC2016_Test0613"])
@pytest.mark.parametrize(("quote", "yes"), [("", "Y"), ('"', "Y"), ("", "True")])
def test_nist16_pairs_by_the_official_csv(tmp_path: Path, nested: str, quote: str, yes: str) -> None:
    example = build_tree(tmp_path / nested, "nist16", "official")
    kinds = ["Splice", "Removal", "CopyClone"]
    rows = [
        row(entry["image"], entry["mask"], kinds[n % 3], f"world/NC2016_900{n % 3}.jpg", yes=yes)
        for n, entry in enumerate(example["forged"])
    ]
    write_reference(tmp_path / nested, rows + [row(name) for name in example["authentic"]], quote=quote)
    found = by_id(index("nist16", tmp_path))
    assert len(found) == len(example["forged"]) + len(example["authentic"])
    for n, entry in enumerate(example["forged"]):
        sample = found[entry["image"]]
        assert sample.mask == tmp_path / nested / entry["mask"]
        assert sample.kind == ["splicing", "removal", "copy-move"][n % 3]
        assert sample.group == f"NC2016_900{n % 3}"
    for name in example["authentic"]:
        assert not found[name].forged and found[name].kind is None
    assert load_dataset("nist16", tmp_path).forged == "black"


def test_nist16_reads_the_rows_of_the_real_csv(tmp_path: Path) -> None:
    example = build_tree(tmp_path, "nist16", "official")
    write_reference(tmp_path, example["csv_rows_manipulation"])
    found = by_id(index("nist16", tmp_path))
    assert (found["probe/NC2016_0128.jpg"].kind, found["probe/NC2016_0128.jpg"].group) == ("splicing", "NC2016_3272")
    assert found["probe/NC2016_0674.jpg"].kind == "removal"
    assert Counter(sample.forged for sample in found.values()) == {True: 6, False: 3}


def test_nist16_control_belongs_to_the_photograph_it_controls(tmp_path: Path) -> None:
    touch(tmp_path, ["probe/NC2016_0001.jpg", "probe/NC2016_0002.jpg", "reference/manipulation/mask/NC2016_0009.png"])
    mask = "reference/manipulation/mask/NC2016_0009.png"
    forged = row("probe/NC2016_0001.jpg", mask, "Splice", "world/NC2016_0007.jpg", "probe/NC2016_0002.jpg")
    write_reference(tmp_path, [forged, row("probe/NC2016_0002.jpg")])
    assert {sample.group for sample in index("nist16", tmp_path)} == {"NC2016_0007"}


def test_nist16_finds_upper_case_suffixes_and_either_removal_folder(tmp_path: Path) -> None:
    touch(tmp_path, ["probe/NC2016_0001.JPG", "reference/removal/mask/NC2016_0009.PNG"])
    rows = [row("probe/NC2016_0001.jpg", "reference/remove/mask/NC2016_0009.png", "Removal")]
    write_reference(tmp_path, rows, "reference/removal/NC2016-removal-ref.csv")
    (sample,) = index("nist16", tmp_path)
    assert sample.image.name == "NC2016_0001.JPG" and sample.mask is not None
    assert sample.mask.parts[-3:] == ("removal", "mask", "NC2016_0009.PNG")


def test_nist16_task_csv_does_not_call_other_forgeries_pristine(tmp_path: Path) -> None:
    touch(tmp_path, ["probe/NC2016_0001.jpg", "probe/NC2016_0002.jpg", "reference/splice/mask/NC2016_0009.png"])
    rows = [row("probe/NC2016_0001.jpg", "reference/splice/mask/NC2016_0009.png", "Splice")] * 2
    write_reference(tmp_path, [*rows, row("probe/NC2016_0002.jpg")], "reference/splice/NC2016-splice-ref.csv")
    assert [sample.id for sample in index("nist16", tmp_path)] == ["probe/NC2016_0001.jpg"]


def test_nist16_reads_the_short_header_of_the_first_release(tmp_path: Path) -> None:
    touch(tmp_path, ["probe/NC2016_0001.jpg", "probe/NC2016_0002.jpg", "reference/manipulation/mask/NC2016_0009.png"])
    rows = [
        "manipulation|NC2016_0001|probe/NC2016_0001.jpg|reference/manipulation/mask/NC2016_0009.png|Y|",
        "manipulation|NC2016_0002|probe/NC2016_0002.jpg||N|",
    ]
    write_reference(tmp_path, rows, header="TaskID|FileID|ImgFName|MaskFName|isTarget|AnalysisJSON")
    one, two = index("nist16", tmp_path)
    assert one.forged and one.mask and one.group == "NC2016_0009"
    assert not two.forged


def test_nist16_refuses_a_csv_of_something_else(tmp_path: Path) -> None:
    touch(tmp_path, ["probe/NC2016_0001.jpg"])
    write_reference(tmp_path, ["1|2"], header="a|b")
    with pytest.raises(DataError, match="expected columns ProbeFileName and IsTarget"):
        index("nist16", tmp_path)


def test_nist16_refuses_two_releases_and_two_layouts(tmp_path: Path) -> None:
    official_nist(tmp_path / "one" / "NC2016_Test0613")
    shutil.copytree(tmp_path / "one" / "NC2016_Test0613", tmp_path / "one" / "NC2016_Test0601")
    with pytest.raises(DataError, match="two releases"):
        index("nist16", tmp_path / "one")
    official_nist(tmp_path / "two")
    build_tree(tmp_path / "two", "nist16", "pscc_finetune_list")
    with pytest.raises(DataError, match="a list file and the official reference csv"):
        index("nist16", tmp_path / "two")


def test_nist16_file_given_as_root_decides_between_list_and_csv(tmp_path: Path) -> None:
    example = build_tree(tmp_path, "nist16", "pscc_finetune_list")
    first = example["forged"][0]
    write_reference(tmp_path, [row(first["image"], first["mask"], "CopyClone", "world/NC2016_0007.jpg")])
    listed = index("nist16", tmp_path / "NIST16_for_finetuned.txt")
    assert len(listed) == len(example["forged"])
    assert index("nist16", tmp_path / REFERENCE) == listed[:1]
    assert (listed[0].kind, listed[0].group) == ("copy-move", "NC2016_0007")  # the csv beside the list knows more


def test_nist16_list_names_the_task_and_the_shared_mask(tmp_path: Path) -> None:
    build_tree(tmp_path, "nist16", "pscc_finetune_list")
    found = by_id(index("nist16", tmp_path))
    assert found["probe/NC2016_7691.jpg"].kind == "splicing" and found["probe/NC2016_7691.jpg"].group == "NC2016_2490"
    assert found["probe/NC2016_7865.jpg"].kind == "removal"
    assert found["probe/NC2016_4940.jpg"].kind is None  # the manipulation folder holds every task


def test_nist16_flattened_tree_without_its_list_is_refused(tmp_path: Path) -> None:
    build_tree(tmp_path, "nist16", "pscc_pretrained_list")
    (tmp_path / "NIST16_for_pretrained.txt").unlink()
    with pytest.raises(DataError, match=r"NIST16_for_pretrained\.txt"):
        index("nist16", tmp_path)


@pytest.mark.parametrize("with_list", [True, False])
def test_nist16_export_names_kind_and_has_its_polarity_detected(tmp_path: Path, with_list: bool) -> None:
    example = build_tree(tmp_path, "nist16", "mvss_list")
    if not with_list:
        (tmp_path / "NIST16.txt").unlink()
    data = load_dataset("nist16", tmp_path)
    assert len(data) == len(example["forged"])
    assert data.forged == "black" and any("polarity detected" in remark for remark in data.remarks)
    for sample in data:
        assert (
            sample.kind
            == {"splice": "splicing", "removal": "removal", "copyclone": "copy-move"}[
                sample.image.stem.rpartition("_")[2]
            ]
        )


def test_nist16_official_polarity_is_not_guessed(tmp_path: Path) -> None:
    build_tree(tmp_path, "nist16", "pscc_pretrained_list")
    data = load_dataset("nist16", tmp_path)
    assert data.forged == "black" and not any("polarity" in remark for remark in data.remarks)
    truth, _ = data.read_truth(data[0], (32, 48))
    assert truth is not None and truth[0, 0] and not truth[-1, -1]


def test_nist16_masks_renamed_after_their_image_have_their_polarity_detected(tmp_path: Path) -> None:
    for n, white in ((1, True), (2, True), (3, False)):
        truth = np.full((32, 48), 0 if white else 255, np.uint8)
        truth[:8] = 255 - truth[0, 0]
        save(tmp_path / f"Gt/NC2016_000{n}.png", truth)
    touch(tmp_path, [f"Tp/NC2016_000{n}.jpg" for n in (1, 2, 3)])
    data = load_dataset("nist16", tmp_path)
    assert data.forged == "white" and [sample.mask.name for sample in data if sample.mask] == [
        "NC2016_0001.png", "NC2016_0002.png", "NC2016_0003.png",
    ]  # fmt: skip


def keep_published(sha: str, names: list[str]) -> None:
    """Put a published list where a download would have put it."""
    assert sha256("\n".join(names).encode()) == sha
    path = cache_dir() / "splits" / f"{sha}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(names))


def test_nist16_full_release_and_its_splits(tmp_path: Path) -> None:
    types = [line.split() for line in published_names("nist16_types.txt")]
    masks = dict(line.split() for line in published_names("nist16_all_pairs.txt"))
    pristine = published_names("nist16_authentic560.txt")
    kinds = {"splice": "Splice", "removal": "Removal", "copyclone": "CopyClone"}
    rows = []
    for probe, kind, base in types:
        mask = masks[probe].replace("mask/mani_", "reference/manipulation/mask/")
        touch(tmp_path, [probe, mask])
        rows.append(row(probe, mask, kinds[kind], base))
    touch(tmp_path, pristine)
    write_reference(tmp_path, rows + [row(probe) for probe in pristine])
    start = time.process_time()
    samples = index("nist16", tmp_path)
    assert time.process_time() - start < 5  # quadratic search takes minutes
    assert Counter(sample.kind for sample in samples) == {"splicing": 288, "removal": 208, "copy-move": 68, None: 560}
    assert len({sample.mask for sample in samples if sample.mask}) == 282
    assert len({sample.group for sample in samples if sample.forged}) == 69
    card = catalog.dataset_card("nist16")
    keep_published(card.splits["test"].lists[0].sha256, published_names("nist16_finetune_test_pairs.txt"))
    keep_published(card.splits["pretrained"].lists[0].sha256, published_names("nist16_all_pairs.txt"))
    data = {split: load_dataset("nist16", tmp_path, split) for split in ("full", "test", "train", "pretrained")}
    assert not data["full"].remarks
    assert {sample.id for sample in data["test"]} == set(published_names("nist16_finetune_test.txt"))
    assert {s.id for s in data["train"] if s.forged} == set(published_names("nist16_finetune_train.txt"))
    assert len(data["pretrained"]) == 564
    shared = {s.group for s in data["test"] if s.forged} & {s.group for s in data["train"] if s.forged}
    assert len(shared) == 68
