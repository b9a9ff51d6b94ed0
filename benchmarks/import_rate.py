"""
How fast a manufacturer's certificates come in: python -m benchmarks.import_rate [--count N] [--rounds N]

A real server, the real `handfast cert import` on a bundle of P-256 certificates, both free to use every core; and,
before and during each import, a connected device that sends a PINGREQ every 5 ms and takes the time of the answer.
Prints certificates per second and the pings' percentiles. Exit status 1: fewer than 1,000 certificates per second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.compare import busy_s, used_s
from benchmarks.make_fleet import Issuer
from benchmarks.servers import HOST, ROOT, Server, handfast, prepare_folder
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from handfast.wire.client import handfast_client, iot_client

TARGET_PER_S = 1_000
_PING_EVERY_S = 0.005
_CONNECT = bytes.fromhex("101200044d5154540402003c") + b"\x00\x06pinger"
_PINGREQ, _PINGRESP = b"\xc0\x00", b"\xd0\x00"
_ALLOW = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}


def make_bundle(path: Path, count: int) -> None:
    """`count` certificates of one CA in one PEM file; they share a key, which nobody will ever prove to hold."""
    issuer = Issuer()
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    with path.open("wb") as out:
        for number in range(count):
            out.write(issuer.client(f"m{number:07d}", key).public_bytes(serialization.Encoding.PEM))


class Pinger:
    """A device on its connection; `times` are the answers' delays in milliseconds, in order."""

    def __init__(self, server: Server, data_dir: Path, facts: dict[str, str], folder: Path) -> None:
        key_id, secret = credentials(data_dir, "default")
        iot = iot_client(facts["api"], "us-east-1", key_id, secret)
        made = iot.create_keys_and_certificate(setAsActive=True)
        iot.create_policy(policyName="pinger", policyDocument=json.dumps(_ALLOW))
        iot.attach_policy(policyName="pinger", target=made["certificateArn"])
        (folder / "pinger.pem").write_text(made["certificatePem"] + made["keyPair"]["PrivateKey"])
        context = ssl.create_default_context(cafile=str(server.ca))
        context.load_cert_chain(folder / "pinger.pem")
        plain = socket.create_connection((HOST, server.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname=server.sni)
        self._socket.sendall(_CONNECT)
        if self._socket.recv(4) != b"\x20\x02\x00\x00":
            raise SystemExit("the pinging device was not let in")
        self.times: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_PING_EVERY_S):
            began = time.perf_counter()
            self._socket.sendall(_PINGREQ)
            if self._socket.recv(2) != _PINGRESP:
                raise SystemExit("the pinging device lost its connection")
            self.times.append((time.perf_counter() - began) * 1000)

    def take(self) -> list[float]:
        """The delays since the last call."""
        taken, self.times = self.times, []
        return taken

    def close(self) -> None:
        """The device is gone."""
        self._stop.set()
        self._thread.join()
        self._socket.close()


def credentials(data_dir: Path, profile: str) -> tuple[str, str]:
    """Access key id and secret of a profile."""
    import configparser

    parser = configparser.ConfigParser()
    parser.read(data_dir / "credentials")
    return parser[profile]["aws_access_key_id"], parser[profile]["aws_secret_access_key"]


def _another_account(facts: dict[str, str], data_dir: Path, home: Path) -> dict[str, str]:
    """The environment in which the command works in a new, empty account."""
    operator = handfast_client(facts["api"], "us-east-1", *credentials(data_dir, "handfast-operator"))
    key = operator.create_access_key(accountId=operator.create_account()["accountId"])
    return {
        "AWS_ACCESS_KEY_ID": key["accessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["secretAccessKey"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "XDG_STATE_HOME": str(home),
    }


def _children_used_s(pid: int) -> float:
    """Of the children that run: the process that verifies."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(used_s(int(child)) for child in children)


def percentile(values: list[float], part: float) -> float:
    """The value below which that part of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_rate")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=ROOT / "benchmarks" / "scratch" / "import")
    arguments = parser.parse_args()
    folder = prepare_folder(arguments.scratch)
    bundle = folder / "bundle.pem"
    make_bundle(bundle, arguments.count)
    server = handfast("handfast", folder / "server", folder / "none", {})
    server.start(f"0-{(os.cpu_count() or 1) - 1}")
    rates, before, during = [], [], []
    work: list[tuple[float, float, float]] = []
    others = []
    try:
        data_dir = folder / "server" / "data"
        facts = json.loads((folder / "server" / "ready.json").read_text())
        pinger = Pinger(server, data_dir, facts, folder)
        for number in range(arguments.rounds):
            environment = {**os.environ, **server.environment, **_another_account(facts, data_dir, folder)}
            pinger.take()
            time.sleep(3)
            before += pinger.take()
            server_s, verifier_s, children = used_s(server.pid), _children_used_s(server.pid), os.times()
            own, busy, began = time.process_time(), busy_s(), time.monotonic()
            command = [sys.executable, "-m", "handfast.cli.main", "cert", "import", str(bundle), "--json"]
            done = subprocess.run(
                [*command, "--endpoint-url", facts["api"]], env=environment, capture_output=True, text=True, check=True
            )
            during += pinger.take()
            ended = os.times()
            client_s = ended.children_user + ended.children_system
            client_s -= children.children_user + children.children_system
            used = (
                used_s(server.pid) - server_s,
                max(0.0, _children_used_s(server.pid) - verifier_s),
                client_s,
            )
            work.append(used)
            foreign = busy_s() - busy - sum(used) - (time.process_time() - own)
            others.append(foreign / (time.monotonic() - began))
            told = json.loads(done.stdout)
            if told["registered"] != arguments.count:
                raise SystemExit(f"not everything was registered: {told}")
            rates.append(arguments.count / told["seconds"])
            print(f"round {number + 1}: {rates[-1]:,.0f} certificates/s", flush=True)
        pinger.close()
    finally:
        server.stop()
        shutil.rmtree(folder / "server", ignore_errors=True)
    rate = statistics.median(rates)
    print(f"\n{arguments.count:,} P-256 certificates, {os.cpu_count()} cores, median of {len(rates)} rounds")
    print(f"certificates per second       {rate:8,.0f}   target ≥ {TARGET_PER_S:,}: {rate / TARGET_PER_S:.2f} ×")
    for name, seconds in zip(("server", "verifier", "command"), zip(*work, strict=True), strict=True):
        print(f"CPU ms per certificate, {name:8} {statistics.median(seconds) / arguments.count * 1000:6.2f}")
    for name, times in (("before", before), ("during", during)):
        parts = ", ".join(f"p{part * 100:g} {percentile(times, part):.2f}" for part in (0.5, 0.99, 0.999))
        print(f"ping in ms, {name} the import  {parts}, worst {max(times):.2f} ({len(times):,} pings)")
    print(f"cores that others kept busy: {statistics.median(others):.2f} (above 0.15, the rate is theirs as well)")
    return 0 if rate >= TARGET_PER_S else 1


if __name__ == "__main__":
    sys.exit(main())
