"""Thing groups with unmodified clients: a live device obeys a change of its thing's groups with the next packet."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.device import Device, create_device
from tests.support.mqtt import Client, v5
from tests.support.server import Server

NOT_AUTHORIZED = 0x87


def document(*statements: tuple[str, list[str], str]) -> str:
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": effect, "Action": actions, "Resource": resource} for effect, actions, resource in statements
            ],
        }
    )


CONNECT = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["iot:Connect", "iot:Subscribe"], "Resource": "*"}],
}
USE = document(("Allow", ["iot:Publish", "iot:Receive"], "*"))
NOTHING = document(("Deny", ["iot:Publish"], "*"))


@dataclass
class World:
    """A device whose certificate grants no more than to connect and subscribe; its thing is in `hall` of `house`."""

    iot: Any
    name: str
    device: Device
    client: Client
    other: Client
    policy: str

    def arn(self, group: str) -> str:
        return str(self.iot.describe_thing_group(thingGroupName=f"{self.name}-{group}")["thingGroupArn"])

    def attach(self, group: str = "house") -> None:
        self.iot.attach_policy(policyName=self.policy, target=self.arn(group))

    def detach(self, group: str = "house") -> None:
        self.iot.detach_policy(policyName=self.policy, target=self.arn(group))

    @property
    def topic(self) -> str:
        return f"{self.name}/t"

    def expect(self, *, allowed: bool) -> None:
        """The very next packets say so: a publish of the device's own, and a delivery to its subscription."""
        assert (0 if allowed else NOT_AUTHORIZED) == self.client.publish(self.topic, "own")
        if allowed:
            assert b"own" == self.client.message().payload
        self.other.publish(self.topic, "others'")
        if allowed:
            assert b"others'" == self.client.message().payload
        else:
            # Whatever was delivered stands before this answer in the device's stream.
            self.client.subscribe(f"{self.name}/fence")
            assert self.client.messages.empty()


@pytest.fixture
def world(server: Server, iot: Any, folder: Path) -> Iterator[World]:
    name = f"lamp-{uuid.uuid4().hex[:10]}"
    device = create_device(server, folder, document=CONNECT, thing=name)
    policy = f"use-{uuid.uuid4().hex}"
    iot.create_policy(policyName=policy, policyDocument=USE)
    iot.create_thing_group(thingGroupName=f"{name}-house")
    iot.create_thing_group(thingGroupName=f"{name}-hall", parentGroupName=f"{name}-house")
    iot.create_thing_group(thingGroupName=f"{name}-site")
    iot.add_thing_to_thing_group(thingGroupName=f"{name}-hall", thingName=name)
    with v5(server, device, client_id=name) as client, v5(server, create_device(server, folder)) as other:
        assert 0 == client.connect().value
        assert 0 == other.connect().value
        made = World(iot, name, device, client, other, policy)
        assert [1] == client.subscribe(made.topic)
        yield made


def _joined(world: World) -> tuple[Callable[[], Any], Callable[[], Any]]:
    world.attach("site")
    members = {"thingGroupName": f"{world.name}-site", "thingName": world.name}
    return (
        lambda: world.iot.add_thing_to_thing_group(**members),
        lambda: world.iot.remove_thing_from_thing_group(**members),
    )


def _moved(world: World) -> tuple[Callable[[], Any], Callable[[], Any]]:
    world.attach("site")
    hall, site = f"{world.name}-hall", f"{world.name}-site"
    update = world.iot.update_thing_groups_for_thing
    return (
        lambda: update(thingName=world.name, thingGroupsToAdd=[site], thingGroupsToRemove=[hall]),
        lambda: update(thingName=world.name, thingGroupsToAdd=[hall], thingGroupsToRemove=[site]),
    )


def _deleted(world: World) -> tuple[Callable[[], Any], Callable[[], Any]]:
    return lambda: world.attach("hall"), lambda: world.iot.delete_thing_group(thingGroupName=f"{world.name}-hall")


def _re_defaulted(world: World) -> tuple[Callable[[], Any], Callable[[], Any]]:
    iot, policy = world.iot, world.policy
    iot.create_policy_version(policyName=policy, policyDocument=NOTHING, setAsDefault=True)
    world.attach()
    return (
        lambda: iot.set_default_policy_version(policyName=policy, policyVersionId="1"),
        lambda: iot.set_default_policy_version(policyName=policy, policyVersionId="2"),
    )


def _changed(world: World) -> tuple[Callable[[], Any], Callable[[], Any]]:
    world.iot.create_policy_version(policyName=world.policy, policyDocument=NOTHING, setAsDefault=True)
    world.attach()

    def change(document: str) -> None:
        world.iot.create_policy_version(policyName=world.policy, policyDocument=document, setAsDefault=True)

    return lambda: change(USE), lambda: change(NOTHING)


