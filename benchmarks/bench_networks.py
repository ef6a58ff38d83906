"""Every network at four sizes, batch 1 and 8, float32 and bfloat16, beside its plain eager float32 module.

    python benchmarks/bench_networks.py [options of run.py]

Ours is ``predict`` from photographs to masks, its own resizing included; the reference is one call of the module on
inputs that are prepared already. Seconds are per image. Random weights: the arithmetic is that of trained ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from measurement import LeftOut, Row, Settings, measured
from network_cell import COMPILED_MARK, REFERENCE, Cell, CellFound, run_cell
from timing import Rounds

from imdl_bench import catalog

GROUP = "networks"
SIZES = ((256, 256), (512, 512), (1024, 768), (1920, 1080))
BATCHES = (1, 8)
PRECISIONS = ("float32", "bfloat16")
COMPILED = tuple(precision + COMPILED_MARK for precision in PRECISIONS)


def list_networks() -> list[str]:
    """Models that have weights."""
    return [name for name in catalog.list_models() if catalog.model_card(name).weights is not None]


def measure(settings: Settings) -> Iterator[Row]:
    """Two rows for each network, batch and size; a size that would pass the budget is left out with the larger ones."""
    for name in settings.models or list_networks():
        seconds: dict[tuple[int, int, int], float] = {}
        for batch in BATCHES[:1] if settings.quick else BATCHES:
            for width, height in SIZES[:1] if settings.quick else SIZES:
                place = f"{name} {width}x{height} batch {batch}"
                expected = _at_least(seconds, width, height, batch)
                if expected > settings.budget:
                    words = f"a smaller size or batch says at least {expected:.0f} s for one call of each"
                    yield LeftOut(GROUP, place, f"{words}, above the budget of {settings.budget:g} s")
                    continue
                cell = Cell(
                    name, width, height, batch, _kinds(settings), reference=True,
                    rounds=settings.rounds, budget=settings.budget, memory_gib=settings.memory_gib,
                )  # fmt: skip
                found = run_cell(cell)
                if isinstance(found, str):
                    yield LeftOut(GROUP, place, found)
                    seconds[width, height, batch] = 4 * settings.budget
                    continue
                counted = [each for each in found.jobs.values() if isinstance(each, Rounds)]
                seconds[width, height, batch] = sum(min(each.cpu) for each in counted)
                yield from _rows(place, batch, found, settings)


def _at_least(seconds: dict[tuple[int, int, int], float], width: int, height: int, batch: int) -> float:
    """CPU seconds that one call of every job takes at least, by what was measured: more pixels never take less time.

    A batch takes what its images take one by one, within a factor that does not matter here.
    """
    return max(
        (
            spent * batch / known
            for (w, h, known), spent in seconds.items()
            if w * h <= width * height and known <= batch
        ),
        default=0.0,
    )


def _kinds(settings: Settings) -> tuple[str, ...]:
    return PRECISIONS + (COMPILED if settings.compiled else ())


def _rows(place: str, batch: int, found: CellFound, settings: Settings) -> Iterator[Row]:
    reference = found.jobs[REFERENCE]
    beside = reference if isinstance(reference, Rounds) else None
    failed = "" if beside else f"the plain module failed within {settings.memory_gib:g} GiB ({reference:.60})"
    for precision in _kinds(settings):
        ours = found.jobs[precision]
        if isinstance(ours, str):
            yield LeftOut(GROUP, f"{place} {precision}", ours)
            continue
        start = f"compiling took {found.starts[precision]:.0f} s" if precision in found.starts else ""
        once = "measured once" if len(ours.cpu) == 1 else ""
        note = "; ".join(text for text in (once, start, failed) if text)
        against = "plain eager float32 module" if beside else ""
        yield measured(GROUP, f"{place} {precision}", ours, beside, against=against, per=batch, note=note)


if __name__ == "__main__":
    from run import main

    sys.exit(main(["--only", GROUP, *sys.argv[1:]]))
