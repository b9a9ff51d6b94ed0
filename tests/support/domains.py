"""Server certificates of a customer's own for tests: issued by a private CA, imported as the operator does."""

from __future__ import annotations

import functools
import itertools
import json
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

from cryptography import x509
from tests.support.device import Device
from tests.support.raw import LIMIT_S, connect_packet
from tests.support.server import Server
from tests.support.strict import operator
from tests.support.tls_ca import Issued, issue, new_key

ACCEPTED = b"\x20\x02\x00\x00"
_NUMBERS = itertools.count(1)


@functools.cache
def private_ca() -> Issued:
    return issue("Private Root", new_key("p256", 31), ca=True)


@functools.cache
def private_intermediate() -> Issued:
    made = issue("Private Intermediate", new_key("p256", 32), private_ca(), ca=True)
    return Issued(made.certificate, made.key, (private_ca().certificate,))


def certificate_for(*names: str, kind: str = "p256", which: int = 33, **changes: Any) -> Issued:
    """A server certificate of the private CA; its chain ends with the root."""
    return issue(names[0], new_key(kind, which), private_intermediate(), names=names, **changes)


def fresh(suffix: str = "example.org") -> str:
    """A domain name that no other test of this process has."""
    return f"d{next(_NUMBERS)}-{Path(__file__).stat().st_ino}.{suffix}"


def import_certificate(server: Server, issued: Issued, name: str | None = None, **given: Any) -> dict[str, Any]:
    """What ImportServerCertificate answers; a new certificate of the first account unless an ARN is given."""
    if "serverCertificateArn" not in given:
        given = {"accountId": server.ready["account"], "name": name or f"c{next(_NUMBERS)}"} | given
    material = {"certificate": issued.pem.decode(), "privateKey": issued.key_pem.decode()}
    if issued.chain:
        material["certificateChain"] = issued.chain_pem.decode().removeprefix(issued.pem.decode())
    return dict(operator(server).import_server_certificate(**material, **given))


def voucher(server: Server) -> str:
    """The ARN of the private CA's root, imported without a key; once for a server."""
    found = [
        each
        for each in operator(server).list_server_certificates()["serverCertificates"]
        if each["name"] == "private-root"
    ]
    if found:
        return str(found[0]["serverCertificateArn"])
    answer = operator(server).import_server_certificate(
        certificate=private_ca().pem.decode(), accountId=server.ready["account"], name="private-root"
    )
    return str(answer["serverCertificateArn"])


def domain(server: Server, domain_name: str, **given: Any) -> tuple[str, str]:
    """A customer's domain with a certificate for it: the configuration's name and the certificate's ARN."""
    arn = import_certificate(server, certificate_for(domain_name))["serverCertificateArn"]
    name = f"n{next(_NUMBERS)}"
    server.client().create_domain_configuration(
        domainConfigurationName=name,
        domainName=domain_name,
        serverCertificateArns=[arn],
        validationCertificateArn=voucher(server),
        **given,
    )
    return name, arn


def connect(
    server: Server,
    device: Device | None,
    name: str,
    port: int | None = None,
    *,
    alpn: str | None = None,
    version: ssl.TLSVersion | None = None,
) -> ssl.SSLSocket:
    """TLS by this server name, whoever the server is; its certificate is looked at by the test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if device is not None:
        context.load_cert_chain(str(device.certificate), str(device.key))
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    if version is not None:
        context.minimum_version = context.maximum_version = version
    raw = socket.create_connection(("127.0.0.1", port or server.mqtt_port), LIMIT_S)
    return context.wrap_socket(raw, server_hostname=name)


def mqtt(sock: ssl.SSLSocket, client_id: str, version: int = 4) -> bytes:
    """The first bytes of the answer to a CONNECT; empty when the connection is closed instead."""
    sock.sendall(connect_packet(client_id, version))
    try:
        return sock.recv(4096)
    except (ConnectionError, ssl.SSLError):
        return b""


def served(server: Server, name: str, port: int | None = None, *options: str) -> tuple[x509.Certificate | None, str]:
    """The leaf that openssl s_client is shown by this name, and its output."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port or server.mqtt_port}", "-servername", name]
    done = subprocess.run([*command, *options], input="", capture_output=True, text=True, timeout=20)
    output = done.stdout + done.stderr
    _, begin, rest = output.partition("-----BEGIN CERTIFICATE-----")
    if not begin:
        return None, output
    block = begin + rest.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    return x509.load_pem_x509_certificate(block.encode()), output


def reason(server: Server, sni: str) -> str:
    """The decisive reason of the newest refusal by this name."""
    found = [each for each in server.explain("127.0.0.1") if sni in json.dumps(each, default=str)]
    return str(found[0]["reasons"][0]["code"]) if found else ""
