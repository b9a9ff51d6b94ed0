"""Amazon Resource Names of the registry's resources: written here, read here, nowhere else."""

from __future__ import annotations

import re
import string

from handfast.core.identity.domains import ServerCertificateId
from handfast.core.identity.ids import (
    AccountId,
    BillingGroupName,
    CertificateId,
    PolicyName,
    Scope,
    ThingGroupName,
    ThingName,
    ThingTypeName,
)
from handfast.core.identity.records import PolicyTarget, TargetKind
from handfast.errors import InvalidRequestError, ResourceNotFoundError

_HEX = frozenset(string.hexdigits)
_CERTIFICATE_ID_LENGTH = 64
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def certificate_arn(scope: Scope, certificate_id: CertificateId) -> str:
    """`arn:aws:iot:{region}:{account}:cert/{certificateId}`."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:cert/{certificate_id}"


def ca_certificate_arn(scope: Scope, certificate_id: CertificateId) -> str:
    """`arn:aws:iot:{region}:{account}:cacert/{certificateId}`."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:cacert/{certificate_id}"


def thing_arn(scope: Scope, thing_name: ThingName) -> str:
    """`arn:aws:iot:{region}:{account}:thing/{thingName}`."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:thing/{thing_name}"


def policy_arn(scope: Scope, policy_name: PolicyName) -> str:
    """`arn:aws:iot:{region}:{account}:policy/{policyName}`."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:policy/{policy_name}"


def thing_type_arn(scope: Scope, thing_type_name: ThingTypeName) -> str:
    """`arn:aws:iot:{region}:{account}:thingtype/{thingTypeName}`."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:thingtype/{thing_type_name}"


def billing_group_arn(scope: Scope, billing_group_name: BillingGroupName) -> str:
    """`arn:aws:iot:{region}:{account}:billinggroup/{billingGroupName}`."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:billinggroup/{billing_group_name}"


def thing_group_arn(scope: Scope, group_name: ThingGroupName) -> str:
    """`arn:aws:iot:{region}:{account}:thinggroup/{thingGroupName}`."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:thinggroup/{group_name}"


def certificate_provider_arn(scope: Scope, name: str) -> str:
    """`arn:aws:iot:{region}:{account}:certificateprovider/{certificateProviderName}`."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:certificateprovider/{name}"


def provisioning_template_arn(scope: Scope, template_name: str) -> str:
    """`arn:aws:iot:{region}:{account}:provisioningtemplate/{templateName}`."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:provisioningtemplate/{template_name}"


def domain_configuration_arn(scope: Scope, resource: str) -> str:
    """`arn:aws:iot:{region}:{account}:domainconfiguration/{name}/{suffix}`; the endpoint's own has no suffix."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:domainconfiguration/{resource}"


def server_certificate_arn(scope: Scope, certificate_id: ServerCertificateId) -> str:
    """`arn:aws:acm:{region}:{account}:certificate/{uuid}`: AWS Certificate Manager's form."""
    return f"arn:aws:acm:{scope.region}:{scope.account}:certificate/{certificate_id}"


def server_certificate_in_arn(arn: str) -> tuple[Scope, ServerCertificateId]:
    """
    Where the server certificate lives, and its id.

    Raises:
        InvalidRequestError: Not such an ARN.
    """
    parts = arn.split(":", 5)
    if len(parts) == 6 and parts[:3] == ["arn", "aws", "acm"]:
        kind, _, certificate_id = parts[5].partition("/")
        if kind == "certificate" and _UUID.fullmatch(certificate_id):
            return Scope(AccountId(parts[4]), parts[3]), ServerCertificateId(certificate_id)
    raise InvalidRequestError("The ARN of a server certificate must be arn:aws:acm:REGION:ACCOUNT:certificate/UUID")


