"""ListSightings (/handfast/v1): who still comes to the legacy endpoint, who could use a post-quantum key exchange."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from typing import Protocol

from handfast.control.context import Handler, Result, present, scope_of
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import Scope
from handfast.core.identity.sightings import Sighting, Trait
from handfast.errors import InvalidRequestError

DEFAULT_LIMIT = 250
_TOKEN = re.compile(r"[0-9a-f]{64}")


class Sightings(Protocol):
    """The record of sightings (services.sightings)."""

    def page(self, scope: Scope, trait: Trait, limit: int, after: str = "") -> Awaitable[Sequence[Sighting]]: ...


class SightingHandlers:
    """Handlers by operation name in `handlers`. Each sees the caller's account in the region of the signature."""

    def __init__(self, sightings: Sightings) -> None:
        self._sightings = sightings
        self.handlers: dict[str, Handler] = {"ListSightings": self.list_sightings}

    async def list_sightings(
        self, ctx: Caller, *, trait: str, max_results: int | None = None, next_token: str | None = None
    ) -> Result:
        scope = scope_of(ctx)
        if trait not in list(Trait):
            raise InvalidRequestError(f"trait must be one of {', '.join(Trait)}")
        if next_token and not _TOKEN.fullmatch(next_token):
            raise InvalidRequestError("The token does not belong to this listing; start without one")
        limit = max_results or DEFAULT_LIMIT
        found = await self._sightings.page(scope, Trait(trait), limit + 1, next_token or "")
        listed = found[:limit]
        return present(
            sightings=[
                present(
                    certificate_id=each.certificate_id,
                    legacy_endpoint_last_seen=each.legacy_at,
                    hybrid_offered_last_seen=each.hybrid_offered_at,
                    hybrid_negotiated_last_seen=each.hybrid_agreed_at,
                )
                for each in listed
            ],
            next_token=listed[-1].certificate_id if len(found) > limit else None,
        )
