"""
The only file that touches OpenSSL: server-side TLS over memory, without sockets, loop or clock.

Two engines behind one interface. `DirectEngine` calls the OpenSSL functions of
the `cryptography` wheel through pyOpenSSL's lower-level binding on one shared
buffer, with no exception and no allocation for "nothing to read". That binding
is private: every symbol used is looked up at import. Where one is missing, or
`HANDFAST_TLS_ENGINE=public` is set, `PublicEngine` does the same with
pyOpenSSL's public methods only. Both pass the same tests.

A client certificate of any issuer is accepted here: the handshake proves
possession of its key, the registry decides afterwards. A callback that raises,
whatever it raises, refuses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate
from OpenSSL import SSL

from handfast.core.identity.security_policy import DEFAULT_SECURITY_POLICY, SECURITY_POLICIES, SecurityPolicy

WANT_READ: Final = 0
DONE: Final = 1
FAILED: Final = 2

MAX_FEED_BYTES: Final = 16 * 1024
"""The most that `receive` takes at once: bounds the plaintext of one call and the growth of the memory BIO."""
MAX_ENCRYPT_BYTES: Final = 64 * 1024
"""The most that `encrypt` takes at once."""

_BUFFER_BYTES: Final = MAX_ENCRYPT_BYTES + 16 * 1024

# Preference goes by the tuples between slashes; within one the group that needs no second round trip wins.
# P-256, P-384 and P-521 also decide which EC client certificates TLS 1.2 takes.
GROUPS: Final = "X25519MLKEM768/X25519:P-256/P-384:P-521"
# RFC 7919 §4: a client that names finite-field groups gets DHE in one of those or not at all.
_GROUPS_WITH_DHE: Final = GROUPS + "/ffdhe2048"
_FFDHE2048: Final = Path(__file__).with_name("ffdhe2048.pem")

_OPTIONS: Final = (
    SSL.OP_NO_TICKET
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | SSL.OP_IGNORE_UNEXPECTED_EOF
)

_DEFAULT_POLICY: Final = SECURITY_POLICIES[DEFAULT_SECURITY_POLICY]

AcceptCertificate = Callable[[], bool]


def accept_any() -> bool:
    """The verify callback's answer: any chain will do."""
    return True


class Engine(Protocol):
    """
    One server-side TLS connection.

    First `handshake` until DONE or FAILED, then `receive` and `encrypt`. Whatever
    OpenSSL wants to send meanwhile waits for `drain`. After a failure `errors` holds
    OpenSSL's reasons, the first one first.
    """

    errors: tuple[str, ...]
    failed: bool
    closed: bool
    attention: bool
    """Set when `failed`, `closed` or `events` changed in `receive`; whoever looks resets it."""

    @property
    def events(self) -> int:
        """How often a message other than data was read or answered since the handshake: KeyUpdate, renegotiation."""
        ...

    @classmethod
    def context(
        cls,
        chain: list[Certificate],
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        *,
        client_auth: bool,
        alpn: bytes | None,
        policy: SecurityPolicy = _DEFAULT_POLICY,
        accept: AcceptCertificate = accept_any,
    ) -> SSL.Context:
        """What `__init__` takes. `alpn` is what is selected; a client that does not offer it gets alert 120."""
        ...

    def __init__(self, context: SSL.Context) -> None: ...

    def handshake(self, data: bytes) -> int:
        """Feed `data` and go on with the handshake: WANT_READ, DONE or FAILED."""
        ...

    def drain(self) -> bytes:
        """What is to be sent now; b"" for nothing."""
        ...

    def receive(self, data: bytes) -> bytes:
        """
        The plaintext in `data` (at most MAX_FEED_BYTES) and what was fed before; b"" while there is none.

        Sets `closed` at a close_notify and `failed` when the peer broke TLS.
        """
        ...

    def encrypt(self, data: bytes) -> bytes:
        """Records for `data` (1 to MAX_ENCRYPT_BYTES bytes), behind whatever else was waiting to be sent."""
        ...

    def shut_down(self) -> bytes:
        """What is to be sent last: a close_notify, where one can still be sent."""
        ...

    def release(self) -> bool:
        """Give back the memory that a handshake or a burst has left in the buffers; False: they are not empty."""
        ...

    def peer_certificate(self) -> bytes:
        """The DER of the client's certificate; b"" where none was asked for."""
        ...

    def version(self) -> str: ...

    def cipher(self) -> str: ...

    def group(self) -> str | None: ...


