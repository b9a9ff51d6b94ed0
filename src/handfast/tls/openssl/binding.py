"""pyOpenSSL's lower-level binding, which is private: what is used of it, and whether all of that is there."""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL

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
CALLBACKS: Final = (
    "int (*)(int, X509_STORE_CTX *)",
    "int (*)(SSL *, unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *)",
    "void (*)(const SSL *, int, int)",
)

lib: Any = getattr(SSL, "_lib", None)
ffi: Any = getattr(SSL, "_ffi", None)


def missing_symbols() -> list[str]:
    """What DirectEngine needs and this pyOpenSSL and cryptography do not have; [] when it can be used."""
    if lib is None or ffi is None:
        return ["OpenSSL.SSL._lib"]
    missing = [name for name in (*_FUNCTIONS, *_CONSTANTS) if not hasattr(lib, name)]
    for declaration in CALLBACKS:
        try:
            ffi.typeof(declaration)
        except Exception:
            missing.append(declaration)
    if not hasattr(SSL.Context(SSL.TLS_SERVER_METHOD), "_context"):
        missing.append("SSL.Context._context")
    return missing


MISSING: Final = missing_symbols()
"""As they were at import."""


def queued_errors() -> tuple[str, ...]:
    """OpenSSL's error queue as words, emptied."""
    reasons: list[str] = []
    while (code := lib.ERR_get_error()) and len(reasons) < 16:
        text = lib.ERR_reason_error_string(code)
        reasons.append(ffi.string(text).decode("ascii", "replace") if text != ffi.NULL else f"error {code:#x}")
    lib.ERR_clear_error()
    return tuple(reasons)
