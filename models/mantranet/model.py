"""ManTra-Net (Wu, AbdAlmageed, Natarajan, CVPR 2019): forged pixels as local anomalies of manipulation traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imdl_bench.torch_model import TorchModel, state_shapes, to_masks, to_tensor
from imdl_bench.types import Image, Prediction

from .detector import AnomalyDetector
from .keras import read_keras
from .layers import FeatureExtractor
from .tiling import mask

STATISTICS = ("AnomalyDetector.bnorm.running_mean", "AnomalyDetector.bnorm.running_var")


class ManTraNetwork(nn.Module):
    """Extractor and detector. On images of any size use :class:`ManTraNet`, which needs far less memory."""

    def __init__(self) -> None:
        super().__init__()
        self.IMTFE = FeatureExtractor()
        self.AnomalyDetector = AnomalyDetector()

    def forward(self, image: Tensor) -> Tensor:
        """Masks float32 (B, 1, H, W) in [0, 1] of float32 (B, 3, H, W) in -1..1, RGB."""
        masks: Tensor = self.AnomalyDetector(self.IMTFE(image))
        return masks

    def constrain(self) -> None:
        """Bring all weights back to their constraints; training calls it after each step."""
        self.IMTFE.constrain()
        self.AnomalyDetector.constrain()


class ManTraNet(TorchModel):
    """Masks at the image's own size, computed tile by tile. See the folder's README for settings and weights."""

    network: ManTraNetwork
    memory_format = torch.channels_last
    tile: int | None = 256

    def build(self, settings: Mapping[str, Any]) -> nn.Module:
        return ManTraNetwork()

    def compiled_parts(self) -> list[tuple[nn.Module, str]]:
        detector = self.network.AnomalyDetector
        return [(self.network.IMTFE, "forward"), (detector, "adapt"), (detector, "decide")]

    def prepare(self, image: Image) -> Tensor:
        return to_tensor(image) / 255 * 2 - 1

    def forward(self, batch: Tensor) -> list[Tensor]:
        parts = self.network.IMTFE, self.network.AnomalyDetector
        own = self.settings["statistics"] == "image" or not self.network.AnomalyDetector.bnorm.stored
        assert self.tile is not None
        return [mask(*parts, image, self.tile, own_statistics=own) for image in batch.split(1)]

    def finish(self, outputs: list[Tensor], images: Sequence[Image]) -> list[Prediction]:
        return [Prediction(mask=mask) for mask in to_masks(outputs)]

    def read_official(self, files: Sequence[Path]) -> dict[str, Tensor]:
        keras = [file for file in files if file.suffix in (".h5", ".hdf5")]
        others = super().read_official([file for file in files if file not in keras])
        return others | {key: tensor for file in keras for key, tensor in read_keras(file).items()}

    def from_official(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # The port's two halves lack the name of their part.
        whole = {key.partition(".")[2]: key for key in self.network.state_dict()}
        found = super().from_official({whole.get(key, key): tensor for key, tensor in tensors.items()})
        if not any(key in found for key in STATISTICS):
            # The port stores none, and a variance of zero says so.
            found |= {key: torch.zeros_like(self.network.state_dict()[key]) for key in STATISTICS}
        return found


def official_keys() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the PyTorch port's weights, and the two BatchNorm statistics that only the Keras file has."""
    shapes = state_shapes(ManTraNetwork)
    ordered = [key for key in shapes if key not in STATISTICS] + list(STATISTICS)
    return {key: shapes[key] for key in ordered}
