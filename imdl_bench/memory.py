"""Keep freed memory for the next image. Without it half of the time of decoding goes into page faults."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST = 512 << 20, 32 << 20  # bytes; glibc takes no larger second one


def keep_freed_memory() -> None:
    """Tell glibc not to give image-sized arrays back to the system after each use; elsewhere nothing happens.

    For the whole process, once is enough. At most 512 MiB of freed memory stay with the process.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
    mallopt(_M_MMAP_THRESHOLD, _LARGEST)
