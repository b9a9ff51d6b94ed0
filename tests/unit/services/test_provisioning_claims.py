"""A claim lets a device provision itself by one template for five minutes, and is nothing else to anybody."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from tests.support.principals import Device, FakeDataPlane, FakeEndpoints, request
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    FakeClock,
    FakeEntropy,
    FakeIssuer,
    cause,
    provisioning_template,
    self_signed,
    sqlite_store,
    with_accounts,
)

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.pki import profile as profiles
from handfast.core.provisioning.records import ProvisioningTemplateEdit, TemplateName, TemplateType
from handfast.errors import InvalidRequestError, ResourceNotFoundError, StoreUnavailable, ThrottlingError
from handfast.ports import Store
from handfast.seam import Admitted, Refused
from handfast.services import provisioning_claims
from handfast.services.authorization import PolicyAuthorizer
from handfast.services.commit import Committer
from handfast.services.effective import EffectivePolicies
from handfast.services.principals import PrincipalCache
from handfast.services.provisioning_claims import ProvisioningClaim, ProvisioningClaims
from handfast.services.recording import Recorder
from handfast.services.refusals import RefusalLog
from handfast.services.verdict import Verdict

FLEET = TemplateName("fleet")
CREATE, FROM_CSR = "$aws/certificates/create", "$aws/certificates/create-from-csr"
PROVISION = "$aws/provisioning-templates/fleet/provision"


class World:
    """Claims and the verdict over one store, with a clock that the test moves."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock()
        self.cut = FakeDataPlane()
        self.cache = PrincipalCache(store, self.clock)
        self.cache.command(self.cut)
        self.refusals = RefusalLog(self.clock, FakeEntropy())
        self.verdict = Verdict(
            store=store,
            principals=self.cache,
            endpoints=FakeEndpoints(),
            recorder=Recorder(self.refusals, self.clock),
            clock=self.clock,
            region=SCOPE.region,
            first_account=SCOPE.account,
        )
        self.issuer = FakeIssuer()
        self.claims = ProvisioningClaims(store, self.issuer, Committer(self.cache.apply))

    async def claim(self, scope: Scope = SCOPE, name: str = "fleet") -> tuple[ProvisioningClaim, Device]:
        made = await self.claims.create(scope, cause(at=self.clock.now()), TemplateName(name))
        der = x509.load_pem_x509_certificate(made.record.pem.encode()).public_bytes(serialization.Encoding.DER)
        return made, Device(der, made.record.certificate_id)

    async def connect(self, device: Device, client_id: str = "any", sni: str | None = "localhost") -> PolicyAuthorizer:
        facts = device.facts(sni)
        admitted = await self.verdict.identify(facts)
        assert isinstance(admitted, Admitted)
        assert admitted == self.verdict.identify_now(facts), "the second time from memory"
        authorizer = self.verdict.connect(facts, admitted, request(client_id))
        assert isinstance(authorizer, PolicyAuthorizer)
        return authorizer

    async def refused(self, device: Device) -> list[str]:
        found = await self.verdict.identify(device.facts())
        assert isinstance(found, Refused)
        (refusal,) = self.refusals.query(found.trace_id, None, 10)
        return [reason.code.value for reason in refusal.reasons]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        await store.create_provisioning_template(provisioning_template(), cause(), limit=9)
        await store.create_provisioning_template(provisioning_template("other"), cause(), limit=9)
        made = World(store)
        yield made
        await made.cache.close()


async def test_a_claim_lives_for_five_minutes_by_the_built_in_issuer() -> None:
    assert dt.timedelta(minutes=5) == profiles.PROVISIONING_CLAIM.lifetime
    assert profiles.PROVISIONING_CLAIM.not_after is None
    assert not profiles.PROVISIONING_CLAIM.ca


async def test_the_keys_are_in_the_answer_alone(world: World, tmp_path: Path) -> None:
    made, device = await world.claim()
    assert "PRIVATE KEY" in made.private_key_pem
    assert made.private_key_pem not in repr(made)
    assert b"PRIVATE KEY" not in b"".join(each.read_bytes() for each in tmp_path.glob("handfast.db*"))
    certificate = x509.load_pem_x509_certificate(made.record.pem.encode())
    assert certificate.fingerprint(hashes.SHA256()).hex() == device.certificate_id
    assert NOW.replace(microsecond=0) + dt.timedelta(minutes=5) == made.record.not_after


async def test_a_claim_may_provision_by_its_template_and_nothing_else(world: World) -> None:
    _, device = await world.claim()
    authorizer = await world.connect(device, client_id="whatever it likes")
    requests = [f"{topic}/{form}" for topic in (CREATE, FROM_CSR, PROVISION) for form in ("json", "cbor")]
    replies = [f"{topic}/{reply}" for topic in requests for reply in ("accepted", "rejected")]
    for topic in requests:
        assert authorizer.publish(topic)
        assert not authorizer.retain(topic)
        assert not authorizer.subscribe(topic)
        assert not authorizer.receive(topic)
    for topic in replies:
        assert authorizer.subscribe(topic)
        assert authorizer.receive(topic)
        assert not authorizer.publish(topic)
    for topic in (
        "lamps/1",
        "#",
        f"{CREATE}/#",
        f"{CREATE}/json/+",
        f"{CREATE}/xml",
        "$aws/provisioning-templates/other/provision/json",
        "$aws/provisioning-templates/+/provision/json/accepted",
        "$aws/provisioning-templates/fleet2/provision/json",
        "$aws/things/lamp/shadow/update",
        "$aws/events/certificates/registered/1",
    ):
        assert not authorizer.publish(topic), topic
        assert not authorizer.subscribe(topic), topic
        assert not authorizer.receive(topic), topic


