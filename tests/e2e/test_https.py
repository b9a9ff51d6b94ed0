"""HTTPS publish over mutual TLS (curl) and through the signed iot-data API (boto3)."""

from __future__ import annotations

import base64
import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.support.device import Device, create_device, register_self_signed
from tests.support.mqtt import v5
from tests.support.server import Server


def curl(
    server: Server, device: Device, path: str, *options: str, host: str | None = None
) -> tuple[int, dict[str, Any]]:
    host = host or server.endpoint
    done = subprocess.run(
        ["curl", "-sS", "--cacert", str(device.root), "--cert", str(device.certificate), "--key", str(device.key)]
        + ["--connect-to", f"{host}:{server.https_port}:127.0.0.1:{server.https_port}", "-w", "\n%{http_code}"]
        + [f"https://{host}:{server.https_port}{path}", *options],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    body, code = done.stdout.rsplit("\n", 1)
    return int(code), json.loads(body) if body else {}


@pytest.mark.parametrize("host", [None, "localhost"])
@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_a_device_publishes_over_https(server: Server, folder: Path, slash: str, host: str | None) -> None:
    device = create_device(server, folder)
    mark = uuid.uuid4().hex
    with v5(server, device) as client:
        client.connect()
        client.subscribe(f"https/{mark}")
        code, answer = curl(
            server,
            device,
            f"/topics/https{slash}{mark}?qos=1&contentType=text%2Fplain",
            "--data-binary",
            "hi",
            host=host,
        )
        assert (code, answer["message"]) == (200, "OK")
        got = client.message()
        assert (got.payload, got.properties.ContentType) == (b"hi", "text/plain")


def test_every_member_of_a_publish_over_mutual_tls(server: Server, folder: Path) -> None:
    device = create_device(server, folder)
    topic = f"https/{uuid.uuid4().hex}"
    query = "qos=1&retain=true&contentType=text%2Fplain&responseTopic=answer%2Fhere&messageExpiry=600"
    properties = base64.b64encode(json.dumps([{"site": "north"}, {"site": "south"}]).encode()).decode()
    headers = {
        "x-amz-mqtt5-user-properties": properties,
        "x-amz-mqtt5-payload-format-indicator": "UTF8_DATA",
        "x-amz-mqtt5-correlation-data": base64.b64encode(b"7").decode(),
    }
    options = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    assert 200 == curl(server, device, f"/topics/{topic}?{query}", *options, "--data-binary", "hi")[0]
    with v5(server, device) as client:
        client.connect()
        client.subscribe(topic)
        got = client.message()
    assert (b"hi", 1, True) == (got.payload, got.qos, got.retain)
    told = got.properties
    assert ("text/plain", "answer/here", b"7") == (told.ContentType, told.ResponseTopic, told.CorrelationData)
    assert ([("site", "north"), ("site", "south")], 1) == (told.UserProperty, told.PayloadFormatIndicator)
    assert 590 <= told.MessageExpiryInterval <= 600


def test_refusals_are_alike_and_explained(server: Server, folder: Path) -> None:
    inactive = create_device(server, folder, active=False)
    denied = create_device(server, folder, document=None)
    answers = [curl(server, d, "/topics/x?qos=1", "-d", "x") for d in (inactive, denied)]
    assert [code for code, _ in answers] == [403, 403]
    assert 1 == len({answer["message"] for _, answer in answers})
    told = server.handfast("explain", answers[0][1]["traceId"]).stdout
    assert "INACTIVE" in told
    assert "NO_POLICY_ATTACHED" in str(server.explain(answers[1][1]["traceId"]))


def test_a_foreign_accounts_endpoint_is_refused_and_said_to_be_so(server: Server, folder: Path) -> None:
    other = server.client(keys=server.account())
    endpoint = other.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    device = register_self_signed(server, folder)
    code, answer = curl(server, device, "/topics/x", "-d", "x", host=endpoint)
    assert 403 == code
    told = json.dumps(server.explain(answer["traceId"]), default=str)
    assert "ENDPOINT_OF_ANOTHER_ACCOUNT" in told
    assert "SNI_MISUSED" in told


def test_the_same_leaf_in_two_accounts_is_told_apart_by_sni(server: Server, folder: Path) -> None:
    other = server.client(keys=server.account())
    ours = register_self_signed(server, folder)
    pem = (ours.certificate.read_bytes(), ours.key.read_bytes())
    register_self_signed(server, folder, iot=other, pem=pem, document=None)
    endpoint = other.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    assert 200 == curl(server, ours, "/topics/x", "-d", "x")[0]
    assert curl(server, ours, "/topics/x", "-d", "x", host=endpoint)[0] == 403


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("/topics/x?qos=2", ["-d", "x"], 400),
        ("/topics/a%2B%2Fx", ["-d", "x"], 400),
        ("/topics/$SYS%2Fx", ["-d", "x"], 403),
        ("/nothing", ["-d", "x"], 404),
        ("/topics/x", ["-X", "PUT"], 405),
    ],
)
def test_bad_requests_get_clear_answers(
    server: Server, folder: Path, path: str, options: list[str], expected: int
) -> None:
    code, answer = curl(server, create_device(server, folder), path, *options)
    assert expected == code or (expected == 403 and code in (400, 403))
    assert answer["message"]


def test_a_payload_over_128_kilobytes_is_too_large(server: Server, folder: Path) -> None:
    big = folder / "big"
    device = create_device(server, folder)
    big.write_bytes(b"x" * (128 * 1024 + 1))
    assert 413 == curl(server, device, "/topics/x", "--data-binary", f"@{big}")[0]
    big.write_bytes(b"x" * (128 * 1024))
    assert 200 == curl(server, device, "/topics/x", "--data-binary", f"@{big}")[0]


def test_boto3_publishes_through_the_signed_data_plane(server: Server, folder: Path) -> None:
    device = create_device(server, folder)
    topic = f"signed/{uuid.uuid4().hex}"
    with v5(server, device) as client:
        client.connect()
        client.subscribe(topic)
        server.client("iot-data").publish(topic=topic, qos=1, payload=b"from the API", retain=False)
        assert b"from the API" == client.message().payload
