"""Connections that an account's key signed for: judged by what the store says, cut when the key ends."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from tests.support.gateway import OTHER_SCOPE, SCOPE, FakeClock, FakePlane, facts

from handfast.core.identity.ids import CertificateId, Scope
from handfast.core.identity.records import AccessKeyRecord
from handfast.core.identity.refusal import ReasonCode, Refusal, Stage
from handfast.errors import StoreUnavailable
from handfast.ports import Change, ChangeKind
from handfast.seam import Admitted, ConnectRequest, Refused, SignedBy, TLSFacts
from handfast.services.account_keys import AccountKeys, PlaneByCredential
from handfast.services.accounts import Signer
from handfast.services.recording import Recorder

KEY = "AKIAAAAAAAAAAAAAAAAA"
SIGNED = SignedBy(KEY, SCOPE)
REQUEST = ConnectRequest(
    client_id="c", protocol_version=5, persistent=False, will_topic="w", will_retain=False, username=None
)


class Sink:
    """`ports.RefusalSink` that keeps everything."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []

    def trace_id(self) -> str:
        return "trace"

    def suppressing(self, address: str) -> bool:
        return False

    def record(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def name_client(self, trace_id: str, client_id: str) -> None: ...


class Cutter:
    """The part of `seam.DataPlane` that ends connections."""

    def __init__(self) -> None:
        self.live: set[tuple[Scope, CertificateId]] = set()
        self.cut: list[tuple[Scope, CertificateId, str]] = []
        self.asked_again = 0

    def live_principals(self) -> set[tuple[Scope, CertificateId]]:
        assert self.asked_again, "who is being judged has to be judged again before the others are looked at"
        return set(self.live)

    def disconnect_principal(self, scope: Scope, certificate_id: CertificateId, reason: str) -> int:
        self.cut.append((scope, certificate_id, reason))
        return 1

    def authorizations_changed(self) -> None:
        self.asked_again += 1


class Keys:
    """Account keys over a store of one key."""

    def __init__(self) -> None:
        record = AccessKeyRecord(
            access_key_id=KEY,
            secret="",
            account_id=SCOPE.account,
            creation_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            active=True,
        )
        self.signer: Signer | Exception | None = Signer(record)
        self.sink = Sink()
        self.cutter = Cutter()
        recorder = Recorder(self.sink, FakeClock())
        self.keys = AccountKeys(self._look_up, recorder, FakeClock(), lambda scope, _: f"{scope.region}.example")
        self.keys.command(self.cutter)  # type: ignore[arg-type]
        self.certificates = FakePlane()
        self.plane = PlaneByCredential(self.certificates, self.keys)
        self.facts: TLSFacts = dataclasses.replace(facts(), certificate_id=CertificateId(""), signed=SIGNED)

    async def _look_up(self, access_key_id: str) -> Signer | None:
        assert KEY == access_key_id
        if isinstance(self.signer, Exception):
            raise self.signer
        return self.signer

    def revoke(self) -> None:
        assert isinstance(self.signer, Signer)
        self.signer = Signer(dataclasses.replace(self.signer.key, active=False))

    async def admitted(self) -> Admitted:
        verdict = await self.plane.identify(self.facts)
        assert isinstance(verdict, Admitted)
        self.cutter.live.add((verdict.scope, verdict.certificate_id))
        return verdict


@pytest.fixture
def keys() -> Keys:
    return Keys()


async def test_it_is_never_judged_from_memory_and_lasts_a_day(keys: Keys) -> None:
    assert keys.plane.identify_now(keys.facts) is None
    verdict = await keys.admitted()
    assert (SCOPE, KEY, "us-east-1.example") == (verdict.scope, verdict.certificate_id, verdict.domain_name)
    assert 1.7e9 + 1000 + 86_400 == verdict.not_after
    assert "WEBSOCKET_TTL_EXPIRATION" == verdict.ends_with


async def test_the_name_that_was_asked_for_is_kept_in_its_one_form(keys: Keys) -> None:
    keys.keys._called = lambda _, name: name or ""
    keys.facts = dataclasses.replace(keys.facts, sni="MQTT.example.org.")
    assert "mqtt.example.org" == (await keys.admitted()).domain_name


@pytest.mark.parametrize("how", ["unknown", "revoked", "of another account", "disabled", "no store"])
async def test_who_may_not_sign_is_refused(keys: Keys, how: str) -> None:
    assert isinstance(keys.signer, Signer)
    match how:
        case "unknown":
            keys.signer = None
        case "revoked":
            keys.revoke()
        case "of another account":
            keys.signer = Signer(dataclasses.replace(keys.signer.key, account_id=OTHER_SCOPE.account))
        case "disabled":
            keys.signer = Signer(keys.signer.key, account_disabled=True)
        case _:
            keys.signer = StoreUnavailable("gone")
    assert Refused("trace") == await keys.plane.identify(keys.facts)
    (refusal,) = keys.sink.refusals
    codes = {"disabled": ReasonCode.ACCOUNT_DISABLED, "no store": ReasonCode.INTERNAL}
    assert codes.get(how, ReasonCode.API_UNKNOWN_KEY) == refusal.reasons[0].code
    assert (SCOPE.account, KEY) == (refusal.account, refusal.facts["access_key_id"])


async def test_it_may_do_everything_but_ask_for_certificates(keys: Keys) -> None:
    authorizer = keys.plane.connect(keys.facts, await keys.admitted(), REQUEST)
    assert not isinstance(authorizer, Refused)
    assert authorizer.publish("a")
    assert authorizer.retain("a")
    assert authorizer.subscribe("#")
    assert authorizer.receive("$aws/events/presence/connected/x")
    assert not authorizer.publish("$aws/certificates/create/json")
    assert "trace" == authorizer.last_trace_id
    assert [(Stage.PUBLISH, "c")] == [(refusal.stage, refusal.client_id) for refusal in keys.sink.refusals]


@pytest.mark.parametrize(
    "change", [Change(ChangeKind.ACCESS_KEY, None, KEY), Change(ChangeKind.ACCOUNT, None, SCOPE.account)]
)
async def test_connections_end_with_the_key(keys: Keys, change: Change) -> None:
    admitted = await keys.admitted()
    keys.cutter.live |= {(SCOPE, CertificateId("a" * 64)), (OTHER_SCOPE, CertificateId("AKIABBBBBBBBBBBBBBBB"))}
    authorizer = keys.plane.connect(keys.facts, admitted, REQUEST)
    assert not isinstance(authorizer, Refused)
    await keys.keys.changed([change])
    assert not keys.cutter.cut
    assert keys.plane.may_publish_will(admitted, authorizer, "w", False)
    before = authorizer.version
    keys.revoke()
    await keys.keys.changed([change])
    assert [(SCOPE, KEY, "AUTH_ERROR")] == keys.cutter.cut
    assert before != authorizer.version
    assert not any(
        may("a") for may in (authorizer.publish, authorizer.retain, authorizer.subscribe, authorizer.receive)
    )
    assert not keys.plane.may_publish_will(admitted, authorizer, "w", False)
    assert [Stage.WILL] == [refusal.stage for refusal in keys.sink.refusals]
    keys.plane.disconnected(admitted, authorizer, "AUTH_ERROR")
    assert not keys.certificates.gone


async def test_a_store_that_does_not_answer_cuts(keys: Keys) -> None:
    await keys.admitted()
    keys.signer = StoreUnavailable("gone")
    await keys.keys.changed([Change(ChangeKind.ACCESS_KEY, None, KEY)])
    assert 1 == len(keys.cutter.cut)


async def test_other_changes_cost_nothing(keys: Keys) -> None:
    await keys.keys.changed([Change(ChangeKind.THING, SCOPE, "thing")])
    assert not keys.cutter.asked_again


async def test_certificates_are_judged_by_their_own_verdict(keys: Keys) -> None:
    device = facts()
    admitted = keys.plane.identify_now(device)
    assert isinstance(admitted, Admitted)
    authorizer = keys.plane.connect(device, admitted, REQUEST)
    assert [authorizer] == keys.certificates.authorizers
    assert not isinstance(authorizer, Refused)
    keys.plane.disconnected(admitted, authorizer, "CONNECTION_LOST")
    assert ["CONNECTION_LOST"] == keys.certificates.gone
    keys.plane.refuse(Stage.PROTOCOL, (), device)
    assert 1 == len(keys.certificates.refusals)
