"""Provisioning plans in every `ports.Store`: what a plan makes, the trail that it leaves, policies."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.support.provisioned import (
    ALL,
    CA,
    CONNECT,
    ID,
    LAMP,
    LIMITS,
    NON_EXCLUSIVE,
    done,
    failure,
    register,
    with_ca,
)
from tests.support.provisioning import DOCUMENT, dump, lamp, order, pending, plan, with_document
from tests.support.registry import SCOPE, cause, certificate_id, policy, thing_group

from handfast.core.identity.ids import PolicyName, ThingGroupName
from handfast.core.identity.records import CertificateStatus
from handfast.core.provisioning.plan import FailureKind, Override, Plan
from handfast.ports import Change, ChangeKind, Store
from handfast.ports.provisioning import Provisioned

_S, _K, _O = CertificateStatus, FailureKind, Override


async def policies_of(store: Store, number: int = 1) -> list[str]:
    return [each.policy_name for each in (await store.attached_policies(SCOPE, certificate_id(number), ALL)).items]


def audited(path: Path) -> list[tuple[str, str, Any, Any]]:
    with contextlib.closing(sqlite3.connect(path / "handfast.db")) as raw:
        rows = raw.execute("SELECT what, subject, before, after FROM audit ORDER BY sequence").fetchall()
    return [(row[0], row[1], *(None if each is None else json.loads(each) for each in row[2:])) for row in rows]


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
