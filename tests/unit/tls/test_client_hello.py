"""The ClientHello reader: what it reads, what it refuses, and that only the bytes decide."""

from __future__ import annotations

import itertools
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import hello as h

from handfast.core.identity.refusal import ReasonCode
from handfast.tls.client_hello import (
    MAX_HELD_BYTES,
    MAX_HELLO_BYTES,
    NEED_MORE,
    Bad,
    ClientHello,
    ClientHelloReader,
    NeedMore,
    Offered,
)


def read(data: bytes, *, after_retry: bool = False) -> NeedMore | Bad | ClientHello:
    return ClientHelloReader(after_retry=after_retry).feed(data)


def read_in_pieces(pieces: list[bytes]) -> NeedMore | Bad | ClientHello:
    reader = ClientHelloReader()
    for piece in pieces:
        result = reader.feed(piece)
        if not isinstance(result, NeedMore):
            return result
    return NEED_MORE


def expect_hello(data: bytes) -> ClientHello:
    result = read(data)
    assert isinstance(result, ClientHello), result
    return result


def expect_bad(data: bytes, alert: int, code: ReasonCode = ReasonCode.MALFORMED_CLIENT_HELLO) -> Bad:
    result = read(data)
    assert isinstance(result, Bad), result
    assert (alert, code) == (result.alert, result.code), result
    return result


DECODE_ERROR, UNEXPECTED_MESSAGE, ILLEGAL_PARAMETER, PROTOCOL_VERSION = 50, 10, 47, 70


class TestReading:
    def test_every_field_is_read_in_the_order_of_the_client(self) -> None:
        extensions = (
            h.sni(b"a.iot.us-east-1.example"),
            h.alpn(b"x-amzn-mqtt-ca", b"mqtt"),
            h.groups(0x11EC, 0x001D),
            h.signature_algorithms(0x0403, 0x0804),
            h.signature_algorithms_cert(0x0401),
            h.versions(0x0304, 0x0303),
            h.extension(35, b""),
            h.extension(42, b""),
            h.extension(41, b"psk"),
        )
        hello = expect_hello(h.hello((0x1301, 0xC02B), extensions, session_id=b"s" * 32))
        assert "a.iot.us-east-1.example" == hello.sni
        assert (b"x-amzn-mqtt-ca", b"mqtt") == hello.alpn
        assert (0x0304, 0x0303) == hello.versions
        assert (0x1301, 0xC02B) == hello.cipher_suites
        assert (0x11EC, 0x001D) == hello.groups
        assert (0x0403, 0x0804) == hello.signature_schemes
        assert (0x0401,) == hello.signature_schemes_cert
        assert b"s" * 32 == hello.session_id
        assert 0x0303 == hello.legacy_version
        assert (True, True, True) == (hello.offers_ticket, hello.offers_psk, hello.offers_early_data)
        assert (True, True) == (hello.offers_tls12, hello.offers_tls13)

    def test_a_hello_without_extensions_is_one_of_tls_1_2(self) -> None:
        hello = expect_hello(h.hello((0x002F,), None))
        assert hello.sni is None
        assert () == hello.alpn
        assert (None, None, None) == (hello.versions, hello.groups, hello.signature_schemes)
        assert (True, False) == (hello.offers_tls12, hello.offers_tls13)

    def test_supported_versions_decides_over_the_legacy_field(self) -> None:
        hello = expect_hello(h.hello(extensions=(h.versions(0x0304),)))
        assert (False, True) == (hello.offers_tls12, hello.offers_tls13)

    def test_grease_is_carried_and_named(self) -> None:
        extensions = (h.extension(0x1A1A, b""), h.groups(0x2A2A, 0x001D), h.versions(0x3A3A, 0x0304))
        hello = expect_hello(h.hello((0x0A0A, 0x1301), extensions))
        assert "GREASE, TLS_AES_128_GCM_SHA256" == hello.summary()["cipher_suites"]
        assert "GREASE, x25519" == hello.summary()["groups"]
        assert "GREASE, TLSv1.3" == hello.summary()["versions"]

    def test_the_hello_of_the_stdlib_is_read(self) -> None:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["x-amzn-mqtt-ca"])
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with pytest.raises(ssl.SSLWantReadError):
            context.wrap_bio(incoming, outgoing, server_hostname="device.example").do_handshake()
        hello = expect_hello(outgoing.read())
        assert "device.example" == hello.sni
        assert (b"x-amzn-mqtt-ca",) == hello.alpn
        assert hello.offers_tls13
        assert hello.offers_tls12

    def test_what_comes_behind_the_hello_is_kept_apart(self) -> None:
        for size in (16384, 40):
            data = h.records(h.message(h.body()), size)
            reader = ClientHelloReader()
            assert isinstance(reader.feed(data + b"more"), ClientHello)
            assert (data, b"more") == reader.take()

    def test_nothing_but_the_hello_is_held_when_nothing_else_came(self) -> None:
        reader = ClientHelloReader()
        data = h.hello()
        assert isinstance(reader.feed(data), ClientHello)
        assert (data, b"") == reader.take()


