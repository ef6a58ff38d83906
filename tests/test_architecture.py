"""Who imports whom, held by reading the imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    {"types", "errors", "cache", "memory", "threads", "columns", "thumbnails", "remembered"},
    {"images", "layouts", "making", "examples"},
    {"prediction_files"},
    {"geometry", "from_albumentations", "synthesis"},
    {"distortions"},
    {"cards", "metrics"},
    {"model_spec", "weights", "checkpoint", "folding"},
    {"torch_model", "learner", "device_scores"},
    {"batching", "catalog"},
    {"published", "splits", "dataset", "records", "predictions"},
    {"check", "contamination", "near_duplicates", "runs"},
    {"planning"},
    {"engine"},
    {"runner"},
    {"leaderboard", "predict", "comparison", "comparison_tables"},
    {"tables"},
    {"report"},
    {"benchmark"},
    {"sweep", "train"},
    {"commands"},
    {"cli", "__main__", "__init__"},
]
FOR_PLUGINS = {
    "types",
    "errors",
    "images",
    "layouts",
    "making",
    "torch_model",
    "examples",
    "synthesis",
    "learner",
    "checkpoint",
}
WITH_TORCH = {"torch_model", "checkpoint", "learner", "folding", "device_scores"}  # and the package train
SHARED_NAMING = {("casia", "casia_v1"), ("casia", "casia_v2"), ("casia_d", "casia_v1"), ("casia_d", "casia_v2"),
                 ("casia_d", "casia"), ("casia_pairs", "casia_v1"), ("casia_pairs", "casia_v2"),
                 ("defacto84k", "defacto12k"), ("pairs", "folder")}  # fmt: skip


def _imports(path: Path) -> list[tuple[str, int]]:
    """Imported module names with their relative level, also those inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module == "imdl_bench" or node.level == 2:
                found += [(f"{module}.{alias.name}".lstrip("."), node.level) for alias in node.names]
            else:
                found.append((module, node.level))
    return found


def _core() -> list[Path]:
    return sorted((ROOT / "imdl_bench").rglob("*.py"))


def _parts(kind: str) -> list[Path]:
    return sorted((ROOT / kind).rglob("*.py"))


@pytest.mark.parametrize("path", _core(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_core_modules_import_only_layers_below(path: Path) -> None:
    layer = {name: rank for rank, names in enumerate(LAYERS) for name in names}
    own = path.relative_to(ROOT / "imdl_bench").parts[0].removesuffix(".py")
    assert own in layer, f"{own} has no layer: add it to LAYERS and argue for its place"
    for name, level in _imports(path):
        assert level == 0
        if name.startswith("imdl_bench."):
            used = name.split(".")[1]
            if used in layer and used != own and own not in ("cli", "__init__", "commands"):
                assert layer[used] <= layer[own], f"{path}: {own} must not import {used}"


@pytest.mark.parametrize("path", _core(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_core_names_no_model_and_no_data_set(path: Path) -> None:
    names = {folder.name for kind in ("models", "datasets") for folder in (ROOT / kind).iterdir() if folder.is_dir()}
    names -= {"sample", "folder", "pairs"}  # words of the language too
    strings = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    assert not names & {text for text in strings if isinstance(text, str)}


@pytest.mark.parametrize("path", _parts("models") + _parts("datasets"), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_models_and_data_sets_use_only_what_is_meant_for_them(path: Path) -> None:
    kind, own = path.relative_to(ROOT).parts[:2]
    for name, level in _imports(path):
        if level == 2:
            assert kind == "datasets" and (own, name.split(".")[0]) in SHARED_NAMING, f"{path} imports {name}"
        elif name == "imdl_bench" or name.startswith("imdl_bench."):
            assert name.split(".")[1] in FOR_PLUGINS, f"{path} imports {name}"


@pytest.mark.parametrize("path", _core(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_torch_loads_only_where_networks_are(path: Path) -> None:
    """`imdl-bench list` must not wait for it."""
    used = {name.split(".")[0] for name, _ in _imports(path)}
    may = path.stem in WITH_TORCH or path.parent.name == "train" or path.stem == "weights"
    assert may or not used & {"torch", "torchvision", "timm", "safetensors", "lightning", "tensorboard"}


def test_no_file_is_too_long_to_know_ones_way() -> None:
    for path in [*_core(), *_parts("models"), *_parts("datasets"), *_parts("tests"), *_parts("benchmarks")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path


def test_nothing_stands_directly_in_the_folders_of_parts() -> None:
    for kind in ("models", "datasets", "protocols", "results"):
        assert not (ROOT / kind / "__init__.py").exists(), f"it would hide other packages called {kind}"
