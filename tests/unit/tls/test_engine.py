"""The engines without sockets: the choice between them, what each callback does, and what OpenSSL is configured to."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from tests.support.tls_ca import device
from tests.support.tls_client import MemoryClient
from tests.support.tls_door import contexts

from handfast.tls.client_hello import ClientHello, ClientHelloReader
from handfast.tls.contexts import ALPN_MQTT
from handfast.tls.openssl import choice
from handfast.tls.openssl.binding import missing_symbols
from handfast.tls.openssl.direct import DirectEngine
from handfast.tls.openssl.engine import DONE, FAILED, MAX_ENCRYPT_BYTES, MAX_FEED_BYTES, WANT_READ, Engine
from handfast.tls.openssl.public import PublicEngine


def connected(engine: type[Engine], client: MemoryClient, *, kind: str = "rsa", alpn: str | None = None) -> Engine:
    """Both sides after their handshake."""
    context = contexts(engine).get("us-east-1", kind, True, alpn)  # type: ignore[arg-type]
    assert context is not None
    server = engine(context)
    status, flight = WANT_READ, client.start()
    while status == WANT_READ:
        status = server.handshake(flight)
        flight = client.receive(server.drain())
    assert DONE == status, server.errors
    return server


class TestChoice:
    def test_the_binding_that_the_lock_file_pins_has_every_symbol(self) -> None:
        assert [] == missing_symbols()

    @pytest.mark.parametrize(
        ("word", "expected"), [("", DirectEngine), ("direct", DirectEngine), ("public", PublicEngine)]
    )
    def test_the_environment_decides(self, monkeypatch: pytest.MonkeyPatch, word: str, expected: type[Engine]) -> None:
        monkeypatch.setenv("HANDFAST_TLS_ENGINE", word)
        assert expected is choice.default_engine()

    def test_another_word_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HANDFAST_TLS_ENGINE", "fast")
        with pytest.raises(RuntimeError, match="direct or public"):
            choice.default_engine()

    def test_a_binding_without_a_symbol_means_the_public_engine(self) -> None:
        code = (
            "from OpenSSL import SSL\n"
            "class Less:\n"
            "    def __getattr__(self, name):\n"
            "        if name == 'SSL_set_bio': raise AttributeError(name)\n"
            "        return getattr(lib, name)\n"
            "lib, SSL._lib = SSL._lib, Less()\n"
            "from handfast.tls.openssl import binding, choice\n"
            "print(binding.missing_symbols(), choice.default_engine().__name__)\n"
        )
        # `lib` inside pyOpenSSL is the module's own global, so its own calls have to keep working through the stand-in.
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert "['SSL_set_bio'] PublicEngine" == done.stdout.strip()

    def test_direct_that_cannot_be_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HANDFAST_TLS_ENGINE", "direct")
        monkeypatch.setattr(choice, "MISSING", ["SSL_set_bio"])
        with pytest.raises(RuntimeError, match="SSL_set_bio"):
            choice.default_engine()
        monkeypatch.delenv("HANDFAST_TLS_ENGINE")
        assert PublicEngine is choice.default_engine()


class TestFacts:
    @pytest.mark.parametrize(("version", "name"), [(SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")])
    def test_after_the_handshake(self, engine: type[Engine], version: int, name: str) -> None:
        client = MemoryClient(version=version)
        server = connected(engine, client)
        assert device().der == server.peer_certificate()
        assert name == server.version()
        assert client.connection.get_cipher_name() == server.cipher()
        assert "x25519" == (server.group() or "").lower()

    def test_a_static_rsa_key_exchange_has_no_group(self, engine: type[Engine]) -> None:
        client = MemoryClient(version=SSL.TLS1_2_VERSION, ciphers=b"AES128-SHA")
        server = connected(engine, client)
        assert server.group() is None
        assert "AES128-SHA" == server.cipher()

    def test_no_certificate_where_none_was_asked_for(self, engine: type[Engine]) -> None:
        context = contexts(engine).get("us-east-1", "rsa", False, None)
        assert context is not None
        server, client = engine(context), MemoryClient()
        server.handshake(client.start())
        assert DONE == server.handshake(client.receive(server.drain()))
        assert b"" == server.peer_certificate()

    @pytest.mark.parametrize("group", ["X25519MLKEM768", "X25519", "P-256", "P-384", "P-521"])
    def test_every_promised_group_is_agreed(self, engine: type[Engine], group: str) -> None:
        client = MemoryClient(version=SSL.TLS1_3_VERSION, groups=group.encode())
        server = connected(engine, client)
        names = {"P-256": "secp256r1", "P-384": "secp384r1", "P-521": "secp521r1"}
        assert names.get(group, group).lower() == (server.group() or "").lower()

    def test_the_post_quantum_group_is_preferred(self, engine: type[Engine]) -> None:
        server = connected(engine, MemoryClient(groups=b"*X25519:X25519MLKEM768"))
        assert "X25519MLKEM768" == server.group()


class TestSuites:
    """IoTSecurityPolicy_TLS13_1_2_2022_10, spec/tls.md §3."""

    ECDHE = ("AES128-GCM-SHA256", "AES128-SHA256", "AES128-SHA", "AES256-GCM-SHA384", "AES256-SHA384", "AES256-SHA")
    STATIC = ("AES128-GCM-SHA256", "AES128-SHA256", "AES128-SHA", "AES256-GCM-SHA384", "AES256-SHA256", "AES256-SHA")

    @pytest.mark.parametrize(
        "suite", [*(f"ECDHE-ECDSA-{name}" for name in ECDHE), *(f"ECDHE-RSA-{n}" for n in ECDHE), *STATIC]
    )
    def test_each_of_tls_1_2_is_served(self, engine: type[Engine], suite: str) -> None:
        client = MemoryClient(version=SSL.TLS1_2_VERSION, ciphers=suite.encode())
        server = connected(engine, client, kind="ecdsa" if "ECDSA" in suite else "rsa")
        assert suite == server.cipher()

    @pytest.mark.parametrize(
        "suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
    )
    def test_each_of_tls_1_3_is_served(self, engine: type[Engine], suite: str) -> None:
        assert suite == connected(engine, MemoryClient(suites=suite.encode())).cipher()

    @pytest.mark.parametrize("suite", [b"ECDHE-RSA-CHACHA20-POLY1305", b"DHE-RSA-AES256-GCM-SHA384", b"AES128-CCM"])
    def test_no_other_is(self, engine: type[Engine], suite: bytes) -> None:
        context = contexts(engine).get("us-east-1", "rsa", True, None)
        assert context is not None
        server = engine(context)
        assert FAILED == server.handshake(MemoryClient(version=SSL.TLS1_2_VERSION, ciphers=suite).start())
        assert any("no shared cipher" in error for error in server.errors)


class TestALPN:
    def test_what_was_decided_is_selected(self, engine: type[Engine]) -> None:
        client = MemoryClient(alpn=(b"mqtt", ALPN_MQTT.encode()))
        connected(engine, client, alpn=ALPN_MQTT)
        assert ALPN_MQTT.encode() == client.connection.get_alpn_proto_negotiated()

    def test_what_was_not_offered_is_never_selected(self, engine: type[Engine]) -> None:
        context = contexts(engine).get("us-east-1", "rsa", True, ALPN_MQTT)
        assert context is not None
        server = engine(context)
        assert FAILED == server.handshake(MemoryClient(alpn=(b"x-amzn-mqtt",)).start())


class TestErrors:
    def test_errors_of_one_connection_do_not_reach_another(self, engine: type[Engine]) -> None:
        first, second = MemoryClient(), MemoryClient()
        healthy, broken = connected(engine, first), connected(engine, second)
        assert b"" == broken.receive(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert (True, True) == (broken.failed, broken.attention)
        assert broken.errors
        assert b"" == healthy.receive(b"")
        assert not healthy.failed
        assert b"data" == healthy.receive(first.send(b"data"))
        first.receive(healthy.encrypt(b"answer"))
        assert b"answer" == first.read()

    @pytest.mark.parametrize("junk", [b"\x16\x03\x01\x00\x05junk!", b"\x15\x03\x01\x00\x02\x02\x28", bytes(100)])
    def test_junk_in_the_handshake_fails_it(self, engine: type[Engine], junk: bytes) -> None:
        context = contexts(engine).get("us-east-1", "rsa", True, None)
        assert context is not None
        server = engine(context)
        assert WANT_READ == server.handshake(MemoryClient().start())
        assert FAILED == server.handshake(junk)
        assert server.failed
        assert server.errors

    def test_close_notify_is_told_once_and_answered(self, engine: type[Engine]) -> None:
        client = MemoryClient()
        server = connected(engine, client)
        client.receive(server.drain())
        client.connection.shutdown()
        assert b"" == server.receive(client.output())
        assert (True, False) == (server.closed, server.failed)
        client.receive(server.shut_down())
        assert client.connection.shutdown()


class TestBuffers:
    def test_release_waits_for_what_is_to_be_sent(self) -> None:
        client = MemoryClient()
        server = connected(DirectEngine, client)
        server.drain()
        assert server.release()
        half = client.send(b"x" * 1000)
        assert b"" == server.receive(half[:500])
        server.release()
        assert b"x" * 1000 == server.receive(half[500:])
        client.receive(server.encrypt(b"y"))
        assert b"y" == client.read()

    def test_the_largest_pieces_fit(self, engine: type[Engine]) -> None:
        client = MemoryClient()
        server = connected(engine, client)
        server.drain()
        data = bytes(range(256)) * (MAX_ENCRYPT_BYTES // 256)
        client.receive(server.encrypt(data))
        assert data == client.read()
        wire, got = client.send(data), b""
        for start in range(0, len(wire), MAX_FEED_BYTES):
            got += server.receive(wire[start : start + MAX_FEED_BYTES])
        assert data == got


def test_errors_that_others_left_in_the_queue_mean_nothing() -> None:
    client = MemoryClient()
    server = connected(DirectEngine, client)
    client.receive(server.drain())
    leave_an_error()
    assert b"" == server.receive(b"")
    assert not server.failed
    leave_an_error()
    assert b"data" == server.receive(client.send(b"data"))
    half = client.send(b"more")
    leave_an_error()
    assert b"" == server.receive(half[:9])
    assert (False, False) == (server.failed, server.attention)
    assert b"more" == server.receive(half[9:])
    leave_an_error()
    client.receive(server.encrypt(b"answer"))
    assert b"answer" == client.read()
    client.connection.shutdown()
    leave_an_error()
    assert b"" == server.receive(client.output())
    assert (True, False) == (server.closed, server.failed)


def leave_an_error() -> None:
    bio = SSL._lib.BIO_new_file(b"/nonexistent", b"r")  # type: ignore[attr-defined]
    assert SSL._ffi.NULL == bio  # type: ignore[attr-defined]
    assert SSL._lib.ERR_peek_error()  # type: ignore[attr-defined]


FLIGHTS = [MemoryClient(alpn=(b"mqtt",)).start(), MemoryClient(version=SSL.TLS1_2_VERSION).start()]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(FLIGHTS),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    st.sampled_from([DirectEngine, PublicEngine]),
)
def test_whatever_the_reader_lets_through_openssl_answers_in_order(
    flight: bytes, changes: list[tuple[int, int]], engine: type[Engine]
) -> None:
    data = bytearray(flight)
    for at, byte in changes:
        data[5 + at % (len(data) - 5)] = byte
    hello = ClientHelloReader().feed(bytes(data))
    if not isinstance(hello, ClientHello):
        return
    context = TABLES[engine].get("us-east-1", "rsa", True, None)
    assert context is not None
    server = engine(context)
    status = server.handshake(bytes(data))
    assert status in (WANT_READ, FAILED)
    assert (status == FAILED) == server.failed == bool(server.errors)
    assert len(server.drain()) < 10_000


TABLES = {engine: contexts(engine) for engine in (DirectEngine, PublicEngine)}
