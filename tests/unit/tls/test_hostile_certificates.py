"""
Client certificates that broke TLS stacks, shown by a client that is played by hand.

In TLS 1.2 a client's certificate, its key share and its proof come in plain text before any key is used: they can
be anything. Each must be refused in bounded time, whatever OpenSSL makes of it, with a reason that is recorded.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import pytest
from tests.support import der
from tests.support import hello as h
from tests.support.blueprint import (
    BASIC_CONSTRAINTS,
    Blueprint,
    extension,
    key_named,
    name,
    own_ca,
    signed_by_own_ca,
)
from tests.support.tls_door import contexts

from handfast.core.identity.refusal import ReasonCode
from handfast.tls.contexts import Contexts
from handfast.tls.door import MAX_FLIGHT_BYTES
from handfast.tls.failures import classify
from handfast.tls.openssl.direct import DirectEngine
from handfast.tls.openssl.engine import FAILED, WANT_READ

LIMIT_S = 0.5
"""Processor time of the server for one handshake; a usual one takes a millisecond or two."""
RSA, EC, PRIME_FIELD = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1", "1.2.840.10045.1.1"
P256 = "1.2.840.10045.3.1.7"
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
ECDSA_SHA256, RSA_SHA256 = 0x0403, 0x0401
HELLO = h.hello(
    (0xC02F, 0xC02B),
    (h.sni(b"localhost"), h.groups(0x0017), h.signature_algorithms(ECDSA_SHA256, RSA_SHA256), h.extension(23, b"")),
)


def point(label: str = "device") -> bytes:
    """The key's, uncompressed."""
    numbers = key_named(label).public_key().public_numbers()
    return b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def flight(certificate_list: bytes, signature: bytes, scheme: int) -> bytes:
    """Certificate, ClientKeyExchange, and a CertificateVerify that proves nothing."""
    messages = h.message(h.vector(certificate_list, 3), 11)
    messages += h.message(h.vector(point(), 1), 16)
    messages += h.message(h.u16s([scheme]) + h.vector(signature), 15)
    return records(messages)


def records(messages: bytes) -> bytes:
    """Of TLS 1.2, once it is agreed on."""
    pieces = [messages[start : start + 16384] for start in range(0, len(messages), 16384)]
    return b"".join(b"\x16\x03\x03" + h.vector(piece) for piece in pieces)


def shown(data: bytes) -> tuple[tuple[str, ...], float]:
    """OpenSSL's words for what was wrong with a flight, and the processor time it took."""
    table = table_of_contexts()
    context = table.get("us-east-1", "rsa", True, None)
    assert context is not None
    server = table.engine(context)
    assert WANT_READ == server.handshake(HELLO)
    server.drain()
    began = time.process_time()
    status = server.handshake(data)
    spent = time.process_time() - began
    assert FAILED == status
    assert server.failed
    return server.errors, spent


@functools.cache
def table_of_contexts() -> Contexts:
    return contexts(DirectEngine)


def refused(certificate_list: bytes, signature: bytes, scheme: int) -> ReasonCode:
    data = flight(certificate_list, signature, scheme)
    assert len(data) < MAX_FLIGHT_BYTES
    errors, spent = shown(data)
    assert spent < LIMIT_S, f"{spent:.2f} s"
    return classify(errors).code


def ecdsa_signature() -> bytes:
    return der.sequence(der.integer(2**255 - 19), der.integer(2**254 + 1))


def of_key(algorithm: bytes, key: bytes) -> bytes:
    return signed_by_own_ca().but(spki=der.sequence(algorithm, der.bits(key))).der


def rsa_key(modulus: int, exponent: int) -> bytes:
    key = der.sequence(der.integer(modulus), der.integer(exponent))
    return of_key(der.sequence(der.oid(RSA), der.null()), key)


def explicit_curve(prime: int, a: int, b: int, base: bytes, order: int, key: bytes) -> bytes:
    """The curve's parameters in the certificate, where its name should stand (RFC 5480 §2.1.1 forbids it)."""
    size = (prime.bit_length() + 7) // 8
    curve = der.sequence(der.octets(a.to_bytes(size, "big")), der.octets(b.to_bytes(size, "big")))
    field = der.sequence(der.oid(PRIME_FIELD), der.integer(prime))
    parameters = der.sequence(der.integer(1), field, curve, der.octets(base), der.integer(order), der.integer(1))
    return of_key(der.sequence(der.oid(EC), parameters), key)


def curveball() -> bytes:
    """CVE-2020-0601: P-256 with another base point, of which any key is a multiple that the client knows."""
    return explicit_curve(PRIME, PRIME - 3, B, point("another base"), ORDER, point())


def on_p256(key: bytes) -> bytes:
    return of_key(der.sequence(der.oid(EC), der.oid(P256)), key)


