"""What must never come back: numbers of somebody else, of a changed file, or of half a run."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plugin_folder import write_model, write_text

import imdl_bench
from imdl_bench import catalog, records
from imdl_bench.cache import cache_dir, sole_writer
from imdl_bench.errors import CardError, DataError, UsageError
from imdl_bench.records import RunFile
from imdl_bench.remembered import hash_files

Cli = Callable[..., subprocess.CompletedProcess[str]]


def _run(folder: Path, out: Path, *models: str, **options: object) -> imdl_bench.RunResult:
    catalog._cards.cache_clear()
    return imdl_bench.run("edits", models, data=folder / "data", out=out, **options)  # type: ignore[arg-type]


def test_a_second_process_on_one_run_is_refused(plugin: Path, tmp_path: Path, cli: Cli) -> None:
    command = [sys.executable, "-m", "imdl_bench", "run", "edits", "--model", "slow_red", "--quiet"]
    command += ["--data", str(plugin / "data"), "--out", str(tmp_path / "out")]
    environment = os.environ | {"IMDL_BENCH_PATH": str(plugin)}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    first.communicate(timeout=60)
    assert second.returncode == 2 and "another process works on this run" in second.stderr
    assert first.returncode == 0
    after = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert after.returncode == 0 and "nothing to do" in after.stdout


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    with sole_writer(lock, "taken"), pytest.raises(UsageError, match="taken; wait"), sole_writer(lock, "taken"):
        pass
    with sole_writer(lock, "taken"):
        pass


def test_rows_and_pool_that_disagree_are_no_leaderboard(with_plugin: Path, tmp_path: Path) -> None:
    result = _run(with_plugin, tmp_path)
    with sqlite3.connect(result.runs[0]) as db:
        db.execute("DELETE FROM pools")
    with pytest.raises(DataError, match="pooled scores and rows disagree"):
        imdl_bench.leaderboard(tmp_path)


def test_a_model_cannot_write_into_what_others_see(with_plugin: Path, tmp_path: Path) -> None:
    write_model(with_plugin, "mutate", "image[:] = 0; return image[..., 0].astype(np.float32)")
    alone = _run(with_plugin, tmp_path / "alone", "red")
    both = _run(with_plugin, tmp_path / "both", "mutate", "red")
    assert [line.value for line in both.lines if line.model == "red"] == [line.value for line in alone.lines]
    assert both.n_failed == 12


def test_a_reused_buffer_is_copied_or_refused(with_plugin: Path, tmp_path: Path) -> None:
    write_model(with_plugin, "reuse", "return image[..., 0].astype(np.float32) / np.float32(255)")
    path = with_plugin / "models/reuse/model.py"
    path.write_text(path.read_text() + "\n\nBUFFERS = {}\n\n\ndef fill(image):\n"
                    "    buffer = BUFFERS.setdefault(image.shape, np.zeros(image.shape[:2], np.float32))\n"
                    "    np.divide(image[..., 0], np.float32(255), out=buffer)\n    return buffer\n\n\nmask_of = fill\n")  # fmt: skip  # noqa: E501
    expected = _run(with_plugin, tmp_path / "red", "red")
    one = _run(with_plugin, tmp_path / "one", "reuse", batch_size=1)
    assert [line.value for line in one.lines] == [line.value for line in expected.lines]
    many = _run(with_plugin, tmp_path / "many", "reuse", batch_size=8)
    rows = pd.read_csv(many.runs[0].with_name("rows.csv"))
    assert many.n_failed > 0 and rows["reason"].dropna().str.contains("share one array").all()


def test_weights_beside_a_model_belong_to_it(with_plugin: Path, tmp_path: Path) -> None:
    folder = with_plugin / "models/red"
    runs = []
    for content in (b"one", b"two"):
        (folder / "weights.npz").write_bytes(content)
        runs.append(_run(with_plugin, tmp_path).runs[0])
    (folder / "README.md").write_text("for people")
    runs.append(_run(with_plugin, tmp_path).runs[0])
    assert runs[0] != runs[1] == runs[2]


def test_content_is_seen_behind_an_old_time_stamp(tmp_path: Path) -> None:
    path = tmp_path / "mask.bmp"
    path.write_bytes(b"one")
    before, stamp = hash_files([path], 1, lambda _: None), path.stat()
    with path.open("r+b") as file:
        file.write(b"two")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert hash_files([path], 1, lambda _: None) != before


def test_touching_a_file_is_no_change(with_plugin: Path, tmp_path: Path) -> None:
    first = _run(with_plugin, tmp_path)
    os.utime(with_plugin / "data/images/01.png", (1, 1))
    assert _run(with_plugin, tmp_path).n_new == 0 and first.n_new == 12


def test_damaged_hashes_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMDL_BENCH_CACHE", str(tmp_path / "cache"))
    cache_dir().mkdir()
    (cache_dir() / "hashes.sqlite").write_bytes(b"no database" * 100)
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert len(hash_files([path], 1, lambda _: None)[path]) == 64


def test_a_list_of_ones_own_is_told(with_plugin: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("01.png\n03.png\n04.png\n")
    result = _run(with_plugin, tmp_path / "out", split_files={"edits": own})
    assert "edits/full: 3 names from own.txt (sha256 " in result.lines[0].remarks
    with pytest.raises(UsageError, match="given for 'edit', which edits does not use; did you mean 'edits'"):
        _run(with_plugin, tmp_path / "out", split_files={"edit": own})


SCORES = [("np.float32(0.2)", True), ("1", True), ("'0.5'", False), ("np.array([0.5])", False), ("float('nan')", False)]
SCORES += [("1.5", False), ("True", False), ("None", False)]


@pytest.mark.parametrize(("score", "good"), SCORES)
def test_scores_are_numbers(with_plugin: Path, tmp_path: Path, score: str, good: bool) -> None:
    write_model(
        with_plugin, "scored", "return image[..., 0].astype(np.float32) / np.float32(255)", outputs="[mask, score]"
    )
    path = with_plugin / "models/scored/model.py"
    path.write_text(path.read_text().replace("mask=mask_of(i)", f"mask=mask_of(i), score={score}"))
    result = _run(with_plugin, tmp_path, "scored")
    assert result.n_failed == (0 if good else 12)
    assert imdl_bench.leaderboard(tmp_path).n_failed == result.n_failed


def test_a_model_that_exits_is_a_model_that_failed(with_plugin: Path, tmp_path: Path) -> None:
    write_model(with_plugin, "leave", "raise SystemExit(0)")
    assert _run(with_plugin, tmp_path, "leave").n_failed == 12
    path = with_plugin / "models/leave/model.py"
    path.write_text(path.read_text().replace("def predict", "def foresee"))
    sys.modules.pop("imdl_bench.models.leave.model")
    os.utime(path, (1, 1))
    with pytest.raises(CardError, match="has no method predict"):
        _run(with_plugin, tmp_path, "leave")


def test_looking_at_a_run_does_not_relabel_it(with_plugin: Path, tmp_path: Path) -> None:
    result = _run(with_plugin, tmp_path)
    with RunFile(result.runs[0], write=True) as file:
        file.write_meta({"library": "0.0.9"}, replace=True)
    again = _run(with_plugin, tmp_path)
    assert again.n_new == 0 and {line.library_version for line in again.lines} == {"0.0.9"}


def test_databases_of_others_are_left_alone(tmp_path: Path, cli: Cli) -> None:
    foreign = tmp_path / "run.sqlite"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE notes (text)")
    before = foreign.read_bytes()
    for place in (foreign, tmp_path):
        done = cli("leaderboard", place)
        assert done.returncode == 2 and "another program's database" in done.stderr and "Traceback" not in done.stderr
    assert foreign.read_bytes() == before


def test_other_tables_are_another_layout() -> None:
    """Change both: a run file of older tables must be refused, not resumed."""
    tables = hashlib.sha256(" ".join(records._SCHEMA.split()).encode()).hexdigest()[:8]
    assert (records._LAYOUT, tables) == (3, "1c0ab5fd")


def test_a_run_of_another_layout_is_refused(with_plugin: Path, tmp_path: Path) -> None:
    run = _run(with_plugin, tmp_path, "red").runs[0]
    with closing(sqlite3.connect(run)) as file:
        file.execute("PRAGMA user_version = 2")
    with pytest.raises(DataError, match="another version of imdl-bench; delete its folder and make the run again"):
        imdl_bench.leaderboard(run)
    with pytest.raises(DataError, match="another version"):
        _run(with_plugin, tmp_path, "red")


def test_a_damaged_run_is_named(with_plugin: Path, tmp_path: Path, cli: Cli) -> None:
    path = _run(with_plugin, tmp_path).runs[0]
    with sqlite3.connect(path) as db:
        db.execute("UPDATE pools SET pool = x'00'")
    done = cli("leaderboard", path)
    assert done.returncode == 2 and "damaged" in done.stderr and "Traceback" not in done.stderr


def test_two_lines_of_one_name_are_refused(with_plugin: Path, tmp_path: Path) -> None:
    path = with_plugin / "protocols/edits.yaml"
    plain = path.read_text()
    path.write_text(plain.replace("image_auc", "image_f1@0.5, image_f1@0.50"))
    with pytest.raises(UsageError, match=r"image_f1@0\.50' is listed twice"):
        _run(with_plugin, tmp_path)
    path.write_text(plain.replace("[{dataset: edits}]", "[{dataset: edits}, {dataset: edits, keep: forged}]"))
    with pytest.raises(UsageError, match="edits/full is listed twice"):
        _run(with_plugin, tmp_path)


def test_a_protocol_of_ones_own_cannot_take_a_known_name(tmp_path: Path, with_plugin: Path) -> None:
    own = tmp_path / "own.yaml"
    text = catalog.card_path("protocols", "quickstart").read_text()
    own.write_text(text)
    assert imdl_bench.load_protocol(own).name == "quickstart"
    own.write_text(text.replace("  - image_eer\n", ""))
    with pytest.raises(CardError, match="'quickstart' belongs to"):
        imdl_bench.load_protocol(own)


def test_equal_cards_do_not_hide_different_code(with_plugin: Path) -> None:
    card = catalog.card_path("models", "ela").read_text()
    write_text(with_plugin / "models/ela/card.yaml", card)
    write_text(with_plugin / "models/ela/model.py", "class ELA: ...\n")
    catalog._cards.cache_clear()
    with pytest.raises(CardError, match="same name 'ela'"):
        imdl_bench.list_models()


def test_options_are_checked_before_the_work(with_plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="seed -1"):
        _run(with_plugin, tmp_path, seed=-1)
    with pytest.raises(UsageError, match="from 1 up"):
        _run(with_plugin, tmp_path, workers=0)
    with pytest.raises(UsageError, match="did you mean 'white'"):
        imdl_bench.load_dataset("edits", with_plugin / "data", forged="White")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="did you mean 'resize'"):
        imdl_bench.load_dataset("edits", with_plugin / "data", size_mismatch="resized")  # type: ignore[arg-type]


def test_names_that_no_table_can_hold_are_refused(with_plugin: Path) -> None:
    path = with_plugin / "data/images"
    raw = os.path.join(os.fsencode(path), b"01\xe9.png")  # noqa: PTH118
    os.rename(path / "01.png", raw)  # noqa: PTH104
    index = with_plugin / "datasets/edits/index.py"
    index.write_text(index.read_text().replace("int(image.stem)", "int(image.stem[:2])"))
    with pytest.raises(DataError, match=r"01\\udce9\.png' is not UTF-8"):
        imdl_bench.load_dataset("edits", with_plugin / "data")


def test_plugin_folders_that_are_not_there_are_told(cli: Cli, tmp_path: Path) -> None:
    done = cli("list", "models", IMDL_BENCH_PATH=str(tmp_path / "nowhere"))
    assert done.returncode == 2 and "nowhere, which is not a folder" in done.stderr


def test_any_name_can_be_printed_anywhere(cli: Cli, tmp_path: Path, photo: np.ndarray) -> None:
    import PIL.Image

    name = tmp_path / "ü n=i#c,o d 日本.png"
    PIL.Image.fromarray(photo[:64, :64]).save(name)
    done = cli("predict", "ela", name, "--out", tmp_path / "out", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_a_run_killed_while_its_file_is_made_goes_on(tmp_path: Path) -> None:
    """Stopped at each statement in turn, the file can always be opened to write, and is never taken for a run."""
    for stop_at in range(1, 12):
        path = tmp_path / f"{stop_at}.sqlite"
        code = (
            "import os, sqlite3\nfrom pathlib import Path\nfrom imdl_bench import records\n"
            "plain, count = sqlite3.connect, [0]\n"
            "def trace(_):\n    count[0] += 1\n"
            f"    if count[0] == {stop_at}: os.kill(os.getpid(), 9)\n"
            "def connect(*a, **k):\n    db = plain(*a, **k)\n    db.set_trace_callback(trace)\n    return db\n"
            f"records.sqlite3.connect = connect\nrecords.RunFile(Path({str(path)!r}), write=True)\n"
        )
        subprocess.run([sys.executable, "-c", code], check=False)
        with RunFile(path, write=True) as file:
            assert file.done() == set() and file.read_meta() == {}


def test_a_kill_in_the_middle_of_a_commit_costs_nothing(with_plugin: Path, tmp_path: Path) -> None:
    result = _run(with_plugin, tmp_path)
    code = (
        f"import os, sqlite3\ndb = sqlite3.connect({str(result.runs[0])!r})\n"
        "db.execute('PRAGMA cache_size = 1')\ndb.execute('BEGIN IMMEDIATE')\n"
        "db.execute('UPDATE rows SET reason = hex(randomblob(20000))')\nos.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert Path(f"{result.runs[0]}-journal").exists()
    assert imdl_bench.leaderboard(tmp_path).lines == result.lines


def test_one_run_in_two_places_counts_once(with_plugin: Path, tmp_path: Path) -> None:
    import shutil

    result = _run(with_plugin, tmp_path / "a")
    shutil.copytree(tmp_path / "a/runs", tmp_path / "b/old")
    both = imdl_bench.leaderboard(tmp_path / "a", tmp_path / "b")
    assert both.lines == result.lines and "<table" in both._repr_html_()


def test_one_damaged_run_hides_no_other(with_plugin: Path, tmp_path: Path, cli: Cli) -> None:
    result = _run(with_plugin, tmp_path / "out")
    (tmp_path / "out/runs/junk").mkdir()
    (tmp_path / "out/runs/junk/run.sqlite").write_bytes(b"no database" * 1000)
    done = cli("leaderboard", tmp_path / "out")
    assert done.returncode == 1 and "junk" in done.stderr and len(done.stdout.splitlines()) == len(result.lines) + 1


def test_a_limit_keeps_the_classes_in_proportion(with_plugin: Path, tmp_path: Path) -> None:
    result = _run(with_plugin, tmp_path, limit=6)
    rows = pd.read_csv(result.runs[0].with_name("rows.csv"))
    assert rows["forged"].sum() == 4 and len(rows) == 6
    assert "limited to 6 of 12" in repr(result)


def test_masks_are_not_asked_for_where_no_pixel_is_scored(with_plugin: Path, tmp_path: Path) -> None:
    path = with_plugin / "protocols/edits.yaml"
    text = path.read_text()
    path.write_text(text[: text.index("metrics:")] + "metrics: [image_auc]\n")
    (with_plugin / "data/masks/01.png").write_text("no mask")
    result = _run(with_plugin, tmp_path)
    assert result.n_failed == 0 and result.lines[0].n == 12


def test_nothing_is_written_before_all_data_is_there(with_plugin: Path, tmp_path: Path) -> None:
    path = with_plugin / "protocols/edits.yaml"
    path.write_text(path.read_text().replace("[{dataset: edits}]", "[{dataset: edits}, {dataset: columbia}]"))
    with pytest.raises(DataError):
        _run(with_plugin, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_built_in_set_is_not_made_in_a_users_folder(tmp_path: Path) -> None:
    (tmp_path / "data/sample").mkdir(parents=True)
    imdl_bench.run("quickstart", ["ela"], data=tmp_path / "data", out=tmp_path / "out", limit=4)
    assert not list((tmp_path / "data/sample").iterdir())
