"""What the single mixes do to a photograph: only where the truth says so, with objects of COCO, of any photograph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage
from test_synthesis import photos  # noqa: F401  (a fixture)

from imdl_bench.errors import DataError
from imdl_bench.examples import PRISTINE
from imdl_bench.synthesis import unified
from imdl_bench.synthesis.blending import placed, turned
from imdl_bench.synthesis.curves import POINTS, SPACING, closed_curve, curve_of_share, filled
from imdl_bench.synthesis.four_kinds import CURVE_AREAS, four_kinds
from imdl_bench.synthesis.mixes import open_mix, open_stream
from imdl_bench.synthesis.photographs import Photographs
from imdl_bench.synthesis.regions import Mask, Pixels
from imdl_bench.synthesis.streams import Draw, Drawn

SIDE = 64
RECORDS = [
    ("10.jpg", None, None, 81, 64),
    ("10.jpg", None, "curve", 91, 79),
    ("06.jpg", "02.jpg", "curve", 81, 58),
    ("04.jpg", None, "watershed", None, 64),
    ("11.png", None, "watershed", 60, 64),
    ("03.png", None, None, None, 64),
    ("03.png", None, "watershed", 90, 64),
    ("04.jpg", "00.jpg", "watershed", None, 64),
]
FORGED = ("splicing", "copy-move", "removal")


def _random(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize("kind", FORGED)
def test_the_unified_mix_changes_what_is_marked_and_nothing_else(kind: str, photos: Path) -> None:  # noqa: F811
    photographs, seen = Photographs(photos), 0
    for seed in range(12):
        # The same host and finish for both kinds: they are drawn from numbers that know no kind.
        pristine, forged = (
            unified.edited(Draw(each, SIDE, photographs, _random(seed, 0), _random(seed, 1)), unified.EDITS)
            for each in (PRISTINE, kind)
        )
        if forged is None:
            continue
        seen += 1
        assert pristine is not None and pristine.finish == forged.finish
        differs = (pristine.edit.pixels != forged.edit.pixels).any(axis=2)
        assert not differs[forged.edit.alpha == 0].any()
        assert differs[forged.edit.alpha >= 128].mean() >= 0.9
    assert seen >= 8


def test_the_pictures_of_the_unified_mix_are_those_of_its_recipe(photos: Path) -> None:  # noqa: F811
    """Trainings compare under it: whoever changes what is drawn raises the recipe and these lines."""
    source = open_mix("unified", photos, seed=0, side=SIDE)
    keys = ("photograph", "donor", "outline", "quality", "canvas")
    assert source.about["recipe"] == 1
    assert [tuple(source.made(number).record.get(key) for key in keys) for number in range(8)] == RECORDS


@pytest.mark.parametrize("kind", FORGED)
def test_four_kinds_changes_what_is_marked_and_nothing_else(kind: str, photos: Path) -> None:  # noqa: F811
    photographs, mix = Photographs(photos, side=SIDE), four_kinds()

    def made(kind: str, seed: int) -> Drawn | None:
        return mix.make(Draw(kind, SIDE, photographs, _random(seed, 0), _random(seed, 1)))

    seen = 0
    for seed in range(24):
        pristine, forged = made(PRISTINE, seed), made(kind, seed)
        if pristine is None or forged is None:
            continue
        assert pristine.record["photograph"] == forged.record["photograph"]
        assert pristine.record["quality"] == forged.record["quality"]
        if pristine.record["quality"] is None:
            seen += 1
            differs = (pristine.image != forged.image).any(axis=2)
            assert not differs[~forged.truth].any() and differs[forged.truth].mean() >= 0.9
    assert seen >= 5


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photographs of noise, each with a square as its one object."""
    root = tmp_path_factory.mktemp("coco") / "photos"
    root.mkdir()
    square = [[16, 20, 48, 20, 48, 52, 16, 52]]
    content = {"images": [], "annotations": []}  # type: dict[str, list[object]]
    for number in range(6):
        noise = _random(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        PIL.Image.fromarray(noise).save(root / f"{number}.png")
        content["images"].append({"id": number, "file_name": f"{number}.png", "height": SIDE, "width": SIDE})
        content["annotations"].append({"image_id": number, "segmentation": square})
    (root / "annotations").mkdir()
    (root / "annotations/instances_tiny.json").write_text(json.dumps(content))
    return root


def test_annotated_objects_are_what_is_cut_out(annotated: Path) -> None:
    source = open_mix("four-kinds", annotated, seed=1, side=SIDE)
    assert source.about["outlines"] == "coco"
    square = source.photographs.instance("0.png", 0, (SIDE, SIDE))
    assert square[20:52, 16:48].all() and square.sum() == pytest.approx(32 * 32, rel=0.07)
    grown = ndimage.binary_dilation(square, np.ones((9, 9)))
    outlines = set()
    for number in range(48):
        drawn, kind = source.made(number), source.kind(number)
        outlines.add((kind, drawn.record.get("outline")))
        if kind == "removal":
            np.testing.assert_array_equal(drawn.truth, grown)
        if drawn.record.get("outline") == "coco" and kind == "splicing" and not drawn.record["scale"]:
            assert drawn.truth.sum() == pytest.approx(square.sum(), rel=0.02)
    assert outlines == {
        (PRISTINE, None), ("removal", "coco"), ("copy-move", "coco"), ("splicing", "coco"), ("splicing", "curve"),
    }  # fmt: skip


def test_the_unified_mix_takes_annotated_objects_through_its_frames(annotated: Path) -> None:
    source = open_mix("unified", annotated, seed=1, side=SIDE)
    records = [source.made(number).record for number in range(80)]
    assert {record.get("outline") for record in records} == {None, "curve", "instance"}
    photographs = Photographs(annotated)
    frame = None
    while frame is None:
        frame = unified.draw_frame(photographs, 32, _random(3))
    whole = photographs.instance(frame.photograph, 0, (SIDE, SIDE))
    halves = frame.framed(whole)
    square = whole[frame.top : frame.top + frame.cut, frame.left : frame.left + frame.cut]
    assert halves.shape == (32, 32) and halves.mean() == pytest.approx(square.mean(), abs=0.05)


def test_broken_annotations_are_named(tmp_path: Path, annotated: Path) -> None:
    for path in annotated.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "annotations").mkdir()
    broken = {"images": [{"id": 0, "file_name": "0.png", "height": 9, "width": 9}],
              "annotations": [{"image_id": 0, "segmentation": {"size": [9, 9], "counts": [5]}}]}  # fmt: skip
    (tmp_path / "annotations/instances_x.json").write_text(json.dumps(broken))
    source = open_mix("four-kinds", tmp_path, seed=0, side=SIDE)
    with pytest.raises(DataError, match=r"an object of 0.png: run lengths of 5 pixels for a mask of 9x9"):
        for number in range(8):
            source.example(number)


