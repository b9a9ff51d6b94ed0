"""The PROXY protocol: what is taken as a header, from whom, and that nothing else gets past it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.proxy_header import SIGNATURE, v1, v2
from tests.support.tls_client import MemoryClient
from tests.support.tls_door import LIMIT_S, RunningDoor, contexts, running_door

from handfast.core.identity.refusal import ReasonCode
from handfast.tls.contexts import Contexts
from handfast.tls.places import DoorLimits
from handfast.tls.proxy_protocol import (
    MAX_V1_BYTES,
    MAX_V2_BYTES,
    Address,
    Malformed,
    Proxies,
    ProxyHeader,
    ProxyHeaderReader,
)

SOURCE, DESTINATION = Address("203.0.113.7", 40001), Address("192.0.2.1", 443)
LOCAL2 = SIGNATURE + b"\x20\x00\x00\x00"
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def read(data: bytes, cuts: list[int] | None = None) -> ProxyHeader | Malformed | None:
    reader = ProxyHeaderReader()
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})
    result: ProxyHeader | Malformed | None = None
    for start, end in itertools.pairwise(edges):
        result = reader.feed(data[start:end])
        if isinstance(result, ProxyHeader):
            return result._replace(rest=result.rest + data[end:])
        if result is not None:
            return result
    return result


@pytest.mark.parametrize(
    ("header", "source", "destination"),
    [
        (v1("203.0.113.7"), SOURCE, DESTINATION),
        (v2(), SOURCE, DESTINATION),
        (v2(tlvs=b"\x04\x00\x03abc\xee"), SOURCE, DESTINATION),
        (v2(tlvs=bytes(MAX_V2_BYTES - 28)), SOURCE, DESTINATION),
        (v1("2001:DB8:0::7", "2001:db8::1"), Address("2001:db8::7", 40001), Address("2001:db8::1", 443)),
        (v2("2001:db8::7", "2001:db8::1"), Address("2001:db8::7", 40001), Address("2001:db8::1", 443)),
        (v2("::ffff:203.0.113.7", "::1"), SOURCE, Address("::1", 443)),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN ffff:f:f:f whatever 65535 \xff\r\n", None, None),
        (LOCAL2, None, None),
        (v2(command=0x20), None, None),
        (v2(command=0x20, family=0x31), None, None),
        (v2(family=0x00), None, None),
    ],
)
def test_a_header_says_whose_connection_it_is(
    header: bytes, source: Address | None, destination: Address | None
) -> None:
    assert ProxyHeader(source, destination, b"\x16\x03\x01") == read(header + b"\x16\x03\x01")
    assert read(header[:-1]) is None, "one byte less is not enough to tell"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\n",
        b"PROXy TCP4",
        SIGNATURE[:-1] + b"\0",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 40001\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 40001 443 \r\n",
        b"PROXY TCP4  203.0.113.7 192.0.2.1 40001 443\r\n",
        b"PROXY TCP4 203.0.113.07 192.0.2.1 40001 443\r\n",
        b"PROXY TCP4 203.0.113 192.0.2.1 40001 443\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 40001 443\r\n",
        b"PROXY TCP6 203.0.113.7 192.0.2.1 40001 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 40001 443\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 -1 443\r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 040 443\r\n",
        "PROXY TCP4 203.0.113.7 192.0.2.1 ٤٠ 443\r\n".encode(),
        b"PROXY UDP4 203.0.113.7 192.0.2.1 40001 443\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 203.0.113.7 192.0.2.1 40001 443\n" + b" " * 100,
        b"PROXY UNKNOWN " + b"x" * (MAX_V1_BYTES - 15) + b"\r\n",
        SIGNATURE + b"\x11\x11\x00\x0c",
        SIGNATURE + b"\x22\x11\x00\x0c",
        SIGNATURE + b"\x21\x11\x00\x0b",
        SIGNATURE + b"\x21\x21\x00\x23",
        SIGNATURE + b"\x21\x12\x00\x0c",
        SIGNATURE + b"\x21\x31\x00\xd8",
        SIGNATURE + b"\x21\x11" + struct.pack(">H", MAX_V2_BYTES - 15),
        SIGNATURE + b"\x20\x00\xff\xff",
    ],
)
def test_what_is_none_is_refused_as_soon_as_that_is_clear(data: bytes) -> None:
    assert isinstance(read(data), Malformed)


PIECES = st.sampled_from(
    [v1("203.0.113.7"), v2(), LOCAL2, b"PROXY ", b"TCP4 ", b"\r\n", SIGNATURE, b"\x21\x11\x00\x0c"]
)
INPUTS = st.lists(PIECES | st.binary(max_size=40), min_size=1, max_size=6).map(b"".join).filter(bool)


@settings(max_examples=150, deadline=None)
@given(INPUTS, st.lists(st.integers(0, 400), max_size=8))
def test_the_answer_is_the_same_however_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    whole = read(data)
    assert whole == read(data, cuts)
    if whole is None:
        assert len(data) < MAX_V2_BYTES


PAIRS = st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)) | st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
PORTS = st.integers(0, 65535)


@settings(max_examples=60, deadline=None)
@given(PAIRS, PORTS, PORTS, st.binary(max_size=60))
def test_both_versions_say_what_was_written(
    hosts: tuple[IpAddress, IpAddress], port: int, to_port: int, tail: bytes
) -> None:
    source, destination = map(str, hosts)
    first = read(v1(source, destination, port, to_port) + tail)
    assert isinstance(first, ProxyHeader)
    assert first == read(v2(source, destination, port, to_port) + tail)
    assert first.source is not None
    assert first.destination is not None
    assert (port, to_port, tail) == (first.source.port, first.destination.port, first.rest)
    if not getattr(hosts[0], "ipv4_mapped", None):
        assert source == first.source.host


def test_only_the_named_networks_are_balancers() -> None:
    proxies = Proxies(("10.0.0.0/24", "2001:db8::5/128"))
    assert "10.0.0.200" in proxies
    assert "::ffff:10.0.0.200" in proxies, "an IPv4 peer of a socket for both"
    assert "2001:db8::5" in proxies
    for other in ("10.0.1.1", "2001:db8::6", "", "balancer", "::ffff:10.0.1.1"):
        assert other not in proxies
    assert not Proxies()


@pytest.fixture(scope="module")
def table() -> Contexts:
    return contexts(Contexts().engine)


@pytest.fixture
async def door(table: Contexts) -> AsyncIterator[RunningDoor]:
    """A door whose one balancer is loopback."""
    limits = DoorLimits(max_handshakes_per_address=2, hello_timeout_s=0.2)
    async with running_door(table, limits=limits, proxies=Proxies(("127.0.0.1/32",))) as made:
        yield made


async def refused(door: RunningDoor, sent: bytes) -> bytes:
    """What a connection that sends this is answered, once its refusal is recorded."""
    reader, writer = await door.connect_tcp()
    writer.write(sent)
    async with asyncio.timeout(LIMIT_S):
        answer = await reader.read()
    await door.plane.failure()
    writer.close()
    return answer


class TestAtTheDoor:
    @pytest.mark.parametrize("header", [v1("203.0.113.7"), v2(), v2(tlvs=b"\xee" * 300)])
    async def test_the_address_is_the_devices(self, door: RunningDoor, header: bytes) -> None:
        reader, writer = await door.connect_tcp()
        client = MemoryClient()
        writer.write(header + client.start())
        async with asyncio.timeout(LIMIT_S):
            while not client.done:
                writer.write(client.receive(await reader.read(65536)))
        await door.plane.opened_one()
        facts = door.plane.facts[0]
        assert ("203.0.113.7", 40001, "192.0.2.1") == (facts.peer_address, facts.peer_port, facts.local_address)
        assert 0 == door.factory.handshakes
        assert {} == door.factory.handshakes_of
        writer.close()

    @pytest.mark.parametrize("header", [LOCAL2, b"PROXY UNKNOWN\r\n"])
    async def test_the_balancers_own_connection_has_its_address(self, door: RunningDoor, header: bytes) -> None:
        reader, writer = await door.connect_tcp()
        writer.write(header)
        await MemoryClient().handshake(reader, writer)
        await door.plane.opened_one()
        facts = door.plane.facts[0]
        assert writer.get_extra_info("sockname")[:2] == (facts.peer_address, facts.peer_port)
        writer.close()

    @pytest.mark.parametrize("sent", [b"", LOCAL2, b"PROXY UNKNOWN\r\n"])
    async def test_health_checks_are_not_refusals(self, door: RunningDoor, sent: bytes) -> None:
        _, writer = await door.connect_tcp()
        writer.write(sent)
        writer.close()
        await writer.wait_closed()
        await refused(door, b"GET /")  # what comes later is the first that is recorded
        assert "begins with 0x47" in door.plane.failures[0].reasons[0].detail

    @pytest.mark.parametrize(
        ("sent", "words"),
        [
            (b"\x16\x03\x01\x00\x05hello", "begins with a TLS handshake"),
            (b"PROXY TCP4 1 2 3 4\r\n", "address or port"),
            (b"PROXY TCP", "9 bytes of a PROXY header in 0.2 s"),
            (b"", "0 bytes of a PROXY header in 0.2 s"),
        ],
    )
    async def test_without_a_header_a_balancer_is_refused_without_an_answer(
        self, door: RunningDoor, sent: bytes, words: str
    ) -> None:
        assert b"" == await refused(door, sent)
        failure = await door.plane.failure()
        assert ReasonCode.PROXY_HEADER_INVALID == failure.reasons[0].code
        assert words in failure.reasons[0].detail
        assert "127.0.0.1" == failure.address
        assert 0 == door.factory.handshakes

    async def test_half_a_header_and_the_end_is_recorded(self, door: RunningDoor) -> None:
        _, writer = await door.connect_tcp()
        writer.write(SIGNATURE)
        writer.close()
        assert "after 12 bytes of a PROXY header" in (await door.plane.failure()).reasons[0].detail

    async def test_after_the_header_refusals_are_the_devices(self, door: RunningDoor) -> None:
        await refused(door, v2() + b"GET / HTTP/1.1\r\n")
        failure = await door.plane.failure()
        assert (ReasonCode.NOT_TLS, "203.0.113.7", 40001) == (failure.reasons[0].code, failure.address, failure.port)

    async def test_a_second_header_is_the_clients_and_not_tls(self, door: RunningDoor) -> None:
        await refused(door, v2() + v2("198.51.100.9"))
        assert (ReasonCode.NOT_TLS, "203.0.113.7") == (await door.plane.reason(), door.plane.failures[0].address)

    async def test_the_limit_per_address_is_the_devices(self, table: Contexts) -> None:
        limits = DoorLimits(max_handshakes_per_address=2)
        async with running_door(table, limits=limits, proxies=Proxies(("127.0.0.1/32",))) as door:
            writers = []
            for source in ("203.0.113.7", "203.0.113.7", "203.0.113.8"):  # all from one balancer
                _, writer = await door.connect_tcp()
                writer.write(v2(source) + b"\x16")
                writers.append(writer)
            reader, writer = await door.connect_tcp()
            writer.write(v2("203.0.113.7") + b"\x16")
            with contextlib.suppress(ConnectionResetError):
                assert b"" == await reader.read()
            failure = await door.plane.failure()
            assert (ReasonCode.TOO_MANY_HANDSHAKES, "203.0.113.7") == (failure.reasons[0].code, failure.address)
            assert 3 == door.factory.handshakes
            for open_one in (*writers, writer):
                open_one.close()

    async def test_from_others_no_header_is_taken(self, table: Contexts) -> None:
        async with running_door(table, proxies=Proxies(("192.0.2.0/24",))) as door:
            await refused(door, v2() + MemoryClient().start())
            assert (ReasonCode.NOT_TLS, "127.0.0.1") == (await door.plane.reason(), door.plane.failures[0].address)
