"""The audit trail of a directory that no server runs on, read without changing the registry."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from handfast.core.identity.audit_chain import AuditHead, AuditRow
from handfast.errors import ConfigurationError
from handfast.storage import audit
from handfast.storage.migrate import current_revision
from handfast.storage.migrations import HEAD
from handfast.storage.sqlite import DirectoryLock


class ReadOnlyAudit:
    """`ports.AuditSource` over one read-only connection. For a command: its methods block."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[ReadOnlyAudit]:
        """
        The trail of the database file; no server can start on its directory meanwhile.

        Raises:
            ConfigurationError: A server runs on it; it is not there, not readable, damaged or of another version.
        """
        if not path.exists():
            raise ConfigurationError(f"{path.parent} holds no registry: give --data-dir")
        try:
            lock = DirectoryLock(path.parent)
        except OSError as error:
            raise ConfigurationError(f"Cannot use the directory {path.parent}: {error.strerror}") from error
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True), poolclass=NullPool)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA query_only = 1")
                revision = current_revision(connection)
                if revision != HEAD:
                    raise ConfigurationError(
                        f"{path} has schema {revision}, this version reads {HEAD}: start 'handfast serve' on it once"
                    )
                yield cls(connection)
        except SQLAlchemyError as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
        finally:
            engine.dispose()
            lock.release()

    async def audit_heads(self) -> list[AuditHead]:
        return audit.heads(self._connection)

    async def audit_extents(self) -> dict[str, int]:
        return audit.extents(self._connection)

    async def audit_rows(self, chain: str, after: int, until: int, limit: int) -> list[AuditRow]:
        return audit.rows_after(self._connection, chain, after, until, limit)
