"""What went wrong at others' doors, tried at this one: each class is named after a kind of incident."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from OpenSSL import SSL
from tests.support import hello as h
from tests.support.tls_client import MemoryClient
from tests.support.tls_door import LIMIT_S, Echo, RecordingPlane, RunningDoor, contexts, running_door

from handfast.core.identity.refusal import ReasonCode
from handfast.tls import door as doors
from handfast.tls.client_hello import ClientHelloReader
from handfast.tls.door import TLSFailure
from handfast.tls.openssl.direct import DirectEngine
from handfast.tls.openssl.engine import WANT_READ, Engine
from handfast.tls.places import DoorLimits

CONNECT = b"\x10\x0c\0\4MQTT\4\2\0\0\0\0"
VERSIONS = [pytest.param(SSL.TLS1_2_VERSION, id="1.2"), pytest.param(SSL.TLS1_3_VERSION, id="1.3")]


def plain(kind: int, content: bytes) -> bytes:
    """A record without protection."""
    return bytes([kind, 3, 3]) + len(content).to_bytes(2, "big") + content


async def to_the_last_flight(client: MemoryClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What the client would send last, and has not: its certificate, the proof, and Finished."""
    writer.write(client.start())
    async with asyncio.timeout(LIMIT_S):
        while True:
            flight = client.receive(await reader.read(65536))
            if flight:
                return flight


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(LIMIT_S):
            return await reader.read()
    return b""


def received(door: RunningDoor) -> bytes:
    """What applications were given, of all connections."""
    return b"".join(each.received for each in door.plane.applications if isinstance(each, Echo))


@pytest.mark.parametrize("version", VERSIONS)
class TestPlaintextIsInjected:
    """As into STARTTLS sessions: what came before the keys, or beside them, was taken for what the peer proved."""

    @pytest.mark.parametrize("where", ["before its last flight", "inside it"])
    async def test_before_the_handshake_is_done_it_refuses(self, version: int, where: str) -> None:
        async with running_door(contexts(DirectEngine)) as door:
            client = MemoryClient(version=version)
            reader, writer = await door.connect_tcp()
            flight = await to_the_last_flight(client, reader, writer)
            at = 0 if where.startswith("before") else int.from_bytes(flight[3:5], "big") + 5
            writer.write(flight[:at] + plain(23, CONNECT) + flight[at:])
            await until_closed(reader)
            assert ReasonCode.TLS_FAILURE == await door.plane.reason()
            assert not door.plane.applications
            writer.close()

    @pytest.mark.parametrize("behind", [CONNECT, plain(23, CONNECT), plain(22, b"\0\0\0\0") + plain(23, CONNECT)])
    async def test_behind_it_in_one_segment_it_ends_the_connection_unread(self, version: int, behind: bytes) -> None:
        async with running_door(contexts(DirectEngine)) as door:
            client = MemoryClient(version=version)
            reader, writer = await door.connect_tcp()
            writer.write(await to_the_last_flight(client, reader, writer) + behind)
            await until_closed(reader)
            assert b"" == received(door)
            for application in door.plane.applications:
                assert isinstance(application, Echo)
                async with asyncio.timeout(LIMIT_S):
                    await application.lost
            writer.close()


FAILURES = [ValueError, asyncio.CancelledError]


