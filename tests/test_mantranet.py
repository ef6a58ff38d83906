"""ManTra-Net: against arrays of the authors' code, tiled against whole, and what other versions of it get wrong."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import reference
import torch
from reference import GOLDEN, SRM, block, fill, noise
from torch import Tensor

import imdl_bench
from imdl_bench.errors import PredictionError, UsageError

layers = importlib.import_module("imdl_bench.models.mantranet.layers")
detector = importlib.import_module("imdl_bench.models.mantranet.detector")
tiling = importlib.import_module("imdl_bench.models.mantranet.tiling")
keras = importlib.import_module("imdl_bench.models.mantranet.keras")
model = importlib.import_module("imdl_bench.models.mantranet.model")

FOLDER = GOLDEN / "mantranet"
CASES = {case["name"]: case for case in json.loads((FOLDER / "index.json").read_text())}
PUBLISHED = json.loads((GOLDEN / "mantranet.keys.json").read_text())
SHAPES = {key: tuple(shape) for key, shape, _ in PUBLISHED["pytorch_port"]["keys"] + PUBLISHED["extra_fill_keys"]}
STATISTICS = [key for key, _, _ in PUBLISHED["extra_fill_keys"]]
FILLED = {key: fill(key, shape) for key, shape in SHAPES.items()}
PORT = {key: value for key, value in FILLED.items() if key not in STATISTICS}
SMALL = block(7, 37, 45)


@pytest.fixture(scope="module")
def filled() -> torch.nn.Module:
    network = model.ManTraNetwork()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in FILLED.items()})
    return network.eval().requires_grad_(False)


def picture(name: str) -> np.ndarray:
    return reference.picture(CASES[name]["input"], "mantranet")


def batch_of(*images: np.ndarray) -> Tensor:
    return torch.stack(
        [torch.from_numpy(np.array(i).transpose(2, 0, 1).astype(np.float32)) / 255 * 2 - 1 for i in images]
    )


def compare(found: Tensor | np.ndarray, name: str, case: str, atol: float) -> None:
    reference.compare(found, name, np.load(FOLDER / f"{case}.npz"), atol)


def mask_tolerance(name: str) -> float:
    return 1e-4 if name == "splice1" else 3e-5


def tiled(network: torch.nn.Module, image: Tensor, side: int, *, own_statistics: bool = False) -> Tensor:
    with torch.inference_mode():
        return tiling.mask(network.IMTFE, network.AnomalyDetector, image, side, own_statistics=own_statistics)


@pytest.mark.parametrize("name", CASES)
def test_every_step_equals_the_authors(filled: torch.nn.Module, name: str) -> None:
    find = filled.AnomalyDetector
    with torch.inference_mode():
        features = filled.IMTFE(batch_of(picture(name)))
        x = find.bnorm(find.adapt(features))
        mean, deviation = detector.spread(x)
        sigma = find.floored(deviation)
        z = torch.stack(list(find.z_scores(x, mean, sigma)), dim=1)
        hidden = find.conv_lstm(z.unbind(1))
        mask = find(features)
    compare(features, "imtfe", name, 5e-6)
    compare(features.mean((2, 3)), "imtfe_mean", name, 5e-6)
    compare(features.std((2, 3), correction=0), "imtfe_std", name, 5e-6)
    compare(sigma, "sigma_keras", name, 5e-6)
    compare(mask, "mask_keras", name, mask_tolerance(name))
    # The authors' window sums are float32 running sums over the whole image; see the next tests for ours.
    compare(z, "z_keras", name, 2e-3 if name == "splice1" else 1e-3)
    compare(hidden, "lstm_h_keras", name, 2e-4 if name == "splice1" else 3e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name != "splice1"])
@pytest.mark.parametrize(("statistics", "stored"), [("stored", "mask_keras"), ("image", "mask_imgstats")])
def test_predictions_equal_the_authors(name: str, statistics: str, stored: str) -> None:
    made = imdl_bench.load_model("mantranet", FILLED, settings={"statistics": statistics})
    compare(made.predict([picture(name)])[0].mask, stored, name, mask_tolerance(name))


def test_statistics_of_a_photograph_equal_the_authors(filled: torch.nn.Module) -> None:
    mask = tiled(filled, batch_of(picture("splice1")), 256, own_statistics=True)
    compare(mask, "mask_imgstats", "splice1", mask_tolerance("splice1"))


def test_port_has_no_statistics_and_uses_each_images_own(tmp_path: Path) -> None:
    torch.save({key: torch.from_numpy(value) for key, value in PORT.items()}, tmp_path / "MantraNetv4.pt")
    for weights in (PORT, f"official:{tmp_path / 'MantraNetv4.pt'}"):
        mask = imdl_bench.load_model("mantranet", weights).predict([picture("block_20x27")])[0].mask
        compare(mask, "mask_imgstats", "block_20x27", 3e-5)


def test_one_statistic_of_two_is_an_error() -> None:
    with pytest.raises(UsageError, match="running_var"):
        imdl_bench.load_model("mantranet", PORT | {STATISTICS[0]: FILLED[STATISTICS[0]]})


def test_z_scores_equal_plain_means_in_float64(filled: torch.nn.Module) -> None:
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 64, 20, 41)).astype(np.float32)) + 30
    mean, deviation = detector.spread(x)
    found = list(filled.AnomalyDetector.z_scores(x, mean, deviation))
    values = x[0].double().numpy()
    for step, window in enumerate((7, 15, 31)):
        half = window // 2
        expected = np.empty_like(values)
        for i in range(values.shape[1]):
            for j in range(values.shape[2]):
                inside = values[:, max(0, i - half) : i + half + 1, max(0, j - half) : j + half + 1]
                expected[:, i, j] = abs(inside.mean((1, 2)) - values[:, i, j]) / values.std((1, 2))
        np.testing.assert_allclose(found[step][0], expected, rtol=0, atol=1e-5)
    expected = abs(values.mean((1, 2), keepdims=True) - values) / values.std((1, 2), keepdims=True)
    np.testing.assert_allclose(found[3][0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (33, 97), (70, 31), (65, 80)])
def test_tiles_move_no_number(filled: torch.nn.Module, height: int, width: int) -> None:
    image = batch_of(block(height, height, width))
    with torch.inference_mode():
        features = filled.IMTFE(image)
        mask = filled(image)[0, 0]
        for tile in tiling.tiles(height, width, 32, filled.IMTFE.radius):
            found = tiling.features(filled.IMTFE, image, tile)
            np.testing.assert_allclose(found, features[(..., *tile.core)], rtol=0, atol=1e-6)
    for side in (9, 32, 64) if height < 65 else (32, 64):
        np.testing.assert_allclose(tiled(filled, image, side), mask, rtol=0, atol=1e-5)


def test_tiles_with_own_statistics_equal_the_whole(filled: torch.nn.Module) -> None:
    """Two images in one batch: the whole network without stored statistics keeps them apart as well."""
    network = model.ManTraNetwork().eval()
    network.load_state_dict(filled.state_dict() | {key: torch.zeros(64) for key in STATISTICS})
    images = batch_of(SMALL, noise(8, *SMALL.shape[:2]))
    with torch.inference_mode():
        expected = network(images)[:, 0]
    for image, mask in zip(images.split(1), expected, strict=True):
        np.testing.assert_allclose(tiled(filled, image, 32, own_statistics=True), mask, rtol=0, atol=1e-5)


def test_tiles_see_just_what_reaches_them(filled: torch.nn.Module) -> None:
    def reached(change: Tensor) -> tuple[int, int]:
        rows, columns = change.abs().amax((0, 1)).nonzero().amax(0).tolist()
        return rows, columns

    with torch.inference_mode():
        image, x = torch.zeros(1, 3, 31, 31), torch.zeros(1, 64, 61, 61)
        dark, flat = filled.IMTFE(image), filled.AnomalyDetector.decide(x, torch.zeros(1), torch.ones(1))
        image[..., 0, 0], x[..., 0, 0] = 1, 1
        assert reached(filled.IMTFE(image) - dark) == (14, 14) == (filled.IMTFE.radius,) * 2
        changed = filled.AnomalyDetector.decide(x, torch.zeros(1), torch.ones(1)) - flat
    assert reached(changed) == (24, 24) == (filled.AnomalyDetector.radius,) * 2


def test_large_images_lie_in_a_file_and_give_the_same(
    filled: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tiled(filled, batch_of(SMALL), 32)
    monkeypatch.setattr(tiling, "LARGEST_IN_MEMORY", 0)
    monkeypatch.setattr(tiling.tempfile, "tempdir", str(tmp_path))
    np.testing.assert_array_equal(tiled(filled, batch_of(SMALL), 32), expected)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(tiling.tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(PredictionError, match=r"45 x 37 pixels need .* TMPDIR"):
        tiled(filled, batch_of(SMALL), 32)


def test_batches_and_memory_layout_change_nothing() -> None:
    made = imdl_bench.load_model("mantranet", FILLED)
    images = [SMALL, noise(8, 37, 45), block(9, 20, 16), block(10, 37, 45)]
    alone = [made.predict([image])[0].mask for image in images]
    for together, mask, image in zip(made.predict(images), alone, images, strict=True):
        assert together.mask.shape == image.shape[:2] and together.mask.dtype == np.float32
        np.testing.assert_allclose(together.mask, mask, rtol=0, atol=1e-5)
    locked = np.asfortranarray(SMALL)[::-1][::-1]
    locked.flags.writeable = False
    np.testing.assert_array_equal(made.predict([locked])[0].mask, alone[0])


@pytest.mark.parametrize("statistics", ["stored", "image"])
def test_flat_images_give_finite_masks(statistics: str) -> None:
    made = imdl_bench.load_model("mantranet", FILLED, settings={"statistics": statistics})
    for value in (0, 128, 255):
        mask = made.predict([np.full((16, 40, 3), value, np.uint8)])[0].mask
        assert np.isfinite(mask).all()


def test_random_weights_follow_the_seed() -> None:
    masks = [imdl_bench.load_model("mantranet", "random", seed=s).predict([SMALL])[0].mask for s in (0, 0, 1)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert abs(masks[0] - masks[2]).max() > 1e-3


def test_bfloat16_stays_near_float32() -> None:
    exact, rough = (
        imdl_bench.load_model("mantranet", FILLED, precision=precision).predict([SMALL])[0].mask
        for precision in ("float32", "bfloat16")
    )
    assert 0 < abs(exact - rough).max() < 0.05


def test_keys_and_counts_are_the_published() -> None:
    assert list(model.official_keys().items()) == list(SHAPES.items())
    network = model.ManTraNetwork()
    assert set(network.state_dict()) == set(SHAPES)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert count == {"IMTFE": 3_675_181, "AnomalyDetector": 129_769}
    assert sum(count.values()) == PUBLISHED["keras"]["parameters"]["trainable"] == 3_804_950
    assert network.IMTFE.SRMConv2D.weight.numel() == 675


def test_srm_filters_are_fixed_and_look_at_one_colour_each() -> None:
    kernels = layers.srm_kernels().numpy()
    np.testing.assert_array_equal(kernels, FILLED["IMTFE.SRMConv2D.weight"])
    np.testing.assert_allclose(kernels[3, 0], SRM[1], atol=1e-7)
    assert all(not kernels[place, channel].any() for place in range(9) for channel in range(3) if channel != place % 3)


def test_padding_repeats_the_edge_and_then_its_neighbour() -> None:
    x = torch.arange(24.0).view(1, 1, 4, 6)
    found = layers.pad_symmetric(x, 2, layers.WHOLE_IMAGE)
    np.testing.assert_array_equal(found[0, 0], np.pad(x[0, 0], 2, mode="symmetric"))
    found = layers.pad_symmetric(x, 1, layers.Borders(top=True, bottom=False, left=False, right=True))
    np.testing.assert_array_equal(found[0, 0], np.pad(x[0, 0], ((1, 0), (0, 1)), mode="symmetric"))


def test_gates_use_keras_hard_sigmoid() -> None:
    x = torch.tensor([-2.6, -2.5, 0.0, 1.0, 2.5, 2.9])
    np.testing.assert_allclose(detector.hard_sigmoid(x), [0, 0, 0.5, 0.7, 1, 1], atol=1e-7)


def test_training_step_moves_weights_and_constraints_bring_them_back() -> None:
    torch.manual_seed(0)
    network = model.ManTraNetwork().train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    images = batch_of(block(1, 24, 33), block(2, 24, 33))
    truth = torch.zeros(2, 1, 24, 33)
    truth[0, :, :10] = 1
    torch.nn.functional.binary_cross_entropy(network(images), truth).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert network.AnomalyDetector.bnorm.running_mean.any()
    optimiser.step()
    network.constrain()
    bayar = network.IMTFE.BayarConv2D.weight.detach()
    assert (bayar[..., 2, 2] == -1).all()
    np.testing.assert_allclose(bayar.sum((2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(network.AnomalyDetector.adaptation.weight.detach().norm(dim=1), 1, atol=1e-5)
    assert (network.AnomalyDetector.sigma_F >= 0).all()
    np.testing.assert_array_equal(network.IMTFE.SRMConv2D.weight, layers.srm_kernels())


def test_recurrent_kernels_start_orthogonal_and_forget_gates_open() -> None:
    torch.manual_seed(0)
    conv = detector.AnomalyDetector().conv_lstm.cell_list[0].conv
    recurrent = conv.weight.detach()[:, 64:].reshape(32, -1)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(32), atol=1e-5)
    assert conv.bias.tolist() == [0] * 8 + [1] * 8 + [0] * 16


@pytest.mark.parametrize("classes", [7, 385])
def test_decision_block_gives_logits_per_pixel(classes: int) -> None:
    extractor, decision = layers.FeatureExtractor(), layers.DecisionBlock(classes)
    assert sum(p.numel() for p in decision.parameters()) == (256 * 9 + 1) * classes
    logits = decision(extractor(batch_of(SMALL)))
    assert logits.shape == (1, classes, *SMALL.shape[:2])
    logits.sum().backward()
    assert extractor.init_conv.weight.grad.abs().sum() > 0


def keras_file(path: Path, *, drop: str = "", extra: tuple[str, tuple[int, ...]] | None = None) -> Path:
    """The filled weights as Keras 2 saves them: one group per layer of the outer model, the nested one in its own."""
    rows = [(m, w, s, key) for m, w, s, key, _ in PUBLISHED["keras"]["weights"] if not w.endswith("srm") and w != drop]
    lstm = FILLED["AnomalyDetector.conv_lstm.cell_list.0.conv.weight"]
    statistics = {"bnorm/moving_mean": STATISTICS[0], "bnorm/moving_variance": STATISTICS[1]}
    parts = {"cLSTM/kernel": lstm[:, :64], "cLSTM/recurrent_kernel": lstm[:, 64:]}
    groups: dict[str, list[tuple[str, np.ndarray]]] = {"image_in": []}
    for outer, name, shape, key in rows:
        value = parts.get(name, FILLED[statistics.get(name, key)])
        if value.ndim == 4:
            value = value.transpose(0, 2, 3, 1) if name == "glbStd/min_std" else value.transpose(2, 3, 1, 0)
        assert list(value.shape) == shape
        groups.setdefault(outer if outer == "Featex" else name.split("/")[0], []).append((f"{name}:0", value))
    if extra is not None:
        groups[extra[0].split("/")[0]] = [(extra[0], np.zeros(extra[1], np.float32))]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.2.0"
        for layer, weights in groups.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name, _ in weights]
            for name, value in weights:
                group.create_dataset(name, data=value)
    return path


def test_keras_file_equals_the_same_weights_as_a_dict(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "ManTraNet_Ptrain4.h5")
    with h5py.File(path) as file:
        assert "Featex/b1c1/regular_kernel:0" in file and "outlierTrans/outlierTrans/kernel:0" in file
    made = imdl_bench.load_model("mantranet", f"official:{path}")
    expected = imdl_bench.load_model("mantranet", FILLED)
    for key, value in expected.network.state_dict().items():
        assert torch.equal(made.network.state_dict()[key], value), key
    image = picture("block_20x27")
    np.testing.assert_array_equal(made.predict([image])[0].mask, expected.predict([image])[0].mask)
    compare(made.predict([image])[0].mask, "mask_keras", "block_20x27", 3e-5)


def test_keras_file_of_a_whole_model_with_numbered_scopes_is_read(tmp_path: Path) -> None:
    plain = keras_file(tmp_path / "weights.h5")
    with h5py.File(plain) as weights, h5py.File(tmp_path / "model.h5", "w") as file:
        weights.copy(weights, file, "model_weights")
        file.move("model_weights/bnorm/bnorm", "model_weights/bnorm/bnorm_1")
        file.create_dataset("optimizer_weights/iterations:0", data=np.zeros(1))
    found, expected = (keras.read_keras(path) for path in (tmp_path / "model.h5", plain))
    assert found.keys() == expected.keys() == SHAPES.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_keras_files_that_do_not_fit_say_what_is_wrong(tmp_path: Path) -> None:
    def load(path: Path) -> None:
        imdl_bench.load_model("mantranet", f"official:{path}")

    with pytest.raises(UsageError, match="missing: glbStd/min_std; unknown or repeated: none"):
        load(keras_file(tmp_path / "a.h5", drop="glbStd/min_std"))
    with pytest.raises(UsageError, match="missing: none; unknown or repeated: dense/dense/kernel:0"):
        load(keras_file(tmp_path / "b.h5", extra=("dense/kernel:0", (3, 4))))
    (tmp_path / "c.h5").write_bytes(b"no HDF5")
    with pytest.raises(UsageError, match=r"c\.h5: cannot be read as a Keras file"):
        load(tmp_path / "c.h5")
    with pytest.raises(UsageError, match="window of 63 pixels"):
        load(keras_file(tmp_path / "ManTraNet_Ptrain2.h5"))


def test_the_two_halves_of_the_port_are_the_port(tmp_path: Path) -> None:
    weights = {key: torch.from_numpy(value) for key, value in FILLED.items() if "bnorm" not in key}
    torch.save(weights, tmp_path / "MantraNetv4.pt")
    for part, name in (("IMTFE", "IMTFEv4.pt"), ("AnomalyDetector", "AnomalyDetectorv4.pt")):
        (tmp_path / "halves").mkdir(exist_ok=True)
        half = {key.removeprefix(f"{part}."): value for key, value in weights.items() if key.startswith(part)}
        torch.save(half, tmp_path / "halves" / name)
    states = [
        imdl_bench.load_model("mantranet", f"official:{tmp_path / place}").network.state_dict()
        for place in ("MantraNetv4.pt", "halves")
    ]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    with pytest.raises(UsageError, match=r"one of several files \(IMTFEv4.pt, AnomalyDetectorv4.pt\)"):
        imdl_bench.load_model("mantranet", f"official:{tmp_path / 'halves/IMTFEv4.pt'}")


def test_keras_file_of_a_wider_variant_is_refused(tmp_path: Path) -> None:
    path = keras_file(tmp_path / "renamed.h5", drop="b1c1/regular_kernel")
    with h5py.File(path, "a") as file:
        file["Featex"].create_dataset("b1c1/regular_kernel:0", data=np.zeros((5, 5, 3, 20), np.float32))
    with pytest.raises(UsageError, match=r"init_conv\.weight \(20, 3, 5, 5\) instead of \(4, 3, 5, 5\)"):
        imdl_bench.load_model("mantranet", f"official:{path}")


def test_missing_h5py_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = keras_file(tmp_path / "ManTraNet_Ptrain4.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r'pip install "imdl-bench\[keras\]"'):
        imdl_bench.load_model("mantranet", f"official:{path}")


MEASURE = """
import resource, sys
import numpy as np, torch
import imdl_bench
made = imdl_bench.load_model("mantranet", "random")
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
made.predict([np.random.default_rng(0).integers(0, 256, (768, 1024, 3), dtype=np.uint8)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux' process table")
def test_a_photograph_needs_less_than_1500_megabytes() -> None:
    run = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) < 1.5e9
