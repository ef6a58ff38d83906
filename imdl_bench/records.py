"""What a run leaves behind: its key, and one SQLite file that a kill at any moment leaves whole."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import imdl_bench
from imdl_bench.errors import DataError
from imdl_bench.metrics.histogram import ScorePool
from imdl_bench.remembered import hash_files
from imdl_bench.thumbnails import KeptMask
from imdl_bench.types import Sample

SCORING_VERSION = 2
PIXEL_LIBRARIES = ("numpy", "pillow", "scipy", "pywavelets", "torch", "torchvision", "timm")

_APPLICATION = 0x494D444C  # "IMDL": tells a run's file from any other SQLite database
_LAYOUT = 3  # of the tables below
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    distortion TEXT NOT NULL, sample TEXT NOT NULL, position INTEGER NOT NULL, forged INTEGER NOT NULL,
    kind TEXT, grp TEXT, status TEXT NOT NULL, reason TEXT, warnings TEXT NOT NULL,
    height INTEGER, width INTEGER, file_size INTEGER, seconds REAL, score REAL, mask_mean REAL, mask_max REAL,
    metric_values BLOB, totals BLOB, coarse BLOB, PRIMARY KEY (distortion, sample)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pools (distortion TEXT PRIMARY KEY, pool BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS masks (sample TEXT PRIMARY KEY, jpeg BLOB NOT NULL, top REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class RunKey:
    """Everything that moves a number. Two runs with the same key are the same run; any other is another."""

    protocol: str
    version: int
    rules: dict[str, Any]
    model: str
    model_code: str
    weights: str
    weights_content: str
    precision: str
    device: str
    dataset: str
    split: str
    data: str
    seed: int
    scoring: int
    libraries: dict[str, str]

    @property
    def hash(self) -> str:
        """12 hexadecimal digits that name the run. A file of weights counts by its content, not by its name."""
        parts = asdict(self)
        if self.weights_content:
            del parts["weights"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a run. ``status`` is ``ok`` or ``failed``; a failed row has a reason and no numbers.

    ``file_size`` is that of the image's file in bytes, before any distortion.
    """

    sample: str
    position: int
    forged: bool
    kind: str | None
    group: str | None
    status: str
    reason: str | None = None
    warnings: tuple[str, ...] = ()
    height: int | None = None
    width: int | None = None
    file_size: int | None = None
    seconds: float | None = None
    score: float | None = None
    mask_mean: float | None = None
    mask_max: float | None = None
    values: bytes | None = None
    totals: bytes | None = None
    coarse: bytes | None = None
    distortion: str = "none"


