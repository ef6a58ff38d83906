"""What moved between two reports, and what of it lies outside the noise that both recorded."""

from __future__ import annotations

import math

from measurement import Growth, Measurement, Report, Spread


def print_changes(old: Report, new: Report) -> None:
    """Every measurement that both have: old, new, change, and a mark where the change is more than noise."""
    _print_machines(old, new)
    before = {(row.group, row.name): row for row in old.measurements}
    shared = [(before[key], row) for row in new.measurements if (key := (row.group, row.name)) in before]
    if shared:
        print(f"\n{'':<56}{'ours, CPU ms':>30}{'reference / ours':>31}")
        print(f"{'what moved':<56}{'old':>10}{'new':>10}{'change':>10}{'old':>11}{'new':>10}{'change':>10}  verdict")
    for was, now in shared:
        print(
            f"{f'{now.group} {now.name}':<56}{1e3 * was.ours_cpu.median:>10.4g}{1e3 * now.ours_cpu.median:>10.4g}"
            f"{_change(was.ours_cpu, now.ours_cpu):>10}{_ratio(was.ratio):>11}{_ratio(now.ratio):>10}"
            f"{_change(was.ratio, now.ratio):>10}  {verdict(was, now)}"
        )
    _print_growths(old, new)
    for name, one, other in (("no longer measured", old, new), ("measured for the first time", new, old)):
        there = {(row.group, row.name) for row in other.measurements}
        groups = {row.group for row in other.measurements}
        for row in one.measurements:
            if (row.group, row.name) not in there and row.group in groups:
                print(f"{name}: {row.group} {row.name}")


def verdict(was: Measurement, now: Measurement) -> str:
    """``faster`` or ``slower`` where the intervals of :func:`interval` do not meet, else ``within noise``.

    By the ratio, in which a slow machine cancels out; by CPU seconds where there is no reference. Nothing is said of
    what one of the two measured once: its noise is not known.
    """
    if min(was.rounds, now.rounds) < 2:
        return "once, noise unknown"
    if was.ratio is not None and now.ratio is not None:
        gained = _apart(interval(was.ratio, was.rounds), interval(now.ratio, now.rounds))
    else:
        gained = -_apart(interval(was.ours_cpu, was.rounds), interval(now.ours_cpu, now.rounds))
    return {1: "faster", -1: "slower", 0: "within noise"}[gained]


def interval(spread: Spread, rounds: int) -> tuple[float, float]:
    """Where the median may lie: the quartiles, or the notch of a box plot where that is wider.

    The notch is the median ± 1.57 quartile distances / sqrt(rounds) (McGill, Tukey and Larsen, 1978).
    """
    notch = 1.57 * (spread.high - spread.low) / math.sqrt(rounds)
    return min(spread.low, spread.median - notch), max(spread.high, spread.median + notch)


def _apart(was: tuple[float, float], now: tuple[float, float]) -> int:
    return int(now[0] > was[1]) - int(now[1] < was[0])


def _change(was: Spread | None, now: Spread | None) -> str:
    return "-" if was is None or now is None else f"{now.median / was.median - 1:+.1%}"


def _ratio(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.median:.3g}"


def _print_growths(old: Report, new: Report) -> None:
    before: dict[tuple[str, str], Growth] = {(row.group, row.name): row for row in old.growths}
    shared = [(before[key], row) for row in new.growths if (key := (row.group, row.name)) in before]
    if shared:
        print(f"\n{'exponent of growth':<56}{'old':>16}{'new':>16}")
    for was, now in shared:
        print(f"{f'{now.group} {now.name}':<56}{_exponent(was):>16}{_exponent(now):>16}")


def _exponent(growth: Growth) -> str:
    return f"{growth.exponent:.2f}" + ("" if growth.error is None else f" ± {growth.error:.2f}")


def _print_machines(old: Report, new: Report) -> None:
    print(f"\nold: imdl-bench {old.machine.get('imdl_bench')} ({old.machine.get('commit')})")
    print(f"new: imdl-bench {new.machine.get('imdl_bench')} ({new.machine.get('commit')})")
    for key in ("processor", "instructions", "python", "versions"):
        if old.machine.get(key) != new.machine.get(key):
            print(f"{key} differ: seconds tell nothing, ratios little ({old.machine.get(key)}; {new.machine.get(key)})")
    if old.settings != new.settings:
        print(f"settings differ: {old.settings}; {new.settings}")
