"""Bounded SQLite files for what is kept beside the registry: records for people, which a crash may shorten."""

from __future__ import annotations

import os
import sqlite3
import threading
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


class ArchiveFile:
    """
    Such a file, opened when it is needed. `lock` is for who uses its connection.

    After an error the next use opens it again, and where the file was damaged, begins anew.
    """

    def __init__(self, path: Path, schema: str, max_bytes: int) -> None:
        self.path = path
        self.lock = threading.Lock()
        self._schema = schema
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None

    def open(self) -> sqlite3.Connection:
        """The connection; sqlite3.Error or OSError."""
        if self._connection is None:
            self._connection = open_archive(self.path, self._schema, self._max_bytes)
        return self._connection

    def drop(self, error: Exception) -> bool:
        """The connection on which `error` came is closed; whether the file was damaged, and is gone."""
        self._close()
        damaged = is_damaged(error)
        if damaged:
            discard_archive(self.path)
        return damaged

    def close(self) -> None:
        """The file is closed."""
        with self.lock:
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
