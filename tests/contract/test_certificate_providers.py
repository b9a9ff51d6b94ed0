"""Certificate providers and provisioning claims in every `ports.Store`."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    OTHER_REGION,
    SCOPE,
    account,
    cause,
    certificate,
    certificate_id,
    policy,
    provisioning_template,
    thing,
)
from tests.support.stores import conflict as raised

from handfast.core.identity.ids import PolicyName, Scope, ThingName
from handfast.core.identity.records import AccountStatus, CertificateStatus, ThingPrincipalType
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.core.provisioning.fleet import OwnershipTokenRecord
from handfast.core.provisioning.records import (
    CertificateProviderName,
    CertificateProviderRecord,
    ProvisioningClaimRecord,
    ProvisioningTemplateEdit,
    TemplateName,
    TemplateType,
)
from handfast.errors import StoreConflict
from handfast.ports import AuditQuery, Change, ChangeKind, PageRequest, Store

NAME, OTHER = CertificateProviderName("signer"), CertificateProviderName("other")
MINUTES = dt.timedelta(minutes=5)
SECOND = dt.timedelta(seconds=1)
FLEET = TemplateName("fleet")
CLAIM = certificate_id(1)


async def conflict(kind: str, call: Awaitable[Any]) -> None:
    assert kind == (await raised(call)).kind


def provider(name: str = "signer", **changes: Any) -> CertificateProviderRecord:
    given: dict[str, Any] = {
        "scope": SCOPE,
        "name": CertificateProviderName(name),
        "function_arn": "arn",
        "request_digest": "d1",
        "creation_date": NOW,
        "last_modified_date": NOW,
    }
    return CertificateProviderRecord(**given | changes)


def claim(number: int = 1, **changes: Any) -> ProvisioningClaimRecord:
    given: dict[str, Any] = {
        "scope": SCOPE,
        "certificate_id": certificate_id(number),
        "template_name": FLEET,
        "pem": f"pem of claim {number}\n",
        "not_before": NOW,
        "not_after": NOW + MINUTES,
        "creation_date": NOW,
    }
    return ProvisioningClaimRecord(**given | changes)


async def kinds(store: Store) -> list[tuple[str, str]]:
    rows = await store.audit_events(AuditQuery(chain=None), PageRequest(limit=100, ascending=True))
    return [(row.fields.kind, row.fields.subject) for row in rows.items]


# --- providers


async def test_a_scope_has_one_provider(store: Store) -> None:
    made = await store.create_certificate_provider(provider(), cause(), tags={"of": "me"})
    assert [Change(ChangeKind.CERTIFICATE_PROVIDER, SCOPE, "signer")] == made
    assert provider() == await store.certificate_provider(SCOPE)
    await conflict("exists", store.create_certificate_provider(provider(), cause()))
    await conflict("limit", store.create_certificate_provider(provider("other"), cause()))
    for scope in (OTHER_ACCOUNT, OTHER_REGION):
        assert await store.certificate_provider(scope) is None
        await store.create_certificate_provider(provider(scope=scope), cause())
    assert {"of": "me"} == await store.tags(SCOPE, TaggedResource(Taggable.CERTIFICATE_PROVIDER, NAME))


async def test_of_many_that_are_made_at_once_one_is(store: Store) -> None:
    calls = [store.create_certificate_provider(provider(f"signer{number}"), cause()) for number in range(8)]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert ["limit"] * 7 == [each.kind for each in ended if isinstance(each, StoreConflict)]


async def test_a_provider_is_changed_and_deleted_by_its_own_name_alone(store: Store) -> None:
    await store.create_certificate_provider(provider(), cause(), tags={"of": "me"})
    later = cause(at=NOW + SECOND)
    await conflict("missing", store.update_certificate_provider(SCOPE, OTHER, function_arn="x", cause=later))
    await conflict("missing", store.delete_certificate_provider(SCOPE, OTHER, later))
    await conflict("missing", store.delete_certificate_provider(OTHER_ACCOUNT, NAME, later))
    assert [] == await store.update_certificate_provider(SCOPE, NAME, function_arn="arn", cause=later)
    assert 1 == len(await store.update_certificate_provider(SCOPE, NAME, function_arn="new", cause=later))
    found = await store.certificate_provider(SCOPE)
    assert provider(function_arn="new", last_modified_date=NOW + SECOND) == found
    await store.delete_certificate_provider(SCOPE, NAME, later)
    assert await store.certificate_provider(SCOPE) is None
    await store.create_certificate_provider(provider(), cause())
    assert {} == await store.tags(SCOPE, TaggedResource(Taggable.CERTIFICATE_PROVIDER, NAME))
    assert [("certificate_provider", "signer")] * 4 == (await kinds(store))[2:]


# --- claims


async def with_template(store: Store, name: str = "fleet", **changes: Any) -> None:
    await store.create_provisioning_template(provisioning_template(name, **changes), cause(), limit=99)


async def test_a_claim_is_a_principal_and_no_certificate(store: Store) -> None:
    await with_template(store)
    made = await store.insert_provisioning_claim(claim(), limit=9, cause=cause())
    assert [Change(ChangeKind.PROVISIONING_CLAIM, SCOPE, CLAIM)] == made
    (found, elsewhere, another) = await store.principals(
        [(SCOPE, CLAIM), (OTHER_ACCOUNT, CLAIM), (SCOPE, certificate_id(2))]
    )
    assert (None, None) == (elsewhere, another)
    assert found is not None
    assert ("fleet", AccountStatus.ENABLED, CertificateStatus.ACTIVE) == (
        found.claim_of,
        found.account_status,
        found.certificate.status,
    )
    assert ("pem of claim 1\n", NOW, NOW + MINUTES) == (
        found.certificate.pem,
        found.certificate.not_before,
        found.certificate.not_after,
    )
    names = ["$provisioning-claim/fleet/" + purpose for purpose in ("receive", "request", "subscribe")]
    assert names == [each.policy_name for each in found.policies]
    assert [SCOPE] == await store.default_registrations("us-east-1", CLAIM)
    assert [] == await store.default_registrations("eu-west-1", CLAIM)
    page = PageRequest(limit=10)
    assert await store.certificate(SCOPE, CLAIM) is None
    assert await store.certificate_or_offer(SCOPE, CLAIM) is None
    assert {} == await store.certificate_statuses(SCOPE, [CLAIM])
    assert [] == list((await store.list_certificates(SCOPE, page)).items)
    assert [] == list((await store.certificates_by_expiry(SCOPE, page)).items)
    assert ([0], [0]) == await store.count_active_by_expiry([(None, None)])
    assert ("provisioning_claim", CLAIM) == (await kinds(store))[-1]


async def test_nothing_can_be_done_to_a_claim(store: Store) -> None:
    await with_template(store)
    await store.insert_provisioning_claim(claim(), limit=9, cause=cause())
    await store.create_policy(policy(), cause())
    await store.create_thing(thing(), cause())
    active, inactive = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE
    exclusive = ThingPrincipalType.EXCLUSIVE_THING
    missing = [
        store.set_certificate_status(SCOPE, CLAIM, expected=active, new=inactive, cause=cause()),
        store.delete_certificate(SCOPE, CLAIM, force=True, cause=cause()),
        store.transfer_certificate(SCOPE, CLAIM, target=OTHER_ACCOUNT.account, message=None, cause=cause()),
    ]
    for call in missing:
        await conflict("missing", call)
    attached = store.attach_policy(SCOPE, PolicyName("allow"), CLAIM, limit=9, cause=cause())
    await conflict("certificate", attached)
    await conflict("certificate", store.attach_thing(SCOPE, ThingName("lamp"), CLAIM, exclusive, cause()))


async def test_when_no_claim_is_made(store: Store) -> None:
    add = store.insert_provisioning_claim
    await conflict("missing", add(claim(), limit=9, cause=cause()))
    await with_template(store, "jitp", type=TemplateType.JITP)
    await conflict("type", add(claim(template_name=TemplateName("jitp")), limit=9, cause=cause()))
    await with_template(store, "off", enabled=False)
    await conflict("disabled", add(claim(template_name=TemplateName("off")), limit=9, cause=cause()))
    await with_template(store)
    await conflict("missing", add(claim(scope=OTHER_ACCOUNT), limit=9, cause=cause()))
    await add(claim(1), limit=2, cause=cause())
    await add(claim(2), limit=2, cause=cause())
    await conflict("limit", add(claim(3), limit=2, cause=cause()))
    later = NOW + MINUTES + SECOND  # those that are over do not count
    await add(claim(3, not_after=later + MINUTES), limit=1, cause=cause(at=later))


@pytest.mark.parametrize("how", ["disabled", "deleted"])
async def test_claims_end_with_their_template(store: Store, how: str) -> None:
    await with_template(store)
    await with_template(store, "other")
    await store.insert_provisioning_claim(claim(1), limit=9, cause=cause())
    await store.insert_provisioning_claim(claim(2), limit=9, cause=cause())
    await store.insert_provisioning_claim(claim(3, template_name=TemplateName("other")), limit=9, cause=cause())
    if how == "deleted":
        changes = await store.delete_provisioning_template(SCOPE, FLEET, created=NOW, cause=cause())
    else:
        described = ProvisioningTemplateEdit(description="lamps")
        assert 1 == len(await store.update_provisioning_template(SCOPE, FLEET, described, created=NOW, cause=cause()))
        off = ProvisioningTemplateEdit(enabled=False)
        changes = await store.update_provisioning_template(SCOPE, FLEET, off, created=NOW, cause=cause())
    ended = {change.subject for change in changes if change.kind is ChangeKind.PROVISIONING_CLAIM}
    assert {certificate_id(1), certificate_id(2)} == ended
    found = await store.principals([(SCOPE, certificate_id(number)) for number in (1, 2, 3)])
    assert [True, True, False] == [each is None for each in found]
    if how == "disabled":  # and stay so
        on = ProvisioningTemplateEdit(enabled=True)
        await store.update_provisioning_template(SCOPE, FLEET, on, created=NOW, cause=cause())
        assert [None] == await store.principals([(SCOPE, CLAIM)])


async def test_claims_that_were_over_are_swept_a_bounded_number_at_a_time(store: Store) -> None:
    await with_template(store)
    for number in range(1, 4):
        over = NOW + number * SECOND
        await store.insert_provisioning_claim(claim(number, not_after=over), limit=9, cause=cause())
    assert 0 == await store.sweep_provisioning_claims(NOW + SECOND, 10)
    assert 1 == await store.sweep_provisioning_claims(NOW + MINUTES, 1)
    assert [None] == await store.principals([(SCOPE, CLAIM)])
    assert 2 == await store.sweep_provisioning_claims(NOW + MINUTES, 10)


async def test_a_registered_certificate_comes_before_a_claim_of_its_id(store: Store) -> None:
    await with_template(store)
    await store.insert_provisioning_claim(claim(), limit=9, cause=cause())
    await store.insert_certificate(certificate(1), cause())
    (found,) = await store.principals([(SCOPE, CLAIM)])
    assert found is not None
    assert (None, CertificateStatus.INACTIVE) == (found.claim_of, found.certificate.status)


async def test_a_disabled_account_is_seen_at_its_claims(store: Store) -> None:
    await with_template(store)
    await store.insert_provisioning_claim(claim(), limit=9, cause=cause())
    await store.set_account_status(account().account_id, AccountStatus.DISABLED, cause())
    (found,) = await store.principals([(SCOPE, CLAIM)])
    assert found is not None
    assert AccountStatus.DISABLED == found.account_status


async def test_a_claim_gives_certificates_until_it_is_over(store: Store) -> None:
    await with_template(store)
    await store.insert_provisioning_claim(claim(), limit=9, cause=cause())

    async def unclaimed(number: int, at: dt.datetime) -> list[Change]:
        record = dataclasses.replace(certificate(number), status=CertificateStatus.PENDING_ACTIVATION)
        token = OwnershipTokenRecord(
            scope=Scope(*SCOPE),
            certificate_id=record.certificate_id,
            claim_certificate_id=CLAIM,
            digest=f"digest {number}",
            expires_at=at + MINUTES,
        )
        return await store.insert_unclaimed(record, token, cause(at=at))

    assert 1 == len(await unclaimed(5, NOW + MINUTES))
    await conflict("claim", unclaimed(6, NOW + MINUTES + SECOND))