def _thing_attached(world: World) -> tuple[Callable[[], Any], Callable[[], Any]]:
    world.attach()
    members = {"thingName": world.name, "principal": world.device.arn}
    world.iot.detach_thing_principal(**members)
    return (
        lambda: world.iot.attach_thing_principal(**members),
        lambda: world.iot.detach_thing_principal(**members),
    )


def _thing_updated(world: World) -> tuple[Callable[[], Any], Callable[[], Any]]:
    prefix = world.device.arn.rpartition(":")[0]
    by_room = document(
        ("Allow", ["iot:Publish", "iot:Receive"], f"{prefix}:topic/${{iot:Connection.Thing.Attributes[own]}}/t")
    )
    world.iot.create_policy_version(policyName=world.policy, policyDocument=by_room, setAsDefault=True)
    world.attach()

    def update(value: str) -> None:
        world.iot.update_thing(thingName=world.name, attributePayload={"attributes": {"own": value}})

    return lambda: update(world.name), lambda: update("")


CHANGES = {
    "a policy attached to the thing's group": lambda world: (
        lambda: world.attach("hall"),
        lambda: world.detach("hall"),
    ),
    "a policy attached to an ancestor": lambda world: (world.attach, world.detach),
    "the thing joins and leaves a group": _joined,
    "the thing moves between groups": _moved,
    "the group is deleted": _deleted,
    "another default version": _re_defaulted,
    "a new version": _changed,
    "the thing attached and detached": _thing_attached,
    "the thing's attributes": _thing_updated,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_obeyed_by_the_next_packet_of_a_live_connection(
    world: World, change: Callable[[World], tuple[Callable[[], Any], Callable[[], Any]]]
) -> None:
    grant, revoke = change(world)
    world.expect(allowed=False)
    grant()
    world.expect(allowed=True)
    revoke()
    world.expect(allowed=False)
    assert world.client.disconnects.empty()


def test_test_authorization_and_effective_policies_agree_with_the_connection(world: World) -> None:
    iot, principal = world.iot, world.device.arn
    prefix = principal.rpartition(":")[0]
    ask = {"actionType": "PUBLISH", "resources": [f"{prefix}:topic/{world.topic}"]}

    def decision(client_id: str) -> str:
        found = iot.test_authorization(principal=principal, clientId=client_id, authInfos=[ask])["authResults"]
        return str(found[0]["authDecision"])

    def effective(**asked: Any) -> set[str]:
        return {each["policyName"] for each in iot.get_effective_policies(**asked)["effectivePolicies"]}

    own = effective(principal=principal)
    assert "IMPLICIT_DENY" == decision(world.name)
    world.attach()
    assert "ALLOWED" == decision(world.name)
    assert "IMPLICIT_DENY" == decision("another")
    world.expect(allowed=True)
    assert own == effective(principal=principal)
    assert {world.policy} == effective(thingName=world.name)
    assert {*own, world.policy} == effective(principal=principal, thingName=world.name)
    skipped = iot.test_authorization(
        principal=principal, clientId=world.name, authInfos=[ask], policyNamesToSkip=[world.policy]
    )
    assert "IMPLICIT_DENY" == skipped["authResults"][0]["authDecision"]
    added = iot.test_authorization(
        principal=principal, clientId="another", authInfos=[ask], policyNamesToAdd=[world.policy]
    )
    assert "ALLOWED" == added["authResults"][0]["authDecision"]


def test_a_hierarchy_as_boto3_sees_it(iot: Any) -> None:
    root, child, leaf = (f"g-{uuid.uuid4().hex}" for _ in range(3))
    made = iot.create_thing_group(
        thingGroupName=root,
        thingGroupProperties={"thingGroupDescription": "all", "attributePayload": {"attributes": {"a": "1"}}},
        tags=[{"Key": "of", "Value": "me"}],
    )
    iot.create_thing_group(thingGroupName=child, parentGroupName=root)
    iot.create_thing_group(thingGroupName=leaf, parentGroupName=child)
    assert [{"Key": "of", "Value": "me"}] == iot.list_tags_for_resource(resourceArn=made["thingGroupArn"])["tags"]
    found = iot.describe_thing_group(thingGroupName=leaf)
    assert child == found["thingGroupMetadata"]["parentGroupName"]
    assert [root, child] == [each["groupName"] for each in found["thingGroupMetadata"]["rootToParentThingGroups"]]
    assert made["thingGroupArn"] == found["thingGroupMetadata"]["rootToParentThingGroups"][0]["groupArn"]
    listed = iot.get_paginator("list_thing_groups").paginate(parentGroup=root, PaginationConfig={"PageSize": 1})
    assert sorted([child, leaf]) == [each["groupName"] for page in listed for each in page["thingGroups"]]
    with pytest.raises(ClientError, match=f"Cannot delete thing group : {root} when there are still child groups"):
        iot.delete_thing_group(thingGroupName=root)
    for name in (leaf, child, root, root):
        iot.delete_thing_group(thingGroupName=name)
