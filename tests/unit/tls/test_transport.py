"""TLSTransport: gathering, flow control both ways, the ends of a connection, and floods."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
from typing import Any

import pytest
from OpenSSL import SSL
from tests.support.tls_client import MemoryClient
from tests.support.tls_door import LIMIT_S, Echo, RecordingPlane, RunningDoor, contexts, running_door

from handfast.errors import ProtocolViolation
from handfast.tls import transport as transports
from handfast.tls.door import Door
from handfast.tls.openssl.direct import DirectEngine
from handfast.tls.openssl.engine import Engine
from handfast.tls.transport import MAX_EVENTS, TLSTransport


class Silent(Echo):
    """Keeps what it receives."""

    def data_received(self, data: bytes) -> None:
        self.received += data


async def until(condition: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


async def opened(door: RunningDoor, count: int = 1) -> Any:
    return await door.plane.opened_one(count)


async def memory_client(
    door: RunningDoor, **options: Any
) -> tuple[MemoryClient, asyncio.StreamReader, asyncio.StreamWriter]:
    client = MemoryClient(**options)
    reader, writer = await door.connect_tcp()
    await client.handshake(reader, writer)
    await opened(door)
    return client, reader, writer


def record_types(data: bytes) -> list[int]:
    kinds = []
    while data:
        kinds.append(data[0])
        data = data[5 + int.from_bytes(data[3:5], "big") :]
    return kinds


class TestWriting:
    async def test_what_is_written_in_one_turn_is_one_record(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), RecordingPlane(Silent)) as door:
            client, reader, writer = await memory_client(door, version=SSL.TLS1_2_VERSION)
            application = await opened(door)
            for piece in (b"one ", bytearray(b"two "), memoryview(b"three"), b""):
                application.transport.write(piece)
            application.transport.write_many([b" four", b" five"], 10)
            application.transport.writelines([b" six", b" seven"])
            assert 33 == application.transport.get_write_buffer_size()
            data = await asyncio.wait_for(reader.read(65536), LIMIT_S)
            assert [23] == record_types(data)
            client.receive(data)
            assert b"one two three four five six seven" == client.read()
            assert 0 == application.transport.get_write_buffer_size()
            writer.close()

    async def test_what_is_written_now_never_overtakes_what_was_written_before(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), RecordingPlane(Silent)) as door:
            client, reader, writer = await memory_client(door, version=SSL.TLS1_2_VERSION)
            transport = (await opened(door)).transport
            transport.write_now(b"first,")  # the handshake's buffers are still to be given back: it waits for the turn
            transport.write_now(b"second,")
            client.receive(await asyncio.wait_for(reader.read(65536), LIMIT_S))
            transport.write_now(b"third,")
            assert 0 == transport.get_write_buffer_size()
            transport.write(b"fourth,")
            transport.write_now(b"fifth")
            assert 12 == transport.get_write_buffer_size()
            transport.close()
            transport.write_now(b"too late")
            while data := await asyncio.wait_for(reader.read(65536), LIMIT_S):
                client.receive(data)
            assert b"first,second,third,fourth,fifth" == client.read()
            writer.close()

    async def test_what_was_written_may_be_changed_afterwards(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), RecordingPlane(Silent)) as door:
            reader, _ = await door.connect()
            application = await opened(door)
            buffer = bytearray(b"before")
            application.transport.write(buffer)
            buffer[:] = b"after!"
            assert b"before" == await asyncio.wait_for(reader.readexactly(6), LIMIT_S)

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_five_megabytes_come_back_whole(self, engine: type[Engine], version: ssl.TLSVersion) -> None:
        async with running_door(contexts(engine)) as door:
            context = door.client_context()
            context.minimum_version = context.maximum_version = version
            reader, writer = await door.connect(context)
            data = bytes(range(256)) * (5 * 4096)
            writer.write(data)
            assert data == await asyncio.wait_for(reader.readexactly(len(data)), LIMIT_S)
            writer.close()

    async def test_a_slow_reader_is_waited_for(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), RecordingPlane(Silent)) as door:
            reader, writer = await door.connect()
            application = await opened(door)
            writer.transport.pause_reading()
            transport = application.transport
            piece, sent = b"0123456789" * 1000, 0
            async with asyncio.timeout(LIMIT_S):
                while not application.paused:
                    transport.write(piece)
                    sent += len(piece)
                    await asyncio.sleep(0)
            assert 200_000 > transport.get_write_buffer_size()
            assert 0 == application.resumed
            assert (16384, 65536) == transport.get_write_buffer_limits()
            rest = b"x" * 10_000_000  # more, although asked not to: kept, and sent in order
            transport.write(rest)
            assert sent + len(rest) >= transport.get_write_buffer_size() > len(rest)
            writer.transport.resume_reading()
            received = await asyncio.wait_for(reader.readexactly(sent + len(rest)), LIMIT_S)
            assert piece * (sent // len(piece)) + rest == received
            await until(lambda: application.resumed == 1)
            assert 1 == application.paused
            assert 0 == transport.get_write_buffer_size()

    async def test_limits_can_be_set(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), RecordingPlane(Silent)) as door:
            _, writer = await door.connect()
            application = await opened(door)
            transport = application.transport
            transport.set_write_buffer_limits(high=10)
            assert (2, 10) == transport.get_write_buffer_limits()
            transport.write(b"12345678901")
            assert 1 == application.paused
            await until(lambda: application.resumed == 1)
            transport.set_write_buffer_limits()
            assert (16384, 65536) == transport.get_write_buffer_limits()
            transport.set_write_buffer_limits(low=100)
            assert (100, 400) == transport.get_write_buffer_limits()
            with pytest.raises(ValueError, match="must be"):
                transport.set_write_buffer_limits(high=1, low=2)
            writer.close()


class TestReading:
    async def test_data_that_comes_with_the_last_flight_is_delivered_at_once(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            client = MemoryClient()
            reader, writer = await door.connect_tcp()
            writer.write(client.start())
            finished = b""
            while not client.done:
                finished = client.receive(await asyncio.wait_for(reader.read(65536), LIMIT_S))
            writer.write(finished + client.send(b"early"))
            answer = b""
            while not answer:
                client.receive(await asyncio.wait_for(reader.read(65536), LIMIT_S))
                answer = client.read()
            assert b"early" == answer
            writer.close()

    async def test_a_paused_reader_gets_nothing_until_it_resumes(self, engine: type[Engine]) -> None:
        class Paused(Silent):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.transport.pause_reading()

        async with running_door(contexts(engine), RecordingPlane(Paused)) as door:
            _, writer = await door.connect()
            application = await opened(door)
            data = bytes(range(250)) * 4000
            writer.write(data)
            await until(lambda: application.received)
            assert not application.transport.is_reading()
            before = len(application.received)
            assert 40_000 > before
            await asyncio.sleep(0.05)
            assert before == len(application.received)
            async with asyncio.timeout(LIMIT_S):
                while len(application.received) < len(data):
                    application.transport.resume_reading()
                    await asyncio.sleep(0)
            assert data == application.received
            writer.close()

    async def test_records_of_every_size_and_cut_arrive_in_order(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), RecordingPlane(Silent)) as door:
            client, _, writer = await memory_client(door)
            application = await opened(door)
            expected, wire = b"", b""
            for size in (1, 2, 16, 1000, 16384, 3, 16383, 500, 70_000):
                data = bytes([size % 251]) * size
                expected += data
                wire += client.send(data)
            for start in range(0, len(wire), 7919):
                writer.write(wire[start : start + 7919])
                await asyncio.sleep(0)
            await until(lambda: len(application.received) >= len(expected))
            assert expected == application.received
            writer.close()

    async def test_an_exception_in_an_application_ends_its_connection_only(self, engine: type[Engine]) -> None:
        class Broken(Echo):
            def data_received(self, data: bytes) -> None:
                if data == b"break":
                    raise RuntimeError("the application failed")
                super().data_received(data)

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: None)
        async with running_door(contexts(engine), RecordingPlane(Broken)) as door:
            first, second = await door.connect(), await door.connect()
            application = await opened(door)
            first[1].write(b"break")
            assert b"" == await asyncio.wait_for(first[0].read(), LIMIT_S)
            assert isinstance(await application.lost, RuntimeError)
            second[1].write(b"still here")
            assert b"still here" == await asyncio.wait_for(second[0].readexactly(10), LIMIT_S)
            second[1].close()

    async def test_another_protocol_can_take_over(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            reader, writer = await door.connect()
            application = await opened(door)
            writer.write(b"first")
            await asyncio.wait_for(reader.readexactly(5), LIMIT_S)
            other = Silent()
            application.transport.set_protocol(other)
            assert other is application.transport.get_protocol()
            writer.write(b"second")
            await until(lambda: other.received == b"second")
            assert b"first" == application.received
            writer.close()
            assert await asyncio.wait_for(other.lost, LIMIT_S) is None


class TestTheEnd:
    async def test_close_sends_everything_and_a_close_notify(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), RecordingPlane(Silent)) as door:
            client, reader, writer = await memory_client(door)
            application = await opened(door)
            transport = application.transport
            transport.write(b"x" * 1_000_000)
            transport.close()
            assert transport.is_closing()
            transport.write(b"too late")
            client.receive(await asyncio.wait_for(reader.read(), LIMIT_S))
            assert b"x" * 1_000_000 == client.read()
            assert SSL.RECEIVED_SHUTDOWN & client.connection.get_shutdown()
            assert await asyncio.wait_for(application.lost, LIMIT_S) is None
            writer.close()

    async def test_what_was_written_before_close_survives_a_peer_that_is_still_sending(
        self, engine: type[Engine]
    ) -> None:
        class Refusing(Silent):
            def data_received(self, data: bytes) -> None:
                self.transport.write(b"refused")
                self.transport.close()

        async with running_door(contexts(engine), RecordingPlane(Refusing)) as door:
            for _ in range(20):
                reader, writer = await door.connect()
                for _ in range(50):
                    writer.write(bytes(1000))
                assert b"refused" == await asyncio.wait_for(reader.read(), LIMIT_S)
                writer.transport.abort()

    async def test_connection_lost_does_not_wait_for_the_peer(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), RecordingPlane(Silent)) as door:
            reader, writer = await door.connect_tcp()
            client = MemoryClient()
            await client.handshake(reader, writer)
            application = await opened(door)
            started = asyncio.get_running_loop().time()
            application.transport.close()
            assert await asyncio.wait_for(application.lost, LIMIT_S) is None
            assert transports.LINGER_S / 2 > asyncio.get_running_loop().time() - started
            # The peer never closes: after the linger the connection is gone all the same.
            await until(lambda: not door.factory.turn.lingering)
            writer.close()

    async def test_a_peer_that_takes_nothing_is_given_up(
        self, engine: type[Engine], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transports, "STUCK_S", 0.3)
        async with running_door(contexts(engine), RecordingPlane(Silent)) as door:
            _, writer = await door.connect()
            application = await opened(door)
            writer.transport.pause_reading()
            application.transport.write(bytes(20_000_000))
            application.transport.close()
            assert not application.lost.done()
            assert await asyncio.wait_for(application.lost, LIMIT_S) is None
            assert not door.factory.turn.stuck
            writer.transport.abort()

    async def test_abort_drops_everything(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine), RecordingPlane(Silent)) as door:
            reader, _ = await door.connect()
            application = await opened(door)
            application.transport.write(b"never sent")
            application.transport.abort()
            assert application.transport.is_closing()
            assert await asyncio.wait_for(application.lost, LIMIT_S) is None
            with contextlib.suppress(ConnectionError):
                assert b"" == await reader.read()
            application.transport.abort()
            application.transport.close()
            application.transport.write(b"ignored")
            assert 0 == application.transport.get_write_buffer_size()

    @pytest.mark.parametrize("notify", [True, False])
    async def test_the_peer_is_done(self, engine: type[Engine], notify: bool) -> None:
        async with running_door(contexts(engine)) as door:
            client, reader, writer = await memory_client(door)
            application = await opened(door)
            data = client.send(b"last words")
            if notify:
                client.connection.shutdown()
                data += client.output()
            writer.write(data)
            if not notify:
                writer.write_eof()
            client.receive(await asyncio.wait_for(reader.read(), LIMIT_S))
            assert b"last words" == client.read()
            assert SSL.RECEIVED_SHUTDOWN & client.connection.get_shutdown()
            assert await asyncio.wait_for(application.lost, LIMIT_S) is None
            assert application.eof
            writer.close()

    @pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
    async def test_garbage_ends_it_with_an_alert(self, engine: type[Engine], version: int) -> None:
        async with running_door(contexts(engine)) as door:
            client, reader, writer = await memory_client(door, version=version)
            application = await opened(door)
            writer.write(client.send(b"fine") + b"\x17\x03\x03\x00\x20" + bytes(32) + b"behind it")
            data = await asyncio.wait_for(reader.read(), LIMIT_S)
            with pytest.raises(SSL.Error, match="bad record mac"):
                client.receive(data)
                client.connection.recv(100)
                client.connection.recv(100)
            assert isinstance(await asyncio.wait_for(application.lost, LIMIT_S), ProtocolViolation)
            assert b"fine" == application.received
            writer.close()

    async def test_nothing_is_left_of_a_connection(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            gc.collect()
            gc.disable()  # no cycle may be needed to be found
            try:
                for count in range(1, 6):
                    reader, writer = await door.connect()
                    writer.write(b"x")
                    await asyncio.wait_for(reader.read(1), LIMIT_S)
                    writer.close()
                    application = await opened(door, count)
                    await asyncio.wait_for(application.lost, LIMIT_S)
                    del application.transport
                for data in (b"\x10", MemoryClient().start()):
                    reader, writer = await door.connect_tcp()
                    writer.write(data)
                    writer.write_eof()
                    await asyncio.wait_for(reader.read(), LIMIT_S)
                    writer.close()
                await until(lambda: 2 == len(door.plane.failures))
                door.plane.applications.clear()
                await until(
                    lambda: not [x for x in gc.get_objects() if isinstance(x, TLSTransport | Door | engine)]  # type: ignore[misc]
                )
            finally:
                gc.enable()


class TestFloods:
    async def test_a_few_key_updates_are_answered(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            client, reader, writer = await memory_client(door)
            records = client.own_records()
            for requested in (True, False, True):
                writer.write(records.key_update(requested=requested) + records.data(b"data"))
                echo = b""
                while echo != b"data":
                    client.receive(await asyncio.wait_for(reader.read(65536), LIMIT_S))
                    echo += client.read()
            assert b"datadatadata" == (await opened(door)).received
            writer.close()

    @pytest.mark.parametrize("requested", [True, False])
    async def test_many_of_them_end_the_connection(self, engine: type[Engine], requested: bool) -> None:
        async with running_door(contexts(engine)) as door:
            client, reader, writer = await memory_client(door)
            application = await opened(door)
            records = client.own_records()
            for _ in range(MAX_EVENTS + 2):
                writer.write(records.key_update(requested=requested))
            exception = await asyncio.wait_for(application.lost, LIMIT_S)
            assert isinstance(exception, ProtocolViolation)
            await asyncio.wait_for(reader.read(), LIMIT_S)
            writer.close()

    async def test_renegotiation_is_refused(self, engine: type[Engine]) -> None:
        async with running_door(contexts(engine)) as door:
            client, reader, writer = await memory_client(door, version=SSL.TLS1_2_VERSION)
            assert client.connection.renegotiate()
            with pytest.raises(SSL.WantReadError):
                client.connection.do_handshake()
            writer.write(client.output())
            client.connection.bio_write(await asyncio.wait_for(reader.read(65536), LIMIT_S))
            with pytest.raises(SSL.Error, match="no renegotiation"):
                client.connection.do_handshake()
            writer.close()


class TestMemory:
    async def test_the_buffers_of_a_burst_are_given_back(
        self, engine: type[Engine], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transports, "SHRINK_S", 0.1)
        async with running_door(contexts(engine)) as door:
            reader, writer = await door.connect()
            application = await opened(door)
            await until(lambda: not application.transport._dirty)
            assert not door.factory.turn.swollen
            before = application.transport._engine
            into = before._into_ssl if isinstance(before, DirectEngine) else None
            writer.write(bytes(100_000))
            await asyncio.wait_for(reader.readexactly(100_000), LIMIT_S)
            assert door.factory.turn.swollen
            await until(lambda: not door.factory.turn.swollen)
            if isinstance(before, DirectEngine):
                assert into != before._into_ssl
            writer.write(b"still works")
            assert b"still works" == await asyncio.wait_for(reader.readexactly(11), LIMIT_S)
            writer.close()


async def test_what_an_application_may_ask(engine: type[Engine]) -> None:
    async with running_door(contexts(engine)) as door:
        _, writer = await door.connect()
        application = await opened(door)
        transport = application.transport
        facts = door.plane.facts[0]
        assert writer.get_extra_info("sockname") == transport.get_extra_info("peername")
        assert ("127.0.0.1", door.port) == transport.get_extra_info("sockname")
        assert transport.get_extra_info("sslcontext")
        assert facts is transport.get_extra_info("tls_facts")
        assert (facts.cipher, facts.version, None) == transport.get_extra_info("cipher")
        assert transport.get_extra_info("socket") is None
        assert "default" == transport.get_extra_info("unheard of", "default")
        assert not transport.can_write_eof()
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        assert not hasattr(transport, "__dict__")
        writer.close()
