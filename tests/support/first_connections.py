"""A verdict over a real registry, with registered CAs and devices that nobody registered."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.own_ca import OwnCA
from tests.support.principals import Device, FakeDataPlane, FakeEndpoints, request
from tests.support.registry import (
    SCOPE,
    FakeClock,
    FakeEntropy,
    ca_certificate,
    cause,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.domains import ApplicationProtocol
from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import (
    AutoRegistrationStatus,
    CACertificateStatus,
    CertificateMode,
    CertificateRecord,
    CertificateStatus,
)
from handfast.core.pki.possession import name_digest
from handfast.ports import Change
from handfast.seam import Admitted, Awaiting, Refused, TLSFacts
from handfast.services.commit import Committer
from handfast.services.first_provisioning import FirstProvisioning
from handfast.services.issuers import DefaultIssuers
from handfast.services.just_in_time import JustInTime, JustInTimeLimits
from handfast.services.principals import PrincipalCache
from handfast.services.provisioner import Provisioner
from handfast.services.recording import Recorder
from handfast.services.refusals import RefusalLog
from handfast.services.template_gate import TemplateGate
from handfast.services.verdict import Verdict
from handfast.services.vouching import Vouching
from handfast.storage.sql import SQLStore

FIRST = "first-ats.iot.us-east-1.localhost"
SECOND = "second-ats.iot.us-east-1.localhost"


def presented(pem: str) -> Device:
    """The connection of a device that has this certificate."""
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    return Device(der, CertificateId(hashlib.sha256(der).hexdigest()))


class FirstConnections:
    """The plane as the composition root makes it, without sockets. `events` are (topic, payload)."""

    def __init__(self, store: SQLStore, *, limits: JustInTimeLimits | None = None, closes_first: bool = False) -> None:
        self.closes_first = closes_first
        self.store = store
        self.clock = FakeClock()
        self.limits = limits
        self.protocol_of: Callable[[TLSFacts], ApplicationProtocol | None] = lambda _: None
        self.start()

    def start(self) -> None:
        """As after a restart: nothing is in memory."""
        entropy = FakeEntropy()
        self.data_plane = FakeDataPlane()
        self.refusals = RefusalLog(self.clock, entropy)
        self.cache = PrincipalCache(self.store, self.clock)
        self.cache.command(self.data_plane)
        self.vouching = Vouching(self.store, self.clock)
        self.issuers = DefaultIssuers(self.store, SCOPE.region)
        self.just_in_time = JustInTime(
            store=self.store,
            vouching=self.vouching,
            clock=self.clock,
            entropy=entropy,
            notify=self.notify,
            limits=self.limits,
            protocol_of=lambda facts: self.protocol_of(facts),
        )
        self.just_in_time.command(self.data_plane)
        provisioner = Provisioner(self.store, entropy, Committer(self.notify), TemplateGate())
        self.provisioning = FirstProvisioning(self.store, provisioner)
        self.just_in_time.provision_by(self.provisioning, closes_first=self.closes_first)
        self.verdict = Verdict(
            store=self.store,
            principals=self.cache,
            endpoints=FakeEndpoints(),
            recorder=Recorder(self.refusals, self.clock),
            clock=self.clock,
            region=SCOPE.region,
            first_account=SCOPE.account,
            issuer_scope=self.issuers.scope_of,
            first_connections=self.just_in_time,
        )

    async def load(self) -> None:
        await self.vouching.load()
        await self.issuers.load()

    async def notify(self, changes: Sequence[Change]) -> None:
        await self.issuers.changed(changes)
        await self.just_in_time.changed(changes)
        await self.cache.apply(changes)

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [(topic, payload) for _, topic, payload in self.data_plane.announced]

    async def register_ca(
        self,
        ca: OwnCA,
        scope: Scope = SCOPE,
        *,
        enable: bool = True,
        active: bool = True,
        mode: CertificateMode = CertificateMode.DEFAULT,
        **changes: Any,
    ) -> None:
        record = ca_certificate(
            1,
            scope=scope,
            certificate_id=ca.id,
            pem=ca.pem,
            subject=name_digest(ca.cert.subject),
            status=CACertificateStatus.ACTIVE if active else CACertificateStatus.INACTIVE,
            auto_registration_status=AutoRegistrationStatus.ENABLE if enable else AutoRegistrationStatus.DISABLE,
            mode=mode,
            not_before=ca.not_before,
            not_after=ca.not_after,
        )
        record = dataclasses.replace(record, **changes)
        await self.notify(
            await self.store.insert_ca_certificate(record, registration_code=None, subject_limit=10, cause=cause())
        )

    async def update_ca(
        self,
        ca: OwnCA,
        *,
        status: CACertificateStatus | None = None,
        auto_registration_status: AutoRegistrationStatus | None = None,
    ) -> None:
        await self.notify(
            await self.store.update_ca_certificate(
                SCOPE, ca.id, status=status, auto_registration_status=auto_registration_status, cause=cause()
            )
        )

    async def connect(self, who: Device, sni: str | None = "localhost", **facts: Any) -> Admitted | Refused:
        """A handshake, and the CONNECT packet after it."""
        presented_facts = who.facts(sni, **facts)
        verdict = self.verdict.identify_now(presented_facts) or await self.verdict.identify(presented_facts)
        if isinstance(verdict, Awaiting):
            verdict = await self.verdict.provision(presented_facts, verdict, request())
        return verdict

    async def codes(self, who: Device, sni: str | None = "localhost", **facts: Any) -> list[str]:
        """Why the device is refused at its CONNECT, as the operator sees it; [] when it is let in."""
        return self.codes_of(await self.connect(who, sni, **facts))

    def codes_of(self, verdict: Admitted | Refused) -> list[str]:
        """Why the connection was refused, as the operator sees it; [] when it was let in."""
        if isinstance(verdict, Admitted):
            return []
        (*_, refusal) = self.refusals.query(verdict.trace_id, None, 9)  # what other accounts see of it comes later
        return [reason.code.value for reason in refusal.reasons]

    async def registered(self, who: Device, scope: Scope = SCOPE) -> CertificateRecord | None:
        return await self.store.certificate(scope, who.certificate_id)

    async def set_status(self, who: Device, new: CertificateStatus) -> None:
        record = await self.registered(who)
        assert record is not None
        await self.notify(
            await self.store.set_certificate_status(
                SCOPE, who.certificate_id, expected=record.status, new=new, cause=cause()
            )
        )

    def pass_time(self, seconds: float) -> None:
        self.clock.instant += dt.timedelta(seconds=seconds)


@asynccontextmanager
async def first_connections(tmp_path: Path, **options: Any) -> AsyncIterator[FirstConnections]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        world = FirstConnections(store, **options)
        await world.load()
        yield world