def _build_context(
    chain: list[Certificate],
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    client_auth: bool,
    policy: SecurityPolicy,
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION if policy.tls12_suites else SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION if policy.tls13_suites else SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # Nothing is ever resumed. In TLS 1.3 OpenSSL names sessions to the client all the same, and the binding lacks
    # SSL_CTX_set_num_tickets; what can be said is that they are good for a second (RFC 8446 §4.6.1).
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_timeout(1)
    if policy.tls12_suites:
        context.set_cipher_list(":".join(policy.tls12_suites).encode())
    if policy.tls13_suites:
        context.set_tls13_ciphersuites(":".join(policy.tls13_suites).encode())
    if policy.dhe_rsa:
        context.load_tmp_dh(str(_FFDHE2048))
    context.use_certificate(chain[0])
    for certificate in chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(key)
    context.check_privatekey()
    if not client_auth:
        context.set_verify(SSL.VERIFY_NONE)
    return context


_VERIFY: Final = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


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
        policy: SecurityPolicy = _DEFAULT_POLICY,
        accept: AcceptCertificate = accept_any,
    ) -> SSL.Context:
        context = _build_context(chain, key, client_auth=client_auth, policy=policy)
        if client_auth:

            def verify(*_: object) -> bool:
                try:
                    return accept() is True
                except BaseException:
                    return False

            context.set_verify(_VERIFY, verify)
        if alpn is not None:

            def select(_: SSL.Connection, offered: list[bytes]) -> bytes:
                return alpn if alpn in offered else b""

            context.set_alpn_select_callback(select)

        def count(connection: SSL.Connection, where: int, _: int) -> None:
            counter = connection.get_app_data()
            if counter is not None and where == _RAN:
                counter[0] += 1

        context.set_info_callback(count)
        return context

    def __init__(self, context: SSL.Context) -> None:
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
                pieces.append(self._connection.bio_read(_BUFFER_BYTES))
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


# --- The lower-level binding -------------------------------------------------------------------------------------

_FUNCTIONS: Final = (
    "BIO_get_mem_data",
    "BIO_new",
    "BIO_read",
    "BIO_s_mem",
    "BIO_write",
    "ERR_clear_error",
    "ERR_get_error",
    "ERR_reason_error_string",
    "SSL_CIPHER_get_name",
    "SSL_CTX_set1_curves_list",
    "SSL_CTX_set_alpn_select_cb",
    "SSL_CTX_set_verify",
    "SSL_do_handshake",
    "SSL_free",
    "SSL_get0_group_name",
    "SSL_get_current_cipher",
    "SSL_get_error",
    "SSL_get_peer_certificate",
    "SSL_get_version",
    "SSL_new",
    "SSL_read",
    "SSL_set_accept_state",
    "SSL_set_bio",
    "SSL_set_info_callback",
    "SSL_set_mode",
    "SSL_shutdown",
    "SSL_write",
    "X509_STORE_CTX_set_error",
    "X509_free",
    "i2d_X509_bio",
)
_CONSTANTS: Final = (
    "SSL_ERROR_WANT_READ",
    "SSL_ERROR_ZERO_RETURN",
    "SSL_MODE_AUTO_RETRY",
    "SSL_MODE_ENABLE_PARTIAL_WRITE",
    "SSL_TLSEXT_ERR_ALERT_FATAL",
    "SSL_TLSEXT_ERR_OK",
    "X509_V_OK",
)
_CALLBACKS: Final = (
    "int (*)(int, X509_STORE_CTX *)",
    "int (*)(SSL *, unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)",
    "void (*)(const SSL *, int, int)",
)

_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)


def missing_symbols() -> list[str]:
    """What DirectEngine needs and this pyOpenSSL and cryptography do not have; [] when it can be used."""
    if _lib is None or _ffi is None:
        return ["OpenSSL.SSL._lib"]
    missing = [name for name in (*_FUNCTIONS, *_CONSTANTS) if not hasattr(_lib, name)]
    for declaration in _CALLBACKS:
        try:
            _ffi.typeof(declaration)
        except Exception:
            missing.append(declaration)
    if not hasattr(SSL.Context(SSL.TLS_SERVER_METHOD), "_context"):
        missing.append("SSL.Context._context")
    return missing