class TestSummary:
    def test_names_are_those_of_iana(self) -> None:
        summary = expect_hello(h.hello((0xC02B, 0x1234), h.USUAL_EXTENSIONS)).summary()
        assert "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 0x1234" == summary["cipher_suites"]
        assert "x25519, secp256r1, secp384r1" == summary["groups"]
        assert "ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256, rsa_pkcs1_sha256" == summary["signature_algorithms"]
        assert "TLSv1.3, TLSv1.2" == summary["versions"]

    def test_it_is_bounded_and_printable_whatever_was_offered(self) -> None:
        extensions = (
            h.sni(b"\x1b[31m" * 50),
            h.alpn(*[b"\x1b]0;owned\x07" * 20] * 20),
            h.groups(*range(1000)),
            h.signature_algorithms(*range(1000)),
        )
        hello = expect_hello(h.hello(range(1, 2000), extensions))
        text = "".join(hello.summary().values()) + str(hello.sni)
        assert text.isascii()
        assert text.isprintable()
        assert 8000 > len(text)

    def test_it_is_made_when_somebody_looks(self) -> None:
        hello = expect_hello(h.hello())
        assert hello.summary() == dict(Offered(hello))


class TestServerName:
    def test_control_characters_stand_as_escapes(self) -> None:
        hello = expect_hello(h.hello(extensions=(h.sni(b"a\x1b[2J\\b\x00\xff c"),)))
        assert r"a\x1b[2J\x5cb\x00\xff\x20c" == hello.sni

    def test_the_longest_name_is_255_bytes(self) -> None:
        assert "a" * 255 == expect_hello(h.hello(extensions=(h.sni(b"a" * 255),))).sni
        expect_bad(h.hello(extensions=(h.sni(b"a" * 256),)), DECODE_ERROR)

    def test_an_empty_name_is_malformed(self) -> None:
        expect_bad(h.hello(extensions=(h.sni(b""),)), DECODE_ERROR)

    def test_only_host_name_is_a_name(self) -> None:
        expect_bad(h.hello(extensions=(h.extension(0, h.vector(b"\1" + h.vector(b"x"))),)), DECODE_ERROR)

    def test_two_names_are_malformed(self) -> None:
        names = b"\0" + h.vector(b"one") + b"\0" + h.vector(b"two")
        expect_bad(h.hello(extensions=(h.extension(0, h.vector(names)),)), DECODE_ERROR)


class TestRefusedAtTheFirstByte:
    @pytest.mark.parametrize(
        ("first", "word"),
        [(b"\x10", "MQTT"), (b"G", "HTTP"), (b"P", "HTTP"), (b"\x80", "SSLv2"), (b"\x00", "no TLS"), (b"\n", "no TLS")],
    )
    def test_what_is_not_tls(self, first: bytes, word: str) -> None:
        assert word in expect_bad(first, UNEXPECTED_MESSAGE, ReasonCode.NOT_TLS).detail

    @pytest.mark.parametrize("kind", [20, 21, 23, 24])
    def test_another_tls_record(self, kind: int) -> None:
        expect_bad(bytes([kind]), UNEXPECTED_MESSAGE)

    def test_the_second_byte_is_judged_too(self) -> None:
        expect_bad(b"\x16\x02", PROTOCOL_VERSION, ReasonCode.NOT_TLS)
        assert read(b"\x16") is NEED_MORE
        assert read(b"") is NEED_MORE


