"""
Every migration, tried with a registry of the version before that holds rows in every table.

Walks whatever revisions there are: a new one is tried from the day that it exists. Rows are made from the tables as
they stood then: foreign keys lead somewhere, unique columns differ, columns that may be empty are so in every other
row, and what code reads (certificates, JSON, instants) is what it expects.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
import sqlite3
import ssl
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table, create_engine
from tests.support.registry import ALLOW, NOW, self_signed

from handfast.errors import ConfigurationError
from handfast.storage import before_upgrade, migrate
from handfast.storage.migrations import HEAD
from handfast.storage.sql import SQLStore
from handfast.storage.sqlite import SQLiteDatabase
from handfast.storage.tables import metadata, to_microseconds

REVISIONS = migrate.revisions()
STEPS = list(itertools.pairwise(REVISIONS))
ROWS = 4
INSTANT = to_microseconds(NOW)
PEMS = [self_signed(f"device {number}") for number in range(ROWS)]


def _id(number: int) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(PEMS[number])).hexdigest()


REALISTIC: Mapping[str, Callable[[int], Any]] = {
    # what a column of this name holds in the Nth row, in that table or whichever it is in
    "accounts.status": lambda n: ("ENABLED", "DISABLED")[n % 2],
    "account_id": lambda n: f"{n:012d}",
    "region": lambda n: ("us-east-1", "eu-west-1")[n % 2],
    "certificate_id": _id,
    "pem": lambda n: PEMS[n],
    "status": lambda n: ("ACTIVE", "INACTIVE", "REVOKED", "PENDING_TRANSFER")[n % 4],
    "rotations.state": lambda n: ("WAITING", "RETIRED", "CANCELLED")[n % 3],
    "retire_action": lambda n: ("DEACTIVATE", "REVOKE")[n % 2],
    "on_deadline": lambda n: ("RETIRE", "KEEP")[n % 2],
    "ended_by": lambda n: ("CONNECTED", "DEADLINE")[n % 2],
    "mode": lambda n: ("DEFAULT", "SNI_ONLY")[n % 2],
    "transfer_target": lambda n: f"{n + 100:012d}",
    "thing_principal_type": lambda n: ("EXCLUSIVE_THING", "NON_EXCLUSIVE_THING")[n % 2],
    "addresses": lambda n: json.dumps(["192.0.2.0/24"][: n % 2]),
    "attributes": lambda n: json.dumps({"place": f"hall {n}"}),
    "document": lambda _: ALLOW,
    "before": lambda n: json.dumps({"status": "INACTIVE", "n": n}),
    "after": lambda n: json.dumps({"status": "ACTIVE", "n": n}),
    "what": lambda _: "certificate",
    "kind": lambda _: "certificate",
    "reason": lambda n: ("REVOKED", "TRANSFERRED")[n % 2],
    "not_after": lambda n: INSTANT + n * 86_400_000_000,
    "searchable_attributes": lambda n: json.dumps([f"room{n}"]),
    "propagating_attributes": lambda n: json.dumps([[f"key{n}", "room", None]]),
    "provisioning_templates.enabled": lambda n: n % 2,
    "provisioning_templates.type": lambda n: ("FLEET_PROVISIONING", "JITP")[n % 2],
    "enabled": lambda n: json.dumps(["THING", "THING_TYPE"][: n % 3]),
    "tags.kind": lambda _: "policy",
    "active": lambda n: n % 2,
}


def value(table: Table, column: Any, number: int) -> Any:
    """What the column holds in the Nth row of the table."""
    for key in column.foreign_keys:
        if key.column is column:  # of a table whose rows refer to rows of the same account
            continue
        return value(key.column.table, key.column, number)
    if column.nullable and number % 2 and not column.primary_key:
        return None
    for name in (f"{table.name}.{column.name}", column.name):
        if name in REALISTIC:
            return REALISTIC[name](number)
    if column.name.endswith("_date") or column.name in ("at", "not_before"):
        return INSTANT + number
    kind = column.type.python_type
    return number + 1 if kind in (int, bool) else f"{table.name}-{column.name}-{number}"


def fill(connection: Connection) -> None:
    """Rows in every table there is."""
    found = MetaData()
    found.reflect(connection)
    for table in found.sorted_tables:
        if table.name == "alembic_version":
            continue
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        marks = ", ".join("?" * len(table.columns))
        for number in range(ROWS):
            row = tuple(value(table, column, number) for column in table.columns)
            connection.exec_driver_sql(f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})', row)


def make(path: Path, revision: str, *, filled: bool = True) -> None:
    """A registry as the version with this revision left it."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(_content(revision, filled))


@functools.cache
def _content(revision: str, filled: bool) -> bytes:
    """The file's; made one migration at a time out of the version before, so that each is run once."""
    number = REVISIONS.index(revision)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "handfast.db"
        if filled:
            path.write_bytes(_content(revision, False))
        elif number:
            path.write_bytes(_content(REVISIONS[number - 1], False))
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            if filled:
                connection.exec_driver_sql("PRAGMA foreign_keys = ON")
                fill(connection)
            else:
                migrate.upgrade(connection, str(path), to=revision)
        engine.dispose()
        return path.read_bytes()


