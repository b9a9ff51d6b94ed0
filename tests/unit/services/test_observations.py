"""Observations are gathered in memory, bounded, joined, and kept in a bounded file."""

from __future__ import annotations

import datetime as dt
import stat
from dataclasses import replace
from pathlib import Path

from tests.support.registry import NOW, SCOPE, FakeClock, certificate_id

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.observations import MAX_SAMPLES, Observation, Sighting
from handfast.services.observations import MAX_PENDING, Observations
from handfast.storage.observations import FILE_NAME, SQLiteObservations

OTHER = Scope(AccountId("999999999999"), SCOPE.region)
ADDRESSES = ("192.0.2.1", "192.0.2.2")
DAY = dt.timedelta(days=1)


def made(path: Path, **options: int) -> tuple[Observations, FakeClock]:
    clock = FakeClock()
    return Observations(SQLiteObservations(path / FILE_NAME, **options), clock), clock


async def test_what_was_seen_twice_is_one_observation_with_both_ends(tmp_path: Path) -> None:
    observations, clock = made(tmp_path)
    for name in ("two", "three"):
        observations.certificate_shared(SCOPE, certificate_id(1), ("one", name), ADDRESSES)
        clock.instant += DAY
    (seen,) = await observations.of_scope(SCOPE)
    assert (
        Observation(
            scope=SCOPE,
            sighting=Sighting.SHARED_CERTIFICATE,
            subject=certificate_id(1),
            first_seen=NOW,
            last_seen=NOW + DAY,
            count=2,
            parties=("one", "two", "three"),
            addresses=ADDRESSES,
        )
        == seen
    )


async def test_flushes_join_what_is_on_the_disk_and_scopes_stay_apart(tmp_path: Path) -> None:
    observations, clock = made(tmp_path)
    for _ in range(3):
        observations.client_id_taken(SCOPE, "pump", (certificate_id(1), certificate_id(2)), ADDRESSES)
        observations.client_id_taken(OTHER, "pump", (certificate_id(3), certificate_id(4)), ADDRESSES)
        await observations.flush()
        clock.instant += DAY
    (seen,) = await observations.of_scope(SCOPE)
    assert (3, NOW, NOW + 2 * DAY) == (seen.count, seen.first_seen, seen.last_seen)
    assert (certificate_id(1), certificate_id(2)) == seen.parties


async def test_it_outlives_the_process_in_a_file_of_its_owner(tmp_path: Path) -> None:
    observations, _ = made(tmp_path)
    observations.certificate_shared(SCOPE, certificate_id(1), ("one", "two"), ADDRESSES)
    await observations.flush()
    assert 0o600 == stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode)
    again, _ = made(tmp_path)
    assert 1 == len(await again.of_scope(SCOPE))


async def test_what_was_last_seen_31_days_ago_begins_anew(tmp_path: Path) -> None:
    observations, clock = made(tmp_path)
    observations.certificate_shared(SCOPE, certificate_id(1), ("one", "two"), ADDRESSES)
    observations.certificate_shared(SCOPE, certificate_id(2), ("one", "two"), ADDRESSES)
    await observations.flush()
    clock.instant += 32 * DAY
    observations.certificate_shared(SCOPE, certificate_id(1), ("three", "four"), ADDRESSES)
    (seen,) = await observations.of_scope(SCOPE)
    assert (1, NOW + 32 * DAY, ("three", "four")) == (seen.count, seen.first_seen, seen.parties)


async def test_an_account_keeps_its_newest_and_pushes_nobody_else_out(tmp_path: Path) -> None:
    observations, clock = made(tmp_path, max_rows=3)
    observations.client_id_taken(OTHER, "theirs", (certificate_id(1), certificate_id(2)), ADDRESSES)
    for number in range(5):
        clock.instant += DAY
        observations.client_id_taken(SCOPE, f"pump-{number}", (certificate_id(1), certificate_id(2)), ADDRESSES)
        await observations.flush()
    assert ["pump-4", "pump-3", "pump-2"] == [seen.subject for seen in await observations.of_scope(SCOPE)]
    assert ["theirs"] == [seen.subject for seen in await observations.of_scope(OTHER)]


async def test_more_subjects_than_fit_are_counted_and_known_ones_still_join(tmp_path: Path) -> None:
    observations, _ = made(tmp_path)
    for number in range(MAX_PENDING + 5):
        observations.client_id_taken(SCOPE, str(number), (certificate_id(1), certificate_id(2)), ADDRESSES)
    observations.client_id_taken(SCOPE, "0", (certificate_id(1), certificate_id(2)), ADDRESSES)
    assert 5 == observations.dropped
    await observations.flush()
    assert (2,) == tuple(seen.count for seen in await observations.of_scope(SCOPE) if seen.subject == "0")


async def test_samples_are_bounded(tmp_path: Path) -> None:
    observations, _ = made(tmp_path)
    for number in range(50):
        observations.certificate_shared(SCOPE, certificate_id(1), ("one", str(number)), (f"::{number}", "::1"))
    (seen,) = await observations.of_scope(SCOPE)
    assert (MAX_SAMPLES, MAX_SAMPLES, 50) == (len(seen.parties), len(seen.addresses), seen.count)


async def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database, " * 400)
    observations, _ = made(tmp_path)
    assert [] == await observations.of_scope(SCOPE)
    observations.certificate_shared(SCOPE, certificate_id(1), ("one", "two"), ADDRESSES)
    assert 1 == len(await observations.of_scope(SCOPE))


async def test_a_row_that_cannot_be_written_costs_nothing_that_was_kept(tmp_path: Path) -> None:
    observations, _ = made(tmp_path)
    observations.client_id_taken(SCOPE, "pump", (certificate_id(1), certificate_id(2)), ADDRESSES)
    await observations.flush()
    unwritable = replace((await observations.of_scope(SCOPE))[0], subject=object())  # no type of SQLite's
    SQLiteObservations(tmp_path / FILE_NAME).add([unwritable])
    again, _ = made(tmp_path)
    assert ["pump"] == [seen.subject for seen in await again.of_scope(SCOPE)]
