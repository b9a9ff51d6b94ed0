"""The audit trail in a real database file: chained as it is written, and every way to tamper with it found."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.audit import sealer_of, verify_directory
from tests.support.registry import OTHER_ACCOUNT, SCOPE, FakeClock, cause, sqlite_store, thing, with_accounts

from handfast.core.identity.audit_chain import AuditHead, FindingKind, genesis, links
from handfast.errors import ConfigurationError
from handfast.services.audit_verification import AuditReport
from handfast.services.checkpoints import FILE
from handfast.storage.audit_reader import ReadOnlyAudit

ACCOUNT = SCOPE.account
CHANGED, GAP, REORDERED = FindingKind.CHANGED, FindingKind.GAP, FindingKind.REORDERED
TRUNCATED, REWRITTEN, CHECKPOINT = FindingKind.TRUNCATED, FindingKind.REWRITTEN, FindingKind.CHECKPOINT


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """Row 1 of the account made it; checkpoints sealed the rows 4, 7 and 10, and row 11 is not sealed."""
    clock = FakeClock()
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        sealer = sealer_of(store, clock)
        for number in range(2, 12):
            await store.create_thing(thing(f"thing-{number}"), cause())
            if number in (4, 7, 10):
                assert await sealer.seal()
    return tmp_path


def tamper(directory: Path, *statements: str) -> None:
    """What somebody does who can write the file."""
    with sqlite3.connect(directory / "handfast.db") as raw:
        for trigger in ("update", "delete"):
            raw.execute(f"DROP TRIGGER IF EXISTS audit_append_only_{trigger}")
        for statement in statements:
            raw.execute(statement)
    raw.close()


def place(number: int) -> str:
    return f"account_id = '{ACCOUNT}' AND number = {number}"


def told(report: AuditReport) -> list[tuple[FindingKind, int | None]]:
    return [(finding.kind, finding.number) for finding in report.findings]


async def test_what_nobody_touched_is_vouched_for_up_to_the_last_checkpoint(directory: Path) -> None:
    untouched = (directory / "handfast.db").read_bytes()
    report = await verify_directory(directory)
    assert ([], 0) == (report.findings, report.more)
    assert (3, FakeClock().now(), 1) == (report.vouched_checkpoint, report.vouched_until, report.unsealed)
    assert (2, 12, 3) == (report.chains, report.rows, report.checkpoints)
    assert untouched == (directory / "handfast.db").read_bytes()


async def test_the_table_itself_refuses_to_be_rewritten(directory: Path) -> None:
    with sqlite3.connect(directory / "handfast.db") as raw:
        for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                raw.execute(statement)
    raw.close()


@pytest.mark.parametrize(
    ("statements", "findings", "vouched"),
    [
        ([f"UPDATE audit SET after = '{{}}' WHERE {place(6)}"], [(CHANGED, 5)], 1),
        ([f"UPDATE audit SET at = at + 1 WHERE {place(5)}"], [(CHANGED, 5)], 1),
        ([f"UPDATE audit SET actor = CAST(x'ff' AS TEXT) WHERE {place(6)}"], [(CHANGED, 5)], 1),
        ([f"UPDATE audit SET at = 'never' WHERE {place(6)}"], [(CHANGED, 5)], 1),
        ([f"UPDATE audit SET actor = 'x' WHERE {place(11)}"], [(CHANGED, 11)], 3),
        ([f"DELETE FROM audit WHERE {place(6)}"], [(GAP, 6)], 1),
        ([f"DELETE FROM audit WHERE {place(1)}"], [(GAP, 1)], None),
        ([f"DELETE FROM audit WHERE account_id = '{ACCOUNT}' AND number BETWEEN 5 AND 8"], [(GAP, 5)], 1),
        (
            [
                f"UPDATE audit SET number = 99 WHERE {place(5)}",
                f"UPDATE audit SET number = 5 WHERE {place(6)}",
                f"UPDATE audit SET number = 6 WHERE {place(99)}",
            ],
            [(REORDERED, 5), (REORDERED, 6), (REORDERED, 6)],
            1,
        ),
        ([f"DELETE FROM audit WHERE {place(11)}"], [(TRUNCATED, 11)], 3),
        (
            [
                f"DELETE FROM audit WHERE account_id = '{ACCOUNT}' AND number > 8",
                f"UPDATE audit_heads SET number = 8, link = (SELECT link FROM audit WHERE {place(8)}) "
                f"WHERE chain = '{ACCOUNT}'",
            ],
            [(TRUNCATED, 9)],
            2,
        ),
        (
            [f"DELETE FROM audit WHERE account_id = '{ACCOUNT}'", f"DELETE FROM audit_heads WHERE chain = '{ACCOUNT}'"],
            [(TRUNCATED, 1)],
            None,
        ),
        ([f"UPDATE audit SET account_id = 'x' WHERE {place(11)}"], [(TRUNCATED, 11), (GAP, 1), (CHANGED, 11)], 3),
        ([f"UPDATE audit_heads SET number = 20 WHERE chain = '{ACCOUNT}'"], [(TRUNCATED, 12)], 3),
        ([f"UPDATE audit_heads SET link = '00' WHERE chain = '{ACCOUNT}'"], [(CHANGED, 11)], 3),
    ],
    ids=[
        "row updated",
        "time of a row updated",
        "row that is no text any more",
        "time that is no number",
        "row updated that was not sealed",
        "row deleted",
        "first row deleted",
        "rows deleted",
        "rows swapped",
        "last row deleted",
        "tail cut and head set back",
        "all rows of an account deleted",
        "row given to another account",
        "head advanced",
        "head forged",
    ],
)
async def test_tampering_is_found(
    directory: Path, statements: list[str], findings: list[tuple[FindingKind, int]], vouched: int | None
) -> None:
    tamper(directory, *statements)
    report = await verify_directory(directory)
    assert findings == told(report)
    assert vouched == report.vouched_checkpoint


def rewrite(directory: Path, number: int) -> None:
    """Row `number` is another one, and every link after it as if it had always been."""
    with ReadOnlyAudit.open(directory / "handfast.db") as source:
        from handfast.storage.audit import rows_after

        rows = rows_after(source._connection, ACCOUNT, 0, 100, 100)
    said = [row.fields._replace(actor="nobody") if row.number == number else row.fields for row in rows]
    heads = list(links(AuditHead(ACCOUNT, 0, genesis(ACCOUNT).hex()), said))
    tamper(
        directory,
        f"UPDATE audit SET actor = 'nobody' WHERE {place(number)}",
        *[f"UPDATE audit SET link = '{head.link}' WHERE {place(head.number)}" for head in heads],
        f"UPDATE audit_heads SET link = '{heads[-1].link}' WHERE chain = '{ACCOUNT}'",
    )


async def test_a_chain_written_anew_consistently_is_found(directory: Path) -> None:
    rewrite(directory, 6)
    report = await verify_directory(directory)
    assert [(REWRITTEN, 5)] == told(report)
    assert 1 == report.vouched_checkpoint


async def test_what_was_never_sealed_can_be_written_anew_and_the_report_says_that_it_is_not_sealed(
    directory: Path,
) -> None:
    rewrite(directory, 11)
    report = await verify_directory(directory)
    assert ([], 1) == (report.findings, report.unsealed)


async def test_an_older_copy_of_the_database_is_found(directory: Path, tmp_path: Path) -> None:
    old = tmp_path / "copy"
    old.mkdir()
    shutil.copy(directory / "handfast.db", old / "handfast.db")
    async with sqlite_store(directory) as store:
        sealer = sealer_of(store, FakeClock())
        await store.create_thing(thing("more"), cause())
        await sealer.seal()
        await sealer.close()
    assert [] == (await verify_directory(directory)).findings
    shutil.copy(old / "handfast.db", directory / "handfast.db")
    report = await verify_directory(directory)
    assert ([(TRUNCATED, 12)], 3) == (told(report), report.vouched_checkpoint)


async def test_damage_that_was_sealed_over_is_still_found_and_every_later_checkpoint_tells(directory: Path) -> None:
    rewrite(directory, 6)
    async with sqlite_store(directory) as store:
        sealer = sealer_of(store, FakeClock(), max_bytes=1)  # each checkpoint begins a file: the old ones are dropped
        for number in range(3):
            await store.create_thing(thing(f"later-{number}"), cause())
            await sealer.seal()
        await sealer.close()
    report = await verify_directory(directory)
    assert [(REWRITTEN, 1)] == told(report)
    assert report.first_checkpoint is not None
    assert report.first_checkpoint > 3
    assert report.vouched_checkpoint is None


async def test_cut_checkpoints_vouch_up_to_the_last_that_is_left(directory: Path) -> None:
    path = directory / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))
    report = await verify_directory(directory)
    assert ([], 2, 4) == (told(report), report.vouched_checkpoint, report.unsealed)
    path.write_bytes(b"".join(lines)[:-10])
    report = await verify_directory(directory)
    assert ([(CHECKPOINT, None)], 2) == (told(report), report.vouched_checkpoint)
    path.unlink()
    report = await verify_directory(directory)
    assert ([(CHECKPOINT, None)], None) == (told(report), report.vouched_checkpoint)


async def test_a_forged_checkpoint_vouches_for_nothing(directory: Path) -> None:
    path = directory / FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(b'"rows":', b'"rows":1')]))
    report = await verify_directory(directory)
    assert ([(CHECKPOINT, None)], 2) == (told(report), report.vouched_checkpoint)


async def test_one_chain_alone_is_told_nothing_of_the_others(directory: Path) -> None:
    tamper(directory, f"UPDATE audit SET actor = 'x' WHERE {place(6)}")
    report = await verify_directory(directory, chain=OTHER_ACCOUNT.account)
    assert ([], 1, 1, 3) == (report.findings, report.rows, report.chains, report.vouched_checkpoint)
    assert [(CHANGED, 5)] == told(await verify_directory(directory, chain=ACCOUNT))


async def test_many_rows_are_verified_in_pieces(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handfast.services.audit_verification.CHUNK", 2)
    assert [] == (await verify_directory(directory)).findings
    tamper(directory, f"DELETE FROM audit WHERE {place(5)}", f"UPDATE audit SET actor = 'x' WHERE {place(9)}")
    assert [(GAP, 5), (CHANGED, 8)] == told(await verify_directory(directory))


async def test_a_directory_is_not_read_behind_a_servers_back(directory: Path) -> None:
    async with sqlite_store(directory):
        with pytest.raises(ConfigurationError, match="running on"):
            await verify_directory(directory)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "holds no registry"),
        (lambda path: path.write_bytes(b"not a database" * 100), "cannot be read"),
        (lambda path: tamper(path.parent, "UPDATE alembic_version SET version_num = '0002'"), "start 'handfast serve'"),
    ],
)
async def test_a_directory_that_cannot_be_verified_says_why(
    directory: Path, harm: Callable[[Path], object], said: str
) -> None:
    harm(directory / "handfast.db")
    with pytest.raises(ConfigurationError, match=said):
        await verify_directory(directory)
