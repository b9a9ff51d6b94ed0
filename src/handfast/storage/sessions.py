"""Durable MQTT state in a SQLite file of its own: one writer thread, group commit."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from handfast.core.identity.ids import Scope
from handfast.errors import ConfigurationError, StoreUnavailable
from handfast.ports import Retained, RetainOp

SCHEMA_VERSION = 1
DEFAULT_RETAINED_PER_SCOPE = 500_000
MAX_BATCH = 4_096
"""Operations that share one fsync; more wait for the next."""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE retained (
    account TEXT NOT NULL,
    region TEXT NOT NULL,
    topic BLOB NOT NULL,
    payload BLOB NOT NULL,
    qos INTEGER NOT NULL,
    properties BLOB NOT NULL,
    stored_at REAL NOT NULL,
    expires_at REAL,
    PRIMARY KEY (account, region, topic)
);
CREATE INDEX retained_expiry ON retained (expires_at) WHERE expires_at IS NOT NULL;
"""
_UPSERT = """
INSERT INTO retained (account, region, topic, payload, qos, properties, stored_at, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, region, topic) DO UPDATE SET payload = excluded.payload, qos = excluded.qos,
    properties = excluded.properties, stored_at = excluded.stored_at, expires_at = excluded.expires_at
"""
_DELETE = "DELETE FROM retained WHERE account = ? AND region = ? AND topic = ?"
_EXISTS = "SELECT 1 FROM retained WHERE account = ? AND region = ? AND topic = ?"
_READ = """
SELECT payload, qos, properties, stored_at, expires_at FROM retained
WHERE account = ? AND region = ? AND topic = ?
"""


class _Job:
    """One call, answered on its own loop. `ops` is None for a read, `keys` for a write, both for the end."""

    __slots__ = ("future", "keys", "loop", "ops")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ops: Sequence[RetainOp] | None,
        keys: Sequence[tuple[Scope, str]] | None,
    ) -> None:
        self.loop = loop
        self.ops = ops
        self.keys = keys
        self.future: asyncio.Future[Any] = loop.create_future()


