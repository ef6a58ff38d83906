"""Sort the pixels of one image where the network runs, so that no processor core sorts millions of scores."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imdl_bench.metrics.histogram import SortedScores


def sort_scores(mask: Tensor, truth: Tensor) -> SortedScores:
    """Bit for bit what :func:`imdl_bench.metrics.histogram.sort_scores` gives, computed on the tensors' device.

    Args:
        mask: float32 (H, W) in [0, 1], checked by the caller.
        truth: bool (H, W) on the same device, True = forged.
    """
    # Without the sign (of -0.0), patterns of scores up to 1 stay positive as int32 when they move up by one.
    bits = mask.reshape(-1).view(torch.int32) & 0x7FFFFFFF
    keys = torch.sort((bits << 1) | (~truth.reshape(-1)).int()).values
    forged_at = torch.nonzero((keys & 1) == 0).reshape(-1)
    return SortedScores(keys.cpu().numpy().view(np.uint32), forged_at.cpu().numpy())


def sort_scores_on(device: str, mask: NDArray[np.float32], truth: NDArray[np.bool_]) -> SortedScores:
    """As :func:`sort_scores`, of arrays: they are copied to ``device`` first."""
    arrays = (np.ascontiguousarray(mask), np.ascontiguousarray(truth))
    # On a stream of its own it need not wait for the next batch, which the network has begun.
    with torch.cuda.stream(torch.cuda.Stream(device) if device.startswith("cuda") else None):
        return sort_scores(*(torch.from_numpy(array).to(device) for array in arrays))
