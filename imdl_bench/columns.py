"""Columns of text: for a terminal, for GitHub, and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any


def drawn(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, its head first: columns two spaces apart, a rule under the head and one at the end."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    head, *body = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    rule = "-" * max(map(len, (head, *body)))
    return [head, rule, *body, rule]


def github(table: Sequence[Sequence[str]], others: str = "---") -> list[str]:
    """Lines of a GitHub table, its head first; ``others`` is the rule under all columns but the first."""
    head, *body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in table]
    return [head, f"|---|{f'{others}|' * (len(table[0]) - 1)}", *body]


def csv_of(names: Sequence[str], table: Sequence[Mapping[str, Any]]) -> str:
    """A CSV file of the columns ``names``, its head first."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return buffer.getvalue()


def csv_number(value: Any) -> Any:
    """How a value stands in a CSV file: numbers with eight decimals, nan as nothing, all else as it is."""
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.8f}"
