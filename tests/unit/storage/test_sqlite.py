"""What SQLite alone must do: one process, private files, durable commits, and errors that leave in our own words."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from sqlalchemy import event, text
from tests.support.registry import (
    SCOPE,
    account,
    cause,
    certificate,
    certificate_id,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.records import CertificateStatus
from handfast.errors import ConfigurationError, StoreConflict, StoreUnavailable
from handfast.ports import PageRequest
from handfast.storage.sql import SQLStore

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.support.registry import *

async def main():
    store = await SQLStore.open(Path(sys.argv[1]) / "handfast.db")
    await with_accounts(store)
    for number in range(1, 1_000_000):
        await store.insert_certificate(certificate(number), cause())
        print(number, flush=True)

asyncio.run(main())
"""


def child(code: str, *arguments: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"},
    )


async def test_an_acknowledged_write_survives_kill_minus_nine(tmp_path: Path) -> None:
    process = child(WRITER, str(tmp_path))
    assert process.stdout is not None
    acknowledged = 0
    for line in process.stdout:
        acknowledged = int(line)
        if acknowledged >= 40:
            process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert acknowledged >= 40
    async with sqlite_store(tmp_path) as store:
        for number in range(1, acknowledged + 1):
            assert await store.certificate(SCOPE, certificate_id(number)) == certificate(number)
        # One may have been committed without having been told; never a half, never more.
        listed = await store.list_certificates(SCOPE, PageRequest(limit=250, ascending=True))
        assert len(listed.items) - min(acknowledged, 250) in (0, 1)


async def test_a_second_process_on_the_directory_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    holder = child(WRITER, str(tmp_path))
    assert holder.stdout is not None
    assert "1\n" == holder.stdout.readline()
    try:
        with pytest.raises(ConfigurationError, match="Another handfast is running"):
            await SQLStore.open(tmp_path / "handfast.db")
        assert "2\n" == holder.stdout.readline()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    # The lock went with its holder.
    async with sqlite_store(tmp_path) as store:
        assert await store.certificate(SCOPE, certificate_id(1)) is not None


async def test_the_directory_is_free_after_close_and_after_a_failed_open(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path):
        pass
    (tmp_path / "handfast.db").rename(tmp_path / "kept.db")
    (tmp_path / "handfast.db").write_bytes(b"this is no database, and long enough to be looked at" * 100)
    with pytest.raises(ConfigurationError, match=r"Cannot open the registry database \S+: file is not a database; "):
        await SQLStore.open(tmp_path / "handfast.db")
    (tmp_path / "kept.db").rename(tmp_path / "handfast.db")
    async with sqlite_store(tmp_path):
        pass


