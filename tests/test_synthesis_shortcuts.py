"""Nothing but the manipulation tells forged from pristine: a linear probe on what files look like from outside."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_synthesis import photos  # noqa: F401  (a fixture)

from imdl_bench.images import encode_jpeg, encode_png, read_image
from imdl_bench.synthesis.folders import write_folder

SIDE, COUNT = 64, 480
ONE_IN_A_THOUSAND = 3.1  # standard deviations


def _statistics(path: Path) -> list[float]:
    """Sizes in bytes under three encoders, height, width, levels, and the file's first bytes."""
    pixels = np.asarray(read_image(path))
    sizes = [path.stat().st_size, *(len(encode_jpeg(pixels, quality, "4:4:4")) for quality in (95, 75))]
    levels = pixels // 16
    shape = [float(side) for side in pixels.shape[:2]]
    return [*np.log(sizes), *shape, levels.mean(), levels.std(), len(np.unique(pixels)), *path.read_bytes()[:33]]


def _accuracy(files: list[Path], forged: NDArray[np.bool_]) -> tuple[float, float]:
    """Of a linear probe, cross-validated over as many forged as pristine files, and what chance may reach."""
    rng = np.random.default_rng(0)
    count = int((~forged).sum())
    chosen = np.concatenate([np.flatnonzero(~forged), rng.permutation(np.flatnonzero(forged))[:count]])
    table = np.array([_statistics(files[place]) for place in chosen])
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    found = float(cross_val_score(probe, table, forged[chosen], cv=folds).mean())
    return found, 0.5 + ONE_IN_A_THOUSAND * float(np.sqrt(0.25 / len(chosen)))


@pytest.fixture(scope="module", params=["unified", "four-kinds"])
def made(request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    out = tmp_path_factory.mktemp("made") / "out"
    write_folder(request.param, photos, out, count=COUNT, seed=11, side=SIDE)
    return out


def _files(made: Path) -> tuple[list[Path], NDArray[np.bool_]]:
    with (made / "index.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [made / row["image"] for row in rows], np.array([row["forged"] == "1" for row in rows])


def test_files_do_not_tell_forged_from_pristine(made: Path) -> None:
    found, chance = _accuracy(*_files(made))
    assert found < chance


def test_the_probe_sees_a_quality_that_goes_with_the_class(made: Path, tmp_path: Path) -> None:
    files, forged = _files(made)
    compressed = []
    for path, is_forged in zip(files, forged, strict=True):
        compressed.append(tmp_path / f"{path.stem}.jpg")
        compressed[-1].write_bytes(encode_jpeg(np.asarray(read_image(path)), 80 if is_forged else 90, "4:2:0"))
    found, chance = _accuracy(compressed, forged)
    assert found > chance + 0.2


def test_the_probe_sees_a_height_that_goes_with_the_class(made: Path, tmp_path: Path) -> None:
    files, forged = _files(made)
    cut = [tmp_path / path.name for path in files]
    for path, source, is_forged in zip(cut, files, forged, strict=True):
        pixels = np.asarray(read_image(source))
        path.write_bytes(encode_png(pixels[: SIDE - 1 if is_forged else SIDE], compress_level=1))
    found, chance = _accuracy(cut, forged)
    assert found > chance + 0.2
