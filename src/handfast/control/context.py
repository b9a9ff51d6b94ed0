"""What every handler does first: who calls, in which account and region, and what to write into the audit."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeAlias

from handfast.core.identity.arns import named_in_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import Scope
from handfast.errors import AccessDeniedError, InvalidRequestError, ServiceUnavailableError, StoreUnavailable
from handfast.ports import Cause, PageRequest
from handfast.services.endpoints import check_region

Result: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[..., Awaitable[Result]]
"""`async def operation(ctx: Caller, *, members…) -> members`, snake_case both ways."""
P = ParamSpec("P")

DEFAULT_PAGE_SIZE = 25


def scope_of(ctx: Caller) -> Scope:
    """
    The caller's account in the region of its signature.

    Raises:
        AccessDeniedError: The operator's key, which owns no resources.
        InvalidRequestError: No region's name.
    """
    if ctx.account_id is None:
        raise AccessDeniedError(
            "The operator's key owns no resources: sign with an account's key (profile handfast in the credentials "
            "file, or one that `handfast account keys add` makes)"
        )
    return Scope(ctx.account_id, check_region(ctx.region))


def require_operator(ctx: Caller) -> None:
    """AccessDeniedError for an account's key."""
    if not ctx.is_operator:
        raise AccessDeniedError(
            "This operation needs the operator's key: profile handfast-operator in the credentials file"
        )


def cause_of(ctx: Caller, operation: str) -> Cause:
    """Who did it, for the audit row."""
    owner = ctx.account_id if ctx.account_id is not None else "operator"
    return Cause(
        actor=f"arn:aws:iam::{owner}:access-key/{ctx.access_key_id}",
        address=ctx.address,
        operation=operation,
        request_id=ctx.request_id,
        at=ctx.at,
    )


def page_request(limit: int | None, marker: str | None, *, ascending: bool | None = None) -> PageRequest:
    """The page that the members ask for; an empty marker is none."""
    return PageRequest(limit=limit or DEFAULT_PAGE_SIZE, marker=marker or None, ascending=bool(ascending))


def named(scope: Scope, name: str | None, arn: str | None, kind: str, member: str) -> str:
    """
    The name of the resource that two members give, by name or by ARN; both must agree.

    Raises:
        InvalidRequestError: Neither is given, they differ, or the ARN is of another kind.
        ResourceNotFoundError: The ARN is of another account or region.
    """
    if arn is None:
        if name is None:
            raise InvalidRequestError(f"{member}Name or {member}Arn is required")
        return name
    found = named_in_arn(scope, arn, kind, f"{member}Arn")
    if name not in (None, found):
        raise InvalidRequestError(f"{member}Name and {member}Arn name two different resources")
    return found


def present(**members: Any) -> Result:
    """The members that have a value: what is absent is left out, never sent as null."""
    return {name: value for name, value in members.items() if value is not None}


def answering(handler: Callable[Concatenate[Caller, P], Awaitable[Result]]) -> Handler:
    """The handler, with the store's silence told in the model's words."""

    @functools.wraps(handler)
    async def answered(ctx: Caller, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        try:
            return await handler(ctx, *args, **kwargs)
        except StoreUnavailable as error:
            raise ServiceUnavailableError("The registry did not answer; try again") from error

    return answered
