"""Fleet provisioning: what a device asks with a claim, and what it is told."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cbor2
import pytest
from tests.support.gateway import FakeMeter
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    SCOPE,
    FakeClock,
    FakeEntropy,
    FakeIssuer,
    cause,
    certificate,
    certificate_id,
    provisioning_template,
    self_signed,
    sqlite_store,
    thing,
    with_accounts,
)

from handfast.core.identity.ids import CertificateId, Scope, ThingName
from handfast.core.identity.records import CertificateRecord, CertificateStatus, ThingPrincipalType
from handfast.core.identity.refusal import ReasonCode
from handfast.core.provisioning.fleet import (
    STATUS_CODES,
    TOKEN_LIFE,
    ClaimLimits,
    OwnershipToken,
    RejectionCode,
    claim_limits,
)
from handfast.core.provisioning.records import PreProvisioningHook, TemplateType
from handfast.core.topics.reserved import request_topic
from handfast.errors import (
    HookDenied,
    InvalidRequestError,
    ProviderFailed,
    ServiceUnavailableError,
    StoreUnavailable,
)
from handfast.ports import Change, PageRequest
from handfast.seam import Request, Unanswered
from handfast.services import fleet
from handfast.services.commit import Committer
from handfast.services.fleet import FleetProvisioning
from handfast.services.provisioner import Provisioner
from handfast.services.recording import Recorder
from handfast.services.refusals import RefusalLog
from handfast.services.template_gate import TemplateGate
from handfast.services.unclaimed import MAX_WAIT_S, UnclaimedSweeper
from handfast.storage.sql import SQLStore

S = CertificateStatus
CLAIM, OTHER_CLAIM = certificate_id(50), certificate_id(51)
CREATE, FROM_CSR = "$aws/certificates/create/json", "$aws/certificates/create-from-csr/json"
CREATE_CBOR = "$aws/certificates/create/cbor"
PROVISION = "$aws/provisioning-templates/fleet/provision/json"
BODY = {
    "Parameters": {"Serial": {"Type": "String"}, "Site": {"Type": "String", "Default": "attic"}},
    "Resources": {
        "thing": {
            "Type": "AWS::IoT::Thing",
            "Properties": {"ThingName": {"Ref": "Serial"}, "AttributePayload": {"site": {"Ref": "Site"}}},
        },
        "certificate": {
            "Type": "AWS::IoT::Certificate",
            "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}},
        },
        "policy": {
            "Type": "AWS::IoT::Policy",
            "Properties": {
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}],
                }
            },
        },
    },
    "DeviceConfiguration": {"Site": {"Ref": "Site"}},
}
HOOK = PreProvisioningHook(target_arn="arn:aws:lambda:us-east-1:123456789012:function:gate")


class Hooks:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.overrides: Mapping[str, str] = {}
        self.error: Exception | None = None

    async def ask(self, scope: Scope, hook: PreProvisioningHook, **facts: Any) -> Mapping[str, str]:
        self.asked.append({"scope": scope, "hook": hook, **facts})
        if self.error is not None:
            raise self.error
        return self.overrides


class Providers:
    def __init__(self, pem: str | None = None, error: Exception | None = None) -> None:
        self.pem, self.error = pem, error
        self.asked: list[tuple[Any, ...]] = []

    async def issue(self, scope: Scope, csr_pem: str, *, client_id: str, principal: CertificateId) -> str | None:
        self.asked.append((scope, csr_pem, client_id, principal))
        if self.error is not None:
            raise self.error
        return self.pem


class World:
    """The service over a store with a claim certificate and the template `fleet`."""

    def __init__(self, store: SQLStore) -> None:
        self.store = store
        self.clock, self.entropy, self.meter = FakeClock(), FakeEntropy(), FakeMeter()
        self.issuer: Any = FakeIssuer()
        self.hooks: Hooks | None = Hooks()
        self.providers: Providers | None = None
        self.notified: list[Change] = []
        self.waiting = True
        self.refusals = RefusalLog(self.clock, self.entropy)

    def service(self) -> FleetProvisioning:
        commit = Committer(self.notify)
        return FleetProvisioning(
            self.store,
            self.issuer,
            Provisioner(self.store, self.entropy, commit, TemplateGate()),
            clock=self.clock,
            entropy=self.entropy,
            meter=self.meter,
            commit=commit,
            recorder=Recorder(self.refusals, self.clock),
            hooks=self.hooks,
            providers=self.providers,
        )

    async def notify(self, changes: Sequence[Change]) -> None:
        self.notified.extend(changes)

    def request(self, topic: str, payload: Any = b"", **changes: Any) -> Request:
        wanted = request_topic(topic)
        assert wanted is not None
        if not isinstance(payload, bytes):
            payload = cbor2.dumps(payload) if topic.endswith("cbor") else json.dumps(payload).encode()
        given: dict[str, Any] = {
            "scope": SCOPE,
            "certificate_id": CLAIM,
            "client_id": "lathe",
            "address": "192.0.2.7",
            "topic": topic,
            "wanted": wanted,
            "payload": payload,
            "waiting": lambda: self.waiting,
        }
        return Request(**{**given, **changes})

    async def ask(
        self, topic: str, payload: Any = b"", service: FleetProvisioning | None = None, **changes: Any
    ) -> dict[str, Any]:
        """The members of the reply and, under `outcome`, its topic's last level."""
        reply = await (service or self.service()).answer(self.request(topic, payload, **changes))
        assert reply is not None
        name, _, outcome = reply.topic.rpartition("/")
        assert topic == name
        members = cbor2.loads(reply.payload) if topic.endswith("cbor") else json.loads(reply.payload)
        return {**members, "outcome": outcome}

    async def create(self, **changes: Any) -> dict[str, Any]:
        made = await self.ask(CREATE, **changes)
        assert "accepted" == made["outcome"], made
        return made

    async def register(self, token: str, serial: str = "lamp", **changes: Any) -> dict[str, Any]:
        members = {"certificateOwnershipToken": token, "parameters": {"Serial": serial}}
        return await self.ask(PROVISION, members | changes.pop("members", {}), **changes)

    async def certificate(self, certificate_id: str) -> CertificateRecord | None:
        return await self.store.certificate(SCOPE, CertificateId(certificate_id))

    async def template(self, name: str = "fleet", **changes: Any) -> None:
        record = provisioning_template(name, **{"body": json.dumps(BODY), **changes})
        await self.store.create_provisioning_template(record, cause(), limit=10)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        for number in (50, 51):
            await store.insert_certificate(certificate(number, status=S.ACTIVE), cause())
        await store.insert_certificate(certificate(60, scope=OTHER_ACCOUNT, status=S.ACTIVE), cause())
        world = World(store)
        await world.template()
        yield world


