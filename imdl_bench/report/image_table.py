"""The table of every image: plain values that the page's own script draws, a hundred at a time."""

from __future__ import annotations

import math
from typing import Any

from imdl_bench.distortions import NONE
from imdl_bench.records import Row
from imdl_bench.report.folders import without_folders
from imdl_bench.report.same_images import SameImages

ABOUT = (("image", False), ("kind", False), ("group", False), ("size", False), ("bytes", True), ("forged", False))
OUTCOME = (("status", False), ("reason", False))


def image_table(group: SameImages) -> dict[str, Any]:
    """Title, columns (name, whether numeric) and rows, ready for JSON; undefined values are ``None``."""
    columns = [*ABOUT, *((label, True) for label in group.labels), *OUTCOME]
    return {
        "title": group.title,
        "about": f"{group.value_name}, {_after(group.level)}",
        "columns": columns,
        "rows": [_row(group, place, sample) for place, sample in enumerate(group.samples)],
    }


def _after(level: str) -> str:
    return "images as they are" if level == NONE else f"after {level}"


def _row(group: SameImages, place: int, sample: str) -> list[Any]:
    row = group.row(sample)
    status, reason = _failures(group, sample)
    values = [None if math.isnan(value) else round(float(value), 4) for value in group.values[place]]
    size = f"{row.width} × {row.height}" if row.width else ""
    about = [sample, row.kind or "", row.group or "", size, row.file_size, "forged" if row.forged else "pristine"]
    return [*about, *values, status, reason]


def _failures(group: SameImages, sample: str) -> tuple[str, str]:
    """``ok`` or ``failed``; whose failure it was where not all models failed for the same reason."""
    rows: list[tuple[str, Row]] = [
        (label, row) for label, row in zip(group.labels, group.rows[sample], strict=True) if row is not None
    ]
    root = str(group.runs[0].meta["root"])
    reasons = {label: without_folders(row.reason or "", root) for label, row in rows if row.status == "failed"}
    if not reasons:
        return "ok", ""
    if len(reasons) == len(rows) and len(set(reasons.values())) == 1:
        return "failed", next(iter(reasons.values()))
    return "failed", "; ".join(f"{label}: {reason}" for label, reason in reasons.items())
