"""Pairs that share what their truths say and nothing else; manipulated patches and regions; how fast they are made."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage
from scipy.fft import dctn
from skimage.data import astronaut, chelsea, coffee, rocket

from imdl_bench.errors import DataError, UsageError
from imdl_bench.examples import Example
from imdl_bench.synthesis import pairs, unified, unified_pairs
from imdl_bench.synthesis.classes import LEVELS, classes, leaves
from imdl_bench.synthesis.enhancement import enhancement, field_region, irregular_mask
from imdl_bench.synthesis.frames import draw_frame
from imdl_bench.synthesis.mixes import list_mixes, open_mix
from imdl_bench.synthesis.pairs import AREA_CLASSES, compose
from imdl_bench.synthesis.photographs import Photographs
from imdl_bench.synthesis.regions import in_class
from imdl_bench.synthesis.streams import Draw
from imdl_bench.types import KINDS

PATCH_MIXES = {"patches": 380} | {f"patches-{level}": level for level in LEVELS[:-1]}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten crops of four photographs, a flat one, a small one, a broken one."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(4)
    for number in range(10):
        whole = (astronaut, chelsea, coffee, rocket)[number % 4]()
        height, width = rng.integers(260, 300, 2)
        top, left = rng.integers(0, whole.shape[0] - height + 1), rng.integers(0, whole.shape[1] - width + 1)
        PIL.Image.fromarray(whole[top : top + height, left : left + width]).save(root / f"{number}.png")
    PIL.Image.fromarray(np.full((300, 300, 3), 99, np.uint8)).save(root / "flat.png")
    PIL.Image.fromarray(chelsea()[:200, :400]).save(root / "small.png")
    (root / "broken.png").write_bytes(b"no picture")
    return root


def seconds(make: Callable[[int], object], count: int) -> float:
    """Of the processor, per example, after the first ones have read the photographs."""
    for number in range(5):
        make(number)
    start = time.process_time()
    for number in range(5, 5 + count):
        make(number)
    return (time.process_time() - start) / count


# --- manipulated patches --------------------------------------------------------------------------------------------


def test_there_is_a_mix_for_each_level() -> None:
    assert set(PATCH_MIXES) <= set(list_mixes()) and len(PATCH_MIXES) == 6


@pytest.mark.parametrize("mix", PATCH_MIXES)
def test_every_class_is_dealt_out_once_in_a_round_with_its_label(mix: str, photos: Path) -> None:
    level = PATCH_MIXES[mix]
    source = open_mix(mix, photos, seed=1, side=64)
    assert source.about["classes"] == [found.name for found in classes(level)]
    assert len({source.kind(number) for number in range(level)}) == level
    for number in range(8):
        example, record = source.example(number), source.made(number).record
        assert example.image.shape == (64, 64, 3) and example.forged and not example.truth.any()
        assert example.label is not None and classes(level)[example.label].name == example.kind
        assert record["manipulation"] in {leaf.name for leaf in classes(level)[example.label].leaves}


def test_a_patch_is_a_crop_of_a_manipulated_square_that_is_not_flat(photos: Path) -> None:
    source = open_mix("patches-27", photos, seed=2, side=128)
    by_name = {leaf.name: leaf for leaf in leaves()}
    certain = 0
    for number in range(54):
        made = source.made(number)
        photograph = np.asarray(PIL.Image.open(photos / str(made.record["photograph"])))
        left, top = made.record["square"]
        square = np.ascontiguousarray(photograph[top : top + 256, left : left + 256])
        assert square.shape == (256, 256, 3)
        assert (square @ [0.299, 0.587, 0.114]).std() >= 32
        leaf = by_name[str(made.record["manipulation"])]
        if leaf.family != "noise":
            left, top = made.record["crop"]
            crop = leaf.apply(square, np.random.default_rng())[top : top + 128, left : left + 128]
            np.testing.assert_array_equal(made.image, crop)
            certain += 1
    assert certain > 40


def test_patches_larger_than_the_manipulated_square_or_of_flat_photographs_are_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="side 512: manipulated patches have 256 pixels"):
        open_mix("patches", photos, seed=0, side=512).example(0)
    flat = photos.parent / "flat"
    flat.mkdir(exist_ok=True)
    for name in "ab":
        PIL.Image.fromarray(np.full((300, 300, 3), 99, np.uint8)).save(flat / f"{name}.png")
    with pytest.raises(DataError, match="from 2 photographs"):
        open_mix("patches", flat, seed=0, side=64).example(0)


def test_patches_are_made_fast_enough_to_train_on(photos: Path) -> None:
    assert seconds(open_mix("patches", photos, seed=0, side=128).example, 60) < 0.025


# --- DMAC's pairs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def some_pairs(photos: Path) -> list[tuple[Example, dict[str, object]]]:
    source = open_mix("pairs", photos, seed=5, side=128)
    return [(source.example(number), dict(source.made(number).record)) for number in range(60)]


def test_pairs_are_a_third_each_and_what_is_forged_shares_something(
    some_pairs: list[tuple[Example, dict[str, object]]],
) -> None:
    kinds = Counter(example.kind for example, _ in some_pairs)
    assert kinds == {"foreground": 20, "background": 20, "negative": 20}
    for example, _ in some_pairs:
        assert example.donor is not None and example.donor_truth is not None
        assert example.donor.shape == example.image.shape == (128, 128, 3)
        shared = example.kind != "negative"
        assert example.forged == example.truth.any() == example.donor_truth.any() == shared
    assert {bool(record["swapped"]) for _, record in some_pairs} == {True, False}


def test_truths_of_a_foreground_pair_lie_in_the_drawn_class(
    some_pairs: list[tuple[Example, dict[str, object]]],
) -> None:
    seen = Counter()
    for example, record in some_pairs:
        bounds = AREA_CLASSES[str(record["area class"])]
        seen[record["area class"]] += 1
        if example.kind == "foreground":
            assert example.donor_truth is not None
            assert in_class(example.truth, bounds) and in_class(example.donor_truth, bounds)
    assert min(seen[name] for name in AREA_CLASSES) >= 10


def test_the_background_is_the_same_in_both_pictures_of_its_pair(
    some_pairs: list[tuple[Example, dict[str, object]]],
) -> None:
    for example, _ in some_pairs:
        if example.kind != "background":
            continue
        assert example.donor is not None
        np.testing.assert_array_equal(example.truth, example.donor_truth)
        # Blocks of 16 pixels that hold some of the region are coded otherwise, and their colours spread by a pixel.
        away = ndimage.minimum_filter(example.truth, 35, mode="constant", cval=1)
        np.testing.assert_array_equal(example.image[away], example.donor[away])
        assert (example.image != example.donor)[~example.truth].any()


def test_a_region_that_is_only_shifted_shows_the_same_pixels_in_both_pictures(photos: Path) -> None:
    photographs, rng = Photographs(photos, side=128), np.random.default_rng(0)
    found = 0
    for changes in [(), ("shift",)] * 12:
        made = compose(photographs, ("0.png", "5.png"), changes, AREA_CLASSES["normal"], rng)
        if made is None:
            continue
        found += 1
        x, y = made.record["shift"] or (0, 0)
        np.testing.assert_array_equal(np.roll(made.donor_mask, (y, x), (0, 1)), made.mask)
        np.testing.assert_array_equal(made.pixels[made.mask], np.roll(made.donor, (y, x), (0, 1))[made.mask])
        np.testing.assert_array_equal(made.pixels[~made.mask], made.host[~made.mask])
    assert found > 10


def test_the_pictures_of_a_pair_are_the_compressed_photographs_and_composite(photos: Path) -> None:
    """Those without a change of the region's own: what is compressed is known to the last pixel."""
    source, photographs = open_mix("pairs", photos, seed=5, side=128), Photographs(photos, side=128)
    for number in range(12):
        example, record = source.example(number), source.made(number).record
        donor, host = (photographs.read(str(record[key])) for key in ("donor", "host"))
        assert donor is not None and host is not None and example.donor is not None
        sides = [example.image, example.donor][:: -1 if record["swapped"] else 1]
        if example.kind == "negative":
            expected = [pairs._compressed(host), pairs._compressed(donor)]
            np.testing.assert_array_equal(np.stack(sides), np.stack(expected))
        else:
            other = donor if example.kind == "foreground" else host
            np.testing.assert_array_equal(sides[1], pairs._compressed(other))


