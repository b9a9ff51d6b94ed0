"""
Two client processes of many threads do everything at once to the same certificates, through two accounts.

What remains is a state that the table of statuses allows, every answer on the
way was one that may be given, nobody is connected who should not be, and the
audit rows tell each step: `HAMMER_SECONDS` makes it longer, `make hammer` long.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.device import ALLOW_ALL, self_signed, write
from tests.support.server import clean_environment, start
from tests.support.strict import Tenant, tenant

from handfast.core.identity.lifecycle import KEPT_FROM_DELETION, TRANSITIONS

SECONDS = float(os.environ.get("HAMMER_SECONDS", "6"))
SEED = int(os.environ.get("HAMMER_SEED", "1"))
PROCESSES, THREADS, CERTIFICATES = 2, 6, 2
GRACE_S = 1.0
"""How long a connection may outlive its right to be: the promise is one second."""

STEPS = {(None if before is None else before.value, after.value) for (before, _), after in TRANSITIONS.items()}
CHANGING = {
    "AcceptCertificateTransfer",
    "CancelCertificateTransfer",
    "DeleteCertificate",
    "ForgetCertificate",
    "RegisterCertificateWithoutCA",
    "RejectCertificateTransfer",
    "TransferCertificate",
}
"""Operations whose every success changes the certificate; an update to the same status changes nothing."""


def test_whatever_is_done_at_once_can_be_told_as_one_story(tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    sides = [tenant(server) for _ in range(2)]
    orders = _orders(server, sides, tmp_path)
    seen = _hammer(orders)
    for each in seen:
        assert [] == each["wrong"]
    counts: Counter[str] = sum((Counter(each["counts"]) for each in seen), Counter())
    print(f"{sum(counts.values())} calls:", dict(sorted(counts.items())))
    _each_kind_of_success_happened(counts)
    final = {(side.account, made["id"]): _status(side, made["id"]) for side in sides for made in orders["certificates"]}
    for each in seen:
        for account, certificate_id in each["alive"]:
            assert "ACTIVE" == final[account, certificate_id], "a connection outlived its right to be"
    for side, told in zip(sides, orders["sides"], strict=True):
        for made in orders["certificates"]:
            policies = _policies(side, made["id"])
            welcome = final[side.account, made["id"]] == "ACTIVE" and bool(policies)
            assert welcome == _admitted(orders, made, told["endpoint"]), (final[side.account, made["id"]], policies)
    assert 0 == server.stop()
    log = server.log.read_text()
    assert "Traceback" not in log, log[-6000:]
    _the_audit_explains(server.data_dir, orders, seen, final)


def _orders(server: Any, sides: list[Tenant], folder: Path) -> dict[str, Any]:
    certificates = []
    for number in range(CERTIFICATES):
        pem, key = self_signed(f"hammered {number}")
        certificates.append(
            {
                "id": hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest(),
                "pem": pem.decode(),
                "certificate": str(write(folder / f"{number}.pem", pem)),
                "key": str(write(folder / f"{number}.key", key)),
            }
        )
    told = []
    for side in sides:
        side.iot.create_policy(policyName="allow", policyDocument=json.dumps(ALLOW_ALL))
        told.append(
            {
                "account": side.account,
                "keys": side.keys,
                "endpoint": side.iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"],
                "policy": "allow",
            }
        )
    return {
        "api": server.api,
        "mqtt_port": server.mqtt_port,
        "trust": str(server.trust / "bundle.pem"),
        "operator": server.credentials("handfast-operator"),
        "sides": told,
        "certificates": certificates,
        "threads": THREADS,
        "seconds": SECONDS,
    }


def _hammer(orders: dict[str, Any]) -> list[dict[str, Any]]:
    """What each process saw; their open connections are looked at when all have stopped."""
    environment = clean_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), environment["PYTHONPATH"]])
    command = [sys.executable, "-m", "tests.support.hammer"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(PROCESSES)
    ]
    seen = []
    try:
        for number, process in enumerate(processes):
            assert process.stdin is not None
            process.stdin.write(json.dumps(orders | {"seed": SEED * PROCESSES + number}) + "\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert "done\n" == process.stdout.readline()
        time.sleep(GRACE_S)  # the promise that is tested is one of time
        for process in processes:
            out, _ = process.communicate("\n", timeout=60)
            seen.append(json.loads(out))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
    return seen


def _each_kind_of_success_happened(counts: Counter[str]) -> None:
    """Otherwise the test would show nothing."""
    for name in (*CHANGING, "UpdateCertificate", "connect"):
        assert counts[f"{name}: ok"] > 0, f"{name} never succeeded: {counts}"
    assert counts["connect: refused"] > 0


def _status(side: Tenant, certificate_id: str) -> str | None:
    """Of the account's own registration; None without one."""
    try:
        found = side.iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
    except side.iot.exceptions.ResourceNotFoundException:
        return None
    return str(found["status"]) if found["ownedBy"] == side.account else None


