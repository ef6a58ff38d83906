"""The built-in data set: what it holds, that it is the same everywhere, and that files do not give the label away."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections import Counter
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
import pytest
from imdl_bench.datasets.sample import storing
from imdl_bench.datasets.sample.forging import make_picture
from imdl_bench.datasets.sample.index import differences, index, make
from imdl_bench.datasets.sample.plan import JOBS, entries
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from imdl_bench.catalog import dataset_card
from imdl_bench.errors import DataError
from imdl_bench.images import read_image, read_mask, read_size
from imdl_bench.types import KINDS, Sample

# The manifest holds to the pixel for these; other releases may round a few pictures otherwise, which is recorded.
MADE_WITH = {"numpy": "2.4.6", "opencv-python-headless": "5.0.0.93", "pillow": "13.0.0", "scikit-image": "0.26.0"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "sample-v1"


@pytest.fixture(scope="module")
def samples(root: Path) -> list[Sample]:
    return index(root)


def test_counts_are_those_of_the_card(samples: list[Sample]) -> None:
    expected = dataset_card("sample").expected
    assert sum(s.forged for s in samples) == expected.forged
    assert sum(not s.forged for s in samples) == expected.pristine
    assert sum(s.mask is not None for s in samples) == expected.masks
    assert Counter(s.kind for s in samples if s.forged) == dict.fromkeys(KINDS, 12)
    assert all((s.kind is None) == (not s.forged) for s in samples)
    assert Counter(s.group for s in samples if s.forged) == Counter(s.group for s in samples if not s.forged)


def test_ids_are_unique_posix_paths(samples: list[Sample], root: Path) -> None:
    assert len({s.id for s in samples}) == len(samples)
    for sample in samples:
        assert "\\" not in sample.id
        assert not PurePosixPath(sample.id).is_absolute()
        assert root / sample.id == sample.image


def test_masks_are_of_the_image_and_within_bounds(samples: list[Sample]) -> None:
    for sample in samples:
        if sample.mask is None:
            continue
        mask = read_mask(sample.mask)
        assert mask.shape == read_size(sample.image)
        assert 0.01 <= mask.mean() <= 0.30, sample.id
        assert set(np.unique(read_image(sample.mask))) == {0, 255}


def test_splices_name_their_donor_and_what_was_taken(samples: list[Sample]) -> None:
    for sample in samples:
        assert (sample.kind == "splicing") == (sample.donor is not None) == (sample.donor_mask is not None)
        if sample.donor is not None and sample.donor_mask is not None:
            assert read_mask(sample.donor_mask).shape == read_size(sample.donor)
            assert read_mask(sample.donor_mask).any()


def test_pictures_are_moderate(samples: list[Sample]) -> None:
    sizes = [read_size(s.image) for s in samples]
    assert all(min(size) >= 256 and max(size) <= 640 for size in sizes)
    assert sum(h * w for h, w in sizes) < 25e6
    assert len(set(sizes)) >= 8
    assert any(h > w for h, w in sizes) and any(w % 8 and h % 8 for h, w in sizes)


def test_truth_is_what_changed_before_compression(samples: list[Sample]) -> None:
    by_id = {s.id: s for s in samples}
    for entry in entries():
        edit, pixels, _ = make_picture(entry)
        if edit is None:
            continue
        changed = (edit.before != pixels).any(axis=2)
        mask = by_id[entry.file].mask
        assert mask is not None
        np.testing.assert_array_equal(read_mask(mask), edit.truth)
        assert changed[edit.truth].mean() >= 0.95, entry.name
        assert not changed[edit.alpha == 0].any(), entry.name
        # A feather reaches a little beyond the truth; nothing else may.
        near = ndimage.binary_dilation(edit.truth, iterations=24)
        assert not changed[~near].any(), entry.name


def test_two_builds_agree_with_each_other_and_the_manifest(samples: list[Sample], root: Path, tmp_path: Path) -> None:
    make(tmp_path / "again")
    again = storing.describe(tmp_path / "again")
    assert again == storing.describe(root)
    manifest = json.loads(storing.MANIFEST.read_text(encoding="utf-8"))
    assert list(again) == list(manifest)
    differing = [name for name in manifest if again[name]["pixels"] != manifest[name]["pixels"]]
    assert differences(root) == differing
    here = {name: version(name) for name in MADE_WITH}
    assert len(differing) <= (0 if here == MADE_WITH else 4), f"made with {MADE_WITH}, here {here}"
    stored = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert stored == {*again, storing.MARKER}


def test_another_seed_gives_other_pictures() -> None:
    assert [e.frame for e in entries(0)] != [e.frame for e in entries(1)]
    assert [e.file.partition(".")[0] for e in entries(0)] == [e.file.partition(".")[0] for e in entries(1)]


def test_a_folder_that_is_there_is_not_made_again(samples: list[Sample], root: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(storing, "make_picture", None)
    assert index(root) == samples


def test_pixels_of_other_libraries_are_recorded_not_refused(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    few = (entries()[12], entries()[60])
    elsewhere = {few[0].file: {"pixels": "0" * 64}, few[1].file: {"pixels": "0" * 64}}
    (tmp_path / "manifest.json").write_text(json.dumps(elsewhere))
    monkeypatch.setattr(storing, "MANIFEST", tmp_path / "manifest.json")
    monkeypatch.setattr(storing, "entries", lambda seed: few)
    make(tmp_path / "sample")
    assert differences(tmp_path / "sample") == sorted(elsewhere)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_build_leaves_nothing(tmp_path: Path, monkeypatch, error: type[BaseException]) -> None:  # type: ignore[no-untyped-def]
    calls = []

    def interrupted(entry):  # type: ignore[no-untyped-def]
        calls.append(entry)
        if len(calls) == 3:
            raise error
        return make_picture(entry)

    monkeypatch.setattr(storing, "make_picture", interrupted)
    with pytest.raises(error):
        make(tmp_path / "sample")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_may_make_it_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(index, [tmp_path / "sample"] * 2, chunksize=1)
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_a_stranger_s_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("keep")
    with pytest.raises(DataError, match="not empty"):
        index(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "keep"


def test_a_missing_file_and_another_version_are_named(samples: list[Sample], root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(root, broken)
    (broken / samples[3].id).unlink()
    with pytest.raises(DataError, match=samples[3].id):
        index(broken)
    (broken / storing.MARKER).write_text('{"recipe": 0, "seed": 0, "differs": []}')
    with pytest.raises(DataError, match="another version"):
        index(broken)


def test_the_file_does_not_give_the_label_away(samples: list[Sample]) -> None:
    features = np.array([_file_statistics(s.image) for s in samples])
    forged = np.array([s.forged for s in samples])
    groups = [s.group for s in samples]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    scores = cross_val_predict(
        probe, features, forged, groups=groups, cv=LeaveOneGroupOut(), method="decision_function"
    )
    assert abs(roc_auc_score(forged, scores) - 0.5) < 0.15
    for column in features.T:
        assert abs(roc_auc_score(forged, column) - 0.5) < 0.15


def test_format_and_tables_are_those_of_the_pristine_twin(samples: list[Sample]) -> None:
    forged, pristine = samples[: len(JOBS)], samples[len(JOBS) :]
    for one, other in zip(forged, pristine, strict=True):
        np.testing.assert_array_equal(_file_statistics(one.image)[1:], _file_statistics(other.image)[1:])


def _file_statistics(path: Path) -> list[float]:
    """Bytes per pixel, then format, width, height and the sum of the first quantisation tables."""
    with PIL.Image.open(path) as picture:
        tables = getattr(picture, "quantization", {}) or {0: [0], 1: [0]}
        sums = [float(sum(tables[key])) for key in (0, 1)]
        is_png = float(picture.format == "PNG")
        return [path.stat().st_size / (picture.width * picture.height), is_png, picture.width, picture.height, *sums]