def named_in_arn(scope: Scope, arn: str, kind: str, what: str) -> str:
    """
    The name in the ARN of a resource of this kind (`thing`, `billinggroup` …) in this scope.

    Raises:
        InvalidRequestError: Not the ARN of one.
        ResourceNotFoundError: It is another account's or region's.
    """
    owner, found, name = resource_in_arn(arn)
    if found != kind:
        raise InvalidRequestError(f"{what} must be arn:aws:iot:REGION:ACCOUNT:{kind}/NAME")
    if owner != scope:
        raise ResourceNotFoundError(f"The resource that {what} names does not exist in this account and region")
    return name


def resource_in_arn(arn: str) -> tuple[Scope, str, str]:
    """
    Where the resource lives, its kind and its name, of `arn:aws:iot:{region}:{account}:{kind}/{name}`.

    Raises:
        InvalidRequestError: Not such an ARN.
    """
    # arn:partition:service:region:account:resource, of which only the resource may hold further colons
    parts = arn.split(":", 5)
    if len(parts) == 6 and parts[:3] == ["arn", "aws", "iot"]:
        kind, _, name = parts[5].partition("/")
        if kind and name:
            return Scope(AccountId(parts[4]), parts[3]), kind, name
    raise InvalidRequestError("The ARN must be arn:aws:iot:REGION:ACCOUNT:KIND/NAME")


def fold_certificate_id(text: str) -> CertificateId:
    """
    The id in lower case.

    The model's pattern allows upper case and a `0x`; a device certificate's id
    is exactly 64 hex digits all the same.

    Raises:
        InvalidRequestError: Not 64 hex digits.
    """
    if len(text) != _CERTIFICATE_ID_LENGTH or not _HEX.issuperset(text):
        raise InvalidRequestError(f"certificateId must be {_CERTIFICATE_ID_LENGTH} hexadecimal digits")
    return CertificateId(text.lower())


def principal_certificate(scope: Scope, text: str) -> CertificateId:
    """
    The certificate of this scope that a principal names.

    Raises:
        InvalidRequestError: Not the ARN of a certificate, or a kind of
            principal that is not supported (an Amazon Cognito identity).
        ResourceNotFoundError: A certificate of another account or region.
    """
    where, kind, name = _resource(text, "principal", "a certificate ARN (arn:aws:iot:REGION:ACCOUNT:cert/ID)")
    if kind != TargetKind.CERTIFICATE:
        raise InvalidRequestError("The given ARN does not represent a cert")
    return _certificate_of(scope, where, name)


def policy_target(scope: Scope, text: str) -> PolicyTarget:
    """
    The certificate or thing group of this scope that a policy is, or is to be, attached to.

    Raises:
        InvalidRequestError: Neither's ARN, or an Amazon Cognito identity.
        ResourceNotFoundError: Of another account or region.
    """
    expected = (
        "the ARN of a certificate or of a thing group (arn:aws:iot:REGION:ACCOUNT:cert/ID or "
        "arn:aws:iot:REGION:ACCOUNT:thinggroup/NAME)"
    )
    where, kind, name = _resource(text, "target", expected)
    if kind == TargetKind.CERTIFICATE:
        return PolicyTarget(TargetKind.CERTIFICATE, _certificate_of(scope, where, name))
    if kind != TargetKind.THING_GROUP:
        raise InvalidRequestError(f"The target must be {expected}")
    if where != scope:
        raise ResourceNotFoundError(f"Thing group {text} does not exist in this account and region")
    return PolicyTarget(TargetKind.THING_GROUP, name)


def target_arn(scope: Scope, target: PolicyTarget) -> str:
    """The ARN that `policy_target` reads."""
    return f"arn:aws:iot:{scope.region}:{scope.account}:{target.kind}/{target.name}"


def _certificate_of(scope: Scope, where: Scope, name: str) -> CertificateId:
    certificate_id = fold_certificate_id(name)
    if where != scope:
        raise ResourceNotFoundError(f"Certificate {certificate_id} does not exist in this account and region")
    return certificate_id


def _resource(text: str, what: str, expected: str) -> tuple[Scope, str, str]:
    try:
        return resource_in_arn(text)
    except InvalidRequestError:
        raise InvalidRequestError(
            f"The {what} must be {expected}; Amazon Cognito identities are not supported"
        ) from None
