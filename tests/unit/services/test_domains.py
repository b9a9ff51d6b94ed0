"""Domain configurations over a store: two processes that share it, keys that are gone, certificates replaced."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.domain_plane import DomainPlane, MemoryKeys, domain_plane
from tests.support.domains import private_ca, private_intermediate
from tests.support.registry import OTHER_ACCOUNT, SCOPE, FakeClock, cause, sqlite_store, with_accounts
from tests.support.tls_ca import Issued, issue, new_key

from handfast.core.identity.domains import (
    ApplicationProtocol,
    AuthenticationType,
    CertificateHealth,
    DomainConfigurationEdit,
    DomainConfigurationName,
    DomainStatus,
)
from handfast.core.identity.refusal import ReasonCode
from handfast.errors import (
    CertificateValidationError,
    DeleteConflictError,
    InvalidRequestError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    StoreUnavailable,
)
from handfast.ports import Change
from handfast.seam import ListenerKind, TLSFacts
from handfast.services import domain_directory
from handfast.services.endpoints import EndpointDirectory
from handfast.services.server_certificates import Served, arn_of
from handfast.telemetry.entropy import SystemEntropy

DOMAIN = "mqtt.example.org"
PLANT = DomainConfigurationName("plant")


class TodaysClock(FakeClock):
    """The certificates of these tests are valid today."""

    def now(self) -> Any:
        import datetime as dt

        return dt.datetime.now(dt.UTC)


class Staples:
    """What is watched: name to leaf and responder."""

    def __init__(self) -> None:
        self.watched: dict[str, Any] = {}

    def watch(self, name: str, kind: str, leaf: Any, issuer: Any, *, responder: Any = None) -> None:
        self.watched[name] = (leaf, issuer, responder)

    def forget(self, name: str) -> None:
        self.watched.pop(name, None)

    def reports(self, name: str) -> list[Any]:
        return [name] if name in self.watched else []


class World:
    """Two processes over one store: what one of them does the other hears of."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.keys, self.staples = MemoryKeys(), Staples()
        entropy = SystemEntropy()
        self.endpoints = [EndpointDirectory(store, entropy, "plane.test", self._notify) for _ in range(2)]
        self.one, self.two = (
            domain_plane(
                store,
                endpoints,
                TodaysClock(),
                entropy,
                self._notify,
                keys=self.keys,
                staples=self.staples,
                public_roots=[],
                limit=3,
            )
            for endpoints in self.endpoints
        )

    async def _notify(self, changes: Sequence[Change]) -> None:
        for endpoints, process in zip(self.endpoints, (self.one, self.two), strict=True):
            await endpoints.changed(changes)
            await process.directory.changed(changes)

    async def imported(self, issued: Issued | None = None, name: str = "one", *, key: bool = True) -> Served:
        issued = issued or server()
        return await self.one.certificates.import_new(
            SCOPE,
            cause(),
            name,
            certificate_pem=issued.chain_pem.decode(),
            key_pem=issued.key_pem.decode() if key else None,
        )

    async def domain(self, name: str = DOMAIN, **given: Any) -> Served:
        served = await self.imported(server(name))
        root = await self.imported(private_ca(), "root", key=False)
        given = {"validation_certificate_arn": arn_of(root.record)} | given
        arns = [arn_of(served.record)]
        await self.one.domains.create(SCOPE, cause(), PLANT, domain_name=name, certificate_arns=arns, **given)
        return served

    async def update(self, **given: Any) -> None:
        await self.one.domains.update(SCOPE, cause(), PLANT, **given)

    async def again(self, served: Served, issued: Issued) -> Served:
        return await self.one.certificates.import_again(
            SCOPE,
            cause(),
            served.record.certificate_id,
            certificate_pem=issued.chain_pem.decode(),
            key_pem=issued.key_pem.decode(),
        )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        yield World(store)


def server(name: str = DOMAIN, which: int = 33) -> Issued:
    return issue(name, new_key("p256", which), private_intermediate(), names=(name,))


def facts(listener: ListenerKind = ListenerKind.MQTT, alpn: str | None = None, der: bytes = b"x") -> TLSFacts:
    given: dict[str, Any] = dict.fromkeys(("peer_address", "local_address", "version", "cipher", "chain_kind"), "")
    return TLSFacts(
        listener=listener,
        peer_port=1,
        certificate_der=der,
        certificate_id="",  # type: ignore[arg-type]
        sni=DOMAIN,
        alpn=alpn,
        group=None,
        **given,
    )


def told(process: DomainPlane, **given: Any) -> ReasonCode | None:
    reason = process.directory.refusal(DOMAIN, facts(**given))
    return None if reason is None else reason.code


