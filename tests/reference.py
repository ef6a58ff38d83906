"""Weights and inputs of the reference cases, rebuilt from the rules they were made by; and how their arrays are cut."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from conftest import shared
from numpy.typing import NDArray

from imdl_bench.images import read_image

GOLDEN = Path(__file__).resolve().parent / "golden"

SRM = np.zeros((3, 5, 5))
SRM[0, 1:4, 1:4] = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
SRM[1] = np.array([[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]) / 12  # fmt: skip  # noqa: E501
SRM[2, 2, 1:4] = np.array([1, -2, 1]) / 2


def generator(key: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(key.encode()))


def fill(key: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """A weight of PSCC-Net or ManTra-Net by the rule of its reference cases, from its key alone."""
    rng = generator(key)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var"):
        return _as_float32((0.5 + rng.random(shape)) * (1e-3 if "bnorm" in key else 1))
    if "SRMConv2D" in key:
        kernels = np.zeros((9, 3, 5, 5))
        for place in range(9):
            kernels[place, place % 3] = SRM[place // 3]
        return _as_float32(kernels)
    z = rng.standard_normal(shape)
    if "BayarConv2D" in key:
        w = np.abs(z) + 0.1
        w[..., 2, 2] = 0
        w /= w.sum(axis=(-2, -1), keepdims=True)
        w[..., 2, 2] = -1
        return _as_float32(w)
    if "sigma_F" in key:
        return _as_float32(0.5 * np.abs(z))
    if "adaptation" in key:
        return _as_float32(z / np.sqrt((z**2).sum(axis=tuple(range(1, z.ndim)), keepdims=True)))
    if key.endswith("running_mean"):
        return _as_float32((0.01 if "bnorm" in key else 0.1) * z)
    if key.endswith(("gamma_s", "gamma_c")):
        return _as_float32(1 + 0.1 * z)
    if z.ndim >= 2:
        gain = 0.05 if ".theta." in key or ".phi." in key else 2 if "IMTFE" in key else 1
        return _as_float32(z * np.sqrt(gain / np.prod(shape[1:])))
    return _as_float32(0.1 * z if key.endswith("bias") else 1 + 0.1 * z)


def fill_plain(key: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """A weight of DMAC, NCL's base network or Coordinate Attention by the rule of their reference cases."""
    rng = generator(key)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var"):
        return _as_float32(0.5 + rng.random(shape))
    z = rng.standard_normal(shape)
    if key.endswith(("running_mean", "bias")):
        return _as_float32(0.1 * z)
    if key.endswith(("weight_u", "weight_v")):
        return _as_float32(z / np.linalg.norm(z))
    if z.ndim == 1:
        return _as_float32(1 + 0.1 * z)
    return _as_float32(z / np.sqrt(np.prod(shape[1:])))


def noise(seed: int, h: int, w: int) -> NDArray[np.uint8]:
    """Independent pixels: uint8 (h, w, 3) RGB."""
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def block(seed: int, h: int, w: int) -> NDArray[np.uint8]:
    """Flat blocks of 16 pixels with a little noise: uint8 (h, w, 3) RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-h // 16), -(-w // 16), 3))
    flat = coarse.repeat(16, axis=0).repeat(16, axis=1)[:h, :w]
    return np.clip(flat + rng.integers(-12, 13, (h, w, 3)), 0, 255).astype(np.uint8)


def pyramid(seed: int, h: int, w: int, batch: int, scale: float) -> list[NDArray[np.float32]]:
    """Four made-up backbone maps of PSCC-Net: float32 (batch, C, ceil(h / 2^i), ceil(w / 2^i))."""
    rng = np.random.default_rng(seed)
    maps = []
    for i, channels in enumerate((18, 36, 72, 144)):
        hi, wi, b = -(-h // 2**i), -(-w // 2**i), max(1, 16 // 2**i)
        coarse = rng.standard_normal((batch, channels, -(-hi // b), -(-wi // b)))
        z = coarse.repeat(b, axis=2).repeat(b, axis=3)[..., :hi, :wi]
        z = z + 0.3 * rng.standard_normal((batch, channels, hi, wi))
        maps.append(_as_float32(scale * np.maximum(z, 0)))
    return maps


def picture(made: dict[str, Any], model: str) -> NDArray[np.uint8]:
    """The input that a case of ``model`` describes: made by its rule, or a file that is not ours to commit."""
    if made["type"] != "file":
        return {"noise": noise, "block": block}[made["type"]](made["seed"], made["h"], made["w"])
    image = np.asarray(read_image(shared("golden", "IMDL_BENCH_GOLDEN") / model / made["path"]))
    assert hashlib.sha256(image.tobytes()).hexdigest() == made["sha256_rgb"]
    return image


def compare(found: Any, name: str, arrays: Mapping[str, NDArray[Any]], atol: float) -> None:
    """The stored array of this name: ``name`` itself, or ``name_sN`` with every N-th row and column."""
    found = np.asarray(found)
    stored = [key for key in arrays if key == name or (key.rpartition("_s")[0] == name and key[-1].isdigit())]
    assert len(stored) == 1, stored
    step = int(stored[0].rpartition("_s")[2]) if stored[0] != name else 1
    expected = arrays[stored[0]]
    found = found[..., ::step, ::step] if step > 1 else found
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=atol, err_msg=name)


def _as_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)
