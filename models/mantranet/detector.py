"""ManTra-Net's anomaly detector: how far each pixel's features lie from those around it (Wu et al. 2019, section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import FEATURES, start_as_keras

ADAPTED = 64
HIDDEN = 8
KERNEL = 7
WINDOWS = (7, 15, 31)
SMALLEST_DEVIATION = 1e-6


class AnomalyDetector(nn.Module):
    """From features to the probability that a pixel is forged."""

    # What lies further from a pixel than this reaches its mask through the statistics of the whole image alone: half a
    # window, and half a kernel for each step of the LSTM that follows and for the last convolution.
    radius = max(window // 2 + KERNEL // 2 * (len(WINDOWS) + 2 - step) for step, window in enumerate(WINDOWS))

    def __init__(self) -> None:
        super().__init__()
        self.sigma_F = nn.Parameter(torch.full((1, ADAPTED, 1, 1), 1e-5))
        self.adaptation = nn.Conv2d(FEATURES, ADAPTED, 1, bias=False)
        self.bnorm = PlainBatchNorm(ADAPTED)
        self.conv_lstm = ConvLSTM(ADAPTED, HIDDEN)
        self.end = nn.Sequential(nn.Conv2d(HIDDEN, 1, KERNEL, padding=KERNEL // 2))
        start_as_keras(self)
        self.conv_lstm.start()
        self.constrain()

    def forward(self, features: Tensor) -> Tensor:
        """Masks float32 (B, 1, H, W) in [0, 1] of whole images from their features (B, 256, H, W)."""
        x = self.bnorm(self.adapt(features))
        mean, deviation = spread(x)
        return self.decide(x, mean, self.floored(deviation))

    def adapt(self, features: Tensor) -> Tensor:
        """float32 (B, 64, H, W) from (B, 256, H, W), before normalisation."""
        with torch.autocast(features.device.type, enabled=False):
            adapted: Tensor = self.adaptation(features.float())
        return adapted

    def floored(self, deviation: Tensor) -> Tensor:
        """The deviations of whole images, not below the learned least ones."""
        return torch.maximum(deviation, self.sigma_F + SMALLEST_DEVIATION)

    def decide(self, x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
        """Masks (B, 1, H, W) in [0, 1] of images, or of cut-outs of which all but ``radius`` pixels are right.

        Args:
            x: normalised features, float32 (B, 64, H, W).
            mean: (B or 1, 64, 1, 1), over the whole image.
            sigma: of the same shape: population standard deviation over the whole image, floored.
        """
        hidden = self.conv_lstm(self.z_scores(x, mean, sigma))
        return torch.sigmoid(self.end(hidden).float())

    def z_scores(self, x: Tensor, mean: Tensor, sigma: Tensor) -> Iterator[Tensor]:
        """``|mean - x| / sigma``, float32 (B, 64, H, W): means over windows of 7, 15, 31, then over the whole image."""
        sums = summed_area(x)
        for window in WINDOWS:
            yield ((window_mean(sums, window) - x) / sigma).abs()
        yield ((mean - x) / sigma).abs()

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring the weights back to their constraints; training calls it after each step."""
        self.adaptation.weight /= self.adaptation.weight.square().sum(dim=(1, 2, 3), keepdim=True).sqrt() + 1e-7
        self.sigma_F.clamp_(min=0)


class PlainBatchNorm(nn.Module):
    """Batch normalisation without scale and shift. A running variance of zero says that none was ever stored."""

    running_mean: Tensor
    running_var: Tensor
    eps = 1e-3

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and not self.stored:
            return F.instance_norm(x, eps=self.eps)
        return F.batch_norm(x, self.running_mean, self.running_var, training=self.training, momentum=0.01, eps=self.eps)

    @property
    def stored(self) -> bool:
        """Whether the statistics of training are known."""
        return bool(self.running_var.any())


