"""Provisioning plans in every `ports.Store`: the whole plan or nothing, whoever else is at work."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from tests.support.provisioned import ALL, CONNECT, EXCLUSIVE, done, failure, register, surroundings, with_ca
from tests.support.provisioning import DOCUMENT, dump, lamp, order, pending, plan, with_document
from tests.support.registry import SCOPE, cause, certificate, certificate_id, policy, thing

from handfast.core.identity.ids import ThingName
from handfast.core.identity.records import CertificateStatus
from handfast.core.provisioning.plan import FailureKind, Override, Plan, ProvisioningFailed
from handfast.ports import Store

_S, _K, _O = CertificateStatus, FailureKind, Override


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
