"""
The ClientHellos of devices' TLS stacks (tests/vectors/tls/client_hello): read as tshark reads them, and served.

Which chain each must get was decided by its command line. How they were captured: tests/vectors/tls/capture.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support import hello as h
from tests.support.tls_door import contexts

from handfast.core.identity.refusal import ReasonCode
from handfast.core.identity.security_policy import DEFAULT_SECURITY_POLICY, SECURITY_POLICIES
from handfast.tls.chain import ChainKind, Reject, choose_chain, takes_rsa_signatures
from handfast.tls.client_hello import MAX_HELLO_BYTES, NEED_MORE, Bad, ClientHello, ClientHelloReader, NeedMore
from handfast.tls.fingerprint import fingerprint
from handfast.tls.openssl.direct import DirectEngine
from handfast.tls.openssl.engine import WANT_READ

FOLDER = Path(__file__).parents[2] / "vectors" / "tls" / "client_hello"
KINDS: tuple[ChainKind, ...] = ("rsa", "ecdsa")
PADDING = 21
GREASE = 0x8A8A


@dataclass(frozen=True)
class Vector:
    name: str
    chain: str | int  # "either", "rsa", "ecdsa", or the alert that refuses
    offers: dict[str, Any]
    data: bytes
    second: bytes

    @property
    def is_tls(self) -> bool:
        return self.data[0] == 22

    @property
    def message(self) -> bytes:
        """Without its one record's header."""
        assert len(self.data) == int.from_bytes(self.data[3:5], "big") + 5
        return self.data[5:]


def _vectors() -> Iterator[Vector]:
    for path in sorted(FOLDER.glob("*.json")):
        for each in json.loads(path.read_text(encoding="utf-8"))["hellos"]:
            data, second = bytes.fromhex(each["hello"]), bytes.fromhex(each.get("second", ""))
            yield Vector(f"{path.stem}: {each['name']}", each["chain"], each["offers"], data, second)


VECTORS = list(_vectors())
TLS = [vector for vector in VECTORS if vector.is_tls]
SERVED = [vector for vector in TLS if isinstance(vector.chain, str)]
ONE_OF_EACH_STACK = list({vector.name.split(":")[0]: vector for vector in TLS}.values())
RETRIED = [vector for vector in TLS if vector.second]


def each_of(vectors: list[Vector]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[vector.name for vector in vectors])


def read(*pieces: bytes, after_retry: bool = False) -> NeedMore | Bad | ClientHello:
    reader = ClientHelloReader(after_retry=after_retry)
    for piece in pieces:
        result = reader.feed(piece)
        if not isinstance(result, NeedMore):
            return result
    return NEED_MORE


def hello_of(data: bytes) -> ClientHello:
    result = read(data)
    assert isinstance(result, ClientHello), result
    return result


def test_the_stacks_are_there() -> None:
    stacks = {path.stem for path in FOLDER.glob("*.json")}
    assert {"mbedtls", "wolfssl", "bearssl", "s2n", "gnutls", "nss", "go", "rustls", "boringssl", "openssl"} <= stacks
    assert {"openssl_wheel", "curl", "jsse", "node", "python"} <= stacks
    assert len(VECTORS) > 70


@each_of(TLS)
def test_it_is_read_as_tshark_reads_it(vector: Vector) -> None:
    hello, offers = hello_of(vector.data), vector.offers
    assert offers["legacy_version"] == hello.legacy_version
    assert tuple(offers["cipher_suites"]) == hello.cipher_suites
    assert tuple(offers.get("extensions", ())) == hello.extensions
    assert offers.get("sni") == hello.sni
    assert [name.encode() for name in offers.get("alpn", ())] == list(hello.alpn)
    lists = (
        ("versions", hello.versions),
        ("groups", hello.groups),
        ("signature_algorithms", hello.signature_schemes),
        ("signature_algorithms_cert", hello.signature_schemes_cert),
    )
    for key, ours in lists:
        assert (tuple(offers[key]) if key in offers else None) == ours, key
    versions = offers.get("versions", [offers["legacy_version"]])
    assert (0x0303 in versions, 0x0304 in versions) == (hello.offers_tls12, hello.offers_tls13)
    assert (0x11EC in offers.get("groups", ())) == hello.offers_hybrid


