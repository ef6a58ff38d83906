"""Weights: found, verified, loaded strictly; every way in, and everything that can be wrong with a file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_network import mask_of, official_state

import imdl_bench
from imdl_bench import cache, catalog
from imdl_bench.errors import CardError, DataError, UsageError
from imdl_bench.weights import _checksums, find_weights


def test_every_way_in_gives_the_same_network(checkpoint: Path, photo: np.ndarray, tmp_path: Path) -> None:
    given = mask_of(official_state(), photo)
    assert given.std() > 0.01
    np.testing.assert_array_equal(mask_of({k: v.numpy() for k, v in official_state().items()}, photo), given)
    trained = {key: torch.nn.Parameter(value) for key, value in official_state().items()}
    np.testing.assert_array_equal(mask_of(trained, photo), given)
    half = {key: value.bfloat16() for key, value in official_state().items()}
    np.testing.assert_allclose(mask_of(half, photo), given, atol=0.02)
    np.testing.assert_array_equal(mask_of(f"official:{checkpoint}", photo), given)
    np.testing.assert_array_equal(mask_of(f"official:{checkpoint}/all/all.pth", photo), given)
    np.testing.assert_array_equal(mask_of(checkpoint, photo), given)
    own = tmp_path / "mine.safetensors"
    catalog.convert_weights(f"tiny@official:{checkpoint}", own)
    np.testing.assert_array_equal(mask_of(own, photo), given)


def test_random_weights_follow_their_seed(checkpoint: Path, photo: np.ndarray) -> None:
    before = torch.random.get_rng_state()
    first = mask_of("random", photo, seed=3)
    np.testing.assert_array_equal(mask_of("random", photo, seed=3), first)
    assert np.abs(mask_of("random", photo, seed=4) - first).max() > 1e-3
    assert torch.equal(torch.random.get_rng_state(), before)


def test_files_the_card_knows_are_called_by_their_name(checkpoint: Path, tmp_path: Path) -> None:
    card = catalog.model_card("tiny")
    known = find_weights(card, f"official:{checkpoint}")
    assert (known.label, known.trained_on, known.licence) == ("official", ("columbia",), "MIT")
    torch.save(official_state(seed=2), tmp_path / "retrained.pth")
    other = find_weights(card, f"official:{tmp_path / 'retrained.pth'}")
    assert other.label == f"official#{other.identity[:8]}" and not other.trained_on
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/same.pth").write_bytes((tmp_path / "retrained.pth").read_bytes())
    assert find_weights(card, f"official:{tmp_path / 'elsewhere/same.pth'}").identity == other.identity


def test_what_does_not_fit_is_listed(checkpoint: Path) -> None:
    state = official_state()
    del state["bn.weight"]
    state["extra.weight"] = torch.zeros(3)
    state["head.weight"] = torch.zeros(2, 4, 1, 1)
    state["conv.bias"] = torch.tensor([1.0, float("nan"), 0, 0])
    state["bn.bias"] = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(UsageError) as error:
        imdl_bench.load_model("tiny", state)
    for line in ["missing keys: body.1.weight", "extra keys: extra.weight", "head.weight (2, 4, 1, 1) instead of (1, 4",
                 "not finite: body.0.bias", "body.1.bias torch.int64 instead of"]:  # fmt: skip
        assert line in str(error.value)


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        (None, "tiny needs weights: write tiny@WEIGHTS with official, restricted, random, official:PATH or FILE"),
        ("offical", "no weights 'offical'; did you mean 'official'"),
        ("nowhere.safetensors", "nowhere.safetensors: no such file"),
        ("official:nowhere", "no such file or folder"),
        ("official:", "official: needs the path"),
        ("official:~nosuchuser/x.pth", "is no path"),
        ("x" * 5000, "is no path"),
        ("official", "no direct address is known for body.pth, head.pth"),
        ("restricted", "research only .*--accept-licence"),
    ],
)
def test_unknown_weights_are_explained(checkpoint: Path, wanted: str | None, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        imdl_bench.load_model("tiny", wanted)


def test_a_folder_without_the_files_says_which(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "head/head.pth").unlink()
    (checkpoint / "all/all.pth").unlink()
    with pytest.raises(UsageError, match=r"it has no head.pth, all.pth"):
        imdl_bench.load_model("tiny", f"official:{checkpoint}")


def test_a_folder_of_files_that_no_card_names_is_taken_whole(
    checkpoint: Path, photo: np.ndarray, tmp_path: Path
) -> None:
    card = checkpoint.parent / "models/tiny/card.yaml"
    card.write_text(card.read_text().partition("weights:")[0] + "weights: {}\n")
    (tmp_path / "flat").mkdir()
    with pytest.raises(UsageError, match="no file ends in"):
        imdl_bench.load_model("tiny", f"official:{tmp_path / 'flat'}")
    for name in ("body", "head"):
        (tmp_path / f"flat/{name}.pth").write_bytes((checkpoint / f"{name}/{name}.pth").read_bytes())
    np.testing.assert_array_equal(mask_of(tmp_path / "flat", photo), mask_of(official_state(), photo))
    (tmp_path / "flat/all.pth").write_bytes((checkpoint / "all/all.pth").read_bytes())
    with pytest.raises(UsageError, match="as another file beside it does"):
        imdl_bench.load_model("tiny", tmp_path / "flat")


def test_two_different_files_of_one_name_are_refused(checkpoint: Path) -> None:
    (checkpoint / "old").mkdir()
    torch.save(official_state(seed=9), checkpoint / "old/body.pth")
    with pytest.raises(UsageError, match=r"several different body\.pth"):
        imdl_bench.load_model("tiny", f"official:{checkpoint}")


def test_pickled_code_is_never_run(checkpoint: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/sprung",)

    torch.save({"conv.weight": Trap()}, tmp_path / "trap.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    for name in ("trap.pth", "module.pth"):
        with pytest.raises(UsageError, match=rf"{name}: holds Python objects.*state_dict\(\)"):
            imdl_bench.load_model("tiny", f"official:{tmp_path / name}")
    assert not (tmp_path / "sprung").exists()


def test_a_picture_is_no_checkpoint_and_is_not_to_be_trusted(checkpoint: Path, with_plugin: Path) -> None:
    with pytest.raises(UsageError, match="is no PyTorch checkpoint") as error:
        imdl_bench.load_model("tiny", with_plugin / "data/images/00.png")
    assert "weights_only=False" not in str(error.value)


def test_one_of_several_files_says_so(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match=r"is one of several files \(body.pth, head.pth\); give the folder"):
        imdl_bench.load_model("tiny", checkpoint / "body/body.pth")


def test_a_tensor_that_claims_to_be_huge_costs_nothing(checkpoint: Path, tmp_path: Path) -> None:
    state = official_state() | {"conv.weight": torch.zeros(1).expand(10**12)}
    torch.save(state, tmp_path / "bomb.pth")
    assert (tmp_path / "bomb.pth").stat().st_size < 10_000
    with pytest.raises(UsageError, match=r"body.0.weight \(1000000000000,\) instead of"):
        imdl_bench.load_model("tiny", tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    "weights", [{1: 2}, {"conv.weight": [[1.0]]}, {"state_dict": official_state()}, torch.nn.ReLU()]
)
def test_what_is_no_dict_of_arrays_is_explained(checkpoint: Path, weights: Any) -> None:
    with pytest.raises(UsageError, match="tiny: weights are a"):
        imdl_bench.load_model("tiny", weights)


def test_weights_found_for_another_model_are_refused(checkpoint: Path) -> None:
    found = find_weights(catalog.model_card("tiny"), "random")
    with pytest.raises(UsageError, match="weights of tiny are not those of ncl"):
        imdl_bench.load_model("ncl", found)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn", b"\x80\x02}q\x00."])
def test_damaged_files_are_named(checkpoint: Path, tmp_path: Path, content: bytes) -> None:
    for name, spec in [("x.pth", "official:"), ("x.safetensors", ""), ("y.safetensors", "official:")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=name):
            imdl_bench.load_model("tiny", f"{spec}{tmp_path / name}")


def test_a_torn_file_is_named(checkpoint: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.safetensors"
    catalog.convert_weights("tiny@random", own)
    for path, spec in [(checkpoint / "all/all.pth", "official:"), (own, "")]:
        whole = path.read_bytes()
        for size in range(0, len(whole), len(whole) // 12):
            path.write_bytes(whole[:size])
            with pytest.raises((UsageError, DataError), match=path.name):
                imdl_bench.load_model("tiny", f"{spec}{path}")


def test_old_files_and_wrapped_ones_load(checkpoint: Path, photo: np.ndarray, tmp_path: Path) -> None:
    torch.save(official_state(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": official_state()}, tmp_path / "wrapped.pth")
    torch.save({key: value.half() for key, value in official_state().items()}, tmp_path / "half.pth")
    expected = mask_of(official_state(), photo)
    for name in ("old.pth", "wrapped.pth"):
        np.testing.assert_array_equal(mask_of(f"official:{tmp_path / name}", photo), expected)
    np.testing.assert_allclose(mask_of(f"official:{tmp_path / 'half.pth'}", photo), expected, atol=2e-3)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UsageError, match=r"list.pth: holds no state dict but list"):
        imdl_bench.load_model("tiny", f"official:{tmp_path / 'list.pth'}")


def test_safetensors_say_where_they_come_from(checkpoint: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    out = tmp_path / "tiny.safetensors"
    environment = {"IMDL_BENCH_PATH": str(checkpoint.parent)}
    done: subprocess.CompletedProcess[str] = cli(
        "weights", "convert", f"tiny:gain=2@official:{checkpoint}", "--out", out, **environment
    )
    assert done.returncode == 0, done.stderr
    from safetensors import safe_open

    with safe_open(out, "np") as file:
        about = file.metadata()
    assert about["model"] == "tiny" and about["source"] == "official" and about["licence"] == "MIT"
    assert json.loads(about["trained_on"]) == ["columbia"] and json.loads(about["settings"])["gain"] == 2
    assert find_weights(catalog.model_card("tiny"), out).trained_on == ("columbia",)
    refused = cli("weights", "convert", "tiny@random", "--out", tmp_path / "tiny.pt", **environment)
    assert refused.returncode == 2 and "must end in .safetensors" in refused.stderr
    refused = cli("weights", "convert", "ela", "--out", out, **environment)
    assert refused.returncode == 2 and "ela has no weights" in refused.stderr


@pytest.mark.parametrize("trained_on", ["5", "null", '"coverage"', "[1]", "{"])
def test_damaged_metadata_are_named(checkpoint: Path, tmp_path: Path, trained_on: str) -> None:
    from imdl_bench.checkpoint import write_tensors

    write_tensors(tmp_path / "x.safetensors", official_state(), {"model": "tiny", "trained_on": trained_on})
    with pytest.raises(DataError, match=r"x.safetensors: its metadata are damaged"):
        imdl_bench.load_model("tiny", tmp_path / "x.safetensors")


def test_random_weights_stay_untrained_in_a_file(
    checkpoint: Path, tmp_path: Path, with_plugin: Path, cli: Callable[..., Any]
) -> None:
    catalog.convert_weights("tiny@random", tmp_path / "looks_good.safetensors")
    catalog.convert_weights(f"tiny@{tmp_path / 'looks_good.safetensors'}", tmp_path / "again.safetensors")
    result = imdl_bench.run("edits", f"tiny@{tmp_path / 'again.safetensors'}", with_plugin / "data", out=tmp_path)
    assert "tiny@random#" in repr(result) and "(untrained)" in repr(result) and "(untrained)" in result._repr_html_()
    assert all("untrained" in line.remarks for line in result.lines)
    done = cli("predict", f"tiny@{tmp_path / 'again.safetensors'}", with_plugin / "data/images/01.png", cwd=tmp_path,
               IMDL_BENCH_PATH=str(with_plugin))  # fmt: skip
    assert "untrained: random weights" in done.stdout, done.stderr


def test_a_file_of_weights_counts_by_its_content(checkpoint: Path, tmp_path: Path, with_plugin: Path) -> None:
    catalog.convert_weights(f"tiny@official:{checkpoint}", tmp_path / "one.safetensors")
    (tmp_path / "other name|.safetensors").write_bytes((tmp_path / "one.safetensors").read_bytes())
    both = [f"tiny@{tmp_path / name}.safetensors" for name in ("one", "other name|")]
    first = imdl_bench.run("edits", both, with_plugin / "data", out=tmp_path)
    assert first.n_new == 12 and len(first.runs) == 1
    assert imdl_bench.run("edits", both[1], with_plugin / "data", out=tmp_path).n_new == 0


def test_weights_that_change_while_a_run_is_planned_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    torch.save(official_state(), tmp_path / "w.pth")
    found = find_weights(catalog.model_card("tiny"), tmp_path / "w.pth")
    torch.save(official_state(seed=2), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w.pth: changed since the run was planned"):
        imdl_bench.load_model("tiny", found)


def test_a_run_that_cannot_begin_leaves_nothing(
    checkpoint: Path, tmp_path: Path, with_plugin: Path, cli: Callable[..., Any]
) -> None:
    torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "bad.pth")
    for more in (["--model", f"tiny@{tmp_path / 'bad.pth'}"], ["--model", "tiny@random", "--device", "cuda:9"]):
        done = cli("run", "edits", "--model", "red", *more, "--data", with_plugin / "data", "--out", tmp_path / "out",
                   "--quiet", IMDL_BENCH_PATH=str(with_plugin))  # fmt: skip
        assert done.returncode == 2, done.stdout
        assert not (tmp_path / "out").exists()


def test_weights_for_other_settings_say_which(checkpoint: Path, tmp_path: Path) -> None:
    from imdl_bench.checkpoint import write_tensors

    state = official_state()
    about = {"model": "tiny", "settings": {"gain": 2}}
    write_tensors(tmp_path / "x.safetensors", state, about)
    with pytest.raises(UsageError, match=r"x.safetensors \(written for tiny:gain=2\) does not fit"):
        imdl_bench.load_model("tiny", tmp_path / "x.safetensors", settings={"gain": 1})


def test_weights_of_another_model_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    from imdl_bench.checkpoint import write_tensors

    write_tensors(tmp_path / "x.safetensors", official_state(), {"model": "huge"})
    with pytest.raises(UsageError, match="holds weights of huge, not of tiny"):
        imdl_bench.load_model("tiny", tmp_path / "x.safetensors")


class Answer(io.BytesIO):
    """What an https server answers."""

    def __init__(self, content: bytes, promised: int | None = None) -> None:
        super().__init__(content)
        self.headers: Mapping[str, str] = {"Content-Length": str(len(content) if promised is None else promised)}

    def geturl(self) -> str:
        return "https://example.org/all.pth"


def test_a_download_needs_the_licence_and_the_right_content(
    checkpoint: Path, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMDL_BENCH_CACHE", str(tmp_path / "cache"))
    content = (checkpoint / "all/all.pth").read_bytes()
    answers = [Answer(content[:-5] + b"wrong"), Answer(content[:100], len(content)), Answer(content)]
    monkeypatch.setattr(cache.urllib.request, "urlopen", lambda *a, **k: answers.pop(0))
    with pytest.raises(UsageError, match="research only"):
        imdl_bench.load_model("tiny", "restricted")
    with pytest.raises(DataError, match=r"all.pth: what came is not the file that the card knows \(sha256"):
        imdl_bench.load_model("tiny", "restricted", accept_licence=True)
    with pytest.raises(DataError, match=r"100 of .*get all.pth from .* yourself and write tiny@official:PATH"):
        imdl_bench.load_model("tiny", "restricted", accept_licence=True)
    folder = tmp_path / "cache/weights/tiny/restricted"
    assert not list(folder.iterdir()), "what is wrong or torn must not stay"
    np.testing.assert_array_equal(mask_of("restricted", photo, accept_licence=True), mask_of(official_state(), photo))
    assert not answers, "the third answer was taken"
    mask_of("restricted", photo)  # from the cache: the licence was accepted when it was fetched
    (folder / "all.pth").write_bytes(content + b"more")
    with pytest.raises(DataError, match=r"all.pth: is not the file that the card knows; delete it to fetch"):
        imdl_bench.load_model("tiny", "restricted")


def test_unsupported_files_are_refused_by_name_and_by_content(checkpoint: Path, tmp_path: Path) -> None:
    torch.save(official_state(seed=3), tmp_path / "wide.pth")
    blob = _checksums(tmp_path / "wide.pth")[1]
    card = checkpoint.parent / "models/tiny/card.yaml"
    text = f"  wide: {{files: [wide.pth], git_blob: [{blob}], licence: MIT, unsupported: too wide}}\n"
    card.write_text(card.read_text() + text)
    (tmp_path / "renamed.pth").write_bytes((tmp_path / "wide.pth").read_bytes())
    for wanted in ("wide", tmp_path / "wide.pth", tmp_path / "renamed.pth"):
        with pytest.raises(UsageError, match="cannot be used: too wide"):
            imdl_bench.load_model("tiny", wanted)


def test_a_checksum_may_be_known_of_some_files_only(checkpoint: Path, photo: np.ndarray) -> None:
    card = checkpoint.parent / "models/tiny/card.yaml"
    first = _checksums(checkpoint / "body/body.pth")[0]
    text = card.read_text()
    start = text.index("sha256: [")
    card.write_text(text[:start] + f"sha256: [{first}, null]" + text[text.index("]", start) + 1 :])
    assert find_weights(catalog.model_card("tiny"), f"official:{checkpoint}").label == "official"
    torch.save(official_state(), checkpoint / "body/body.pth")
    assert find_weights(catalog.model_card("tiny"), f"official:{checkpoint}").label.startswith("official#")


def test_git_blob_ids_are_gits(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert _checksums(tmp_path / "empty")[1] == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert _checksums(tmp_path / "hello") == (hashlib.sha256(b"hello\n").hexdigest(), "ce013625030ba8dba906f756967f9e9ca394464a")  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (("files: [all.pth]", "files: [all.pth, b.pth]"), "url has 1 entries for 2 files"),
        (("  restricted:", "  random:"), "'random' means random weights"),
        (("sha256: [", "sha256: [abc, "), "sha256"),
        (("files: [all.pth]", "files: [../all.pth]"), "files"),
        (("files: [all.pth]", "files: [/tmp/all.pth]"), "files"),
    ],
)
def test_a_wrong_weights_card_is_explained(checkpoint: Path, change: tuple[str, str], hint: str) -> None:
    path = checkpoint.parent / "models/tiny/card.yaml"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(CardError, match=hint):
        catalog.model_card("tiny")


def test_a_run_says_which_weights(checkpoint: Path, tmp_path: Path, with_plugin: Path) -> None:
    first = imdl_bench.run("edits", f"tiny@official:{checkpoint}", with_plugin / "data", out=tmp_path / "out")
    assert {line.weights for line in first.lines} == {"official"} and first.n_new == 12
    assert {(line.precision, line.device) for line in first.lines} == {("float32", "cpu")}
    moved = tmp_path / "moved"
    checkpoint.rename(moved)
    again = imdl_bench.run("edits", f"tiny@official:{moved}", with_plugin / "data", out=tmp_path / "out")
    assert again.n_new == 0, "the same weights elsewhere are the same run"
    torch.save(official_state(seed=5), tmp_path / "w.pth")
    other = imdl_bench.run("edits", f"tiny@official:{tmp_path / 'w.pth'}", with_plugin / "data", out=tmp_path / "out")
    torch.save(official_state(seed=6), tmp_path / "w.pth")
    third = imdl_bench.run("edits", f"tiny@official:{tmp_path / 'w.pth'}", with_plugin / "data", out=tmp_path / "out")
    assert other.n_new == third.n_new == 12, "other weights under one path are another run"
    half = imdl_bench.run("edits", f"tiny@official:{moved}", with_plugin / "data", out=tmp_path / "out", precision="bfloat16")  # fmt: skip  # noqa: E501
    gain = imdl_bench.run("edits", f"tiny:gain=2@official:{moved}", with_plugin / "data", out=tmp_path / "out")
    assert half.n_new == gain.n_new == 12 and {line.model for line in gain.lines} == {"tiny:gain=2"}
    assert len({line.run for result in (first, other, third, half, gain) for line in result.lines}) == 5


def test_random_weights_mark_all_they_touch(
    checkpoint: Path, tmp_path: Path, with_plugin: Path, cli: Callable[..., Any]
) -> None:
    environment = {"IMDL_BENCH_PATH": str(with_plugin)}
    done = cli("run", "edits", "--model", "tiny@random", "--model", "red", "--data", with_plugin / "data",
               "--out", tmp_path, "--quiet", **environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tiny@random (untrained)" in done.stdout and "untrained: random weights" in done.stdout
    table = (tmp_path / "leaderboards/edits.csv").read_text().splitlines()
    assert all(("untrained" in line) == (",tiny," in line) for line in table[1:])
    rows = next((tmp_path / "runs/edits/tiny@random").rglob("rows.csv")).read_text().splitlines()
    assert len(rows) == 13 and all("untrained" in row for row in rows[1:])
    for style in ("md", "latex", "text"):
        shown = cli("leaderboard", tmp_path / "runs", "--format", style, **environment).stdout
        assert "tiny@random (untrained)" in shown


def test_predict_takes_weights_and_says_which(
    checkpoint: Path, tmp_path: Path, with_plugin: Path, cli: Callable[..., Any]
) -> None:
    environment = {"IMDL_BENCH_PATH": str(with_plugin)}
    image = with_plugin / "data/images/01.png"
    done = cli("predict", "tiny", image, "--weights", f"official:{checkpoint}", "--out", tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "01.json").read_text())["settings"]
    assert settings["weights"] == "official" and not settings["untrained"] and settings["precision"] == "float32"
    twice = cli("predict", "tiny@random", image, "--weights", "random", "--out", tmp_path, **environment)
    assert twice.returncode == 2 and "give the weights once" in twice.stderr
    assert cli("predict", "tiny@random", image, cwd=tmp_path, **environment).returncode == 0
    assert json.loads((tmp_path / "predictions/01.json").read_text())["settings"]["untrained"]


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("tiny:gian=2@random", "no setting 'gian'; did you mean 'gain'"),
        ("tiny:gain=3@random", "'gain' is one of 1, 2, not 3"),
        ("tiny:gain@random", "'gain' has no value"),
        ("tiny:gain=[@random", "'gain' is one of 1, 2, not"),
        ("tiny:gain=2026-13-45@random", "'gain' is one of 1, 2, not"),
        ("tiny:gain=2,gain=1@random", "'gain' is given twice"),
        ("tiny:without=bais@random", "'without' takes 'bias', 'norm', not 'bais'"),
        ("red:gain=1", "red has no setting 'gain'"),
    ],
)
def test_wrong_settings_are_explained(checkpoint: Path, spec: str, hint: str, with_plugin: Path) -> None:
    with pytest.raises(UsageError, match=hint):
        imdl_bench.run("edits", spec, with_plugin / "data")


def test_settings_have_one_spelling(checkpoint: Path) -> None:
    from imdl_bench.model_spec import ModelSpec

    card = catalog.model_card("tiny")
    spec = ModelSpec.parse("tiny:without=norm+bias,gain=1@random").checked(card)
    assert spec.model == "tiny:without=bias+norm" and spec.weights == "random"
    assert imdl_bench.load_model("tiny", "random", settings=dict(spec.settings)) is not None
    with pytest.raises(UsageError, match="takes a list"):
        imdl_bench.load_model("tiny", "random", settings={"without": "bias"})
