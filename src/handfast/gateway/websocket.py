"""
WebSocket as an asyncio transport (RFC 6455): what MQTT writes to when it comes over HTTP.

The transport stands between the connection that was upgraded ("raw"), whose
protocol it is, and the MQTT connection, whose transport it is. Frames are
wsproto's; the bytes of binary messages are one stream, in which MQTT packets
span and share frames as they like [MQTT-6.0.0-2]. Whatever else a client sends
ends the connection: text, unmasked frames, extensions, messages without end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from handfast.core.mqtt.reasons import Code
from handfast.errors import ProtocolViolation

if TYPE_CHECKING:
    from handfast.gateway.connection import MQTTConnection

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Of one message, whose frames pass as they come: seven of the largest MQTT packets, for clients that gather them."""
MAX_FRAME_BYTES: Final = 65_535
"""Of one frame of ours: its length still fits in two bytes."""
CLOSE_S: Final = 0.5
"""How long the answer to our Close frame is awaited before the connection is closed without it."""
TURN_BYTES: Final = 16 * 1024
"""Read in one turn of the loop."""
TURN_FRAMES: Final = 64
"""Dealt with in one turn: a frame may be six bytes long, takes the library as long as a large one, and others wait."""


class WebSocketTransport(asyncio.Transport, asyncio.Protocol):
    """One WebSocket connection, from the answer to its upgrade on. What waits to be sent waits in the raw transport."""

    __slots__ = (
        "_app_paused",
        "_broken",
        "_close_code",
        "_closing",
        "_connection",
        "_frames",
        "_full",
        "_held",
        "_lost",
        "_message_bytes",
        "_more",
        "_raw",
        "_send",
        "_timer",
        "_turn_over",
    )

    def __init__(self, connection: MQTTConnection) -> None:
        # The base class's __init__ would make a dictionary; get_extra_info is answered by the raw transport.
        self._connection = connection
        self._frames = Connection(ConnectionType.SERVER)
        self._raw: asyncio.Transport | None = None
        self._send: Callable[[bytes], None] = _nowhere  # one frame, at once where the raw transport can
        self._message_bytes = 0  # of the message that is under way
        self._held = b""  # received, to be dealt with in a later turn or once MQTT takes more
        self._more = False  # the library holds more frames than this turn's share
        self._turn_over = False  # this turn's share was read
        self._app_paused = False
        self._full = False  # the raw transport takes no more for now
        self._closing = False
        self._broken = False
        self._close_code: int = CloseReason.NORMAL_CLOSURE
        self._timer: asyncio.TimerHandle | None = None
        self._lost = False

    # --- asyncio.Transport, for MQTT -----------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the raw transport knows."""
        return self._raw.get_extra_info(name, default) if self._raw is not None else default

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not (self._closing or self._app_paused)

    def pause_reading(self) -> None:
        """No `data_received` from now on but for what was read already (16 KB)."""
        if not self._closing and not self._app_paused:
            self._app_paused = True
            self._watch_reading()

    def resume_reading(self) -> None:
        if not self._closing and self._app_paused:
            self._app_paused = False
            if self._waits:
                self._end_turn()
            else:
                self._watch_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._raw is not None:
            self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size() if self._raw is not None else 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """One binary message, or more of them where `data` is long. Ignored once the connection is closing."""
        if self._raw is not None:
            self._write(data, self._raw.write)

    def write_now(self, data: bytes) -> None:
        """As `write`; sent before this returns where the raw transport can."""
        self._write(data, self._send)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        """Send what was written and a Close frame; closed once the client answers it, at the latest after CLOSE_S."""
        raw = self._raw
        if self._closing or raw is None:
            return
        self._closing = True
        self._held = b""
        if self._close_code == CloseReason.NORMAL_CLOSURE and self._connection.gateway.closing:
            self._close_code = CloseReason.GOING_AWAY
        if self._frames.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            raw.write(self._frames.send(CloseConnection(code=self._close_code)))
        if self._frames.state is not ConnectionState.LOCAL_CLOSING:
            raw.close()
            return
        if not raw.is_closing():
            raw.resume_reading()  # the answer has to be read
        self._timer = asyncio.get_running_loop().call_later(CLOSE_S, raw.close)

    def abort(self) -> None:
        """Drop everything and reset the connection."""
        self._closing = True
        if self._raw is not None:
            self._raw.abort()

    def _write(self, data: bytes | bytearray | memoryview, send: Callable[[bytes], None]) -> None:
        if self._closing or not data or self._frames.state is not ConnectionState.OPEN:
            return
        if len(data) <= MAX_FRAME_BYTES:
            send(binary_message(data))
            return
        for start in range(0, len(data), MAX_FRAME_BYTES):
            send(binary_message(data[start : start + MAX_FRAME_BYTES]))

    # --- asyncio.Protocol of the raw transport -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The upgrade was answered over `transport`."""
        # uvloop's transports have the interface without the base class.
        self._raw = cast("asyncio.Transport", transport)
        self._send = getattr(transport, "write_now", self._raw.write)
        self._connection.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of frames: dealt with now, or in later turns where they are many."""
        if self._turn_over or self._waits or (self._app_paused and not self._closing):
            self._held += data
            self._watch_reading()
            return
        self._read(data)

    def eof_received(self) -> bool:
        """The client's FIN; without a Close frame before it the connection is simply lost."""
        while self._waits and not self._closing:  # there is no later
            held, self._held = self._held, b""
            self._feed(held)
        self._connection.eof_received()
        return False

    def pause_writing(self) -> None:
        self._full = True
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._raw = None
        self._send = _nowhere
        self._held = b""
        self._more = False
        self._connection.connection_lost(exc)

    # --- frames --------------------------------------------------------------------------------------------------

    @property
    def _waits(self) -> bool:
        """Whether something that was received is to be dealt with."""
        return self._more or bool(self._held)

    def _read(self, data: bytes) -> None:
        """At most TURN_BYTES, and TURN_FRAMES of them, now; the rest waits."""
        if len(data) > TURN_BYTES:
            data, self._held = data[:TURN_BYTES], data[TURN_BYTES:]
        self._feed(data)
        if self._waits or len(data) * 2 > TURN_BYTES:
            self._end_turn()

    def _end_turn(self) -> None:
        """What is held, and what comes meanwhile, is dealt with in the next turn."""
        if not self._turn_over:
            self._turn_over = True
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._watch_reading()

    def _next_turn(self) -> None:
        self._turn_over = False
        if self._waits and (self._closing or not self._app_paused):
            held = b""
            if not self._more:
                held, self._held = self._held, b""
            try:
                self._read(held)
            except Exception:  # nobody else would end the connection over it: this turn is the loop's
                _log.exception("MQTT failed on what a WebSocket had held")
                self.abort()
                return
        self._watch_reading()

    def _watch_reading(self) -> None:
        """The raw transport is read while nothing waits here and MQTT takes more."""
        raw = self._raw
        if raw is None or raw.is_closing():
            return
        if self._waits or (self._app_paused and not self._closing):
            raw.pause_reading()
        else:
            raw.resume_reading()

    def _feed(self, data: bytes) -> None:
        """The frames of `data`, behind those that the library holds; at most TURN_FRAMES of them."""
        frames = self._frames
        self._more = False
        if frames.state not in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING) or self._broken:
            return  # nothing counts behind a Close frame, or behind what breaks the protocol
        frames.receive_data(data)
        left = TURN_FRAMES
        chunks: list[bytes] = []
        broken: tuple[str, int, Code] | None = None
        closed = False
        for event in frames.events():
            if isinstance(event, BytesMessage):
                chunks.append(bytes(event.data))
                self._message_bytes += len(event.data)
                if self._message_bytes > MAX_MESSAGE_BYTES:
                    said = f"a message of more than {MAX_MESSAGE_BYTES} bytes"
                    broken = (said, CloseReason.MESSAGE_TOO_BIG, Code.PACKET_TOO_LARGE)
                    break
                if event.message_finished:
                    self._message_bytes = 0
            elif isinstance(event, Ping):
                # One who does not read gets no answers; the last of several pings is answer enough (§5.5.3).
                if not self._full and not self._closing and self._raw is not None:
                    self._raw.write(frames.send(event.response()))
            elif isinstance(event, TextMessage):  # [MQTT-6.0.0-1]
                broken = ("a text frame", CloseReason.UNSUPPORTED_DATA, Code.MALFORMED_PACKET)
                break
            elif isinstance(event, CloseConnection):
                closed = frames.state in (ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED)
                if not closed:  # the library's form of what it could not parse
                    broken = (event.reason or "a malformed frame", event.code, Code.MALFORMED_PACKET)
                break
            left -= 1
            if not left:
                self._more = True
                break
        if chunks and not self._closing:
            self._connection.data_received(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if closed:
            self._closed_by_client()
        elif broken is not None:
            self._break(*broken)

    def _closed_by_client(self) -> None:
        raw = self._raw
        if raw is None:
            return
        if self._frames.state is ConnectionState.REMOTE_CLOSING:
            raw.write(self._frames.send(CloseConnection(code=CloseReason.NORMAL_CLOSURE)))
        if self._closing:
            raw.close()  # this was the answer to ours
            return
        self._connection.finish_turns()
        # A Close frame is a leave that the client takes, as DISCONNECT is: no Will.
        self._connection.will = None
        self._connection.close(b"", "CLIENT_INITIATED_DISCONNECT")
        self.close()

    def _break(self, what: str, code: int, reason: Code) -> None:
        """The client broke RFC 6455: recorded, told by the Close frame, closed."""
        self._broken = True
        if self._closing:
            if self._raw is not None:
                self._raw.close()
            return
        self._connection.finish_turns()
        self._close_code = code
        self._connection.violated(ProtocolViolation(f"WebSocket: {what}", reason))
        self.close()


def binary_message(data: bytes | bytearray | memoryview) -> bytes:
    """
    A whole message in one frame of a server: FIN, binary, not masked (§5.2). At most MAX_FRAME_BYTES.

    Made here, since the library takes twenty microseconds for it, and each subscriber's every turn needs one.
    """
    length = len(data)
    if length < 126:
        return bytes((0x82, length)) + data
    return b"\x82\x7e" + length.to_bytes(2, "big") + data


def _nowhere(_: bytes) -> None:
    """Where output goes once the connection is lost."""
