"""
The form of a certificate and of a signing request (RFC 5280 §4.1, RFC 2986 §4), and what a broken one breaks.

Runs before the library's parser, for two reasons: the parser says only that something cannot be
read, and it lets pass what RFC 5280 forbids (a serial number of 21 octets, extensions in version 1,
two signature algorithms that disagree). What passes here still has to pass the parser.
"""

from __future__ import annotations

import datetime as dt

from handfast.core.pki import der as asn1
from handfast.core.pki.der import (
    BIT_STRING,
    BOOLEAN,
    CONSTRUCTED,
    CONTEXT,
    GENERALIZED_TIME,
    INTEGER,
    NULL,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    STRINGS,
    TELETEX_STRING,
    UTC_TIME,
    Element,
    NotDER,
)
from handfast.errors import CertificateInputError

MAX_SERIAL_OCTETS = 20  # RFC 5280 §4.1.2.2
MAX_EXTENSIONS = 64

_A0, _A1, _A3 = (CONTEXT | CONSTRUCTED | number for number in (0, 1, 3))
_PRIMITIVE_1, _PRIMITIVE_2 = CONTEXT | 1, CONTEXT | 2
_TIMES = (UTC_TIME, GENERALIZED_TIME)

_EXTENSION_NAMES = {
    "2.5.29.9": "subjectDirectoryAttributes",
    "2.5.29.14": "subjectKeyIdentifier",
    "2.5.29.15": "keyUsage",
    "2.5.29.17": "subjectAltName",
    "2.5.29.18": "issuerAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.30": "nameConstraints",
    "2.5.29.31": "cRLDistributionPoints",
    "2.5.29.32": "certificatePolicies",
    "2.5.29.33": "policyMappings",
    "2.5.29.35": "authorityKeyIdentifier",
    "2.5.29.36": "policyConstraints",
    "2.5.29.37": "extendedKeyUsage",
    "2.5.29.46": "freshestCRL",
    "2.5.29.54": "inhibitAnyPolicy",
    "1.3.6.1.5.5.7.1.1": "authorityInfoAccess",
    "1.3.6.1.5.5.7.1.11": "subjectInfoAccess",
}
MAX_SHOWN_CHARACTERS = 128
_EXTENSIONS = {asn1.identifier(dotted): name for dotted, name in _EXTENSION_NAMES.items()}
_NEVER_EMPTY = (
    frozenset(  # SEQUENCE SIZE (1..MAX) in RFC 5280 §4.2; nameConstraints §4.2.1.10, policyConstraints §4.2.1.11
        {
            "subjectDirectoryAttributes",
            "subjectAltName",
            "issuerAltName",
            "nameConstraints",
            "cRLDistributionPoints",
            "certificatePolicies",
            "policyMappings",
            "policyConstraints",
            "extendedKeyUsage",
            "freshestCRL",
            "authorityInfoAccess",
            "subjectInfoAccess",
        }
    )
)
_ECDSA = asn1.identifier("1.2.840.10045.4")
_RSA_PKCS1 = frozenset(asn1.identifier(f"1.2.840.113549.1.1.{number}") for number in (4, 5, 11, 12, 13, 14, 15, 16))
_ALTERNATIVE_NAMES = frozenset({"subjectAltName", "issuerAltName"})
_ALTERNATIVE_STRINGS = frozenset(CONTEXT | number for number in (1, 2, 6))  # rfc822Name, dNSName, URI


def check_certificate(der: bytes) -> None:
    """
    The octets have the form of one X.509 certificate.

    Raises:
        CertificateInputError: The first fault; `rule` is one of those that `pem` lists.
    """
    root = _whole(der, "certificate")
    parts = root.inside
    if [part.tag for part in parts] != [SEQUENCE, SEQUENCE, BIT_STRING] or _is_request(der, parts[0]):
        raise CertificateInputError(
            f"The certificate is not DER of one X.509 certificate: {_other_kind(der, parts)}.", "der_syntax"
        )
    body, algorithm, signature = parts
    _certificate_body(der, body.inside, algorithm)
    _signature(der, signature, "certificate")


