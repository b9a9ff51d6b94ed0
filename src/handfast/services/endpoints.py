"""Which endpoint belongs to which account and region, held in memory for the front door."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum

from handfast.core.identity.ids import Scope
from handfast.core.identity.records import EndpointRecord
from handfast.errors import InvalidRequestError, ServiceUnavailableError, StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Entropy, Notify, Store
from handfast.services.commit import Committer

PREFIX_LENGTH = 14
REGIONS_MAX = 64
"""Distinct regions with endpoints: each costs server leaves, and an account may name any region it likes."""
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_REGION = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_ATTEMPTS = 8


class EndpointService(StrEnum):
    """What the endpoints of one account and region are for, by AWS's `endpointType`."""

    DATA = "iot:Data-ATS"
    CREDENTIALS = "iot:CredentialProvider"
    JOBS = "iot:Jobs"
    LEGACY_DATA = "iot:Data"


_PATTERNS = {
    EndpointService.DATA: "{prefix}-ats.iot.{region}.{domain}",
    EndpointService.CREDENTIALS: "{prefix}.credentials.iot.{region}.{domain}",
    EndpointService.JOBS: "{prefix}.jobs.iot.{region}.{domain}",
    EndpointService.LEGACY_DATA: "{prefix}.iot.{region}.{domain}",
}


def check_region(region: str) -> str:
    """The region, fit to be a label of a host name; InvalidRequestError otherwise."""
    if not _REGION.fullmatch(region):
        raise InvalidRequestError("The region of the credential scope is not a region's name, such as us-east-1")
    return region


def random_text(entropy: Entropy, length: int, alphabet: str = ALPHABET) -> str:
    """So many characters of the alphabet, each as likely as any other."""
    most = 256 - 256 % len(alphabet)  # what is above would make some letters likelier
    found = ""
    while len(found) < length:
        found += "".join(alphabet[byte % len(alphabet)] for byte in entropy.token_bytes(length) if byte < most)
    return found[:length]


def new_prefix(entropy: Entropy) -> str:
    """Fourteen lower-case alphanumerics that begin with a letter."""
    return "a" + random_text(entropy, PREFIX_LENGTH - 1)


class EndpointDirectory:
    """
    Endpoints by scope and by name. Lookups are in memory and never wait.

    `load` before use; `changed` keeps it with the registry. Endpoints are never
    taken away, so what was found once stays true.
    """

    def __init__(self, store: Store, entropy: Entropy, domain: str, notify: Notify, *, legacy: bool = False) -> None:
        """`legacy`: every scope has a legacy endpoint (iot:Data) too; without it that name is nobody's."""
        self._store = store
        self._entropy = entropy
        self._domain = domain.lower()
        self._commit = Committer(notify)
        self._prefixes: dict[Scope, str] = {}
        self._names: dict[str, tuple[Scope, EndpointService]] = {}
        self.services = tuple(each for each in EndpointService if legacy or each is not EndpointService.LEGACY_DATA)
        """What is given out names."""
        self._further: Callable[[str], Scope | None] = lambda _: None
        self.further_names: Callable[[Scope], list[str]] = lambda _: []
        """Names of a scope besides its endpoint's, sorted."""

    @property
    def domain(self) -> str:
        """The server's own domain, below which every endpoint lies."""
        return self._domain

    def also(self, resolve: Callable[[str], Scope | None], names: Callable[[Scope], list[str]]) -> None:
        """Names that `resolve` knows are found too, after the endpoints' own; `names` are those of a scope."""
        self._further = resolve
        self.further_names = names

    async def load(self) -> None:
        """Everything that the store holds is known."""
        for record in await self._store.endpoints():
            self._add(record)

    async def changed(self, changes: Sequence[Change]) -> None:
        """Endpoints that were made, here or by another process, are known. Part of `notify`."""
        for change in changes:
            if change.kind is ChangeKind.ENDPOINT and change.scope is not None and change.subject:
                self._add(EndpointRecord(scope=change.scope, prefix=change.subject))

    async def ensure(self, scope: Scope, cause: Cause) -> str:
        """The data endpoint's name of the scope, made at first use and stable for ever."""
        if scope not in self._prefixes:
            if scope.region not in self.regions() and len(self.regions()) >= REGIONS_MAX:
                raise InvalidRequestError(f"There are endpoints in {REGIONS_MAX} regions already, which is the maximum")
            await self._commit(self._make(scope, cause))
        return self.endpoint_name(scope)

    async def _make(self, scope: Scope, cause: Cause) -> list[Change]:
        for _ in range(_ATTEMPTS):
            try:
                record = await self._store.ensure_endpoint(scope, new_prefix(self._entropy), cause)
            except StoreConflict as conflict:
                if conflict.kind != "exists":
                    raise
                continue
            self._add(record)
            return [Change(ChangeKind.ENDPOINT, scope, record.prefix)]
        raise ServiceUnavailableError("No free endpoint prefix was found; try again")

    def endpoint_name(self, scope: Scope) -> str:
        """`{prefix}-ats.iot.{region}.{domain}`; KeyError before `ensure`."""
        return self.name(scope, EndpointService.DATA)

    def name_called(self, scope: Scope, sni: str | None) -> str:
        """What a client calls the scope: the server name that it sent where that leads there, else its endpoint."""
        if sni is not None and self.resolve_sni(sni) == scope:
            return sni.lower()
        return self.endpoint_name(scope)

    def name(self, scope: Scope, service: EndpointService) -> str:
        """The name that the service has in the scope; KeyError before `ensure`."""
        return self.below(scope.region, self._prefixes[scope], service)

    def below(self, region: str, prefix: str, service: EndpointService = EndpointService.DATA) -> str:
        """The name with this prefix, below the server's own domain."""
        return _PATTERNS[service].format(prefix=prefix, region=region, domain=self._domain)

    def resolve_sni(self, name: str) -> Scope | None:
        """The scope whose endpoint or domain the name is, in any case of letters; None for any other name."""
        # Only ASCII has case here: str.lower() would also fold look-alikes such as the Kelvin sign.
        if not name.isascii():
            return None
        folded = name.lower()
        found = self._names.get(folded)
        return self._further(folded) if found is None else found[0]

    def is_endpoint(self, name: str) -> bool:
        """Whether it is the name of an endpoint, of whatever account, in lower case."""
        return name in self._names

    def service_of(self, name: str) -> EndpointService | None:
        """What the endpoint of that name is for, in any case of letters; None for any other name."""
        found = self._names.get(name.lower()) if name.isascii() else None
        return None if found is None else found[1]

    def regions(self) -> frozenset[str]:
        """The regions that have endpoints."""
        return frozenset(scope.region for scope in self._prefixes)

    def all(self) -> list[EndpointRecord]:
        """Every endpoint, by account and region."""
        return [EndpointRecord(scope=scope, prefix=self._prefixes[scope]) for scope in sorted(self._prefixes)]

    def _add(self, record: EndpointRecord) -> None:
        self._prefixes[record.scope] = record.prefix
        for service in self.services:
            self._names[self.name(record.scope, service)] = (record.scope, service)
