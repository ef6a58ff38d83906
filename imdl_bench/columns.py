"""Columns of text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def drawn(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, its head first: columns two spaces apart, a rule under the head and one at the end."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    head, *body = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    rule = "-" * max(map(len, (head, *body)))
    return [head, rule, *body, rule]
