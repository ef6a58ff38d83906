"""Predictions made elsewhere: found by name, scored as a model's, and everything that is wrong with them said."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from plugin_folder import write_mask, write_model, write_pairs, write_text

import imdl_bench
from imdl_bench import benchmark, catalog
from imdl_bench.distortions import parse_distortions
from imdl_bench.errors import DataError, UsageError

Cli = Callable[..., subprocess.CompletedProcess[str]]
MASKED = "[pixel_auc/per-image, pixel_f1@best/pooled, image_auc]"


def _reds(data: Path) -> dict[str, np.ndarray]:
    """The red channel of every image, uint8, by sample id."""
    return {path.name: np.asarray(imdl_bench.read_image(path))[..., 0] for path in sorted((data / "images").iterdir())}


def _protocol(folder: Path, metrics: str = MASKED, extra: str = "", score: str = "mask-mean") -> None:
    write_text(folder / "protocols/edits.yaml", f"""
        name: edits
        version: 1
        title: Everything on twelve edits
        task: both
        source: made by the tests
        data: [{{dataset: edits}}]
        score: {score}
        metrics: {metrics}
        bootstrap: 20
        {extra}
    """)  # fmt: skip


@pytest.fixture
def masks(with_plugin: Path) -> Path:
    """The red channels as 8-bit PNGs, named by full id."""
    _protocol(with_plugin)
    folder = with_plugin / "elsewhere"
    for sample, red in _reds(with_plugin / "data").items():
        write_mask(folder / f"{sample}.png", red)
    return folder


def _run(masks: Path, *models: str, **options: object) -> imdl_bench.RunResult:
    out = options.pop("out", masks.parent / "out")
    return imdl_bench.run(
        "edits", models or [f"predictions:{masks}"], masks.parent / "data", out=out, **options  # type: ignore[arg-type]
    )  # fmt: skip


def _numbers(result: imdl_bench.RunResult, model: str) -> list[tuple[object, ...]]:
    found = [(line.metric, line.distortion, line.value, line.ci_low, line.ci_high, line.n) for line in result.lines if line.model == model]  # fmt: skip  # noqa: E501
    assert found
    return found


def _rows(result: imdl_bench.RunResult) -> pd.DataFrame:
    return pd.read_csv(result.runs[0].with_name("rows.csv")).set_index("sample")


def _reasons(result: imdl_bench.RunResult) -> dict[str, str]:
    rows = _rows(result)
    return rows.loc[rows.status == "failed", "reason"].to_dict()


def test_the_numbers_are_those_of_the_model_that_made_the_masks(masks: Path) -> None:
    result = _run(masks, "red", f"predictions:{masks}", timing=True)
    assert _numbers(result, "predictions:elsewhere") == _numbers(result, "red")
    line = next(line for line in result.lines if line.model == "predictions:elsewhere")
    assert (line.weights, line.precision, line.device) == ("", "", "")
    assert np.isnan(line.seconds_per_image), "reading a file is not the time of a model"


@pytest.mark.parametrize("name", ["{id}.npy", "{stem}.png", "{stem}.npy", "none/{id}.png", "none/{stem}.npy",
                                  "edits/{id}.png", "edits/none/{stem}.png"])  # fmt: skip
def test_every_way_to_name_a_mask_is_the_same_mask(masks: Path, name: str) -> None:
    for sample, red in _reds(masks.parent / "data").items():
        mask = red if name.endswith("png") else red / np.float32(255)
        write_mask(masks.parent / "other" / name.format(id=sample, stem=sample.removesuffix(".png")), mask)
    first, other = _run(masks), _run(masks.parent / "other")
    assert _numbers(other, "predictions:other") == _numbers(first, "predictions:elsewhere")


def test_an_id_in_a_folder_is_found_by_path_and_by_a_stem_that_is_its_own(masks: Path) -> None:
    index = masks.parent / "datasets/edits/index.py"
    index.write_text(index.read_text().replace("Sample(image.name,", "Sample('Tp/' + image.name,"))
    for path in list(masks.iterdir()):
        path.rename(masks / path.stem)  # 00.png, of Tp/00.png
    assert not _reasons(_run(masks))
    for path in list(masks.iterdir()):
        path.rename(masks / f"{path.name}.png")  # 00.png.png is none of its names
    with pytest.raises(UsageError, match="looked for Tp/00"):
        _run(masks)


def test_a_pickle_is_never_loaded(masks: Path) -> None:
    (masks / "04.png.png").unlink()
    trap = masks.parent / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (trap,)

    np.save(masks / "04.npy", np.array([Trap()], object), allow_pickle=True)
    trap.unlink(missing_ok=True)
    assert "cannot be read as an NPY" in _reasons(_run(masks))["04.png"]
    assert not trap.exists()


def test_what_fails_is_recorded_and_the_rest_goes_on(masks: Path, cli: Cli) -> None:
    (masks / "04.png.png").unlink()
    write_mask(masks / "05.png.png", np.zeros((10, 20), np.uint8))
    (masks / "06.png.png").write_text("nothing")
    (masks / "notes.txt").write_text("made on a Tuesday")
    arguments = ["run", "edits", "--model", f"predictions:{masks}", "--data", masks.parent / "data"]
    done = cli(*arguments, "--out", masks.parent / "out", "--quiet", IMDL_BENCH_PATH=str(masks.parent))
    assert done.returncode == 1 and "3 images could not be scored" in done.stderr, done.stderr
    result = imdl_bench.leaderboard(masks.parent / "out")
    reasons = _reasons(result)
    assert list(reasons) == ["04.png", "05.png", "06.png"]
    assert "no mask: looked for 04.png.png, 04.png.npy, 04.png, 04.npy, none/04.png.png" in reasons["04.png"]
    assert "the mask is 20x10, the image 120x160; write masks at the image's own size" in reasons["05.png"]
    assert "not a picture" in reasons["06.png"]
    assert "1 files are masks of no sample here, first notes.txt" in result.lines[0].remarks
    assert {line.n_failed for line in result.lines} == {3}


def test_two_masks_of_one_image_are_refused(masks: Path) -> None:
    write_mask(masks / "04.npy", np.zeros((97, 131), np.float32))
    with pytest.raises(UsageError, match=r"04.png.png and 04.npy are masks of one image"):
        _run(masks)
    assert not (masks.parent / "out").exists()


def test_a_name_that_two_samples_share_is_nobodys(masks: Path) -> None:
    index = masks.parent / "datasets/edits/index.py"
    index.write_text(index.read_text().replace("Sample(image.name,", "Sample(f'{number % 2}/{number // 2}.png',"))
    for path in masks.iterdir():
        path.unlink()
    reds = {int(sample[:2]): red for sample, red in _reds(masks.parent / "data").items()}
    for number, red in reds.items():
        write_mask(masks / f"{number // 2}.png", red)
    with pytest.raises(UsageError, match=r"nothing for any of the 12 samples of edits/full.*0/0.png.png"):
        _run(masks)
    for number, red in reds.items():
        write_mask(masks / f"{number % 2}/{number // 2}.png", red)
    assert not _reasons(_run(masks))


def test_nothing_found_says_what_was_looked_for_before_anything_is_written(masks: Path) -> None:
    for path in list(masks.iterdir()):
        path.rename(path.with_name(f"mask-of-{path.name}"))
    with pytest.raises(UsageError, match=r"looked for 00.png.png.*nearest of 12 files: 'mask-of-00.png.png'"):
        _run(masks)
    with pytest.raises(UsageError, match="no such folder; did you mean 'elsewhere'"):
        _run(masks, f"predictions:{masks}x")
    empty = masks.parent / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="holds neither masks"):
        _run(masks, f"predictions:{empty}")
    assert not (masks.parent / "out").exists()


def test_nothing_outside_the_folder_is_read(masks: Path) -> None:
    outside = masks.parent / "outside.png"
    (masks / "04.png.png").rename(outside)
    (masks / "04.png.png").symlink_to(outside)
    (masks / "05.png.png").rename(masks / "kept.png")
    (masks / "05.png.png").symlink_to("kept.png")
    (masks / "06.png.png").unlink()
    (masks / "06.png.png").symlink_to("nowhere.png")
    reasons = _reasons(_run(masks))
    assert list(reasons) == ["04.png", "06.png"]
    assert "04.png.png leads out of its folder" in reasons["04.png"]
    linked = masks.parent / "linked"
    linked.mkdir()
    (linked / "edits").symlink_to(masks)
    write_mask(linked / "x.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(UsageError, match="linked folders are not followed \\(edits\\)"):
        _run(masks, f"predictions:{linked}")


def test_a_folder_given_by_a_link_is_followed(masks: Path) -> None:
    (masks.parent / "byname").symlink_to(masks)
    assert _run(masks, f"predictions:{masks.parent / 'byname'}").lines[0].model == "predictions:byname"


def test_a_mask_that_changes_while_a_run_waits_for_it_stops_the_run(
    masks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = benchmark.execute

    def late(*given: Any) -> None:
        path = masks / "04.png.png"
        write_mask(path, np.zeros_like(np.asarray(PIL.Image.open(path))))
        execute(*given)

    monkeypatch.setattr(benchmark, "execute", late)
    with pytest.raises(DataError, match=r"04\.png\.png: changed since this run looked at it; run again"):
        _run(masks)
    monkeypatch.undo()
    assert _run(masks).n_failed == 0


def test_changed_predictions_are_another_run_and_names_do_not_collide(masks: Path) -> None:
    same = masks.parent / "copy/elsewhere"
    for path in masks.iterdir():
        write_mask(same / path.name, np.asarray(PIL.Image.open(path)))
    first = _run(masks, f"predictions:{masks}", f"predictions:{same}")
    assert len(first.runs) == 1, "one content under one name is one run"
    write_mask(same / "04.png.png", np.zeros_like(np.asarray(PIL.Image.open(same / "04.png.png"))))
    both = _run(masks, f"predictions:{masks}", f"predictions:{same}")
    assert len(both.runs) == 2 and both.runs[0] == first.runs[0] and both.n_new == 12
    assert {line.model for line in both.lines} == {"predictions:elsewhere"}
    shown = [word.rstrip(":,") for word in repr(both).split() if word.startswith("predictions:elsewhere#")]
    assert len(set(shown)) == 2
    (masks / "scores.csv").write_text("sample,score\n04.png,0.5\n")
    assert _run(masks).runs != first.runs, "the score stands in the rows"


def test_names_with_signs_of_other_spellings_are_folders(masks: Path) -> None:
    strange = masks.with_name("a:b=1,c@random x")
    masks.rename(strange)
    result = _run(strange)
    assert result.lines[0].model == "predictions:a_b_1_c@random_x"
    assert result.runs[0].parts[-3] == "predictions_a_b_1_c@random_x"


def test_a_table_of_scores_is_the_models_score(masks: Path) -> None:
    write_model(
        masks.parent, "judge", "return image[..., 0].astype(np.float32) / np.float32(255)", outputs="[mask, score]"
    )
    model = masks.parent / "models/judge/model.py"
    model.write_text(model.read_text().replace("mask_of(i)", "mask_of(i), score=float(mask_of(i)[0, 0])"))
    catalog._cards.cache_clear()
    _protocol(masks.parent, score="model")
    with pytest.raises(UsageError, match="predictions:elsewhere gives no score of its own"):
        _run(masks)
    scores = {
        sample: float(np.float32(red[0, 0]) / np.float32(255)) for sample, red in _reds(masks.parent / "data").items()
    }
    names = [name.removesuffix(".png") if place % 2 else name for place, name in enumerate(scores)]
    table = masks / "scores.csv"
    table.write_text(
        "\ufeffsample,score\r\n" + "\r\n".join(f"{n},{s}" for n, s in zip(names, scores.values(), strict=True))
    )
    result = _run(masks, "judge", f"predictions:{masks}")
    assert _numbers(result, "predictions:elsewhere") == _numbers(result, "judge")
    table.write_text(table.read_text(encoding="utf-8-sig").replace("04.png,", "44.png,"), encoding="utf-8")
    result = _run(masks)
    assert _reasons(result) == {"04.png": "predictions:elsewhere: no score: looked for 04.png, 04 in scores.csv"}
    assert "1 lines of scores.csv are scores of no sample here, first 44.png" in result.lines[0].remarks
    for path in masks.glob("*.png"):
        path.unlink()
    with pytest.raises(UsageError, match="predictions:elsewhere gives no mask, but edits has pixel metrics"):
        _run(masks)
    _protocol(masks.parent, metrics="[image_auc]", score="model")
    assert _run(masks).lines[0].n == 11


def test_what_the_protocol_does_not_use_may_be_missing(masks: Path) -> None:
    (masks / "scores.csv").write_text("sample,score\n04.png,0.5\n")
    rows = _rows(_run(masks))
    assert (rows.status == "ok").all() and rows["score"].dropna().to_dict() == {"04.png": 0.5}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sample,score\n00,0.5\n01,1.5\n", "scores.csv:3: score 1.5 is outside"),
        ("sample,score\n00,nan\n", "scores.csv:2: score nan is outside"),
        ("sample,score\n00,high\n", "scores.csv:2: score 'high' is not a number"),
        ("sample,score\n00,\n", "scores.csv:2: score '' is not a number"),
        ("sample,score\n00,0.5\n\n00.png,0.5\n", "scores.csv:4: '00.png' has a score in line 2 already"),
        ("sample,score\n00,0.5,1\n", "scores.csv:2: 3 fields under 2 columns"),
        ("sample,scores\n00,0.5\n", "scores.csv:1: column 'scores'; did you mean 'score'"),
        ("sample\n00\n", "scores.csv:1: no column 'score'"),
        ("", "scores.csv:1: no column 'sample'"),
        ('sample,score\n"00,0.5\n', "scores.csv: cannot be read as CSV"),
        (b"sample,score\n\xff,0.5\n", "scores.csv: cannot be read as CSV"),
    ],
)  # fmt: skip
def test_a_bad_table_names_file_and_line(masks: Path, text: str | bytes, reason: str) -> None:
    (masks / "scores.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=reason):
        _run(masks)
    assert not (masks.parent / "out").exists()


def test_every_level_of_distortion_has_its_folder_and_scores(masks: Path) -> None:
    extra = "distort: [{jpeg: {quality: 50}}, {resize: {scale: 0.5}}]"
    _protocol(masks.parent, extra=extra)
    levels = parse_distortions([{"jpeg": {"quality": 50}}, {"resize": {"scale": 0.5}}])
    for path in sorted((masks.parent / "data/images").iterdir()):
        for level in levels:
            if level.steps:
                image = level.apply(imdl_bench.read_image(path), seed=0, sample=path.name).image
                write_mask(masks / level.name / f"{path.stem}.png", np.asarray(image)[..., 0])
    result = _run(masks, "red", f"predictions:{masks}")
    assert _numbers(result, "predictions:elsewhere") == _numbers(result, "red")
    assert len({line.distortion for line in result.lines}) == 3
    for path in (masks / "jpeg(quality=50)").iterdir():
        path.unlink()
    rows = _rows(_run(masks))
    assert rows[rows.status == "failed"].distortion.unique().tolist() == ["jpeg(quality=50)"]
    _protocol(masks.parent, "[image_auc]", "distort: [{jpeg: {quality: 50}}]", score="model")
    lines = [
        f"{n:02},{q / 100 + n / 100},{label}" for n in range(12) for q, label in ((1, ""), (50, "jpeg(quality=50)"))
    ]
    (masks / "scores.csv").write_text("sample,score,distortion\n" + "\n".join(lines))
    rows = _rows(_run(masks))
    assert rows[rows.distortion == "jpeg(quality=50)"].loc["03.png", "score"] == 0.53
    assert rows[rows.distortion == "none"].loc["03.png", "score"] == 0.04


def test_two_data_sets_have_their_own_folders_and_lines(masks: Path) -> None:
    card = (masks.parent / "datasets/edits/card.yaml").read_text()
    write_text(masks.parent / "datasets/more/card.yaml", card.replace("name: edits", "name: more"))
    write_text(masks.parent / "datasets/more/index.py", (masks.parent / "datasets/edits/index.py").read_text())
    protocol = masks.parent / "protocols/edits.yaml"
    _protocol(masks.parent, metrics="[pixel_auc/per-image, image_auc]", score="model")
    protocol.write_text(protocol.read_text().replace("{dataset: edits}", "{dataset: edits}, {dataset: more}"))
    catalog._cards.cache_clear()
    for sample, red in _reds(masks.parent / "data").items():
        write_mask(masks / f"more/{sample}", 255 - red)
    lines = [f"{n:02},{n / 100},edits\n{n:02},{(12 - n) / 100},more" for n in range(12)]
    (masks / "scores.csv").write_text("sample,score,dataset\n" + "\n".join(lines))
    data = {"edits": masks.parent / "data", "more": masks.parent / "data"}
    result = imdl_bench.run("edits", [f"predictions:{masks}"], data, out=masks.parent / "out")
    value = {(line.dataset, line.metric): line.value for line in result.lines}
    assert value["edits", "pixel_auc/per-image"] == pytest.approx(1 - value["more", "pixel_auc/per-image"], abs=1e-12)
    assert value["edits", "image_auc"] == pytest.approx(1 - value["more", "image_auc"])
    assert result.n_failed == 0 and not any("of no sample here" in line.remarks for line in result.lines)


def test_pairs_have_two_masks(masks: Path) -> None:
    write_pairs(masks.parent)
    catalog._cards.cache_clear()
    reds = {sample[:2]: red for sample, red in _reds(masks.parent / "data").items()}
    pairs = masks.parent / "pairs"
    lines = ["sample,score"]
    for probe, donor in ((1, 2), (4, 5), (7, 8), (0, 3), (6, 9), (2, 10)):
        write_mask(pairs / f"{probe}|{donor}.png", reds[f"{probe:02}"])
        write_mask(pairs / f"{probe}|{donor}#donor.npy", reds[f"{donor:02}"] / np.float32(255))
        lines.append(f"{probe}|{donor},{float((reds[f'{probe:02}'] / np.float32(255)).mean(dtype=np.float64))!r}")
    (pairs / "scores.csv").write_text("\n".join(lines))
    options = {"data": masks.parent / "data", "out": masks.parent / "out"}
    result = imdl_bench.run("couples", ["twins", f"predictions:{pairs}"], **options)
    assert _numbers(result, "predictions:pairs") == _numbers(result, "twins")
    (pairs / "4|5#donor.npy").unlink()
    result = imdl_bench.run("couples", [f"predictions:{pairs}"], **options)
    assert "no mask: looked for 4|5#donor.png, 4|5#donor.npy" in _reasons(result)["4|5"]


def test_kill_and_resume_change_nothing(masks: Path, tmp_path: Path) -> None:
    """With a slow model beside them, so that the kill falls into the middle of the run."""
    command = [sys.executable, "-m", "imdl_bench", "run", "edits", "--quiet", "--data", str(masks.parent / "data")]
    command += ["--model", "slow_red", "--model", f"predictions:{masks}", "--batch-size", "1", "--out"]
    environment = os.environ | {"IMDL_BENCH_PATH": str(masks.parent)}

    def files(out: Path) -> dict[str, bytes]:
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.csv"))}

    subprocess.run([*command, str(tmp_path / "whole")], env=environment, check=True, capture_output=True)
    chance, kept = random.Random(0), []
    for trial in range(3):
        out = tmp_path / f"killed{trial}"
        process = subprocess.Popen([*command, str(out)], env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not list(out.rglob("run.sqlite")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(chance.uniform(0.8, 1.8))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        kept.append(sum(imdl_bench.records.RunFile(path).done() != set() for path in out.rglob("run.sqlite")))
        subprocess.run([*command, str(out)], env=environment, check=True, capture_output=True)
        assert files(out) == files(tmp_path / "whole")
    assert any(kept), "no kill fell between two commits"


def test_predict_and_weights_refuse_them_and_show_explains_them(masks: Path, cli: Cli) -> None:
    for command in (["predict", f"predictions:{masks}", masks / "00.png.png"],
                    ["weights", "convert", f"predictions:{masks}", "--out", masks / "x.safetensors"],
                    ["run", "quickstart", "--model", "predictions"]):  # fmt: skip
        done = cli(*command)
        assert done.returncode == 2 and "imdl-bench show predictions" in done.stderr, done.stderr
    assert "predictions:DIR" in cli("list", "models").stdout
    shown = cli("show", "predictions")
    assert shown.returncode == 0 and "scores.csv" in shown.stdout


def test_the_record_says_which_images_were_read(masks: Path) -> None:
    rows = list(csv.DictReader(_run(masks, limit=5).runs[0].with_name("rows.csv").open()))
    assert len(rows) == 5 and all(row["status"] == "ok" for row in rows)
    assert not any("of no sample here" in line.remarks for line in _run(masks, limit=5).lines)
