"""
First connections of devices that nobody registered: python -m benchmarks.jitp [--rate-count N] [--burst N]

A real server with one registered CA whose template makes a thing, a policy and the status; P-256 devices under it, each
made beforehand and never seen by the server. First the C generator connects some of them 64 at a time: connections per
second, each let in on its first connection and durable. Then all the others come at once, and whoever is refused comes
back after a second or two: how many get in, and after how long. A connected device sends a PINGREQ every 5 ms
meanwhile. Exit status 1: a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.compare import busy_s, used_s
from benchmarks.import_rate import Pinger, credentials, percentile
from benchmarks.make_fleet import Issuer
from benchmarks.servers import REGION, ROOT, Server, handfast, prepare_folder
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from handfast.wire.client import iot_client

TARGET_PER_S = 150
TARGET_P99_MS = 50.0
CONCURRENCY = 64
_ROLE = "arn:aws:iam::123456789012:role/provisioning"


def template() -> str:
    """A thing called as the CN, a policy document that all share, and ACTIVE."""
    name = {"Ref": "AWS::IoT::Certificate::CommonName"}
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}
    resources = {
        "thing": {
            "Type": "AWS::IoT::Thing",
            "Properties": {"ThingName": name, "AttributePayload": {"maker": "benchmark"}},
        },
        "certificate": {
            "Type": "AWS::IoT::Certificate",
            "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"},
        },
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": json.dumps(document)}},
    }
    parameters = {f"AWS::IoT::Certificate::{each}": {"Type": "String"} for each in ("CommonName", "Id")}
    return json.dumps({"Parameters": parameters, "Resources": resources})


def make_devices(folder: Path, count: int) -> Issuer:
    """`d00000.crt`, `.key` and so on in the folder, of one CA."""
    issuer = Issuer()
    folder.mkdir()
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    for number in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = issuer.client(f"d{number:05d}", key.public_key())
        (folder / f"d{number:05d}.crt").write_bytes(certificate.public_bytes(encoding))
        (folder / f"d{number:05d}.key").write_bytes(
            key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
        )
    return issuer


def register_ca(issuer: Issuer, facts: dict[str, str], data_dir: Path) -> None:
    """SNI_ONLY mode needs no proof of possession; the endpoint is named by every client here."""
    iot = iot_client(facts["api"], REGION, *credentials(data_dir, "default"))
    iot.register_ca_certificate(
        caCertificate=issuer.certificate.public_bytes(serialization.Encoding.PEM).decode(),
        certificateMode="SNI_ONLY",
        setAsActive=True,
        allowAutoRegistration=True,
        registrationConfig={"templateBody": template(), "roleArn": _ROLE},
    )


def connect(server: Server, folder: Path, first: int, count: int, *flags: str, generator: Path) -> dict[str, Any]:
    """The generator's report on `count` devices."""
    command = [str(generator), "connect", "--port", str(server.port), "--sni", str(server.sni), "--ca", str(server.ca)]
    command += ["--cert-dir", str(folder), "--first", str(first), "--count", str(count), "--limit", "300", *flags]
    done = subprocess.run([*command, "--server-pid", str(server.pid)], capture_output=True, text=True)
    if not done.stdout:
        raise SystemExit(f"the generator failed ({done.returncode}): {done.stderr}")
    return dict(json.loads(done.stdout))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jitp")
    parser.add_argument("--rate-count", type=int, default=3_000)
    parser.add_argument("--burst", type=int, default=5_000)
    parser.add_argument("--scratch", type=Path, default=ROOT / "benchmarks" / "scratch" / "jitp")
    parser.add_argument("--generator", type=Path, default=ROOT / "benchmarks" / "scratch" / "loadgen")
    arguments = parser.parse_args()
    folder = prepare_folder(arguments.scratch)
    devices = folder / "devices"
    print(f"making {arguments.rate_count + arguments.burst:,} devices …", flush=True)
    issuer = make_devices(devices, arguments.rate_count + arguments.burst)
    server = handfast("handfast", folder / "server", folder / "none", {})
    server.start(f"0-{(os.cpu_count() or 1) - 1}")
    try:
        data_dir = folder / "server" / "data"
        facts = json.loads((folder / "server" / "ready.json").read_text())
        register_ca(issuer, facts, data_dir)
        pinger = Pinger(server, data_dir, facts, folder)
        time.sleep(2)
        quiet = pinger.take()
        busy, own, began, server_s = busy_s(), _own_s(), time.monotonic(), used_s(server.pid)
        report = connect(
            server, devices, 0, arguments.rate_count, "--concurrency", str(CONCURRENCY), generator=arguments.generator
        )
        if not report["ok"]:
            raise SystemExit(f"not every device was let in on its first connection: {report}")
        seconds, server_s = time.monotonic() - began, used_s(server.pid) - server_s
        others = (busy_s() - busy - server_s - (_own_s() - own)) / seconds
        steady = pinger.take()
        flags = ("--retry", "--concurrency", str(arguments.burst))
        burst = connect(server, devices, arguments.rate_count, arguments.burst, *flags, generator=arguments.generator)
        crowded = pinger.take()
        pinger.close()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    per_s = arguments.rate_count / float(report["seconds"])
    lost = burst["lost"]
    print(f"\nfirst connections per second     {per_s:7.0f}   target ≥ {TARGET_PER_S}: {per_s / TARGET_PER_S:.2f} ×")
    print(f"CPU ms of the server for one     {server_s / arguments.rate_count * 1000:7.2f}")
    print(f"cores that others kept busy      {others:7.2f}   (above 0.15, the rate is theirs as well)")
    print(
        f"burst of {arguments.burst:,} devices at once: lost {lost}, all in after {burst['seconds']:.1f} s, "
        f"{burst['failed']:,} attempts refused"
    )
    for name, times in (("quiet", quiet), ("64 at a time", steady), ("the burst", crowded)):
        parts = ", ".join(f"p{part * 100:g} {percentile(times, part):.2f}" for part in (0.5, 0.99, 0.999))
        print(f"ping in ms, {name:12}         {parts}, worst {max(times):.2f} ({len(times):,} pings)")
    latency = max(percentile(steady, 0.99), percentile(crowded, 0.99))
    return 0 if per_s >= TARGET_PER_S and lost == 0 and latency < TARGET_P99_MS else 1


def _own_s() -> float:
    """CPU time of this process and of the children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    sys.exit(main())
