"""Models held against each other: differences, ranks, wins and the agreement of metrics, against outside references."""

from __future__ import annotations

import csv
import io
import itertools
import math
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics as reference
from plugin_folder import write_model

import imdl_bench
from imdl_bench.comparison_tables import Comparison, to_csv, to_markdown, to_text
from imdl_bench.errors import UsageError
from imdl_bench.metrics.histogram import ScorePool, coarsen, pack_counts
from imdl_bench.metrics.names import Metric, parse_metric
from imdl_bench.metrics.paired import bootstrap_p, paired_difference, rank_agreement, rank_spreads, win_rate
from imdl_bench.metrics.pixel import score_pixels
from imdl_bench.metrics.summary import ScoredRows, Spread, spreads, summarize
from imdl_bench.runs import model_labels

Cli = Callable[..., subprocess.CompletedProcess[str]]
F1 = parse_metric("pixel_f1@0.5/per-image")
EVERY_KIND = [
    *("pixel_auc/per-image", "pixel_auc/pooled", "pixel_ap/pooled", "pixel_eer/pooled", "pixel_f1@best/pooled"),
    *("pixel_f1@0.3/pooled", "pixel_f1@best-set/per-image", "pixel_iou@eer-set/per-image"),
    *("pixel_precision@0.9/per-image", "image_auc", "image_eer", "image_f1[mask-max]@0.5", "image_tpr@fpr0.1"),
    "image_ap[model]",
]


def _with_values(values: np.ndarray, groups: Sequence[str] | None = None) -> ScoredRows:
    """Rows of which only one per-image value is known."""
    n = len(values)
    return ScoredRows(
        forged=np.ones(n, bool),
        groups=groups or [str(number) for number in range(n)],
        scores={},
        values={F1.name: values},
        totals=np.ones((n, 2), np.int64),
        coarse=[b""] * n,
        pool=ScorePool(),
        second=np.zeros(n, bool),
        with_pixels=np.ones(n, bool),
    )


def _spread(values: np.ndarray, seed: int = 0, resamples: int = 1000) -> Spread:
    return spreads(_with_values(values), [F1], [F1], score_rule="model", resamples=resamples, seed=seed)[0]


