"""
Every event in every status, through the services and the real store: what it leaves, or the error that it gives.

The table is the specification's, written out by hand: what the core's own table says plays no part here. Errors by
their status codes: 400 InvalidRequest, 404 ResourceNotFound, 406 CertificateState, 409 ResourceAlreadyExists,
410 TransferAlreadyCompleted.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    Plane,
    cause,
    certificate,
    make_plane,
    pem_id,
    self_signed,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.lifecycle import CertificateEvent
from handfast.core.identity.records import CertificateStatus, TombstoneReason
from handfast.errors import (
    CertificateStateError,
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceError,
    StoreConflict,
    TransferAlreadyCompletedError,
)

NONE, GONE, TOMBSTONE = "(none)", "gone", "tombstone"
TABLE = """
event                        (none)             ACTIVE    INACTIVE          REVOKED    PENDING_TRANSFER  PENDING_ACTIVATION  REGISTER_INACTIVE
REGISTER_ACTIVE              ACTIVE             409       409               409        409               409                 409
REGISTER_INACTIVE            INACTIVE           409       409               409        409               409                 409
REGISTER_REVOKED             REVOKED            409       409               409        409               409                 409
REGISTER_JUST_IN_TIME        PENDING_ACTIVATION exists    exists            exists     exists            exists              exists
UPDATE_TO_ACTIVE             404                ACTIVE    ACTIVE            406        406               ACTIVE              406
UPDATE_TO_INACTIVE           404                INACTIVE  INACTIVE          406        406               INACTIVE            406
UPDATE_TO_REVOKED            404                REVOKED   REVOKED           REVOKED    406               REVOKED             406
UPDATE_TO_PENDING_TRANSFER   404                406       406               406        406               406                 406
UPDATE_TO_PENDING_ACTIVATION 404                406       406               406        406               406                 406
UPDATE_TO_REGISTER_INACTIVE  404                400       400               400        400               400                 400
TRANSFER                     404                406       PENDING_TRANSFER  406        406               406                 406
ACCEPT                       404                410       410               410        INACTIVE          410                 410
ACCEPT_ACTIVE                404                410       410               410        ACTIVE            410                 410
REJECT                       404                410       410               410        INACTIVE          410                 410
CANCEL                       404                410       410               410        INACTIVE          410                 410
DELETE                       404                406       gone              tombstone  406               gone                gone
DELETE_FORCED                404                406       gone              tombstone  406               gone                gone
"""  # noqa: E501  a table is read as one
ERRORS: dict[str, type[ServiceError] | type[StoreConflict]] = {
    "400": InvalidRequestError,
    "404": ResourceNotFoundError,
    "406": CertificateStateError,
    "409": ResourceAlreadyExistsError,
    "410": TransferAlreadyCompletedError,
    "exists": StoreConflict,  # nothing registers just in time yet but the store
}
_HEAD, *_ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [(status, row[0], row[column]) for row in _ROWS for column, status in enumerate(_HEAD) if column]
PEM = self_signed("the one")
ID = pem_id(PEM)


def test_the_table_has_every_status_and_every_event() -> None:
    assert {NONE, *CertificateStatus} == set(_HEAD[1:])
    assert {*CertificateEvent, "DELETE", "DELETE_FORCED"} == {row[0] for row in _ROWS}
    assert 7 * 17 == len(CASES)


@pytest_asyncio.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        yield await make_plane(store)


async def bring_to(plane: Plane, status: str, *, offered: bool = True) -> None:
    """The certificate is in that status; `offered`: it was offered to the other account once."""
    if status == NONE:
        return
    pending = status == "PENDING_TRANSFER"
    record = certificate(
        certificate_id=ID,
        pem=PEM,
        status=CertificateStatus("INACTIVE" if pending else status),
        transfer_target=OTHER_ACCOUNT.account if offered else None,
    )
    await plane.store.insert_certificate(record, cause())
    if pending:
        await plane.store.transfer_certificate(
            SCOPE, ID, target=OTHER_ACCOUNT.account, message=None, cause=cause("TransferCertificate")
        )


def happening(plane: Plane, event: str) -> Awaitable[object]:
    """The use case that is the event."""
    certificates, transfers = plane.registry.certificates, plane.registry.transfers
    theirs = (OTHER_ACCOUNT, cause(event), ID)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "REGISTER_JUST_IN_TIME": lambda: plane.store.insert_certificate(
            certificate(certificate_id=ID, pem=PEM, status=CertificateStatus.PENDING_ACTIVATION), cause(event)
        ),
        "TRANSFER": lambda: transfers.transfer(SCOPE, cause(event), ID, target=OTHER_ACCOUNT.account, message=None),
        "ACCEPT": lambda: transfers.accept(*theirs, set_as_active=False),
        "ACCEPT_ACTIVE": lambda: transfers.accept(*theirs, set_as_active=True),
        "REJECT": lambda: transfers.reject(*theirs, reason=None),
        "CANCEL": lambda: transfers.cancel(SCOPE, cause(event), ID),
        "DELETE": lambda: certificates.delete(SCOPE, cause(event), ID, force=False),
        "DELETE_FORCED": lambda: certificates.delete(SCOPE, cause(event), ID, force=True),
    }
    if event in calls:
        return calls[event]()
    verb, _, status = event.partition("_TO_") if event.startswith("UPDATE") else event.partition("_")
    if verb == "UPDATE":
        return certificates.update_status(SCOPE, cause(event), ID, CertificateStatus(status))
    return certificates.register_without_ca(SCOPE, cause(event, at=NOW), PEM, CertificateStatus(status))


async def status_left(plane: Plane) -> str:
    """The registration's status, wherever it is; `(none)` where there is none."""
    for scope in (SCOPE, OTHER_ACCOUNT):
        record = await plane.store.certificate(scope, ID)
        if record is not None:
            return record.status.value
    return NONE


