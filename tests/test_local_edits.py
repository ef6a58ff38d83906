"""local_edits: only the region changes, and into what the manipulation says; the same every time; its protocol runs."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from imdl_bench.datasets.local_edits import making
from imdl_bench.datasets.local_edits.manipulations import MANIPULATIONS, every_edit, folder_of
from imdl_bench.datasets.local_edits.patches import Patch, choose_patches, draw_region
from scipy import ndimage

import imdl_bench
from imdl_bench import catalog
from imdl_bench.dataset import load_dataset
from imdl_bench.distortions import DISTORTIONS
from imdl_bench.errors import DataError, UsageError
from imdl_bench.geometry import Distorted
from imdl_bench.images import read_image, read_mask
from imdl_bench.types import Image

EDITS = [folder_of(*edit) for edit in every_edit()]
SAME_AS_DISTORTION = {
    "gaussian_blur": ("gaussian_blur", "kernel", {}),
    "median": ("median", "kernel", {}),
    "gaussian_noise": ("gaussian_noise", "sigma", {}),
    "jpeg": ("jpeg", "quality", {"subsampling": "4:2:0"}),
    "webp": ("webp", "quality", {}),
    "resample_nearest": ("downscale_upscale", "scale", {"interpolation": "nearest"}),
    "resample_linear": ("downscale_upscale", "scale", {"interpolation": "linear"}),
    "resample_lanczos4": ("downscale_upscale", "scale", {"interpolation": "lanczos4"}),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs with one and two squares that are not flat, a flat one, a small one, a broken one."""
    from skimage.data import astronaut, chelsea, coffee

    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    pictures = {"a.png": astronaut()[:300, 200:], "sub/b.png": coffee()[:270, :560], "small.png": chelsea()[:250]}
    for name, pixels in (pictures | {"flat.png": np.full((400, 400, 3), 90, np.uint8)}).items():
        PIL.Image.fromarray(pixels).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local_edits") / "made"
    remarks = making.make(photos, out, count=2)
    assert remarks == [f"could not be read, and is left out: {photos / 'broken.png'}"]
    return out


def listed(folder: Path) -> list[tuple[str, Patch]]:
    with (folder / "patches.csv").open() as lines:
        return [(r["file"], Patch(r["photograph"], int(r["top"]), int(r["left"]))) for r in csv.DictReader(lines)]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the manipulations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAME_AS_DISTORTION)
def test_what_is_also_a_distortion_is_the_same_operation(name: str, photo: np.ndarray) -> None:
    kind, parameter, more = SAME_AS_DISTORTION[name]
    start = Distorted.nothing_done(Image(photo[:256, :256]))
    for value in MANIPULATIONS[name].values:
        expected = DISTORTIONS[kind].function(start, np.random.default_rng(4), **{parameter: value}, **more)
        found = MANIPULATIONS[name].change(photo[:256, :256], value, np.random.default_rng(4))
        np.testing.assert_array_equal(found, expected.image)


