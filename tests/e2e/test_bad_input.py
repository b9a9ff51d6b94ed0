"""Bad input of every kind stops nothing, changes nothing, reaches nobody, and leaves a record of what it was."""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.device import Device, create_device, private_key, register_self_signed, self_signed, write
from tests.support.mqtt import Client, v5
from tests.support.raw import connect_packet, connect_tcp, connect_tls, packet, read_all, string
from tests.support.server import Server


def explained(server: Server, query: str = "127.0.0.1") -> str:
    return json.dumps(server.explain(query), default=str)


@pytest.fixture
def device(server: Server, folder: Path) -> Device:
    return create_device(server, folder)


@pytest.fixture(autouse=True)
def everything_still_works(server: Server, tmp_path: Path) -> Any:
    """After each test an honest device is served and the registry is as it was before it."""
    iot = server.client()

    def things() -> list[str]:
        return [t["thingName"] for p in iot.get_paginator("list_things").paginate() for t in p["things"]]

    before = things()
    yield
    assert before == things()
    assert server.process.poll() is None
    with Client(server, create_device(server, tmp_path / "honest")) as client:
        assert 0 == client.connect().value


# TLS


@pytest.mark.parametrize(
    "junk",
    [connect_packet("plain"), b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 64, b"\xff" * 64, b"\x16\x03\x01\x00\x02\x01\x00"],
    ids=["mqtt", "http", "zeros", "ones", "broken-hello"],
)
def test_what_is_not_a_client_hello_is_refused_at_once(server: Server, junk: bytes) -> None:
    with connect_tcp(server) as sock:
        sock.sendall(junk)
        answer = read_all(sock)
        assert answer == b"" or answer[:1] == b"\x15"
    assert any(code in explained(server) for code in ("NOT_TLS", "MALFORMED_CLIENT_HELLO"))


def test_plaintext_before_the_handshake_is_never_application_data(server: Server, device: Device) -> None:
    topic = f"smuggled/{uuid.uuid4().hex}"
    smuggled = connect_packet("smuggler") + packet(0x30, string(topic) + b"x")
    with v5(server, device) as watcher:
        watcher.connect()
        watcher.subscribe(topic)
        with connect_tcp(server) as sock:
            sock.sendall(smuggled)
            context = ssl.create_default_context(cafile=str(device.root))
            context.load_cert_chain(str(device.certificate), str(device.key))
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(sock, server_hostname="localhost")
        watcher.silent_until(watcher, topic)


def client_hello(device: Device) -> bytes:
    context = ssl.create_default_context(cafile=str(device.root))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_a_client_hello_of_single_bytes_is_served(server: Server, device: Device) -> None:
    hello = client_hello(device)
    with connect_tcp(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(hello)):
            sock.send(hello[i : i + 1])
        assert b"\x16\x03" == sock.recv(2)


def test_an_oversized_client_hello_is_refused(server: Server) -> None:
    with connect_tcp(server) as sock:
        try:
            sock.sendall(b"\x16\x03\x01\x40\x00\x01\x00\xff\xf0" + b"\x00" * (1 << 14))
            sock.sendall(b"\x16\x03\x01\x40\x00" + b"\x00" * (1 << 14))
        except ConnectionError:
            pass
        answer = read_all(sock)
        assert answer == b"" or answer[:1] == b"\x15"
    assert "CLIENT_HELLO" in explained(server)


def test_a_client_hello_that_never_ends_is_shed(server: Server, device: Device) -> None:
    hello = client_hello(device)
    with connect_tcp(server) as sock:
        sock.sendall(hello[:-1])
        read_all(sock)
    assert "TIMEOUT" in explained(server)


def test_a_certificate_for_another_key_proves_nothing(server: Server, device: Device, folder: Path) -> None:
    """The victim's certificate is public; OpenSSL's client is made to hold it with a foreign private scalar."""
    from OpenSSL import SSL, crypto

    certificate, key = self_signed(key=private_key("p256"))
    victim = register_self_signed(server, folder, pem=(certificate, key))
    forged = forged_key(certificate)
    for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_PEM, certificate))
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, forged))
        with connect_tcp(server) as sock:
            sock.setblocking(True)
            sock.settimeout(None)
            connection = SSL.Connection(context, sock)
            connection.set_connect_state()
            with pytest.raises(SSL.Error):
                connection.do_handshake()
                connection.send(connect_packet("thief"))
                connection.recv(16)
    assert "POSSESSION_NOT_PROVEN" in explained(server)
    with Client(server, victim) as honest:
        assert honest.connect().value == 0


