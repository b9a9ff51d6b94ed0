"""Recorded decisions over a restart: a bounded SQLite file of its own."""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime as dt
import json
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from handfast.core.identity.decisions import (
    Asked,
    ConnectionEnd,
    Coverage,
    DecidedBy,
    Overflow,
    RecordedDecision,
)
from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.errors import StoreConflict, StoreUnavailable
from handfast.ports import Page, PageRequest
from handfast.storage.archive_file import ArchiveFile

log = logging.getLogger(__name__)

FILE_NAME = "decisions.db"
MAX_PER_PRINCIPAL = 256
MAX_ROWS = 1_000_000
MAX_FILE_BYTES = 1024 * 1024 * 1024
KEPT = dt.timedelta(days=90)
"""How long a decision that is not made again is remembered."""
HEARTBEAT = dt.timedelta(seconds=30)
GAP = dt.timedelta(minutes=2)
"""A shorter time without a heartbeat is no gap."""
MAX_GAPS = 100
_MAX_OVERFLOWS_TOLD = 100
_PRUNED_AT_ONCE = 20_000

# `place` tells distinct decisions of a certificate apart: JSON of what was asked, the outcome and the statements.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    number INTEGER PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, certificate TEXT NOT NULL,
    place TEXT NOT NULL, client TEXT, action TEXT NOT NULL, source_ip TEXT, domain TEXT,
    count INTEGER NOT NULL, first_seen REAL NOT NULL, last_seen REAL NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS decisions_distinct ON decisions (account, region, certificate, place);
CREATE INDEX IF NOT EXISTS decisions_by_certificate ON decisions (account, region, certificate);
CREATE INDEX IF NOT EXISTS decisions_connects ON decisions (account, region, certificate, client, last_seen)
    WHERE action = 'iot:Connect';
