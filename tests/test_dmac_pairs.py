"""DMAC's synthetic pairs: the rules they are made by, that they are the same every time, and the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import skimage.data
from imdl_bench.datasets.dmac_pairs.index import index
from imdl_bench.datasets.dmac_pairs.making import make
from imdl_bench.datasets.dmac_pairs.pairing import Pair, make_pair
from imdl_bench.datasets.dmac_pairs.plan import SETS, SIZE, PairName, draw_kinds
from sklearn.datasets import load_sample_images

import imdl_bench
from imdl_bench import catalog
from imdl_bench.errors import DataError, UsageError
from imdl_bench.images import read_image, read_mask
from imdl_bench.published import match
from imdl_bench.synthesis.coco import Instance, instance_mask
from imdl_bench.synthesis.pairs import AREA_CLASSES, draw_change
from imdl_bench.synthesis.pasting import Change, pasted
from imdl_bench.synthesis.photographs import Photographs
from imdl_bench.types import Sample

COUNT = 2
RANGES = {
    "shift": (-127, 127),
    "rotation": (-30, 30),
    "luminance": (-32, 32),
    "scale": (0.5, 4),
    "deformation": (0.5, 2),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photographs, two of them in a folder of their own."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "deeper").mkdir()
    china, flower = load_sample_images().images
    pictures = {"astronaut": skimage.data.astronaut(), "cat": skimage.data.chelsea(), "coffee": skimage.data.coffee()}
    for name, pixels in (pictures | {"deeper/china": china, "deeper/flower": flower}).items():
        PIL.Image.fromarray(pixels).resize((320, 300)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "pairs"
    assert make(photos, root, count=COUNT, seed=5) == []
    return root


@pytest.fixture(scope="module")
def records(made: Path) -> dict[str, dict[str, Any]]:
    return {line["id"]: line for line in json.loads((made / "manifest.json").read_text())["pairs"]}


def files_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def parts(sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Probe, its mask, donor, its mask."""
    assert sample.mask and sample.donor and sample.donor_mask
    return read_image(sample.image), read_mask(sample.mask), read_image(sample.donor), read_mask(sample.donor_mask)


def test_every_set_and_class_is_a_split_with_equally_many_pairs(made: Path) -> None:
    card = catalog.dataset_card("dmac_pairs")
    assert list(card.splits) == [f"{name}-{area}" for name in SETS for area in AREA_CLASSES]
    for split in card.splits:
        data = imdl_bench.load_dataset("dmac_pairs", made, split)
        assert [sample.id for sample in data] == [f"{split}/{n:05}_a.jpg" for n in range(COUNT)]
        assert all(sample.forged and sample.kind == "splicing" for sample in data)
        assert "2 pairs in each set, of watershed regions in 5 photographs, seed 5" in data.remarks[0]


def test_masks_are_binary_whole_and_in_their_class(made: Path) -> None:
    for sample in index(made):
        low, high = AREA_CLASSES[sample.id.split("/")[0].split("-")[1]]
        for path in (sample.mask, sample.donor_mask):
            pixels = np.asarray(PIL.Image.open(path))
            assert pixels.shape == (SIZE, SIZE) and set(np.unique(pixels)) == {0, 255}
            assert low <= (pixels > 0).mean() < high, sample.id


def test_the_manifest_holds_every_amount_and_both_areas(made: Path, records: dict[str, dict[str, Any]]) -> None:
    for sample in index(made):
        record = records[sample.id.removesuffix("_a.jpg")]
        _, mask, _, donor_mask = parts(sample)
        assert (record["probe_area"], record["donor_area"]) == (mask.mean(), donor_mask.mean())
        assert record["donor"] != record["host"] and sample.group == record["donor"]
        applied = {kind for kind in RANGES if record[kind] is not None}
        name = sample.id.split("-")[0]
        assert applied == ({name} & set(RANGES)) if name != "combination" else "shift" in applied
        for kind in applied:
            assert all(RANGES[kind][0] <= amount <= RANGES[kind][1] for amount in np.atleast_1d(record[kind]))


