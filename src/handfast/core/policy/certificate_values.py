"""The values of the `iot:Certificate.*` variables, read from a device's certificate."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID, ObjectIdentifier

from handfast.core.policy.variables import CERTIFICATE_PREFIX, Values

MAX_VALUES = 5
"""More values of one attribute are ignored, as AWS ignores them."""

_UNREADABLE_EXTENSIONS = (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)

_ATTRIBUTES: tuple[tuple[ObjectIdentifier, str], ...] = (
    (NameOID.COUNTRY_NAME, "Country"),
    (NameOID.ORGANIZATION_NAME, "Organization"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "OrganizationalUnit"),
    (NameOID.STATE_OR_PROVINCE_NAME, "State"),
    (NameOID.COMMON_NAME, "CommonName"),
    (NameOID.SERIAL_NUMBER, "SerialNumber"),
    (NameOID.TITLE, "Title"),
    (NameOID.SURNAME, "Surname"),
    (NameOID.GIVEN_NAME, "GivenName"),
    (NameOID.INITIALS, "Initials"),
    (NameOID.PSEUDONYM, "Pseudonym"),
    (NameOID.GENERATION_QUALIFIER, "GenerationQualifier"),
    (NameOID.DN_QUALIFIER, "DistinguishedNameQualifier"),
)


def certificate_values(certificate_der: bytes) -> Values:
    """
    Every variable that the certificate gives a value, at most five values each.

    What cannot be read (a malformed name, an extension with garbage in it) has
    no value; nothing is raised, since a device chooses what its certificate
    says. `SerialNumber` is decimal.
    """
    values: dict[str, tuple[str, ...]] = {}
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        values[f"{CERTIFICATE_PREFIX}SerialNumber"] = (str(certificate.serial_number),)
    except ValueError:
        return {}
    for side, extension in (
        ("Subject", ExtensionOID.SUBJECT_ALTERNATIVE_NAME),
        ("Issuer", ExtensionOID.ISSUER_ALTERNATIVE_NAME),
    ):
        try:
            name = certificate.subject if side == "Subject" else certificate.issuer
            for oid, attribute in _ATTRIBUTES:
                _put(values, f"{side}.{attribute}", (each.value for each in name.get_attributes_for_oid(oid)))
        except (ValueError, TypeError):
            pass
        try:
            names = certificate.extensions.get_extension_for_oid(extension).value
        except (
            ValueError,
            TypeError,
            x509.ExtensionNotFound,
            x509.DuplicateExtension,
            x509.UnsupportedGeneralNameType,
        ):
            continue
        if isinstance(names, x509.SubjectAlternativeName | x509.IssuerAlternativeName):
            _put_alternative_names(values, side, names)
    values[f"{CERTIFICATE_PREFIX}AvailableKeys"] = tuple(sorted(values))[:MAX_VALUES]
    return values


def _put_alternative_names(
    values: dict[str, tuple[str, ...]], side: str, names: x509.SubjectAlternativeName | x509.IssuerAlternativeName
) -> None:
    prefix = f"{side}.AlternativeName."
    _put(values, f"{prefix}RFC822Name", names.get_values_for_type(x509.RFC822Name))
    _put(values, f"{prefix}DNSName", names.get_values_for_type(x509.DNSName))
    _put(values, f"{prefix}UniformResourceIdentifier", names.get_values_for_type(x509.UniformResourceIdentifier))
    _put(values, f"{prefix}DirectoryName", (n.rfc4514_string() for n in names.get_values_for_type(x509.DirectoryName)))
    _put(values, f"{prefix}IPAddress", (str(address) for address in names.get_values_for_type(x509.IPAddress)))


def _put(values: dict[str, tuple[str, ...]], name: str, found: Iterable[object]) -> None:
    texts: list[str] = []
    for value in found:
        # An attribute can be a BIT STRING, which is no text and so no value.
        if isinstance(value, str) and len(texts) < MAX_VALUES:
            texts.append(value)
    if texts:
        values[f"{CERTIFICATE_PREFIX}{name}"] = tuple(texts)
