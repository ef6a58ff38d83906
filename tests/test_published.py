"""Published numbers: none is lost or changed, every word of them means something here, every mistake is explained."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple
from decimal import Decimal
from pathlib import Path

import pytest

import imdl_bench
from imdl_bench import catalog, published
from imdl_bench.errors import CardError, UsageError
from imdl_bench.published import COLUMNS, match, read_published, select

FOLDER = Path(__file__).resolve().parents[1] / "results/published"
Cli = Callable[..., subprocess.CompletedProcess[str]]

# count, and sha256 over all columns but `suspect`, of what was read from the papers
READ = {
    "dmac": (407, "b5543bb6cb00e4bd606920801c03b343c354935735d8893dac17052e5fa6f9e5"),
    "ela_ppm": (30, "3eb3609231df1846e25c1db53a580b7710706ccdb4c9ce5362ca99a785ed3d12"),
    "mantra_net": (132, "2aaef60a24d16bbef2818b6ccd694b016ea288efe3c4396166a947385fd5d823"),
    "ncl": (204, "2c0dc7244b55a22a6b415e88f644ccdb694a8eef6c49f8fca7eb76613547335d"),
    "pscc_net": (192, "a0b818966ef919a16a1876965d84e7c5603ab2f126d0fae421a67497780e4fc0"),
}

# cells typed from the papers' pages once more: words of the line, then its value
CELLS = """
pscc_net | 1 | ManTra-Net | Columbia | 82.4
pscc_net | 1 | ManTra-Net | IMD20 | 74.8
pscc_net | 1 | SPAN | Coverage | 92.2
pscc_net | 1 | PSCC-Net | CASIA | 82.9
pscc_net | 1 | PSCC-Net | IMD20 | 80.6
pscc_net | 2 | ELA | NIST16 | F1 | 23.6
pscc_net | 2 | CFA1 | Coverage | AUC | 48.5
pscc_net | 2 | H-LSTM | NIST16 | AUC | 79.4
pscc_net | 2 | RGB-N | CASIA | F1 | 40.8
pscc_net | 2 | PSCC-Net | NIST16 | AUC | 99.6
pscc_net | 2 | PSCC-Net | Coverage | F1 | 72.3
pscc_net | 3 | ManTra-Net | EER | 43.21
pscc_net | 3 | SPAN | TPR@FPR1 | 5.54
pscc_net | 3 | PSCC-Net | score = mean of mask (dagger) | F1 | 66.88
pscc_net | 3 | PSCC-Net | detection head | AUC | 99.65
pscc_net | 4 | Mask 4 | Columbia | F1 | 79.22
pscc_net | 4 | w/o CA+SA | NIST16 | AUC | 79.58
pscc_net | 4 | w/o SA | NIST16 | F1 | 32.34
pscc_net | 4 | Mask 3 | time_ratio | 0.75
pscc_net | 4-caption | ManTra-Net | time | 0.208
pscc_net | 5 | ManTra-Net | Columbia | resize_0.78 | 71.66
pscc_net | 5 | SPAN | Columbia | jpeg_q50 | 74.62
pscc_net | 5 | PSCC-Net | NIST16 | gaussian_noise_s15 | 76.65
pscc_net | 5 | ManTra-Net | NIST16 | none | 78.05
ncl | 1 | NOI1 | Columbia | F1 | 57.4
ncl | 1 | SPAN | (2) | Coverage | F1 | 55.8
ncl | 1 | OSN | NIST16 | F1 | 28.6
ncl | 1 | MVSS-Net++ | Defacto | AUC | 88.6
ncl | 1 | NCL | Coverage | F1 | 80.1
ncl | 2 | NCL | CASIAv2 | CASIA | 86.4
ncl | 2 | NCL | Columbia | Defacto | 52.6
ncl | 3 | NCL | resize_0.25 | 83.1
ncl | 3 | SPAN | gaussian_noise_s3 | 75.1
ncl | 3 | NCL | jpeg_q50 | 84.3
ncl | 4 | ObjectFormer | +NCL | CASIA | F1 | 59.1
ncl | 5 | Base | NIST16 train split | Defacto | 4.3
ncl | 5 | Base+Pivot | Defacto-84k | CASIA | 72.1
ncl | 6 | pivot after ResNet block 2 | F1 | 56.3
mantra_net | 2 | IMC-ResNet | KCMI | 48.1
mantra_net | 3 | first=SRMConv2D 5x5 (3) | IMC-7 | valid | 93.1
mantra_net | 4 | HL4 (185) | IMC-185 | 53.4
mantra_net | 4 | HL3 (96) | KCMI | 78.4
mantra_net | 5 | IMC-VGG deeper | top10_accuracy | 92.5
mantra_net | 6 | Z_F (global z-score) | ManTra-val Removal | 39.67
mantra_net | 6 | TAC[7,15,31,global] | ManTra-val CopyMove | 21.19
mantra_net | 7 | Half Random (HR) | PS-Battles | 75.88
mantra_net | 8 | J-LSTM | Coverage | 61.4
mantra_net | 8 | ManTra-Net | CASIA | 81.7
dmac | I | DMVN | Difficult (3000 pairs) | NMM | -0.4382
dmac | I | DMAC | Easy (3000 pairs) | NMM | 0.8685
dmac | I | DMAC+adv-bce | l_det=0.1 l_dis=0.1 LR=1e-5 | Normal (3000 pairs) | IoU | 0.8252
dmac | I | DMAC+adv-hin | l_det=0.01 l_dis=0.01 LR=1e-6 | Difficult (3000 pairs) | MCC | 0.6338
dmac | II | DMVN | DMAC-synthetic Scale | Difficult (3000 pairs) | IoU | 0.3250
dmac | II | DMAC-adv | DMAC-synthetic Rotation | Easy (3000 pairs) | NMM | 0.8753
dmac | II | DMAC | DMAC-synthetic Deformation | Normal (3000 pairs) | MCC | 0.9130
dmac | III | Luo 2006 [58] | precision | 0.9969
dmac | III | DMAC-adv | F1 | 0.9085
dmac | III | DMVN-det | AUC | 0.9244
dmac | IV | DMAC-adv | EER | 0.3093
dmac | text | DMVN | time | 0.2947
dmac | text | DMAC | parameters | 14920520
ela_ppm | I | HybridArch | F1 | 0.525
ela_ppm | I | ELA-PPM | F1 | 0.543
ela_ppm | II | CASIA v1 | precision | 0.9053
ela_ppm | II | IFS-TC | AUC | 0.5125
"""


@pytest.mark.parametrize("paper", READ)
def test_no_number_is_lost_or_changed(paper: str) -> None:
    count, digest = READ[paper]
    with (FOLDER / f"{paper}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS[:-1], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    assert len(rows) == count
    assert hashlib.sha256(text.getvalue().encode()).hexdigest() == digest
    assert [str(number.value) for number in read_published(paper)] == [row["value"] for row in rows]


def test_all_papers_are_read_and_written_back() -> None:
    numbers = read_published()
    assert Counter(number.paper for number in numbers) == {paper: count for paper, (count, _) in READ.items()}
    for paper in READ:
        assert published.to_csv(read_published(paper)) == (FOLDER / f"{paper}.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("cell", CELLS.strip().splitlines())
def test_cells_are_those_of_the_page(cell: str) -> None:
    *words, value = cell.split(" | ")
    lines = [number for number in read_published() if set(words) <= {str(part) for part in astuple(number)}]
    assert [str(number.value) for number in lines] == [value]


def test_suspect_numbers_are_those_that_the_readme_lists() -> None:
    suspect = [number for number in read_published() if number.suspect]
    assert Counter((number.paper, number.table) for number in suspect) == {
        ("ncl", "1"): 17, ("ncl", "2"): 1, ("ncl", "3"): 12, ("ncl", "4"): 1, ("ncl", "5"): 11,
        ("mantra_net", "4"): 2, ("mantra_net", "6"): 1, ("ela_ppm", "I"): 8,
    }  # fmt: skip
    listed = (FOLDER / "README.md").read_text(encoding="utf-8").split("## What is suspect")[1].split("##")[0]
    assert sum(map(int, re.findall(r"^\|[^|]+\| (\d+) \|", listed, re.MULTILINE))) == len(suspect)
    below_chance = [number for number in read_published("ncl") if number.table == "5" and number.value < 50]
    assert len(below_chance) == 9 and all(number.suspect for number in below_chance)


def test_fractions() -> None:
    fractions = {(number.table, number.unit): number.fraction for number in read_published("pscc_net")}
    assert fractions["5", "percent"] == 0.8547 and math.isnan(fractions["4-caption", "seconds"])
    assert all(-1 <= number.fraction <= 1 for number in read_published() if number.unit in ("percent", "fraction"))
    assert read_published("dmac")[1].value == Decimal("0.4550") and str(read_published("dmac")[1].value) == "0.4550"


def test_every_word_has_a_rule_and_every_rule_a_word() -> None:
    names = published._read_names(FOLDER / "names.yaml")
    numbers = read_published()
    for part in ("models", "datasets", "distortions", "metrics"):
        rules = getattr(names, part)
        decided = {id(published._rule(rules, number, part, FOLDER / f"{number.paper}.csv")) for number in numbers}
        assert [rule for rule in rules if id(rule) not in decided] == [], f"{part}: rules that decide nothing"
        for rule in rules:
            for column, words in rule.where.items():
                assert set(words) <= {getattr(number, column) for number in numbers}, f"{part}: a word no paper has"


def test_every_method_of_ours_has_published_numbers() -> None:
    keys = published._beside(tuple(catalog.published_papers().values()))
    assert {key[0].partition(":")[0] for key in keys} == set(imdl_bench.list_models())


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (("psccnet", "columbia", "full", "none", "pixel_auc/per-image"), "98.2 98.19 98.19"),
        (("psccnet", "columbia", "full", "none", "pixel_auc/pooled"), "98.2 98.19 98.19"),
        (("psccnet", "casia", "full", "none", "pixel_auc/pooled"), "82.9 82.93"),
        (("psccnet", "casia_v1", "full", "none", "pixel_f1@eer/pooled"), "55.4"),
        (("psccnet", "nist16", "test", "none", "pixel_f1@eer/per-image"), "81.9"),
        (("psccnet", "nist16", "full", "jpeg(quality=50)", "pixel_auc/per-image"), "85.37"),
        (("psccnet", "columbia", "full", "gaussian_noise(sigma=15)", "pixel_auc/per-image"), "74.35"),
        (("psccnet", "columbia", "full", "gaussian_blur(kernel=3)", "pixel_auc/pooled"), "84.18"),
        (("psccnet", "columbia", "full", "resize(scale=0.25)", "pixel_auc/pooled"), "78.41"),
        (("psccnet:stop_at_scale=4", "nist16", "full", "none", "pixel_auc/pooled"), "84.15"),
        (("psccnet:without=spatial+channel", "columbia", "full", "none", "pixel_auc/pooled"), "85.78"),
        (("psccnet", "casia_d", "full", "none", "image_eer"), "2.83"),
        (("psccnet", "casia_d", "full", "none", "image_f1[mask-mean]@eer"), "66.88"),
        (("mantranet", "coverage", "full", "none", "pixel_auc[negate-majority]/per-image"), "81.9 81.9"),
        (("mantranet", "imd20", "full", "none", "pixel_auc/pooled"), "74.8"),
        (("ela", "casia_v1", "full", "none", "pixel_f1@best/per-image"), "21.4 21.4"),
        (("noi1", "columbia", "full", "none", "pixel_auc/per-image"), "54.6 54.6"),
        (("dmac", "casia_pairs", "full", "none", "image_auc"), "0.9468 0.9472"),
        (("dmac:score=detection-net", "casia_pairs", "full", "none", "image_auc[model]"), "0.9512 0.9556"),
        (("ncl", "defacto12k", "full", "none", "pixel_f1@0.5/pooled"), "60.7 60.7"),
        (("ela_ppm", "ifs_tc", "full", "none", "pixel_f1_weighted@0.5/pooled"), "0.8692"),
        (("ela_ppm", "casia_v2", "full", "none", "pixel_f1@0.5/per-image"), "0.543 0.5428"),
        (("psccnet", "columbia", "full", "none", "pixel_f1@0.5/pooled"), ""),
        (("psccnet", "columbia", "full", "jpeg(quality=70)", "pixel_auc/pooled"), ""),
        (("somebody", "columbia", "full", "none", "pixel_auc/pooled"), ""),
    ],
)
def test_what_stands_beside_a_number_of_ours(line: tuple[str, ...], values: str) -> None:
    found = [entry for entry in match(*line) if not entry.number.suspect and entry.number.train_set[:7] != "own pre"]
    found = found or match(*line)
    assert sorted(str(entry.number.value) for entry in found) == sorted(values.split())


def test_suspect_numbers_stand_beside_ours_too_but_marked() -> None:
    found = match("mantranet", "nist16", "full", "jpeg(quality=50)", "pixel_auc/per-image")
    assert {str(entry.number.value): bool(entry.number.suspect) for entry in found} == {"77.9": True, "74.38": False}
    assert all("average not stated" in entry.caveats for entry in found)


def test_image_scores_follow_the_rule_of_the_line() -> None:
    by_mean = match("mantranet", "casia_d", "full", "none", "image_auc", score_rule="mask-mean")
    assert [str(entry.number.value) for entry in by_mean] == ["59.94"]
    assert match("mantranet", "casia_d", "full", "none", "image_auc") == []
    with pytest.raises(UsageError, match="did you mean 'auc'"):
        match("mantranet", "casia_d", "full", "none", "image_auk")


def test_select_takes_words_loosely_and_explains_unknown_ones() -> None:
    numbers = read_published()
    assert {number.method for number in select(numbers, {"method": "psccnet"})} == {"PSCC-Net"}
    assert {number.method for number in select(numbers, {"method": "dmac"})} == {"DMAC"}
    assert {number.dataset for number in select(numbers, {"dataset": "casia_v1", "table": None})} == {"CASIA v1"}
    with pytest.raises(UsageError, match=r"dataset 'Colombia'; did you mean 'Columbia'"):
        select(numbers, {"dataset": "Colombia"})
    with pytest.raises(UsageError, match=r"no paper 'pscc'; did you mean 'pscc_net'"):
        read_published("pscc")


NAMES_YAML = """
models: [{where: {method: [Red]}, ours: [ela]}]
datasets: [{where: {dataset: [Mine]}, ours: [columbia/full]}]
distortions: [{where: {distortion: [none]}, ours: [none]}]
metrics: [{where: {metric: [AUC]}, ours: [image_auc]}]
"""
HEAD = ",".join(COLUMNS)
ROW = "mine,1,Red,,pretrained,,Mine,full,none,image,AUC,90.10,percent,,"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A plug-in folder with one paper of one number."""
    folder = tmp_path / "results/published"
    folder.mkdir(parents=True)
    (folder / "mine.csv").write_text(f"{HEAD}\n{ROW}\n")
    (folder / "names.yaml").write_text(NAMES_YAML)
    monkeypatch.setattr(imdl_bench, "__path__", [*imdl_bench.__path__, str(tmp_path)])
    for cached in (catalog._cards, published._beside):
        cached.cache_clear()
    yield folder
    for cached in (catalog._cards, published._beside):
        cached.cache_clear()


