"""Rows as lines to read; the columns are explained in README.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from measurement import Growth, LeftOut, Measurement

NAME = 54


def print_machine(machine: Mapping[str, Any]) -> None:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    print(f"{machine['processor']} ({', '.join(machine['instructions'])}), {machine['cores']} cores, one thread used")
    print(f"imdl-bench {machine['imdl_bench']} ({machine['commit']}), Python {machine['python']}, {versions}")


def print_heading(group: str, kind: type) -> None:
    if kind is Growth:
        print(f"\n{group:<{NAME}}{'exponent':>16}{'at the end':>12}   CPU ms at size")
        return
    print(
        f"\n{group:<{NAME}}{'CPU ms':>10}{'wall ms':>10}{'ref CPU':>10}{'ref wall':>10}{'ref/ours':>10}"
        f"{'quartiles':>17}{'n':>3}{'MiB':>7}{'ref MiB':>8}  against; note"
    )


def print_row(row: Measurement | Growth) -> None:
    if isinstance(row, Growth):
        error = "" if row.error is None else f" ± {row.error:.2f}"
        points = ", ".join(f"{size:g}: {1e3 * cpu:.3g}" for size, cpu in zip(row.sizes, row.seconds, strict=True))
        exponent = f"{row.exponent:.2f}{error}"
        print(f"{row.name:<{NAME}}{exponent:>16}{row.last_exponent:>12.2f}   {points} ({row.unit})", flush=True)
        return
    ratio = _times(row.ratio.median) if row.ratio else "-"
    quartiles = f"{_times(row.ratio.low)}..{_times(row.ratio.high)}" if row.ratio else "-"
    reference = row.reference_cpu.median if row.reference_cpu else None
    remarks = "; ".join(text for text in (row.against, row.note) if text)
    print(
        f"{row.name:<{NAME}}{_ms(row.ours_cpu.median):>10}{_ms(row.ours_wall):>10}{_ms(reference):>10}"
        f"{_ms(row.reference_wall):>10}{ratio:>10}{quartiles:>17}{row.rounds:>3}{_mib(row.peak_mib):>7}"
        f"{_mib(row.reference_peak_mib):>8}  {remarks}",
        flush=True,
    )


def print_left_out(rows: Sequence[LeftOut]) -> None:
    if rows:
        print("\nleft out")
    for row in rows:
        print(f"{row.group + ' ' + row.name:<{NAME + 10}}  {row.reason}")


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1e3 * seconds:.0f}" if seconds >= 1 else f"{1e3 * seconds:.3g}"


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
