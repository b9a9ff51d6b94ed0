"""
Which domain configuration a server name means, held in memory for the front door, and its certificates on the doors.

The registry is the truth: after each change the row is read again, so that two
processes that share it serve the same. What cannot be read, or whose key cannot,
leaves what was served before; a domain that has nothing to serve yet is broken,
and its connections are refused once they have said who they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from handfast.core.identity.domains import (
    ApplicationProtocol,
    AuthenticationType,
    DomainConfigurationName,
    DomainConfigurationRecord,
    DomainStatus,
    DomainType,
    ServerCertificateId,
    ServerCertificateRecord,
)
from handfast.core.identity.ids import Scope
from handfast.core.identity.refusal import Reason, ReasonCode
from handfast.core.pki.server_certificates import chain_kind, encode_chain, read_chain, served_part
from handfast.errors import ConfigurationError, HandfastError, StoreUnavailable
from handfast.ports import Change, ChangeKind, Store
from handfast.seam import ListenerKind, TLSFacts
from handfast.services.endpoints import EndpointDirectory
from handfast.services.pki_folder import ChainKind, KeyFolder
from handfast.services.stapling import StaplingReport

log = logging.getLogger(__name__)

CertificateKey = tuple[Scope, ServerCertificateId]
DISCONNECT_REASON = "AUTH_ERROR"
AGAIN_S = 1.0
"""Until the store is asked again for what it did not say."""

MQTT_CA = "x-amzn-mqtt-ca"
HTTP_CA = "x-amzn-http-ca"


class CertificateSets(Protocol):
    """Where certificates are served from (tls.contexts.Contexts)."""

    def install(self, name: str, kind: ChainKind, chain_pem: bytes, key_pem: bytes) -> None: ...
    def remove(self, name: str) -> None: ...


class Staples(Protocol):
    """Keeps OCSP responses for the sets that it is told of (services.stapling.Stapler)."""

    def watch(
        self,
        name: str,
        kind: ChainKind,
        leaf: x509.Certificate,
        issuer: x509.Certificate,
        *,
        responder: x509.Certificate | None = None,
    ) -> None: ...
    def forget(self, name: str) -> None: ...
    def reports(self, name: str) -> Sequence[StaplingReport]: ...


@dataclass(frozen=True, slots=True)
class Installed:
    """A set of one kind that is served: the name that `CertificateSets` knows it by, and what is in it."""

    name: str
    kind: ChainKind
    record: ServerCertificateRecord


class DomainDirectory:
    """
    Domain configurations by the name that a client asks for. Lookups are in memory and never wait.

    `load` before use, and after the endpoints; `changed` keeps it with the registry.
    """

    def __init__(
        self,
        store: Store,
        endpoints: EndpointDirectory,
        keys: KeyFolder,
        sets: CertificateSets,
        *,
        staples: Staples | None = None,
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._keys = keys
        self._sets = sets
        self._staples = staples
        self._cut: Callable[[str, str], int] = _nobody
        self._domains: dict[tuple[Scope, DomainConfigurationName], DomainConfigurationRecord] = {}
        self._by_name: dict[str, DomainConfigurationRecord] = {}
        self._installed: dict[CertificateKey, Installed] = {}
        self._broken: dict[CertificateKey, str] = {}
        self._turn = asyncio.Lock()
        self._late: set[asyncio.Task[None]] = set()

    def command(self, cut: Callable[[str, str], int]) -> None:
        """`cut(domain name, reason)` ends the live connections of a name that is DISABLED from now on."""
        self._cut = cut

    async def load(self) -> None:
        """Everything that the registry holds is known, and what is in use served."""
        async with self._turn:
            for record in await self._store.domain_configurations():
                self._remember(record)
            for key in {self._certificate_of(record) for record in self._domains.values()} - {None}:
                assert key is not None
                await self._install(key)

    async def changed(self, changes: Sequence[Change]) -> None:
        """
        Domains and certificates that changed, here or in another process, are served so. Part of `notify`.

        Never raises: what the store does not say now is asked again until it does.
        """
        for change in changes:
            if change.kind in _FOLLOWED and change.scope is not None and not await self._follow(change, change.scope):
                task = asyncio.get_running_loop().create_task(self._follow_later(change, change.scope))
                self._late.add(task)
                task.add_done_callback(self._late.discard)

    async def _follow(self, change: Change, scope: Scope) -> bool:
        """Whether the store has said what is to be served."""
        try:
            async with self._turn:
                if change.kind is ChangeKind.DOMAIN_CONFIGURATION:
                    await self._reload(scope, DomainConfigurationName(change.subject))
                else:
                    await self._install((scope, ServerCertificateId(change.subject)))
        except StoreUnavailable as error:
            log.error("a changed domain configuration cannot be read; it is asked for again: %s", error)
            return False
        return True

    async def _follow_later(self, change: Change, scope: Scope) -> None:
        followed = False
        while not followed:
            await asyncio.sleep(AGAIN_S)
            followed = await self._follow(change, scope)

    # --- lookups ----------------------------------------------------------------------------------------------

    def find(self, name: str) -> DomainConfigurationRecord | None:
        """The configuration of this server name, in any case of letters; None where it has none."""
        return self._by_name.get(name.lower().removesuffix(".")) if name.isascii() else None

    def resolve(self, name: str) -> Scope | None:
        """Whose name it is. The names of endpoints are not here."""
        found = self.find(name)
        return None if found is None else found.scope

    def name_of(self, record: DomainConfigurationRecord) -> str:
        """What clients call it. KeyError for an endpoint that was never made."""
        if record.domain_name is not None:
            return record.domain_name
        if record.prefix is not None:
            return self._endpoints.below(record.scope.region, record.prefix)
        return self._endpoints.endpoint_name(record.scope)

    def installed(self, record: DomainConfigurationRecord) -> Installed | None:
        """The certificates of its own that are served for it; None for a name below the server's, or a broken one."""
        key = self._certificate_of(record)
        return None if key is None else self._installed.get(key)

    def broken(self, scope: Scope, certificate_id: ServerCertificateId) -> str:
        """Why the certificate in use cannot be served here, in words; empty when it can."""
        return self._broken.get((scope, certificate_id), "")

    def stapling(self, scope: Scope, certificate_id: ServerCertificateId) -> StaplingReport | None:
        """How OCSP stapling stands for the certificate in use; None where no domain asks for it."""
        found = self._installed.get((scope, certificate_id))
        if found is None or self._staples is None:
            return None
        return next(iter(self._staples.reports(found.name)), None)

    def names(self, scope: Scope) -> list[str]:
        """The scope's names besides its endpoint's, sorted."""
        found = self._by_name.items()
        return sorted(n for n, each in found if each.scope == scope and each.domain_type is not DomainType.ENDPOINT)

    def refusal(self, name: str, facts: TLSFacts, spoken: ApplicationProtocol | None = None) -> Reason | None:
        """
        Why no connection of this kind is let in by this name; None: the configuration, if any, has no objection.

        `spoken` is what signed requests speak.
        """
        record = self._by_name.get(name)
        if record is None:
            return None
        if record.status is DomainStatus.DISABLED:
            return Reason(ReasonCode.DOMAIN_CONFIGURATION_DISABLED, f"domain configuration {record.name} is DISABLED")
        if record.domain_type is DomainType.CUSTOMER_MANAGED and self.installed(record) is None:
            detail = f"domain configuration {record.name} has no server certificate that can be served"
            return Reason(ReasonCode.DOMAIN_CONFIGURATION_INVALID, detail)
        if record.authentication_type is AuthenticationType.DEFAULT:
            return None
        authentication, protocol = spoken_as(facts, spoken or record.application_protocol)
        if (authentication, protocol) == (record.authentication_type, record.application_protocol):
            return None
        return Reason(
            ReasonCode.PROTOCOL_NOT_OF_DOMAIN,
            f"domain configuration {record.name} takes {record.authentication_type} with "
            f"{record.application_protocol} only; this was {authentication} with {protocol}",
        )

    # --- following the registry -------------------------------------------------------------------------------

    async def _reload(self, scope: Scope, name: DomainConfigurationName) -> None:
        record = await self._store.domain_configuration(scope, name)
        old = self._domains.get((scope, name))
        if old is not None:
            self._forget(old)
        if record is not None:
            self._remember(record)
        if old is not None and (record is None or record.status is DomainStatus.DISABLED):
            self._cut(self._called(old), DISCONNECT_REASON)  # before anything that takes time, or may fail
        before, now = (None if each is None else self._certificate_of(each) for each in (old, record))
        if now is not None:
            await self._install(now)
        if before is not None and before != now:
            self._release(before)

    def _remember(self, record: DomainConfigurationRecord) -> None:
        self._domains[record.scope, record.name] = record
        name = self._called(record)
        if name:
            self._by_name[name] = record

    def _forget(self, record: DomainConfigurationRecord) -> None:
        del self._domains[record.scope, record.name]
        if self._by_name.get(self._called(record)) == record:
            del self._by_name[self._called(record)]

    def _called(self, record: DomainConfigurationRecord) -> str:
        try:
            return self.name_of(record)
        except KeyError:
            return ""

    @staticmethod
    def _certificate_of(record: DomainConfigurationRecord) -> CertificateKey | None:
        return None if record.certificate_id is None else (record.scope, record.certificate_id)

    def _users(self, key: CertificateKey) -> list[DomainConfigurationRecord]:
        return [record for record in self._domains.values() if self._certificate_of(record) == key]

    async def _install(self, key: CertificateKey) -> None:
        """What the registry says of the certificate is served, where a domain uses it."""
        users = self._users(key)
        if not users:
            self._release(key)
            return
        record = await self._store.server_certificate(*key)
        found = self._installed.get(key)
        if record is None:
            return
        if found is None or (found.record.chain_pem, found.record.key_name) != (record.chain_pem, record.key_name):
            try:
                found = await self._made(key, record)
            except Exception as error:
                # Whatever it is: the last valid one, if there was any, is served on, and so are the other domains.
                self._broken[key] = str(error) or type(error).__name__
                unforeseen = None if isinstance(error, HandfastError) else error
                about = {"certificate": key[1]}
                log.error("a server certificate cannot be served: %s", error, exc_info=unforeseen, extra=about)
                return
            self._installed[key] = found
        self._broken.pop(key, None)
        await self._staple(key, found, users)

    async def _made(self, key: CertificateKey, record: ServerCertificateRecord) -> Installed:
        if record.key_name is None:
            raise ConfigurationError("it was imported without a private key")
        private = await asyncio.to_thread(self._keys.signing_key, record.key_name)
        chain = read_chain(record.chain_pem)
        kind = chain_kind(chain[0])
        name = f"domain:{key[1]}"
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._sets.install(name, kind, encode_chain(served_part(chain)).encode(), pem)
        return Installed(name, kind, record)

    def _release(self, key: CertificateKey) -> None:
        """Nothing is served of a certificate that no domain uses."""
        if self._users(key):
            return
        found = self._installed.pop(key, None)
        self._broken.pop(key, None)
        if found is not None:
            self._sets.remove(found.name)
            if self._staples is not None:
                self._staples.forget(found.name)

    async def _staple(self, key: CertificateKey, found: Installed, users: Sequence[DomainConfigurationRecord]) -> None:
        if self._staples is None:
            return
        asked = [each for each in users if each.stapling.enabled]
        chain = read_chain(found.record.chain_pem)
        if not asked or len(chain) < 2:
            self._staples.forget(found.name)
            return
        responder = None
        for responder_id in {each.stapling.responder_id for each in asked} - {None}:
            assert responder_id is not None
            vouched = await self._store.server_certificate(key[0], responder_id)
            if vouched is not None:
                responder = read_chain(vouched.chain_pem)[0]
        self._staples.watch(found.name, found.kind, chain[0], chain[1], responder=responder)


_FOLLOWED = frozenset({ChangeKind.DOMAIN_CONFIGURATION, ChangeKind.SERVER_CERTIFICATE})


def spoken_as(facts: TLSFacts, wanted: ApplicationProtocol) -> tuple[AuthenticationType, ApplicationProtocol]:
    """
    How a connection authenticates, and what it speaks, as its door and ALPN say.

    Where they leave it open, on the port where ALPN decides, it is what is `wanted`.
    """
    if not facts.certificate_der:
        # Signed requests tell by themselves whether they are WebSockets.
        return AuthenticationType.AWS_SIGV4, wanted
    if facts.listener is ListenerKind.MQTT or facts.alpn == MQTT_CA:
        return AuthenticationType.AWS_X509, ApplicationProtocol.SECURE_MQTT
    if facts.listener is ListenerKind.HTTPS or facts.alpn is not None:
        return AuthenticationType.AWS_X509, ApplicationProtocol.HTTPS
    return AuthenticationType.AWS_X509, wanted


def _nobody(_name: str, _reason: str) -> int:
    return 0
