"""Sockets, bound before anything else is made, so that a port in use stops the start at once."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from handfast.errors import ConfigurationError

BACKLOG = 4096


def bind(host: str, port: int, flag: str) -> socket.socket:
    """
    A bound, not yet listening socket; port 0 takes any free one.

    Raises:
        ConfigurationError: The address is not ours, or the port is in use or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigurationError(f"--host {host} is no address of this machine: {error.strerror}") from error
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(address)
        # Listening decides who owns the port; connections wait in the backlog until the loop accepts them.
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {port} on {host} is in use: stop what listens there, or choose another with {flag} (0 for any)"
            ) from error
        if error.errno == errno.EACCES:
            raise ConfigurationError(
                f"port {port} needs more rights than this user has: choose another {flag}"
            ) from error
        raise ConfigurationError(f"{host} port {port} ({flag}) cannot be listened on: {error.strerror}") from error
    return made


@dataclass
class Listeners:
    """The listening sockets of one process, closed together."""

    servers: list[asyncio.Server] = field(default_factory=list)

    async def add(self, sock: socket.socket, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        """The socket accepts; each connection gets a protocol from `factory`."""
        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(factory, sock=sock, backlog=BACKLOG))

    def close(self) -> None:
        """No further connection is accepted; those that exist go on."""
        for server in self.servers:
            server.close()


def address_of(sock: socket.socket) -> dict[str, Any]:
    """Where commands on this machine reach the socket: one that listens everywhere is reached over loopback."""
    host, port = sock.getsockname()[:2]
    return {"host": {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), "port": port}  # noqa: S104


def netloc_of(sock: socket.socket) -> str:
    """The same as a URL has it."""
    address = address_of(sock)
    host, port = address["host"], address["port"]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
