"""What is acknowledged survives kill -9; what starts twice, in the wrong place or too early says so."""

from __future__ import annotations

import random
import signal
import time
import uuid
from pathlib import Path

import pytest
from tests.support.device import create_device
from tests.support.mqtt import Client
from tests.support.server import launch, start


def test_registry_and_retained_messages_survive_kill_9(tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    try:
        device = create_device(server, tmp_path / "d")
        gone = create_device(server, tmp_path / "d")
        topic = f"kept/{uuid.uuid4().hex}"
        with Client(server, device) as client:
            client.connect()
            client.publish(topic, b"still here", qos=1, retain=True)
            server.client().update_certificate(certificateId=gone.certificate_id, newStatus="REVOKED")
            server.kill()
        endpoint = server.endpoint
        server = start(tmp_path / "data")
        assert endpoint == server.endpoint
        with Client(server, device) as client:
            assert 0 == client.connect().value
            client.subscribe(topic)
            assert b"still here" == client.message().payload
        described = server.client().describe_certificate(certificateId=gone.certificate_id)
        assert "REVOKED" == described["certificateDescription"]["status"]
    finally:
        server.kill()


@pytest.mark.parametrize("seed", range(4))
def test_killed_during_the_first_run_the_next_start_completes(tmp_path: Path, seed: int) -> None:
    data = tmp_path / "data"
    process, ready, _ = launch(data)
    deadline = time.monotonic() + random.Random(seed).uniform(0.2, 4.0)
    while time.monotonic() < deadline and not ready.exists():
        try:
            process.wait(0.01)
        except Exception:
            continue
    process.kill()
    process.wait(10)
    server = start(data)
    try:
        device = create_device(server, tmp_path / "d")
        with Client(server, device) as client:
            assert 0 == client.connect().value
        assert 0 == server.handfast("account", "list", "--json").returncode
    finally:
        assert 0 == server.stop()


def test_a_second_server_on_the_same_data_directory_is_refused(tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    try:
        process, _, log = launch(tmp_path / "data")
        assert 2 == process.wait(30)
        assert server.process.poll() is None
        last = log.read_text().strip().splitlines()[-1]
        assert str(tmp_path / "data") in last or "already" in last
    finally:
        assert server.stop() == 0


def test_a_port_in_use_is_one_line_and_exit_2(tmp_path: Path) -> None:
    server = start(tmp_path / "one" / "data")
    try:
        process, _, log = launch(tmp_path / "two" / "data", "--mqtt-port", str(server.mqtt_port))
        assert 2 == process.wait(30)
        assert str(server.mqtt_port) in log.read_text().strip().splitlines()[-1]
        assert "Traceback" not in log.read_text()
    finally:
        assert 0 == server.stop()


def test_sigterm_tells_mqtt_5_clients_and_exits_0_in_time(tmp_path: Path) -> None:
    from tests.support.mqtt import v5

    server = start(tmp_path / "data")
    device = create_device(server, tmp_path / "d")
    with v5(server, device) as client:
        client.connect()
        server.process.send_signal(signal.SIGTERM)
        assert 0x8B == client.disconnected().value
    assert 0 == server.process.wait(10)


def test_a_looser_mode_of_a_secret_stops_the_start(tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    assert 0 == server.stop()
    (tmp_path / "data" / "credentials").chmod(0o644)
    process, _, log = launch(tmp_path / "data")
    assert 2 == process.wait(30)
    assert "credentials" in log.read_text().strip().splitlines()[-1]
