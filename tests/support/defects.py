"""
What can be wrong with a certificate or request, one thing at a time; `tests/vectors/certificates/bad.json` says what
each of them must be answered.

A defect takes a blueprint that is right and gives one that is wrong in the named way. Those that change
only what certificates and requests have in common are tried on both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support import der
from tests.support.blueprint import (
    BASIC_CONSTRAINTS,
    COMMON_NAME,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    attribute,
    extension,
    key_named,
    public_key,
    request,
    signed_by_own_ca,
    utc_time,
)

Defect = Callable[[Any], Any]

P256, P384, SECP256K1 = "1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.10"
EC, RSA, RSASSA_PSS = "1.2.840.10045.2.1", "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"
ALTERNATIVE_NAME, NAME_CONSTRAINTS, POLICIES, KEY_IDENTIFIER = "2.5.29.17", "2.5.29.30", "2.5.29.32", "2.5.29.14"
OWN = "1.3.6.1.4.1.55555.1"
"""An extension of nobody's."""
CLIENT_AUTH = der.oid("1.3.6.1.5.5.7.3.2")


def change(**parts: Any) -> Defect:
    """These parts instead of its own."""
    return lambda blueprint: blueprint.but(**parts)


def wrap(part: str, spoil: Callable[[bytes], bytes]) -> Defect:
    """One part, spoiled."""
    return lambda blueprint: blueprint.but(**{part: spoil(getattr(blueprint, part))})


def finish(spoil: Callable[[bytes], bytes]) -> Defect:
    """The whole DER, spoiled after it was signed."""
    return change(finish=spoil)


def dress(spoil: Callable[[str], str]) -> Defect:
    """The PEM text, spoiled."""

    def defect(blueprint: Any) -> Any:
        own = blueprint.dress
        return blueprint.but(dress=lambda content: spoil(own(content)))

    return defect


def named(value: bytes, kind: str = COMMON_NAME) -> Defect:
    """A subject of this one attribute."""
    return change(subject=der.sequence(attribute(kind, value)))


def extended(kind: str, value: bytes, *, critical: bool = False) -> Defect:
    """One more extension."""
    return lambda blueprint: blueprint.extended(extension(kind, value, critical=critical))


def key(algorithm: bytes, content: bytes, unused: int = 0) -> Defect:
    """Another SubjectPublicKeyInfo; the signature stays that of the old key."""
    return change(spki=der.sequence(algorithm, der.bits(content, unused)))


@functools.cache
def modulus() -> int:
    """Of an RSA key of 2048 bits."""
    return rsa.generate_private_key(65537, 2048).public_key().public_numbers().n


def rsa_key(n: int | None = None, e: int = 65537, parameters: bytes = der.null()) -> Defect:
    return lambda blueprint: key(
        der.sequence(der.oid(RSA), parameters),
        der.sequence(der.integer(modulus() if n is None else n), der.integer(e)),
    )(blueprint)


def point() -> bytes:
    """Uncompressed, on P-256."""
    return public_key(key_named("device"))[-65:]


def ec_key(content: Callable[[bytes], bytes], parameters: bytes = der.oid(P256)) -> Defect:
    return lambda blueprint: key(der.sequence(der.oid(EC), parameters), content(point()))(blueprint)


def pss_key(*parameters: bytes) -> Defect:
    return lambda blueprint: key(
        der.sequence(der.oid(RSASSA_PSS), *parameters), der.sequence(der.integer(modulus()), der.integer(65537))
    )(blueprint)


def signed_with(oid: str, *parameters: bytes) -> Defect:
    """Another algorithm is named than the one that made the signature."""
    return change(algorithm=der.sequence(der.oid(oid), *parameters))


def unused_signature_bits(blueprint: Any) -> Any:
    def sign(content: bytes) -> bytes:
        octets = der.content_of(blueprint.signature(content))[1:]
        return der.bits(octets[:-1] + bytes([octets[-1] & 0xF8]), 3)

    return blueprint.but(sign=sign)


def nested(levels: int) -> bytes:
    content = b""
    for _ in range(levels):
        content = der.sequence(content)
    return content


def instant(digits: str, tag: int = der.UTC_TIME) -> bytes:
    return der.tlv(tag, digits.encode("ascii"))


_hash = functools.partial(der.context, 0)
_mask = functools.partial(der.context, 1)
SHA256, SHA512, SHA1 = "2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.3", "1.3.14.3.2.26"


