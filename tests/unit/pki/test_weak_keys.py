"""Weak keys by published vectors, and by keys made weak on purpose."""

from __future__ import annotations

import hashlib
import math
import random
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.weak import ROCA_PRIMES, close_modulus, primes, roca_modulus

from handfast.core.pki.weak_keys import (
    Weakness,
    debian_fingerprint,
    has_close_primes,
    is_roca,
    read_debian_blocklist,
    weaknesses,
)
from handfast.errors import CertificateInputError

# Positive in the test data of the ROCA detection tool of its discoverers (crocs-muni/roca, roca/tests/data/mod03.txt).
PUBLISHED_ROCA = int(
    "9dcd7420e420c270a68060eb8b5aa7457a9f6648f86fafed2775cc1f79ae962f1e63f1b9e51c55f9ea6fdc7332e9b0058c9ff2eb1fc89855"
    "029cf6aafe21e689feb38ac9ffb12f1ce371bb5d0e9aae64161abce74b4244bf68f1edb4411f756a097c8929c14740245ea355f8332d1aa3"
    "6bb50c7dcb4505da8de02e4e53d38f8df06097da7524df0df93db48eac8cc4af2d3a16257eb2b2adca6ba464e5974fa92550d31b1babf161"
    "e7692d00b86e3dd886ecab4abfbe1a8f8cc263ff4af55cdb45f4249a5193925f5e983d762f0b6800943eb0267b08f42ed311ce1f5c86eacb"
    "c8ce4d3cb7a2fee1ef5641423a1cf4114e5ecf50034a60a412523af9e6f4aa11",
    16,
)


def sound() -> int:
    return primes()[0] * primes()[1]


def test_the_published_roca_key_is_recognised() -> None:
    assert is_roca(PUBLISHED_ROCA)
    assert (Weakness.ROCA,) == weaknesses(PUBLISHED_ROCA, 65537)


def test_a_key_made_as_the_library_makes_them_is_recognised() -> None:
    assert 2048 == roca_modulus().bit_length()
    assert is_roca(roca_modulus())


def test_a_modulus_that_only_looks_like_it_prime_by_prime_is_not() -> None:
    """What the first published test, a set of residues for each prime, takes for one."""
    rng = random.Random(3)
    product, value = 1, 0
    for prime in ROCA_PRIMES:
        residue = pow(65537, rng.randrange(1000), prime)
        value += product * ((residue - value) * pow(product, -1, prime) % prime)
        product *= prime
    assert all(value % prime in {pow(65537, e, prime) for e in range(prime)} for prime in ROCA_PRIMES)
    assert not is_roca(value + product * 2**1800)


@pytest.mark.parametrize("bits", [2048, 3072])
def test_keys_of_openssl_have_no_weakness(bits: int) -> None:
    numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    assert () == weaknesses(numbers.n, numbers.e)


def test_primes_next_to_each_other_are_found() -> None:
    assert has_close_primes(close_modulus())
    assert (Weakness.CLOSE_PRIMES,) == weaknesses(close_modulus(), 65537)
    assert has_close_primes(primes()[0] ** 2)
    assert not has_close_primes(sound())


@pytest.mark.parametrize("factor", [2, 3, 1999])
def test_a_small_factor_is_found(factor: int) -> None:
    assert Weakness.SMALL_FACTOR in weaknesses(sound() // factor * factor, 65537)
    assert () == weaknesses(sound(), 65537)


@pytest.mark.parametrize("exponent", [1, 2, 65536])
def test_an_exponent_that_proves_nothing_is_found(exponent: int) -> None:
    assert (Weakness.EXPONENT,) == weaknesses(sound(), exponent)


def test_the_fingerprint_is_that_of_openssl(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048).public_key()
    file = tmp_path / "key.pem"
    file.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    command = ["openssl", "rsa", "-pubin", "-noout", "-modulus", "-in", str(file)]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    assert hashlib.sha1(printed).hexdigest()[20:] == debian_fingerprint(key.public_numbers().n).hex()


def test_a_key_on_the_list_is_found_and_its_neighbour_is_not() -> None:
    entry = hashlib.sha1(f"Modulus={sound():X}\n".encode()).hexdigest()
    for line in (entry, entry[20:], entry[20:].upper() + "  # a comment"):
        listed = read_debian_blocklist(f"# a list\n\n{line}\n00005890bc78bcbee3ca\n")
        assert 2 == len(listed)
        assert (Weakness.DEBIAN,) == weaknesses(sound(), 65537, listed)
        assert () == weaknesses(primes()[2] * primes()[3], 65537, listed)


@pytest.mark.parametrize("line", ["xyz", "00005890bc78bcbee3c", "00005890bc78bcbee3ca00", "é" * 20])
def test_a_list_of_another_format_is_refused_by_line(line: str) -> None:
    with pytest.raises(CertificateInputError, match=r"Line 2 .* openssl-blacklist"):
        read_debian_blocklist(f"# comment\n{line}\n")


def test_the_small_primes_are_all_there() -> None:
    assert 39 == len(ROCA_PRIMES)
    # The product of the primes up to 167, as the discoverers' own test has it.
    assert 962947420735983927056946215901134429196419130606213075415963491270 == math.prod(ROCA_PRIMES)