def _masks(n: int = 30) -> tuple[ScoredRows, list[Metric], list[np.ndarray], list[np.ndarray]]:
    """Rows of small random masks, two to a group, every third image pristine; and masks and truths themselves."""
    rng = np.random.default_rng(3)
    metrics = [parse_metric(name) for name in EVERY_KIND]
    pool, masks, truths, scored = ScorePool(), [], [], []
    forged = np.arange(n) % 3 > 0
    for is_forged in forged:
        truths.append((rng.random((16, 20)) < 0.3) & is_forged)
        raw = rng.random((16, 20)) * 0.7 + 0.25 * truths[-1] * rng.random()
        masks.append(np.clip(raw, 0, 1).astype(np.float32))
        scored.append(score_pixels(masks[-1], truths[-1], metrics) if is_forged else None)
        if scored[-1] is not None:
            pool.add(scored[-1].scores, scored[-1].histogram)
    values = np.array([[math.nan] * len(metrics) if each is None else each.values for each in scored])
    rows = ScoredRows(
        forged=forged,
        groups=[str(number // 2) for number in range(n)],
        scores={
            "model": np.full(n, math.nan),
            "mask-mean": np.array([mask.mean(dtype=np.float64) for mask in masks]),
            "mask-max": np.array([float(mask.max()) for mask in masks]),
        },
        values={metric.name: values[:, place] for place, metric in enumerate(metrics)},
        totals=np.array([np.zeros(4, np.int64) if each is None else each.totals for each in scored]),
        coarse=[b"" if each is None else pack_counts(coarsen(each.histogram)) for each in scored],
        pool=pool,
        second=np.zeros(n, bool),
        with_pixels=forged,
    )
    return rows, metrics, masks, truths


def test_summaries_are_what_they_were_before_their_resamples_could_be_had() -> None:
    """Numbers printed by the code of version 0.1.0."""
    rows, metrics, _, _ = _masks()
    found = summarize(rows, metrics, score_rule="mask-mean", resamples=300, seed=5)
    known = [
        (0.7125952874881166, 0.6777685686293082, 0.7449771972432478, 20, 0),
        (0.713775177406305, 0.678704084799108, 0.7463447997215186, 20, 0),
        (0.5995158527790733, 0.5477702852147346, 0.6465605439184241, 20, 0),
        (0.37321109123434704, 0.3512319109520106, 0.3946944033521813, 20, 0),
        (0.5246446930752948, 0.5027172875324065, 0.5520266210487302, 20, 0),
        (0.5171898355754858, 0.4908640158041381, 0.541783956033826, 20, 0),
        (0.5228904143335424, 0.4988218602414702, 0.5465810198547278, 20, 0),
        (0.3358601981817552, 0.3054344134331373, 0.3587880573404372, 20, 0),
        (1.0, 1.0, 1.0, 5, 15),
        (0.995, 0.9788359788359788, 1.0, 30, 0),
        (0.050000000000000044, 0.0, 0.10276315789473671, 30, 0),
        (0.8, 0.723404255319149, 0.8888888888888888, 30, 0),
        (1.0, 0.8972368421052632, 1.0, 30, 0),
        (math.nan, math.nan, math.nan, 0, 30),
    ]
    for number, expected in zip(found, known, strict=True):
        shown = (number.value, number.low, number.high, number.n, number.n_skipped)
        assert shown == pytest.approx(expected, abs=1e-13, nan_ok=True), number.metric


def test_intervals_are_percentiles_of_the_spreads() -> None:
    rows, metrics, _, _ = _masks()
    options = {"score_rule": "mask-mean", "resamples": 200, "seed": 1}
    wanted = [metrics[1], metrics[9]]
    for spread in spreads(rows, wanted, metrics, **options):
        summary = next(each for each in summarize(rows, metrics, **options) if each.metric == spread.metric)
        assert spread.resampled.shape == (200,)
        assert (spread.value, spread.n) == (summary.value, summary.n)
        np.testing.assert_array_equal(np.percentile(spread.resampled, [2.5, 97.5]), [summary.low, summary.high])


def test_some_of_the_rows_have_the_values_of_their_own_pixels() -> None:
    rows, metrics, masks, truths = _masks()
    kept = np.arange(30) % 5 != 1
    assert rows.only(np.ones(30, bool)) is rows
    part = rows.only(kept)
    found = {
        each.metric: each for each in spreads(part, metrics, metrics, score_rule="mask-mean", resamples=50, seed=0)
    }
    chosen = [place for place in np.flatnonzero(kept) if rows.forged[place]]
    aucs = [reference.roc_auc_score(truths[place].ravel(), masks[place].ravel()) for place in chosen]
    labels = np.concatenate([truths[place].ravel() for place in chosen])
    scores = np.concatenate([masks[place].ravel() for place in chosen])
    assert found["pixel_auc/per-image"].value == pytest.approx(np.mean(aucs), abs=1e-12)
    assert found["pixel_f1@0.3/pooled"].value == pytest.approx(reference.f1_score(labels, scores >= 0.3), abs=1e-12)
    assert found["pixel_auc/pooled"].value == pytest.approx(reference.roc_auc_score(labels, scores), abs=2e-4)
    assert found["pixel_ap/pooled"].value == pytest.approx(reference.average_precision_score(labels, scores), abs=1e-3)
    image_auc = reference.roc_auc_score(rows.forged[kept], rows.scores["mask-mean"][kept])
    assert found["image_auc"].value == pytest.approx(image_auc, abs=1e-12)
    assert (found["image_auc"].n, found["pixel_auc/pooled"].n) == (kept.sum(), len(chosen))
    sweep = max(
        np.mean([reference.f1_score(truths[i].ravel(), masks[i].ravel() >= t) for i in chosen])
        for t in np.linspace(0.1, 0.6, 51)
    )
    assert found["pixel_f1@best-set/per-image"].value >= sweep - 1e-3


def test_a_constant_lead_is_certain() -> None:
    values = np.random.default_rng(0).integers(0, 48, 64) / 64  # exact in every sum, so that the interval is a point
    found = paired_difference(_spread(values + 0.25), _spread(values))
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)
    assert found.p == 2 / 1001 and found.significant
    other_way = paired_difference(_spread(values), _spread(values + 0.25))
    assert (other_way.value, other_way.p) == (-0.25, found.p)


def test_a_model_against_itself_is_no_difference() -> None:
    spread = _spread(np.random.default_rng(0).random(30))
    found = paired_difference(spread, spread)
    assert (found.value, found.low, found.high, found.p, found.significant) == (0, 0, 0, 1, False)


def test_the_p_of_resamples_by_hand() -> None:
    assert bootstrap_p(np.array([0.1, 0.2, -0.1, 0.3, math.nan, 0.0])) == pytest.approx(2 * 3 / 6)
    assert bootstrap_p(np.array([0.1, 0.2, 0.1, 0.3, 0.1, 0.2, 0.5])) == pytest.approx(2 / 8)
    assert math.isnan(bootstrap_p(np.full(4, math.nan)))
    assert math.isnan(bootstrap_p(np.empty(0)))


def test_difference_and_p_are_near_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(0.5, 0.1, 150)
    b = a + rng.normal(0.008, 0.05, 150)
    found = paired_difference(_spread(a, resamples=8000), _spread(b, resamples=8000))
    theirs = scipy.stats.bootstrap((a - b,), np.mean, n_resamples=8000, method="percentile", random_state=0)
    assert (found.low, found.high) == pytest.approx(theirs.confidence_interval, abs=4e-4)
    assert found.p == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue, abs=0.02)