def test_a_plug_in_folder_adds_a_paper(mine: Path) -> None:
    assert len(read_published()) == 966 and read_published("mine")[0].fraction == 0.901
    assert [str(e.number.value) for e in match("ela", "columbia", "full", "none", "image_auc")] == ["90.10"]


def test_a_paper_of_the_same_name_that_differs_is_refused(mine: Path) -> None:
    (mine / "ncl.csv").write_text(f"{HEAD}\n{ROW.replace('mine', 'ncl')}\n")
    with pytest.raises(CardError, match="'ncl' and differ"):
        read_published()


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("split,", "spilt,", r"mine.csv: line 1: unknown column 'spilt'; did you mean 'split'"),
        ("split,", "", r"line 1: missing columns: split"),
        ("note,suspect", "note,suspect,note", r"line 1: column 'note' stands there twice"),
        ("90.10", "about 90", r"line 2, column 'value': 'about 90' is no number"),
        ("90.10", "nan", r"line 2, column 'value': 'nan' is no number"),
        ("90.10", "901", r"line 2, column 'value': 901 is outside 0 to 100, where percent goes"),
        ("percent", "percents", r"column 'unit': unknown word 'percents'; did you mean 'percent'"),
        ("image,AUC", "images,AUC", r"column 'level': unknown word 'images'; did you mean 'image'"),
        ("pretrained", "tuned", r"column 'train_setting': unknown word 'tuned'; did you mean 'finetuned'"),
        ("mine,1", "other,1", r"column 'paper': 'other' differs from the file's name 'mine'"),
        ("Red", "", r"column 'method': is empty"),
        ("Red", " Red", r"column 'method': ' Red' begins or ends with a space"),
        ("90.10", "90,10", r"line 2: 16 cells for 15 columns"),
        (ROW, f"{ROW}\n{ROW}", r"line 3: the same cell as line 2"),
        ("Red", '"Red"x', r"mine.csv: line 2: cannot be read"),
        ("Red", '"Red', r"mine.csv: line 2: cannot be read"),
        ("Red", "R\udce9d", r"mine.csv: cannot be read: .*utf-8"),
    ],
)
def test_mistakes_in_a_csv_are_explained(mine: Path, old: str, new: str, hint: str) -> None:
    text = (mine / "mine.csv").read_text()
    (mine / "mine.csv").write_text(text.replace(old, new, 1), errors="surrogateescape")
    with pytest.raises(CardError, match=hint):
        read_published("mine")


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("[Red]", "[Blue]", r"names.yaml: key 'models': no rule for 'Red', '' of mine.csv \(table 1\)"),
        ("[Mine]", "[Yours]", r"key 'datasets': no rule for 'Mine', 'full'"),
        ("method", "methode", r"names.yaml: key 'models.0.where.methode.*'paper'"),
        ("ours: [ela]", "our: [ela]", r"unknown key 'models.0.our'"),
        ("[ela]", "[elaa]", r"key 'models.0.ours': no model 'elaa'; did you mean 'ela'"),
        ("[ela]", "['ela:depth=2']", r"key 'models.0.ours': ela has no setting 'depth'"),
        ("columbia/full", "colombia/full", r"key 'datasets.0.ours': no data set 'colombia'; did you mean 'columbia'"),
        ("columbia/full", "columbia/ful", r"columbia has no split 'ful'; did you mean 'full'"),
        ("ours: [none]", "ours: [jpeg50]", r"'jpeg50' is no distortion; write none, or a label such as jpeg"),
        ("image_auc", "image_auk", r"key 'metrics.0.ours': metric 'image_auk'.*did you mean 'auc'"),
        ("models:", "model:", r"unknown key 'model'; did you mean 'models'"),
    ],
)
def test_mistakes_in_the_names_are_explained(mine: Path, old: str, new: str, hint: str) -> None:
    (mine / "names.yaml").write_text(NAMES_YAML.replace(old, new, 1))
    with pytest.raises(CardError, match=re.compile(hint, re.DOTALL)):
        match("ela", "columbia", "full", "none", "image_auc")