class TestMalformed:
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(h.records(h.message(h.body()) + b"\x0b"), id="another message in its record"),
            pytest.param(h.records(h.message(h.body() + b"\0")), id="a byte after the extensions"),
            pytest.param(h.records(h.message(h.body()[:-1])), id="a byte short"),
            pytest.param(h.records(h.message(b"")), id="empty message"),
            pytest.param(h.records(h.message(h.body()[:37])), id="shorter than its fixed fields"),
            pytest.param(h.hello(session_id=b"s" * 33), id="session id of 33 bytes"),
            pytest.param(h.hello(()), id="no cipher suite"),
            pytest.param(h.hello(compression=b""), id="no compression method"),
            pytest.param(h.hello(compression=b"\1"), id="null compression missing"),
            pytest.param(h.hello(extensions=(h.versions(0x0304), h.versions(0x0303))), id="duplicate extension"),
            pytest.param(h.hello(extensions=(h.extension(0x5555, b""),) * 2), id="duplicate unknown extension"),
            pytest.param(h.hello(extensions=(b"\0\x2b\0\x05\x02\x03",)), id="extension longer than the message"),
            pytest.param(h.hello(extensions=(b"\0\x2b\0",)), id="half an extension header"),
            pytest.param(h.hello(extensions=(h.extension(43, b"\x03\x03\x04\x03"),)), id="odd versions"),
            pytest.param(h.hello(extensions=(h.extension(43, b""),)), id="empty supported_versions"),
            pytest.param(h.hello(extensions=(h.extension(43, b"\0"),)), id="no version"),
            pytest.param(h.hello(extensions=(h.extension(13, b"\0\4\4\1"),)), id="signature algorithms too short"),
            pytest.param(h.hello(extensions=(h.extension(13, b"\0\0"),)), id="no signature algorithm"),
            pytest.param(h.hello(extensions=(h.extension(10, b"\0\3\0\x1d\0"),)), id="half a group"),
            pytest.param(h.hello(extensions=(h.extension(10, b"\0"),)), id="one byte of groups"),
            pytest.param(h.hello(extensions=(h.extension(16, b"\0\0"),)), id="no protocol name"),
            pytest.param(h.hello(extensions=(h.extension(16, b"\0\1\0"),)), id="empty protocol name"),
            pytest.param(h.hello(extensions=(h.extension(16, b"\0\2\5a"),)), id="protocol name too long"),
            pytest.param(h.hello(extensions=(h.extension(16, b"\0\5\1a"),)), id="wrong ALPN length"),
            pytest.param(h.hello(extensions=(h.extension(0, b"\0"),)), id="half a server_name"),
            pytest.param(b"\x16\x03\x01\x00\x00", id="empty record"),
        ],
    )
    def test_is_a_decode_error(self, data: bytes) -> None:
        expect_bad(data, DECODE_ERROR)

    def test_every_truncation_of_the_body_is_refused(self) -> None:
        whole = h.body(session_id=b"session", extensions=(*h.USUAL_EXTENSIONS, h.alpn(b"mqtt")))
        end_of_fixed = len(h.body(session_id=b"session", extensions=None))
        for length in range(len(whole)):
            result = read(h.records(h.message(whole[:length])))
            if length == end_of_fixed:
                assert isinstance(result, ClientHello)  # a hello without extensions is a whole one
            else:
                assert isinstance(result, Bad)
                assert DECODE_ERROR == result.alert

    def test_another_handshake_message_is_unexpected(self) -> None:
        expect_bad(h.records(h.message(h.body(), kind=2)), UNEXPECTED_MESSAGE)

    def test_another_record_within_the_hello_is_unexpected(self) -> None:
        first = h.records(h.message(h.body())[:50])
        expect_bad(first + b"\x15", UNEXPECTED_MESSAGE)
        expect_bad(first + b"\x99", UNEXPECTED_MESSAGE)
        expect_bad(first + b"\x16\x02", DECODE_ERROR)