def test_equal_models_seldom_seem_different() -> None:
    """Under the null p is uniform: of 200 pairs of equal models some 10 fall below 0.05, some 100 below 0.5."""
    rng = np.random.default_rng(2)
    found = []
    for trial in range(200):
        common = rng.normal(0.5, 0.2, 80)
        a, b = (_spread(common + rng.normal(0, 0.1, 80), trial, 400) for _ in range(2))
        found.append(paired_difference(a, b).p)
    for level in (0.05, 0.5):
        low, high = scipy.stats.binom.interval(0.999, 200, level)
        assert low <= np.sum(np.array(found) < level) <= high


def test_pairing_sees_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(0.5, 0.2, 60)
    b = a + rng.normal(0.02, 0.02, 60)
    of_a, of_b = _spread(a), _spread(b)
    assert np.percentile(of_a.resampled, 97.5) > np.percentile(of_b.resampled, 2.5)
    assert paired_difference(of_b, of_a).significant


def test_ranks_are_those_of_scipy_and_equal_models_share() -> None:
    rng = np.random.default_rng(4)
    best, good = rng.random(50) + 0.2, rng.random(50)
    found = rank_spreads([_spread(values) for values in (good, best, good)], lower_is_better=False)
    assert [each.rank for each in found] == [2.5, 1, 2.5]
    assert found[0] == found[2]
    assert sum(each.first for each in found) == pytest.approx(1)
    assert sum(each.mean for each in found) == pytest.approx(6)
    drawn = np.array([_spread(values).resampled for values in (good, best, good)])
    theirs = scipy.stats.rankdata(-drawn, axis=0)
    assert found[1].mean == pytest.approx(theirs[1].mean())
    assert (found[1].low, found[1].high) == tuple(np.percentile(theirs[1], [2.5, 97.5]))
    twins = rank_spreads([_spread(best), _spread(best)], lower_is_better=False)
    assert [(each.rank, each.mean, each.first) for each in twins] == [(1.5, 1.5, 0.5)] * 2


def test_a_model_without_a_value_has_no_rank_and_takes_none() -> None:
    values = np.random.default_rng(5).random(20)
    found = rank_spreads([_spread(np.full(20, math.nan)), _spread(values)], lower_is_better=False)
    assert math.isnan(found[0].rank) and math.isnan(found[0].first)
    assert (found[1].rank, found[1].first) == (1, 1)
    without_resamples = [replace(_spread(values), resampled=np.empty(0))] * 2
    assert [each.rank for each in rank_spreads(without_resamples, lower_is_better=False)] == [1.5, 1.5]
    assert math.isnan(rank_spreads(without_resamples, lower_is_better=False)[0].mean)


def test_where_less_is_better_the_least_is_first() -> None:
    high, low = _spread(np.full(20, 0.5)), _spread(np.full(20, 0.25))
    assert [each.rank for each in rank_spreads([high, low], lower_is_better=True)] == [2, 1]
    assert win_rate(np.array([0.5, 0.2]), np.array([0.4, 0.2]), lower_is_better=True) == (0.25, 2)


def test_wins_by_hand() -> None:
    a = np.array([0.9, 0.1, 0.5, math.nan, 0.7, 0.3])
    b = np.array([0.8, 0.2, 0.5, 0.1, math.nan, 0.1])
    assert win_rate(a, b, lower_is_better=False) == (2.5 / 4, 4)
    assert win_rate(b, a, lower_is_better=False) == (1.5 / 4, 4)
    rate, n = win_rate(np.full(3, math.nan), a[:3], lower_is_better=False)
    assert math.isnan(rate) and n == 0


def test_agreement_by_hand() -> None:
    assert rank_agreement(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 3])) == pytest.approx(4 / 6)
    ties = rank_agreement(np.array([1.0, 2.5, 2.5, 4]), np.array([1.0, 2, 3, 4]))
    assert ties == pytest.approx(5 / math.sqrt(5 * 6))