async def unavailable(*_: object) -> None:
    raise StoreUnavailable("the disk")


async def test_what_one_process_does_the_other_serves(world: World) -> None:
    served = await world.domain()
    for process in (world.one, world.two):
        assert SCOPE == process.directory.resolve(DOMAIN.upper())
        assert {f"domain:{served.record.certificate_id}"} == set(process.sets.served)
        assert told(process) is None
    renewed = await world.again(served, server(which=34))
    for process in (world.one, world.two):
        ((kind, chain),) = process.sets.served.values()
        assert ("ecdsa", renewed.record.chain_pem.encode()) == (kind, chain + private_ca().pem), "without its root"
    await world.update(status=DomainStatus.DISABLED)
    for process in (world.one, world.two):
        assert [DOMAIN] == process.cut
        assert ReasonCode.DOMAIN_CONFIGURATION_DISABLED is told(process)
        assert process.sets.served  # so that the handshake goes through to the refusal
    await world.one.domains.delete(SCOPE, cause(), PLANT)
    for process in (world.one, world.two):
        assert process.directory.resolve(DOMAIN) is None
        assert {} == process.sets.served


async def test_connections_by_a_disabled_name_are_cut_though_its_certificate_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.domain()
    monkeypatch.setattr(world.store, "server_certificate", unavailable)
    await world.update(status=DomainStatus.DISABLED)
    assert [DOMAIN] == world.one.cut
    assert ReasonCode.DOMAIN_CONFIGURATION_DISABLED is told(world.one)


async def test_a_change_that_cannot_be_read_is_asked_for_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.domain()
    edit = DomainConfigurationEdit(status=DomainStatus.DISABLED)
    changes = await world.store.update_domain_configuration(SCOPE, PLANT, edit, cause=cause())
    with monkeypatch.context() as patched:
        patched.setattr(domain_directory, "AGAIN_S", 0.01)
        patched.setattr(world.store, "domain_configuration", unavailable)
        await world.one.directory.changed(changes)
        await asyncio.sleep(0)
        assert told(world.one) is None
    async with asyncio.timeout(5):
        while not world.one.cut:
            await asyncio.sleep(0.005)
    assert ReasonCode.DOMAIN_CONFIGURATION_DISABLED is told(world.one)


async def test_a_start_serves_what_the_registry_holds_or_says_invalid(world: World) -> None:
    served = await world.domain()
    after = domain_plane(
        world.store, world.endpoints[0], TodaysClock(), SystemEntropy(), world._notify, keys=world.keys
    )
    await after.directory.load()
    assert told(after) is None
    world.keys.kept.clear()
    lost = domain_plane(world.store, world.endpoints[0], TodaysClock(), SystemEntropy(), world._notify, keys=world.keys)
    await lost.directory.load()
    assert {} == lost.sets.served
    assert ReasonCode.DOMAIN_CONFIGURATION_INVALID is told(lost)
    shown = await lost.domains.describe(SCOPE, cause(), PLANT)
    assert CertificateHealth.INVALID is shown.health
    assert "private key" in shown.detail
    await world.again(served, server(which=34))
    assert (CertificateHealth.VALID, "") == await health(world.one)


async def test_one_certificate_that_cannot_be_served_keeps_no_server_from_starting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    await world.domain()
    after = domain_plane(
        world.store, world.endpoints[0], TodaysClock(), SystemEntropy(), world._notify, keys=world.keys
    )
    monkeypatch.setattr(world.keys, "signing_key", full)
    await after.directory.load()
    assert ReasonCode.DOMAIN_CONFIGURATION_INVALID is told(after)


async def test_an_invalid_replacement_is_not_kept_and_says_every_reason(world: World) -> None:
    served = await world.domain()
    before = dict(world.one.sets.served), dict(world.keys.kept)
    expired = issue(
        "x.org", new_key("p256", 35), private_intermediate(), names=("x.org",), not_before_days=-9, not_after_days=-1
    )
    refused = await world.again(served, expired)
    assert served.record.chain_pem == refused.record.chain_pem
    found, detail = await health(world.one)
    assert CertificateHealth.INVALID is found
    for words in ("expired", "Neither CN nor subjectAltName", f"It is not for {DOMAIN}"):
        assert words in detail
    assert before == (world.one.sets.served, world.keys.kept)


async def test_the_same_import_twice_at_a_time_leaves_its_key(world: World) -> None:
    served = await world.domain()
    renewed = server(which=34)
    await asyncio.gather(world.again(served, renewed), world.again(served, renewed))
    record = (await world.one.certificates.get(SCOPE, served.record.certificate_id)).record
    assert renewed.chain_pem.decode().startswith(record.chain_pem.split("-----END")[0])
    assert record.key_name in world.keys.kept


