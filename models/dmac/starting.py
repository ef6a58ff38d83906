"""A start for the extractor where VGG16's weights are not to be had: ours, in no paper."""

from __future__ import annotations

import torch
from torch import Tensor

from .layers import MEAN_BGR, ConvReLU, DMACNet, Stage

SEED, IMAGES, SIDE = 0, 4, 64
CONTRAST, TINT = 55.0, 15.0
SHARED = 2.0  # how much stronger what the colours share is than what each has alone


@torch.no_grad()
def centre_features(network: DMACNet) -> None:
    """Give the sums of every convolution mean 0 and deviation 1 per channel, on noise with the spectrum of photographs.

    Weights are scaled and biases moved, layer by layer. As they are drawn, what all positions share grows from layer to
    layer, until features of different things differ by a few percent.
    """
    maps = clouds()
    for stage in (network.Scale_3, network.Scale_4, network.Scale_5):
        assert isinstance(stage, Stage)
        for layer in stage.features:
            if isinstance(layer, ConvReLU):
                bias = layer.convb.get_parameter("bias")
                sums = layer.convb(maps)
                deviation, mean = torch.std_mean(sums, dim=(0, 2, 3))
                deviation = deviation.clamp_min(1e-6)
                layer.convb.weight /= deviation[:, None, None, None]
                bias.copy_((bias - mean) / deviation)
            maps = layer(maps)


def clouds() -> Tensor:
    """Network inputs float32 (IMAGES, 3, SIDE, SIDE), always the same: noise whose amplitude falls as 1 / frequency."""
    generator = torch.Generator().manual_seed(SEED)
    frequency = torch.fft.fftfreq(SIDE)
    distance = torch.hypot(frequency[:, None], frequency)
    distance[0, 0] = 1
    white = torch.randn(IMAGES, 3, SIDE, SIDE, generator=generator)
    noise = torch.fft.ifft2(torch.fft.fft2(white) / distance).real
    deviation, mean = torch.std_mean(noise, dim=(2, 3), keepdim=True)
    noise = (noise - mean) / deviation
    mixed = (SHARED * noise[:, :1] + noise) / (SHARED**2 + 1) ** 0.5
    tint = TINT * torch.randn(IMAGES, 3, 1, 1, generator=generator)
    pixels = (128 + CONTRAST * mixed + tint).clamp(0, 255)
    inputs: Tensor = pixels - torch.tensor(MEAN_BGR).view(3, 1, 1)
    return inputs
