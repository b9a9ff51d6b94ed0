"""A TLS client under full control: pyOpenSSL over memory, and records of its own making."""

from __future__ import annotations

import asyncio
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL
from tests.support.tls_ca import Issued, device

LIMIT_S = 15.0


class MemoryClient:
    """Handshakes by `receive` until `done`; what it wants to send is returned by each call."""

    def __init__(
        self,
        *,
        client: Issued | None = None,
        server_name: bytes | None = b"localhost",
        alpn: tuple[bytes, ...] = (),
        version: int | None = None,
        groups: bytes = b"X25519:P-256",
        suites: bytes = b"TLS_AES_128_GCM_SHA256",
        ciphers: bytes | None = None,
    ) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_tls13_ciphersuites(suites)
        if ciphers is not None:
            context.set_cipher_list(ciphers)
        issued = client or device()
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.key)  # type: ignore[arg-type]
        if version is not None:
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
        if alpn:
            context.set_alpn_protos(list(alpn))
        assert 1 == SSL._lib.SSL_CTX_set1_curves_list(context._context, groups)
        self._secrets: dict[str, bytes] = {}
        context.set_keylog_callback(self._keep)
        self.connection = SSL.Connection(context, None)
        if server_name is not None:
            self.connection.set_tlsext_host_name(server_name)
        self.connection.set_connect_state()
        self.done = False

    def _keep(self, _: SSL.Connection, line: bytes) -> None:
        label, _random, secret = line.decode().split()
        self._secrets[label] = bytes.fromhex(secret)

    def start(self) -> bytes:
        """The ClientHello."""
        return self.receive(b"")

    def receive(self, data: bytes) -> bytes:
        """Take what the server sent; what goes back."""
        if data:
            self.connection.bio_write(data)
        if not self.done:
            try:
                self.connection.do_handshake()
                self.done = True
            except SSL.WantReadError:
                pass
        return self.output()

    def output(self) -> bytes:
        try:
            return self.connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""

    def send(self, data: bytes) -> bytes:
        """Records for `data`."""
        self.connection.sendall(data)
        return self.output()

    def read(self) -> bytes:
        """The plaintext that has arrived."""
        data = b""
        try:
            while True:
                data += self.connection.recv(1 << 16)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            return data

    async def handshake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.start())
        async with asyncio.timeout(LIMIT_S):
            while not self.done:
                data = await reader.read(65536)
                assert data, "the server closed the connection"
                writer.write(self.receive(data))

    def own_records(self) -> OwnRecords:
        """Client records from here on made by hand (TLS 1.3, AES-128-GCM); the connection must not send any more."""
        return OwnRecords(self._secrets["CLIENT_TRAFFIC_SECRET_0"])


class OwnRecords:
    """Protected TLS 1.3 records (RFC 8446 §5.2, §7.2)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._sequence = 0

    def _expand(self, label: bytes, length: int) -> bytes:
        label = b"tls13 " + label
        info = struct.pack(">HB", length, len(label)) + label + b"\0"
        return HKDFExpand(hashes.SHA256(), length, info).derive(self._secret)

    def record(self, kind: int, content: bytes) -> bytes:
        plaintext = content + bytes([kind])
        header = b"\x17\x03\x03" + struct.pack(">H", len(plaintext) + 16)
        iv = self._expand(b"iv", 12)
        nonce = bytes(a ^ b for a, b in zip(iv, self._sequence.to_bytes(12, "big"), strict=True))
        self._sequence += 1
        return header + AESGCM(self._expand(b"key", 16)).encrypt(nonce, plaintext, header)

    def data(self, content: bytes) -> bytes:
        return self.record(23, content)

    def key_update(self, *, requested: bool) -> bytes:
        record = self.record(22, b"\x18\x00\x00\x01" + bytes([requested]))
        self._secret = self._expand(b"traffic upd", 32)
        self._sequence = 0
        return record
