"""The operations on certificates: members, observed texts, preconditions."""

from __future__ import annotations

import pytest
from tests.support.operations import ARN, ID, refusal, required, settled
from tests.support.registry import NOW, SCOPE, Plane, cause, certificate

from handfast.core.identity.arns import certificate_arn
from handfast.core.identity.records import CertificateStatus
from handfast.errors import CertificateStateError, DeleteConflictError, InvalidRequestError, ResourceNotFoundError


async def test_a_certificates_description_is_complete(plane: Plane) -> None:
    made = await plane.call("CreateKeysAndCertificate", set_as_active=True)
    found = (await plane.call("DescribeCertificate", certificate_id=made["certificate_id"].upper()))[
        "certificate_description"
    ]
    assert made["key_pair"].keys() == {"public_key", "private_key"}
    assert {
        "certificate_arn": certificate_arn(SCOPE, made["certificate_id"]),
        "certificate_id": made["certificate_id"],
        "status": "ACTIVE",
        "certificate_pem": made["certificate_pem"],
        "owned_by": SCOPE.account,
        "creation_date": NOW,
        "last_modified_date": NOW,
        "customer_version": 1,
        "transfer_data": {},
        "generation_id": found["generation_id"],
        "validity": found["validity"],
        "certificate_mode": "DEFAULT",
    } == found
    assert 36 == len(found["generation_id"])


async def test_certificates_are_inactive_unless_asked_otherwise(plane: Plane) -> None:
    for operation in ("CreateKeysAndCertificate", "CreateCertificateFromCsr", "RegisterCertificateWithoutCA"):
        made = await plane.call(operation, **required(operation))
        found = await plane.call("DescribeCertificate", certificate_id=made["certificate_id"])
        assert "INACTIVE" == found["certificate_description"]["status"], operation


async def test_a_certificate_is_deleted_in_the_order_and_with_the_texts_observed(plane: Plane) -> None:
    await settled(plane)
    await plane.call("UpdateCertificate", certificate_id=ID, new_status="ACTIVE")
    await plane.call("AttachThingPrincipal", thing_name="lamp", principal=ARN)
    await plane.call("AttachPolicy", policy_name="allow", target=ARN)

    error = await refusal(plane, "DeleteCertificate", certificate_id=ID, force_delete=True)
    assert CertificateStateError is type(error)
    assert f"Certificate must be deactivated (not ACTIVE) before deletion. Id: {ID}" == error.message

    await plane.call("UpdateCertificate", certificate_id=ID, new_status="INACTIVE")
    error = await refusal(plane, "DeleteCertificate", certificate_id=ID, force_delete=True)
    assert DeleteConflictError is type(error)
    assert f"Things must be detached before deletion (arn: {ARN})" == error.message

    await plane.call("DetachThingPrincipal", thing_name="lamp", principal=ARN)
    error = await refusal(plane, "DeleteCertificate", certificate_id=ID)
    assert DeleteConflictError is type(error)
    assert f"Certificate policies must be detached before deletion (arn: {ARN})" == error.message

    assert {} == await plane.call("DeleteCertificate", certificate_id=ID, force_delete=True)
    assert ResourceNotFoundError is type(await refusal(plane, "DeleteCertificate", certificate_id=ID))
    assert {"targets": []} == await plane.call("ListTargetsForPolicy", policy_name="allow")


async def test_a_certificate_under_transfer_is_not_deleted(plane: Plane) -> None:
    pending = certificate(1, status=CertificateStatus.PENDING_TRANSFER)
    await plane.store.insert_certificate(pending, cause())
    assert CertificateStateError is type(await refusal(plane, "DeleteCertificate", certificate_id=ID))


@pytest.mark.parametrize("new_status", ["ACTIVATED", "", "active"])
async def test_an_unknown_status_is_invalid(plane: Plane, new_status: str) -> None:
    await settled(plane)
    error = await refusal(plane, "UpdateCertificate", certificate_id=ID, new_status=new_status)
    assert InvalidRequestError is type(error)


async def test_certificates_are_listed_25_to_a_page_and_markers_are_checked(plane: Plane) -> None:
    for number in range(27):
        await plane.store.insert_certificate(certificate(number), cause())
    first = await plane.call("ListCertificates")
    second = await plane.call("ListCertificates", marker=first["next_marker"])
    assert (25, 2) == (len(first["certificates"]), len(second["certificates"]))
    assert "next_marker" not in second
    item = first["certificates"][0]
    newest = certificate(26)
    assert {
        "certificate_arn": certificate_arn(SCOPE, newest.certificate_id),
        "certificate_id": newest.certificate_id,
        "status": "INACTIVE",
        "certificate_mode": "DEFAULT",
        "creation_date": newest.creation_date,
    } == item
    for operation, member, marker in (
        ("ListCertificates", "marker", "AAAA"),
        ("ListPolicies", "marker", first["next_marker"]),
        ("ListThings", "next_token", first["next_marker"]),
    ):
        assert InvalidRequestError is type(await refusal(plane, operation, **{member: marker})), operation