def test_the_probe_mask_is_the_donor_mask_moved_as_recorded(made: Path, records: dict[str, dict[str, Any]]) -> None:
    """Places are computed from the formulas of the changes, without the maker's matrix."""
    for sample in index(made):
        record = records[sample.id.removesuffix("_a.jpg")]
        _, mask, _, donor_mask = parts(sample)
        (dx, dy), degrees = record["shift"] or (0, 0), record["rotation"] or 0
        y, x = np.nonzero(donor_mask)
        x, y = x + dx - 127.5, y + dy - 127.5
        turn = np.pi * degrees / 180
        x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        scale, width = record["scale"] or 1, record["deformation"] or 1
        x, y = x * scale * width + 127.5, y * scale + 127.5
        assert min(x.min(), y.min()) > -1.5 and max(x.max(), y.max()) < SIZE + 0.5
        found_y, found_x = np.nonzero(mask)
        assert (found_x.mean(), found_y.mean()) == (pytest.approx(x.mean(), abs=0.2), pytest.approx(y.mean(), abs=0.2))
        assert mask.mean() == pytest.approx(donor_mask.mean() * scale**2 * width, rel=0.03)


@pytest.mark.parametrize("set_name", ["raw", "shift"])
def test_what_is_only_moved_is_copied_to_the_pixel(photos: Path, set_name: str) -> None:
    photographs = Photographs(photos, side=SIZE)
    for area in AREA_CLASSES:
        pair = make_pair(PairName(set_name, area, 0), 1, photographs)
        dx, dy = pair.record["shift"] or (0, 0)
        y, x = np.nonzero(pair.donor_mask)
        np.testing.assert_array_equal(np.nonzero(pair.probe_mask), (y + dy, x + dx))
        np.testing.assert_array_equal(pair.probe[y + dy, x + dx], pair.donor[y, x])
        host = photographs.read(pair.record["host"])
        assert host is not None
        np.testing.assert_array_equal(pair.probe[~pair.probe_mask], host[~pair.probe_mask])


def test_stored_images_are_the_made_ones_within_what_jpeg_loses(made: Path, photos: Path) -> None:
    photographs = Photographs(photos, side=SIZE)
    for name in (PairName("raw", "easy", 1), PairName("shift", "difficult", 0)):
        pair: Pair = make_pair(name, 5, photographs)
        sample = next(s for s in index(made) if s.id == f"{name.id}_a.jpg")
        probe, mask, donor, donor_mask = parts(sample)
        np.testing.assert_array_equal(mask, pair.probe_mask)
        np.testing.assert_array_equal(donor_mask, pair.donor_mask)
        for stored, pixels in ((probe, pair.probe), (donor, pair.donor)):
            assert 0 < np.abs(stored.astype(int) - pixels).mean() < 6
        tables = [PIL.Image.open(path).quantization for path in (sample.image, sample.donor)]  # type: ignore[union-attr]
        assert tables[0] == tables[1]


def test_luminance_is_added_to_the_region_only() -> None:
    rng = np.random.default_rng(0)
    host, donor = rng.integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[50:120, 60:200] = True
    for level in (-32, 32):
        probe, region = pasted(host, donor, mask, Change(luminance=level))
        np.testing.assert_array_equal(region, mask)
        np.testing.assert_array_equal(probe[~mask], host[~mask])
        np.testing.assert_array_equal(probe[mask], np.clip(donor[mask].astype(int) + level, 0, 255))


def test_a_rotation_is_that_of_opencv_about_the_centre() -> None:
    donor = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), np.uint8), (0, 0), 3)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[90:150, 80:190] = True
    probe, region = pasted(np.zeros_like(donor), donor, mask, Change(rotation=20))
    expected = cv2.warpAffine(donor, cv2.getRotationMatrix2D((127.5, 127.5), 20, 1), (SIZE, SIZE))
    assert region.mean() == pytest.approx(mask.mean(), rel=0.01)
    assert np.abs(probe[region].astype(int) - expected[region]).max() <= 1