class ConvLSTM(nn.Module):
    """One convolutional LSTM layer as Keras computes it. The cell lies in a list because the published keys say so."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.cell_list = nn.ModuleList([ConvLSTMCell(inputs, hidden)])

    def forward(self, steps: Iterable[Tensor]) -> Tensor:
        """The last hidden state, float32 (B, hidden, H, W), of a sequence of (B, inputs, H, W)."""
        state: tuple[Tensor, Tensor] | None = None
        for x in steps:
            state = self.cell_list[0](x, state)
        assert state is not None
        return state[0]

    def start(self) -> None:
        """Keras' initial values: orthogonal recurrent kernels, biases of one for the forget gate."""
        cell = self.cell_list[0]
        assert isinstance(cell, ConvLSTMCell)
        cell.start()


class ConvLSTMCell(nn.Module):
    """Gates i, f, c, o in this order; hard sigmoids clip(0.2 x + 0.5, 0, 1); 7x7 kernels over zero padding."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.inputs, self.hidden = inputs, hidden
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, KERNEL, padding=KERNEL // 2)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """The next hidden and cell state, each float32 (B, hidden, H, W); ``None`` stands for zeros."""
        if state is None:
            zeros = x.new_zeros(x.shape[0], self.hidden, *x.shape[2:])
            state = zeros, zeros
        hidden, cell = state
        gates = self.conv(torch.cat([x, hidden], dim=1)).float()
        i, f, c, o = gates.split(self.hidden, dim=1)
        cell = hard_sigmoid(f) * cell + hard_sigmoid(i) * c.tanh()
        return hard_sigmoid(o) * cell.tanh(), cell

    @torch.no_grad()
    def start(self) -> None:
        nn.init.xavier_uniform_(self.conv.weight[:, : self.inputs])
        # Keras draws an orthogonal matrix of the kernel's (height * width * inputs, outputs).
        recurrent = torch.empty(KERNEL * KERNEL * self.hidden, 4 * self.hidden)
        nn.init.orthogonal_(recurrent)
        kernels = recurrent.T.reshape(4 * self.hidden, KERNEL, KERNEL, self.hidden)
        self.conv.weight[:, self.inputs :] = kernels.permute(0, 3, 1, 2)
        assert self.conv.bias is not None
        self.conv.bias.zero_()[self.hidden : 2 * self.hidden] = 1


def hard_sigmoid(x: Tensor) -> Tensor:
    """Keras 2's; PyTorch's own has another slope (x / 6 + 0.5)."""
    return (0.2 * x + 0.5).clamp(0, 1)


def spread(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation per image and channel, each (B, C, 1, 1)."""
    variance, mean = torch.var_mean(x.double(), dim=(2, 3), correction=0, keepdim=True)
    # The root has no slope at zero; the floor is far above this.
    return mean.to(x.dtype), variance.clamp(min=1e-20).sqrt().to(x.dtype)


def summed_area(x: Tensor) -> Tensor:
    """Sums over all rows above and columns left of each corner: float64 (B, C, H + 1, W + 1).

    float64, because a window's sum is the small difference of large ones.
    """
    return F.pad(x.double().cumsum(2).cumsum(3), (1, 0, 1, 0))


def window_mean(sums: Tensor, window: int) -> Tensor:
    """Mean over the pixels of each centred window that lie inside: float32 (B, C, H, W). Same cost for any window."""
    half = window // 2
    # Beyond the image the sums grow no further.
    sums = F.pad(sums, (half, half, half, half), mode="replicate")
    rows = sums[:, :, window:] - sums[:, :, :-window]
    total = rows[..., window:] - rows[..., :-window]
    height, width = (_pixels_inside(size, window, sums.device) for size in total.shape[2:])
    return (total / (height[:, None] * width)).float()


def _pixels_inside(size: int, window: int, device: torch.device) -> Tensor:
    """How many pixels of the window around each of ``size`` lie inside, along one axis."""
    centre = torch.arange(size, device=device)
    return (centre + window // 2 + 1).clamp(max=size) - (centre - window // 2).clamp(min=0)
