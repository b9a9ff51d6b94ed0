"""
Backups with the adapters that they need: SQLite files, the directory's lock, the clock.

A small composition root of its own, for the server and for the commands that work without one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from handfast import __version__
from handfast.errors import ConfigurationError, LimitExceededError
from handfast.ports import Clock
from handfast.services.backup import Backup, backup_name, make_backup
from handfast.services.backup_format import BACKUPS, REGISTRY, Databases
from handfast.services.restore import Restored, restore
from handfast.storage import migrate, snapshot
from handfast.storage.sql import registry_path
from handfast.storage.sqlite import DirectoryLock
from handfast.telemetry.clock import SystemClock

log = structlog.get_logger("handfast")
_clock = SystemClock()
_NICENESS = 10


class _SQLite:
    """`services.backup_format.Databases` over storage.snapshot."""

    copy = staticmethod(snapshot.copy_database)
    check = staticmethod(snapshot.check_database)
    schema = staticmethod(snapshot.schema_of)

    @staticmethod
    def knows(schema: str) -> bool:
        return schema in migrate.revisions()


_DATABASES: Databases = _SQLite()


def _step_back() -> None:
    """This thread runs when nothing else wants to; devices come first (Linux: the niceness of one thread)."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class Reporter:
    """Says what is being done, and never stops it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.doing = say

    def look(self) -> None:
        """Goes on."""


class Backups:
    """
    Backups of the directory that this process serves, off the loop and one at a time.

    `registry` is where `--database-url` says that the registry is. A caller
    that gives up does not end a backup; `close` does.
    """

    def __init__(self, data_dir: Path, registry: str | Path, clock: Clock) -> None:
        self._data_dir = data_dir
        self._registry = registry_path(registry)
        self._clock = clock
        self._running: asyncio.Future[Backup] | None = None
        self._stopping = threading.Event()

    async def create(self) -> Backup:
        """
        A new archive in `backups/`, on the disk.

        Raises:
            LimitExceededError: One is being made already, or this one cannot be.
        """
        if self._running is not None:
            raise LimitExceededError("A backup is being made already: try again when it is done")
        # A thread of its own, since one that has stepped back may not step forward again.
        worker = ThreadPoolExecutor(1, thread_name_prefix="handfast-backup", initializer=_step_back)
        self._running = asyncio.get_running_loop().run_in_executor(worker, self._make)
        worker.shutdown(wait=False)
        self._running.add_done_callback(self._done)
        return await asyncio.shield(self._running)

    async def close(self) -> None:
        """A backup that is being made has ended; nothing of it remains."""
        self._stopping.set()
        if self._running is not None:
            await asyncio.wait([self._running])

    def _make(self) -> Backup:
        now = self._clock.now()
        try:
            folder = self._data_dir / BACKUPS
            folder.mkdir(mode=0o700, exist_ok=True)
            made = make_backup(
                self._data_dir,
                folder / backup_name(now),
                _DATABASES,
                version=__version__,
                now=now,
                watch=self,
                registry=self._registry,
            )
        except OSError as error:
            raise LimitExceededError(f"The backup cannot be made: {error.filename}: {error.strerror}") from error
        except ConfigurationError as error:
            raise LimitExceededError(f"The backup cannot be made: {error}") from error
        log.info("backup made", path=str(made.path), size_bytes=made.size, sha256=made.sha256)
        return made

    def _done(self, future: asyncio.Future[Backup]) -> None:
        self._running = None
        if not future.cancelled():
            future.exception()  # seen: a caller that has left does not read it

    # services.backup.Watch

    def doing(self, text: str) -> None:
        """For the log."""
        log.debug("backup", doing=text)

    def look(self) -> None:
        """Ends the backup when the server stops."""
        if self._stopping.is_set():
            raise LimitExceededError("The server stops, and the backup with it")


@contextlib.contextmanager
def directory_lock(data_dir: Path) -> Iterator[None]:
    """Exclusive use of a data directory; ConfigurationError while a server runs on it."""
    lock = DirectoryLock(data_dir)
    try:
        yield
    finally:
        lock.release()


def backup_without_server(
    data_dir: Path, registry: str | Path | None, target: Path | None, say: Callable[[str], None]
) -> Backup:
    """
    An archive of a data directory that no server runs on, at `target`, else in its `backups/`.

    Raises:
        ConfigurationError: A server runs on it, or it cannot be made.
    """
    database = registry_path(registry or data_dir / REGISTRY)
    if not data_dir.is_dir() or not database.is_file():
        raise ConfigurationError(f"{data_dir} holds no registry ({database} is missing): give --data-dir")
    now = _clock.now()
    with contextlib.ExitStack() as stack:
        for folder in {data_dir.resolve(), database.parent.resolve()}:
            stack.enter_context(directory_lock(folder))
        if target is None:
            (data_dir / BACKUPS).mkdir(mode=0o700, exist_ok=True)
            target = data_dir / BACKUPS / backup_name(now)
        return make_backup(
            data_dir, target, _DATABASES, version=__version__, now=now, watch=Reporter(say), registry=database
        )


def restore_backup(archive: Path, data_dir: Path, *, force: bool, say: Callable[[str], None]) -> Restored:
    """`data_dir` is what the archive holds; see `services.restore.restore`."""
    return restore(
        archive,
        data_dir,
        _DATABASES,
        force=force,
        lock=directory_lock,
        version=__version__,
        now=_clock.now(),
        watch=Reporter(say),
    )
