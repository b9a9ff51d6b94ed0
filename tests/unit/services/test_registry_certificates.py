"""Certificates: preconditions in their order, observed texts, races, and that what is committed is announced."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    FakeEntropy,
    FakeIssuer,
    cause,
    certificate,
    certificate_id,
    pem_id,
    self_signed,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.records import CertificateMode, CertificateStatus
from handfast.errors import (
    CertificateStateError,
    CertificateValidationError,
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    StoreConflict,
    StoreUnavailable,
)
from handfast.ports import Change, ChangeKind
from handfast.services.certificates import Certificates
from handfast.services.commit import Committer
from handfast.services.registry import Registry
from handfast.storage.sql import SQLStore

ACTIVE, INACTIVE, REVOKED = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED
ID = certificate_id(1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLStore]:
    async with sqlite_store(tmp_path) as opened:
        await with_accounts(opened)
        yield opened


@pytest.fixture
def notified() -> list[Change]:
    return []


@pytest.fixture
def certificates(store: SQLStore, notified: list[Change]) -> Certificates:
    async def notify(changes: Sequence[Change]) -> None:
        notified.extend(changes)

    return Registry(store, FakeIssuer(), FakeEntropy(), notify).certificates


async def test_an_issued_certificate_is_registered_in_default_mode_and_its_key_is_kept_nowhere(
    certificates: Certificates, tmp_path: Path
) -> None:
    made = await certificates.create_keys_and_certificate(SCOPE, cause(), set_as_active=True)
    assert (ACTIVE, CertificateMode.DEFAULT) == (made.certificate.status, made.certificate.mode)
    assert pem_id(made.certificate.pem) == made.certificate.certificate_id
    assert made.certificate == await certificates.describe(SCOPE, made.certificate.certificate_id)
    assert "RSA PRIVATE KEY" in made.private_key_pem
    assert "PRIVATE KEY" not in repr(made)
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in tmp_path.iterdir())


async def test_the_same_request_twice_gives_two_certificates(certificates: Certificates) -> None:
    first, second = [await certificates.create_from_csr(SCOPE, cause(), "csr", set_as_active=False) for _ in range(2)]
    assert first.certificate_id != second.certificate_id
    assert INACTIVE is first.status


async def test_a_bad_request_is_invalid_and_registers_nothing(
    certificates: Certificates, notified: list[Change]
) -> None:
    with pytest.raises(InvalidRequestError, match="not signed by its own key"):
        await certificates.create_from_csr(SCOPE, cause(), "bad", set_as_active=True)
    assert [] == notified


@pytest.mark.parametrize(("status", "expected"), [(None, INACTIVE), (ACTIVE, ACTIVE), (REVOKED, REVOKED)])
async def test_a_certificate_registered_without_ca_is_sni_only(
    certificates: Certificates, status: CertificateStatus | None, expected: CertificateStatus
) -> None:
    pem = self_signed()
    record = await certificates.register_without_ca(SCOPE, cause(), pem, status)
    assert (pem_id(pem), pem, expected, CertificateMode.SNI_ONLY) == (
        record.certificate_id,
        record.pem,
        record.status,
        record.mode,
    )
    assert (NOW.replace(microsecond=0), NOW) == (record.not_before, record.creation_date)


async def test_the_same_der_is_a_duplicate_however_its_text_is_wrapped(certificates: Certificates) -> None:
    pem = self_signed()
    first = await certificates.register_without_ca(SCOPE, cause(), pem, None)
    lines = pem.strip().split("\n")
    rewrapped = "\r\n".join([lines[0], "".join(lines[1:-1]), lines[-1]])
    # A duplicate is told before its status is looked at.
    with pytest.raises(ResourceAlreadyExistsError) as caught:
        await certificates.register_without_ca(SCOPE, cause(), rewrapped, CertificateStatus.PENDING_ACTIVATION)
    assert "The certificate is already provisioned or registered" == caught.value.message
    assert {
        "resourceId": first.certificate_id,
        "resourceArn": f"arn:aws:iot:us-east-1:123456789012:cert/{first.certificate_id}",
    } == caught.value.members


async def test_an_issued_certificate_cannot_be_registered_again(certificates: Certificates) -> None:
    made = await certificates.create_keys_and_certificate(SCOPE, cause(), set_as_active=False)
    with pytest.raises(ResourceAlreadyExistsError):
        await certificates.register_without_ca(SCOPE, cause(), made.certificate.pem, ACTIVE)


async def test_the_same_leaf_may_be_registered_in_two_accounts(certificates: Certificates) -> None:
    pem = self_signed()
    for scope in (SCOPE, OTHER_ACCOUNT):
        record = await certificates.register_without_ca(scope, cause(), pem, ACTIVE)
        assert scope == record.scope


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (
            CertificateStatus.PENDING_ACTIVATION,
            CertificateStateError,
            "Not allowed to register certificate with PENDING_ACTIVATION status",
        ),
        (CertificateStatus.PENDING_TRANSFER, CertificateStateError, "PENDING_TRANSFER"),
        (CertificateStatus.REGISTER_INACTIVE, InvalidRequestError, "deprecated"),
    ],
)
async def test_statuses_that_cannot_be_registered(
    certificates: Certificates, status: CertificateStatus, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await certificates.register_without_ca(SCOPE, cause(), self_signed(), status)


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        ("not pem", "cannot be read"),
        (self_signed() + self_signed(), "cannot be read"),
        (self_signed(not_after=NOW - dt.timedelta(seconds=1), not_before=NOW - dt.timedelta(days=1)), "cannot be"),
        (self_signed(not_before=NOW + dt.timedelta(days=1)), "cannot be registered"),
    ],
)
async def test_certificates_that_cannot_be_registered(
    certificates: Certificates, notified: list[Change], pem: str, message: str
) -> None:
    with pytest.raises(CertificateValidationError, match=message):
        await certificates.register_without_ca(SCOPE, cause(), pem, None)
    assert [] == notified


async def test_an_update_is_announced_and_one_that_changes_nothing_is_not(
    store: SQLStore, certificates: Certificates, notified: list[Change]
) -> None:
    await store.insert_certificate(certificate(1), cause())
    assert INACTIVE is await certificates.update_status(SCOPE, cause(), ID, ACTIVE)
    assert [Change(ChangeKind.CERTIFICATE, SCOPE, ID)] == notified
    assert ACTIVE is await certificates.update_status(SCOPE, cause(), ID, ACTIVE)
    assert 1 == len(notified)


async def test_whoever_loses_a_race_is_judged_again_by_what_the_winner_left(
    store: SQLStore, notified: list[Change]
) -> None:
    """The certificate is revoked between the reading and the writing of an activation."""
    await store.insert_certificate(certificate(1), cause())

    class Racing:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def set_certificate_status(self, *arguments: Any, **named: Any) -> Any:
            if named["new"] is ACTIVE:
                revoked = dict(named, new=REVOKED, expected=INACTIVE)
                await store.set_certificate_status(*arguments, **revoked)
            return await store.set_certificate_status(*arguments, **named)

    async def notify(changes: Sequence[Change]) -> None:
        notified.extend(changes)

    racing: Any = Racing()
    certificates = Certificates(racing, FakeIssuer(), FakeEntropy(), Committer(notify))
    with pytest.raises(CertificateStateError, match="REVOKED, which cannot be undone"):
        await certificates.update_status(SCOPE, cause(), ID, ACTIVE)
    assert REVOKED is (await certificates.describe(SCOPE, ID)).status
    assert [] == notified


async def test_many_updates_at_once_end_in_one_of_their_statuses_and_revocation_wins(
    store: SQLStore, certificates: Certificates
) -> None:
    await store.insert_certificate(certificate(1), cause())
    wanted = [ACTIVE, INACTIVE, REVOKED, ACTIVE, INACTIVE]
    outcomes = await asyncio.gather(
        *(certificates.update_status(SCOPE, cause(), ID, status) for status in wanted), return_exceptions=True
    )
    assert all(
        isinstance(outcome, (CertificateStatus, CertificateStateError, ServiceUnavailableError)) for outcome in outcomes
    )
    assert REVOKED is (await certificates.describe(SCOPE, ID)).status


async def test_a_certificate_of_another_account_is_not_found(store: SQLStore, certificates: Certificates) -> None:
    await store.insert_certificate(certificate(1), cause())
    for call in (
        certificates.describe(OTHER_ACCOUNT, ID),
        certificates.update_status(OTHER_ACCOUNT, cause(), ID, REVOKED),
        certificates.delete(OTHER_ACCOUNT, cause(), ID, force=True),
    ):
        with pytest.raises(ResourceNotFoundError):
            await call


# --- announcements


async def test_a_change_is_announced_even_when_its_caller_hangs_up(store: SQLStore) -> None:
    await store.insert_certificate(certificate(1, status=ACTIVE), cause())
    announced: list[Change] = []
    committed, go_on = asyncio.Event(), asyncio.Event()

    async def notify(changes: Sequence[Change]) -> None:
        committed.set()
        await go_on.wait()
        announced.extend(changes)

    registry = Registry(store, FakeIssuer(), FakeEntropy(), notify)
    task = asyncio.ensure_future(registry.certificates.update_status(SCOPE, cause(), ID, REVOKED))
    await committed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [] == announced
    go_on.set()
    await registry.settle()
    assert [Change(ChangeKind.CERTIFICATE, SCOPE, ID)] == announced


async def test_a_write_without_an_answer_is_announced_as_a_suspicion() -> None:
    announced: list[Change] = []
    suspect = Change(ChangeKind.CERTIFICATE, SCOPE, ID)

    async def notify(changes: Sequence[Change]) -> None:
        announced.extend(changes)

    async def unanswered() -> list[Change]:
        raise StoreUnavailable("no answer")

    async def refused() -> list[Change]:
        raise StoreConflict("status")

    commit = Committer(notify)
    with pytest.raises(StoreUnavailable):
        await commit(unanswered(), suspects=[suspect])
    assert [suspect] == announced
    with pytest.raises(StoreConflict):
        await commit(refused(), suspects=[suspect])
    assert [suspect] == announced


async def test_a_call_returns_only_after_the_announcement(store: SQLStore) -> None:
    await store.insert_certificate(certificate(1, status=ACTIVE), cause())
    order: list[str] = []

    async def notify(changes: Sequence[Change]) -> None:
        found = await store.certificate(SCOPE, ID)
        assert found is not None
        order.append(f"announced {found.status}")

    registry = Registry(store, FakeIssuer(), FakeEntropy(), notify)
    await registry.certificates.update_status(SCOPE, cause(), ID, INACTIVE)
    order.append("returned")
    assert ["announced INACTIVE", "returned"] == order