async def test_the_key_before_stays_one_import_longer(world: World) -> None:
    served = await world.domain()
    first = set(world.keys.kept)
    await world.again(served, server(which=34))
    assert first < set(world.keys.kept)
    await world.again(served, server(which=35))
    assert 2 == len(world.keys.kept)
    assert not first & set(world.keys.kept)


async def test_a_key_of_another_changes_nothing_and_is_not_told(world: World) -> None:
    issued = server()
    wrong = dataclasses.replace(issued, key=new_key("p256", 36))
    with pytest.raises(InvalidRequestError, match="not that of the first certificate") as refused:
        await world.imported(wrong)
    assert "PRIVATE" not in str(refused.value)
    assert {} == world.keys.kept
    with pytest.raises(InvalidRequestError, match=r"not PEM of PKCS#8"):
        await world.one.certificates.import_new(
            SCOPE, cause(), "x", certificate_pem=issued.pem.decode(), key_pem="-----BEGIN PRIVATE KEY-----\nAAAA\n"
        )
    served = await world.domain()
    with pytest.raises(InvalidRequestError, match="with its private key"):
        await world.one.certificates.import_again(
            SCOPE, cause(), served.record.certificate_id, certificate_pem=issued.pem.decode(), key_pem=None
        )


async def test_a_certificate_is_given_its_key_later(world: World) -> None:
    issued = server()
    served = await world.imported(issued, key=False)
    with pytest.raises(InvalidRequestError, match="with that same certificate"):
        await world.again(served, server(which=37))
    wrong = dataclasses.replace(issued, key=new_key("p256", 36))
    with pytest.raises(InvalidRequestError, match="not that of the first certificate"):
        await world.again(served, wrong)
    assert {} == world.keys.kept
    given = await world.again(served, issued)
    assert given.record.certificate_id == served.record.certificate_id
    assert {given.record.key_name} == set(world.keys.kept)
    await world.one.domains.create(
        SCOPE,
        cause(),
        PLANT,
        domain_name=DOMAIN,
        certificate_arns=[arn_of(given.record)],
        validation_certificate_arn=arn_of((await world.imported(private_ca(), "root", key=False)).record),
    )


async def test_what_can_never_be_served_goes_on_vouching_as_it_did(world: World) -> None:
    root = await world.imported(private_ca(), "root", key=False)
    with pytest.raises(InvalidRequestError, match="cannot be served"):
        await world.again(root, private_ca())
    assert root == await world.one.certificates.get(SCOPE, root.record.certificate_id)
    assert {} == world.keys.kept


async def test_a_name_that_is_taken_says_how_to_replace_it(world: World) -> None:
    for name, key, ending in (("one", True, "--cert FILE --key FILE"), ("two", False, "--cert FILE")):
        arn = arn_of((await world.imported(name=name, key=key)).record)
        with pytest.raises(ResourceAlreadyExistsError) as refused:
            await world.imported(name=name)
        assert refused.value.message.endswith(f"handfast server-cert import --arn {arn} {ending}")


async def test_names_limits_and_strangers(world: World) -> None:
    served = await world.domain()
    create = world.one.domains.create
    for name in ("plane.test", "x.plane.test", "LOCALHOST", "*.example.org", "a..b", "1.2.3.4", "x" * 64 + ".org"):
        with pytest.raises(InvalidRequestError, match="domainName"):
            await create(SCOPE, cause(), PLANT, domain_name=name, certificate_arns=[arn_of(served.record)])
    with pytest.raises(ResourceAlreadyExistsError, match="exists already"):
        await create(SCOPE, cause(), PLANT)
    for number in range(2):
        await create(SCOPE, cause(), DomainConfigurationName(f"m{number}"))
    with pytest.raises(LimitExceededError):
        await create(SCOPE, cause(), DomainConfigurationName("m3"))
    with pytest.raises(InvalidRequestError, match="does not exist in this account"):
        await create(
            OTHER_ACCOUNT, cause(), PLANT, domain_name="b.example.org", certificate_arns=[arn_of(served.record)]
        )
    with pytest.raises(ResourceNotFoundError):
        await world.one.certificates.get(OTHER_ACCOUNT, served.record.certificate_id)
    with pytest.raises(DeleteConflictError, match="plant"):
        await world.one.certificates.delete(SCOPE, cause(), served.record.certificate_id)


async def test_without_a_voucher_only_a_public_chain_is_taken(world: World) -> None:
    served = await world.imported()
    arns = [arn_of(served.record)]
    with pytest.raises(CertificateValidationError, match="validationCertificateArn"):
        await world.one.domains.create(SCOPE, cause(), PLANT, domain_name=DOMAIN, certificate_arns=arns)
    public = domain_plane(
        world.store,
        world.endpoints[0],
        TodaysClock(),
        SystemEntropy(),
        world._notify,
        keys=world.keys,
        public_roots=[private_ca().certificate],
    )
    await public.domains.create(SCOPE, cause(), PLANT, domain_name=DOMAIN, certificate_arns=arns)


