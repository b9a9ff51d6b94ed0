"""What every archive of decisions does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE

from handfast.core.identity.decisions import Asked, ConnectionEnd, DecidedBy, Overflow, RecordedDecision
from handfast.core.identity.ids import CertificateId
from handfast.errors import StoreConflict
from handfast.ports import PageRequest
from handfast.storage.decisions import SQLiteDecisions

DAY = dt.timedelta(days=1)
LAMP, DOOR = CertificateId("a" * 64), CertificateId("b" * 64)


def decision(resource: str = "topic/a", **changes: Any) -> RecordedDecision:
    given: dict[str, Any] = {
        "scope": SCOPE,
        "certificate_id": LAMP,
        "asked": Asked(changes.pop("client", "lamp"), changes.pop("action", "iot:Publish"), resource),
        "outcome": "ALLOWED",
        "statements": (DecidedBy("p", "1", 0),),
        "source_ip": "192.0.2.7",
        "domain_name": "localhost",
        "count": 1,
        "first_seen": changes.get("at", NOW),
        "last_seen": changes.pop("at", NOW),
    }
    return RecordedDecision(**(given | changes))


def connect(at: dt.datetime, client: str = "lamp") -> RecordedDecision:
    return decision(f"client/{client}", action="iot:Connect", client=client, at=at)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[SQLiteDecisions]:
    opened = SQLiteDecisions(tmp_path / "decisions.db", per_principal=4, max_rows=10)
    yield opened
    opened.close()


def page(archive: SQLiteDecisions, since: dt.datetime = NOW - DAY, **given: Any) -> list[RecordedDecision]:
    return list(archive.page(given.pop("scope", SCOPE), since, PageRequest(limit=1000, **given)).items)


def test_distinct_decisions_are_joined(archive: SQLiteDecisions) -> None:
    later = NOW + dt.timedelta(hours=1)
    archive.add([decision(), decision("topic/b")], [], [], NOW)
    archive.add([decision(at=later, count=3, source_ip="192.0.2.8")], [], [], later)
    a, b = page(archive)
    assert ("topic/a", 4, NOW, later, "192.0.2.8") == (
        a.asked.resource,
        a.count,
        a.first_seen,
        a.last_seen,
        a.source_ip,
    )
    assert decision("topic/b") == b


def test_another_statement_or_client_is_another_decision(archive: SQLiteDecisions) -> None:
    archive.add([decision(), decision(statements=()), decision(client="other"), decision(outcome="x")], [], [], NOW)
    assert 4 == len(page(archive))


def test_an_account_sees_its_own(archive: SQLiteDecisions) -> None:
    archive.add([decision()], [Overflow(scope=SCOPE, certificate_id=LAMP, lost=2, last_seen=NOW)], [], NOW)
    assert [] == page(archive, scope=OTHER_ACCOUNT)
    assert ([], 0) == archive.coverage(OTHER_ACCOUNT, NOW - DAY, NOW)[1:]


def test_pages_by_certificate_meet_each_decision_once(archive: SQLiteDecisions) -> None:
    archive.add([decision(f"topic/{n}", certificate_id=who) for n in range(4) for who in (DOOR, LAMP)], [], [], NOW)
    seen, marker = [], None
    while True:
        found = archive.page(SCOPE, NOW - DAY, PageRequest(limit=3, marker=marker))
        seen += [(each.certificate_id, each.asked.resource) for each in found.items]
        marker = found.marker
        if marker is None:
            break
    assert sorted((who, f"topic/{n}") for n in range(4) for who in (DOOR, LAMP)) == seen
    with pytest.raises(StoreConflict):
        archive.page(SCOPE, NOW, PageRequest(limit=3, marker="AAAA"))


def test_a_certificate_keeps_its_latest_and_the_others_are_counted(archive: SQLiteDecisions) -> None:
    archive.add([decision(f"topic/{n}", at=NOW + n * dt.timedelta(minutes=1)) for n in range(7)], [], [], NOW)
    assert ["topic/3", "topic/4", "topic/5", "topic/6"] == [each.asked.resource for each in page(archive)]
    (lost,) = archive.coverage(SCOPE, NOW - DAY, NOW).overflows
    assert (LAMP, 3) == (lost.certificate_id, lost.lost)


def test_the_whole_file_is_bounded_and_the_account_is_told(archive: SQLiteDecisions) -> None:
    archive.add([decision(certificate_id=CertificateId(f"{n:064x}")) for n in range(14)], [], [], NOW)
    assert 10 == len(page(archive))
    coverage = archive.coverage(SCOPE, NOW - DAY, NOW)
    assert [(None, 4)] == [(each.certificate_id, each.lost) for each in coverage.overflows]


def test_what_a_connection_may_still_remember_is_older_than_asked_for(archive: SQLiteDecisions) -> None:
    old, connected = decision("topic/old", at=NOW - 5 * DAY), connect(NOW - 4 * DAY)
    used = decision("topic/used", at=NOW - 3 * DAY)
    archive.add([old, connected, used], [], [], NOW)
    found = page(archive)
    assert ["client/lamp", "topic/used"] == [each.asked.resource for each in found]
    assert all(each.since_connect for each in found)


def test_what_a_connection_remembered_was_in_use_until_it_ended(archive: SQLiteDecisions) -> None:
    archive.add(
        [connect(NOW - 4 * DAY), decision(at=NOW - 3 * DAY), decision("topic/old", at=NOW - 5 * DAY)], [], [], NOW
    )
    archive.add([], [], [ConnectionEnd(SCOPE, LAMP, "lamp", NOW)], NOW)
    assert {"client/lamp": NOW, "topic/a": NOW} == {each.asked.resource: each.last_seen for each in page(archive)}


def test_times_without_a_record_are_gaps(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"
    hour = dt.timedelta(hours=1)
    for start in (0, 5):
        archive = SQLiteDecisions(path)
        for minute in range(0, 60, 1):
            archive.add([], [], [], NOW + start * hour + minute * dt.timedelta(minutes=1))
        archive.close()
    archive = SQLiteDecisions(path)
    gaps = archive.coverage(SCOPE, NOW - hour, NOW + 6 * hour).gaps
    minute = dt.timedelta(minutes=1)
    assert [(NOW - hour, NOW), (NOW + 59 * minute, NOW + 5 * hour)] == list(gaps)
    archive.close()


def test_a_damaged_file_is_replaced_and_shows_as_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"
    path.write_bytes(b"no database at all" * 500)
    archive = SQLiteDecisions(path)
    archive.add([decision()], [], [], NOW)
    archive.add([decision()], [], [], NOW)
    assert [decision()] == page(archive)
    assert [(NOW - DAY, NOW)] == list(archive.coverage(SCOPE, NOW - DAY, NOW).gaps)
    assert 0o600 == path.stat().st_mode & 0o777
    archive.close()


def test_a_file_that_is_full_makes_room_and_goes_on(tmp_path: Path) -> None:
    archive = SQLiteDecisions(tmp_path / "decisions.db", max_bytes=256 * 1024)
    for number in range(60):
        at = NOW + number * dt.timedelta(minutes=5)
        who = CertificateId(f"{number:064x}")
        archive.add([decision(f"topic/{n}/{'x' * 500}", certificate_id=who, at=at) for n in range(20)], [], [], at)
    newest = max(each.last_seen for each in page(archive))
    assert NOW + 55 * dt.timedelta(minutes=5) <= newest
    coverage = archive.coverage(SCOPE, NOW, newest)
    assert coverage.overflowed
    assert coverage.gaps, "what could not be written is told"
    archive.close()