class RunFile:
    """The SQLite file of one run. Rows and the score pool go in together, in one transaction.

    Opened to read it is not touched; opened to write it is made where it is missing.

    Raises:
        DataError: from every method, where the file is not a run's or is damaged.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = path
        with self._explained():
            if write:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, timeout=60)
                self._make_or_refuse()
                return
            # Killed while it wrote, a run leaves a journal; only a writer may roll it back.
            mode = "rw" if Path(f"{path}-journal").exists() else "ro"
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=60)
            if not self._is_ours():
                self._db.close()
                raise sqlite3.DatabaseError("another program's database, or not begun")

    def __enter__(self) -> RunFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _make_or_refuse(self) -> None:
        """Tables and mark in one transaction: killed here, the file is as good as not there."""
        self._db.execute("BEGIN IMMEDIATE")
        if not self._is_ours():
            if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._db.close()
                raise sqlite3.DatabaseError("another program's database")
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._db.execute(f"PRAGMA user_version = {_LAYOUT}")
        self._db.commit()

    def _is_ours(self) -> bool:
        if self._db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
            return False
        if self._db.execute("PRAGMA user_version").fetchone()[0] != _LAYOUT:
            self._db.close()
            raise DataError(
                f"{self.path}: was made by another version of imdl-bench; delete its folder and make the run again"
            )
        return True

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise DataError(f"{self.path}: cannot be read or written now ({error})") from None
        except (sqlite3.DatabaseError, zlib.error, ValueError) as error:
            raise DataError(
                f"{self.path}: not a run file, or damaged ({error}); move it away to start afresh"
            ) from None

    def write_meta(self, values: dict[str, Any], *, replace: bool = False) -> None:
        """Set JSON values under their keys; what is there already stays unless ``replace``."""
        verb = "REPLACE" if replace else "IGNORE"
        with self._explained(), self._db:
            self._db.executemany(
                f"INSERT OR {verb} INTO meta VALUES (?, ?)",
                [(key, json.dumps(value, sort_keys=True)) for key, value in values.items()],
            )

    def read_meta(self) -> dict[str, Any]:
        """All JSON values."""
        with self._explained():
            found = self._db.execute("SELECT key, value FROM meta ORDER BY key").fetchall()
            return {key: json.loads(value) for key, value in found}

    def append(
        self, rows: Iterable[Row], pools: Mapping[str, ScorePool], masks: Mapping[str, KeptMask] | None = None
    ) -> None:
        """Add finished rows, the pools (by distortion) that hold them and thumbnails of their masks: all or nothing."""
        with self._explained(), self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                [
                    (
                        *(row.distortion, row.sample, row.position, row.forged, row.kind, row.group, row.status),
                        *(row.reason, json.dumps(row.warnings), row.height, row.width, row.file_size),
                        *(row.seconds, row.score, row.mask_mean, row.mask_max, row.values, row.totals, row.coarse),
                    )
                    for row in rows
                ],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO pools VALUES (?, ?)",
                [(distortion, pool.to_bytes()) for distortion, pool in pools.items()],
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO masks VALUES (?, ?, ?)",
                [(sample, mask.jpeg, mask.top) for sample, mask in (masks or {}).items()],
            )

    def done(self) -> set[tuple[str, str]]:
        """Distortion and sample id of every row."""
        with self._explained():
            return set(self._db.execute("SELECT distortion, sample FROM rows"))

    def rows(self) -> list[Row]:
        """All rows in the data set's order."""
        names = [field.name for field in fields(Row)]
        columns = ", ".join({"group": "grp", "values": "metric_values"}.get(name, name) for name in names)
        with self._explained():
            found = self._db.execute(f"SELECT {columns} FROM rows ORDER BY position, distortion, sample").fetchall()
        return [
            Row(**{**dict(zip(names, r, strict=True)), "forged": bool(r[2]), "warnings": tuple(json.loads(r[7]))})
            for r in found
        ]

    def pool(self, distortion: str = "none") -> ScorePool:
        """The scores of all images so far under a distortion."""
        with self._explained():
            found = self._db.execute("SELECT pool FROM pools WHERE distortion = ?", (distortion,)).fetchone()
            return ScorePool.from_bytes(found[0]) if found else ScorePool()

    def masks(self, samples: Iterable[str]) -> dict[str, KeptMask]:
        """Thumbnails of the masks of the given samples, as far as they were kept."""
        with self._explained():
            found = {
                sample: self._db.execute("SELECT jpeg, top FROM masks WHERE sample = ?", (sample,)).fetchone()
                for sample in samples
            }
        return {sample: KeptMask(*row) for sample, row in found.items() if row}


def environment() -> dict[str, str]:
    """What a number may depend on beside the key: recorded with every run."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(default_workers())
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    return found | {"threads": threads}


@cache
def pixel_libraries() -> dict[str, str]:
    """Versions of the libraries that decode and compute pixels, and our own; another version is another run."""
    import cv2  # comes under several names of distribution

    found = {"imdl-bench": imdl_bench.__version__, "opencv": cv2.__version__}
    for name in PIXEL_LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def data_fingerprint(
    samples: Sequence[Sample], rules: dict[str, Any], workers: int, progress: Callable[[int], object]
) -> str:
    """sha256 over every sample and the content of its files: a changed file is another run."""
    files = sorted({p for s in samples for p in (s.image, s.mask, s.donor, s.donor_mask) if p is not None})
    contents = hash_files(files, workers, progress)
    digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode())
    for sample in samples:
        parts = [sample.id, sample.forged, sample.kind, sample.group]
        parts += [contents.get(p) if p else None for p in (sample.image, sample.mask, sample.donor, sample.donor_mask)]
        digest.update(json.dumps(parts).encode() + b"\n")
    return digest.hexdigest()


def float_blob(values: Sequence[float]) -> bytes:
    """float64 values as bytes."""
    return np.asarray(values, "<f8").tobytes()


def count_blob(values: np.ndarray[Any, Any]) -> bytes:
    """int64 counts as bytes."""
    return values.astype("<i8").tobytes()


def default_workers() -> int:
    """Threads for decoding and scoring: the processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