def _pss(digest: str, mask: str) -> bytes:
    mgf1 = der.sequence(der.oid("1.2.840.113549.1.1.8"), der.sequence(der.oid(mask), der.null()))
    return der.sequence(_hash(der.sequence(der.oid(digest), der.null())), _mask(mgf1))


TEXT: dict[str, Defect] = {
    "two in one field": dress(lambda text: text * 2),
    "a private key behind it": dress(lambda text: text + der.armour(b"0", "PRIVATE KEY")),
    "text before it": dress(lambda text: "Certificate:\n    Data:\n" + text),
    "text behind it": dress(lambda text: text + "garbage"),
    "NUL behind it": dress(lambda text: text + "\0"),
    "NUL inside": dress(lambda text: text[:100] + "\0" + text[100:]),
    "no-break space behind it": dress(lambda text: text + "\u00a0"),
    "half a surrogate inside": dress(lambda text: text[:100] + "\ud800" + text[100:]),
    "empty": dress(lambda text: ""),
    "white space": dress(lambda text: " \r\n\t"),
    "only BEGIN and END": dress(lambda text: text.splitlines()[0] + "\n" + text.splitlines()[-1]),
    "only BEGIN": dress(lambda text: text.splitlines()[0]),
    "END of another label": dress(lambda text: text.replace("-----END ", "-----END X509 ")),
    "base64 without BEGIN": dress(lambda text: "".join(text.splitlines()[1:-1])),
    "DER read as Latin-1": lambda blueprint: blueprint.but(dress=lambda content: content.decode("latin-1")),
    "letters that are not base64": dress(lambda text: text.replace("M", "!", 1)),
    "base64url": dress(lambda text: text[:100] + "_" + text[101:]),
    "padding in the middle": dress(lambda text: text[:100] + "=" + text[101:]),
    "base64 cut off": dress(lambda text: text.replace(text.splitlines()[-2], text.splitlines()[-2][:1])),
    "a label of nobody's": dress(lambda text: text.replace("CERTIFICATE", "\x1b[31mSECRET")),
    "TRUSTED CERTIFICATE": change(dress=functools.partial(der.armour, label="TRUSTED CERTIFICATE")),
    "X509 CERTIFICATE": change(dress=functools.partial(der.armour, label="X509 CERTIFICATE")),
    "PRIVATE KEY": change(dress=functools.partial(der.armour, label="PRIVATE KEY")),
    "lower case": dress(lambda text: text.replace("CERTIFICATE", "certificate")),
    "four dashes": dress(lambda text: text.replace("-----", "----")),
    "headers of RFC 1421": dress(lambda text: text.replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1)),
}

KIND: dict[str, Defect] = {
    "nothing but a NULL": finish(lambda _: der.null()),
    "PKCS#7": finish(lambda _: der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, der.sequence()))),
    "a private key": finish(lambda _: der.sequence(der.integer(0), der.sequence(der.oid(EC)), der.octets(b"secret"))),
    "a public key": finish(lambda _: public_key(key_named("device"))),
    "garbage": finish(lambda _: b"garbage"),
    "one octet": finish(lambda _: b"\x30"),
    "cut off": finish(lambda content: content[:-20]),
    "a fourth part": change(more=der.null()),
}

ENCODING: dict[str, Defect] = {
    "trailing octet": finish(lambda content: content + b"\0"),
    "twice the DER": finish(lambda content: content * 2),
    "indefinite length": finish(der.indefinite),
    "long length": finish(der.long_form),
    "indefinite length inside": wrap("subject", der.indefinite),
    "long length inside": wrap("spki", der.long_form),
    "INTEGER with a leading zero": named(der.tlv(der.INTEGER, b"\0\1")),
    "string in pieces": named(der.tlv(0x2C, der.text("device"))),
    "attributes out of order": change(
        subject=der.sequence(
            der.set_of(
                der.sequence(der.oid("2.5.4.10"), der.text("b")), der.sequence(der.oid(COMMON_NAME), der.text("a"))
            )
        )
    ),
    "an OID that is cut off": wrap(
        "subject", lambda content: content.replace(der.oid(COMMON_NAME), der.tlv(der.OID, b"\x55\x04\x83"))
    ),
    "a tag of several octets": named(b"\x1f\x81\x01\x01a"),
    "an unknown type": named(der.tlv(0x0F, b"a")),
    "elements 40 deep": named(nested(40)),
    "elements 500 deep": change(spki=der.sequence(der.sequence(der.oid(OWN), nested(500)), der.bits(b"x"))),
    "4097 elements": change(
        spki=der.sequence(der.sequence(der.oid(OWN), der.sequence(der.null() * 5000)), der.bits(b"x"))
    ),
}

