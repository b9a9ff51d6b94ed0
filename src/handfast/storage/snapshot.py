"""A SQLite file copied at one instant while others read and write it, and looked at without being changed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from handfast.errors import ConfigurationError

_PAGES_PER_STEP = 512
_OPS_PER_LOOK = 100_000
_BUSY_TIMEOUT_S = 30.0


def proceed() -> None:
    """Nobody asks to stop."""


def copy_database(source: Path, target: Path, looking: Callable[[], None] = proceed) -> None:
    """
    `target`, which must not exist, holds what `source` held at one instant; 0600, and on the disk.

    The copy is read in one WAL snapshot: every write that was committed before
    the call is in it, none by half, and writers do not wait. Blocking. `looking`
    is called every few megabytes; what it raises ends the copy. The target is
    removed when the copy fails.

    Raises:
        ConfigurationError: It cannot be read, or the copy cannot be written.
    """
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be made: {error.strerror}") from error
    try:
        with contextlib.closing(_connect(source, "rw")) as reader, contextlib.closing(_connect(target, "rw")) as writer:
            # The snapshot is taken here and held: a copy in steps would otherwise begin anew at every commit of others.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            writer.execute("PRAGMA synchronous = OFF")  # flushed once, below
            reader.backup(writer, pages=_PAGES_PER_STEP, progress=lambda *_: looking(), sleep=0.01)
        _flush(target)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error):
            raise ConfigurationError(f"{source} cannot be copied to {target}: {error}") from error
        if isinstance(error, OSError):
            raise ConfigurationError(f"{source} cannot be copied to {target}: {error.strerror}") from error
        raise


def check_database(path: Path, looking: Callable[[], None] = proceed) -> None:
    """
    The file, which nobody else uses, is a whole and sound SQLite database. Not changed, nothing is left beside it.

    Raises:
        ConfigurationError: It is damaged, or no database.
    """
    stopped: list[BaseException] = []

    def look() -> int:
        try:
            looking()
        except BaseException as error:
            stopped.append(error)
            return 1
        return 0

    try:
        with contextlib.closing(_connect(path, "ro", immutable=True)) as connection:
            connection.set_progress_handler(look, _OPS_PER_LOOK)
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
    except sqlite3.Error as error:
        if stopped:
            raise stopped[0] from None
        raise ConfigurationError(f"{path} is not a sound database: {error}") from error
    if found != ["ok"]:
        raise ConfigurationError(f"{path} is damaged: {' '.join(found)[:200]}")


def schema_of(path: Path) -> str:
    """The schema revision of a registry file that nobody else uses; empty where there is none. Not changed."""
    try:
        with contextlib.closing(_connect(path, "ro", immutable=True)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return ""
    return "" if row is None else str(row[0])


def _connect(path: Path, mode: str, *, immutable: bool = False) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT_S)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
