"""Bounded SQLite files for what is kept beside the registry: records for people, which a crash may shorten."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

_PAGE_BYTES = 4096


def open_archive(path: Path, schema: str, max_bytes: int) -> sqlite3.Connection:
    """The file, made where it is missing (0600), with `schema`, never longer than `max_bytes`."""
    # SQLite gives its WAL files the mode of the database, so the mode is right before the first byte.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(f"PRAGMA max_page_count={max_bytes // _PAGE_BYTES}")
        connection.executescript(schema)
    except BaseException:
        connection.close()
        raise
    return connection


def is_damaged(error: Exception) -> bool:
    """Whether the file itself is broken: a full disk, a lock or a statement of ours that is wrong may pass."""
    return type(error) is sqlite3.DatabaseError


def discard_archive(path: Path) -> None:
    """The file is gone, so that the next opening begins anew; what cannot be removed stays."""
    for suffix in ("", "-wal", "-shm"):
        try:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        except OSError:
            pass