def rejected(answer: dict[str, Any]) -> tuple[int, str]:
    assert {"outcome", "statusCode", "errorCode", "errorMessage"} == set(answer)
    assert "rejected" == answer["outcome"]
    return answer["statusCode"], answer["errorCode"]


# --- certificates


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (CREATE, b""),
        (CREATE, {}),
        (CREATE, {"unknown": 1}),
        (CREATE.replace("json", "cbor"), {}),
        (CREATE[:-4] + "cbor", b""),
    ],
)
async def test_create_keys_answers_four_members_and_registers_pending(world: World, topic: str, payload: Any) -> None:
    made = await world.ask(topic, payload)
    assert {"outcome", "certificateId", "certificatePem", "privateKey", "certificateOwnershipToken"} == set(made)
    assert len(made["certificateOwnershipToken"]) <= 512
    record = await world.certificate(made["certificateId"])
    assert record is not None
    assert (S.PENDING_ACTIVATION, None, made["certificatePem"]) == (record.status, record.ca_certificate_id, record.pem)
    assert made["certificateId"] in {change.subject for change in world.notified}


async def test_create_from_csr_answers_three_members(world: World) -> None:
    made = await world.ask(FROM_CSR, {"certificateSigningRequest": "a request"})
    assert {"outcome", "certificateId", "certificatePem", "certificateOwnershipToken"} == set(made)
    record = await world.certificate(made["certificateId"])
    assert record is not None
    assert S.PENDING_ACTIVATION is record.status


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", (400, "InvalidPayload")),
        (b"{", (400, "InvalidPayload")),
        ({"certificateSigningRequest": 5}, (400, "InvalidPayload")),
        ({}, (400, "InvalidCertificateSigningRequest")),
        ({"certificateSigningRequest": "bad"}, (400, "InvalidCertificateSigningRequest")),
        ({"certificateSigningRequest": "x" * 4097}, (400, "InvalidCertificateSigningRequest")),
    ],
)
async def test_requests_that_cannot_be_used(world: World, payload: Any, expected: tuple[int, str]) -> None:
    assert expected == rejected(await world.ask(FROM_CSR, payload))
    assert None is await world.store.next_unclaimed_expiry()