def test_draws_fill_the_ranges_of_the_paper() -> None:
    rng = np.random.default_rng(3)
    kinds = [draw_kinds("combination", rng) for _ in range(2000)]
    assert all(drawn[0] == "shift" for drawn in kinds)
    for kind, (low, high) in RANGES.items():
        if kind != "shift":
            assert np.mean([kind in drawn for drawn in kinds]) == pytest.approx(0.5, abs=0.05)
        drawn = np.array([getattr(draw_change((kind,), SIZE, rng), kind) for _ in range(3000)])
        assert low <= drawn.min() < low + 0.02 * (high - low) and high - 0.02 * (high - low) < drawn.max() <= high
        assert drawn.mean() == pytest.approx((low + high) / 2, abs=0.05 * (high - low))
    assert draw_kinds("raw", rng) == () and draw_kinds("scale", rng) == ("scale",)


def test_two_makings_and_a_folder_that_grew_are_the_same_bytes(made: Path, photos: Path, tmp_path: Path) -> None:
    make(photos, tmp_path / "grown", count=1, seed=5)
    first = files_of(tmp_path / "grown")
    make(photos, tmp_path / "grown", count=COUNT, seed=5)
    assert files_of(tmp_path / "grown") == files_of(made)
    del first["manifest.json"]
    assert len(first) == 21 * 4 and first.items() <= files_of(made).items()


def test_another_seed_gives_other_pairs(photos: Path, records: dict[str, dict[str, Any]]) -> None:
    name = PairName("combination", "normal", 0)
    assert (
        make_pair(name, 6, Photographs(photos, side=SIZE)).record
        != make_pair(name, 5, Photographs(photos, side=SIZE)).record
    )