async def test_only_the_owner_may_read_the_files_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with sqlite_store(tmp_path) as store:
            await with_accounts(store)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert {"handfast.db", "handfast.db-wal", "handfast.db-shm", "handfast.lock"} == set(modes)
    assert {0o600} == set(modes.values())


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("missing/handfast.db", "Cannot use the directory"),
        ("postgresql://localhost/x", "postgresql:// databases are not supported"),
    ],
)
async def test_an_unusable_place_is_said_in_one_line(tmp_path: Path, place: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        await SQLStore.open(place if "://" in place else tmp_path / place)
    assert "\n" not in str(caught.value)


async def test_a_url_and_a_path_name_the_same_file(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
    store = await SQLStore.open(f"sqlite:///{tmp_path / 'handfast.db'}")
    assert 2 == len(await store.accounts())
    await store.close()


async def test_the_connection_is_durable_checked_and_ahead_logged(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        for run in (store._database.read, store._database.write):
            found = await run(
                lambda c: [c.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "foreign_keys")]
            )
            assert [2, 1] == found
        assert "wal" == await store._database.read(lambda c: c.exec_driver_sql("PRAGMA journal_mode").scalar())


async def test_a_reader_cannot_write(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    async with sqlite_store(tmp_path) as store:
        with pytest.raises(StoreUnavailable):
            await store._database.read(lambda c: c.execute(text("DELETE FROM accounts")))


async def test_a_driver_error_becomes_unavailable_and_the_batch_around_it_stands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        outcomes = await asyncio.gather(
            store.insert_certificate(certificate(1), cause()),
            store._database.write(lambda c: c.execute(text("INSERT INTO nowhere VALUES (1)"))),
            store._database.write(lambda c: 1 / 0),
            store.insert_certificate(certificate(2), cause()),
            return_exceptions=True,
        )
        assert isinstance(outcomes[1], StoreUnavailable)
        assert isinstance(outcomes[2], ZeroDivisionError)
        assert await store.certificate(SCOPE, certificate_id(1)) is not None
        assert await store.certificate(SCOPE, certificate_id(2)) is not None


async def test_a_commit_that_fails_leaves_nothing_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        await store.insert_certificate(certificate(3), cause())

        def fill_the_disk(connection: object) -> None:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]

        def free_the_disk(connection: object) -> None:
            connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")  # type: ignore[attr-defined]

        await store._database.write(fill_the_disk)
        outcomes = await asyncio.gather(
            *(store.insert_certificate(certificate(n, pem="x" * 60_000), cause()) for n in (10, 11)),
            store.insert_certificate(certificate(3), cause()),
            return_exceptions=True,
        )
        assert [StoreUnavailable, StoreUnavailable] == [type(outcome) for outcome in outcomes[:2]]
        assert isinstance(outcomes[2], (StoreUnavailable, StoreConflict))
        await store._database.write(free_the_disk)
        assert await store.certificate(SCOPE, certificate_id(10)) is None
        assert await store.certificate(SCOPE, certificate_id(3)) == certificate(3)
        await store.insert_certificate(certificate(10), cause())


async def test_a_write_is_finished_although_its_caller_gave_up(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        gate = threading.Event()
        blocked = asyncio.ensure_future(store._database.write(lambda _: gate.wait()))
        task = asyncio.ensure_future(store.insert_certificate(certificate(1), cause()))
        await asyncio.sleep(0)
        task.cancel()
        gate.set()
        await blocked
        with pytest.raises(asyncio.CancelledError):
            await task
    async with sqlite_store(tmp_path) as store:
        assert await store.certificate(SCOPE, certificate_id(1)) is not None


async def test_closing_finishes_what_was_submitted_and_refuses_the_rest(tmp_path: Path) -> None:
    store = await SQLStore.open(tmp_path / "handfast.db")
    await with_accounts(store)
    writes = [asyncio.ensure_future(store.insert_certificate(certificate(n), cause())) for n in range(300)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert 300 == len(await asyncio.gather(*writes))
    with pytest.raises(StoreUnavailable):
        await store.accounts()
    with pytest.raises(StoreUnavailable):
        await store.create_account(account(), cause())


async def test_the_writers_connection_closes_last_and_leaves_no_log(tmp_path: Path) -> None:
    closed: list[str] = []
    for _ in range(10):
        async with sqlite_store(tmp_path) as store:
            event.listen(store._database._engine, "close", lambda *_: closed.append(threading.current_thread().name))
        assert "handfast-writer" == closed[-1]
        assert ["handfast.db"] == [each.name for each in tmp_path.iterdir() if each.name.startswith("handfast.db")]
    assert 10 == closed.count("handfast-writer") < len(closed)


async def test_a_reader_sees_every_write_that_was_acknowledged_before(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        await store.insert_certificate(certificate(1), cause())
        status = CertificateStatus.INACTIVE
        for new in [CertificateStatus.ACTIVE, CertificateStatus.INACTIVE] * 50:
            await store.set_certificate_status(SCOPE, certificate_id(1), expected=status, new=new, cause=cause())
            status = new
            (found,) = await store.principals([(SCOPE, certificate_id(1))])
            assert found is not None
            assert status is found.certificate.status


async def test_foreign_keys_hold_even_below_the_operations(tmp_path: Path) -> None:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
    with sqlite3.connect(tmp_path / "handfast.db") as raw:
        raw.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):
            raw.execute("INSERT INTO certificate_policies VALUES ('123456789012', 'us-east-1', 'x', 'y')")
    raw.close()
