"""Transfers between accounts and tombstones, as both callers see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry import (
    ALLOW,
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
    self_signed,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.arns import certificate_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.records import CertificateMode, CertificateStatus
from handfast.errors import (
    CertificateStateError,
    InvalidRequestError,
    ResourceNotFoundError,
    ServiceError,
    TransferAlreadyCompletedError,
    TransferConflictError,
)
from handfast.ports import Change, ChangeKind

ID = certificate_id(1)
ARN = certificate_arn(SCOPE, ID)
TARGET = caller(OTHER_ACCOUNT)
OFFER = {"certificate_id": ID, "target_aws_account": OTHER_ACCOUNT.account}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        plane = await make_plane(store)
        await store.insert_certificate(certificate(1), cause())
        yield plane


async def refusal(plane: Plane, operation: str, ctx: Caller | None = None, /, **members: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await plane.call(operation, ctx, **members)
    return caught.value


async def description(plane: Plane, ctx: Caller | None = None) -> dict[str, Any]:
    found: dict[str, Any] = await plane.call("DescribeCertificate", ctx, certificate_id=ID)
    return dict(found["certificate_description"])


async def test_an_accepted_transfer_is_seen_from_both_sides(plane: Plane) -> None:
    theirs = certificate_arn(OTHER_ACCOUNT, ID)
    offered = await plane.call("TransferCertificate", **OFFER, transfer_message="for you")
    assert {"transferred_certificate_arn": theirs} == offered
    for ctx, arn in ((caller(), ARN), (TARGET, theirs)):
        (item,) = (await plane.call("ListCertificates", ctx))["certificates"]
        assert (arn, "PENDING_TRANSFER") == (item["certificate_arn"], item["status"])
        found = await description(plane, ctx)
        assert (arn, SCOPE.account) == (found["certificate_arn"], found["owned_by"])
        assert {"transfer_message": "for you", "transfer_date": NOW} == found["transfer_data"]
    assert {
        "outgoing_certificates": [
            {
                "certificate_arn": ARN,
                "certificate_id": ID,
                "transferred_to": OTHER_ACCOUNT.account,
                "transfer_date": NOW,
                "transfer_message": "for you",
                "creation_date": certificate(1).creation_date,
            }
        ]
    } == await plane.call("ListOutgoingCertificates")
    assert {"outgoing_certificates": []} == await plane.call("ListOutgoingCertificates", TARGET)
    plane.notified.clear()
    await plane.call("AcceptCertificateTransfer", TARGET, certificate_id=ID, set_as_active=True)
    assert {Change(ChangeKind.CERTIFICATE, scope, ID) for scope in (SCOPE, OTHER_ACCOUNT)} == set(plane.notified)
    taken = await description(plane, TARGET)
    assert ("ACTIVE", OTHER_ACCOUNT.account, SCOPE.account, 2) == (
        taken["status"],
        taken["owned_by"],
        taken["previous_owned_by"],
        taken["customer_version"],
    )
    assert NOW == taken["transfer_data"]["accept_date"]
    assert ResourceNotFoundError is type(await refusal(plane, "DescribeCertificate", certificate_id=ID))
    assert {"certificates": []} == await plane.call("ListCertificates")
    again = await refusal(plane, "AcceptCertificateTransfer", TARGET, certificate_id=ID)
    assert TransferAlreadyCompletedError is type(again)
    late = await refusal(plane, "CancelCertificateTransfer", certificate_id=ID)
    assert TransferAlreadyCompletedError is type(late)


async def test_an_acceptance_is_inactive_unless_asked(plane: Plane) -> None:
    await plane.call("TransferCertificate", **OFFER)
    await plane.call("AcceptCertificateTransfer", TARGET, certificate_id=ID)
    assert "INACTIVE" == (await description(plane, TARGET))["status"]


async def test_a_rejected_transfer_goes_back_with_its_reason(plane: Plane) -> None:
    await plane.call("TransferCertificate", **OFFER)
    await plane.call("RejectCertificateTransfer", TARGET, certificate_id=ID, reject_reason="not mine")
    found = await description(plane)
    assert "INACTIVE" == found["status"]
    assert {"transfer_date": NOW, "reject_date": NOW, "reject_reason": "not mine"} == found["transfer_data"]
    assert ResourceNotFoundError is type(await refusal(plane, "DescribeCertificate", TARGET, certificate_id=ID))
    for operation in ("AcceptCertificateTransfer", "RejectCertificateTransfer"):
        refused = await refusal(plane, operation, TARGET, certificate_id=ID)
        assert TransferAlreadyCompletedError is type(refused)


async def test_a_cancelled_transfer_was_never_taken(plane: Plane) -> None:
    await plane.call("TransferCertificate", **OFFER)
    await plane.call("CancelCertificateTransfer", certificate_id=ID)
    assert "INACTIVE" == (await description(plane))["status"]
    refused = await refusal(plane, "AcceptCertificateTransfer", TARGET, certificate_id=ID)
    assert TransferAlreadyCompletedError is type(refused)
    refused = await refusal(plane, "CancelCertificateTransfer", certificate_id=ID)
    assert TransferAlreadyCompletedError is type(refused)


async def test_policies_and_things_are_off_before_and_during_a_transfer(plane: Plane) -> None:
    await plane.call("CreateThing", thing_name="lamp")
    await plane.call("CreatePolicy", policy_name="allow", policy_document=ALLOW)
    await plane.call("AttachThingPrincipal", thing_name="lamp", principal=ARN)
    await plane.call("AttachPolicy", policy_name="allow", target=ARN)
    refused = await refusal(plane, "TransferCertificate", **OFFER)
    assert (TransferConflictError, True) == (type(refused), "policies" in refused.message)
    await plane.call("DetachPolicy", policy_name="allow", target=ARN)
    refused = await refusal(plane, "TransferCertificate", **OFFER)
    assert (TransferConflictError, True) == (type(refused), "Things" in refused.message)
    await plane.call("DetachThingPrincipal", thing_name="lamp", principal=ARN)
    await plane.call("TransferCertificate", **OFFER)
    for operation, members in (
        ("AttachThingPrincipal", {"thing_name": "lamp", "principal": ARN}),
        ("AttachPolicy", {"policy_name": "allow", "target": ARN}),
    ):
        assert InvalidRequestError is type(await refusal(plane, operation, **members))


@pytest.mark.parametrize("status", ["ACTIVE", "REVOKED", "PENDING_TRANSFER", "PENDING_ACTIVATION"])
async def test_only_an_inactive_certificate_is_transferred(plane: Plane, status: str) -> None:
    await plane.store.insert_certificate(certificate(2, status=CertificateStatus(status)), cause())
    members = OFFER | {"certificate_id": certificate_id(2)}
    assert CertificateStateError is type(await refusal(plane, "TransferCertificate", **members))


@pytest.mark.parametrize("target", [SCOPE.account, "000000000000", "1", "21098765432x"])
async def test_a_certificate_is_transferred_to_another_account_that_exists(plane: Plane, target: str) -> None:
    refused = await refusal(plane, "TransferCertificate", certificate_id=ID, target_aws_account=target)
    assert InvalidRequestError is type(refused)


async def test_strangers_to_a_transfer_learn_nothing_of_it(plane: Plane) -> None:
    await plane.call("TransferCertificate", **OFFER)
    for operation in ("AcceptCertificateTransfer", "RejectCertificateTransfer"):
        for ctx in (caller(), caller(OTHER_REGION)):
            assert ResourceNotFoundError is type(await refusal(plane, operation, ctx, certificate_id=ID))
    refused = await refusal(plane, "CancelCertificateTransfer", TARGET, certificate_id=ID)
    assert ResourceNotFoundError is type(refused)
    refused = await refusal(plane, "UpdateCertificate", TARGET, certificate_id=ID, new_status="REVOKED")
    assert ResourceNotFoundError is type(refused)
    assert CertificateStateError is type(await refusal(plane, "DeleteCertificate", certificate_id=ID))


async def test_of_two_acceptances_that_race_one_wins(plane: Plane) -> None:
    await plane.call("TransferCertificate", **OFFER)
    results = await asyncio.gather(
        *(plane.call("AcceptCertificateTransfer", TARGET, certificate_id=ID) for _ in range(2)), return_exceptions=True
    )
    assert [{}] == [result for result in results if not isinstance(result, Exception)]
    assert [TransferAlreadyCompletedError] == [type(result) for result in results if isinstance(result, Exception)]


async def test_what_the_target_has_registered_already_is_not_accepted_over_it(plane: Plane) -> None:
    shared = certificate_id(3)
    for scope in (SCOPE, OTHER_ACCOUNT):
        await plane.store.insert_certificate(certificate(3, scope=scope, mode=CertificateMode.SNI_ONLY), cause())
    await plane.call("TransferCertificate", **OFFER | {"certificate_id": shared})
    refused = await refusal(plane, "AcceptCertificateTransfer", TARGET, certificate_id=shared)
    assert InvalidRequestError is type(refused)
    await plane.call("RejectCertificateTransfer", TARGET, certificate_id=shared)


async def test_a_revoked_certificate_stays_revoked_when_it_is_deleted_until_an_operator_forgets_it(
    plane: Plane,
) -> None:
    pem = self_signed("revoked")
    await plane.call("RegisterCertificateWithoutCA", certificate_pem=pem, status="REVOKED")
    await plane.call("DeleteCertificate", certificate_id=pem_id(pem))
    refused = await refusal(plane, "RegisterCertificateWithoutCA", certificate_pem=pem)
    assert (CertificateStateError, True) == (type(refused), "revoked" in refused.message)
    await plane.call("RegisterCertificateWithoutCA", TARGET, certificate_pem=pem)
    await plane.call("TransferCertificate", TARGET, certificate_id=pem_id(pem), target_aws_account=SCOPE.account)
    refused = await refusal(plane, "AcceptCertificateTransfer", certificate_id=pem_id(pem))
    assert (InvalidRequestError, True) == (type(refused), "revoked" in refused.message)
    forget = {"account_id": SCOPE.account, "certificate_id": pem_id(pem)}
    await plane.call("ForgetCertificate", caller(None), **forget)
    refused = await refusal(plane, "ForgetCertificate", caller(None), **forget)
    assert ResourceNotFoundError is type(refused)
    refused = await refusal(plane, "ForgetCertificate", caller(None), **forget | {"account_id": "x"})
    assert InvalidRequestError is type(refused)
    await plane.call("AcceptCertificateTransfer", certificate_id=pem_id(pem))
