"""
A client process that does everything at once to a few certificates: `python -m tests.support.hammer`.

It reads its orders as one line of JSON from standard input, works until the time is up, says `done`, waits for a
line, and prints what it saw as one line of JSON.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from tests.support.raw import connect_packet

from handfast.wire.client import _client, handfast_client

OK = "ok"
GONE, STATE, DONE = "ResourceNotFoundException", "CertificateStateException", "TransferAlreadyCompletedException"
INVALID = "InvalidRequestException"
ALLOWED: dict[str, set[str]] = {
    "UpdateCertificate": {OK, GONE, STATE},
    "TransferCertificate": {OK, GONE, STATE, "TransferConflictException"},
    # invalid: registered here already, or revoked and deleted here
    "AcceptCertificateTransfer": {OK, GONE, DONE, INVALID},
    "RejectCertificateTransfer": {OK, GONE, DONE},
    "CancelCertificateTransfer": {OK, GONE, DONE},
    "DeleteCertificate": {OK, GONE, STATE, "DeleteConflictException"},
    "RegisterCertificateWithoutCA": {OK, "ResourceAlreadyExistsException", STATE},
    "AttachPolicy": {OK, GONE, INVALID},
    "DetachPolicy": {OK, GONE},
    "DescribeCertificate": {OK, GONE},
    "ListCertificates": {OK},
    "ForgetCertificate": {OK, GONE},
    "connect": {OK, "refused"},
}
"""What each operation may answer whatever the others are doing."""

PLANS: list[tuple[int, tuple[str, ...]]] = [
    (10, ("UpdateCertificate",)),
    (8, ("to INACTIVE", "DetachPolicy", "TransferCertificate")),
    (3, ("TransferCertificate",)),
    (6, ("AcceptCertificateTransfer",)),
    (3, ("RejectCertificateTransfer",)),
    (3, ("CancelCertificateTransfer",)),
    (2, ("to INACTIVE", "DeleteCertificate")),
    (2, ("DeleteCertificate",)),
    (4, ("RegisterCertificateWithoutCA",)),
    (4, ("AttachPolicy", "to ACTIVE", "connect")),
    (4, ("connect",)),
    (1, ("to REVOKED", "DetachPolicy", "DeleteCertificate", "ForgetCertificate")),
    (1, ("DescribeCertificate", "ListCertificates")),
]
"""What a thread does next, and how often of 51 times: steps that others will come between."""
PATIENCE = 10
"""How many times the given seconds a slow machine may take until every operation has succeeded once."""
STATUSES = ("ACTIVE", "ACTIVE", "INACTIVE", "INACTIVE")
KEPT_OPEN = 20


class Hammer:
    """The threads of one process and what they saw."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.orders = orders
        self.sides = orders["sides"]
        self.clients = {
            side["account"]: _client("iot", orders["api"], "us-east-1", *side["keys"], None, total_max_attempts=1)
            for side in self.sides
        }
        self.operator = handfast_client(orders["api"], "us-east-1", *orders["operator"])
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.changed: list[tuple[str, str]] = []  # operation and request id of each success
        self.open: list[tuple[str, str, ssl.SSLSocket]] = []

    def work(self, seed: int) -> None:
        """One thread's share, until the time is up."""
        rng = random.Random(seed)
        weights, plans = [weight for weight, _ in PLANS], [plan for _, plan in PLANS]
        began = time.monotonic()
        while not self.enough(time.monotonic() - began):
            (plan,) = rng.choices(plans, weights)
            side, certificate = rng.choice(self.sides), rng.choice(self.orders["certificates"])
            for step in plan:
                name = "UpdateCertificate" if step.startswith("to ") else step
                status = step.removeprefix("to ") if name != step else rng.choice(STATUSES)
                try:
                    if name == "connect":
                        answer = self.connect(side, certificate)
                    else:
                        answer = self.call(name, side, certificate, status, rng)
                except Exception as error:  # whatever it is, it is what the test is looking for
                    answer = repr(error)
                with self.lock:
                    self.counts[f"{name}: {answer}"] += 1
                    if answer not in ALLOWED[name]:
                        self.wrong.append(f"{name} at {side['account']}: {answer}")

    def enough(self, elapsed_s: float) -> bool:
        """The time is up, and everything has succeeded once; or something went wrong."""
        with self.lock:
            if self.wrong or elapsed_s > PATIENCE * self.orders["seconds"]:
                return True
            return elapsed_s > self.orders["seconds"] and all(self.counts[f"{name}: {OK}"] for name in ALLOWED)

    def call(
        self, name: str, side: dict[str, Any], certificate: dict[str, Any], status: str, rng: random.Random
    ) -> str:
        """One API call; its error code, or ok."""
        client = self.clients[side["account"]]
        certificate_id = certificate["id"]
        other = next(each for each in self.sides if each is not side)["account"]
        arn = f"arn:aws:iot:us-east-1:{side['account']}:cert/{certificate_id}"
        members: dict[str, Callable[[], dict[str, Any]]] = {
            "UpdateCertificate": lambda: {"newStatus": status},
            "TransferCertificate": lambda: {"targetAwsAccount": other, "transferMessage": "yours"},
            "AcceptCertificateTransfer": lambda: {"setAsActive": rng.random() < 0.5},
            "DeleteCertificate": lambda: {"forceDelete": rng.random() < 0.5},
        }
        given: dict[str, Any] = {"certificateId": certificate_id} | members.get(name, dict)()
        if name in ("AttachPolicy", "DetachPolicy"):
            given = {"policyName": side["policy"], "target": arn}
        elif name == "RegisterCertificateWithoutCA":
            given = {"certificatePem": certificate["pem"], "status": rng.choice(("ACTIVE", "INACTIVE"))}
        elif name == "ListCertificates":
            given = {}
        elif name == "ForgetCertificate":
            client, given = self.operator, {"accountId": side["account"], "certificateId": certificate_id}
        try:
            answer = client._make_api_call(name, given)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        with self.lock:
            self.changed.append((name, answer["ResponseMetadata"]["RequestId"]))
        return OK

    def connect(self, side: dict[str, Any], certificate: dict[str, Any]) -> str:
        """An MQTT connection to the account's endpoint; some of those that were let in stay open."""
        context = ssl.create_default_context(cafile=self.orders["trust"])
        context.load_cert_chain(certificate["certificate"], certificate["key"])
        raw = socket.create_connection(("127.0.0.1", self.orders["mqtt_port"]), 15)
        sock = context.wrap_socket(raw, server_hostname=side["endpoint"])
        sock.sendall(connect_packet(f"hammer-{threading.get_ident()}-{time.monotonic_ns()}"))
        answer = b""
        while len(answer) < 4 and (got := sock.recv(4 - len(answer))):
            answer += got
        if answer != b"\x20\x02\x00\x00":
            sock.close()
            return "refused" if answer in (b"", b"\x20\x02\x00\x05") else f"CONNACK {answer.hex()}"
        with self.lock:
            self.open.append((side["account"], certificate["id"], sock))
            dropped = self.open.pop(0) if len(self.open) > KEPT_OPEN else None
        if dropped is not None:
            dropped[2].close()
        return OK

    def alive(self) -> list[tuple[str, str]]:
        """Account and certificate of the connections that still answer a PINGREQ."""
        found = []
        for account, certificate_id, sock in self.open:
            try:
                sock.sendall(b"\xc0\x00")
                answered = sock.recv(2) == b"\xd0\x00"
            except OSError:
                answered = False
            if answered:
                found.append((account, certificate_id))
            sock.close()
        return found


def main() -> None:
    """The process."""
    orders = json.loads(sys.stdin.readline())
    hammer = Hammer(orders)
    threads = [
        threading.Thread(target=hammer.work, args=(orders["seed"] * 1000 + number,))
        for number in range(orders["threads"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("done", flush=True)
    sys.stdin.readline()
    seen = {"counts": hammer.counts, "wrong": hammer.wrong, "changed": hammer.changed, "alive": hammer.alive()}
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
