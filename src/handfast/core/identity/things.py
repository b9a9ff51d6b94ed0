"""What a thing may look like, and what an update makes of it; thing types and billing groups."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from handfast.core.identity.ids import BillingGroupName, Scope, ThingTypeName
from handfast.core.identity.records import ThingRecord
from handfast.errors import StoreConflict

ATTRIBUTES_MAX = 3
"""Of a thing without a thing type."""
ATTRIBUTES_MAX_WITH_TYPE = 50
GROUPS_PER_THING = 10


class PropagatingAttribute(NamedTuple):
    """What a broker adds to a device's messages as the user property `user_property_key`; one source or none is set."""

    user_property_key: str | None
    thing_attribute: str | None
    connection_attribute: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingTypeProperties:
    """What can be said of a thing type. None: not said, which is not the same as empty."""

    description: str | None = None
    searchable_attributes: tuple[str, ...] | None = None
    propagating_attributes: tuple[PropagatingAttribute, ...] | None = None

    def updated(self, new: ThingTypeProperties) -> ThingTypeProperties:
        """`new`, with what it does not say taken from these."""
        return ThingTypeProperties(
            description=self.description if new.description is None else new.description,
            searchable_attributes=(
                self.searchable_attributes if new.searchable_attributes is None else new.searchable_attributes
            ),
            propagating_attributes=(
                self.propagating_attributes if new.propagating_attributes is None else new.propagating_attributes
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingTypeRecord:
    """A thing type; deprecated since `deprecation_date`, None: it is not."""

    scope: Scope
    thing_type_name: ThingTypeName
    thing_type_id: str
    properties: ThingTypeProperties = field(default_factory=ThingTypeProperties)
    creation_date: dt.datetime
    deprecation_date: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingGroupRecord:
    """A billing group. `version` starts at 1."""

    scope: Scope
    billing_group_name: BillingGroupName
    billing_group_id: str
    description: str | None = None
    version: int = 1
    creation_date: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingEdit:
    """
    An update of a thing: what is None stays as it is.

    `attributes` replaces them all, or with `merge` those of the same names; an
    empty value is an attribute that is not there.
    """

    attributes: Mapping[str, str] | None = None
    merge: bool = False
    thing_type_name: ThingTypeName | None = None
    remove_thing_type: bool = False
    expected_version: int | None = None


def attributes_limit(thing_type_name: str | None) -> int:
    """How many attributes a thing of this type (None: of none) may have."""
    return ATTRIBUTES_MAX if thing_type_name is None else ATTRIBUTES_MAX_WITH_TYPE


def edited(thing: ThingRecord, edit: ThingEdit) -> ThingRecord:
    """
    The thing as the update leaves it, one version up.

    Raises:
        StoreConflict: "version" (facts: version): not the one expected;
            "attributes" (facts: count, limit): more than its type allows.
    """
    if edit.expected_version is not None and edit.expected_version != thing.version:
        raise StoreConflict("version", f"Thing {thing.thing_name} is at version {thing.version}", version=thing.version)
    attributes = dict(thing.attributes)
    if edit.attributes is not None:
        given = attributes | dict(edit.attributes) if edit.merge else edit.attributes
        attributes = {name: value for name, value in given.items() if value != ""}
    type_name = None if edit.remove_thing_type else edit.thing_type_name or thing.thing_type_name
    limit = attributes_limit(type_name)
    if len(attributes) > limit:
        raise StoreConflict("attributes", f"{len(attributes)} attributes", count=len(attributes), limit=limit)
    return replace(thing, attributes=attributes, thing_type_name=type_name, version=thing.version + 1)
