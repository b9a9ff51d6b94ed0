"""The operations on rotations, as their callers see them."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    Plane,
    caller,
    cause,
    certificate,
    certificate_id,
    make_plane,
    pem_id,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.arns import certificate_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.records import CertificateStatus
from handfast.core.identity.rotation import RotationEnd
from handfast.errors import (
    AccessDeniedError,
    CertificateStateError,
    InvalidRequestError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceError,
    TransferConflictError,
)
from handfast.ports import Change, ChangeKind
from handfast.services import rotations as service

ACTIVE, INACTIVE = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE
OLD = certificate_id(1)
ASKED: dict[str, Any] = {"certificate_id": OLD}
EACH: dict[str, dict[str, Any]] = {
    "RotateCertificate": ASKED,
    "DescribeRotation": ASKED,
    "CancelRotation": ASKED,
    "ListRotations": {},
}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        plane = await make_plane(store)
        await store.insert_certificate(certificate(1, status=ACTIVE), cause())
        yield plane


async def refusal(plane: Plane, operation: str, ctx: Caller | None = None, /, **members: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await plane.call(operation, ctx, **members)
    return caught.value


async def test_the_answer_holds_the_certificate_and_the_key_that_nobody_else_has(
    plane: Plane, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await plane.call("RotateCertificate", **ASKED)
    successor = pem_id(made["certificate_pem"])
    assert (successor, certificate_arn(SCOPE, successor)) == (made["certificate_id"], made["certificate_arn"])
    rotation = {
        "certificate_id": OLD,
        "successor_id": successor,
        "state": "WAITING",
        "retire_action": "DEACTIVATE",
        "on_deadline": "RETIRE",
        "start_date": NOW,
        "deadline": NOW + dt.timedelta(days=7),
    }
    assert rotation == made["rotation"]
    assert rotation == await plane.call("DescribeRotation", **ASKED)
    assert rotation == await plane.call("DescribeRotation", certificate_id=successor.upper())
    assert {"rotations": [rotation]} == await plane.call("ListRotations", state="WAITING")
    assert {"rotations": []} == await plane.call("ListRotations", state="RETIRED")
    key = made["key_pair"]["private_key"]
    assert "PRIVATE KEY" in key
    assert key not in caplog.text
    for file in tmp_path.iterdir():
        assert key.encode() not in file.read_bytes()
    announced = {change.kind for change in plane.notified if change.subject == successor}
    assert {ChangeKind.CERTIFICATE, ChangeKind.ROTATION} == announced


async def test_with_a_request_there_is_no_key_and_every_wish_is_kept(plane: Plane) -> None:
    made = await plane.call(
        "RotateCertificate",
        **ASKED,
        certificate_signing_request="csr",
        deadline_seconds=60,
        on_deadline="KEEP",
        retire_action="REVOKE",
    )
    assert "key_pair" not in made
    rotation = made["rotation"]
    assert ("KEEP", "REVOKE", NOW + dt.timedelta(minutes=1)) == (
        rotation["on_deadline"],
        rotation["retire_action"],
        rotation["deadline"],
    )


@pytest.mark.parametrize("operation", EACH)
async def test_the_operators_key_owns_no_rotations(plane: Plane, operation: str) -> None:
    assert isinstance(await refusal(plane, operation, caller(None), **EACH[operation]), AccessDeniedError)


@pytest.mark.parametrize("scope", [OTHER_ACCOUNT, OTHER_REGION])
async def test_nobody_else_sees_begins_or_cancels_one(plane: Plane, scope: Any) -> None:
    await plane.call("RotateCertificate", **ASKED)
    assert {"rotations": []} == await plane.call("ListRotations", caller(scope))
    for operation in ("RotateCertificate", "DescribeRotation", "CancelRotation"):
        assert isinstance(await refusal(plane, operation, caller(scope), **ASKED), ResourceNotFoundError)
    assert "WAITING" == (await plane.call("DescribeRotation", **ASKED))["state"]


async def test_what_cannot_be_rotated_is_refused_with_the_reason_and_registers_nothing(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plane.store.insert_certificate(certificate(3, status=INACTIVE), cause())
    before = await plane.store.head_cursor()

    async def refused(error: type[ServiceError], **members: Any) -> str:
        found = await refusal(plane, "RotateCertificate", **(ASKED | members))
        assert error is type(found)
        assert before == await plane.store.head_cursor()
        return found.message

    await refused(ResourceNotFoundError, certificate_id=certificate_id(9))
    assert "must be ACTIVE" in await refused(CertificateStateError, certificate_id=certificate_id(3))
    assert "own key" in await refused(InvalidRequestError, certificate_signing_request="bad")
    await refused(InvalidRequestError, on_deadline="SHRUG")
    await refused(InvalidRequestError, retire_action="DELETE")
    for seconds in (0, -1, 365 * 86400 + 1):
        await refused(InvalidRequestError, deadline_seconds=seconds)
    monkeypatch.setattr(service, "MAX_WAITING", 0)
    await refused(LimitExceededError)
    assert isinstance(await refusal(plane, "ListRotations", state="SHRUG"), InvalidRequestError)
    assert isinstance(await refusal(plane, "ListRotations", next_token="forged"), InvalidRequestError)


async def test_neither_certificate_of_a_rotation_is_rotated_again_before_it_ends(plane: Plane) -> None:
    successor = (await plane.call("RotateCertificate", **ASKED))["certificate_id"]
    for which in (OLD, successor):
        found = await refusal(plane, "RotateCertificate", certificate_id=which)
        assert isinstance(found, ResourceAlreadyExistsError)
        assert successor == found.members["resourceId"]
    await plane.store.finish_rotation(SCOPE, successor, RotationEnd.CONNECTED, cause())
    again = await plane.call("RotateCertificate", certificate_id=successor)
    assert again["rotation"] == await plane.call("DescribeRotation", certificate_id=successor)


async def test_cancelling_deactivates_the_successor_is_announced_and_comes_too_late_once_it_ended(
    plane: Plane,
) -> None:
    assert isinstance(await refusal(plane, "CancelRotation", **ASKED), ResourceNotFoundError)
    successor = (await plane.call("RotateCertificate", **ASKED))["certificate_id"]
    plane.notified.clear()
    ended = await plane.call("CancelRotation", certificate_id=successor)
    assert ("CANCELLED", "REQUEST", NOW) == (ended["state"], ended["ended_by"], ended["end_date"])
    assert Change(ChangeKind.CERTIFICATE, SCOPE, successor) in plane.notified
    described = await plane.call("DescribeCertificate", certificate_id=successor)
    assert "INACTIVE" == described["certificate_description"]["status"]
    late = await refusal(plane, "CancelRotation", **ASKED)
    assert isinstance(late, CertificateStateError)
    assert "CANCELLED" in late.message


async def test_a_certificate_that_is_to_be_revoked_is_not_handed_over(plane: Plane) -> None:
    await plane.call("RotateCertificate", **ASKED, retire_action="REVOKE")
    await plane.call("UpdateCertificate", **ASKED, new_status="INACTIVE")
    offer = {**ASKED, "target_aws_account": OTHER_ACCOUNT.account}
    found = await refusal(plane, "TransferCertificate", **offer)
    assert isinstance(found, TransferConflictError)
    assert "being rotated" in found.message
    await plane.call("CancelRotation", **ASKED)
    await plane.call("TransferCertificate", **offer)