async def test_a_provider_issues_in_place_of_the_device_ca(world: World) -> None:
    pem = self_signed("by the provider")
    world.providers = Providers(pem)
    made = await world.ask(FROM_CSR, {"certificateSigningRequest": "request"})
    assert pem == made["certificatePem"]
    assert [(SCOPE, "request", "lathe", CLAIM)] == world.providers.asked
    again = await world.ask(FROM_CSR, {"certificateSigningRequest": "request"})
    assert (409, "ResourceConflicts") == rejected(again)
    world.providers = Providers(error=ProviderFailed("The certificate provider gave no certificate"))
    failed = await world.ask(FROM_CSR, {"certificateSigningRequest": "request"})
    assert (503, "ServiceUnavailable", "The certificate provider gave no certificate") == (
        *rejected(failed),
        failed["errorMessage"],
    )
    world.providers = Providers(None)
    assert "accepted" == (await world.ask(FROM_CSR, {"certificateSigningRequest": "request"}))["outcome"]


async def test_nothing_is_registered_for_a_connection_that_is_gone(world: World) -> None:
    world.waiting = False
    assert None is await world.service().answer(world.request(CREATE))
    assert None is await world.store.next_unclaimed_expiry()
    assert [("operation", "CreateKeysAndCertificate"), ("outcome", "gone")] == list(next(iter(world.meter.counts))[1])


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def create_keys_and_certificate(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServiceUnavailableError("Too many keys"), (503, "ServiceUnavailable")),
        (StoreUnavailable("down"), (503, "ServiceUnavailable")),
        (RuntimeError("secret detail"), (500, "InternalFailure")),
    ],
)
async def test_what_fails_inside_tells_nothing(world: World, error: Exception, expected: tuple[int, str]) -> None:
    world.issuer = Broken(error)
    answer = await world.ask(CREATE)
    assert expected == rejected(answer)
    assert str(error) not in answer["errorMessage"]


# --- ownership tokens


async def test_a_device_provisions_itself(world: World) -> None:
    made = await world.create()
    done = await world.register(made["certificateOwnershipToken"])
    assert {"outcome": "accepted", "thingName": "lamp", "deviceConfiguration": {"Site": "attic"}} == done
    (record,) = await world.store.principals([(SCOPE, CertificateId(made["certificateId"]))])
    assert record is not None
    assert (S.ACTIVE, ["lamp"], 1) == (
        record.certificate.status,
        [each.thing_name for each in record.things],
        len(record.policies),
    )


async def test_cbor_answers_cbor(world: World) -> None:
    made = await world.ask(CREATE_CBOR)
    members = {"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": {"Serial": "lamp"}}
    assert "lamp" == (await world.ask(PROVISION[:-4] + "cbor", members))["thingName"]


@pytest.mark.parametrize("token", ["", None])
async def test_an_empty_token_is_told_in_aws_words(world: World, token: str | None) -> None:
    answer = await world.ask(PROVISION, {"certificateOwnershipToken": token})
    assert {
        "outcome": "rejected",
        "statusCode": 400,
        "errorCode": "InvalidCertificateOwnershipToken",
        "errorMessage": "Certificate ownership token cannot be empty.",
    } == answer


