"""Operations called on a plane in this process: how they are refused, and something to call them on."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from tests.support.registry import ALLOW, OTHER_ACCOUNT, SCOPE, Plane, cause, certificate, certificate_id, self_signed

from handfast.core.identity.arns import certificate_arn
from handfast.errors import ServiceError

ID = certificate_id(1)
ARN = certificate_arn(SCOPE, ID)
MODEL = botocore.session.Session().get_service_model("iot")
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


async def refusal(plane: Plane, operation: str, **members: Any) -> ServiceError:
    """What the operation answers its caller in the first account with."""
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
    """The members without which the operation is not called."""
    shape = MODEL.operation_model(operation).input_shape
    names = [xform_name(name) for name in shape.required_members] if shape else []
    return {name: VALUES[name] for name in names} | MORE.get(operation, {})