FIELDS: dict[str, Defect] = {
    "negative serial number": change(serial=der.integer(-5)),
    "serial number zero": change(serial=der.integer(0)),
    "serial number of 21 octets": change(serial=der.integer(1 << 160)),
    "serial number of 1000 octets": change(serial=der.integer(1 << 7999)),
    "empty serial number": change(serial=der.tlv(der.INTEGER)),
    "serial number that is text": change(serial=der.text("1")),
    "version 1 with extensions": change(version=b""),
    "version 1 written out": change(version=der.context(0, der.integer(0)), extensions=b""),
    "version 1 with a unique identifier": change(
        version=b"", extensions=b"", unique_ids=der.context(1, b"\0a", constructed=False)
    ),
    "version 2": change(version=der.context(0, der.integer(1)), extensions=b""),
    "version 4": change(version=der.context(0, der.integer(3))),
    "version -1": change(version=der.context(0, der.integer(-1))),
    "version that is text": change(version=der.context(0, der.text("3"))),
    "an unknown field behind the key": change(unique_ids=der.context(9)),
    "two signature algorithms": change(outer_algorithm=der.sequence(der.oid("1.2.840.10045.4.3.3"))),
    "signature algorithm with parameters": change(algorithm=der.sequence(der.oid("1.2.840.10045.4.3.2"), der.null())),
    "signature with unused bits": unused_signature_bits,
    "signature with nine unused bits": change(sign=lambda _: der.bits(b"abc", 9)),
    "empty signature": change(sign=lambda _: der.bits(b"")),
    "signature that is not bits": change(sign=lambda _: der.octets(b"abc")),
}

TIMES: dict[str, Defect] = {
    "notBefore after notAfter": change(not_before=utc_time(30), not_after=utc_time(-1)),
    "expired": change(not_after=utc_time(-1), not_before=utc_time(-2)),
    "not yet valid": change(not_before=utc_time(1)),
    "UTCTime without seconds": change(not_after=instant("3101010000Z")),
    "UTCTime without Z": change(not_after=instant("310101000000")),
    "UTCTime with an offset": change(not_after=instant("310101000000+0100")),
    "UTCTime with a space": change(not_after=instant("31 101000000Z")),
    "30 February": change(not_after=instant("310230000000Z")),
    "hour 24": change(not_after=instant("310101240000Z")),
    "second 60": change(not_after=instant("310101000060Z")),
    "GeneralizedTime with a fraction": change(not_after=instant("20510101000000.5Z", der.GENERALIZED_TIME)),
    "GeneralizedTime without Z": change(not_after=instant("20510101000000", der.GENERALIZED_TIME)),
    "year 0": change(not_before=instant("00000101000000Z", der.GENERALIZED_TIME)),
    "validity of one instant": change(not_after=b""),
    "validity that is text": change(not_after=der.text("20310101000000Z")),
}

NAMES: dict[str, Defect] = {
    "empty issuer": change(issuer=der.sequence()),
    "text that is not UTF-8": named(der.tlv(der.UTF8, b"\xff\xfe")),
    "PrintableString with an underscore": named(der.text("device_1", der.PRINTABLE)),
    "PrintableString beyond ASCII": named(der.tlv(der.PRINTABLE, b"caf\xe9")),
    "IA5String beyond ASCII": named(der.tlv(der.IA5, b"caf\xe9")),
    "TeletexString beyond ASCII": named(der.tlv(der.TELETEX, b"caf\xe9")),
    "BMPString of odd length": named(der.tlv(der.BMP, b"\0a\0")),
    "BMPString with half a surrogate": named(der.tlv(der.BMP, b"\xd8\0")),
    "a number as the common name": named(der.integer(5)),
    "an empty common name": named(der.text("")),
    "NUL in the common name": named(der.text("good.example\0.evil.example")),
    "an empty part": change(subject=der.sequence(der.set_of())),
    "the same attribute twice in one part": change(
        subject=der.sequence(
            der.set_of(
                der.sequence(der.oid(COMMON_NAME), der.text("a")), der.sequence(der.oid(COMMON_NAME), der.text("b"))
            )
        )
    ),
    "a part that is no set": change(subject=der.sequence(der.sequence())),
    "an attribute without a value": change(subject=der.sequence(der.set_of(der.sequence(der.oid(COMMON_NAME))))),
}