def forged_key(certificate: bytes) -> bytes:
    """SEC 1 DER with another scalar but the victim's public point (RFC 5915: the point is carried, not checked)."""
    import base64

    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    point = (
        x509.load_pem_x509_certificate(certificate)
        .public_key()
        .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    )
    scalar = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")
    oid = bytes.fromhex("06082a8648ce3d030107")
    inner = b"\x02\x01\x01" + b"\x04\x20" + scalar + b"\xa0" + bytes([len(oid)]) + oid
    bits = b"\x03" + bytes([len(point) + 1]) + b"\x00" + point
    inner += b"\xa1" + bytes([len(bits)]) + bits
    der = b"\x30" + (bytes([len(inner)]) if len(inner) < 128 else b"\x81" + bytes([len(inner)])) + inner
    return b"-----BEGIN EC PRIVATE KEY-----\n" + base64.encodebytes(der) + b"-----END EC PRIVATE KEY-----\n"


# certificates


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        (dt.timedelta(days=-10), dt.timedelta(seconds=-5), "CERTIFICATE_EXPIRED"),
        (dt.timedelta(days=1), dt.timedelta(days=10), "CERTIFICATE_NOT_YET_VALID"),
    ],
)
def test_a_certificate_outside_its_validity_cannot_be_registered_nor_get_in(
    server: Server, folder: Path, before: dt.timedelta, after: dt.timedelta, code: str
) -> None:
    now = dt.datetime.now(dt.UTC)
    pem = self_signed(not_before=now + before, not_after=now + after)
    iot = server.client()
    with pytest.raises(iot.exceptions.CertificateValidationException):
        iot.register_certificate_without_ca(certificatePem=pem[0].decode())
    device = Device(
        "x", "", "", write(folder / "x.pem", pem[0]), write(folder / "x.key", pem[1]), server.trust / "bundle.pem"
    )
    with v5(server, device) as client:
        assert 0x87 == client.connect().value
        assert code in explained(server, client.connack_properties.ReasonString)


