"""
Public keys that are broken although they look like any other.

    ROCA (CVE-2017-15361)      primes made by Infineon's RSALib: k * M + (65537^a mod M)
    Debian (CVE-2008-0166)     keys that OpenSSL made from a process id, found in a list of them
    small factor               a modulus divisible by a small prime, the even ones among them
    close primes               p and q so near that Fermat finds them (CVE-2022-26320)
    exponent                   1, or even: encrypts to itself, or to nothing that can be read again

Nothing here needs the private key, and nothing returned helps to find it.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Mapping, Set
from enum import StrEnum

from handfast.errors import CertificateInputError

DEBIAN_ENTRY_BYTES = 10
MAX_DEBIAN_ENTRIES = 1_000_000
"""The lists of Debian's package have 100,000 to 300,000 entries for each size of key."""

ROCA_GENERATOR = 65537
# Every M of the library is a product of the first primes, at least of those up to 167 (Nemec et al., "The Return of
# Coppersmith's Attack", 2017, table 1); so N is a power of 65537 modulo this product whatever the size of the key.
_ROCA_PRIMES = tuple(p for p in range(3, 168) if all(p % d for d in range(2, p)))
_ROCA_PRODUCT = math.prod(_ROCA_PRIMES)
SMALL_PRIMES_BELOW = 2000
_SMALL_PRODUCT = math.prod(p for p in range(2, SMALL_PRIMES_BELOW) if all(p % d for d in range(2, math.isqrt(p) + 1)))
FERMAT_ROUNDS = 20
_SQUARES_MOD_64 = frozenset(n * n % 64 for n in range(64))
_FILTER = 63 * 65 * 11 * 17 * 19 * 23 * 31
_SQUARES = {m: frozenset(n * n % m for n in range(m)) for m in (63, 65, 11, 17, 19, 23, 31)}
_DEBIAN_LINE = re.compile(r"[0-9a-f]{20}|[0-9a-f]{40}")


class Weakness(StrEnum):
    """Why a key is weak."""

    ROCA = "roca"
    DEBIAN = "debian"
    SMALL_FACTOR = "small_factor"
    CLOSE_PRIMES = "close_primes"
    EXPONENT = "exponent"


def weaknesses(modulus: int, exponent: int, debian: Set[bytes] = frozenset()) -> tuple[Weakness, ...]:
    """
    Every weakness of an RSA public key that can be told from the key alone.

    Args:
        debian: Entries as `read_debian_blocklist` gives them; empty: that one is not looked for.
    """
    found = []
    if is_roca(modulus):
        found.append(Weakness.ROCA)
    if debian and debian_fingerprint(modulus) in debian:
        found.append(Weakness.DEBIAN)
    if math.gcd(modulus, _SMALL_PRODUCT) > 1:
        found.append(Weakness.SMALL_FACTOR)
    elif has_close_primes(modulus):
        found.append(Weakness.CLOSE_PRIMES)
    if exponent < 3 or exponent % 2 == 0:
        found.append(Weakness.EXPONENT)
    return tuple(found)


def is_roca(modulus: int) -> bool:
    """
    Whether the modulus is of the form that Infineon's RSALib gives it: a power of 65537 modulo the primes up to 167.

    The discrete logarithm is looked up modulo each prime, and the answers have to fit each other (Chinese
    remainders); a modulus of another origin passes with a probability of about 2^-154.
    """
    residue = modulus % _ROCA_PRODUCT
    known: list[tuple[int, int]] = []
    for prime, logarithms in _roca_logarithms().items():
        logarithm = logarithms.get(residue % prime)
        if logarithm is None:
            return False
        known.append((logarithm, len(logarithms)))
    # A common exponent exists exactly when every two answers agree modulo the divisor of their orders.
    return all(
        (one - other) % math.gcd(order, other_order) == 0
        for at, (one, order) in enumerate(known)
        for other, other_order in known[:at]
    )


@functools.cache
def _roca_logarithms() -> Mapping[int, Mapping[int, int]]:
    """For each prime the powers of 65537 and their exponents; the smallest subgroups, which refuse most, first."""
    tables: list[tuple[int, dict[int, int]]] = []
    for prime in _ROCA_PRIMES:
        powers: dict[int, int] = {}
        value = 1
        while value not in powers:
            powers[value] = len(powers)
            value = value * ROCA_GENERATOR % prime
        tables.append((prime, powers))
    return dict(sorted(tables, key=lambda table: len(table[1]) / table[0]))


def has_close_primes(modulus: int, rounds: int = FERMAT_ROUNDS) -> bool:
    """Whether Fermat's factorisation ends within so many rounds: the primes agree in all but their lower halves."""
    if modulus % 2 == 0:
        return False  # it has a factor that is easier to find
    root = math.isqrt(modulus)
    if root * root == modulus:
        return True
    candidate = root + 1
    rest = candidate * candidate - modulus
    for _ in range(rounds):
        if _is_square(rest):
            return True
        rest += 2 * candidate + 1
        candidate += 1
    return False


def _is_square(value: int) -> bool:
    if value % 64 not in _SQUARES_MOD_64:
        return False
    small = value % _FILTER
    if any(small % m not in squares for m, squares in _SQUARES.items()):
        return False
    return math.isqrt(value) ** 2 == value


def debian_fingerprint(modulus: int) -> bytes:
    """The key's entry in Debian's lists: the last 80 bits of the SHA-1 of what `openssl rsa -modulus` prints."""
    printed = f"Modulus={modulus:X}\n".encode()
    return hashlib.sha1(printed, usedforsecurity=False).digest()[-DEBIAN_ENTRY_BYTES:]


def read_debian_blocklist(text: str) -> frozenset[bytes]:
    """
    The entries of a list in the format of Debian's package openssl-blacklist.

    Args:
        text: A line for each key: the last 20 hex digits of the SHA-1, or all 40; `#` begins a comment.

    Raises:
        CertificateInputError: A line that is neither, or more than `MAX_DEBIAN_ENTRIES`.
    """
    entries: set[bytes] = set()
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip().lower()
        if not entry:
            continue
        if _DEBIAN_LINE.fullmatch(entry) is None:
            raise CertificateInputError(
                f"Line {number} of the list of weak keys is not 20 or 40 hex digits; expected the format of Debian's "
                "openssl-blacklist.",
                "blocklist_line",
            )
        entries.add(bytes.fromhex(entry)[-DEBIAN_ENTRY_BYTES:])
        if len(entries) > MAX_DEBIAN_ENTRIES:
            raise CertificateInputError(
                f"The list of weak keys has more than {MAX_DEBIAN_ENTRIES} entries.", "blocklist_too_long"
            )
    return frozenset(entries)
