"""Pages of listings and their markers: what every `ports.Store` does."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support.registry import NOW, OTHER_ACCOUNT, OTHER_REGION, SCOPE, cause, certificate, certificate_id
from tests.support.stores import ALLOW_NAME, ID, LAMP, conflict, fill, pages

from handfast.core.identity.ids import PolicyName, ThingName
from handfast.ports import Page, PageRequest, Store


def listings(store: Store) -> dict[str, Callable[[PageRequest], Awaitable[Page[Any]]]]:
    return {
        "certificates": lambda page: store.list_certificates(SCOPE, page),
        "things": lambda page: store.list_things(SCOPE, page),
        "policies": lambda page: store.list_policies(SCOPE, page),
        "thing_principals": lambda page: store.thing_principals(SCOPE, ThingName("t1"), page),
        "principal_things": lambda page: store.principal_things(SCOPE, ID, page),
        "attached_policies": lambda page: store.attached_policies(SCOPE, ID, page),
        "policy_targets": lambda page: store.policy_targets(SCOPE, PolicyName("p1"), page),
    }


LISTINGS = [
    "certificates",
    "things",
    "policies",
    "thing_principals",
    "principal_things",
    "attached_policies",
    "policy_targets",
]


@pytest.mark.parametrize("name", LISTINGS)
async def test_pages_hold_everything_once_and_the_last_has_no_marker(store: Store, name: str) -> None:
    await fill(store)
    listing = listings(store)[name]
    (whole,) = await pages(listing, 5)
    assert 5 == len(whole)
    for limit, sizes in {1: [1] * 5, 2: [2, 2, 1], 4: [4, 1], 250: [5]}.items():
        found = await pages(listing, limit)
        assert sizes == [len(page) for page in found]
        assert whole == [item for page in found for item in page]


@pytest.mark.parametrize("name", LISTINGS)
async def test_a_marker_is_standard_base64_with_padding_and_belongs_to_its_listing(store: Store, name: str) -> None:
    await fill(store)
    all_listings = listings(store)
    marker = (await all_listings[name](PageRequest(limit=2))).marker
    assert marker is not None
    assert len(marker) <= 1024
    assert marker.encode() == base64.b64encode(base64.b64decode(marker, validate=True))
    for other, listing in all_listings.items():
        if other != name:
            assert "marker" == (await conflict(listing(PageRequest(limit=2, marker=marker)))).kind
    key = base64.b64decode(marker)[9:]
    digest = base64.b64decode(marker)[:9]
    for bad in ("", "x", "!!!!", "AAAA", marker[:-4], "A" * 1028, "\u00e9" * 8):
        if bad:
            assert "marker" == (await conflict(all_listings[name](PageRequest(limit=2, marker=bad)))).kind
    for forged in (
        b"[]",
        b"7",
        b"[null]",
        b"[[1],2]",
        b'["\\ud800","\\ud800"]',
        b'["\\u0000"]',
        b"[" * 700,
        key + b"]",
    ):
        text = base64.b64encode(digest + forged).decode()
        assert "marker" == (await conflict(all_listings[name](PageRequest(limit=2, marker=text)))).kind


async def test_a_marker_of_another_scope_or_order_is_refused(store: Store) -> None:
    await fill(store)
    marker = (await store.list_certificates(SCOPE, PageRequest(limit=2))).marker
    for scope in (OTHER_ACCOUNT, OTHER_REGION):
        foreign = store.list_certificates(scope, PageRequest(limit=2, marker=marker))
        assert "marker" == (await conflict(foreign)).kind
    turned = store.list_certificates(SCOPE, PageRequest(limit=2, marker=marker, ascending=True))
    assert "marker" == (await conflict(turned)).kind


@pytest.mark.parametrize("microseconds", [-1, 2**63, 2**70, 1.5, True])
async def test_a_forged_instant_in_a_marker_is_refused(store: Store, microseconds: object) -> None:
    await fill(store)
    marker = (await store.list_certificates(SCOPE, PageRequest(limit=2))).marker
    assert marker is not None
    forged = base64.b64decode(marker)[:9] + json.dumps([microseconds, "x"]).encode()
    page = PageRequest(limit=2, marker=base64.b64encode(forged).decode())
    assert "marker" == (await conflict(store.list_certificates(SCOPE, page))).kind


async def test_certificates_and_policies_come_newest_first_unless_asked_otherwise(store: Store) -> None:
    await fill(store)
    newest_first = [certificate_id(number) for number in (5, 4, 3, 2, 1)]
    (found,) = await pages(listings(store)["certificates"], 10)
    assert newest_first == [item.certificate_id for item in found]
    (found,) = await pages(listings(store)["certificates"], 10, ascending=True)
    assert newest_first[::-1] == [item.certificate_id for item in found]
    (found,) = await pages(listings(store)["policies"], 10)
    assert ["p5", "p4", "p3", "p2", "p1"] == [item.policy_name for item in found]


@pytest.mark.parametrize("ascending", [True, False])
async def test_pages_survive_inserts_and_deletes_between_them(store: Store, ascending: bool) -> None:
    for number in range(10, 20):
        await store.insert_certificate(certificate(number), cause())
    seen: list[str] = []
    marker = None
    for step in range(100):
        page = await store.list_certificates(SCOPE, PageRequest(limit=2, marker=marker, ascending=ascending))
        seen += [item.certificate_id for item in page.items]
        marker = page.marker
        if marker is None:
            break
        # One before everything seen, and the very certificate that the marker stands on.
        await store.insert_certificate(certificate(9 - step if ascending else 100 + step), cause())
        await store.delete_certificate(SCOPE, page.items[-1].certificate_id, force=False, cause=cause())
    in_order = [certificate_id(number) for number in range(10, 20)]
    assert seen == (in_order if ascending else in_order[::-1])


async def test_certificates_of_the_same_instant_are_all_listed(store: Store) -> None:
    records = [certificate(number, creation_date=NOW) for number in range(7)]
    await store.insert_certificates(records, cause())
    found = await pages(listings(store)["certificates"], 3)
    assert {item.certificate_id for item in records} == {item.certificate_id for page in found for item in page}
    assert 7 == sum(len(page) for page in found)


async def test_listings_of_what_does_not_exist_are_refused(store: Store) -> None:
    page = PageRequest(limit=5)
    for call in (
        store.thing_principals(SCOPE, LAMP, page),
        store.principal_things(SCOPE, ID, page),
        store.attached_policies(SCOPE, ID, page),
        store.policy_targets(SCOPE, ALLOW_NAME, page),
    ):
        assert "missing" == (await conflict(call)).kind