def test_each_stack_has_a_fingerprint_of_its_own() -> None:
    """As it comes out of the box; those that share OpenSSL's or BoringSSL's set-up are told apart by what they add."""
    first = {vector.name.split(":")[0]: vector for vector in reversed(TLS)}
    assert len(first) == len({fingerprint(hello_of(vector.data)) for vector in first.values()})


@each_of(TLS)
def test_it_gets_the_chain_that_it_asks_for(vector: Vector) -> None:
    hello = hello_of(vector.data)
    for preferred in KINDS:
        chosen = choose_chain(hello, preferred)
        if isinstance(vector.chain, int):
            assert isinstance(chosen, Reject), chosen
            assert (vector.chain, ReasonCode.NO_COMMON_VERSION) == (chosen.alert, chosen.code)
        else:
            assert (preferred if vector.chain == "either" else vector.chain) == chosen


def test_every_stack_is_served_by_openssl_too() -> None:
    """The engine answers the very bytes with a ServerHello of the best version that both have."""
    table = contexts(DirectEngine)
    policy = SECURITY_POLICIES[DEFAULT_SECURITY_POLICY]
    for vector in SERVED:
        hello = hello_of(vector.data)
        kind = choose_chain(hello, "rsa")
        assert not isinstance(kind, Reject)
        whole = kind == "rsa" or takes_rsa_signatures(hello)
        context = table.get("us-east-1", kind, True, None, policy, whole=whole)
        assert context is not None
        engine = table.engine(context)
        assert WANT_READ == engine.handshake(vector.data), (vector.name, engine.errors)
        answer = engine.drain()
        assert b"\x16\x03\x03" == answer[:3], vector.name
        assert 2 == answer[5], f"{vector.name}: no ServerHello"
        extensions = answer[44 + answer[43] + 3 :][: int.from_bytes(answer[6:9], "big")]
        assert (b"\x00\x2b\x00\x02\x03\x04" in extensions) == hello.offers_tls13, vector.name


def test_the_hello_of_sslv2_form_is_refused_at_its_first_byte() -> None:
    (vector,) = (each for each in VECTORS if not each.is_tls)
    for pieces in ((vector.data,), (vector.data[:1], vector.data[1:])):
        result = read(*pieces)
        assert isinstance(result, Bad)
        assert (vector.chain, ReasonCode.NOT_TLS) == (result.alert, result.code)
        assert "SSLv2" in result.detail


class TestCut:
    @each_of(ONE_OF_EACH_STACK)
    def test_between_any_two_bytes(self, vector: Vector) -> None:
        """
        Into two segments, and into two records: the same hello. Every few bytes of the large ones.

        The first piece alone, a truncated hello, is the beginning of one: the time limit ends it, never a guess.
        """
        whole, message = hello_of(vector.data), vector.message
        for at in range(1, len(vector.data), 1 if len(vector.data) < 600 else 5):
            reader = ClientHelloReader()
            assert reader.feed(vector.data[:at]) is NEED_MORE
            assert whole == reader.feed(vector.data[at:])
        for at in range(1, len(message), 1 if len(message) < 600 else 7):
            assert whole == read(h.records(message[:at]) + h.records(message[at:]))

    @each_of(ONE_OF_EACH_STACK)
    def test_into_small_records_that_come_byte_by_byte(self, vector: Vector) -> None:
        whole = hello_of(vector.data)
        for size in (1, 2, 5, 64, 1399):
            data = h.records(vector.message, size)
            assert whole == read(data)
            if size in (5, 1399):
                assert whole == read(*(data[at : at + 1] for at in range(len(data))))

    def test_a_length_that_is_cut_off_is_malformed(self) -> None:
        """The message says that it is shorter than its fields are."""
        for vector in ONE_OF_EACH_STACK:
            body = vector.message[4:]
            for missing in (1, 2, 40, len(body) - 40):
                result = read(h.records(h.message(body[:-missing])))
                assert isinstance(result, Bad), vector.name
                assert (50, ReasonCode.MALFORMED_CLIENT_HELLO) == (result.alert, result.code), vector.name


def _parts(body: bytes) -> tuple[bytes, list[bytes]]:
    """What stands before the extensions' length, and the extensions."""
    at = 35 + body[34]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    fixed, block = body[:at], body[at + 2 :]
    extensions = []
    while block:
        end = 4 + int.from_bytes(block[2:4], "big")
        extensions.append(block[:end])
        block = block[end:]
    return fixed, extensions


def _assembled(fixed: bytes, extensions: list[bytes]) -> bytes:
    return h.message(fixed + h.vector(b"".join(extensions)))


