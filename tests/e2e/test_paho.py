"""MQTT 3.1.1 and 5 through an unmodified paho client over mutual TLS."""

from __future__ import annotations

import json
import queue
import ssl
import uuid
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from tests.support.device import Device, create_device, register_self_signed, self_signed
from tests.support.mqtt import Client, v5
from tests.support.raw import connect_packet, connect_tls, packet, read_all, string
from tests.support.server import Server

BOTH = pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5], ids=["3.1.1", "5"])


@pytest.fixture
def device(server: Server, folder: Path) -> Device:
    return create_device(server, folder)


def properties(kind: int, **values: Any) -> Properties:
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


@BOTH
@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_goes_round(server: Server, device: Device, version: int, tls: ssl.TLSVersion, qos: int) -> None:
    topic = f"round/{uuid.uuid4().hex}"
    with Client(server, device, version=version, tls_version=tls) as client:
        assert 0 == client.connect().value
        assert [qos] == client.subscribe(topic, qos)
        client.publish(topic, b"hello \x00\xff", qos)
        got = client.message()
        assert (topic, b"hello \x00\xff", qos, False) == (got.topic, got.payload, got.qos, got.retain)


@pytest.mark.parametrize("ends", ["DISCONNECT", "close_notify"])
def test_many_topics_in_one_burst_all_arrive_although_the_publisher_leaves_at_once(
    server: Server, device: Device, ends: str
) -> None:
    root = f"burst/{uuid.uuid4().hex}"
    topics = [f"{root}/{number}" for number in range(500)]
    with Client(server, device, version=5) as client:
        assert 0 == client.connect().value
        assert [0] == client.subscribe(f"{root}/#", 0)
        with connect_tls(server, device) as publisher:
            publisher.sendall(connect_packet(f"burst-{uuid.uuid4().hex}"))
            assert b"\x20\x02\x00\x00" == publisher.recv(4)
            burst = b"".join(packet(0x30, string(topic) + b"x" * 20) for topic in topics)
            publisher.sendall(burst + (packet(0xE0) if ends == "DISCONNECT" else b""))
            publisher.unwrap()
        assert topics == [client.message().topic for _ in topics]


@BOTH
def test_it_works_over_the_real_endpoint_name(
    server: Server, device: Device, version: int, endpoint_resolves: str
) -> None:
    with Client(server, device, version=version, host=endpoint_resolves) as client:
        assert 0 == client.connect().value


@BOTH
def test_a_self_signed_certificate_registered_without_a_ca_connects_over_a_local_name(
    server: Server, folder: Path, version: int
) -> None:
    with Client(server, register_self_signed(server, folder), version=version) as client:
        assert 0 == client.connect().value


@BOTH
@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
def test_deactivation_cuts_the_connection_off_within_a_second(
    server: Server, device: Device, iot: Any, version: int, status: str
) -> None:
    with Client(server, device, version=version) as client:
        assert 0 == client.connect().value
        iot.update_certificate(certificateId=device.certificate_id, newStatus=status)
        code = client.disconnected(limit_s=1.0)
        if version == paho.MQTTv5:
            assert 0x87 == code.value
    with Client(server, device, version=version) as again:
        assert again.connect().value in (0x87, 135, 5)


def test_every_refused_certificate_looks_the_same(server: Server, folder: Path, iot: Any) -> None:
    def refusal(device: Device) -> tuple[int, str]:
        with v5(server, device) as client:
            code = client.connect().value
            reason = client.connack_properties.ReasonString
            return code, reason

    inactive = create_device(server, folder, active=False)
    revoked = create_device(server, folder)
    iot.update_certificate(certificateId=revoked.certificate_id, newStatus="REVOKED")
    certificate, key = self_signed()
    (folder / "s.pem").write_bytes(certificate)
    (folder / "s.key").write_bytes(key)
    stranger = Device("s", "", "", folder / "s.pem", folder / "s.key", server.trust / "bundle.pem")
    answers = [refusal(device) for device in (inactive, revoked, stranger)]
    assert {0x87} == {code for code, _ in answers}
    traces = [reason for _, reason in answers]
    assert 3 == len(set(traces))
    assert len({len(t) for t in traces}) == 1, traces
    words = [server.handfast("explain", trace).stdout.lower() for trace in traces]
    assert "inactive" in words[0]
    assert "revoked" in words[1]
    assert "not registered" in words[2]


