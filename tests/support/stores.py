"""
The adapters of `ports.Store`, and what the suite that every one of them passes has in common.

An adapter joins by a line in `ADAPTERS`: a function that opens a store in a
directory. PostgreSQL comes with its own issue.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support.registry import NOW, SCOPE, cause, certificate, certificate_id, policy, sqlite_store, thing

from handfast.core.identity.ids import PolicyName, Scope, ThingName
from handfast.core.identity.records import CertificateStatus, ThingPrincipalType
from handfast.errors import StoreConflict
from handfast.ports import Change, ChangeKind, Page, PageRequest, Store

ADAPTERS = {"sqlite": sqlite_store}
ACTIVE, INACTIVE, REVOKED = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED
EXCLUSIVE, SHARED = ThingPrincipalType.EXCLUSIVE_THING, ThingPrincipalType.NON_EXCLUSIVE_THING
ID = certificate_id(1)
LAMP = ThingName("lamp")
ALLOW_NAME = PolicyName("allow")
LATER = NOW + dt.timedelta(hours=1)


async def conflict(call: Awaitable[Any]) -> StoreConflict:
    """What the call is refused with."""
    with pytest.raises(StoreConflict) as caught:
        await call
    return caught.value


async def pages(listing: Callable[[PageRequest], Awaitable[Page[Any]]], limit: int, **options: Any) -> list[list[Any]]:
    """Every page in turn."""
    found, marker = [], None
    while True:
        page = await listing(PageRequest(limit=limit, marker=marker, **options))
        found.append(list(page.items))
        marker = page.marker
        if marker is None:
            return found


def certificate_change(number: int = 1, scope: Scope = SCOPE) -> Change:
    return Change(ChangeKind.CERTIFICATE, scope, certificate_id(number))


async def fill(store: Store) -> None:
    """Five of everything, attached to the first of the other kind."""
    for number in range(1, 6):
        await store.insert_certificate(certificate(number), cause())
        await store.create_thing(thing(f"t{number}"), cause())
        await store.create_policy(policy(f"p{number}", creation_date=NOW + dt.timedelta(seconds=number)), cause())
    for number in range(1, 6):
        await store.attach_thing(SCOPE, ThingName(f"t{number}"), ID, SHARED, cause())
        await store.attach_policy(SCOPE, PolicyName(f"p{number}"), ID, limit=10, cause=cause())
        if number > 1:
            await store.attach_thing(SCOPE, ThingName("t1"), certificate_id(number), SHARED, cause())
            await store.attach_policy(SCOPE, PolicyName("p1"), certificate_id(number), limit=10, cause=cause())