class SQLiteSessions:
    """
    `ports.Sessions` over SQLite (WAL, synchronous=FULL).

    One thread owns the file and takes calls in order: everything that was
    queued meanwhile shares one transaction and one fsync, and a read sees every
    commit that was called before it. Topics compare bytewise.
    """

    def __init__(
        self,
        path: Path,
        *,
        retained_per_scope: int = DEFAULT_RETAINED_PER_SCOPE,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        Open or create the file.

        Raises ConfigurationError when it cannot be used or is of a newer version.
        """
        self._path = path
        self._limit = retained_per_scope
        self._now = now
        self._counts: dict[Scope, int] = {}
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        try:
            self._db = self._open(path)
        except sqlite3.Error as error:
            raise ConfigurationError(f"the session file {path} cannot be used: {error}") from None
        self._thread = threading.Thread(target=self._work, name="handfast-sessions", daemon=True)
        self._thread.start()

    # ports.Sessions

    async def commit(self, ops: Sequence[RetainOp]) -> list[bool]:
        """Group commit: all durable on return, in order. False: the scope's retained store is full."""
        results: list[bool] = await self._call(ops, None)
        return results

    async def retained(self, keys: Sequence[tuple[Scope, str]]) -> list[Retained | None]:
        """The retained messages of exact topics; None where there is none or it has expired."""
        results: list[Retained | None] = await self._call(None, keys)
        return results

    async def close(self) -> None:
        """Everything queued is done, then the file is closed."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    async def _call(self, ops: Sequence[RetainOp] | None, keys: Sequence[tuple[Scope, str]] | None) -> Any:
        if self._closed:
            raise StoreUnavailable("the session file is closed")
        job = _Job(asyncio.get_running_loop(), ops, keys)
        self._jobs.put(job)
        return await job.future

    # the writer thread

    def _open(self, path: Path) -> sqlite3.Connection:
        # Made 0600 before SQLite writes to it; the journal files take over its mode.
        path.touch(mode=0o600, exist_ok=True)
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("BEGIN IMMEDIATE")
        exists = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").fetchone()
        if exists is None:
            for statement in _SCHEMA.split(";"):
                if statement.strip():
                    db.execute(statement)
            db.execute("INSERT INTO meta (name, value) VALUES ('schema', ?)", (SCHEMA_VERSION,))
        db.execute("COMMIT")
        (version,) = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if version > SCHEMA_VERSION:
            db.close()
            raise ConfigurationError(
                f"the session file {path} has schema {version}, this version knows {SCHEMA_VERSION}: "
                "start the newer version of handfast"
            )
        return db

    def _work(self) -> None:
        running = True
        while running:
            batch: list[_Job] = []
            job = self._jobs.get()
            size = 0
            while True:
                if job is None:
                    running = False
                    break
                batch.append(job)
                size += len(job.ops or ())
                if size >= MAX_BATCH:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._run(batch)
        self._db.close()

    def _run(self, batch: list[_Job]) -> None:
        """All writes of the batch in one transaction, its reads in their places; answers after the commit."""
        answers: list[tuple[_Job, Any]] = []
        failure: StoreUnavailable | None = None
        writes = any(job.ops is not None for job in batch)
        try:
            if writes:
                self._db.execute("BEGIN IMMEDIATE")
                self._expire()
            for job in batch:
                if job.ops is not None:
                    answers.append((job, [self._apply(op) for op in job.ops]))
                else:
                    answers.append((job, [self._read(scope, topic) for scope, topic in job.keys or ()]))
            if writes:
                self._db.execute("COMMIT")
        except Exception as error:
            self._counts.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            failure = StoreUnavailable(f"the session file could not be written: {error}")
        if failure is not None:
            for job in batch:
                self._answer(job, None, failure)
        else:
            for job, answer in answers:
                self._answer(job, answer, None)

    @staticmethod
    def _answer(job: _Job, answer: Any, failure: StoreUnavailable | None) -> None:
        def settle() -> None:
            if job.future.done():
                return
            if failure is not None:
                job.future.set_exception(failure)
            else:
                job.future.set_result(answer)

        try:
            job.loop.call_soon_threadsafe(settle)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _count(self, scope: Scope) -> int:
        count = self._counts.get(scope)
        if count is None:
            (count,) = self._db.execute(
                "SELECT count(*) FROM retained WHERE account = ? AND region = ?", (scope.account, scope.region)
            ).fetchone()
            self._counts[scope] = count
        return count

    def _apply(self, op: RetainOp) -> bool:
        scope = op.scope
        key = (scope.account, scope.region, op.topic.encode())
        count = self._count(scope)
        message = op.message
        if message is None:
            self._counts[scope] = count - self._db.execute(_DELETE, key).rowcount
            return True
        new = self._db.execute(_EXISTS, key).fetchone() is None
        if new and count >= self._limit:
            return False
        self._db.execute(
            _UPSERT,
            (
                *key,
                message.payload,
                message.qos,
                message.properties,
                message.stored_at,
                message.expires_at,
            ),
        )
        self._counts[scope] = count + new
        return True

    def _expire(self) -> None:
        """Forget what has expired, a bounded number at a time."""
        gone = self._db.execute(
            "DELETE FROM retained WHERE rowid IN (SELECT rowid FROM retained WHERE expires_at <= ? LIMIT 1000)",
            (self._now(),),
        ).rowcount
        if gone:
            self._counts.clear()

    def _read(self, scope: Scope, topic: str) -> Retained | None:
        row = self._db.execute(_READ, (scope.account, scope.region, topic.encode())).fetchone()
        if row is None:
            return None
        payload, qos, properties, stored_at, expires_at = row
        if expires_at is not None and expires_at <= self._now():
            return None
        return Retained(
            topic=topic,
            payload=payload,
            qos=qos,
            properties=properties,
            stored_at=stored_at,
            expires_at=expires_at,
        )
