"""imdl-bench check: every defect that a folder can have is found and named, and a sound folder has none."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from imdl_bench import catalog
from imdl_bench.cards import DatasetCard
from imdl_bench.check import CheckReport, Finding, check
from imdl_bench.errors import UsageError
from tests.dataset_trees import build_tree, save, touch

SHAPE = (40, 60)


def photograph(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*shape, 3), np.uint8)


def mask(rows: int = 10, shape: tuple[int, int] = SHAPE, value: int = 255) -> np.ndarray:
    truth = np.zeros(shape, np.uint8)
    truth[:rows] = value
    return truth


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A sound Tp/Gt/Au folder: three forgeries with masks, two pristine photographs."""
    root = tmp_path / "data"
    for n in range(3):
        save(root / f"Tp/{n}.png", photograph(n))
        save(root / f"Gt/{n}.png", mask())
    for n in range(3, 5):
        save(root / f"Au/{n}.png", photograph(n))
    return root


def found(report: CheckReport, finding: str) -> Finding:
    matches = [entry for entry in report.findings if entry.finding == finding]
    assert len(matches) == 1, report.table()
    return matches[0]


def files(report: CheckReport, finding: str) -> list[str]:
    return [file for file, _ in found(report, finding).files]


def test_a_sound_folder_has_counts_and_nothing_else(tree: Path) -> None:
    report = check("folder", tree, workers=2)
    assert report.ok
    assert [(f.severity, f.finding, f.count) for f in report.findings] == [
        ("info", "forged found", 3), ("info", "pristine found", 2), ("info", "masks found", 3),
    ]  # fmt: skip


def test_counts_are_compared_with_the_card(tmp_path: Path) -> None:
    build_tree(tmp_path, "ifs_tc", "phase1_training")
    report = check("ifs_tc", tmp_path)
    assert not report.ok
    assert (found(report, "forged found").severity, found(report, "forged found").detail) == ("error", "expected 450")
    assert found(report, "masks found").severity == "error"
    assert "white = forged" in found(report, "polarity detected").detail


def test_a_layout_without_pristine_images_is_only_a_warning(tmp_path: Path) -> None:
    build_tree(tmp_path, "imd20", "benco_tp_gt")
    assert found(check("imd20", tmp_path), "pristine found").severity == "warning"


def test_a_folder_of_something_else_is_a_finding(tmp_path: Path) -> None:
    touch(tmp_path, ["holiday.jpg"])
    report = check("imd20", tmp_path)
    assert not report.ok
    assert "1b8r7b" in found(report, "not readable as this data set").detail


def test_an_unknown_data_set_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'imd20'"):
        check("imd21", tmp_path)


