"""Revocations of certificates that were issued here, as every store remembers them."""

from __future__ import annotations

from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, cause, certificate, certificate_id

from handfast.core.identity.ids import Scope
from handfast.core.identity.records import CertificateMode, CertificateStatus
from handfast.ports import Store

ACTIVE, INACTIVE, REVOKED = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED


async def issued(store: Store, number: int, scope: Scope = SCOPE, **changes: object) -> None:
    made = certificate(number, scope=scope, status=ACTIVE, mode=CertificateMode.DEFAULT, **changes)
    await store.insert_certificate(made, cause())


async def revoke(store: Store, number: int, scope: Scope = SCOPE, **reason: str) -> None:
    await store.set_certificate_status(
        scope, certificate_id(number), expected=ACTIVE, new=REVOKED, cause=cause(), **reason
    )


async def test_in_their_order_with_date_and_reason_after_a_number(store: Store) -> None:
    for number in (1, 2, 3):
        await issued(store, number)
    assert [] == await store.revocations_after(0, 10)
    await revoke(store, 2, reason="keyCompromise")
    await revoke(store, 1)
    first, second = await store.revocations_after(0, 10)
    assert ("keyCompromise", NOW, certificate(2).pem) == (first.reason, first.revoked_at, first.pem)
    assert ("unspecified", certificate(1).pem) == (second.reason, second.pem)
    assert [first] == await store.revocations_after(0, 1)
    assert [second] == await store.revocations_after(first.sequence, 10)
    assert [] == await store.revocations_after(second.sequence, 10)


async def test_they_stay_when_the_registration_goes(store: Store) -> None:
    await issued(store, 1)
    await revoke(store, 1)
    await store.delete_certificate(SCOPE, certificate_id(1), force=False, cause=cause())
    assert 1 == len(await store.revocations_after(0, 10))


async def test_other_statuses_and_what_others_registered_are_none(store: Store) -> None:
    await issued(store, 1)
    await store.set_certificate_status(SCOPE, certificate_id(1), expected=ACTIVE, new=INACTIVE, cause=cause())
    await store.delete_certificate(SCOPE, certificate_id(1), force=False, cause=cause())
    await store.insert_certificate(certificate(2, status=ACTIVE, mode=CertificateMode.SNI_ONLY), cause())
    await revoke(store, 2)
    await issued(store, 3, ca_certificate_id=certificate_id(9))
    await revoke(store, 3)
    assert [] == await store.revocations_after(0, 10)


async def test_another_account_cannot_revoke_it(store: Store) -> None:
    await issued(store, 1)
    # What anybody can do who has seen the certificate: register it without its CA.
    other = certificate(1, scope=OTHER_ACCOUNT, status=ACTIVE, mode=CertificateMode.SNI_ONLY)
    await store.insert_certificate(other, cause())
    await revoke(store, 1, OTHER_ACCOUNT)
    assert [] == await store.revocations_after(0, 10)
    await revoke(store, 1)
    assert 1 == len(await store.revocations_after(0, 10))
