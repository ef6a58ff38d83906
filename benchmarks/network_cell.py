"""One network at one size and batch, in a process of its own: the library's predict beside the plain module.

``bench_networks.py`` and ``bench_growth.py`` start it and read the one line of JSON that it prints.
"""

from __future__ import annotations

import inspect
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from timing import Rounds, alternate

REFERENCE = "plain float32"
COMPILED_MARK = "+compiled"
COMPILE_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured: the library in each of ``precisions``, and the plain module beside it with ``reference``.

    A precision that ends in COMPILED_MARK goes through torch.compile, which is done before the first round.
    """

    model: str
    width: int
    height: int
    batch: int
    precisions: tuple[str, ...]
    reference: bool
    rounds: int
    budget: float
    memory_gib: float


@dataclass(frozen=True, slots=True)
class CellFound:
    """Rounds by precision, and of REFERENCE; words where a job failed; wall seconds of compiling."""

    jobs: dict[str, Rounds | str]
    starts: dict[str, float]


def run_cell(cell: Cell) -> CellFound | str:
    """What the cell's process found, or why it found nothing. It is stopped at four times the budget."""
    command = [sys.executable, str(Path(__file__)), json.dumps(asdict(cell))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGXCPU:
        return f"loading and the first calls took longer than {_cpu_limit(cell)} CPU seconds"
    if done.returncode:
        words = done.stderr.strip().splitlines()
        return f"exit code {done.returncode}: {words[-1] if words else 'no words'}"
    found = json.loads(done.stdout.splitlines()[-1])
    jobs = {name: each if isinstance(each, str) else _rounds(each) for name, each in found["jobs"].items()}
    return CellFound(jobs, found["starts"])


def _cpu_limit(cell: Cell) -> int:
    """CPU seconds of the process: a minute to load three networks, and what compiling takes."""
    compiled = sum(precision.endswith(COMPILED_MARK) for precision in cell.precisions)
    return int(4 * cell.budget) + 60 + COMPILE_SECONDS * compiled


def measure_cell(cell: Cell) -> CellFound:
    """In this process."""
    from imdl_bench import catalog
    from imdl_bench.errors import PredictionError
    from imdl_bench.types import Image

    pair = catalog.model_card(cell.model).input == "pair"
    photos = _photographs(cell.width, cell.height, cell.batch + pair)
    images = [Image(photo) for photo in photos]
    inputs = [images[: cell.batch], images[1:]] if pair else [images]
    jobs: dict[str, Callable[[], object]] = {}
    starts: dict[str, float] = {}
    for precision in cell.precisions:
        jobs[precision] = partial(_load(cell.model, precision).predict, *inputs)
        if precision.endswith(COMPILED_MARK):
            started = time.perf_counter()
            jobs[precision]()
            starts[precision] = time.perf_counter() - started
    if cell.reference:
        jobs[REFERENCE] = plain_forward(cell.model, inputs)
    resource.setrlimit(resource.RLIMIT_DATA, (int(cell.memory_gib * 2**30),) * 2)
    return CellFound(alternate(jobs, cell.rounds, cell.budget, (RuntimeError, MemoryError, PredictionError)), starts)


def _load(name: str, precision: str) -> Any:
    from imdl_bench import catalog

    load: Callable[..., Any] = catalog.load_model
    if precision.endswith(COMPILED_MARK):
        return load(name, "random", precision=precision.removesuffix(COMPILED_MARK), compile=True)
    return load(name, "random", precision=precision)


def plain_forward(name: str, inputs: Sequence[Sequence[Any]]) -> Callable[[], object]:
    """The network as its authors write it, eager, float32, contiguous NCHW, untiled; on inputs prepared beforehand.

    In a library without ``plain`` a network is kept from changing to channels last by itself.
    """
    import torch

    model = load_plain(name)
    network = model.network
    batches = [torch.stack([model.prepare(image) for image in images]).contiguous() for images in inputs]

    def forward() -> object:
        with torch.inference_mode(), nullcontext() if knows_plain() else _one_layout():
            return network(*batches)

    return forward


def _one_layout() -> AbstractContextManager[Any]:
    """Within this, ``contiguous`` gives NCHW whatever format is asked for."""
    import torch

    whole = torch.Tensor.contiguous
    return patch.object(torch.Tensor, "contiguous", lambda tensor, **_: whole(tensor))


def knows_plain() -> bool:
    """Whether this library can leave a network as its authors write it."""
    from imdl_bench import catalog

    return "plain" in inspect.signature(catalog.load_model).parameters


def load_plain(name: str, device: str = "cpu") -> Any:
    """A model whose ``network`` is as its authors write it, contiguous in memory.

    A library without ``plain`` has nothing folded to undo: there it is the network as loaded, its memory layout reset.
    """
    import torch

    from imdl_bench import catalog

    load: Callable[..., Any] = catalog.load_model
    more = {"plain": True} if knows_plain() else {}
    model = load(name, "random", device=device, **more)
    model.network.to(memory_format=torch.contiguous_format)
    return model


def _photographs(width: int, height: int, count: int) -> list[Any]:
    from inputs import photograph

    return [photograph(width, height, number) for number in range(count)]


def _rounds(content: dict[str, Any]) -> Rounds:
    return Rounds(tuple(content["cpu"]), tuple(content["wall"]), content["peak_mib"])


def main() -> None:
    from machine import one_thread

    one_thread()
    content = json.loads(sys.argv[1])
    cell = Cell(**content | {"precisions": tuple(content["precisions"])})
    resource.setrlimit(resource.RLIMIT_CPU, (_cpu_limit(cell), _cpu_limit(cell) + 5))
    print(json.dumps(asdict(measure_cell(cell))))


if __name__ == "__main__":
    main()
