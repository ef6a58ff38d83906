"""Figures hold the leaderboard's numbers, the same bytes each time, and can be read without seeing them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import imdl_bench
from imdl_bench.benchmark import RunResult
from imdl_bench.errors import UsageError
from imdl_bench.metrics import counts, ranking
from imdl_bench.metrics.image import score_curve
from imdl_bench.report.curves import precision_points, roc_points
from imdl_bench.report.figures import KINDS, Plot, plots, save, to_svg
from imdl_bench.report.images import binned
from imdl_bench.report.plot import INK, boards, look_of
from imdl_bench.report.robustness import families_of, robustness
from imdl_bench.report.style import thinned
from imdl_bench.report.thresholds import f1_points, marked_thresholds
from imdl_bench.runs import Run, read_runs

POOLED = """
name: pooled
version: 1
title: Pooled metrics and levels on the sample
task: both
source: made by the tests
data: [{dataset: sample}]
distort: [{jpeg: {quality: [90, 50]}}, {crop: {fraction: 0.75}}]
score: mask-mean
bootstrap: 50
metrics: [pixel_f1@best/per-image, pixel_auc/pooled, pixel_ap/pooled, pixel_f1@0.5/pooled, pixel_f1@eer/pooled,
          pixel_f1@best/pooled, image_auc, image_ap]
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """Two models on twelve pictures of the sample, at four levels."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "pooled.yaml").write_text(POOLED)
    return imdl_bench.run(folder / "pooled.yaml", ["ela", "noi1"], out=folder, limit=12)


@pytest.fixture(scope="module")
def runs(result: RunResult) -> list[Run]:
    return read_runs(result.runs)[0]


@pytest.fixture(scope="module")
def drawn(runs: list[Run]) -> dict[str, list[Plot]]:
    """Every kind of figure of these runs."""
    return {kind: plots(kind, runs) for kind in KINDS}


def area_under(points: np.ndarray) -> float:
    x, y = points.T
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def value(result: RunResult, metric: str, model: str, level: str = "none") -> float:
    (found,) = (
        line.value for line in result.lines if (line.metric, line.model, line.distortion) == (metric, model, level)
    )
    return found


def test_every_plot_has_a_key_of_its_own_and_its_numbers_as_a_table(drawn: dict[str, list[Plot]]) -> None:
    found = [plot for kind in KINDS for plot in drawn[kind]]
    assert len(found) == 9  # ROC and precision-recall of pixels and of images
    assert len({plot.key for plot in found}) == len(found)
    for plot in found:
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", plot.key)
        assert {row[0] for row in plot.rows} == {"ela", "noi1"}
        assert all(len(row) == len(plot.head) for row in plot.rows)
        assert max(sum(row[0] == model for row in plot.rows) for model in ("ela", "noi1")) <= 30
        assert "n = " in plot.caption


def test_robustness_draws_the_leaderboards_numbers(result: RunResult, drawn: dict[str, list[Plot]]) -> None:
    (plot,) = drawn["robustness"]
    jpeg, crop = plot.figure.axes
    assert [jpeg.get_title(), crop.get_title()] == ["jpeg", "crop"]
    assert [label.get_text() for label in jpeg.get_xticklabels()] == ["none", "90", "50"]
    levels = ("none", "jpeg(quality=90)", "jpeg(quality=50)")
    for model in ("ela", "noi1"):
        expected = [value(result, "pixel_f1@best/per-image", model, level) for level in levels]
        assert any(np.array_equal(line.get_ydata(), expected) for line in jpeg.lines)
    lines = [line for line in result.lines if line.metric == "pixel_f1@best/per-image"]
    rows = {(row[0], row[1]): row[2:] for row in plot.rows}
    assert len(rows) == len(lines) == 8
    for line in lines:
        low, high = (float(text) for text in rows[line.model, line.distortion][1:3])
        assert float(rows[line.model, line.distortion][0]) == pytest.approx(line.value, abs=5e-5)
        assert (low, high) == pytest.approx((line.ci_low, line.ci_high), abs=5e-5)


def test_numbers_of_papers_are_hollow_and_suspect_ones_are_not_drawn(result: RunResult, runs: list[Run]) -> None:
    def with_published(suspect: str) -> Plot:
        lines = [replace(line, published=0.875, published_suspect=suspect) for line in result.lines]
        by_run = {run.key.hash: [line for line in lines if line.run == run.key.hash] for run in runs}
        (plot,) = robustness(boards(runs)[0], "image_auc", by_run)
        return plot

    def hollow(plot: Plot) -> list[float]:
        empty = [line for axes in plot.figure.axes for line in axes.lines if line.get_markerfacecolor() == "none"]
        return [y for line in empty for y in np.asarray(line.get_ydata(), float) if not np.isnan(y)]

    sound, suspect = with_published(""), with_published("a misprint")
    assert hollow(sound) == [0.875] * 2 * (3 + 2)  # two models, the clean level in both panels
    assert hollow(suspect) == [] and "papers" in sound.caption and "papers" not in suspect.caption
    assert {row[-1] for row in sound.rows} == {"0.8750"} and {row[-1] for row in suspect.rows} == {""}


def test_legends_of_curves_and_the_area_under_them_are_the_leaderboards(
    result: RunResult, drawn: dict[str, list[Plot]]
) -> None:
    for kind, stat in (("roc", "auc"), ("precision-recall", "ap")):
        for plot, metric in zip(drawn[kind], (f"pixel_{stat}/pooled", f"image_{stat}"), strict=True):
            labels = [text.get_text() for text in plot.figure.legends[0].get_texts()]
            for model, label in zip(("ela", "noi1"), labels, strict=True):
                expected = value(result, metric, model)
                assert label == f"{model}, {stat.upper()} {expected:.3f}"
                (line,) = (line for line in plot.figure.axes[0].lines if line.get_label() == label)
                assert len(line.get_xdata()) < 600
                assert area_under(np.asarray(line.get_xydata())) == pytest.approx(expected, abs=1e-3)


def test_the_chance_line_of_precision_is_the_share_of_forged_images(drawn: dict[str, list[Plot]]) -> None:
    chance = drawn["precision-recall"][1].figure.axes[0].lines[0]
    assert list(chance.get_ydata()) == [0.5, 0.5]


def test_marked_thresholds_are_the_leaderboards(result: RunResult, drawn: dict[str, list[Plot]]) -> None:
    (plot,) = drawn["f1-threshold"]
    for mark, name in (("at 0.5", "0.5"), ("at the EER", "eer"), ("best F1", "best")):
        for model in ("ela", "noi1"):
            ((*_, shown, _),) = (row for row in plot.rows if row[0] == model and row[-1] == mark)
            assert float(shown) == pytest.approx(value(result, f"pixel_f1@{name}/pooled", model), abs=5e-5)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=40))
def test_the_area_under_unthinned_curves_is_exact(images: list[tuple[int, bool]]) -> None:
    scores, forged = np.array([s / 12 for s, _ in images]), np.array([f for _, f in images])
    if not 0 < forged.sum() < len(forged):
        return
    curve = score_curve(scores, forged)
    for points, expected in ((roc_points(curve), ranking.auc(curve)), (precision_points(curve), ranking.ap(curve))):
        assert area_under(points) == pytest.approx(float(expected), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 19), st.booleans()), min_size=2, max_size=40))
def test_f1_at_each_threshold_is_that_of_the_decision(pixels: list[tuple[int, bool]]) -> None:
    scores, forged = np.array([s / 20 for s, _ in pixels]), np.array([f for _, f in pixels])
    if not 0 < forged.sum() < len(forged):
        return
    curve = score_curve(scores, forged)
    points = f1_points(curve, 0.01, 0.99)
    for threshold in np.arange(0.025, 1, 0.05):  # between the scores, where F1 is constant
        called = scores >= threshold
        expected = counts.f1(*map(np.float64, ((called & forged).sum(), (called & ~forged).sum(), forged.sum(), 0)))
        assert np.interp(threshold, *points.T) == pytest.approx(float(expected), abs=1e-3)
    best = marked_thresholds(curve)["best"]
    assert best[1] == pytest.approx(points[:, 1].max(), abs=1e-3)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(3, 3000))
def test_thinning_moves_a_line_by_less_than_a_thousandth(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.cumsum(np.vstack([[0, 0], rng.exponential(size=(n, 2)) ** 2]), axis=0)
    points /= points[-1]
    kept = thinned(points)
    assert {tuple(point) for point in kept} <= {tuple(point) for point in points}
    start, step = kept[:-1, None], np.diff(kept, axis=0)[:, None]
    along = ((points - start) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-30)
    apart = np.linalg.norm(start + np.clip(along, 0, 1)[..., None] * step - points, axis=-1).min(axis=0)
    assert apart.max() < 1e-3 and len(kept) <= len(points)


def test_per_image_figures_take_their_values_from_the_rows(runs: list[Run], drawn: dict[str, list[Plot]]) -> None:
    (area,), (size,) = drawn["area"], drawn["file-size"]
    for place, run in enumerate(sorted(runs, key=lambda run: run.key.model)):
        good = [row for row in run.rows("none") if row.forged]
        f1 = [np.frombuffer(row.values, "<f8")[0] for row in good if row.values]
        totals = np.array([np.frombuffer(row.totals, "<i8")[:2] for row in good if row.totals])
        points = area.figure.axes[place].lines[0]
        np.testing.assert_allclose(points.get_xdata(), totals[:, 0] / totals.sum(axis=1))
        np.testing.assert_allclose(points.get_ydata(), f1)
        np.testing.assert_array_equal(size.figure.axes[place].lines[0].get_xdata(), [row.file_size for row in good])


def test_bins_hold_equally_many_images_and_their_quartiles() -> None:
    x = np.arange(16.0)
    expected = [[2.5, 12.5, 25, 37.5], [8, 70, 80, 90], [13, 120, 130, 140]]
    np.testing.assert_allclose(binned(x, 10 * x), expected)


def test_image_scores_are_drawn_for_both_classes(runs: list[Run], drawn: dict[str, list[Plot]]) -> None:
    (plot,) = drawn["scores"]
    for place, run in enumerate(sorted(runs, key=lambda run: run.key.model)):
        for line, forged in zip(plot.figure.axes[place].lines[:2], (True, False), strict=True):
            expected = sorted(row.mask_mean for row in run.rows("none") if row.forged == forged)
            assert sorted(set(line.get_xdata())) == sorted(set(expected))


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (["jpeg(quality=90)", "jpeg(quality=50)"], [("jpeg", "quality", (90, 50))]),
        (["crop(fraction=0.75)"], [("crop", "fraction", (0.75,))]),
        (
            ["double_jpeg(first=90, second=80)", "double_jpeg(first=70, second=80)"],
            [("double_jpeg(second=80)", "first", (90, 70))],
        ),
        (
            [f"social(side={side}, quality={quality})" for side in (2048, 1080, 500) for quality in (90, 75)],
            [("social(quality=90)", "side", (2048, 1080, 500)), ("social(quality=75)", "side", (2048, 1080, 500))],
        ),
        (
            ["resize(scale=0.5)", "resize(scale=0.5, interpolation=area)", "resize(scale=0.25)"],
            [("resize", "scale", (0.5, 0.25)), ("resize(interpolation=area)", "scale", (0.5,))],
        ),
        (
            ["resize(scale=0.5)+jpeg(quality=90)", "resize(scale=0.5)+jpeg(quality=50)"],
            [("resize(scale=0.5)+jpeg", "quality", (90, 50))],
        ),
        (["albumentations(transform=Solarize)"], [("albumentations(transform=Solarize)", "", (0,))]),
        (["brightness(shift=-30)", "brightness(shift=30)"], [("brightness", "shift", (-30, 30))]),
    ],
)
def test_levels_that_differ_in_one_number_are_a_family(
    levels: list[str], expected: list[tuple[str, str, tuple[float, ...]]]
) -> None:
    found = families_of(["none", *levels])
    assert [(family.title, family.parameter, family.values) for family in found] == expected
    assert sorted(level for family in found for level in family.levels) == sorted(levels)


def test_models_are_told_apart_without_colour() -> None:
    looks = [look_of(place) for place in range(40)]
    assert len({(look.marker, str(look.dashes)) for look in looks[:10]}) == 10
    assert len({(look.colour, look.marker, str(look.dashes)) for look in looks}) == 40


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_file_has_the_same_bytes_again_in_any_order_thread_and_setting(
    runs: list[Run], drawn: dict[str, list[Plot]], tmp_path: Path, suffix: str
) -> None:
    import matplotlib

    first = drawn["roc"][0]
    save(first, tmp_path / f"first{suffix}")
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "lines.linewidth": 5, "svg.fonttype": "none"}):
        second = plots("roc", runs)[0]
        to_svg(second)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(save, [second, first], [tmp_path / f"second{suffix}", tmp_path / f"again{suffix}"]))
        assert matplotlib.rcParams["font.size"] == 20
    assert len({(tmp_path / f"{name}{suffix}").read_bytes() for name in ("first", "second", "again")}) == 1


def test_pages_hold_many_plots_without_collision_and_in_their_own_colour(drawn: dict[str, list[Plot]]) -> None:
    texts = {plot.key: (plot, to_svg(plot)) for kind in KINDS for plot in drawn[kind]}
    ids: list[str] = []
    for key, (plot, text) in texts.items():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("role") == "img" and root.get("viewBox")
        title, description = root[0], root[1]
        assert (title.text, description.text) == (plot.title, plot.caption)
        own = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert all(name.startswith(key) for name in own)
        used = re.findall(r'(?:url\(#|href="#)([^")]+)', text) + root.attrib["aria-labelledby"].split()
        assert set(used) == set(own)
        assert "currentColor" in text and INK not in text
        assert "<style" not in text and "<?xml" not in text and "http://www.w3.org/1999/xlink" not in text
        assert "noi1" in "".join(root.itertext())
        ids += own
    assert len(ids) == len(set(ids))


def test_wrong_words_are_named(runs: list[Run], drawn: dict[str, list[Plot]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'robustness'"):
        plots("robustnes", runs)
    with pytest.raises(UsageError, match="did you mean 'pixel_auc/pooled'"):
        plots("robustness", runs, metric="pixel_auc/poled")
    with pytest.raises(UsageError, match="takes no metric"):
        plots("roc", runs, metric="pixel_auc/pooled")
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        save(drawn["scores"][0], tmp_path / "plot.bmp")


def test_sets_of_forged_images_alone_have_no_curve_of_images(with_plugin: Path, tmp_path: Path) -> None:
    path = with_plugin / "protocols/edits.yaml"
    path.write_text(path.read_text().replace("{dataset: edits}", "{dataset: edits, keep: forged}"))
    found = read_runs(imdl_bench.run("edits", data=with_plugin / "data", out=tmp_path).runs)[0]
    assert [plot.title.split(",")[0] for plot in plots("roc", found)] == ["ROC of pixels"]
    (scores,) = plots("scores", found)
    assert {row[1] for row in scores.rows} == {"forged"}
    assert plots("robustness", found) == []
