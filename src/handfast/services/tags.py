"""The tags of resources."""

from __future__ import annotations

from collections.abc import Collection

from handfast.core.identity.ids import Scope
from handfast.core.identity.tags import TAGS_MAX, TaggedResource
from handfast.errors import LimitExceededError, ResourceNotFoundError, StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Store, Tags
from handfast.services.commit import Committer


class ResourceTags:
    """The use cases of tags. Raises ServiceErrors."""

    def __init__(self, store: Store, commit: Committer) -> None:
        self._store = store
        self._commit = commit

    async def tag(self, scope: Scope, cause: Cause, resource: TaggedResource, tags: Tags) -> None:
        """The resource has these tags beside those it had; a key that it had has the new value."""
        try:
            await self._commit(
                self._store.tag_resource(scope, resource, tags, limit=TAGS_MAX, cause=cause),
                suspects=[_change(scope, resource)],
            )
        except StoreConflict as conflict:
            if conflict.kind == "limit":
                raise LimitExceededError(f"The resource would have more than {TAGS_MAX} tags") from None
            raise _missing(conflict) from None

    async def untag(self, scope: Scope, cause: Cause, resource: TaggedResource, keys: Collection[str]) -> None:
        """The resource has no tags of these keys, whether or not it had."""
        try:
            await self._commit(
                self._store.untag_resource(scope, resource, keys, cause), suspects=[_change(scope, resource)]
            )
        except StoreConflict as conflict:
            raise _missing(conflict) from None

    async def of(self, scope: Scope, resource: TaggedResource) -> Tags:
        """The resource's tags by key, in the keys' order."""
        try:
            return await self._store.tags(scope, resource)
        except StoreConflict as conflict:
            raise _missing(conflict) from None


def _change(scope: Scope, resource: TaggedResource) -> Change:
    return Change(ChangeKind.TAGS, scope, f"{resource.kind}/{resource.name}")


def _missing(conflict: StoreConflict) -> Exception:
    if conflict.kind != "missing":
        return conflict
    return ResourceNotFoundError("The resource does not exist in this account and region")
