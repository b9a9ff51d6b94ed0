"""awsiotsdk (MQTT 3.1.1 and 5) and AWSIoTPythonSDK, unmodified."""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from pathlib import Path

import pytest
from awscrt import mqtt, mqtt5
from awscrt.exceptions import AwsCrtError
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient
from tests.support.device import create_device
from tests.support.server import Server

LIMIT_S = 15


def test_awsiotsdk_mqtt_311(server: Server, folder: Path) -> None:
    device = create_device(server, folder)
    got: queue.Queue[tuple[str, bytes]] = queue.Queue()
    connection = mqtt_connection_builder.mtls_from_path(
        endpoint="localhost",
        port=server.mqtt_port,
        cert_filepath=str(device.certificate),
        pri_key_filepath=str(device.key),
        ca_filepath=str(device.root),
        client_id=f"crt-{uuid.uuid4().hex}",
        clean_session=True,
        keep_alive_secs=30,
    )
    assert {"session_present": False} == connection.connect().result(LIMIT_S)
    topic = f"crt/{uuid.uuid4().hex}"
    subscribed, _ = connection.subscribe(
        topic=topic, qos=mqtt.QoS.AT_LEAST_ONCE, callback=lambda topic, payload, **_: got.put((topic, payload))
    )
    assert subscribed.result(LIMIT_S)["qos"] == mqtt.QoS.AT_LEAST_ONCE
    published, _ = connection.publish(topic=topic, payload="hello", qos=mqtt.QoS.AT_LEAST_ONCE)
    published.result(LIMIT_S)
    assert (topic, b"hello") == got.get(timeout=LIMIT_S)
    connection.disconnect().result(LIMIT_S)


def test_awsiotsdk_mqtt_5(server: Server, folder: Path) -> None:
    device = create_device(server, folder)
    got: queue.Queue[mqtt5.PublishPacket] = queue.Queue()
    connected: queue.Queue[mqtt5.ConnackPacket] = queue.Queue()
    stopped = threading.Event()
    client = mqtt5_client_builder.mtls_from_path(
        endpoint="localhost",
        port=server.mqtt_port,
        cert_filepath=str(device.certificate),
        pri_key_filepath=str(device.key),
        ca_filepath=str(device.root),
        client_id=f"crt5-{uuid.uuid4().hex}",
        on_publish_received=lambda data: got.put(data.publish_packet),
        on_lifecycle_connection_success=lambda data: connected.put(data.connack_packet),
        on_lifecycle_stopped=lambda data: stopped.set(),
    )
    client.start()
    connack = connected.get(timeout=LIMIT_S)
    assert connack.reason_code == mqtt5.ConnectReasonCode.SUCCESS
    topic = f"crt5/{uuid.uuid4().hex}"
    suback = client.subscribe(
        mqtt5.SubscribePacket(subscriptions=[mqtt5.Subscription(topic_filter=topic, qos=mqtt5.QoS.AT_LEAST_ONCE)])
    ).result(LIMIT_S)
    assert [mqtt5.SubackReasonCode.GRANTED_QOS_1] == suback.reason_codes
    done = client.publish(
        mqtt5.PublishPacket(
            topic=topic,
            payload=b"hello",
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            user_properties=[mqtt5.UserProperty("k", "v")],
        )
    ).result(LIMIT_S)
    assert done.puback.reason_code == mqtt5.PubackReasonCode.SUCCESS
    packet = got.get(timeout=LIMIT_S)
    assert (topic, b"hello") == (packet.topic, packet.payload)
    assert [(p.name, p.value) for p in packet.user_properties] == [("k", "v")]
    client.stop()
    assert stopped.wait(LIMIT_S)


def test_awsiotsdk_is_refused_with_a_deactivated_certificate(server: Server, folder: Path) -> None:
    device = create_device(server, folder, active=False)
    connection = mqtt_connection_builder.mtls_from_path(
        endpoint="localhost",
        port=server.mqtt_port,
        cert_filepath=str(device.certificate),
        pri_key_filepath=str(device.key),
        ca_filepath=str(device.root),
        client_id=f"crt-{uuid.uuid4().hex}",
    )
    with pytest.raises(AwsCrtError):
        connection.connect().result(LIMIT_S)


def test_awsiotpythonsdk(server: Server, folder: Path) -> None:
    logging.getLogger("AWSIoTPythonSDK").setLevel(logging.CRITICAL)
    device = create_device(server, folder)
    got: queue.Queue[tuple[str, bytes]] = queue.Queue()
    client = AWSIoTMQTTClient(f"v1-{uuid.uuid4().hex}")
    client.configureEndpoint("localhost", server.mqtt_port)
    client.configureCredentials(str(device.root), str(device.key), str(device.certificate))
    client.configureConnectDisconnectTimeout(LIMIT_S)
    client.configureMQTTOperationTimeout(LIMIT_S)
    assert client.connect()
    topic = f"v1/{uuid.uuid4().hex}"
    assert client.subscribe(topic, 1, lambda _client, _userdata, message: got.put((message.topic, message.payload)))
    assert client.publish(topic, "hello", 1)
    assert (topic, b"hello") == got.get(timeout=LIMIT_S)
    client.disconnect()
