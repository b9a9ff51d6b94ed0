"""Refusals outlive the process, within bounds, and a damaged file stops nothing."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from tests.support.registry import NOW

from handfast.core.identity.ids import AccountId
from handfast.core.identity.refusal import Reason, ReasonCode, Refusal, Stage
from handfast.storage.refusals import MAX_PENDING, SQLiteRefusals, refusal_of, text_of


def refusal(number: int = 0) -> Refusal:
    return Refusal(
        trace_id=f"trace-{number}",
        at=NOW,
        stage=Stage.TLS,
        reasons=(Reason(ReasonCode.NOT_TLS, "it said \x1b[31m and \ud800"), Reason(ReasonCode.INTERNAL)),
        address="192.0.2.7",
        account=AccountId("123456789012"),
        sni="\x00\u202e",
        facts={"a": "b"},
    )


def written(path: Path, count: int, **options: int) -> None:
    archive = SQLiteRefusals(path, **options)
    for number in range(count):
        archive.append(refusal(number))
    archive.close()
    assert 0 == archive.lost


def test_what_was_written_is_read_again_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "refusals.db"
    written(path, 3)
    assert [refusal(0), refusal(1), refusal(2)] == list(SQLiteRefusals(path).load(10))
    assert [refusal(1), refusal(2)] == list(SQLiteRefusals(path).load(2))


def test_nothing_there_is_no_record(tmp_path: Path) -> None:
    assert [] == list(SQLiteRefusals(tmp_path / "refusals.db").load(10))
    assert [] == list(tmp_path.iterdir())


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        written(tmp_path / "refusals.db", 1)
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert 0o600 == stat.S_IMODE(path.stat().st_mode), path


def test_rows_are_bounded_over_many_runs(tmp_path: Path) -> None:
    path = tmp_path / "refusals.db"
    for _ in range(4):
        written(path, 10, max_rows=15)
    assert 15 == len(SQLiteRefusals(path).load(100))


def test_a_damaged_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "refusals.db"
    path.write_bytes(b"this is no database" * 1000)
    archive = SQLiteRefusals(path)
    assert [] == list(archive.load(10))
    archive.append(refusal())
    archive.close()
    assert [refusal()] == list(SQLiteRefusals(path).load(10))


def test_rows_of_another_version_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "refusals.db"
    written(path, 1)
    connection = sqlite3.connect(path)
    with connection:
        for body in ("", "[]", "{}", text_of(refusal()).replace("NOT_TLS", "OF_THE_FUTURE")):
            connection.execute("INSERT INTO refusals (body) VALUES (?)", (body,))
    connection.close()
    assert [refusal()] == list(SQLiteRefusals(path).load(10))


def test_a_directory_that_is_gone_loses_refusals_and_nothing_else(tmp_path: Path) -> None:
    archive = SQLiteRefusals(tmp_path / "missing" / "refusals.db")
    archive.append(refusal())
    archive.close()
    assert 1 == archive.lost
    archive.append(refusal())
    assert 2 == archive.lost


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_bytes(b"")
    link = tmp_path / "refusals.db"
    link.symlink_to(target)
    archive = SQLiteRefusals(link)
    archive.append(refusal())
    archive.close()
    assert b"" == target.read_bytes()
    assert 1 == archive.lost


def test_what_waits_for_the_disk_is_bounded(tmp_path: Path) -> None:
    archive = SQLiteRefusals(tmp_path / "refusals.db")
    archive._pending.extend(refusal(n) for n in range(MAX_PENDING))
    archive.append(refusal())
    assert 1 == archive.lost


def test_the_text_is_one_ascii_line() -> None:
    text = text_of(refusal())
    assert text.isascii()
    assert text.isprintable()
    assert refusal() == refusal_of(text)
