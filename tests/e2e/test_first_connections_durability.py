"""A burst of first connections that is killed: whole devices or none of them, and all get in when they come back."""

from __future__ import annotations

import datetime as dt
import random
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.device import Device, key_pem, private_key, write
from tests.support.jitp import jitp_template
from tests.support.own_ca import OwnCA
from tests.support.raw import connect_packet, connect_tls
from tests.support.server import Server, start

DEVICES = 60
AT_ONCE = 6
ROLE = "arn:aws:iam::123456789012:role/provisioning"
HALF_MADE = {
    "ACTIVE without a policy": """
        SELECT certificate_id FROM certificates AS c WHERE c.status = 'ACTIVE' AND NOT EXISTS
        (SELECT 1 FROM certificate_policies AS p WHERE p.certificate_id = c.certificate_id)""",
    "ACTIVE without its thing": """
        SELECT certificate_id FROM certificates AS c WHERE c.status = 'ACTIVE' AND NOT EXISTS
        (SELECT 1 FROM thing_principals AS p WHERE p.certificate_id = c.certificate_id)""",
    "registered and not ACTIVE": "SELECT certificate_id FROM certificates WHERE status <> 'ACTIVE'",
    "a thing of nobody": """
        SELECT thing_name FROM things AS t WHERE NOT EXISTS
        (SELECT 1 FROM thing_principals AS p WHERE p.thing_name = t.thing_name)""",
    "provisioned without a record of it": """
        SELECT certificate_id FROM certificates AS c WHERE NOT EXISTS
        (SELECT 1 FROM provisioning_runs AS r WHERE r.certificate_id = c.certificate_id)""",
}


def made(server: Server, ca: OwnCA, folder: Path) -> Iterator[Device]:
    now = dt.datetime.now(dt.UTC)
    for number in range(DEVICES):
        key, name = private_key(), f"lamp-{number}"
        pem = ca.issue(name, key=key, not_before=ca.not_before, not_after=now + dt.timedelta(days=1))  # type: ignore[arg-type]
        certificate = write(folder / f"{name}.pem", pem)
        yield Device(
            name, "", "", certificate, write(folder / f"{name}.key", key_pem(key)), server.trust / "bundle.pem"
        )


def gets_in(server: Server, device: Device) -> bool:
    try:
        with connect_tls(server, device, server.endpoint) as sock:
            sock.sendall(connect_packet(device.name))
            return sock.recv(4) == b"\x20\x02\x00\x00"
    except (OSError, ssl.SSLError):
        return False


def connect_all(server: Server, devices: list[Device], *, kill_after: int | None = None) -> list[Device]:
    """Several at once; who did not get in. The server is killed when so many have."""
    left, late = list(devices), []
    admitted, lock = 0, threading.Lock()

    def work() -> None:
        nonlocal admitted
        while True:
            with lock:
                if not left:
                    return
                device = left.pop()
            inside = gets_in(server, device)
            with lock:
                admitted += inside
                if not inside:
                    late.append(device)
                if admitted == kill_after and server.process.poll() is None:
                    server.process.kill()

    threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return late


@pytest.fixture
def ca() -> OwnCA:
    now = dt.datetime.now(dt.UTC)
    return OwnCA(not_before=now - dt.timedelta(days=1), not_after=now + dt.timedelta(days=30))


def test_a_burst_that_is_killed_leaves_whole_devices_and_all_get_in_at_last(tmp_path: Path, ca: OwnCA) -> None:
    server = start(tmp_path / "data")
    try:
        server.client().register_ca_certificate(
            caCertificate=ca.pem,
            certificateMode="SNI_ONLY",
            setAsActive=True,
            allowAutoRegistration=True,
            registrationConfig={"templateBody": jitp_template(), "roleArn": ROLE},
        )
        late = list(made(server, ca, tmp_path / "devices"))
        seed = random.randrange(10**6)
        print(f"seed {seed}")
        chance = random.Random(seed)
        for _ in range(2):
            late = connect_all(server, late, kill_after=chance.randint(3, 20))
            server.process.wait(10)
            assert late, "killed in the middle"
            assert_nothing_half_made(server.data_dir / "handfast.db")
            server = start(tmp_path / "data")
        assert [] == [device.name for device in connect_all(server, late)]
        assert_nothing_half_made(server.data_dir / "handfast.db")
        found = server.client().list_certificates_by_ca(caCertificateId=ca.id, pageSize=250)["certificates"]
        assert {"ACTIVE"} == {each["status"] for each in found}
        assert DEVICES == len(found)
    finally:
        server.kill()


def assert_nothing_half_made(registry: Path) -> None:
    with sqlite3.connect(registry) as connection:
        for what, query in HALF_MADE.items():
            assert [] == connection.execute(query).fetchall(), what
    connection.close()
