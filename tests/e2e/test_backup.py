"""Backups of a real server under load, and what is restored from them: nothing acknowledged before is missing."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.data_directory import make_older
from tests.support.device import Device, create_device, self_signed
from tests.support.mqtt import Client
from tests.support.server import Server, clean_environment, launch, make_client, start

from handfast.wire.client import handfast_client


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory after its first run, to be copied: making the keys takes longer than most tests."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    assert 0 == start(folder).stop()
    return folder


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    """A data directory of the test's own, without a server."""
    return Path(shutil.copytree(prepared, tmp_path / "data"))


def client_of_its_own(server: Server) -> Any:
    key_id, secret = server.credentials()
    return make_client(
        "iot",
        region_name="us-east-1",
        endpoint_url=server.api,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
    )


@contextmanager
def registering(server: Server) -> Iterator[list[str]]:
    """Certificates are registered all the time; the ids of those that were acknowledged so far."""
    acknowledged: list[str] = []
    failures: list[Exception] = []
    stopping, enough = threading.Event(), threading.Event()
    iot = client_of_its_own(server)

    def write() -> None:
        try:
            while not stopping.is_set():
                pem, _ = self_signed(f"device {len(acknowledged)}")
                made = iot.register_certificate_without_ca(certificatePem=pem.decode(), status="ACTIVE")
                acknowledged.append(made["certificateId"])
                if len(acknowledged) >= 20:
                    enough.set()
        except Exception as error:
            failures.append(error)
            enough.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert enough.wait(60)
        yield acknowledged
    finally:
        stopping.set()
        thread.join(60)
    assert [] == failures


def connects(server: Server, device: Device) -> bool:
    with Client(server, device) as client:
        return client.connect().value == 0


def test_everything_acknowledged_before_a_backup_under_load_is_restored(data: Path, tmp_path: Path) -> None:
    server = start(data)
    devices = [create_device(server, tmp_path / "devices") for _ in range(3)]
    revoked = create_device(server, tmp_path / "devices")
    server.client().update_certificate(certificateId=revoked.certificate_id, newStatus="REVOKED")
    with Client(server, devices[0]) as publisher:
        publisher.connect()
        publisher.publish("kept/here", b"retained", qos=1, retain=True)
    with registering(server) as acknowledged:
        before = list(acknowledged)
        made = json.loads(server.handfast("backup", "--json").stdout)
    archive = Path(made["path"])
    assert (data / "backups") == archive.parent
    assert [] == made["leftOut"]  # a file that the table of members does not know shows here
    assert archive.stat().st_size == made["size"]

    restored = tmp_path / "elsewhere" / "data"
    restored.parent.mkdir()
    server.handfast("restore", str(archive), "--data-dir", str(restored))
    for name in ("handfast.db", "sessions.db"):
        connection = sqlite3.connect(restored / name)
        assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
        connection.close()
    # The one that was backed up goes on, and refuses to be replaced.
    refused = server.handfast("restore", str(archive), "--force", check=False)
    assert 2 == refused.returncode
    assert "A server runs on" in refused.stderr
    assert connects(server, devices[0])
    assert 0 == server.stop()

    second = start(restored)
    try:
        iot = second.client()
        listed = {
            item["certificateId"]
            for page in iot.get_paginator("list_certificates").paginate(pageSize=250)
            for item in page["certificates"]
        }
        assert len(before) >= 20
        assert {*before, *(device.certificate_id for device in devices)} <= listed
        assert all(connects(second, device) for device in devices)
        assert not connects(second, revoked)
        with Client(second, devices[1]) as subscriber:
            subscriber.connect()
            subscriber.subscribe("kept/here")
            assert b"retained" == subscriber.message().payload
        assert server.endpoint == second.endpoint
        assert server.credentials("handfast-operator") == second.credentials("handfast-operator")
    finally:
        assert 0 == second.stop()


def test_without_a_server_the_command_makes_the_backup_and_a_kill_9_before_loses_nothing(
    data: Path, tmp_path: Path
) -> None:
    server = start(data)
    device = create_device(server, tmp_path / "devices")
    server.kill()
    (tmp_path / "out").mkdir()
    text = server.handfast("backup", "--out", str(tmp_path / "out")).stdout
    (archive,) = (tmp_path / "out").iterdir()
    assert re.fullmatch(r"handfast-backup-\d{8}T\d{6}Z\.tar", archive.name)
    assert str(archive) in text
    assert "private keys" in text
    with tarfile.open(archive) as tar:
        assert {"credentials", "handfast.db", "sessions.db", "manifest.json"} < set(tar.getnames())

    again = server.handfast("backup", "--out", str(archive), check=False)
    assert (2, True) == (again.returncode, "not overwritten" in again.stderr)
    shutil.rmtree(data)
    server.handfast("restore", str(archive))
    second = start(data)
    try:
        assert connects(second, device)
        moved = second.handfast("backup", "--out", str(tmp_path / "out" / "second.tar"))
        assert str(tmp_path / "out" / "second.tar") in moved.stdout
        assert [] == list((data / "backups").iterdir())
    finally:
        assert 0 == second.stop()


def test_only_the_operator_makes_backups(server: Server) -> None:
    key_id, secret = server.credentials()
    with pytest.raises(ClientError) as caught:
        handfast_client(server.api, "us-east-1", key_id, secret).create_backup()
    assert "AccessDeniedException" == caught.value.response["Error"]["Code"]


def test_an_older_directory_is_copied_and_migrated_at_start_which_says_so(data: Path, tmp_path: Path) -> None:
    server = start(data)
    device = create_device(server, tmp_path / "devices")
    assert 0 == server.stop()
    make_older(data / "handfast.db")
    server = start(data)
    try:
        assert connects(server, device)
    finally:
        assert 0 == server.stop()
    (copy,) = (data / "backups").iterdir()
    said = [line for line in server.log.read_text().splitlines() if "Migrating" in line]
    assert 1 == len(said)
    assert str(copy) in said[0]


def test_a_start_that_cannot_make_the_copy_ends_with_2_and_says_why(data: Path) -> None:
    make_older(data / "handfast.db")
    (data / "backups").write_text("in the way")
    (data / "backups").chmod(0o600)
    process, _, log = launch(data)
    assert 2 == process.wait(60)
    last = log.read_text().strip().splitlines()[-1]
    assert "is not migrated" in last
    assert "backups" in last


def test_a_backup_under_way_does_not_keep_the_server_from_stopping(data: Path, tmp_path: Path) -> None:
    server = start(data)
    connection = sqlite3.connect(data / "sessions.db")
    connection.execute("PRAGMA journal_mode")
    connection.executescript(
        "CREATE TABLE ballast (content BLOB);"
        "INSERT INTO ballast WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
        " SELECT randomblob(1000000) FROM n;"
    )
    connection.close()
    asking = subprocess.Popen(
        [sys.executable, "-m", "handfast.cli.main", "backup", "--data-dir", str(data)],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    backups = data / "backups"
    while not (backups.is_dir() and any(backups.iterdir())) and asking.poll() is None:
        try:
            asking.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    server.process.send_signal(signal.SIGTERM)
    assert 0 == server.process.wait(20)
    asking.wait(60)
    left = list(backups.iterdir())
    assert [] == [path.name for path in left if path.name.startswith(".")]
