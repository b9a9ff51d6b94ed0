"""The data representations of MQTT (§1.5): integers, strings and binary data, with every bound checked."""

from __future__ import annotations

from handfast.core.mqtt.reasons import Code
from handfast.errors import ProtocolViolation

MAX_VARIABLE_INTEGER = 268_435_455


def malformed(message: str) -> ProtocolViolation:
    """A Malformed Packet (0x81): the bytes cannot be parsed as the standard says."""
    return ProtocolViolation(message, Code.MALFORMED_PACKET)


def protocol_error(message: str) -> ProtocolViolation:
    """A Protocol Error (0x82): well-formed, but not allowed here."""
    return ProtocolViolation(message, Code.PROTOCOL_ERROR)


def encode_variable(value: int) -> bytes:
    """A Variable Byte Integer (§1.5.5), 1..4 bytes."""
    if value < 128:
        return bytes((value,))
    if value > MAX_VARIABLE_INTEGER:
        raise ValueError(f"{value} does not fit a Variable Byte Integer")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_header(data: bytes, position: int, end: int) -> tuple[int, int]:
    """
    The Remaining Length of the packet that begins at `position`, and where its body starts.

    (-1, 0) while the fixed header is incomplete. Raises ProtocolViolation for a
    length of more than four bytes.
    """
    at = position + 1
    length = 0
    shift = 0
    while at < end:
        byte = data[at]
        at += 1
        length |= (byte & 127) << shift
        if byte < 128:
            # [MQTT-1.5.5-1] the encoded value MUST use the minimum number of bytes
            if byte == 0 and shift:
                raise malformed("the Remaining Length is not in its shortest form")
            return length, at
        shift += 7
        if shift > 21:
            raise malformed("the Remaining Length has more than four bytes")
    return -1, 0


def encode_text(text: str) -> bytes:
    """A UTF-8 Encoded String (§1.5.4)."""
    return encode_binary(text.encode())


def encode_binary(data: bytes) -> bytes:
    """Binary Data (§1.5.6): two bytes of length, then the bytes."""
    if len(data) > 65_535:
        raise ValueError(f"{len(data)} bytes do not fit a field of at most 65535")
    return len(data).to_bytes(2, "big") + data


def decode_text(data: bytes, what: str) -> str:
    """Strict UTF-8 without U+0000 and surrogates [MQTT-1.5.4-1], [MQTT-1.5.4-2]."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise malformed(f"{what} is not UTF-8") from None
    if "\0" in text:
        raise malformed(f"{what} holds the character U+0000")
    return text


class Reader:
    """A cursor over the body of one packet. Every read past the end is a Malformed Packet."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.end = len(data)

    def _take(self, size: int, what: str) -> int:
        at = self.position
        if at + size > self.end:
            raise malformed(f"the packet ends inside its {what}")
        self.position = at + size
        return at

    def byte(self, what: str) -> int:
        """One byte."""
        return self.data[self._take(1, what)]

    def two(self, what: str) -> int:
        """A Two Byte Integer."""
        at = self._take(2, what)
        return self.data[at] << 8 | self.data[at + 1]

    def four(self, what: str) -> int:
        """A Four Byte Integer."""
        at = self._take(4, what)
        return int.from_bytes(self.data[at : at + 4], "big")

    def variable(self, what: str) -> int:
        """A Variable Byte Integer."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte(what)
            value |= (byte & 127) << shift
            if byte < 128:
                if byte == 0 and shift:
                    raise malformed(f"the {what} is not in its shortest form")
                return value
        raise malformed(f"the {what} has more than four bytes")

    def binary(self, what: str) -> bytes:
        """Binary Data."""
        size = self.two(what)
        at = self._take(size, what)
        return self.data[at : at + size]

    def text(self, what: str) -> str:
        """A UTF-8 Encoded String."""
        return decode_text(self.binary(what), f"the {what}")

    def take(self, size: int, what: str) -> bytes:
        """Exactly `size` bytes."""
        at = self._take(size, what)
        return self.data[at : at + size]

    def rest(self) -> bytes:
        """Everything that is left."""
        at = self.position
        self.position = self.end
        return self.data[at:]

    @property
    def at_end(self) -> bool:
        """True when nothing is left."""
        return self.position == self.end

    def finish(self, what: str) -> None:
        """Nothing may be left."""
        if self.position != self.end:
            raise malformed(f"{self.end - self.position} bytes follow the end of the {what}")
