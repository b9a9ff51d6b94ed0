"""A customer's own CA, as a caller sees it: proof of possession, modes, status, certificates under it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.own_ca import DAY, OwnCA
from tests.support.registry import NOW, OTHER_ACCOUNT, OTHER_REGION, SCOPE, Plane, caller, pem_id

from handfast.core.identity.caller import Caller
from handfast.errors import (
    CertificateConflictError,
    CertificateStateError,
    CertificateValidationError,
    InvalidRequestError,
    LimitExceededError,
    RegistrationCodeValidationError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceError,
)

OTHER = caller(OTHER_ACCOUNT)


async def code(plane: Plane, ctx: Caller | None = None) -> str:
    return str((await plane.call("GetRegistrationCode", ctx))["registration_code"])


async def register(plane: Plane, ca: OwnCA, ctx: Caller | None = None, /, **members: Any) -> dict[str, Any]:
    """In DEFAULT mode with its proof, ACTIVE, unless the members say otherwise."""
    members = {"ca_certificate": ca.pem, "set_as_active": True} | members
    if members.get("certificate_mode") != "SNI_ONLY":
        members.setdefault("verification_certificate", ca.issue(await code(plane, ctx)))
    return await plane.call("RegisterCACertificate", ctx, **members)


async def refusal(plane: Plane, operation: str, ctx: Caller | None = None, /, **members: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await plane.call(operation, ctx, **members)
    return caught.value


async def refused_ca(plane: Plane, ca: OwnCA, **members: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await register(plane, ca, **members)
    return caught.value


# --- the registration code


async def test_a_registration_code_is_64_hex_digits_and_stays_until_it_is_deleted(plane: Plane) -> None:
    first = await code(plane)
    assert 64 == len(first)
    assert set(first) <= set("0123456789abcdef")
    assert first == await code(plane)
    assert 3 == len({first, await code(plane, OTHER), await code(plane, caller(OTHER_REGION))})
    await plane.call("DeleteRegistrationCode")
    assert ResourceNotFoundError is type(await refusal(plane, "DeleteRegistrationCode"))
    assert first != await code(plane)


# --- registration


async def test_a_registered_ca_is_described_in_the_models_members(plane: Plane) -> None:
    ca = OwnCA()
    arn = f"arn:aws:iot:us-east-1:{SCOPE.account}:cacert/{ca.id}"
    made = await register(plane, ca, set_as_active=None, allow_auto_registration=True)
    assert {"certificate_arn": arn, "certificate_id": ca.id} == made
    described = await plane.call("DescribeCACertificate", certificate_id=ca.id.upper())
    generation = described["certificate_description"].pop("generation_id")
    assert 36 == len(generation)
    assert {
        "certificate_description": {
            "certificate_arn": arn,
            "certificate_id": ca.id,
            "status": "INACTIVE",
            "certificate_pem": ca.pem,
            "owned_by": SCOPE.account,
            "creation_date": NOW,
            "auto_registration_status": "ENABLE",
            "last_modified_date": NOW,
            "customer_version": 1,
            "validity": {
                "not_before": ca.not_before.replace(microsecond=0),
                "not_after": ca.not_after.replace(microsecond=0),
            },
            "certificate_mode": "DEFAULT",
        }
    } == described
    listed = await plane.call("ListCACertificates")
    assert [made | {"status": "INACTIVE", "creation_date": NOW}] == listed["certificates"]
    assert {"certificates": []} == await plane.call("ListCACertificates", template_name="none")


async def test_the_same_ca_is_registered_once_and_by_one_account_unless_sni_says_whose_it_is(plane: Plane) -> None:
    ca = OwnCA()
    made = await register(plane, ca)
    again = await refused_ca(plane, ca)
    assert ResourceAlreadyExistsError is type(again)
    assert {"resourceId": ca.id, "resourceArn": made["certificate_arn"]} == again.members
    elsewhere = await refusal(
        plane,
        "RegisterCACertificate",
        OTHER,
        ca_certificate=ca.pem,
        verification_certificate=ca.issue(await code(plane, OTHER)),
    )
    assert ResourceAlreadyExistsError is type(elsewhere)
    assert SCOPE.account not in str(elsewhere.members)
    await register(plane, ca, OTHER, certificate_mode="SNI_ONLY")
    await register(plane, ca, caller(OTHER_REGION))


async def test_a_verification_certificate_is_for_default_mode_alone(plane: Plane) -> None:
    ca = OwnCA()
    assert InvalidRequestError is type(await refused_ca(plane, ca, verification_certificate=None))
    proof = ca.issue(await code(plane))
    for mode in ("SNI_ONLY", "default"):
        refused = await refused_ca(plane, ca, certificate_mode=mode, verification_certificate=proof)
        assert InvalidRequestError is type(refused)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ca": None}, r"^The CA certificate does not have the basicConstraints extension as true$"),
        ({"ca": False}, r"^The CA certificate does not have the basicConstraints extension as true$"),
        ({"not_after": NOW - DAY / 2}, "expired"),
        ({"not_before": NOW + DAY}, "not valid before"),
        ({"key_cert_sign": False}, "keyUsage"),
        ({"digest": hashes.SHA224()}, "SHA224"),
        ({"key": ec.generate_private_key(ec.SECP256K1())}, "secp256k1"),
    ],
    ids=["no constraints", "no CA", "expired", "not yet", "key usage", "SHA-224", "curve"],
)
@pytest.mark.parametrize("mode", ["DEFAULT", "SNI_ONLY"])
async def test_a_ca_that_may_not_be_one_is_refused_with_the_rule(
    plane: Plane, options: dict[str, Any], text: str, mode: str
) -> None:
    refused = await refused_ca(plane, OwnCA(**options), certificate_mode=mode)
    assert CertificateValidationError is type(refused)
    assert re.search(text, refused.message), refused.message


async def test_possession_is_proved_by_the_cas_own_signature_over_the_code_of_this_moment(plane: Plane) -> None:
    ca, stranger, namesake = OwnCA(), OwnCA("Stranger"), OwnCA()
    current = await code(plane)
    for proof in (
        stranger.issue(current),
        namesake.issue(current),
        ca.issue(current, issuer="Stranger"),
        ca.issue(current, not_after=NOW - DAY / 2),
        ca.issue(current, digest=hashes.SHA224()),
        "nonsense",
    ):
        refused = await refused_ca(plane, ca, verification_certificate=proof)
        assert CertificateValidationError is type(refused), refused
    for name in (current.upper(), current[:-1], await code(plane, OTHER), "device"):
        refused = await refused_ca(plane, ca, verification_certificate=ca.issue(name))
        assert RegistrationCodeValidationError is type(refused)
    # In order: what is wrong with the CA is said before what is wrong with the proof, and the code comes last.
    refused = await refused_ca(plane, OwnCA(ca=False), verification_certificate=stranger.issue("x"))
    assert "basicConstraints" in refused.message
    assert CertificateValidationError is type(
        await refused_ca(plane, ca, verification_certificate=stranger.issue("another"))
    )
    await plane.call("DeleteRegistrationCode")
    old = await refused_ca(plane, ca, verification_certificate=ca.issue(current))
    assert RegistrationCodeValidationError is type(old)
    await register(plane, ca)


async def test_ten_cas_of_one_subject_and_no_more(plane: Plane) -> None:
    for _ in range(10):
        await register(plane, OwnCA())
    assert LimitExceededError is type(await refused_ca(plane, OwnCA()))
    await register(plane, OwnCA("Another"))
    await register(plane, OwnCA(), OTHER)


async def test_what_is_not_built_yet_is_refused_and_never_left_out(plane: Plane) -> None:
    ca = OwnCA()
    body = {"template_body": "{}", "role_arn": "arn:aws:iam::123456789012:role/x"}
    named = {"template_name": "line 1"}
    assert InvalidRequestError is type(await refused_ca(plane, ca, registration_config=body))
    assert InvalidRequestError is type(await refused_ca(plane, ca, registration_config=body | named))
    assert ResourceNotFoundError is type(await refused_ca(plane, ca, registration_config=named))
    await register(plane, ca, registration_config={})
    refused = await refusal(plane, "UpdateCACertificate", certificate_id=ca.id, registration_config=body)
    assert InvalidRequestError is type(refused)


async def test_a_ca_is_updated_and_deleted_once_inactive(plane: Plane) -> None:
    ca = OwnCA()
    await register(plane, ca)
    assert CertificateStateError is type(await refusal(plane, "DeleteCACertificate", certificate_id=ca.id))
    for wrong in ({"new_status": "REVOKED"}, {"new_auto_registration_status": "ON"}):
        assert InvalidRequestError is type(await refusal(plane, "UpdateCACertificate", certificate_id=ca.id, **wrong))
    await plane.call(
        "UpdateCACertificate",
        certificate_id=ca.id,
        new_status="INACTIVE",
        new_auto_registration_status="DISABLE",
        remove_auto_registration=True,
    )
    for operation in ("DescribeCACertificate", "UpdateCACertificate", "DeleteCACertificate"):
        for foreign in (OTHER, caller(OTHER_REGION)):
            assert ResourceNotFoundError is type(await refusal(plane, operation, foreign, certificate_id=ca.id))
    await plane.call("DeleteCACertificate", certificate_id=ca.id)
    assert ResourceNotFoundError is type(await refusal(plane, "DeleteCACertificate", certificate_id=ca.id))


# --- certificates under it


async def test_a_leaf_is_registered_under_the_ca_that_signed_it_and_inherits_its_mode(plane: Plane) -> None:
    default, by_sni = OwnCA("One"), OwnCA("Two")
    await register(plane, default)
    await register(plane, by_sni, certificate_mode="SNI_ONLY")
    for ca, mode in ((default, "DEFAULT"), (by_sni, "SNI_ONLY")):
        pem = ca.issue()
        made = await plane.call("RegisterCertificate", certificate_pem=pem, status="ACTIVE")
        assert pem_id(pem) == made["certificate_id"]
        described = (await plane.call("DescribeCertificate", certificate_id=made["certificate_id"]))[
            "certificate_description"
        ]
        assert (ca.id, mode, "ACTIVE") == (
            described["ca_certificate_id"],
            described["certificate_mode"],
            described["status"],
        )
        listed = (await plane.call("ListCertificatesByCA", ca_certificate_id=ca.id))["certificates"]
        assert [(made["certificate_id"], mode)] == [(i["certificate_id"], i["certificate_mode"]) for i in listed]
    assert {"certificates": []} == await plane.call("ListCertificatesByCA", ca_certificate_id="ab" * 32)
    assert {"certificates": []} == await plane.call("ListCertificatesByCA", OTHER, ca_certificate_id=default.id)


async def test_a_leaf_needs_its_issuer_registered_and_active(plane: Plane) -> None:
    root = OwnCA("Root")
    middle = OwnCA("Middle", parent=root)
    pem = middle.issue()

    async def refused(**members: Any) -> type[ServiceError]:
        return type(await refusal(plane, "RegisterCertificate", **{"certificate_pem": pem} | members))

    assert CertificateValidationError is await refused()
    assert CertificateValidationError is await refused(ca_certificate_pem=middle.pem)
    await register(plane, root)  # the CA above the issuer is not its issuer
    assert CertificateValidationError is await refused()
    assert CertificateValidationError is await refused(ca_certificate_pem=root.pem)
    assert CertificateValidationError is await refused(ca_certificate_pem="nonsense")
    await register(plane, middle, set_as_active=False)
    assert CertificateStateError is await refused()
    assert CertificateStateError is await refused(ca_certificate_pem=middle.pem)
    await plane.call("UpdateCACertificate", certificate_id=middle.id, new_status="ACTIVE")
    assert InvalidRequestError is await refused(status="ACTIVE", set_as_active=False)
    assert CertificateStateError is await refused(status="PENDING_ACTIVATION")
    await plane.call("RegisterCertificate", certificate_pem=pem, ca_certificate_pem=middle.pem, set_as_active=True)
    assert ResourceAlreadyExistsError is await refused()


async def test_a_leaf_of_an_expired_ca_is_not_registered(plane: Plane) -> None:
    ca = OwnCA(not_after=NOW + DAY)
    await register(plane, ca)
    late = Caller(
        account_id=SCOPE.account,
        region=SCOPE.region,
        access_key_id="AKIATESTTESTTEST0001",
        address="192.0.2.1",
        request_id="request-1",
        at=NOW + 2 * DAY,
    )
    refused = await refusal(plane, "RegisterCertificate", late, certificate_pem=ca.issue(not_after=NOW + 3 * DAY))
    assert CertificateValidationError is type(refused)
    assert "expired" in refused.message


async def test_which_of_several_cas_of_one_name_and_key_has_to_be_said(plane: Plane) -> None:
    first = OwnCA()
    renewed = OwnCA(key=first.key, not_after=NOW + 999 * DAY)
    namesake = OwnCA()
    for ca in (first, renewed, namesake):
        await register(plane, ca)
    pem = first.issue()
    assert CertificateConflictError is type(await refusal(plane, "RegisterCertificate", certificate_pem=pem))
    wrong = await refusal(plane, "RegisterCertificate", certificate_pem=pem, ca_certificate_pem=namesake.pem)
    assert CertificateValidationError is type(wrong)
    await plane.call("RegisterCertificate", certificate_pem=pem, ca_certificate_pem=renewed.pem)
    await plane.call("RegisterCertificate", certificate_pem=namesake.issue())  # the same name, another key


async def test_the_same_leaf_is_registered_in_several_accounts_only_where_sni_says_which(plane: Plane) -> None:
    ca, shared = OwnCA("One"), OwnCA("Two")
    await register(plane, ca)
    for ctx in (caller(), OTHER):
        await register(plane, shared, ctx, certificate_mode="SNI_ONLY")
    pem = shared.issue()
    for ctx in (caller(), OTHER):
        await plane.call("RegisterCertificate", ctx, certificate_pem=pem)
    await register(plane, ca, OTHER, certificate_mode="SNI_ONLY")
    pem = ca.issue()
    await plane.call("RegisterCertificate", certificate_pem=pem)
    await plane.call("RegisterCertificate", OTHER, certificate_pem=pem)


async def test_certificates_stay_when_their_ca_is_deactivated_or_deleted(plane: Plane) -> None:
    ca = OwnCA()
    await register(plane, ca)
    pem = ca.issue()
    await plane.call("RegisterCertificate", certificate_pem=pem, status="ACTIVE")
    await plane.call("UpdateCACertificate", certificate_id=ca.id, new_status="INACTIVE")
    assert CertificateStateError is type(await refusal(plane, "RegisterCertificate", certificate_pem=ca.issue()))
    await plane.call("DeleteCACertificate", certificate_id=ca.id)
    described = await plane.call("DescribeCertificate", certificate_id=pem_id(pem))
    assert "ACTIVE" == described["certificate_description"]["status"]
    assert 1 == len((await plane.call("ListCertificatesByCA", ca_certificate_id=ca.id))["certificates"])
