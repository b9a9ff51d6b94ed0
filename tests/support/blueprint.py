"""Certificates and signing requests in parts, so that one part can be wrong and the signature still right."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support import der
from tests.support.registry import NOW

ECDSA_WITH_SHA256 = der.sequence(der.oid("1.2.840.10045.4.3.2"))
COMMON_NAME, COUNTRY = "2.5.4.3", "2.5.4.6"
BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE = "2.5.29.19", "2.5.29.15", "2.5.29.37"

_numbers = itertools.count(0x1001)


def attribute(kind: str, value: bytes) -> bytes:
    """One RDN of one attribute; `value` is the whole string, tag included."""
    return der.set_of(der.sequence(der.oid(kind), value))


def name(common_name: str) -> bytes:
    return der.sequence(attribute(COMMON_NAME, der.text(common_name)))


def extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    return der.sequence(der.oid(kind), der.boolean(True) if critical else b"", der.octets(value))


def utc_time(days: int) -> bytes:
    """So many days after the instant that tests stand at."""
    instant = NOW + dt.timedelta(days=days)
    return der.tlv(der.UTC_TIME, f"{instant:%y%m%d%H%M%SZ}".encode())


def public_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@functools.cache
def key_named(label: str) -> ec.EllipticCurvePrivateKey:
    """One P-256 key of each label for the whole process."""
    return ec.generate_private_key(ec.SECP256R1())


def unchanged(content: bytes) -> bytes:
    return content


def request_armour(content: bytes) -> str:
    return der.armour(content, "CERTIFICATE REQUEST")


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """
    A certificate in parts, each of them whole DER. `der` signs what the parts are, right or wrong.

    `extensions` is what stands inside [3]; empty: no [3]. `finish` sees the signed certificate, `dress` makes the text.
    """

    signer: ec.EllipticCurvePrivateKey
    version: bytes = der.context(0, der.integer(2))
    serial: bytes = field(default_factory=lambda: der.integer(next(_numbers)))
    algorithm: bytes = ECDSA_WITH_SHA256
    issuer: bytes = name("Own CA")
    not_before: bytes = utc_time(-1)
    not_after: bytes = utc_time(30)
    subject: bytes = name("device")
    spki: bytes = b""
    unique_ids: bytes = b""
    extensions: bytes = b""
    outer_algorithm: bytes | None = None
    sign: Callable[[bytes], bytes] | None = None
    more: bytes = b""
    finish: Callable[[bytes], bytes] = unchanged
    dress: Callable[[bytes], str] = der.armour

    @property
    def to_be_signed(self) -> bytes:
        return der.sequence(
            self.version,
            self.serial,
            self.algorithm,
            self.issuer,
            der.sequence(self.not_before, self.not_after),
            self.subject,
            self.spki,
            self.unique_ids,
            der.context(3, self.extensions) if self.extensions else b"",
        )

    @property
    def der(self) -> bytes:
        content = self.to_be_signed
        outer = self.algorithm if self.outer_algorithm is None else self.outer_algorithm
        signature = (self.sign or self.signature)(content)
        return self.finish(der.sequence(content, outer, signature, self.more))

    @property
    def pem(self) -> str:
        return self.dress(self.der)

    def signature(self, content: bytes) -> bytes:
        """The BIT STRING over the content."""
        return der.bits(self.signer.sign(content, ec.ECDSA(hashes.SHA256())))

    def but(self, **changes: Any) -> Blueprint:
        """The same with some parts replaced."""
        return dataclasses.replace(self, **changes)

    def extended(self, *more: bytes) -> Blueprint:
        """With these extensions behind its own."""
        own = der.content_of(self.extensions) if self.extensions else b""
        return self.but(extensions=der.sequence(own, *more))


@dataclass(frozen=True, kw_only=True)
class RequestBlueprint:
    """A PKCS#10 request in parts (RFC 2986 §4)."""

    signer: ec.EllipticCurvePrivateKey
    version: bytes = der.integer(0)
    subject: bytes = name("device")
    spki: bytes = b""
    attributes: bytes = der.context(0)
    algorithm: bytes = ECDSA_WITH_SHA256
    sign: Callable[[bytes], bytes] | None = None
    more: bytes = b""
    finish: Callable[[bytes], bytes] = unchanged
    dress: Callable[[bytes], str] = request_armour

    @property
    def to_be_signed(self) -> bytes:
        return der.sequence(self.version, self.subject, self.spki, self.attributes)

    @property
    def der(self) -> bytes:
        content = self.to_be_signed
        signature = (self.sign or self.signature)(content)
        return self.finish(der.sequence(content, self.algorithm, signature, self.more))

    @property
    def pem(self) -> str:
        return self.dress(self.der)

    def signature(self, content: bytes) -> bytes:
        return der.bits(self.signer.sign(content, ec.ECDSA(hashes.SHA256())))

    def but(self, **changes: Any) -> RequestBlueprint:
        return dataclasses.replace(self, **changes)


def own_ca() -> Blueprint:
    """A self-signed CA that may be registered."""
    key = key_named("ca")
    return Blueprint(
        signer=key,
        spki=public_key(key),
        subject=name("Own CA"),
        extensions=der.sequence(extension(BASIC_CONSTRAINTS, der.sequence(der.boolean(True)), critical=True)),
    )


def signed_by_own_ca(common_name: str = "device") -> Blueprint:
    """A device certificate of the CA; named after a registration code, a verification certificate."""
    return Blueprint(
        signer=key_named("ca"),
        spki=public_key(key_named("device")),
        subject=name(common_name),
        extensions=der.sequence(extension(BASIC_CONSTRAINTS, der.sequence(), critical=True)),
    )


def request() -> RequestBlueprint:
    key = key_named("device")
    return RequestBlueprint(signer=key, spki=public_key(key))
