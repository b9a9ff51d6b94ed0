"""Sockets, bound before anything else is made, so that a port in use stops the start at once; opened at its end."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import structlog

from handfast.config.settings import Settings
from handfast.doors import Doors
from handfast.errors import ConfigurationError
from handfast.gateway.gateway import Gateway
from handfast.http_server import HttpServer
from handfast.seam import ListenerKind
from handfast.tls.contexts import Contexts
from handfast.tls.door import DoorFactory
from handfast.tls.proxy_protocol import Proxies

BACKLOG = 4096
SHUTDOWN_LIMIT_S = 8.0

log = structlog.get_logger("handfast")


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


def bind_all(settings: Settings, stack: AsyncExitStack) -> Mapping[str, socket.socket]:
    """
    The socket of each listener by its name (`ListenerKind`), closed when the stack is left.

    Raises:
        ConfigurationError: One cannot be bound.
    """
    sockets = {}
    for name, port, flag in (
        ("api", settings.api_port, "--api-port"),
        ("mqtt", settings.mqtt_port, "--mqtt-port"),
        ("https", settings.https_port, "--https-port"),
        ("alpn", settings.alpn_port, "--alpn-port"),
    ):
        if port is not None:
            sockets[name] = bind(settings.host, port, flag)
            stack.callback(sockets[name].close)
    return sockets


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


async def open_doors(
    settings: Settings,
    sockets: Mapping[str, socket.socket],
    contexts: Contexts,
    doors: Doors,
    gateway: Gateway,
    *,
    api: HttpServer,
    others: Sequence[HttpServer],
    stack: AsyncExitStack,
) -> None:
    """
    Every socket accepts connections: through `doors` where it speaks TLS, else for `api` itself.

    When the stack is left no further one is accepted, then those of the gateway, `api` and `others` are ended, within
    `SHUTDOWN_LIMIT_S`.
    """
    listeners = Listeners()
    proxies = Proxies(settings.proxy_protocol)
    factories = {
        name: DoorFactory(contexts, doors, ListenerKind(name), proxies=proxies)
        for name in sockets
        if name != "api" or settings.api_tls
    }
    for name, sock in sockets.items():
        await listeners.add(sock, factories.get(name, api.protocol))

    async def close_doors() -> None:
        listeners.close()
        for factory in factories.values():
            factory.close()
        try:
            async with asyncio.timeout(SHUTDOWN_LIMIT_S):
                await gateway.close()
                await asyncio.gather(api.close(), *(server.close() for server in others))
        except TimeoutError:
            log.warning("connections were still open after the shutdown limit", limit_s=SHUTDOWN_LIMIT_S)

    stack.push_async_callback(close_doors)


def address_of(sock: socket.socket) -> dict[str, Any]:
    """Where commands on this machine reach the socket: one that listens everywhere is reached over loopback."""
    host, port = sock.getsockname()[:2]
    return {"host": {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), "port": port}  # noqa: S104


def netloc_of(sock: socket.socket) -> str:
    """The same as a URL has it."""
    address = address_of(sock)
    host, port = address["host"], address["port"]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
