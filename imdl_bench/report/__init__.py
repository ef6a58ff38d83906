"""Finished runs as something to look at: :func:`write_report` makes one HTML file, :mod:`.figures` single plots."""

from imdl_bench.report.page import Report, write_report

__all__ = ["Report", "write_report"]
