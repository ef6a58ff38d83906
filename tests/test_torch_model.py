"""What every network shares: devices, precision, batches within memory, sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_network import official_state, write_tiny

import imdl_bench
from imdl_bench import catalog
from imdl_bench.errors import ImageError, PredictionError, UsageError
from imdl_bench.types import Image


@pytest.fixture
def tiny(with_plugin: Path) -> Any:
    """The tiny network, loaded."""
    write_tiny(with_plugin)
    catalog._cards.cache_clear()
    return imdl_bench.load_model("tiny", official_state())


def refuse_pixels(model: Any, most: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Let every forward pass of more than ``most`` pixels run out of memory; gives (batch, tile) of each attempt."""
    attempts = []
    whole = model.forward

    def forward(batch: torch.Tensor) -> torch.Tensor:
        attempts.append((len(batch), model.tile))
        if min(batch[:, 0].numel(), len(batch) * model.tile**2) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(batch)

    monkeypatch.setattr(model, "forward", forward)
    return attempts


def test_order_is_kept_whatever_the_shapes(tiny: Any, photo: np.ndarray) -> None:
    images = [Image(photo[:h, :w]) for h, w in [(64, 80), (50, 40), (64, 80), (16, 16), (50, 40)]]
    for image, prediction in zip(images, tiny.predict(images), strict=True):
        np.testing.assert_allclose(prediction.mask, tiny.predict([image])[0].mask, atol=1e-6)
    assert tiny.predict([]) == []


def test_batches_hold_at_most_so_many_pixels(tiny: Any, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.batch_pixels = 3 * 64 * 64
    attempts = refuse_pixels(tiny, 1 << 30, monkeypatch)
    tiny.predict([Image(photo[:64, i : i + 64]) for i in range(8)])
    assert [count for count, _ in attempts] == [3, 3, 2]


def test_out_of_memory_halves_the_batch(tiny: Any, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [Image(photo[:64, i : i + 64]) for i in range(8)]
    expected = tiny.predict(images)
    tiny.batch_pixels = 1 << 20
    attempts = refuse_pixels(tiny, 2 * 64 * 64, monkeypatch)
    for a, b in zip(tiny.predict(images), expected, strict=True):
        np.testing.assert_allclose(a.mask, b.mask, atol=1e-6)
    assert [count for count, _ in attempts][:3] == [8, 4, 2]


def test_on_a_cpu_images_pass_one_by_one(tiny: Any, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = refuse_pixels(tiny, 1 << 30, monkeypatch)
    tiny.predict([Image(photo[:64, i : i + 64]) for i in range(3)])
    assert [count for count, _ in attempts] == [1, 1, 1]
    assert tiny.concurrent


def test_a_tile_that_another_thread_made_smaller_is_tried(
    tiny: Any, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts, whole = [], tiny.forward

    def forward(batch: torch.Tensor) -> torch.Tensor:
        attempts.append(tiny.tile)
        if len(attempts) == 1:
            tiny.tile = 256
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(batch)

    monkeypatch.setattr(tiny, "forward", forward)
    assert tiny.predict([Image(photo)])[0].mask is not None
    assert attempts == [1024, 256] and tiny.tile == 256


def test_out_of_memory_then_cuts_smaller_tiles(tiny: Any, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = refuse_pixels(tiny, 260**2, monkeypatch)
    assert tiny.predict([Image(photo)])[0].mask is not None
    assert [tile for _, tile in attempts] == [1024, 512, 256]


def test_out_of_memory_at_last_gives_advice(tiny: Any, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_pixels(tiny, 100, monkeypatch)
    with pytest.raises(PredictionError, match="out of memory on cpu for one image of 512 x 512; try a machine with"):
        tiny.predict([Image(photo)])


def test_other_errors_are_not_taken_for_memory(tiny: Any, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(batch: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(tiny, "forward", forward)
    with pytest.raises(RuntimeError, match="shapes cannot"):
        tiny.predict([Image(photo)])


def test_images_too_small_are_refused_by_name_of_the_least(tiny: Any, photo: np.ndarray) -> None:
    with pytest.raises(ImageError, match="an image of 40 x 15; this network needs at least 16 pixels a side"):
        tiny.predict([Image(photo[:15, :40])])


@pytest.mark.filterwarnings("ignore:float16 is far slower")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_moves_masks_by_a_hair(tiny: Any, photo: np.ndarray, precision: str) -> None:
    lower: Any = imdl_bench.load_model("tiny", official_state(), precision=precision)
    a, b = tiny.predict([Image(photo)])[0].mask, lower.predict([Image(photo)])[0].mask
    assert b.dtype == np.float32 and 0 < np.abs(a - b).max() < 0.05


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"precision": "float8"}, "no precision 'float8'"),
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"device": "meta"}, "no device 'meta'"),
        ({"device": "cpu:7"}, "no device 'cpu:7'"),
        ({"device": "cuda:77"}, "CUDA GPUs are visible"),
    ],
)
def test_unknown_devices_and_precisions_are_explained(tiny: Any, arguments: dict[str, str], hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        imdl_bench.load_model("tiny", official_state(), **arguments)


def test_float16_on_a_cpu_is_warned_of(tiny: Any) -> None:
    with pytest.warns(UserWarning, match="float16 is far slower than float32 on a CPU"):
        imdl_bench.load_model("tiny", official_state(), precision="float16")


def test_read_only_and_strided_images_are_taken(tiny: Any, photo: np.ndarray) -> None:
    strided = photo[::2, ::-3]
    whole = np.ascontiguousarray(strided)
    whole.flags.writeable = False
    a, b = tiny.predict([Image(strided)])[0].mask, tiny.predict([Image(whole)])[0].mask
    np.testing.assert_array_equal(a, b)
    a[:] = 0  # an array of its own


def test_networks_wait_in_eval_mode_without_gradients(tiny: Any) -> None:
    assert not tiny.network.training
    assert not any(parameter.requires_grad for parameter in tiny.network.parameters())
