"""
How long a revoked device stays connected: python -m benchmarks.revocation [--devices N] [--revoked N] [--json OUT]

A real server with real MQTT connections over mutual TLS on loopback, all open at once; then certificates with one
session each are revoked, one after the other. Two delays of each: the receipt's (from the API call in the server to the
closed connection) and the device's (from before the request is sent to the end of the stream). The devices that are not
revoked share one certificate: a registry of 10,000 is what `lookup_scale` measures. Exit status 1: a p99 of a second or
more, or a device that was not cut.
"""

from __future__ import annotations

import argparse
import configparser
import datetime as dt
import json
import resource
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.compare import SCRATCH, machine
from benchmarks.servers import HOST, REGION, Server, SetupError, handfast, open_for_json, prepare_folder
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from handfast.core.mqtt.codec import MQTT_5, encode
from handfast.core.mqtt.packets import Connect
from handfast.wire.client import handfast_client, iot_client

TARGET_S = 1.0
_LIMIT_S = 30.0
_ALLOW = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}


class Fleet:
    """
    Devices on their connections; `revocable` are certificate ids with their one socket.

    `signed` is what a client of the server's API is made of: its URL, region and the first account's key.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        """The server runs, with its data directory in `folder / "server"`."""
        assert server.ready_file is not None
        keys = configparser.ConfigParser()
        keys.read(folder / "server" / "data" / "credentials")
        key = keys["default"]
        api = str(json.loads(server.ready_file.read_text())["api"])
        self.signed = (api, REGION, key["aws_access_key_id"], key["aws_secret_access_key"])
        self._server = server
        self._folder = folder
        self._iot = iot = iot_client(*self.signed)
        self._sockets: list[ssl.SSLSocket] = []
        self.revocable: list[tuple[str, ssl.SSLSocket]] = []
        iot.create_policy(policyName="all", policyDocument=json.dumps(_ALLOW))

    def connect(self, devices: int, revoked: int) -> None:
        """All of them at once; `revoked` of them with a certificate of their own."""
        _, crowd = self.identity("crowd")
        with ThreadPoolExecutor(4) as pool:
            self._sockets = list(pool.map(lambda n: self.open(crowd, f"crowd-{n}"), range(devices - revoked)))
        for number in range(revoked):
            certificate_id, context = self.identity(f"device-{number}")
            self.revocable.append((certificate_id, self.open(context, f"device-{number}")))

    def identity(self, name: str) -> tuple[str, ssl.SSLContext]:
        """A certificate that may do everything: its id, and a client's context; `NAME.pem` lies in the folder."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=9))
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        made = self._iot.register_certificate_without_ca(certificatePem=pem.decode(), status="ACTIVE")
        self._iot.attach_policy(policyName="all", target=made["certificateArn"])
        file = self._folder / f"{name}.pem"
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        file.write_bytes(pem + key.private_bytes(encoding, form, serialization.NoEncryption()))
        context = ssl.create_default_context(cafile=str(self._server.ca))
        context.load_cert_chain(file)
        return str(made["certificateId"]), context

    def open(self, context: ssl.SSLContext, client_id: str) -> ssl.SSLSocket:
        """A connection that was let in."""
        plain = socket.create_connection((HOST, self._server.port), timeout=_LIMIT_S)
        tls = context.wrap_socket(plain, server_hostname=self._server.sni)
        tls.sendall(encode(MQTT_5, Connect(version=MQTT_5, client_id=client_id, keep_alive=1200)))
        if tls.recv(256)[:1] != b"\x20":
            raise SetupError(f"{client_id} was not let in; the server's output is in {self._server.log}")
        return tls


def revoke(api: Any, certificate_id: str, device: ssl.SSLSocket) -> tuple[float, float]:
    """The receipt's delay and the device's, in seconds; SetupError when the session was not cut."""
    ended: list[float] = []

    def wait() -> None:
        try:
            while device.recv(256):
                pass
        except (OSError, ssl.SSLError):
            pass
        ended.append(time.monotonic())

    waiting = threading.Thread(target=wait)
    waiting.start()
    asked = time.monotonic()
    receipt = api.revoke_certificate(certificateId=certificate_id)
    waiting.join(_LIMIT_S)
    if receipt["sessionsCut"] != 1 or not ended:
        raise SetupError(f"{certificate_id} kept its session: {receipt['sessionsCut']} cut")
    return receipt["worstDelayMs"] / 1000, ended[0] - asked


def percentile(values: list[float], share: float) -> float:
    """The least value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(devices: int, revoked: int) -> dict[str, Any]:
    """The figures, in milliseconds."""
    folder = prepare_folder(SCRATCH / "revocation")
    server = handfast("handfast", folder / "server", folder / "none", {})
    server.start("0-1")
    try:
        fleet = Fleet(server, folder)
        began = time.monotonic()
        fleet.connect(devices, revoked)
        print(f"{devices} devices connected in {time.monotonic() - began:.0f} s", flush=True)
        api = handfast_client(*fleet.signed)
        delays = [revoke(api, *each) for each in fleet.revocable]
    finally:
        server.stop()
    figures: dict[str, Any] = {"devices": devices, "revoked": revoked, "machine": machine()}
    for name, values in zip(("receipt", "device"), zip(*delays, strict=True), strict=True):
        shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        figures[name] = {label: round(percentile(list(values), share) * 1000, 2) for label, share in shares.items()}
    return figures


def main(argv: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.revocation", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--devices", type=int, default=10_000, help="connected at once; 10000")
    parser.add_argument("--revoked", type=int, default=500, help="of them; 500")
    parser.add_argument("--json", type=Path, default=None, help="write the figures there")
    asked = parser.parse_args(argv)
    if not 0 < asked.revoked <= asked.devices:
        parser.error("--revoked must be between 1 and --devices")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < asked.devices + 500:
        print(f"{most} files may be open, {asked.devices + 500} are needed: ulimit -Hn", file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        figures = measure(asked.devices, asked.revoked)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    for name in ("receipt", "device"):
        print(f"{name:<8} p50 {figures[name]['p50']} ms, p99 {figures[name]['p99']} ms, max {figures[name]['max']} ms")
    if asked.json is not None:
        with open_for_json(asked.json) as out:
            json.dump(figures, out, indent=2)
    return 0 if max(figures[name]["p99"] for name in ("receipt", "device")) < TARGET_S * 1000 else 1


if __name__ == "__main__":
    sys.exit(main())
