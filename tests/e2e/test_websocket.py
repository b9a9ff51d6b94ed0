"""MQTT over WebSocket with SigV4: SDKs that this project did not write, and clients that nobody should write."""

from __future__ import annotations

import json
import queue
import ssl
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from awscrt import auth, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from AWSIoTPythonSDK.core.protocol.connection.cores import SecuredWebSocketCore
from tests.support.device import Device, create_device
from tests.support.mqtt import Client
from tests.support.raw import connect_packet, packet, string
from tests.support.server import Server
from tests.support.websocket import RawWebSocket, frame, presigned, signed_headers, upgrade

from handfast.wire.client import handfast_client

LIMIT_S = 15
CONNACK = b"\x20\x02\x00\x00"


@pytest.fixture(scope="module")
def device(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Device:
    return create_device(server, tmp_path_factory.mktemp("wss"))


@pytest.fixture(scope="module")
def listener(server: Server, device: Device) -> Iterator[Client]:
    """A device at the MQTT port that hears everything below `wss/`."""
    with Client(server, device) as client:
        client.connect()
        assert [1] == client.subscribe("wss/#")
        yield client


@pytest.fixture(scope="module")
def operator(server: Server) -> Any:
    return handfast_client(server.api, "us-east-1", *server.credentials("handfast-operator"))


def connected(server: Server, keys: tuple[str, str], client_id: str = "", *, version: int = 4) -> RawWebSocket:
    """An open MQTT connection at the plain API port."""
    socket = RawWebSocket.to_api(server).open(keys, host_of(server))
    socket.send(frame(2, connect_packet(client_id or f"wss-{uuid.uuid4().hex}", version)))
    opcode, answer = socket.receive()
    assert (2, 0x20, 0) == (opcode, answer[0], answer[3])
    return socket


def host_of(server: Server) -> str:
    return server.api.removeprefix("http://")


class TestClients:
    def test_paho_at_the_plain_port(self, server: Server, listener: Client) -> None:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, transport="websockets", reconnect_on_failure=False)
        got: queue.Queue[bytes] = queue.Queue()
        client.on_connect = lambda c, *_: c.subscribe("wss/paho", 1)
        client.on_subscribe = lambda c, *_: c.publish("wss/paho", b"x" * 100_000, 1)
        client.on_message = lambda _c, _u, message: got.put(message.payload)
        host, port = host_of(server).split(":")
        client.ws_set_options(path=presigned(server.credentials(), f"{host}:{port}"))
        client.connect(host, int(port))
        client.loop_start()
        assert b"x" * 100_000 == got.get(timeout=LIMIT_S)
        client.disconnect()
        client.loop_stop()
        assert "wss/paho" == listener.message().topic

    def test_paho_over_tls_at_the_alpn_port(self, server: Server, listener: Client) -> None:
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            protocol=paho.MQTTv5,
            transport="websockets",
            reconnect_on_failure=False,
        )
        context = ssl.create_default_context(cafile=str(server.trust / "bundle.pem"))
        client.tls_set_context(context)
        client.ws_set_options(path=presigned(server.credentials(), f"localhost:{server.alpn_port}"))
        client.connect("localhost", server.alpn_port)
        client.loop_start()
        client.publish("wss/tls", b"hello", 1).wait_for_publish(LIMIT_S)
        client.disconnect()
        client.loop_stop()
        assert ("wss/tls", b"hello") == ((message := listener.message()).topic, message.payload)

    def test_awsiotsdk_mqtt_311(self, server: Server) -> None:
        key_id, secret = server.credentials()
        got: queue.Queue[bytes] = queue.Queue()
        connection = mqtt_connection_builder.websockets_with_default_aws_signing(
            region="us-east-1",
            credentials_provider=auth.AwsCredentialsProvider.new_static(key_id, secret),
            endpoint="localhost",
            port=server.alpn_port,
            ca_filepath=str(server.trust / "bundle.pem"),
            client_id=f"crt-{uuid.uuid4().hex}",
            clean_session=True,
            keep_alive_secs=30,
        )
        assert {"session_present": False} == connection.connect().result(LIMIT_S)
        topic = f"crt/{uuid.uuid4().hex}"
        subscribed, _ = connection.subscribe(
            topic, mqtt.QoS.AT_LEAST_ONCE, callback=lambda payload, **_: got.put(payload)
        )
        subscribed.result(LIMIT_S)
        connection.publish(topic, "hello", mqtt.QoS.AT_LEAST_ONCE)[0].result(LIMIT_S)
        assert b"hello" == got.get(timeout=LIMIT_S)
        connection.disconnect().result(LIMIT_S)

    def test_awsiotsdk_mqtt_5(self, server: Server) -> None:
        key_id, secret = server.credentials()
        connacks: queue.Queue[mqtt5.ConnackPacket] = queue.Queue()
        got: queue.Queue[mqtt5.PublishPacket] = queue.Queue()
        stopped = threading.Event()
        client = mqtt5_client_builder.websockets_with_default_aws_signing(
            region="us-east-1",
            credentials_provider=auth.AwsCredentialsProvider.new_static(key_id, secret),
            endpoint="localhost",
            port=server.alpn_port,
            ca_filepath=str(server.trust / "bundle.pem"),
            client_id=f"crt5-{uuid.uuid4().hex}",
            on_publish_received=lambda data: got.put(data.publish_packet),
            on_lifecycle_connection_success=lambda data: connacks.put(data.connack_packet),
            on_lifecycle_stopped=lambda _: stopped.set(),
        )
        client.start()
        assert mqtt5.ConnectReasonCode.SUCCESS == connacks.get(timeout=LIMIT_S).reason_code
        topic = f"crt5/{uuid.uuid4().hex}"
        client.subscribe(
            mqtt5.SubscribePacket([mqtt5.Subscription(topic_filter=topic, qos=mqtt5.QoS.AT_LEAST_ONCE)])
        ).result(LIMIT_S)
        client.publish(mqtt5.PublishPacket(topic=topic, payload=b"y" * 120_000, qos=mqtt5.QoS.AT_LEAST_ONCE)).result(
            LIMIT_S
        )
        assert b"y" * 120_000 == got.get(timeout=LIMIT_S).payload
        client.stop()
        assert stopped.wait(LIMIT_S)

    def test_the_older_sdk_signs_for_iotdata(self, server: Server) -> None:
        # It takes no endpoint but one below amazonaws.com; on a socket that is open it may name what it likes.
        endpoint = "abc123-ats.iot.us-east-1.amazonaws.com"
        with RawWebSocket.to_alpn(server) as socket:
            core = SecuredWebSocketCore(socket.sock, endpoint, 443, *server.credentials())
            core.write(bytearray(connect_packet(f"old-{uuid.uuid4().hex}")))
            assert CONNACK == bytes(core.read(4))
            core.close()


