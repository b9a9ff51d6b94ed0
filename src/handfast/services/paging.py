"""A page of a listing, with the store's refusal of a marker in the model's words."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from handfast.errors import InvalidRequestError, StoreConflict
from handfast.ports import Page

T = TypeVar("T")


async def page_of(listing: Awaitable[Page[T]]) -> Page[T]:
    """The page; InvalidRequestError for a marker that this listing never gave."""
    try:
        return await listing
    except StoreConflict as conflict:
        if conflict.kind != "marker":
            raise
        raise InvalidRequestError("The marker or token does not belong to this listing; start without one") from None
