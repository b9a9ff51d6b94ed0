"""Observations of connections over a restart: a bounded SQLite file of its own."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.observations import LOOK_BACK, Observation, Sighting
from handfast.storage.archive_file import ArchiveFile

log = logging.getLogger(__name__)

FILE_NAME = "observations.db"
MAX_ROWS_PER_ACCOUNT = 10_000
MAX_FILE_BYTES = 256 * 1024 * 1024

_SCHEMA = """
CREATE TABLE IF NOT EXISTS observations (
    account TEXT NOT NULL, region TEXT NOT NULL, sighting TEXT NOT NULL, subject TEXT NOT NULL,
    first_seen REAL NOT NULL, last_seen REAL NOT NULL, count INTEGER NOT NULL,
    parties TEXT NOT NULL, addresses TEXT NOT NULL,
    PRIMARY KEY (account, region, sighting, subject)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS observations_by_age ON observations (account, last_seen);
"""
_COLUMNS = "account, region, sighting, subject, first_seen, last_seen, count, parties, addresses"


class SQLiteObservations:
    """
    The archive that `services.observations` writes to. Every method blocks; a lock makes them safe from any thread.

    A crash may lose the last seconds. A file that is damaged is replaced.
    """

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS_PER_ACCOUNT) -> None:
        self._file = ArchiveFile(path, _SCHEMA, MAX_FILE_BYTES)
        self._max_rows = max_rows

    def add(self, observations: Sequence[Observation]) -> None:
        """Joined with what is known of the same subjects; each account keeps its newest rows. Logs, never raises."""
        with self._file.lock:
            try:
                connection = self._file.open()
                with connection:
                    for seen in observations:
                        self._join(connection, seen)
                    for account in {seen.scope.account for seen in observations}:
                        self._prune(connection, account, max(seen.last_seen for seen in observations))
            except (sqlite3.Error, OSError) as error:
                log.warning("%d observations could not be written to %s: %s", len(observations), FILE_NAME, error)
                self._file.drop(error)

    def of_scope(self, scope: Scope) -> list[Observation]:
        """What is known of the scope, the newest first, at most as many as an account keeps. Never raises."""
        with self._file.lock:
            try:
                rows = self._file.open().execute(
                    f"SELECT {_COLUMNS} FROM observations WHERE account = ? AND region = ?"  # noqa: S608
                    " ORDER BY last_seen DESC LIMIT ?",
                    (scope.account, scope.region, self._max_rows),
                )
                return [_observation(row) for row in rows]
            except (sqlite3.Error, OSError, ValueError) as error:
                log.warning("the observations of connections cannot be read: %s", error)
                self._file.drop(error)
                return []

    def close(self) -> None:
        """The file is closed."""
        self._file.close()

    @staticmethod
    def _join(connection: sqlite3.Connection, seen: Observation) -> None:
        key = (seen.scope.account, seen.scope.region, seen.sighting.value, seen.subject)
        row = connection.execute(
            f"SELECT {_COLUMNS} FROM observations"  # noqa: S608
            " WHERE account = ? AND region = ? AND sighting = ? AND subject = ?",
            key,
        ).fetchone()
        whole = seen if row is None else _observation(row).joined(seen)
        connection.execute(
            f"INSERT OR REPLACE INTO observations ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                *key,
                whole.first_seen.timestamp(),
                whole.last_seen.timestamp(),
                whole.count,
                json.dumps(whole.parties),
                json.dumps(whole.addresses),
            ),
        )

    def _prune(self, connection: sqlite3.Connection, account: AccountId, now: dt.datetime) -> None:
        oldest = (now - LOOK_BACK).timestamp()
        connection.execute("DELETE FROM observations WHERE account = ? AND last_seen < ?", (account, oldest))
        connection.execute(
            "DELETE FROM observations WHERE (account, region, sighting, subject) IN (SELECT account, region, sighting,"
            " subject FROM observations WHERE account = ? ORDER BY last_seen DESC LIMIT -1 OFFSET ?)",
            (account, self._max_rows),
        )


def _observation(row: Sequence[Any]) -> Observation:
    return Observation(
        scope=Scope(AccountId(row[0]), row[1]),
        sighting=Sighting(row[2]),
        subject=row[3],
        first_seen=dt.datetime.fromtimestamp(row[4], dt.UTC),
        last_seen=dt.datetime.fromtimestamp(row[5], dt.UTC),
        count=row[6],
        parties=tuple(json.loads(row[7])),
        addresses=tuple(json.loads(row[8])),
    )