def test_missing_files(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = catalog.dataset_index("folder")(tree)
    (tree / "Tp/1.png").unlink()
    (tree / "Gt/2.png").unlink()
    monkeypatch.setattr(catalog.dataset_module("folder"), "index", lambda root: samples)
    report = check("folder", tree)
    assert files(report, "missing files") == ["Gt/2.png", "Tp/1.png"]
    assert not report.ok


def test_forged_without_a_mask(tree: Path) -> None:
    (tree / "Gt/2.png").unlink()
    report = check("folder", tree)
    assert files(report, "forged without a mask") == ["Tp/2.png"]
    assert report.ok


def test_files_no_sample_uses(tree: Path) -> None:
    save(tree / "Gt/9.png", mask())
    touch(tree, ["other/x.JPG", "notes.txt", ".DS_Store"])
    report = check("folder", tree)
    assert files(report, "files no sample uses") == ["other/x.JPG"]
    assert files(report, "masks without an image") == ["Gt/9.png"]


def test_a_missing_image_is_named_by_its_mask(tmp_path: Path) -> None:
    build_tree(tmp_path, "coverage", "official")
    (tmp_path / "image/2t.tif").unlink()
    assert files(check("coverage", tmp_path), "masks without an image") == ["mask/2forged.tif"]


def test_files_no_sample_uses_beside_a_list_are_those_of_its_folders(tree: Path) -> None:
    touch(tree, ["other/x.jpg"])
    (tree / "list.txt").write_text("Tp/0.png Gt/0.png 1\n")
    assert files(check("folder", tree / "list.txt"), "files no sample uses") == [
        "Gt/1.png", "Gt/2.png", "Tp/1.png", "Tp/2.png",
    ]  # fmt: skip


def test_sizes_that_differ(tree: Path) -> None:
    save(tree / "Gt/0.png", mask(shape=SHAPE[::-1]))
    save(tree / "Gt/1.png", mask(shape=(40, 61)))
    sizes = found(check("folder", tree), "sizes differ")
    assert sizes.severity == "error"
    assert sizes.files == (
        ("Tp/0.png", "image 60x40, mask 40x60, axes swapped"),
        ("Tp/1.png", "image 60x40, mask 61x40"),
    )


def test_sizes_that_the_card_mends_are_a_warning(tmp_path: Path) -> None:
    build_tree(tmp_path, "imd20", "official")
    save(tmp_path / "z14/00030_fake_mask.png", mask(shape=(30, 20)))
    sizes = found(check("imd20", tmp_path), "sizes differ")
    assert (sizes.severity, sizes.detail, sizes.count) == ("warning", "handled by: resize", 1)


def test_upright_sizes_are_compared(tree: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    (tree / "Tp/0.png").unlink()
    PIL.Image.fromarray(photograph(0, SHAPE[::-1])).save(tree / "Tp/0.jpg", exif=exif)
    assert "sizes differ" not in {finding.finding for finding in check("folder", tree).findings}


def test_empty_and_full_masks(tree: Path) -> None:
    save(tree / "Gt/0.png", mask(0))
    save(tree / "Gt/1.png", mask(40))
    report = check("folder", tree)
    assert files(report, "empty masks") == ["Gt/0.png"]
    assert files(report, "full masks") == ["Gt/1.png"]
    assert report.ok


def test_masks_stored_as_0_and_1(tree: Path) -> None:
    save(tree / "Gt/0.png", mask(value=1))
    report = check("folder", tree)
    assert found(report, "masks stored below half range").files == (("Gt/0.png", "highest value 1"),)
    assert "empty masks" not in {finding.finding for finding in report.findings}
    assert not report.ok


def test_black_masks_stored_as_0_and_1_are_not_called_full(tmp_path: Path) -> None:
    example = build_tree(tmp_path, "nist16", "pscc_pretrained_list")
    for entry in example["forged"]:
        save(tmp_path / entry["mask"], 1 - mask(shape=(32, 48), value=1))
    report = check("nist16", tmp_path)
    assert found(report, "masks stored below half range").count == len(example["forged"])
    assert not {"full masks", "masks probably inverted"} & {finding.finding for finding in report.findings}


def test_inverted_masks(tree: Path) -> None:
    for n in range(3):
        save(tree / f"Gt/{n}.png", 255 - mask())
    report = check("folder", tree)
    assert not report.ok
    detail = found(report, "masks probably inverted").detail
    assert "white = forged covers 75.0% of 3 masks: probably black means forged" in detail


def test_one_large_forgery_is_not_an_inversion(tree: Path) -> None:
    save(tree / "Gt/0.png", mask(35))
    assert check("folder", tree).ok


def test_unreadable_files_are_named_with_the_reason(tree: Path) -> None:
    content = (tree / "Tp/0.png").read_bytes()
    (tree / "Tp/0.png").write_bytes(content[: len(content) // 2])
    (tree / "Gt/1.png").write_text("not a picture")
    report = check("folder", tree)
    assert not report.ok
    broken = dict(found(report, "unreadable files").files)
    assert set(broken) == {"Tp/0.png", "Gt/1.png"}
    assert "cannot be decoded" in broken["Tp/0.png"] and "not a picture" in broken["Gt/1.png"]


def test_identical_images(tree: Path) -> None:
    (tree / "Tp/1.png").write_bytes((tree / "Tp/0.png").read_bytes())
    (tree / "Au/4.png").write_bytes((tree / "Tp/2.png").read_bytes())
    report = check("folder", tree)
    assert found(report, "identical images").files == (("Tp/0.png", "same as Tp/1.png"),)
    assert found(report, "forged identical to pristine").count == 1
    assert "Au/4.png" in str(found(report, "forged identical to pristine").files)


@pytest.fixture
def leaking(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as CSV, with a test split of images 0 and 1; 1 shares its photograph with 2, which is in train."""
    lines = ["image,mask,group"] + [f"Tp/{n}.png,Gt/{n}.png,{group}" for n, group in enumerate(("a", "b", "b"))]
    (tree / "list.csv").write_text("\n".join([*lines, "Au/3.png,,", "Au/4.png,,"]))
    card = catalog.dataset_card("folder").model_dump()
    card["splits"] = {"test": {"about": "two", "ids": ["0", "1"]}, "train": {"about": "rest", "all_but": "test"}}
    monkeypatch.setattr(catalog, "dataset_card", lambda name: DatasetCard.model_validate(card))
    return tree / "list.csv"


def test_groups_on_both_sides_of_a_split(leaking: Path) -> None:
    report = check("folder", leaking)
    leak = found(report, "train/test leakage by group")
    assert leak.files == (("Tp/1.png", "group b"),)
    assert leak.detail == "test and train share 1 of 2 groups: 1 of 2 images"


def test_identical_files_on_both_sides_of_a_split(leaking: Path) -> None:
    (leaking.parent / "Au/3.png").write_bytes((leaking.parent / "Tp/0.png").read_bytes())
    report = check("folder", leaking)
    assert found(report, "train/test leakage by file").files == (("Tp/0.png", "same as Au/3.png"),)


def test_a_split_reads_its_own_files_only(leaking: Path) -> None:
    (leaking.parent / "Tp/2.png").write_text("broken")
    assert "unreadable files" not in {finding.finding for finding in check("folder", leaking, "test").findings}
    assert found(check("folder", leaking, "train"), "unreadable files").count == 1


def test_a_split_file_is_used_for_selection_and_leakage(leaking: Path) -> None:
    names = leaking.parent / "mine.txt"
    names.write_text("2\n7\n")
    report = check("folder", leaking, "test", names)
    assert found(report, "forged found").count == 1
    assert found(report, "train/test leakage by group").files == (("Tp/2.png", "group b"),)
    assert "missing 7" in found(report, "names of the split not found").detail
    assert not report.ok


def test_a_list_that_cannot_be_fetched_does_not_stop_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMDL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("imdl_bench.splits.download", _offline)
    build_tree(tmp_path / "data", "nist16", "pscc_pretrained_list")
    report = check("nist16", tmp_path / "data")
    assert "test and train" in found(report, "leakage not checked").detail
    assert found(report, "forged found").count > 0


def _offline(url: str, max_bytes: int) -> bytes:
    from imdl_bench.errors import DataError

    raise DataError(f"{url}: cannot be fetched")


def test_table_shows_errors_first_and_few_files(tree: Path) -> None:
    for n in range(5, 10):
        save(tree / f"Tp/{n}.png", photograph(n))
    (tree / "Tp/0.png").write_text("broken")
    lines = check("folder", tree).table().splitlines()
    assert lines[1].startswith("error    unreadable files")
    assert "+2 more" in "\n".join(lines)
    assert lines[-1] == "1 errors, 1 warnings"


def test_csv_has_a_line_per_file(tree: Path, tmp_path: Path) -> None:
    for n in range(5, 10):
        save(tree / f"Tp/{n}.png", photograph(n))
    check("folder", tree).to_csv(tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["file"] for row in rows if row["finding"] == "forged without a mask"] == [
        f"Tp/{n}.png" for n in range(5, 10)
    ]
    assert {row["dataset"] for row in rows} == {"folder"} and {row["split"] for row in rows} == {"full"}


def test_threads_and_progress_change_nothing(tree: Path) -> None:
    seen: list[int] = []
    one = check("folder", tree)
    many = check("folder", tree, workers=4, progress=seen.append)
    assert one == many
    assert seen == [1] * 8
