"""pyOpenSSL's public methods only: the fallback, and the oracle for the other engine."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate
from OpenSSL import SSL

from handfast.core.identity.security_policy import SecurityPolicy
from handfast.tls.openssl.configuration import CB_ACCEPT_EXIT, VERIFY, build_context
from handfast.tls.openssl.engine import (
    BUFFER_BYTES,
    DEFAULT_POLICY,
    DONE,
    FAILED,
    MAX_FEED_BYTES,
    WANT_READ,
    AcceptCertificate,
    Context,
    accept_any,
)


class PublicEngine:
    """pyOpenSSL's public methods only: the fallback, and the oracle for the other one."""

    __slots__ = ("_connection", "_events", "attention", "closed", "errors", "failed")

    @classmethod
    def context(
        cls,
        chain: list[Certificate],
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        *,
        client_auth: bool,
        alpn: bytes | None,
        policy: SecurityPolicy = DEFAULT_POLICY,
        accept: AcceptCertificate = accept_any,
    ) -> Context:
        context = build_context(chain, key, client_auth=client_auth, policy=policy)
        if client_auth:

            def verify(*_: object) -> bool:
                try:
                    return accept() is True
                except BaseException:
                    return False

            context.set_verify(VERIFY, verify)
        if alpn is not None:

            def select(_: SSL.Connection, offered: list[bytes]) -> bytes:
                return alpn if alpn in offered else b""

            context.set_alpn_select_callback(select)

        def count(connection: SSL.Connection, where: int, _: int) -> None:
            counter = connection.get_app_data()
            if counter is not None and where == CB_ACCEPT_EXIT:
                counter[0] += 1

        context.set_info_callback(count)
        return context

    def __init__(self, context: Context) -> None:
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        self._events = [0]
        self.errors: tuple[str, ...] = ()
        self.failed = False
        self.closed = False
        self.attention = False

    @property
    def events(self) -> int:
        return self._events[0]

    def handshake(self, data: bytes) -> int:
        connection = self._connection
        try:
            if data:
                connection.bio_write(data)
            connection.do_handshake()
        except SSL.WantReadError:
            return WANT_READ
        except Exception as exc:
            self._fail(exc)
            return FAILED
        connection.set_app_data(self._events)
        return DONE

    def drain(self) -> bytes:
        pieces = []
        while True:
            try:
                pieces.append(self._connection.bio_read(BUFFER_BYTES))
            except SSL.WantReadError:
                return b"".join(pieces)

    def receive(self, data: bytes) -> bytes:
        connection = self._connection
        pieces = []
        events = self._events[0]
        try:
            if data:
                connection.bio_write(data)
            while True:
                pieces.append(connection.recv(MAX_FEED_BYTES))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = self.attention = True
        except Exception as exc:
            self._fail(exc)
        if self._events[0] != events:
            self.attention = True
        return b"".join(pieces)

    def encrypt(self, data: bytes) -> bytes:
        connection = self._connection
        view = memoryview(data)
        try:
            while view:
                view = view[connection.send(view) :]
        except Exception as exc:
            self._fail(exc)
        return self.drain()

    def shut_down(self) -> bytes:
        if not self.failed:
            try:
                self._connection.shutdown()
            except Exception as exc:
                self._fail(exc)
        return self.drain()

    def release(self) -> bool:
        return True  # the public methods cannot replace a memory BIO

    def peer_certificate(self) -> bytes:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        return b"" if certificate is None else certificate.public_bytes(Encoding.DER)

    def version(self) -> str:
        return str(self._connection.get_protocol_version_name())

    def cipher(self) -> str:
        return self._connection.get_cipher_name() or ""

    def group(self) -> str | None:
        return self._connection.get_group_name()

    def _fail(self, exc: Exception) -> None:
        self.failed = self.attention = True
        if isinstance(exc, SSL.Error) and exc.args and isinstance(exc.args[0], list):
            self.errors = tuple(str(entry[-1]) for entry in exc.args[0])
        elif not isinstance(exc, SSL.Error):
            self.errors = ("callback failed",)
