"""Things and what surrounds them, as boto3 and the terraform of a fleet use them, and registry events over MQTT."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.device import ALLOW_ALL, create_device
from tests.support.mqtt import Client
from tests.support.server import Server
from tests.support.strict import body_of, tenant


def code_of(call: Any, **members: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**members)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_things_types_billing_groups_and_tags_in_the_life_of_a_fleet(server: Server) -> None:
    side = tenant(server)
    iot, prefix = side.iot, f"arn:aws:iot:us-east-1:{side.account}"
    properties = {
        "thingTypeDescription": "lamps",
        "searchableAttributes": ["room"],
        "mqtt5Configuration": {
            "propagatingAttributes": [
                {"userPropertyKey": "room", "thingAttribute": "room"},
                {"userPropertyKey": "client", "connectionAttribute": "iot:ClientId"},
            ]
        },
    }
    tags = [{"Key": "Team", "Value": "light"}]
    made = iot.create_thing_type(thingTypeName="lamps", thingTypeProperties=properties, tags=tags)
    assert f"{prefix}:thingtype/lamps" == made["thingTypeArn"]
    described = iot.describe_thing_type(thingTypeName="lamps")
    assert properties == described["thingTypeProperties"]
    assert described["thingTypeMetadata"]["deprecated"] is False
    assert tags == iot.list_tags_for_resource(resourceArn=made["thingTypeArn"])["tags"]
    group = iot.create_billing_group(billingGroupName="home", tags=tags)

    attributes = {f"a{number}": str(number) for number in range(50)}
    iot.create_thing(
        thingName="lamp",
        thingTypeName="lamps",
        billingGroupName="home",
        attributePayload={"attributes": attributes},
    )
    iot.update_thing(
        thingName="lamp", attributePayload={"attributes": {"a0": "", "a1": "new"}, "merge": True}, expectedVersion=1
    )
    found = iot.describe_thing(thingName="lamp")
    expected = {name: value for name, value in attributes.items() if name != "a0"} | {"a1": "new"}
    assert (expected, 2, "lamps", "home") == (
        found["attributes"],
        found["version"],
        found["thingTypeName"],
        found["billingGroupName"],
    )
    assert ("VersionConflictException", 409) == code_of(iot.update_thing, thingName="lamp", expectedVersion=1)
    by_prefix = {"attributeName": "a1", "attributeValue": "ne", "usePrefixAttributeValue": True}
    listed = iot.list_things(thingTypeName="lamps", **by_prefix)
    assert ["lamp"] == [each["thingName"] for each in listed["things"]]
    assert ["lamp"] == iot.list_things_in_billing_group(billingGroupName="home")["things"]
    assert ("InvalidRequestException", 400) == code_of(iot.delete_billing_group, billingGroupName="home")
    iot.remove_thing_from_billing_group(billingGroupArn=group["billingGroupArn"], thingArn=found["thingArn"])
    iot.delete_billing_group(billingGroupName="home")
    assert ("ResourceNotFoundException", 404) == code_of(iot.describe_billing_group, billingGroupName="home")

    iot.deprecate_thing_type(thingTypeName="lamps")
    assert ("InvalidRequestException", 400) == code_of(iot.create_thing, thingName="new", thingTypeName="lamps")
    assert ("InvalidRequestException", 400) == code_of(iot.delete_thing_type, thingTypeName="lamps")
    iot.delete_thing(thingName="lamp")
    assert ("InvalidRequestException", 400) == code_of(iot.delete_thing_type, thingTypeName="lamps")  # five minutes

    policy = iot.create_policy(policyName="p", policyDocument=json.dumps(ALLOW_ALL), tags=tags)
    iot.tag_resource(resourceArn=policy["policyArn"], tags=[{"Key": "Stage", "Value": "prod"}])
    iot.untag_resource(resourceArn=policy["policyArn"], tagKeys=["Team"])
    assert {"tags": [{"Key": "Stage", "Value": "prod"}]} == body_of(
        iot.list_tags_for_resource(resourceArn=policy["policyArn"])
    )
    assert ("InvalidRequestException", 400) == code_of(iot.tag_resource, resourceArn=f"{prefix}:thing/lamp", tags=tags)


def test_types_are_listed_page_by_page(server: Server) -> None:
    iot = tenant(server).iot
    names = [f"type-{number}" for number in range(5)]
    for name in names:
        iot.create_thing_type(thingTypeName=name)
    found = [
        each["thingTypeName"]
        for page in iot.get_paginator("list_thing_types").paginate(PaginationConfig={"PageSize": 2})
        for each in page["thingTypes"]
    ]
    assert names == found


def test_enabled_events_reach_subscribers_that_may_have_them_and_nobody_can_forge_one(
    server: Server, iot: Any, folder: Path
) -> None:
    device = create_device(server, folder)
    watcher, forger = Client(server, device), Client(server, device, version=5)
    with watcher, forger:
        watcher.connect()
        forger.connect()
        assert [1] == watcher.subscribe("$aws/events/#")
        quiet = f"quiet-{uuid.uuid4().hex}"
        iot.create_thing(thingName=quiet)
        name = f"lamp-{uuid.uuid4().hex}{'x' * 90}"
        iot.update_event_configurations(
            eventConfigurations={"THING": {"Enabled": True}, "THING_TYPE_ASSOCIATION": {"Enabled": True}}
        )
        try:
            described = iot.describe_event_configurations()
            assert {"THING", "THING_TYPE_ASSOCIATION"} == {
                kind for kind, each in described["eventConfigurations"].items() if each["Enabled"]
            }
            iot.create_thing_type(thingTypeName=name)
            made = iot.create_thing(thingName=name, thingTypeName=name)
            message = watcher.message()
            assert (f"$aws/events/thing/{name}/created", 1) == (message.topic, message.qos)
            told = json.loads(message.payload)
            assert (made["thingId"], "CREATED", 1) == (told["thingId"], told["operation"], told["versionNumber"])
            association = watcher.message()  # longer than the topics that devices may use
            assert f"$aws/events/thingTypeAssociation/thing/{name}/thingType/{name}/added" == association.topic
            assert 0x80 <= forger.publish(f"$aws/events/thing/{name}/deleted", "{}")
            iot.delete_thing(thingName=name)
            assert json.loads(watcher.message().payload)["operation"] == "DELETED"
        finally:
            off = {kind: {"Enabled": False} for kind in ("THING", "THING_TYPE_ASSOCIATION")}
            iot.update_event_configurations(eventConfigurations=off)
        assert code_of(server.client("iot-data").publish, topic=f"$aws/events/thing/{name}/deleted", payload=b"{}")[
            1
        ] in (400, 403)


def test_new_attributes_and_a_new_type_are_obeyed_by_the_next_packet(server: Server, iot: Any, folder: Path) -> None:
    name = f"lamp-{uuid.uuid4().hex}"
    prefix = f"arn:aws:iot:us-east-1:{server.ready['account']}"
    room = "${iot:Connection.Thing.Attributes[room]}/${iot:Connection.Thing.ThingTypeName}"
    statements = [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"},
        {"Effect": "Allow", "Action": "iot:Publish", "Resource": f"{prefix}:topic/{room}"},
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    device = create_device(server, folder, document=document, thing=name)
    kind = f"type-{uuid.uuid4().hex}"
    iot.create_thing_type(thingTypeName=kind)
    iot.update_thing(thingName=name, thingTypeName=kind, attributePayload={"attributes": {"room": "hall"}})
    with Client(server, device, client_id=name, version=5) as lamp:
        lamp.connect()
        assert 0x80 > lamp.publish(f"hall/{kind}")
        iot.update_thing(thingName=name, attributePayload={"attributes": {"room": "attic"}, "merge": True})
        assert 0x80 > lamp.publish(f"attic/{kind}")
        assert 0x87 == lamp.publish(f"hall/{kind}")
        iot.update_thing(thingName=name, removeThingType=True)
        assert 0x87 == lamp.publish(f"attic/{kind}")