def test_a_negative_pair_shows_two_photographs(some_pairs: list[tuple[Example, dict[str, object]]]) -> None:
    assert all(record["donor"] != record["host"] for _, record in some_pairs)


def test_all_changes_are_drawn_and_every_pair_is_shifted(
    some_pairs: list[tuple[Example, dict[str, object]]],
) -> None:
    drawn = Counter(key for _, record in some_pairs for key in pairs.CHANGES if record[key] is not None)
    assert drawn["shift"] == 60
    assert all(12 <= drawn[key] <= 48 for key in pairs.CHANGES[1:]), drawn


def test_pairs_are_made_fast_enough_to_train_on(photos: Path) -> None:
    assert seconds(open_mix("pairs", photos, seed=0, side=256).example, 24) < 0.06


# --- regions that were manipulated, and the mix of all kinds --------------------------------------------------------


def test_irregular_masks_have_their_share_and_both_forms() -> None:
    rng = np.random.default_rng(0)
    drawn = [irregular_mask(128, rng) for _ in range(80)]
    assert {name for name, _ in drawn} == {"curve", "field"}
    shares = [mask.mean() for _, mask in drawn if mask is not None]
    assert len(shares) > 60 and 0.008 <= min(shares) < 0.02 and 0.3 < max(shares) <= 0.5
    fields = [mask for name, mask in drawn if name == "field" and mask is not None]
    assert max(ndimage.label(mask)[1] for mask in fields) > 1
    assert field_region(128, 0.25, 8.0, rng).mean() == pytest.approx(0.25, abs=1e-3)


