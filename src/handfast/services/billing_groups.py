"""Billing groups, and which thing is in which."""

from __future__ import annotations

from handfast.core.identity.arns import billing_group_arn
from handfast.core.identity.ids import BillingGroupName, Scope, ThingName
from handfast.core.identity.things import BillingGroupRecord
from handfast.errors import (
    InvalidRequestError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    StoreConflict,
    VersionConflictError,
)
from handfast.ports import NO_TAGS, Cause, Change, ChangeKind, Entropy, Page, PageRequest, Store, Tags
from handfast.services.commit import Committer
from handfast.services.paging import page_of


class BillingGroups:
    """The use cases of billing groups. Raises ServiceErrors."""

    def __init__(self, store: Store, entropy: Entropy, commit: Committer) -> None:
        self._store = store
        self._entropy = entropy
        self._commit = commit

    async def create(
        self,
        scope: Scope,
        cause: Cause,
        name: BillingGroupName,
        description: str | None,
        tags: Tags = NO_TAGS,
    ) -> BillingGroupRecord:
        """The group. The same name with the same description is the same group, whose tags stay as they are."""
        record = BillingGroupRecord(
            scope=scope,
            billing_group_name=name,
            billing_group_id=self._entropy.uuid(),
            description=description,
            creation_date=cause.at,
        )
        try:
            await self._commit(
                self._store.create_billing_group(record, cause, tags=tags), suspects=[_change(scope, name)]
            )
        except StoreConflict as conflict:
            if conflict.kind != "exists":
                raise
        else:
            return record
        existing = await self._store.billing_group(scope, name)
        if existing is None:
            raise ServiceUnavailableError(f"Billing group {name} was deleted meanwhile; try again")
        if existing.description != description:
            raise ResourceAlreadyExistsError(
                f"Billing group {name} already exists in account with different properties",
                resourceId=existing.billing_group_id,
                resourceArn=billing_group_arn(scope, name),
            )
        return existing

    async def describe(self, scope: Scope, name: BillingGroupName) -> BillingGroupRecord:
        """The group, or ResourceNotFoundError."""
        record = await self._store.billing_group(scope, name)
        if record is None:
            raise not_found(name)
        return record

    async def update(
        self,
        scope: Scope,
        cause: Cause,
        name: BillingGroupName,
        *,
        description: str | None,
        expected_version: int | None,
    ) -> int:
        """The group has this description, or none; its version, which is one up."""
        for _ in range(2):
            current = await self.describe(scope, name)
            try:
                # Guarded by the version that was just read: the one returned is the one that this call made.
                await self._commit(
                    self._store.update_billing_group(
                        scope,
                        name,
                        description=description,
                        expected_version=current.version if expected_version is None else expected_version,
                        cause=cause,
                    ),
                    suspects=[_change(scope, name)],
                )
            except StoreConflict as conflict:
                if conflict.kind == "version" and expected_version is None:
                    continue
                raise _refusal(conflict, name, expected_version) from None
            return (current.version if expected_version is None else expected_version) + 1
        raise VersionConflictError(f"Billing group {name} is being changed by others; try again")

    async def delete(self, scope: Scope, cause: Cause, name: BillingGroupName, *, expected_version: int | None) -> None:
        """There is no such group: deleting one that does not exist is success, one that has things is refused."""
        try:
            await self._commit(
                self._store.delete_billing_group(scope, name, expected_version=expected_version, cause=cause),
                suspects=[_change(scope, name)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "missing":
                    return
                case "things":
                    raise InvalidRequestError(
                        f"Cannot delete billing group : {name} while there are things in it; remove them first"
                    ) from None
                case _:
                    raise _refusal(conflict, name, expected_version) from None

    async def list_page(self, scope: Scope, page: PageRequest, *, prefix: str | None) -> Page[BillingGroupName]:
        """One page by name, of those that begin with `prefix`."""
        return await page_of(self._store.list_billing_groups(scope, page, prefix=prefix))

    async def list_things(self, scope: Scope, name: BillingGroupName, page: PageRequest) -> Page[ThingName]:
        """One page of the things in the group, by name."""
        try:
            return await page_of(self._store.billing_group_things(scope, name, page))
        except StoreConflict as conflict:
            raise _refusal(conflict, name, None) from None

    async def add_thing(self, scope: Scope, cause: Cause, name: BillingGroupName, thing: ThingName) -> None:
        """The thing is in the group, whether or not it was. One that is in another is refused."""
        await self._move(scope, cause, thing, name, old=None, new=name)

    async def remove_thing(self, scope: Scope, cause: Cause, name: BillingGroupName, thing: ThingName) -> None:
        """The thing is not in the group, whether or not it was."""
        await self._move(scope, cause, thing, name, old=name, new=None)

    async def _move(
        self,
        scope: Scope,
        cause: Cause,
        thing: ThingName,
        name: BillingGroupName,
        *,
        old: BillingGroupName | None,
        new: BillingGroupName | None,
    ) -> None:
        try:
            await self._commit(
                self._store.set_billing_group(scope, thing, old=old, new=new, cause=cause),
                suspects=[Change(ChangeKind.THING, scope, thing)],
            )
        except StoreConflict as conflict:
            match conflict.kind:
                case "thing":
                    raise ResourceNotFoundError(f"Thing {thing} does not exist in this account and region") from None
                case "billing_group":
                    raise not_found(name) from None
                case "member":
                    raise InvalidRequestError(
                        f"Thing {thing} is in billing group {conflict.facts['group']}; a thing is in one at most"
                    ) from None
                case _:
                    raise


def not_found(name: str) -> ResourceNotFoundError:
    """The answer for an unknown billing group, another account's included."""
    return ResourceNotFoundError(f"Billing group {name} does not exist in this account and region")


def _change(scope: Scope, name: BillingGroupName) -> Change:
    return Change(ChangeKind.BILLING_GROUP, scope, name)


def _refusal(conflict: StoreConflict, name: BillingGroupName, expected: int | None) -> Exception:
    match conflict.kind:
        case "missing":
            return not_found(name)
        case "version":
            return VersionConflictError(
                f"The version of billing group {name} is {conflict.facts.get('version')}, not {expected}"
            )
        case _:
            return conflict
