"""Bytes on the wire, for what no well-behaved client sends."""

from __future__ import annotations

import socket
import ssl
import struct

from tests.support.device import Device
from tests.support.server import Server

LIMIT_S = 15.0


def connect_tcp(server: Server, port: int | None = None) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port or server.mqtt_port), LIMIT_S)


def connect_tls(server: Server, device: Device, server_hostname: str = "localhost") -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(device.root))
    context.load_cert_chain(str(device.certificate), str(device.key))
    return context.wrap_socket(connect_tcp(server), server_hostname=server_hostname)


def read_all(sock: socket.socket) -> bytes:
    """Everything until the peer closes or breaks the connection; a test that would hang fails instead."""
    got = b""
    try:
        while chunk := sock.recv(65536):
            got += chunk
    except (ConnectionError, ssl.SSLError):
        pass
    return got


def string(text: bytes | str) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("!H", len(data)) + data


def remaining_length(n: int) -> bytes:
    out = b""
    while True:
        n, digit = divmod(n, 128)
        out += bytes([digit | (0x80 if n else 0)])
        if not n:
            return out


def packet(first: int, body: bytes = b"") -> bytes:
    return bytes([first]) + remaining_length(len(body)) + body


def connect_packet(client_id: bytes | str, version: int = 4, flags: int = 2, keep_alive: int = 60) -> bytes:
    properties = b"\x00" if version == 5 else b""
    return packet(
        0x10, string("MQTT") + bytes([version, flags]) + struct.pack("!H", keep_alive) + properties + string(client_id)
    )
