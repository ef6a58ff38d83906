"""Tensors in and out of files: safetensors, or torch's own format without running any code that lies in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imdl_bench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
SHOWN = 8


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A state dict from ``.safetensors`` or from what ``torch.save`` wrote, on the CPU, in the file's own key order.

    A dict that wraps the state dict (``{"state_dict": ..., "epoch": ...}``) is unwrapped.

    Raises:
        UsageError: no such file, damaged, or holding more than tensors: nothing in it is ever executed.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    return _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)


def read_metadata(path: Path) -> dict[str, str]:
    """What stands in a safetensors file beside its tensors. Raises UsageError where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as safetensors: {error}") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write safetensors with metadata (values that are no strings as JSON); whole or not at all.

    Equal tensors and metadata give equal bytes.
    """
    from safetensors.torch import save

    from imdl_bench.cache import write_atomically

    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    content = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, texts)
    write_atomically(path, _header_in_order(content))


def _header_in_order(content: bytes) -> bytes:
    """The same file with its metadata by name: the library writes them in an order that changes from run to run."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def load_checked(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load every tensor of the network's state dict from ``tensors``, exactly.

    BatchNorm's ``num_batches_tracked``, which old files lack and inference never reads, may be missing.

    Raises:
        UsageError: lists missing and extra keys, wrong shapes, wrong kinds and values that are not finite.
    """
    import torch

    wanted = network.state_dict()
    missing = [key for key in wanted if key not in tensors and not key.endswith("num_batches_tracked")]
    extra = [key for key in tensors if key not in wanted]
    common = [key for key in wanted if key in tensors]
    shapes = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in common
        if tensors[key].shape != wanted[key].shape
    ]
    kinds = [
        f"{key} {tensors[key].dtype} instead of {wanted[key].dtype}"
        for key in common
        if tensors[key].is_floating_point() != wanted[key].is_floating_point()
    ]
    same = [key for key in common if tensors[key].shape == wanted[key].shape]
    broken = [key for key in same if not bool(torch.isfinite(tensors[key]).all())]
    problems = [
        f"{what}: {_some(found)}"
        for what, found in [
            ("missing keys", missing), ("extra keys", extra), ("wrong shapes", shapes), ("wrong dtypes", kinds),
            ("values that are not finite", broken),
        ]
        if found
    ]  # fmt: skip
    if problems:
        raise UsageError(f"{source} does not fit this network:\n  " + "\n  ".join(problems))
    network.load_state_dict({key: tensors[key] for key in common}, strict=False)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path}: cannot be read as safetensors: {error}") from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    import pickle

    import torch

    with path.open("rb") as file:
        start = file.read(2)
    if start != b"PK" and start[:1] != b"\x80":
        raise UsageError(f"{path}: is no PyTorch checkpoint (nor is its name one of a .safetensors file)")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        raise UsageError(
            f"{path}: holds Python objects besides tensors ({foreign[1] if foreign else _first_line(error)}), which "
            "could run code and are not loaded. In the authors' own environment, if you trust the file: "
            "model = torch.load(FILE, weights_only=False); torch.save(model.state_dict(), 'state_dict.pth'); then give "
            "that file"
        ) from None
    except Exception as error:  # whatever a damaged file makes the unpickler do
        raise UsageError(f"{path}: cannot be read as a PyTorch checkpoint: {_first_line(error)}") from None
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path}: holds no state dict but {type(content).__name__}")
    strange = [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise UsageError(f"{path}: is no state dict: no tensor under {_some(strange)}")
    return {str(key): value for key, value in content.items()}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