class TestSomethingOfOursFails:
    """An exception where a decision is made was taken for a yes."""

    @pytest.mark.parametrize("exception", FAILURES[1:])
    @pytest.mark.parametrize("method", ["handshake", "drain", "peer_certificate", "version", "cipher", "group"])
    async def test_in_the_engine(
        self, method: str, exception: type[BaseException], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self._refused(monkeypatch, DirectEngine, method, exception)

    @pytest.mark.parametrize("exception", FAILURES[:1])
    @pytest.mark.parametrize(
        ("where", "name"),
        [
            (ClientHelloReader, "feed"),
            (ClientHelloReader, "take"),
            (doors, "choose_chain"),
            (doors, "TLSFacts"),
            (doors, "TLSTransport"),
        ],
        ids=["feed", "take", "choose_chain", "TLSFacts", "TLSTransport"],
    )
    async def test_in_the_door(
        self, where: Any, name: str, exception: type[BaseException], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self._refused(monkeypatch, where, name, exception)

    async def _refused(
        self, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, exception: type[BaseException]
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise exception("of ours")

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with running_door(contexts(DirectEngine)) as door:
            client = MemoryClient()
            reader, writer = await door.connect_tcp()
            monkeypatch.setattr(where, name, fail)
            with contextlib.suppress(ConnectionError, AssertionError, SSL.Error):
                await client.handshake(reader, writer)
                writer.write(client.send(CONNECT))
            await until_closed(reader)
            failure = await door.plane.failure()
            assert ReasonCode.INTERNAL == failure.reasons[0].code
            assert "of ours" not in failure.reasons[0].detail
            assert not door.plane.applications
            assert 0 == door.factory.handshakes
            writer.close()

    @pytest.mark.parametrize("exception", FAILURES)
    async def test_while_the_refusal_is_recorded(self, exception: type[BaseException]) -> None:
        """The peer is told and cut off all the same."""

        class Broken(RecordingPlane):
            def failed(self, failure: TLSFailure) -> None:
                super().failed(failure)
                raise exception

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with running_door(contexts(DirectEngine), Broken()) as door:
            reader, writer = await door.connect_tcp()
            writer.write(CONNECT)
            assert bytes((21, 3, 1, 0, 2, 2, 10)) == await until_closed(reader)
            writer.close()

    @pytest.mark.parametrize("exception", FAILURES)
    async def test_in_the_first_call_of_the_application(self, exception: type[BaseException]) -> None:
        class Broken(Echo):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                raise exception

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with running_door(contexts(DirectEngine), RecordingPlane(Broken)) as door:
            client = MemoryClient()
            reader, writer = await door.connect_tcp()
            flight = await to_the_last_flight(client, reader, writer)
            writer.write(flight + client.send(CONNECT))
            await until_closed(reader)
            assert b"" == received(door)
            writer.close()


def messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    """The handshake messages in plain text, in what a server answered: type and body."""
    data = b""
    while answer[:1] == b"\x16":
        end = 5 + int.from_bytes(answer[3:5], "big")
        data, answer = data + answer[5:end], answer[end:]
    while data:
        end = 4 + int.from_bytes(data[1:4], "big")
        yield data[0], data[4:end]
        data = data[end:]


def answered(engine: type[Engine], data: bytes) -> list[tuple[int, bytes]]:
    context = contexts(engine).get("us-east-1", "rsa", True, None)
    assert context is not None
    server = engine(context)
    assert WANT_READ == server.handshake(data), server.errors
    return list(messages(server.drain()))


SERVER_HELLO, CERTIFICATE, CERTIFICATE_REQUEST = 2, 11, 13
TLS12_SUITES = (0xC02F, 0xC02B)
TLS12 = (h.sni(b"other.example"), h.groups(0x0017), h.signature_algorithms(0x0403, 0x0401, 0x0804))


class TestASessionIsCarriedOver:
    """A session made under one name was resumed under another, past the certificate that the second one asks for."""

    def test_a_session_id_and_a_ticket_get_a_whole_handshake_in_tls_1_2(self, engine: type[Engine]) -> None:
        for extra in ((), (h.extension(35, b"t" * 192),)):
            answer = dict(answered(engine, h.hello(TLS12_SUITES, (*TLS12, *extra), session_id=b"s" * 32)))
            assert {SERVER_HELLO, CERTIFICATE, CERTIFICATE_REQUEST} <= set(answer)
            assert 0 == answer[SERVER_HELLO][34], "a session id is given"
            assert h.extension(35, b"") not in answer[SERVER_HELLO]

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_under_another_name_the_certificate_is_asked_for_anew(
        self, engine: type[Engine], version: ssl.TLSVersion
    ) -> None:
        async with running_door(contexts(engine)) as door:
            context = door.client_context()
            context.check_hostname = False
            context.minimum_version = context.maximum_version = version

            def connect(name: str, session: ssl.SSLSession | None) -> tuple[bool | None, ssl.SSLSession | None]:
                with (
                    socket.create_connection(("127.0.0.1", door.port), LIMIT_S) as sock,
                    context.wrap_socket(sock, server_hostname=name, session=session) as tls,
                ):
                    tls.sendall(b"x")
                    assert b"x" == tls.recv(1)
                    return tls.session_reused, tls.session

            _, session = await asyncio.to_thread(connect, "one.example", None)
            reused, _ = await asyncio.to_thread(connect, "other.example", session)
            assert not reused
            first, second = door.plane.facts
            assert ("one.example", "other.example") == (first.sni, second.sni)
            assert first.certificate_id == second.certificate_id != ""

    def test_a_key_of_before_is_not_selected_in_tls_1_3(self, engine: type[Engine]) -> None:
        identity = h.vector(h.vector(b"i" * 100) + bytes(4))
        psk = h.extension(41, identity + h.vector(h.vector(bytes(32), 1)))
        modes = h.extension(45, h.vector(b"\0\1", 1))  # alone, or with a new exchange
        share = h.extension(51, h.vector(h.u16s([0x001D]) + h.vector(b"\x09" + bytes(31))))
        extensions = (TLS12[0], TLS12[2], h.groups(0x001D), h.versions(0x0304), modes, share, psk)
        ((kind, body), *_) = answered(engine, h.hello((0x1301,), extensions))
        assert SERVER_HELLO == kind
        assert b"\x00\x29\x00\x02" not in body, "a pre-shared key is selected"


@pytest.mark.parametrize("kind", [1, 4, 11, 13, 20])
async def test_no_handshake_message_but_key_update_is_taken_afterwards(kind: int) -> None:
    """Renegotiation, and authentication of another certificate after the first (RFC 8446 §4.6.2)."""
    async with running_door(contexts(DirectEngine)) as door:
        client = MemoryClient(version=SSL.TLS1_3_VERSION)
        reader, writer = await door.connect_tcp()
        await client.handshake(reader, writer)
        application = await door.plane.opened_one()
        assert isinstance(application, Echo)
        records = client.own_records()
        writer.write(records.record(22, bytes([kind, 0, 0, 4]) + bytes(4)) + records.data(CONNECT))
        await until_closed(reader)
        async with asyncio.timeout(LIMIT_S):
            await application.lost
        assert b"" == application.received
        assert 1 == len(door.plane.facts)
        writer.close()


class TestEarlyData:
    """0-RTT data can be played again by anybody who saw it."""

    async def test_it_is_skipped_and_never_delivered(self, engine: type[Engine]) -> None:
        identity = h.vector(h.vector(b"i" * 100) + bytes(4))
        share = h.extension(51, h.vector(h.u16s([0x001D]) + h.vector(b"\x09" + bytes(31))))
        extensions = (
            *(h.sni(b"localhost"), h.groups(0x001D), h.signature_algorithms(0x0403, 0x0804, 0x0401)),
            *(h.versions(0x0304), h.extension(45, h.vector(b"\1", 1)), share, h.extension(42, b"")),
            h.extension(41, identity + h.vector(h.vector(bytes(32), 1))),
        )
        async with running_door(contexts(engine)) as door:
            reader, writer = await door.connect_tcp()
            writer.write(h.hello((0x1301,), extensions) + plain(23, CONNECT + bytes(40)) * 3)
            async with asyncio.timeout(LIMIT_S):
                answer = await reader.read(65536)
            (hello,) = (body for kind, body in messages(answer) if kind == SERVER_HELLO)
            assert b"\x00\x2a" not in hello[70:]
            writer.write_eof()
            await until_closed(reader)
            assert not door.plane.applications
            assert "early data" in (await door.plane.failure()).offered["offered_resumption"]
            writer.close()

    def test_no_ticket_allows_it(self, engine: type[Engine]) -> None:
        """max_early_data_size in a NewSessionTicket is what would let a client send it (RFC 8446 §4.6.1)."""
        client = MemoryClient(version=SSL.TLS1_3_VERSION)
        context = contexts(engine).get("us-east-1", "rsa", True, None)
        assert context is not None
        server, data = engine(context), client.start()
        while not client.done or data:
            server.handshake(data)
            data = client.receive(server.drain())
        session = client.connection.get_session()
        assert session is not None
        assert not hasattr(SSL._lib, "SSL_SESSION_get_max_early_data") or (
            0 == SSL._lib.SSL_SESSION_get_max_early_data(session._session)
        )


class TestWhatTLSHasLearned:
    def test_no_heartbeat_is_agreed_on(self, engine: type[Engine]) -> None:
        """CVE-2014-0160."""
        answer = dict(answered(engine, h.hello(TLS12_SUITES, (*TLS12, h.extension(15, b"\1")))))
        assert b"\x00\x0f\x00\x01" not in answer[SERVER_HELLO]

    async def test_a_heartbeat_ends_the_connection(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            client = MemoryClient(version=SSL.TLS1_3_VERSION)
            reader, writer = await door.connect_tcp()
            await client.handshake(reader, writer)
            await door.plane.opened_one()
            writer.write(client.own_records().record(24, b"\x01\x40\x00" + bytes(16)))
            got = await until_closed(reader)
            assert len(got) < 1000, "it is answered"
            writer.close()

    def test_compression_is_never_selected(self, engine: type[Engine]) -> None:
        """CRIME: compressed before it is encrypted, the length tells what is in it."""
        answer = dict(answered(engine, h.hello(TLS12_SUITES, TLS12, compression=b"\x01\x40\x00")))
        hello = answer[SERVER_HELLO]
        assert 0 == hello[35 + hello[34] + 2]

    def test_the_extended_master_secret_is_used_where_it_is_offered(self, engine: type[Engine]) -> None:
        """RFC 7627, against the triple handshake; that also needs a session resumed or renegotiated: neither is."""
        answer = dict(answered(engine, h.hello(TLS12_SUITES, (*TLS12, h.extension(23, b"")))))
        assert h.extension(23, b"") in answer[SERVER_HELLO]

    def test_secure_renegotiation_is_answered(self, engine: type[Engine]) -> None:
        """RFC 5746: a client that is told so cannot be spliced onto another's connection."""
        answer = dict(answered(engine, h.hello((*TLS12_SUITES, 0x00FF), TLS12)))
        assert h.extension(0xFF01, b"\0") in answer[SERVER_HELLO]


async def test_slow_and_silent_connections_are_shed_and_honest_ones_get_in() -> None:
    """Slowloris: some say nothing, some half a hello, some send their hello or last flight byte by byte for ever."""
    limits = DoorLimits(hello_timeout_s=0.6, handshake_timeout_s=1.2)
    plane = RecordingPlane()
    async with running_door(contexts(DirectEngine), plane, limits=limits) as door, asyncio.TaskGroup() as tasks:
        start = MemoryClient().start()
        openings: list[Callable[[asyncio.StreamWriter], None]] = [
            lambda writer: None,
            lambda writer: writer.write(start[:100]),
            lambda writer: writer.write(start),
        ]

        async def slow(opening: Callable[[asyncio.StreamWriter], None]) -> None:
            reader, writer = await door.connect_tcp()
            opening(writer)
            await until_closed(reader)
            writer.close()

        async def dripping(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            closed = tasks.create_task(until_closed(reader))
            for byte in data:
                writer.write(bytes([byte]))
                await asyncio.wait((closed,), timeout=0.02)
                if closed.done():
                    break
            assert closed.done(), "it was let through, byte by byte"
            writer.close()

        before = [tasks.create_task(slow(opening)) for opening in openings for _ in range(12)]
        reader, writer = await door.connect_tcp()
        before.append(tasks.create_task(dripping(start, reader, writer)))
        reader, writer = await door.connect_tcp()
        flight = await to_the_last_flight(MemoryClient(), reader, writer)
        before.append(tasks.create_task(dripping(flight, reader, writer)))
        for count in range(1, 6):
            reader, writer = await door.connect()
            await plane.opened_one(count)
            writer.write(b"x")
            async with asyncio.timeout(LIMIT_S):
                assert b"x" == await reader.read(1)
            writer.close()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*before)
        assert 0 == door.factory.handshakes
        assert 5 == len(plane.facts)
        codes = {failure.reasons[0].code for failure in plane.failures}
        assert {ReasonCode.CLIENT_HELLO_TIMEOUT, ReasonCode.HANDSHAKE_TIMEOUT} == codes
