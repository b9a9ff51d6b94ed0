"""The copy of a registry that is made before its schema is changed."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import stat
from pathlib import Path

from handfast.errors import ConfigurationError
from handfast.storage.snapshot import check_database, copy_database

FOLDER = "backups"
KEPT = 3
"""Copies of ours that stay; the oldest go. Other files in the folder are nobody's business here."""
_RESERVE = 32 * 1024 * 1024
_NAME = re.compile(
    r"handfast-before-[0-9a-z]{4,32}-(?P<at>[0-9]{8}T[0-9]{6}Z)(?:-(?P<number>[0-9]{1,3}))?\.db", re.ASCII
)
_UNFINISHED = re.compile(r"\.handfast-before-[\w.-]+\.db\.tmp(?:-journal|-wal|-shm)?", re.ASCII)


def keep_copy(database: Path, to: str, now: dt.datetime) -> Path:
    """
    A sound copy of the registry stands in `backups/` beside it, 0600 and on the disk: `handfast-before-TO-INSTANT.db`.

    Needs exclusive use of the directory. What is committed is in it; a
    transaction that is open on another connection is not.

    Raises:
        ConfigurationError: It cannot be made; nothing may be changed then.
    """
    folder = database.parent / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.iterdir():  # of a start that was killed
            if _UNFINISHED.fullmatch(left.name):
                left.unlink()
        _require_room(folder, database)
        target = _free_name(folder, to, now)
        partial = folder / f".{target.name}.tmp"
        copy_database(database, partial)
        check_database(partial)
        partial.rename(target)
        _sync(folder)
        others = [copy for copy in _copies(folder) if copy != target]  # whatever the clock said, never this one
        for old in others[: -(KEPT - 1)]:
            old.unlink()
    except OSError as error:
        raise _impossible(database, f"{error.filename or folder}: {error.strerror}") from error
    except ConfigurationError as error:
        raise _impossible(database, str(error)) from error
    return target


def _copies(folder: Path) -> list[Path]:
    """Copies that were made here, the oldest first."""
    found = []
    for entry in folder.iterdir():
        match = _NAME.fullmatch(entry.name)
        if match and stat.S_ISREG(entry.lstat().st_mode):
            found.append((match["at"], int(match["number"] or 1), entry))
    return [entry for _, _, entry in sorted(found)]


def _free_name(folder: Path, to: str, now: dt.datetime) -> Path:
    stem = f"handfast-before-{to}-{now:%Y%m%dT%H%M%SZ}"
    target, number = folder / f"{stem}.db", 1
    while os.path.lexists(target):
        number += 1
        target = folder / f"{stem}-{number}.db"
    return target


def _require_room(folder: Path, database: Path) -> None:
    wal = database.with_name(f"{database.name}-wal")
    needed = database.stat().st_size + (wal.stat().st_size if wal.exists() else 0) + _RESERVE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigurationError(f"{folder} has {free / 1e6:,.1f} MB free, {needed / 1e6:,.1f} MB are needed")


def _impossible(database: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{database} is of an older version and is not migrated, because no backup of it can be made first: {why}. "
        "Make room or mend that, and start again"
    )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
