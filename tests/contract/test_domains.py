"""Domain configurations and server certificates in every `ports.Store`."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.support.registry import NOW, OTHER_ACCOUNT, OTHER_REGION, SCOPE, account, cause
from tests.support.stores import conflict as raised

from handfast.core.identity.domains import (
    DATA_ATS,
    ApplicationProtocol,
    AuthenticationType,
    CertificateHealth,
    DomainConfigurationEdit,
    DomainConfigurationName,
    DomainConfigurationRecord,
    DomainStatus,
    DomainType,
    ServerCertificateId,
    ServerCertificateRecord,
    Stapling,
)
from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.errors import StoreConflict
from handfast.ports import AuditQuery, Change, ChangeKind, PageRequest, Store
from handfast.services.domains import endpoint_configuration

ONE, TWO = (ServerCertificateId(f"{number}" * 8 + "-0000-4000-8000-000000000000") for number in (1, 2))
DAY = dt.timedelta(days=1)
DISABLED = DomainConfigurationEdit(status=DomainStatus.DISABLED)


async def conflict(kind: str, call: Awaitable[Any]) -> StoreConflict:
    found = await raised(call)
    assert kind == found.kind
    return found


def certificate(certificate_id: ServerCertificateId = ONE, **changes: Any) -> ServerCertificateRecord:
    given: dict[str, Any] = {
        "scope": SCOPE,
        "certificate_id": certificate_id,
        "name": f"name-{certificate_id[0]}",
        "chain_pem": "PEM",
        "key_name": f"server-certificates/{certificate_id}-1",
        "health": CertificateHealth.VALID,
        "detail": "",
        "imported_at": NOW,
    }
    return ServerCertificateRecord(**given | changes)


def domain(name: str = "plant", **changes: Any) -> DomainConfigurationRecord:
    given: dict[str, Any] = {
        "scope": SCOPE,
        "name": DomainConfigurationName(name),
        "suffix": "aBc12",
        "domain_type": DomainType.AWS_MANAGED,
        "prefix": f"d{name}",
        "domain_name": None,
        "status": DomainStatus.ENABLED,
        "status_changed_at": NOW,
        "security_policy": None,
        "authentication_type": AuthenticationType.DEFAULT,
        "application_protocol": ApplicationProtocol.DEFAULT,
        "certificate_id": None,
        "validation_certificate_id": None,
        "stapling": Stapling(),
    }
    return DomainConfigurationRecord(**given | changes)


def own(name: str = "plant", domain_name: str = "mqtt.example.org", **changes: Any) -> DomainConfigurationRecord:
    of_its_own = {"domain_type": DomainType.CUSTOMER_MANAGED, "prefix": None, "domain_name": domain_name}
    return domain(name, **of_its_own | {"certificate_id": ONE} | changes)


async def create(store: Store, made: DomainConfigurationRecord, limit: int = 10, **given: Any) -> list[Change]:
    return await store.create_domain_configuration(made, cause(), limit=limit, **given)


async def imported(store: Store, *certificates: ServerCertificateRecord) -> None:
    for each in certificates or (certificate(),):
        await store.create_server_certificate(each, cause(), limit=10)


async def test_what_was_created_is_read_in_its_scope_and_told(store: Store) -> None:
    await imported(store, certificate(), certificate(TWO))
    made = own(validation_certificate_id=TWO, stapling=Stapling(True, TWO), security_policy="a policy")
    assert [Change(ChangeKind.DOMAIN_CONFIGURATION, SCOPE, "plant")] == await create(store, made, tags={"of": "me"})
    assert made == await store.domain_configuration(SCOPE, made.name)
    assert [made] == await store.domain_configurations()
    assert {"of": "me"} == await store.tags(SCOPE, TaggedResource(Taggable.DOMAIN_CONFIGURATION, "plant/aBc12"))
    for elsewhere in (OTHER_ACCOUNT, OTHER_REGION):
        assert await store.domain_configuration(elsewhere, made.name) is None
    page = await store.audit_events(AuditQuery(chain=SCOPE.account, subject="plant"), PageRequest(limit=9))
    assert ["domain_configuration"] == [row.fields.kind for row in page.items]


async def test_a_name_leads_to_one_alone_in_all_accounts_and_regions(store: Store) -> None:
    await imported(store, certificate(), certificate(scope=OTHER_ACCOUNT))
    await create(store, own())
    assert "plant/aBc12" == (await conflict("exists", create(store, own(domain_name="other.org")))).facts["resource"]
    await conflict("domain", create(store, own("other")))
    await conflict("domain", create(store, own("other", scope=OTHER_ACCOUNT)))
    await create(store, domain("managed"))
    await conflict("domain", create(store, domain("another", prefix="dmanaged", scope=OTHER_REGION)))


async def test_of_many_at_once_one_has_the_name(store: Store) -> None:
    await imported(store)
    results = await asyncio.gather(*[create(store, own(f"n{i}")) for i in range(5)], return_exceptions=True)
    assert ["domain"] * 4 == [each.kind for each in results if isinstance(each, StoreConflict)]
    assert 1 == len(await store.domain_configurations())


async def test_so_many_and_no_more_and_what_was_refused_is_not_there(store: Store) -> None:
    await create(store, domain("one"), limit=1)
    await store.set_endpoint_policy(
        dataclasses.replace(endpoint_configuration(SCOPE, NOW), security_policy="p"), cause=cause()
    )
    await conflict("limit", create(store, domain("two"), limit=1))
    assert await store.domain_configuration(SCOPE, DomainConfigurationName("two")) is None
    await create(store, domain("two", scope=OTHER_REGION), limit=1)


async def test_a_certificate_that_is_named_has_to_be_in_the_scope(store: Store) -> None:
    await conflict("certificate", create(store, own()))
    await imported(store, certificate(scope=OTHER_ACCOUNT))
    await conflict("certificate", create(store, own()))
    await imported(store)
    await conflict("certificate", create(store, own(validation_certificate_id=TWO)))
    await create(store, own())
    edit = DomainConfigurationEdit(stapling=Stapling(True, TWO))
    await conflict("certificate", store.update_domain_configuration(SCOPE, own().name, edit, cause=cause()))


async def test_an_update_changes_what_it_says_and_the_date_with_the_status_alone(store: Store) -> None:
    await create(store, domain())
    name = domain().name
    edit = DomainConfigurationEdit(security_policy="new", authentication_type=AuthenticationType.AWS_SIGV4)
    later = dataclasses.replace(cause(), at=NOW + DAY)
    await store.update_domain_configuration(SCOPE, name, edit, cause=later)
    found = await store.domain_configuration(SCOPE, name)
    expected = domain(security_policy="new", authentication_type=AuthenticationType.AWS_SIGV4)
    assert expected == found
    assert [] == await store.update_domain_configuration(SCOPE, name, edit, cause=later)
    await store.update_domain_configuration(SCOPE, name, DISABLED, cause=later)
    disabled = dataclasses.replace(expected, status=DomainStatus.DISABLED, status_changed_at=NOW + DAY)
    assert disabled == await store.domain_configuration(SCOPE, name)
    await conflict("missing", store.update_domain_configuration(OTHER_REGION, name, DISABLED, cause=cause()))


async def test_the_endpoints_own_is_made_by_its_first_update(store: Store) -> None:
    for policy in ("one", "two"):
        wanted = dataclasses.replace(endpoint_configuration(SCOPE, NOW), security_policy=policy)
        assert await store.set_endpoint_policy(wanted, cause=cause())
        assert wanted == await store.domain_configuration(SCOPE, DATA_ATS)
        assert [] == await store.set_endpoint_policy(wanted, cause=cause())


async def test_deletion_asks_for_disabled_and_of_a_managed_one_for_how_long(store: Store) -> None:
    await imported(store)
    for made in (domain("managed"), own()):
        await create(store, made)

    async def delete(name: str, until: dt.datetime | None) -> list[Change]:
        named = DomainConfigurationName(name)
        return await store.delete_domain_configuration(SCOPE, named, disabled_until=until, cause=cause())

    await conflict("missing", delete("none", None))
    await conflict("status", delete("plant", NOW))
    for name in ("managed", "plant"):
        await store.update_domain_configuration(SCOPE, DomainConfigurationName(name), DISABLED, cause=cause())
    waiting = await conflict("waiting", delete("managed", cause().at - DAY))
    assert cause().at == waiting.facts["since"]
    await delete("plant", cause().at - DAY)
    await delete("managed", cause().at)
    assert [] == await store.domain_configurations()


@pytest.mark.parametrize("size", [1, 2, 3, 250])
async def test_pages_are_by_name_with_the_endpoints_own_among_them(store: Store, size: int) -> None:
    names = ["A", "Z", "a", "iou", "z"]
    for name in names:
        await create(store, domain(name))
    await create(store, domain("elsewhere", scope=OTHER_REGION))
    found: list[str] = []
    marker = None
    for _ in range(10):
        page = await store.list_domain_configurations(SCOPE, PageRequest(limit=size, marker=marker, ascending=True))
        found += page.items
        marker = page.marker
        if marker is None:
            break
    assert ["A/aBc12", "Z/aBc12", "a/aBc12", "iot:Data-ATS", "iou/aBc12", "z/aBc12"] == found
    alone = await store.list_domain_configurations(Scope(SCOPE.account, "r-2"), PageRequest(limit=size))
    assert (["iot:Data-ATS"], None) == (alone.items, alone.marker)
    await conflict("marker", store.list_domain_configurations(SCOPE, PageRequest(limit=1, marker="AAAA")))


# --- server certificates


async def test_a_server_certificate_is_its_accounts_and_its_name_the_only_one(store: Store) -> None:
    told = await store.create_server_certificate(certificate(), cause(), limit=10)
    assert [Change(ChangeKind.SERVER_CERTIFICATE, SCOPE, ONE)] == told
    assert certificate() == await store.server_certificate(SCOPE, ONE)
    assert await store.server_certificate(OTHER_ACCOUNT, ONE) is None
    same_name = certificate(TWO, name=certificate().name)
    await conflict("exists", store.create_server_certificate(same_name, cause(), limit=10))
    await imported(store, dataclasses.replace(same_name, scope=OTHER_ACCOUNT))
    assert [certificate()] == await store.server_certificates(SCOPE.account)
    assert 2 == len(await store.server_certificates())
    await conflict("limit", store.create_server_certificate(certificate(TWO), cause(), limit=1))
    nobody = certificate(TWO, scope=Scope(AccountId("000000000000"), SCOPE.region))
    await conflict("account", store.create_server_certificate(nobody, cause(), limit=1))


async def test_a_replacement_is_of_what_was_read(store: Store) -> None:
    await imported(store)
    renewed = certificate(chain_pem="NEW", key_name="k2")
    await store.set_server_certificate_health(SCOPE, ONE, CertificateHealth.INVALID, "why", cause=cause())
    found = await store.server_certificate(SCOPE, ONE)
    assert certificate(health=CertificateHealth.INVALID, detail="why") == found
    await store.replace_server_certificate(renewed, expected=certificate(), cause=cause())
    assert renewed == await store.server_certificate(SCOPE, ONE)
    late = store.replace_server_certificate(certificate(chain_pem="LATE"), expected=certificate(), cause=cause())
    await conflict("changed", late)
    await conflict("missing", store.replace_server_certificate(certificate(TWO), expected=renewed, cause=cause()))


async def test_one_that_is_named_cannot_go(store: Store) -> None:
    await imported(store, certificate(), certificate(TWO))
    await create(store, own(validation_certificate_id=TWO))
    await store.create_account(account(Scope(AccountId("000000000001"), SCOPE.region)), cause())
    for each in (ONE, TWO):
        found = await conflict("domains", store.delete_server_certificate(SCOPE, each, cause()))
        assert ["plant"] == found.facts["names"]
    await store.update_domain_configuration(SCOPE, own().name, DISABLED, cause=cause())
    await store.delete_domain_configuration(SCOPE, own().name, disabled_until=None, cause=cause())
    await store.delete_server_certificate(SCOPE, ONE, cause())
    await conflict("missing", store.delete_server_certificate(SCOPE, ONE, cause()))
