"""The way to the server as a device goes it: name, connection, TLS both ways, CONNECT. Needs nothing of handfast's."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from handfast.core.mqtt.codec import MQTT_5
from handfast.core.mqtt.packets import ConnAck, Connect, Disconnect
from handfast.core.mqtt.properties import Property
from handfast.core.mqtt.reasons import TABLE, Code
from handfast.core.pki.describe import covers, server_names
from handfast.core.pki.keys import certificate_key_kind
from handfast.core.pki.names import display
from handfast.doctor.link import Link, NotMQTT
from handfast.doctor.report import Report, Step, fail, ok, warn
from handfast.errors import ProtocolViolation

MQTT_ALPN = "x-amzn-mqtt-ca"
HOSTNAME_MISMATCH = 62  # X509_V_ERR_HOSTNAME_MISMATCH
ADDRESS_MISMATCH = 64
EXPIRED = (9, 10)  # not yet valid, has expired
_CLIENT_ALERTS = (
    "BAD_CERTIFICATE",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_REQUIRED",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
    "ACCESS_DENIED",
    "DECRYPT_ERROR",
)
_TRACE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
STEPS = ("DNS", "TCP", "TLS server", "TLS client", "MQTT CONNECT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    Where a device connects to.

    `stand_in` is the address of the running server, used where its endpoint's name does not resolve.
    """

    name: str
    port: int
    stand_in: str | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What the device holds and says. `roots` None: this machine's own."""

    certificate: Path | None
    key: Path | None
    roots: Path | None
    client_id: str | None


def walk(report: Report, target: Target, device: Device) -> str | None:
    """
    Go the whole way, a step after the other, as far as it leads.

    Without a client id it ends before the CONNECT. Returns the trace id that the
    server told with a refused CONNECT, empty where it told none; None where the
    CONNECT was not refused.
    """
    steps = [*STEPS[:-1], *(STEPS[-1:] if device.client_id is not None else ())]
    address = resolve(report, target)
    if address is None:
        report.skip(steps[1:])
        return None
    with contextlib.ExitStack() as open_sockets:
        raw = _connected(report, target, address)
        if raw is None:
            report.skip(steps[2:])
            return None
        open_sockets.enter_context(raw)
        tls = _handshake(report, target, device, address, raw)
        if tls is None:
            report.skip(name for name in steps[3:] if name not in {step.name for step in report.steps})
            return None
        open_sockets.enter_context(tls)
        if device.key is None:
            why = "Without the private key the device's side of the handshake was left out."
            report.add(warn("TLS client", "no certificate was shown", why, "Give --key."))
            report.skip(steps[4:])
            return None
        if device.client_id is None:
            shown = "shown; whether it is accepted, TLS 1.3 tells only after the first bytes"
            report.add(ok("TLS client", shown if tls.version() == "TLSv1.3" else "accepted by the handshake"))
            return None
        return _connect(report, device.client_id, tls)


# --- name and connection


