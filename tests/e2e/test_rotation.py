"""Rotations with real devices: the new certificate connects, the old one is cut off."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.device import Device, create_device, write
from tests.support.mqtt import Client
from tests.support.server import Server, clean_environment, start

from handfast.wire.client import handfast_client

CUT_S = 1.0
LIMIT_S = 15.0


@pytest.fixture
def api(server: Server) -> Any:
    return handfast_client(server.api, "us-east-1", *server.credentials())


@pytest.fixture
def device(server: Server, folder: Path) -> Device:
    return create_device(server, folder, thing=f"lamp-{uuid.uuid4().hex[:8]}")


def rotate(api: Any, server: Server, device: Device, **options: Any) -> Device:
    """The successor as a device, its files beside the old one's."""
    made = api.rotate_certificate(certificateId=device.certificate_id, **options)
    name = f"{device.name}-{made['certificateId'][:8]}"
    folder = device.certificate.parent
    return Device(
        name=device.name,
        certificate_id=made["certificateId"],
        arn=made["certificateArn"],
        certificate=write(folder / f"{name}.pem", made["certificatePem"]),
        key=write(folder / f"{name}.key", made["keyPair"]["privateKey"]),
        root=server.trust / "bundle.pem",
    )


def status(server: Server, certificate_id: str) -> str:
    found = server.client().describe_certificate(certificateId=certificate_id)
    return str(found["certificateDescription"]["status"])


