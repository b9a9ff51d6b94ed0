"""The port where ALPN decides, as AWS IoT's 443, with clients that this project did not write."""

from __future__ import annotations

import http.client
import json
import queue
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from awscrt import io, mqtt
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.support.device import Device, create_device
from tests.support.mqtt import Client
from tests.support.server import Server

from handfast.cli.connection import find_server

LIMIT_S = 15


@pytest.fixture(scope="module")
def device(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Device:
    return create_device(server, tmp_path_factory.mktemp("alpn"))


@pytest.fixture
def listener(server: Server, device: Device) -> Iterator[Client]:
    """A client at the MQTT port that hears everything below `alpn/`."""
    with Client(server, device) as client:
        client.connect()
        assert [1] == client.subscribe("alpn/#")
        yield client


def s_client(server: Server, *options: str) -> str:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.alpn_port}", "-servername", "localhost"]
    done = subprocess.run([*command, *options], input="", capture_output=True, text=True, timeout=LIMIT_S)
    return done.stdout + done.stderr


def curl(server: Server, path: str, *options: str) -> tuple[int, dict[str, Any]]:
    command = ["curl", "-sS", "--cacert", str(server.trust / "bundle.pem"), "-w", "\n%{http_code}", "-m", str(LIMIT_S)]
    url = f"https://localhost:{server.alpn_port}{path}"
    done = subprocess.run([*command, *options, url], capture_output=True, text=True, timeout=2 * LIMIT_S)
    assert 0 == done.returncode, done.stderr
    body, status = done.stdout.rsplit("\n", 1)
    return int(status), json.loads(body or "{}")


def data_client(server: Server, keys: tuple[str, str], host: str = "localhost") -> Any:
    return boto3.client(
        "iot-data",
        region_name="us-east-1",
        endpoint_url=f"https://{host}:{server.alpn_port}",
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        verify=str(server.trust / "bundle.pem"),
        config=Config(retries={"max_attempts": 1}),
    )


class TestTheNameDecides:
    @pytest.mark.parametrize(
        ("alpn", "certificate_asked"),
        [("x-amzn-mqtt-ca", True), ("x-amzn-http-ca", True), ("http/1.1", False), (None, False)],
    )
    def test_whether_a_client_certificate_is_asked_for(
        self, server: Server, alpn: str | None, certificate_asked: bool
    ) -> None:
        output = s_client(server, *(("-alpn", alpn) if alpn else ()))
        assert (f"ALPN protocol: {alpn}" in output) == (alpn is not None)
        assert ("No client certificate CA names sent" in output and "Requested Signature Algorithms" in output) == (
            certificate_asked
        )

    def test_the_first_that_the_server_prefers_is_selected(self, server: Server) -> None:
        assert "ALPN protocol: x-amzn-mqtt-ca" in s_client(server, "-alpn", "mqtt,http/1.1,x-amzn-mqtt-ca")

    @pytest.mark.parametrize(
        ("alpn", "code", "words"),
        [("mqtt", "CUSTOM_AUTH_UNSUPPORTED", "custom authorizer"), ("h2,x-none", "UNKNOWN_ALPN", "x-none")],
    )
    def test_others_are_refused_by_name_with_alert_120(self, server: Server, alpn: str, code: str, words: str) -> None:
        name = f"{uuid.uuid4().hex}.example"  # to find the record by
        output = s_client(server, "-alpn", alpn, "-servername", name)
        assert "alert number 120" in output
        (record,) = [r for r in server.explain("127.0.0.1") if r.get("sni") == name]
        assert code == record["reasons"][0]["code"]
        assert words in record["reasons"][0]["detail"]
        assert "alpn" == record["facts"]["listener"]


