"""Sort the pixels of one image where the network runs, so that no processor core sorts millions of scores."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imdl_bench.metrics.histogram import SortedScores
from imdl_bench.torch_model import on_gpu, pinned


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
    """As :func:`sort_scores`, of arrays: they are copied to ``device`` first. Several threads may call it at once."""
    place = torch.device(device)
    with _beside_the_network(place):
        return sort_scores(_copied(mask, torch.float32, place), _copied(truth, torch.bool, place))


def _beside_the_network(device: torch.device) -> AbstractContextManager[object]:
    """A stream of the sorts' own: in the network's, each would wait until the batch under way is done."""
    return torch.cuda.stream(_stream(device)) if on_gpu(device) else nullcontext()


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device, priority=-1)


def _copied(array: NDArray[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    host = pinned(array.shape, dtype) if on_gpu(device) else torch.empty(array.shape, dtype=dtype)
    host.numpy()[...] = array
    return host.to(device, non_blocking=True)