def test_explain_tells_in_words_why_a_deactivated_certificate_was_refused(
    server: Server, device: Device, iot: Any
) -> None:
    iot.update_certificate(certificateId=device.certificate_id, newStatus="INACTIVE")
    with Client(server, device) as client:
        assert client.connect() is not None
    told = server.handfast("explain", device.certificate_id).stdout
    assert "INACTIVE" in told
    assert "update-certificate" in told
    found = json.loads(server.handfast("explain", device.certificate_id, "--json").stdout)
    text = json.dumps(found)
    assert "CERTIFICATE_INACTIVE" in text
    assert "DEVICE_CERTIFICATE_INACTIVE" in text
    assert "CERTIFICATE_INACTIVE" in str(server.explain(client.client_id))


@BOTH
def test_the_will_is_published_when_the_connection_breaks_but_not_after_disconnect(
    server: Server, device: Device, version: int
) -> None:
    topic = f"will/{uuid.uuid4().hex}"
    with Client(server, device, version=version) as watcher, Client(server, device, version=version) as other:
        watcher.connect()
        other.connect()
        watcher.subscribe(topic)
        polite = Client(server, device, version=version)
        polite.raw.will_set(topic, b"polite", 1)
        polite.connect()
        polite.close()
        broken = Client(server, device, version=version)
        broken.raw.will_set(topic, b"broken", 1)
        broken.connect()
        broken.raw.socket().shutdown(2)
        assert b"broken" == watcher.message().payload
        broken.raw.loop_stop()
        watcher.silent_until(other, topic)


@BOTH
def test_a_second_connection_with_the_same_client_id_takes_over(server: Server, device: Device, version: int) -> None:
    client_id = f"same-{uuid.uuid4().hex}"
    with Client(server, device, client_id=client_id, version=version) as first:
        first.connect()
        with Client(server, device, client_id=client_id, version=version) as second:
            assert 0 == second.connect().value
            code = first.disconnected()
            if version == paho.MQTTv5:
                assert 0x8E == code.value


def test_client_ids_of_other_accounts_are_other_clients(server: Server, device: Device, folder: Path) -> None:
    iot = server.client(keys=server.account())
    foreign = create_device(server, folder, iot=iot)
    topic = f"shared-name/{uuid.uuid4().hex}"
    with Client(server, device, client_id="twin") as ours, Client(server, foreign, client_id="twin") as theirs:
        assert 0 == ours.connect().value
        assert 0 == theirs.connect().value
        ours.subscribe(topic)
        theirs.subscribe(topic)
        theirs.publish(topic, b"theirs")
        assert b"theirs" == theirs.message().payload
        ours.publish(topic, b"ours")
        assert b"ours" == ours.message().payload
        with pytest.raises(queue.Empty):
            theirs.messages.get_nowait()


@BOTH
def test_retained_messages(server: Server, device: Device, version: int) -> None:
    topic = f"kept/{uuid.uuid4().hex}"
    with Client(server, device, version=version) as client:
        client.connect()
        client.publish(topic, b"kept", retain=True)
        client.subscribe(topic)
        got = client.message()
        assert (got.payload, got.retain) == (b"kept", True)
        client.publish(topic, b"live", retain=True)
        got = client.message()
        assert (got.payload, got.retain) == (b"live", False)
        client.publish(topic, b"", retain=True)
        assert b"" == client.message().payload
    with Client(server, device, version=version) as late:
        late.connect()
        late.subscribe(topic)
        late.silent_until(late, topic)


def test_wildcard_filters_never_get_retained_messages(server: Server, device: Device) -> None:
    branch = f"branch/{uuid.uuid4().hex}"
    with Client(server, device) as client:
        client.connect()
        client.publish(f"{branch}/leaf", b"kept", retain=True)
        client.subscribe(f"{branch}/#")
        client.silent_until(client, f"{branch}/marker")


def test_hash_does_not_match_the_parent(server: Server, device: Device) -> None:
    branch = f"parent/{uuid.uuid4().hex}"
    with Client(server, device) as client:
        client.connect()
        client.subscribe(f"{branch}/#")
        client.publish(branch, b"parent")
        client.silent_until(client, f"{branch}/child")


def test_properties_travel_in_mqtt_5(server: Server, device: Device) -> None:
    topic = f"props/{uuid.uuid4().hex}"
    sent = properties(
        PacketTypes.PUBLISH,
        ContentType="text/plain",
        ResponseTopic="answers",
        CorrelationData=b"\x00\x01",
        PayloadFormatIndicator=1,
        UserProperty=[("a", "1"), ("b", "2"), ("a", "3")],
        MessageExpiryInterval=600,
    )
    with v5(server, device) as client:
        client.connect()
        client.subscribe(topic)
        client.publish(topic, "words", properties=sent)
        got = client.message().properties
        assert "text/plain" == got.ContentType
        assert "answers" == got.ResponseTopic
        assert b"\x00\x01" == got.CorrelationData
        assert 1 == got.PayloadFormatIndicator
        assert [("a", "1"), ("b", "2"), ("a", "3")] == got.UserProperty
        assert 590 <= got.MessageExpiryInterval <= 600


def test_topic_aliases(server: Server, device: Device) -> None:
    topic = f"alias/{uuid.uuid4().hex}"
    with v5(server, device) as client:
        client.connect()
        assert 8 == client.connack_properties.TopicAliasMaximum
        client.subscribe(topic)
        client.publish(topic, b"1", properties=properties(PacketTypes.PUBLISH, TopicAlias=3))
        client.publish("", b"2", properties=properties(PacketTypes.PUBLISH, TopicAlias=3))
        assert [(topic, b"1"), (topic, b"2")] == [(m.topic, m.payload) for m in (client.message(), client.message())]
        client.raw.publish(topic, b"3", 0, properties=properties(PacketTypes.PUBLISH, TopicAlias=9))
        assert 0x94 == client.disconnected().value


def test_connack_says_what_the_server_does(server: Server, device: Device) -> None:
    with v5(server, device, client_id="") as client:
        code = client.connect(
            keepalive=5, clean_start=False, properties=properties(PacketTypes.CONNECT, SessionExpiryInterval=3600)
        )
        assert 0 == code.value
        assert not client.session_present
        told = client.connack_properties
        assert (told.SessionExpiryInterval, told.MaximumQoS, told.ServerKeepAlive) == (0, 1, 30)
        assert told.AssignedClientIdentifier
        assert 0 == told.SubscriptionIdentifierAvailable


def test_no_local_and_retain_as_published(server: Server, device: Device) -> None:
    topic = f"options/{uuid.uuid4().hex}"
    with v5(server, device) as client, v5(server, device) as other:
        client.connect()
        other.connect()
        mid = client.raw.subscribe(topic, options=SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True))[1]
        assert mid == client.subacks.get(timeout=5)[0]
        client.publish(topic, b"own")
        other.publish(topic, b"other", retain=True)
        got = client.message()
        assert (got.payload, got.retain) == (b"other", True)
        other.publish(topic, b"", retain=True)


def test_a_detached_policy_is_obeyed_by_the_next_packet(server: Server, device: Device, iot: Any) -> None:
    with v5(server, device) as client:
        client.connect()
        assert 0 == client.publish("before", b"x")
        for attached in iot.list_attached_policies(target=device.arn)["policies"]:
            iot.detach_policy(policyName=attached["policyName"], target=device.arn)
        assert 0x87 == client.publish("after", b"x")


@pytest.mark.parametrize("name", ["a+b", "a#b", "+", "#", "a*b", "$x", "a?b", "${iot:ClientId}"])
def test_client_ids_never_widen_a_policy(server: Server, folder: Path, name: str) -> None:
    arn = f"arn:aws:iot:us-east-1:{server.ready['account']}:"
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
            {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": arn + "topicfilter/x/${iot:ClientId}/y"},
        ],
    }
    device = create_device(server, folder, document=document)
    subscribe = packet(0x82, b"\x00\x01\x00" + string(f"x/{name}/y") + b"\x00")
    with connect_tls(server, device) as sock:
        sock.sendall(connect_packet(name, 5) + subscribe + packet(0xE0))
        answer = read_all(sock)
    refused_id = answer[3] != 0
    assert refused_id or answer.endswith((b"\x87", b"\x8f")), answer
