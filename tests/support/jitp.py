"""Templates of just-in-time provisioning."""

from __future__ import annotations

import json
from typing import Any

CERTIFICATE_ID = {"Ref": "AWS::IoT::Certificate::Id"}
COMMON_NAME = {"Ref": "AWS::IoT::Certificate::CommonName"}


def document(*, resource: str = "*") -> str:
    """A policy that a device can connect with."""
    statement = {"Effect": "Allow", "Action": "iot:*", "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def jitp_template(
    *,
    thing: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    status: str = "ACTIVE",
    **sections: Any,
) -> str:
    """A thing called as the certificate's CN, a policy, and the certificate with this status."""
    parameters = {f"AWS::IoT::Certificate::{name}": {"Type": "String"} for name in ("CommonName", "Id")}
    resources = {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": COMMON_NAME, **(thing or {})}},
        "certificate": {
            "Type": "AWS::IoT::Certificate",
            "Properties": {"CertificateId": CERTIFICATE_ID, "Status": status},
        },
        "policy": {"Type": "AWS::IoT::Policy", "Properties": policy or {"PolicyDocument": document()}},
    }
    for name, members in sections.items():
        resources[name] = {**resources.get(name, {}), **members}
    return json.dumps({"Parameters": parameters, "Resources": resources})
