"""Metrics of what expires when, with a clock that stands until it is moved."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    FakeClock,
    ca_certificate,
    cause,
    certificate,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.records import CACertificateStatus, CertificateStatus
from handfast.ports import Span
from handfast.services.expiry_gauges import BUCKETS, FAR_EVERY, ExpiryGauges
from handfast.storage.sql import SQLStore
from handfast.telemetry.metrics import PrometheusMeter

DAY = dt.timedelta(days=1)
ACTIVE = CertificateStatus.ACTIVE
SERVER = {"leaf": NOW + 90 * DAY, "root": NOW + 7000 * DAY}


class CountingStore:
    """The store's counts, and the spans that were asked for."""

    def __init__(self, store: SQLStore) -> None:
        self._store = store
        self.asked: list[Span] = []

    async def count_active_by_expiry(self, spans: Sequence[Span]) -> tuple[list[int], list[int]]:
        self.asked += spans
        return await self._store.count_active_by_expiry(spans)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLStore]:
    async with sqlite_store(tmp_path) as opened:
        await with_accounts(opened)
        yield opened


def buckets(meter: PrometheusMeter, kind: str) -> dict[str, float]:
    """The buckets of a kind that hold any."""
    text = meter.render().decode()
    rows = re.findall(rf'^handfast_certificates_expiring{{bucket="(\w+)",kind="{kind}"}} (\S+)$', text, re.MULTILINE)
    assert {name for name, _ in BUCKETS} == {name for name, _ in rows}
    return {name: float(value) for name, value in rows if float(value)}


async def test_every_active_certificate_is_in_one_bucket(store: SQLStore) -> None:
    second = dt.timedelta(seconds=1)
    ends = [-1 * DAY, -second, 0 * DAY, DAY - second, DAY, 7 * DAY - second, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY]
    for number, end in enumerate(ends):
        await store.insert_certificate(certificate(number, not_after=NOW + end, status=ACTIVE), cause())
    await store.insert_certificate(certificate(50, not_after=NOW + DAY, status=ACTIVE, scope=OTHER_ACCOUNT), cause())
    await store.insert_certificate(certificate(51, not_after=NOW + DAY), cause())  # INACTIVE
    for number, status in ((1, CACertificateStatus.ACTIVE), (2, CACertificateStatus.INACTIVE)):
        ca = ca_certificate(number, not_after=NOW + 3 * DAY, status=status)
        await store.insert_ca_certificate(ca, registration_code=None, subject_limit=9, cause=cause())
    meter = PrometheusMeter()
    await ExpiryGauges(store, meter, FakeClock(), lambda: SERVER).refresh()
    wanted = {"expired": 2, "1d": 2, "7d": 3, "30d": 1, "90d": 1, "365d": 1, "later": 1}
    assert wanted == buckets(meter, "device")
    assert {"7d": 1} == buckets(meter, "ca")


async def test_a_certificate_moves_through_the_buckets_as_time_passes(store: SQLStore) -> None:
    await store.insert_certificate(certificate(1, not_after=NOW + 31 * DAY, status=ACTIVE), cause())
    meter, clock = PrometheusMeter(), FakeClock()
    gauges = ExpiryGauges(store, meter, clock, dict)
    for days, bucket in ((0, "90d"), (2, "30d"), (25, "7d"), (30.5, "1d"), (32, "expired")):
        clock.instant = NOW + days * DAY
        await gauges.refresh()
        assert {bucket: 1} == buckets(meter, "device")
    await store.set_certificate_status(
        certificate(1).scope, certificate(1).certificate_id, expected=ACTIVE, new=CertificateStatus.REVOKED,
        cause=cause(),
    )  # fmt: skip
    await gauges.refresh()
    assert {} == buckets(meter, "device")


async def test_the_far_buckets_are_counted_now_and_then(store: SQLStore) -> None:
    counting = CountingStore(store)
    gauges = ExpiryGauges(counting, PrometheusMeter(), FakeClock(), dict)  # type: ignore[arg-type]
    later = (NOW + 365 * DAY, None)
    for _ in range(FAR_EVERY):
        await gauges.refresh()
    assert 1 == counting.asked.count(later)
    await gauges.refresh()
    assert 2 == counting.asked.count(later)
    assert FAR_EVERY + 1 == counting.asked.count((NOW, NOW + DAY))


async def test_the_servers_own_certificates_are_told_too(store: SQLStore) -> None:
    meter = PrometheusMeter()
    await ExpiryGauges(store, meter, FakeClock(), lambda: SERVER).refresh()
    text = meter.render().decode()
    for kind, end in SERVER.items():
        (value,) = re.findall(rf'^handfast_server_certificate_not_after_seconds{{kind="{kind}"}} (\S+)$', text, re.M)
        assert int(end.timestamp()) == float(value)