async def test_tokens_that_open_nothing(world: World) -> None:
    made = await world.create()
    token = made["certificateOwnershipToken"]
    changed = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    unknown = OwnershipToken(certificate_id(77), b"s" * 32).text
    for wrong in ("x", "x" * 600, token + "A", "ü" * 86, changed, unknown, token[:43] + token[:43]):
        assert (400, "InvalidCertificateOwnershipToken") == rejected(await world.register(wrong))
    for elsewhere in ({"certificate_id": OTHER_CLAIM}, {"scope": OTHER_ACCOUNT, "certificate_id": certificate_id(60)}):
        if "scope" in elsewhere:
            await world.template("fleet", scope=OTHER_ACCOUNT)
        answer = await world.register(token, **elsewhere)
        assert (400, "InvalidCertificateOwnershipToken") == rejected(answer)
        assert "Certificate ownership token is not valid, or has expired." == answer["errorMessage"]
    assert "accepted" == (await world.register(token))["outcome"]


async def test_a_token_is_used_once_by_whichever_connection_of_its_claim(world: World) -> None:
    made = await world.create(client_id="before the reboot")
    token = made["certificateOwnershipToken"]
    assert "accepted" == (await world.register(token, client_id="after it", address="198.51.100.1"))["outcome"]
    answer = await world.register(token)
    assert (400, "InvalidCertificateOwnershipToken") == rejected(answer)
    assert "Certificate ownership token has been used." == answer["errorMessage"]


async def test_a_rejection_leaves_the_token_good(world: World) -> None:
    token = (await world.create())["certificateOwnershipToken"]
    assert (400, "InvalidParameters") == rejected(await world.register(token, members={"parameters": {}}))
    assert (400, "InvalidParameters") == rejected(await world.register(token, "no thing's name!"))
    assert "accepted" == (await world.register(token))["outcome"]


async def test_a_token_is_good_for_an_hour(world: World) -> None:
    one, other = [(await world.create())["certificateOwnershipToken"] for _ in range(2)]
    world.clock.instant = NOW + TOKEN_LIFE - dt.timedelta(microseconds=1)
    assert "accepted" == (await world.register(one))["outcome"]
    world.clock.instant = NOW + TOKEN_LIFE
    assert (400, "InvalidCertificateOwnershipToken") == rejected(await world.register(other))


async def test_many_use_one_token_and_one_wins(world: World) -> None:
    token = (await world.create())["certificateOwnershipToken"]
    service = world.service()
    answers = await asyncio.gather(*(world.register(token, f"lamp-{n}", service=service) for n in range(6)))
    assert 1 == [answer["outcome"] for answer in answers].count("accepted")