@pytest.mark.parametrize(("status", "event", "outcome"), CASES)
async def test_every_event_in_every_status_ends_as_specified(
    plane: Plane, status: str, event: str, outcome: str
) -> None:
    await bring_to(plane, status)
    if outcome in ERRORS:
        with pytest.raises((ServiceError, StoreConflict)) as caught:
            await happening(plane, event)
        assert ERRORS[outcome] is type(caught.value)
        assert status == await status_left(plane)
        assert await plane.store.tombstone(SCOPE, ID) is None
    elif outcome in (GONE, TOMBSTONE):
        await happening(plane, event)
        assert NONE == await status_left(plane)
        expected = TombstoneReason.REVOKED if outcome == TOMBSTONE else None
        assert expected is await plane.store.tombstone(SCOPE, ID)
    else:
        await happening(plane, event)
        assert outcome == await status_left(plane)
        theirs = event in ("ACCEPT", "ACCEPT_ACTIVE")
        assert await plane.store.certificate(OTHER_ACCOUNT if theirs else SCOPE, ID) is not None


@pytest.mark.parametrize("status", sorted({*CertificateStatus} - {CertificateStatus.PENDING_TRANSFER}))
@pytest.mark.parametrize("event", ["ACCEPT", "ACCEPT_ACTIVE", "REJECT"])
async def test_what_was_never_offered_to_an_account_does_not_exist_there(
    plane: Plane, status: CertificateStatus, event: str
) -> None:
    await bring_to(plane, status, offered=False)
    with pytest.raises(ResourceNotFoundError):
        await happening(plane, event)
    assert status == await status_left(plane)


@pytest.mark.parametrize(("actual", "expected"), list(itertools.permutations(CertificateStatus, 2)))
@pytest.mark.parametrize("new", [CertificateStatus.ACTIVE, CertificateStatus.REVOKED])
async def test_the_store_refuses_an_update_whose_expectation_is_stale(
    plane: Plane, actual: CertificateStatus, expected: CertificateStatus, new: CertificateStatus
) -> None:
    await bring_to(plane, actual)
    with pytest.raises(StoreConflict) as caught:
        await plane.store.set_certificate_status(SCOPE, ID, expected=expected, new=new, cause=cause())
    assert ("status", actual) == (caught.value.kind, caught.value.facts["status"])
    assert actual == await status_left(plane)