@pytest.mark.parametrize("mix", ["unified", "four-kinds"])
def test_photographs_of_every_sort_are_used(mix: str, tmp_path: Path) -> None:
    rng = _random(0)
    grey = rng.integers(0, 256, (90, 130), np.uint8)
    colour = rng.integers(0, 256, (70, 150, 3), np.uint8)
    PIL.Image.fromarray(grey).save(tmp_path / "grey.png")
    PIL.Image.fromarray(colour).quantize(16).save(tmp_path / "palette.gif")
    PIL.Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen bits.png")
    PIL.Image.fromarray(colour[:1, :1]).save(tmp_path / "one pixel.png")
    PIL.Image.fromarray(colour[:5, :9]).save(tmp_path / "tiny.bmp")
    turned_by = PIL.Image.Exif()
    turned_by[0x0112] = 6
    PIL.Image.fromarray(colour).save(tmp_path / "turned.jpg", exif=turned_by)
    PIL.Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / "black.png")
    PIL.Image.fromarray(colour).convert("CMYK").save(tmp_path / "four inks.jpg")
    (tmp_path / "none.png").write_bytes(b"no picture")
    source = open_mix(mix, tmp_path, seed=0, side=SIDE)
    examples = [source.example(number) for number in range(96)]
    assert all(example.image.shape == (SIDE, SIDE, 3) for example in examples)
    used = {source.made(number).record["photograph"] for number in range(96)}
    assert used == {path.name for path in tmp_path.iterdir()} - {"none.png"}
    upright = Photographs(tmp_path).read("turned.jpg")
    assert upright is not None and upright.shape == (150, 70, 3)


def test_photographs_that_give_nothing_are_named(tmp_path: Path) -> None:
    for number in range(3):
        PIL.Image.fromarray(np.full((80, 80, 3), 128, np.uint8)).save(tmp_path / f"{number}.png")
    source = open_mix("unified", tmp_path, seed=0, side=32)
    number = next(number for number in range(4) if source.kind(number) == "removal")
    with pytest.raises(DataError, match=r"no removal came of .* draws from 3 photographs"):
        source.example(number)


