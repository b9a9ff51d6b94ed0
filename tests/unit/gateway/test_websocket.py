"""The WebSocket transport between a raw transport and an MQTT connection, both in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.gateway import SCOPE, MemoryTransport, World, facts, settle
from tests.support.raw import connect_packet, packet, string
from tests.support.websocket import frame

from handfast.gateway import websocket
from handfast.gateway.holding import JUDGED_IN_A_TURN
from handfast.gateway.websocket import MAX_FRAME_BYTES, TURN_BYTES, TURN_FRAMES, WebSocketTransport
from handfast.seam import Admitted, SignedBy

CONNACK_FRAME = b"\x82\x04\x20\x02\x00\x00"
PINGRESP_FRAME = b"\x82\x02\xd0\x00"


class RawTransport(MemoryTransport):
    """Counts what MQTT output is sent at once, and may be told that it is full."""

    def write(self, data: Any) -> None:
        if not self.closing:
            super().write(data)


class Peer:
    """A client's end of one WebSocket connection in memory."""

    def __init__(self, world: World) -> None:
        signed = SignedBy("AKIAAAAAAAAAAAAAAAAA", SCOPE)
        self.mqtt = world.gateway.accept(dataclasses.replace(facts(), signed=signed))
        self.socket = WebSocketTransport(self.mqtt)
        self.raw = RawTransport(self.socket)
        self.socket.connection_made(self.raw)

    async def send(self, *frames: bytes) -> bytes:
        """All frames in one read; what came back."""
        self.socket.data_received(b"".join(frames))
        return await self.received()

    async def received(self) -> bytes:
        await settle()
        data, self.raw.written = self.raw.written, b""
        return data

    async def connect(self, client_id: str = "client") -> Peer:
        assert CONNACK_FRAME == await self.send(frame(2, connect_packet(client_id)))
        return self


@pytest.fixture
def world() -> World:
    return World()


async def test_output_longer_than_a_frame_is_several_messages(world: World) -> None:
    peer = await Peer(world).connect()
    peer.socket.write(b"x" * (MAX_FRAME_BYTES + 1))
    sent = await peer.received()
    assert b"\x82\x7e\xff\xff" + b"x" * MAX_FRAME_BYTES + b"\x82\x01x" == sent


async def test_a_flood_of_small_frames_is_dealt_with_in_many_turns(world: World) -> None:
    peer = await Peer(world).connect()
    peer.socket.data_received(frame(2, packet(0xC0)) * (TURN_BYTES // 8 * 2))
    assert not peer.raw.reading
    assert len(peer.raw.written) <= TURN_BYTES
    while not peer.raw.reading:
        await asyncio.sleep(0)
    assert TURN_BYTES // 8 * 2 == (await peer.received()).count(b"\xd0\x00")


async def test_a_turn_deals_with_so_many_frames_however_short(world: World) -> None:
    listener = await world.client("listener")
    await listener.subscribe("a")
    peer = await Peer(world).connect()
    publish = packet(0x30, string("a") + b"last words")
    flood = frame(9, b"a") * (10 * TURN_FRAMES)
    assert len(flood) < TURN_BYTES
    peer.socket.data_received(flood + frame(2, publish))
    turns = 0
    while peer.raw.written.count(b"\x8a") < 10 * TURN_FRAMES:
        assert len(peer.raw.written) == 3 * TURN_FRAMES * (turns + 1)
        assert not peer.raw.reading
        turns += 1
        await asyncio.sleep(0)
    assert 9 == turns
    assert [("a", b"last words", 0)] == await listener.messages()
    assert peer.raw.reading


async def test_frames_that_wait_count_though_the_client_is_gone(world: World) -> None:
    listener = await world.client("listener")
    await listener.subscribe("a")
    peer = await Peer(world).connect()
    publish = packet(0x30, string("a") + b"last words")
    peer.socket.data_received(frame(10) * (3 * TURN_FRAMES) + frame(2, publish))
    peer.socket.eof_received()
    assert [("a", b"last words", 0)] == await listener.messages()


@pytest.mark.parametrize("end", ["FIN", "Close frame", "text frame"])
async def test_what_came_before_the_end_counts_although_mqtt_has_not_judged_it(world: World, end: str) -> None:
    listener = await world.client("listener")
    await listener.subscribe("#")
    topics = [f"t/{number}" for number in range(5 * JUDGED_IN_A_TURN)]
    peer = await Peer(world).connect()
    flood = b"".join(frame(2, packet(0x30, string(topic))) for topic in topics)
    peer.socket.data_received(flood + {"FIN": b"", "Close frame": frame(8), "text frame": frame(1, b"x")}[end])
    if end == "FIN":
        peer.socket.eof_received()
    assert topics == [topic for topic, _, _ in await listener.messages()]


async def test_an_error_inside_in_a_later_turn_ends_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    peer = await Peer(world).connect()
    peer.socket.pause_reading()
    await peer.send(frame(2, packet(0xC0)))
    monkeypatch.setattr(type(peer.mqtt), "data_received", broken)
    peer.socket.resume_reading()
    await settle()
    assert peer.raw.aborted
    assert "ZeroDivisionError" in caplog.text
    assert 1 == len(world.plane.gone)


async def test_nothing_is_read_while_mqtt_takes_no_more(world: World) -> None:
    peer = await Peer(world).connect()
    peer.socket.pause_reading()
    assert not peer.raw.reading
    assert b"" == await peer.send(frame(2, packet(0xC0)))
    peer.socket.resume_reading()
    assert PINGRESP_FRAME == await peer.received()
    assert peer.raw.reading


async def test_a_full_transport_holds_mqtt_back(world: World) -> None:
    peer = await Peer(world).connect()
    peer.socket.pause_writing()
    assert peer.mqtt.blocked
    assert b"" == await peer.send(frame(2, packet(0xC0)))
    peer.socket.resume_writing()
    assert PINGRESP_FRAME == await peer.received()


async def test_pings_of_a_client_that_does_not_read_are_not_answered(world: World) -> None:
    peer = await Peer(world).connect()
    assert b"\x8a\x01a" == await peer.send(frame(9, b"a"))
    peer.socket.pause_writing()
    assert b"" == await peer.send(frame(9, b"b") * 1000)
    while not peer.raw.reading:  # all of them are dealt with
        await asyncio.sleep(0)
    assert b"" == await peer.received()
    peer.socket.resume_writing()
    assert b"\x8a\x01c" == await peer.send(frame(9, b"c"))


async def test_pongs_and_pings_do_not_keep_an_mqtt_session_alive(world: World) -> None:
    peer = await Peer(world).connect()
    for _ in range(10):
        world.pass_time(10)
        await peer.send(frame(9), frame(10))
    assert ["MQTT_KEEP_ALIVE_TIMEOUT"] == world.plane.gone


async def test_what_came_before_the_close_frame_counts(world: World) -> None:
    listener = await world.client("listener")
    await listener.subscribe("a")
    peer = await Peer(world).connect()
    publish = packet(0x30, string("a") + b"last words")
    assert b"\x88\x02\x03\xe8" == await peer.send(frame(2, publish), frame(8, b"\x03\xe8"), frame(2, publish))
    assert [("a", b"last words", 0)] == await listener.messages()
    assert peer.raw.closing
    assert ["CLIENT_INITIATED_DISCONNECT"] == world.plane.gone


async def test_a_disconnect_and_a_close_frame_in_one_read(world: World) -> None:
    peer = await Peer(world).connect()
    assert b"\x88\x02\x03\xe8" == await peer.send(frame(2, packet(0xE0)), frame(8))
    assert peer.raw.closing


async def test_our_close_waits_for_the_clients(world: World) -> None:
    peer = await Peer(world).connect()
    assert b"\x88\x02\x03\xe8" == await peer.send(frame(2, packet(0xE0)))
    assert not peer.raw.closing
    assert b"" == await peer.send(frame(2, packet(0xC0)))
    await peer.send(frame(8, b"\x03\xe8"))
    assert peer.raw.closing


@pytest.mark.parametrize("what", [frame(2, packet(0xE0)), frame(1, b"text")], ids=["in order", "broken"])
async def test_a_client_that_never_answers_our_close_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch, what: bytes
) -> None:
    timers: list[Callable[[], None]] = []
    peer = await Peer(world).connect()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda delay, call: timers.append(call) or _Timer(delay))
    await peer.send(what)
    await peer.send(frame(2, b"x" * 1000) * 100)  # goes nowhere
    assert not peer.raw.closing
    (expired,) = timers
    expired()
    assert peer.raw.closing