def test_an_enhanced_image_is_its_photograph_but_for_the_region(photos: Path) -> None:
    by_name = {leaf.name: leaf for leaf in leaves()}
    rng, photographs, certain = np.random.default_rng(3), Photographs(photos), 0
    for _ in range(40):
        draw = Draw("enhancement", 128, photographs, rng, rng)
        host = draw_frame(photographs, 128, rng)
        edit = None if host is None else enhancement(host, draw)
        if host is None or edit is None:
            continue
        region = edit.alpha == 255
        np.testing.assert_array_equal(edit.alpha, region * 255)
        np.testing.assert_array_equal(edit.pixels[~region], host.pixels[~region])
        assert (edit.pixels != host.pixels).any()
        leaf = by_name[edit.record["manipulation"]]
        if leaf.family != "noise":
            whole = leaf.apply(host.pixels, np.random.default_rng())
            np.testing.assert_array_equal(edit.pixels[region], whole[region])
            certain += 1
    assert certain > 10


def test_anomalies_are_a_quarter_each_and_all_forged(photos: Path) -> None:
    source = open_mix("anomalies", photos, seed=1, side=96)
    examples = [source.example(number) for number in range(24)]
    assert Counter(example.kind for example in examples) == dict.fromkeys(KINDS, 6)
    assert all(example.forged and 0.01 <= example.truth.mean() <= 0.5 for example in examples)
    qualities = dict.fromkeys(KINDS, 0)
    for number in range(160):
        qualities[source.kind(number)] += source.made(number).record["quality"] is None
    assert all(5 <= count <= 23 for count in qualities.values()), "a third of every kind is not compressed last"


# --- the unified mix for detectors of pairs -------------------------------------------------------------------------


