"""How a training runs: devices, processes, threads, and what makes it repeatable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from imdl_bench.errors import UsageError, nearest

PRECISIONS: dict[str, Any] = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}
MOST_WORKERS = 16


@dataclass(frozen=True, slots=True)
class Hardware:
    """How a training runs, not what it learns.

    Attributes:
        device: ``cpu`` or ``cuda``.
        devices: processes, one for each GPU; under ``torchrun`` or ``fabric run`` as many as that starts on a machine.
        workers: processes that make examples; ``None`` for one on the CPU, nearly all cores beside a GPU.
        threads: of the network's arithmetic on the CPU; ``None`` for PyTorch's own choice.
        checkpoint_minutes: between checkpoints where no validation writes one.
        progress: a progress bar on the terminal.
    """

    device: str = "cpu"
    devices: int = 1
    workers: int | None = None
    threads: int | None = None
    checkpoint_minutes: float = 10.0
    progress: bool = True

    @property
    def loaders(self) -> int:
        """Worker processes of each device."""
        if self.workers is not None:
            return self.workers
        cores = os.cpu_count() or 1
        return min(MOST_WORKERS, max(1, (cores - 1) // self.devices)) if self.device == "cuda" else 1


def start_fabric(hardware: Hardware, precision: str) -> Any:
    """Lightning Fabric, launched: from here on every process of a training runs the same code.

    Raises:
        UsageError: Lightning is missing, or such devices or such a precision are not there.
    """
    try:
        from lightning.fabric import Fabric
        from lightning.fabric.strategies.ddp import DDPStrategy
    except ImportError:
        raise UsageError("training needs Lightning and TensorBoard: pip install 'imdl-bench[train]'") from None
    if precision not in PRECISIONS:
        raise UsageError(f"no precision {precision!r}{nearest(precision, PRECISIONS)} ({', '.join(PRECISIONS)})")
    if hardware.device not in ("cpu", "cuda"):
        raise UsageError(f"no device {hardware.device!r} to train on; write cpu or cuda, and how many with --devices")
    if hardware.device == "cuda" and torch.cuda.device_count() < hardware.devices:
        raise UsageError(f"--devices {hardware.devices}: {torch.cuda.device_count()} CUDA GPUs are visible to PyTorch")
    if hardware.device == "cpu" and precision == "float16":
        raise UsageError("float16 trains on CUDA GPUs only; on the CPU take bfloat16")
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", hardware.devices))
    many = devices > 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1
    strategy: Any = DDPStrategy(find_unused_parameters=True) if many else "auto"
    fabric = Fabric(accelerator=hardware.device, devices=devices, strategy=strategy, precision=PRECISIONS[precision])
    fabric.launch()
    return fabric


def device_name(fabric: Any) -> str:
    """As people know it."""
    return torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else "cpu"


@contextmanager
def repeatable(hardware: Hardware) -> Iterator[None]:
    """The same sums in the same order on the CPU, the fastest ones on a GPU; everything as it was afterwards."""
    import cv2

    threads, fastest = torch.get_num_threads(), torch.backends.cudnn.benchmark
    deterministic: Any = torch.utils.deterministic
    fill = deterministic.fill_uninitialized_memory
    strict, only_warn = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    of_pictures = cv2.getNumThreads()
    try:
        cv2.setNumThreads(0)  # its threads do not live on in worker processes, which would wait for them for ever
        if hardware.threads:
            torch.set_num_threads(hardware.threads)
        if hardware.device == "cpu":
            torch.use_deterministic_algorithms(True, warn_only=True)
            deterministic.fill_uninitialized_memory = False
        torch.backends.cudnn.benchmark = hardware.device == "cuda"
        with torch.random.fork_rng():
            yield
    finally:
        cv2.setNumThreads(of_pictures)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=only_warn)
        deterministic.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = fastest
