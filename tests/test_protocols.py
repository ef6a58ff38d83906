"""Protocols: what they name exists, every published number finds its protocol, and they run on true layouts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as reference
from dataset_trees import build_tree, index, published_names, save, select, touch, write_list
from test_datasets_nist16 import row, write_reference

import imdl_bench
from imdl_bench import catalog, load_dataset, published
from imdl_bench.cards import Protocol
from imdl_bench.distortions import parse_distortions
from imdl_bench.errors import DataError, UsageError
from imdl_bench.metrics.names import parse_metric
from imdl_bench.planning import Options, plan_run
from imdl_bench.published import Match, PublishedNumber, match, read_published

FOLDER = Path(__file__).resolve().parents[1] / "protocols"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
PROTOCOLS = {name: imdl_bench.load_protocol(name) for name in imdl_bench.list_protocols()}
TABLES = sorted({(card.published.paper, card.published.table) for card in PROTOCOLS.values() if card.published})

Combination = tuple[str, str, str]  # data set and split, distortion, metric


def combinations(protocol: Protocol) -> set[Combination]:
    """What each line of a protocol's leaderboards stands for, as published numbers know it."""
    splits = [f"{line.dataset}/{line.split}" for line in protocol.data]
    levels = [level.name for level in parse_distortions(protocol.distort)] or ["none"]
    metrics = [published._canonical_metric(metric, protocol.score) for metric in protocol.metrics]
    return set(product(splits, levels, metrics))


def standing_for(paper: str, table: str) -> list[Protocol]:
    """The protocols of one table."""
    return [p for p in PROTOCOLS.values() if p.published and (p.published.paper, p.published.table) == (paper, table)]


def counterparts(number: PublishedNumber) -> set[Combination]:
    """Where a published number stands beside one of ours; empty where nothing of ours is the same."""
    beside = published._beside(tuple(catalog.published_papers().values()))
    return {key[1:] for key, entries in beside.items() if any(entry.number == number for entry in entries)}  # type: ignore[misc]


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_a_protocol_names_data_metrics_and_models_that_go_together(protocol: Protocol) -> None:
    levels = {parse_metric(metric).level for metric in protocol.metrics}
    assert levels == {"localization": {"pixel"}, "detection": {"image"}, "both": {"pixel", "image"}}[protocol.task]
    assert (FOLDER / f"{protocol.name}.yaml").is_file() and protocol.notes.strip()
    inputs = {catalog.dataset_card(line.dataset).input for line in protocol.data}
    assert len(inputs) == 1
    for line in protocol.data:
        assert line.split in ["full", *catalog.dataset_card(line.dataset).splits]
        assert line.keep == "all" or protocol.task == "localization"
    for model in protocol.models:
        spec, card = catalog.read_spec(model)
        assert card.input in inputs
        assert spec.weights in (None, *(card.weights or ()))


def test_the_list_of_protocols_is_complete() -> None:
    first_cells = re.findall(r"^\| (`[^|]+) \|", README.split("## Tables")[0], re.MULTILINE)
    listed = re.findall(r"`([\w-]+)`", " ".join(first_cells))
    assert sorted(listed) == sorted(PROTOCOLS)


def test_every_table_has_a_protocol_or_a_reason_for_none() -> None:
    without = README.split("## Tables without a protocol")[1].split("##")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]{15,}) \|$", without, re.MULTILINE)
    excused = [(paper, table) for paper, tables, _ in rows for table in tables.split(", ")]
    printed = {(number.paper, number.table) for number in read_published()}
    assert sorted(TABLES + excused) == sorted(printed)


@pytest.mark.parametrize(("paper", "table"), TABLES)
def test_every_published_number_meets_a_number_of_its_protocol(paper: str, table: str) -> None:
    ours = set().union(*map(combinations, standing_for(paper, table)))
    numbers = [number for number in read_published(paper) if number.table == table]
    assert numbers
    met = 0
    for number in numbers:
        wanted = counterparts(number)
        assert not wanted or wanted & ours, f"{number}: none of {wanted}"
        assert {metric for *_, metric in wanted} <= {metric for *_, metric in ours}, number
        met += bool(wanted)
    assert met or (paper, table) == ("dmac", "IV")  # its data are not known here


