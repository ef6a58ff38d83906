"""Finished runs as something to look at: :func:`write_report` makes one HTML file, :mod:`.figures` single plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imdl_bench.report.page import Report, write_report

__all__ = ["Report", "write_report"]


def __getattr__(name: str) -> Any:
    """What makes pages loads where it is used: the command line only reads which figures there are."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from imdl_bench.report import page

    return getattr(page, name)
