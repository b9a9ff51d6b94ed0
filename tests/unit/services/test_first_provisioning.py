"""Just-in-time provisioning: the template of a CA on a device's first connection, and what becomes of a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.support.first_connections import FirstConnections, first_connections, presented
from tests.support.jitp import document, jitp_template
from tests.support.own_ca import OwnCA
from tests.support.principals import Device
from tests.support.registry import NOW, SCOPE, cause, certificate, thing

from handfast.core.identity.ids import CertificateId, ThingName
from handfast.core.identity.records import (
    AutoRegistrationStatus,
    CertificateStatus,
    RegistrationConfig,
    ThingPrincipalType,
)
from handfast.core.provisioning.plan import FailureKind
from handfast.core.provisioning.records import (
    ProvisioningTemplateEdit,
    ProvisioningTemplateRecord,
    TemplateName,
    TemplateType,
)
from handfast.core.provisioning.runs import ProvisioningRun, RunOutcome
from handfast.errors import CertificateStateError, InvalidRequestError, ResourceNotFoundError
from handfast.ports import PageRequest
from handfast.seam import Admitted
from handfast.services.just_in_time import JustInTimeLimits
from handfast.services.provisioning_runs import ProvisioningRuns

ROLE = "arn:aws:iam::123456789012:role/provisioning"
NAME = TemplateName("lamps")
FAILED = "PROVISIONING_FAILED"
PENDING = CertificateStatus.PENDING_ACTIVATION


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FirstConnections]:
    async with first_connections(tmp_path) as made:
        yield made


def held(body: str) -> dict[str, Any]:
    return {"registration_config": RegistrationConfig(template_body=body, role_arn=ROLE)}


def named(name: TemplateName = NAME) -> dict[str, Any]:
    return {"registration_config": RegistrationConfig(template_name=name, role_arn=ROLE)}


async def template(
    world: FirstConnections, body: str, *, enabled: bool = True, kind: TemplateType = TemplateType.JITP
) -> None:
    record = ProvisioningTemplateRecord(
        scope=SCOPE,
        template_name=NAME,
        type=kind,
        description=None,
        enabled=enabled,
        role_arn=ROLE,
        hook=None,
        default_version_id=1,
        body=body,
        creation_date=NOW,
        last_modified_date=NOW,
    )
    await world.notify(await world.store.create_provisioning_template(record, cause(), limit=9))


async def edit(world: FirstConnections, **changes: Any) -> None:
    await world.notify(
        await world.store.update_provisioning_template(
            SCOPE, NAME, ProvisioningTemplateEdit(**changes), created=NOW, cause=cause()
        )
    )


async def runs(world: FirstConnections, who: Device | None = None) -> list[ProvisioningRun]:
    page = await world.store.list_provisioning_runs(
        SCOPE, PageRequest(limit=99), certificate_id=None if who is None else who.certificate_id
    )
    return list(page.items)


async def failure(world: FirstConnections, who: Device) -> tuple[str, FailureKind | None, str]:
    """The newest run of the device, which failed: where, how and why."""
    run = (await runs(world, who))[0]
    assert RunOutcome.FAILED is run.outcome
    return run.resource, run.kind, run.message


# --- success -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_name", [True, False])
async def test_the_device_gets_in_on_its_first_connection(world: FirstConnections, by_name: bool) -> None:
    ca = OwnCA()
    if by_name:
        await template(world, jitp_template())
    await world.register_ca(ca, **(named() if by_name else held(jitp_template())))
    who = presented(ca.issue("lamp-1"))
    verdict = await world.connect(who)
    assert isinstance(verdict, Admitted)
    (record,) = await world.store.principals([(SCOPE, who.certificate_id)])
    assert record is not None
    assert (CertificateStatus.ACTIVE, ca.id) == (record.certificate.status, record.certificate.ca_certificate_id)
    assert ["lamp-1"] == [each.thing_name for each in record.things]
    assert [document()] == [each.document for each in record.policies]
    (run,) = await runs(world)
    assert (RunOutcome.SUCCEEDED, "lamp-1", who.certificate_id, ca.id, 1) == (
        run.outcome,
        run.thing_name,
        run.certificate_id,
        run.ca_certificate_id,
        run.attempts,
    )
    assert ((NAME, 1) if by_name else (None, None)) == (run.template_name, run.template_version)
    assert [] == world.events, "nothing waits for anybody"
    assert isinstance(await world.connect(who), Admitted), "and at once again"


async def test_devices_share_the_policy_of_a_document(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca, **held(jitp_template()))
    devices = [presented(ca.issue(f"lamp-{number}")) for number in range(3)]
    for verdict in await asyncio.gather(*(world.connect(who) for who in devices)):
        assert isinstance(verdict, Admitted)
    assert 1 == len((await world.store.list_policies(SCOPE, PageRequest(limit=9))).items)


async def test_a_plan_that_takes_longer_than_its_connection_is_still_carried_out(
    world: FirstConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = OwnCA()
    await world.register_ca(ca, **held(jitp_template()))
    who = presented(ca.issue("lamp"))
    begun, go_on, real = asyncio.Event(), asyncio.Event(), world.store.provision

    async def slow(*given: Any) -> Any:
        begun.set()
        await asyncio.wait_for(go_on.wait(), 10)
        return await real(*given)

    monkeypatch.setattr(world.store, "provision", slow)
    timed_out = asyncio.ensure_future(world.connect(who))
    await asyncio.wait_for(begun.wait(), 10)
    timed_out.cancel()
    await asyncio.gather(timed_out, return_exceptions=True)
    go_on.set()
    assert isinstance(await world.connect(who), Admitted), "the device comes back"
    assert [RunOutcome.SUCCEEDED] == [run.outcome for run in await runs(world, who)]


async def test_as_aws_the_first_connection_is_closed(tmp_path: Path) -> None:
    async with first_connections(tmp_path, closes_first=True) as world:
        ca = OwnCA()
        await world.register_ca(ca, **held(jitp_template()))
        who = presented(ca.issue("lamp"))
        assert ["CERTIFICATE_JUST_PROVISIONED"] == await world.codes(who)
        assert isinstance(await world.connect(who), Admitted)


async def test_a_template_may_leave_the_device_inactive(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca, **held(jitp_template(status="INACTIVE")))
    assert ["CERTIFICATE_INACTIVE"] == await world.codes(presented(ca.issue("lamp")))


async def test_a_new_default_version_holds_for_the_next_device(world: FirstConnections) -> None:
    ca = OwnCA()
    await template(world, jitp_template())
    await world.register_ca(ca, **named())
    await world.connect(presented(ca.issue("one")))
    edited = jitp_template(thing={"AttributePayload": {"room": "hall"}})
    await world.notify(
        (
            await world.store.create_provisioning_template_version(
                SCOPE, NAME, edited, set_as_default=True, limit=5, created=NOW, cause=cause()
            )
        )[1]
    )
    world.pass_time(1)
    await world.connect(presented(ca.issue("two")))
    made = [await world.store.thing(SCOPE, ThingName(name)) for name in ("one", "two")]
    assert [{}, {"room": "hall"}] == [each.attributes for each in made if each is not None]
    assert [2, 1] == [run.template_version for run in await runs(world)]


# --- failure -------------------------------------------------------------------------------------------------------


async def test_a_failure_leaves_the_device_waiting_and_says_why(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca, **held(jitp_template(thing={"ThingTypeName": "lamp"})))
    who = presented(ca.issue("lamp-1"))
    assert [FAILED] == await world.codes(who)
    record = await world.registered(who)
    assert record is not None
    assert (PENDING, ca.id) == (record.status, record.ca_certificate_id)
    assert await world.store.thing(SCOPE, ThingName("lamp-1")) is None, "nothing half-made"
    assert [] == (await world.store.list_policies(SCOPE, PageRequest(limit=9))).items
    resource, kind, message = await failure(world, who)
    assert ("thing", FailureKind.MISSING) == (resource, kind)
    (run,) = await runs(world)
    registered, failed = world.events
    assert (f"$aws/events/certificates/registered/{ca.id}", None) == (
        registered[0],
        registered[1]["certificateRegistrationTimestamp"],
    )
    assert (
        f"$aws/events/certificates/provisioning-failed/{ca.id}",
        {
            "certificateId": who.certificate_id,
            "caCertificateId": ca.id,
            "timestamp": registered[1]["timestamp"],
            "awsAccountId": SCOPE.account,
            "runId": run.run_id,
            "templateName": None,
            "resource": "thing",
            "reason": "missing",
            "message": message,
        },
    ) == failed


async def test_attempts_that_fail_alike_are_one_run_and_the_next_may_succeed(world: FirstConnections) -> None:
    ca = OwnCA()
    await template(world, jitp_template(), enabled=False)
    await world.register_ca(ca, **named())
    who = presented(ca.issue("lamp"))
    for _ in range(3):
        assert [FAILED] == await world.codes(who)
        assert ["LIMIT_EXCEEDED"] == await world.codes(who)
        world.pass_time(1)
    (run,) = await runs(world)
    assert (3, "", FailureKind.TEMPLATE) == (run.attempts, run.resource, run.kind)
    assert "not enabled" in run.message
    assert 6 == len(world.events)
    await edit(world, enabled=True)
    assert isinstance(await world.connect(who), Admitted)
    assert [RunOutcome.SUCCEEDED, RunOutcome.FAILED] == [each.outcome for each in await runs(world, who)]


async def test_every_way_to_fail(world: FirstConnections) -> None:
    ca, other = OwnCA(), certificate(1)
    await world.store.insert_certificate(other, cause())
    await world.store.create_thing(thing("taken"), cause())
    await world.store.attach_thing(
        SCOPE, ThingName("taken"), other.certificate_id, ThingPrincipalType.NON_EXCLUSIVE_THING, cause()
    )
    await world.register_ca(ca, **held(jitp_template()))
    nameless = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Maker")])
    expected = {
        "a subject without the field": (ca.issue(subject=nameless), "thing", FailureKind.SUBJECT),
        "a name that no thing may have": (ca.issue("a lamp"), "thing", FailureKind.INVALID),
        "a thing of another device": (ca.issue("taken"), "thing", FailureKind.CONFLICT),
    }
    for what, (pem, resource, kind) in expected.items():
        who = presented(pem)
        assert [FAILED] == await world.codes(who), what
        assert (resource, kind) == (await failure(world, who))[:2], what
        record = await world.registered(who)
        assert record is not None
        assert PENDING is record.status, what


async def test_a_template_that_is_gone_or_of_another_type_fails(
    world: FirstConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = OwnCA()
    await template(world, jitp_template())
    await world.register_ca(ca, **named())

    async def gone(*_: Any) -> None:
        return None

    monkeypatch.setattr(world.store, "provisioning_template", gone)
    who = presented(ca.issue("lamp"))
    assert [FAILED] == await world.codes(who)
    assert "does not exist" in (await failure(world, who))[2]


async def test_a_failure_fills_the_registry_no_further_than_registration_does(tmp_path: Path) -> None:
    async with first_connections(tmp_path, limits=JustInTimeLimits(waiting=1)) as world:
        ca = OwnCA()
        await world.register_ca(ca, **held(jitp_template(thing={"ThingTypeName": "lamp"})))
        assert [FAILED] == await world.codes(presented(ca.issue("one")))
        who = presented(ca.issue("two"))
        assert ["LIMIT_EXCEEDED"] == await world.codes(who)
        assert await world.registered(who) is None


async def test_what_is_known_against_a_certificate_holds_for_templates_too(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca, **held(jitp_template(thing={"ThingTypeName": "lamp"})))
    who = presented(ca.issue("lamp"))
    await world.codes(who)
    await world.set_status(who, CertificateStatus.REVOKED)
    await world.notify(await world.store.delete_certificate(SCOPE, who.certificate_id, force=False, cause=cause()))
    world.pass_time(1)
    assert ["CERTIFICATE_REVOKED"] == await world.codes(who)
    assert 1 == len(await runs(world))
    quiet = presented(ca.issue("quiet"))
    await world.store.update_ca_certificate(  # and nobody is told
        SCOPE, ca.id, status=None, auto_registration_status=AutoRegistrationStatus.DISABLE, cause=cause()
    )
    assert ["CA_DOES_NOT_REGISTER"] == await world.codes(quiet)
    assert await world.registered(quiet) is None


async def test_one_that_was_deactivated_is_not_provisioned(world: FirstConnections) -> None:
    ca = OwnCA()
    await world.register_ca(ca, **held(jitp_template(thing={"ThingTypeName": "lamp"})))
    who = presented(ca.issue("lamp"))
    await world.codes(who)
    await world.set_status(who, CertificateStatus.INACTIVE)
    world.pass_time(1)
    assert ["CERTIFICATE_INACTIVE"] == await world.codes(who)
    assert 1 == len(await runs(world))


# --- again, on demand ----------------------------------------------------------------------------------------------


async def test_a_run_is_repeated_for_a_device_that_waits(world: FirstConnections) -> None:
    ca = OwnCA()
    await template(world, jitp_template(), enabled=False)
    await world.register_ca(ca, **named())
    who = presented(ca.issue("lamp"))
    await world.codes(who)
    service = ProvisioningRuns(world.store, world.provisioning)
    (run,) = await runs(world)
    again = await service.retry(SCOPE, cause(), who.certificate_id.upper())
    assert (run.run_id, RunOutcome.FAILED, 2) == (again.run_id, again.outcome, again.attempts)
    await edit(world, enabled=True)
    assert RunOutcome.SUCCEEDED is (await service.retry(SCOPE, cause(), run.run_id)).outcome
    assert isinstance(await world.connect(who), Admitted)
    with pytest.raises(CertificateStateError):
        await service.retry(SCOPE, cause(), run.run_id)


async def test_what_cannot_be_repeated(world: FirstConnections) -> None:
    service = ProvisioningRuns(world.store, world.provisioning)
    for target in ("no-such-run", "0" * 64):
        with pytest.raises(ResourceNotFoundError):
            await service.retry(SCOPE, cause(), target)
    fleet = certificate(1, status=PENDING)
    await world.store.insert_certificate(fleet, cause())
    with pytest.raises(CertificateStateError):
        await service.retry(SCOPE, cause(), fleet.certificate_id)
    ca = OwnCA()
    await world.register_ca(ca)
    who = presented(ca.issue("lamp"))
    await world.codes(who)
    with pytest.raises(InvalidRequestError):
        await service.retry(SCOPE, cause(), who.certificate_id)


# --- the record ----------------------------------------------------------------------------------------------------


def a_run(number: int, **changes: Any) -> ProvisioningRun:
    given: dict[str, Any] = {
        "scope": SCOPE,
        "run_id": f"run-{number}",
        "at": NOW,
        "certificate_id": CertificateId("c" * 64),
        "ca_certificate_id": CertificateId("a" * 64),
        "template_name": None,
        "template_version": None,
        "outcome": RunOutcome.SUCCEEDED,
    }
    return ProvisioningRun(**(given | changes))


async def test_runs_are_listed_by_outcome_and_device_in_pages(world: FirstConnections) -> None:
    device = CertificateId("d" * 64)
    failed = {"outcome": RunOutcome.FAILED, "kind": FailureKind.LIMIT, "message": "full"}
    for run in (a_run(1), a_run(2, **failed), a_run(3, certificate_id=device, **failed), a_run(4, **failed)):
        await world.store.record_provisioning_run(run)
    listed = world.store.list_provisioning_runs
    page = await listed(SCOPE, PageRequest(limit=2))
    rest = await listed(SCOPE, PageRequest(limit=2, marker=page.marker))
    assert ["run-3", "run-2", "run-1"] == [run.run_id for run in (*page.items, *rest.items)]
    assert 2 == page.items[1].attempts
    only = await listed(SCOPE, PageRequest(limit=9), outcome=RunOutcome.FAILED, certificate_id=device)
    assert ["run-3"] == [run.run_id for run in only.items]


async def test_a_failure_is_over_when_a_later_run_of_the_device_succeeded(world: FirstConnections) -> None:
    ready, waiting = CertificateId("d" * 64), CertificateId("e" * 64)
    failed = {"outcome": RunOutcome.FAILED, "kind": FailureKind.LIMIT, "message": "full"}
    for run in (
        a_run(1, certificate_id=ready, **failed),
        a_run(2, certificate_id=waiting, **failed),
        a_run(3, certificate_id=ready),
        a_run(4, certificate_id=waiting, **failed | {"message": "otherwise"}),
    ):
        await world.store.record_provisioning_run(run)
    service = ProvisioningRuns(world.store, world.provisioning)

    async def listed(outcome: RunOutcome | None, **more: Any) -> list[str]:
        page = await service.list_page(SCOPE, PageRequest(limit=9), outcome=outcome, certificate_id=None, **more)
        return [run.run_id for run in page.items]

    assert ["run-4"] == await listed(RunOutcome.FAILED, latest=True)
    assert ["run-4", "run-3"] == await listed(None, latest=True)
    assert ["run-4", "run-2", "run-1"] == await listed(RunOutcome.FAILED)


async def test_the_record_stays_bounded(world: FirstConnections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handfast.storage.provisioning_runs.KEPT", 20)
    monkeypatch.setattr("handfast.storage.provisioning_runs._PRUNE_EVERY", 10)
    for number in range(100):
        world.pass_time(1)
        await world.store.record_provisioning_run(a_run(number, at=world.clock.now()))
    kept = await runs(world)
    assert 20 <= len(kept) <= 30
    assert "run-99" == kept[0].run_id
    world.pass_time(31 * 86400)
    for number in range(100, 120):
        await world.store.record_provisioning_run(a_run(number, at=world.clock.now()))
    assert 20 >= len(await runs(world)), "what is older than thirty days is gone"
