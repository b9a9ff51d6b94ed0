"""What hooks are asked: the documents of each event, and samples of them for whoever tries a hook."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from handfast.core.identity.arns import certificate_provider_arn
from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.provisioning.records import CertificateProviderName

SAMPLE_SCOPE = Scope(AccountId("000000000000"), "us-east-1")
"""An account that does not exist."""
_SAMPLE_NAME = "handfast-sample"
_SAMPLE_ID = CertificateId("0" * 64)


def pre_provisioning_question(
    scope: Scope,
    template_name: str,
    *,
    claim_certificate_id: CertificateId,
    certificate_id: CertificateId,
    certificate_pem: str,
    client_id: str,
    parameters: Mapping[str, str],
) -> dict[str, Any]:
    """The input of a pre-provisioning hook, of the version `PAYLOAD_VERSION`."""
    return {
        "claimCertificateId": claim_certificate_id,
        "certificateId": certificate_id,
        "certificatePem": certificate_pem,
        "templateArn": f"arn:aws:iot:{scope.region}:{scope.account}:provisioningtemplate/{template_name}",
        "clientId": client_id,
        "parameters": dict(parameters),
    }


def provider_question(
    scope: Scope,
    provider_name: CertificateProviderName,
    *,
    csr_pem: str,
    principal: CertificateId,
    client_id: str | None,
) -> dict[str, Any]:
    """The input of a certificate provider's hook."""
    return {
        "certificateSigningRequest": csr_pem,
        "principalId": principal,
        "clientId": client_id,
        "certificateProviderArn": certificate_provider_arn(scope, provider_name),
    }


def pre_provisioning_sample() -> dict[str, Any]:
    """Of a device that does not exist; its certificate is none."""
    return pre_provisioning_question(
        SAMPLE_SCOPE,
        _SAMPLE_NAME,
        claim_certificate_id=_SAMPLE_ID,
        certificate_id=_SAMPLE_ID,
        certificate_pem="-----BEGIN CERTIFICATE-----\nsample\n-----END CERTIFICATE-----\n",
        client_id=_SAMPLE_NAME,
        parameters={"SerialNumber": "SAMPLE-0001"},
    )


def provider_sample() -> dict[str, Any]:
    """Of a device that does not exist; the signing request is a good one, whose key is kept nowhere."""
    return provider_question(
        SAMPLE_SCOPE,
        CertificateProviderName(_SAMPLE_NAME),
        csr_pem=_sample_request(),
        principal=_SAMPLE_ID,
        client_id=_SAMPLE_NAME,
    )


@functools.cache
def _sample_request() -> str:
    """One for the life of the process: P-256, which takes less than a millisecond."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _SAMPLE_NAME)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()
