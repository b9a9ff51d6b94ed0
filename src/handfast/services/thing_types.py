"""Thing types."""

from __future__ import annotations

import datetime as dt

from handfast.core.identity.arns import thing_type_arn
from handfast.core.identity.ids import Scope, ThingTypeName
from handfast.core.identity.things import ThingTypeProperties, ThingTypeRecord
from handfast.errors import (
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    StoreConflict,
)
from handfast.ports import NO_TAGS, Cause, Change, ChangeKind, Entropy, Page, PageRequest, Store, Tags
from handfast.services.commit import Committer
from handfast.services.paging import page_of

SEARCHABLE_MAX = 3
PROPAGATING_MAX = 20
DELETION_WAIT = dt.timedelta(minutes=5)
"""Between the deprecation of a thing type and its deletion."""


class ThingTypes:
    """The use cases of thing types. Raises ServiceErrors."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer) -> None:
        self._store = store
        self._entropy = entropy
        self._commit = commit

    async def create(
        self,
        scope: Scope,
        cause: Cause,
        name: ThingTypeName,
        properties: ThingTypeProperties,
        tags: Tags = NO_TAGS,
    ) -> ThingTypeRecord:
        """The thing type. The same name with the same properties is the same type, whose tags stay as they are."""
        _check(properties)
        record = ThingTypeRecord(
            scope=scope,
            thing_type_name=name,
            thing_type_id=self._entropy.uuid(),
            properties=properties,
            creation_date=cause.at,
        )
        try:
            await self._commit(self._store.create_thing_type(record, cause, tags=tags), suspects=[_change(scope, name)])
        except StoreConflict as conflict:
            if conflict.kind != "exists":
                raise
        else:
            return record
        existing = await self._store.thing_type(scope, name)
        if existing is None:
            raise ServiceUnavailableError(f"Thing type {name} was deleted meanwhile; try again")
        if existing.properties != properties:
            raise ResourceAlreadyExistsError(
                f"Thing type {name} already exists in account with different properties",
                resourceId=existing.thing_type_id,
                resourceArn=thing_type_arn(scope, name),
            )
        return existing

    async def describe(self, scope: Scope, name: ThingTypeName) -> ThingTypeRecord:
        """The thing type, or ResourceNotFoundError."""
        record = await self._store.thing_type(scope, name)
        if record is None:
            raise not_found(name)
        return record

    async def list_page(self, scope: Scope, page: PageRequest, *, name: ThingTypeName | None) -> Page[ThingTypeRecord]:
        """One page by name; with `name` that one alone, or nothing."""
        return await page_of(self._store.list_thing_types(scope, page, name=name))

    async def update(self, scope: Scope, cause: Cause, name: ThingTypeName, properties: ThingTypeProperties) -> None:
        """The type has these properties; what they do not say stays."""
        _check(properties)
        try:
            await self._commit(
                self._store.update_thing_type(scope, name, properties, cause), suspects=[_change(scope, name)]
            )
        except StoreConflict as conflict:
            raise _missing(conflict, name) from None

    async def deprecate(self, scope: Scope, cause: Cause, name: ThingTypeName, *, undo: bool) -> None:
        """The type takes no new things, or with `undo` takes them again; those that it has keep it."""
        try:
            await self._commit(
                self._store.deprecate_thing_type(scope, name, undo=undo, cause=cause), suspects=[_change(scope, name)]
            )
        except StoreConflict as conflict:
            raise _missing(conflict, name) from None

    async def delete(self, scope: Scope, cause: Cause, name: ThingTypeName) -> None:
        """The type is gone; it was deprecated for five minutes and no thing had it."""
        try:
            await self._commit(
                self._store.delete_thing_type(scope, name, deprecated_until=cause.at - DELETION_WAIT, cause=cause),
                suspects=[_change(scope, name)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "deprecated":
                    raise InvalidRequestError(
                        f"Cannot delete thing type : {name}. Deprecate it, wait for 5 minutes, then delete it"
                    ) from None
                case "things":
                    raise InvalidRequestError(
                        f"Cannot delete thing type : {name} while things are associated with it"
                    ) from None
                case "waiting":
                    raise InvalidRequestError(
                        f"Cannot delete thing type : {name}. Please wait for 5 minutes after deprecation and then "
                        "retry."
                    ) from None
                case _:
                    raise _missing(conflict, name) from None


def not_found(name: str) -> ResourceNotFoundError:
    """The answer for an unknown thing type, another account's included."""
    return ResourceNotFoundError(f"Thing type {name} does not exist in this account and region")


def _missing(conflict: StoreConflict, name: ThingTypeName) -> Exception:
    return not_found(name) if conflict.kind == "missing" else conflict


def _change(scope: Scope, name: ThingTypeName) -> Change:
    return Change(ChangeKind.THING_TYPE, scope, name)


def _check(properties: ThingTypeProperties) -> None:
    searchable = properties.searchable_attributes or ()
    if len(searchable) > SEARCHABLE_MAX:
        raise InvalidRequestError(
            f"A thing type has at most {SEARCHABLE_MAX} searchableAttributes, not {len(searchable)}"
        )
    if len(set(searchable)) != len(searchable):
        raise InvalidRequestError("searchableAttributes holds a name twice; give each once")
    propagating = properties.propagating_attributes or ()
    if len(propagating) > PROPAGATING_MAX:
        raise InvalidRequestError(
            f"A thing type has at most {PROPAGATING_MAX} propagatingAttributes, not {len(propagating)}"
        )
    for attribute in propagating:
        if attribute.user_property_key is None:
            raise InvalidRequestError("A propagating attribute needs a userPropertyKey")
        if (attribute.thing_attribute is None) == (attribute.connection_attribute is None):
            raise InvalidRequestError(
                "A propagating attribute needs either a thingAttribute or a connectionAttribute, not both"
            )
    keys = [attribute.user_property_key for attribute in propagating]
    if len(set(keys)) != len(keys):
        raise InvalidRequestError("propagatingAttributes holds a userPropertyKey twice; give each once")