def test_no_protocol_of_a_table_scores_a_split_that_the_table_does_not_have() -> None:
    for paper, table in TABLES:
        numbers = [number for number in read_published(paper) if number.table == table]
        printed = {split for number in numbers for split, *_ in counterparts(number)}
        scored = {split for protocol in standing_for(paper, table) for split, *_ in combinations(protocol)}
        assert scored <= printed or (paper, table) == ("dmac", "IV"), (paper, table)


def test_a_table_by_own_scores_refuses_models_without_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gives no score of its own"):
        plan_run(PROTOCOLS["pscc-table3"], ["ela"], tmp_path, Options(out=tmp_path), lambda _: None)
    for own, by_mask in (("pscc-table3", "pscc-table3-mask-mean"), ("detection", "detection-mask-mean")):
        one, other = PROTOCOLS[own], PROTOCOLS[by_mask]
        assert one.data == other.data
        assert [metric.replace("[model]", "[mask-mean]") for metric in one.metrics] == other.metrics


def test_nist16_grouped_has_the_metrics_of_standard() -> None:
    assert PROTOCOLS["nist16-grouped"].metrics == PROTOCOLS["standard"].metrics


# --- the grouped split of NIST16 -------------------------------------------------------------------------------------


def grouped(side: str) -> set[str]:
    return set(catalog.dataset_card("nist16").splits[f"grouped-{side}"].ids)


def test_grouped_split_follows_its_rule_and_parts_no_photograph_and_no_twins() -> None:
    rows = [line.split() for line in published_names("nist16_types.txt")]
    probes = {Path(probe).stem: (kind, Path(base).stem) for probe, kind, base in rows}
    masks = {Path(probe).stem: mask for probe, mask in map(str.split, published_names("nist16_all_pairs.txt"))}
    kinds: dict[str, set[str]] = {}
    for kind, base in probes.values():
        kinds.setdefault(base, set()).add(kind)
    chosen: set[str] = set()
    for kind_set in ({"splice", "removal"}, {"splice"}, {"removal"}, {"copyclone"}):
        chosen |= set(sorted(base for base in kinds if kinds[base] == kind_set)[:5])
    test, train = grouped("test"), grouped("train")
    assert test == {probe for probe, (_, base) in probes.items() if base in chosen}
    assert test | train == set(probes) and not test & train
    assert not {probes[probe][1] for probe in test} & {probes[probe][1] for probe in train}
    assert not {masks[probe] for probe in test} & {masks[probe] for probe in train}
    assert Counter(Counter(masks[probe] for probe in test).values()) == {2: 80}
    assert Counter(probes[probe][0] for probe in test) == {"splice": 80, "removal": 60, "copyclone": 20}


def official(root: Path, probes: list[str]) -> None:
    folder = "reference/manipulation/mask"
    names = [(f"probe/{probe}.jpg", f"{folder}/NC2016_9{n:03}.png") for n, probe in enumerate(probes)]
    touch(root, [name for pair in names for name in pair])
    write_reference(root, [row(image, mask, "Splice", "world/NC2016_3272.jpg") for image, mask in names])


def pscc_list(root: Path, probes: list[str]) -> None:
    entries = [{"image": f"probe/{probe}.jpg", "mask": f"mask/mani_{probe}.png"} for probe in probes]
    touch(root, [name for entry in entries for name in entry.values()])
    write_list(root / "NIST16_for_pretrained.txt", {"forged": entries}, labelled=False)


def mvss_export(root: Path, probes: list[str]) -> None:
    names = [f"{probe}_549_1007_1191_1570_splice.png" for probe in probes]
    touch(root, [f"NIST16_test/{folder}/{name}" for folder in ("probe_save", "mask") for name in names])


def benco(root: Path, probes: list[str]) -> None:
    touch(root, [f"{folder}/{probe}.{end}" for probe in probes for folder, end in (("Tp", "jpg"), ("Gt", "png"))])


@pytest.mark.parametrize("write", [official, pscc_list, mvss_export, benco])
def test_grouped_split_works_over_every_layout(tmp_path: Path, write: Callable[[Path, list[str]], None]) -> None:
    write(tmp_path, sorted(grouped("test") | grouped("train")))
    samples = index("nist16", tmp_path)
    key = catalog.dataset_module("nist16").split_key
    for side, count in (("test", 160), ("train", 404)):
        chosen = select("nist16", samples, f"grouped-{side}")
        assert (len(chosen), {key(sample.id) for sample in chosen}) == (count, grouped(side))


# --- pairs of one's own ----------------------------------------------------------------------------------------------


