"""The operations as a caller sees them: members, observed texts, preconditions, idempotency."""

from __future__ import annotations

import datetime as dt
import inspect
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.model import OperationModel, Shape
from tests.support.hooks import webhook
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
    self_signed,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.arns import certificate_arn
from handfast.core.identity.ids import Scope
from handfast.core.identity.records import CertificateStatus
from handfast.errors import (
    AccessDeniedError,
    CertificateStateError,
    DeleteConflictError,
    InvalidRequestError,
    LimitExceededError,
    MalformedPolicyError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceError,
    ServiceUnavailableError,
    VersionConflictError,
)

ID = certificate_id(1)
ARN = certificate_arn(SCOPE, ID)
MODEL = botocore.session.Session().get_service_model("iot")
TASKS = [
    "StartThingRegistrationTask",
    "StopThingRegistrationTask",
    "DescribeThingRegistrationTask",
    "ListThingRegistrationTasks",
    "ListThingRegistrationTaskReports",
]
OPERATIONS = [
    *TASKS,
    "CreateKeysAndCertificate",
    "CreateCertificateFromCsr",
    "RegisterCertificateWithoutCA",
    "RegisterCertificate",
    "UpdateCertificate",
    "DescribeCertificate",
    "DeleteCertificate",
    "ListCertificates",
    "GetRegistrationCode",
    "DeleteRegistrationCode",
    "RegisterCACertificate",
    "DescribeCACertificate",
    "UpdateCACertificate",
    "DeleteCACertificate",
    "ListCACertificates",
    "ListCertificatesByCA",
    "TransferCertificate",
    "AcceptCertificateTransfer",
    "RejectCertificateTransfer",
    "CancelCertificateTransfer",
    "ListOutgoingCertificates",
    "CreateThing",
    "UpdateThing",
    "DescribeThing",
    "ListThings",
    "DeleteThing",
    "AttachThingPrincipal",
    "DetachThingPrincipal",
    "ListThingPrincipals",
    "ListPrincipalThings",
    "CreateThingType",
    "DescribeThingType",
    "UpdateThingType",
    "DeprecateThingType",
    "DeleteThingType",
    "ListThingTypes",
    "CreateBillingGroup",
    "DescribeBillingGroup",
    "UpdateBillingGroup",
    "DeleteBillingGroup",
    "ListBillingGroups",
    "AddThingToBillingGroup",
    "RemoveThingFromBillingGroup",
    "ListThingsInBillingGroup",
    "TagResource",
    "UntagResource",
    "ListTagsForResource",
    "DescribeEventConfigurations",
    "UpdateEventConfigurations",
    "ListThingPrincipalsV2",
    "ListPrincipalThingsV2",
    "CreateThingGroup",
    "DescribeThingGroup",
    "UpdateThingGroup",
    "DeleteThingGroup",
    "ListThingGroups",
    "AddThingToThingGroup",
    "RemoveThingFromThingGroup",
    "UpdateThingGroupsForThing",
    "ListThingsInThingGroup",
    "ListThingGroupsForThing",
    "RegisterThing",
    "CreateProvisioningTemplate",
    "DescribeProvisioningTemplate",
    "UpdateProvisioningTemplate",
    "DeleteProvisioningTemplate",
    "ListProvisioningTemplates",
    "CreateProvisioningTemplateVersion",
    "DescribeProvisioningTemplateVersion",
    "DeleteProvisioningTemplateVersion",
    "ListProvisioningTemplateVersions",
    "CreateProvisioningClaim",
    "CreateCertificateProvider",
    "DescribeCertificateProvider",
    "UpdateCertificateProvider",
    "DeleteCertificateProvider",
    "ListCertificateProviders",
    "CreateDomainConfiguration",
    "DescribeDomainConfiguration",
    "UpdateDomainConfiguration",
    "DeleteDomainConfiguration",
    "ListDomainConfigurations",
    "CreatePolicy",
    "GetPolicy",
    "DeletePolicy",
    "ListPolicies",
    "AttachPolicy",
    "DetachPolicy",
    "ListAttachedPolicies",
    "ListTargetsForPolicy",
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
    "TestAuthorization",
    "DescribeEndpoint",
]
TEMPLATE = json.dumps(
    {
        "Resources": {
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}},
            }
        }
    }
)
VALUES: dict[str, Any] = {
    "certificate_signing_request": "csr",
    "task_id": "11111111-1111-4111-8111-111111111111",
    "report_type": "RESULTS",
    "input_file_bucket": "incoming",
    "input_file_key": "lines",
    "role_arn": "arn:aws:iam::123456789012:role/bulk",
    "certificate_pem": self_signed(),
    "certificate_id": ID,
    "new_status": "ACTIVE",
    "ca_certificate": self_signed(),
    "ca_certificate_id": ID,
    "target_aws_account": OTHER_ACCOUNT.account,
    "thing_name": "lamp",
    "principal": ARN,
    "target": ARN,
    "policy_name": "allow",
    "policy_document": ALLOW,
    "thing_type_name": "lamps",
    "billing_group_name": "home",
    "billing_group_properties": {},
    "resource_arn": f"arn:aws:iot:{SCOPE.region}:{SCOPE.account}:policy/allow",
    "tags": [{"key": "a", "value": "b"}],
    "tag_keys": ["a"],
    "policy_version_id": "1",
    "thing_group_name": "hall",
    "thing_group_properties": {"thing_group_description": "the hall"},
    "template_name": "lamps",
    "template_body": TEMPLATE,
    "certificate_provider_name": "signer",
    "domain_configuration_name": "plant",
    "lambda_function_arn": f"arn:aws:lambda:{SCOPE.region}:{SCOPE.account}:function:sign",
    "account_default_for_operations": ["CreateCertificateFromCsr"],
    "provisioning_role_arn": f"arn:aws:iam::{SCOPE.account}:role/lamps",
    "version_id": 1,
    "auth_infos": [{"action_type": "PUBLISH", "resources": [f"arn:aws:iot:{SCOPE.region}:{SCOPE.account}:topic/t"]}],
}
MORE: dict[str, dict[str, Any]] = {  # what the model does not require and the operation does
    "RegisterThing": {"template_body": TEMPLATE.replace('{"Ref": "AWS::IoT::Certificate::Id"}', f'"{ID}"')},
    "RegisterCACertificate": {"certificate_mode": "SNI_ONLY"},  # without a mode, the verification certificate
    "AddThingToBillingGroup": {"billing_group_name": "home", "thing_name": "lamp"},
    "RemoveThingFromBillingGroup": {"billing_group_name": "home", "thing_name": "lamp"},
    "AddThingToThingGroup": {"thing_group_name": "hall", "thing_name": "lamp"},
    "RemoveThingFromThingGroup": {"thing_group_name": "hall", "thing_name": "lamp"},
    "UpdateThingGroupsForThing": {"thing_name": "lamp"},
    "GetEffectivePolicies": {"principal": ARN},
    "DescribeEndpoint": {"endpoint_type": "iot:Data-ATS"},
    "TestAuthorization": {"principal": ARN},
}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        await store.add_hook(webhook("sign"), limit=9, cause=cause())
        yield await make_plane(store)


