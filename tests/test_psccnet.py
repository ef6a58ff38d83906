"""PSCC-Net: against arrays of the authors' code, tiled against whole, and what other versions of it get wrong."""

from __future__ import annotations

import hashlib
import importlib
import json

import numpy as np
import pytest
import torch
from conftest import shared
from reference import GOLDEN, block, fill, noise, pyramid

layers = importlib.import_module("imdl_bench.models.psccnet.layers")
heads = importlib.import_module("imdl_bench.models.psccnet.heads")
tiles = importlib.import_module("imdl_bench.models.psccnet.tiles")
resizing = importlib.import_module("imdl_bench.models.psccnet.resize")
model = importlib.import_module("imdl_bench.models.psccnet.model")

FOLDER = GOLDEN / "psccnet"
CASES = {case["name"]: case for case in json.loads((FOLDER / "index.json").read_text())}
PARTS = json.loads((GOLDEN / "psccnet.keys.json").read_text())
FILLED = {key: fill(key, tuple(shape)) for part in PARTS.values() for key, shape, _ in part["keys"]}
FEATURES, MASKS, PUBLISHED_MASKS, LOGITS = 2e-4, 2e-4, 2e-3, 1e-4


def network(tensors: dict[str, np.ndarray] = FILLED, **settings: object) -> torch.nn.Module:
    made = model.Network(**settings)
    own = {model.PSCCNet.official_name(key): key for key in made.state_dict()}
    made.load_state_dict({own[key.removeprefix("module.")]: torch.as_tensor(v) for key, v in tensors.items()})
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def filled() -> torch.nn.Module:
    return network()


def picture(name: str) -> np.ndarray:
    made = CASES[name]["input"]
    if made["type"] != "file":
        return {"noise": noise, "block": block}[made["type"]](made["seed"], made["h"], made["w"])
    from imdl_bench.images import read_image

    image = np.asarray(read_image(shared("golden", "IMDL_BENCH_GOLDEN") / "psccnet" / made["path"]))
    assert hashlib.sha256(image.tobytes()).hexdigest() == made["sha256_rgb"]
    return image


def batch_of(*images: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)) / 255 for image in images])


def compare(found: torch.Tensor | np.ndarray, name: str, arrays: dict[str, np.ndarray], atol: float) -> None:
    """Every stored array of this name: ``name`` itself, ``name_sN`` for every N-th row and column."""
    found = np.asarray(found)
    stored = [key for key in arrays if key == name or (key.rpartition("_s")[0] == name and key[-1].isdigit())]
    assert len(stored) == 1, stored
    step = int(stored[0].rpartition("_s")[2]) if stored[0] != name else 1
    expected = arrays[stored[0]]
    found = found[..., ::step, ::step] if step > 1 else found
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=atol, err_msg=name)


def load(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / f"{name}.npz"))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["kind"] == "fill_image"])
def test_whole_network_equals_the_authors(filled: torch.nn.Module, name: str) -> None:
    arrays, batch = load(name), batch_of(picture(name))
    with torch.inference_mode():
        maps = filled.backbone(batch)
        outputs = filled.from_features(heads.resample(maps))
    for number, feature in enumerate(maps, start=1):
        compare(feature, f"feat{number}", arrays, FEATURES)
        compare(feature.mean((2, 3)), f"feat{number}_mean", arrays, FEATURES)
        compare(feature.std((2, 3), correction=0), f"feat{number}_std", arrays, FEATURES)
    for number, mask in enumerate(outputs.masks, start=1):
        compare(mask, f"mask{number}", arrays, MASKS)
    np.testing.assert_allclose(outputs.logits, arrays["logits"], rtol=LOGITS, atol=LOGITS)
    np.testing.assert_allclose(outputs.logits.softmax(1)[:, 1], arrays["prob_forged"], rtol=0, atol=LOGITS)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["kind"] == "real_heads_pyramid"])
def test_published_heads_equal_the_authors(name: str) -> None:
    folder = shared("golden", "IMDL_BENCH_GOLDEN") / "psccnet"
    published = {
        key: tensor
        for file in ("NLCDetection.pth", "DetectionHead.pth")
        for key, tensor in torch.load(folder / file, map_location="cpu", weights_only=True).items()
    }
    arrays, made = load(name), CASES[name]["input"]
    maps = pyramid(made["seed"], made["h"], made["w"], made["batch"], made["scale"])
    with torch.inference_mode():
        outputs = network(FILLED | published).from_features(heads.resample([torch.from_numpy(x) for x in maps]))
    for number, mask in enumerate(outputs.masks, start=1):
        compare(mask, f"mask{number}", arrays, PUBLISHED_MASKS)
    np.testing.assert_allclose(outputs.logits, arrays["logits"], rtol=LOGITS, atol=LOGITS)
    np.testing.assert_allclose(outputs.logits.softmax(1)[:, 1], arrays["prob_forged"], rtol=0, atol=LOGITS)
