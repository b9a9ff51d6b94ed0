"""AWS's SDKs for JavaScript, unmodified: client-iot, client-iot-data-plane and the device SDK, on every port."""

from __future__ import annotations

import json
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import MQTTMessage
from tests.support.device import create_device
from tests.support.mqtt import v5
from tests.support.server import Server, clean_environment

FOLDER = Path(__file__).parents[1] / "js"


def node(server: Server, program: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a program of tests/js tells, as the SDKs' own environment variables point it to this server."""
    assert (FOLDER / "node_modules").is_dir(), "the SDKs for JavaScript are not installed: make node-packages"
    key_id, secret = server.credentials()
    environment = {
        **clean_environment(),
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.api,
        "NODE_EXTRA_CA_CERTS": str(server.trust / "bundle.pem"),
    }
    done = subprocess.run(
        ["node", str(FOLDER / program), json.dumps(options)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@dataclass(frozen=True)
class Run:
    """One run of control.mjs: the name that it gave things, what it told, and the messages that it published."""

    name: str
    told: dict[str, Any]
    messages: list[MQTTMessage]


@pytest.fixture(scope="module")
def control(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Run:
    name = f"js-{uuid.uuid4().hex[:12]}"
    with v5(server, create_device(server, tmp_path_factory.mktemp("listener"))) as client:
        client.connect()
        client.subscribe(f"js/{name}")
        signed = f"https://localhost:{server.alpn_port}"
        told = node(server, "control.mjs", {"name": name, "topic": f"js/{name}", "signedEndpoint": signed})
        return Run(name, told, [client.message() for _ in told["published"]])


def test_control_plane(server: Server, control: Run) -> None:
    told = control.told
    assert server.endpoint == told["endpoint"]
    arn = told["certificate"]["arn"]
    assert f"arn:aws:iot:us-east-1:{server.ready['account']}:cert/{told['certificate']['id']}" == arn
    assert ([arn], "1", "ACTIVE") == (told["principals"], told["policyVersion"], told["status"])
    assert told["datesAreDates"]
    assert told["thingArn"].endswith(f":thing/{control.name}")
    certificate = server.client().describe_certificate(certificateId=told["certificate"]["id"])
    assert told["certificate"]["pem"] == certificate["certificateDescription"]["certificatePem"]


def test_paginator(control: Run) -> None:
    things = [control.name, f"{control.name}-1", f"{control.name}-2"]
    assert things == [thing for page in control.told["pages"] for thing in page]
    assert len(control.told["pages"]) >= 2


def test_signed_data_plane(control: Run) -> None:
    assert {"api": 200, "alpn": 200} == control.told["published"]
    assert {b"api", b"alpn"} == {message.payload for message in control.messages}
    for message in control.messages:
        assert "text/plain" == message.properties.ContentType
        assert [("from", "javascript")] == message.properties.UserProperty


@pytest.mark.parametrize(
    ("kind", "name", "status"),
    [
        ("missing", "ResourceNotFoundException", 404),
        ("twice", "ResourceAlreadyExistsException", 409),
        ("malformed", "MalformedPolicyException", 400),
        ("invalid", "InvalidRequestException", 400),
        ("forged", "InvalidSignatureException", 403),
    ],
)
def test_errors_by_name(control: Run, kind: str, name: str, status: int) -> None:
    error = control.told["errors"][kind]
    assert (name, "client", status) == (error["name"], error["fault"], error["status"])
    assert error["message"]


def test_device_sdk_and_https_with_a_certificate(server: Server, folder: Path) -> None:
    device = create_device(server, folder)
    ports = [server.mqtt_port, server.alpn_port]  # the SDK always offers x-amzn-mqtt-ca, on 8883 too
    https = [(server.https_port, None), (server.https_port, "x-amzn-http-ca"), (server.alpn_port, "x-amzn-http-ca")]
    told = node(
        server,
        "device.mjs",
        {
            "host": "localhost",
            "ports": ports,
            "https": https,
            "certificate": str(device.certificate),
            "key": str(device.key),
            "root": str(device.root),
            "topic": f"js/{uuid.uuid4().hex}",
        },
    )
    five = {"granted": [1], "acknowledged": 0, "payload": "hello", "properties": [{"name": "k", "value": "v"}]}
    assert {str(port): five for port in ports} == told["five"]
    assert {str(port): {"present": False, "payload": "hello"} for port in ports} == told["three"]
    assert [[port, alpn, 200] for port, alpn in https] == told["https"]


def test_device_sdk_is_told_that_its_certificate_is_not_authorized(server: Server, folder: Path) -> None:
    device = create_device(server, folder, active=False)
    options = {
        "host": "localhost",
        "ports": [server.mqtt_port],
        "https": [(server.https_port, None)],
        "certificate": str(device.certificate),
        "key": str(device.key),
        "root": str(device.root),
        "topic": "js/inactive",
    }
    told = node(server, "device.mjs", options)
    port = str(server.mqtt_port)
    assert 0x87 == told["five"][port]["reason"]
    assert "failed" in told["three"][port]
    assert [[server.https_port, None, 403]] == told["https"]


def test_device_sdk_over_signed_websockets(server: Server) -> None:
    options = {
        "host": "localhost",
        "ports": [server.alpn_port],
        "root": str(server.trust / "bundle.pem"),
        "topic": f"js/{uuid.uuid4().hex}",
    }
    told = node(server, "websocket.mjs", options)
    port = str(server.alpn_port)
    assert {port: {"granted": [1], "acknowledged": 0, "payload": "hello"}} == told["five"]
    assert {port: "hello"} == told["three"]
    assert "failed" in told["forged"]
