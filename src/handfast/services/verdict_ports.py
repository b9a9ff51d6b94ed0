"""What the verdict asks of other services, and tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from handfast.core.identity.ids import Scope
from handfast.core.identity.records import EndpointRecord
from handfast.core.identity.refusal import Reason
from handfast.seam import Awaiting, TLSFacts
from handfast.services.authorization import Decisions
from handfast.services.endpoints import EndpointService
from handfast.services.principal import Key, Principal


class Endpoints(Protocol):
    """The endpoints of all accounts, in memory."""

    def resolve_sni(self, name: str) -> Scope | None: ...
    def service_of(self, name: str) -> EndpointService | None: ...  # of an endpoint's name; None: no endpoint's
    def endpoint_name(self, scope: Scope) -> str: ...  # KeyError: the scope has none
    def all(self) -> Sequence[EndpointRecord]: ...


class ConnectionDecisions(Decisions, Protocol):
    """Told of decisions, and when a connection that remembered its own is gone (services.decisions)."""

    def connection_ended(self, key: Key, client_id: str) -> None: ...


class Domains(Protocol):
    """The domain configurations of all accounts, in memory (services.domain_directory)."""

    def refusal(self, name: str, facts: TLSFacts) -> Reason | None: ...


class Arrivals(Protocol):
    """Hears of certificates that are awaited (services.rotation_watch)."""

    def awaits(self, key: Key) -> bool: ...
    def arrived(self, key: Key, address: str) -> None: ...


class FirstConnections(Protocol):
    """What becomes of certificates that only a registered CA vouches for (services.just_in_time)."""

    async def awaited(
        self, scope: Scope, domain_name: str, facts: TLSFacts, principal: Principal | None
    ) -> Awaiting | tuple[Reason, ...]: ...
    async def why_not(self, scope: Scope, der: bytes) -> tuple[Reason, ...]: ...
    async def settle(self, facts: TLSFacts, awaiting: Awaiting) -> tuple[Reason, ...]: ...


class Sightings(Protocol):
    """Told of every certificate that is let in, and by what name; cheap, never raises (services.sightings)."""

    def seen(self, key: Key, facts: TLSFacts, *, legacy: bool) -> None: ...