class TestMqtt:
    def test_awscrt(self, server: Server, device: Device) -> None:
        options = io.TlsContextOptions.create_client_with_mtls_from_path(str(device.certificate), str(device.key))
        options.override_default_trust_store_from_path(None, str(device.root))
        options.alpn_list = ["x-amzn-mqtt-ca"]
        connection = mqtt.Connection(
            mqtt.Client(None, io.ClientTlsContext(options)),
            host_name="localhost",
            port=server.alpn_port,
            client_id=f"alpn-{uuid.uuid4().hex}",
        )
        got: queue.Queue[bytes] = queue.Queue()
        assert {"session_present": False} == connection.connect().result(LIMIT_S)
        subscribed, _ = connection.subscribe(
            "alpn/crt", mqtt.QoS.AT_LEAST_ONCE, callback=lambda payload, **_: got.put(payload)
        )
        subscribed.result(LIMIT_S)
        connection.publish("alpn/crt", "hello", mqtt.QoS.AT_LEAST_ONCE)[0].result(LIMIT_S)
        assert b"hello" == got.get(timeout=LIMIT_S)
        connection.disconnect().result(LIMIT_S)

    def test_paho(self, server: Server, device: Device, listener: Client) -> None:
        context = ssl.create_default_context(cafile=str(device.root))
        context.load_cert_chain(str(device.certificate), str(device.key))
        context.set_alpn_protocols(["x-amzn-mqtt-ca"])
        with Client(server, device, port=server.alpn_port, context=context) as client:
            assert 0 == client.connect().value
            client.publish("alpn/paho", "hello")
        assert "alpn/paho" == listener.message().topic

    @pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
    def test_mosquitto(self, server: Server, device: Device, listener: Client, version: str) -> None:
        files = ["--cafile", str(device.root), "--cert", str(device.certificate), "--key", str(device.key)]
        where = ["-h", "localhost", "-p", str(server.alpn_port), "--tls-alpn", "x-amzn-mqtt-ca", "-V", version]
        command = ["mosquitto_pub", *where, *files, "-t", "alpn/mosquitto", "-q", "1", "-m", "hello"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        assert 0 == done.returncode, done.stderr
        assert "alpn/mosquitto" == listener.message().topic


class TestHttps:
    def test_a_device_publishes_with_its_certificate(self, server: Server, device: Device, listener: Client) -> None:
        context = ssl.create_default_context(cafile=str(device.root))
        context.load_cert_chain(str(device.certificate), str(device.key))
        context.set_alpn_protocols(["x-amzn-http-ca"])
        connection = http.client.HTTPSConnection("localhost", server.alpn_port, context=context, timeout=LIMIT_S)
        connection.request("POST", "/topics/alpn/https?qos=1", body=b"hello")
        assert 200 == connection.getresponse().status
        connection.close()
        assert "alpn/https" == listener.message().topic

    def test_a_certificate_counts_for_nothing_without_its_name(self, server: Server, device: Device) -> None:
        files = ("--cert", str(device.certificate), "--key", str(device.key))  # curl offers h2 and http/1.1
        status, body = curl(server, "/topics/alpn/curl?qos=1", *files, "--data", "hello")
        assert 403 == status
        assert "Missing Authentication Token" in body["message"]


class TestSigned:
    def test_boto3(self, server: Server, listener: Client) -> None:
        data_client(server, server.credentials()).publish(topic="alpn/boto3", qos=1, payload=b"signed")
        message = listener.message()
        assert ("alpn/boto3", b"signed") == (message.topic, message.payload)

    def test_curl(self, server: Server, listener: Client) -> None:
        key_id, secret = server.credentials()
        signed = ("--aws-sigv4", "aws:amz:us-east-1:iotdevicegateway", "--user", f"{key_id}:{secret}")
        assert 200 == curl(server, "/topics/alpn/curl?qos=1", *signed, "--data", "hello")[0]
        assert "alpn/curl" == listener.message().topic

    @pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/trust", "/things", "/topics/a?qos=1", "/mqtt/x"])
    def test_nothing_is_answered_without_a_signature(self, server: Server, path: str) -> None:
        status, body = curl(server, path)
        assert 403 == status
        assert "Missing Authentication Token" in body["message"]

    def test_the_control_plane_is_not_here(self, server: Server) -> None:
        key_id, secret = server.credentials()
        signed = ("--aws-sigv4", "aws:amz:us-east-1:iotdevicegateway", "--user", f"{key_id}:{secret}")
        assert 404 == curl(server, "/things", *signed)[0]

    def test_the_endpoint_of_another_account_is_refused(self, server: Server, endpoint_resolves: str) -> None:
        with pytest.raises(ClientError) as refused:
            data_client(server, server.account(), endpoint_resolves).publish(topic="alpn/foreign", payload=b"x")
        assert "ForbiddenException" == refused.value.response["Error"]["Code"]
        trace = refused.value.response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]
        (record,) = server.explain(trace)
        assert "ENDPOINT_OF_ANOTHER_ACCOUNT" == record["reasons"][0]["code"]
        data_client(server, server.credentials(), endpoint_resolves).publish(topic="alpn/own", payload=b"x")


def test_commands_on_the_directory_find_the_port(server: Server) -> None:
    assert {"host": "127.0.0.1", "port": server.alpn_port} == server.ready["alpn"]
    assert server.alpn_port == find_server(str(server.data_dir), None).alpn_port
