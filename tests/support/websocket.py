"""MQTT over WebSocket from the client's side: presigned URLs by botocore, and frames that no library would send."""

from __future__ import annotations

import datetime as dt
import os
import socket
import ssl
import struct
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.support.server import Server

LIMIT_S = 15.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""RFC 6455 §1.3: a key, and what a server answers to it."""


def presigned(
    keys: tuple[str, str],
    host: str,
    *,
    path: str = "/mqtt",
    service: str = "iotdevicegateway",
    region: str = "us-east-1",
    expires_s: int | None = 300,
    ago_s: int = 0,
) -> str:
    """The request target: path and signed query. `ago_s`: when it was signed. Without `expires_s` as device SDKs do."""
    signer = SigV4QueryAuth(Credentials(*keys), service, region, expires=expires_s or 0)
    request = AWSRequest(method="GET", url=f"https://{host}{path}")
    at = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ago_s)
    request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
    signer._modify_request_before_signing(request)
    url = request.url
    if expires_s is None:
        url = request.url = url.replace("&X-Amz-Expires=0", "")
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}&X-Amz-Signature={signature}"


def signed_headers(keys: tuple[str, str], host: str, service: str = "iotdevicegateway") -> dict[str, str]:
    """The headers of a request that is signed in its head."""
    request = AWSRequest(method="GET", url=f"https://{host}/mqtt", headers={"host": host})
    SigV4Auth(Credentials(*keys), service, "us-east-1").add_auth(request)
    return {name: request.headers[name] for name in ("Authorization", "X-Amz-Date")}


def upgrade(target: str, host: str, **headers: str | None) -> bytes:
    """The upgrade request; a header that is None is left out, `_` in a name stands for `-`."""
    fields: dict[str, str | None] = {
        "host": host,
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": KEY,
        "sec-websocket-protocol": "mqtt",
        **{name.replace("_", "-").lower(): value for name, value in headers.items()},
    }
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """One frame as a client sends it, right or wrong."""
    length = len(payload)
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if length < 126:
        head += bytes([masked << 7 | length])
    elif length < 65536:
        head += bytes([masked << 7 | 126]) + struct.pack("!H", length)
    else:
        head += bytes([masked << 7 | 127]) + struct.pack("!Q", length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    stream = (mask * (length // 4 + 1))[:length]
    return head + mask + (int.from_bytes(payload) ^ int.from_bytes(stream)).to_bytes(length)


class RawWebSocket:
    """A TCP or TLS connection to the API or the ALPN port, after its upgrade; every read has a time limit."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._rest = b""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    @classmethod
    def to_api(cls, server: Server) -> RawWebSocket:
        parts = urlsplit(server.api)
        assert parts.port is not None
        if parts.scheme == "https":
            return cls._over_tls(server, parts.port, "localhost", None)
        return cls(socket.create_connection(("127.0.0.1", parts.port), LIMIT_S))

    @classmethod
    def to_alpn(cls, server: Server, *, sni: str = "localhost", alpn: str | None = None) -> RawWebSocket:
        return cls._over_tls(server, server.alpn_port, sni, alpn)

    @classmethod
    def _over_tls(cls, server: Server, port: int, sni: str, alpn: str | None) -> RawWebSocket:
        context = ssl.create_default_context(cafile=str(server.trust / "bundle.pem"))
        if alpn is not None:
            context.set_alpn_protocols([alpn])
        tcp = socket.create_connection(("127.0.0.1", port), LIMIT_S)
        return cls(context.wrap_socket(tcp, server_hostname=sni))

    def ask(self, request: bytes) -> int:
        """Send the upgrade request; the status of the answer, whose headers and body are kept."""
        self.sock.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = self.sock.recv(65536)
            if not chunk:
                return 0
            data += chunk
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(self.headers.get("content-length", "0"))
        while len(rest) < length:
            rest += self.sock.recv(65536)
        self.body, self._rest = rest[:length], rest[length:]
        return self.status

    def open(self, keys: tuple[str, str], host: str = "localhost", **options: Any) -> RawWebSocket:
        """Upgrade with a presigned request that is right."""
        assert 101 == self.ask(upgrade(presigned(keys, host, **options), host)), self.body
        assert ACCEPT == self.headers["sec-websocket-accept"]
        assert "mqtt" == self.headers["sec-websocket-protocol"]
        assert "sec-websocket-extensions" not in self.headers
        return self

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(frames))

    def receive(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. (-1, b"") when the connection is closed or reset."""
        head = self._exactly(2)
        if len(head) < 2:
            return -1, b""
        assert 0x80 == head[0] & 0xF0, "one whole frame without extensions"
        assert head[1] < 128, "a server does not mask"
        length = head[1]
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(self._exactly(size), "big")
        return head[0] & 15, self._exactly(length)

    def close_code(self) -> int:
        """The code of the Close frame, which is the next frame but for MQTT's last; 0 without one."""
        while True:
            opcode, payload = self.receive()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")
            if opcode != 2:
                return 0

    def _exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            try:
                chunk = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLError):
                chunk = b""
            if not chunk:
                got, self._rest = self._rest, b""
                return got
            self._rest += chunk
        got, self._rest = self._rest[:count], self._rest[count:]
        return got

    def __enter__(self) -> RawWebSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()
