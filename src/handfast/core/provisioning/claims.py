"""What a claim certificate of CreateProvisioningClaim may do: provision a device by one template, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from handfast.core.identity.ids import PolicyName, Scope
from handfast.core.identity.records import AttachedPolicy
from handfast.core.provisioning.records import TemplateName

_FORMATS = ("json", "cbor")
_REPLIES = ("accepted", "rejected")


def claim_policies(scope: Scope, template_name: TemplateName) -> tuple[AttachedPolicy, ...]:
    """
    The policies that such a certificate obeys, which no listing shows; three, since none may be longer than 2048.

    Any client id may connect; it may publish on the request topics for a new
    certificate and for this very template, and subscribe to and receive their
    replies, each topic by its exact name. No real policy can have their names,
    which hold a `$` and a `/`.
    """
    arn = f"arn:aws:iot:{scope.region}:{scope.account}:"
    requests = [
        f"$aws/{what}/{form}"
        for what in (
            "certificates/create",
            "certificates/create-from-csr",
            f"provisioning-templates/{template_name}/provision",
        )
        for form in _FORMATS
    ]
    replies = [f"{topic}/{reply}" for topic in requests for reply in _REPLIES]
    return tuple(
        _policy(template_name, purpose, statements)
        for purpose, statements in (
            (
                "request",
                {"iot:Connect": [f"{arn}client/*"], "iot:Publish": [f"{arn}topic/{topic}" for topic in requests]},
            ),
            ("receive", {"iot:Receive": [f"{arn}topic/{topic}" for topic in replies]}),
            ("subscribe", {"iot:Subscribe": [f"{arn}topicfilter/{topic}" for topic in replies]}),
        )
    )


def _policy(template_name: TemplateName, purpose: str, statements: Mapping[str, Sequence[str]]) -> AttachedPolicy:
    allowed = [{"Effect": "Allow", "Action": action, "Resource": list(names)} for action, names in statements.items()]
    return AttachedPolicy(
        policy_name=PolicyName(f"$provisioning-claim/{template_name}/{purpose}"),
        version_id="1",
        document=json.dumps({"Version": "2012-10-17", "Statement": allowed}, separators=(",", ":")),
    )
