"""A small data directory for tests of backups: every kind of file, a real registry, and an archive writer that lies."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from tests.support.registry import NOW

from handfast.services.backup import Backup, make_backup
from handfast.services.restore import Restored, restore
from handfast.storage import migrate, snapshot
from handfast.storage.migrations import HEAD

PLAIN_FILES = {
    "handfast.json": b'{"format": 1, "dev": false}\n',
    "credentials": b"[default]\naws_access_key_id = AKIAEXAMPLE\n",
    "trust/bundle.pem": b"bundle\n",
    "pki/roots/root-ca-1.pem": b"root\n",
    "pki/leaves/us-east-1-rsa.pem": b"leaf\n",
    "pki/leaves/us-east-1-rsa-0123456789abcdef.key": b"leaf key\n",
    "pki/offline/root-ca-1.key": b"root key\n",
    "pki/offline/README.txt": b"Move this folder to a safe.\n",
}


class SQLiteFiles:
    """`services.backup_format.Databases`, as the composition root binds it."""

    copy = staticmethod(snapshot.copy_database)
    check = staticmethod(snapshot.check_database)
    schema = staticmethod(snapshot.schema_of)

    @staticmethod
    def knows(schema: str) -> bool:
        return schema in migrate.revisions()


class Quiet:
    """A watch that lets everything happen."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def doing(self, text: str) -> None:
        self.told.append(text)

    def look(self) -> None:
        pass


def make_directory(folder: Path, *, marker: str = "first") -> Path:
    """A data directory whose registry says `marker`, closed."""
    for name, content in PLAIN_FILES.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)
    make_registry(folder / "handfast.db", marker)
    connection = sqlite3.connect(folder / "sessions.db")
    connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE retained (topic TEXT)")
    connection.close()
    return folder


def make_registry(path: Path, marker: str, schema: str = HEAD) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(
        "PRAGMA journal_mode=WAL;"
        "CREATE TABLE alembic_version (version_num TEXT);"
        "CREATE TABLE settings (name TEXT, value TEXT);"
    )
    connection.execute("INSERT INTO alembic_version VALUES (?)", (schema,))
    connection.execute("INSERT INTO settings VALUES ('marker', ?)", (marker,))
    connection.commit()
    connection.close()


def make_older(path: Path) -> None:
    """The registry, closed, as the version before this one would have it: the rows and columns that both know."""
    before = path.with_name("before.db")
    path.rename(before)
    path.touch(mode=0o600)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate.upgrade(connection, str(path), to=migrate.revisions()[-2])
    engine.dispose()
    raw = sqlite3.connect(path)
    raw.execute("ATTACH ? AS newer", (str(before),))
    tables = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    for (table,) in raw.execute(tables).fetchall():
        columns = [
            {row[1] for row in raw.execute(f"PRAGMA {schema}.table_info({table})")} for schema in ("main", "newer")
        ]
        names = ", ".join(sorted(columns[0] & columns[1]))
        if table != "alembic_version":
            raw.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM newer.{table}")
    raw.commit()
    raw.close()
    before.unlink()


def marker_of(folder: Path) -> str:
    """What the directory's registry says, which must be sound."""
    connection = sqlite3.connect(folder / "handfast.db")
    assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
    (found,) = connection.execute("SELECT value FROM settings WHERE name = 'marker'").fetchone()
    connection.close()
    return str(found)


def back_up(folder: Path, target: Path, watch: Any = None, **options: Any) -> Backup:
    return make_backup(folder, target, SQLiteFiles(), version="1.2.3", now=NOW, watch=watch or Quiet(), **options)


def bring_back(
    archive: Path,
    folder: Path,
    *,
    force: bool = False,
    watch: Any = None,
    lock: Any = None,
) -> Restored:
    def free(_: Path) -> AbstractContextManager[object]:
        return nullcontext()

    return restore(
        archive, folder, SQLiteFiles(), force=force, lock=lock or free, version="1.2.3", now=NOW, watch=watch or Quiet()
    )


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_archive(archive: Path) -> list[tuple[str, bytes]]:
    """Name and content of every member, by tarfile: the archive is one that other software reads."""
    with tarfile.open(archive, "r:") as tar:
        return [(info.name, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def manifest_of(members: Iterable[tuple[str, bytes]], /, **changes: Any) -> bytes:
    """A manifest that fits the members, with the changes."""
    document = {
        "format": 1,
        "version": "1.2.3",
        "schema": HEAD,
        "created": NOW.isoformat(),
        "members": [
            {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in members
        ],
        "leftOut": [],
    }
    return json.dumps(document | changes).encode()


def write_archive(archive: Path, members: Sequence[tuple[Any, bytes]]) -> Path:
    """A tar archive of the members; a `tarfile.TarInfo` in place of a name says more than a name can."""
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return archive
