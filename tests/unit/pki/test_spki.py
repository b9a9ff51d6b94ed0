"""Public keys at random: the rules allow exactly those numbers and points that arithmetic allows."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import der
from tests.support.blueprint import signed_by_own_ca
from tests.support.defects import EC, P256, RSA, key

from handfast.core.pki.rules import rsa_refusals
from handfast.core.pki.spki import public_key_refusals

# The curve P-256 (FIPS 186-4 §D.1.2.3)
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


def rules(algorithm: bytes, content: bytes) -> list[str]:
    blueprint = key(algorithm, content)(signed_by_own_ca())
    return [broken.rule for broken in public_key_refusals(x509.load_der_x509_certificate(blueprint.der))]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9000).flatmap(lambda bits: st.integers(0, (1 << bits) - 1)), st.integers(-5, 1 << 300))
def test_rsa_numbers(modulus: int, exponent: int) -> None:
    good = 2048 <= modulus.bit_length() <= 8192 and modulus % 2 and exponent % 2 and 3 <= exponent < 1 << 256
    assert bool(good) is (rsa_refusals(modulus, exponent) == ())


@pytest.mark.parametrize(("bits", "accepted"), [(2047, False), (2048, True), (8192, True), (8193, False)])
def test_the_bounds_of_rsa(bits: int, accepted: bool) -> None:
    assert accepted is (rsa_refusals((1 << bits - 1) + 1, 65537) == ())


@settings(max_examples=40, deadline=None)
@given(st.integers(1 << 2047, (1 << 2048) - 1), st.integers(3, 1 << 32))
def test_rsa_keys_are_judged_by_their_numbers(modulus: int, exponent: int) -> None:
    said = rules(der.sequence(der.oid(RSA), der.null()), der.sequence(der.integer(modulus), der.integer(exponent)))
    expected = [broken.rule for broken in rsa_refusals(modulus, exponent)]
    assert expected == said


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**256 - 1), st.booleans(), st.booleans())
def test_a_point_is_accepted_when_it_is_on_the_curve(x: int, spoil: bool, compressed: bool) -> None:
    square = (x**3 - 3 * x + B) % P
    y = pow(square, (P + 1) // 4, P)
    on_the_curve = x < P and y * y % P == square
    if compressed:
        point = bytes([2 + (y & 1)]) + x.to_bytes(32, "big")
    else:
        on_the_curve = on_the_curve and not spoil
        point = b"\x04" + x.to_bytes(32, "big") + ((y ^ 1) if spoil else y).to_bytes(32, "big")
    assert ([] if on_the_curve else ["key_point"]) == rules(der.sequence(der.oid(EC), der.oid(P256)), point)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_no_content_of_a_key_raises(content: bytes) -> None:
    for algorithm in (der.sequence(der.oid(RSA), der.null()), der.sequence(der.oid(EC), der.oid(P256))):
        assert rules(algorithm, content)
