"""
Names in certificates: for a person to read, and as the values of policy variables.

What a peer chose is bounded here and escaped where it is shown (`handfast.printable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from cryptography import x509
from cryptography.x509.oid import NameOID

MAX_DISPLAY_CHARACTERS = 256
MAX_VALUES = 5  # AWS IoT developer guide, X.509 policy variables: further values of an attribute are ignored

_ATTRIBUTES: Mapping[str, x509.ObjectIdentifier] = {
    "Country": NameOID.COUNTRY_NAME,
    "Organization": NameOID.ORGANIZATION_NAME,
    "OrganizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "State": NameOID.STATE_OR_PROVINCE_NAME,
    "CommonName": NameOID.COMMON_NAME,
    "SerialNumber": NameOID.SERIAL_NUMBER,
    "Title": NameOID.TITLE,
    "Surname": NameOID.SURNAME,
    "GivenName": NameOID.GIVEN_NAME,
    "Initials": NameOID.INITIALS,
    "Pseudonym": NameOID.PSEUDONYM,
    "GenerationQualifier": NameOID.GENERATION_QUALIFIER,
    "DistinguishedNameQualifier": NameOID.DN_QUALIFIER,
}
_SHORT = {NameOID.EMAIL_ADDRESS: "emailAddress", NameOID.SERIAL_NUMBER: "serialNumber"}
_BY_OID = {oid: key for key, oid in _ATTRIBUTES.items()}


def display(name: x509.Name, limit: int = MAX_DISPLAY_CHARACTERS) -> str:
    """
    A distinguished name in the order of the certificate, `C=US,O=Example,CN=device 1`, cut at `limit` characters.

    Separators inside values are escaped (RFC 4514 §2.4). Control characters are not: whoever shows it does that.
    """
    text = ",".join("+".join(attribute.rfc4514_string(_SHORT) for attribute in rdn) for rdn in name.rdns) or "(empty)"
    return text if len(text) <= limit else text[:limit] + "…"


def common_name(name: x509.Name) -> str | None:
    """The first CN, raw, or None."""
    for attribute in name:
        if attribute.oid == NameOID.COMMON_NAME:
            return _text(attribute)
    return None


def certificate_variables(cert: x509.Certificate) -> Mapping[str, tuple[str, ...]]:
    """
    Every `iot:Certificate.*` policy variable that this certificate populates.

    Returns:
        The plain key (`iot:Certificate.Subject.CommonName`) to its values in the order of the
        certificate, raw, at least one and at most five. The key itself stands for the first value,
        `.1` for the second; `.List` for all: resolving these forms, and refusing values with
        wildcards or of more than 1024 characters, is the policy engine's part. A key without a
        value is absent. `iot:Certificate.AvailableKeys` lists the other keys, however many.

    A certificate whose alternative names cannot be read populates none of them.
    """
    variables: dict[str, tuple[str, ...]] = {}
    for side, name in (("Subject", cert.subject), ("Issuer", cert.issuer)):
        for key, values in _name_values(name).items():
            variables[f"iot:Certificate.{side}.{key}"] = values
    for side, kind in (("Subject", x509.SubjectAlternativeName), ("Issuer", x509.IssuerAlternativeName)):
        for key, values in _alternative_values(cert, kind).items():
            variables[f"iot:Certificate.{side}.AlternativeName.{key}"] = values
    variables["iot:Certificate.SerialNumber"] = (str(cert.serial_number),)
    variables["iot:Certificate.AvailableKeys"] = tuple(variables)
    return MappingProxyType(variables)


def _text(attribute: x509.NameAttribute[str | bytes]) -> str:
    """Attributes of type BIT STRING (x500UniqueIdentifier) hold bytes."""
    return attribute.value if isinstance(attribute.value, str) else attribute.value.hex()


def _name_values(name: x509.Name) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for attribute in name:
        key = _BY_OID.get(attribute.oid)
        if key is not None:
            found.setdefault(key, []).append(_text(attribute))
    return _bounded(found)


def _alternative_values(
    cert: x509.Certificate, kind: type[x509.SubjectAlternativeName] | type[x509.IssuerAlternativeName]
) -> dict[str, tuple[str, ...]]:
    try:
        names: Iterable[x509.GeneralName] = cert.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return {}
    found: dict[str, list[str]] = {}
    for name in names:
        match name:
            case x509.RFC822Name():
                found.setdefault("RFC822Name", []).append(name.value)
            case x509.DNSName():
                found.setdefault("DNSName", []).append(name.value)
            case x509.DirectoryName():
                found.setdefault("DirectoryName", []).append(name.value.rfc4514_string())
            case x509.UniformResourceIdentifier():
                found.setdefault("UniformResourceIdentifier", []).append(name.value)
            case x509.IPAddress():
                found.setdefault("IPAddress", []).append(str(name.value))
            case _:
                continue  # registeredID and otherName have no policy variable
    return _bounded(found)


def _bounded(found: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(values[:MAX_VALUES]) for key, values in found.items()}
