"""The wheel's OpenSSL functions, called directly on one shared buffer."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import Certificate
from OpenSSL import SSL

from handfast.core.identity.security_policy import SecurityPolicy
from handfast.tls.openssl.binding import CALLBACKS, MISSING, ffi, lib, queued_errors
from handfast.tls.openssl.configuration import CB_ACCEPT_EXIT, GROUPS, GROUPS_WITH_DHE, VERIFY, build_context
from handfast.tls.openssl.engine import (
    BUFFER_BYTES,
    DEFAULT_POLICY,
    DONE,
    FAILED,
    WANT_READ,
    AcceptCertificate,
    Context,
    accept_any,
)

if not MISSING:
    _NULL = ffi.NULL
    _buffer = ffi.new("char[]", BUFFER_BYTES)
    _view = ffi.buffer(_buffer, BUFFER_BYTES)
    _BIO_get_mem_data = lib.BIO_get_mem_data
    _BIO_new = lib.BIO_new
    _BIO_read = lib.BIO_read
    _BIO_s_mem = lib.BIO_s_mem()
    _BIO_write = lib.BIO_write
    _ERR_clear_error = lib.ERR_clear_error
    _SSL_do_handshake = lib.SSL_do_handshake
    _SSL_free = lib.SSL_free
    _SSL_get_error = lib.SSL_get_error
    _SSL_new = lib.SSL_new
    _SSL_read = lib.SSL_read
    _SSL_set_bio = lib.SSL_set_bio
    _SSL_write = lib.SSL_write
    _ERROR_WANT_READ: int = lib.SSL_ERROR_WANT_READ
    _ERROR_ZERO_RETURN: int = lib.SSL_ERROR_ZERO_RETURN
    _AUTO_RETRY: int = lib.SSL_MODE_AUTO_RETRY
    _V_OK: int = lib.X509_V_OK
    _der_bio = ffi.gc(_BIO_new(_BIO_s_mem), lib.BIO_free)

    # Post-handshake messages seen since somebody looked. OpenSSL calls back within SSL_read only, on this thread,
    # so what is found after a read belongs to that connection.
    _post_handshake = [0]

    @ffi.callback("void (*)(const SSL *, int, int)")  # type: ignore[untyped-decorator]
    def _count_post_handshake(ssl: Any, where: int, ret: int) -> None:
        if where == CB_ACCEPT_EXIT:
            _post_handshake[0] += 1


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
        policy: SecurityPolicy = DEFAULT_POLICY,
        accept: AcceptCertificate = accept_any,
    ) -> Context:
        context = build_context(chain, key, client_auth=client_auth, policy=policy)
        # pyOpenSSL switches partial writes on; a memory BIO takes everything, so SSL_write is whole or failed.
        context.clear_mode(lib.SSL_MODE_ENABLE_PARTIAL_WRITE)
        raw = context._context
        groups = GROUPS_WITH_DHE if policy.dhe_rsa else GROUPS
        if lib.SSL_CTX_set1_curves_list(raw, groups.encode()) != 1:
            raise SSL.Error([("", "", reason) for reason in queued_errors()])
        keep: list[object] = []
        if client_auth:
            set_error = lib.X509_STORE_CTX_set_error

            def verify(ok: int, store: Any) -> int:
                try:
                    if accept() is not True:
                        return 0
                    set_error(store, _V_OK)
                    return 1
                except BaseException:
                    return 0

            # error=0: what is answered if even the wrapper fails.
            on_verify = ffi.callback(CALLBACKS[0], verify, error=0)
            lib.SSL_CTX_set_verify(raw, VERIFY, on_verify)
            keep.append(on_verify)
        if alpn is not None:
            refuse: int = lib.SSL_TLSEXT_ERR_ALERT_FATAL
            ok: int = lib.SSL_TLSEXT_ERR_OK
            selected = ffi.new("unsigned char[]", alpn)
            length = len(alpn)
            wanted = bytes([length]) + alpn

            def select(ssl: Any, out: Any, out_length: Any, offered: Any, offered_length: int, arg: Any) -> int:
                try:
                    names = ffi.buffer(offered, offered_length)[:]
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

            on_select = ffi.callback(CALLBACKS[1], select, error=refuse)
            lib.SSL_CTX_set_alpn_select_cb(raw, on_select, _NULL)
            keep += [on_select, selected]
        context.set_app_data(keep)  # callbacks live as long as what calls them
        return context

    def __init__(self, context: Context) -> None:
        self._context = context
        ssl = ffi.gc(_SSL_new(context._context), _SSL_free)
        self._into_ssl = _BIO_new(_BIO_s_mem)
        self._from_ssl = _BIO_new(_BIO_s_mem)
        if ssl == _NULL or self._into_ssl == _NULL or self._from_ssl == _NULL:
            raise MemoryError("OpenSSL could not allocate a connection")
        self._ssl = ssl
        self._aligned = False  # what was fed ended with a record, and all of it is read
        _SSL_set_bio(ssl, self._into_ssl, self._from_ssl)
        lib.SSL_set_mode(ssl, _AUTO_RETRY)
        lib.SSL_set_accept_state(ssl)
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
            lib.SSL_set_info_callback(ssl, _count_post_handshake)
            return DONE
        if _SSL_get_error(ssl, result) == _ERROR_WANT_READ:
            return WANT_READ
        return self._fail()

    def drain(self) -> bytes:
        out = self._from_ssl
        count = _BIO_read(out, _buffer, BUFFER_BYTES)
        if count <= 0:
            return b""
        data = _view[:count]
        while count == BUFFER_BYTES:
            count = _BIO_read(out, _buffer, BUFFER_BYTES)
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
        total = _SSL_read(ssl, _buffer, BUFFER_BYTES)
        if total > 0:
            if self._aligned and length == (data[3] << 8 | data[4]) + 5:
                return _view[:total]  # type: ignore[no-any-return]  # one whole record, nothing behind it
            # MAX_FEED_BYTES and the incomplete record before it hold no more plaintext than fits the buffer.
            while _BIO_get_mem_data(into, _NULL) > 0:
                count = _SSL_read(ssl, _buffer + total, BUFFER_BYTES - total)
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
        errors = queued_errors()
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
        count = _BIO_read(out, _buffer, BUFFER_BYTES)
        if count < BUFFER_BYTES:
            return _view[:count]  # type: ignore[no-any-return]
        return _view[:count] + self.drain()  # type: ignore[no-any-return]

    def shut_down(self) -> bytes:
        if not self.failed:
            _ERR_clear_error()
            lib.SSL_shutdown(self._ssl)
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
        certificate = lib.SSL_get_peer_certificate(self._ssl)
        if certificate == _NULL:
            return b""
        try:
            lib.i2d_X509_bio(_der_bio, certificate)
        finally:
            lib.X509_free(certificate)
        pieces = []
        while (count := _BIO_read(_der_bio, _buffer, BUFFER_BYTES)) > 0:
            pieces.append(_view[:count])
        return b"".join(pieces)

    def version(self) -> str:
        return _text(lib.SSL_get_version(self._ssl)) or ""

    def cipher(self) -> str:
        return _text(lib.SSL_CIPHER_get_name(lib.SSL_get_current_cipher(self._ssl))) or ""

    def group(self) -> str | None:
        # A static-RSA handshake has none. The text belongs to the context, so its address says nothing later.
        name = lib.SSL_get0_group_name(self._ssl)
        return None if name == _NULL else ffi.string(name).decode("ascii", "replace")

    def _fail(self) -> int:
        self.failed = self.attention = True
        self.errors = queued_errors()
        return FAILED


_texts: dict[Any, str] = {}


def _text(pointer: Any) -> str | None:
    """The C string behind a pointer into OpenSSL's static tables; each of them is read once."""
    text = _texts.get(pointer)
    if text is None and pointer != _NULL:
        text = ffi.string(pointer).decode("ascii", "replace")
        if len(_texts) < 256:
            _texts[pointer] = text
    return text
