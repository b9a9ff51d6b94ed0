"""What is asked again: success that changes nothing, or an error."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.operations import ARN, ID, VALUES, refusal, settled
from tests.support.registry import ALLOW, Plane

from handfast.errors import ResourceAlreadyExistsError, ResourceNotFoundError, ServiceError


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("UpdateCertificate", {"certificate_id": ID, "new_status": "ACTIVE"}),
        ("CreateThing", {"thing_name": "lamp"}),
        ("DeleteThing", {"thing_name": "lamp"}),
        ("AttachThingPrincipal", {"thing_name": "lamp", "principal": ARN}),
        ("DetachThingPrincipal", {"thing_name": "lamp", "principal": ARN}),
        ("AttachPolicy", {"policy_name": "allow", "target": ARN}),
        ("DetachPolicy", {"policy_name": "allow", "target": ARN}),
    ],
)
async def test_again_is_success_and_changes_nothing(plane: Plane, operation: str, members: dict[str, Any]) -> None:
    await settled(plane)
    first = await plane.call(operation, **members)
    cursor = await plane.store.head_cursor()
    assert first == await plane.call(operation, **members)
    assert cursor == await plane.store.head_cursor()


@pytest.mark.parametrize(
    ("operation", "members", "error"),
    [
        ("CreatePolicy", {"policy_name": "new", "policy_document": ALLOW}, ResourceAlreadyExistsError),
        ("DeletePolicy", {"policy_name": "allow"}, ResourceNotFoundError),
        ("DeleteCertificate", {"certificate_id": ID}, ResourceNotFoundError),
        (
            "RegisterCertificateWithoutCA",
            {"certificate_pem": VALUES["certificate_pem"]},
            ResourceAlreadyExistsError,
        ),
    ],
)
async def test_again_is_an_error(
    plane: Plane, operation: str, members: dict[str, Any], error: type[ServiceError]
) -> None:
    await settled(plane)
    await plane.call(operation, **members)
    assert error is type(await refusal(plane, operation, **members))
