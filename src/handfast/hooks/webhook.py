"""
One call of a webhook: a signed POST on a connection of its own, and nothing else that HTTP could do.

The standard library's client, because it does only what it is told: no redirects, no proxies of the
environment, no retries, no decoding. The connection is made here, so that every wait counts against one
deadline. Runs in a thread.
"""

from __future__ import annotations

import functools
import http.client
import ipaddress
import socket
import ssl
import time
from urllib.parse import urlsplit

from handfast import __version__
from handfast.core.provisioning.hooks import (
    EVENT_HEADER,
    MAX_ANSWER_BYTES,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    HookEvent,
    HookFailed,
    HookResult,
    Webhook,
    signature,
)
from handfast.hooks.deadline import Deadline

_CHUNK = 16_384
_ADDRESSES = 4
"""Addresses of a host that are tried."""


def post(hook: Webhook, event: HookEvent, body: bytes, deadline: Deadline) -> bytes:
    """The body of the answer 200. HookFailed: anything else."""
    try:
        return _post(hook, event, body, deadline)
    except HookFailed:
        raise
    except ssl.SSLCertVerificationError as error:
        raise _unreachable(f"its certificate is not trusted: {error.verify_message}") from error
    except TimeoutError as error:
        raise deadline.passed() from error
    except (OSError, http.client.HTTPException) as error:
        deadline.left()  # cut by us: too late, whatever it looks like
        raise _unreachable(_said(error)) from error


def _post(hook: Webhook, event: HookEvent, body: bytes, deadline: Deadline) -> bytes:
    parts = urlsplit(hook.url)
    secure, host = parts.scheme == "https", parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": f"handfast/{__version__}",
        EVENT_HEADER: event.value,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: signature(hook.secret, timestamp, body),
    }
    connection = http.client.HTTPSConnection(host, port) if secure else http.client.HTTPConnection(host, port)
    try:
        sock = _connect(host, port, deadline, loopback_only=not secure)
        connection.sock = sock  # closed with the connection from here on
        if secure:
            sock = _context(hook.ca_pem).wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            connection.sock = sock
            deadline.hold(sock)
            sock.do_handshake()
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body=body, headers=headers)
        return _answer(connection.getresponse(), sock, deadline)
    finally:
        deadline.release()
        connection.close()


def _answer(response: http.client.HTTPResponse, sock: socket.socket, deadline: Deadline) -> bytes:
    if response.status != 200:
        hint = "; redirects are not followed" if 300 <= response.status < 400 else ""
        raise HookFailed(HookResult.REFUSED, f"it answered with the HTTP status {response.status}{hint}")
    if response.getheader("Content-Encoding", "identity").strip().lower() != "identity":
        raise HookFailed(HookResult.INVALID, "its answer is compressed, which was not asked for")
    answer = b""
    while True:
        sock.settimeout(deadline.left())
        chunk = response.read1(_CHUNK)
        if not chunk:
            break
        answer += chunk
        if len(answer) > MAX_ANSWER_BYTES:
            raise HookFailed(HookResult.INVALID, f"its answer has more than {MAX_ANSWER_BYTES} bytes")
    deadline.left()
    if response.length:
        raise _unreachable("the connection ended before the answer did")
    return answer


def _connect(host: str, port: int, deadline: Deadline, *, loopback_only: bool) -> socket.socket:
    """A connection to one of the host's addresses, the first of them that accepts; held by the deadline."""
    failure: OSError | None = None
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in found[:_ADDRESSES]:
        if loopback_only and not ipaddress.ip_address(address[0]).is_loopback:
            continue  # http is for this machine; what a resolver says of `localhost` does not change that
        sock = socket.socket(family, kind, protocol)
        try:
            deadline.hold(sock)
            sock.settimeout(deadline.left())
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
            deadline.left()
        except BaseException:
            sock.close()
            raise
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise failure or OSError(f"{host} has no address that may be called")


@functools.lru_cache(maxsize=128)
def _context(ca_pem: str | None) -> ssl.SSLContext:
    """The hook's roots alone, or those of the system; reading the system's takes some milliseconds."""
    context = ssl.create_default_context(cadata=ca_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_pem is not None:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what the operator gave is trusted, root or not
    return context


def _unreachable(why: str) -> HookFailed:
    return HookFailed(HookResult.UNREACHABLE, why)


def _said(error: OSError | http.client.HTTPException) -> str:
    """The kind of error and its text; a peer's own words are not in it."""
    if isinstance(error, http.client.HTTPException):
        return f"it does not speak HTTP ({type(error).__name__})"
    return f"{type(error).__name__}: {error.strerror or getattr(error, 'reason', '') or 'no reason given'}"
