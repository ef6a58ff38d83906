"""Mixes written to disk: what the folder holds, that it is scored, and that making it can be stopped and goes on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from plugin_folder import write_text
from test_synthesis import photos  # noqa: F401  (a fixture)

import imdl_bench
from imdl_bench.errors import UsageError
from imdl_bench.images import read_image, read_mask
from imdl_bench.synthesis.folders import write_folder
from imdl_bench.synthesis.mixes import open_mix

SIDE = 64


def _bytes(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    out = tmp_path_factory.mktemp("made") / "unified"
    assert write_folder("unified", photos, out, count=12, seed=5, side=SIDE) == []
    return out


def test_the_folder_holds_what_the_stream_gives(made: Path, photos: Path) -> None:  # noqa: F811
    source = open_mix("unified", photos, seed=5, side=SIDE)
    samples = imdl_bench.load_dataset("folder", made).samples
    assert len(samples) == 12
    for number, sample in enumerate(samples):
        example = source.example(number)
        np.testing.assert_array_equal(read_image(sample.image), example.image)
        assert sample.forged == example.forged and sample.group == source.made(number).record["photograph"]
        assert sample.kind == (example.kind if example.forged else None)
        assert (sample.mask is None) == (not example.forged)
        if sample.mask:
            np.testing.assert_array_equal(read_mask(sample.mask), example.truth)
    assert Counter(sample.kind for sample in samples) == {None: 3, "splicing": 3, "copy-move": 3, "removal": 3}


def test_the_manifest_says_how_each_was_made(made: Path, photos: Path) -> None:  # noqa: F811
    manifest = json.loads((made / "manifest.json").read_text())
    source = open_mix("unified", photos, seed=5, side=SIDE)
    assert manifest["settings"] == json.loads(json.dumps(source.about)) and manifest["count"] == 12
    for number, record in enumerate(manifest["examples"]):
        assert record["id"] == f"{number:07}"
        assert {name: record[name] for name in source.made(number).record} == source.made(number).record
    assert not (made / "unfinished.jsonl").exists()


def test_a_folder_grows_to_the_bytes_of_one_made_at_once(made: Path, photos: Path, tmp_path: Path) -> None:  # noqa: F811
    for count in (5, 12):
        write_folder("unified", photos, tmp_path / "out", count=count, seed=5, side=SIDE)
    assert _bytes(tmp_path / "out") == _bytes(made)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/images").iterdir()}
    lost = tmp_path / "out/images/0000003.png"
    lost.unlink()
    write_folder("unified", photos, tmp_path / "out", count=12, seed=5, side=SIDE)
    assert _bytes(tmp_path / "out") == _bytes(made)
    assert [path for path, then in before.items() if path.stat().st_mtime_ns != then] == [lost]


def test_other_settings_and_fewer_are_refused(made: Path, photos: Path) -> None:  # noqa: F811
    given: dict[str, Any] = {"name": "unified", "count": 12, "seed": 5, "side": SIDE}
    for change, message in (
        ({"seed": 6}, "another seed"),
        ({"side": 96}, "another side"),
        ({"name": "four-kinds"}, "another mix"),
        ({"part": "training"}, "another part"),
        ({"count": 11}, "holds 12 examples, more than 11"),
    ):
        before = _bytes(made)
        with pytest.raises(UsageError, match=message):
            write_folder(**given | change, photos=photos, out=made)  # type: ignore[arg-type]
        assert _bytes(made) == before


def test_pairs_are_written_for_the_data_set_of_pairs(photos: Path, tmp_path: Path) -> None:  # noqa: F811
    write_folder("pairs", photos, tmp_path / "out", count=3, side=SIDE)
    samples = imdl_bench.load_dataset("pairs", tmp_path / "out").samples
    assert sorted(sample.forged for sample in samples) == [False, True, True]
    assert all(sample.donor and (sample.donor_mask is not None) == sample.forged for sample in samples)


def test_classes_of_whole_images_are_not_written(photos: Path, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        noise = rng.integers(0, 256, (320, 320, 3), np.uint8)
        PIL.Image.fromarray(noise).save(tmp_path / f"photos/{number}.png")
    with pytest.raises(UsageError, match="for classification"):
        write_folder("patches-7", tmp_path / "photos", tmp_path / "out", count=3, side=SIDE)
    assert not (tmp_path / "out").exists()


def test_photographs_that_cannot_be_read_are_named(photos: Path, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "photos").mkdir()
    for path in photos.iterdir():
        (tmp_path / "photos" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "photos/torn.jpg").write_bytes(b"torn")
    remarks = write_folder("unified", tmp_path / "photos", tmp_path / "out", count=24, side=SIDE)
    assert remarks == [f"could not be read, and is left out: {tmp_path / 'photos/torn.jpg'}"]


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_killed_command_goes_on_to_the_same_bytes(photos: Path, tmp_path: Path) -> None:  # noqa: F811
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [sys.executable, "-m", "imdl_bench", "synth", "four-kinds", "--photos", photos, "--out", out,
               "--side", str(SIDE), "--count"]  # fmt: skip
    process = subprocess.Popen([*command, "100000"], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (out / "images/0000009.png").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "index.csv").exists() and not (out / "manifest.json").exists()
    there = len(list((out / "images").glob("*.png")))
    done = subprocess.run([*command, str(there + 4)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"written: {out}" in done.stdout, done.stderr
    write_folder("four-kinds", photos, whole, count=there + 4, side=SIDE)
    ours = {name: content for name, content in _bytes(out).items() if not name.endswith(".part")}
    assert ours == _bytes(whole)


def test_a_made_folder_is_scored(made: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    write_text(tmp_path / "made.yaml", """
        name: made
        version: 1
        title: On made pictures
        task: both
        source: the tests
        data: [{dataset: folder}]
        score: mask-mean
        metrics: [pixel_auc/per-image, image_auc]
    """)  # fmt: skip
    run = cli("run", tmp_path / "made.yaml", "--model", "ela", "--data", f"folder={made}", "--out", tmp_path / "runs")
    assert run.returncode == 0, run.stderr
    with next((tmp_path / "runs").rglob("rows.csv")).open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 12


def test_the_command_explains_what_it_needs(photos: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:  # noqa: F811
    given = ("--photos", photos, "--out", tmp_path / "out")
    for arguments, message in (
        (("unified", *given), "give --count N"),
        (("unifed", *given, "--count", 1), "did you mean 'unified'"),
        (("dmac_pairs", *given, "--count", 1, "--side", 64), "--side and --part are for mixes"),
    ):
        said = cli("synth", *arguments)
        assert said.returncode == 2 and message in said.stderr
    assert not (tmp_path / "out").exists()
