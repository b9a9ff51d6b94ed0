"""What a certificate says about itself to a template, and what a policy without a name is called."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from handfast.core.identity.ids import PolicyName
from handfast.core.pki.ids import certificate_id

PREFIX: Final = "AWS::IoT::Certificate::"
ID: Final = f"{PREFIX}Id"
_ATTRIBUTES: Final[Mapping[x509.ObjectIdentifier, str]] = {
    NameOID.COUNTRY_NAME: "Country",
    NameOID.ORGANIZATION_NAME: "Organization",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OrganizationalUnit",
    NameOID.DN_QUALIFIER: "DistinguishedNameQualifier",
    NameOID.STATE_OR_PROVINCE_NAME: "StateName",
    NameOID.COMMON_NAME: "CommonName",
    NameOID.SERIAL_NUMBER: "SerialNumber",  # the subject's attribute 2.5.4.5, not the certificate's serial number
}
NAMES: Final = frozenset({ID, *(PREFIX + name for name in _ATTRIBUTES.values())})
"""Every parameter that has its value from the certificate."""


def builtin_parameters(certificate: x509.Certificate) -> dict[str, str]:
    """
    The `AWS::IoT::Certificate::*` parameters of a leaf: those that its subject has, and always `::Id`.

    Of several equal attributes the first counts. Values are raw: a template's
    plan checks what becomes of them.
    """
    found = {ID: str(certificate_id(certificate.public_bytes(Encoding.DER)))}
    for attribute in certificate.subject:
        name = _ATTRIBUTES.get(attribute.oid)
        if name is not None and isinstance(attribute.value, str):
            found.setdefault(PREFIX + name, attribute.value)
    return found


def with_certificate(given: Mapping[str, str], certificate: Mapping[str, str]) -> dict[str, str]:
    """
    The parameters that a device gave, and those of its certificate (`builtin_parameters`).

    What the device said about its certificate is left out, all of it: it could name another's.
    """
    return {name: value for name, value in given.items() if not name.startswith(PREFIX)} | dict(certificate)


def policy_name_of(document: str) -> PolicyName:
    """What a policy is called that a template gives only a document: its SHA-1 in 40 upper-case hex digits."""
    return PolicyName(hashlib.sha1(document.encode(), usedforsecurity=False).hexdigest().upper())
