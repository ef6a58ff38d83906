"""Shared by all tests: a cache of their own, photographs, a plug-in folder, and the command line as a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from plugin_folder import write_edits, write_model, write_text

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # workers that each take all cores for a network wait for one another

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing of the user's cache is read or written; parallel workers share one, so the sample is made once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    os.environ["IMDL_BENCH_CACHE"] = str(folder)
    yield folder
    del os.environ["IMDL_BENCH_CACHE"]


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A real photograph, uint8 (512, 512, 3) RGB."""
    from skimage.data import astronaut

    return np.asarray(astronaut())


@pytest.fixture
def cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `imdl-bench ARGUMENTS` as users do; returns the finished process."""

    def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "imdl_bench", *map(str, arguments)],
            cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def plugin(tmp_path: Path, photo: np.ndarray) -> Path:
    """A plug-in folder: models `red` and `slow_red`, data set and protocol `edits`, 12 images under `data/`."""
    folder = tmp_path / "plugin"
    write_model(folder, "red", "return image[..., 0].astype(np.float32) / np.float32(255)")
    write_model(folder, "slow_red", "time.sleep(0.15); return image[..., 0].astype(np.float32) / np.float32(255)")
    write_text(folder / "datasets/edits/card.yaml", """
        name: edits
        title: Twelve edits of one photograph
        source: made by the tests
        licence: CC0-1.0
        paper: none
    """)  # fmt: skip
    write_text(folder / "datasets/edits/index.py", """
        from imdl_bench.types import Sample

        def index(root):
            rows = []
            for image in sorted((root / "images").iterdir()):
                number = int(image.stem)
                forged = number % 3 > 0
                mask = root / "masks" / f"{image.stem}.png" if forged else None
                kind = "splicing" if forged else None
                rows.append(Sample(image.name, image, forged, mask, kind=kind, group=str(number // 2)))
            return rows
    """)  # fmt: skip
    write_text(folder / "protocols/edits.yaml", """
        name: edits
        version: 1
        title: Everything on twelve edits
        task: both
        source: made by the tests
        data: [{dataset: edits}]
        models: [red]
        score: mask-mean
        metrics: [pixel_auc/per-image, pixel_f1@best-set/per-image, pixel_f1@0.5/per-image, pixel_auc/pooled,
                  pixel_f1@0.3/pooled, pixel_f1@best/pooled, image_auc, image_eer]
    """)  # fmt: skip
    write_edits(folder / "data", photo)
    return folder


@pytest.fixture
def with_plugin(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plug-in folder, known to this process too."""
    import imdl_bench
    from imdl_bench import catalog

    monkeypatch.setenv("IMDL_BENCH_PATH", str(plugin))
    monkeypatch.setattr(imdl_bench, "__path__", [*imdl_bench.__path__, str(plugin)])
    catalog._cards.cache_clear()
    yield plugin
    catalog._cards.cache_clear()
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(plugin)):
            del sys.modules[name]


def shared(name: str, setting: str) -> Path:
    """Reference material that is not ours to commit: skipped where it is missing, failed where CI misses it."""
    folder = Path(os.environ.get(setting, ROOT.parent / "shared" / name))
    if not folder.is_dir():
        reason = f"{folder} is missing; set {setting} to the folder that holds it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def checkpoint(with_plugin: Path) -> Path:
    """The tiny network as a plug-in; the folder of its official files."""
    from tiny_network import write_tiny

    from imdl_bench import catalog

    files = write_tiny(with_plugin)
    catalog._cards.cache_clear()
    return files


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The same sums on any machine: torch splits them by its threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