def pair_list(root: Path, text: str, name: str = "pairs.csv") -> Path:
    touch(root, ["probes/1.jpg", "probes/2.jpg", "world/1.png", "world/2.png", "masks/1.png", "masks/1d.png"])
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_pairs_reads_every_column(tmp_path: Path) -> None:
    path = pair_list(tmp_path, (
        "image,donor,mask,donor_mask,forged,kind,group\n"
        "probes/1.jpg,world/1.png,masks/1.png,masks/1d.png,,splicing,a\n"
        "probes/1.jpg,world/2.png,,,0,,a\n"
        "probes/2.jpg,world/2.png,,,1,,\n"
    ))  # fmt: skip
    assert index("pairs", path) == index("pairs", tmp_path)
    one, two, three = index("pairs", path)
    assert [sample.id for sample in (one, two, three)] == [
        "probes/1.jpg|world/1.png", "probes/1.jpg|world/2.png", "probes/2.jpg|world/2.png",
    ]  # fmt: skip
    assert (one.image, one.donor) == (tmp_path / "probes/1.jpg", tmp_path / "world/1.png")
    assert (one.mask, one.donor_mask) == (tmp_path / "masks/1.png", tmp_path / "masks/1d.png")
    assert (one.forged, two.forged, three.forged, three.mask) == (True, False, True, None)
    assert (one.kind, one.group, three.group) == ("splicing", "a", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,donor\nprobes/1.jpg,world/1.png\nprobes/2.jpg,\n", r"pairs\.csv:3: probes/2\.jpg has no donor"),
        ("image\nprobes/1.jpg\n", r"pairs\.csv:2: probes/1\.jpg has no donor"),
        ("image,donor\n" + "probes/1.jpg,world/1.png\n" * 2, r"pairs\.csv:3: probes/1\.jpg\|world/1\.png .* twice"),
        ("image,donor\nprobes/1.jpg,world/7.png\n", r"pairs\.csv:2: .*7\.png does not exist"),
        ("image,doner\nprobes/1.jpg,world/1.png\n", r"pairs\.csv: unknown column 'doner'; did you mean 'donor'"),
        ("image,donor\n", r"pairs\.csv: no lines"),
    ],
)
def test_errors_of_pairs_name_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    pair_list(tmp_path, text)
    with pytest.raises(DataError, match=words):
        index("pairs", tmp_path)


def test_pairs_without_a_list_or_with_two_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no pairs\.csv or index\.csv"):
        index("pairs", tmp_path)
    for name in ("pairs.csv", "index.csv"):
        pair_list(tmp_path, "image,donor\nprobes/1.jpg,world/1.png\n", name)
    with pytest.raises(DataError, match="give the one you mean"):
        index("pairs", tmp_path)


def test_dmac_table4_scores_a_list_of_pairs(tmp_path: Path, photo: np.ndarray) -> None:
    lines = ["image,donor,forged,group"]
    for number in range(4):
        for name, left in (("probe", 0), ("donor", 40 * (number % 2))):
            save(tmp_path / f"{name}s/{number}.png", photo[64 * number : 64 * number + 64, left : left + 96])
        lines.append(f"probes/{number}.png,donors/{number}.png,{1 - number % 2},")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    data = {"pairs": tmp_path / "pairs.csv"}
    result = imdl_bench.run("dmac-table4", ["dmac@random"], data, out=tmp_path / "out", workers=1)
    rows = pd.read_csv(result.runs[0].with_name("rows.csv"))
    expected = reference.roc_auc_score(1 - rows["sample"].str[7].astype(int) % 2, rows["score"])
    value = {line.metric: line.value for line in result.lines}
    assert set(value) == {"image_auc[model]", "image_eer[model]"} and result.n_failed == 0
    assert value["image_auc[model]"] == pytest.approx(expected, abs=1e-12)


# --- protocols on true layouts ---------------------------------------------------------------------------------------

LAYOUTS = {
    "columbia": [("columbia", "official")],
    "coverage": [("coverage", "official")],
    "casia": [("casia_v1", "photoholmes"), ("casia_v2", "official_revised")],
    "casia_v1": [("casia_v1", "official_modified")],
    "casia_v2": [("casia_v2", "trufor")],
    "casia_d": [("casia_v1", "photoholmes"), ("casia_v2", "official_revised")],
    "nist16": [("nist16", "official")],
    "imd20": [("imd20", "official")],
    "ifs_tc": [("ifs_tc", "phase1_training")],
}


