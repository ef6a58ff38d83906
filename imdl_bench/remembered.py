"""What takes long and can be computed again, kept in the cache: hashes of files, numbers of finished runs."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from imdl_bench.cache import cache_dir
from imdl_bench.errors import DataError

HASHES = "hashes"
Result = TypeVar("Result")


def recall(store: str, keys: Sequence[str]) -> dict[str, str]:
    """The values that a store of the cache holds under these keys. Raises DataError where the cache is not writable."""

    def read(db: sqlite3.Connection) -> dict[str, tuple[str] | None]:
        return {key: db.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone() for key in keys}

    return {key: row[0] for key, row in _with_store(store, read).items() if row}


def remember(store: str, values: Mapping[str, str]) -> None:
    """Keep values under their keys. Raises DataError where the cache is not writable."""
    _with_store(store, lambda db: db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", values.items()))


def file_stamp(path: Path) -> str:
    """Size, inode and the times of modification and change: another content has another stamp. Empty: no such file."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"


def hash_files(files: Sequence[Path], workers: int, progress: Callable[[int], object]) -> dict[Path, str]:
    """sha256 of each file's content; ``absent`` where it cannot be read. ``progress`` counts the files read.

    Contents are hashed once and remembered by path and :func:`file_stamp`.
    """
    stamps = {path: file_stamp(path) for path in files}
    kept = recall(HASHES, [str(path.absolute()) for path in files])
    known = {}
    for path in files:
        stamp, _, digest = kept.get(str(path.absolute()), "").partition(" ")
        if stamp and stamp == stamps[path]:
            known[path] = digest
    unknown = [path for path in files if path not in known]
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for path, found in zip(unknown, pool.map(_hash_file, unknown), strict=True):
            known[path] = found
            progress(1)
    lasting = [path for path in unknown if stamps[path] and known[path] != "absent"]
    if lasting:
        remember(HASHES, {str(path.absolute()): f"{stamps[path]} {known[path]}" for path in lasting})
    return known


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "absent"


def _with_store(store: str, use: Callable[[sqlite3.Connection], Result]) -> Result:
    """A damaged file is thrown away, since everything in it can be computed again."""
    path = cache_dir() / f"{store}.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=60)) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
            return use(db)
    except (sqlite3.OperationalError, OSError) as error:
        raise DataError(f"{path}: cannot be written ({error}); set IMDL_BENCH_CACHE to a folder of your own") from None
    except sqlite3.DatabaseError:
        path.unlink()
        return _with_store(store, use)
