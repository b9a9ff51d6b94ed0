"""Connections that are refused at the door: what the peer gets, and what is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable

import pytest
from OpenSSL import SSL
from tests.support import hello as h
from tests.support.tls_ca import Issued, device, forged, issue, new_key
from tests.support.tls_client import MemoryClient
from tests.support.tls_door import LIMIT_S, RecordingPlane, RunningDoor, contexts, running_door

from handfast.core.identity.refusal import ReasonCode
from handfast.seam import ListenerKind, TLSFacts
from handfast.tls.client_hello import MAX_HELLO_BYTES, ClientHello
from handfast.tls.door import TLSFailure
from handfast.tls.openssl.engine import Engine
from handfast.tls.places import DoorLimits, address_block
from handfast.tls.serving import Serving
from handfast.tls.transport import TLSTransport

VERSIONS = [pytest.param("-tls1_2", id="1.2"), pytest.param("-tls1_3", id="1.3")]


def alert(code: int) -> bytes:
    return bytes((21, 3, 1, 0, 2, 2, code))


@contextlib.asynccontextmanager
async def tcp(door: RunningDoor) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await door.connect_tcp()
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer_to(door: RunningDoor, data: bytes) -> bytes:
    """All that comes back for `data`, until the door closes."""
    async with tcp(door) as (reader, writer), asyncio.timeout(LIMIT_S):
        writer.write(data)
        return await reader.read()


class TestTheClientCertificate:
    @pytest.mark.parametrize(("version", "number"), [("-tls1_2", 40), ("-tls1_3", 116)])
    async def test_none_is_refused_and_the_client_reads_why(
        self, engine: type[Engine], version: str, number: int
    ) -> None:
        async with running_door(contexts(engine)) as door:
            command = ("openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", version, "-servername", "localhost")
            _, output = await door.run(*command, stdin=None)
            assert f"SSL alert number {number}" in output
            failure = await door.plane.failure()
            assert ReasonCode.NO_CLIENT_CERTIFICATE == failure.reasons[0].code
            assert "localhost" == failure.sni
            assert "127.0.0.1" == failure.address
            assert ListenerKind.MQTT == failure.listener
            assert "x25519" in failure.offered["offered_groups"]
            assert not door.plane.facts

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("kind", ["p256", "rsa2048"])
    async def test_one_whose_key_the_client_does_not_hold_is_refused(
        self, engine: type[Engine], version: str, kind: str
    ) -> None:
        async with running_door(contexts(engine)) as door:
            await door.s_client(version, client=forged(kind))
            assert ReasonCode.POSSESSION_NOT_PROVEN == await door.plane.reason()
            assert not door.plane.facts

    async def test_a_key_on_another_curve_is_refused(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            await door.s_client("-tls1_2", client=device("k256"))
            assert ReasonCode.CLIENT_KEY_UNUSABLE == await door.plane.reason()

    @pytest.mark.parametrize("version", VERSIONS)
    async def test_more_than_16_kb_of_them_are_refused(self, engine: type[Engine], version: str) -> None:
        async with running_door(contexts(engine)) as door:
            await door.s_client(version, client=issue("big", new_key("p256", 10), padding_bytes=30_000))
            assert ReasonCode.CLIENT_CERTIFICATE_TOO_LARGE == await door.plane.reason()

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize(
        "client",
        [
            pytest.param(lambda: issue("self", new_key("p256", 10)), id="self-signed"),
            pytest.param(lambda: device("p256"), id="unknown issuer"),
            pytest.param(
                lambda: issue("old", new_key("p256", 10), not_before_days=-9, not_after_days=-2), id="expired"
            ),
            pytest.param(lambda: issue("new", new_key("p256", 10), not_before_days=2), id="not yet valid"),
            pytest.param(lambda: issue("big", new_key("p256", 10), padding_bytes=14_000), id="14 KB"),
            pytest.param(lambda: device("p384"), id="P-384"),
            pytest.param(lambda: device("p521"), id="P-521"),
            pytest.param(lambda: device("rsa2048"), id="RSA"),
            pytest.param(lambda: device("ed25519"), id="Ed25519"),
            pytest.param(lambda: with_chain(), id="with its chain and junk"),
        ],
    )
    async def test_any_other_gets_through_and_is_judged_by_the_registry(
        self, engine: type[Engine], version: str, client: Callable[[], Issued]
    ) -> None:
        async with running_door(contexts(engine)) as door:
            presented = client()
            await door.s_client(version, client=presented)
            await door.plane.opened_one()
            assert presented.der == door.plane.facts[0].certificate_der
            assert not door.plane.failures


def with_chain() -> Issued:
    authority = issue("CA", new_key("rsa2048", 4), ca=True, not_after_days=-1, not_before_days=-3)
    leaf = issue("leaf", new_key("p256", 10), authority)
    return Issued(leaf.certificate, leaf.key, (authority.certificate, device("rsa2048").certificate))


class TestTheClientDoesNotTrustTheServer:
    @pytest.mark.parametrize("version", VERSIONS)
    async def test_its_alert_is_recorded_with_what_to_do(self, engine: type[Engine], version: str) -> None:
        async with running_door(contexts(engine)) as door:
            certificate, key = device().write(door.directory, "x")
            command = ("openssl", "s_client", "-connect", f"127.0.0.1:{door.port}", version, "-cert", certificate)
            await door.run(*command, "-key", key, "-CAfile", certificate, "-verify_return_error")
            failure = await door.plane.failure()
            assert ReasonCode.CLIENT_REJECTED_SERVER == failure.reasons[0].code
            assert "unknown_ca" in failure.reasons[0].detail
            assert "root" in failure.reasons[0].detail


class TestWhatIsNotTLS:
    async def test_plain_mqtt_is_refused_at_its_first_byte(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            assert alert(10) == await answer_to(door, b"\x10")
            failure = await door.plane.failure()
            assert ReasonCode.NOT_TLS == failure.reasons[0].code
            assert "MQTT" in failure.reasons[0].detail
            assert failure.sni is None
            assert {} == failure.offered

    async def test_plain_http_is_told_in_http_on_the_https_port(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), listener=ListenerKind.HTTPS) as door:
            answer = await answer_to(door, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400 ")
            head, _, content = answer.partition(b"\r\n\r\n")
            assert f"Content-Length: {len(content)}".encode() in head
            assert ReasonCode.NOT_TLS == await door.plane.reason()

    async def test_plain_mqtt_behind_a_hello_is_never_application_data(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            answer = await answer_to(door, MemoryClient().start() + b"\x10\x0c\0\4MQTT\4\2\0\0\0\0")
            assert b"\x16" == answer[:1]  # a ServerHello, then an alert
            assert ReasonCode.TLS_FAILURE == await door.plane.reason()
            assert not door.plane.facts


class TestTheHello:
    @pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
    async def test_in_single_bytes_is_read(self, engine: type[Engine], version: int) -> None:
        async with running_door(contexts(engine)) as door:
            client = MemoryClient(version=version)
            hello = client.start()
            reader, writer = await door.connect_tcp()
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in hello:
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            async with asyncio.timeout(LIMIT_S):
                while not client.done:
                    writer.write(client.receive(await reader.read(65536)))
            await door.plane.opened_one()
            writer.close()

    async def test_oversized_is_refused_by_its_header(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            data = h.records(b"\x01" + (MAX_HELLO_BYTES + 1).to_bytes(3, "big") + bytes(100))
            assert alert(47) == await answer_to(door, data)
            assert ReasonCode.OVERSIZED_CLIENT_HELLO == await door.plane.reason()

    async def test_malformed_is_refused(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            assert alert(50) == await answer_to(door, h.hello(compression=b""))
            assert ReasonCode.MALFORMED_CLIENT_HELLO == await door.plane.reason()

    async def test_never_finished_is_cut_off_in_time(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), limits=DoorLimits(hello_timeout_s=0.2)) as door:
            assert b"" == await answer_to(door, h.hello()[:20])
            failure = await door.plane.failure()
            assert ReasonCode.CLIENT_HELLO_TIMEOUT == failure.reasons[0].code
            assert "20 bytes" in failure.reasons[0].detail

    async def test_nothing_at_all_is_cut_off_in_time(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), limits=DoorLimits(hello_timeout_s=0.2)) as door:
            assert b"" == await answer_to(door, b"")
            assert ReasonCode.CLIENT_HELLO_TIMEOUT == await door.plane.reason()

    async def test_a_handshake_that_stops_after_it_is_cut_off_in_time(self, engine: type[Engine]) -> None:
        limits = DoorLimits(hello_timeout_s=0.2, handshake_timeout_s=0.5)
        async with running_door(contexts(engine), limits=limits) as door:
            answer = await answer_to(door, MemoryClient().start())
            assert b"\x16" == answer[:1]
            failure = await door.plane.failure()
            assert ReasonCode.HANDSHAKE_TIMEOUT == failure.reasons[0].code
            assert "localhost" == failure.sni
            assert 0 == door.factory.handshakes

    async def test_of_an_old_version_gets_alert_70(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            data = h.hello((0xC014, 0x0035), extensions=(h.sni(b"old"),), legacy_version=0x0302)
            assert alert(70) == await answer_to(door, data)
            failure = await door.plane.failure()
            assert ReasonCode.NO_COMMON_VERSION == failure.reasons[0].code
            assert "TLSv1.1" in failure.reasons[0].detail
            assert "old" == failure.sni

    async def test_without_a_common_suite_gets_alert_40(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            assert alert(40) == await answer_to(door, h.hello((0x0005,), extensions=None))
            assert ReasonCode.NO_COMMON_CIPHER == await door.plane.reason()

    async def test_terminal_escapes_in_sni_reach_the_record_as_escapes(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            data = h.hello((0x0005,), extensions=(h.sni(b"\x1b[31mred"), h.alpn(b"x-amzn-mqtt-ca", b"\x07")))
            await answer_to(door, data)
            failure = await door.plane.failure()
            assert r"\x1b[31mred" == failure.sni
            assert r"x-amzn-mqtt-ca, \x07" == failure.alpn

    async def test_a_connection_lost_before_it_is_whole(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            async with tcp(door) as (_, writer):
                writer.write(h.hello()[:7])
            failure = await door.plane.failure()
            assert ReasonCode.CONNECTION_LOST_IN_HANDSHAKE == failure.reasons[0].code
            assert "after 7 bytes" in failure.reasons[0].detail

    async def test_a_reset_after_it(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            async with tcp(door) as (reader, writer):
                writer.write(MemoryClient().start())
                await reader.read(1)
                # SO_LINGER with 0 seconds: close sends a reset.
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            assert ReasonCode.CONNECTION_LOST_IN_HANDSHAKE == await door.plane.reason()
            assert 0 == door.factory.handshakes


class TestALPN:
    @pytest.mark.parametrize(
        ("listener", "offered", "selected"),
        [
            (ListenerKind.MQTT, ("x-amzn-mqtt-ca",), "x-amzn-mqtt-ca"),
            (ListenerKind.MQTT, ("mqtt", "x-amzn-mqtt-ca"), "x-amzn-mqtt-ca"),
            (ListenerKind.HTTPS, ("x-amzn-http-ca",), "x-amzn-http-ca"),
            (ListenerKind.HTTPS, ("h2", "http/1.1"), "http/1.1"),
        ],
    )
    async def test_a_known_name_is_selected(
        self, engine: type[Engine], listener: ListenerKind, offered: tuple[str, ...], selected: str
    ) -> None:
        async with running_door(contexts(engine), listener=listener) as door:
            context = door.client_context()
            context.set_alpn_protocols(list(offered))
            _, writer = await door.connect(context)
            assert selected == writer.get_extra_info("ssl_object").selected_alpn_protocol()
            await door.plane.opened_one()
            assert selected == door.plane.facts[0].alpn
            writer.close()

    @pytest.mark.parametrize(
        ("listener", "offered", "code"),
        [
            (ListenerKind.MQTT, b"mqtt", ReasonCode.CUSTOM_AUTH_UNSUPPORTED),
            (ListenerKind.MQTT, b"h2", ReasonCode.UNKNOWN_ALPN),
            (ListenerKind.MQTT, b"x-amzn-http-ca", ReasonCode.UNKNOWN_ALPN),
            (ListenerKind.HTTPS, b"h2", ReasonCode.UNKNOWN_ALPN),
            (ListenerKind.HTTPS, b"mqtt", ReasonCode.UNKNOWN_ALPN),
        ],
    )
    async def test_any_other_gets_alert_120(
        self, engine: type[Engine], listener: ListenerKind, offered: bytes, code: ReasonCode
    ) -> None:
        async with running_door(contexts(engine), listener=listener) as door:
            assert alert(120) == await answer_to(door, MemoryClient(alpn=(offered,)).start())
            failure = await door.plane.failure()
            assert code == failure.reasons[0].code
            assert offered.decode() == failure.alpn
            assert offered.decode() in failure.reasons[0].detail


class TestHelloRetryRequest:
    """The client's key share is of a group that is not served, so a second hello is asked for."""

    async def _second_hello(self, door: RunningDoor, change: Callable[[bytes], bytes]) -> tuple[MemoryClient, bytes]:
        """The client after the retry, and what the door answers to its second hello as changed."""
        client = MemoryClient(groups=b"X448:P-256", alpn=(b"x-amzn-mqtt-ca",))
        reader, writer = await door.connect_tcp()
        try:
            async with asyncio.timeout(LIMIT_S):
                writer.write(client.start())
                second = client.receive(await reader.read(65536))
                assert b"localhost" in second
                for byte in change(second):
                    writer.write(bytes([byte]))
                answer = await reader.read(65536)
                if answer[:1] == b"\x16":
                    while not client.done:
                        writer.write(client.receive(answer))
                        if not client.done:
                            answer = await reader.read(65536)
                    await door.plane.opened_one()
        finally:
            writer.close()
        return client, answer

    async def test_the_same_hello_again_gets_through(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            client, _ = await self._second_hello(door, lambda data: data)
            assert client.done
            assert "secp256r1" == door.plane.facts[0].group

    @pytest.mark.parametrize(
        ("old", "new", "word"), [(b"localhost", b"elsewhere", "SNI"), (b"amzn-mqtt", b"amzn-xxxx", "ALPN")]
    )
    async def test_another_sni_or_alpn_is_refused(
        self, engine: type[Engine], old: bytes, new: bytes, word: str
    ) -> None:
        async with running_door(contexts(engine)) as door:
            client, answer = await self._second_hello(door, lambda data: data.replace(old, new))
            assert not client.done
            assert alert(47) == answer
            failure = await door.plane.failure()
            assert ReasonCode.HELLO_CHANGED == failure.reasons[0].code
            assert word in failure.reasons[0].detail


class TestTooManyHandshakes:
    @pytest.mark.parametrize(
        "limits", [DoorLimits(max_handshakes=2), DoorLimits(max_handshakes_per_address=2)], ids=["all", "per address"]
    )
    async def test_one_more_is_reset_and_recorded(self, engine: type[Engine], limits: DoorLimits) -> None:
        async with running_door(contexts(engine), limits=limits) as door, tcp(door) as first, tcp(door):
            async with tcp(door) as (reader, _):
                with contextlib.suppress(ConnectionResetError):
                    assert b"" == await reader.read()
            assert ReasonCode.TOO_MANY_HANDSHAKES == await door.plane.reason()
            assert 2 == door.factory.handshakes
            # A place is free again when one of them is gone.
            first[1].close()
            async with asyncio.timeout(LIMIT_S):
                while door.factory.handshakes == 2:
                    await asyncio.sleep(0.01)
            _, writer = await door.connect()
            await door.plane.opened_one()
            writer.close()

    async def test_when_all_places_are_taken_the_slowest_of_who_has_most_gives_way(self, engine: type[Engine]) -> None:
        limits = DoorLimits(max_handshakes=4, gives_way_after_s=0.0)
        async with running_door(contexts(engine), limits=limits) as door, contextlib.AsyncExitStack() as stack:
            slow = [await stack.enter_async_context(tcp(door)) for _ in range(4)]
            async with asyncio.timeout(LIMIT_S):
                while door.factory.handshakes < 4:
                    await asyncio.sleep(0.01)
            async with asyncio.timeout(LIMIT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", door.port, local_addr=("127.0.0.2", 0))
                client = MemoryClient()
                await client.handshake(reader, writer)
            await door.plane.opened_one()
            with contextlib.suppress(ConnectionResetError):
                assert b"" == await asyncio.wait_for(slow[0][0].read(), LIMIT_S)
            failure = await door.plane.failure()
            assert ReasonCode.TOO_MANY_HANDSHAKES == failure.reasons[0].code
            assert slow[0][1].get_extra_info("sockname")[1] == failure.port
            assert 3 == door.factory.handshakes
            writer.close()

    async def test_a_handshake_that_is_not_slow_gives_no_way(self, engine: type[Engine]) -> None:
        limits = DoorLimits(max_handshakes=3, gives_way_after_s=LIMIT_S)
        async with running_door(contexts(engine), limits=limits) as door, contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(tcp(door))
            async with asyncio.timeout(LIMIT_S):
                while door.factory.handshakes < 3:
                    await asyncio.sleep(0.01)
                reader, writer = await asyncio.open_connection("127.0.0.1", door.port, local_addr=("127.0.0.2", 0))
                with contextlib.suppress(ConnectionResetError):
                    assert b"" == await reader.read()
            assert "127.0.0.2" == (await door.plane.failure()).address
            assert 3 == door.factory.handshakes
            writer.close()

    async def test_an_ipv6_network_counts_as_one_address(self) -> None:
        assert address_block("2001:db8::1") == address_block("2001:db8:0:0:ffff::2")
        assert address_block("2001:db8::1") != address_block("2001:db8:0:1::1")
        assert address_block("::ffff:192.0.2.1") != address_block("::ffff:192.0.2.2")
        assert address_block("192.0.2.1") != address_block("192.0.2.2")
        assert "fe80::1%eth0" == address_block("fe80::1%eth0")

    async def test_closing_the_door_drops_them_unrecorded(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door, tcp(door) as (reader, writer):
            writer.write(MemoryClient().start())
            await asyncio.wait_for(reader.read(1), LIMIT_S)
            door.factory.close()
            with contextlib.suppress(ConnectionResetError):
                await asyncio.wait_for(reader.read(), LIMIT_S)
            assert 0 == door.factory.handshakes
            assert [] == door.plane.failures

    async def test_open_connections_do_not_count(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), limits=DoorLimits(max_handshakes=1)) as door:
            writers = []
            for count in range(1, 4):
                writers.append((await door.connect())[1])
                await door.plane.opened_one(count)
            assert 0 == door.factory.handshakes
            assert {} == door.factory.handshakes_of
            for writer in writers:
                writer.close()


class TestOurOwnFailures:
    @pytest.mark.parametrize("exception", [ValueError, asyncio.CancelledError, KeyboardInterrupt, SystemExit])
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_an_exception_in_the_verify_callback_refuses(
        self, engine: type[Engine], exception: type[BaseException], version: ssl.TLSVersion
    ) -> None:
        def accept() -> bool:
            raise exception

        async with running_door(contexts(engine, accept=accept)) as door:
            await self._refused(door, version)

    @pytest.mark.parametrize("answer", [False, None, 1])
    async def test_only_true_accepts(self, engine: type[Engine], answer: object) -> None:
        async with running_door(contexts(engine, accept=lambda: answer)) as door:  # type: ignore[arg-type,return-value]
            await self._refused(door, ssl.TLSVersion.TLSv1_3)

    async def _refused(self, door: RunningDoor, version: ssl.TLSVersion) -> None:
        context = door.client_context()
        context.minimum_version = context.maximum_version = version
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            reader, writer = await door.connect(context)
            writer.write(b"data")
            assert b"" == await reader.read()
        assert ReasonCode.TLS_FAILURE == await door.plane.reason()
        assert not door.plane.facts

    async def test_an_exception_while_the_certificates_are_chosen_refuses(self, engine: type[Engine]) -> None:
        class Broken(RecordingPlane):
            def serving(self, sni: str | None, hello: ClientHello, address: str) -> Serving:
                raise RuntimeError("no regions today")

        async with running_door(contexts(engine), Broken()) as door:
            assert alert(80) == await answer_to(door, MemoryClient().start())
            failure = await door.plane.failure()
            assert ReasonCode.INTERNAL == failure.reasons[0].code
            assert "no regions" not in failure.reasons[0].detail

    async def test_a_region_without_a_certificate_refuses(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            client = MemoryClient(server_name=b"x.iot.eu-west-1.example")
            assert alert(80) == await answer_to(door, client.start())
            assert ReasonCode.INTERNAL == await door.plane.reason()

    async def test_an_exception_while_the_application_is_made_refuses(self, engine: type[Engine]) -> None:
        class Broken(RecordingPlane):
            def opened(self, facts: TLSFacts, transport: TLSTransport) -> asyncio.Protocol:
                raise RuntimeError

        async with running_door(contexts(engine), Broken()) as door:
            context = door.client_context()
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                reader, _ = await door.connect(context)
                assert b"" == await reader.read()
            assert ReasonCode.INTERNAL == await door.plane.reason()

    async def test_a_record_that_cannot_be_written_changes_nothing(self, engine: type[Engine]) -> None:
        class Broken(RecordingPlane):
            def failed(self, failure: TLSFailure) -> None:
                super().failed(failure)
                raise RuntimeError

        async with running_door(contexts(engine), Broken()) as door:
            assert alert(10) == await answer_to(door, b"\x10")
            _, writer = await door.connect()
            await door.plane.opened_one()
            writer.close()


async def test_a_client_that_is_still_sending_reads_the_alert(engine: type[Engine]) -> None:
    """A plain close would reset the connection, and the reset would overtake the alert."""
    async with running_door(contexts(engine)) as door:
        for _ in range(20):
            context = door.client_context(with_certificate=False)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            reader, writer = await door.connect(context)
            for _ in range(20):
                writer.write(bytes(1000))
            with pytest.raises(ssl.SSLError, match=r"(?i)certificate required"):
                await reader.read()
            writer.transport.abort()
