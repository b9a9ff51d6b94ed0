"""
A ClientHello read from the bytes of a connection before OpenSSL sees them: pure and bounded.

`ClientHelloReader.feed` takes whatever arrived and answers NEED_MORE, a `Bad`
with the alert that says no, or a `ClientHello`. The answer depends only on the
bytes, never on how they were cut. OpenSSL parses the same bytes again, so this
reader is strict about structure (RFC 8446 §4.1.2, §4.2, §5.1) and about the
extensions that decide something here, and leaves the rest to OpenSSL.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from handfast.core.identity.refusal import ReasonCode
from handfast.tls import iana

MAX_HELLO_BYTES: Final = 16 * 1024
"""The longest handshake message taken; a post-quantum hello of 2026 has 1.5 KB."""
MAX_HELD_BYTES: Final = 32 * 1024
"""The most that is held while waiting, record headers included: a hello cut into records of a few bytes ends here."""
MAX_SNI_BYTES: Final = 255

TLS12: Final = 0x0303
TLS13: Final = 0x0304

_HANDSHAKE: Final = 22
_CHANGE_CIPHER_SPEC: Final = 20
_CLIENT_HELLO: Final = 1
_MAX_RECORD_BYTES: Final = 1 << 14

ALERT_UNEXPECTED_MESSAGE: Final = 10
ALERT_HANDSHAKE_FAILURE: Final = 40
ALERT_ILLEGAL_PARAMETER: Final = 47
ALERT_DECODE_ERROR: Final = 50
ALERT_PROTOCOL_VERSION: Final = 70
ALERT_INTERNAL_ERROR: Final = 80
ALERT_MISSING_EXTENSION: Final = 109
ALERT_NO_APPLICATION_PROTOCOL: Final = 120

_SERVER_NAME: Final = 0
_SUPPORTED_GROUPS: Final = 10
_SIGNATURE_ALGORITHMS: Final = 13
_ALPN: Final = 16
_SESSION_TICKET: Final = 35
_PRE_SHARED_KEY: Final = 41
_EARLY_DATA: Final = 42
_SUPPORTED_VERSIONS: Final = 43
_SIGNATURE_ALGORITHMS_CERT: Final = 50

_EXTENSION = struct.Struct(">HH").unpack_from
_U16_ARRAYS: Final = tuple(struct.Struct(f">{count}H") for count in range(64))
_SNI_CHARACTERS: Final = frozenset(range(0x21, 0x7F)) - {0x5C}
_SNI_DELETE: Final = bytes(_SNI_CHARACTERS)


class NeedMore:
    """The bytes so far are the beginning of a ClientHello, as far as can be told."""

    __slots__ = ()


NEED_MORE: Final = NeedMore()


class Bad:
    """Not a ClientHello that can be taken: the alert to send (RFC 8446 §6), why, and plain words for the record."""

    __slots__ = ("alert", "code", "detail")

    def __init__(self, alert: int, code: ReasonCode, detail: str) -> None:
        self.alert = alert
        self.code = code
        self.detail = detail

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bad) and (self.alert, self.code, self.detail) == (
            other.alert,
            other.code,
            other.detail,
        )

    def __hash__(self) -> int:
        return hash((self.alert, self.code, self.detail))

    def __repr__(self) -> str:
        return f"Bad({self.alert}, {self.code}, {self.detail!r})"


class ClientHello:
    """
    What a client offers, in its own order.

    `sni` is the host_name as sent, except that a byte that is not a printable
    ASCII character (or is a backslash) stands there as `\\xNN`: safe to show,
    nothing lost, and never equal to the name of an endpoint. `signature_schemes`
    and `groups` are None where the extension is absent, which is not the same
    as empty.
    """

    __slots__ = (
        "alpn",
        "cipher_suites",
        "extensions",
        "groups",
        "legacy_version",
        "session_id",
        "signature_schemes",
        "signature_schemes_cert",
        "sni",
        "versions",
    )

    def __init__(
        self,
        *,
        legacy_version: int,
        session_id: bytes,
        cipher_suites: tuple[int, ...],
        extensions: tuple[int, ...],
        sni: str | None,
        alpn: tuple[bytes, ...],
        versions: tuple[int, ...] | None,
        signature_schemes: tuple[int, ...] | None,
        signature_schemes_cert: tuple[int, ...] | None,
        groups: tuple[int, ...] | None,
    ) -> None:
        self.legacy_version = legacy_version
        self.session_id = session_id
        self.cipher_suites = cipher_suites
        self.extensions = extensions
        self.sni = sni
        self.alpn = alpn
        self.versions = versions
        self.signature_schemes = signature_schemes
        self.signature_schemes_cert = signature_schemes_cert
        self.groups = groups

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClientHello) and all(
            getattr(self, field) == getattr(other, field) for field in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ClientHello({self.summary()!r})"

    @property
    def offers_tls13(self) -> bool:
        """supported_versions decides where it is present (RFC 8446 §4.2.1)."""
        return self.versions is not None and TLS13 in self.versions

    @property
    def offers_tls12(self) -> bool:
        return TLS12 in self.versions if self.versions is not None else self.legacy_version >= TLS12

    @property
    def offers_ticket(self) -> bool:
        return _SESSION_TICKET in self.extensions

    @property
    def offers_psk(self) -> bool:
        return _PRE_SHARED_KEY in self.extensions

    @property
    def offers_early_data(self) -> bool:
        return _EARLY_DATA in self.extensions

    @property
    def offers_hybrid(self) -> bool:
        """A group with ML-KEM in it; only TLS 1.3 can agree on one."""
        return self.groups is not None and not iana.HYBRID_GROUPS.isdisjoint(self.groups) and self.offers_tls13

    def summary(self) -> dict[str, str]:
        """
        What was offered, by IANA name, in at most a few KB of printable ASCII: for the record of a refusal.

        Keys: versions, cipher_suites, groups, signature_algorithms,
        certificate_signature_algorithms, alpn, resumption; absent where not offered.
        """
        versions = self.versions if self.versions is not None else (self.legacy_version,)
        facts = {
            "versions": iana.names(iana.VERSIONS, versions, 16),
            "cipher_suites": iana.names(iana.CIPHER_SUITES, self.cipher_suites),
        }
        if self.groups is not None:
            facts["groups"] = iana.names(iana.GROUPS, self.groups)
        if self.signature_schemes is not None:
            facts["signature_algorithms"] = iana.names(iana.SIGNATURE_SCHEMES, self.signature_schemes)
        if self.signature_schemes_cert is not None:
            facts["certificate_signature_algorithms"] = iana.names(iana.SIGNATURE_SCHEMES, self.signature_schemes_cert)
        if self.alpn:
            facts["alpn"] = self.alpn_text()
        resumption = [
            word
            for word, offered in (
                ("session id", bool(self.session_id) and not self.offers_tls13),  # 1.3 fills it for middleboxes
                ("session ticket", self.offers_ticket),
                ("pre-shared key", self.offers_psk),
                ("early data", self.offers_early_data),
            )
            if offered
        ]
        if resumption:
            facts["resumption"] = ", ".join(resumption)
        return facts

    def alpn_text(self) -> str:
        """The protocol names offered, printable, at most 8 of them and 255 characters."""
        return ", ".join(printable(name[:64]) for name in self.alpn[:8])[:255]


class Offered(Mapping[str, str]):
    """
    `ClientHello.summary()`, each key with `prefix` before it, computed when somebody looks.

    A connection that is admitted never pays for it, nor does one that is refused and only counted.
    """

    __slots__ = ("_facts", "_hello", "_prefix")

    def __init__(self, hello: ClientHello, prefix: str = "") -> None:
        self._hello: ClientHello | None = hello
        self._prefix = prefix
        self._facts: dict[str, str] | None = None

    def _load(self) -> dict[str, str]:
        if self._facts is None:
            assert self._hello is not None
            self._facts = {self._prefix + key: text for key, text in self._hello.summary().items()}
            self._hello = None
        return self._facts

    def __getitem__(self, key: str) -> str:
        return self._load()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())

    def __repr__(self) -> str:
        return repr(self._load())


def printable(raw: bytes) -> str:
    """ASCII text of `raw`: printable characters but the backslash as they are, every other byte as `\\xNN`."""
    if not raw.translate(None, _SNI_DELETE):
        return raw.decode("ascii")
    return "".join(chr(byte) if byte in _SNI_CHARACTERS else f"\\x{byte:02x}" for byte in raw)


class ClientHelloReader:
    """
    One ClientHello out of records, incrementally. After anything but NEED_MORE it is spent.

    Args:
        after_retry: The second hello after a HelloRetryRequest: one compatibility
            change_cipher_spec record may stand before it (RFC 8446 §D.4).
    """

    __slots__ = ("_ccs_allowed", "_message", "_position", "_raw")

    def __init__(self, *, after_retry: bool = False) -> None:
        self._raw: bytes | bytearray = b""
        self._message = b""
        self._position = 0  # of the first record whose payload is not yet in _message
        self._ccs_allowed = after_retry

    @property
    def held_bytes(self) -> int:
        """How much was fed."""
        return len(self._raw)

    def take(self) -> tuple[bytes, bytes]:
        """Everything fed, to be handed to OpenSSL: the records of the hello, and what came behind them."""
        if self._position == len(self._raw):
            return bytes(self._raw), b""
        return bytes(self._raw[: self._position]), bytes(self._raw[self._position :])

    def feed(self, data: bytes) -> NeedMore | Bad | ClientHello:
        """What all the bytes fed so far amount to."""
        if not self._raw:
            # The usual hello: one message in one record in one segment, parsed where it lies.
            if len(data) > 9 and data[0] == _HANDSHAKE and data[1] == 3 and data[5] == _CLIENT_HELLO:
                length = data[3] << 8 | data[4]
                message = data[6] << 16 | data[7] << 8 | data[8]
                if message + 4 == length and length <= MAX_HELLO_BYTES and len(data) >= length + 5:
                    self._raw = data
                    self._position = length + 5
                    return parse(data, 9, 9 + message)
            self._raw = bytearray(data)
        else:
            assert isinstance(self._raw, bytearray)
            self._raw += data
        return self._advance(self._raw)

    def _advance(self, raw: bytearray) -> NeedMore | Bad | ClientHello:
        while True:
            start = self._position
            available = len(raw) - start
            if not available:
                return NEED_MORE
            kind = raw[start]
            if kind == _CHANGE_CIPHER_SPEC and self._ccs_allowed:
                if available < 6:
                    return NEED_MORE
                if raw[start + 1] != 3 or raw[start + 3 : start + 6] != b"\x00\x01\x01":
                    return _unexpected("a malformed change_cipher_spec record")
                self._ccs_allowed = False
                self._position = start + 6
                continue
            if kind != _HANDSHAKE:
                return _not_handshake(kind, first=start == 0)
            if available > 1 and raw[start + 1] != 3:
                if start == 0:
                    detail = f"the second byte is 0x{raw[start + 1]:02x}, not the 0x03 of a TLS record"
                    return Bad(ALERT_PROTOCOL_VERSION, ReasonCode.NOT_TLS, detail)
                return _malformed("a record of another protocol version within the ClientHello")
            if available < 5:
                return NEED_MORE
            length = raw[start + 3] << 8 | raw[start + 4]
            if length == 0:
                return _malformed("an empty handshake record")  # RFC 8446 §5.1
            if length > _MAX_RECORD_BYTES:
                return _oversized(f"a record of {length} bytes, more than the {_MAX_RECORD_BYTES} of TLS")
            end = start + 5 + length
            if end > MAX_HELD_BYTES:
                return _oversized(f"more than {MAX_HELD_BYTES} bytes before the end of the ClientHello")
            head = (self._message[:4] + raw[start + 5 : min(end, start + 9)])[:4]
            message = -1  # not known yet
            if head and head[0] != _CLIENT_HELLO:
                return _unexpected(f"handshake message of type {head[0]}")
            if len(head) == 4:
                message = (head[1] << 16 | head[2] << 8 | head[3]) + 4
                if message > MAX_HELLO_BYTES:
                    return _oversized(f"a ClientHello of {message} bytes; at most {MAX_HELLO_BYTES} are taken")
                if len(self._message) + length > message:
                    return _malformed("bytes after the ClientHello in its record")
            if available < 5 + length:
                return NEED_MORE
            self._message += raw[start + 5 : end]
            self._position = end
            if len(self._message) == message:
                return parse(self._message, 4, message)


def parse(data: bytes, position: int, end: int) -> Bad | ClientHello:
    """The ClientHello whose body is `data[position:end]`, without record or message header."""
    try:
        return _parse(data, position, end)
    except _Malformed as exc:
        return _malformed(exc.args[0])
    except (IndexError, struct.error):
        # `data` may be longer than the message: what reads past `end` is caught by the checks, this is its end.
        return _malformed("the message ends within a field")


class _Malformed(Exception):
    pass


def _parse(data: bytes, position: int, end: int) -> ClientHello:
    if end - position < 38:
        raise _Malformed("shorter than its fixed fields")
    legacy_version = data[position] << 8 | data[position + 1]
    session_end = position + 35 + data[position + 34]
    if session_end > position + 67 or session_end + 2 > end:
        raise _Malformed("bad session id length")
    session_id = data[position + 35 : session_end]

    suites_end = session_end + 2 + (data[session_end] << 8 | data[session_end + 1])
    if suites_end + 1 > end:
        raise _Malformed("cipher suites longer than the message")
    cipher_suites = _u16s(data[session_end + 2 : suites_end], "cipher suites")

    position = suites_end + 1 + data[suites_end]
    if position > end:
        raise _Malformed("compression methods longer than the message")
    if 0 not in data[suites_end + 1 : position]:
        raise _Malformed("the null compression method is not offered")

    extensions: dict[int, bytes] = {}
    if position != end:
        if position + 2 > end or position + 2 + (data[position] << 8 | data[position + 1]) != end:
            raise _Malformed("the extensions do not end where the message does")
        position += 2
        while position < end:
            if position + 4 > end:
                raise _Malformed("bytes after the last extension")
            kind, length = _EXTENSION(data, position)
            position += 4
            following = position + length
            if following > end:
                raise _Malformed(f"extension {kind} is longer than the message")
            if kind in extensions:
                raise _Malformed(f"extension {kind} appears twice")
            extensions[kind] = data[position:following]
            position = following

    get = extensions.get
    field = get(_SERVER_NAME)
    sni = None if field is None else _server_name(field)
    field = get(_ALPN)
    alpn = () if field is None else _protocol_names(field)
    field = get(_SUPPORTED_VERSIONS)
    if field is None:
        versions = None
    else:
        if not field or field[0] != len(field) - 1:
            raise _Malformed("bad length in supported_versions")
        versions = _u16s(field[1:], "supported_versions")
    return ClientHello(
        legacy_version=legacy_version,
        session_id=session_id,
        cipher_suites=cipher_suites,
        extensions=tuple(extensions),
        sni=sni,
        alpn=alpn,
        versions=versions,
        signature_schemes=_u16_vector(get(_SIGNATURE_ALGORITHMS), "signature_algorithms"),
        signature_schemes_cert=_u16_vector(get(_SIGNATURE_ALGORITHMS_CERT), "signature_algorithms_cert"),
        groups=_u16_vector(get(_SUPPORTED_GROUPS), "supported_groups"),
    )


def _u16s(field: bytes, what: str) -> tuple[int, ...]:
    count, odd = divmod(len(field), 2)
    if odd or not count:
        raise _Malformed(f"bad length in {what}")
    if count < 64:
        return _U16_ARRAYS[count].unpack(field)
    return struct.unpack(f">{count}H", field)


def _u16_vector(field: bytes | None, what: str) -> tuple[int, ...] | None:
    if field is None:
        return None
    if len(field) < 2 or (field[0] << 8 | field[1]) != len(field) - 2:
        raise _Malformed(f"bad length in {what}")
    return _u16s(field[2:], what)


def _server_name(field: bytes) -> str:
    # RFC 6066 §3: a list of names, at most one of each type, and host_name (0) is the only type there is.
    if len(field) < 5 or (field[0] << 8 | field[1]) != len(field) - 2:
        raise _Malformed("bad length in server_name")
    if field[2] != 0:
        raise _Malformed("a server_name that is not a host_name")
    length = field[3] << 8 | field[4]
    if length != len(field) - 5:
        raise _Malformed("server_name holds more than one name, or bytes after it")
    if not 0 < length <= MAX_SNI_BYTES:
        raise _Malformed(f"a host_name of {length} bytes; 1 to {MAX_SNI_BYTES} are taken")
    return printable(field[5:])


def _protocol_names(field: bytes) -> tuple[bytes, ...]:
    if len(field) < 2 or (field[0] << 8 | field[1]) != len(field) - 2:
        raise _Malformed("bad length in the ALPN extension")
    names = []
    position, end = 2, len(field)
    while position < end:
        following = position + 1 + field[position]
        if following > end or following == position + 1:
            raise _Malformed("an empty or too long protocol name in the ALPN extension")
        names.append(field[position + 1 : following])
        position = following
    if not names:
        raise _Malformed("an empty ALPN extension")
    return tuple(names)


def _malformed(detail: str) -> Bad:
    return Bad(ALERT_DECODE_ERROR, ReasonCode.MALFORMED_CLIENT_HELLO, detail)


def _unexpected(what: str) -> Bad:
    detail = f"{what} where a ClientHello was expected"
    return Bad(ALERT_UNEXPECTED_MESSAGE, ReasonCode.MALFORMED_CLIENT_HELLO, detail)


def _oversized(detail: str) -> Bad:
    return Bad(ALERT_ILLEGAL_PARAMETER, ReasonCode.OVERSIZED_CLIENT_HELLO, detail)


def _not_handshake(kind: int, *, first: bool) -> Bad:
    if kind in (_CHANGE_CIPHER_SPEC, 21, 23, 24):
        names = {_CHANGE_CIPHER_SPEC: "change_cipher_spec", 21: "alert", 23: "application data", 24: "heartbeat"}
        return _unexpected(f"a TLS record of type {names[kind]}")
    if not first:
        return _unexpected(f"a record of type {kind}")
    if kind == 0x10:
        guess = "an MQTT CONNECT in plain text"
    elif 0x41 <= kind <= 0x5A:
        guess = "an HTTP request in plain text"
    elif kind & 0x80:
        guess = "an SSLv2 hello, or no TLS at all"
    else:
        guess = "no TLS"
    detail = f"the first byte is 0x{kind:02x}, not the 0x16 of a TLS handshake: {guess}"
    return Bad(ALERT_UNEXPECTED_MESSAGE, ReasonCode.NOT_TLS, detail)
