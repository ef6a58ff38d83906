"""Texts without the folders of the machine that they were written on: a report is given to others."""

from __future__ import annotations

import re
from pathlib import Path

_FOLDERS = re.compile(r"(?<![\w.…~-])(?:[A-Za-z]:[\\/]|/|~/)(?:[^\s/\\:'\"]+[\\/])+")


def without_folders(text: str, root: str = "") -> str:
    """``text`` with paths below ``root`` made relative to it, and of any other absolute path the last part only."""
    for folder in filter(lambda name: len(name) > 1, (root, str(Path.home()))):
        text = text.replace(folder.rstrip("/\\") + "/", "").replace(folder, "DIR")
    return _FOLDERS.sub("…/", text)