EXTENSIONS: dict[str, Defect] = {
    "empty list of extensions": change(extensions=der.sequence()),
    "65 extensions": lambda blueprint: blueprint.extended(*[extension(f"{OWN}.{i}", b"") for i in range(64)]),
    "the same extension twice": lambda blueprint: blueprint.extended(
        *[extension(EXTENDED_KEY_USAGE, der.sequence(CLIENT_AUTH))] * 2
    ),
    "the same unknown extension twice": lambda blueprint: blueprint.extended(*[extension(OWN, b"x")] * 2),
    "unknown critical extension": extended(OWN, b"x", critical=True),
    "critical name constraints": extended(
        NAME_CONSTRAINTS,
        der.sequence(der.context(0, der.sequence(der.context(2, b"example", constructed=False)))),
        critical=True,
    ),
    "critical is FALSE and written out": lambda blueprint: blueprint.extended(
        der.sequence(der.oid(OWN), der.boolean(False), der.octets(b"x"))
    ),
    "critical is 01": lambda blueprint: blueprint.extended(
        der.sequence(der.oid(OWN), der.tlv(der.BOOLEAN, b"\1"), der.octets(b"x"))
    ),
    "extension without a value": lambda blueprint: blueprint.extended(der.sequence(der.oid(OWN))),
    "empty extended key usage": extended(EXTENDED_KEY_USAGE, der.sequence()),
    "empty alternative name": extended(ALTERNATIVE_NAME, der.sequence()),
    "empty certificate policies": extended(POLICIES, der.sequence()),
    "key usage that allows nothing": extended(KEY_USAGE, der.bits(b"")),
    "key usage with a bit set that is unused": extended(KEY_USAGE, der.bits(b"\x81", 7)),
    "extension in BER": extended(EXTENDED_KEY_USAGE, der.long_form(der.sequence(CLIENT_AUTH))),
    "extension with a trailing octet": extended(KEY_IDENTIFIER, der.octets(b"key") + b"\0"),
    "extension of the wrong type": extended(KEY_IDENTIFIER, der.boolean(True)),
    "NUL in an alternative name": extended(
        ALTERNATIVE_NAME, der.sequence(der.context(2, b"good.example\0.evil.example", constructed=False))
    ),
    "CA is FALSE and written out": lambda blueprint: blueprint.but(
        extensions=der.sequence(extension(BASIC_CONSTRAINTS, der.sequence(der.boolean(False))))
    ),
    "path length without CA": lambda blueprint: blueprint.but(
        extensions=der.sequence(extension(BASIC_CONSTRAINTS, der.sequence(der.integer(0))))
    ),
}

KEYS: dict[str, Defect] = {
    "RSA 2047": rsa_key(n=(1 << 2046) + 1),
    "RSA 16384": rsa_key(n=(1 << 16383) + 1),
    "RSA exponent 1": rsa_key(e=1),
    "RSA exponent even": rsa_key(e=65536),
    "RSA exponent negative": rsa_key(e=-3),
    "RSA exponent of 257 bits": rsa_key(e=(1 << 256) + 1),
    "RSA modulus even": lambda blueprint: rsa_key(n=modulus() - 1)(blueprint),
    "RSA modulus negative": lambda blueprint: rsa_key(n=-modulus())(blueprint),
    "RSA modulus zero": rsa_key(n=0),
    "RSA in BER": lambda blueprint: key(
        der.sequence(der.oid(RSA), der.null()),
        der.long_form(der.sequence(der.integer(modulus()), der.integer(65537))),
    )(blueprint),
    "RSA with a third number": lambda blueprint: key(
        der.sequence(der.oid(RSA), der.null()), der.sequence(der.integer(modulus()), der.integer(3), der.integer(3))
    )(blueprint),
    "RSA without NULL": rsa_key(parameters=b""),
    "RSA with a curve": rsa_key(parameters=der.oid(P256)),
    "RSASSA-PSS key bound to SHA-1": pss_key(der.sequence()),
    "RSASSA-PSS key with two hashes": pss_key(_pss(SHA256, SHA512)),
    "RSASSA-PSS key with other parameters": pss_key(der.null()),
    "RSASSA-PSS key with an empty hash": pss_key(der.sequence(_hash(der.sequence()))),
    "RSASSA-PSS key with a hash that is text": pss_key(der.sequence(_hash(der.sequence(der.text("SHA-256"))))),
    "EC point off its curve": ec_key(lambda at: at[:-1] + bytes([at[-1] ^ 1])),
    "EC point with coordinates too large": ec_key(lambda at: b"\x04" + b"\xff" * 64),
    "EC point at infinity": ec_key(lambda at: b"\0"),
    "EC point hybrid": ec_key(lambda at: bytes([6 + (at[-1] & 1)]) + at[1:]),
    "EC point empty": ec_key(lambda at: b""),
    "EC point too short": ec_key(lambda at: at[:-1]),
    "EC point of another curve": ec_key(lambda at: at, der.oid(P384)),
    "EC on secp256k1": ec_key(lambda at: at, der.oid(SECP256K1)),
    "EC on a curve of nobody's": ec_key(lambda at: at, der.oid(OWN)),
    "EC without a curve": ec_key(lambda at: at, b""),
    "EC with an inherited curve": ec_key(lambda at: at, der.null()),
    "EC with its curve spelled out": ec_key(lambda at: at, der.sequence(der.integer(1))),
    "X25519": key(der.sequence(der.oid("1.3.101.110")), bytes(32)),
    "ML-DSA-44": key(der.sequence(der.oid("2.16.840.1.101.3.4.3.17")), bytes(1312)),
    "a key of nobody's": key(der.sequence(der.oid(OWN)), b"x"),
    "key with unused bits": key(der.sequence(der.oid(OWN)), b"\x80", 3),
    "key without an algorithm": change(spki=der.sequence(der.sequence(), der.bits(b"x"))),
}

