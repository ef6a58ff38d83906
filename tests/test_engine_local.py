"""The engine of one process: the same bytes for any number of threads, and nothing that waits for ever."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from plugin_folder import write_edits, write_model, write_text

import imdl_bench
from imdl_bench import catalog, memory
from imdl_bench.engine import local
from imdl_bench.engine.local import Entrant
from imdl_bench.metrics.histogram import sort_scores
from imdl_bench.threads import one_thread_each

Cli = Callable[..., subprocess.CompletedProcess[str]]
LEVELS = "distort: [none, {gaussian_noise: {sigma: [5, 20]}}, {crop: {fraction: 0.7}}]\n"


def _written(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*.csv"))}


def test_threads_and_batches_move_no_byte(checkpoint: Path, with_plugin: Path, tmp_path: Path) -> None:
    """A network, a baseline and a model that takes batches, side by side."""
    with (with_plugin / "protocols/edits.yaml").open("a") as file:
        file.write(LEVELS)
    models = ["tiny@random", "noi1", "red"]
    written = []
    for workers, batch_size in ((1, 1), (2, 8), (5, 3)):
        out = tmp_path / f"{workers}"
        imdl_bench.run("edits", models, with_plugin / "data", out=out, workers=workers, batch_size=batch_size)
        written.append(_written(out))
    assert len(written[0]) == 4 and written[0] == written[1] == written[2]


def test_little_memory_means_one_image_at_a_time(
    with_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(with_plugin / "models/crowd/card.yaml", """
        name: crowd
        title: Counts who is in it
        entry: model:Crowd
        outputs: [mask]
        paper: none
    """)  # fmt: skip
    write_text(with_plugin / "models/crowd/model.py", """
        import threading, time
        import numpy as np
        from imdl_bench.types import Prediction

        class Crowd:
            concurrent = True
            most = inside = 0
            lock = threading.Lock()

            def predict(self, images):
                with Crowd.lock:
                    Crowd.inside += 1
                    Crowd.most = max(Crowd.most, Crowd.inside)
                time.sleep(0.05)
                with Crowd.lock:
                    Crowd.inside -= 1
                return [Prediction(i[..., 0].astype(np.float32) / np.float32(255)) for i in images]
    """)  # fmt: skip
    catalog._cards.cache_clear()
    crowd = catalog.model_entry("crowd")
    for pixels, most in ((10**9, 4), (1, 1)):
        monkeypatch.setattr(local, "pixels_at_once", lambda pixels=pixels: pixels)
        crowd.most = 0  # type: ignore[attr-defined]
        imdl_bench.run("edits", "crowd", with_plugin / "data", out=tmp_path / f"{pixels}", workers=4)
        assert crowd.most == most  # type: ignore[attr-defined]


def test_free_memory_is_counted_in_pixels() -> None:
    assert 1 << 20 < memory.pixels_at_once() < 1 << 36


def test_an_error_that_is_no_image_s_fault_ends_the_run(
    with_plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("in a thread")

    monkeypatch.setattr(local, "decode", broken)
    with pytest.raises(ZeroDivisionError, match="in a thread"):
        imdl_bench.run("edits", "red", with_plugin / "data", out=tmp_path, workers=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("imdl-bench")]


def test_within_a_run_every_thread_computes_alone() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    seen: list[int] = []
    with one_thread_each():
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert torch.get_num_threads() == cv2.getNumThreads() == 1 and seen == [1]
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before


def test_a_model_alone_computes_on_one_thread_too(with_plugin: Path, tmp_path: Path) -> None:
    """As beside a network, and as in a worker of a cluster: the last bits of its sums depend on it."""
    body = "import torch; return np.full(image.shape[:2], torch.get_num_threads() / 64, np.float32)"
    write_model(with_plugin, "threads", body)
    catalog._cards.cache_clear()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        result = imdl_bench.run("edits", "threads", with_plugin / "data", out=tmp_path)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert (pd.read_csv(result.runs[0].with_name("rows.csv"))["mask_mean"] == 1 / 64).all()


def test_torch_that_a_model_imports_when_asked_has_one_thread_too(plugin: Path, tmp_path: Path, cli: Cli) -> None:
    body = "import torch; return np.full(image.shape[:2], torch.get_num_threads() / 64, np.float32)"
    write_model(plugin, "late", body)
    more = {"IMDL_BENCH_PATH": str(plugin), "OMP_NUM_THREADS": "3"}
    done = cli("run", "edits", "--model", "late", "--data", plugin / "data", "--out", tmp_path / "out", **more)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(next((tmp_path / "out").rglob("rows.csv")))
    assert (rows["mask_mean"] == 1 / 64).all()


def test_masks_are_sorted_where_the_network_is() -> None:
    class OnGpu:
        device = torch.device("cuda:1")

    assert Entrant("a", OnGpu(), ("mask",)).sort.args == ("cuda:1",)  # type: ignore[arg-type, attr-defined]
    assert Entrant("b", object(), ("mask",)).sort is sort_scores  # type: ignore[arg-type]


def test_a_run_of_many_images_of_one_size_waits_for_nothing(
    with_plugin: Path, tmp_path: Path, photo: np.ndarray
) -> None:
    """More images than fit into all queues, with batches that never fill."""
    write_edits(with_plugin / "data", photo, count=60)
    result = imdl_bench.run("edits", "red", with_plugin / "data", out=tmp_path, workers=1, batch_size=64)
    assert result.n_failed == 0 and result.n_new == 60