class TestSignatures:
    def test_alpn_http11_and_a_signature_in_the_head(self, server: Server) -> None:
        host = f"localhost:{server.alpn_port}"
        signed = signed_headers(server.credentials(), host)
        with RawWebSocket.to_alpn(server, alpn="http/1.1") as socket:
            request = upgrade("/mqtt", host, Authorization=signed["Authorization"], X_Amz_Date=signed["X-Amz-Date"])
            assert 101 == socket.ask(request)
            socket.send(frame(2, connect_packet(f"wss-{uuid.uuid4().hex}")))
            assert (2, CONNACK) == socket.receive()

    def test_a_url_without_an_expiry_as_device_sdks_make_it(self, server: Server) -> None:
        with RawWebSocket.to_api(server) as socket:
            socket.open(server.credentials(), host_of(server), expires_s=None)

    @pytest.mark.parametrize(
        ("options", "message", "code"),
        [
            ({"ago_s": 400}, "Signature expired", "API_CLOCK_SKEW"),
            ({"ago_s": 400, "expires_s": None}, "Signature expired", "API_CLOCK_SKEW"),
            ({"ago_s": -400}, "Signature not yet current", "API_CLOCK_SKEW"),
            ({"expires_s": 86_401}, "X-Amz-Expires must be between 1 and 86400", "API_WRONG_SIGNATURE"),
            ({"service": "iot"}, "Credential should be scoped to", "API_WRONG_SIGNATURE"),
            ({"path": "/mqtt2"}, "The request signature we calculated does not match", "API_WRONG_SIGNATURE"),
            ({"secret": "no"}, "The request signature we calculated does not match", "API_WRONG_SIGNATURE"),
            (
                {"key": "AKIAAAAAAAAAAAAAAAAA"},
                "The security token included in the request is invalid.",
                "API_UNKNOWN_KEY",
            ),
        ],
        ids=["expired", "no expiry", "future", "week", "service", "path", "secret", "key"],
    )
    def test_what_does_not_count_is_answered_as_aws_does(
        self, server: Server, options: dict[str, Any], message: str, code: str
    ) -> None:
        key_id, secret = server.credentials()
        keys = (options.pop("key", key_id), options.pop("secret", secret))
        target = presigned(keys, host_of(server), **options).replace("/mqtt2?", "/mqtt?")
        with RawWebSocket.to_api(server) as socket:
            assert 403 == socket.ask(upgrade(target, host_of(server)))
            body = json.loads(socket.body)
            assert body["message"].startswith(message)
            assert "ForbiddenException" == socket.headers["x-amzn-errortype"]
            assert body["traceId"] == socket.headers["x-amzn-requestid"]
            (record,) = server.explain(body["traceId"])
            assert code == record["reasons"][0]["code"]
            if "Expires" not in message:  # that claim is not read any further
                assert keys[0] == record["facts"]["access_key_id"]

    def test_without_a_signature(self, server: Server) -> None:
        for socket in (RawWebSocket.to_api(server), RawWebSocket.to_alpn(server)):
            with socket:
                assert 403 == socket.ask(upgrade("/mqtt", host_of(server)))
                body = json.loads(socket.body)
                assert "Missing Authentication Token" == body["message"]
                assert "API_MISSING_SIGNATURE" == server.explain(body["traceId"])[0]["reasons"][0]["code"]

    def test_a_session_token_is_never_good(self, server: Server) -> None:
        target = presigned(server.credentials(), host_of(server)) + "&X-Amz-Security-Token=abc"
        with RawWebSocket.to_api(server) as socket:
            assert 403 == socket.ask(upgrade(target, host_of(server)))
            (record,) = server.explain(json.loads(socket.body)["traceId"])
            assert "session token" in record["reasons"][0]["detail"]

    def test_the_operators_key_has_no_topics(self, server: Server) -> None:
        target = presigned(server.credentials("handfast-operator"), host_of(server))
        with RawWebSocket.to_api(server) as socket:
            assert 403 == socket.ask(upgrade(target, host_of(server)))

    @pytest.mark.parametrize(("foreign", "region"), [(True, "us-east-1"), (False, "eu-west-1")])
    def test_the_endpoint_has_to_be_the_signers(self, server: Server, foreign: bool, region: str) -> None:
        keys = server.account() if foreign else server.credentials()
        host = server.endpoint
        with RawWebSocket.to_alpn(server, sni=host) as socket:
            assert 403 == socket.ask(upgrade(presigned(keys, host, region=region), host))
            body = json.loads(socket.body)
            assert "Forbidden" == body["message"]
            assert "ENDPOINT_OF_ANOTHER_ACCOUNT" == server.explain(body["traceId"])[0]["reasons"][0]["code"]
        with RawWebSocket.to_alpn(server, sni=host) as socket:
            socket.open(server.credentials(), host)