async def test_staples_are_watched_while_they_are_asked_for(world: World) -> None:
    served = await world.domain()
    assert {} == world.staples.watched
    responder = await world.imported(private_ca(), "responder", key=False)
    await world.update(stapling=(True, arn_of(responder.record)))
    leaf, issuer, signer = world.staples.watched[f"domain:{served.record.certificate_id}"]
    assert (served.chain[0], private_intermediate().certificate) == (leaf, issuer)
    assert private_ca().certificate == signer
    await world.again(served, server(which=34))
    assert leaf != world.staples.watched[f"domain:{served.record.certificate_id}"][0]
    assert world.one.certificates.stapling(served)
    await world.update(stapling=(False, None))
    assert {} == world.staples.watched
    assert world.one.certificates.stapling(served) is None


async def test_a_root_may_be_the_issuer_that_is_asked_and_is_not_served(world: World) -> None:
    root = issue("Plant Root", new_key("p256", 51), ca=True)
    leaf = issue(DOMAIN, new_key("p256", 52), root, names=(DOMAIN,))
    voucher = await world.imported(root, "root", key=False)
    for chain, wanted in (((), False), ((root.certificate,), True)):
        served = await world.imported(Issued(leaf.certificate, leaf.key, chain), f"leaf-{wanted}")
        create = world.one.domains.create(
            SCOPE,
            cause(),
            PLANT,
            domain_name=DOMAIN,
            certificate_arns=[arn_of(served.record)],
            validation_certificate_arn=arn_of(voucher.record),
            stapling=(True, None),
        )
        if not wanted:
            with pytest.raises(InvalidRequestError, match="import it again with its chain"):
                await create
            continue
        await create
        name = f"domain:{served.record.certificate_id}"
        assert (leaf.certificate, root.certificate, None) == world.staples.watched[name]
        assert leaf.pem == world.one.sets.served[name][1]


async def test_a_self_signed_certificate_has_no_responder(world: World) -> None:
    alone = issue(DOMAIN, new_key("p256", 53), names=(DOMAIN,))
    arn = arn_of((await world.imported(alone)).record)
    with pytest.raises(InvalidRequestError, match="self-signed certificate has no issuer"):
        await world.one.domains.create(
            SCOPE,
            cause(),
            PLANT,
            domain_name=DOMAIN,
            certificate_arns=[arn],
            validation_certificate_arn=arn,
            stapling=(True, None),
        )


@pytest.mark.parametrize(
    ("pair", "allowed", "refused"),
    [
        (
            (AuthenticationType.AWS_X509, ApplicationProtocol.SECURE_MQTT),
            [
                {},
                {"listener": ListenerKind.ALPN},
                {"listener": ListenerKind.ALPN, "alpn": "x-amzn-mqtt-ca"},
            ],
            [
                {"listener": ListenerKind.HTTPS},
                {"listener": ListenerKind.ALPN, "alpn": "x-amzn-http-ca"},
                {"listener": ListenerKind.ALPN, "alpn": "http/1.1"},
                {"listener": ListenerKind.ALPN, "der": b""},
            ],
        ),
        (
            (AuthenticationType.AWS_X509, ApplicationProtocol.HTTPS),
            [{"listener": ListenerKind.HTTPS}, {"listener": ListenerKind.ALPN}],
            [{}, {"listener": ListenerKind.ALPN, "alpn": "x-amzn-mqtt-ca"}],
        ),
        (
            (AuthenticationType.AWS_SIGV4, ApplicationProtocol.HTTPS),
            [{"listener": ListenerKind.ALPN, "der": b""}],
            [{}, {"listener": ListenerKind.HTTPS}, {"listener": ListenerKind.ALPN, "alpn": "x-amzn-mqtt-ca"}],
        ),
    ],
)
async def test_what_a_pair_lets_in(
    world: World, pair: tuple[Any, Any], allowed: list[dict[str, Any]], refused: list[dict[str, Any]]
) -> None:
    await world.domain(authentication_type=pair[0], application_protocol=pair[1])
    assert [None] * len(allowed) == [told(world.one, **each) for each in allowed]
    assert [ReasonCode.PROTOCOL_NOT_OF_DOMAIN] * len(refused) == [told(world.one, **each) for each in refused]


async def health(process: DomainPlane) -> tuple[CertificateHealth | None, str]:
    shown = await process.domains.describe(SCOPE, cause(), PLANT)
    return shown.health, shown.detail
