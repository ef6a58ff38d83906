"""Threads that do not fight: work is spread over images, so whatever computes on one image has one thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE = "OMP_NUM_THREADS"


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Within, PyTorch, BLAS and OpenCV compute on one thread in each of the caller's threads, present or started here.

    Faster than the same threads on one image after another; and the last bits of a network's sums depend on how many
    threads share them, so that this is also why a run gives the same bytes on any number of processors. A PyTorch that
    is imported within stays at one thread.
    """
    import cv2
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")  # where a network is, it is there
    before = cv2.getNumThreads(), torch.get_num_threads() if torch else 1
    variable = os.environ.get(_VARIABLE)
    cv2.setNumThreads(1)
    if torch:
        torch.set_num_threads(1)
    os.environ[_VARIABLE] = "1"  # other models may import it only when they are asked
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(before[0])
        if torch:
            torch.set_num_threads(before[1])
        del os.environ[_VARIABLE]
        if variable is not None:
            os.environ[_VARIABLE] = variable
