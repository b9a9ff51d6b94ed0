"""`ports.Sessions`, against every adapter: durable, ordered, bounded."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handfast.core.identity.ids import AccountId, Scope
from handfast.errors import ConfigurationError, StoreUnavailable
from handfast.ports import Retained, RetainOp
from handfast.storage.sessions import SQLiteSessions

SCOPE = Scope(AccountId("123456789012"), "us-east-1")
OTHER = Scope(AccountId("123456789012"), "eu-west-1")
LIMIT = 3


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def sessions(tmp_path: Path, time: Time) -> AsyncIterator[SQLiteSessions]:
    adapter = SQLiteSessions(tmp_path / "sessions.db", retained_per_scope=LIMIT, now=time)
    yield adapter
    await adapter.close()


def message(topic: str, payload: bytes = b"x", expires_at: float | None = None) -> Retained:
    return Retained(
        topic=topic, payload=payload, qos=1, properties=b"\x03\x00\x01t", stored_at=999.5, expires_at=expires_at
    )


def put(topic: str, payload: bytes = b"x", *, scope: Scope = SCOPE, expires_at: float | None = None) -> RetainOp:
    return RetainOp(scope=scope, topic=topic, message=message(topic, payload, expires_at))


def clear(topic: str) -> RetainOp:
    return RetainOp(scope=SCOPE, topic=topic, message=None)


async def test_what_is_committed_is_read_back_whole(sessions: SQLiteSessions) -> None:
    assert [True, True] == await sessions.commit([put("a"), put("a/é", b"\x00\xff", expires_at=2000.0)])
    found = await sessions.retained([(SCOPE, "a/é"), (SCOPE, "missing"), (SCOPE, "a"), (OTHER, "a")])
    assert [message("a/é", b"\x00\xff", 2000.0), None, message("a"), None] == found


async def test_the_last_of_a_topic_wins_in_order(sessions: SQLiteSessions) -> None:
    assert [True] * 4 == await sessions.commit([put("a", b"1"), clear("a"), put("a", b"2"), clear("never")])
    assert [message("a", b"2")] == await sessions.retained([(SCOPE, "a")])


async def test_topics_compare_bytewise(sessions: SQLiteSessions) -> None:
    await sessions.commit([put("a"), put("A", b"other")])
    assert [message("a"), message("A", b"other")] == await sessions.retained([(SCOPE, "a"), (SCOPE, "A")])


async def test_a_full_scope_takes_no_new_topic_and_still_changes_and_clears(sessions: SQLiteSessions) -> None:
    assert [True] * 3 + [False] == await sessions.commit([put(t) for t in "abcd"])
    assert [True, False] == await sessions.commit([put("a", b"new"), put("e")])
    assert [True] == await sessions.commit([put("d", scope=OTHER)])
    assert [True, True] == await sessions.commit([clear("b"), put("d")])
    assert [None, message("d")] == await sessions.retained([(SCOPE, "b"), (SCOPE, "d")])


async def test_a_read_sees_every_commit_called_before_it(sessions: SQLiteSessions) -> None:
    writing = asyncio.ensure_future(sessions.commit([put("a", b"1")]))
    await asyncio.sleep(0)
    assert [message("a", b"1")] == await sessions.retained([(SCOPE, "a")])
    await writing


async def test_many_commits_at_once_all_succeed(sessions: SQLiteSessions) -> None:
    results = await asyncio.gather(*(sessions.commit([put("a", str(n).encode())]) for n in range(200)))
    assert [[True]] * 200 == results
    assert [message("a", b"199")] == await sessions.retained([(SCOPE, "a")])


async def test_an_expired_message_is_gone_and_makes_room(sessions: SQLiteSessions, time: Time) -> None:
    await sessions.commit([put(t, expires_at=1010.0) for t in "abc"])
    time.now = 1010.0
    assert [None] == await sessions.retained([(SCOPE, "a")])
    assert [True] * 3 == await sessions.commit([put(t) for t in "def"])


async def test_it_is_all_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    first = SQLiteSessions(path, retained_per_scope=LIMIT)
    await first.commit([put("a"), put("b"), put("c")])
    await first.close()
    second = SQLiteSessions(path, retained_per_scope=LIMIT)
    assert [message("b")] == await second.retained([(SCOPE, "b")])
    assert [False] == await second.commit([put("d")])  # the count is the store's, not the process's
    await second.close()


async def test_after_close_it_answers_that_it_is_unavailable(tmp_path: Path) -> None:
    sessions = SQLiteSessions(tmp_path / "sessions.db")
    await sessions.close()
    await sessions.close()
    with pytest.raises(StoreUnavailable):
        await sessions.commit([put("a")])


async def test_a_failing_disk_fails_the_call_and_not_the_next(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    sessions = SQLiteSessions(path)
    await sessions.commit([put("a")])
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("DROP TABLE retained")
    with pytest.raises(StoreUnavailable):
        await sessions.commit([put("b")])
    with pytest.raises(StoreUnavailable):
        await sessions.retained([(SCOPE, "a")])
    blocker.close()
    await sessions.close()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
    db.execute("INSERT INTO meta VALUES ('schema', 99)")
    db.commit()
    db.close()
    with pytest.raises(ConfigurationError, match="newer version"):
        SQLiteSessions(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 40)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        SQLiteSessions(path)


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    sessions = SQLiteSessions(path)
    asyncio.run(sessions.close())
    assert 0o600 == path.stat().st_mode & 0o777


_WRITER = """
import asyncio, sys
from pathlib import Path
from handfast.core.identity.ids import Scope
from handfast.ports import Retained, RetainOp
from handfast.storage.sessions import SQLiteSessions

async def main():
    sessions = SQLiteSessions(Path(sys.argv[1]))
    scope = Scope("123456789012", "us-east-1")
    for n in range(100_000):
        topic = f"t/{n}"
        kept = Retained(topic=topic, payload=b"x", qos=1, properties=b"", stored_at=0.0, expires_at=None)
        assert await sessions.commit([RetainOp(scope=scope, topic=topic, message=kept)]) == [True]
        print(n, flush=True)

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    child = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged = [int(child.stdout.readline()) for _ in range(50)]
    child.kill()
    acknowledged += [int(line) for line in child.stdout.read().splitlines() if line.strip()]
    child.wait()
    child.stdout.close()
    sessions = SQLiteSessions(path)
    found = await sessions.retained([(SCOPE, f"t/{n}") for n in acknowledged])
    assert None not in found
    await sessions.close()
