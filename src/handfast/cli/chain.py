"""`handfast chain HOST:PORT`: a server's chain, link by link, and which root a device needs for it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from handfast.cli.options import AsJson, DataDir, data_directory
from handfast.cli.output import print_json, print_table
from handfast.core.pki.chain import with_and_without
from handfast.core.pki.describe import Described, covers, describe_chain, roots_needed
from handfast.core.pki.wire_size import certificate_message
from handfast.errors import ConfigurationError
from handfast.printable import printable
from handfast.services.trust import cross_certificates, published

DEFAULT_PORT = 8883
MAX_CERTIFICATES = 10


class Seen(NamedTuple):
    """What the server showed. `ended` says how the handshake went on after that, empty when it completed."""

    chain: list[x509.Certificate]
    version: str
    cipher: str
    group: str | None
    ended: str


def chain(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The server; the port defaults to 8883.")],
    rsa: Annotated[bool, typer.Option("--rsa", help="Offer RSA only, with TLS 1.2.")] = False,
    ecdsa: Annotated[bool, typer.Option("--ecdsa", help="Offer ECDSA only, with TLS 1.2.")] = False,
    sizes: Annotated[
        bool,
        typer.Option("--sizes", help="Ask for the RSA and the ECDSA chain both, and say what each costs a device."),
    ] = False,
    servername: Annotated[
        str | None, typer.Option("--servername", metavar="NAME", help="SNI to send.", show_default="HOST")
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, max=600)] = 10.0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Show a server's certificate chain link by link, and say which root a device needs.

    No client certificate is presented: a server that requires one ends the connection, but shows its chain first.
    Nothing is trusted, and nothing but the handshake is sent. The roots looked at are those of --data-dir.

    With --sizes: the Certificate message of each kind in bytes, in the framing of TLS 1.2 and 1.3, without and with
    cross-certificates. One that the server does not send is taken from --data-dir.
    """
    if rsa and ecdsa:
        raise ConfigurationError("--rsa and --ecdsa exclude each other: without either, the server chooses.")
    host, port = _address(address)
    name = servername if servername is not None else host
    if sizes:
        kinds = ["rsa"] if rsa else ["ecdsa"] if ecdsa else ["rsa", "ecdsa"]
        _sizes(host, port, name, kinds, timeout_s, data_directory(data_dir) / "trust", as_json)
        return
    seen = look(host, port, name, "rsa" if rsa else "ecdsa" if ecdsa else None, timeout_s)
    now = dt.datetime.now(dt.UTC)
    described = describe_chain(seen.chain, at=now)
    trust_dir = data_directory(data_dir) / "trust"
    roots = published(trust_dir) if trust_dir.is_dir() else {}
    needed = roots_needed(seen.chain, roots, at=now)
    named = covers(described[0].names, name)
    message = certificate_message([each.size_bytes for each in described])
    if as_json:
        print_json(
            {
                "address": f"{host}:{port}",
                "servername": name,
                "servername_covered": named,
                "version": seen.version,
                "cipher": seen.cipher,
                "group": seen.group,
                "handshake": seen.ended or "complete",
                "chain": [dataclasses.asdict(each) for each in described],
                "certificate_message": dataclasses.asdict(message),
                "trust_dir": str(trust_dir) if roots else None,
                "roots": [dataclasses.asdict(each) for each in needed],
            }
        )
        return
    print(
        f"{printable(host)}:{port}  {seen.version} {seen.cipher}  {sum(c.size_bytes for c in described)} bytes of chain"
    )
    if seen.group:
        hybrid = ", a post-quantum hybrid" if "MLKEM" in seen.group else ", not post-quantum"
        print(f"Key exchange: {printable(seen.group)}{hybrid}")
    print(
        f"Certificate message: {message.tls12} bytes in TLS 1.2, {message.tls13} in TLS 1.3; "
        f"with records {message.tls12_records} and {message.tls13_records}"
    )
    for position, each in enumerate(described):
        _print_link(position, each, last=position + 1 == len(described))
    if not named:
        print(f"! The name {printable(name)} is none of the server's: a device that asks for it refuses the server.")
    _print_roots(needed, described[-1], trust_dir, bool(roots))
    if seen.ended:
        print(
            f"The handshake ended after the chain: {printable(seen.ended)}. Expected where no certificate is presented."
        )


def _sizes(
    host: str, port: int, servername: str, kinds: Sequence[str], timeout_s: float, trust_dir: Path, as_json: bool
) -> None:
    """What the Certificate message of each kind costs; a server need not have both."""
    cross = cross_certificates(trust_dir) if trust_dir.is_dir() else []
    answer, rows, missing = [], [], []
    for kind in kinds:
        try:
            presented = look(host, port, servername, kind, timeout_s).chain
        except ConfigurationError as error:
            missing.append(error)
            continue
        for form in with_and_without(presented, cross):
            message = certificate_message([len(each.public_bytes(Encoding.DER)) for each in form.chain])
            answer.append(
                {
                    "kind": kind,
                    "cross_certificates": form.cross,
                    "sent": form.sent,
                    "certificates": len(form.chain),
                    "certificate_message": dataclasses.asdict(message),
                }
            )
            rows.append(
                (
                    kind.upper(),
                    "with" if form.cross else "without",
                    "yes" if form.sent else "no",
                    len(form.chain),
                    message.certificates,
                    f"{message.tls12} ({message.tls12_records})",
                    f"{message.tls13} ({message.tls13_records})",
                )
            )
    if not rows:
        raise missing[0]
    if as_json:
        print_json({"address": f"{host}:{port}", "servername": servername, "sizes": answer})
        return
    heads = ("chain", "cross", "sent", "certificates", "bytes DER", "TLS 1.2 message (records)", "TLS 1.3 message (…)")
    print_table(heads, rows, empty="")
    for absent in missing:
        print(printable(str(absent)))