def check_request(der: bytes) -> None:
    """
    The octets have the form of one PKCS#10 request.

    Raises:
        CertificateInputError: The first fault; `rule` is one of those that `pem` lists.
    """
    root = _whole(der, "request")
    parts = root.inside
    if [part.tag for part in parts] != [SEQUENCE, SEQUENCE, BIT_STRING]:
        raise CertificateInputError(
            f"The request is not DER of one PKCS#10 request: {_other_kind(der, parts)}.", "der_syntax"
        )
    fields = parts[0].inside
    if [each.tag for each in fields] != [INTEGER, SEQUENCE, SEQUENCE, _A0]:
        hint = (
            "it is a certificate"
            if fields and fields[0].tag == _A0
            else "version, subject, key, attributes are expected"
        )
        raise CertificateInputError(f"The request is not DER of one PKCS#10 request: {hint}.", "der_syntax")
    version, subject, key, _ = fields
    if version.content(der) != b"\0":
        raise CertificateInputError("The request is not of PKCS#10 version 1.", "version")
    _name(der, subject, "request", "subject")
    _public_key(der, key, "request")
    _signature_algorithm(der, parts[1], "request")
    _signature(der, parts[2], "request")


def _whole(der: bytes, what: str) -> Element:
    try:
        return asn1.read(der)
    except NotDER as fault:
        raise CertificateInputError(f"The {what} is not DER: {fault}.", "der_syntax") from fault


def _is_request(der: bytes, body: Element) -> bool:
    fields = [each.tag for each in body.inside]
    return fields[:3] == [INTEGER, SEQUENCE, SEQUENCE] and fields[3:] in ([], [_A0])


def _other_kind(der: bytes, parts: tuple[Element, ...]) -> str:
    """What it is instead, where that is one of the usual mistakes."""
    tags = [part.tag for part in parts]
    if tags[:1] == [OBJECT_IDENTIFIER]:
        return "it is PKCS#7 (CMS); send the one certificate out of it"
    if tags[:1] == [INTEGER] and (set(tags[1:3]) <= {SEQUENCE, OCTET_STRING, INTEGER}):
        return "it looks like a private key, which must never leave its device"
    if tags == [SEQUENCE, BIT_STRING]:
        return "it is a bare public key"
    if tags == [SEQUENCE, SEQUENCE, BIT_STRING]:
        return "it is a certificate signing request"
    return "what is signed, an algorithm and a signature are expected"


def _certificate_body(der: bytes, fields: tuple[Element, ...], algorithm: Element) -> None:
    version = 1
    if fields and fields[0].tag == _A0:
        version = _version(der, fields[0])
        fields = fields[1:]
    tags = [each.tag for each in fields]
    if tags[:6] != [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE]:
        raise CertificateInputError(
            "The certificate is not DER of one X.509 certificate: serial number, signature algorithm, issuer, "
            "validity, subject and key are expected in this order.",
            "der_syntax",
        )
    serial_number, inner_algorithm, issuer, validity, subject, key = fields[:6]
    _serial_number(der, serial_number)
    if inner_algorithm.whole(der) != algorithm.whole(der):
        # RFC 5280 §4.1.1.2; only one of the two is signed.
        raise CertificateInputError(
            "The certificate names one signature algorithm inside what is signed and another outside.",
            "signature_algorithms",
        )
    if not issuer.inside:
        raise CertificateInputError("The certificate's issuer is an empty name (RFC 5280 §4.1.2.4).", "name")
    _name(der, issuer, "certificate", "issuer")
    _validity(der, validity.inside)
    _name(der, subject, "certificate", "subject")
    _public_key(der, key, "certificate")
    _optional_fields(der, fields[6:], version)
    _signature_algorithm(der, algorithm, "certificate")


def _validity(der: bytes, instants: tuple[Element, ...]) -> None:
    if [each.tag in _TIMES for each in instants] != [True, True]:
        raise CertificateInputError("The certificate's validity is not two instants.", "validity")
    for each, field in zip(instants, ("notBefore", "notAfter"), strict=True):
        digits = each.content(der).decode("ascii")
        if each.tag == UTC_TIME:
            digits = ("20" if digits < "5" else "19") + digits  # RFC 5280 §4.1.2.5.1
        try:
            month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(4, 14, 2))
            dt.datetime(int(digits[:4]), month, day, hour, minute, second)
        except ValueError:
            raise CertificateInputError(f"The certificate's {field} is no date and time.", "validity") from None


def _version(der: bytes, wrapper: Element) -> int:
    inner = wrapper.inside
    if [each.tag for each in inner] != [INTEGER]:
        raise CertificateInputError("The certificate's version is not a number.", "version")
    number = asn1.integer_of(der, inner[0])
    if number == 0:
        # X.690 §11.5: a default is left out
        raise CertificateInputError(
            "The certificate is not DER: it says that it is of version 1, which is left out.", "der_syntax"
        )
    if number != 2:
        raise CertificateInputError("The certificate is not of X.509 version 3 or 1.", "version")
    return number + 1