def test_untrained_and_repeated_models_are_told_apart() -> None:
    runs = {"a1b2c3d4": ("net", "random"), "e5f6a7b8": ("net", "random"), "c9": ("ela", ""), "d0": ("net", "best")}
    labels = model_labels(runs)
    assert labels["a1b2c3d4"] == "net@random (untrained)#a1b2c3"
    assert (labels["c9"], labels["d0"]) == ("ela", "net@best")


@pytest.fixture
def compared(with_plugin: Path, tmp_path: Path) -> tuple[imdl_bench.RunResult, Comparison]:
    """Three channels of the photograph as models."""
    for channel, name in ((1, "green"), (2, "blue")):
        write_model(with_plugin, name, f"return image[..., {channel}].astype(np.float32) / np.float32(255)")
    imdl_bench.catalog._cards.cache_clear()
    result = imdl_bench.run("edits", ["red", "green", "blue"], data=with_plugin / "data", out=tmp_path / "out")
    return result, imdl_bench.compare(tmp_path / "out")


def test_values_are_the_leaderboards_where_nothing_was_left_out(
    compared: tuple[imdl_bench.RunResult, Comparison],
) -> None:
    result, found = compared
    lines = {(line.metric, line.run): line for line in result.lines}
    assert len(found.differences) == 8 * 3
    for each in found.differences:
        assert each.value_a == lines[each.metric, each.run_a].value
        assert each.value_b == lines[each.metric, each.run_b].value
        assert each.difference == each.value_a - each.value_b
        assert each.n == lines[each.metric, each.run_a].n and each.n_left_out == 0
    for rank in found.ranks:
        assert rank.value == lines[rank.metric, rank.run].value and rank.n_models == 3


def test_ranks_wins_and_agreement_follow_from_the_tables_of_the_run(
    compared: tuple[imdl_bench.RunResult, Comparison],
) -> None:
    result, found = compared
    table = result.table.pivot(index="model", columns="metric", values="value")
    better = {name: -table[name] if "_eer" in name else table[name] for name in table.columns}
    for rank in found.ranks:
        assert rank.rank == better[rank.metric].rank(ascending=False)[rank.model], rank
    rows = {path.parent.name[-12:]: pd.read_csv(path.with_name("rows.csv")) for path in result.runs}
    for wins in found.win_rates:
        a, b = (rows[run][wins.metric] for run in (wins.run_a, wins.run_b))
        assert wins.n == a.notna().sum() == 8
        assert wins.win_rate == pytest.approx(((a > b).sum() + 0.5 * (a == b).sum()) / 8)
    assert len(found.agreements) == 8 * 7 / 2
    for each in found.agreements:
        a, b = better[each.metric_a], better[each.metric_b]
        assert each.tau == pytest.approx(scipy.stats.kendalltau(a, b).statistic, nan_ok=True)
        turned = {
            frozenset((x, y)) for x, y in itertools.combinations(table.index, 2) if (a[x] - a[y]) * (b[x] - b[y]) < 0
        }
        assert {frozenset((pair.a, pair.b)) for pair in each.disagreements} == turned
        for pair in each.disagreements:
            assert a[pair.a] > a[pair.b] and b[pair.b] > b[pair.a]
            sure = [
                d.significant
                for d in found.differences
                if {d.model_a, d.model_b} == {pair.a, pair.b} and d.metric in (each.metric_a, each.metric_b)
            ]
            assert len(sure) == 2 and pair.significant == all(sure)


def test_the_better_model_has_the_lesser_equal_error_rate(compared: tuple[imdl_bench.RunResult, Comparison]) -> None:
    for each in compared[1].differences:
        lead = each.difference if "_eer" not in each.metric else -each.difference
        assert each.better == {True: each.model_a, False: each.model_b}[lead > 0] if lead else each.better == ""