def wait_for(api: Any, device: Device, state: str) -> dict[str, Any]:
    """The rotation once it has the state."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        found: dict[str, Any] = api.describe_rotation(certificateId=device.certificate_id)
        if found["state"] == state or time.monotonic() > deadline:
            assert state == found["state"]
            return found
        time.sleep(0.05)


def test_the_old_certificate_is_cut_off_when_the_new_one_connects(
    server: Server, iot: Any, api: Any, device: Device
) -> None:
    with Client(server, device, client_id=f"{device.name}-old") as old:
        assert 0 == old.connect().value
        new = rotate(api, server, device)
        assert ("ACTIVE", "ACTIVE") == (status(server, device.certificate_id), status(server, new.certificate_id))
        assert "WAITING" == api.describe_rotation(certificateId=device.certificate_id)["state"]
        assert 0 == old.publish("still/good"), "the old connection lives on"
        with Client(server, new) as fresh:
            assert 0 == fresh.connect().value
            before = time.monotonic()
            old.disconnected()
            assert CUT_S > time.monotonic() - before
            ended = wait_for(api, device, "RETIRED")
            assert 0 == fresh.publish("still/here")
    assert ("CONNECTED", "INACTIVE") == (ended["endedBy"], status(server, device.certificate_id))
    attached = [
        sorted(each["policyName"] for each in iot.list_attached_policies(target=arn)["policies"])
        for arn in (device.arn, new.arn)
    ]
    assert 1 == len(attached[0])
    assert attached[0] == attached[1]
    assert [device.name] == iot.list_principal_things(principal=new.arn)["things"]
    with Client(server, device) as refused:
        assert refused.connect().is_failure


def test_a_publish_over_https_is_a_connection_and_revoking_is_for_good(
    server: Server, api: Any, device: Device
) -> None:
    new = rotate(api, server, device, retireAction="REVOKE")
    url = f"https://localhost:{server.https_port}/topics/{device.name}/hello?qos=1"
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--cacert", str(new.root), "--cert", str(new.certificate), "--key", str(new.key)]
        + ["--data-binary", "hello", url],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert 0 == done.returncode, done.stderr
    assert "CONNECTED" == wait_for(api, device, "RETIRED")["endedBy"]
    assert "REVOKED" == status(server, device.certificate_id)


def test_at_the_deadline_the_old_certificate_goes_or_stays_as_was_asked_for(
    server: Server, api: Any, device: Device, folder: Path
) -> None:
    kept = create_device(server, folder)
    rotate(api, server, kept, deadlineSeconds=1, onDeadline="KEEP")
    with Client(server, device) as old:
        assert 0 == old.connect().value
        rotate(api, server, device, deadlineSeconds=1)
        old.disconnected()
    assert "DEADLINE" == wait_for(api, device, "RETIRED")["endedBy"]
    assert "INACTIVE" == status(server, device.certificate_id)
    assert "DEADLINE" == wait_for(api, kept, "CANCELLED")["endedBy"]
    assert "ACTIVE" == status(server, kept.certificate_id)


def test_another_accounts_rotations_are_not_there(server: Server, api: Any, device: Device) -> None:
    rotate(api, server, device)
    stranger = handfast_client(server.api, "us-east-1", *server.account())
    mine = [each["certificateId"] for each in api.list_rotations(state="WAITING")["rotations"]]
    assert device.certificate_id in mine
    assert [] == stranger.list_rotations()["rotations"]
    for call in (stranger.describe_rotation, stranger.cancel_rotation, stranger.rotate_certificate):
        with pytest.raises(ClientError) as caught:
            call(certificateId=device.certificate_id)
        assert "ResourceNotFoundException" == caught.value.response["Error"]["Code"]
    api.cancel_rotation(certificateId=device.certificate_id)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[list[Server]]:
    """A list whose last server is running."""
    servers = [start(tmp_path / "data")]
    yield servers
    servers[-1].kill()


def test_a_rotation_survives_kill_9(own_server: list[Server], folder: Path) -> None:
    server = own_server[-1]
    api = handfast_client(server.api, "us-east-1", *server.credentials())
    waiting, due = create_device(server, folder), create_device(server, folder)
    new = rotate(api, server, waiting)
    rotate(api, server, due, deadlineSeconds=1)
    server.kill()
    server = start(server.data_dir)
    own_server.append(server)
    api = handfast_client(server.api, "us-east-1", *server.credentials())
    assert "DEADLINE" == wait_for(api, due, "RETIRED")["endedBy"]
    assert "WAITING" == api.describe_rotation(certificateId=waiting.certificate_id)["state"]
    with Client(server, new) as fresh:
        assert 0 == fresh.connect().value
        assert "CONNECTED" == wait_for(api, waiting, "RETIRED")["endedBy"]
    assert "INACTIVE" == status(server, waiting.certificate_id)


def command(server: Server, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "handfast.cli.main", "cert", "rotate", *arguments],
        env={**clean_environment(), "HANDFAST_DATA_DIR": str(server.data_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def test_the_command_writes_the_files_and_reports_until_the_device_has_moved(
    server: Server, device: Device, tmp_path: Path
) -> None:
    running = command(server, device.certificate_id, "--out", "next", "--key", "p256", cwd=tmp_path)
    try:
        assert running.stderr is not None
        assert (
            "Waiting for the new certificate to connect; in 6d 23h the old one is retired" in running.stderr.readline()
        )
        folder = tmp_path / "next"
        key = folder / "private.key"
        assert (0o700, 0o600) == tuple(stat.S_IMODE(os.stat(path).st_mode) for path in (folder, key))
        new = Device(device.name, "", "", folder / "certificate.pem", key, device.root)
        subject = subprocess.run(
            ["openssl", "x509", "-in", str(new.certificate), "-noout", "-subject"], capture_output=True, text=True
        )
        assert "AWS IoT Certificate" in subject.stdout, "the successor has the old one's subject"
        with Client(server, new) as fresh:
            assert 0 == fresh.connect().value
            told, complaint = running.communicate(timeout=LIMIT_S)
    finally:
        running.kill()
        running.wait()
    assert (0, "") == (running.returncode, complaint)
    assert f"{device.certificate_id} is INACTIVE: the new certificate has connected" in told
    again = server.handfast("cert", "rotate", device.certificate_id, "--out", "next", check=False, cwd=tmp_path)
    assert (2, True) == (again.returncode, "never overwritten" in again.stderr)
    again = server.handfast("cert", "rotate", device.certificate_id, "--out", "third", check=False, cwd=tmp_path)
    assert (1, True) == (again.returncode, "must be ACTIVE" in again.stderr)
    assert not (tmp_path / "third").exists(), "nothing is left of what was refused"


def test_with_a_request_the_key_stays_where_it_is_and_asking_again_is_safe(
    server: Server, device: Device, tmp_path: Path
) -> None:
    openssl = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-noenc", "-keyout", "d.key", "-out", "d.csr"]
    subprocess.run([*openssl, "-subj", f"/CN={device.name}"], cwd=tmp_path, check=True, capture_output=True)
    asked = ("cert", "rotate", device.certificate_id, "--csr", "d.csr", "--json")
    told = json.loads(server.handfast(*asked, "--out", "a", cwd=tmp_path).stdout)
    assert ["certificate.pem"] == os.listdir(tmp_path / "a")
    assert "WAITING" == told["rotation"]["state"]
    assert told["successorId"] == told["rotation"]["successorId"]
    again = json.loads(server.handfast(*asked, "--out", "b", cwd=tmp_path).stdout)
    assert told["successorId"] == again["successorId"], "the same request finds the rotation that it began"
    other = server.handfast("cert", "rotate", device.certificate_id, "--out", "c", check=False, cwd=tmp_path)
    assert (1, True) == (other.returncode, "is being rotated" in other.stderr)
    assert told["successorId"] in server.handfast("cert", "rotations").stdout
    new = Device(device.name, "", "", tmp_path / "a" / "certificate.pem", tmp_path / "d.key", device.root)
    with Client(server, new) as fresh:
        assert 0 == fresh.connect().value
    waited = server.handfast("cert", "rotations", "--all", "--json")
    assert told["successorId"] in waited.stdout


def test_interrupted_the_command_says_how_to_go_on_and_cancelling_takes_it_back(
    server: Server, device: Device, tmp_path: Path
) -> None:
    running = command(server, device.certificate_id, "--out", "next", "--on-deadline", "keep", cwd=tmp_path)
    try:
        assert running.stderr is not None
        assert "the old one is kept" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        told, complaint = running.communicate(timeout=LIMIT_S)
    finally:
        running.kill()
        running.wait()
    assert 130 == running.returncode
    assert "handfast cert rotations" in complaint
    assert f"handfast cert rotate --cancel {device.certificate_id}" in complaint
    (successor,) = [line.split()[1] for line in told.splitlines() if line.startswith("successor")]
    assert "stays as it is" in server.handfast("cert", "rotate", "--cancel", device.certificate_id).stdout
    assert ("ACTIVE", "INACTIVE") == (status(server, device.certificate_id), status(server, successor))
    assert 1 == server.handfast("cert", "rotate", "--cancel", device.certificate_id, check=False).returncode
