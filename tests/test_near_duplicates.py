"""Near-duplicates: copies are found whatever was done to them, other photographs and flat images are not."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import imagehash
import numpy as np
import PIL.Image
import pytest
from dataset_trees import save
from hypothesis import given, settings
from hypothesis import strategies as st

from imdl_bench import cards
from imdl_bench.dataset import Dataset, load_dataset
from imdl_bench.near_duplicates import near_duplicates, perceptual_hash, similar_hashes
from imdl_bench.types import Image, Sample

Cli = Callable[..., subprocess.CompletedProcess[str]]


def crops(photo: np.ndarray) -> list[np.ndarray]:
    """Four parts of a photograph that do not overlap."""
    return [photo[top : top + 256, left : left + 256] for top in (0, 256) for left in (0, 256)]


def data_set(root: Path, images: dict[str, np.ndarray], name: str = "folder") -> Dataset:
    """Images as the pristine side of a folder."""
    for file, pixels in images.items():
        save(root / "Au" / file, pixels)
    return load_dataset(name, root)


@pytest.fixture
def originals(tmp_path: Path, photo: np.ndarray) -> Dataset:
    return data_set(tmp_path / "a", {f"{n}.png": crop for n, crop in enumerate(crops(photo))})


def found(first: Dataset, second: Dataset | Path | None = None, distance: int = 6) -> list[tuple[str, str, bool, bool]]:
    pairs = near_duplicates(first, second, distance=distance, workers=2).pairs
    return [(pair.image, pair.against, pair.mirrored, pair.identical) for pair in pairs]


def test_copies_are_found_and_nothing_else(originals: Dataset, tmp_path: Path, photo: np.ndarray) -> None:
    a, b, c, d = crops(photo)
    small = cv2.resize(b, (128, 128), interpolation=cv2.INTER_AREA)
    copies = {"same.png": a, "small.png": small, "turned.png": c[:, ::-1], "bright.png": cv2.add(d, (15, 15, 15, 0))}
    (tmp_path / "b/Au").mkdir(parents=True)
    PIL.Image.fromarray(d).save(tmp_path / "b/Au/jpeg.jpg", quality=50)
    second = data_set(tmp_path / "b", copies)
    assert sorted(found(originals, second)) == [
        ("Au/0.png", "Au/same.png", False, True), ("Au/1.png", "Au/small.png", False, False),
        ("Au/2.png", "Au/turned.png", True, False), ("Au/3.png", "Au/bright.png", False, False),
        ("Au/3.png", "Au/jpeg.jpg", False, False),
    ]  # fmt: skip


def test_a_data_set_against_itself_gives_each_pair_once(originals: Dataset, tmp_path: Path, photo: np.ndarray) -> None:
    assert found(originals) == []
    again = data_set(tmp_path / "a", {"9.png": crops(photo)[0], "8.png": crops(photo)[0][:, ::-1]})
    pairs = {(image, against): (mirrored, same) for image, against, mirrored, same in found(again)}
    assert pairs == {
        ("Au/0.png", "Au/9.png"): (False, True), ("Au/0.png", "Au/8.png"): (True, False),
        ("Au/8.png", "Au/9.png"): (True, False),
    }  # fmt: skip


def test_a_file_in_two_data_sets_is_a_pair(originals: Dataset) -> None:
    assert [(image, against) for image, against, _, same in found(originals, originals) if same] == [
        (sample.id, sample.id) for sample in originals
    ]


def test_flat_images_match_only_by_their_bytes(tmp_path: Path, photo: np.ndarray) -> None:
    grey, white = np.full((64, 64, 3), 90, np.uint8), np.full((64, 64, 3), 255, np.uint8)
    first = data_set(tmp_path / "a", {"grey.png": grey, "white.png": white, "photo.png": photo})
    second = data_set(tmp_path / "b", {"black.png": grey * 0, "white2.png": white, "noisy.png": grey + (photo[:64, :64] & 1)})  # fmt: skip  # noqa: E501
    report = near_duplicates(first, second)
    assert [(pair.image, pair.against, pair.distance, pair.identical) for pair in report.pairs] == [
        ("Au/white.png", "Au/white2.png", 0, True)
    ]
    assert set(report.flat) == {"Au/grey.png", "Au/white.png", "Au/black.png", "Au/white2.png", "Au/noisy.png"}
    assert "5 images without structure, compared by bytes alone" in report.table()


def test_unreadable_images_are_named_and_the_rest_is_compared(originals: Dataset, tmp_path: Path) -> None:
    (tmp_path / "a/Au/7.png").write_bytes(b"no picture")
    report = near_duplicates(load_dataset("folder", tmp_path / "a"))
    assert [image for image, _ in report.unreadable] == ["Au/7.png"] and report.counts == (4, 4)
    assert not report.ok and "unreadable: Au/7.png" in report.table()


def test_both_images_of_a_pair_count_once(tmp_path: Path, photo: np.ndarray) -> None:
    root = tmp_path / "a"
    for n, crop in enumerate(crops(photo)[:2]):
        save(root / f"{n}.png", crop)
    samples = (Sample("p", root / "0.png", False, donor=root / "1.png"), Sample("q", root / "1.png", False, donor=root / "0.png"))  # fmt: skip  # noqa: E501
    card = cards.DatasetCard(name="pairs", title="", source="", licence="", paper="", input="pair")
    pairs = Dataset(card, root, "full", samples, "white", "error", (), samples)
    assert near_duplicates(pairs).counts == (2, 2) and near_duplicates(pairs).ok
    assert [pair.image for pair in near_duplicates(pairs, pairs).pairs] == ["p", "p#donor"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(0, 12))
def test_distances_equal_a_count_of_bits(seed: int, size: int, distance: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.random((size, 64)) < 0.5
    flips = rng.random((size, 64)) < 0.1
    b = a ^ flips
    counted = [(i, j, int((a[i] != b[j]).sum())) for i in range(size) for j in range(size)]
    assert sorted(similar_hashes(a, b, distance)) == [pair for pair in counted if pair[2] <= distance]


def test_chunks_do_not_show() -> None:
    a = np.random.default_rng(0).random((2100, 64)) < 0.5
    assert [(i, j) for i, j, _ in similar_hashes(a, a, 0)] == [(i, i) for i in range(2100)]


def test_the_hash_is_that_of_imagehash(photo: np.ndarray) -> None:
    hashes = perceptual_hash(Image(photo))
    assert hashes is not None
    assert (imagehash.phash(PIL.Image.fromarray(photo)).hash.ravel() == hashes[0]).all()
    assert (imagehash.phash(PIL.Image.fromarray(photo[:, ::-1])).hash.ravel() == hashes[1]).all()


def test_on_the_command_line(originals: Dataset, tmp_path: Path, photo: np.ndarray, cli: Cli) -> None:
    data_set(tmp_path / "b", {"copy.png": crops(photo)[1]})
    data_set(tmp_path / "c", {"other.png": np.rot90(photo)})
    command = ("check", "folder", "--data", tmp_path / "a", "--against", "folder")
    hit = cli(*command, "--against-data", tmp_path / "b", "--csv", tmp_path / "pairs.csv")
    assert hit.returncode == 1, hit.stderr
    assert "byte-identical" in hit.stdout and "1 pairs within distance 6" in hit.stdout
    with (tmp_path / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"image": "Au/1.png", "against": "Au/copy.png", "distance": "0", "mirrored": "False", "identical": "True"}
    ]
    clean = cli(*command, "--against-data", tmp_path / "c", "--distance", 2)
    assert (clean.returncode, clean.stdout.splitlines()[-1]) == (0, "no pairs within distance 2")
    assert cli(*command).returncode == 0
    for wrong in (("--distance", "65"), ("--against-data", tmp_path / "gone")):
        assert cli(*command, *wrong).returncode == 2
    alone = cli("check", "folder", "--data", tmp_path / "a", "--distance", "3")
    assert alone.returncode == 2 and "--against DATASET" in alone.stderr


def test_a_folder_of_pictures_needs_no_layout(originals: Dataset, tmp_path: Path, photo: np.ndarray, cli: Cli) -> None:
    plain = tmp_path / "plain pictures"
    save(plain / "2024" / "copy.png", crops(photo)[1])
    save(plain / "other.png", np.rot90(photo))
    assert found(originals, plain) == [("Au/1.png", "2024/copy.png", False, True)]
    hit = cli("check", "folder", "--data", tmp_path / "a", "--against-data", plain)
    assert hit.returncode == 1 and "2024/copy.png" in hit.stdout, hit.stderr
    (tmp_path / "empty").mkdir()
    nothing = cli("check", "folder", "--data", tmp_path / "a", "--against-data", tmp_path / "empty")
    assert nothing.returncode == 2 and "no picture" in nothing.stderr
