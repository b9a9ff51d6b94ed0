"""Provisioning plans in every `ports.Store`: which certificates they may be for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.provisioned import ID, LAMP, SECOND, done, failure, register, status, with_ca
from tests.support.provisioning import dump, lamp, order, pending, plan
from tests.support.registry import OTHER_ACCOUNT, SCOPE, cause, certificate

from handfast.core.identity.records import AutoRegistrationStatus, CACertificateStatus, CertificateStatus
from handfast.core.provisioning.plan import FailureKind, Override
from handfast.ports import Store

_S, _K, _O = CertificateStatus, FailureKind, Override


@pytest.mark.parametrize(
    ("registered", "override", "wanted", "expected"),
    [
        (_S.PENDING_ACTIVATION, _O.DO_NOTHING, _S.ACTIVE, _S.ACTIVE),
        (_S.PENDING_ACTIVATION, _O.DO_NOTHING, _S.INACTIVE, _S.INACTIVE),
        (_S.PENDING_ACTIVATION, _O.FAIL, _S.ACTIVE, _S.ACTIVE),
        (_S.INACTIVE, _O.DO_NOTHING, _S.ACTIVE, _S.INACTIVE),
        (_S.INACTIVE, _O.REPLACE, _S.ACTIVE, _S.ACTIVE),
        (_S.ACTIVE, _O.REPLACE, _S.INACTIVE, _S.INACTIVE),
        (_S.ACTIVE, _O.DO_NOTHING, _S.INACTIVE, _S.ACTIVE),
        (_S.ACTIVE, _O.FAIL, _S.ACTIVE, _K.CONFLICT),
        (_S.REVOKED, _O.REPLACE, _S.ACTIVE, _K.CERTIFICATE),
        (_S.REVOKED, _O.DO_NOTHING, _S.ACTIVE, _K.CERTIFICATE),
    ],
)
async def test_the_status_of_a_certificate_that_is_registered(
    store: Store,
    registered: CertificateStatus,
    override: Override,
    wanted: CertificateStatus,
    expected: CertificateStatus | FailureKind,
) -> None:
    await register(store, status=registered)
    given = order(plan(status=wanted, status_override=override))
    if isinstance(expected, FailureKind):
        assert (expected, "certificate") == await failure(store, given)
        assert registered is await status(store)
        assert await store.thing(SCOPE, LAMP) is None
    else:
        assert expected is (await done(store, given)).certificate_status
        assert expected is await status(store)


async def test_a_certificate_on_its_way_to_another_account_is_not_provisioned(store: Store) -> None:
    await register(store, status=_S.INACTIVE)
    await store.transfer_certificate(SCOPE, ID, target=OTHER_ACCOUNT.account, message=None, cause=cause())
    assert (_K.CERTIFICATE, "certificate") == await failure(store, order(plan(status_override=_O.REPLACE)))


async def test_an_unknown_certificate_and_another_accounts_are_the_same(store: Store) -> None:
    await store.insert_certificate(certificate(1, scope=OTHER_ACCOUNT), cause())
    assert (_K.CERTIFICATE, "certificate") == await failure(store, order())
    assert (_K.CERTIFICATE, "certificate") == await failure(store, order(certificate_id=SECOND))


async def test_a_template_reaches_no_other_certificate_than_the_orders(store: Store) -> None:
    await register(store)
    await register(store, 2)
    reaching = plan(certificate_id=SECOND)
    assert (_K.INVALID, "certificate") == await failure(store, order(reaching))
    assert _S.PENDING_ACTIVATION is await status(store, 2)
    await done(store, order(plan(certificate_id=ID)))


@pytest.mark.parametrize(
    ("ca", "auto"),
    [
        (None, None),
        (CACertificateStatus.INACTIVE, AutoRegistrationStatus.ENABLE),
        (CACertificateStatus.ACTIVE, AutoRegistrationStatus.DISABLE),
    ],
)
@pytest.mark.parametrize("registered", [False, True])
async def test_just_in_time_needs_a_ca_that_is_active_and_auto_registering_at_that_moment(
    store: Store,
    ca: CACertificateStatus | None,
    auto: AutoRegistrationStatus | None,
    registered: bool,
) -> None:
    if ca is not None and auto is not None:
        await with_ca(store, ca, auto)
    if registered:
        await store.insert_certificate(pending(), cause())
    for given in ({"register": pending()}, {"certificate_id": ID}):
        if registered or "register" in given:
            wanted = order(require_auto_registration=True, **given)
            assert (_K.CERTIFICATE, "certificate") == await failure(store, wanted)
    assert (_S.PENDING_ACTIVATION if registered else None) is await status(store)


async def test_what_just_in_time_registration_left_is_provisioned(store: Store) -> None:
    await with_ca(store)
    for number, given in enumerate(({"register": pending(1)}, {"certificate_id": SECOND}), start=1):
        await store.insert_certificate(pending(number), cause())
        wanted = plan(thing=lamp(str(number)))
        assert (
            _S.ACTIVE is (await done(store, order(wanted, require_auto_registration=True, **given))).certificate_status
        )


@pytest.mark.parametrize(
    "there",
    [
        certificate(1, status=_S.PENDING_ACTIVATION),  # fleet provisioning is waiting for it
        pending(1, status=_S.ACTIVE),
        pending(1, status=_S.INACTIVE),
        pending(1, status=_S.REVOKED),
        pending(1, scope=OTHER_ACCOUNT, status=_S.ACTIVE),  # DEFAULT elsewhere in the region
    ],
    ids=["fleet", "active", "inactive", "revoked", "elsewhere"],
)
async def test_just_in_time_picks_up_no_certificate_that_is_somebody_elses(
    store: Store, tmp_path: Path, there: Any
) -> None:
    await with_ca(store)
    await store.insert_certificate(there, cause())
    before = dump(tmp_path / "handfast.db")
    wanted = order(register=pending(), require_auto_registration=True)
    assert (_K.CERTIFICATE, "certificate") == await failure(store, wanted)
    assert before == dump(tmp_path / "handfast.db")


async def test_who_was_revoked_or_transferred_away_does_not_come_back_just_in_time(store: Store) -> None:
    await with_ca(store)
    await register(store, 1, _S.INACTIVE)
    await store.transfer_certificate(SCOPE, ID, target=OTHER_ACCOUNT.account, message=None, cause=cause())
    await store.accept_transfer(OTHER_ACCOUNT, ID, status=_S.INACTIVE, cause=cause())
    await store.delete_certificate(OTHER_ACCOUNT, ID, force=False, cause=cause())
    await register(store, 2, _S.REVOKED)
    await store.delete_certificate(SCOPE, SECOND, force=False, cause=cause())
    for number in (1, 2):
        wanted = order(register=pending(number), require_auto_registration=True)
        assert (_K.CERTIFICATE, "certificate") == await failure(store, wanted)
    # On purpose, the one that was transferred may come back; the one that was revoked may not.
    assert _S.ACTIVE is (await done(store, order(register=pending(1)))).certificate_status
    assert await store.tombstone(SCOPE, ID) is None
    assert (_K.CERTIFICATE, "certificate") == await failure(store, order(register=pending(2)))