class _Timer:
    def __init__(self, delay: float) -> None:
        assert websocket.CLOSE_S == delay

    def cancel(self) -> None: ...


async def test_a_lost_connection_publishes_the_will(world: World) -> None:
    listener = await world.client("listener")
    await listener.subscribe("w")
    peer = Peer(world)
    will = string("MQTT") + b"\x04\x06\x00\x3c" + string("c") + string("w") + string("gone")
    await peer.send(frame(2, packet(0x10, will)))
    peer.socket.connection_lost(None)
    assert [("w", b"gone", 0)] == await listener.messages()


async def test_its_time_ends(world: World) -> None:
    world.plane.verdict = lambda facts: Admitted(  # type: ignore[method-assign]
        SCOPE, facts.certificate_id, "localhost", world.clock.now().timestamp() + 50, "WEBSOCKET_TTL_EXPIRATION"
    )
    peer = Peer(world)
    assert b"\x82" == (await peer.send(frame(2, connect_packet("client", 5))))[:1]
    world.pass_time(49)
    assert not peer.socket.is_closing()
    world.pass_time(2)
    assert b"\x82\x03\xe0\x01\x98\x88\x02\x03\xe8" == await peer.received()
    assert ["WEBSOCKET_TTL_EXPIRATION"] == world.plane.gone


async def test_the_end_of_the_server_is_told(world: World) -> None:
    peer = Peer(world)
    await peer.send(frame(2, connect_packet("client", 5)))
    closing = asyncio.create_task(world.gateway.close())
    assert b"\x82\x03\xe0\x01\x8b\x88\x02\x03\xe9" == await peer.received()
    await peer.send(frame(8, b"\x03\xe9"))
    await asyncio.wait_for(closing, 5)


async def test_a_connect_that_does_not_come(world: World) -> None:
    peer = Peer(world)
    await peer.send(frame(2, connect_packet("client")[:-1], fin=False), frame(9))
    world.pass_time(11)
    assert b"\x88\x02\x03\xe8" == await peer.received()
    assert ["CONNECT_TIMEOUT"] == world.plane.refusal_codes


async def test_a_shared_key_is_no_finding() -> None:
    class Observer:
        def certificate_shared(self, *found: object) -> None:
            raise AssertionError(found)

        client_id_taken = certificate_shared

    world = World(observer=Observer())
    await Peer(world).connect("one")
    await Peer(world).connect("two")
    await Peer(world).connect("two")
    await world.client("two", certificate="a")
