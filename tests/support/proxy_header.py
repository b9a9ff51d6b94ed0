"""PROXY protocol headers as balancers send them, and a balancer that sends one."""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def v1(source: str, destination: str = "192.0.2.1", port: int = 40001, to_port: int = 443) -> bytes:
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {port} {to_port}\r\n".encode()


def v2(
    source: str = "203.0.113.7",
    destination: str = "192.0.2.1",
    port: int = 40001,
    to_port: int = 443,
    *,
    command: int = 0x21,
    family: int | None = None,
    tlvs: bytes = b"",
) -> bytes:
    hosts = [ipaddress.ip_address(host) for host in (source, destination)]
    body = b"".join(host.packed for host in hosts) + struct.pack(">HH", port, to_port) + tlvs
    kind = (0x11 if hosts[0].version == 4 else 0x21) if family is None else family
    return SIGNATURE + bytes((command, kind)) + struct.pack(">H", len(body)) + body


@contextmanager
def balancer(server_port: int, address: str, header: bytes) -> Iterator[int]:
    """A TCP proxy on loopback that connects from `address` and sends `header` first; its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side is gone, which ends this one too

    def accept() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", server_port), 10, source_address=(address, 0))
            server.settimeout(None)
            server.sendall(header)
            connections.extend((client, server))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for connection in connections:
            connection.close()
