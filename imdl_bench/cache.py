"""The cache folder, and downloads into it: https only, bounded in size, checked, moved into place when whole."""

from __future__ import annotations

import hashlib
import http.client
import os
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from imdl_bench.errors import DataError, UsageError


def cache_dir() -> Path:
    """``IMDL_BENCH_CACHE``, or ``imdl_bench`` in the user's cache folder."""
    own = os.environ.get("IMDL_BENCH_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "imdl_bench"


def file_name(text: str) -> str:
    """Any text as part of a file's name: letters, digits and ``@._-`` stay, the rest becomes ``_``."""
    return "".join(letter if letter.isalnum() or letter in "@._-" else "_" for letter in text)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or not there, also when killed half way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def sole_writer(lock: Path, busy: str) -> Iterator[None]:
    """Hold a lock that two processes cannot have: what is written under it has one writer.

    The lock is an SQLite transaction, which ends with the process however it ends; its empty file stays.

    Raises:
        UsageError: another process holds it; ``busy`` says of what.
        DataError: it cannot be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = sqlite3.connect(lock, timeout=0, isolation_level=None)
        held.execute("BEGIN EXCLUSIVE")
    except (OSError, sqlite3.OperationalError) as error:
        if "locked" not in str(error):
            raise DataError(f"{lock}: cannot be written ({error})") from None
        raise UsageError(f"{busy}; wait for it, or end it") from None
    with closing(held):
        yield


def download(url: str, max_bytes: int) -> bytes:
    """The content of an https address. Raises UsageError for other schemes, DataError where it cannot be had."""
    return b"".join(_received(url, max_bytes))


def download_file(url: str, path: Path, max_bytes: int, check: Callable[[Path], None]) -> None:
    """Fetch an https address to a file, which is moved into place once it is whole and ``check`` has not raised.

    Raises:
        UsageError: another scheme. DataError: it cannot be had or written. And whatever ``check`` raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            for part in _received(url, max_bytes):
                file.write(part)
        check(unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _received(url: str, max_bytes: int) -> Iterator[bytes]:
    if not url.startswith("https://"):
        raise UsageError(f"{url}: only https addresses are fetched")
    size = 0
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            if not answer.geturl().startswith("https://"):
                raise DataError(f"{url}: leads to {answer.geturl()}, which is not https")
            promised = answer.headers.get("Content-Length")
            while part := answer.read(1 << 20):
                size += len(part)
                if size > max_bytes:
                    raise DataError(f"{url}: larger than the {max_bytes} bytes expected; not taken")
                yield part
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url}: cannot be fetched ({error})") from None
    if promised is not None and promised.isdecimal() and size < int(promised):
        raise DataError(f"{url}: {size} of {promised} bytes came; try again")


def sha256(content: bytes) -> str:
    """Lower-case hexadecimal sha256."""
    return hashlib.sha256(content).hexdigest()
