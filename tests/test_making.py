"""What data sets made from photographs share: one maker at a time, nothing mixed, and a plug-in that is made."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from plugin_folder import write_text

import imdl_bench
from imdl_bench import catalog
from imdl_bench.errors import UsageError
from imdl_bench.images import encode_png, read_image
from imdl_bench.making import missing_files, summary


@pytest.fixture
def photos(tmp_path: Path, photo: np.ndarray) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, left in (("a", 0), ("b", 200)):
        PIL.Image.fromarray(photo[:300, left : left + 300]).save(folder / f"{name}.png")
    return folder


def _hold(photos: Path, out: Path) -> subprocess.Popen[str]:
    """Another process that makes ``out``, slowly."""
    code = (
        "import sys, time; from pathlib import Path; from imdl_bench.making import made_from\n"
        "with made_from(Path(sys.argv[1]), Path(sys.argv[2])): print('holds', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, photos, out], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "holds\n"
    return process


@pytest.mark.parametrize("name", ["dmac_pairs", "local_edits"])
def test_a_second_maker_is_refused_until_the_first_is_gone(name: str, photos: Path, tmp_path: Path) -> None:
    make, out = catalog.dataset_maker(name), tmp_path / "out"
    first = _hold(photos, out)
    try:
        with pytest.raises(UsageError, match=r"out: another process makes this folder; wait for it, or end it"):
            make(photos, tmp_path / "photos/../out", count=1)
        assert not out.exists()
    finally:
        first.kill()
        first.communicate()
    make(photos, out, count=1)
    assert all(sample.image.is_file() for sample in imdl_bench.load_dataset(name, out))
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()], "the lock lies elsewhere"


def test_a_name_that_cannot_be_made_is_answered_with_those_that_can(cli: Callable[..., Any], tmp_path: Path) -> None:
    wrong = cli("synth", "pears", "--photos", tmp_path, "--out", tmp_path / "out")
    assert wrong.returncode == 2
    assert "no data set 'pears' is made from photographs; these are: dmac_pairs, local_edits" in wrong.stderr
    with pytest.raises(UsageError, match="sample is not made from photographs; these are: dmac_pairs, local_edits"):
        catalog.dataset_maker("sample")


def test_missing_files_are_found_in_order_and_counted(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/1.png").touch()
    missing = missing_files(tmp_path, ["y/1.png", "x/1.png", "x/0.png"])
    assert missing == ["y/1.png", "x/0.png"]
    assert (summary(missing), summary(missing[1:])) == ("missing y/1.png, +1 more", "missing x/0.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool])
def test_a_png_holds_every_value(dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 2 if dtype is bool else np.iinfo(dtype).max, (7, 9)).astype(dtype)
    found = np.asarray(PIL.Image.open(io.BytesIO(encode_png(pixels))))
    np.testing.assert_array_equal(found, pixels * np.uint8(255) if dtype is bool else pixels)


def test_a_plug_in_is_made_by_the_command(photos: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    write_text(tmp_path / "mine/datasets/mirrored/card.yaml", """
        name: mirrored
        title: Mirrored photographs
        entry: making:index
        make: making:make
        source: made by the tests
        licence: CC0-1.0
        paper: none
    """)  # fmt: skip
    write_text(tmp_path / "mine/datasets/mirrored/making.py", """
        import json

        import numpy as np
        from imdl_bench.images import encode_png, read_image
        from imdl_bench.layouts import list_images, sample_id
        from imdl_bench.making import digest_of, left_out, library_versions, made_from, refuse_other, write_atomically
        from imdl_bench.types import Sample

        def make(photos, out, *, count=None, seed=0, progress=lambda done, of: None):
            with made_from(photos, out):
                paths, known = list_images(photos), out / "settings.json"
                digest = digest_of((sample_id(path, photos), path) for path in paths)
                settings = {"seed": seed, "photographs": digest, "versions": library_versions()}
                refuse_other(out, [json.loads(known.read_text())] if known.is_file() else [], settings, "pictures")
                write_atomically(known, json.dumps(settings).encode())
                for number, path in enumerate(paths[:count]):
                    write_atomically(out / f"images/{number}.png", encode_png(np.asarray(read_image(path))[:, ::-1]))
                    progress(number + 1, count)
            return left_out(photos, [])

        def index(root):
            return [Sample(path.name, path, forged=False) for path in list_images(root / "images")]
    """)  # fmt: skip
    given = ("synth", "mirrored", "--photos", photos, "--out", tmp_path / "out", "--count", 2)
    done = cli(*given, IMDL_BENCH_PATH=str(tmp_path / "mine"))
    assert done.returncode == 0 and f"written: {tmp_path / 'out'}" in done.stdout, done.stderr
    again = cli(*given, "--seed", 1, IMDL_BENCH_PATH=str(tmp_path / "mine"))
    assert again.returncode == 2 and "holds pictures made with another seed (0, now 1)" in again.stderr, again.stderr
    first, second = (read_image(tmp_path / f"out/images/{number}.png") for number in range(2))
    np.testing.assert_array_equal(first, read_image(photos / "a.png")[:, ::-1])
    np.testing.assert_array_equal(second, read_image(photos / "b.png")[:, ::-1])
