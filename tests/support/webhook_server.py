"""A webhook on loopback, over TLS with a CA of its own; what it does is told by the path that is called."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.tls_ca import Issued, issue, new_key

YES = b'{"allowProvisioning": true}'


@dataclass(frozen=True)
class Call:
    """One request as it came in."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


Behaviour = Callable[[socket.socket, Call, threading.Event], None]


@dataclass
class WebhookServer:
    """`answers`: by path (without its query) bytes to send, or what to do with the connection."""

    port: int
    ca: Issued
    answers: dict[str, bytes | Behaviour] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/", host: str = "localhost", scheme: str = "https") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    @property
    def ca_pem(self) -> str:
        return self.ca.pem.decode()

    def handle(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            line = stream.readline().decode().strip()
            headers: dict[str, str] = {}
            while header := stream.readline().decode().strip():
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            call = Call(line, headers, stream.read(int(headers.get("content-length", "0"))))
            self.calls.append(call)
            answer = self.answers.get(line.split(" ")[1].partition("?")[0], reply(b"{}", "404 Not Found"))
            if isinstance(answer, bytes):
                connection.sendall(answer)
            else:
                answer(connection, call, self.stopping)


@functools.cache
def _ca() -> Issued:
    return issue("Webhook CA", new_key("p256", 31), ca=True)


@contextmanager
def webhook_server(*, names: tuple[str, ...] = ("localhost",), tls: bool = True) -> Iterator[WebhookServer]:
    """Serving until the end of the block; `names` are those in its certificate."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = WebhookServer(listening.getsockname()[1], _ca())
    context: ssl.SSLContext | None = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as directory:
            leaf = issue("webhook", new_key("p256", 32), _ca(), names=names)
            context.load_cert_chain(*leaf.write(Path(directory), "webhook"))

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(20)
            server.handle(connection if context is None else context.wrap_socket(connection, server_side=True))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)
