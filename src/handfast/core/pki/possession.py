"""
What makes a certificate a CA that may be registered, and what proves that its owner holds its key.

The proof is a certificate that the CA's key signed over a registration code of ours
(CN = the code). Refusals are data: all broken rules of one check come back.
"""

from __future__ import annotations

import datetime as dt
import hashlib

from cryptography import x509
from cryptography.x509.oid import NameOID

from handfast.core.pki.chain import link_refusals
from handfast.core.pki.keys import (
    BrokenRule,
    extension_refusals,
    refusals,
    signature_refusals,
    validity_refusals,
)

NOT_A_CA = "The CA certificate does not have the basicConstraints extension as true"


def ca_refusals(ca: x509.Certificate, *, now: dt.datetime) -> tuple[BrokenRule, ...]:
    """Every rule that a CA certificate breaks; its dates first, then CA:TRUE, then key usage, key and signature."""
    broken = list(validity_refusals(ca, now))
    try:
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not constraints.ca:
            broken.append(BrokenRule("chain_not_ca", NOT_A_CA))
    except x509.ExtensionNotFound:
        broken.append(BrokenRule("chain_not_ca", NOT_A_CA))
    try:
        if not ca.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            broken.append(BrokenRule("chain_key_usage", "Its keyUsage does not allow it to sign certificates."))
    except x509.ExtensionNotFound:
        pass  # RFC 5280 §6.1.4 (n): only checked where it is present
    return (*broken, *refusals(ca, issues=True))


def possession_refusals(
    verification: x509.Certificate, ca: x509.Certificate, *, now: dt.datetime
) -> tuple[BrokenRule, ...]:
    """Every rule that the verification certificate breaks, but for its name: issuer, signature, dates, algorithm."""
    return (
        *link_refusals(verification, ca),
        *validity_refusals(verification, now),
        *signature_refusals(verification),
        *extension_refusals(verification),
    )


def common_name(cert: x509.Certificate) -> str | None:
    """The subject's CN when there is exactly one."""
    names = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or not isinstance(names[0].value, str):
        return None
    return names[0].value


def name_digest(name: x509.Name) -> str:
    """A name's SHA-256 in hex, over its DER: what an issuer is looked up by."""
    return hashlib.sha256(name.public_bytes()).hexdigest()
