"""Streams of manipulated examples: the same whoever asks, whole truths, equal treatment of pristine and forged."""

from __future__ import annotations

import multiprocessing
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_sample_images

from imdl_bench.errors import DataError, UsageError
from imdl_bench.examples import PRISTINE, Example
from imdl_bench.synthesis.mixes import list_mixes, open_mix
from imdl_bench.types import KINDS

MIXES = ["unified", "four-kinds"]
SIDE = 96


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve crops of two photographs, in all shapes."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(4)
    for number in range(12):
        whole = load_sample_images().images[number % 2]
        height, width = rng.integers(70, 300, 2)
        top, left = rng.integers(0, 427 - height), rng.integers(0, 640 - width)
        picture = PIL.Image.fromarray(whole[top : top + height, left : left + width])
        picture.save(root / f"{number:02}.{('jpg', 'png')[number % 2]}")
    return root


def _same(one: Example, other: Example) -> bool:
    return one.id == other.id and np.array_equal(one.image, other.image) and np.array_equal(one.truth, other.truth)


@pytest.mark.parametrize("mix", MIXES)
def test_an_example_is_the_same_in_any_order_and_process(mix: str, photos: Path) -> None:
    source = open_mix(mix, photos, seed=3, side=SIDE)
    first = [source.example(number) for number in range(8)]
    again = open_mix(mix, photos, seed=3, side=SIDE)
    assert all(_same(again.example(number), first[number]) for number in reversed(range(8)))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert all(map(_same, pool.map(source.example, range(5, 8)), first[5:]))


@pytest.mark.parametrize("mix", MIXES)
def test_seeds_and_numbers_give_other_pictures(mix: str, photos: Path) -> None:
    one, other = (open_mix(mix, photos, seed=seed, side=SIDE) for seed in (3, 4))
    pictures = {source.example(number).image.tobytes() for source in (one, other) for number in range(12)}
    assert len(pictures) == 24


@pytest.mark.parametrize("mix", MIXES)
def test_every_run_of_four_holds_every_kind_once_in_no_fixed_order(mix: str, photos: Path) -> None:
    source = open_mix(mix, photos, seed=0, side=SIDE)
    fours = [tuple(source.kind(number) for number in range(start, start + 4)) for start in range(0, 160, 4)]
    assert all(len(set(four)) == 4 for four in fours)
    assert len(set(fours)) > 12
    assert set(fours[0]) == {PRISTINE, "splicing", "copy-move", "removal"} <= {PRISTINE, *KINDS}
    assert all(source.example(number).kind == source.kind(number) for number in range(4))


@pytest.mark.parametrize("mix", MIXES)
def test_truths_are_whole_and_pristine_ones_empty(mix: str, photos: Path) -> None:
    source = open_mix(mix, photos, seed=1, side=SIDE)
    for number in range(40):
        example = source.example(number)
        assert example.image.shape == (SIDE, SIDE, 3) and example.image.dtype == np.uint8
        assert example.truth.shape == (SIDE, SIDE) and example.truth.dtype == np.bool_
        assert example.forged == (example.kind != PRISTINE) == bool(example.truth.any())
        if example.forged:
            assert 0.01 <= example.truth.mean() <= 0.5


@pytest.mark.parametrize("mix", MIXES)
def test_parts_never_share_a_photograph(mix: str, photos: Path) -> None:
    names = sorted(path.name for path in photos.iterdir())
    used: dict[str, set[str]] = {}
    for part in ("training", "held-out"):
        source = open_mix(mix, photos, seed=2, side=SIDE, part=part)  # type: ignore[arg-type]
        records = [source.made(number).record for number in range(24)]
        used[part] = {record[key] for record in records for key in ("photograph", "donor") if record.get(key)}
    assert used["training"] <= set(names[:-2])
    assert used["held-out"] == set(names[-2:])


def test_links_to_a_photograph_make_no_second_one_and_those_to_nothing_are_passed_over(
    photos: Path, tmp_path: Path
) -> None:
    for path in photos.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "zz.jpg").symlink_to(photos / "00.jpg")
    (tmp_path / "zzz.png").hardlink_to(photos / "01.png")
    (tmp_path / "zzzz.png").symlink_to(photos / "none.png")
    source = open_mix("unified", tmp_path, seed=3, side=64)
    assert source.photographs.names == [*sorted(path.name for path in photos.iterdir()), "zzzz.png"]
    for number in range(40):
        source.example(number)
    assert source.photographs.unreadable == {"zzzz.png"}


def test_a_source_is_small_when_it_is_sent_to_a_process(photos: Path) -> None:
    source = open_mix("unified", photos, seed=3, side=SIDE)
    for number in range(8):
        source.example(number)
    assert len(pickle.dumps(source)) < 10_000


def test_kinds_come_evenly_from_all_photographs(photos: Path) -> None:
    source = open_mix("unified", photos, seed=3, side=64)
    hosts = Counter(source.made(number).record["photograph"] for number in range(120))
    assert len(hosts) == 12 and max(hosts.values()) < 30


def test_wrong_names_parts_sides_and_folders_are_refused(photos: Path, tmp_path: Path) -> None:
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"name": "unifed"}, UsageError, "did you mean 'unified'"),
        ({"part": "trainig"}, UsageError, "did you mean 'training'"),
        ({"side": 16}, UsageError, "32 pixels or more"),
        ({"photos": tmp_path / "none"}, UsageError, "not a folder"),
        ({"photos": tmp_path}, DataError, "0 pictures"),
    ]
    for change, error, message in refused:
        arguments: dict[str, Any] = {"name": "unified", "photos": photos, "seed": 0, "side": 64, **change}
        opened: Callable[..., object] = open_mix
        with pytest.raises(error, match=message):
            opened(**arguments)
    assert "unified" in list_mixes()
