"""Finished runs held against each other: differences, ranks, wins per image, and whether metrics agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imdl_bench.comparison_tables import Agreement, Compared, Comparison, Difference, Disagreement, Rank, WinRate
from imdl_bench.errors import UsageError
from imdl_bench.metrics.names import Metric, refuse_absent
from imdl_bench.metrics.paired import paired_difference, rank_agreement, rank_spreads, win_rate
from imdl_bench.metrics.pixel import has_own_value
from imdl_bench.metrics.summary import Spread, spreads
from imdl_bench.runs import Run, model_labels
from imdl_bench.types import DONOR

Array = NDArray[np.float64]
Samples = frozenset[str]


def compare_runs(
    runs: Sequence[Run], metrics: Sequence[str] | None = None, *, resamples: int | None = None, seed: int = 0
) -> Comparison:
    """Compare all runs on the same images: data set, split, fingerprint of the data, distortion, rules of scoring.

    Two models are compared on the images that both scored, ranks are over the images that all scored, and every model
    sees the same resamples. Of several runs of one model each is a model of its own.

    Args:
        runs: finished; the same run given twice counts once.
        metrics: names; by default all that the runs have in common.
        resamples: of the bootstrap; by default the protocol's.
        seed: of the bootstrap.

    Raises:
        UsageError: no run has this metric, or no two runs can be compared.
    """
    runs = sorted({run.key.hash: run for run in runs}.values(), key=_place_of_run)
    refuse_absent(metrics or (), list(dict.fromkeys(metric.name for run in runs for metric in run.metrics)))
    groups: dict[Compared, list[Run]] = {}
    for run in runs:
        for level in run.levels:
            groups.setdefault(_compared(run, level), []).append(run)
    groups = dict(sorted(groups.items(), key=lambda group: _place_of_group(group[0])))
    found = [_compare(place, group, metrics, resamples, seed) for place, group in groups.items() if len(group) > 1]
    met = {run.key.hash for group in groups.values() if len(group) > 1 for run in group}
    alone = [f"{run.path}: no other run on the same images" for run in runs if run.key.hash not in met]
    left_out = [*alone, *(remark for part in found for remark in part.left_out)]
    if not any(part.differences for part in found):
        hint = "give two runs with one protocol, data set and split, and a metric that both have"
        raise UsageError("; ".join([*left_out, hint]))
    return Comparison(
        differences=tuple(each for part in found for each in part.differences),
        ranks=tuple(each for part in found for each in part.ranks),
        win_rates=tuple(each for part in found for each in part.win_rates),
        agreements=tuple(each for part in found for each in part.agreements),
        left_out=tuple(left_out),
    )


def _place_of_run(run: Run) -> tuple[str, ...]:
    return (run.key.dataset, run.key.split, run.key.model, run.key.weights, run.key.hash)


def _place_of_group(place: Compared) -> tuple[Any, ...]:
    """Sorts by everything but the distortion, whose order is the protocol's (sorting keeps it)."""
    return (place.protocol, place.version, place.dataset, place.split)


def _compared(run: Run, level: str) -> Compared:
    """What runs must share."""
    key = run.key
    return Compared(key.protocol, key.version, key.dataset, key.split, level, run.data(level))


@dataclass(frozen=True, slots=True)
class _Group:
    """Runs on the same images, by hash: what each scored, and what came of it on the sets of images in question.

    Attributes:
        samples: of every image, whether scored or not.
        scored: the images that each run scored, second images of pairs by their key.
        spreads: by run, set of images, metric.
        values: per-image values by run and metric, nan where there are none, all in one order.
    """

    place: Compared
    labels: dict[str, str]
    metrics: Sequence[Metric]
    samples: Samples
    scored: dict[str, Samples]
    spreads: dict[str, dict[Samples, dict[str, Spread]]]
    values: dict[str, dict[str, Array]]

    def left_out(self, common: Samples) -> int:
        """Images that are not among the common ones."""
        return len(self.samples - common)


def _compare(
    place: Compared, runs: Sequence[Run], names: Sequence[str] | None, resamples: int | None, seed: int
) -> Comparison:
    level = place.distortion
    scored = {run.key.hash: _scored_samples(run, level) for run in runs}
    left_out = [f"{run.path}: scored no image after {level}" for run in runs if not scored[run.key.hash]]
    runs = [run for run in runs if scored[run.key.hash]]
    if len(runs) < 2:
        return Comparison((), (), (), (), tuple(left_out))
    group = _group(place, runs, {run.key.hash: scored[run.key.hash] for run in runs}, names, resamples, seed)
    differences = _differences(group)
    ranks = _ranks(group)
    return Comparison(
        tuple(differences), tuple(ranks), tuple(_win_rates(group)), tuple(_agreements(group, differences, ranks)),
        tuple(left_out),
    )  # fmt: skip


def _scored_samples(run: Run, level: str) -> Samples:
    return frozenset(row.sample for row in run.rows(level) if row.status == "ok")


def _group(
    place: Compared,
    runs: Sequence[Run],
    scored: dict[str, Samples],
    names: Sequence[str] | None,
    resamples: int | None,
    seed: int,
) -> _Group:
    """One run after the other, so that the histograms of one only are held."""
    shared = set.intersection(*({metric.name for metric in run.metrics} for run in runs))
    metrics = [m for m in runs[0].metrics if m.name in shared and (names is None or m.name in names)]
    if resamples is None:
        resamples = max(run.key.rules["bootstrap"] for run in runs)
    everyone = frozenset.intersection(*scored.values())
    found: dict[str, dict[Samples, dict[str, Spread]]] = {}
    values: dict[str, dict[str, Array]] = {}
    order = {sample: place for place, sample in enumerate(sorted(frozenset.union(*scored.values())))}
    for run in runs:
        own = scored[run.key.hash]
        wanted = dict.fromkeys([everyone, *(own & other for other in scored.values() if other is not own)])
        found[run.key.hash], values[run.key.hash] = _reduced(
            run, place.distortion, metrics, list(wanted), order, resamples=resamples, seed=seed
        )
    samples = frozenset(row.sample for run in runs for row in run.rows(place.distortion) if not _is_second(row.sample))
    labels = model_labels({run.key.hash: (run.key.model, run.key.weights) for run in runs})
    return _Group(place, labels, metrics, samples, scored, found, values)