# SSL_CB_ACCEPT_EXIT: the state machine ran after the handshake. Once for a KeyUpdate or a renegotiation taken up,
# once for an answer sent; never for application data.
_RAN: Final = 0x2002

_MISSING: Final = missing_symbols()


if not _MISSING:
    _NULL = _ffi.NULL
    _buffer = _ffi.new("char[]", _BUFFER_BYTES)
    _view = _ffi.buffer(_buffer, _BUFFER_BYTES)
    _BIO_get_mem_data = _lib.BIO_get_mem_data
    _BIO_new = _lib.BIO_new
    _BIO_read = _lib.BIO_read
    _BIO_s_mem = _lib.BIO_s_mem()
    _BIO_write = _lib.BIO_write
    _ERR_clear_error = _lib.ERR_clear_error
    _SSL_do_handshake = _lib.SSL_do_handshake
    _SSL_free = _lib.SSL_free
    _SSL_get_error = _lib.SSL_get_error
    _SSL_new = _lib.SSL_new
    _SSL_read = _lib.SSL_read
    _SSL_set_bio = _lib.SSL_set_bio
    _SSL_write = _lib.SSL_write
    _ERROR_WANT_READ: int = _lib.SSL_ERROR_WANT_READ
    _ERROR_ZERO_RETURN: int = _lib.SSL_ERROR_ZERO_RETURN
    _AUTO_RETRY: int = _lib.SSL_MODE_AUTO_RETRY
    _V_OK: int = _lib.X509_V_OK
    _der_bio = _ffi.gc(_BIO_new(_BIO_s_mem), _lib.BIO_free)

    # Post-handshake messages seen since somebody looked. OpenSSL calls back within SSL_read only, on this thread,
    # so what is found after a read belongs to that connection.
    _post_handshake = [0]

    @_ffi.callback("void (*)(const SSL *, int, int)")  # type: ignore[untyped-decorator]
    def _count_post_handshake(ssl: Any, where: int, ret: int) -> None:
        if where == _RAN:
            _post_handshake[0] += 1


def _queued_errors() -> tuple[str, ...]:
    """OpenSSL's error queue as words, emptied."""
    reasons: list[str] = []
    while (code := _lib.ERR_get_error()) and len(reasons) < 16:
        text = _lib.ERR_reason_error_string(code)
        reasons.append(_ffi.string(text).decode("ascii", "replace") if text != _NULL else f"error {code:#x}")
    _ERR_clear_error()
    return tuple(reasons)


