"""
The PROXY protocol's header, versions 1 and 2, read from the bytes of a connection: pure and bounded.

A balancer sends it before anything of the client's, so that the server learns
whose connection it hands on (haproxy's proxy-protocol.txt, 2020-03-05). As with
a ClientHello the answer depends only on the bytes, never on how they were cut.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

MAX_V1_BYTES: Final = 107
"""The longest header of version 1, its CRLF included (§2.1)."""
MAX_V2_BYTES: Final = 2048
"""The longest header of version 2 that is taken; balancers send some 100 bytes, with certificates in TLVs a few 100."""

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED: Final = 16
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_UNSPECIFIED: Final = 0x00
# Family and transport → bytes of one address; both addresses and two ports follow each other (§2.2).
_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")


class Address(NamedTuple):
    """An IP address in its shortest form, and a TCP port."""

    host: str
    port: int


class ProxyHeader(NamedTuple):
    """
    Whose connection it is. `source` None: the balancer's own, such as a health check (LOCAL, UNKNOWN).

    `rest` is what came behind the header.
    """

    source: Address | None
    destination: Address | None
    rest: bytes


class Malformed(NamedTuple):
    """Not a PROXY header, or one that is not taken: plain words for the record."""

    detail: str


class ProxyHeaderReader:
    """One header, incrementally. After anything but None it is spent."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    @property
    def held_bytes(self) -> int:
        """How much was fed."""
        return len(self._held)

    def feed(self, data: bytes) -> ProxyHeader | Malformed | None:
        """What all the bytes fed so far amount to; None: more are needed."""
        held = self._held = self._held + data
        if held.startswith(_V2):
            return _version2(held)
        if held.startswith(_V1):
            return _version1(held)
        if _V2.startswith(held) or _V1.startswith(held):
            return None
        if held[0] == 0x16:
            return Malformed("it begins with a TLS handshake")
        # As far as it takes to tell, so that the words too are the same however the bytes were cut.
        until = next(n for n in range(1, len(held) + 1) if not (_V2.startswith(held[:n]) or _V1.startswith(held[:n])))
        return Malformed(f"it begins with 0x{held[:until].hex()}")


def _version1(held: bytes) -> ProxyHeader | Malformed | None:
    end = held.find(b"\r\n", 0, MAX_V1_BYTES)
    if end < 0:
        if len(held) >= MAX_V1_BYTES:
            return Malformed(f"version 1 without a line end in {MAX_V1_BYTES} bytes")
        return None
    rest = held[end + 2 :]
    fields = held[:end].split(b" ")
    if fields[1] == b"UNKNOWN":  # what follows is to be ignored
        return ProxyHeader(None, None, rest)
    if len(fields) != 6 or fields[1] not in (b"TCP4", b"TCP6"):
        return Malformed("version 1 that is not 'PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT'")
    four = fields[1] == b"TCP4"
    source = _written(fields[2], fields[4], four)
    destination = _written(fields[3], fields[5], four)
    if source is None or destination is None:
        return Malformed(f"version 1 with an address or port that is none of {fields[1].decode()}")
    return ProxyHeader(source, destination, rest)


def _written(host: bytes, port: bytes, four: bool) -> Address | None:
    try:
        text = host.decode("ascii")
        address = ipaddress.IPv4Address(text) if four else ipaddress.IPv6Address(text)
        number = port.decode("ascii")
    except ValueError:
        return None
    if "%" in text or not _PORT.fullmatch(number) or int(number) > 0xFFFF:
        return None
    return Address(_shortest(address), int(number))


def _version2(held: bytes) -> ProxyHeader | Malformed | None:
    if len(held) < _V2_FIXED:
        return None
    command, family = held[12], held[13]
    if command not in (_LOCAL, _PROXY):
        return Malformed(f"version and command 0x{command:02x}; 0x20 and 0x21 are known")
    end = _V2_FIXED + (held[14] << 8 | held[15])
    if end > MAX_V2_BYTES:
        return Malformed(f"version 2 of {end} bytes; at most {MAX_V2_BYTES} are taken")
    size = 0
    if command == _PROXY and family != _UNSPECIFIED:
        size = _ADDRESS_BYTES.get(family, 0)
        if not size:
            return Malformed(f"version 2 for family and transport 0x{family:02x}; TCP over IPv4 or IPv6 is taken")
        if end < _V2_FIXED + 2 * size + 4:
            return Malformed(f"version 2 of {end} bytes, too short for its addresses")
    if len(held) < end:
        return None
    rest = held[end:]  # TLVs are not looked at
    if not size:
        return ProxyHeader(None, None, rest)
    ports = _V2_FIXED + 2 * size
    hosts = held[_V2_FIXED : _V2_FIXED + size], held[_V2_FIXED + size : ports]
    source, destination = (
        Address(_shortest(ipaddress.ip_address(host)), int.from_bytes(held[at : at + 2], "big"))
        for host, at in zip(hosts, (ports, ports + 2), strict=True)
    )
    return ProxyHeader(source, destination, rest)


def _shortest(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


class Proxies:
    """The peers that hand connections on, and must say whose."""

    __slots__ = ("_networks",)

    def __init__(self, networks: tuple[str, ...] = ()) -> None:
        """
        Args:
            networks: In CIDR form.
        """
        self._networks = tuple(map(ipaddress.ip_network, networks))

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        plain = (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address
        return any(plain in network for network in self._networks)
