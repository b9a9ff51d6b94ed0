"""One handshake of a TLS stack that comes as a Python package: which one, then port=, name=, alpn=, versions=…"""

from __future__ import annotations

import socket
import sys


def awscrt(port: int, name: str, alpn: str | None, versions: str | None) -> None:
    """s2n-tls, as the AWS IoT device SDKs have it."""
    from awscrt import http, io

    options = io.TlsContextOptions()
    options.verify_peer = False
    if versions == "1.3":
        options.min_tls_ver = io.TlsVersion.TLSv1_3
    if versions == "pq":
        options.cipher_pref = io.TlsCipherPref.PQ_DEFAULT
    if alpn is not None:
        options.alpn_list = [alpn]
    connection = io.ClientTlsContext(options).new_connection_options()
    connection.set_server_name(name)
    bootstrap = io.ClientBootstrap(io.EventLoopGroup(1), io.DefaultHostResolver(io.EventLoopGroup(1)))
    http.HttpClientConnection.new("127.0.0.1", port, bootstrap, tls_connection_options=connection).result(5)


def curl_cffi(port: int, name: str, alpn: str | None, versions: str | None) -> None:
    """BoringSSL as Chromium sets it up: GREASE, extensions in any order, a key share of a post-quantum hybrid."""
    from curl_cffi import CurlOpt, requests

    resolve = {CurlOpt.RESOLVE: [f"{name}:{port}:127.0.0.1"]}
    requests.get(f"https://{name}:{port}/", impersonate=versions, verify=False, timeout=5, curl_options=resolve)


def pyopenssl(port: int, name: str, alpn: str | None, versions: str | None) -> None:
    """The OpenSSL of the `cryptography` wheel."""
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if versions == "1.2":
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
    if versions == "mlkem":
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        groups = b"*X25519MLKEM768:*SecP256r1MLKEM768:*X25519"
        assert 1 == SSL._lib.SSL_CTX_set1_curves_list(context._context, groups)
    if alpn is not None:
        context.set_alpn_protos([alpn.encode()])
    connected = socket.create_connection(("127.0.0.1", port), 5)
    connected.settimeout(None)  # with a time limit it does not block, and every read wants to be repeated
    connection = SSL.Connection(context, connected)
    connection.set_tlsext_host_name(name.encode())
    connection.set_connect_state()
    connection.do_handshake()


def stdlib(port: int, name: str, alpn: str | None, versions: str | None) -> None:
    """The ssl module of Python."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5), server_hostname=name)


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[2:])
    stack = {each.__name__: each for each in (awscrt, curl_cffi, pyopenssl, stdlib)}[sys.argv[1]]
    stack(int(given["port"]), given["name"], given.get("alpn"), given.get("versions"))


if __name__ == "__main__":
    main()
