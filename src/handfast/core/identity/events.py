"""
Registry events: which can be enabled, and the messages about a committed change.

Topics and members are those of the AWS IoT developer guide, "Registry events".
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from handfast.core.identity.arns import thing_arn, thing_group_arn
from handfast.core.identity.ids import Scope, ThingGroupName, ThingName

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)

Facts = Mapping[str, Any]


class EventType(StrEnum):
    """What can be enabled; jobs, policies and certificates can be too, and have no registry events."""

    THING = "THING"
    THING_GROUP = "THING_GROUP"
    THING_TYPE = "THING_TYPE"
    THING_GROUP_MEMBERSHIP = "THING_GROUP_MEMBERSHIP"
    THING_GROUP_HIERARCHY = "THING_GROUP_HIERARCHY"
    THING_TYPE_ASSOCIATION = "THING_TYPE_ASSOCIATION"
    JOB = "JOB"
    JOB_EXECUTION = "JOB_EXECUTION"
    POLICY = "POLICY"
    CERTIFICATE = "CERTIFICATE"
    CA_CERTIFICATE = "CA_CERTIFICATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventConfigurationsRecord:
    """The event types that a scope has enabled; it changed them first and last at these instants."""

    scope: Scope
    enabled: frozenset[EventType]
    creation_date: dt.datetime
    last_modified_date: dt.datetime


class CommittedChange(NamedTuple):
    """A change of the registry as the audit trail tells it: what it was before and after, None where it was not."""

    sequence: int
    at: dt.datetime
    scope: Scope
    kind: str
    subject: str
    before: Facts | None
    after: Facts | None


class RegistryEvent(NamedTuple):
    """A message about a change, but for its id."""

    type: EventType
    topic: str
    payload: dict[str, Any]


def registry_events(change: CommittedChange) -> Iterator[RegistryEvent]:
    """The messages that tell the change, in order; none for a change that has no event."""
    build = _BUILDERS.get(change.kind)
    if build is not None:
        yield from build(change)


def _thing(change: CommittedChange) -> Iterator[RegistryEvent]:
    state = change.after or change.before or {}
    before, after = change.before or {}, change.after or {}
    if change.before is None or change.after is None or before.get("version") != after.get("version"):
        # what does not raise the version (a billing group) is no update of the thing
        operation = _operation(change)
        yield RegistryEvent(
            EventType.THING,
            f"$aws/events/thing/{change.subject}/{operation.lower()}",
            _head(change, "THING_EVENT", operation)
            | {
                "thingId": state.get("thingId"),
                "thingName": change.subject,
                "versionNumber": state.get("version"),
                "thingTypeName": state.get("thingTypeName"),
                "attributes": state.get("attributes"),
            },
        )
    old, new = before.get("thingTypeName"), after.get("thingTypeName")
    if old != new:
        for type_name, operation in ((old, "REMOVED"), (new, "ADDED")):
            if type_name is not None:
                yield _association(change, state, type_name, operation)


def _association(change: CommittedChange, thing: Facts, type_name: str, operation: str) -> RegistryEvent:
    payload = _head(change, "THING_TYPE_ASSOCIATION_EVENT", operation)
    payload |= {"thingId": thing.get("thingId"), "thingName": change.subject, "thingTypeName": type_name}
    topic = f"$aws/events/thingTypeAssociation/thing/{change.subject}/thingType/{type_name}/{operation.lower()}"
    return RegistryEvent(EventType.THING_TYPE_ASSOCIATION, topic, payload)


def _thing_type(change: CommittedChange) -> Iterator[RegistryEvent]:
    state = change.after or change.before or {}
    operation = _operation(change)
    yield RegistryEvent(
        EventType.THING_TYPE,
        f"$aws/events/thingType/{change.subject}/{operation.lower()}",
        _head(change, "THING_TYPE_EVENT", operation)
        | {
            "thingTypeId": state.get("thingTypeId"),
            "thingTypeName": change.subject,
            "isDeprecated": state.get("deprecationDate") is not None,
            "deprecationDate": state.get("deprecationDate"),
            "searchableAttributes": state.get("searchableAttributes"),
            "propagatingAttributes": state.get("propagatingAttributes"),
            "description": state.get("description"),
        },
    )


def _thing_group(change: CommittedChange) -> Iterator[RegistryEvent]:
    state = change.after or change.before or {}
    name, operation = ThingGroupName(change.subject), _operation(change)
    above = state.get("rootToParentThingGroups", [])
    parent = above[-1] if above else {"groupName": None, "groupId": None}
    payload = _head(change, "THING_GROUP_EVENT", operation) | {
        "thingGroupId": state.get("thingGroupId"),
        "thingGroupName": name,
        "versionNumber": state.get("version"),
        "parentGroupName": parent["groupName"],
        "parentGroupId": parent["groupId"],
        "description": state.get("thingGroupDescription"),
        "rootToParentThingGroups": [
            {"groupArn": thing_group_arn(change.scope, ThingGroupName(each["groupName"])), "groupId": each["groupId"]}
            for each in above
        ],
        "attributes": state.get("attributes"),
        "dynamicGroupMappingId": None,
    }
    yield RegistryEvent(EventType.THING_GROUP, f"$aws/events/thingGroup/{name}/{operation.lower()}", payload)
    if above and operation != "UPDATED":  # a group never changes its parent
        done = "ADDED" if operation == "CREATED" else "REMOVED"
        payload = _head(change, "THING_GROUP_HIERARCHY_EVENT", done) | {
            "thingGroupId": parent["groupId"],
            "thingGroupName": parent["groupName"],
            "childGroupId": state.get("thingGroupId"),
            "childGroupName": name,
        }
        topic = (
            f"$aws/events/thingGroupHierarchy/thingGroup/{parent['groupName']}/childThingGroup/{name}/{done.lower()}"
        )
        yield RegistryEvent(EventType.THING_GROUP_HIERARCHY, topic, payload)


def _thing_groups(change: CommittedChange) -> Iterator[RegistryEvent]:
    state = change.after or change.before or {}
    group, thing = ThingGroupName(state["group"]), ThingName(change.subject)
    done = "REMOVED" if change.after is None else "ADDED"
    payload = _head(change, "THING_GROUP_MEMBERSHIP_EVENT", done) | {
        "groupArn": thing_group_arn(change.scope, group),
        "groupId": state.get("groupId"),
        "thingArn": thing_arn(change.scope, thing),
        "thingId": state.get("thingId"),
        "membershipId": f"{state.get('groupId')}/{state.get('thingId')}",
    }
    topic = f"$aws/events/thingGroupMembership/thingGroup/{group}/thing/{thing}/{done.lower()}"
    yield RegistryEvent(EventType.THING_GROUP_MEMBERSHIP, topic, payload)


_BUILDERS = {
    "thing": _thing,
    "thing_type": _thing_type,
    "thing_group": _thing_group,
    "thing_groups": _thing_groups,
}
EVENT_KINDS = frozenset(_BUILDERS)
"""The kinds of change that have events."""


def _operation(change: CommittedChange) -> str:
    if change.before is None:
        return "CREATED"
    return "DELETED" if change.after is None else "UPDATED"


def _head(change: CommittedChange, event_type: str, operation: str) -> dict[str, Any]:
    return {
        "eventType": event_type,
        "timestamp": (change.at - _EPOCH) // _MILLISECOND,
        "operation": operation,
        "accountId": change.scope.account,
    }
