"""What a certificate provider answers: a certificate that the device which asked may have, or why it is none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from handfast.core.pki import keys
from handfast.core.pki.keys import BrokenRule
from handfast.core.pki.pem import MAX_CERTIFICATE_CHARACTERS, ParsedRequest, read_certificate
from handfast.core.provisioning.hooks import HookFailed, HookResult
from handfast.errors import CertificateInputError


def certificate_in(answer: Mapping[str, Any], request: ParsedRequest, now: dt.datetime) -> str:
    """
    The `certificatePem` of an answer, which holds the request's key and may be registered now.

    Raises:
        HookFailed: INVALID, with every reason.
    """
    pem = answer.get("certificatePem")
    if not isinstance(pem, str) or len(pem) > MAX_CERTIFICATE_CHARACTERS:
        raise HookFailed(
            HookResult.INVALID, f"certificatePem is no text of at most {MAX_CERTIFICATE_CHARACTERS} characters"
        )
    try:
        cert = read_certificate(pem).cert
    except CertificateInputError as error:
        raise HookFailed(HookResult.INVALID, str(error)) from error
    broken = [*keys.refusals(cert, now=now), *_not_a_device(cert)]
    if not broken and _public_key(cert) != _public_key(request.request):
        broken.append(BrokenRule("key_other", "Its key is not the one that the request asked a certificate for."))
    if broken:
        raise HookFailed(HookResult.INVALID, "; ".join(rule.message for rule in broken))
    return pem


def _not_a_device(cert: x509.Certificate) -> list[BrokenRule]:
    """Why the certificate is more than a device may have."""
    broken = []
    try:
        if cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            broken.append(BrokenRule("chain_ca", "It is a CA certificate, not a device's."))
    except x509.ExtensionNotFound:
        pass  # RFC 5280 §4.2.1.9: without it, it is none
    try:
        usage = cert.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return broken
    if usage.key_cert_sign:
        broken.append(BrokenRule("chain_key_usage", "Its keyUsage lets it sign certificates."))
    if not usage.digital_signature:
        broken.append(BrokenRule("chain_key_usage", "Its keyUsage has no digitalSignature, without which TLS refuses."))
    return broken


def _public_key(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
