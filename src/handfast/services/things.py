"""Things, and the certificates attached to them."""

from __future__ import annotations

from collections.abc import Mapping

from handfast.core.identity.arns import thing_arn
from handfast.core.identity.ids import CertificateId, Scope, ThingName
from handfast.core.identity.records import ThingPrincipalType, ThingRecord
from handfast.core.identity.things import ATTRIBUTES_MAX, ThingEdit, attributes_limit
from handfast.errors import (
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    StoreConflict,
    VersionConflictError,
)
from handfast.ports import Cause, Change, ChangeKind, Entropy, Page, PageRequest, Store
from handfast.services.billing_groups import not_found as billing_group_not_found
from handfast.services.certificates import being_transferred
from handfast.services.certificates import not_found as certificate_not_found
from handfast.services.commit import Committer
from handfast.services.paging import page_of
from handfast.services.thing_types import not_found as thing_type_not_found


class Things:
    """The use cases of things. Raises ServiceErrors."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer) -> None:
        self._store = store
        self._entropy = entropy
        self._commit = commit

    async def create(
        self,
        scope: Scope,
        cause: Cause,
        name: ThingName,
        *,
        attributes: Mapping[str, str],
        thing_type_name: str | None,
        billing_group_name: str | None,
    ) -> ThingRecord:
        """
        The thing. The same name with the same configuration is the same thing, with another it is taken.

        An attribute with an empty value is one that is not there, as in UpdateThing.
        """
        attributes = {key: value for key, value in attributes.items() if value != ""}
        limit = attributes_limit(thing_type_name)
        if len(attributes) > limit:
            raise _too_many_attributes(len(attributes), limit)
        record = ThingRecord(
            scope=scope,
            thing_name=name,
            thing_id=self._entropy.uuid(),
            thing_type_name=thing_type_name,
            attributes=attributes,
            billing_group_name=billing_group_name,
            creation_date=cause.at,
        )
        try:
            await self._commit(
                self._store.create_thing(record, cause), suspects=[Change(ChangeKind.THING, scope, name)]
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "exists":
                    pass
                case "type":
                    raise thing_type_not_found(str(thing_type_name)) from None
                case "deprecated":
                    raise _deprecated(str(thing_type_name)) from None
                case "billing_group":
                    raise billing_group_not_found(str(billing_group_name)) from None
                case _:
                    raise
        else:
            return record
        existing = await self._store.thing(scope, name)
        if existing is None:
            raise ServiceUnavailableError(f"Thing {name} was deleted meanwhile; try again")
        if _configuration(existing) != _configuration(record):
            raise ResourceAlreadyExistsError(
                f"Thing {name} already exists in account with different configuration",
                resourceId=existing.thing_id,
                resourceArn=thing_arn(scope, name),
            )
        return existing

    async def update(self, scope: Scope, cause: Cause, name: ThingName, edit: ThingEdit) -> None:
        """The thing is as the edit says, one version up; connections it belongs to are judged by it at once."""
        if edit.remove_thing_type and edit.thing_type_name is not None:
            raise InvalidRequestError("thingTypeName cannot be given together with removeThingType")
        try:
            await self._commit(
                self._store.update_thing(scope, name, edit, cause), suspects=[Change(ChangeKind.THING, scope, name)]
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "missing":
                    raise not_found(name) from None
                case "version":
                    raise _version_conflict(name, conflict, edit.expected_version) from None
                case "attributes":
                    raise _too_many_attributes(conflict.facts["count"], conflict.facts["limit"]) from None
                case "type":
                    raise thing_type_not_found(str(edit.thing_type_name)) from None
                case "deprecated":
                    raise _deprecated(str(edit.thing_type_name)) from None
                case _:
                    raise

    async def describe(self, scope: Scope, name: ThingName) -> ThingRecord:
        """The thing, or ResourceNotFoundError."""
        record = await self._store.thing(scope, name)
        if record is None:
            raise not_found(name)
        return record

    async def list_page(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        attribute_name: str | None,
        attribute_value: str | None,
        prefix: bool,
        thing_type_name: str | None,
    ) -> Page[ThingRecord]:
        """One page by name, of the things that match every filter given."""
        if attribute_value is not None and attribute_name is None:
            raise InvalidRequestError("attributeValue needs attributeName")
        if prefix and attribute_value is None:
            raise InvalidRequestError("usePrefixAttributeValue needs attributeValue")
        return await page_of(
            self._store.list_things(
                scope,
                page,
                attribute_name=attribute_name,
                attribute_value=attribute_value,
                prefix=prefix,
                thing_type_name=thing_type_name,
            )
        )

    async def delete(self, scope: Scope, cause: Cause, name: ThingName, *, expected_version: int | None) -> None:
        """There is no such thing: deleting one that does not exist is success."""
        try:
            await self._commit(
                self._store.delete_thing(scope, name, expected_version=expected_version, cause=cause),
                suspects=[Change(ChangeKind.THING, scope, name)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "missing":
                    return
                case "version":
                    raise _version_conflict(name, conflict, expected_version) from None
                case "principals":
                    raise InvalidRequestError(
                        f"Cannot delete. Thing {name} is still attached to one or more principals"
                    ) from None
                case _:
                    raise

    async def attach_principal(
        self,
        scope: Scope,
        cause: Cause,
        name: ThingName,
        certificate_id: CertificateId,
        principal_type: ThingPrincipalType,
    ) -> None:
        """The certificate is attached; attaching the same pair again is success."""
        try:
            await self._commit(
                self._store.attach_thing(scope, name, certificate_id, principal_type, cause),
                suspects=[Change(ChangeKind.PRINCIPAL_THINGS, scope, certificate_id)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "thing":
                    raise not_found(name) from None
                case "certificate":
                    raise certificate_not_found(certificate_id) from None
                case "status":
                    raise being_transferred(certificate_id) from None
                case "exclusive":
                    raise InvalidRequestError(
                        f"{conflict}; an exclusive attachment is the only one that its certificate may have"
                    ) from None
                case _:
                    raise

    async def detach_principal(
        self, scope: Scope, cause: Cause, name: ThingName, certificate_id: CertificateId
    ) -> None:
        """The certificate is not attached, whether or not it was."""
        try:
            await self._commit(
                self._store.detach_thing(scope, name, certificate_id, cause),
                suspects=[Change(ChangeKind.PRINCIPAL_THINGS, scope, certificate_id)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "thing":
                    raise not_found(name) from None
                case "certificate":
                    raise certificate_not_found(certificate_id) from None
                case _:
                    raise

    async def list_principals(
        self, scope: Scope, name: ThingName, page: PageRequest, *, principal_type: ThingPrincipalType | None = None
    ) -> Page[tuple[CertificateId, ThingPrincipalType]]:
        """One page of the certificates attached to the thing; `principal_type`: only those attached so."""
        try:
            return await page_of(self._store.thing_principals(scope, name, page, principal_type=principal_type))
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise ResourceNotFoundError(
                f"Failed to list principals for thing {name} because the thing does not exist in your account"
            ) from None

    async def list_of_principal(
        self,
        scope: Scope,
        certificate_id: CertificateId,
        page: PageRequest,
        *,
        principal_type: ThingPrincipalType | None = None,
    ) -> Page[tuple[ThingName, ThingPrincipalType]]:
        """One page of the things that the certificate is attached to; `principal_type`: only those attached so."""
        try:
            return await page_of(
                self._store.principal_things(scope, certificate_id, page, principal_type=principal_type)
            )
        except StoreConflict as conflict:
            if conflict.kind != "missing":
                raise
            raise certificate_not_found(certificate_id) from None


def not_found(name: ThingName) -> ResourceNotFoundError:
    """The answer for an unknown thing, another account's included."""
    return ResourceNotFoundError(f"Thing {name} does not exist in this account and region")


def _version_conflict(name: ThingName, conflict: StoreConflict, expected: int | None) -> VersionConflictError:
    return VersionConflictError(f"The version of thing {name} is {conflict.facts.get('version')}, not {expected}")


def _too_many_attributes(count: int, limit: int) -> InvalidRequestError:
    which = "without a thing type" if limit == ATTRIBUTES_MAX else "with a thing type"
    return InvalidRequestError(f"A thing {which} has at most {limit} attributes, not {count}")


def _deprecated(type_name: str) -> InvalidRequestError:
    return InvalidRequestError(f"Thing type {type_name} is deprecated: no thing can be associated with it")


def _configuration(thing: ThingRecord) -> tuple[object, ...]:
    return (thing.thing_type_name, dict(thing.attributes), thing.billing_group_name)
