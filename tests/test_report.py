"""The report as a file: what stands in it, that nothing in it can break out, and that it can be given to others."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from plugin_folder import write_model, write_pairs, write_text

import imdl_bench
from imdl_bench import catalog
from imdl_bench.errors import DataError, UsageError
from imdl_bench.leaderboard import Line, lines_of
from imdl_bench.report import write_report
from imdl_bench.report.folders import without_folders
from imdl_bench.report.pictures import find_photographs, outline, stretch
from imdl_bench.report.provenance import command
from imdl_bench.report.same_images import same_images
from imdl_bench.runs import Run, find_runs, read_run, read_runs
from imdl_bench.thumbnails import mask_thumbnail

NASTY = (
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "\u202e\u0645\u0631\u062d\u0628\u0627 gnp.",
    "a & b — ünï\u2028",
)
IN_PAGE = re.compile(r"(?:href|src)=\"(?!#|data:image/(?:jpeg|png);base64,)[^\"]*\"")


class Outline(HTMLParser):
    """Elements in order, and the text below some of them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on 24 pictures of the sample."""
    out = tmp_path_factory.mktemp("results")
    imdl_bench.run("quickstart", ["ela", "noi1"], out=out, limit=24)
    return out / "runs"


@pytest.fixture(scope="module")
def page(runs: Path) -> str:
    write_report([runs], runs.parent / "report.html")
    return (runs.parent / "report.html").read_text(encoding="utf-8")


def _data(page: str) -> list[dict]:
    found = re.search(r'<script type="application/json" id="image-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def _first_plate(page: str) -> str:
    found = re.search(r'class="plate">\s*<figcaption><b><bdi>(.*?)</bdi>', page)
    assert found is not None
    return found[1]


def test_every_number_of_the_leaderboard_stands_in_it(runs: Path, page: str) -> None:
    lines = imdl_bench.leaderboard(runs).lines
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    assert len(rows) == len(lines) == 28
    for line in lines:
        own = [row for row in rows if f">{line.metric}<" in row and f'href="#run-{line.run}"' in row]
        assert len(own) == 1 and f"{line.value:.4f}" in own[0]
        assert f"[{line.ci_low:.3f}, {line.ci_high:.3f}]" in own[0] and f">{line.n}<" in own[0]
    assert page.count("limited to 24 of 96 samples") >= 2


def test_the_best_of_each_group_is_marked_lower_is_better_too(runs: Path, page: str) -> None:
    lines = imdl_bench.leaderboard(runs).lines
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    for metric, better in (("pixel_auc/per-image", max), ("pixel_eer/per-image", min)):
        values = [line.value for line in lines if line.metric == metric]
        rows = [row for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL) if f">{metric}<" in row]
        assert [f"{better(values):.4f}<span" in row for row in rows] == [True, False], "marked, and the first row"


def test_printed_numbers_stand_beside_ours_suspect_ones_are_struck_and_contamination_is_marked(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = {"published": 0.581, "published_in": "pscc_net 5", "published_note": "threshold not stated"}

    def lines(run: Run) -> list[Line]:
        first, second, *others = lines_of(run)
        suspect = replace(second, **beside | {"published_suspect": "two columns swapped"})
        suspect = replace(suspect, contamination="certain: trained on it")
        return [replace(first, **beside, difference=first.value - 0.581), suspect, *others]

    monkeypatch.setattr(sys.modules[lines_of.__module__], "lines_of", lines)
    page = write_report([runs], tmp_path / "report.html", gallery=0).path.read_text(encoding="utf-8")
    value = next(line.value for line in lines_of(read_runs(find_runs([runs]))[0][0]))
    assert f'<td class="n">0.581</td><td class="n">{value - 0.581:+.4f}</td><td>pscc_net 5' in page
    assert '<s>0.581</s><span class="hidden"> suspect</span></td><td class="n"></td>' in page
    assert page.count("†</bdi></a></th>") == 14 * 2 and "† marks" in page
    assert "on sample/full: certain: trained on it" in page
    assert "suspect: two columns swapped" in page and page.count("<bdi>threshold not stated</bdi>") == 1


def test_the_same_runs_make_the_same_bytes(runs: Path, page: str, tmp_path: Path) -> None:
    report = write_report([runs, runs], tmp_path / "again.html")
    assert write_report(str(runs), tmp_path / "one place.html").n_runs == report.n_runs
    assert report.path.read_text(encoding="utf-8") == page and report.size == report.path.stat().st_size


def test_it_asks_nothing_of_a_network_and_only_its_own_script_may_run(page: str) -> None:
    outline_of = Outline(page)
    assert not IN_PAGE.findall(page) and "@import" not in page and not re.search(r"url\((?!#)", page)
    policy = next(about["content"] or "" for tag, about in outline_of.tags if about.get("http-equiv"))
    assert "default-src 'none'" in policy and "img-src data:" in policy
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert outline_of.count("script") == 2 and not [
        name for _, about in outline_of.tags for name in about if name[:2] == "on"
    ]


def test_headings_go_down_one_step_at_a_time_ids_are_unique_and_pictures_have_words(page: str) -> None:
    tags = Outline(page).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [about["id"] for _, about in tags if about.get("id")]
    assert len(ids) == len(set(ids))
    links = {about["href"] for _, about in tags if (about.get("href") or "").startswith("#")}
    assert {link[1:] for link in links} <= set(ids)
    pictures = [about for tag, about in tags if tag == "svg" and about.get("role") == "img"]
    assert pictures and all(about.get("aria-label") or about.get("aria-labelledby") for about in pictures)
    assert ("html", {"lang": "en"}) in tags


def test_the_gallery_shows_photographs_truths_and_masks_best_first(runs: Path, page: str) -> None:
    tags = Outline(page).tags
    photos = [about for tag, about in tags if tag == "image" and (about["href"] or "").startswith("data:image/jpeg")]
    truths = [about for tag, about in tags if tag == "image" and (about["href"] or "").startswith("data:image/png")]
    assert len(truths) == 16 and len(photos) == 16 * 3, "16 photographs, each with the masks of two models"
    group = same_images(read_runs(find_runs([runs]))[0])[0]
    means = np.nanmean(group.values[[group.row(sample).forged for sample in group.samples]], axis=1)
    assert means.max() == np.mean(group.values[group.samples.index(_first_plate(page))])
    write_report([runs], runs.parent / "none.html", gallery=0)
    assert "<image" not in (runs.parent / "none.html").read_text()
    with pytest.raises(UsageError, match="whole number"):
        write_report([runs], runs.parent / "none.html", gallery=-1)


def test_shelves_hold_the_best_the_middle_the_worst_and_false_alarms(runs: Path, page: str) -> None:
    group = same_images(read_runs(find_runs([runs]))[0])[0]
    forged = [sample for sample in group.samples if group.row(sample).forged]
    means = dict(zip(group.samples, group.values.mean(axis=1), strict=True))
    order = sorted(forged, key=lambda sample: -means[sample])
    brightness = {
        sample: -sum(row.mask_mean or 0 for row in group.rows[sample] if row)
        for sample in group.samples
        if sample not in forged
    }
    alarms = sorted(brightness, key=lambda sample: brightness[sample])
    assert len(order) == 12
    shown = re.findall(r'class="plate">\s*<figcaption><b><bdi>(.*?)</bdi>', page)
    assert shown == [*order[:4], *order[4:8], *order[:-5:-1], *alarms[:4]]


def test_photographs_are_the_ones_that_were_scored(runs: Path, page: str) -> None:
    shown = re.search(r'id="g1-1-1p" href="data:image/jpeg;base64,([^"]+)"', page)
    name = _first_plate(page)
    assert shown is not None
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(shown[1]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    sample = next(sample for sample in imdl_bench.load_dataset("sample") if sample.id == name)
    assert np.abs(pixels.astype(int) - imdl_bench.read_image(sample.image)).mean() < 6


def test_every_image_is_in_the_data_of_the_last_table(runs: Path, page: str) -> None:
    (table,) = _data(page)
    group = same_images(read_runs(find_runs([runs]))[0])[0]
    assert [row[0] for row in table["rows"]] == list(group.samples) and len(table["rows"]) == 24
    names = [name for name, _ in table["columns"]]
    for row, values in zip(table["rows"], group.values, strict=True):
        assert [row[names.index("ela")], row[names.index("noi1")]] == [
            None if np.isnan(v) else round(v, 4) for v in values
        ]


def test_it_says_how_to_make_each_run_again(runs: Path, page: str) -> None:
    assert "imdl-bench run quickstart --model ela --dataset sample --limit 24 --seed 0" in page
    for run in read_runs(find_runs([runs]))[0]:
        assert run.key.data in page and run.key.model_code in page and f'id="run-{run.key.hash}"' in page


def test_no_folder_of_this_machine_is_told(runs: Path, page: str) -> None:
    root = Path(read_runs(find_runs([runs]))[0][0].meta["root"])
    assert (
        str(root) not in page
        and str(root.parent) not in page
        and str(runs.parent) not in page
        and str(Path.home()) not in page
    )
    assert without_folders("/data/my set/a/b.png: no such file", "/data/my set") == "a/b.png: no such file"
    assert without_folders("'/usr/share/x/y.png' is cut; see C:\\pics\\z.png") == "'…/y.png' is cut; see …/z.png"
    assert (
        without_folders("pixel_f1@0.5/per-image, casia/full, 1/2, https")
        == "pixel_f1@0.5/per-image, casia/full, 1/2, https"
    )


def test_photographs_that_are_gone_or_changed_are_not_shown(with_plugin: Path, tmp_path: Path) -> None:
    runs, _ = read_runs(imdl_bench.run("edits", data=with_plugin / "data", out=tmp_path).runs)
    assert len(find_photographs(runs[0], 1).samples) == 12 and not find_photographs(runs[0], 1).missing
    photo = with_plugin / "data/images/04.png"
    kept = photo.read_bytes()
    photo.write_bytes((with_plugin / "data/images/07.png").read_bytes())
    assert find_photographs(runs[0], 1).missing == "the files have changed since the run"
    photo.write_bytes(kept)
    assert not find_photographs(runs[0], 1).missing
    photo.unlink()
    assert find_photographs(runs[0], 1).missing == "1 of 12 images are gone, such as 04.png"
    shutil.rmtree(with_plugin / "data")
    page = _written(tmp_path)
    assert "only masks: <bdi>edits: DIR does not exist</bdi>" in page
    told = write_report(tmp_path / "runs", tmp_path / "again.html")
    assert told.missing == ("edits v1 on edits/full: edits: DIR does not exist",)
    assert page.count("<image") == 12 and page.count('aria-label="Mask of red') == 12


def _written(out: Path) -> str:
    write_report([out / "runs"], out / "report.html")
    return (out / "report.html").read_text(encoding="utf-8")


def test_nothing_that_a_name_or_reason_holds_becomes_markup(with_plugin: Path, tmp_path: Path) -> None:
    write_text(with_plugin / "datasets/nasty/card.yaml", """
        name: nasty
        title: Names to beware of
        source: made by the tests
        licence: CC0-1.0
        paper: none
    """)  # fmt: skip
    write_text(with_plugin / "datasets/nasty/index.py", f"""
        from imdl_bench.types import Sample

        def index(root):
            names = {NASTY!r}
            images = sorted((root / "images").iterdir())
            return [Sample(name, images[n], n > 0, root / f"masks/{{images[n].stem}}.png" if n else None, group=name)
                    for n, name in enumerate(names)]
    """)  # fmt: skip
    write_model(with_plugin, "failing", f"raise ValueError({''.join(NASTY)!r})")
    protocol = (with_plugin / "protocols/edits.yaml").read_text()
    nasty = protocol.replace("name: edits", "name: nasty").replace("dataset: edits", "dataset: nasty")
    title = "<title>&lt; '</style>\""
    nasty = nasty.replace("Everything on twelve edits", json.dumps(title)).replace('title: "', 'title: "')
    (with_plugin / "protocols/nasty.yaml").write_text(nasty)
    catalog._cards.cache_clear()
    result = imdl_bench.run("nasty", ["red", "failing"], data=with_plugin / "data", out=tmp_path)
    assert result.n_failed == 4
    page = _written(tmp_path)
    tags = Outline(page).tags
    assert sum(tag == "script" for tag, _ in tags) == 2 and page.count("</script>") == 2 and page.count("</style>") == 1
    assert not [about for tag, about in tags if tag == "img" or "onerror" in about]
    (table,) = _data(page)
    assert [row[0] for row in table["rows"]] == list(NASTY)
    reasons = [row[-1] for row in table["rows"]]
    assert all(reason.startswith("failing: failing: ") and NASTY[1] in reason for reason in reasons)
    assert title in "".join(Outline(page).text)


def test_pairs_show_both_images(with_plugin: Path, tmp_path: Path) -> None:
    write_pairs(with_plugin)
    catalog._cards.cache_clear()
    imdl_bench.run("couples", data=with_plugin / "data", out=tmp_path)
    page = _written(tmp_path)
    (table,) = _data(page)
    assert {"1|2", "1|2#donor"} <= {row[0] for row in table["rows"]}
    assert "second image of a pair" in page
    assert table["about"] == "pixel_auc/per-image, images as they are"


def test_a_run_with_image_metrics_only_shows_scores(with_plugin: Path, tmp_path: Path) -> None:
    protocol = (with_plugin / "protocols/edits.yaml").read_text()
    start = protocol.index("metrics:")
    text = protocol[:start].replace("name: edits", "name: detect", 1) + "metrics: [image_auc]\n"
    (with_plugin / "protocols/detect.yaml").write_text(text)
    catalog._cards.cache_clear()
    imdl_bench.run("detect", ["red"], data=with_plugin / "data", out=tmp_path)
    page = _written(tmp_path)
    (table,) = _data(page)
    assert table["about"].startswith("image score (mask-mean)") and all(row[6] is not None for row in table["rows"])
    assert "Worst false alarms" in page and "Best found" not in page


def test_a_model_without_masks_leaves_out_the_gallery(with_plugin: Path, tmp_path: Path) -> None:
    write_model(with_plugin, "scorer", "return None", outputs="[score]")
    model = with_plugin / "models/scorer/model.py"
    model.write_text(
        model.read_text().replace("Prediction(mask=mask_of(i))", "Prediction(score=float(i.mean()) / 255)")
    )
    text = (with_plugin / "protocols/edits.yaml").read_text().replace("name: edits", "name: scores", 1)
    (with_plugin / "protocols/scores.yaml").write_text(
        text[: text.index("metrics:")].replace("score: mask-mean", "score: model") + "metrics: [image_auc, image_eer]\n"
    )
    catalog._cards.cache_clear()
    imdl_bench.run("scores", ["scorer"], data=with_plugin / "data", out=tmp_path)
    page = _written(tmp_path)
    assert 'id="gallery"' not in page and 'href="#gallery"' not in page and _data(page)[0]["rows"][0][6] is not None


def test_the_same_images_under_two_protocols_are_shown_once(with_plugin: Path, tmp_path: Path) -> None:
    text = (with_plugin / "protocols/edits.yaml").read_text().replace("name: edits", "name: edits-again", 1)
    (with_plugin / "protocols/edits-again.yaml").write_text(text)
    catalog._cards.cache_clear()
    for name in ("edits", "edits-again"):
        imdl_bench.run(name, data=with_plugin / "data", out=tmp_path)
    (table,) = _data(_written(tmp_path))
    assert table["title"] == "edits v1, edits-again v1 on edits/full"
    assert [name for name, _ in table["columns"]].count("red") == 1


def test_the_command_to_repeat_a_run_names_list_and_limit(with_plugin: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{number:02}.png\n" for number in range(8)))
    made = imdl_bench.run("edits", data=with_plugin / "data", out=tmp_path, split_files={"edits": names}, limit=4)
    repeat = "imdl-bench run edits --model red --dataset edits --data edits=DIR --split-file edits=names.txt --limit 4"
    assert command(read_run(made.runs[0])) == f"{repeat} --seed 0"


def test_an_outline_follows_the_edge_of_the_truth() -> None:
    truth = np.zeros((40, 60), bool)
    truth[10:20, 30:50] = True
    numbers = [tuple(map(int, point.split())) for point in re.split("[MLZ]", outline(truth)) if point]
    assert set(numbers) == {(30, 10), (50, 10), (50, 20), (30, 20)}
    assert outline(np.zeros((4, 4), bool)) == ""


TINTS = [
    *((1.0, 0.5, 1.0), (0.5, 0.2, 2.0), (0.25, 0.25, 4.0), (0.01, 0.01, 100.0), (3e-6, 3e-6, 3.3e5), (0.0, 0.0, 1.0)),
    (1e-40, 0.0, 1e40),  # a network sure of a pristine image
]


@pytest.mark.parametrize(("top", "rest", "factor"), TINTS)
def test_tints_reach_the_masks_own_top_however_faint(top: float, rest: float, factor: float) -> None:
    mask = np.full((64, 64), rest, np.float32)
    mask[:32] = top
    assert stretch(mask_thumbnail(mask)) == pytest.approx(factor, rel=0.05)


def test_unfinished_runs_are_named_and_set_the_exit_code(
    cli: Callable[..., subprocess.CompletedProcess[str]], runs: Path, tmp_path: Path
) -> None:
    import sqlite3

    shutil.copytree(runs, tmp_path / "runs")
    first = find_runs([tmp_path / "runs"])[0]
    with sqlite3.connect(first) as db:
        db.execute("DELETE FROM rows WHERE position = 3")
    done = cli("report", tmp_path / "runs", "-o", tmp_path / "report.html", "--gallery", "1")
    assert done.returncode == 1 and "left out" in done.stderr and "23 of 24 images" in done.stderr
    assert "report.html: 1 runs" in done.stdout
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"<bdi>{first.relative_to(tmp_path / 'runs')}: unfinished" in page and str(tmp_path) not in page
    with pytest.raises(DataError, match="no finished run"):
        write_report([first], tmp_path / "nothing.html")
    assert not (tmp_path / "nothing.html").exists()
