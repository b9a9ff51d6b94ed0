"""
SQLite as the registry's engine: one writer thread with group commit, a few reader threads, one process.

A storage operation is one synchronous function over a SQLAlchemy connection.
Writes queue for the writer, which gathers whatever has arrived into one
`BEGIN IMMEDIATE … COMMIT` (one fsync), each operation in a savepoint of its
own, so that one operation's refusal spoils no other. Readers run in WAL
snapshots of their own and never wait for the writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from handfast.errors import ConfigurationError, HandfastError, StoreUnavailable

T = TypeVar("T")
_log = logging.getLogger(__name__)

_READERS = 2
_BATCH = 256
"""Writes that share a commit at most: bounds how long the first of them waits."""
_LOCK_NAME = "handfast.lock"
_UNAVAILABLE = "The registry database did not answer; the write may or may not have happened"


class _Job:
    """One operation on its way to a thread, and the future that takes its outcome back to the loop."""

    __slots__ = ("error", "future", "loop", "operation", "result")

    def __init__(
        self,
        operation: Callable[[Connection], Any],
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
    ) -> None:
        self.operation = operation
        self.loop = loop
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        if self.future.done():  # the caller was cancelled meanwhile
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def _deliver(jobs: list[_Job]) -> None:
    if len(jobs) == 1:
        with contextlib.suppress(RuntimeError):
            jobs[0].loop.call_soon_threadsafe(jobs[0].settle)
        return
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, settled in by_loop.items():
        # The loop may be closed while its last calls were still running here: then nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_all, settled)


def _settle_all(jobs: list[_Job]) -> None:
    for job in jobs:
        job.settle()


def _translated(error: Exception) -> Exception:
    """The error as it may leave the store: no driver error does."""
    if isinstance(error, (SQLAlchemyError, sqlite3.Error)):
        _log.error("registry database error", exc_info=error)
        return StoreUnavailable(_UNAVAILABLE)
    return error


class DirectoryLock:
    """Exclusive use of a data directory by one process, held until `release`; a killed process holds nothing."""

    def __init__(self, directory: Path) -> None:
        path = directory / _LOCK_NAME
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise ConfigurationError(
                f"Another handfast is running on {directory}: stop it, or give another --data-dir"
            ) from None

    def release(self) -> None:
        os.close(self._fd)


class SQLiteDatabase:
    """The threads and connections of one database file. Open with `open`; not usable after `close`."""

    def __init__(self, path: Path, engine: Engine, lock: DirectoryLock) -> None:
        self.path = path
        self._engine = engine
        self._lock = lock
        self._writes: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    @classmethod
    def open(cls, path: Path, prepare: Callable[[Connection], None]) -> SQLiteDatabase:
        """
        Open or create the file (0600), run `prepare` in one transaction, start the threads. Blocking.

        Raises:
            ConfigurationError: In use by another process, unreadable, not a
                database, or `prepare` refused it.
        """
        try:
            lock = DirectoryLock(path.parent)
        except OSError as error:
            raise ConfigurationError(f"Cannot use the directory {path.parent}: {error.strerror}") from error
        try:
            # Created by us, so that the mode never depends on the umask; -wal and -shm take the file's mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            engine = _engine(path)
            with contextlib.closing(engine.connect()) as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                # A migration that copies a table drops the old one, which would take the rows that refer to it along.
                # It checks the keys itself; cannot be switched inside a transaction.
                connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                try:
                    prepare(connection)
                    connection.exec_driver_sql("COMMIT")
                except BaseException:
                    _rollback(_raw(connection))
                    raise
        except OSError as error:
            lock.release()
            raise ConfigurationError(f"Cannot open the registry database {path}: {error.strerror}") from error
        except (SQLAlchemyError, sqlite3.Error) as error:
            lock.release()
            said = getattr(error, "orig", None) or error  # SQLite's own words, without the statement
            raise ConfigurationError(
                f"Cannot open the registry database {path}: {said}; free space there, restore it, or choose another "
                "--data-dir"
            ) from error
        except BaseException:
            lock.release()
            raise
        database = cls(path, engine, lock)
        database._start()
        return database

    def _start(self) -> None:
        self._threads.append(threading.Thread(target=self._write_loop, name="handfast-writer", daemon=True))
        for number in range(_READERS):
            self._threads.append(
                threading.Thread(target=self._read_loop, name=f"handfast-reader-{number}", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    async def write(self, operation: Callable[[Connection], T]) -> T:
        """The operation's result, durable: the commit with its fsync has happened."""
        return await self._submit(self._writes, operation)

    async def read(self, operation: Callable[[Connection], T]) -> T:
        """The operation's result over one snapshot, which holds every write that was acknowledged before."""
        return await self._submit(self._reads, operation)

    def _submit(
        self, target: queue.SimpleQueue[_Job | None], operation: Callable[[Connection], T]
    ) -> asyncio.Future[T]:
        if self._closed:
            raise StoreUnavailable("The registry database is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        target.put(_Job(operation, loop, future))
        return future

    async def close(self) -> None:
        """Every operation submitted so far is finished, the files are closed and the directory is free."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        # SQLite empties the write-ahead log when the last connection closes. Of two that close at the same moment each
        # can take the other for open, and the log would stay, with whatever was deleted in it: the writer goes alone.
        writer, *readers = self._threads
        for _ in readers:
            self._reads.put(None)
        for thread in readers:
            thread.join()
        self._writes.put(None)
        writer.join()
        self._engine.dispose()
        self._lock.release()

    def _read_loop(self) -> None:
        connection = self._engine.connect()
        raw = _raw(connection)
        raw.execute("PRAGMA query_only = 1")
        while (job := self._reads.get()) is not None:
            try:
                raw.execute("BEGIN")
                try:
                    job.result = job.operation(connection)
                finally:
                    _rollback(raw)
            except Exception as error:
                job.error = _translated(error)
            _deliver([job])
            del job  # the operation may hold a whole batch alive while this thread waits
        connection.close()

    def _write_loop(self) -> None:
        connection = self._engine.connect()
        raw = _raw(connection)
        stopping = False
        while not stopping:
            job = self._writes.get()
            if job is None:
                break
            batch = [job]
            while len(batch) < _BATCH:
                try:
                    following = self._writes.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    stopping = True
                    break
                batch.append(following)
            self._commit(connection, raw, batch)
            _deliver(batch)
            del job, batch
        connection.close()

    def _commit(self, connection: Connection, raw: sqlite3.Connection, batch: list[_Job]) -> None:
        """All of the batch in one transaction; each job holds its outcome on return."""
        try:
            raw.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run(connection, raw, job)
            raw.execute("COMMIT")
        except Exception as error:
            # Nothing of the batch is certain. An operation that had refused keeps its answer.
            translated = _translated(error)
            for job in batch:
                if job.error is None:
                    job.result, job.error = None, translated
            _rollback(raw)

    @staticmethod
    def _run(connection: Connection, raw: sqlite3.Connection, job: _Job) -> None:
        raw.execute("SAVEPOINT operation")
        try:
            job.result = job.operation(connection)
        except Exception as error:
            if not raw.in_transaction:  # SQLite itself rolled everything back (disk full, I/O error)
                job.error = _translated(error)
                raise
            raw.execute("ROLLBACK TO operation")
            job.error = error if isinstance(error, HandfastError) else _translated(error)
        raw.execute("RELEASE operation")


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def configure(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.isolation_level = None  # transactions are begun and ended here, by name
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA busy_timeout = 5000")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")  # an acknowledged write survives power loss, not only kill -9
        cursor.execute("PRAGMA secure_delete = ON")  # a secret that was sealed or removed leaves no plain copy behind
        cursor.execute("PRAGMA cache_size = -32768")  # KiB
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    event.listen(engine, "connect", configure)
    return engine


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _rollback(raw: sqlite3.Connection) -> None:
    if raw.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            raw.execute("ROLLBACK")
