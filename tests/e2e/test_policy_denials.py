"""
What a device sees of a policy that says no: one row for each operation, in MQTT 3.1.1 and 5 and over HTTPS.

docs/standards.md lists the choices where AWS's documentation leaves them open.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.device import Device, create_device
from tests.support.packets import PacketClient
from tests.support.server import Server

from handfast.core.mqtt.codec import MQTT_3_1_1, MQTT_5
from handfast.core.mqtt.packets import Disconnect, Packet, PubAck, Will

BOTH = pytest.mark.parametrize("version", [MQTT_3_1_1, MQTT_5], ids=["3.1.1", "5"])

GRANTS = {
    "iot:Connect": ["client/device-*"],
    "iot:Publish": ["topic/ok/*", "topic/unkept/*"],
    "iot:RetainPublish": ["topic/ok/*", "topic/keep-only/*"],
    "iot:Subscribe": [
        "topicfilter/ok/*",
        "topicfilter/deaf/*",
        "topicfilter/$share/g/ok/*",
        "topicfilter/$share/g/deaf/*",
    ],
    "iot:Receive": ["topic/ok/*", "topic/$share/g/deaf/*"],
}
"""`unkept/` may be published to, not retained; `deaf/` may be subscribed to, and nothing of it received."""
MARK = "denials/mark"


@dataclass(frozen=True)
class World:
    """A device with GRANTS, and one that may do everything."""

    server: Server
    device: Device
    all_powerful: Device

    def connected(self, version: int = MQTT_5, *, will: Will | None = None) -> PacketClient:
        """The device's connection."""
        client = PacketClient(self.server, self.device, version)
        assert 0 == client.connect(f"device-{uuid.uuid4().hex}", will=will)
        return client

    def other(self, *filters: str) -> PacketClient:
        """A connection that may do everything, subscribed to `filters`."""
        client = PacketClient(self.server, self.all_powerful, MQTT_5)
        assert 0 == client.connect(f"other-{uuid.uuid4().hex}")
        if filters:
            assert {1} == set(client.subscribe(*filters))
        return client

    def retained(self, topic: str) -> list[tuple[str, bytes]]:
        """What is retained on the topic; one SUBSCRIBE's retained messages come in the order of its filters."""
        with self.other(topic, MARK) as reader:
            found = []
            while (message := reader.message())[0] != MARK:
                found.append(message)
            return found


@pytest.fixture(scope="module")
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("denials")
    prefix = f"arn:aws:iot:us-east-1:{server.ready['account']}:"
    statements = [
        {"Effect": "Allow", "Action": action, "Resource": [prefix + name for name in names]}
        for action, names in GRANTS.items()
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    server.client("iot-data").publish(topic=MARK, payload=b"kept", retain=True)
    return World(server, create_device(server, folder, document=document), create_device(server, folder))


@pytest.fixture
def watcher(world: World) -> Iterator[PacketClient]:
    """Sees everything that is delivered to anyone."""
    with world.other("#") as client:
        yield client


def below(prefix: str) -> str:
    """A topic of its own."""
    return f"{prefix}/{uuid.uuid4().hex}"


# --- CONNECT -------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("client_id", "will"),
    [
        pytest.param("another", None, id="client id"),
        pytest.param("device-1", Will(topic="elsewhere", payload=b"w"), id="Will topic"),
        pytest.param("device-1", Will(topic="unkept/w", payload=b"w", retain=True), id="retained Will, not to be kept"),
        pytest.param("device-1", Will(topic="keep-only/w", payload=b"w", retain=True), id="retained Will, kept only"),
    ],
)
def test_connect_is_refused(
    world: World, watcher: PacketClient, version: int, client_id: str, will: Will | None
) -> None:
    client = PacketClient(world.server, world.device, version)
    assert client.connect(client_id, will=will) == (0x87 if version == MQTT_5 else 5)
    assert client.next() is None
    client.close(politely=False)
    assert [] == watcher.delivered()


@BOTH
@pytest.mark.parametrize(("prefix", "retain"), [("ok", False), ("ok", True), ("unkept", False)])
def test_a_will_that_policy_allows_is_published(world: World, version: int, prefix: str, retain: bool) -> None:
    topic = below(prefix)
    with world.other(topic) as heir:
        will = Will(topic=topic, payload=b"w", qos=1, retain=retain)
        world.connected(version, will=will).close(politely=False)
        assert (topic, b"w") == heir.message()
    if retain:
        assert [(topic, b"w")] == world.retained(topic)
        world.server.client("iot-data").publish(topic=topic, payload=b"", retain=True)


