"""What the numbers were measured on: processor, threads, versions. No name of a host, no path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import imdl_bench

LIBRARIES = ("numpy", "torch", "torchvision", "opencv-python-headless", "pillow", "scikit-learn", "torchmetrics")
OF_INTEREST = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")


def machine_facts() -> dict[str, Any]:
    """Facts about the processor, Python, the libraries, and the commit of imdl-bench that was measured."""
    cpu = _cpu_facts()
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    return {
        "processor": cpu.get("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in OF_INTEREST if name in flags],
        "cores": os.cpu_count(),
        "threads": 1,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
        "imdl_bench": imdl_bench.__version__,
        "commit": _commit(),
    }


def one_thread() -> None:
    """One thread for each call of torch and OpenCV; the environment holds the others to one."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _cpu_facts() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    folder = Path(str(imdl_bench.__file__)).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
