"""The schema at open: made whole or not at all, brought up to date, and a newer one refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from tests.support.registry import (
    NOW,
    SCOPE,
    cause,
    certificate,
    certificate_id,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.records import CertificateStatus, TombstoneReason
from handfast.core.identity.rotation import DeadlineAction, RetireAction, RotationRecord
from handfast.errors import ConfigurationError
from handfast.ports import PageRequest
from handfast.storage import migrations
from handfast.storage.migrations import HEAD
from handfast.storage.sql import SQLStore
from handfast.storage.tables import metadata


async def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path):
        pass
    engine = create_engine(f"sqlite:///{tmp_path / 'handfast.db'}")
    with engine.connect() as connection:
        assert [] == compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()


def test_head_is_the_newest_revision_and_there_is_one_line_of_them() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    config.set_main_option("path_separator", "os")
    assert [HEAD] == ScriptDirectory.from_config(config).get_heads()


async def test_a_data_directory_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
    with sqlite3.connect(tmp_path / "handfast.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(ConfigurationError, match=r"made by a newer handfast \(schema 9999") as caught:
        await SQLStore.open(tmp_path / "handfast.db")
    assert "--data-dir" in str(caught.value)
    with sqlite3.connect(tmp_path / "handfast.db") as raw:
        assert [("9999",)] == raw.execute("SELECT version_num FROM alembic_version").fetchall()
        assert [(2,)] == raw.execute("SELECT count(*) FROM accounts").fetchall()
    raw.close()


async def test_a_schema_that_failed_half_way_is_not_there_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("handfast.storage.accounts.open_secret_box", killed)
    with pytest.raises(KeyboardInterrupt):
        await SQLStore.open(tmp_path / "handfast.db")
    with sqlite3.connect(tmp_path / "handfast.db") as raw:
        assert [] == raw.execute("SELECT name FROM sqlite_master").fetchall()
    raw.close()
    monkeypatch.undo()
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)


def at_revision(path: Path, revision: str, *statements: tuple[str, tuple[object, ...]]) -> None:
    """A database of an older version, holding what the statements put there."""
    path.touch(mode=0o600)
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(Path(str(migrations.__file__)).parent))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement, values in statements:
            connection.exec_driver_sql(statement, values)
    engine.dispose()


ACCOUNT = ("INSERT INTO accounts VALUES (?, '', 'ENABLED', 0, 1)", (SCOPE.account,))


async def test_a_data_directory_of_the_first_version_keeps_what_it_holds(tmp_path: Path) -> None:
    certificate_row = (
        "INSERT INTO certificates VALUES "
        "(?, ?, ?, 'pem', 'REVOKED', 'DEFAULT', 0, 0, 0, 1, 'g', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        (*SCOPE, certificate_id(1)),
    )
    at_revision(tmp_path / "handfast.db", "0001", ACCOUNT, certificate_row)
    async with sqlite_store(tmp_path) as store:
        found = await store.certificate(SCOPE, certificate_id(1))
        assert found is not None
        assert (CertificateStatus.REVOKED, None) == (found.status, found.transfer_target)
        await store.delete_certificate(SCOPE, certificate_id(1), force=False, cause=cause())
        assert TombstoneReason.REVOKED is await store.tombstone(SCOPE, certificate_id(1))
        assert "code" == await store.ensure_registration_code(SCOPE, "code", cause())
    async with sqlite_store(tmp_path) as store:
        assert "code" == await store.registration_code(SCOPE)


async def test_certificates_of_the_second_version_can_be_rotated(tmp_path: Path) -> None:
    certificate_row = (
        "INSERT INTO certificates VALUES "
        "(?, ?, ?, 'pem', 'ACTIVE', 'DEFAULT', 0, 0, 0, 1, 'g', 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        (*SCOPE, certificate_id(1)),
    )
    at_revision(tmp_path / "handfast.db", "0002", ACCOUNT, certificate_row)
    rotation = RotationRecord(
        scope=SCOPE,
        certificate_id=certificate_id(1),
        successor_id=certificate_id(2),
        retire_action=RetireAction.DEACTIVATE,
        on_deadline=DeadlineAction.RETIRE,
        started_at=NOW,
        deadline=NOW,
    )
    async with sqlite_store(tmp_path) as store:
        successor = certificate(2, status=CertificateStatus.ACTIVE)
        await store.begin_rotation(rotation, successor, limit=1, cause=cause())
    async with sqlite_store(tmp_path) as store:
        assert [rotation] == await store.upcoming_rotations(9)


async def test_a_data_directory_from_before_the_listings_by_expiry_is_listed_by_it(tmp_path: Path) -> None:
    device = (
        "INSERT INTO certificates VALUES (?, ?, ?, 'pem', 'ACTIVE', 'DEFAULT', 0, 0, 0, ?, 'g', 1, "
        "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
    )
    ca = "INSERT INTO ca_certificates VALUES (?, ?, ?, 'pem', 's', 'ACTIVE', 'DISABLE', 'DEFAULT', 0, 0, 0, ?, 'g', 1)"
    held = [(certificate_id(number), not_after) for number, not_after in ((1, 300), (2, 100), (3, 200))]
    rows = [(table, (*SCOPE, *row)) for table in (device, ca) for row in held]
    at_revision(tmp_path / "handfast.db", "0003", ACCOUNT, *rows)
    in_order = [certificate_id(number) for number in (2, 3, 1)]
    async with sqlite_store(tmp_path) as store:
        page = PageRequest(limit=9)
        assert in_order == [c.certificate_id for c in (await store.certificates_by_expiry(SCOPE, page)).items]
        assert in_order == [c.certificate_id for c in (await store.ca_certificates_by_expiry(SCOPE, page)).items]
        assert ([3], [3]) == await store.count_active_by_expiry([(None, None)])
