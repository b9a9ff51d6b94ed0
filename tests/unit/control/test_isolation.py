"""What belongs to another account or region, as a caller of the operations sees it."""

from __future__ import annotations

import pytest
from tests.support.operations import ARN, ID, required, settled
from tests.support.registry import ALLOW, OTHER_ACCOUNT, OTHER_REGION, Plane, caller

from handfast.core.identity.arns import certificate_arn
from handfast.core.identity.ids import Scope
from handfast.errors import ResourceNotFoundError

NOT_FOUND_ELSEWHERE = [
    "TransferCertificate",
    "AcceptCertificateTransfer",
    "RejectCertificateTransfer",
    "CancelCertificateTransfer",
    "UpdateCertificate",
    "DescribeCertificate",
    "DeleteCertificate",
    "DescribeThing",
    "UpdateThing",
    "DescribeThingType",
    "UpdateThingType",
    "DeprecateThingType",
    "DeleteThingType",
    "DescribeBillingGroup",
    "UpdateBillingGroup",
    "AddThingToBillingGroup",
    "RemoveThingFromBillingGroup",
    "ListThingsInBillingGroup",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
    "AttachThingPrincipal",
    "DetachThingPrincipal",
    "ListThingPrincipals",
    "ListPrincipalThings",
    "ListThingPrincipalsV2",
    "ListPrincipalThingsV2",
    "DescribeThingGroup",
    "UpdateThingGroup",
    "AddThingToThingGroup",
    "RemoveThingFromThingGroup",
    "UpdateThingGroupsForThing",
    "ListThingsInThingGroup",
    "ListThingGroupsForThing",
    "AttachPrincipalPolicy",
    "DetachPrincipalPolicy",
    "ListPrincipalPolicies",
    "ListPolicyPrincipals",
    "CreatePolicyVersion",
    "GetPolicyVersion",
    "ListPolicyVersions",
    "SetDefaultPolicyVersion",
    "DeletePolicyVersion",
    "GetEffectivePolicies",
    "GetPolicy",
    "DeletePolicy",
    "AttachPolicy",
    "ListAttachedPolicies",
    "ListTargetsForPolicy",
]


@pytest.mark.parametrize("foreign", [OTHER_ACCOUNT, OTHER_REGION])
@pytest.mark.parametrize("operation", NOT_FOUND_ELSEWHERE)
async def test_what_belongs_to_another_account_or_region_is_not_found(
    plane: Plane, operation: str, foreign: Scope
) -> None:
    await settled(plane)
    await plane.call("AttachThingPrincipal", thing_name="lamp", principal=ARN)
    await plane.call("AttachPolicy", policy_name="allow", target=ARN)
    plane.notified.clear()
    # Told exactly as what never existed, the ARN spelled as the owner's and as the caller's own.
    for arn in (ARN, certificate_arn(foreign, ID)):
        members = {name: arn if value == ARN else value for name, value in required(operation).items()}
        with pytest.raises(ResourceNotFoundError):
            await plane.call(operation, caller(foreign), **members)
    assert [] == plane.notified


@pytest.mark.parametrize("foreign", [OTHER_ACCOUNT, OTHER_REGION])
async def test_deleting_and_detaching_elsewhere_succeeds_and_touches_nothing(plane: Plane, foreign: Scope) -> None:
    await settled(plane)
    await plane.call("AttachPolicy", policy_name="allow", target=ARN)
    plane.notified.clear()
    assert {} == await plane.call("DeleteThing", caller(foreign), thing_name="lamp")
    for arn in (ARN, certificate_arn(foreign, ID)):
        assert {} == await plane.call("DetachPolicy", caller(foreign), policy_name="allow", target=arn)
    assert [] == plane.notified
    assert "lamp" == (await plane.call("DescribeThing", thing_name="lamp"))["thing_name"]
    assert [ARN] == (await plane.call("ListTargetsForPolicy", policy_name="allow"))["targets"]


@pytest.mark.parametrize("foreign", [OTHER_ACCOUNT, OTHER_REGION])
async def test_listings_and_names_of_another_account_are_its_own(plane: Plane, foreign: Scope) -> None:
    await settled(plane)
    ctx = caller(foreign)
    assert {"certificates": []} == await plane.call("ListCertificates", ctx)
    assert {"things": []} == await plane.call("ListThings", ctx)
    assert {"policies": []} == await plane.call("ListPolicies", ctx)
    await plane.call("CreateThing", ctx, thing_name="lamp", attribute_payload={"attributes": {"a": "1"}})
    await plane.call("CreatePolicy", ctx, policy_name="allow", policy_document=ALLOW)
    assert {} == (await plane.call("DescribeThing", thing_name="lamp"))["attributes"]