class DirectEngine:
    """The wheel's OpenSSL functions, called directly."""

    # The SSL object owns both BIOs and is freed with the last reference to `_ssl`; the context has to outlive it.
    __slots__ = (
        "_aligned",
        "_context",
        "_from_ssl",
        "_into_ssl",
        "_ssl",
        "attention",
        "closed",
        "errors",
        "events",
        "failed",
    )

    @classmethod
    def context(
        cls,
        chain: list[Certificate],
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        *,
        client_auth: bool,
        alpn: bytes | None,
        policy: SecurityPolicy = _DEFAULT_POLICY,
        accept: AcceptCertificate = accept_any,
    ) -> SSL.Context:
        context = _build_context(chain, key, client_auth=client_auth, policy=policy)
        # pyOpenSSL switches partial writes on; a memory BIO takes everything, so SSL_write is whole or failed.
        context.clear_mode(_lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
        raw = context._context
        groups = _GROUPS_WITH_DHE if policy.dhe_rsa else GROUPS
        if _lib.SSL_CTX_set1_curves_list(raw, groups.encode()) != 1:
            raise SSL.Error([("", "", reason) for reason in _queued_errors()])
        keep: list[object] = []
        if client_auth:
            set_error = _lib.X509_STORE_CTX_set_error

            def verify(ok: int, store: Any) -> int:
                try:
                    if accept() is not True:
                        return 0
                    set_error(store, _V_OK)
                    return 1
                except BaseException:
                    return 0

            # error=0: what is answered if even the wrapper fails.
            on_verify = _ffi.callback(_CALLBACKS[0], verify, error=0)
            _lib.SSL_CTX_set_verify(raw, _VERIFY, on_verify)
            keep.append(on_verify)
        if alpn is not None:
            refuse: int = _lib.SSL_TLSEXT_ERR_ALERT_FATAL
            ok: int = _lib.SSL_TLSEXT_ERR_OK
            selected = _ffi.new("unsigned char[]", alpn)
            length = len(alpn)
            wanted = bytes([length]) + alpn

            def select(ssl: Any, out: Any, out_length: Any, offered: Any, offered_length: int, arg: Any) -> int:
                try:
                    names = _ffi.buffer(offered, offered_length)[:]
                    position = 0
                    while position < len(names):
                        following = position + 1 + names[position]
                        if names[position:following] == wanted:
                            out[0] = selected
                            out_length[0] = length
                            return ok
                        position = following
                    return refuse
                except BaseException:
                    return refuse

            on_select = _ffi.callback(_CALLBACKS[1], select, error=refuse)
            _lib.SSL_CTX_set_alpn_select_cb(raw, on_select, _NULL)
            keep += [on_select, selected]
        context.set_app_data(keep)  # callbacks live as long as what calls them
        return context

    def __init__(self, context: SSL.Context) -> None:
        self._context = context
        ssl = _ffi.gc(_SSL_new(context._context), _SSL_free)
        self._into_ssl = _BIO_new(_BIO_s_mem)
        self._from_ssl = _BIO_new(_BIO_s_mem)
        if ssl == _NULL or self._into_ssl == _NULL or self._from_ssl == _NULL:
            raise MemoryError("OpenSSL could not allocate a connection")
        self._ssl = ssl
        self._aligned = False  # what was fed ended with a record, and all of it is read
        _SSL_set_bio(ssl, self._into_ssl, self._from_ssl)
        _lib.SSL_set_mode(ssl, _AUTO_RETRY)
        _lib.SSL_set_accept_state(ssl)
        self.errors: tuple[str, ...] = ()
        self.failed = False
        self.closed = False
        self.attention = False
        self.events = 0

    def handshake(self, data: bytes) -> int:
        _ERR_clear_error()
        ssl = self._ssl
        if data and _BIO_write(self._into_ssl, data, len(data)) != len(data):
            return self._fail()
        result = _SSL_do_handshake(ssl)
        if result == 1:
            _lib.SSL_set_info_callback(ssl, _count_post_handshake)
            return DONE
        if _SSL_get_error(ssl, result) == _ERROR_WANT_READ:
            return WANT_READ
        return self._fail()

    def drain(self) -> bytes:
        out = self._from_ssl
        count = _BIO_read(out, _buffer, _BUFFER_BYTES)
        if count <= 0:
            return b""
        data = _view[:count]
        while count == _BUFFER_BYTES:
            count = _BIO_read(out, _buffer, _BUFFER_BYTES)
            if count > 0:
                data += _view[:count]
        return data  # type: ignore[no-any-return]

    def receive(self, data: bytes) -> bytes:
        ssl = self._ssl
        into = self._into_ssl
        length = len(data)
        if data and _BIO_write(into, data, length) != length:
            self._fail()
            return b""
        total = _SSL_read(ssl, _buffer, _BUFFER_BYTES)
        if total > 0:
            if self._aligned and length == (data[3] << 8 | data[4]) + 5:
                return _view[:total]  # type: ignore[no-any-return]  # one whole record, nothing behind it
            # MAX_FEED_BYTES and the incomplete record before it hold no more plaintext than fits the buffer.
            while _BIO_get_mem_data(into, _NULL) > 0:
                count = _SSL_read(ssl, _buffer + total, _BUFFER_BYTES - total)
                if count <= 0:
                    self._aligned = False
                    self._look(count)
                    break
                total += count
            else:
                self._aligned = True
        else:
            self._aligned = False
            self._look(total)
            total = 0
        if _post_handshake[0]:
            self.events += _post_handshake[0]
            self.attention = True
            _post_handshake[0] = 0
        return _view[:total]  # type: ignore[no-any-return]

    def _look(self, count: int) -> None:
        """Why SSL_read gave nothing."""
        error = _SSL_get_error(self._ssl, count)
        if error == _ERROR_WANT_READ:
            return
        # SSL_get_error answers "failed" whenever the thread's error queue holds anything, whoever left it there.
        # Emptying the queue before every read would cost a sixth of it; asking again with it empty is the same.
        errors = _queued_errors()
        error = _SSL_get_error(self._ssl, count)
        if error == _ERROR_WANT_READ:
            return
        if error == _ERROR_ZERO_RETURN:
            self.closed = self.attention = True
        else:
            self.failed = self.attention = True
            self.errors = errors

    def encrypt(self, data: bytes) -> bytes:
        length = len(data)
        if _SSL_write(self._ssl, data, length) != length:
            self._fail()
            return self.drain()
        out = self._from_ssl
        count = _BIO_read(out, _buffer, _BUFFER_BYTES)
        if count < _BUFFER_BYTES:
            return _view[:count]  # type: ignore[no-any-return]
        return _view[:count] + self.drain()  # type: ignore[no-any-return]

    def shut_down(self) -> bytes:
        if not self.failed:
            _ERR_clear_error()
            _lib.SSL_shutdown(self._ssl)
            _ERR_clear_error()
        return self.drain()

    def release(self) -> bool:
        if _BIO_get_mem_data(self._into_ssl, _NULL) or _BIO_get_mem_data(self._from_ssl, _NULL):
            return False
        self._into_ssl = _BIO_new(_BIO_s_mem)
        self._from_ssl = _BIO_new(_BIO_s_mem)
        _SSL_set_bio(self._ssl, self._into_ssl, self._from_ssl)
        return True

    def peer_certificate(self) -> bytes:
        certificate = _lib.SSL_get_peer_certificate(self._ssl)
        if certificate == _NULL:
            return b""
        try:
            _lib.i2d_X509_bio(_der_bio, certificate)
        finally:
            _lib.X509_free(certificate)
        pieces = []
        while (count := _BIO_read(_der_bio, _buffer, _BUFFER_BYTES)) > 0:
            pieces.append(_view[:count])
        return b"".join(pieces)

    def version(self) -> str:
        return _text(_lib.SSL_get_version(self._ssl)) or ""

    def cipher(self) -> str:
        return _text(_lib.SSL_CIPHER_get_name(_lib.SSL_get_current_cipher(self._ssl))) or ""

    def group(self) -> str | None:
        # A static-RSA handshake has none. The text belongs to the context, so its address says nothing later.
        name = _lib.SSL_get0_group_name(self._ssl)
        return None if name == _NULL else _ffi.string(name).decode("ascii", "replace")

    def _fail(self) -> int:
        self.failed = self.attention = True
        self.errors = _queued_errors()
        return FAILED


_texts: dict[Any, str] = {}


def _text(pointer: Any) -> str | None:
    """The C string behind a pointer into OpenSSL's static tables; each of them is read once."""
    text = _texts.get(pointer)
    if text is None and pointer != _NULL:
        text = _ffi.string(pointer).decode("ascii", "replace")
        if len(_texts) < 256:
            _texts[pointer] = text
    return text


def default_engine() -> type[Engine]:
    """
    The engine of this process: HANDFAST_TLS_ENGINE says `direct` or `public`; otherwise direct where it can be.

    Raises:
        RuntimeError: Another word, or `direct` with a binding that lacks symbols.
    """
    wanted = os.environ.get("HANDFAST_TLS_ENGINE", "")
    if wanted not in ("", "direct", "public"):
        raise RuntimeError(f"HANDFAST_TLS_ENGINE is {wanted!r}; it can be direct or public")
    if wanted == "direct" and _MISSING:
        raise RuntimeError(f"HANDFAST_TLS_ENGINE=direct, but the OpenSSL binding lacks {', '.join(_MISSING)}")
    return PublicEngine if wanted == "public" or _MISSING else DirectEngine


__all__ = [
    "DONE",
    "FAILED",
    "GROUPS",
    "MAX_ENCRYPT_BYTES",
    "MAX_FEED_BYTES",
    "WANT_READ",
    "DirectEngine",
    "Engine",
    "PublicEngine",
    "accept_any",
    "default_engine",
    "missing_symbols",
]
