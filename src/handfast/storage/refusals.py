"""Refusals over a restart: a bounded SQLite file of its own, written in batches by a thread of its own."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handfast.core.identity.ids import AccountId
from handfast.core.identity.refusal import Reason, ReasonCode, Refusal, Stage
from handfast.storage.archive_file import discard_archive, open_archive

log = logging.getLogger(__name__)

FILE_NAME = "refusals.db"
MAX_ROWS = 20_000
MAX_FILE_BYTES = 128 * 1024 * 1024
MAX_PENDING = 5_000
"""Refusals that wait for the disk; more are not kept over a restart."""
BATCH_INTERVAL_S = 0.25

_SCHEMA = "CREATE TABLE IF NOT EXISTS refusals (number INTEGER PRIMARY KEY, body TEXT NOT NULL)"


class SQLiteRefusals:
    """
    The archive that `services.refusals` writes to.

    `append` only queues. A crash may lose the last quarter of a second: this is
    a record for people, not evidence. A file that is damaged is replaced.
    """

    def __init__(self, path: Path, *, max_rows: int = MAX_ROWS) -> None:
        self._path = path
        self._max_rows = max_rows
        self._pending: deque[Refusal] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.lost = 0
        """Refusals that did not reach the disk, since the start."""

    def load(self, limit: int) -> Sequence[Refusal]:
        """The newest refusals of earlier runs, oldest first. Blocks; for the start. Never raises."""
        try:
            rows = self._read(limit)
        except (sqlite3.Error, OSError) as error:
            log.warning("the record of earlier refusals cannot be read and begins anew: %s", error)
            discard_archive(self._path)
            return []
        return [refusal for row in reversed(rows) if (refusal := refusal_of(row[0])) is not None]

    def append(self, refusal: Refusal) -> None:
        """Queued for the disk, or dropped when too many wait."""
        if self._closing or len(self._pending) >= MAX_PENDING:
            self.lost += 1
            return
        self._pending.append(refusal)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="handfast-refusals", daemon=True)
            self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """What was queued is on the disk, or lost with a line in the log. Blocks shortly."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    # --- in the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        stop = threading.Event()
        connection: sqlite3.Connection | None = None
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing
            batch: list[Refusal] = []
            while self._pending:
                batch.append(self._pending.popleft())
            if batch:
                try:
                    if connection is None:
                        connection = self._open()
                    self._write(connection, batch)
                except (sqlite3.Error, OSError) as error:
                    self.lost += len(batch)
                    log.warning("%d refusals could not be written to %s: %s", len(batch), self._path.name, error)
                    if connection is not None:
                        connection.close()
                        connection = None
            if closing:
                break
            stop.wait(BATCH_INTERVAL_S)  # gathers a batch; nothing ever sets it
        if connection is not None:
            connection.close()

    def _write(self, connection: sqlite3.Connection, batch: Sequence[Refusal]) -> None:
        with connection:
            connection.executemany("INSERT INTO refusals (body) VALUES (?)", [(text_of(each),) for each in batch])
            connection.execute(
                "DELETE FROM refusals WHERE number <= (SELECT max(number) FROM refusals) - ?", (self._max_rows,)
            )

    def _open(self) -> sqlite3.Connection:
        return open_archive(self._path, _SCHEMA, MAX_FILE_BYTES)

    def _read(self, limit: int) -> list[Any]:
        if not self._path.exists():
            return []
        connection = self._open()
        try:
            return connection.execute("SELECT body FROM refusals ORDER BY number DESC LIMIT ?", (limit,)).fetchall()
        finally:
            connection.close()


def text_of(refusal: Refusal) -> str:
    """The refusal as one line of JSON, ASCII only."""
    return json.dumps(
        {
            "trace_id": refusal.trace_id,
            "at": refusal.at.isoformat(),
            "stage": refusal.stage.value,
            "reasons": [[reason.code.value, reason.detail, reason.subject] for reason in refusal.reasons],
            "address": refusal.address,
            "account": refusal.account,
            "region": refusal.region,
            "sni": refusal.sni,
            "alpn": refusal.alpn,
            "certificate_id": refusal.certificate_id,
            "serial_number": refusal.serial_number,
            "client_id": refusal.client_id,
            "resource": refusal.resource,
            "facts": dict(refusal.facts),
        }
    )


def refusal_of(text: str) -> Refusal | None:
    """The refusal that `text_of` wrote; None for what is not one, or is of a newer version."""
    try:
        value = json.loads(text)
        account = value["account"]
        return Refusal(
            trace_id=value["trace_id"],
            at=dt.datetime.fromisoformat(value["at"]),
            stage=Stage(value["stage"]),
            reasons=tuple(Reason(ReasonCode(code), *rest) for code, *rest in value["reasons"]),
            address=value["address"],
            account=AccountId(account) if account is not None else None,
            region=value["region"],
            sni=value["sni"],
            alpn=value["alpn"],
            certificate_id=value["certificate_id"],
            serial_number=value["serial_number"],
            client_id=value["client_id"],
            resource=value["resource"],
            facts=value["facts"],
        )
    except (ValueError, KeyError, TypeError):
        return None