def tree(root: Path, dataset: str) -> list[str]:
    """Write a true layout with pictures; returns the names of its images."""
    names: list[str] = []
    for name, layout in LAYOUTS[dataset]:
        folder = root / name if len(LAYOUTS[dataset]) > 1 else root
        example = build_tree(folder, name, layout)
        names += [entry["image"] for entry in example["forged"]] + example["authentic"]
        if dataset == "nist16":
            rows = [row(entry["image"], entry["mask"], "Splice", "world/NC2016_1.jpg") for entry in example["forged"]]
            write_reference(root, rows + [row(image) for image in example["authentic"]])
    return names


def own_list(root: Path, names: list[str], dataset: str) -> dict[str, Path]:
    """A list in place of a published one, which must not be fetched here."""
    (root / f"{dataset}.txt").write_text("\n".join(Path(name).name for name in names))
    return {dataset: root / f"{dataset}.txt"}


@pytest.mark.parametrize(
    ("name", "listed", "printed"),
    [
        ("pscc-table1", "", ""),
        ("pscc-table2", "nist16", "58.3 22.2 61.3 21.4 42.9 23.6"),
        ("pscc-table3-mask-mean", "casia_d", ""),
        ("mantranet-table8", "", "42.9 58.1 58.3 61.3"),
        ("ncl-table6", "", ""),
        ("ela-ppm-table1", "", "0.214 0.613"),
        ("ela-ppm-table2", "", ""),
        ("nist16-grouped", "nist16", ""),
    ],
)
def test_a_protocol_runs_on_true_layouts(tmp_path: Path, name: str, listed: str, printed: str) -> None:
    protocol = PROTOCOLS[name].model_copy(update={"bootstrap": 20})
    files = {line.dataset: tree(tmp_path / line.dataset, line.dataset) for line in protocol.data}
    lists = own_list(tmp_path, files[listed], listed) if listed else {}
    data = {dataset: tmp_path / dataset for dataset in files}
    result = imdl_bench.run(protocol, ["ela"], data, out=tmp_path / "out", workers=1, split_files=lists)
    assert result.n_failed == 0 and len(result.runs) == len(protocol.data)
    found = {(line.dataset, line.split, line.metric) for line in result.lines}
    assert found == {(line.dataset, line.split, metric) for line in protocol.data for metric in protocol.metrics}
    for line in protocol.data:
        samples = load_dataset(line.dataset, data[line.dataset], line.split, split_file=lists.get(line.dataset))
        kept = {sample.id for sample in samples if line.keep == "all" or sample.forged}
        (path,) = [run for run in result.runs if f"/{line.dataset}-{line.split}-" in run.as_posix()]
        rows = pd.read_csv(path.with_name("rows.csv"))
        assert set(rows["sample"]) == kept and len(rows) == len(kept) > 0
    beside: list[Match] = []
    for number in result.lines:
        assert number.n + number.n_skipped > 0 and (math.isnan(number.value) or 0 <= number.value <= 1), number
        beside += match(number.model, number.dataset, number.split, number.distortion, number.metric)
    table = (protocol.published.paper, protocol.published.table) if protocol.published else ()
    values = {str(entry.number.value) for entry in beside if (entry.number.paper, entry.number.table) == table}
    assert values == set(printed.split())


def test_the_value_of_a_run_is_that_of_scikit_learn(tmp_path: Path) -> None:
    tree(tmp_path / "columbia", "columbia")
    protocol = PROTOCOLS["pscc-table1"]
    protocol = protocol.model_copy(update={"data": protocol.data[:1]})
    result = imdl_bench.run(protocol, ["ela"], {"columbia": tmp_path / "columbia"}, out=tmp_path / "out", workers=1)
    ela, data = imdl_bench.load_model("ela"), load_dataset("columbia", tmp_path / "columbia")
    aucs = []
    for sample in data:
        if sample.forged:
            image, truth = data.read(sample)
            mask = ela.predict([image])[0].mask
            assert truth is not None and mask is not None and 0.2 < truth.mean() < 0.3
            aucs.append(reference.roc_auc_score(truth.ravel(), mask.ravel()))
    value = {line.metric: line.value for line in result.lines}
    assert value["pixel_auc/per-image"] == pytest.approx(np.mean(aucs), abs=1e-9)
    assert value["pixel_auc[negate-majority]/per-image"] == value["pixel_auc/per-image"]  # no truth covers half
