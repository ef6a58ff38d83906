"""What a network does on a GPU, on a CPU that says it is one: batches that fit, copies, threads that prepare ahead."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_network import official_state, write_tiny

import imdl_bench
from imdl_bench import catalog, torch_model
from imdl_bench.errors import ImageError
from imdl_bench.torch_model import images_that_fit, to_masks
from imdl_bench.types import Image

GIB = 1 << 30


class FakeGPU:
    """80 GiB of which PyTorch holds 10, half of them unused; a batch takes ``base`` GiB and ``each`` per image."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, base: float = 0, each: float = 1) -> None:
        self.base, self.each, self.free = base, each, 40 * GIB
        self.peak, self.waits = 0, 0
        stands_for = {
            "memory_allocated": lambda device: 5 * GIB,
            "memory_reserved": lambda device: 10 * GIB,
            "reset_peak_memory_stats": lambda device: setattr(self, "peak", 5 * GIB),
            "max_memory_allocated": lambda device: self.peak,
            "mem_get_info": lambda device: (self.free, 80 * GIB),
            "empty_cache": lambda: None,
            "current_stream": lambda device: self,
        }
        for name, function in stands_for.items():
            monkeypatch.setattr(torch.cuda, name, function)
        monkeypatch.setattr(torch_model, "on_gpu", lambda device: True)
        monkeypatch.setattr(torch_model, "pinned", lambda shape, dtype: torch.full(shape, torch.nan, dtype=dtype))

    def synchronize(self) -> None:
        self.waits += 1

    def watch(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The sizes of the batches that go through the network from now on; too large ones run out of memory."""
        sizes: list[int] = []
        whole = model.forward

        def forward(batch: torch.Tensor) -> torch.Tensor:
            sizes.append(len(batch))
            needed = int((self.base + self.each * len(batch)) * GIB)
            if needed > self.free + 5 * GIB:
                raise torch.OutOfMemoryError("CUDA out of memory")
            self.peak = max(self.peak, 5 * GIB + needed)
            return whole(batch)  # type: ignore[no-any-return]

        monkeypatch.setattr(model, "forward", forward)
        return sizes


@pytest.fixture
def tiny(with_plugin: Path) -> Any:
    """The tiny network, loaded."""
    write_tiny(with_plugin)
    catalog._cards.cache_clear()
    return imdl_bench.load_model("tiny", official_state())


@pytest.fixture
def images(photo: np.ndarray) -> list[Image]:
    """Forty that differ."""
    return [Image(photo[i : i + 64, i : i + 64]) for i in range(40)]


def test_a_small_batch_tells_how_many_images_fit(
    tiny: Any, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tiny.predict(images)
    gpu = FakeGPU(monkeypatch, each=2)
    sizes = gpu.watch(tiny, monkeypatch)
    found = tiny.predict(images)
    assert sizes == [2, 18, 18, 2], "18 of 2 GiB each are 4/5 of what is free: 40 GiB and the 5 that PyTorch holds"
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.mask, b.mask, atol=1e-6)
    tiny.predict(images[:20])
    assert sizes[4:] == [18, 2], "known from now on"


def test_each_shape_is_judged_by_itself(tiny: Any, images: list[Image], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = FakeGPU(monkeypatch, base=20, each=1).watch(tiny, monkeypatch)
    tiny.predict([*images[:8], *(Image(image[:32]) for image in images[:8])])
    assert sizes == [2, 3, 3, 2, 3, 3], "the 20 GiB that any batch takes are counted as the two images'"


def test_out_of_memory_still_halves_and_is_remembered(
    tiny: Any, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = FakeGPU(monkeypatch, each=1)
    sizes = gpu.watch(tiny, monkeypatch)
    tiny.predict(images[:2])
    gpu.free = 10 * GIB  # another process came
    assert len(tiny.predict(images)) == 40
    assert sizes == [2, 36, 18, 9, 9, 18, 9, 9, 4]
    assert len(tiny.predict(images[:10])) == 10
    assert sizes[9:] == [9, 1]


def test_out_of_memory_on_the_first_batch_is_no_measure(
    tiny: Any, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = FakeGPU(monkeypatch, each=30).watch(tiny, monkeypatch)
    tiny.predict(images[:4])
    assert sizes == [2, 1, 1, 1, 1]


@given(peak=st.integers(0, 1 << 40), images=st.integers(1, 64), free=st.integers(0, 1 << 40))
def test_what_fits_leaves_a_fifth_free(peak: int, images: int, free: int) -> None:
    count = images_that_fit(peak, images, free)
    assert count >= 1
    assert count == 1 or count * peak <= 0.8 * free * images
    assert (count + 1) * max(peak, 1) > (free * 4 // 5) * images


def test_what_fits_by_hand() -> None:
    assert images_that_fit(peak=4 * GIB, images=2, free=75 * GIB) == 30
    assert images_that_fit(peak=4 * GIB, images=2, free=GIB) == 1
    assert images_that_fit(peak=0, images=1, free=0) == 1


def test_masks_are_waited_for_once(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGPU(monkeypatch)
    tensors = [torch.rand(4, 5), torch.tensor([[1.5, -0.5]]), torch.rand(2, 2).half()]
    masks = to_masks(tensors)
    assert gpu.waits == 1
    for mask, tensor in zip(masks, tensors, strict=True):
        np.testing.assert_array_equal(mask, tensor.float().clamp(0, 1).numpy())
        assert mask.dtype == np.float32 and mask.flags.owndata
    assert to_masks([]) == []


def test_inputs_are_prepared_ahead_in_threads_that_end(
    tiny: Any, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeGPU(monkeypatch)
    prepare, threads = tiny.prepare, set()

    def watched(image: Image) -> torch.Tensor:
        threads.add(threading.current_thread())
        return prepare(image)  # type: ignore[no-any-return]

    monkeypatch.setattr(tiny, "prepare", watched)
    tiny.predict(images)
    with pytest.raises(ImageError, match="an image of 40 x 15"):
        tiny.predict([*images[:3], Image(images[0][:15, :40]), *images[3:]])
    assert threading.main_thread() not in threads and not any(thread.is_alive() for thread in threads)


def test_larger_pieces_on_a_gpu_move_no_number(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = imdl_bench.load_model("psccnet", "random")
    batch = torch.stack([model.prepare(Image(photo[:168, i : i + 200])) for i in range(5)])
    stem, pieces = model.network.backbone.stem, []
    monkeypatch.setattr(model.network.backbone, "stem", lambda part: pieces.append(part.shape) or stem(part))
    with torch.inference_mode():
        expected = model.forward(batch)
        assert len(pieces) == 8, "four of four pictures, four of one"
        for module in ("model", "tiles"):
            monkeypatch.setattr(f"imdl_bench.models.psccnet.{module}.on_gpu", lambda device: True)
        found = model.forward(batch)
    assert pieces[8:] == [(5, 3, 168, 200)]
    torch.testing.assert_close(found.masks, expected.masks, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-4)


def test_float32_is_not_rounded_to_tf32_and_algorithms_are_fixed(
    tiny: Any, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeGPU(monkeypatch)
    cudnn, seen = torch.backends.cudnn, []
    forward = tiny.forward
    monkeypatch.setattr(tiny, "forward", lambda batch: seen.append(_flags()) or forward(batch))
    before = _flags()
    tiny.predict(images[:1])
    assert seen == [(True, False, True, False)]
    assert _flags() == before and cudnn.enabled


def _flags() -> tuple[bool, ...]:
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32