async def refusal(plane: Plane, operation: str, **members: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await plane.call(operation, **members)
    return caught.value


async def settled(plane: Plane) -> None:
    """One certificate, thing, group and policy, attached to nothing."""
    await plane.store.insert_certificate(certificate(1), cause())
    await plane.call("CreateThing", thing_name="lamp")
    await plane.call("CreateThingGroup", thing_group_name="hall")
    await plane.call("CreatePolicy", policy_name="allow", policy_document=ALLOW)
    plane.notified.clear()


def required(operation: str) -> dict[str, Any]:
    shape = MODEL.operation_model(operation).input_shape
    names = [xform_name(name) for name in shape.required_members] if shape else []
    return {name: VALUES[name] for name in names} | MORE.get(operation, {})


def unmodelled(value: Any, shape: Shape | None, path: str) -> list[str]:
    """Where a result holds what the model does not name."""
    if shape is None:
        return [path] if value else []
    if shape.type_name == "structure":
        known = {xform_name(name): member for name, member in shape.members.items()}
        found = [f"{path}.{name}" for name in value if name not in known]
        return found + [
            place for name, inner in value.items() for place in unmodelled(inner, known.get(name), f"{path}.{name}")
        ]
    if shape.type_name == "list":
        return [place for inner in value for place in unmodelled(inner, shape.member, f"{path}[]")]
    return [] if value is not None else [path]


# --- the table


def test_the_operations_are_those_that_are_built_with_the_models_members() -> None:
    async def nothing(*_: Any) -> None: ...

    class Empty:
        def __getattr__(self, name: str) -> None: ...

    empty: Any = Empty()
    from handfast.control.handlers import build_handlers

    handlers = build_handlers(empty, empty, nothing, empty, empty, empty)
    assert set(OPERATIONS) == set(handlers)
    for name, handler in handlers.items():
        model: OperationModel = MODEL.operation_model(name)
        members = {xform_name(member) for member in model.input_shape.members} if model.input_shape else set()
        needed = {xform_name(member) for member in model.input_shape.required_members} if model.input_shape else set()
        parameters = {
            parameter.name: parameter
            for parameter in inspect.signature(handler).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        assert members == set(parameters), name
        assert needed == {name for name, item in parameters.items() if item.default is inspect.Parameter.empty}, name


# Their answers are looked at with what they need, in test_ca_certificates, test_transfers and end to end.
NEED_MORE = (
    {"RegisterCertificate", "DeleteRegistrationCode", "AcceptCertificateTransfer", *TASKS}
    | {name for name in OPERATIONS if "CACertificate" in name and not name.startswith("List")}
    | {name for name in OPERATIONS if name.endswith("CertificateTransfer") or name == "TransferCertificate"}
)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in NEED_MORE])
async def test_every_operation_answers_in_the_models_members_and_never_with_none(plane: Plane, operation: str) -> None:
    await settled(plane)
    await plane.call("AttachThingPrincipal", thing_name="lamp", principal=ARN)
    await plane.call("AttachPolicy", policy_name="allow", target=ARN)
    if operation != "CreateThingType":
        await plane.call("CreateThingType", thing_type_name="lamps")
    if operation == "DeleteThingType":
        await plane.call("DeprecateThingType", caller(at=NOW - dt.timedelta(hours=1)), thing_type_name="lamps")
    if operation != "CreateBillingGroup":
        await plane.call("CreateBillingGroup", billing_group_name="home")
    members = required(operation)
    if operation == "CreatePolicy":
        members["policy_name"] = "another"
    if operation == "DeletePolicyVersion":
        await plane.call("CreatePolicyVersion", policy_name="allow", policy_document=ALLOW)
        members["policy_version_id"] = "2"
    if operation != "CreateProvisioningTemplate":
        await plane.call("CreateProvisioningTemplate", **required("CreateProvisioningTemplate"), enabled=True)
    if operation != "CreateCertificateProvider":
        await plane.call("CreateCertificateProvider", **required("CreateCertificateProvider"))
    if operation != "CreateDomainConfiguration":
        before = caller(at=NOW - dt.timedelta(days=8))
        await plane.call("CreateDomainConfiguration", before, domain_configuration_name="plant")
        if operation == "DeleteDomainConfiguration":
            disabled = {"domain_configuration_status": "DISABLED"}
            await plane.call("UpdateDomainConfiguration", before, domain_configuration_name="plant", **disabled)
    if operation == "DeleteProvisioningTemplateVersion":
        await plane.call("CreateProvisioningTemplateVersion", template_name="lamps", template_body=TEMPLATE)
        members["version_id"] = 2
    if operation in ("DeleteThing", "DeleteCertificate", "DeletePolicy"):
        await plane.call("DetachThingPrincipal", thing_name="lamp", principal=ARN)
        await plane.call("DetachPolicy", policy_name="allow", target=ARN)
    result = await plane.call(operation, **members)
    assert [] == unmodelled(result, MODEL.operation_model(operation).output_shape, operation)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_the_operators_key_owns_no_resources(plane: Plane, operation: str) -> None:
    with pytest.raises(AccessDeniedError, match="account's key"):
        await plane.call(operation, caller(None), **required(operation))


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_region_that_is_none_is_invalid(plane: Plane, operation: str) -> None:
    with pytest.raises(InvalidRequestError, match="region"):
        await plane.call(operation, caller(Scope(SCOPE.account, "../etc")), **required(operation))


