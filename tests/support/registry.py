"""A registry in a temporary directory, with records, certificates and callers for tests. Nothing here is pasted."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.audit import sealer_of
from tests.support.domain_plane import domain_plane

from handfast.bulk_inputs.configured import ConfiguredInputs
from handfast.control.backups import BackupMaker
from handfast.control.context import Handler
from handfast.control.handlers import build_handfast_handlers, build_handlers
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import AccountId, CertificateId, PolicyName, Scope, ThingGroupName, ThingName
from handfast.core.identity.observations import Observation
from handfast.core.identity.records import (
    AccessKeyRecord,
    AccountRecord,
    AccountStatus,
    AutoRegistrationStatus,
    CACertificateRecord,
    CACertificateStatus,
    CertificateMode,
    CertificateRecord,
    CertificateStatus,
    PolicyRecord,
    ThingGroupRecord,
    ThingRecord,
)
from handfast.core.identity.refusal import Refusal
from handfast.core.identity.sightings import Sighting, Trait
from handfast.core.provisioning.inputs import Bucket
from handfast.core.provisioning.records import ProvisioningTemplateRecord, TemplateName, TemplateType
from handfast.errors import CertificateInputError
from handfast.gateway.farewells import Farewell, Farewells
from handfast.hooks.runner import ThreadedHooks
from handfast.ports import Cause, Change
from handfast.ports.hooks import HookRunner
from handfast.services.accounts import Accounts
from handfast.services.audit import Audit
from handfast.services.backup import Backup
from handfast.services.certificate_providers import CertificateProviders
from handfast.services.checks import Checks
from handfast.services.commit import Committer
from handfast.services.endpoints import EndpointDirectory
from handfast.services.first_provisioning import FirstProvisioning
from handfast.services.hooks import Hooks
from handfast.services.principals import PrincipalCache
from handfast.services.provisioning_runs import ProvisioningRuns
from handfast.services.registration_reports import ReportFiles, ReportLinks
from handfast.services.registration_tasks import RegistrationTasks
from handfast.services.registry import Registry
from handfast.services.revocation import Revocations
from handfast.services.template_gate import TemplateGate
from handfast.services.what_if import WhatIf
from handfast.storage.sql import SQLStore
from handfast.telemetry.clock import SystemClock
from handfast.telemetry.entropy import SystemEntropy
from handfast.telemetry.metrics import PrometheusMeter

NOW = dt.datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
SCOPE = Scope(AccountId("123456789012"), "us-east-1")
OTHER_ACCOUNT = Scope(AccountId("210987654321"), "us-east-1")
OTHER_REGION = Scope(AccountId("123456789012"), "eu-west-1")
ALLOW = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}'


class FakeClock:
    """Stands at NOW until it is moved."""

    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> dt.datetime:
        return self.instant

    def monotonic(self) -> float:
        return (self.instant - NOW).total_seconds()


class FakeEntropy:
    """Repeatable and never the same twice."""

    def __init__(self) -> None:
        self._counter = itertools.count()

    def token_bytes(self, n: int) -> bytes:
        return hashlib.shake_256(str(next(self._counter)).encode()).digest(n)

    def uuid(self) -> str:
        text = self.token_bytes(16).hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def cause(operation: str = "Test", *, at: dt.datetime = NOW) -> Cause:
    return Cause(actor="arn:test", address="192.0.2.1", operation=operation, request_id="request-1", at=at)


def certificate_id(number: int) -> CertificateId:
    return CertificateId(hashlib.sha256(str(number).encode()).hexdigest())


def certificate(number: int = 1, **changes: Any) -> CertificateRecord:
    """A registration that is INACTIVE, of DEFAULT mode and a second younger than the one before it."""
    created = NOW + dt.timedelta(seconds=number)
    record = CertificateRecord(
        scope=SCOPE,
        certificate_id=certificate_id(number),
        pem=f"pem of {number}\n",
        status=CertificateStatus.INACTIVE,
        mode=CertificateMode.DEFAULT,
        creation_date=created,
        last_modified_date=created,
        not_before=NOW,
        not_after=NOW + dt.timedelta(days=365),
        generation_id=f"generation-{number}",
    )
    return dataclasses.replace(record, **changes)


def ca_certificate(number: int = 1, **changes: Any) -> CACertificateRecord:
    """A CA that is INACTIVE, of DEFAULT mode and of the same subject as the others."""
    created = NOW + dt.timedelta(seconds=number)
    record = CACertificateRecord(
        scope=SCOPE,
        certificate_id=certificate_id(number),
        pem=f"pem of CA {number}\n",
        subject="5ub1ec7",
        status=CACertificateStatus.INACTIVE,
        auto_registration_status=AutoRegistrationStatus.DISABLE,
        mode=CertificateMode.DEFAULT,
        creation_date=created,
        last_modified_date=created,
        not_before=NOW,
        not_after=NOW + dt.timedelta(days=3650),
        generation_id=f"generation-{number}",
    )
    return dataclasses.replace(record, **changes)


def thing(name: str = "lamp", **changes: Any) -> ThingRecord:
    record = ThingRecord(scope=SCOPE, thing_name=ThingName(name), thing_id=f"id-of-{name}", creation_date=NOW)
    return dataclasses.replace(record, **changes)


def thing_group(name: str = "hall", *, parent: str | None = None, **changes: Any) -> ThingGroupRecord:
    record = ThingGroupRecord(
        scope=SCOPE,
        group_name=ThingGroupName(name),
        group_id=f"id-of-{name}",
        ancestors=() if parent is None else (ThingGroupName(parent),),
        creation_date=NOW,
    )
    return dataclasses.replace(record, **changes)


def policy(name: str = "allow", **changes: Any) -> PolicyRecord:
    record = PolicyRecord(
        scope=SCOPE,
        policy_name=PolicyName(name),
        default_version_id="1",
        document=ALLOW,
        creation_date=NOW,
        last_modified_date=NOW,
        generation_id="00" * 32,
    )
    return dataclasses.replace(record, **changes)


TEMPLATE_BODY = (
    '{"Parameters":{"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{"certificate":{'
    '"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}}}}'
)
"""Of every type: the certificate becomes ACTIVE, and nothing else."""
ROLE = "arn:aws:iam::123456789012:role/provisioning"


def provisioning_template(name: str = "fleet", **changes: Any) -> ProvisioningTemplateRecord:
    """A template of type FLEET_PROVISIONING that is enabled and has no hook."""
    record = ProvisioningTemplateRecord(
        scope=SCOPE,
        template_name=TemplateName(name),
        type=TemplateType.FLEET_PROVISIONING,
        description=None,
        enabled=True,
        role_arn=ROLE,
        hook=None,
        default_version_id=1,
        body=TEMPLATE_BODY,
        creation_date=NOW,
        last_modified_date=NOW,
    )
    return dataclasses.replace(record, **changes)


def account(scope: Scope = SCOPE, **changes: Any) -> AccountRecord:
    record = AccountRecord(account_id=scope.account, name="", status=AccountStatus.ENABLED, creation_date=NOW)
    return dataclasses.replace(record, **changes)


def access_key(number: int = 1, **changes: Any) -> AccessKeyRecord:
    record = AccessKeyRecord(
        access_key_id=f"AKIATESTTESTTEST{number:04d}",
        secret=f"secret-{number}",
        account_id=SCOPE.account,
        creation_date=NOW + dt.timedelta(seconds=number),
        active=True,
    )
    return dataclasses.replace(record, **changes)


_migrated: list[bytes] = []


async def _empty_database() -> bytes:
    """The file of a store that was just made: migrating takes longer than most tests."""
    if not _migrated:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "handfast.db"
            await (await SQLStore.open(path)).close()
            _migrated.append(path.read_bytes())
    return _migrated[0]


@asynccontextmanager
async def sqlite_store(directory: Path, **options: Any) -> AsyncIterator[SQLStore]:
    """The store in the directory; made if there is none."""
    path = directory / "handfast.db"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(await _empty_database())
    store = await SQLStore.open(directory / "handfast.db", **options)
    try:
        yield store
    finally:
        await store.close()


async def with_accounts(store: SQLStore) -> None:
    """The accounts of SCOPE and OTHER_ACCOUNT exist."""
    for scope in (SCOPE, OTHER_ACCOUNT):
        await store.create_account(account(scope), cause())


# --- real certificates ----------------------------------------------------------------------------------------------


@functools.cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def self_signed(
    name: str = "device", *, not_before: dt.datetime = NOW, not_after: dt.datetime = NOW + dt.timedelta(days=9)
) -> str:
    """A certificate in PEM that breaks no rule unless asked to; another name is another certificate."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=_key().public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=not_before,
        not_valid_after=not_after,
    )
    return builder.sign(_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def pem_id(pem: str) -> CertificateId:
    return CertificateId(x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex())


@dataclass(frozen=True)
class _Issued:
    certificate_pem: str
    public_key_pem: str = "public"
    private_key_pem: str = "-----BEGIN RSA PRIVATE KEY----- private"


class FakeIssuer:
    """Issues a new certificate whatever is asked, but for the request `bad`."""

    async def create_keys_and_certificate(self) -> _Issued:
        return _Issued(self_signed("AWS IoT Certificate"))

    async def create_provisioning_claim(self) -> _Issued:
        return _Issued(self_signed("AWS IoT Certificate", not_after=NOW + dt.timedelta(minutes=5)))

    async def issue_from_csr(self, csr_pem: str) -> str:
        if csr_pem == "bad":
            raise CertificateInputError("The request is not signed by its own key.", "signature")
        return self_signed("from csr")


# --- the control plane over it --------------------------------------------------------------------------------------


class FakeRefusals:
    def __init__(self) -> None:
        self.kept: list[Refusal] = []
        self.asked: list[tuple[str, AccountId | None, int]] = []

    def query(self, text: str, account_id: AccountId | None, limit: int) -> list[Refusal]:
        self.asked.append((text, account_id, limit))
        return self.kept


class NoBackups:
    """For tests that make none."""

    async def create(self) -> Backup:
        raise AssertionError("a backup was asked for")


def caller(scope: Scope | None = SCOPE, *, region: str = "us-east-1", at: dt.datetime = NOW) -> Caller:
    """A caller of the scope; None for the operator."""
    return Caller(
        account_id=None if scope is None else scope.account,
        region=region if scope is None else scope.region,
        access_key_id="AKIATESTTESTTEST0001",
        address="192.0.2.1",
        request_id="request-1",
        at=at,
    )


@dataclass
class Plane:
    """The handlers over a store. `notified` is what was announced; `call` calls an operation by its name."""

    store: SQLStore
    registry: Registry
    accounts: Accounts
    endpoints: EndpointDirectory
    refusals: FakeRefusals
    notified: list[Change] = field(default_factory=list)
    regions: list[str] = field(default_factory=list)
    handlers: dict[str, Handler] = field(default_factory=dict)

    async def call(self, operation: str, ctx: Caller | None = None, /, **members: Any) -> dict[str, Any]:
        return await self.handlers[operation](ctx or caller(), **members)


def registration_tasks(
    store: Any,
    registry: Registry,
    clock: Any,
    directory: Path | None = None,
    buckets: Mapping[str, Bucket] | None = None,
) -> RegistrationTasks:
    """Bulk registration tasks of the registry; their reports are in the directory."""
    files, entropy = ReportFiles(directory or Path("/nonexistent")), SystemEntropy()
    inputs = ConfiguredInputs(buckets or {}, SCOPE.account)
    links = ReportLinks(files, clock, entropy)
    things, gate = registry.thing_registration, registry.template_gate
    return RegistrationTasks(store, things, gate, registry.commit, entropy, clock, inputs, files, links)


class NoSightings:
    """Nobody was seen."""

    async def page(self, scope: Scope, trait: Trait, limit: int, after: str = "") -> list[Sighting]:
        del scope, trait, limit, after
        return []


class NoSessions:
    """`seam.Farewells` where nobody is connected."""

    def watch_principal(self, scope: Scope, certificate_id: CertificateId) -> Farewell:
        return Farewell(Farewells(), (scope, certificate_id), SystemClock())


async def make_plane(
    store: SQLStore,
    issuer: Any = None,
    *,
    backups: BackupMaker | None = None,
    runner: HookRunner | None = None,
    template_gate: TemplateGate | None = None,
) -> Plane:
    """Services and handlers over the store, as the composition root makes them."""
    entropy, clock = FakeEntropy(), FakeClock()
    notified: list[Change] = []
    regions: list[str] = []

    async def notify(changes: Sequence[Change]) -> None:
        notified.extend(changes)
        await endpoints.changed(changes)
        await domains.directory.changed(changes)

    async def ensure_region(region: str) -> None:
        regions.append(region)

    async def no_observations(scope: Scope) -> list[Observation]:
        return []

    endpoints = EndpointDirectory(store, entropy, "Example.TEST", notify)
    await endpoints.load()
    commit = Committer(notify)
    hooks = Hooks(store, runner or ThreadedHooks(), entropy, clock, PrometheusMeter(), commit)
    registry = Registry(store, issuer or FakeIssuer(), entropy, notify, template_gate=template_gate, hooks=hooks)
    accounts = Accounts(store, entropy, clock, notify)
    refusals = FakeRefusals()
    audit = Audit(store, sealer_of(store, clock))
    providers = CertificateProviders(store, hooks, clock, commit)
    tasks = registration_tasks(store, registry, clock)
    no_rollover: Any = None  # has a PKI of its own: tests of the service and end to end
    domains = domain_plane(store, endpoints, clock, entropy, notify, ensure_region=ensure_region)
    iot = build_handlers(registry, endpoints, ensure_region, tasks, providers, domains.domains)
    handlers = iot | build_handfast_handlers(
        registry,
        accounts,
        endpoints,
        ensure_region,
        refusals,
        backups or NoBackups(),
        audit,
        Checks(store, no_observations, clock, entropy),
        WhatIf(store, PrincipalCache(store, clock), None),
        hooks,
        ProvisioningRuns(store, FirstProvisioning(store, registry.provisioner)),
        Revocations(registry.certificates, NoSessions(), PrometheusMeter()),
        domains.certificates,
        no_rollover,
        NoSightings(),
    )
    return Plane(store, registry, accounts, endpoints, refusals, notified, regions, handlers)