def resolve(report: Report, target: Target) -> str | None:
    """The address to connect to."""
    if _is_address(target.name):
        report.add(ok("DNS", f"{target.name} is an address: no name is asked for, and none is sent (SNI)"))
        return target.name
    try:
        found = socket.getaddrinfo(target.name, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        if target.stand_in is not None:
            report.add(
                warn(
                    "DNS",
                    f"{target.name} does not resolve ({said})",
                    f"A device on another machine needs the name; here {target.stand_in} stands in for it.",
                    f"As root: echo '{target.stand_in} {target.name}' >> /etc/hosts, or a DNS record.",
                )
            )
            return target.stand_in
        report.add(
            fail(
                "DNS",
                f"{target.name} does not resolve ({said})",
                "The device does not find the server.",
                "Check the name (`aws iot describe-endpoint --endpoint-type iot:Data-ATS`); for a handfast on this "
                "network add the line that `handfast hosts` prints to the hosts file, or a DNS record.",
            )
        )
        return None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    report.add(ok("DNS", f"{target.name} is {', '.join(addresses[:8])}"))
    return target.name


def _connected(report: Report, target: Target, address: str) -> socket.socket | None:
    where = f"{address}:{target.port}"
    try:
        raw = socket.create_connection((address, target.port), timeout=target.timeout_s)
    except TimeoutError:
        why = "Packets to that port are dropped, or nothing is there."
        fix = "Open the port in the firewall and the security group; check the address."
        report.add(fail("TCP", f"{where} did not answer within {target.timeout_s:g} s", why, fix))
        return None
    except OSError as error:
        why = "Nothing listens on that port, or the network refuses."
        fix = "Check that the server runs and which port it serves MQTT on (serve.json; 8883 by default)."
        report.add(fail("TCP", f"{where}: {error.strerror or error}", why, fix))
        return None
    host, port = raw.getpeername()[:2]
    report.add(ok("TCP", f"connected to {host} port {port}"))
    return raw


# --- TLS


def _handshake(
    report: Report, target: Target, device: Device, address: str, raw: socket.socket
) -> ssl.SSLSocket | None:
    """A connection on which both sides have shown who they are."""
    try:
        context = ssl.create_default_context(cafile=str(device.roots) if device.roots is not None else None)
        if device.certificate is not None and device.key is not None:
            context.load_cert_chain(device.certificate, device.key, password=_no_passphrase)
    except OSError as error:  # ssl.SSLError is one
        said = str(getattr(error, "reason", None) or error.strerror or error)
        why = "OpenSSL, which most devices use as well, does not take the certificate, its key or the roots."
        report.add(fail("TLS client", said, why, "Use an RSA key of at least 2048 bits, or EC on P-256; PEM files."))
        return None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if target.port == 443:
        context.set_alpn_protocols([MQTT_ALPN])
    try:
        tls = context.wrap_socket(raw, server_hostname=target.name)
    except ssl.SSLCertVerificationError as error:
        report.add(_not_verified(target, address, error))
        return None
    except ssl.SSLError as error:
        report.add(*_broken_off(error, target))
        return None
    except TimeoutError:
        why = "It accepts connections but does not answer TLS."
        report.add(fail("TLS server", f"no answer within {target.timeout_s:g} s", why, _NOT_TLS_FIX))
        return None
    except OSError as error:
        why = "The server ended the connection instead of answering TLS."
        report.add(fail("TLS server", error.strerror or str(error), why, _NOT_TLS_FIX))
        return None
    report.add(ok("TLS server", _shown(tls, target)))
    return tls


_NOT_TLS_FIX = "Check host and port: MQTT over TLS is on 8883 by default, and there is no plain MQTT."


def _no_passphrase() -> str:
    """An encrypted key was refused before; OpenSSL must not ask on the terminal."""
    return ""


def _shown(tls: ssl.SSLSocket, target: Target) -> str:
    leaf = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
    kind = "RSA" if certificate_key_kind(leaf).startswith("RSA") else "ECDSA"
    cipher = tls.cipher()
    sni = "no SNI" if _is_address(target.name) else f"SNI {target.name}"
    alpn = f", ALPN {tls.selected_alpn_protocol()}" if target.port == 443 else ""
    return (
        f"{tls.version()}, {cipher[0] if cipher else '-'}, {kind} chain of {display(leaf.issuer)}, "
        f"verified by the roots, until {leaf.not_valid_after_utc:%Y-%m-%d}; {sni}{alpn}"
    )


def _not_verified(target: Target, address: str, error: ssl.SSLCertVerificationError) -> Step:
    """Why the server could not prove that it is who the device asks for."""
    leaf = _peek(target, address)
    presents = f"the server shows {display(leaf.subject)} of {display(leaf.issuer)}" if leaf is not None else ""
    if error.verify_code in (HOSTNAME_MISMATCH, ADDRESS_MISMATCH):
        names = server_names(leaf) if leaf is not None else ()
        saw = f"a certificate for {', '.join(names[:8]) or 'other names'}"
        why = f"{target.name} is none of the server's names, so a device that asks for it refuses the server."
        if leaf is not None and covers(names, target.name):
            why = f"The certificate was not accepted for {target.name}."
        fix = "Connect to the endpoint's own name, or start the server with --server-name NAME for a further one."
        return fail("TLS server", saw, why, fix)
    if error.verify_code in EXPIRED:
        when = (
            f"{leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}" if leaf is not None else ""
        )
        saw = "; ".join(filter(None, (error.verify_message, presents, when)))
        return fail("TLS server", saw, "A certificate of the chain is outside its validity.", "Check the clock.")
    return fail(
        "TLS server",
        "; ".join(filter(None, (error.verify_message, presents))),
        "The server's chain does not lead to the roots that the device has: it does not trust this server.",
        f"Give the device the server's root: `handfast chain {target.name}:{target.port}` says which one it needs; a "
        "handfast publishes its own at /trust/bundle.pem.",
    )


def _peek(target: Target, address: str) -> x509.Certificate | None:
    """What a server that was not verified shows; nothing is trusted and nothing but a handshake is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        with (
            socket.create_connection((address, target.port), timeout=target.timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=target.name) as tls,
        ):
            return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return None


def _broken_off(error: ssl.SSLError, target: Target) -> Iterator[Step]:
    reason = str(error.reason or error.args[-1] or error)
    if "ALERT" in reason and any(alert in reason for alert in _CLIENT_ALERTS):
        yield ok("TLS server", "answered, and verified by the roots")
        yield _refused_by_alert(reason)
        return
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"):
        yield fail("TLS server", "what answers is not TLS", "The port belongs to another protocol.", _NOT_TLS_FIX)
        return
    if isinstance(error, ssl.SSLEOFError) or "EOF" in reason:
        why = "The server ended the connection instead of answering TLS."
        yield fail("TLS server", "the connection was closed in the handshake", why, _NOT_TLS_FIX)
        return
    yield fail(
        "TLS server",
        reason,
        "Client and server found no common ground (versions, cipher suites, ALPN or server name).",
        f"Compare with `openssl s_client -connect {target.name}:{target.port} -servername {target.name}`.",
    )


def _refused_by_alert(reason: str) -> Step:
    return fail(
        "TLS client",
        f"TLS alert {reason}",
        "The server refuses the device's certificate or its proof of the private key.",
        "Check that certificate and key belong together, and that the certificate is registered and ACTIVE.",
    )


# --- CONNECT


def _connect(report: Report, client_id: str, tls: ssl.SSLSocket) -> str | None:
    link = Link(tls)
    name = "MQTT CONNECT"
    accepted = ok("TLS client", "the certificate was shown and its key proven")
    try:
        link.send(Connect(version=MQTT_5, client_id=client_id, keep_alive=30))
        answer = link.receive()
    except ssl.SSLError as error:
        reason = str(error.reason or error)
        if "ALERT" in reason:
            report.add(_refused_by_alert(reason))
            report.skip([name])
        else:
            report.add(accepted, fail(name, reason, "The connection broke.", "Try again; look into the server's log."))
        return ""
    except TimeoutError:
        report.add(accepted, fail(name, "no CONNACK in time", "The server is silent.", "Look into the server's log."))
        return None
    except (OSError, EOFError):
        report.add(
            accepted,
            fail(
                name,
                f"closed without a CONNACK, as client id {client_id}",
                "A server that refuses as AWS does tells no reason: the certificate is not registered or not ACTIVE, "
                "or no policy allows iot:Connect with this client id.",
                "Look at the registry and policy steps; in the server's record: `handfast explain`; on AWS: its logs.",
            ),
        )
        return ""
    except (NotMQTT, ProtocolViolation) as error:
        why = "The port belongs to another protocol (HTTPS?)."
        report.add(accepted, fail(name, f"the answer is not MQTT: {error}", why, "Check the port: 8883 by default."))
        return None
    report.add(accepted)
    if not isinstance(answer, ConnAck):
        saw = f"{type(answer).__name__} instead of CONNACK"
        report.add(fail(name, saw, "This is no MQTT 5 server.", "Check the port: 8883 by default."))
        return None
    if answer.reason == Code.UNSUPPORTED_PROTOCOL_VERSION:
        saw = "0x84: MQTT 5, which the doctor speaks, is not served at this endpoint"
        why = "The legacy endpoint takes 3.1.1 alone, as AWS's did; client id and policy were not looked at."
        report.add(warn(name, saw, why, "See the policy step; try the device itself, with MQTT 3.1.1."))
        return None
    if answer.reason:
        said = answer.properties.text(Property.REASON_STRING) or ""
        report.add(_refused(client_id, answer.reason, said))
        trace = _TRACE.search(said)
        return trace[0] if trace is not None else ""
    with contextlib.suppress(OSError):
        link.send(Disconnect())
    report.add(ok(name, f"accepted as client id {client_id}"))
    return None


def _refused(client_id: str, reason: int, said: str) -> Step:
    text = next((row.text for row in TABLE if row.value == reason), "unknown reason")
    saw = f"0x{reason:02X} {text}, as client id {client_id}" + (f"; it says: {said}" if said else "")
    if reason == 0x87:
        why = (
            "The certificate is not registered or not ACTIVE in the account that the name stands for, or no policy "
            "allows iot:Connect with this client id."
        )
        return fail("MQTT CONNECT", saw, why, f"Ask the server's record: `handfast explain {said or 'ADDRESS'}`.")
    return fail("MQTT CONNECT", saw, "The server refuses this CONNECT.", "Change what the reason names.")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
