"""Who came to the legacy endpoint and who offers a post-quantum key exchange: what is kept, and what it costs."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.principals import World, device
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, FakeClock, caller

from handfast.control.sightings import SightingHandlers
from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.sightings import Sighting, Trait
from handfast.errors import InvalidRequestError
from handfast.seam import Admitted
from handfast.services import sightings as module
from handfast.services.sightings import SightingLog
from handfast.storage.sightings import SQLiteSightings

WHO = device()
KEY = (SCOPE, WHO.certificate_id)
HYBRID: dict[str, Any] = {"hybrid_offered": True, "group": "X25519MLKEM768"}


def numbered(number: int) -> CertificateId:
    return CertificateId(f"{number:064x}")


class Archive:
    """What was handed on."""

    def __init__(self) -> None:
        self.added: list[Sighting] = []

    def add(self, sightings: Sequence[Sighting]) -> None:
        self.added += sightings

    def page(self, scope: Scope, trait: Trait, limit: int, after: str) -> list[Sighting]:
        del scope, trait, limit, after
        return self.added


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[SQLiteSightings]:
    made = SQLiteSightings(tmp_path / "sightings.db", max_rows=50)
    yield made
    made.close()


async def test_a_device_without_either_trait_costs_nothing() -> None:
    kept = Archive()
    log = SightingLog(kept, FakeClock())
    log.seen(KEY, WHO.facts(), legacy=False)
    await log.flush()
    assert [] == kept.added


async def test_within_the_hour_the_same_is_written_once_and_a_change_at_once() -> None:
    kept, clock = Archive(), FakeClock()
    log = SightingLog(kept, clock)
    for _ in range(1_000):
        log.seen(KEY, WHO.facts(**HYBRID), legacy=False)
        await log.flush()
    assert [(NOW, NOW, None)] == [(s.hybrid_offered_at, s.hybrid_agreed_at, s.legacy_at) for s in kept.added]
    log.seen(KEY, WHO.facts(hybrid_offered=True, group="x25519"), legacy=True)
    log.seen(KEY, WHO.facts(**HYBRID), legacy=False)
    await log.flush()
    assert (NOW, NOW, NOW) == (kept.added[1].legacy_at, kept.added[1].hybrid_offered_at, kept.added[1].hybrid_agreed_at)
    clock.instant += dt.timedelta(hours=2)
    log.seen(KEY, WHO.facts(**HYBRID), legacy=False)
    await log.flush()
    assert NOW + dt.timedelta(hours=2) == kept.added[2].hybrid_agreed_at


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 10)
    monkeypatch.setattr(module, "MAX_RECENT", 20)
    kept = Archive()
    log = SightingLog(kept, FakeClock())
    for number in range(30):
        log.seen((SCOPE, numbered(number)), WHO.facts(**HYBRID), legacy=False)
    await log.flush()
    assert 10 == len(kept.added)
    log.seen((SCOPE, numbered(29)), WHO.facts(**HYBRID), legacy=False)
    await log.flush()
    assert numbered(29) == kept.added[-1].certificate_id, "noted when it came again"
    for round_ in range(5):
        for number in range(10):
            log.seen((SCOPE, numbered(100 * round_ + number)), WHO.facts(**HYBRID), legacy=False)
        await log.flush()
    assert len(log._recent) <= 20


def sighting(number: int, *, scope: Scope = SCOPE, at: dt.datetime = NOW, **times: Any) -> Sighting:
    return Sighting(scope=scope, certificate_id=numbered(number), **(times or {"hybrid_offered_at": at}))


def test_the_archive_joins_lists_by_trait_and_survives(archive: SQLiteSightings, tmp_path: Path) -> None:
    later = NOW + dt.timedelta(days=1)
    archive.add([sighting(1), sighting(2, legacy_at=NOW), sighting(3, scope=OTHER_ACCOUNT)])
    archive.add([sighting(1, hybrid_offered_at=later, hybrid_agreed_at=later), sighting(2, hybrid_offered_at=later)])
    archive.close()
    again = SQLiteSightings(tmp_path / "sightings.db")
    assert [
        sighting(1, hybrid_offered_at=later, hybrid_agreed_at=later),
        sighting(2, legacy_at=NOW, hybrid_offered_at=later),
    ] == again.page(SCOPE, Trait.POST_QUANTUM, 10, "")
    assert [numbered(2)] == [each.certificate_id for each in again.page(SCOPE, Trait.LEGACY_ENDPOINT, 10, "")]
    assert [numbered(2)] == [each.certificate_id for each in again.page(SCOPE, Trait.POST_QUANTUM, 10, numbered(1))]
    again.close()


def test_an_account_keeps_its_newest_rows_for_400_days(archive: SQLiteSightings) -> None:
    archive.add([sighting(0, scope=OTHER_ACCOUNT)])
    archive.add([sighting(number, at=NOW + dt.timedelta(minutes=number)) for number in range(80)])
    kept = [each.certificate_id for each in archive.page(SCOPE, Trait.POST_QUANTUM, 100, "")]
    assert [numbered(number) for number in range(30, 80)] == kept
    archive.add([sighting(99, at=NOW + dt.timedelta(days=401))])
    assert [numbered(99)] == [each.certificate_id for each in archive.page(SCOPE, Trait.POST_QUANTUM, 100, "")]
    assert 1 == len(archive.page(OTHER_ACCOUNT, Trait.POST_QUANTUM, 100, ""))


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sightings.db"
    path.write_bytes(b"no database" * 500)
    archive = SQLiteSightings(path)
    archive.add([sighting(1)])
    archive.add([sighting(1)])
    assert 1 == len(archive.page(SCOPE, Trait.POST_QUANTUM, 10, ""))
    archive.close()


async def test_the_listing_has_pages_and_shows_an_account_its_own(archive: SQLiteSightings) -> None:
    log = SightingLog(archive, FakeClock())
    for number in range(5):
        log.seen((SCOPE, numbered(number)), WHO.facts(**HYBRID), legacy=False)
    listing = SightingHandlers(log).handlers["ListSightings"]
    first = await listing(caller(), trait="POST_QUANTUM", max_results=3)
    rest = await listing(caller(), trait="POST_QUANTUM", max_results=3, next_token=first["next_token"])
    found = [*first["sightings"], *rest["sightings"]]
    assert [numbered(number) for number in range(5)] == [each["certificate_id"] for each in found]
    assert {"certificate_id", "hybrid_offered_last_seen", "hybrid_negotiated_last_seen"} == set(found[0])
    assert "next_token" not in rest
    assert {"sightings": []} == await listing(caller(OTHER_ACCOUNT), trait="POST_QUANTUM")
    assert {"sightings": []} == await listing(caller(), trait="LEGACY_ENDPOINT")
    for wrong in ({"trait": "x"}, {"trait": "POST_QUANTUM", "next_token": "'; drop"}):
        with pytest.raises(InvalidRequestError):
            await listing(caller(), **wrong)


async def test_the_verdict_tells_of_who_was_let_in_alone() -> None:
    log = SightingLog(kept := Archive(), FakeClock())
    world = World(sightings=log)
    refused = device()
    await world.verdict.identify(refused.facts(**HYBRID))
    await log.flush()
    assert [] == kept.added
    world.store.register(WHO)
    for _ in range(2):
        assert isinstance(await world.verdict.identify(WHO.facts(**HYBRID)), Admitted)
    await asyncio.wait_for(log.flush(), 10)
    assert [WHO.certificate_id] == [each.certificate_id for each in kept.added]