SIGNATURES: dict[str, Defect] = {
    "signed with SHA-1": signed_with("1.2.840.10045.4.1"),
    "signed with RSA and MD5": signed_with("1.2.840.113549.1.1.4", der.null()),
    "signed with an algorithm of nobody's": signed_with(OWN),
    "signed with PSS and SHA-1": signed_with(RSASSA_PSS, der.sequence()),
    "signed with PSS and two hashes": signed_with(RSASSA_PSS, _pss(SHA256, SHA512)),
    "signed with PSS without parameters": signed_with(RSASSA_PSS),
}

REQUESTS: dict[str, Defect] = {
    "request of version 2": change(version=der.integer(1)),
    "request without attributes": change(attributes=b""),
    "request signed by another key": change(signer=key_named("ca")),
    "request that is a certificate": finish(lambda _: signed_by_own_ca().der),
    "request with a broken extension request": change(
        attributes=der.context(
            0,
            der.sequence(
                der.oid("1.2.840.113549.1.9.14"),
                der.set_of(der.sequence(extension(BASIC_CONSTRAINTS, der.sequence() + b"\0"))),
            ),
        )
    ),
}

DEFECTS: dict[str, Defect] = {
    **TEXT, **KIND, **ENCODING, **FIELDS, **TIMES, **NAMES, **EXTENSIONS, **KEYS, **SIGNATURES,
    "a signing request instead": lambda blueprint: blueprint.but(finish=lambda _: request().der),
}  # fmt: skip

ODD: dict[str, Defect] = {
    "CRLF": dress(lambda text: text.replace("\n", "\r\n")),
    "no last newline": dress(lambda text: text.rstrip("\n")),
    "no newlines at all": dress(lambda text: text.replace("\n", "").replace("-----M", "-----\nM")),
    "white space round it": dress(lambda text: "\n\t " + text + " \r\n\n"),
    "indented": dress(lambda text: text.replace("\n", "\n    ")),
    "serial number of 20 octets": change(serial=der.integer((1 << 158) + 1)),
    "no extensions": change(extensions=b""),
    "version 1": change(version=b"", extensions=b""),
    "unique identifiers": change(unique_ids=der.context(1, b"\0a", constructed=False)),
    "empty subject": change(subject=der.sequence()),
    "common name of 200 characters": named(der.text("d" * 200)),
    "BMPString": named(der.text("gerät", der.BMP)),
    "country of three letters": named(der.text("USA", der.PRINTABLE), "2.5.4.6"),
    "GeneralizedTime before 2050": change(not_after=instant("20310101000000Z", der.GENERALIZED_TIME)),
    "year 9999": change(not_after=instant("99991231235959Z", der.GENERALIZED_TIME)),
    "unknown extension": extended(OWN, b"not even DER"),
    "critical extended key usage": extended(EXTENDED_KEY_USAGE, der.sequence(CLIENT_AUTH), critical=True),
    "EC point compressed": ec_key(lambda at: bytes([2 + (at[-1] & 1)]) + at[1:33]),
    "RSA exponent 3": rsa_key(e=3),
    "RSASSA-PSS key": pss_key(),
    "RSASSA-PSS key bound to SHA-256": pss_key(_pss(SHA256, SHA256)),
    "extension of 40,000 octets": extended(OWN, bytes(40_000)),
}