def test_the_others_are_what_the_readme_says(photo: np.ndarray) -> None:
    def changed(name: str, value: float) -> np.ndarray:
        return MANIPULATIONS[name].change(photo, value, np.random.default_rng(4))

    mean = ndimage.uniform_filter(photo.astype(float), (9, 9, 1), mode="mirror")
    assert np.abs(changed("box_blur", 9) - mean).max() <= 0.51
    for size in (2, 4):
        # OpenCV's square of an even side reaches one pixel further to the left and top.
        np.testing.assert_array_equal(changed("dilate", size), ndimage.maximum_filter(photo, (size, size, 1)))
        np.testing.assert_array_equal(changed("erode", size), ndimage.minimum_filter(photo, (size, size, 1)))
    assert len(np.unique(changed("quantize", 50).reshape(-1, 3), axis=0)) <= 50
    contrast = PIL.ImageOps.autocontrast(PIL.Image.fromarray(photo), cutoff=3)
    np.testing.assert_array_equal(changed("auto_contrast", 3), contrast)
    grey = np.full((400, 400, 3), 128, np.uint8)
    noise = MANIPULATIONS["uniform_noise"].change(grey, 7, np.random.default_rng(4)).astype(int) - 128
    values, counts = np.unique(noise, return_counts=True)
    assert values.tolist() == list(range(-7, 8)) and np.abs(counts / noise.size - 1 / 15).max() < 0.002
    impulses = MANIPULATIONS["impulse_noise"].change(grey, 7, np.random.default_rng(4))
    assert (impulses == impulses[..., :1]).all()
    black, white = ((impulses[..., 0] == value).mean() for value in (0, 255))
    assert black == pytest.approx(0.035, abs=0.002) and white == pytest.approx(0.035, abs=0.002)


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_a_stronger_parameter_changes_more(name: str, photo: np.ndarray) -> None:
    patch = photo[128:384, 128:384].astype(int)
    changes = [
        np.abs(MANIPULATIONS[name].change(patch.astype(np.uint8), value, np.random.default_rng(1)) - patch).mean()
        for value in MANIPULATIONS[name].values
    ]
    assert changes[0] > 0 and all(weak < strong for weak, strong in pairwise(changes)), changes


# --- the made folder ------------------------------------------------------------------------------------------------


def test_only_the_region_differs_and_is_the_edited_patch(photos: Path, made: Path) -> None:
    for file, patch in listed(made):
        photograph = np.asarray(read_image(photos / patch.photograph))
        pristine = read_image(made / "pristine" / file)
        np.testing.assert_array_equal(pristine, photograph[patch.top :, patch.left :][:256, :256])
        region = read_mask(made / "masks" / file)
        assert 0.05 <= region.mean() <= 0.30
        assert set(np.unique(PIL.Image.open(made / "masks" / file))) == {0, 255}
        for name, value in every_edit():
            forged = np.asarray(read_image(made / folder_of(name, value) / file))
            np.testing.assert_array_equal(forged[~region], pristine[~region])
            stream = patch.random(0, folder_of(name, value))
            whole = MANIPULATIONS[name].change(np.asarray(pristine), value, stream)
            np.testing.assert_array_equal(forged[region], whole[region])
            assert (forged != pristine).any(), (name, value)


def test_patches_are_squares_that_are_not_flat_each_photograph_in_turn(photos: Path) -> None:
    patches, _ = choose_patches(photos, 3, seed=0)
    assert {patch.photograph for patch in patches[:2]} == {"a.png", "sub/b.png"}
    assert sorted((p.photograph, p.top, p.left) for p in patches) == [("a.png", 0, 0), ("sub/b.png", 0, 0), ("sub/b.png", 0, 256)]  # fmt: skip  # noqa: E501
    assert choose_patches(photos, 1, seed=0)[0] == patches[:1]
    with pytest.raises(UsageError, match=r"5 pictures with 3 squares.*fewer than 4; give --count 3"):
        choose_patches(photos, 4, seed=0)


def test_seed_square_and_purpose_decide_what_is_drawn() -> None:
    one, other = Patch("a.png", 0, 0), Patch("a.png", 0, 256)
    streams = [one.random(0, "x"), one.random(1, "x"), one.random(0, "y"), other.random(0, "x")]
    regions = [draw_region(stream) for stream in streams]
    np.testing.assert_array_equal(draw_region(one.random(0, "x")), regions[0])
    for number, region in enumerate(regions):
        assert all((region != before).mean() > 0.05 for before in regions[:number])