def odd(change: Callable[[Blueprint], Blueprint]) -> Callable[[], bytes]:
    return lambda: change(signed_by_own_ca()).der


def policies(count: int) -> bytes:
    """CVE-2023-0464: a policy tree that grows with each certificate of a chain."""
    identifiers = [der.sequence(der.oid(f"1.3.6.1.4.1.55555.2.{number}")) for number in range(count)]
    return extension("2.5.29.32", der.sequence(*identifiers))


KEYS: dict[str, tuple[Callable[[], bytes], int, int]] = {
    # what is shown, the scheme of the proof, and its length; 0: an ECDSA signature
    "e = 1, whose every signature is the message": (lambda: rsa_key(2**2048 - 1, 1), RSA_SHA256, 256),
    "e = 2": (lambda: rsa_key(2**2048 - 1, 2), RSA_SHA256, 256),
    "an exponent as long as the modulus": (lambda: rsa_key(2**2048 - 1, 2**2047 + 1), RSA_SHA256, 256),
    "a modulus of 16384 bits and a long exponent": (
        lambda: rsa_key(2**16384 - 1, 2**16383 + 1), RSA_SHA256, 2048,
    ),
    "a modulus of 16384 bits": (lambda: rsa_key(2**16384 - 1, 65537), RSA_SHA256, 2048),
    "a modulus of 65536 bits": (lambda: rsa_key(2**65536 - 1, 65537), RSA_SHA256, 2048),
    "a modulus of 512 bits": (lambda: rsa_key(2**512 - 569, 65537), RSA_SHA256, 64),
    "an even modulus": (lambda: rsa_key(2**2047, 65537), RSA_SHA256, 256),
    "a modulus of 0": (lambda: rsa_key(0, 65537), RSA_SHA256, 256),
    "a negative modulus": (lambda: rsa_key(-(2**2047) + 1, 65537), RSA_SHA256, 256),
    "explicit parameters of P-256": (
        lambda: explicit_curve(PRIME, PRIME - 3, B, point("another base"), ORDER, point()), ECDSA_SHA256, 0,
    ),
    "another base point": (curveball, ECDSA_SHA256, 0),
    "a field of 17 times 41 and a compressed base point": (
        # CVE-2022-0778: the square root modulo what is no prime was looked for without end.
        lambda: explicit_curve(697, 696, 23, b"\x02\x00\x08", 23, b"\x02\x00\x08"), ECDSA_SHA256, 0,
    ),
    "a field that is no prime of 256 bits": (
        lambda: explicit_curve(PRIME - 2, PRIME - 5, B, b"\x02" + bytes(31) + b"\x05", ORDER, b"\x02" + bytes(32)),
        ECDSA_SHA256, 0,
    ),
    "a point off the curve": (lambda: on_p256(b"\x04" + bytes(63) + b"\x01"), ECDSA_SHA256, 0),
    "the point at infinity": (lambda: on_p256(b"\0"), ECDSA_SHA256, 0),
    "a compressed point off the curve": (lambda: on_p256(b"\x02" + bytes(31) + b"\x01"), ECDSA_SHA256, 0),
    "a key of nobody's kind": (lambda: of_key(der.sequence(der.oid("1.3.6.1.4.1.55555.3")), b"key"), ECDSA_SHA256, 0),
    "no key": (lambda: of_key(der.sequence(der.oid(EC), der.oid(P256)), b""), ECDSA_SHA256, 0),
}  # fmt: skip


