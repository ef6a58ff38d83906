"""Tiny data sets on disk, laid out and named as people really have them (names in golden/dataset_examples.json)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from imdl_bench import catalog, splits
from imdl_bench.types import Sample

EXAMPLES: dict[str, dict[str, dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "golden" / "dataset_examples.json").read_text(encoding="utf-8")
)
WHITE, BLACK, RED, GREEN = (255, 255, 255), (0, 0, 0), (200, 0, 0), (0, 200, 0)
MASK_COLOURS = {("columbia", "official"): (GREEN, RED), ("columbia", "nested_tar"): (GREEN, RED)}
MASK_COLOURS |= {("columbia", "mvss_list"): (GREEN, RED)}
MASK_COLOURS |= {("nist16", layout): (BLACK, WHITE) for layout in EXAMPLES["nist16"]}
PAIR_LISTS = ("pscc_finetune_list", "pscc_pretrained_list")


def build_tree(root: Path, dataset: str, layout: str, size: tuple[int, int] = (48, 32)) -> dict[str, Any]:
    """Write a layout's forged and pristine pictures (``size`` = width, height), masks, side files and list file.

    The forged part is the top left quarter. Returns the layout's examples: ``forged`` as ``{"image", "mask"}``,
    ``authentic`` as names, relative to ``root``. CSV files of a layout are left to the test that needs them.
    """
    example = EXAMPLES[dataset][layout]
    forged_colour, pristine_colour = MASK_COLOURS.get((dataset, layout), (WHITE, BLACK))
    photograph = _photograph(size)
    mask = np.full((size[1], size[0], 3), pristine_colour, np.uint8)
    mask[: size[1] // 2, : size[0] // 2] = forged_colour
    pristine = [*example.get("authentic", []), *example.get("no_mask", [])]
    for name in [*pristine, *(entry["image"] for entry in example["forged"])]:
        save(root / name, photograph)
    for name in [entry["mask"] for entry in example["forged"] if entry["mask"]] + example.get("extra_masks", []):
        save(root / name, mask)
    touch(root, (name for name in example.get("sidecars", []) if not (root / name).exists()))
    if "list_file" in example:
        write_list(root / example["list_file"], example, labelled=layout not in PAIR_LISTS)
    return example


def save(path: Path, pixels: np.ndarray) -> None:  # type: ignore[type-arg]
    """Write a picture in the format of its suffix, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def touch(root: Path, names: Iterable[str]) -> None:
    """Make empty files: enough for an index, which reads names only."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_list(path: Path, example: dict[str, Any], *, labelled: bool) -> None:
    """An MVSS-Net list (``./image ./mask|None label``), or ``image mask`` lines as PSCC-Net writes them."""
    if labelled:
        lines = [f"./{entry['image']} ./{entry['mask']} 1" for entry in example["forged"]]
        lines += [f"./{name} None 0" for name in example["authentic"]]
    else:
        lines = [f"{entry['image']} {entry['mask']}" for entry in example["forged"]]
    path.write_text("\n".join(lines), encoding="utf-8")


def published_names(file: str) -> list[str]:
    """Entries of a full published list: in ``IMDL_BENCH_SPLITS`` or ``shared/splits`` beside the checkout.

    Skips the test where the lists are not to be had; fails instead where ``CI=true``, which must have them.
    """
    folder = Path(os.environ.get("IMDL_BENCH_SPLITS") or Path(__file__).resolve().parents[2] / "shared" / "splits")
    if not (folder / file).is_file():
        reason = f"{folder / file} is missing: set IMDL_BENCH_SPLITS to the folder of published lists"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return [line.strip() for line in (folder / file).read_text(encoding="utf-8").splitlines() if line.strip()]


def _photograph(size: tuple[int, int]) -> np.ndarray:  # type: ignore[type-arg]
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return np.stack([columns * 5 % 256, rows * 7 % 256, (columns + rows) * 3 % 256], axis=-1).astype(np.uint8)


def index(name: str, root: Path) -> list[Sample]:
    return catalog.dataset_index(name)(root)


def select(name: str, samples: list[Sample], split: str, split_file: Path | None = None) -> list[Sample]:
    key = getattr(catalog.dataset_module(name), "split_key", splits.default_key)
    chosen, remarks = splits.select(samples, catalog.dataset_card(name), split, key, split_file)
    assert all(remark.endswith("in its place") for remark in remarks)
    return chosen


def forged(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.forged]


def by_id(samples: list[Sample]) -> dict[str, Sample]:
    assert len({sample.id for sample in samples}) == len(samples)
    return {sample.id: sample for sample in samples}