def test_a_stopped_making_goes_on_and_grows_to_the_same_bytes(photos: Path, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        making.make(photos, out, count=2, progress=stop)
    with pytest.raises(DataError, match=r"not finished \(no patches.csv\)"):
        load_dataset("local_edits", out)
    making.make(photos, out, count=2)
    assert files(out) == files(made)
    making.make(photos, out, count=3)
    grown = files(out)
    assert all(grown[name] == content for name, content in files(made).items() if name != "patches.csv")
    assert len(load_dataset("local_edits", out)) == 3 * (len(EDITS) + 1)
    with pytest.raises(UsageError, match="holds 3 patches, more than 2"):
        making.make(photos, out, count=2)
    with pytest.raises(UsageError, match=r"made with another seed \(0, now 9\)"):
        making.make(photos, out, count=3, seed=9)


def test_what_cannot_be_used_is_told(photos: Path, made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder of photographs"):
        making.make(tmp_path / "absent", tmp_path / "out", count=1)
    with pytest.raises(UsageError, match="lies under"):
        making.make(photos, photos / "out", count=1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        making.make(photos, tmp_path, count=1)
    (tmp_path / "flat").mkdir()
    shutil.copy(photos / "flat.png", tmp_path / "flat")
    with pytest.raises(UsageError, match="1 pictures, none with a square"):
        making.make(tmp_path / "flat", tmp_path / "out", count=1)
    with pytest.raises(DataError, match="was not made by"):
        load_dataset("local_edits", photos)
    shutil.copytree(made, tmp_path / "torn")
    (tmp_path / "torn/jpeg-36/00001.png").unlink()
    with pytest.raises(DataError, match=r"missing jpeg-36/00001.png; the same"):
        load_dataset("local_edits", tmp_path / "torn")
    settings = json.loads((tmp_path / "torn/settings.json").read_text())
    (tmp_path / "torn/settings.json").write_text(json.dumps(settings | {"recipe": 0}))
    with pytest.raises(DataError, match="another version"):
        load_dataset("local_edits", tmp_path / "torn")


# --- as a data set, and its protocol ----------------------------------------------------------------------------------


def test_each_edit_is_a_split_and_a_line_of_the_protocol(made: Path) -> None:
    card, protocol = catalog.dataset_card("local_edits"), catalog.load_protocol("mantranet-figure4a")
    assert list(card.splits) == ["pristine", *EDITS]
    assert [(line.dataset, line.split) for line in protocol.data] == [("local_edits", split) for split in EDITS]
    for split in EDITS:
        samples = load_dataset("local_edits", made, split).samples
        assert [sample.id for sample in samples] == [f"{split}/{number:05}.png" for number in range(2)]
        assert all(sample.forged and sample.kind == "enhancement" for sample in samples)
        assert {sample.group for sample in samples} == {"a.png", "sub/b.png"}
    whole = load_dataset("local_edits", made)
    assert len(whole) == 2 * (len(EDITS) + 1) and sum(not sample.forged for sample in whole) == 2
    assert load_dataset("local_edits", made, "pristine").samples == whole.samples[-2:]
    assert "2 patches of 2 photographs, seed 0" in whole.remarks[0]


def test_the_readme_has_every_edit() -> None:
    text = (Path(making.__file__).parent / "README.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    written = [
        folder_of(name.strip("`").removesuffix("-p"), value)
        for names, _, values in rows[:-1]
        for name in names.split(", ")
        for value in values.split(", ")
    ]
    assert sorted(written) == sorted(EDITS)


def test_made_by_the_command_and_scored_by_the_protocol(
    cli: Callable[..., subprocess.CompletedProcess[str]], photos: Path, made: Path, tmp_path: Path
) -> None:
    finished = cli("synth", "local_edits", "--photos", photos, "--out", tmp_path / "made", "--count", 2)
    assert finished.returncode == 0, finished.stderr
    assert files(tmp_path / "made") == files(made)
    protocol = catalog.load_protocol("mantranet-figure4a")
    some = [line for line in protocol.data if line.split.startswith(("gaussian_noise", "jpeg"))]
    protocol = protocol.model_copy(update={"data": some})
    result = imdl_bench.run(protocol, ["ela"], {"local_edits": made}, out=tmp_path / "out", progress=False)
    assert len(result.lines) == 2 * 9 and result.n_failed == 0
    assert all(line.n == 2 and 0 <= line.value <= 1 for line in result.lines)
    pooled = {line.split: line.value for line in result.lines if line.metric == "pixel_auc/pooled"}
    assert pooled["gaussian_noise-28"] > pooled["gaussian_noise-3"] > 0.5
