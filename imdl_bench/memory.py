"""Memory of the whole process: what freed images leave is kept, and how many pixels may be in networks at once."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST = 512 << 20, 32 << 20  # bytes; glibc takes no larger second one


BYTES_PER_PIXEL = 512  # the hungriest network here takes 340 per pixel of a photograph


def keep_freed_memory() -> None:
    """Tell glibc not to give image-sized arrays back to the system after each use; elsewhere nothing happens.

    Without it half of the time of decoding goes into page faults. For the whole process, once is enough. At most
    512 MiB of freed memory stay with the process.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
    mallopt(_M_MMAP_THRESHOLD, _LARGEST)


def pixels_at_once() -> int:
    """How many pixels may be in networks on the CPU at the same time, from the memory that is free now."""
    return max(1, _free_bytes() // BYTES_PER_PIXEL)


def _free_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # another system: half of what there is
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 8 << 30
    free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    try:  # a container may have less than its machine
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        return min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        return free
