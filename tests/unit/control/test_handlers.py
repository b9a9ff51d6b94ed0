"""Every operation of the table: the model's members, who may ask, a store that does not answer."""

from __future__ import annotations

import datetime as dt
import inspect
from typing import Any

import pytest
from botocore import xform_name
from botocore.model import OperationModel, Shape
from tests.support.hooks import webhook
from tests.support.operations import ARN, MODEL, TEMPLATE, required, settled
from tests.support.registry import ALLOW, NOW, SCOPE, Plane, caller, cause

from handfast.core.identity.ids import Scope
from handfast.errors import AccessDeniedError, InvalidRequestError, ServiceUnavailableError

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


@pytest.fixture
async def plane(plane: Plane) -> Plane:
    """With the hook that the certificate provider names."""
    await plane.store.add_hook(webhook("sign"), limit=9, cause=cause())
    return plane


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
