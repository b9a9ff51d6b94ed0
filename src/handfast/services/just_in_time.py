"""
Just-in-time registration and provisioning: what becomes of an unknown certificate that a registered CA vouches for.

A handshake changes nothing. The MQTT CONNECT packet registers the certificate PENDING_ACTIVATION, which the store
guards by itself once more, tells the account on `$aws/events/certificates/registered/…`, and refuses the connection.
Where the CA has a template, that is carried out instead, and the device is let in; only when it fails all is as above.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from handfast.core.identity.arns import certificate_arn
from handfast.core.identity.domains import ApplicationProtocol
from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.just_in_time import failed_event, registered_event
from handfast.core.identity.lifecycle import CertificateEvent, next_status
from handfast.core.identity.records import CACertificateRecord, CertificateRecord, CertificateStatus
from handfast.core.identity.refusal import Reason, ReasonCode
from handfast.core.pki.pem import ParsedCertificate
from handfast.core.provisioning.runs import ProvisioningRun, RunOutcome
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Clock, Entropy, Notify, Store
from handfast.seam import Awaiting, DataPlane, TLSFacts
from handfast.services.certificates import new_record
from handfast.services.commit import Committer
from handfast.services.domain_directory import spoken_as
from handfast.services.first_provisioning import FirstProvisioning
from handfast.services.principal import Principal
from handfast.services.rates import KeyedBuckets, source_of
from handfast.services.vouching import Vouching

log = logging.getLogger(__name__)

Key = tuple[Scope, CertificateId]

MAX_CERTIFICATES = 50_000
"""Certificates whose last attempt is remembered."""
MAX_SOURCES = 20_000
MAX_UNDER_WAY = 16
"""Attempts that are in the store together: they share its commits, and come back to the loop in one turn."""
MAX_ATTEMPTS = 4_096
"""Attempts that wait for their turn or are under way. They outlive connections that give up: who comes back is in."""
RECOUNT_S = 10.0
OPERATION = "RegisterJustInTime"
PROVISIONING = "ProvisionJustInTime"


@dataclass(frozen=True, slots=True, kw_only=True)
class JustInTimeLimits:
    """
    Attempts a second under one CA and from one address (twice as many at once), and how many certificates of one CA
    may wait for their activation; counted again every few seconds, so that a burst may overshoot a little.
    """

    per_second: float = 500.0
    waiting: int = 20_000


@dataclass(frozen=True, slots=True)
class _Outcome:
    """`reasons` refuse; none: the registry may admit it now."""

    reasons: tuple[Reason, ...] = ()


_CONFLICTS: Mapping[str, tuple[ReasonCode, str]] = {
    "account": (ReasonCode.ACCOUNT_DISABLED, "the account is disabled"),
    "ca": (ReasonCode.CA_DOES_NOT_REGISTER, "the CA that signed it is not ACTIVE and auto-registering any more"),
    "revoked": (ReasonCode.CERTIFICATE_REVOKED, "it was revoked in this account, and deleted"),
    "transferred": (ReasonCode.CERTIFICATE_TRANSFERRED, "it was transferred to another account"),
    "elsewhere": (ReasonCode.ENDPOINT_OF_ANOTHER_ACCOUNT, "it is registered in another account"),
    "offered": (ReasonCode.CERTIFICATE_PENDING_TRANSFER, "its transfer to this account waits to be accepted"),
}


class JustInTime:
    """
    Settles certificates that are awaited.

    Belongs to one event loop. `awaited` may be asked of any connection, `settle` once its CONNECT is there.
    """

    def __init__(
        self,
        *,
        store: Store,
        vouching: Vouching,
        clock: Clock,
        entropy: Entropy,
        notify: Notify,
        limits: JustInTimeLimits | None = None,
        protocol_of: Callable[[TLSFacts], ApplicationProtocol | None] = lambda _: None,
    ) -> None:
        """`protocol_of`: what a client speaks on the port where ALPN decides, where its ALPN leaves that open."""
        self._store = store
        self._protocol_of = protocol_of
        self._vouching = vouching
        self._clock = clock
        self._entropy = entropy
        self._commit = Committer(notify)
        self._limits = limits or JustInTimeLimits()
        self._data_plane: DataPlane | None = None
        self._provisioning: FirstProvisioning | None = None
        self._closes_first = False
        rate = self._limits.per_second
        self._certificates = KeyedBuckets(burst=1, per_second=1, limit=MAX_CERTIFICATES)
        self._sources = KeyedBuckets(burst=2 * rate, per_second=rate, limit=MAX_SOURCES)
        self._under_way: dict[Key, asyncio.Future[_Outcome]] = {}
        self._turn = asyncio.Semaphore(MAX_UNDER_WAY)
        self._waiting: dict[Key, tuple[int, float]] = {}

    def command(self, data_plane: DataPlane) -> None:
        """Events go through it from now on; before, there is nobody to get one."""
        self._data_plane = data_plane

    def provision_by(self, provisioning: FirstProvisioning, *, closes_first: bool = False) -> None:
        """From now on the templates of CAs are carried out; with `closes_first` the device has to come back then."""
        self._provisioning = provisioning
        self._closes_first = closes_first

    async def close(self) -> None:
        """No attempt is under way; what was being written is committed and announced."""
        running = list(self._under_way.values())
        for attempt in running:
            attempt.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._commit.settle()

    # --- the handshake ----------------------------------------------------------------------------------------

    async def awaited(
        self, scope: Scope, domain_name: str, facts: TLSFacts, principal: Principal | None
    ) -> Awaiting | tuple[Reason, ...]:
        """
        Whether a CONNECT may register the certificate in the scope; else why not, () where no CA there has its
        issuer's name. `principal` is its registration, if there is one; nothing is written.
        """
        if principal is not None and not principal.waits_for_activation:
            return ()
        ca = await self._vouching.vouch(scope, facts)
        if not isinstance(ca, CACertificateRecord):
            return ca
        if principal is not None and principal.ca_certificate_id != ca.certificate_id:
            text = (
                f"it was registered under CA certificate {principal.ca_certificate_id}, which does not vouch for it now"
            )
            return (Reason(ReasonCode.CA_DOES_NOT_VOUCH, text),)
        if facts.sni is None:
            text = "no server name was sent: a device's first connection has to say which account is meant"
            return (Reason(ReasonCode.SNI_REQUIRED, text),)
        if not self._speaks_mqtt(facts):
            text = f"CA certificate {ca.certificate_id} vouches for it; devices are registered over MQTT only"
            return (Reason(ReasonCode.FIRST_CONNECTION_OVER_HTTPS, text),)
        return Awaiting(scope, facts.certificate_id, domain_name, ca.certificate_id, registered=principal is not None)

    def _speaks_mqtt(self, facts: TLSFacts) -> bool:
        _, protocol = spoken_as(facts, self._protocol_of(facts) or ApplicationProtocol.HTTPS)
        return protocol is ApplicationProtocol.SECURE_MQTT

    async def why_not(self, scope: Scope, der: bytes) -> tuple[Reason, ...]:
        """For the record: the CA that signed the certificate is registered in the scope and takes nothing in."""
        return await self._vouching.why_not(scope, der)

    # --- the CONNECT packet -----------------------------------------------------------------------------------

    async def settle(self, facts: TLSFacts, awaiting: Awaiting) -> tuple[Reason, ...]:
        """
        What a first connection brings about has happened; the reasons why it is refused, () when the registry now
        decides. Connections with one certificate share one attempt.
        """
        key = (awaiting.scope, awaiting.certificate_id)
        running = self._under_way.get(key)
        if running is None:
            refused = self._too_fast(key, awaiting, facts)
            if refused is not None:
                return (refused,)
            running = self._under_way[key] = asyncio.ensure_future(self._attempt(facts, awaiting))
            running.add_done_callback(functools.partial(self._over, key))
        # A connection that goes away while others wait takes nothing from them.
        return (await asyncio.shield(running)).reasons

    def _over(self, key: Key, attempt: asyncio.Future[_Outcome]) -> None:
        del self._under_way[key]
        if not attempt.cancelled():
            attempt.exception()  # seen, although nobody may be waiting any more

    def _too_fast(self, key: Key, awaiting: Awaiting, facts: TLSFacts) -> Reason | None:
        now = self._clock.monotonic()
        if not self._certificates.available(key, now):
            return Reason(ReasonCode.LIMIT_EXCEEDED, "more than one attempt a second with this certificate")
        sources = (
            ((awaiting.scope, awaiting.ca_certificate_id), "under this CA"),
            (source_of(facts.peer_address), "from this address"),
        )
        if len(self._under_way) >= MAX_ATTEMPTS:
            return Reason(ReasonCode.LIMIT_EXCEEDED, f"{MAX_ATTEMPTS} first connections wait to be settled")
        for source, where in sources:
            if not self._sources.available(source, now):
                text = f"more than {self._limits.per_second:g} first connections a second {where}"
                return Reason(ReasonCode.LIMIT_EXCEEDED, text)
        self._certificates.take(key, now)
        for source, _ in sources:
            self._sources.take(source, now)
        return None

    async def _attempt(self, facts: TLSFacts, awaiting: Awaiting) -> _Outcome:
        async with self._turn:
            scope, certificate_id = awaiting.scope, awaiting.certificate_id
            ca = self._vouching.ca(scope, awaiting.ca_certificate_id)
            if ca is None:
                return _Outcome((_conflict_reason("ca", awaiting.ca_certificate_id),))
            # One that was not registered at the handshake is taken for that: the transaction finds out.
            known = await self._store.certificate(scope, certificate_id) if awaiting.registered else None
            if known is not None and not _waits(known, ca):
                return _Outcome()  # activated, or something else, in the meantime: the registry decides
            if ca.registration_config is not None:
                return await self._provision(facts, ca, known)
            if known is None:
                return await self._register(facts, ca)
            self._announce_registered(ca, known)
            text = f"it was registered at {known.creation_date:%Y-%m-%dT%H:%M:%SZ} and waits for its activation"
            return _Outcome((Reason(ReasonCode.CERTIFICATE_PENDING_ACTIVATION, text),))

    async def _provision(self, facts: TLSFacts, ca: CACertificateRecord, known: CertificateRecord | None) -> _Outcome:
        if self._provisioning is None:
            raise RuntimeError(f"CA certificate {ca.certificate_id} has a template that nobody carries out")
        parsed = self._vouching.read(facts)
        cause = self._cause(ca.scope, facts, PROVISIONING)
        record = self._record(parsed, ca, cause) if known is None else None
        run = await self._provisioning.run(ca, parsed, cause, register=record)
        if run.outcome is RunOutcome.SUCCEEDED:
            if not self._closes_first:
                return _Outcome()
            text = "everything that the template says was made"
            return _Outcome((Reason(ReasonCode.CERTIFICATE_JUST_PROVISIONED, text),))
        return await self._left_waiting(facts, ca, known, run)

    async def _left_waiting(
        self, facts: TLSFacts, ca: CACertificateRecord, known: CertificateRecord | None, run: ProvisioningRun
    ) -> _Outcome:
        """The template failed: the certificate waits as one without a template does, and the run is recorded."""
        if known is None:
            outcome = await self._register(facts, ca, run)
            if outcome.reasons[:1] != (_just_registered(ca),):
                return outcome
        else:
            now = await self._store.certificate(ca.scope, known.certificate_id)
            if now is None or not _waits(now, ca):
                return _Outcome()  # somebody settled it while the template was being carried out
            run = await self._store.record_provisioning_run(run)
            if self._vouching.ca(ca.scope, ca.certificate_id) is None:
                return _Outcome((_conflict_reason("ca", ca.certificate_id),))
            self._announce_registered(ca, known)
        self._announce(
            ca.scope,
            failed_event(
                ca.scope,
                run.certificate_id,
                ca.certificate_id,
                at=self._clock.now(),
                run_id=run.run_id,
                template_name=run.template_name,
                resource=run.resource,
                reason=str(run.kind),
                message=run.message,
            ),
        )
        where = f"resource {run.resource}: " if run.resource else ""
        return _Outcome((Reason(ReasonCode.PROVISIONING_FAILED, where + run.message),))

    async def _register(self, facts: TLSFacts, ca: CACertificateRecord, run: ProvisioningRun | None = None) -> _Outcome:
        """Registered to wait for its activation, with the run that failed to spare it that."""
        if await self._full(ca):
            text = f"{self._limits.waiting} certificates under CA certificate {ca.certificate_id} wait for activation"
            return _Outcome((Reason(ReasonCode.LIMIT_EXCEEDED, text),))
        parsed = self._vouching.read(facts)
        cause = self._cause(ca.scope, facts, OPERATION)
        record = self._record(parsed, ca, cause)
        change = Change(ChangeKind.CERTIFICATE, record.scope, record.certificate_id)
        try:
            await self._commit(self._store.register_just_in_time(record, cause, run=run), suspects=[change])
        except StoreConflict as conflict:
            if conflict.kind == "exists":
                return _Outcome()  # registered on purpose in the meantime: the registry decides
            return _Outcome((_conflict_reason(conflict.kind, ca.certificate_id),))
        self._count(ca)
        self._announce_registered(ca, record, first=True)
        return _Outcome((_just_registered(ca),))

    def _record(self, parsed: ParsedCertificate, ca: CACertificateRecord, cause: Cause) -> CertificateRecord:
        status = next_status(None, CertificateEvent.REGISTER_JUST_IN_TIME, parsed.certificate_id)
        return new_record(
            ca.scope,
            cause,
            parsed,
            status,
            ca.mode,
            generation_id=self._entropy.uuid(),
            ca_certificate_id=ca.certificate_id,
        )

    def _cause(self, scope: Scope, facts: TLSFacts, operation: str) -> Cause:
        return Cause(
            actor=certificate_arn(scope, facts.certificate_id),
            address=facts.peer_address,
            operation=operation,
            request_id=self._entropy.uuid(),
            at=self._clock.now(),
        )

    # --- how many wait ----------------------------------------------------------------------------------------

    async def _full(self, ca: CACertificateRecord) -> bool:
        """Whether as many certificates of the CA wait for their activation as may."""
        key = (ca.scope, ca.certificate_id)
        now = self._clock.monotonic()
        count, counted_at = self._waiting.get(key, (0, float("-inf")))
        if now - counted_at >= RECOUNT_S:
            count = await self._store.waiting_under_ca(ca.scope, ca.certificate_id, self._limits.waiting)
            self._waiting[key] = (count, now)
        return count >= self._limits.waiting

    def _count(self, ca: CACertificateRecord) -> None:
        key = (ca.scope, ca.certificate_id)
        count, counted_at = self._waiting.get(key, (0, float("-inf")))
        self._waiting[key] = (count + 1, counted_at)

    async def changed(self, changes: Sequence[Change]) -> None:
        """What is remembered of CAs that changed is forgotten."""
        for change in changes:
            if change.kind is ChangeKind.CA_CERTIFICATE and change.scope is not None:
                self._waiting.pop((change.scope, CertificateId(change.subject)), None)
        await self._vouching.changed(changes)
        if self._provisioning is not None:
            await self._provisioning.changed(changes)

    # --- events -----------------------------------------------------------------------------------------------

    def _announce_registered(self, ca: CACertificateRecord, record: CertificateRecord, *, first: bool = False) -> None:
        event = registered_event(
            record.scope,
            record.certificate_id,
            ca.certificate_id,
            at=self._clock.now(),
            registered_at=None if first else record.creation_date,
        )
        self._announce(record.scope, event)

    def _announce(self, scope: Scope, event: tuple[str, bytes]) -> None:
        """Never raises: what it is about has happened, and the next attempt tells again."""
        if self._data_plane is None:
            return
        try:
            self._data_plane.announce(scope, *event)
        except Exception:
            log.exception("a first connection could not be announced")


def _waits(record: CertificateRecord, ca: CACertificateRecord) -> bool:
    """It waits for its activation since an earlier connection, under this CA."""
    return record.status is CertificateStatus.PENDING_ACTIVATION and record.ca_certificate_id == ca.certificate_id


def _just_registered(ca: CACertificateRecord) -> Reason:
    return Reason(ReasonCode.CERTIFICATE_JUST_REGISTERED, f"CA certificate {ca.certificate_id} signed it")


def _conflict_reason(kind: str, ca_certificate_id: CertificateId) -> Reason:
    code, text = _CONFLICTS[kind]
    return Reason(code, text, ca_certificate_id if kind == "ca" else "")
