"""Microchip manifests: only what the given signer signed comes out, and only the device's own certificate."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.manifest import Maker, b64url, jwk, secure_element
from tests.support.pki import certificate, der, key_of

from handfast.core.pki.manifest import MAX_ELEMENT_CHARACTERS, Element, ManifestSigner, elements
from handfast.errors import CertificateInputError

MAKER = Maker()
SIGNER = ManifestSigner(MAKER.certificate)
CA = certificate("TNGTLS signer", key=key_of("p384"), ca=True)
LEAF = certificate("sn0123", issuer=CA, issuer_key=key_of("p384"))
ID = "0123f1822c38dd7a01"
GOOD = MAKER.element(LEAF, CA)


def read(*values: Any, signer: ManifestSigner = SIGNER) -> list[Element]:
    return list(elements([json.dumps(values)], signer))


def error_of(value: Any) -> str:
    (element,) = read(value)
    assert () == element.certificates
    assert element.error is not None
    return element.error


def test_the_device_certificate_comes_out_and_not_its_signer() -> None:
    assert [Element(1, ID, (der(LEAF),))] == read(GOOD)


def test_each_key_with_a_certificate_gives_one() -> None:
    other = certificate("second", key=key_of("p384"))
    keys = [jwk(LEAF), {"kid": "7", "x5c": [base64.b64encode(der(other)).decode()]}, jwk(LEAF)]
    (element,) = read(MAKER.sign(secure_element(keys)))
    assert (der(LEAF), der(other)) == element.certificates


def test_a_wrong_signature_is_told_with_its_unique_id_and_the_others_go_on() -> None:
    changed = {**GOOD, "payload": b64url(json.dumps(secure_element([jwk(LEAF)]) | {"model": "forged"}).encode())}
    first, second = read(changed, GOOD)
    assert (ID, (), "Its signature is wrong.") == (first.unique_id, first.certificates, first.error)
    assert ((der(LEAF),), None) == (second.certificates, second.error)


def test_another_signer_is_refused_even_under_the_name_of_the_given_one() -> None:
    stranger = Maker()
    assert "another certificate" in error_of(stranger.element(LEAF))
    named = MAKER.protected()
    payload = secure_element([jwk(LEAF)])
    impostor = stranger.sign(payload, ID, kid=named["kid"], **{"x5t#S256": named["x5t#S256"]})
    assert "signature is wrong" in error_of(impostor)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"alg": "none"}, "ES256"),
        ({"alg": "HS256"}, "ES256"),
        ({"alg": None}, "ES256"),
        ({"crit": ["b64"]}, "extension"),
        ({"b64": False}, "extension"),
        ({"kid": None, "x5t#S256": None}, "another certificate"),
        ({"kid": "AAAA"}, "another certificate"),
        ({"x5t#S256": "AAAA"}, "another certificate"),
        ({"kid": ["AAAA"]}, "another certificate"),
    ],
)
def test_the_protected_header_names_algorithm_and_signer(changes: dict[str, Any], said: str) -> None:
    assert said in error_of(MAKER.sign(secure_element([jwk(LEAF)]), ID, **changes))


@pytest.mark.parametrize("left_out", ["kid", "x5t#S256"])
def test_one_name_of_the_signer_is_enough(left_out: str) -> None:
    (element,) = read(MAKER.sign(secure_element([jwk(LEAF)]), **{left_out: None}))
    assert element.error is None


def test_an_unsigned_object_is_refused() -> None:
    assert "signature is wrong" in error_of({**GOOD, "signature": ""})
    assert "signed object" in error_of({name: GOOD[name] for name in ("payload", "protected")})


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (secure_element([{"kid": "0", "kty": "EC"}]), "x5c"),
        (secure_element([jwk(LEAF) | {"x5c": []}]), "x5c"),
        (secure_element([jwk(LEAF) | {"x5c": ["AAAA"]}]), "cannot be read"),
        (secure_element([jwk(LEAF) | {"x5c": [7]}]), "x5c"),
        (secure_element([jwk(LEAF) | {"x5c": ["A" * 70000]}]), "too long"),
        (secure_element([jwk(LEAF) | {"x": "AA"}]), "another key"),
        (secure_element([jwk(LEAF)] * 65), "publicKeySet"),
        (secure_element([]) | {"publicKeySet": None}, "publicKeySet"),
        (secure_element([jwk(LEAF)], ""), "uniqueId"),
        (secure_element([jwk(LEAF)], "x" * 129), "uniqueId"),
        (b"{", "JSON"),
        (b"[1]", "JSON object"),
        (b'{"uniqueId": "a", "uniqueId": "b"}', "JSON"),
        (b"[" * 100_000, "JSON"),
    ],
)
def test_a_signed_payload_without_a_usable_certificate_says_why(payload: Any, said: str) -> None:
    assert said in error_of(MAKER.sign(payload))


def test_the_unsigned_unique_id_must_be_the_signed_one() -> None:
    assert "not the one inside" in error_of({**GOOD, "header": {"uniqueId": "another"}})


def test_a_signer_needs_a_p256_key() -> None:
    for kind in ("p384", "rsa2048"):
        with pytest.raises(CertificateInputError, match="P-256"):
            ManifestSigner(certificate("signer", key=key_of(kind)))


def test_a_signer_without_key_identifier_is_known_by_the_usual_one() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    maker = Maker(key)
    bare = certificate("manifest signer", key=key, ski=False)
    signed = maker.sign(secure_element([jwk(LEAF)]), **{"x5t#S256": None})
    (element,) = read(signed, signer=ManifestSigner(bare))
    assert element.error is None


def test_an_array_is_read_whatever_the_pieces_it_comes_in() -> None:
    text = json.dumps([GOOD, GOOD], indent=1)
    expected = [(1, (der(LEAF),)), (2, (der(LEAF),))]
    for size in (1024, len(text)):
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        assert expected == [(e.index, e.certificates) for e in elements(pieces, SIGNER)]
    assert [] == read()


@pytest.mark.parametrize("text", ["{}", "", "7", "[", "[1", "[}", "[1 2]", '["a",]', "[" * 50_000])
def test_where_the_array_breaks_off_is_told_and_reading_ends(text: str) -> None:
    found = list(elements([text], SIGNER))
    assert found
    assert found[-1].error is not None
    assert all(not element.certificates for element in found)


def test_what_stands_before_the_place_where_it_breaks_is_used() -> None:
    text = json.dumps([GOOD])[:-1] + ", {"
    first, second = elements([text], SIGNER)
    assert ((der(LEAF),), None) == (first.certificates, first.error)
    assert (2, "not JSON") == (second.index, "not JSON" if "not JSON" in str(second.error) else second.error)


def test_no_more_than_one_object_is_held_in_memory() -> None:
    read_pieces = 0

    def endless() -> Any:
        nonlocal read_pieces
        yield '[{"payload": "'
        while True:
            read_pieces += 1
            yield "A" * 65536

    (element,) = elements(endless(), SIGNER)
    assert "too long" in str(element.error)
    assert read_pieces <= MAX_ELEMENT_CHARACTERS // 65536 + 2


@settings(max_examples=60, deadline=None)
@given(st.recursive(st.none() | st.text() | st.integers(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
def test_any_json_is_answered_and_never_trusted(value: Any) -> None:
    for element in read(value, {**GOOD, "header": value}, {**GOOD, "protected": value}):
        assert element.error is not None or element.certificates == (der(LEAF),)


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    assert all(not element.certificates for element in elements([text], SIGNER))