def _policies(side: Tenant, certificate_id: str) -> list[Any]:
    try:
        return list(side.iot.list_attached_policies(target=side.arn(certificate_id))["policies"])
    except side.iot.exceptions.ResourceNotFoundException:
        return []


def _admitted(orders: dict[str, Any], made: dict[str, Any], endpoint: str) -> bool:
    from tests.support.raw import connect_packet

    context = ssl.create_default_context(cafile=orders["trust"])
    context.load_cert_chain(made["certificate"], made["key"])
    raw = socket.create_connection(("127.0.0.1", orders["mqtt_port"]), 15)
    with context.wrap_socket(raw, server_hostname=endpoint) as sock:
        sock.sendall(connect_packet("afterwards"))
        return sock.recv(4) == b"\x20\x02\x00\x00"


# --- the audit


def _the_audit_explains(
    data_dir: Path, orders: dict[str, Any], seen: list[dict[str, Any]], final: dict[tuple[str, str], str | None]
) -> None:
    rows = _rows(data_dir, {made["id"] for made in orders["certificates"]})
    for account, certificate_id in final:
        story = [row for row in rows if (row["account_id"], row["subject"]) == (account, certificate_id)]
        assert final[account, certificate_id] == _told(story, account)
    succeeded: dict[str, set[str]] = {}
    for each in seen:
        for operation, request_id in each["changed"]:
            succeeded.setdefault(operation, set()).add(request_id)
    audited: dict[str, set[str]] = {}
    for row in rows:
        audited.setdefault(row["operation"], set()).add(row["request_id"])
    for operation in CHANGING:
        assert succeeded[operation] == audited[operation], f"{operation}: each success is a row, each row a success"
    assert audited["UpdateCertificate"] <= succeeded["UpdateCertificate"]


def _rows(data_dir: Path, subjects: set[str]) -> list[dict[str, Any]]:
    database = sqlite3.connect(data_dir / "handfast.db")
    try:
        database.row_factory = sqlite3.Row
        found = [
            dict(row) for row in database.execute("SELECT * FROM audit WHERE what = 'certificate' ORDER BY sequence")
        ]
    finally:
        database.close()
    for row in found:
        for name in ("before", "after"):
            row[name] = json.loads(row[name]) if row[name] else {}
    return [row for row in found if row["subject"] in subjects]


def _told(story: list[dict[str, Any]], account: str) -> str | None:
    """
    The status of the account's registration at the end of its rows, each of which begins where the last one ended.

    A transfer stands in the rows of both accounts: as a step of the source's
    registration, and at the target as an offer, an arrival or neither any more.
    """
    status: str | None = None
    offer: str | None = None  # the status of the other account's registration while it is offered to this one
    for row in story:
        before, after = row["before"].get("status"), row["after"].get("status")
        by_us = f"::{account}:" in row["actor"]
        where = f"{row['sequence']} {row['operation']} {row['before']} -> {row['after']}"
        match row["operation"]:
            case "ForgetCertificate":
                assert "tombstone" in row["before"], where
                assert status is None, where
            case "DeleteCertificate":
                assert before == status, where
                assert after is None, where
                assert before not in KEPT_FROM_DELETION, where
                status = None
            case "TransferCertificate" | "CancelCertificateTransfer" if by_us:
                assert before == status, where
                assert (before, after) in STEPS, where
                status = after
            case "AcceptCertificateTransfer" if by_us:  # an arrival
                assert (status, before, offer) == (None, "PENDING_TRANSFER", "PENDING_TRANSFER"), where
                assert (before, after) in STEPS, where
                status, offer = after, None
            case "AcceptCertificateTransfer":  # a departure
                assert before == status == "PENDING_TRANSFER", where
                status = None
            case "RejectCertificateTransfer" if not by_us:
                assert before == status == "PENDING_TRANSFER", where
                status = after
            case "TransferCertificate":
                assert (before, after) == ("INACTIVE", "PENDING_TRANSFER"), where
                offer = after
            case "CancelCertificateTransfer" | "RejectCertificateTransfer":
                assert before == offer == "PENDING_TRANSFER", where
                offer = None
            case "RegisterCertificateWithoutCA" | "UpdateCertificate":
                assert before == status, where
                assert (before, after) in STEPS, where
                assert before != after, where
                status = after
            case _:
                raise AssertionError(where)
        assert row["actor"], where
        assert row["address"] == "127.0.0.1", where
    return status