def test_half_of_the_unified_pairs_share_a_region_and_the_others_have_no_truth(photos: Path) -> None:
    source = open_mix("unified-pairs", photos, seed=1, side=96)
    examples = [source.example(number) for number in range(32)]
    kinds = Counter(example.kind for example in examples)
    assert kinds == {"splicing": 16, "unrelated splicing": 4, "pristine": 4, "copy-move": 4, "removal": 4}
    for number, example in enumerate(examples):
        assert example.donor is not None and example.donor_truth is not None
        assert example.donor.shape == example.image.shape == (96, 96, 3)
        shared = example.kind == "splicing"
        assert example.forged == example.truth.any() == example.donor_truth.any() == shared
        record = source.made(number).record
        shown = {record["photograph"], record.get("donor")}
        assert shared == ("beside" not in record) and record.get("beside") not in shown


def test_probes_are_made_as_the_unified_mix_makes_them(photos: Path) -> None:
    photographs, seen = Photographs(photos), 0
    for seed in range(12):
        ours = Draw("splicing", 96, photographs, np.random.default_rng(seed), np.random.default_rng(98))
        theirs = Draw("splicing", 96, photographs, np.random.default_rng(seed), np.random.default_rng(98))
        pair, alone = unified_pairs.make(ours), unified.make(theirs)
        if pair is None or alone is None:
            assert pair is alone
            continue
        seen += 1
        np.testing.assert_array_equal(pair.image, alone.image)
        np.testing.assert_array_equal(pair.truth, alone.truth)
    assert seen > 4


def test_the_region_in_the_donor_is_the_one_that_was_pasted(photos: Path) -> None:
    """Known to the last pixel where nothing but a shift happened and the edge is hard."""
    rng, photographs, seen = np.random.default_rng(3), Photographs(photos), 0
    for _ in range(200):
        made = unified.edited(Draw("splicing", 96, photographs, rng, rng), unified.EDITS)
        if made is None:
            continue
        edit, record = made.edit, made.edit.record
        assert edit.donor is not None and edit.region is not None and edit.donor.photograph == record["donor"]
        if (
            record["scale"] != 1
            or record["rotation"]
            or record["mirrored"]
            or record["luminance"]
            or record["softness"]
        ):
            continue
        seen += 1
        pasted = edit.alpha == 255
        y, x = np.argwhere(pasted).min(axis=0) - np.argwhere(edit.region).min(axis=0)
        np.testing.assert_array_equal(np.roll(edit.region, (y, x), (0, 1)), pasted)
        np.testing.assert_array_equal(np.roll(edit.donor.pixels, (y, x), (0, 1))[pasted], edit.pixels[pasted])
    assert seen >= 3


def quantized(pixels: np.ndarray) -> float:
    """How much finer details vanish on the grid of blocks than on one that lies across it: what JPEG does."""

    def details(grey: np.ndarray) -> float:
        blocks = grey.reshape(len(grey) // 8, 8, -1, 8).swapaxes(1, 2)
        return float((np.abs(dctn(blocks, axes=(2, 3), norm="ortho"))[..., 4:, 4:] < 0.7).mean())

    grey = pixels @ np.array([0.299, 0.587, 0.114])
    return details(grey) - details(grey[4:-4, 4:-4])


def test_the_last_processing_of_the_donor_does_not_tell_whether_anything_is_shared(photos: Path) -> None:
    source = open_mix("unified-pairs", photos, seed=4, side=96)
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(200):
        example = source.example(number)
        assert example.donor is not None
        found[example.forged].append(quantized(example.donor))
    shared, others = (np.array(values) for values in found.values())
    assert abs((shared[:, None] > others).mean() - 0.5) < 0.1


def test_unified_pairs_are_made_fast_enough_to_train_on(photos: Path) -> None:
    assert seconds(open_mix("unified-pairs", photos, seed=0, side=256).example, 24) < 0.06