# StartThingRegistrationTask opens its input first.
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "StartThingRegistrationTask"])
async def test_a_store_that_does_not_answer_is_unavailable(plane: Plane, operation: str) -> None:
    await plane.store.close()
    with pytest.raises(ServiceUnavailableError):
        await plane.call(operation, **required(operation))


# --- isolation

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


# --- certificates


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


# --- things


async def test_a_thing_is_created_and_described(plane: Plane) -> None:
    made = await plane.call("CreateThing", thing_name="lamp", attribute_payload={"attributes": {"a": "1", "b": ""}})
    assert "arn:aws:iot:us-east-1:123456789012:thing/lamp" == made["thing_arn"]
    assert {
        "default_client_id": "lamp",
        "thing_name": "lamp",
        "thing_id": made["thing_id"],
        "thing_arn": made["thing_arn"],
        "attributes": {"a": "1"},
        "version": 1,
    } == await plane.call("DescribeThing", thing_name="lamp")
    listed = {key: made[key] for key in ("thing_name", "thing_arn")} | {"attributes": {"a": "1"}, "version": 1}
    assert {"things": [listed]} == await plane.call("ListThings")


async def test_the_same_thing_again_is_the_same_and_another_configuration_is_taken(plane: Plane) -> None:
    attributes = {"attributes": {"a": "1"}}
    first = await plane.call("CreateThing", thing_name="lamp", attribute_payload=attributes)
    assert first == await plane.call("CreateThing", thing_name="lamp", attribute_payload=attributes)
    error = await refusal(plane, "CreateThing", thing_name="lamp")
    assert ResourceAlreadyExistsError is type(error)
    assert {"resourceId": first["thing_id"], "resourceArn": first["thing_arn"]} == error.members


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({"thing_type_name": "lamps"}, ResourceNotFoundError, "Thing type lamps does not exist"),
        ({"billing_group_name": "home"}, ResourceNotFoundError, "Billing group home does not exist"),
        (
            {"attribute_payload": {"attributes": dict.fromkeys("abcd", "1")}},
            InvalidRequestError,
            "at most 3 attributes, not 4",
        ),
    ],
)
async def test_things_that_cannot_be_created(
    plane: Plane, members: dict[str, Any], error: type[ServiceError], message: str
) -> None:
    found = await refusal(plane, "CreateThing", thing_name="lamp", **members)
    assert error is type(found)
    assert message in found.message
    assert {"things": []} == await plane.call("ListThings")


