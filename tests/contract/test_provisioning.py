"""Provisioning plans in every `ports.Store`: the whole plan or nothing, whoever else is at work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.support.provisioning import DOCUMENT, dump, lamp, order, pending, plan, with_document
from tests.support.registry import (
    OTHER_ACCOUNT,
    SCOPE,
    ca_certificate,
    cause,
    certificate,
    certificate_id,
    policy,
    thing,
    thing_group,
)

from handfast.core.identity.ids import BillingGroupName, PolicyName, ThingGroupName, ThingName, ThingTypeName
from handfast.core.identity.records import (
    AutoRegistrationStatus,
    CACertificateStatus,
    CertificateStatus,
    ThingPrincipalType,
    ThingRecord,
)
from handfast.core.identity.things import BillingGroupRecord, ThingTypeRecord
from handfast.core.provisioning.plan import FailureKind, Override, Plan, ProvisioningFailed
from handfast.ports import Change, ChangeKind, PageRequest, Store
from handfast.ports.provisioning import Provisioned, ProvisioningOrder

ID, SECOND, CA = certificate_id(1), certificate_id(2), certificate_id(100)
LAMP, CONNECT = ThingName("lamp"), PolicyName("connect")
ALL = PageRequest(limit=100, ascending=True)
_S, _K, _O = CertificateStatus, FailureKind, Override
NON_EXCLUSIVE, EXCLUSIVE = ThingPrincipalType.NON_EXCLUSIVE_THING, ThingPrincipalType.EXCLUSIVE_THING
LIMITS: dict[str, Any] = {"depth_limit": 7, "children_limit": 100}


async def register(store: Store, number: int = 1, status: CertificateStatus = _S.PENDING_ACTIVATION) -> None:
    await store.insert_certificate(certificate(number, status=status), cause())


async def with_ca(
    store: Store,
    status: CACertificateStatus = CACertificateStatus.ACTIVE,
    auto: AutoRegistrationStatus = AutoRegistrationStatus.ENABLE,
) -> None:
    ca = ca_certificate(100, status=status, auto_registration_status=auto)
    await store.insert_ca_certificate(ca, registration_code=None, subject_limit=10, cause=cause())


async def done(store: Store, wanted: ProvisioningOrder) -> Provisioned:
    return (await store.provision(wanted, cause("RegisterThing")))[0]


async def failure(store: Store, wanted: ProvisioningOrder) -> tuple[FailureKind, str]:
    with pytest.raises(ProvisioningFailed) as caught:
        await store.provision(wanted, cause("RegisterThing"))
    return caught.value.kind, caught.value.resource


async def status(store: Store, number: int = 1) -> CertificateStatus | None:
    found = await store.certificate(SCOPE, certificate_id(number))
    return None if found is None else found.status


async def things_of(store: Store, number: int = 1) -> list[tuple[ThingName, ThingPrincipalType]]:
    return list((await store.principal_things(SCOPE, certificate_id(number), ALL)).items)


async def policies_of(store: Store, number: int = 1) -> list[str]:
    return [each.policy_name for each in (await store.attached_policies(SCOPE, certificate_id(number), ALL)).items]


async def groups_of(store: Store, name: str = "lamp") -> str:
    return " ".join((await store.groups_of_thing(SCOPE, ThingName(name), ALL)).items)


async def found(store: Store, name: str = "lamp") -> ThingRecord:
    record = await store.thing(SCOPE, ThingName(name))
    assert record is not None
    return record


def audited(path: Path) -> list[tuple[str, str, Any, Any]]:
    with contextlib.closing(sqlite3.connect(path / "handfast.db")) as raw:
        rows = raw.execute("SELECT what, subject, before, after FROM audit ORDER BY sequence").fetchall()
    return [(row[0], row[1], *(None if each is None else json.loads(each) for each in row[2:])) for row in rows]


# --- what a plan makes


async def test_a_new_device_has_its_certificate_thing_and_policy_and_everybody_is_told(store: Store) -> None:
    await with_ca(store)
    wanted = order(register=pending(), require_auto_registration=True)
    provisioned, changes = await store.provision(wanted, cause())
    arn = "arn:aws:iot:us-east-1:123456789012:"
    assert (
        Provisioned(
            certificate_id=ID,
            certificate_status=_S.ACTIVE,
            thing_name=LAMP,
            resource_arns={
                "certificate": f"{arn}cert/{ID}",
                "thing": f"{arn}thing/lamp",
                "policy": f"{arn}policy/connect",
            },
        )
        == provisioned
    )
    told = [
        Change(ChangeKind.CERTIFICATE, SCOPE, ID),
        Change(ChangeKind.THING, SCOPE, "lamp"),
        Change(ChangeKind.POLICY, SCOPE, "connect"),
        Change(ChangeKind.PRINCIPAL_POLICIES, SCOPE, ID),
        Change(ChangeKind.PRINCIPAL_THINGS, SCOPE, ID),
    ]
    assert told == changes
    assert told == (await store.changes_since(await _before(store, len(told)), 100))[0]
    (principal,) = await store.principals([(SCOPE, ID)])
    assert principal is not None
    assert (_S.ACTIVE, CA) == (principal.certificate.status, principal.certificate.ca_certificate_id)
    assert [("lamp", NON_EXCLUSIVE)] == [(each.thing_name, each.thing_principal_type) for each in principal.things]
    assert [(CONNECT, DOCUMENT)] == [(each.policy_name, each.document) for each in principal.policies]


async def _before(store: Store, count: int) -> Any:
    head = await store.head_cursor()
    return type(head)(f"{head[0]}{int(head[1:]) - count}")


async def test_the_trail_is_that_of_the_single_operations_in_their_order(store: Store, tmp_path: Path) -> None:
    await with_ca(store)
    before = len(audited(tmp_path))
    wanted = plan(thing=lamp(attributes={"room": "hall"}))
    await store.provision(order(wanted, register=pending(), require_auto_registration=True), cause())
    made = {
        "thingId": "thing-id",
        "thingTypeName": None,
        "attributes": {"room": "hall"},
        "billingGroupName": None,
        "version": 1,
    }
    assert [
        ("certificate", ID, None, {"status": "PENDING_ACTIVATION", "mode": "DEFAULT", "caCertificateId": CA}),
        ("thing", "lamp", None, made),
        ("policy", "connect", None, {"version": "1", "document": DOCUMENT}),
        ("principal_policies", ID, None, {"policy": "connect"}),
        ("principal_things", ID, None, {"thing": "lamp", "type": "NON_EXCLUSIVE_THING"}),
        ("certificate", ID, {"status": "PENDING_ACTIVATION"}, {"status": "ACTIVE"}),
    ] == audited(tmp_path)[before:]


async def test_the_same_plan_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    await register(store)
    await store.create_thing_group(thing_group(), cause(), **LIMITS)
    wanted = plan(
        thing=lamp(
            attributes={"a": "1"},
            attributes_override=_O.MERGE,
            thing_groups=(ThingGroupName("hall"),),
            thing_groups_override=_O.REPLACE,
            takes_over=True,
        )
    )
    first = await done(store, order(wanted))
    before = dump(tmp_path / "handfast.db")
    again, changes = await store.provision(order(wanted), cause())
    assert (first, []) == (again, changes)
    assert before == dump(tmp_path / "handfast.db")


async def test_a_plan_without_a_certificate_makes_a_thing_and_policies(store: Store) -> None:
    wanted = Plan(thing=lamp(), policies=(with_document(),))
    provisioned = await done(store, order(wanted, certificate_id=None))
    assert (None, None, LAMP) == (provisioned.certificate_id, provisioned.certificate_status, provisioned.thing_name)
    assert await store.policy(SCOPE, CONNECT) is not None
    assert (_K.CERTIFICATE, "certificate") == await failure(store, order(plan(), certificate_id=None))


async def test_a_thing_has_its_type_attributes_groups_and_billing_group(store: Store) -> None:
    await register(store)
    await surroundings(store)
    wanted = lamp(
        attributes={"a": "1", "empty": ""},
        thing_type_name=ThingTypeName("bulb"),
        thing_groups=(ThingGroupName("hall"), ThingGroupName("site")),
        billing_group_name=BillingGroupName("paid"),
    )
    await done(store, order(plan(thing=wanted)))
    made = await found(store)
    assert ({"a": "1"}, "bulb", "paid", 1) == (
        made.attributes,
        made.thing_type_name,
        made.billing_group_name,
        made.version,
    )
    assert "hall site" == await groups_of(store)


async def surroundings(store: Store) -> None:
    for name in ("hall", "site"):
        await store.create_thing_group(thing_group(name), cause(), **LIMITS)
    await store.create_thing_group(thing_group("lamps", parent="hall"), cause(), **LIMITS)
    for name in ("bulb", "old"):
        kind = ThingTypeRecord(
            scope=SCOPE, thing_type_name=ThingTypeName(name), thing_type_id=name, creation_date=cause().at
        )
        await store.create_thing_type(kind, cause())
    await store.deprecate_thing_type(SCOPE, ThingTypeName("old"), undo=False, cause=cause())
    paid = BillingGroupRecord(
        scope=SCOPE, billing_group_name=BillingGroupName("paid"), billing_group_id="paid", creation_date=cause().at
    )
    await store.create_billing_group(paid, cause())


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"thing_type_name": "nothing"}, _K.MISSING),
        ({"thing_type_name": "old"}, _K.INVALID),
        ({"billing_group_name": "nothing"}, _K.MISSING),
        ({"thing_groups": ("hall", "nothing")}, _K.MISSING),
        ({"thing_groups": ("hall", "lamps")}, _K.CONFLICT),
        ({"attributes": {str(n): "1" for n in range(4)}}, _K.INVALID),
        ({"attributes": {str(n): "1" for n in range(51)}, "thing_type_name": "bulb"}, _K.INVALID),
    ],
    ids=lambda value: value.name if isinstance(value, FailureKind) else "-".join(value),
)
async def test_what_a_thing_needs_and_is_not_there_leaves_nothing_behind(
    store: Store, tmp_path: Path, wanted: dict[str, Any], kind: FailureKind
) -> None:
    await register(store)
    await surroundings(store)
    before = dump(tmp_path / "handfast.db")
    assert (kind, "thing") == await failure(store, order(plan(thing=lamp(**wanted))))
    assert before == dump(tmp_path / "handfast.db")


async def test_a_thing_is_in_so_many_groups(store: Store) -> None:
    await register(store)
    await surroundings(store)
    wanted = plan(thing=lamp(thing_groups=(ThingGroupName("hall"), ThingGroupName("site"))))
    assert (_K.LIMIT, "thing") == await failure(store, order(wanted, groups_per_thing=1))


# --- a thing that exists


async def test_a_thing_of_another_certificate_is_a_clash_unless_it_may_be_taken_over(
    store: Store, tmp_path: Path
) -> None:
    await register(store, 1)
    await register(store, 2)
    await done(store, order(certificate_id=SECOND))
    before = dump(tmp_path / "handfast.db")
    assert (_K.CONFLICT, "thing") == await failure(store, order())
    assert before == dump(tmp_path / "handfast.db")
    await done(store, order(plan(thing=lamp(takes_over=True))))
    assert [(LAMP, NON_EXCLUSIVE)] == await things_of(store) == await things_of(store, 2)


async def test_a_thing_of_nobody_is_used_as_it_is(store: Store) -> None:
    await register(store)
    await store.create_thing(thing("lamp", attributes={"old": "1"}), cause())
    await done(store, order(plan(thing=lamp(attributes={"new": "1"}))))
    made = await found(store)
    assert ("id-of-lamp", {"old": "1"}, 1) == (made.thing_id, made.attributes, made.version)
    assert [(LAMP, NON_EXCLUSIVE)] == await things_of(store)


async def test_a_thing_that_another_certificate_has_exclusively_is_never_taken_over(store: Store) -> None:
    await register(store, 1)
    await register(store, 2)
    await store.create_thing(thing(), cause())
    await store.attach_thing(SCOPE, LAMP, SECOND, EXCLUSIVE, cause())
    assert (_K.CONFLICT, "thing") == await failure(store, order(plan(thing=lamp(takes_over=True))))


async def test_a_certificate_keeps_its_own_exclusive_thing_and_gets_no_other(store: Store) -> None:
    await register(store)
    await store.create_thing(thing(), cause())
    await store.attach_thing(SCOPE, LAMP, ID, EXCLUSIVE, cause())
    await done(store, order())
    assert [(LAMP, EXCLUSIVE)] == await things_of(store)
    assert (_K.CONFLICT, "thing") == await failure(store, order(plan(thing=lamp("other"))))
    assert await store.thing(SCOPE, ThingName("other")) is None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (_O.DO_NOTHING, ({"a": "1", "b": "1"}, 1)),
        (_O.REPLACE, ({"b": "2", "c": "2"}, 2)),
        (_O.MERGE, ({"a": "1", "b": "2", "c": "2"}, 2)),
        (_O.FAIL, None),
    ],
)
async def test_attributes_of_a_thing_that_exists(
    store: Store, override: Override, expected: tuple[dict[str, str], int] | None
) -> None:
    await register(store)
    await store.create_thing(thing(attributes={"a": "1", "b": "1"}), cause())
    given = lamp(attributes={"b": "2", "c": "2"}, attributes_override=override, takes_over=True)
    if expected is None:
        assert (_K.CONFLICT, "thing") == await failure(store, order(plan(thing=given)))
        return
    await done(store, order(plan(thing=given)))
    made = await found(store)
    assert expected == (made.attributes, made.version)


@pytest.mark.parametrize(("override", "expected"), [(_O.DO_NOTHING, None), (_O.REPLACE, "bulb"), (_O.FAIL, "failure")])
async def test_the_type_of_a_thing_that_exists(store: Store, override: Override, expected: str | None) -> None:
    await register(store)
    await surroundings(store)
    await store.create_thing(thing(), cause())
    given = lamp(thing_type_name=ThingTypeName("bulb"), thing_type_override=override, takes_over=True)
    if expected == "failure":
        assert (_K.CONFLICT, "thing") == await failure(store, order(plan(thing=given)))
        return
    await done(store, order(plan(thing=given)))
    assert expected == (await found(store)).thing_type_name


@pytest.mark.parametrize(
    ("override", "wanted", "expected"),
    [
        (_O.DO_NOTHING, "site", "hall"),
        (_O.REPLACE, "site", "site"),
        (_O.REPLACE, "lamps site", "lamps site"),  # within a hierarchy
        (_O.REPLACE, "", ""),
        (_O.MERGE, "site", "hall site"),
        (_O.MERGE, "", "hall"),
    ],
)
async def test_groups_of_a_thing_that_exists(store: Store, override: Override, wanted: str, expected: str) -> None:
    await register(store)
    await surroundings(store)
    await store.create_thing(thing(), cause())
    await store.update_thing_groups(SCOPE, LAMP, add=[ThingGroupName("hall")], remove=[], limit=10, cause=cause())
    groups = tuple(map(ThingGroupName, wanted.split()))
    given = lamp(thing_groups=groups, thing_groups_override=override, takes_over=True)
    await done(store, order(plan(thing=given)))
    assert expected == await groups_of(store)


async def test_what_the_template_does_not_say_is_not_replaced(store: Store) -> None:
    await register(store)
    await surroundings(store)
    old = thing(attributes={"a": "1"}, thing_type_name="bulb")
    await store.create_thing(old, cause())
    await store.update_thing_groups(SCOPE, LAMP, add=[ThingGroupName("hall")], remove=[], limit=10, cause=cause())
    replace = {f"{part}_override": _O.REPLACE for part in ("attributes", "thing_type", "thing_groups")}
    await done(store, order(plan(thing=lamp(takes_over=True, **replace))))
    assert old == await found(store)
    assert "hall" == await groups_of(store)


# --- policies


async def test_a_policy_without_a_document_has_to_exist(store: Store) -> None:
    await register(store)
    wanted = plan(policies=[with_document("allow", None)])
    assert (_K.MISSING, "policy") == await failure(store, order(wanted))
    await store.create_policy(policy(), cause())
    await done(store, order(wanted))
    assert ["allow"] == await policies_of(store)


@pytest.mark.parametrize(
    ("document", "used"),
    [
        (DOCUMENT, True),
        (json.dumps(json.loads(DOCUMENT), indent=1, sort_keys=True), True),
        (DOCUMENT.replace('"*"', '"a"'), False),
        (DOCUMENT.replace("Allow", "Deny"), False),
    ],
)
async def test_a_policy_of_the_name_is_used_where_it_says_the_same(store: Store, document: str, used: bool) -> None:
    await register(store)
    await store.create_policy(policy("connect", document=document), cause())
    if used:
        await done(store, order())
        assert ["connect"] == await policies_of(store)
    else:
        assert (_K.CONFLICT, "policy") == await failure(store, order())
    kept = await store.policy(SCOPE, CONNECT)
    assert kept is not None
    assert document == kept.document


async def test_a_certificate_has_so_many_policies(store: Store) -> None:
    await register(store)
    wanted = plan(policies=[with_document("one"), with_document("two")])
    assert (_K.LIMIT, "policy") == await failure(store, order(wanted, policies_per_certificate=1))
    assert await store.policy(SCOPE, PolicyName("one")) is None
    await done(store, order(wanted, policies_per_certificate=2))
    await done(store, order(wanted, policies_per_certificate=2))
    assert ["one", "two"] == await policies_of(store)


# --- the certificate


@pytest.mark.parametrize(
    ("registered", "override", "wanted", "expected"),
    [
        (_S.PENDING_ACTIVATION, _O.DO_NOTHING, _S.ACTIVE, _S.ACTIVE),
        (_S.PENDING_ACTIVATION, _O.DO_NOTHING, _S.INACTIVE, _S.INACTIVE),
        (_S.PENDING_ACTIVATION, _O.FAIL, _S.ACTIVE, _S.ACTIVE),
        (_S.INACTIVE, _O.DO_NOTHING, _S.ACTIVE, _S.INACTIVE),
        (_S.INACTIVE, _O.REPLACE, _S.ACTIVE, _S.ACTIVE),
        (_S.ACTIVE, _O.REPLACE, _S.INACTIVE, _S.INACTIVE),
        (_S.ACTIVE, _O.DO_NOTHING, _S.INACTIVE, _S.ACTIVE),
        (_S.ACTIVE, _O.FAIL, _S.ACTIVE, _K.CONFLICT),
        (_S.REVOKED, _O.REPLACE, _S.ACTIVE, _K.CERTIFICATE),
        (_S.REVOKED, _O.DO_NOTHING, _S.ACTIVE, _K.CERTIFICATE),
    ],
)
async def test_the_status_of_a_certificate_that_is_registered(
    store: Store,
    registered: CertificateStatus,
    override: Override,
    wanted: CertificateStatus,
    expected: CertificateStatus | FailureKind,
) -> None:
    await register(store, status=registered)
    given = order(plan(status=wanted, status_override=override))
    if isinstance(expected, FailureKind):
        assert (expected, "certificate") == await failure(store, given)
        assert registered is await status(store)
        assert await store.thing(SCOPE, LAMP) is None
    else:
        assert expected is (await done(store, given)).certificate_status
        assert expected is await status(store)


async def test_a_certificate_on_its_way_to_another_account_is_not_provisioned(store: Store) -> None:
    await register(store, status=_S.INACTIVE)
    await store.transfer_certificate(SCOPE, ID, target=OTHER_ACCOUNT.account, message=None, cause=cause())
    assert (_K.CERTIFICATE, "certificate") == await failure(store, order(plan(status_override=_O.REPLACE)))


async def test_an_unknown_certificate_and_another_accounts_are_the_same(store: Store) -> None:
    await store.insert_certificate(certificate(1, scope=OTHER_ACCOUNT), cause())
    assert (_K.CERTIFICATE, "certificate") == await failure(store, order())
    assert (_K.CERTIFICATE, "certificate") == await failure(store, order(certificate_id=SECOND))


async def test_a_template_reaches_no_other_certificate_than_the_orders(store: Store) -> None:
    await register(store)
    await register(store, 2)
    reaching = plan(certificate_id=SECOND)
    assert (_K.INVALID, "certificate") == await failure(store, order(reaching))
    assert _S.PENDING_ACTIVATION is await status(store, 2)
    await done(store, order(plan(certificate_id=ID)))


@pytest.mark.parametrize(
    ("ca", "auto"),
    [
        (None, None),
        (CACertificateStatus.INACTIVE, AutoRegistrationStatus.ENABLE),
        (CACertificateStatus.ACTIVE, AutoRegistrationStatus.DISABLE),
    ],
)
@pytest.mark.parametrize("registered", [False, True])
async def test_just_in_time_needs_a_ca_that_is_active_and_auto_registering_at_that_moment(
    store: Store,
    ca: CACertificateStatus | None,
    auto: AutoRegistrationStatus | None,
    registered: bool,
) -> None:
    if ca is not None and auto is not None:
        await with_ca(store, ca, auto)
    if registered:
        await store.insert_certificate(pending(), cause())
    for given in ({"register": pending()}, {"certificate_id": ID}):
        if registered or "register" in given:
            wanted = order(require_auto_registration=True, **given)
            assert (_K.CERTIFICATE, "certificate") == await failure(store, wanted)
    assert (_S.PENDING_ACTIVATION if registered else None) is await status(store)


async def test_what_just_in_time_registration_left_is_provisioned(store: Store) -> None:
    await with_ca(store)
    for number, given in enumerate(({"register": pending(1)}, {"certificate_id": SECOND}), start=1):
        await store.insert_certificate(pending(number), cause())
        wanted = plan(thing=lamp(str(number)))
        assert (
            _S.ACTIVE is (await done(store, order(wanted, require_auto_registration=True, **given))).certificate_status
        )


@pytest.mark.parametrize(
    "there",
    [
        certificate(1, status=_S.PENDING_ACTIVATION),  # fleet provisioning is waiting for it
        pending(1, status=_S.ACTIVE),
        pending(1, status=_S.INACTIVE),
        pending(1, status=_S.REVOKED),
        pending(1, scope=OTHER_ACCOUNT, status=_S.ACTIVE),  # DEFAULT elsewhere in the region
    ],
    ids=["fleet", "active", "inactive", "revoked", "elsewhere"],
)
async def test_just_in_time_picks_up_no_certificate_that_is_somebody_elses(
    store: Store, tmp_path: Path, there: Any
) -> None:
    await with_ca(store)
    await store.insert_certificate(there, cause())
    before = dump(tmp_path / "handfast.db")
    wanted = order(register=pending(), require_auto_registration=True)
    assert (_K.CERTIFICATE, "certificate") == await failure(store, wanted)
    assert before == dump(tmp_path / "handfast.db")


async def test_who_was_revoked_or_transferred_away_does_not_come_back_just_in_time(store: Store) -> None:
    await with_ca(store)
    await register(store, 1, _S.INACTIVE)
    await store.transfer_certificate(SCOPE, ID, target=OTHER_ACCOUNT.account, message=None, cause=cause())
    await store.accept_transfer(OTHER_ACCOUNT, ID, status=_S.INACTIVE, cause=cause())
    await store.delete_certificate(OTHER_ACCOUNT, ID, force=False, cause=cause())
    await register(store, 2, _S.REVOKED)
    await store.delete_certificate(SCOPE, SECOND, force=False, cause=cause())
    for number in (1, 2):
        wanted = order(register=pending(number), require_auto_registration=True)
        assert (_K.CERTIFICATE, "certificate") == await failure(store, wanted)
    # On purpose, the one that was transferred may come back; the one that was revoked may not.
    assert _S.ACTIVE is (await done(store, order(register=pending(1)))).certificate_status
    assert await store.tombstone(SCOPE, ID) is None
    assert (_K.CERTIFICATE, "certificate") == await failure(store, order(register=pending(2)))


# --- races and atomicity


async def test_of_two_certificates_that_want_one_thing_exactly_one_gets_it(store: Store) -> None:
    orders = [order(register=certificate(number, status=_S.PENDING_ACTIVATION)) for number in range(1, 9)]
    results = await asyncio.gather(*(store.provision(each, cause()) for each in orders), return_exceptions=True)
    won = [number for number, result in enumerate(results, start=1) if not isinstance(result, BaseException)]
    lost = [result for result in results if isinstance(result, ProvisioningFailed)]
    assert (1, 7) == (len(won), len(lost))
    assert {(_K.CONFLICT, "thing")} == {(each.kind, each.resource) for each in lost}
    statuses = await store.certificate_statuses(SCOPE, [certificate_id(number) for number in range(1, 9)])
    assert {certificate_id(won[0]): _S.ACTIVE} == statuses


async def test_two_devices_that_make_one_policy_both_have_it(store: Store) -> None:
    orders = [
        order(plan(thing=lamp(str(number))), register=certificate(number, status=_S.PENDING_ACTIVATION))
        for number in range(1, 9)
    ]
    await asyncio.gather(*(store.provision(each, cause()) for each in orders))
    targets = await store.policy_targets(SCOPE, CONNECT, ALL)
    assert {certificate_id(number) for number in range(1, 9)} == {target.name for target in targets.items}


def _random_plan(chosen: random.Random) -> tuple[Plan, str]:
    """A plan, and what may go wrong with it."""
    broken = chosen.choice(["type", "group", "billing", "policy", "document", "limit", "clash", "status"])
    parts: dict[str, Any] = {"attributes": {"a": "1"}, "thing_groups": ("hall",), "thing_type_name": "bulb"}
    policies = [with_document(f"p{number}") for number in range(chosen.randint(1, 3))]
    match broken:
        case "type":
            parts["thing_type_name"] = "nothing"
        case "group":
            parts["thing_groups"] = ("site", "nothing")
        case "billing":
            parts["billing_group_name"] = "nothing"
        case "policy":
            policies.insert(chosen.randint(0, len(policies)), with_document("nothing", None))
        case "document":
            policies.insert(chosen.randint(0, len(policies)), with_document("allow", DOCUMENT))
        case "limit":
            policies += [with_document(f"q{number}") for number in range(4)]
        case "clash":
            # An existing thing, changed before the plan fails at the certificate's exclusive thing.
            parts |= {"attributes_override": _O.MERGE, "thing_groups_override": _O.REPLACE, "takes_over": True}
    name = "taken" if broken == "clash" else chosen.choice(["fresh", "free"])
    given = {"status": _S.INACTIVE} if chosen.random() < 0.5 else {}
    return plan(thing=lamp(name, **parts), policies=policies, **given), broken


async def test_a_plan_that_fails_at_any_step_leaves_every_table_as_it_was(store: Store, tmp_path: Path) -> None:
    await surroundings(store)
    await with_ca(store)
    await store.create_policy(policy(), cause())
    for name in ("free", "taken"):
        await store.create_thing(thing(name), cause())
    await register(store, 9, _S.ACTIVE)
    await store.attach_thing(SCOPE, ThingName("free"), certificate_id(9), EXCLUSIVE, cause())
    await store.insert_certificate(certificate(8, status=_S.REVOKED), cause())
    chosen = random.Random(5)
    before = dump(tmp_path / "handfast.db")
    seen = set()
    for number in range(10, 50):
        wanted, broken = _random_plan(chosen)
        match broken:
            case "clash":
                given: dict[str, Any] = {"certificate_id": certificate_id(9)}
            case "status":
                given = {"certificate_id": certificate_id(8)}
            case _:
                given = {"register": pending(number), "require_auto_registration": True}
        await failure(store, order(wanted, policies_per_certificate=3, **given))
        assert before == dump(tmp_path / "handfast.db"), broken
        seen.add(broken)
    assert 8 == len(seen)
    good = order(plan(thing=lamp("fresh")), register=pending(60), require_auto_registration=True)
    assert _S.ACTIVE is (await done(store, good)).certificate_status