def _serial_number(der: bytes, element: Element) -> None:
    number = asn1.integer_of(der, element)
    if number < 1:
        raise CertificateInputError(
            "The certificate's serial number is not positive (RFC 5280 §4.1.2.2).", "serial_number"
        )
    if element.end - element.start > MAX_SERIAL_OCTETS:
        raise CertificateInputError(
            f"The certificate's serial number has {element.end - element.start} octets; at most {MAX_SERIAL_OCTETS} "
            "are allowed (RFC 5280 §4.1.2.2).",
            "serial_number",
        )


def subject_public_key_info(to_be_signed: bytes) -> bytes:
    """
    The SubjectPublicKeyInfo, DER as it stands there, out of what is signed of a certificate or request.

    The octets passed `check_certificate` or `check_request` as part of the whole.
    """
    fields = asn1.outline(to_be_signed)
    if [each.tag for each in fields] == [INTEGER, SEQUENCE, SEQUENCE, _A0]:
        return fields[2].whole(to_be_signed)
    return fields[6 if fields[0].tag == _A0 else 5].whole(to_be_signed)


def _optional_fields(der: bytes, fields: tuple[Element, ...], version: int) -> None:
    known = [_PRIMITIVE_1, _PRIMITIVE_2, _A3]
    for each in fields:
        while known and known[0] != each.tag:
            known.pop(0)
        if not known:
            raise CertificateInputError(
                f"The certificate is not DER of one X.509 certificate: {asn1.name_of(each.tag)} stands behind its key.",
                "der_syntax",
            )
        known.pop(0)
        if version == 1:
            raise CertificateInputError(
                "The certificate is of X.509 version 1 and has "
                + ("extensions" if each.tag == _A3 else "a unique identifier")
                + ", which need version 3.",
                "version",
            )
        if each.tag == _A3:
            _extensions(der, each)


def _extensions(der: bytes, wrapper: Element) -> None:
    lists = wrapper.inside
    if [each.tag for each in lists] != [SEQUENCE]:
        raise CertificateInputError("The certificate's extensions are not one list.", "extensions")
    extensions = lists[0].inside
    if not extensions:
        raise CertificateInputError("The certificate's list of extensions is empty (RFC 5280 §4.1).", "extensions")
    if len(extensions) > MAX_EXTENSIONS:
        raise CertificateInputError(
            f"The certificate has {len(extensions)} extensions; at most {MAX_EXTENSIONS} are read.", "extensions"
        )
    seen = set()
    for each in extensions:
        kind = _extension(der, each)
        if kind in seen:
            name = _EXTENSIONS.get(kind) or asn1.dotted(kind)
            raise CertificateInputError(
                f"The certificate has the extension {name} twice (RFC 5280 §4.2).", "extensions"
            )
        seen.add(kind)


def extension_name(dotted: str) -> str:
    """The name that RFC 5280 gives an extension, or the beginning of its identifier again."""
    return _EXTENSION_NAMES.get(dotted, dotted[:MAX_SHOWN_CHARACTERS])


def _extension(der: bytes, element: Element) -> bytes:
    """The identifier, as octets, of an extension whose form is right."""
    parts = element.inside
    tags = [each.tag for each in parts]
    if tags not in ([OBJECT_IDENTIFIER, OCTET_STRING], [OBJECT_IDENTIFIER, BOOLEAN, OCTET_STRING]):
        raise CertificateInputError("One of the certificate's extensions is not of the right form.", "extensions")
    kind = parts[0].content(der)
    name = _EXTENSIONS.get(kind)
    if len(parts) == 3 and parts[1].content(der) == b"\0":
        raise CertificateInputError(
            f"The certificate is not DER: its extension {name or asn1.dotted(kind)} says it is not critical, which "
            "is left out.",
            "der_syntax",
        )
    if name is not None:
        _known_extension(parts[-1].content(der), name)
    return kind


def _known_extension(value: bytes, name: str) -> None:
    try:
        root = asn1.read(value)
    except NotDER as fault:
        raise CertificateInputError(f"The certificate's extension {name} is not DER: {fault}.", "extensions") from fault
    if name in _NEVER_EMPTY and root.start == root.end:
        raise CertificateInputError(
            f"The certificate's extension {name} is an empty list (RFC 5280 §4.2.1).", "extensions"
        )
    if name == "keyUsage" and root.tag == BIT_STRING and not any(value[root.start + 1 :]):
        raise CertificateInputError(
            "The certificate's extension keyUsage allows nothing (RFC 5280 §4.2.1.3).", "extensions"
        )
    if name == "basicConstraints":
        _basic_constraints(value, root.inside)
    if name in _ALTERNATIVE_NAMES:
        for each in root.inside:
            if each.tag in _ALTERNATIVE_STRINGS and b"\0" in each.content(value):
                raise CertificateInputError(f"The certificate's extension {name} holds a NUL.", "extensions")


