"""Just-in-time registration: which unknown certificates a registered CA brings in, and what the account hears."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support.first_connections import FIRST, SECOND, FirstConnections, first_connections, presented
from tests.support.own_ca import DAY, OwnCA, named
from tests.support.principals import request
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, cause, certificate, policy

from handfast.core.identity.domains import ApplicationProtocol
from handfast.core.identity.records import (
    AccountStatus,
    AutoRegistrationStatus,
    CACertificateStatus,
    CertificateMode,
    CertificateStatus,
)
from handfast.errors import StoreUnavailable
from handfast.seam import Admitted, Awaiting, ListenerKind
from handfast.services.just_in_time import JustInTimeLimits
from handfast.services.rates import KeyedBuckets

NOW_MS = 1893553445678
JUST = "CERTIFICATE_JUST_REGISTERED"
PENDING = "CERTIFICATE_PENDING_ACTIVATION"
UNKNOWN = "CERTIFICATE_NOT_REGISTERED"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FirstConnections]:
    async with first_connections(tmp_path) as made:
        yield made


# --- the attempt, the event, the activation -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(CertificateMode))
@pytest.mark.parametrize("sni", ["localhost", FIRST])
async def test_a_first_connection_registers_tells_and_refuses(
    world: FirstConnections, mode: CertificateMode, sni: str
) -> None:
    ca = OwnCA()
    await world.register_ca(ca, mode=mode)
    who = presented(ca.issue())
    assert [JUST] == await world.codes(who, sni)
    record = await world.registered(who)
    assert record is not None
    assert (CertificateStatus.PENDING_ACTIVATION, ca.id, mode) == (record.status, record.ca_certificate_id, record.mode)
    assert [
        (
            f"$aws/events/certificates/registered/{ca.id}",
            {
                "certificateId": who.certificate_id,
                "caCertificateId": ca.id,
                "timestamp": NOW_MS,
                "certificateStatus": "PENDING_ACTIVATION",
                "awsAccountId": SCOPE.account,
                "certificateRegistrationTimestamp": None,
            },
        )
    ] == world.events


async def test_every_attempt_is_told_while_it_waits_and_the_first_time_is_remembered_over_a_restart(
    world: FirstConnections,
) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())
    await world.codes(who)
    for restart in (False, True):
        world.pass_time(2)
        if restart:
            world.start()
            await world.load()
        assert [PENDING] == await world.codes(who)
        event = world.events[-1][1]
        assert str(NOW_MS) == event["certificateRegistrationTimestamp"]
        assert NOW_MS + (4000 if restart else 2000) == event["timestamp"]
    assert 1 == len(world.events), "since the restart"


async def test_an_activated_one_gets_in_and_needs_a_policy_as_ever(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())
    await world.codes(who)
    await world.set_status(who, CertificateStatus.ACTIVE)
    world.pass_time(0.1)
    verdict = await world.connect(who)
    assert isinstance(verdict, Admitted)
    assert 1 == len(world.events)


async def test_a_handshake_alone_changes_nothing(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())
    before = await world.store.audit_position()
    verdict = await world.verdict.identify(who.facts())
    assert Awaiting(SCOPE, who.certificate_id, FIRST, ca.id) == verdict
    assert (await world.registered(who), before, []) == (None, await world.store.audit_position(), world.events)
    assert 0 == len(world.refusals)


async def test_only_mqtt_registers(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())
    assert [UNKNOWN, "FIRST_CONNECTION_OVER_HTTPS"] == await world.codes(who, listener=ListenerKind.HTTPS)
    assert await world.registered(who) is None
    await world.codes(who)
    assert [PENDING, "FIRST_CONNECTION_OVER_HTTPS"] == await world.codes(who, listener=ListenerKind.HTTPS)
    assert 1 == len(world.events)


async def test_on_the_port_where_alpn_decides_mqtt_registers(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    for alpn in ("x-amzn-http-ca", None):
        who = presented(ca.issue())
        said = await world.codes(who, listener=ListenerKind.ALPN, alpn=alpn)
        assert [UNKNOWN, "FIRST_CONNECTION_OVER_HTTPS"] == said
        assert await world.registered(who) is None
    assert [JUST] == await world.codes(presented(ca.issue()), listener=ListenerKind.ALPN, alpn="x-amzn-mqtt-ca")
    world.protocol_of = lambda _: ApplicationProtocol.SECURE_MQTT  # its domain configuration says so
    world.start()
    await world.load()
    assert [JUST] == await world.codes(presented(ca.issue()), listener=ListenerKind.ALPN)


async def test_the_server_name_is_needed(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())
    assert ["SNI_REQUIRED", UNKNOWN] == await world.codes(who, None)
    await world.codes(who)
    assert [PENDING, "SNI_REQUIRED"] == await world.codes(who, None)
    assert ["ENDPOINT_UNKNOWN", UNKNOWN] == await world.codes(presented(ca.issue()), "evil.example")


async def test_the_scope_of_the_ca_and_no_other(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca, OTHER_ACCOUNT)
    who = presented(ca.issue())
    assert [UNKNOWN] == await world.codes(who, FIRST), "the endpoint of an account that has no such CA"
    assert [JUST] == await world.codes(who), "a local name stands for the account whose DEFAULT CA signed it"
    assert await world.registered(who, OTHER_ACCOUNT) is not None
    assert await world.registered(who) is None


async def test_an_sni_only_ca_of_several_accounts_registers_where_the_device_connects(world: FirstConnections) -> None:
    ca = OwnCA()
    for scope in (SCOPE, OTHER_ACCOUNT):
        await world.register_ca(ca, scope, mode=CertificateMode.SNI_ONLY)
    who = presented(ca.issue())
    assert [JUST] == await world.codes(who, SECOND)
    assert await world.registered(who) is None
    world.pass_time(1)
    assert [JUST] == await world.codes(who, FIRST)


# --- which CA ------------------------------------------------------------------------------------------------------


async def test_a_ca_that_is_switched_off_stops_at_once(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who, waiting = presented(ca.issue()), presented(ca.issue("waiting"))
    await world.codes(waiting)
    for _ in range(2):
        facts = who.facts()
        awaiting = await world.verdict.identify(facts)
        assert isinstance(awaiting, Awaiting)
        await world.update_ca(ca, status=CACertificateStatus.INACTIVE)
        refused = await world.verdict.provision(facts, awaiting, request())
        assert not isinstance(refused, Admitted)
        assert ["CA_DOES_NOT_REGISTER"] == [
            reason.code.value for reason in world.refusals.query(refused.trace_id, None, 1)[0].reasons
        ]
        assert [UNKNOWN, "CA_DOES_NOT_REGISTER"] == await world.codes(who)
        assert [PENDING] == await world.codes(waiting)
        await world.update_ca(
            ca, status=CACertificateStatus.ACTIVE, auto_registration_status=AutoRegistrationStatus.DISABLE
        )
        assert [UNKNOWN, "CA_DOES_NOT_REGISTER"] == await world.codes(who)
        await world.update_ca(ca, auto_registration_status=AutoRegistrationStatus.ENABLE)
        world.pass_time(1)
    assert 1 == len(world.events)
    assert [JUST] == await world.codes(who)


async def test_what_memory_believes_of_a_ca_is_not_enough(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    await world.store.update_ca_certificate(  # and nobody is told
        SCOPE, ca.id, status=None, auto_registration_status=AutoRegistrationStatus.DISABLE, cause=cause()
    )
    who = presented(ca.issue())
    assert ["CA_DOES_NOT_REGISTER"] == await world.codes(who)
    assert await world.registered(who) is None


async def test_an_answer_about_a_ca_that_changed_meanwhile_is_not_remembered(
    world: FirstConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    changes = await world.store.update_ca_certificate(
        SCOPE, ca.id, status=None, auto_registration_status=AutoRegistrationStatus.DISABLE, cause=cause()
    )
    record = await world.store.ca_certificate(SCOPE, ca.id)

    async def at_once(*_: object) -> object:
        return record

    monkeypatch.setattr(world.store, "ca_certificate", at_once)
    facts = presented(ca.issue()).facts()
    waiting = asyncio.ensure_future(world.vouching.vouch(SCOPE, facts))
    await asyncio.sleep(0)  # its candidates are chosen
    await world.vouching.changed(changes)
    await waiting
    assert () == await world.vouching.vouch(SCOPE, facts)


async def test_a_ca_that_cannot_be_read_vouches_for_nobody(
    world: FirstConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = OwnCA()
    await world.register_ca(ca)

    async def gone(*_: Any) -> None:
        raise StoreUnavailable("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "ca_certificate", gone)
        await world.update_ca(ca, auto_registration_status=AutoRegistrationStatus.DISABLE)
        assert UNKNOWN == (await world.codes(presented(ca.issue())))[0]


def constrained(**trees: list[x509.GeneralName]) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    given = {"permitted_subtrees": None, "excluded_subtrees": None} | trees
    return ((x509.NameConstraints(**given), True),)  # type: ignore[arg-type]


def usage(*, digital_signature: bool) -> x509.KeyUsage:
    others: dict[str, Any] = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False
    )
    return x509.KeyUsage(
        digital_signature=digital_signature, key_encipherment=True, encipher_only=False, decipher_only=False, **others
    )


async def test_hostile_issuers(world: FirstConnections) -> None:
    root = OwnCA("Root", path_length=0)
    below = OwnCA("Below", parent=root)
    no_ca, no_signer = OwnCA("No CA", ca=False), OwnCA("No signer", key_cert_sign=False)
    expired, early = OwnCA("Old", not_after=NOW - DAY / 2), OwnCA("Early", not_before=NOW + DAY)
    lamps = OwnCA("Lamps", extensions=constrained(permitted_subtrees=[x509.DirectoryName(named("lamp"))]))
    for ca in (root, no_ca, no_signer, expired, early, lamps):
        await world.register_ca(ca)
    refused = {
        "one of another key, which only bears the name": (OwnCA("Root").issue(), ["CA_DOES_NOT_VOUCH"]),
        "an intermediate below the registered one": (below.issue(), []),
        "an intermediate itself, beyond the path length": (below.pem, ["CERTIFICATE_PURPOSE_REFUSED"]),
        "the CA itself": (root.pem, ["CERTIFICATE_PURPOSE_REFUSED"]),
        "CA:FALSE": (no_ca.issue(), ["CA_DOES_NOT_VOUCH"]),
        "no keyCertSign": (no_signer.issue(), ["CA_DOES_NOT_VOUCH"]),
        "an expired CA": (expired.issue(), ["CA_DOES_NOT_VOUCH"]),
        "a CA of the future": (early.issue(), ["CA_DOES_NOT_VOUCH"]),
        "outside the name constraints": (lamps.issue("door"), ["CA_DOES_NOT_VOUCH"]),
    }
    for what, (pem, codes) in refused.items():
        who = presented(pem)
        found = await world.codes(who)
        assert [UNKNOWN, *codes] == found[: 1 + len(codes)], what
        assert await world.registered(who) is None, what
    assert [] == world.events
    assert [JUST] == await world.codes(presented(lamps.issue("lamp")))


async def test_hostile_leaves(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    server_only = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    refused = {
        "expired": (ca.issue(not_before=NOW - 9 * DAY, not_after=NOW - DAY), "CERTIFICATE_EXPIRED"),
        "of the future": (ca.issue(not_before=NOW + DAY, not_after=NOW + 9 * DAY), "CERTIFICATE_NOT_YET_VALID"),
        "a curve of Bitcoin": (ca.issue(key=ec.generate_private_key(ec.SECP256K1())), "CERTIFICATE_KEY_REFUSED"),
        "for servers": (ca.issue(extensions=((server_only, False),)), "CERTIFICATE_PURPOSE_REFUSED"),
        "not for signatures": (
            ca.issue(extensions=((usage(digital_signature=False), True),)),
            "CERTIFICATE_PURPOSE_REFUSED",
        ),
    }
    for what, (pem, code) in refused.items():
        who = presented(pem)
        assert [UNKNOWN, code] == await world.codes(who), what
        assert await world.registered(who) is None, what
    fine = ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False), (usage(digital_signature=True), True))
    assert [JUST] == await world.codes(presented(ca.issue(extensions=fine)))


async def test_validity_is_asked_each_time(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue(not_after=NOW + DAY))
    assert isinstance(await world.verdict.identify(who.facts()), Awaiting)
    world.pass_time(2 * 86400)
    assert [UNKNOWN, "CERTIFICATE_EXPIRED"] == await world.codes(who)


async def test_two_cas_of_one_name_and_key_are_one_too_many(world: FirstConnections) -> None:
    ca = OwnCA()
    renewed = OwnCA(key=ca.key, not_after=NOW + 999 * DAY)
    namesake = OwnCA()
    for each in (ca, namesake):
        await world.register_ca(each)
    assert [JUST] == await world.codes(presented(ca.issue())), "a namesake with another key is no obstacle"
    await world.register_ca(renewed)
    who = presented(ca.issue())
    assert [UNKNOWN, "CA_DOES_NOT_VOUCH"] == await world.codes(who)
    await world.update_ca(ca, auto_registration_status=AutoRegistrationStatus.DISABLE)
    assert [JUST] == await world.codes(who)
    record = await world.registered(who)
    assert record is not None
    assert renewed.id == record.ca_certificate_id


# --- what is known against the certificate ------------------------------------------------------------------------


async def test_a_revoked_and_deleted_one_does_not_come_back(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())
    await world.codes(who)
    await world.set_status(who, CertificateStatus.REVOKED)
    world.pass_time(1)
    assert ["CERTIFICATE_REVOKED"] == await world.codes(who)
    await world.notify(await world.store.delete_certificate(SCOPE, who.certificate_id, force=False, cause=cause()))
    assert ["CERTIFICATE_REVOKED"] == await world.codes(who)
    assert await world.registered(who) is None


@pytest.mark.parametrize("mode", list(CertificateMode))
async def test_a_transferred_one_does_not_register_itself_back(world: FirstConnections, mode: CertificateMode) -> None:
    ca = OwnCA()
    await world.register_ca(ca, mode=mode)
    who = presented(ca.issue())
    await world.codes(who, FIRST)
    await world.set_status(who, CertificateStatus.INACTIVE)
    store, target = world.store, OTHER_ACCOUNT.account
    await world.notify(
        await store.transfer_certificate(SCOPE, who.certificate_id, target=target, message=None, cause=cause())
    )
    world.pass_time(1)
    assert ["CERTIFICATE_PENDING_TRANSFER"] == await world.codes(who, FIRST)
    if mode is CertificateMode.SNI_ONLY:
        await world.register_ca(ca, OTHER_ACCOUNT, mode=mode)
        assert ["CERTIFICATE_PENDING_TRANSFER"] == await world.codes(who, SECOND), "it waits to be accepted there"
    await world.notify(
        await store.accept_transfer(OTHER_ACCOUNT, who.certificate_id, status=CertificateStatus.INACTIVE, cause=cause())
    )
    world.pass_time(1)
    assert ["CERTIFICATE_TRANSFERRED"] == await world.codes(who, FIRST)
    assert await world.registered(who) is None
    assert 1 == len(world.events)


async def test_one_that_another_account_has_in_default_mode_is_left_alone(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca, mode=CertificateMode.SNI_ONLY)
    who = presented(ca.issue())
    theirs = certificate(1, scope=OTHER_ACCOUNT, certificate_id=who.certificate_id, status=CertificateStatus.ACTIVE)
    await world.store.insert_certificate(theirs, cause())
    assert ["ENDPOINT_OF_ANOTHER_ACCOUNT", UNKNOWN] == await world.codes(who, FIRST)
    assert await world.registered(who) is None


async def test_one_that_fleet_provisioning_left_waiting_is_left_alone(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())
    waiting = certificate(1, certificate_id=who.certificate_id, status=CertificateStatus.PENDING_ACTIVATION)
    await world.store.insert_certificate(waiting, cause())
    assert [PENDING] == await world.codes(who)
    assert [] == world.events


async def test_a_disabled_account_takes_nobody_in(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    await world.notify(await world.store.set_account_status(SCOPE.account, AccountStatus.DISABLED, cause()))
    who = presented(ca.issue())
    assert ["ACCOUNT_DISABLED"] == await world.codes(who)
    assert await world.registered(who) is None


async def test_a_registration_on_purpose_wins_the_race(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())
    facts = who.facts()
    awaiting = await world.verdict.identify(facts)
    assert isinstance(awaiting, Awaiting)
    active = certificate(1, certificate_id=who.certificate_id, status=CertificateStatus.ACTIVE)
    await world.notify(await world.store.insert_certificate(active, cause()))
    await world.notify(await world.store.create_policy(policy(), cause()))
    assert isinstance(await world.verdict.provision(facts, awaiting, None), Admitted)  # type: ignore[arg-type]
    assert [] == world.events


# --- rates ---------------------------------------------------------------------------------------------------------


async def test_one_attempt_and_one_event_a_second(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())
    assert [JUST] == await world.codes(who)
    assert ["LIMIT_EXCEEDED"] == await world.codes(who)
    world.pass_time(0.9)
    assert ["LIMIT_EXCEEDED"] == await world.codes(who)
    world.pass_time(0.2)
    assert [PENDING] == await world.codes(who)
    assert 2 == len(world.events)


async def test_connections_at_once_share_one_attempt(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    facts = presented(ca.issue()).facts()
    awaiting = await world.verdict.identify(facts)
    assert isinstance(awaiting, Awaiting)
    # In one turn of the loop: no answer of the store is there before the last one asks.
    refused = await asyncio.gather(*(world.verdict.provision(facts, awaiting, request()) for _ in range(3)))
    assert [[JUST]] * 3 == [world.codes_of(each) for each in refused]
    assert 1 == len(world.events)


async def test_a_flood_from_one_address_or_under_one_ca_is_limited(tmp_path: Path) -> None:
    limits = JustInTimeLimits(per_second=2)
    async with first_connections(tmp_path, limits=limits) as world:
        ca, other = OwnCA(), OwnCA("Other")
        for each in (ca, other):
            await world.register_ca(each)
        key = ec.generate_private_key(ec.SECP256R1())
        leaves = [presented(ca.issue(f"lamp {number}", key=key)) for number in range(6)]
        found = [await world.codes(who) for who in leaves]
        assert [[JUST]] * 4 + [["LIMIT_EXCEEDED"]] * 2 == found
        assert ["LIMIT_EXCEEDED"] == await world.codes(presented(other.issue())), "the address is at its limit"
        assert ["LIMIT_EXCEEDED"] == await world.codes(leaves[4], address="192.0.2.8"), "and so is the CA"
        assert [JUST] == await world.codes(presented(other.issue()), address="192.0.2.8")
        world.pass_time(0.5)
        assert [JUST] == await world.codes(leaves[4])
        assert 6 == len(world.events)


async def test_a_flood_does_not_fill_the_registry(tmp_path: Path) -> None:
    async with first_connections(tmp_path, limits=JustInTimeLimits(waiting=2)) as world:
        ca = OwnCA()
        await world.register_ca(ca)
        leaves = [presented(ca.issue(f"lamp {number}")) for number in range(3)]
        assert [[JUST], [JUST], ["LIMIT_EXCEEDED"]] == [await world.codes(who) for who in leaves]
        assert await world.registered(leaves[2]) is None
        world.pass_time(1)
        assert [PENDING] == await world.codes(leaves[0]), "those that wait are still told of"
        await world.set_status(leaves[0], CertificateStatus.ACTIVE)
        world.pass_time(10)
        assert [JUST] == await world.codes(leaves[2])


async def test_what_waits_to_be_settled_is_bounded(world: FirstConnections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handfast.services.just_in_time.MAX_ATTEMPTS", 2)
    ca = OwnCA()
    await world.register_ca(ca)
    leaves = [presented(ca.issue(f"lamp {number}")) for number in range(3)]
    found = await asyncio.gather(*(world.codes(who) for who in leaves))
    assert [[JUST], [JUST], ["LIMIT_EXCEEDED"]] == sorted(found)
    (late,) = (who for who, codes in zip(leaves, found, strict=True) if codes != [JUST])
    assert [JUST] == await world.codes(late)


def test_buckets_are_bounded() -> None:
    buckets = KeyedBuckets(burst=1, per_second=1, limit=10)
    for number in range(1000):
        buckets.take(number, 0.0)
        assert len(buckets) <= 10
    assert not buckets.available(999, 0.5)
    assert buckets.available(999, 1.0)


async def test_an_error_inside_refuses(world: FirstConnections, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.store, "register_just_in_time", broken)
    assert ["INTERNAL"] == await world.codes(who)
    monkeypatch.undo()
    world.pass_time(1)
    assert [JUST] == await world.codes(who)


async def test_what_was_under_way_at_the_end_is_committed(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue())
    running = asyncio.ensure_future(world.connect(who))
    while not world.just_in_time._commit._running:
        await asyncio.sleep(0)
    await world.just_in_time.close()
    assert await world.registered(who) is not None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_the_instants_of_the_events_are_milliseconds() -> None:
    assert NOW_MS == (NOW - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
