"""
TLS as an asyncio transport: what an application protocol writes to once the handshake is done.

The transport stands between uvloop's TCP transport ("raw"), whose protocol it
is, and the application protocol, whose transport it is. What is written in one
turn of the loop is gathered and encrypted once, at its end; all connections of
a listener share the one callback that does it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

from handfast.errors import ProtocolViolation
from handfast.seam import TLSFacts
from handfast.tls.deadlines import Deadlines
from handfast.tls.openssl.engine import MAX_ENCRYPT_BYTES, MAX_FEED_BYTES, Engine

_log = logging.getLogger(__name__)

LINGER_S: Final = 1.0
"""How long input is discarded after our last byte, so that a reset cannot overtake it."""
STUCK_S: Final = 10.0
"""How long a closing connection may go without taking a byte of what is still to be sent."""
SHRINK_S: Final = 1.0
"""How long a connection keeps the memory of a burst."""
SWOLLEN_BYTES: Final = 4096
"""Bursts above this leave buffers behind that are worth giving back."""
MAX_EVENTS: Final = 64
EVENTS_WINDOW_S: Final = 60.0
"""More KeyUpdates and renegotiations, read or answered, than MAX_EVENTS in this time end the connection."""

_HIGH_WATER_BYTES: Final = 64 * 1024
_UNEXPECTED_MESSAGE: Final = 10


class Turn:
    """What the connections of one listener share: the flush at the end of a loop turn, and their timeouts."""

    __slots__ = ("dirty", "flush", "lingering", "loop", "stuck", "swollen")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.dirty: list[TLSTransport] = []
        self.flush = self._flush
        self.lingering: Deadlines[TLSTransport] = Deadlines(loop, LINGER_S, TLSTransport.linger_expired)
        self.stuck: Deadlines[TLSTransport] = Deadlines(loop, STUCK_S, TLSTransport.stuck_expired)
        self.swollen: Deadlines[TLSTransport] = Deadlines(loop, SHRINK_S, TLSTransport.shrink)

    def _flush(self) -> None:
        dirty = self.dirty
        self.dirty = []
        for transport in dirty:
            try:
                transport.flush()
            except Exception:
                _log.exception("a connection's output could not be sent")
                transport.abort()


class TLSTransport(asyncio.Transport, asyncio.Protocol):
    """
    One open TLS connection.

    Differs from asyncio's own in three things: `write` returns before anything is
    encrypted; `close` sends close_notify and then discards input for up to
    `LINGER_S`, so that a peer that is still sending reads what was written last; and
    `connection_lost` comes to the application as soon as everything is handed to the
    kernel's side, not after that time.
    """

    __slots__ = (
        "_app_paused",
        "_chunks",
        "_closing",
        "_dirty",
        "_engine",
        "_eof",
        "_events_from",
        "_facts",
        "_fresh",
        "_held",
        "_high",
        "_low",
        "_progress",
        "_protocol",
        "_raw",
        "_raw_paused",
        "_read_paused",
        "_shut",
        "_size",
        "_slow",
        "_turn",
    )

    def __init__(
        self,
        raw: asyncio.Transport,
        engine: Engine,
        facts: TLSFacts,
        turn: Turn,
    ) -> None:
        # The base class's __init__ would make a dictionary; get_extra_info is answered from the facts.
        self._raw: asyncio.Transport | None = raw
        self._engine: Engine | None = engine
        self._facts = facts
        self._turn = turn
        self._protocol: asyncio.Protocol | None = None
        self._chunks: list[bytes] = []  # plaintext to be encrypted, each at most MAX_ENCRYPT_BYTES
        self._size = 0  # its bytes
        self._held = b""  # records received and not yet decrypted
        self._high = _HIGH_WATER_BYTES
        self._low = _HIGH_WATER_BYTES // 4
        self._fresh = True  # the buffers of the handshake are still there
        self._dirty = False  # in turn.dirty
        self._raw_paused = False  # the kernel takes no more for now
        self._app_paused = False  # the application was told so
        self._read_paused = False
        self._slow = False  # data_received has something else to look at first
        self._closing = False
        self._shut = False  # our last byte is written
        self._eof = False  # the peer's last byte is read
        self._progress = 0
        self._events_from: tuple[float, int] | None = None

    # --- asyncio.Transport ---------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sockname`, `sslcontext` (True), `tls_facts` (the TLSFacts); no socket."""
        facts = self._facts
        if name == "peername":
            return (facts.peer_address, facts.peer_port)
        if name == "sslcontext":
            return True
        if name == "tls_facts":
            return facts
        if name == "sockname" and self._raw is not None:
            return self._raw.get_extra_info("sockname", default)
        if name == "cipher":
            return (facts.cipher, facts.version, None)
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[return-value]

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not (self._closing or self._read_paused)

    def pause_reading(self) -> None:
        """No `data_received` from now on but for the plaintext of the records in hand (16 KB)."""
        if not self._closing and not self._read_paused:
            self._read_paused = self._slow = True
            assert self._raw is not None
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if not self._closing and self._read_paused:
            self._read_paused = False
            assert self._raw is not None
            self._raw.resume_reading()
            if self._held:
                self._turn.loop.call_soon(self._go_on_with_held)
            else:
                self._slow = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high = high
        self._low = low
        self._check_high_water()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (self._low, self._high)

    def get_write_buffer_size(self) -> int:
        """Bytes written that the kernel has not taken yet: the plaintext here and the records below."""
        return self._size + (self._raw.get_write_buffer_size() if self._raw is not None else 0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sent, encrypted, at the end of this turn of the loop. Ignored once the connection is closing."""
        if self._closing:
            return
        if type(data) is not bytes:
            data = bytes(data)
        length = len(data)
        if length <= MAX_ENCRYPT_BYTES:
            if not length:
                return
            self._chunks.append(data)
        else:
            self._chunks += [data[start : start + MAX_ENCRYPT_BYTES] for start in range(0, length, MAX_ENCRYPT_BYTES)]
        self._size += length
        if not self._dirty:
            self.touch()
        if self._size > _HIGH_WATER_BYTES:
            self._send()
        if self._size > self._high:
            self._check_high_water()

    def write_now(self, data: bytes) -> None:
        """
        Sent, encrypted, before this returns, where nothing waits and `data` is small; else as `write` does.

        For callers that gather a turn's output themselves: it saves them a second pass of the loop.
        """
        raw, engine = self._raw, self._engine
        if (
            self._dirty
            or self._fresh
            or self._chunks
            or self._closing
            or self._raw_paused
            or raw is None
            or engine is None
            or not 0 < len(data) <= SWOLLEN_BYTES
        ):
            self.write(data)
            return
        try:
            raw.write(engine.encrypt(data))
        except Exception:
            _log.exception("a connection's output could not be sent")
            self.abort()
            return
        if engine.failed:
            self._break(engine)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_many(self, chunks: list[bytes], size: int) -> None:
        """`write` for several at once: `size` is their sum, and none is empty or above MAX_ENCRYPT_BYTES."""
        if self._closing:
            return
        self._chunks += chunks
        self._size += size
        if not self._dirty:
            self.touch()
        if self._size > _HIGH_WATER_BYTES:
            self._send()
        if self._size > self._high:
            self._check_high_water()

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError("TLS connections are closed as a whole")

    def close(self) -> None:
        """Send what was written and close_notify; then the application's `connection_lost(None)`."""
        if self._closing:
            return
        self._stop_reading()
        if self._chunks:
            self._send()
        else:
            self._shut_down(None)

    def abort(self) -> None:
        """Drop everything and reset the connection; then `connection_lost(None)`."""
        if self._raw is None:
            return
        self._stop_reading()
        self._chunks = []
        self._size = 0
        self._raw.abort()

    # --- towards the application ---------------------------------------------------------------------------------

    def start(self, protocol: asyncio.Protocol) -> None:
        """The handshake is done: `connection_made`, then at once the data that came with it."""
        self._protocol = protocol
        protocol.connection_made(self)
        self.touch()  # session tickets, or in TLS 1.2 our Finished, wait to be sent
        if not self._closing:
            self.data_received(b"")

    def touch(self) -> None:
        """Flush at the end of this turn."""
        if not self._dirty:
            self._dirty = True
            turn = self._turn
            if not turn.dirty:
                turn.loop.call_soon(turn.flush)
            turn.dirty.append(self)

    def flush(self) -> None:
        """Encrypt and send what waits, as far as the kernel keeps up."""
        self._dirty = False
        if self._raw is None or self._shut:
            return
        if self._chunks:
            self._send()
        else:
            assert self._engine is not None
            out = self._engine.drain()
            if out:
                self._raw.write(out)
        if self._fresh:
            self._fresh = False
            self.shrink()

    def _send(self) -> None:
        chunks = self._chunks
        engine = self._engine
        raw = self._raw
        if self._raw_paused or engine is None or raw is None:
            return
        if self._size <= MAX_ENCRYPT_BYTES:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            self._size = 0
            if len(data) > SWOLLEN_BYTES:
                self._turn.swollen.add(self)
            raw.write(engine.encrypt(data))
        else:
            self._turn.swollen.add(self)
            sent = 0
            while sent < len(chunks) and not self._raw_paused and not engine.failed:
                first = sent
                size = len(chunks[first])
                sent += 1
                while sent < len(chunks) and size + len(chunks[sent]) <= MAX_ENCRYPT_BYTES:
                    size += len(chunks[sent])
                    sent += 1
                self._size -= size
                raw.write(engine.encrypt(b"".join(chunks[first:sent])))
            del chunks[:sent]
        if engine.failed:
            self._break(engine)
            return
        if self._app_paused and self._size <= self._low and not self._raw_paused:
            self._app_paused = False
            if self._protocol is not None:
                self._protocol.resume_writing()
        if self._closing and not chunks and not self._shut:
            self._shut_down(None)

    def _check_high_water(self) -> None:
        if self._size > self._high and not self._app_paused and not self._closing and self._protocol is not None:
            self._app_paused = True
            self._protocol.pause_writing()

    # --- asyncio.Protocol of the raw transport -------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        length = len(data)
        if self._slow or length > MAX_FEED_BYTES:
            if not self._closing:
                self._held += data
                self._receive_held()
            return
        engine = self._engine
        assert engine is not None
        plaintext = engine.receive(data)
        if plaintext:
            self._protocol.data_received(plaintext)  # type: ignore[union-attr]
        if length > SWOLLEN_BYTES:
            self._turn.swollen.add(self)
        if engine.attention:
            self._attend(engine)

    def _go_on_with_held(self) -> None:
        try:
            self._receive_held()
        except Exception:
            _log.exception("an application failed on what it had not wanted before")
            self.abort()

    def _receive_held(self) -> None:
        self._turn.swollen.add(self)
        while self._held and not self._read_paused and not self._closing:
            data = self._held[:MAX_FEED_BYTES]
            self._held = self._held[MAX_FEED_BYTES:]
            engine = self._engine
            assert engine is not None
            plaintext = engine.receive(data)
            if plaintext:
                self._protocol.data_received(plaintext)  # type: ignore[union-attr]
            if engine.attention:
                self._attend(engine)
        self._slow = self._closing or self._read_paused or bool(self._held)

    def _attend(self, engine: Engine) -> None:
        engine.attention = False
        if self._closing:
            return
        if engine.failed:
            self._break(engine)
        elif engine.closed:
            self._peer_is_done()
        else:
            self.touch()  # the answer to a KeyUpdate
            now = self._turn.loop.time()
            since, events = self._events_from or (now, 0)
            if now - since > EVENTS_WINDOW_S:
                since, events = now, engine.events
            self._events_from = (since, events)
            if engine.events - events > MAX_EVENTS:
                violation = ProtocolViolation("TLS: too many post-handshake messages", _UNEXPECTED_MESSAGE)
                self._stop_reading()
                self._chunks = []
                self._size = 0
                self._shut_down(violation)

    def _break(self, engine: Engine) -> None:
        """The peer broke TLS: its alert goes out, nothing else does."""
        reason = engine.errors[0] if engine.errors else "the record layer failed"
        self._stop_reading()
        self._chunks = []
        self._size = 0
        if not self._shut:
            self._shut_down(ProtocolViolation(f"TLS: {reason}", _UNEXPECTED_MESSAGE))

    def eof_received(self) -> bool:
        """The peer sent FIN, with or without a close_notify. True: the raw transport is left for us to close."""
        self._eof = True
        if self._shut:
            return False
        while self._read_paused and self._held and not self._closing:
            # What came before the end and was not wanted yet cannot be delivered later: there is no later.
            self._read_paused = False
            self._receive_held()
        self._peer_is_done()
        return self._raw is not None

    def _peer_is_done(self) -> None:
        if not self._closing:
            if self._protocol is not None:
                self._protocol.eof_received()
            self.close()

    def pause_writing(self) -> None:
        self._raw_paused = True

    def resume_writing(self) -> None:
        self._raw_paused = False
        if self._chunks:
            self._send()
        elif self._app_paused:
            self._app_paused = False
            if self._protocol is not None:
                self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        turn = self._turn
        turn.lingering.discard(self)
        turn.stuck.discard(self)
        turn.swollen.discard(self)
        self._closing = self._slow = self._shut = True
        self._raw = None  # breaks the cycle with it
        self._engine = None
        self._chunks = []
        self._size = 0
        self._held = b""
        self._report_lost(exc)

    # --- the end -------------------------------------------------------------------------------------------------

    def _stop_reading(self) -> None:
        self._closing = self._slow = True
        self._held = b""
        self._progress = self.get_write_buffer_size()
        self._turn.stuck.add(self)
        if self._read_paused and self._raw is not None and not self._eof:
            # What is discarded has to be read; a paused connection would not notice its end either.
            self._read_paused = False
            self._raw.resume_reading()

    def _shut_down(self, exc: Exception | None) -> None:
        raw, engine = self._raw, self._engine
        if raw is None or engine is None:
            return
        self._shut = True
        self._engine = None
        out = engine.shut_down()
        if out:
            raw.write(out)
        if self._eof:
            raw.close()
        else:
            raw.write_eof()
            self._turn.lingering.add(self)
        self._turn.loop.call_soon(self._report_lost, exc)

    def _report_lost(self, exc: Exception | None) -> None:
        protocol = self._protocol
        self._protocol = None
        if protocol is not None:
            protocol.connection_lost(exc)

    def linger_expired(self) -> None:
        """Give up waiting for the peer's FIN, unless it is still taking what was written."""
        if self._raw is not None and not self._raw.get_write_buffer_size():
            self._raw.abort()

    def stuck_expired(self) -> None:
        """Give up on a peer that takes nothing."""
        if self._raw is None:
            return
        left = self.get_write_buffer_size()
        if left and left < self._progress:
            self._progress = left
            self._turn.stuck.add(self)
        else:
            self._raw.abort()

    def shrink(self) -> None:
        """Give back what a burst left; tried again later while the connection is busy."""
        if self._engine is not None and not self._shut and (self._size or not self._engine.release()):
            self._turn.swollen.add(self)