async def test_a_thing_is_deleted_with_the_texts_observed(plane: Plane) -> None:
    await settled(plane)
    await plane.call("AttachThingPrincipal", thing_name="lamp", principal=ARN)
    assert VersionConflictError is type(await refusal(plane, "DeleteThing", thing_name="lamp", expected_version=2))
    error = await refusal(plane, "DeleteThing", thing_name="lamp", expected_version=1)
    assert InvalidRequestError is type(error)
    assert "Cannot delete. Thing lamp is still attached to one or more principals" == error.message
    await plane.call("DetachThingPrincipal", thing_name="lamp", principal=ARN)
    for _ in range(2):  # a thing that does not exist is deleted
        assert {} == await plane.call("DeleteThing", thing_name="lamp")


@pytest.mark.parametrize(
    "members", [{"attribute_value": "1"}, {"attribute_name": "a", "use_prefix_attribute_value": True}]
)
async def test_a_filter_that_is_half_there_is_invalid(plane: Plane, members: dict[str, Any]) -> None:
    assert InvalidRequestError is type(await refusal(plane, "ListThings", **members))


async def test_things_are_listed_by_attribute(plane: Plane) -> None:
    for name, value in (("a", "hall"), ("b", "hallway")):
        await plane.call("CreateThing", thing_name=name, attribute_payload={"attributes": {"room": value}})
    listed = await plane.call("ListThings", attribute_name="room", attribute_value="hall")
    assert ["a"] == [item["thing_name"] for item in listed["things"]]
    listed = await plane.call(
        "ListThings", attribute_name="room", attribute_value="hall", use_prefix_attribute_value=True, max_results=1
    )
    assert ["a"] == [item["thing_name"] for item in listed["things"]]
    listed = await plane.call(
        "ListThings",
        attribute_name="room",
        attribute_value="hall",
        use_prefix_attribute_value=True,
        next_token=listed["next_token"],
    )
    assert ["b"] == [item["thing_name"] for item in listed["things"]]
    assert "next_token" not in listed