class TestTheUpgrade:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"sec_websocket_protocol": None}, 400),
            ({"sec_websocket_protocol": "chat, mqtt5"}, 400),
            ({"sec_websocket_key": "c2hvcnQ="}, 400),
            ({"sec_websocket_key": None}, 400),
            ({"sec_websocket_key": "A" * 260}, 400),
            ({"sec_websocket_version": "8"}, 426),
            ({"upgrade": None, "connection": "keep-alive"}, 426),
            ({"upgrade": "h2c"}, 426),
            ({"content_length": "0"}, 426),
        ],
    )
    def test_other_than_mqtt_is_refused(self, server: Server, headers: dict[str, str | None], status: int) -> None:
        target = presigned(server.credentials(), host_of(server))
        with RawWebSocket.to_api(server) as socket:
            assert status == socket.ask(upgrade(target, host_of(server), **headers))
            assert "close" in socket.headers["connection"]
            trace_id = json.loads(socket.body)["traceId"]
            assert "PROTOCOL_ERROR" == server.explain(trace_id)[0]["reasons"][0]["code"]
            assert b"" == socket.sock.recv(1)

    def test_compression_that_is_offered_is_not_agreed_on(self, server: Server) -> None:
        target = presigned(server.credentials(), host_of(server))
        with RawWebSocket.to_api(server) as socket:
            extension = "permessage-deflate; client_max_window_bits"
            assert 101 == socket.ask(upgrade(target, host_of(server), sec_websocket_extensions=extension))
            assert "sec-websocket-extensions" not in socket.headers
            socket.send(frame(2, connect_packet("deflated"), rsv=4))
            assert 1002 == socket.close_code()

    @pytest.mark.parametrize("path", ["/mqtt/", "/mqtt/x", "/%6dqtt", "/"])
    def test_other_paths_are_not_upgraded(self, server: Server, path: str) -> None:
        for socket in (RawWebSocket.to_api(server), RawWebSocket.to_alpn(server)):
            with socket:
                target = presigned(server.credentials(), host_of(server), path=path)
                assert 404 == socket.ask(upgrade(target, host_of(server)))

    def test_a_client_that_does_not_wait_is_refused(self, server: Server) -> None:
        request = upgrade(presigned(server.credentials(), host_of(server)), host_of(server))
        with RawWebSocket.to_api(server) as socket:
            assert 400 == socket.ask(request + frame(2, connect_packet("hasty")))

    def test_a_head_without_end_is_bounded(self, server: Server) -> None:
        request = upgrade(presigned(server.credentials(), host_of(server)), host_of(server), x_padding="x" * 100_000)
        with RawWebSocket.to_api(server) as socket:
            assert 431 == socket.ask(request[:-4])