def test_a_stopped_making_goes_on(made: Path, photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "pairs"

    def stop(done: int, of: int) -> None:
        assert of == 21 * COUNT
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(photos, root, count=COUNT, seed=5, progress=stop)
    with pytest.raises(DataError, match=r"not finished.*give the same"):
        index(root)
    with (root / "unfinished.jsonl").open("a") as file:
        file.write('{"id": "raw-ea')  # torn by a kill
    unchanged = (root / "combination-difficult/00000_a.jpg").stat().st_mtime_ns
    make(photos, root, count=COUNT, seed=5)
    assert files_of(root) == files_of(made)
    assert (root / "combination-difficult/00000_a.jpg").stat().st_mtime_ns == unchanged


def test_lost_files_are_named_and_made_again(made: Path, photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "pairs"
    shutil.copytree(made, root)
    for lost in ("raw-easy/00001_b_mask.png", "shift-normal/00000_a.jpg"):
        (root / lost).unlink()
    with pytest.raises(DataError, match=r"missing raw-easy/00001_b_mask.png, \+1 more; the same"):
        index(root)
    make(photos, root, count=COUNT, seed=5)
    assert files_of(root) == files_of(made)


def test_what_does_not_belong_together_is_refused(made: Path, photos: Path, tmp_path: Path) -> None:
    before = files_of(made)
    with pytest.raises(UsageError, match=r"holds 2 pairs in each set, more than 1.*--count 2 or more"):
        make(photos, made, count=1, seed=5)
    with pytest.raises(UsageError, match=r"made with another seed \(5, now 6\)"):
        make(photos, made, count=COUNT, seed=6)
    shutil.copytree(photos, tmp_path / "more")
    shutil.copy(photos / "cat.png", tmp_path / "more/dog.png")
    with pytest.raises(UsageError, match=r"made with another photographs \(5, now 6\)"):
        make(tmp_path / "more", made, count=COUNT, seed=5)
    with pytest.raises(UsageError, match="lies under"):
        make(photos, photos / "pairs", count=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/diary.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        make(photos, tmp_path / "full", count=1)
    with pytest.raises(UsageError, match="not a folder of photographs"):
        make(tmp_path / "nowhere", tmp_path / "out", count=1)
    shutil.copy(photos / "cat.png", os.fsencode(tmp_path / "more") + b"/\xff.png")
    with pytest.raises(DataError, match="is not UTF-8; rename"):
        make(tmp_path / "more", tmp_path / "out", count=1)
    (tmp_path / "one").mkdir()
    shutil.copy(photos / "cat.png", tmp_path / "one")
    with pytest.raises(DataError, match="1 pictures; at least two"):
        make(tmp_path / "one", tmp_path / "out", count=1)
    assert files_of(made) == before


def test_a_folder_made_otherwise_is_no_data_set(made: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest.json in .*make the pairs with `imdl-bench synth dmac_pairs"):
        index(photos)
    old = json.loads((made / "manifest.json").read_text())
    old["settings"]["recipe"] = 0
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    with pytest.raises(DataError, match="made by another version"):
        index(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest.json: cannot be read"):
        index(tmp_path)


def test_unreadable_pictures_are_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos/broken.jpg").write_bytes(b"\xff\xd8 no picture")
    remarks = make(tmp_path / "photos", tmp_path / "out", count=1)
    assert remarks == [f"could not be read, and is left out: {tmp_path / 'photos/broken.jpg'}"]
    used = {record[side] for record in json.loads((tmp_path / "out/manifest.json").read_text())["pairs"] for side in ("donor", "host")}  # fmt: skip  # noqa: E501
    assert "broken.jpg" not in used
    for name in ("x", "y"):
        (tmp_path / "bad").mkdir(exist_ok=True)
        (tmp_path / f"bad/{name}.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"combination-difficult/00000: no region of 1% to 10%.*2 could not be read"):
        make(tmp_path / "bad", tmp_path / "none", count=1)


def coco_letters(runs: list[int]) -> str:
    """COCO's spelling of run lengths, written from the format's description."""
    letters = ""
    for place, run in enumerate(runs):
        value, more = run - (runs[place - 2] if place > 2 else 0), True
        while more:
            five, value = value & 31, value >> 5
            more = value != (-1 if five & 16 else 0)
            letters += chr(48 + five + (32 if more else 0))
    return letters


def run_lengths(mask: np.ndarray) -> list[int]:
    """0 and 1 by turns, down the columns, beginning with zeros."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(int), prepend=0, append=2))
    return np.diff(edges, prepend=0).tolist()


def test_polygons_and_both_spellings_of_run_lengths_give_the_same_mask() -> None:
    mask = np.zeros((2 * SIZE, 3 * SIZE), bool)
    mask[100:300, 90:600] = True
    mask[150:200, 300:330] = False
    corners = [90, 100, 600, 100, 600, 300, 90, 300]
    runs = run_lengths(mask)
    assert sum(runs) == mask.size
    wanted = mask[1::2, 1::3]
    for counts in (runs, coco_letters(runs)):
        found = instance_mask(Instance({"counts": counts, "size": list(mask.shape)}, *mask.shape), (SIZE, SIZE))
        np.testing.assert_array_equal(found, wanted)
    found = instance_mask(Instance([corners], *mask.shape), (SIZE, SIZE))
    outer = wanted.copy()
    outer[75:100, 100:110] = True
    assert (found != outer).mean() < 0.006
    two = instance_mask(Instance([corners, [0, 400, 60, 400, 60, 500, 0, 500]], *mask.shape), (SIZE, SIZE))
    assert two[225, 10] and two[100, 50] and not two[225, 100]


@pytest.fixture
def coco(photos: Path, tmp_path: Path) -> Path:
    """Three images under val2014/ with an object of each class in two of them, one of them as run lengths."""
    (tmp_path / "coco/val2014").mkdir(parents=True)
    (tmp_path / "coco/annotations").mkdir()
    images, lines = [], []
    for number, name in enumerate(("astronaut", "cat", "coffee")):
        shutil.copy(photos / f"{name}.png", tmp_path / f"coco/val2014/{name}.png")
        images.append({"id": number, "file_name": f"{name}.png", "height": 300, "width": 320})
    for image_id in (0, 1):
        for left, top, width, height in ((120, 110, 70, 60), (100, 100, 120, 120), (40, 60, 220, 150)):
            box = [left, top, left + width, top, left + width, top + height, left, top + height]
            lines.append({"image_id": image_id, "segmentation": [box]})
    crowd = np.zeros((300, 320), bool)
    crowd[120:170, 130:200] = True
    lines.append({"image_id": 1, "segmentation": {"counts": run_lengths(crowd), "size": [300, 320]}, "iscrowd": 1})
    path = tmp_path / "coco/annotations/instances_val2014.json"
    path.write_text(json.dumps({"images": images, "annotations": lines}))
    return tmp_path / "coco"


@pytest.mark.parametrize("photographs", [".", "val2014"])
def test_coco_annotations_give_the_objects(coco: Path, photographs: str, tmp_path: Path) -> None:
    make(coco / photographs, tmp_path / "pairs", count=1)
    manifest = json.loads((tmp_path / "pairs/manifest.json").read_text())
    assert manifest["settings"]["outlines"] == "coco"
    assert {Path(record["donor"]).name for record in manifest["pairs"]} <= {"astronaut.png", "cat.png"}
    for sample in index(tmp_path / "pairs"):
        donor_mask = parts(sample)[3]
        y, x = np.nonzero(donor_mask)
        assert donor_mask[y.min() : y.max() + 1, x.min() : x.max() + 1].all(), "the boxes of the annotations"
    assert "COCO's instance masks" in imdl_bench.load_dataset("dmac_pairs", tmp_path / "pairs").remarks[0]


def test_wrong_annotations_are_explained(coco: Path, tmp_path: Path) -> None:
    path = coco / "annotations/instances_val2014.json"
    good = path.read_text()
    for text, hint in (
        ("{", "cannot be read"),
        ("{}", "not COCO's instances: KeyError: 'images'"),
        (good.replace("astronaut.png", "a.png").replace("cat.png", "b.png"), "annotates none of the 3 pictures"),
        (good.replace('"counts": [', '"counts": [1, '), r"an object of .*cat.png: run lengths of 96001 pixels"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=hint):
            make(coco, tmp_path / "pairs", count=1)


def test_the_command_makes_names_and_finishes(
    made: Path, photos: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    given = ("synth", "dmac_pairs", "--photos", photos, "--out", tmp_path / "dmac_pairs", "--seed", 5)
    done = cli(*given, "--count", COUNT)
    assert done.returncode == 0 and f"written: {tmp_path / 'dmac_pairs'}" in done.stdout, done.stderr
    assert files_of(tmp_path / "dmac_pairs") == files_of(made)
    fewer = cli(*given, "--count", 1)
    assert fewer.returncode == 2 and "more than 1" in fewer.stderr and "Traceback" not in fewer.stderr
    other = cli("synth", "columbia", "--photos", photos, "--out", tmp_path / "x")
    assert other.returncode == 2 and "columbia is not made from photographs; these are: dmac_pairs" in other.stderr
    checked = cli("check", "dmac_pairs", "--data", tmp_path / "dmac_pairs")
    assert checked.returncode == 0 and "0 errors, 0 warnings" in checked.stdout, checked.stdout


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_ctrl_c_leaves_nothing_half(made: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    command = [sys.executable, "-m", "imdl_bench", "synth", "dmac_pairs", "--photos", photos, "--out", out, "--seed", "5", "--count", "500"]  # fmt: skip  # noqa: E501
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (out / "combination-difficult/00003_a.jpg").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "give the same command again to go on" in said
    assert not list(out.rglob("*.part")) and not (out / "manifest.json").exists()
    ours, theirs = files_of(out), files_of(made)
    shared = set(ours) & set(theirs)
    assert len(shared) >= 4 and all(ours[name] == theirs[name] for name in shared)
    for path in out.rglob("*.*g"):
        read_image(path)


@pytest.mark.parametrize(("table", "sets"), [("1", SETS[:1]), ("2", SETS[1:])])
def test_the_protocols_hold_the_sets_of_their_tables(table: str, sets: tuple[str, ...]) -> None:
    protocol = imdl_bench.load_protocol(f"dmac-table{table}")
    assert [line.split for line in protocol.data] == [f"{name}-{area}" for name in sets for area in AREA_CLASSES]
    assert protocol.published is not None and protocol.published.paper == "dmac"
    for line in protocol.data:
        for metric in protocol.metrics:
            found = match("dmac", line.dataset, line.split, "none", metric)
            beside = [each for each in found if each.number.table == protocol.published.table]
            methods = {"DMAC", "DMAC+adv-bce" if table == "1" else "DMAC-adv"}
            assert {each.number.method for each in beside} == methods
            assert all("the pictures are others" in " ".join(each.caveats) for each in beside)