async def test_principals_and_things_are_listed_from_both_sides(plane: Plane) -> None:
    await settled(plane)
    await plane.call("AttachThingPrincipal", thing_name="lamp", principal=ARN)
    assert {"principals": [ARN]} == await plane.call("ListThingPrincipals", thing_name="lamp")
    assert {"things": ["lamp"]} == await plane.call("ListPrincipalThings", principal=ARN)
    error = await refusal(plane, "ListThingPrincipals", thing_name="attic")
    assert "Failed to list principals for thing attic because the thing does not exist in your account" == error.message


async def test_an_exclusive_attachment_excludes(plane: Plane) -> None:
    await settled(plane)
    await plane.call("CreateThing", thing_name="attic")
    exclusive = {"principal": ARN, "thing_principal_type": "EXCLUSIVE_THING"}
    await plane.call("AttachThingPrincipal", thing_name="lamp", **exclusive)
    await plane.call("AttachThingPrincipal", thing_name="lamp", **exclusive)
    for members in ({"thing_name": "attic", "principal": ARN}, {"thing_name": "attic", **exclusive}):
        assert InvalidRequestError is type(await refusal(plane, "AttachThingPrincipal", **members))
    unknown = {"thing_name": "lamp", "principal": ARN, "thing_principal_type": "SOME_THING"}
    assert InvalidRequestError is type(await refusal(plane, "AttachThingPrincipal", **unknown))


# --- policies


async def test_a_policy_is_created_and_read(plane: Plane) -> None:
    made = await plane.call("CreatePolicy", policy_name="p+q", policy_document=ALLOW)
    assert {
        "policy_name": "p+q",
        "policy_arn": "arn:aws:iot:us-east-1:123456789012:policy/p+q",
        "policy_document": ALLOW,
        "policy_version_id": "1",
    } == made
    found = await plane.call("GetPolicy", policy_name="p+q")
    assert (ALLOW, "1", NOW, NOW) == (
        found["policy_document"],
        found["default_version_id"],
        found["creation_date"],
        found["last_modified_date"],
    )
    assert 64 == len(found["generation_id"])
    error = await refusal(plane, "CreatePolicy", policy_name="p+q", policy_document=ALLOW)
    assert ResourceAlreadyExistsError is type(error)
    assert "Policy cannot be created - name already exists (name=p+q)" == error.message


@pytest.mark.parametrize(
    "document", ["", "{", "[]", "{}", ALLOW.replace("Allow", "allow"), ALLOW[:-1] + ',"x":"\ud800"}', "[" * 5000]
)
async def test_a_malformed_document_is_refused_before_anything_is_stored(plane: Plane, document: str) -> None:
    error = await refusal(plane, "CreatePolicy", policy_name="p", policy_document=document)
    assert MalformedPolicyError is type(error)
    assert {"policies": []} == await plane.call("ListPolicies")