class TestFrames:
    def test_packets_span_and_share_frames(self, server: Server) -> None:
        connect = connect_packet(f"wss-{uuid.uuid4().hex}")
        with RawWebSocket.to_api(server).open(server.credentials(), host_of(server)) as socket:
            first = [frame(2, connect[:5], fin=False), frame(9, b"still there?"), frame(0, connect[5:9])]
            socket.send(*first, frame(2, connect[9:] + packet(0xC0) + packet(0xC0)[:1]), frame(2), frame(2, b"\x00"))
            assert (10, b"still there?") == socket.receive()
            data = b""
            while len(data) < 8:
                data += socket.receive()[1]
            assert CONNACK + b"\xd0\x00\xd0\x00" == data

    @pytest.mark.parametrize(
        ("bad", "code"),
        [
            (frame(2, b"\xc0\x00", masked=False), 1002),
            (frame(1, b"hello"), 1003),
            (frame(9, b"x", fin=False), 1002),
            (frame(9, b"x" * 126), 1002),
            (frame(0, b"x"), 1002),
            (frame(2, b"x", fin=False) + frame(2, b"x"), 1002),
            (frame(3, b"x"), 1002),
            (frame(2, b"x", rsv=1), 1002),
            (frame(8, b"\x03"), 1002),
        ],
        ids=["unmasked", "text", "ping in fragments", "long ping", "no beginning", "no end", "opcode", "rsv", "close"],
    )
    def test_what_breaks_the_protocol_ends_it_with_a_code_and_a_record(
        self, server: Server, bad: bytes, code: int
    ) -> None:
        client_id = f"wss-{uuid.uuid4().hex}"
        with connected(server, server.credentials(), client_id) as socket:
            socket.send(bad)
            assert code == socket.close_code()
        (record,) = server.explain(client_id)
        assert "MALFORMED_PACKET" == record["reasons"][0]["code"]
        assert record["reasons"][0]["detail"].startswith("WebSocket: ")
        assert server.credentials()[0] == record["facts"]["access_key_id"]

    def test_a_message_without_end(self, server: Server) -> None:
        ping = packet(0xC0) * 50_000
        with connected(server, server.credentials()) as socket:
            socket.sock.settimeout(LIMIT_S)
            try:
                socket.send(frame(2, ping, fin=False), *(frame(0, ping, fin=False) for _ in range(10)))
            except ConnectionError:
                pass
            assert 1009 == socket.close_code()

    def test_mqtts_own_limit_holds(self, server: Server) -> None:
        client_id = f"wss-{uuid.uuid4().hex}"
        with connected(server, server.credentials(), client_id) as socket:
            socket.send(frame(2, packet(0x30, string("a") + b"x" * 140_000)))
            assert 1000 == socket.close_code()
        assert "PACKET_TOO_LARGE" == server.explain(client_id)[0]["reasons"][0]["code"]


