"""RSA keys with one weakness each, as public numbers; certificates over any public key."""

from __future__ import annotations

import datetime as dt
import functools
import math
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

ROCA_PRIMES = [p for p in range(2, 168) if all(p % d for d in range(2, math.isqrt(p) + 1))]


def is_prime(n: int) -> bool:
    """Miller-Rabin with the first primes as bases."""
    if any(n % p == 0 for p in ROCA_PRIMES):
        return n in ROCA_PRIMES
    twos = ((n - 1) & -(n - 1)).bit_length() - 1
    for base in ROCA_PRIMES[:16]:
        x = pow(base, (n - 1) >> twos, n)
        if x not in (1, n - 1) and not any((x := x * x % n) == n - 1 for _ in range(twos - 1)):
            return False
    return True


def next_prime(n: int) -> int:
    n |= 1
    while not is_prime(n):
        n += 2
    return n


@functools.cache
def primes() -> tuple[int, ...]:
    """Six primes of 1024 bits."""
    found: list[int] = []
    for _ in range(3):
        numbers = rsa.generate_private_key(65537, 2048).private_numbers()
        found += [numbers.p, numbers.q]
    return tuple(found)


def roca_prime(bits: int, exponent: int, start: int = 0) -> int:
    """A prime of RSALib's form k * M + (65537^a mod M), with the M of its 2048-bit keys (the first 126 primes)."""
    product, candidate = 1, 2
    for _ in range(126):
        while not all(candidate % d for d in range(2, math.isqrt(candidate) + 1)):
            candidate += 1
        product, candidate = product * candidate, candidate + 1
    k = (3 << (bits - 2)) // product + start
    while not is_prime(k * product + pow(65537, exponent, product)):
        k += 1
    return k * product + pow(65537, exponent, product)


@functools.cache
def roca_modulus() -> int:
    """2048 bits."""
    return roca_prime(1024, 1234567, 2**20) * roca_prime(1024, 7654321)


@functools.cache
def close_modulus() -> int:
    """2048 bits, the primes next to each other."""
    return primes()[0] * next_prime(primes()[0] + 2)


def certificate_over(
    modulus: int | None,
    *,
    cn: str = "device",
    exponent: int = 65537,
    key: Any = None,
    not_before: dt.datetime | None = None,
    not_after: dt.datetime | None = None,
    issuer: tuple[x509.Name, Any] | None = None,
    serial: int | None = None,
) -> x509.Certificate:
    """A certificate over the modulus, or over `key`, signed by `issuer` or by somebody unknown; valid for a year."""
    now = dt.datetime.now(dt.UTC)
    public = key if key is not None else rsa.RSAPublicNumbers(exponent, modulus or 0).public_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)])
    issuer_name, signer = issuer or (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody")]), _somebody())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(public)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(not_before or now - dt.timedelta(days=1))
        .not_valid_after(not_after or now + dt.timedelta(days=365))
        .sign(signer, hashes.SHA256())
    )


def pem_of(cert: x509.Certificate) -> str:
    return cert.public_bytes(Encoding.PEM).decode()


@functools.cache
def _somebody() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())