async def test_a_policy_is_deleted_once_nothing_holds_it(plane: Plane) -> None:
    await settled(plane)
    await plane.call("AttachPolicy", policy_name="allow", target=ARN)
    error = await refusal(plane, "DeletePolicy", policy_name="allow")
    assert DeleteConflictError is type(error)
    assert (
        "The policy cannot be deleted as the policy is attached to one or more principals (name=allow)" == error.message
    )
    await plane.call("DetachPolicy", policy_name="allow", target=ARN)
    await plane.call("DeletePolicy", policy_name="allow")
    assert ResourceNotFoundError is type(await refusal(plane, "DeletePolicy", policy_name="allow"))


async def test_ten_policies_are_attached_and_no_eleventh(plane: Plane) -> None:
    await settled(plane)
    for number in range(11):
        await plane.call("CreatePolicy", policy_name=f"p{number:02}", policy_document=ALLOW)
    for number in [*range(10), 0]:  # the first once more: idempotent, and no eleventh
        await plane.call("AttachPolicy", policy_name=f"p{number:02}", target=ARN)
    error = await refusal(plane, "AttachPolicy", policy_name="p10", target=ARN)
    assert LimitExceededError is type(error)
    listed = await plane.call("ListAttachedPolicies", target=ARN, recursive=True)
    assert [f"p{number:02}" for number in range(10)] == [item["policy_name"] for item in listed["policies"]]
    assert {"policy_name", "policy_arn"} == listed["policies"][0].keys()


async def test_policies_are_not_attached_to_what_is_no_certificate(plane: Plane) -> None:
    await settled(plane)
    cognito = "us-east-1:0e3c1f6a-0000-4000-8000-000000000000"
    group = "arn:aws:iot:us-east-1:123456789012:thinggroup/g"
    for operation in ("AttachPolicy", "DetachPolicy"):
        error = await refusal(plane, operation, policy_name="allow", target=cognito)
        assert InvalidRequestError is type(error)
    assert ResourceNotFoundError is type(await refusal(plane, "AttachPolicy", policy_name="allow", target=group))


# --- idempotency (spec/certificates.md §5, spec/registry.md §1 to §3)


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


# --- endpoints


async def test_an_endpoint_is_described_and_its_region_made_ready(plane: Plane) -> None:
    data = (await plane.call("DescribeEndpoint", endpoint_type="iot:Data-ATS"))["endpoint_address"]
    assert data.endswith("-ats.iot.us-east-1.example.test")
    for spelled in ("iot:Data-ATS", "IoT:Data-ATS"):
        assert {"endpoint_address": data} == await plane.call("DescribeEndpoint", endpoint_type=spelled)
    assert SCOPE == plane.endpoints.resolve_sni(data)
    credentials = (await plane.call("DescribeEndpoint", endpoint_type="iot:CredentialProvider"))["endpoint_address"]
    assert data.replace("-ats.iot.", ".credentials.iot.") == credentials
    jobs = (await plane.call("DescribeEndpoint", endpoint_type="iot:Jobs"))["endpoint_address"]
    assert data.replace("-ats.iot.", ".jobs.iot.") == jobs
    await plane.call("DescribeEndpoint", caller(OTHER_REGION), endpoint_type="iot:Data-ATS")
    assert "eu-west-1" == plane.regions[-1]
    assert 1 == sum(change.subject == data[:14] for change in plane.notified)


@pytest.mark.parametrize("kind", [None, "iot:Data", "iot:Data-Beta", "iot:DeviceAdvisor", "iot:data-ats", "x"])
async def test_other_endpoint_types_are_invalid(plane: Plane, kind: str | None) -> None:
    assert InvalidRequestError is type(await refusal(plane, "DescribeEndpoint", endpoint_type=kind))
    assert [] == plane.endpoints.all()