class TestBounds:
    def test_the_longest_hello_is_taken(self) -> None:
        room = MAX_HELLO_BYTES - 4 - len(h.body()) - 4
        data = h.hello(extensions=(*h.USUAL_EXTENSIONS, h.extension(21, bytes(room))))
        assert MAX_HELLO_BYTES == len(data) - 5
        expect_hello(data)
        cut = h.records(data[5:], 100)
        assert isinstance(read(cut), ClientHello)

    def test_a_longer_one_is_refused_as_soon_as_it_says_so(self) -> None:
        header = b"\x01" + MAX_HELLO_BYTES.to_bytes(3, "big")
        expect_bad(h.records(header), ILLEGAL_PARAMETER, ReasonCode.OVERSIZED_CLIENT_HELLO)
        assert read(h.records(header[:3])) is NEED_MORE

    def test_a_record_above_16_kb_is_refused_by_its_header(self) -> None:
        expect_bad(b"\x16\x03\x01\x40\x01", ILLEGAL_PARAMETER, ReasonCode.OVERSIZED_CLIENT_HELLO)

    def test_a_hello_in_records_of_one_byte_is_read(self) -> None:
        expect_hello(h.records(h.message(h.body()), 1))

    def test_what_is_held_is_bounded_when_records_are_tiny(self) -> None:
        padded = h.body(extensions=(*h.USUAL_EXTENSIONS, h.extension(21, bytes(MAX_HELD_BYTES // 6))))
        data = h.records(h.message(padded), 1)
        assert MAX_HELD_BYTES < len(data)
        expect_bad(data, ILLEGAL_PARAMETER, ReasonCode.OVERSIZED_CLIENT_HELLO)
        reader = ClientHelloReader()
        while isinstance(reader.feed(data[:997]), NeedMore):
            data = data[997:]
        assert MAX_HELD_BYTES + 997 >= reader.held_bytes


class TestAfterRetry:
    CCS = b"\x14\x03\x03\x00\x01\x01"

    def test_one_change_cipher_spec_may_stand_before_the_second_hello(self) -> None:
        assert isinstance(read(self.CCS + h.hello(), after_retry=True), ClientHello)
        assert isinstance(read(h.hello(), after_retry=True), ClientHello)
        for cut in range(1, 6):
            assert read(self.CCS[:cut], after_retry=True) is NEED_MORE

    def test_no_second_one_and_no_other(self) -> None:
        for data in (self.CCS * 2, b"\x14\x03\x03\x00\x02\x01\x01", b"\x14\x03\x03\x00\x01\x02"):
            result = read(data + h.hello(), after_retry=True)
            assert isinstance(result, Bad)
            assert UNEXPECTED_MESSAGE == result.alert

    def test_none_before_the_first(self) -> None:
        expect_bad(self.CCS + h.hello(), UNEXPECTED_MESSAGE)

    def test_the_change_cipher_spec_is_handed_on(self) -> None:
        reader = ClientHelloReader(after_retry=True)
        reader.feed(self.CCS + h.hello() + b"!")
        assert (self.CCS + h.hello(), b"!") == reader.take()


# --- Properties: whatever the bytes, never an exception, and the same answer however they are cut ----------------

USUAL = h.hello(extensions=(*h.USUAL_EXTENSIONS, h.alpn(b"x-amzn-mqtt-ca", b"h2")), session_id=b"x" * 32)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A usual hello, perhaps in small records, with bytes changed, cut out and put in."""
    data = bytearray(h.records(USUAL[5:], draw(st.sampled_from([1, 7, 60, 16384]))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data) - 1))
        action = draw(st.sampled_from(["set", "cut", "insert", "end"]))
        if action == "set":
            data[at] = draw(st.integers(0, 255))
        elif action == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        elif action == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        else:
            del data[at:]
        if not data:
            break
    return bytes(data)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


@settings(max_examples=500, deadline=None)
@given(st.one_of(mutated(), st.binary(max_size=300), st.binary(max_size=300).map(lambda b: b"\x16\x03\x01" + b)))
def test_it_never_raises_and_byte_by_byte_is_the_same(data: bytes) -> None:
    whole = read(data)
    assert isinstance(whole, NeedMore | Bad | ClientHello)
    assert whole == read_in_pieces([bytes([byte]) for byte in data])


@settings(max_examples=300, deadline=None)
@given(mutated(), st.lists(st.integers(0, 5000), max_size=6))
def test_any_cut_gives_the_same_answer(data: bytes, at: list[int]) -> None:
    assert read(data) == read_in_pieces(cut(data, at))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=50), st.lists(st.integers(0, 5000), max_size=4))
def test_what_was_fed_is_handed_on_whole(behind: bytes, at: list[int]) -> None:
    reader = ClientHelloReader()
    pieces = cut(USUAL + behind, at)
    fed = b""
    for piece in pieces:
        fed += piece
        if not isinstance(reader.feed(piece), NeedMore):
            break
    hello, rest = reader.take()
    assert USUAL == hello
    assert fed == hello + rest
