"""ListCertificatesByExpiry: whose certificates, what is said of each, and what is refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    Plane,
    ca_certificate,
    caller,
    cause,
    certificate,
    certificate_id,
)

from handfast.errors import AccessDeniedError, InvalidRequestError

OPERATION = "ListCertificatesByExpiry"


async def test_a_device_certificate_is_described_without_its_pem(plane: Plane) -> None:
    record = certificate(1, ca_certificate_id=certificate_id(9), previous_owned_by=OTHER_ACCOUNT.account)
    await plane.store.insert_certificate(record, cause())
    assert {
        "certificates": [
            {
                "kind": "DEVICE",
                "certificate_arn": f"arn:aws:iot:us-east-1:{SCOPE.account}:cert/{record.certificate_id}",
                "certificate_id": record.certificate_id,
                "status": "INACTIVE",
                "certificate_mode": "DEFAULT",
                "owned_by": SCOPE.account,
                "previous_owned_by": OTHER_ACCOUNT.account,
                "ca_certificate_id": certificate_id(9),
                "creation_date": record.creation_date,
                "last_modified_date": record.last_modified_date,
                "validity": {"not_before": record.not_before, "not_after": record.not_after},
            }
        ]
    } == await plane.call(OPERATION)
    for stranger in (OTHER_ACCOUNT, OTHER_REGION):
        assert {"certificates": []} == await plane.call(OPERATION, caller(stranger))


async def test_cas_are_asked_for_by_kind_and_paged(plane: Plane) -> None:
    for number in (1, 2, 3):
        ca = ca_certificate(number, not_after=NOW + dt.timedelta(days=10 - number))
        await plane.store.insert_ca_certificate(ca, registration_code=None, subject_limit=9, cause=cause())
    first = await plane.call(OPERATION, kind="CA", page_size=2)
    assert [certificate_id(3), certificate_id(2)] == [c["certificate_id"] for c in first["certificates"]]
    assert ("CA", "DISABLE") == (
        first["certificates"][0]["kind"],
        first["certificates"][0]["auto_registration_status"],
    )
    last = await plane.call(OPERATION, kind="CA", page_size=2, marker=first["next_marker"])
    assert [certificate_id(1)] == [c["certificate_id"] for c in last["certificates"]]
    assert "next_marker" not in last
    with pytest.raises(InvalidRequestError, match="marker"):
        await plane.call(OPERATION, kind="DEVICE", marker=first["next_marker"])


@pytest.mark.parametrize(
    "members", [{"kind": "CA", "status": ["REVOKED"]}, {"status": ["ACTIVE", "ENABLED"]}, {"marker": "AAAA"}]
)
async def test_what_is_no_status_or_marker_is_refused(plane: Plane, members: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        await plane.call(OPERATION, **members)


async def test_the_operators_key_has_none(plane: Plane) -> None:
    with pytest.raises(AccessDeniedError, match="owns no resources"):
        await plane.call(OPERATION, caller(None))