def test_the_command_prints_and_marks(cli: Cli) -> None:
    done = cli("published", "--paper", "ncl", "--table", "3", "--method", "ncl")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("ncl ") for line in lines) == 9
    jpeg = next(line for line in lines if "jpeg_q50" in line)
    assert "? 84.3 %" in jpeg and "91.2 %" in lines[2] and "?" not in lines[2]
    assert "labels of quality 50 and 100 look exchanged" in done.stdout
    assert lines[-1].startswith("? marked: 4 of 9 numbers are suspect")


def test_the_command_writes_markdown_and_csv(cli: Cli) -> None:
    markdown = cli("published", "--paper", "mantra_net", "--table", "6", "--format", "md").stdout
    assert "| ~~33.81 %~~ | [1] [2] |" in markdown and "| 48.39 % |" in markdown
    table = cli("published", "--dataset", "nist16", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert len(rows) == 132 and {row["paper"] for row in rows} == {"ncl", "pscc_net", "mantra_net"}
    assert cli("published", "--format", "csv").stdout.count("\n") == 966


def test_the_command_explains_unknown_words(cli: Cli) -> None:
    for arguments, hint in (
        (("--paper", "mantranet"), "did you mean 'mantra_net'"),
        (("--method", "PSCCNett"), "no published number has method 'PSCCNett'"),
        (("--paper", "dmac", "--table", "5"), "no published number has table '5'"),
    ):
        done = cli("published", *arguments)
        assert done.returncode == 2 and hint in done.stderr and "Traceback" not in done.stderr
    assert "rites nothing" in cli("published", "--help").stdout
