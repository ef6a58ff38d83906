"""Convolutions that do the work of the BatchNorm behind them: the same numbers up to rounding, in fewer passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn


class Pair(NamedTuple):
    """A convolution, the BatchNorm that alone reads what it gives, and where that one hangs."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    parent: nn.Module
    place: str


def fold_norms(network: nn.Module, followers: Mapping[str, str]) -> int:
    """Put BatchNorms into the convolutions before them, in place, and nothing where they were. Gives how many.

    Each channel of a convolution is multiplied and moved as the running statistics say; computed in float64. What
    normalises by the batch itself, or shares a module or a weight with another place, stays as it is.

    Args:
        network: in eval mode.
        followers: which BatchNorm reads what a convolution gives, and nothing else does: names in one and the same
            module, ``{"conv1": "bn1"}``. Neighbours in an ``nn.Sequential`` are found without being named.
    """
    pairs = [pair for pair in _pairs(network, followers) if _foldable(pair)]
    modules = Counter(module for _, module in network.named_modules(remove_duplicate=False))
    weights = Counter(weight for _, weight in network.named_parameters(remove_duplicate=False))
    claims = Counter(module for pair in pairs for module in (pair.conv, pair.norm))
    alone = [
        pair
        for pair in pairs
        if all(modules[each] == claims[each] == 1 for each in (pair.conv, pair.norm))
        and all(weights[each] == 1 for each in pair.conv.parameters())
    ]
    for pair in alone:
        _fold(pair.conv, pair.norm)
        setattr(pair.parent, pair.place, nn.Identity())
    return len(alone)


def prefer_onednn(network: nn.Module) -> None:
    """Let oneDNN compute 1x1 convolutions on one thread of a CPU too, where PyTorch takes MKL: about twice as fast.

    PyTorch keeps dilated convolutions for oneDNN, if it has that, and to a kernel of one pixel dilation means nothing.
    """
    if not torch.backends.mkldnn.is_available():
        return
    for module in network.modules():
        if type(module) is nn.Conv2d and module.kernel_size == (1, 1):
            module.dilation = (2, 2)


def _pairs(network: nn.Module, followers: Mapping[str, str]) -> Iterator[Pair]:
    for parent in list(network.modules()):
        children = dict(parent.named_children())
        named = pairwise(children) if type(parent) is nn.Sequential else followers.items()
        for first, second in named:
            conv, norm = children.get(first), children.get(second)
            # A subclass may compute something else.
            if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                yield Pair(conv, norm, parent, second)


def _foldable(pair: Pair) -> bool:
    norm = pair.norm
    hooks = (
        hook
        for module in (pair.conv, norm)
        for hook in (module._forward_hooks, module._forward_pre_hooks)  # old weight_norm and spectral_norm are hooks
    )
    return not norm.training and norm.running_mean is not None and not any(hooks)


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    bias = -norm.running_mean.double()
    if conv.bias is not None:
        bias += conv.bias.double()
    if norm.affine:
        scale = scale * norm.weight.double()
    bias = bias * scale
    if norm.affine:
        bias += norm.bias.double()
    weight = conv.weight.double() * scale[:, None, None, None]
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=conv.weight.requires_grad)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=conv.weight.requires_grad)