# --- PUBLISH -------------------------------------------------------------------------------------------------------


DENIED_PUBLISHES = [
    pytest.param("elsewhere", False, b"x", id="topic"),
    pytest.param("unkept", True, b"x", id="RETAIN without iot:RetainPublish"),
    pytest.param("keep-only", True, b"x", id="RETAIN without iot:Publish"),
    pytest.param("unkept", True, b"", id="deleting a retained message without iot:RetainPublish"),
]
ANSWERS: dict[tuple[int, int], list[Packet | None]] = {
    (MQTT_3_1_1, 0): [None],
    (MQTT_3_1_1, 1): [None],
    (MQTT_5, 0): [Disconnect(reason=0x87), None],
    (MQTT_5, 1): [PubAck(packet_id=1, reason=0x87)],
}
"""By version and QoS; None is the end of the connection."""


@pytest.mark.parametrize(("version", "qos"), ANSWERS)
@pytest.mark.parametrize(("prefix", "retain", "payload"), DENIED_PUBLISHES)
def test_publish_is_denied(
    world: World, watcher: PacketClient, version: int, qos: int, prefix: str, retain: bool, payload: bytes
) -> None:
    topic = below(prefix)
    world.server.client("iot-data").publish(topic=topic, payload=b"before", retain=True)
    assert [(topic, b"before")] == watcher.delivered()
    client = world.connected(version)
    answers = ANSWERS[version, qos]
    assert answers == client.publish(topic, payload, qos=qos, retain=retain)
    client.close(politely=None not in answers)
    assert [] == watcher.delivered()
    assert [(topic, b"before")] == world.retained(topic)
    world.server.client("iot-data").publish(topic=topic, payload=b"", retain=True)


@BOTH
@pytest.mark.parametrize("qos", [0, 1])
def test_publish_retain_and_delete_are_allowed(world: World, version: int, qos: int) -> None:
    topic = below("ok")
    with world.connected(version) as client:
        for payload, kept in ((b"first", [(topic, b"first")]), (b"", [])):
            answers = client.publish(topic, payload, qos=qos, retain=True)
            assert answers == ([PubAck(packet_id=1)] if qos else [])
            assert kept == world.retained(topic)
        assert client.publish(below("unkept"), qos=qos) == ([PubAck(packet_id=1)] if qos else [])


@BOTH
def test_the_will_of_a_device_that_is_cut_for_a_denied_publish_is_published(world: World, version: int) -> None:
    topic = below("ok")
    with world.other(topic) as heir:
        client = world.connected(version, will=Will(topic=topic, payload=b"cut", qos=1))
        assert ANSWERS[version, 0] == client.publish("elsewhere", qos=0)
        client.close(politely=False)
        assert (topic, b"cut") == heir.message()


# --- SUBSCRIBE and delivery ----------------------------------------------------------------------------------------


@BOTH
def test_subscribe_is_denied_filter_by_filter(world: World, version: int) -> None:
    refused = 0x87 if version == MQTT_5 else 0x80
    first, last = below("ok"), below("ok")
    with world.connected(version) as client, world.other() as loud:
        filters = (first, "elsewhere", "#", "$share/h/ok/x", "$share/g/elsewhere", last)
        assert (1, refused, refused, refused, refused, 1) == client.subscribe(*filters)
        for topic in (first, "elsewhere", "ok/x", last):
            assert loud.may_publish(topic)
        assert [(first, b"x"), (last, b"x")] == client.delivered()


@BOTH
@pytest.mark.parametrize("qos", [0, 1])
def test_what_may_not_be_received_is_dropped_silently(world: World, version: int, qos: int) -> None:
    topic, allowed = below("deaf"), below("ok")
    with world.connected(version) as client, world.other() as loud:
        assert (1, 1) == client.subscribe(topic, allowed)
        for each in (topic, allowed, topic):
            loud.publish(each, qos=qos)
        assert [(allowed, b"x")] == client.delivered()