def test_another_inpainter_can_be_given(photos: Path) -> None:  # noqa: F811
    def red(pixels: Pixels, mask: Mask) -> Pixels:
        return np.where(mask[..., None], np.array([255, 0, 0], np.uint8), pixels)

    source = open_stream("four-kinds", four_kinds(red), photos, seed=2, side=SIDE)
    assert source.about["inpainting"] == "red"
    removed = [source.made(number) for number in range(40) if source.kind(number) == "removal"]
    plain = [drawn for drawn in removed if drawn.record["quality"] is None]
    assert plain and all((drawn.image[drawn.truth] == (255, 0, 0)).all() for drawn in plain)


def test_areas_of_curves_and_objects_stay_in_their_bounds(photos: Path) -> None:  # noqa: F811
    source = open_mix("four-kinds", photos, seed=3, side=SIDE)
    shares: dict[object, list[float]] = {}
    for number in range(160):
        if source.kind(number) == "splicing":
            drawn = source.made(number)
            shares.setdefault(drawn.record["outline"], []).append(float(drawn.truth.mean()))
    assert CURVE_AREAS[0] <= min(shares["curve"]) and max(shares["curve"]) <= CURVE_AREAS[1]
    assert min(shares["watershed"]) >= 0.01 and max(shares["watershed"]) <= 0.5
    assert 0.4 < len(shares["watershed"]) / 40 < 0.9


def test_a_closed_curve_is_smooth_and_goes_through_spaced_points() -> None:
    for seed in range(30):
        curve = closed_curve(_random(seed))
        corners = curve[:: len(curve) // POINTS]
        apart = np.linalg.norm(corners[:, None] - corners[None], axis=2) + np.eye(POINTS)
        assert len(corners) == POINTS and apart.min() >= SPACING - 1e-12
        steps = np.roll(curve, -1, axis=0) - curve
        turns = np.cross(*(np.pad(part, ((0, 0), (0, 1))) for part in (steps, np.roll(steps, 1, axis=0))))[:, 2]
        angles = np.abs(np.arctan2(turns, (steps * np.roll(steps, 1, axis=0)).sum(axis=1)))
        joints = angles[:: len(curve) // POINTS]
        assert joints.max() < 0.15, "the curve has no corner where two segments meet"


def test_a_filled_circle_has_its_area() -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = 50 + 30 * np.column_stack([np.cos(angle), np.sin(angle)])
    assert filled(circle, 100).sum() == pytest.approx(np.pi * 30**2, abs=2 * np.pi * 30 * 0.7), "the rim is drawn too"


def test_a_curve_has_the_share_that_was_drawn() -> None:
    shares = [
        mask.mean() for seed in range(40) if (mask := curve_of_share(128, (0.1, 0.12), _random(seed))) is not None
    ]
    assert len(shares) > 20 and min(shares) > 0.09 and max(shares) < 0.13


def test_a_placed_region_lies_whole_in_the_frame_and_apart() -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[5:20, 8:30] = True
    for seed in range(40):
        rng = _random(seed)
        linear = turned(float(rng.uniform(-180, 180)), float(rng.uniform(0.5, 2)), mirrored=bool(rng.integers(2)))
        matrix = placed(mask, linear, rng, apart=0.1, tries=30)
        if matrix is None:
            continue
        corners = np.array([[8, 5], [29, 5], [29, 19], [8, 19]]) @ matrix[:, :2].T + matrix[:, 2]
        assert corners.min() >= -0.5 and corners.max() <= SIDE - 0.5
    assert placed(np.ones((SIDE, SIDE), bool), turned(0, 1.5, mirrored=False), _random(0)) is None
    still = placed(np.ones((SIDE, SIDE), bool), turned(0, 1, mirrored=False), _random(0))
    np.testing.assert_array_equal(still, [[1, 0, 0], [0, 1, 0]])


def test_a_turn_is_counter_clockwise_as_seen() -> None:
    """y runs down: what lies to the right of the origin comes to lie above it."""
    np.testing.assert_allclose(turned(90, 2, mirrored=False) @ [1, 0], [0, -2], atol=1e-12)
    np.testing.assert_allclose(turned(0, 1, mirrored=True) @ [1, 1], [-1, 1])
    np.testing.assert_allclose(turned(0, 1, mirrored=False, width=3) @ [1, 1], [3, 1])
