"""mosquitto_pub and mosquitto_sub, unmodified."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import pytest
from tests.support.device import Device, create_device
from tests.support.server import Server

VERSIONS = pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])


def arguments(server: Server, device: Device, version: str) -> list[str]:
    return ["-h", "localhost", "-p", str(server.mqtt_port), "--cafile", str(device.root), "-V", version] + [
        "--cert",
        str(device.certificate),
        "--key",
        str(device.key),
    ]


@VERSIONS
@pytest.mark.parametrize("root", ["bundle.pem", "root-ca-1.pem", "bundle-rsa.pem"])
def test_publish_and_subscribe(server: Server, folder: Path, version: str, root: str) -> None:
    device = create_device(server, folder)
    device = Device(device.name, device.certificate_id, device.arn, device.certificate, device.key, server.trust / root)
    topic = f"mosquitto/{uuid.uuid4().hex}"
    listener = subprocess.Popen(
        [
            "stdbuf",
            "-oL",
            "mosquitto_sub",
            *arguments(server, device, version),
            "-t",
            topic,
            "-q",
            "1",
            "-C",
            "1",
            "-W",
            "15",
            "-d",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listener.stdout is not None
    seen = []
    for line in listener.stdout:
        seen.append(line)
        if "SUBACK" in line:
            break
    for qos in ("0", "1"):
        sent = subprocess.run(
            ["mosquitto_pub", *arguments(server, device, version), "-t", topic, "-q", qos, "-m", f"hello {qos}"],
            capture_output=True,
            text=True,
            timeout=15,
        )
        assert sent.returncode == 0, sent.stderr
    rest = listener.communicate(timeout=15)[0]
    assert listener.returncode == 0, seen
    assert "hello 0" in rest


@VERSIONS
def test_a_deactivated_certificate_is_told_it_is_not_authorized(server: Server, folder: Path, version: str) -> None:
    device = create_device(server, folder, active=False)
    sent = subprocess.run(
        ["mosquitto_pub", *arguments(server, device, version), "-t", "x", "-m", "x", "-q", "1"],
        capture_output=True,
        text=True,
        timeout=15,
    )
    assert sent.returncode != 0
    assert "ot authori" in sent.stdout + sent.stderr
