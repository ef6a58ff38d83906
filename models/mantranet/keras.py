"""Weights from the authors' Keras files (``.h5``) under the names and in the axis order of the PyTorch network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imdl_bench.errors import UsageError

from .layers import srm_kernels

EXTRACTOR = ("b1c2", "b2c1", "b2c2", "b3c1", "b3c2", "b3c3", "b4c1", "b4c2", "b4c3", "b5c1", "b5c2", "transform")
SRM = "b1c1/srm"
DEVIATIONS = "AnomalyDetector.sigma_F"
LSTM = "AnomalyDetector.conv_lstm.cell_list.0.conv"


def _layers() -> dict[str, str]:
    """Our key for each Keras weight that has one of its own."""
    keys = {
        "b1c1/regular_kernel": "IMTFE.init_conv.weight",
        "b1c1/bayar_kernel": "IMTFE.BayarConv2D.weight",
        "outlierTrans/kernel": "AnomalyDetector.adaptation.weight",
        "bnorm/moving_mean": "AnomalyDetector.bnorm.running_mean",
        "bnorm/moving_variance": "AnomalyDetector.bnorm.running_var",
        "glbStd/min_std": DEVIATIONS,
        "cLSTM/bias": f"{LSTM}.bias",
        "pred/kernel": "AnomalyDetector.end.0.weight",
        "pred/bias": "AnomalyDetector.end.0.bias",
    }
    for place, layer in enumerate(EXTRACTOR):
        for name, ours in (("kernel", "weight"), ("bias", "bias")):
            keys[f"{layer}/{name}"] = f"IMTFE.middle_and_last_block.{2 * place}.{ours}"
    return keys


KEYS = _layers()
LARGEST = 1 << 22  # values of a weight; a small file can claim any size
RECURRENT = ("cLSTM/kernel", "cLSTM/recurrent_kernel")


def read_keras(path: Path) -> dict[str, Tensor]:
    """Every weight of a Keras 2 weight file, float32, under the network's keys; the fixed SRM filters are filled in.

    Datasets are known by the last two parts of their name (layer and weight), in whatever groups they lie.

    Raises:
        UsageError: h5py is not installed, the file is damaged, or weights are missing, unknown or there twice.
    """
    try:
        import h5py
    except ImportError:
        raise UsageError(f'{path}: reading Keras files needs h5py: pip install "imdl-bench[keras]"') from None
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            weights, unknown = _datasets(file.get("model_weights", file))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read as a Keras file: {error}") from None
    missing = [name for name in (*KEYS, *RECURRENT) if name not in weights]
    if missing or unknown:
        raise UsageError(
            f"{path}: is not a weight file of ManTra-Net: "
            f"missing: {', '.join(missing) or 'none'}; unknown or repeated: {', '.join(unknown) or 'none'}"
        )
    lstm = np.concatenate([_ordered(weights[name]) for name in RECURRENT], axis=1)
    found = {key: _ordered(weights[name]) for name, key in KEYS.items()} | {f"{LSTM}.weight": lstm}
    found[DEVIATIONS] = found[DEVIATIONS].swapaxes(0, 1)
    srm = _ordered(weights[SRM]) if SRM in weights else srm_kernels().numpy()
    found["IMTFE.SRMConv2D.weight"] = srm
    return {key: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for key, value in found.items()}


def _datasets(group: Any) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Known datasets by layer and weight, and the paths of those that are unknown or there twice."""
    import h5py

    known: dict[str, NDArray[Any]] = {}
    unknown: list[str] = []

    def visit(path: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        # TensorFlow numbers the scopes of a layer that is built more than once.
        layer, weight = ("/" + path).split("/")[-2:]
        name = re.sub(r"_\d+$", "", layer) + "/" + re.sub(r":\d+$", "", weight)
        if name in known or name not in (*KEYS, *RECURRENT, SRM) or item.size > LARGEST or item.dtype.kind != "f":
            unknown.append(path)
        else:
            known[name] = np.asarray(item)

    group.visititems(visit)
    return known, unknown


def _ordered(weight: NDArray[Any]) -> NDArray[Any]:
    """A kernel (height, width, in, out) as (out, in, height, width); a vector as it is."""
    return weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight
