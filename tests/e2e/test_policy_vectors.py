"""The table of connections (`tests/vectors/policy/connections.json`) against a live server over mutual TLS."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.device import ALLOW_ALL, Device, create_device, register_self_signed
from tests.support.packets import PacketClient
from tests.support.policy_vectors import Ask, Case, load_cases
from tests.support.server import Server

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.mqtt.codec import MQTT_3_1_1, MQTT_5
from handfast.core.mqtt.packets import Will

CASES = load_cases()
UNSEEN = {("RECEIVE", "$aws/x"), ("RECEIVE", "$aws/y")}
"""Nobody can publish to a reserved topic, so nobody sees whether it would be delivered."""


@dataclass(frozen=True)
class Surroundings:
    """What all cases share: who publishes, and policies that open what a case does not ask about."""

    server: Server
    loud: PacketClient
    connect: str
    subscribe: str


@pytest.fixture(scope="module")
def around(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    folder = tmp_path_factory.mktemp("loud")
    with PacketClient(server, create_device(server, folder, document=ALLOW_ALL), MQTT_5) as loud:
        assert 0 == loud.connect("loud")
        yield Surroundings(server, loud, _open(server, "iot:Connect"), _open(server, "iot:Subscribe"))


def _open(server: Server, action: str) -> str:
    name = f"open-{uuid.uuid4().hex}"
    _create_policy(server, name, {"Effect": "Allow", "Action": action, "Resource": "*"})
    return name


def _create_policy(server: Server, name: str, statement: Any) -> None:
    document = {"Version": "2012-10-17", "Statement": [statement]}
    server.client().create_policy(policyName=name, policyDocument=json.dumps(document))


@contextmanager
def _registered(server: Server, case: Case, folder: Path) -> Iterator[Device]:
    """The case's certificate, registered, with its policies, and its thing, which is gone afterwards."""
    iot = server.client()
    certificate, key = case.certificate(dt.datetime.now(dt.UTC))
    device = register_self_signed(server, folder, document=None, pem=(certificate.public_bytes(Encoding.PEM), key))
    for text in case.documents(Scope(AccountId(server.ready["account"]), "us-east-1")):
        name = f"case-{uuid.uuid4().hex}"
        iot.create_policy(policyName=name, policyDocument=text)
        iot.attach_policy(policyName=name, target=device.arn)
    thing = case.thing
    if thing is None:
        yield device
        return
    more: dict[str, Any] = {"attributePayload": {"attributes": thing.attributes}} if thing.attributes else {}
    if thing.type is not None:
        more["thingTypeName"] = thing.type
        iot.create_thing_type(thingTypeName=thing.type)
    iot.create_thing(thingName=thing.name, **more)
    attached = thing.attached != "no"
    if attached:
        kind = "EXCLUSIVE_THING" if thing.attached == "exclusive" else "NON_EXCLUSIVE_THING"
        iot.attach_thing_principal(thingName=thing.name, principal=device.arn, thingPrincipalType=kind)
    yield device
    if attached:
        iot.detach_thing_principal(thingName=thing.name, principal=device.arn)
    iot.delete_thing(thingName=thing.name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_live_connection_is_answered_as_the_table_says(around: Surroundings, case: Case, folder: Path) -> None:
    iot = around.server.client()
    with _registered(around.server, case, folder) as device:
        seen: dict[Ask, bool] = {}
        rest = []
        for ask in case.asks:
            if ask.action == "CONNECT":
                seen[ask] = _connects(around.server, device, case, ask)
            else:
                rest.append(ask)
        if rest:
            iot.attach_policy(policyName=around.connect, target=device.arn)
            with PacketClient(around.server, device, MQTT_5) as client:
                assert 0 == client.connect(case.client)
                seen |= _judge(client, rest)
                receives = [ask for ask in rest if ask.action == "RECEIVE" and (ask.action, ask.name) not in UNSEEN]
                if receives:
                    iot.attach_policy(policyName=around.subscribe, target=device.arn)
                    seen |= _deliveries(client, around.loud, receives)
    expected = {ask: ask.answer == "ALLOWED" for ask in case.asks if (ask.action, ask.name) not in UNSEEN}
    assert expected == seen


def test_all_but_two_rows_of_the_table_can_be_seen_on_the_wire() -> None:
    rows = [(ask.action, ask.name) for case in CASES for ask in case.asks]
    assert [("RECEIVE", "$aws/x"), ("RECEIVE", "$aws/y")] == [row for row in rows if row in UNSEEN]
    assert {"CONNECT", "PUBLISH", "SUBSCRIBE", "RECEIVE"} == {action for action, _ in rows}


def _connects(server: Server, device: Device, case: Case, ask: Ask) -> bool:
    """Whether CONNECT is accepted, with the Will and the persistence of the case; the same in both versions."""
    will = None if case.will is None else Will(topic=case.will, payload=b"gone")
    answers = set()
    for version, refused in ((MQTT_3_1_1, 5), (MQTT_5, 0x87)):
        with PacketClient(server, device, version) as client:
            reason = client.connect(ask.name, will=will, persistent=case.persistent)
            assert reason in (0, refused)
            answers.add(reason == 0)
    (answer,) = answers
    return answer


def _judge(client: PacketClient, asks: list[Ask]) -> dict[Ask, bool]:
    """What PUBACK and SUBACK say."""
    seen = {}
    for ask in asks:
        if ask.action == "PUBLISH":
            seen[ask] = client.may_publish(ask.name)
        elif ask.action == "SUBSCRIBE":
            (reason,) = client.subscribe(ask.name)
            assert reason in (1, 0x87, 0x8F)  # 0x8F: what the table asks about is no legal Topic Filter
            seen[ask] = reason == 1
    return seen


def _deliveries(client: PacketClient, loud: PacketClient, asks: list[Ask]) -> dict[Ask, bool]:
    """What of everything that is published reaches a client that subscribed to everything."""
    assert (1,) == client.subscribe("#")
    client.delivered()
    for ask in asks:
        assert loud.may_publish(ask.name)
    got = [topic for topic, _payload in client.delivered()]
    assert len(got) == len(set(got))
    return {ask: ask.name in got for ask in asks}