def open_and_close(path: Path, to: str) -> None:
    """As the store opens it, but to another revision than the newest."""
    database = SQLiteDatabase.open(path, lambda connection: migrate.upgrade(connection, str(path), to=to))
    database._stop()


def rows(raw: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    raw.row_factory = sqlite3.Row
    return [dict(row) for row in raw.execute(f'SELECT * FROM "{table}"')]


def names(raw: sqlite3.Connection, kind: str) -> set[str]:
    return {
        row[0]
        for row in raw.execute(
            "SELECT name FROM sqlite_master WHERE type = ? AND name NOT LIKE 'sqlite_%' AND name <> 'alembic_version'",
            (kind,),
        )
    }


def sorted_rows(found: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in found)


@pytest.mark.parametrize(("old", "new"), STEPS)
def test_a_migration_keeps_every_row_index_and_trigger_of_the_version_before(
    tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "handfast.db"
    make(path, old)
    raw = sqlite3.connect(path)
    tables, triggers, indexes = names(raw, "table"), names(raw, "trigger"), names(raw, "index")
    before = {table: rows(raw, table) for table in tables}
    raw.close()
    assert all(len(found) == ROWS for found in before.values())

    open_and_close(path, new)

    raw = sqlite3.connect(path)
    assert [(new,)] == [tuple(row) for row in raw.execute("SELECT version_num FROM alembic_version")]
    assert tables <= names(raw, "table")
    assert triggers <= names(raw, "trigger")
    assert indexes <= names(raw, "index")
    for table in sorted(tables):
        after = rows(raw, table)
        kept = set(before[table][0]) & set(after[0])
        assert kept, table
        assert sorted_rows([{name: row[name] for name in kept} for row in before[table]]) == sorted_rows(
            [{name: row[name] for name in kept} for row in after]
        ), table
    raw.row_factory = None
    assert [] == raw.execute("PRAGMA foreign_key_check").fetchall()
    assert [("ok",)] == raw.execute("PRAGMA integrity_check").fetchall()
    raw.close()


@pytest.mark.parametrize("old", REVISIONS[:-1])
async def test_a_data_directory_of_each_version_before_is_copied_and_then_as_the_code_describes_it(
    tmp_path: Path, old: str
) -> None:
    path = tmp_path / "data" / "handfast.db"
    make(path, old)
    with sqlite3.connect(path) as raw:
        before = {table: sorted_rows(rows(raw, table)) for table in names(raw, "table")}
    raw.close()
    told: list[str] = []
    store = await SQLStore.open(path, announce=told.append)
    assert ROWS == len(await store.accounts())
    await store.close()

    (copy,) = (tmp_path / "data" / "backups").iterdir()
    assert re.fullmatch(rf"handfast-before-{HEAD}-\d{{8}}T\d{{6}}Z\.db", copy.name)
    assert 0o600 == stat.S_IMODE(copy.stat().st_mode)
    assert 0o700 == stat.S_IMODE(copy.parent.stat().st_mode)
    assert [f"Migrating {path} from schema {old} to {HEAD}; as it was it is kept in {copy}"] == told
    with sqlite3.connect(copy) as raw:
        assert before == {table: sorted_rows(rows(raw, table)) for table in names(raw, "table")}
        assert [(old,)] == [tuple(row) for row in raw.execute("SELECT version_num FROM alembic_version")]
    raw.close()
    assert_described(path)


def test_a_new_registry_is_what_the_code_describes(tmp_path: Path) -> None:
    make(tmp_path / "new.db", HEAD, filled=False)
    assert_described(tmp_path / "new.db")


def assert_described(path: Path) -> None:
    """The schema of the file is the one of `storage.tables`."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert [] == compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    # What the comparison does not see: conditions of partial indexes, and tables without row ids.
    assert described() == schema(path)


@functools.cache
def described() -> dict[str, Any]:
    """The schema that the code describes."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = create_engine(f"sqlite:///{folder}/fresh.db")
        metadata.create_all(fresh)
        fresh.dispose()
        return schema(Path(folder) / "fresh.db")


def schema(path: Path) -> dict[str, Any]:
    """Indexes as they were written, and tables by their columns in any order."""
    raw = sqlite3.connect(path)
    found: dict[str, Any] = {
        name: re.sub(r'[\s"]+', " ", sql).replace(" ,", ",")
        for name, sql in raw.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
        )
    }
    for _, table, kind, _, without_rowid, _ in raw.execute("PRAGMA table_list").fetchall():
        if kind == "table" and not table.startswith("sqlite_") and table != "alembic_version":
            columns = {
                (row[1], row[2].upper(), row[3], row[5]) for row in raw.execute(f'PRAGMA table_xinfo("{table}")')
            }
            keys = sorted(row[2:7] for row in raw.execute(f'PRAGMA foreign_key_list("{table}")'))
            found[f"table {table}"] = (columns, without_rowid, keys)
    raw.close()
    return found


@pytest.mark.parametrize("revision", REVISIONS)
def test_there_is_no_way_back_but_the_copy(revision: str) -> None:
    from alembic.script import ScriptDirectory

    module = ScriptDirectory.from_config(migrate._config()).get_revision(revision).module
    assert not hasattr(module, "downgrade")


def test_the_trail_stays_append_only_through_every_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "handfast.db"
    make(path, REVISIONS[0])
    open_and_close(path, HEAD)
    raw = sqlite3.connect(path)
    for statement in ("DELETE FROM audit", "UPDATE audit SET actor = 'nobody'"):
        with pytest.raises(sqlite3.DatabaseError):
            raw.execute(statement)
    raw.close()


async def test_what_was_revoked_before_there_was_a_table_of_revocations_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "handfast.db"
    make(path, "0013")
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE certificates SET mode = 'DEFAULT', ca_certificate_id = NULL WHERE status = 'REVOKED'")
        revoked = raw.execute("SELECT pem FROM certificates WHERE status = 'REVOKED'").fetchall()
    raw.close()
    store = await SQLStore.open(path)
    found = await store.revocations_after(0, 10)
    await store.close()
    assert 1 == len(revoked)
    assert [(1, revoked[0][0], "unspecified")] == [(each.sequence, each.pem, each.reason) for each in found]


# --- when the copy cannot be made ------------------------------------------------------------------------------------


async def test_without_room_for_the_copy_nothing_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "handfast.db"
    make(path, REVISIONS[0])
    usage = before_upgrade.shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    with monkeypatch.context() as patched:
        patched.setattr(before_upgrade.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(ConfigurationError, match=r"not migrated, .* has 1\.0 MB free, \d+\.\d MB are needed"):
            await SQLStore.open(path)
    with sqlite3.connect(path) as raw:
        assert [(REVISIONS[0],)] == raw.execute("SELECT version_num FROM alembic_version").fetchall()
    raw.close()
    await (await SQLStore.open(path)).close()


async def test_killed_between_copy_and_migration_the_next_start_does_both_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "handfast.db"
    make(path, REVISIONS[0])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("alembic.command.upgrade", killed)
        with pytest.raises(KeyboardInterrupt):
            await SQLStore.open(path)
    (tmp_path / "backups" / ".handfast-before-0009-20300101T000000Z.db.tmp").write_text("half a copy")
    await (await SQLStore.open(path)).close()
    assert 2 == len(list((tmp_path / "backups").iterdir()))
    with sqlite3.connect(path) as raw:
        assert [(HEAD,)] == raw.execute("SELECT version_num FROM alembic_version").fetchall()
    raw.close()


async def test_the_last_three_copies_stay_and_nobody_elses_file_is_touched(tmp_path: Path) -> None:
    path, folder = tmp_path / "handfast.db", tmp_path / "backups"
    make(path, REVISIONS[0])
    folder.mkdir(mode=0o700)
    ours = [
        f"handfast-before-{name}.db"
        for name in ("0002-20190101T000000Z", "0002-20190101T000000Z-2", "0003-20190201T000000Z")
    ]
    others = [
        "handfast-backup-20290101T000000Z.tar",
        "handfast-before-0002.db",
        "handfast-before-0002-20290101T000000Z.db.gz",
        "mine.db",
    ]
    for name in (*ours, *others):
        (folder / name).write_text(name)
    (folder / "handfast-before-0001-20280101T000000Z.db").symlink_to(path)
    await (await SQLStore.open(path)).close()
    left = {entry.name for entry in folder.iterdir()}
    assert {*others, "handfast-before-0001-20280101T000000Z.db", *ours[1:]} < left
    assert ours[0] not in left
    assert 3 == len(
        [
            name
            for name in left
            if name.startswith("handfast-before") and not (folder / name).is_symlink() and name not in others
        ]
    )


async def test_a_migration_that_would_lose_what_rows_refer_to_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "handfast.db"
    make(path, REVISIONS[0])

    def upgrade(config: Any, _: str) -> None:
        config.attributes["connection"].exec_driver_sql("DELETE FROM accounts")

    monkeypatch.setattr("alembic.command.upgrade", upgrade)
    with pytest.raises(ConfigurationError, match=r"cannot be migrated .* refer to what is not there"):
        await SQLStore.open(path)
    with sqlite3.connect(path) as raw:
        assert [(ROWS,)] == raw.execute("SELECT count(*) FROM accounts").fetchall()
    raw.close()


def test_a_table_is_rebuilt_without_taking_the_rows_along_that_refer_to_it(tmp_path: Path) -> None:
    from alembic.operations import Operations

    path = tmp_path / "handfast.db"
    make(path, HEAD)

    def rebuild(connection: Connection) -> None:
        with Operations(MigrationContext.configure(connection)).batch_alter_table("things", recreate="always"):
            pass

    database = SQLiteDatabase.open(path, rebuild)
    database._stop()
    with sqlite3.connect(path) as raw:
        assert [(ROWS,)] == raw.execute("SELECT count(*) FROM thing_attributes").fetchall()
    raw.close()
