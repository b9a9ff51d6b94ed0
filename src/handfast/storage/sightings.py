"""Sightings of certificates over a restart: a bounded SQLite file of its own."""

from __future__ import annotations

import datetime as dt
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.sightings import Sighting, Trait
from handfast.storage.archive_file import ArchiveFile

log = logging.getLogger(__name__)

FILE_NAME = "sightings.db"
MAX_ROWS_PER_ACCOUNT = 100_000
MAX_FILE_BYTES = 256 * 1024 * 1024
KEPT = dt.timedelta(days=400)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sightings (
    account TEXT NOT NULL, region TEXT NOT NULL, certificate_id TEXT NOT NULL,
    legacy REAL, offered REAL, agreed REAL, last REAL NOT NULL,
    PRIMARY KEY (account, region, certificate_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sightings_by_age ON sightings (account, last);
"""
_ADD = """
INSERT INTO sightings VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, region, certificate_id) DO UPDATE SET
    legacy = coalesce(excluded.legacy, legacy), offered = coalesce(excluded.offered, offered),
    agreed = coalesce(excluded.agreed, agreed), last = excluded.last
"""
_PAGES = {
    trait: "SELECT certificate_id, legacy, offered, agreed FROM sightings"  # noqa: S608
    f" WHERE account = ? AND region = ? AND certificate_id > ? AND {column} IS NOT NULL"
    " ORDER BY certificate_id LIMIT ?"
    for trait, column in ((Trait.LEGACY_ENDPOINT, "legacy"), (Trait.POST_QUANTUM, "offered"))
}


class SQLiteSightings:
    """
    The archive that `services.sightings` writes to. Every method blocks; a lock makes them safe from any thread.

    A crash may lose the last seconds. A file that is damaged is replaced.
    """

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS_PER_ACCOUNT) -> None:
        self._file = ArchiveFile(path, _SCHEMA, MAX_FILE_BYTES)
        self._max_rows = max_rows

    def add(self, sightings: Sequence[Sighting]) -> None:
        """Joined with what is known of the same certificates; an account keeps its newest rows. Logs, never raises."""
        rows = [_row(each) for each in sightings]
        with self._file.lock:
            try:
                connection = self._file.open()
                with connection:
                    connection.executemany(_ADD, rows)
                    newest = max(row[-1] for row in rows)
                    for account in {row[0] for row in rows}:
                        self._prune(connection, account, newest)
            except (sqlite3.Error, OSError) as error:
                log.warning("%d sightings could not be written to %s: %s", len(rows), FILE_NAME, error)
                self._file.drop(error)

    def page(self, scope: Scope, trait: Trait, limit: int, after: str) -> list[Sighting]:
        """Of the scope, by certificateId, those behind `after`. Never raises."""
        with self._file.lock:
            try:
                rows = self._file.open().execute(_PAGES[trait], (scope.account, scope.region, after, limit)).fetchall()
            except (sqlite3.Error, OSError) as error:
                log.warning("the sightings of certificates cannot be read: %s", error)
                self._file.drop(error)
                return []
        return [
            Sighting(
                scope=scope,
                certificate_id=CertificateId(certificate_id),
                legacy_at=_instant(legacy),
                hybrid_offered_at=_instant(offered),
                hybrid_agreed_at=_instant(agreed),
            )
            for certificate_id, legacy, offered, agreed in rows
        ]

    def close(self) -> None:
        """The file is closed."""
        self._file.close()

    def _prune(self, connection: sqlite3.Connection, account: str, newest: float) -> None:
        oldest = newest - KEPT.total_seconds()
        connection.execute("DELETE FROM sightings WHERE account = ? AND last < ?", (account, oldest))
        (count,) = connection.execute("SELECT count(*) FROM sightings WHERE account = ?", (account,)).fetchone()
        if count > self._max_rows:
            connection.execute(
                "DELETE FROM sightings WHERE (account, region, certificate_id) IN (SELECT account, region,"
                " certificate_id FROM sightings WHERE account = ? ORDER BY last LIMIT ?)",
                (account, count - self._max_rows),
            )


def _row(sighting: Sighting) -> tuple[Any, ...]:
    instants = (sighting.legacy_at, sighting.hybrid_offered_at, sighting.hybrid_agreed_at)
    stamps = [None if each is None else each.timestamp() for each in instants]
    last = max(each for each in stamps if each is not None)
    return (sighting.scope.account, sighting.scope.region, sighting.certificate_id, *stamps, last)


def _instant(stamp: float | None) -> dt.datetime | None:
    return None if stamp is None else dt.datetime.fromtimestamp(stamp, dt.UTC)
