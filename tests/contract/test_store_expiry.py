"""Listings by expiry and counts by expiry: what every `ports.Store` answers."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    ca_certificate,
    cause,
    certificate,
    certificate_id,
)
from tests.support.stores import conflict, pages

from handfast.core.identity.records import CACertificateStatus, CertificateMode, CertificateStatus
from handfast.ports import PageRequest, Store

DAY = dt.timedelta(days=1)
ACTIVE, INACTIVE, REVOKED = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED
SNI_ONLY = CertificateMode.SNI_ONLY


async def ending(store: Store, number: int, days: float, **changes: Any) -> None:
    await store.insert_certificate(certificate(number, not_after=NOW + days * DAY, **changes), cause())


async def ca_ending(store: Store, number: int, days: float, **changes: Any) -> None:
    ca = ca_certificate(number, not_after=NOW + days * DAY, **changes)
    await store.insert_ca_certificate(ca, registration_code=None, subject_limit=100, cause=cause())


async def listed(store: Store, limit: int = 100, **options: Any) -> list[str]:
    found = await pages(functools.partial(store.certificates_by_expiry, SCOPE, **options), limit)
    return [item.certificate_id for page in found for item in page]


def ids(*numbers: int) -> Sequence[str]:
    return [certificate_id(number) for number in numbers]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_those_that_expire_first_are_at_the_top_whatever_their_status(store: Store, limit: int) -> None:
    await ending(store, 1, 30, status=ACTIVE)
    await ending(store, 2, -3, status=INACTIVE)
    await ending(store, 3, 7, status=REVOKED)
    await ending(store, 4, 1, status=ACTIVE)
    await ending(store, 5, 90, status=INACTIVE)
    assert ids(2, 4, 3, 1, 5) == await listed(store, limit)
    newest_first = PageRequest(limit=1, ascending=False)
    (first,) = (await store.certificates_by_expiry(SCOPE, newest_first)).items
    assert certificate(2, not_after=NOW - 3 * DAY) == first


async def test_only_the_statuses_asked_for_and_only_until_then(store: Store) -> None:
    for number, status in enumerate((ACTIVE, INACTIVE, REVOKED, ACTIVE, INACTIVE), 1):
        await ending(store, number, number, status=status)
    assert ids(1, 4) == await listed(store, 1, statuses=[ACTIVE])
    assert ids(1, 3, 4) == await listed(store, 2, statuses={REVOKED, ACTIVE})
    assert ids(1, 2, 3) == await listed(store, 2, until=NOW + 3 * DAY)
    assert ids(1, 2) == await listed(store, until=NOW + 3 * DAY - dt.timedelta(microseconds=1))
    assert ids(2) == await listed(store, statuses=[INACTIVE], until=NOW + 3 * DAY)
    assert [] == await listed(store, statuses=[CertificateStatus.PENDING_ACTIVATION])


async def test_what_is_of_another_account_or_region_is_not_listed_unless_it_is_offered(store: Store) -> None:
    await ending(store, 1, 5, mode=SNI_ONLY)
    await ending(store, 2, 1, scope=OTHER_ACCOUNT, mode=SNI_ONLY)
    await ending(store, 1, 5, scope=OTHER_ACCOUNT, mode=SNI_ONLY)  # the same DER: its own key in the paging
    await ending(store, 3, 2, scope=OTHER_REGION)
    assert ids(1) == await listed(store)
    for number in (1, 2):
        await store.transfer_certificate(
            OTHER_ACCOUNT, certificate_id(number), target=SCOPE.account, message=None, cause=cause()
        )
    for limit in (1, 2, 3):
        assert ids(2, 1, 1) == await listed(store, limit)
    assert ids(2, 1) == await listed(store, 1, statuses=[CertificateStatus.PENDING_TRANSFER])
    assert ids(2) == await listed(store, until=NOW + 2 * DAY)
    assert ids(1) == await listed(store, statuses=[INACTIVE])


async def test_pages_hold_each_once_while_others_come_and_go(store: Store) -> None:
    for number in range(10, 20):
        await ending(store, number, number, status=ACTIVE if number % 2 else INACTIVE)
    seen: list[str] = []
    marker = None
    for step in range(100):
        page = await store.certificates_by_expiry(SCOPE, PageRequest(limit=2, marker=marker))
        seen += [item.certificate_id for item in page.items]
        marker = page.marker
        if marker is None:
            break
        await ending(store, 100 + step, 1 + step / 100)  # before everything that was seen
        if page.items[-1].status is INACTIVE:
            await store.delete_certificate(SCOPE, page.items[-1].certificate_id, force=False, cause=cause())
    assert ids(*range(10, 20)) == seen


async def test_a_marker_belongs_to_its_filters(store: Store) -> None:
    for number in range(4):
        await ending(store, number, number)
    marker = (await store.certificates_by_expiry(SCOPE, PageRequest(limit=2), until=NOW + 9 * DAY)).marker
    assert marker is not None
    page = PageRequest(limit=2, marker=marker)
    for foreign in (
        store.certificates_by_expiry(SCOPE, page),
        store.certificates_by_expiry(SCOPE, page, until=NOW + 8 * DAY),
        store.certificates_by_expiry(SCOPE, page, until=NOW + 9 * DAY, statuses=[ACTIVE]),
        store.certificates_by_expiry(OTHER_ACCOUNT, page, until=NOW + 9 * DAY),
        store.ca_certificates_by_expiry(SCOPE, page, until=NOW + 9 * DAY),
        store.list_certificates(SCOPE, page),
    ):
        assert "marker" == (await conflict(foreign)).kind


async def test_cas_are_listed_in_the_same_way(store: Store) -> None:
    await ca_ending(store, 1, 400, status=CACertificateStatus.ACTIVE)
    await ca_ending(store, 2, 3)
    await ca_ending(store, 3, 40, status=CACertificateStatus.ACTIVE)
    await ca_ending(store, 4, 1, scope=OTHER_ACCOUNT)

    async def found(**options: Any) -> list[str]:
        got = await pages(functools.partial(store.ca_certificates_by_expiry, SCOPE, **options), 1)
        return [item.certificate_id for page in got for item in page]

    assert ids(2, 3, 1) == await found()
    assert ids(3, 1) == await found(statuses=[CACertificateStatus.ACTIVE])
    assert ids(2, 3) == await found(until=NOW + 40 * DAY)


async def test_active_certificates_are_counted_over_all_accounts_by_span(store: Store) -> None:
    for number, (days, changes) in enumerate(
        [
            (-1, {"status": ACTIVE}),
            (0, {"status": ACTIVE}),
            (1, {"status": ACTIVE, "scope": OTHER_ACCOUNT}),
            (2, {"status": ACTIVE, "scope": OTHER_REGION}),
            (0.5, {"status": INACTIVE}),
            (1.5, {"status": REVOKED}),
        ]
    ):
        await ending(store, number, days, **changes)
    await ca_ending(store, 1, 1.5, status=CACertificateStatus.ACTIVE)
    await ca_ending(store, 2, 1.5)
    spans = [(None, NOW), (NOW, NOW + DAY), (NOW + DAY, NOW + 2 * DAY), (NOW + 2 * DAY, None), (None, None)]
    assert ([1, 1, 1, 1, 4], [0, 0, 1, 0, 1]) == await store.count_active_by_expiry(spans)
    await store.set_certificate_status(SCOPE, certificate_id(0), expected=ACTIVE, new=REVOKED, cause=cause())
    assert ([0, 3], [0, 1]) == await store.count_active_by_expiry([(None, NOW), (NOW, None)])