class TestTheSession:
    def test_a_will_is_kept_for_who_does_not_take_leave(self, server: Server, listener: Client) -> None:
        def will(topic: str) -> bytes:
            body = string("MQTT") + b"\x04\x06\x00\x3c" + string(topic) + string(topic) + string("gone")
            return frame(2, packet(0x10, body))

        for topic, last in (("wss/closed", frame(8, b"\x03\xe8")), ("wss/lost", b"")):
            with RawWebSocket.to_api(server).open(server.credentials(), host_of(server)) as socket:
                socket.send(will(topic))
                assert (2, CONNACK) == socket.receive()
                if last:
                    socket.send(last)
                    assert 1000 == socket.close_code()
        assert "wss/lost" == listener.message().topic

    def test_a_client_id_is_taken_over_from_a_device_and_back(self, server: Server, device: Device) -> None:
        name = f"wss-{uuid.uuid4().hex}"
        with Client(server, device, client_id=name, version=paho.MQTTv5) as client:
            assert 0 == client.connect().value
            with connected(server, server.credentials(), name, version=5) as socket:
                assert 0x8E == client.disconnected().value
                with Client(server, device, client_id=name) as again:
                    assert 0 == again.connect().value
                    assert (2, b"\xe0\x01\x8e") == socket.receive()
                    assert 1000 == socket.close_code()

    def test_only_devices_make_requests(self, server: Server) -> None:
        client_id = f"wss-{uuid.uuid4().hex}"
        with connected(server, server.credentials(), client_id) as socket:
            socket.send(frame(2, packet(0x30, string("$aws/certificates/create/json") + b"{}")))
            assert 1000 == socket.close_code()
        assert "TOPIC_NOT_VALID" == server.explain(client_id)[0]["reasons"][0]["code"]

    @pytest.mark.parametrize("how", ["revoked", "account disabled"])
    def test_it_ends_with_the_key(self, server: Server, operator: Any, how: str) -> None:
        account = operator.create_account()["accountId"]
        made = operator.create_access_key(accountId=account)
        keys = made["accessKeyId"], made["secretAccessKey"]
        with connected(server, keys, version=5) as socket, connected(server, server.credentials(), version=5) as other:
            if how == "revoked":
                operator.revoke_access_key(accountId=account, accessKeyId=keys[0])
            else:
                operator.update_account(accountId=account, status="DISABLED")
            assert (2, b"\xe0\x01\x87") == socket.receive()
            assert 1000 == socket.close_code()
            with RawWebSocket.to_api(server) as again:
                assert 403 == again.ask(upgrade(presigned(keys, host_of(server)), host_of(server)))
            other.send(frame(2, packet(0xC0)))
            assert (2, b"\xd0\x00") == other.receive()