def _basic_constraints(value: bytes, parts: tuple[Element, ...]) -> None:
    if parts and parts[0].tag == BOOLEAN and value[parts[0].start] == 0:
        raise CertificateInputError(
            "The certificate's extension basicConstraints is not DER: it says that it is no CA, which is left out.",
            "extensions",
        )
    if parts and parts[0].tag == INTEGER:
        raise CertificateInputError(
            "The certificate's extension basicConstraints limits a path and is of no CA (RFC 5280 §4.2.1.9).",
            "extensions",
        )


def _name(der: bytes, name: Element, what: str, field: str) -> None:
    """A Name is a list of sets of (type, value) (RFC 5280 §4.1.2.4)."""
    for rdn in name.inside:
        attributes = rdn.inside
        if rdn.tag != SET or not attributes:
            raise CertificateInputError(f"The {what}'s {field} holds an empty part, or one that is no set.", "name")
        kinds = set()
        for attribute in attributes:
            parts = attribute.inside
            if len(parts) != 2 or parts[0].tag != OBJECT_IDENTIFIER:
                raise CertificateInputError(f"The {what}'s {field} holds what is no attribute and value.", "name")
            if (kind := parts[0].content(der)) in kinds:
                raise CertificateInputError(f"The {what}'s {field} holds an attribute twice in one part.", "name")
            kinds.add(kind)
            value = parts[1]
            if value.tag not in STRINGS and value.tag != BIT_STRING:  # x500UniqueIdentifier
                raise CertificateInputError(
                    f"The {what}'s {field} holds a {asn1.name_of(value.tag)} where a text is expected.", "name"
                )
            text = asn1.text_of(der, value)
            if text == "":
                raise CertificateInputError(f"The {what}'s {field} holds an empty text.", "name")
            if text is not None and value.tag == TELETEX_STRING and not text.isascii():
                raise CertificateInputError(
                    f"The {what}'s {field} holds a TeletexString beyond ASCII, which each reader reads differently.",
                    "name",
                )
            if text is not None and "\0" in text:
                # "good.example\0.evil.example": software in C reads the first half
                raise CertificateInputError(f"The {what}'s {field} holds a NUL.", "name")


def _public_key(der: bytes, key: Element, what: str) -> None:
    """A SubjectPublicKeyInfo; what the key itself is worth is the question of `keys`."""
    parts = key.inside
    if [each.tag for each in parts] != [SEQUENCE, BIT_STRING]:
        raise CertificateInputError(f"The {what}'s key is not an algorithm and bits.", "der_syntax")
    algorithm = [each.tag for each in parts[0].inside]
    if algorithm[:1] != [OBJECT_IDENTIFIER] or len(algorithm) > 2:
        raise CertificateInputError(f"The {what}'s key does not name its algorithm.", "der_syntax")
    if der[parts[1].start] != 0:
        raise CertificateInputError(f"The {what}'s key does not end with a whole octet.", "der_syntax")


def _signature_algorithm(der: bytes, algorithm: Element, what: str) -> None:
    parts = algorithm.inside
    if [each.tag for each in parts[:1]] != [OBJECT_IDENTIFIER] or len(parts) > 2:
        raise CertificateInputError(f"The {what} does not name its signature algorithm.", "der_syntax")
    parameters = [each.tag for each in parts[1:]]
    kind = parts[0].content(der)
    # RFC 5758 §3.2; RFC 4055 §5, which has readers accept RSA without its NULL
    if (kind.startswith(_ECDSA) and parameters) or (kind in _RSA_PKCS1 and parameters not in ([], [NULL])):
        raise CertificateInputError(
            f"The {what}'s signature algorithm {asn1.dotted(kind)} has parameters that do not belong to it.",
            "signature_parameters",
        )


def _signature(der: bytes, signature: Element, what: str) -> None:
    if der[signature.start] != 0:
        raise CertificateInputError(f"The {what}'s signature does not end with a whole octet.", "signature_bits")
    if signature.end - signature.start == 1:
        raise CertificateInputError(f"The {what}'s signature is empty.", "signature_bits")
