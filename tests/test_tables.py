"""Tables over several data sets: one metric stands across them, models keep one name, daggers stand at numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dataset_trees import build_tree

import imdl_bench
from imdl_bench.leaderboard import Line
from imdl_bench.tables import overview, to_html, to_latex, to_markdown, to_text

AUC = "pixel_auc/per-image"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[Line]:
    """Two models on two data sets, three metrics."""
    root = tmp_path_factory.mktemp("trees")
    for name in ("columbia", "coverage"):
        build_tree(root / name, name, "official", (96, 64))
    protocol = imdl_bench.load_protocol("mantranet-table8")
    data = [line for line in protocol.data if line.dataset in ("columbia", "coverage")]
    cut = protocol.model_copy(update={"data": data})
    return list(imdl_bench.run(cut, ["ela", "noi1"], root, out=root / "out").lines)


def _cells(table: str) -> list[list[str]]:
    return [row.strip("| ").split(" | ") for row in table.splitlines() if row.startswith("| ")]


def test_one_metric_stands_across_its_data_sets(lines: list[Line]) -> None:
    chosen = [line for line in lines if line.metric == AUC]
    values = {(line.model, line.dataset): line for line in chosen}
    rows = _cells(to_markdown(chosen))
    assert rows[0] == ["model", "columbia/full", "coverage/full"]
    assert [row[0] for row in rows[1:]] == ["ela", "ela as published", "noi1", "noi1 as published"]
    for row in (rows[1], rows[3]):
        shown = [cell.strip("*") for cell in row[1:]]
        assert shown == [f"{values[row[0], data].value:.4f}" for data in ("columbia", "coverage")]
    assert rows[2][1:] == [f"{values['ela', data].published:g}" for data in ("columbia", "coverage")]
    assert "model & columbia/full & coverage/full" in to_latex(chosen)
    assert to_html(chosen).count("<table>") == 1


def test_several_metrics_keep_a_table_for_each_data_set(lines: list[Line]) -> None:
    assert to_markdown(lines).count("| model |") == 2 and to_text(lines).count("beside published numbers") == 2


def test_the_overview_closes_with_the_first_metric_of_every_data_set(lines: list[Line]) -> None:
    title, _, head, _, *rows = overview(lines).splitlines()
    assert title.endswith("v1: pixel_auc[negate-majority]/per-image") and head.split() == ["data", "ela", "noi1"]
    assert [row.split()[0] for row in rows[:2]] == ["columbia/full", "coverage/full"]
    first = next(line for line in lines if line.model == "ela" and line.dataset == "columbia")
    assert rows[0].split()[1] == f"{first.value:.4f}"
    assert overview([line for line in lines if line.dataset == "columbia"]) == ""
    assert overview([line for line in lines if line.metric == AUC]) == ""


def test_a_dagger_stands_at_the_number_it_is_about(lines: list[Line]) -> None:
    marked = [
        replace(line, contamination="certain: trained on coverage/full: 17 of 17 images, 0 more share")
        if (line.model, line.dataset) == ("noi1", "coverage") else line
        for line in lines if line.metric == AUC
    ]  # fmt: skip
    rows = _cells(to_markdown(marked))
    assert [cell.endswith("†") for cell in rows[3]] == [False, False, True]
    assert rows[3][0] == "noi1" and "noi1 on coverage/full: certain" in to_markdown(marked)
    assert r"\dag{}" in to_latex(marked)


def test_failed_images_of_one_model_add_up_over_its_data_sets(lines: list[Line]) -> None:
    failing = [replace(line, n_failed=2) for line in lines if line.metric == AUC]
    row = next(row for row in to_text(failing).splitlines() if row.startswith("images failed"))
    assert row.split()[2:] == ["4", "4"]


def test_a_model_with_settings_shows_its_time_beside_the_plain_one(lines: list[Line]) -> None:
    chosen = [line for line in lines if line.dataset == "columbia" and line.model == "ela"]
    plain = [replace(line, model="net", weights="w", seconds_per_image=0.5) for line in chosen]
    exits = [replace(line, model="net:stop=4", weights="w", run="b", seconds_per_image=0.2) for line in chosen]
    table = to_text([*exits, *plain]).splitlines()
    assert next(row for row in table if row.startswith("relative time")).split()[2:] == ["0.40", "1.00"]
    assert "relative time" not in to_text(lines)
    other = [replace(line, weights="v") for line in plain]
    assert "relative time" not in to_text([*exits, *other])
