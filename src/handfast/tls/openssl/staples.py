"""
What a handshake staples: the OCSP response beside a server certificate (RFC 6066 §8, RFC 8446 §4.4.2.1).

OpenSSL asks for it once in a handshake whose client sent status_request, in TLS 1.2
and 1.3. A handshake never fails for want of it: whatever goes wrong here, it goes on
without a staple.
"""

from __future__ import annotations

from typing import Any, Final

from handfast.tls.openssl.binding import ffi, lib
from handfast.tls.openssl.direct import DirectEngine
from handfast.tls.openssl.engine import Context, Engine

_OK: Final = 0  # SSL_TLSEXT_ERR_OK
_NONE: Final = 3  # SSL_TLSEXT_ERR_NOACK: as if the client had not asked
_CALLBACK: Final = "int (*)(SSL *, void *)"


class Staple:
    """The response, DER, that goes with one certificate's contexts from the next handshake on; None for none."""

    __slots__ = ("response",)

    def __init__(self) -> None:
        self.response: bytes | None = None


def attach(context: Context, staple: Staple, engine: type[Engine]) -> None:
    """Handshakes of the context staple what `staple` holds at that moment; none, where the binding cannot."""
    if issubclass(engine, DirectEngine):
        _attach_directly(context, staple)
    else:
        context.set_ocsp_server_callback(lambda _connection, _data: _response(staple))


def _response(staple: Staple) -> bytes:
    try:
        response = staple.response
        return response if isinstance(response, bytes) else b""
    except BaseException:
        return b""


def _attach_directly(context: Context, staple: Staple) -> None:
    """As pyOpenSSL does it, which knows only connections that it made itself."""
    try:
        set_callback, allocate = lib.SSL_CTX_set_tlsext_status_cb, lib.OPENSSL_malloc
        hand_over = lib.SSL_set_tlsext_status_ocsp_resp
    except AttributeError:
        return

    def give(ssl: Any, _: Any) -> int:
        try:
            response = _response(staple)
            if not response:
                return _NONE
            copy = allocate(len(response))
            if copy == ffi.NULL:
                return _NONE
            ffi.buffer(copy, len(response))[:] = response
            hand_over(ssl, copy, len(response))  # OpenSSL's from here on, and freed by it
            return _OK
        except BaseException:
            return _NONE

    # error: what is answered if even the wrapper fails.
    callback = ffi.callback(_CALLBACK, give, error=_NONE)
    set_callback(context._context, callback)
    kept = context.get_app_data()
    context.set_app_data([*(kept or []), callback])  # it lives as long as what calls it