CREATE INDEX IF NOT EXISTS decisions_by_age ON decisions (last_seen);
CREATE TABLE IF NOT EXISTS overflows (
    account TEXT NOT NULL, region TEXT NOT NULL, certificate TEXT NOT NULL, lost INTEGER NOT NULL,
    last_seen REAL NOT NULL, PRIMARY KEY (account, region, certificate)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS periods (started REAL PRIMARY KEY, until REAL NOT NULL);
"""
# A certificate's CONNECTs are few; the index holds nothing else.
_SINCE_CONNECT = """last_seen >= (
    SELECT max(c.last_seen) FROM decisions AS c WHERE c.account = d.account AND c.region = d.region
    AND c.certificate = d.certificate AND c.client = d.client AND c.action = 'iot:Connect')"""
_PAGE = f"""
SELECT number, account, region, certificate, place, source_ip, domain, count, first_seen, last_seen, {_SINCE_CONNECT}
FROM decisions AS d WHERE account = ? AND region = ? AND (certificate, number) > (?, ?)
AND (last_seen >= ? OR {_SINCE_CONNECT}) ORDER BY certificate, number LIMIT ?
"""  # noqa: S608  only names written here


class SQLiteDecisions:
    """
    The archive that `services.decisions` writes to. Every method blocks; a lock makes them safe from any thread.

    A crash may lose the last seconds. A file that is damaged is replaced, which
    shows as a gap.
    """

    def __init__(
        self,
        path: Path,
        *,
        per_principal: int = MAX_PER_PRINCIPAL,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self._file = ArchiveFile(path, _SCHEMA, max_bytes)
        self._per_principal = per_principal
        self._max_rows = max_rows
        self._started: float | None = None
        self._until: float = 0.0
        self._unwritten = False
        self._counted_at = 0.0

    # --- writing ----------------------------------------------------------------------------------------------

    def add(
        self,
        decisions: Sequence[RecordedDecision],
        overflows: Sequence[Overflow],
        ends: Sequence[ConnectionEnd],
        now: dt.datetime,
    ) -> None:
        """Joined with what is known; each certificate keeps its latest. Logs, never raises."""
        at = now.timestamp()
        # What could not be written shows as a gap: the period that was running ends before it.
        started = at if self._started is None or self._unwritten else self._started
        if not (decisions or overflows or ends) and started == self._started and at - self._until < _HEARTBEAT_S:
            return
        with self._file.lock:
            try:
                connection = self._file.open()
                with connection:
                    self._join(connection, decisions)
                    self._prune(connection, decisions, at)
                    for overflow in overflows:
                        _lose(connection, overflow)
                    connection.executemany(_END, [_end(each) for each in ends])
                    connection.execute("INSERT OR REPLACE INTO periods VALUES (?, ?)", (started, at))
                self._started, self._until, self._unwritten = started, at, False
            except (sqlite3.Error, OSError) as error:
                log.warning("%d decisions could not be written to %s: %s", len(decisions), FILE_NAME, error)
                self._unwritten = True
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                    self._make_room(at)
                self._drop(error)

    def close(self) -> None:
        """The file is closed."""
        self._file.close()

    @staticmethod
    def _join(connection: sqlite3.Connection, decisions: Sequence[RecordedDecision]) -> None:
        connection.executemany(
            "INSERT INTO decisions (account, region, certificate, place, client, action, source_ip, domain, count,"
            " first_seen, last_seen) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (account, region, certificate, place) DO UPDATE SET source_ip = excluded.source_ip,"
            " domain = excluded.domain, count = count + excluded.count,"
            " last_seen = max(last_seen, excluded.last_seen)",
            [
                (
                    *each.scope,
                    each.certificate_id,
                    _place(each),
                    each.asked.client_id,
                    each.asked.action,
                    each.source_ip,
                    each.domain_name,
                    each.count,
                    each.first_seen.timestamp(),
                    each.last_seen.timestamp(),
                )
                for each in decisions
            ],
        )

    def _prune(self, connection: sqlite3.Connection, decisions: Sequence[RecordedDecision], now: float) -> None:
        for scope, certificate_id in {(each.scope, each.certificate_id) for each in decisions}:
            key = (*scope, certificate_id)
            gone = connection.execute(
                "DELETE FROM decisions WHERE number IN (SELECT number FROM decisions WHERE account = ? AND region = ?"
                " AND certificate = ? ORDER BY last_seen DESC, number DESC LIMIT -1 OFFSET ?)",
                (*key, self._per_principal),
            ).rowcount
            if gone:
                at = dt.datetime.fromtimestamp(now, dt.UTC)
                _lose(connection, Overflow(scope=scope, certificate_id=certificate_id, lost=gone, last_seen=at))
        oldest = now - KEPT.total_seconds()
        connection.execute("DELETE FROM decisions WHERE last_seen < ?", (oldest,))
        connection.execute("DELETE FROM overflows WHERE last_seen < ?", (oldest,))
        connection.execute("DELETE FROM periods WHERE until < ?", (oldest,))
        if not decisions or now - self._counted_at < _HEARTBEAT_S:
            return
        self._counted_at = now
        (rows,) = connection.execute("SELECT count(*) FROM decisions").fetchone()
        if rows > self._max_rows:
            self._shrink(connection, min(rows - self._max_rows, _PRUNED_AT_ONCE), now)

    def _make_room(self, now: float) -> None:
        """The file is as long as it may be: a tenth of it goes, so that the next writing finds room."""
        try:
            connection = self._file.open()
            with connection:
                (rows,) = connection.execute("SELECT count(*) FROM decisions").fetchone()
                self._shrink(connection, rows // 10 + 1, now)
        except (sqlite3.Error, OSError) as error:
            log.warning("the record of decisions is full and cannot be shortened: %s", error)

    @staticmethod
    def _shrink(connection: sqlite3.Connection, number: int, now: float) -> None:
        """The oldest of all go, which each account that loses some is told."""
        at = dt.datetime.fromtimestamp(now, dt.UTC)
        gone = connection.execute(
            "DELETE FROM decisions WHERE number IN (SELECT number FROM decisions ORDER BY last_seen LIMIT ?)"
            " RETURNING account, region",
            (number,),
        ).fetchall()
        for account, region in set(gone):
            scope = Scope(AccountId(account), region)
            lost = gone.count((account, region))
            _lose(connection, Overflow(scope=scope, certificate_id=None, lost=lost, last_seen=at))

    # --- reading ----------------------------------------------------------------------------------------------

    def page(self, scope: Scope, since: dt.datetime, page: PageRequest) -> Page[RecordedDecision]:
        """One page, by certificate: what was made since then, and what `since_connect` is true of."""
        place = ("", 0) if page.marker is None else _read_marker(page.marker)
        with self._reading() as connection:
            rows = connection.execute(_PAGE, (*scope, *place, since.timestamp(), page.limit)).fetchall()
        found = [_decision(row) for row in rows]
        return Page(found, _marker(rows[-1][3], rows[-1][0]) if len(rows) == page.limit else None)

    def coverage(self, scope: Scope, since: dt.datetime, until: dt.datetime) -> Coverage:
        """When nothing was recorded between the two instants, and what of the scope was lost."""
        start, end = since.timestamp(), until.timestamp()
        with self._reading() as connection:
            periods = connection.execute(
                "SELECT started, until FROM periods WHERE until >= ? AND started <= ? ORDER BY started", (start, end)
            ).fetchall()
            lost = connection.execute(
                "SELECT certificate, lost, last_seen FROM overflows WHERE account = ? AND region = ?"
                " AND last_seen >= ? ORDER BY last_seen DESC",
                (*scope, start),
            ).fetchall()
        gaps: list[tuple[float, float]] = []
        for started, stopped in [*periods, (end, end)]:
            if started - start > GAP.total_seconds():
                gaps.append((start, started))
            start = max(start, stopped)
        overflows = [
            Overflow(
                scope=scope,
                certificate_id=CertificateId(row[0]) if row[0] else None,
                lost=row[1],
                last_seen=_instant(row[2]),
            )
            for row in lost[:_MAX_OVERFLOWS_TOLD]
        ]
        return Coverage([(_instant(a), _instant(b)) for a, b in gaps[-MAX_GAPS:]], overflows, len(lost))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._file.lock:
            try:
                yield self._file.open()
            except (sqlite3.Error, OSError, ValueError, TypeError) as error:
                self._drop(error)
                raise StoreUnavailable(f"the record of decisions cannot be read: {error}") from error

    # --- the file ---------------------------------------------------------------------------------------------

    def _drop(self, error: Exception) -> None:
        if self._file.drop(error):
            self._started = None


_HEARTBEAT_S = HEARTBEAT.total_seconds()
_END = (
    "UPDATE decisions SET last_seen = max(last_seen, ?1) WHERE account = ?2 AND region = ?3 AND certificate = ?4"
    " AND client = ?5 AND last_seen >= (SELECT max(last_seen) FROM decisions WHERE account = ?2 AND region = ?3"
    " AND certificate = ?4 AND client = ?5 AND action = 'iot:Connect')"
)


def _end(end: ConnectionEnd) -> tuple[Any, ...]:
    return (end.at.timestamp(), *end.scope, end.certificate_id, end.client_id)


def _lose(connection: sqlite3.Connection, overflow: Overflow) -> None:
    connection.execute(
        "INSERT INTO overflows VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET lost = lost + excluded.lost,"
        " last_seen = excluded.last_seen",
        (*overflow.scope, overflow.certificate_id or "", overflow.lost, overflow.last_seen.timestamp()),
    )


def _place(decision: RecordedDecision) -> str:
    return json.dumps([decision.asked, decision.outcome, decision.statements], separators=(",", ":"))


def _decision(row: Sequence[Any]) -> RecordedDecision:
    asked, outcome, statements = json.loads(row[4])
    return RecordedDecision(
        scope=Scope(AccountId(row[1]), row[2]),
        certificate_id=CertificateId(row[3]),
        asked=Asked(*asked),
        outcome=outcome,
        statements=tuple(DecidedBy(*each) for each in statements),
        source_ip=row[5],
        domain_name=row[6],
        count=row[7],
        first_seen=_instant(row[8]),
        last_seen=_instant(row[9]),
        since_connect=bool(row[10]),
    )


def _instant(epoch_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_s, dt.UTC)


def _marker(certificate: str, number: int) -> str:
    return base64.b64encode(f"{certificate} {number}".encode()).decode()


def _read_marker(marker: str) -> tuple[str, int]:
    try:
        certificate, number = base64.b64decode(marker, validate=True).decode("ascii").split(" ")
        if len(number) > 18:
            raise ValueError(number)
        return certificate, int(number)
    except (binascii.Error, ValueError) as error:
        raise StoreConflict("marker", "The marker was not made by this listing") from error