async def test_tokens_and_keys_stand_in_no_log_no_repr_and_no_table(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await world.create()
    token = made["certificateOwnershipToken"]
    await world.register(token, "no thing's name!")
    await world.register(token)
    await world.register(token)
    request = world.request(PROVISION, {"certificateOwnershipToken": token})
    reply = await world.service().answer(request)
    shown = f"{request!r} {reply!r} {OwnershipToken(CLAIM, b'secret')!r}"
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (token, token[50:], made["privateKey"]):
        assert secret not in caplog.text + shown
        assert secret.encode() not in kept
    assert b"secret" not in shown.encode()


# --- templates and hooks


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("absent", {}, (404, "ResourceNotFound")),
        ("off", {"enabled": False}, (400, "InvalidRequest")),
        ("jitp", {"type": TemplateType.JITP}, (400, "InvalidRequest")),
        ("broken", {"body": "{}"}, (400, "InvalidRequest")),
    ],
)
async def test_templates_that_provision_nothing(
    world: World, name: str, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    if changes:
        await world.template(name, **changes)
    token = (await world.create())["certificateOwnershipToken"]
    members = {"certificateOwnershipToken": token, "parameters": {"Serial": "lamp"}}
    assert expected == rejected(await world.ask(PROVISION.replace("fleet", name), members))
    assert "accepted" == (await world.register(token))["outcome"]


async def test_a_device_cannot_name_another_certificate(world: World) -> None:
    made = await world.create()
    parameters = {"Serial": "lamp", "AWS::IoT::Certificate::Id": OTHER_CLAIM}
    done = await world.register(made["certificateOwnershipToken"], members={"parameters": parameters})
    assert "accepted" == done["outcome"]
    (other,) = await world.store.principals([(SCOPE, OTHER_CLAIM)])
    assert other is not None
    assert () == other.policies
    assert [CertificateId(made["certificateId"])] == await principals_of(world, "lamp")


async def principals_of(world: World, name: str) -> list[CertificateId]:
    page = await world.store.thing_principals(SCOPE, ThingName(name), PageRequest(limit=10))
    return [each for each, _ in page.items]


async def test_a_thing_of_another_certificate_is_not_taken_over_unless_the_template_says_so(world: World) -> None:
    await world.store.create_thing(thing("lamp"), cause())
    await world.store.attach_thing(
        SCOPE, ThingName("lamp"), OTHER_CLAIM, ThingPrincipalType.NON_EXCLUSIVE_THING, cause()
    )
    made = await world.create()
    token = made["certificateOwnershipToken"]
    assert (409, "ResourceConflicts") == rejected(await world.register(token))
    assert [OTHER_CLAIM] == await principals_of(world, "lamp")
    body = json.loads(json.dumps(BODY))
    body["Resources"]["thing"]["OverrideSettings"] = {"AttributePayload": "MERGE"}
    await world.template("over", body=json.dumps(body))
    members = {"certificateOwnershipToken": token, "parameters": {"Serial": "lamp"}}
    assert "accepted" == (await world.ask(PROVISION.replace("fleet", "over"), members))["outcome"]
    assert {OTHER_CLAIM, made["certificateId"]} == set(await principals_of(world, "lamp"))


async def test_what_a_template_names_and_is_not_there(world: World) -> None:
    body = json.loads(json.dumps(BODY))
    body["Resources"]["thing"]["Properties"]["ThingGroups"] = ["absent"]
    await world.template("grouped", body=json.dumps(body))
    token = (await world.create())["certificateOwnershipToken"]
    members = {"certificateOwnershipToken": token, "parameters": {"Serial": "lamp"}}
    answer = await world.ask(PROVISION.replace("fleet", "grouped"), members)
    assert (400, "ResourceRegistrationFailure") == rejected(answer)
    assert answer["errorMessage"].startswith("thing: ")


async def test_a_hook_is_asked_and_its_overrides_hold(world: World) -> None:
    await world.template("gated", hook=HOOK)
    assert world.hooks is not None
    world.hooks.overrides = {"Site": "cellar", "AWS::IoT::Certificate::Id": OTHER_CLAIM}
    made = await world.create()
    members = {
        "certificateOwnershipToken": made["certificateOwnershipToken"],
        "parameters": {"Serial": "lamp", "Site": "roof", "AWS::IoT::Certificate::Country": "XX"},
    }
    done = await world.ask(PROVISION.replace("fleet", "gated"), members)
    assert {"Site": "cellar"} == done["deviceConfiguration"]
    assert [
        {
            "scope": SCOPE,
            "hook": HOOK,
            "template_name": "gated",
            "claim_certificate_id": CLAIM,
            "certificate_id": made["certificateId"],
            "certificate_pem": made["certificatePem"],
            "client_id": "lathe",
            "parameters": {"Serial": "lamp", "Site": "roof"},
        }
    ] == world.hooks.asked
    assert [made["certificateId"]] == await principals_of(world, "lamp")


@pytest.mark.parametrize("error", [HookDenied("The pre-provisioning hook denied it"), RuntimeError("bug"), None])
async def test_a_hook_that_does_not_say_yes_denies(world: World, error: Exception | None) -> None:
    await world.template("gated", hook=HOOK)
    if error is None:
        world.hooks = None
    else:
        assert world.hooks is not None
        world.hooks.error = error
    made = await world.create()
    members = {"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": {"Serial": "lamp"}}
    topic = PROVISION.replace("fleet", "gated")
    assert (403, "AccessDenied") == rejected(await world.ask(topic, members))
    (refusal,) = world.refusals.query(str(CLAIM), SCOPE.account, 10)
    (reason,) = refusal.reasons
    assert (ReasonCode.FLEET_REQUEST_REJECTED, topic) == (reason.code, refusal.resource)
    assert reason.detail.startswith("AccessDenied: ")
    assert made["certificateOwnershipToken"] not in str(refusal)
    record = await world.certificate(made["certificateId"])
    assert record is not None
    assert S.PENDING_ACTIVATION is record.status
    assert "accepted" == (await world.register(made["certificateOwnershipToken"]))["outcome"]


# --- claims and their limits


async def test_a_claim_that_is_deactivated_meanwhile_gets_nothing(world: World) -> None:
    token = (await world.create())["certificateOwnershipToken"]
    await world.store.set_certificate_status(SCOPE, CLAIM, expected=S.ACTIVE, new=S.INACTIVE, cause=cause())
    assert (403, "AccessDenied") == rejected(await world.ask(CREATE))
    assert (403, "AccessDenied") == rejected(await world.register(token))


async def limit(world: World, **limits: Any) -> None:
    await world.store.set_claim_limits(SCOPE, CLAIM, ClaimLimits(**limits), cause())


async def test_a_claim_provisions_as_many_devices_as_it_may(world: World) -> None:
    await limit(world, devices=1)
    first, second = [(await world.create())["certificateOwnershipToken"] for _ in range(2)]
    assert "accepted" == (await world.register(first))["outcome"]
    assert (410, "LimitExceeded") == rejected(await world.register(second, "other"))
    assert (410, "LimitExceeded") == rejected(await world.ask(CREATE))


async def test_a_claim_is_used_from_its_networks(world: World) -> None:
    await limit(world, addresses=("192.0.2.0/24", "2001:db8::/32"))
    for address in ("192.0.2.9", "::ffff:192.0.2.9", "2001:db8::1"):
        assert "accepted" == (await world.ask(CREATE, address=address))["outcome"]
    for address in ("198.51.100.1", "2001:db9::1", "", "unix"):
        assert (403, "AccessDenied") == rejected(await world.ask(CREATE, address=address))


async def test_a_claims_rate_is_a_minutes_worth_that_comes_back(world: World) -> None:
    await limit(world, per_minute=2)
    service = world.service()

    async def outcomes(count: int) -> list[str]:
        return [(await world.ask(CREATE, service=service))["outcome"] for _ in range(count)]

    assert ["accepted", "accepted", "rejected"] == await outcomes(3)
    assert (429, "Throttling") == rejected(await world.ask(CREATE, service=service))
    assert (400, "InvalidCertificateOwnershipToken") == rejected(await world.register("", service=service))
    world.clock.instant += dt.timedelta(seconds=30)
    assert ["accepted", "rejected"] == await outcomes(2)


async def test_requests_under_way_are_bounded_for_each_claim(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "CLAIM_UNDER_WAY", 2)
    gate = asyncio.Event()

    class Slow(FakeIssuer):
        async def create_keys_and_certificate(self) -> Any:
            await gate.wait()
            return await super().create_keys_and_certificate()

    world.issuer = Slow()
    service = world.service()
    under_way = [asyncio.create_task(world.ask(CREATE, service=service)) for _ in range(2)]
    await asyncio.sleep(0)
    assert (429, "Throttling") == rejected(await world.ask(CREATE, service=service))
    other = asyncio.create_task(world.ask(CREATE, service=service, certificate_id=OTHER_CLAIM))
    gate.set()
    assert ["accepted"] * 3 == [answer["outcome"] for answer in await asyncio.gather(*under_way, other)]
    assert "accepted" == (await world.ask(CREATE, service=service))["outcome"]


def test_every_code_has_a_status_and_every_refusal_a_reply() -> None:
    assert set(RejectionCode) == set(STATUS_CODES)
    assert set(Unanswered) == set(fleet._REFUSED)


async def test_refusals_of_the_gateway_have_the_form_of_any_other(world: World) -> None:
    reply = world.service().refuse(world.request(CREATE), Unanswered.CROWDED)
    assert (f"{CREATE}/rejected", 429) == (reply.topic, json.loads(reply.payload)["statusCode"])


@pytest.mark.parametrize(
    ("devices", "per_minute", "addresses"),
    [
        (-1, None, ()),
        (10**10, None, ()),
        (None, 0, ()),
        (None, 10**6, ()),
        (None, None, ("192.0.2.1/24",)),
        (None, None, ("here",)),
        (None, None, tuple(f"10.0.{n}.0/24" for n in range(65))),
    ],
)
def test_limits_that_are_none(devices: int | None, per_minute: int | None, addresses: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequestError):
        claim_limits(devices, per_minute, addresses)


def test_limits_are_kept_in_their_shortest_form() -> None:
    limits = claim_limits(0, 1, ("192.0.2.1", "2001:DB8::/32", "192.0.2.1/32"))
    assert ("192.0.2.1/32", "2001:db8::/32") == limits.addresses


# --- what nobody claims


async def test_what_nobody_claims_is_deleted_at_its_hour_and_not_before(world: World) -> None:
    sweeper = UnclaimedSweeper(world.store, world.clock, world.notify, world.meter)
    assert MAX_WAIT_S == await sweeper.step()
    made, claimed = await world.create(), await world.create()
    assert "accepted" == (await world.register(claimed["certificateOwnershipToken"]))["outcome"]
    assert MAX_WAIT_S == await sweeper.step()
    world.clock.instant = NOW + TOKEN_LIFE - dt.timedelta(seconds=5)
    assert 5.0 == await sweeper.step()
    world.clock.instant = NOW + TOKEN_LIFE
    world.notified.clear()
    assert 0.0 == await sweeper.step()
    assert [made["certificateId"]] == [change.subject for change in world.notified]
    assert None is await world.certificate(made["certificateId"])
    assert None is not await world.certificate(claimed["certificateId"])
    assert 1 == world.meter.counts["handfast_unclaimed_certificates_deleted_total", ()]
    assert MAX_WAIT_S == await sweeper.step()


async def test_the_sweeper_goes_on_after_a_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handfast.services.unclaimed.RETRY_S", 0.0)
    made = await world.create()
    world.clock.instant = NOW + TOKEN_LIFE
    gone = asyncio.Event()
    failures = iter([StoreUnavailable("down"), RuntimeError("bug")])

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.store, name)

        async def expire_unclaimed(self, *args: Any) -> Any:
            for error in failures:
                raise error
            return await world.store.expire_unclaimed(*args)

    async def notify(changes: Sequence[Change]) -> None:
        gone.set()

    sweeper = UnclaimedSweeper(Failing(), world.clock, notify, world.meter)  # type: ignore[arg-type]
    sweeper.start()
    await asyncio.wait_for(gone.wait(), 10)
    await sweeper.close()
    assert None is await world.certificate(made["certificateId"])


def test_a_token_is_bound_to_account_region_certificate_and_claim() -> None:
    token = OwnershipToken(certificate_id(1), b"s" * 32)
    other = OwnershipToken(certificate_id(2), b"s" * 32)
    europe = dataclasses.replace(certificate(1), scope=Scope(SCOPE.account, "eu-west-1")).scope
    digests = [
        token.digest(SCOPE, CLAIM),
        token.digest(OTHER_ACCOUNT, CLAIM),
        token.digest(europe, CLAIM),
        token.digest(SCOPE, OTHER_CLAIM),
        other.digest(SCOPE, CLAIM),
    ]
    assert 5 == len(set(digests))
    assert 86 == len(token.text)