class TestOversized:
    @each_of(ONE_OF_EACH_STACK)
    def test_padded_to_the_limit_it_is_read_and_one_byte_more_is_too_much(self, vector: Vector) -> None:
        """Padding (RFC 7685) as a hello with many large key shares would be."""
        fixed, extensions = _parts(vector.message[4:])
        extensions = [each for each in extensions if each[:2] != PADDING.to_bytes(2, "big")]
        room = MAX_HELLO_BYTES - len(_assembled(fixed, extensions)) - 4
        largest = _assembled(fixed, [*extensions, h.extension(PADDING, bytes(room))])
        assert MAX_HELLO_BYTES == len(largest)
        hello = hello_of(h.records(largest))
        original = hello_of(vector.data)
        assert (original.cipher_suites, original.sni) == (hello.cipher_suites, hello.sni)
        assert choose_chain(original, "rsa") == choose_chain(hello, "rsa")
        above = h.records(_assembled(fixed, [*extensions, h.extension(PADDING, bytes(room + 1))]))
        result = read(above[:9])  # known from its length, before the rest is held
        assert isinstance(result, Bad)
        assert ReasonCode.OVERSIZED_CLIENT_HELLO == result.code


class TestGrease:
    @each_of(SERVED)
    def test_unknown_values_in_every_list_change_nothing(self, vector: Vector) -> None:
        """RFC 8701: reserved values first and last in each list, an extension in front and one behind."""
        fixed, extensions = _parts(vector.message[4:])
        at = 35 + fixed[34]
        end = at + 2 + int.from_bytes(fixed[at : at + 2], "big")
        suites = h.u16s([GREASE]) + fixed[at + 2 : end] + h.u16s([0x1A1A])
        fixed = fixed[:at] + h.vector(suites) + fixed[end:]
        own = [each for each in extensions if not _is_grease(each)]
        greased = [h.extension(0x2A2A, b"\0"), *(_with_grease(each) for each in own)]
        at_end = 1 if hello_of(vector.data).offers_psk else 0  # pre_shared_key stays the last one
        greased.insert(len(greased) - at_end, h.extension(0x3A3A, b""))
        hello, original = hello_of(h.records(_assembled(fixed, greased))), hello_of(vector.data)
        assert fingerprint(original) == fingerprint(hello)
        assert (GREASE, *original.cipher_suites, 0x1A1A) == hello.cipher_suites
        assert original.sni == hello.sni
        assert (original.offers_tls12, original.offers_tls13) == (hello.offers_tls12, hello.offers_tls13)
        for preferred in KINDS:
            assert choose_chain(original, preferred) == choose_chain(hello, preferred)


def _is_grease(extension: bytes) -> bool:
    return extension[0] == extension[1] and extension[0] & 0x0F == 0x0A


def _with_grease(extension: bytes) -> bytes:
    kind, content = int.from_bytes(extension[:2], "big"), extension[4:]
    grease = h.u16s([GREASE])
    match kind:
        case 10 | 13 | 50:
            return h.extension(kind, h.vector(grease + content[2:] + grease))
        case 43:
            return h.extension(kind, h.vector(grease + content[1:] + grease, 1))
        case 16:
            return h.extension(kind, h.vector(h.vector(grease, 1) + content[2:]))
    return extension


class TestAskedAgain:
    """After a HelloRetryRequest."""

    @each_of(RETRIED)
    def test_the_second_hello_names_the_same_server(self, vector: Vector) -> None:
        first, second = hello_of(vector.data), read(vector.second, after_retry=True)
        assert isinstance(second, ClientHello), second
        assert (first.sni, first.alpn) == (second.sni, second.alpn)
        assert first.cipher_suites == second.cipher_suites
        assert fingerprint(first) == fingerprint(second)

    @each_of(RETRIED)
    def test_it_may_be_cut_anywhere_too(self, vector: Vector) -> None:
        whole = read(vector.second, after_retry=True)
        for at in range(1, len(vector.second), 3):
            assert whole == read(vector.second[:at], vector.second[at:], after_retry=True)

    def test_some_send_the_compatibility_record_before_it_and_some_do_not(self) -> None:
        """RFC 8446 §D.4; without it the same bytes are no first hello."""
        assert {20, 22} == {vector.second[0] for vector in RETRIED}
        for vector in RETRIED:
            if vector.second[0] == 20:
                assert isinstance(read(vector.second), Bad)
