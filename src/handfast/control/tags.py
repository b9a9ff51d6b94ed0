"""The operations on tags, and the tags that a resource is created with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.context import Handler, Result, cause_of, scope_of
from handfast.core.identity.caller import Caller
from handfast.core.identity.tags import TAGS_MAX, check_tags, tagged_resource
from handfast.errors import InvalidRequestError
from handfast.services.tags import ResourceTags


class TagHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, tags: ResourceTags) -> None:
        self._tags = tags
        self.handlers: dict[str, Handler] = {
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTagsForResource": self.list_tags_for_resource,
        }

    async def tag_resource(self, ctx: Caller, *, resource_arn: str, tags: Sequence[Mapping[str, Any]]) -> Result:
        scope = scope_of(ctx)
        resource = tagged_resource(scope, resource_arn)
        await self._tags.tag(scope, cause_of(ctx, "TagResource"), resource, check_tags(_pairs(tags)))
        return {}

    async def untag_resource(self, ctx: Caller, *, resource_arn: str, tag_keys: Sequence[str]) -> Result:
        scope = scope_of(ctx)
        resource = tagged_resource(scope, resource_arn)
        await self._tags.untag(scope, cause_of(ctx, "UntagResource"), resource, frozenset(tag_keys))
        return {}

    async def list_tags_for_resource(self, ctx: Caller, *, resource_arn: str, next_token: str | None = None) -> Result:
        scope = scope_of(ctx)
        if next_token:
            raise InvalidRequestError("The marker or token does not belong to this listing; start without one")
        tags = await self._tags.of(scope, tagged_resource(scope, resource_arn))
        return {"tags": [{"key": key, "value": value} for key, value in tags.items()]}


def given_tags(tags: Sequence[Mapping[str, Any]] | None) -> Mapping[str, str]:
    """
    The tags of a resource that is being created.

    Raises:
        InvalidRequestError: Too many, or one that cannot be.
    """
    if tags is not None and len(tags) > TAGS_MAX:
        raise InvalidRequestError(f"A resource has at most {TAGS_MAX} tags, not {len(tags)}")
    return check_tags(_pairs(tags or ()))


def _pairs(tags: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(tag["key"], tag.get("value") or "") for tag in tags]