def test_a_certificate_that_expires_while_connected_loses_its_session(server: Server, folder: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    pem = self_signed(not_after=now + dt.timedelta(seconds=8))
    device = register_self_signed(server, folder, pem=pem)
    with v5(server, device) as client:
        assert 0 == client.connect().value
        assert client.disconnected(limit_s=12).value == 0x87
    with v5(server, device) as client:
        assert 0x87 == client.connect().value
        assert "CERTIFICATE_EXPIRED" in explained(server, client.connack_properties.ReasonString)


@pytest.mark.parametrize("text", ["", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_cannot_be_registered(server: Server, text: str) -> None:
    iot = server.client()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - botocore itself refuses the empty one
        iot.register_certificate_without_ca(certificatePem=text)
    if hasattr(caught.value, "response"):
        assert caught.value.response["Error"]["Code"] in ("CertificateValidationException", "InvalidRequestException")


# MQTT


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    "first",
    [
        packet(0xC0),
        packet(0x30, string("t") + b"x"),
        packet(0x82, b"\x00\x01" + string("t") + b"\x00"),
        b"\xff\xff\xff\xff\xff",
    ],
    ids=["pingreq", "publish", "subscribe", "junk"],
)
def test_a_first_packet_that_is_not_connect(server: Server, device: Device, version: int, first: bytes) -> None:
    with connect_tls(server, device) as sock:
        sock.sendall(first + connect_packet("late", version))
        assert b"\x20" not in read_all(sock)[:1]
    told = explained(server, device.certificate_id)
    assert "FIRST_PACKET_NOT_CONNECT" in told or "MALFORMED_PACKET" in told


MALFORMED = {
    "connect-twice": lambda v: connect_packet("again", v),
    "publish-qos-3": lambda v: packet(0x36, string("t") + b"\x00\x01" + (b"\x00" if v == 5 else b"") + b"x"),
    "publish-wildcard": lambda v: packet(0x30, string("a/#") + (b"\x00" if v == 5 else b"") + b"x"),
    "publish-empty-topic": lambda v: packet(0x30, string("") + (b"\x00" if v == 5 else b"") + b"x"),
    "publish-bad-utf8": lambda v: packet(0x30, string(b"\xff\xfe") + (b"\x00" if v == 5 else b"") + b"x"),
    "publish-nul": lambda v: packet(0x30, string("a\x00b") + (b"\x00" if v == 5 else b"") + b"x"),
    "publish-short": lambda v: packet(0x30, b"\x00\x10ab"),
    "publish-id-0": lambda v: packet(0x32, string("t") + b"\x00\x00" + (b"\x00" if v == 5 else b"") + b"x"),
    "publish-oversized": lambda v: packet(0x30, string("t") + (b"\x00" if v == 5 else b"") + b"x" * 200_000),
    "subscribe-flags": lambda v: packet(0x80, b"\x00\x01" + (b"\x00" if v == 5 else b"") + string("t") + b"\x00"),
    "subscribe-empty": lambda v: packet(0x82, b"\x00\x01" + (b"\x00" if v == 5 else b"")),
    "subscribe-options": lambda v: packet(0x82, b"\x00\x01" + (b"\x00" if v == 5 else b"") + string("t") + b"\xff"),
    "unsubscribe-empty": lambda v: packet(0xA2, b"\x00\x01" + (b"\x00" if v == 5 else b"")),
    "pingreq-flags": lambda v: packet(0xC1),
    "pingreq-body": lambda v: packet(0xC0, b"x"),
    "connack-from-client": lambda v: packet(0x20, b"\x00\x00" + (b"\x00" if v == 5 else b"")),
    "type-0": lambda v: packet(0x00),
    "length-of-five-bytes": lambda v: b"\x30\xff\xff\xff\xff\x01",
    "pubrel": lambda v: packet(0x62, b"\x00\x01"),
}


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_packets_end_the_connection_alone(server: Server, device: Device, version: int, name: str) -> None:
    with connect_tls(server, device) as sock:
        sock.sendall(connect_packet(f"bad-{name}-{version}", version))
        assert 0x20 == sock.recv(1)[0]
        try:
            sock.sendall(MALFORMED[name](version))
        except (ConnectionError, ssl.SSLError):
            pass
        rest = read_all(sock)
    if version == 5:
        assert b"\xe0" in rest or b"\x90" in rest, rest
    assert device.certificate_id in explained(server, device.certificate_id)


@pytest.mark.parametrize("version", [4, 5])
def test_a_filter_that_is_not_valid_is_refused_alone(server: Server, device: Device, version: int) -> None:
    properties = b"\x00" if version == 5 else b""
    with connect_tls(server, device) as sock:
        sock.sendall(connect_packet(f"filters-{version}", version))
        assert 0x20 == sock.recv(1)[0]
        sock.sendall(packet(0x82, b"\x00\x01" + properties + string("a/#/b") + b"\x00" + string("a/b") + b"\x01"))
        sock.sendall(packet(0xE0))
        rest = read_all(sock)
    assert rest.endswith(b"\x8f\x01" if version == 5 else b"\x80\x01"), rest


@pytest.mark.parametrize("client_id", [b"\xff\xfe", b"a\x00b", b"x" * 129], ids=["utf8", "nul", "long"])
@pytest.mark.parametrize("version", [4, 5])
def test_bad_client_ids(server: Server, device: Device, version: int, client_id: bytes) -> None:
    with connect_tls(server, device) as sock:
        sock.sendall(connect_packet(client_id, version))
        answer = read_all(sock)
        assert answer == b"" or answer[3] != 0


def test_unsupported_protocol_levels(server: Server, device: Device) -> None:
    for level in (3, 6, 255):
        with connect_tls(server, device) as sock:
            sock.sendall(connect_packet("x", level))
            answer = read_all(sock)
            assert answer == b"" or answer[3] in (1, 0x84)


# what a peer sends never reaches a terminal or the log raw

ESCAPE = "\x1b]0;owned\x07\x1b[31m"


def test_terminal_escapes_reach_neither_terminal_nor_log(server: Server, folder: Path) -> None:
    pem = self_signed(cn=f"dev{ESCAPE}")
    stranger = Device(
        "esc", "", "", write(folder / "e.pem", pem[0]), write(folder / "e.key", pem[1]), server.trust / "bundle.pem"
    )
    with connect_tls(server, stranger) as sock:
        sock.sendall(connect_packet(f"id{ESCAPE}"))
        read_all(sock)
    device = create_device(
        server,
        folder,
        document={
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}],
        },
    )
    with connect_tls(server, device) as sock:
        sock.sendall(connect_packet(f"cid-{ESCAPE}") + packet(0x30, string(f"topic/{ESCAPE}") + b"x"))
        read_all(sock)
    hello = client_hello(device).replace(b"localhost", b"loc\x1b[31m\x07")
    with connect_tcp(server) as sock:
        sock.sendall(hello)
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)
    for words in (["127.0.0.1"], ["127.0.0.1", "--json"], [device.certificate_id]):
        told = server.handfast("explain", *words).stdout
        assert told
        assert "\x1b]0;" not in told
        assert "\x07" not in told
    log = server.log.read_bytes()
    assert b"\x1b]0;" not in log
    assert b"\x07" not in log


def test_an_rsa_1024_certificate_is_refused_with_the_rule(server: Server) -> None:
    pem = self_signed(key=private_key("rsa1024"))
    iot = server.client()
    with pytest.raises(iot.exceptions.CertificateValidationException) as caught:
        iot.register_certificate_without_ca(certificatePem=pem[0].decode())
    assert "2048" in str(caught.value)


def test_nothing_listens_in_plaintext(server: Server) -> None:
    ports = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True, timeout=10).stdout
    own = {line.split()[3] for line in ports.splitlines() if f"pid={server.process.pid}," in line}
    api_port = server.api.rsplit(":", 1)[1]
    assert {f"127.0.0.1:{p}" for p in (api_port, server.mqtt_port, server.https_port, server.alpn_port)} == own
