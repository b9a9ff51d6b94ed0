"""Behind a balancer that speaks the PROXY protocol: policies and records see the devices' addresses."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator

import pytest
from tests.support.device import Device, create_device
from tests.support.mqtt import Client
from tests.support.proxy_header import balancer, v1, v2
from tests.support.server import Server, after_first_run, start

BALANCER = "127.0.0.9"
CLOSED = (ssl.SSLError, ConnectionError)
ONLY_FROM_THE_FIELD = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "iot:*",
            "Resource": "*",
            "Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}},
        }
    ],
}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("behind") / "data"
    after_first_run(data_dir)
    running = start(data_dir, "--proxy-protocol", BALANCER)
    yield running
    assert 0 == running.stop()


@pytest.fixture(scope="module")
def device(behind: Server, tmp_path_factory: pytest.TempPathFactory) -> Device:
    return create_device(behind, tmp_path_factory.mktemp("device"), document=ONLY_FROM_THE_FIELD)


@pytest.mark.parametrize("header", [v1("203.0.113.7"), v2("203.0.113.7")], ids=["version 1", "version 2"])
def test_a_policy_judges_the_devices_address(behind: Server, device: Device, header: bytes) -> None:
    with balancer(behind.mqtt_port, BALANCER, header) as port, Client(behind, device, port=port) as client:
        assert 0 == client.connect().value
        assert [1] == client.subscribe("field/#")
        client.publish("field/hello", "hello")
        assert "field/hello" == client.message().topic


def test_a_refusal_is_found_by_the_devices_address(behind: Server, device: Device) -> None:
    header = v2("198.51.100.23")
    with balancer(behind.mqtt_port, BALANCER, header) as port, Client(behind, device, port=port) as client:
        assert 0 != client.connect().value
    (record,) = behind.explain("198.51.100.23")
    assert "198.51.100.23" == record["address"]
    assert "IMPLICIT_DENY" == record["reasons"][0]["code"]


def test_https_too(behind: Server, device: Device) -> None:
    files = ["--cacert", str(device.root), "--cert", str(device.certificate), "--key", str(device.key)]
    for source, status in (("203.0.113.7", "200"), ("198.51.100.24", "403")):
        with balancer(behind.https_port, BALANCER, v1(source)) as port:
            command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-m", "15", *files, "--data", "x"]
            done = subprocess.run(
                [*command, f"https://localhost:{port}/topics/field/x?qos=1"], capture_output=True, text=True, timeout=30
            )
        assert status == done.stdout, done.stderr


def test_the_balancer_without_a_header_is_refused_and_others_cannot_bring_one(behind: Server, device: Device) -> None:
    with balancer(behind.mqtt_port, BALANCER, b"") as port, pytest.raises(CLOSED):
        Client(behind, device, port=port).connect()
    assert "PROXY_HEADER_INVALID" == behind.explain(BALANCER)[0]["reasons"][0]["code"]
    with balancer(behind.mqtt_port, "127.0.0.8", v1("203.0.113.7")) as port, pytest.raises(CLOSED):
        Client(behind, device, port=port).connect()
    assert "NOT_TLS" == behind.explain("127.0.0.8")[0]["reasons"][0]["code"]