@BOTH
def test_a_retained_message_that_may_not_be_received_is_not_sent_on_subscribe(world: World, version: int) -> None:
    topic, allowed = below("deaf"), below("ok")
    api = world.server.client("iot-data")
    for each in (topic, allowed):
        api.publish(topic=each, payload=b"kept", retain=True)
    with world.connected(version) as client:
        assert (1, 1) == client.subscribe(topic, allowed)
        assert (allowed, b"kept") == client.message()
        assert [] == client.delivered()
    for each in (topic, allowed):
        api.publish(topic=each, payload=b"", retain=True)


@BOTH
def test_a_shared_subscription_goes_to_a_member_that_may_receive_the_plain_topic(world: World, version: int) -> None:
    deaf, allowed = below("deaf"), below("ok")
    with world.connected(version) as client, world.other() as loud:
        # iot:Receive on topic/$share/g/deaf/… is granted, and grants nothing.
        assert (1, 1) == client.subscribe(f"$share/g/{deaf}", f"$share/g/{allowed}")
        assert loud.may_publish(deaf)
        assert loud.may_publish(allowed)
        assert [(allowed, b"x")] == client.delivered()
        with world.other(f"$share/g/{deaf}") as member:
            for _ in range(4):
                assert loud.may_publish(deaf)
            assert [(deaf, b"x")] * 4 == member.delivered()
        assert [] == client.delivered()


# --- HTTPS and the API ---------------------------------------------------------------------------------------------


def post(server: Server, device: Device, topic: str, query: str) -> tuple[int, dict[str, Any]]:
    """HTTPS publish with the device's certificate: status and body."""
    context = ssl.create_default_context(cafile=str(device.root))
    context.load_cert_chain(str(device.certificate), str(device.key))
    connection = http.client.HTTPSConnection("localhost", server.https_port, context=context, timeout=15)
    try:
        connection.request("POST", f"/topics/{urllib.parse.quote(topic, safe='')}?{query}", b"x")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("prefix", "query", "status"),
    [
        ("ok", "qos=1", 200),
        ("ok", "qos=0&retain=true", 200),
        ("unkept", "qos=0", 200),
        ("elsewhere", "qos=0", 403),
        ("elsewhere", "qos=1", 403),
        ("unkept", "qos=1&retain=true", 403),
        ("keep-only", "qos=1&retain=true", 403),
    ],
)
def test_publish_over_https(world: World, watcher: PacketClient, prefix: str, query: str, status: int) -> None:
    topic = below(prefix)
    code, answer = post(world.server, world.device, topic, query)
    assert status == code
    assert watcher.delivered() == ([(topic, b"x")] if status == 200 else [])
    if status == 403:
        (told,) = world.server.explain(answer["traceId"])
        assert "IMPLICIT_DENY" in json.dumps(told, default=str)
    if "retain" in query:
        assert world.retained(topic) == ([(topic, b"x")] if status == 200 else [])


def test_publish_over_https_needs_no_connect_and_has_no_client_id(world: World, folder: Path) -> None:
    prefix = f"arn:aws:iot:us-east-1:{world.server.ready['account']}:topic/"
    variables = ("${iot:CertificateId}", "${iot:ClientId}", "${iot:Connection.Thing.ThingName}")
    resources = [prefix + name for name in ("plain", *variables)]
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "iot:Publish", "Resource": resources}],
    }
    device = create_device(world.server, folder, document=document, thing=f"thing-{uuid.uuid4().hex}")
    for topic in ("plain", device.certificate_id):
        assert 200 == post(world.server, device, topic, "qos=1")[0]
    for topic in (device.name, "${iot:ClientId}", ""):
        assert post(world.server, device, topic, "qos=1")[0] in (400, 403, 404)


@pytest.mark.parametrize("retain", [False, True])
def test_the_publish_api_is_judged_by_its_key_and_not_by_any_policy(
    world: World, watcher: PacketClient, retain: bool
) -> None:
    topic = below("elsewhere")
    world.server.client("iot-data").publish(topic=topic, qos=1, payload=b"x", retain=retain)
    assert [(topic, b"x")] == watcher.delivered()
    assert world.retained(topic) == ([(topic, b"x")] if retain else [])
    foreign = world.server.client("iot-data", keys=("AKIAUNKNOWN", "unknown"))
    with pytest.raises(ClientError) as refused:
        foreign.publish(topic=topic, qos=1, payload=b"x")
    assert "UnrecognizedClientException" == refused.value.response["Error"]["Code"]
    assert [] == watcher.delivered()
    world.server.client("iot-data").publish(topic=topic, payload=b"", retain=True)