async def test_a_claim_is_found_without_a_server_name_and_not_elsewhere(world: World) -> None:
    await world.store.create_provisioning_template(provisioning_template(scope=OTHER_ACCOUNT), cause(), limit=9)
    _, device = await world.claim(OTHER_ACCOUNT)
    assert OTHER_ACCOUNT == (await world.connect(device, sni=None)).scope
    assert OTHER_ACCOUNT == (await world.connect(device)).scope
    found = await world.verdict.identify(device.facts(FakeEndpoints().endpoint_name(SCOPE)))
    assert isinstance(found, Refused)


async def test_after_five_minutes_the_session_ends_and_the_refusal_says_why(world: World) -> None:
    made, device = await world.claim()
    facts = device.facts()
    admitted = await world.verdict.identify(facts)
    assert isinstance(admitted, Admitted)
    assert made.record.not_after.timestamp() + 1 == admitted.not_after, "when the gateway cuts it"
    authorizer = await world.connect(device)
    world.clock.instant = NOW + dt.timedelta(minutes=5, seconds=1)
    assert not authorizer.publish(f"{CREATE}/json")
    assert ["CERTIFICATE_EXPIRED"] == await world.refused(device)


@pytest.mark.parametrize("how", ["disabled", "deleted"])
async def test_the_end_of_the_template_is_the_end_of_its_claims(world: World, how: str) -> None:
    _, device = await world.claim()
    _, other = await world.claim(name="other")
    authorizer, kept = await world.connect(device), await world.connect(other)
    assert authorizer.publish(f"{CREATE}/json")
    if how == "deleted":
        changes = await world.store.delete_provisioning_template(SCOPE, FLEET, created=NOW, cause=cause())
    else:
        off = ProvisioningTemplateEdit(enabled=False)
        changes = await world.store.update_provisioning_template(SCOPE, FLEET, off, created=NOW, cause=cause())
    await world.cache.apply(changes)
    assert [(SCOPE, device.certificate_id, "AUTH_ERROR")] == world.cut.cut
    assert not authorizer.publish(f"{CREATE}/json")
    assert kept.publish(f"{CREATE}/json")
    assert ["CERTIFICATE_NOT_REGISTERED"] == await world.refused(device)


async def test_no_operation_knows_of_a_claim(world: World) -> None:
    made, _ = await world.claim()
    effective = EffectivePolicies(world.store)
    with pytest.raises(ResourceNotFoundError):
        await effective._record(SCOPE, made.record.certificate_id)


async def test_when_no_claim_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    jitp = provisioning_template("jitp", type=TemplateType.JITP)
    await world.store.create_provisioning_template(jitp, cause(), limit=9)
    await world.store.create_provisioning_template(provisioning_template("off", enabled=False), cause(), limit=9)
    issued: list[CertificateId] = []
    real = world.issuer.create_provisioning_claim

    async def counted() -> Any:
        issued.append(CertificateId(""))
        return await real()

    monkeypatch.setattr(world.issuer, "create_provisioning_claim", counted)
    for scope, name, error in [
        (SCOPE, "none", ResourceNotFoundError),
        (OTHER_ACCOUNT, "fleet", ResourceNotFoundError),
        (SCOPE, "jitp", InvalidRequestError),
        (SCOPE, "off", InvalidRequestError),
    ]:
        with pytest.raises(error):
            await world.claim(scope, name)
    assert [] == issued, "no key is spent on it"
    monkeypatch.setattr(provisioning_claims, "CLAIMS_MAX", 1)
    await world.claim()
    with pytest.raises(ThrottlingError):
        await world.claim()


async def test_claims_that_were_over_for_an_hour_are_swept_and_a_sweep_that_fails_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = await world.claim()
    world.clock.instant = NOW + dt.timedelta(minutes=50)
    world_issuer_is_of_now(world, monkeypatch)
    await world.claim()
    assert ["CERTIFICATE_EXPIRED"] == await world.refused(first), "remembered, so that a refusal can say why"
    world.clock.instant = NOW + dt.timedelta(minutes=70)
    real = world.store.sweep_provisioning_claims

    async def silent(before: dt.datetime, limit: int) -> int:
        raise StoreUnavailable("no")

    monkeypatch.setattr(world.store, "sweep_provisioning_claims", silent)
    await world.claim()
    monkeypatch.setattr(world.store, "sweep_provisioning_claims", real)
    assert [False] == [each is None for each in await world.store.principals([(SCOPE, first.certificate_id)])]
    await world.claim()
    assert [None] == await world.store.principals([(SCOPE, first.certificate_id)])


def world_issuer_is_of_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its claims end five minutes from the clock's time, not from the first."""

    @dataclass(frozen=True)
    class Issued:
        certificate_pem: str
        public_key_pem: str = "public"
        private_key_pem: str = "private"

    async def issued() -> Any:
        now = world.clock.now()
        return Issued(self_signed("claim", not_before=now, not_after=now + dt.timedelta(minutes=5)))

    monkeypatch.setattr(world.issuer, "create_provisioning_claim", issued)