def test_images_on_which_a_model_failed_are_left_out_for_both(with_plugin: Path, tmp_path: Path) -> None:
    body = "assert image.shape[0] != 97, 'too odd'; return image[..., 1].astype(np.float32) / np.float32(255)"
    write_model(with_plugin, "picky", body)
    write_model(with_plugin, "blue", "return image[..., 2].astype(np.float32) / np.float32(255)")
    write_model(with_plugin, "broken", "raise ValueError('never')")
    imdl_bench.catalog._cards.cache_clear()
    models = ["red", "blue", "picky", "broken"]
    result = imdl_bench.run("edits", models, data=with_plugin / "data", out=tmp_path)
    found = imdl_bench.compare(tmp_path, metrics=["pixel_auc/per-image", "image_auc"])
    assert len(found.left_out) == 1 and "broken" in found.left_out[0] and "scored no image" in found.left_out[0]
    by_pair = {(each.metric, each.model_a, each.model_b): each for each in found.differences}
    whole, part = by_pair["image_auc", "blue", "red"], by_pair["image_auc", "picky", "red"]
    assert (whole.n, whole.n_left_out, part.n, part.n_left_out) == (12, 0, 8, 4)
    rows = {path.parts[-3]: pd.read_csv(path.with_name("rows.csv")) for path in result.runs}
    good = rows["picky"].status == "ok"
    red = rows["red"][good]
    assert part.value_b == pytest.approx(reference.roc_auc_score(red.forged, red.mask_mean), abs=1e-12)
    pixels = by_pair["pixel_auc/per-image", "picky", "red"]
    assert pixels.value_b == pytest.approx(red["pixel_auc/per-image"].mean(), abs=1e-12)
    assert {(each.metric, each.n, each.n_left_out) for each in found.ranks} == {
        ("image_auc", 8, 4),
        ("pixel_auc/per-image", int(red["pixel_auc/per-image"].notna().sum()), 4),
    }


def test_another_seed_is_the_same_image_only_without_noise(with_plugin: Path, tmp_path: Path) -> None:
    protocol = with_plugin / "protocols/edits.yaml"
    protocol.write_text(protocol.read_text() + "distort: [none, {gaussian_noise: {sigma: [9]}}]\n")
    for seed in (0, 1):
        imdl_bench.run("edits", data=with_plugin / "data", out=tmp_path, seed=seed)
    found = imdl_bench.compare(tmp_path, resamples=20)
    assert {each.distortion for each in found.differences} == {"none"}
    assert all(each.difference == 0 and each.p == 1 and not each.better for each in found.differences)
    assert len({each.model for each in found.ranks}) == 2  # one model, told apart by the digits of its runs


def test_the_command_prints_and_writes_tables(
    compared: tuple[imdl_bench.RunResult, Comparison], tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "out"
    shown = cli("compare", out, "--metric", "pixel_auc/per-image", "--metric", "image_eer")
    assert shown.returncode == 0, shown.stderr
    assert [part for part in ("share of firsts", "paired differences", "images won", "Kendall's tau-b")
            if part not in shown.stdout] == []  # fmt: skip
    written = cli("compare", out, "--metric", "image_eer", "--format", "csv", "--out", tmp_path / "differences.csv")
    assert (written.returncode, written.stdout) == (0, "")
    lines = list(csv.DictReader((tmp_path / "differences.csv").open()))
    assert [(line["model_a"], line["model_b"]) for line in lines] == [
        ("blue", "green"), ("blue", "red"), ("green", "red"),
    ]  # fmt: skip
    ranks = cli("compare", out, "--table", "ranks", "--format", "md", "--metric", "image_auc").stdout
    assert "| image_auc |" in ranks and "paired differences" not in ranks


def test_what_cannot_be_compared_is_explained(with_plugin: Path, tmp_path: Path, cli: Cli) -> None:
    imdl_bench.run("edits", data=with_plugin / "data", out=tmp_path)
    with pytest.raises(UsageError, match="no other run on the same images; give two runs"):
        imdl_bench.compare(tmp_path)
    wrong = cli("compare", tmp_path, "--metric", "pixel_acu/per-image")
    assert wrong.returncode == 2 and "did you mean 'pixel_auc/per-image'" in wrong.stderr


@pytest.mark.parametrize(
    ("table", "records"), [("differences", 24), ("ranks", 24), ("win-rates", 6), ("agreement", 28)]
)
def test_every_table_is_a_csv_with_a_record_per_line(
    compared: tuple[imdl_bench.RunResult, Comparison], table: str, records: int
) -> None:
    found = pd.read_csv(io.StringIO(to_csv(compared[1], table)))
    assert len(found) == records
    assert found["data"].str.len().eq(8).all() and found["protocol"].eq("edits").all()


def test_tables_say_the_same_in_every_form(compared: tuple[imdl_bench.RunResult, Comparison]) -> None:
    found = compared[1]
    assert repr(found) == to_text(found)
    first = found.differences[0]
    for text in (to_text(found, ["differences"]), to_markdown(found, ["differences"])):
        assert f"{first.difference:+.4f} [{first.ci_low:+.4f}, {first.ci_high:+.4f}]" in text
    line = next(csv.DictReader(to_csv(found, "differences").splitlines()))
    assert float(line["difference"]) == pytest.approx(first.difference, abs=1e-8)
    assert imdl_bench.compare(compared[0].runs[0].parents[3]).ranks == found.ranks  # the same seed, the same resamples