def _is_second(sample: str) -> bool:
    return sample.endswith(DONOR)


def _reduced(
    run: Run,
    level: str,
    metrics: Sequence[Metric],
    sets: Sequence[Samples],
    order: dict[str, int],
    *,
    resamples: int,
    seed: int,
) -> tuple[dict[Samples, dict[str, Spread]], dict[str, Array]]:
    """Spreads of a run on each set of images, and its per-image values in the common order."""
    rows = run.scored(level)
    samples = [row.sample for row in run.rows(level) if row.status == "ok"]
    found = {}
    for common in sets:
        kept = rows.only(np.array([sample in common for sample in samples], bool))
        numbers = spreads(kept, metrics, run.metrics, score_rule=run.score_rule, resamples=resamples, seed=seed)
        found[common] = {number.metric: number for number in numbers}
    at = [order[sample] for sample in samples]
    values = {}
    for metric in filter(has_own_value, metrics):
        values[metric.name] = np.full(len(order), math.nan)
        values[metric.name][at] = rows.values[metric.name]
    return found, values


def _differences(group: _Group) -> list[Difference]:
    return [_difference(group, metric, a, b) for metric in group.metrics for a, b in combinations(group.labels, 2)]


def _difference(group: _Group, metric: Metric, a: str, b: str) -> Difference:
    common = group.scored[a] & group.scored[b]
    of_a, of_b = (group.spreads[run][common][metric.name] for run in (a, b))
    found = paired_difference(of_a, of_b)
    winner = {1: group.labels[a], -1: group.labels[b]}.get(_order(metric, found.value), "")
    return Difference(
        **asdict(group.place),
        metric=metric.name,
        model_a=group.labels[a],
        model_b=group.labels[b],
        run_a=a,
        run_b=b,
        value_a=of_a.value,
        value_b=of_b.value,
        difference=found.value,
        ci_low=found.low,
        ci_high=found.high,
        p=found.p,
        significant=found.significant,
        better=winner,
        n=min(of_a.n, of_b.n),
        n_left_out=group.left_out(common),
    )


def _order(metric: Metric, difference: float) -> int:
    """1 where a difference a - b says that a is better, -1 that b is; 0 where neither."""
    if math.isnan(difference) or difference == 0:
        return 0
    return 1 if (difference < 0) == metric.statistic.lower_is_better else -1


def _ranks(group: _Group) -> list[Rank]:
    common = frozenset.intersection(*group.scored.values())
    ranks = []
    for metric in group.metrics:
        found = [group.spreads[run][common][metric.name] for run in group.labels]
        ranked = rank_spreads(found, lower_is_better=metric.statistic.lower_is_better)
        n_models = sum(not math.isnan(each.value) for each in found)
        ranks += [
            Rank(
                **asdict(group.place),
                metric=metric.name,
                model=label,
                run=run,
                value=spread.value,
                rank=rank.rank,
                mean_rank=rank.mean,
                rank_low=rank.low,
                rank_high=rank.high,
                first=rank.first,
                n_models=n_models,
                n=spread.n,
                n_left_out=group.left_out(common),
            )
            for (run, label), spread, rank in zip(group.labels.items(), found, ranked, strict=True)
        ]
    return ranks


def _win_rates(group: _Group) -> list[WinRate]:
    rates = []
    for metric in filter(has_own_value, group.metrics):
        for a, b in combinations(group.labels, 2):
            values = (group.values[run][metric.name] for run in (a, b))
            rate, n = win_rate(*values, lower_is_better=metric.statistic.lower_is_better)
            labels = (group.labels[a], group.labels[b])
            rates.append(WinRate(**asdict(group.place), metric=metric.name, model_a=labels[0], model_b=labels[1],
                                 run_a=a, run_b=b, win_rate=rate, n=n))  # fmt: skip
    return rates


def _agreements(group: _Group, differences: Sequence[Difference], ranks: Sequence[Rank]) -> list[Agreement]:
    """Of every two metrics; tau needs three models that both can rank."""
    ranked = {m.name: np.array([each.rank for each in ranks if each.metric == m.name]) for m in group.metrics}
    paired = {m.name: [each for each in differences if each.metric == m.name] for m in group.metrics}
    agreements = []
    for a, b in combinations(group.metrics, 2):
        both = ~(np.isnan(ranked[a.name]) | np.isnan(ranked[b.name]))
        n = int(both.sum())
        tau = rank_agreement(ranked[a.name][both], ranked[b.name][both]) if n >= 3 else math.nan
        turned = [
            _disagreement(by_a, by_b)
            for by_a, by_b in zip(paired[a.name], paired[b.name], strict=True)
            if _order(a, by_a.difference) * _order(b, by_b.difference) < 0
        ]
        agreements.append(Agreement(**asdict(group.place), metric_a=a.name, metric_b=b.name, tau=tau, n_models=n,
                                    disagreements=tuple(turned)))  # fmt: skip
    return agreements


def _disagreement(by_a: Difference, by_b: Difference) -> Disagreement:
    return Disagreement(by_a.better, by_b.better, by_a.significant and by_b.significant)