UNREADABLE = {
    "a negative modulus",
    "explicit parameters of P-256",
    "another base point",
    "a field of 17 times 41 and a compressed base point",
    "a field that is no prime of 256 bits",
    "a point off the curve",
    "a compressed point off the curve",
    "a key of nobody's kind",
    "no key",
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_that_proves_nothing(case: str) -> None:
    make, scheme, length = KEYS[case]
    content = make()
    signature = bytes([1]) * length if length else ecdsa_signature()
    code = refused(h.vector(content, 3), signature, scheme)
    assert code is (ReasonCode.CLIENT_KEY_UNUSABLE if case in UNREADABLE else ReasonCode.POSSESSION_NOT_PROVEN)


FORMS: dict[str, Callable[[], bytes]] = {
    "an extension twice": odd(lambda cert: cert.extended(extension(BASIC_CONSTRAINTS, der.sequence()))),
    "a negative serial number": odd(lambda cert: cert.but(serial=der.integer(-1))),
    "a serial number of 2000 octets": odd(lambda cert: cert.but(serial=der.integer(1 << 16000))),
    "octets behind its end": odd(lambda cert: cert.but(finish=lambda content: content + b"\0\0")),
    "an indefinite length": odd(lambda cert: cert.but(finish=der.indefinite)),
    "a length in more octets than needed": odd(lambda cert: cert.but(finish=der.long_form)),
    "version 4": odd(lambda cert: cert.but(version=der.context(0, der.integer(3)))),
    "a critical extension of nobody's": odd(
        lambda cert: cert.extended(extension("1.3.6.1.4.1.55555.1", b"\0", critical=True))
    ),
    "an object identifier of 4000 octets": odd(
        # CVE-2023-2650: its text took time that grew with the square of its length.
        lambda cert: cert.extended(der.sequence(der.tlv(der.OID, b"\x2a" + b"\xff" * 4000 + b"\x7f"), der.octets(b"")))
    ),
    "an email address in Punycode without end": odd(
        # CVE-2022-3602
        lambda cert: cert.extended(
            extension("2.5.29.17", der.sequence(der.context(1, b"a@xn--" + b"a" * 2000, constructed=False)))
        )
    ),
    "sequences 3000 deep": odd(lambda cert: cert.extended(extension("2.5.29.17", functools.reduce(
        lambda inner, _: der.sequence(inner), range(3000), b""))[:9000])),
    "dates that are none": odd(lambda cert: cert.but(not_before=der.tlv(der.UTC_TIME, b"999999999999Z"))),
    "no subject and no names": odd(lambda cert: cert.but(subject=der.sequence())),
    "a thousand policies": odd(lambda cert: cert.extended(policies(700))),
    "two algorithms": odd(lambda cert: cert.but(outer_algorithm=der.sequence(der.oid("1.2.840.113549.1.1.5")))),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
def test_a_form_that_is_wrong_lets_nobody_in_without_the_key(case: str) -> None:
    """Whether OpenSSL reads it or not; with the key, the registry judges it (tests/vectors/certificates)."""
    code = refused(h.vector(FORMS[case](), 3), ecdsa_signature(), ECDSA_SHA256)
    assert code in {ReasonCode.POSSESSION_NOT_PROVEN, ReasonCode.TLS_FAILURE}


def labyrinth() -> bytes:
    """CAs of one name and several keys that sign each other: paths multiply."""
    made = [signed_by_own_ca().but(issuer=name("M"), signer=key_named("m0")).der]
    for number in range(36):
        ca = own_ca().but(
            subject=name("M"),
            issuer=name("M"),
            spki=spki_of(f"m{number % 6}"),
            signer=key_named(f"m{number // 6}"),
        )
        made.append(ca.der)
    return b"".join(h.vector(each, 3) for each in made)


def multiplying_policies() -> bytes:
    made = []
    for number in range(8):
        subject = name(f"P{number}")
        cert = own_ca().but(
            subject=subject,
            issuer=name(f"P{number + 1}"),
            spki=spki_of(f"p{number}"),
            signer=key_named(f"p{number + 1}"),
        )
        mappings = [
            der.sequence(der.oid(f"1.3.6.1.4.1.55555.2.{one}"), der.oid(f"1.3.6.1.4.1.55555.2.{other}"))
            for one in range(6)
            for other in range(6)
        ]
        made.append(cert.extended(policies(30), extension("2.5.29.33", der.sequence(*mappings))).der)
    return b"".join(h.vector(each, 3) for each in made)


def spki_of(label: str) -> bytes:
    return der.sequence(der.sequence(der.oid(EC), der.oid(P256)), der.bits(point(label)))


LISTS: dict[str, Callable[[], bytes]] = {
    "a certificate of no octets": lambda: h.vector(b"", 3),
    "nothing but lengths": lambda: bytes(300),
    "one longer than the list": lambda: h.vector(signed_by_own_ca().der, 3)[:-1],
    "octets behind the last": lambda: h.vector(signed_by_own_ca().der, 3) + b"\0\0",
    "a text": lambda: h.vector(b"-----BEGIN CERTIFICATE-----", 3),
    "its own issuer forty times": lambda: h.vector(signed_by_own_ca().der, 3) + h.vector(own_ca().der, 3) * 40,
    "a labyrinth of issuers": labyrinth,
    "a chain of policies that multiply": multiplying_policies,
}


@pytest.mark.parametrize("case", LISTS)
def test_a_list_of_certificates_that_is_none(case: str) -> None:
    code = refused(LISTS[case](), ecdsa_signature(), ECDSA_SHA256)
    assert code in {ReasonCode.POSSESSION_NOT_PROVEN, ReasonCode.TLS_FAILURE, ReasonCode.NO_CLIENT_CERTIFICATE}


def test_an_empty_list_is_no_certificate() -> None:
    errors, _ = shown(records(h.message(h.vector(b"", 3), 11)))
    assert ReasonCode.NO_CLIENT_CERTIFICATE == classify(errors).code


def test_the_hand_that_plays_the_client_plays_it_well() -> None:
    """A certificate in order reaches the proof, which is not one."""
    code = refused(h.vector(signed_by_own_ca().der, 3), ecdsa_signature(), ECDSA_SHA256)
    assert ReasonCode.POSSESSION_NOT_PROVEN == code
