"""ARNs: written in AWS's form, and read without reaching across accounts."""

from __future__ import annotations

import pytest
from tests.support.registry import OTHER_ACCOUNT, OTHER_REGION, SCOPE

from handfast.core.identity.arns import (
    certificate_arn,
    fold_certificate_id,
    policy_arn,
    principal_certificate,
    thing_arn,
)
from handfast.core.identity.ids import CertificateId, PolicyName, ThingName
from handfast.errors import InvalidRequestError, ResourceNotFoundError

ID = CertificateId("0a" * 32)


def test_arns_are_written_as_aws_writes_them() -> None:
    assert f"arn:aws:iot:us-east-1:123456789012:cert/{ID}" == certificate_arn(SCOPE, ID)
    assert "arn:aws:iot:us-east-1:123456789012:thing/a:b" == thing_arn(SCOPE, ThingName("a:b"))
    assert "arn:aws:iot:us-east-1:123456789012:policy/p+q" == policy_arn(SCOPE, PolicyName("p+q"))


@pytest.mark.parametrize("text", ["0A" * 32, "0a" * 32])
def test_an_id_is_folded_to_lower_case(text: str) -> None:
    assert ID == fold_certificate_id(text)


@pytest.mark.parametrize(
    "text", ["", "0a" * 31, "0x" + "0a" * 31, "0g" * 32, "0a" * 33, "\u0660" * 64, "\uff41a" * 32, " " + "a" * 63]
)
def test_what_is_not_64_hex_digits_is_invalid(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        fold_certificate_id(text)


def test_a_certificates_arn_names_it() -> None:
    assert ID == principal_certificate(SCOPE, certificate_arn(SCOPE, ID).replace("0a", "0A"))


@pytest.mark.parametrize("scope", [OTHER_ACCOUNT, OTHER_REGION])
def test_a_certificate_of_another_scope_is_not_found(scope: object) -> None:
    with pytest.raises(ResourceNotFoundError):
        principal_certificate(SCOPE, certificate_arn(scope, ID))  # type: ignore[arg-type]


def test_a_thing_group_is_no_principal() -> None:
    with pytest.raises(InvalidRequestError, match="The given ARN does not represent a cert"):
        principal_certificate(SCOPE, "arn:aws:iot:us-east-1:123456789012:thinggroup/g")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("us-east-1:0e3c1f6a-0000-4000-8000-000000000000", "Cognito"),
        (ID, "must be a certificate ARN"),
        ("", "must be a certificate ARN"),
        (f"arn:aws:iot:us-east-1:123456789012:cacert/{ID}", "does not represent a cert"),
        (f"arn:aws:s3:us-east-1:123456789012:cert/{ID}", "must be a certificate ARN"),
        (f"arn:aws-cn:iot:us-east-1:123456789012:cert/{ID}", "must be a certificate ARN"),
        ("arn:aws:iot:us-east-1:123456789012:cert/", "must be a certificate ARN"),
        ("arn:aws:iot:us-east-1:123456789012:cert", "must be a certificate ARN"),
        ("arn:aws:iot:us-east-1:123456789012:cert/../x", "64 hexadecimal digits"),
    ],
)
def test_other_principals_are_invalid_and_told_why(text: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        principal_certificate(SCOPE, text)