def look(host: str, port: int, servername: str, kind: str | None, timeout_s: float) -> Seen:
    """
    The chain that a server presents to a client without a certificate.

    Args:
        kind: `rsa` or `ecdsa` offers only that authentication, which takes TLS 1.2; None offers both.

    Raises:
        ConfigurationError: Not reached, not TLS, or no chain for this kind.
    """
    from OpenSSL import SSL

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_NONE)  # nothing is sent to the server, whoever it is; its chain is judged here
    if kind is not None:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"aRSA" if kind == "rsa" else b"aECDSA")
    deadline = time.monotonic() + timeout_s
    ended = ""
    try:
        raw = socket.create_connection((host, port), timeout=timeout_s)
    except OSError as error:
        raise ConfigurationError(f"{host}:{port} cannot be reached: {error.strerror or error}.") from error
    with raw:
        raw.setblocking(False)
        connection = SSL.Connection(context, raw)
        sni = _server_name(servername)
        if sni:
            connection.set_tlsext_host_name(sni)
        connection.set_connect_state()
        try:
            _drive(connection, raw, deadline, SSL)
        except (SSL.Error, OSError) as error:
            ended = _reason(error)
        try:
            presented = connection.get_peer_cert_chain(as_cryptography=True) or []
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{host}:{port} presents something that is not a certificate.") from error
        if not presented:
            offered = f" to a client that verifies {kind.upper()} only" if kind else ""
            raise ConfigurationError(f"{host}:{port} presents no certificate{offered}: {ended or 'no reason given'}.")
        if len(presented) > MAX_CERTIFICATES:
            raise ConfigurationError(f"{host}:{port} presents {len(presented)} certificates; that is no chain.")
        return Seen(
            chain=list(presented),
            version=connection.get_protocol_version_name(),
            cipher=connection.get_cipher_name() or "-",
            group=connection.get_group_name(),
            ended=ended,
        )


def _drive(connection: Any, raw: socket.socket, deadline: float, ssl: Any) -> None:
    """The handshake, to its end or an exception; the deadline is one for all of it, however slowly bytes trickle."""
    while True:
        reading = True
        try:
            connection.do_handshake()
            return
        except ssl.WantReadError:
            pass
        except ssl.WantWriteError:
            reading = False
        sockets = [raw]
        left = max(0.0, deadline - time.monotonic())
        ready = select.select(sockets if reading else [], [] if reading else sockets, [], left)
        if not any(ready):
            raise TimeoutError("the handshake took too long")


def _reason(error: Exception) -> str:
    """OpenSSL's last reason; its error is a list of (library, function, reason)."""
    found = error.args[0] if error.args else None
    if isinstance(found, list) and found:
        return str(found[-1][-1])
    return str(error) or type(error).__name__


def _address(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT, [ADDRESS]:PORT or a bare IPv6 address."""
    try:
        return str(ipaddress.ip_address(text)), DEFAULT_PORT
    except ValueError:
        pass
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"{text[:80]!r} is not HOST:PORT.")
    return host, int(port)


def _server_name(name: str) -> bytes | None:
    """SNI: a DNS name, never an address (RFC 6066 §3)."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        try:
            return name.encode("idna") if not name.isascii() else name.encode("ascii")
        except UnicodeError as error:
            raise ConfigurationError(f"{name[:80]!r} is not a server's name.") from error
    return None


def _print_link(position: int, cert: Described, *, last: bool) -> None:
    title = "leaf" if position == 0 else "intermediate" if not last or cert.subject != cert.issuer else "root"
    print(f"\n{position} {title}: {printable(cert.subject)}")
    print(f"    key         {cert.key}, signed {printable(cert.signature)}, {cert.size_bytes} bytes")
    print(f"    valid       {cert.not_before:%Y-%m-%d} to {cert.not_after:%Y-%m-%d}")
    if cert.names:
        shown = ", ".join(cert.names[:12]) + (f" and {len(cert.names) - 12} more" if len(cert.names) > 12 else "")
        print(f"    names       {printable(shown)}")
    print(f"    SHA-256     {cert.fingerprint}")
    print(f"    SKI         {cert.subject_key_identifier or '-'}")
    for problem in cert.problems:
        print(f"    ! {printable(problem)}")
    print(f"    └ issuer    {printable(cert.issuer)}")
    print(f"      AKI       {cert.authority_key_identifier or '-'}")


def _print_roots(needed: list[Any], top: Described, trust_dir: Path, has_roots: bool) -> None:
    print()
    if needed:
        print(f"A device needs one of these from {trust_dir}:")
        for each in needed:
            through = f", through {' and '.join(each.through)}" if each.through else ""
            print(f"  {each.file}  {printable(each.subject)}, until {each.not_after:%Y-%m-%d}{printable(through)}")
    elif top.subject == top.issuer:
        print(f"A device needs the last certificate itself, if it trusts it: {printable(top.subject)}")
    else:
        known = f"; none in {trust_dir} leads there" if has_roots else ""
        print(
            f"A device needs the root {printable(top.issuer)}, key {top.authority_key_identifier or 'unknown'}{known}."
        )
