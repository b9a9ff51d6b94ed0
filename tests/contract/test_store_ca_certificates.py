"""CA certificates and the registration code: what every `ports.Store` does."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable
from typing import Any

from tests.support.registry import (
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    ca_certificate,
    cause,
    certificate,
    certificate_id,
)
from tests.support.stores import ID, LATER, conflict, pages

from handfast.core.identity.records import AutoRegistrationStatus, CACertificateStatus, CertificateMode
from handfast.ports import Change, ChangeKind, Store


def insert_ca(store: Store, number: int = 1, code: str | None = None, **changes: Any) -> Awaitable[list[Change]]:
    return store.insert_ca_certificate(
        ca_certificate(number, **changes), registration_code=code, subject_limit=3, cause=cause()
    )


async def test_a_registration_code_stays_until_it_is_deleted(store: Store) -> None:
    assert await store.registration_code(SCOPE) is None
    assert "aa" == await store.ensure_registration_code(SCOPE, "aa", cause())
    assert "aa" == await store.ensure_registration_code(SCOPE, "bb", cause())
    assert "bb" == await store.ensure_registration_code(OTHER_ACCOUNT, "bb", cause())
    expected = [Change(ChangeKind.REGISTRATION_CODE, SCOPE, SCOPE.account)]
    assert expected == await store.delete_registration_code(SCOPE, cause())
    assert "missing" == (await conflict(store.delete_registration_code(SCOPE, cause()))).kind
    assert "cc" == await store.ensure_registration_code(SCOPE, "cc", cause())
    assert "bb" == await store.registration_code(OTHER_ACCOUNT)


async def test_a_ca_comes_back_as_it_was_stored_and_is_stored_once(store: Store) -> None:
    change = Change(ChangeKind.CA_CERTIFICATE, SCOPE, ID)
    assert [change] == await insert_ca(store)
    assert ca_certificate(1) == await store.ca_certificate(SCOPE, ID)
    assert await store.ca_certificate(OTHER_ACCOUNT, ID) is None
    assert "exists" == (await conflict(insert_ca(store))).kind
    assert "exists" == (await conflict(insert_ca(store, scope=OTHER_ACCOUNT))).kind
    await insert_ca(store, scope=OTHER_ACCOUNT, mode=CertificateMode.SNI_ONLY)
    await insert_ca(store, scope=OTHER_REGION)
    assert [ca_certificate(1)] == await store.default_ca_certificates("us-east-1")


async def test_a_ca_needs_the_code_of_this_moment_and_room_under_its_subject(store: Store) -> None:
    await store.ensure_registration_code(SCOPE, "aa", cause())
    assert "code" == (await conflict(insert_ca(store, code="bb"))).kind
    assert await store.ca_certificate(SCOPE, ID) is None
    await insert_ca(store, code="aa")
    for number in (2, 3):
        await insert_ca(store, number)
    assert "limit" == (await conflict(insert_ca(store, 4))).kind
    assert await store.ca_certificate(SCOPE, certificate_id(4)) is None
    await insert_ca(store, 4, subject="another")
    assert [1, 2, 3] == [
        n
        for n in (1, 2, 3, 4)
        if ca_certificate(n) in await store.ca_certificates_of_subject(SCOPE, ca_certificate(1).subject)
    ]


async def test_a_ca_is_changed_listed_and_deleted_when_inactive(store: Store) -> None:
    for number in (1, 2, 3):
        await insert_ca(store, number)
    active, enable = CACertificateStatus.ACTIVE, AutoRegistrationStatus.ENABLE
    kwargs: dict[str, Any] = {"status": active, "auto_registration_status": None, "cause": cause(at=LATER)}
    assert 1 == len(await store.update_ca_certificate(SCOPE, ID, **kwargs))
    assert [] == await store.update_ca_certificate(SCOPE, ID, **kwargs)
    await store.update_ca_certificate(SCOPE, ID, **kwargs | {"status": None, "auto_registration_status": enable})
    changed = dataclasses.replace(
        ca_certificate(1), status=active, auto_registration_status=enable, last_modified_date=LATER
    )
    assert changed == await store.ca_certificate(SCOPE, ID)
    assert "missing" == (await conflict(store.update_ca_certificate(OTHER_ACCOUNT, ID, **kwargs))).kind
    assert [[3, 2], [1]] == [
        [n for item in page for n in (1, 2, 3) if item.certificate_id == certificate_id(n)]
        for page in await pages(functools.partial(store.list_ca_certificates, SCOPE), 2)
    ]
    assert "status" == (await conflict(store.delete_ca_certificate(SCOPE, ID, cause()))).kind
    await store.update_ca_certificate(SCOPE, ID, **kwargs | {"status": CACertificateStatus.INACTIVE})
    await store.delete_ca_certificate(SCOPE, ID, cause())
    assert "missing" == (await conflict(store.delete_ca_certificate(SCOPE, ID, cause()))).kind


async def test_a_certificate_that_needs_its_ca_is_refused_unless_that_is_active(store: Store) -> None:
    leaf = certificate(7, ca_certificate_id=ID)
    assert "ca" == (await conflict(store.insert_certificate(leaf, cause(), require_ca=True))).kind
    await insert_ca(store)
    assert "ca" == (await conflict(store.insert_certificate(leaf, cause(), require_ca=True))).kind
    await store.update_ca_certificate(
        SCOPE, ID, status=CACertificateStatus.ACTIVE, auto_registration_status=None, cause=cause()
    )
    await store.insert_certificate(leaf, cause(), require_ca=True)
    await store.insert_certificate(certificate(8), cause())
    assert [[leaf]] == await pages(functools.partial(store.list_certificates_by_ca, SCOPE, ID), 5)
    assert [[]] == await pages(functools.partial(store.list_certificates_by_ca, OTHER_ACCOUNT, ID), 5)
