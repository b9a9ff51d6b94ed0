"""Provisioning templates, their versions, and the CAs that provision by them in every `ports.Store`."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
from typing import Any

import pytest
from tests.support.registry import (
    NOW,
    OTHER_ACCOUNT,
    OTHER_REGION,
    ROLE,
    SCOPE,
    TEMPLATE_BODY,
    ca_certificate,
    cause,
    certificate_id,
    provisioning_template,
)
from tests.support.stores import conflict, pages

from handfast.core.identity.records import CACertificateStatus, RegistrationConfig
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.core.provisioning.records import (
    PreProvisioningHook,
    ProvisioningTemplateEdit,
    ProvisioningTemplateVersionRecord,
    TemplateName,
    TemplateType,
)
from handfast.errors import StoreConflict
from handfast.ports import AuditQuery, Change, ChangeKind, PageRequest, Store

FLEET, JITP = TemplateName("fleet"), TemplateName("jitp")
CHANGE = [Change(ChangeKind.PROVISIONING_TEMPLATE, SCOPE, "fleet")]
CA_CHANGE = [Change(ChangeKind.CA_CERTIFICATE, SCOPE, certificate_id(1))]
LATER = NOW + dt.timedelta(hours=1)
HOOK = PreProvisioningHook(target_arn="arn:aws:lambda:us-east-1:123456789012:function:gate")
BY_NAME = RegistrationConfig(template_name="jitp")
BY_BODY = RegistrationConfig(template_body="{}", role_arn=ROLE)


async def create(store: Store, name: str = "fleet", **changes: Any) -> list[Change]:
    return await store.create_provisioning_template(provisioning_template(name, **changes), cause(), limit=9)


async def version(store: Store, body: str = "two", **options: Any) -> ProvisioningTemplateVersionRecord:
    asked: dict[str, Any] = {
        "set_as_default": False,
        "limit": 5,
        "created": NOW,
        "cause": cause(at=LATER),
    }
    made, changes = await store.create_provisioning_template_version(SCOPE, FLEET, body, **asked | options)
    assert CHANGE == changes
    return made


async def edit(store: Store, name: TemplateName = FLEET, **changes: Any) -> list[Change]:
    return await store.update_provisioning_template(
        SCOPE, name, ProvisioningTemplateEdit(**changes), created=NOW, cause=cause(at=LATER)
    )


async def delete(store: Store, name: TemplateName = FLEET) -> list[Change]:
    return await store.delete_provisioning_template(SCOPE, name, created=NOW, cause=cause())


async def delete_version(store: Store, version_id: int) -> list[Change]:
    return await store.delete_provisioning_template_version(
        SCOPE, FLEET, version_id, created=NOW, cause=cause(at=LATER)
    )


async def audited(store: Store) -> tuple[Any, Any]:
    """What the last audit row says of before and after."""
    rows = (await store.audit_events(AuditQuery(chain=SCOPE.account), PageRequest(limit=99, ascending=True))).items
    fields = rows[-1].fields
    return tuple(None if text is None else json.loads(text) for text in (fields.before, fields.after))  # type: ignore[return-value]


# --- templates


async def test_a_template_comes_back_as_it_was_stored_once(store: Store) -> None:
    assert CHANGE == await create(store, description="of lamps", hook=HOOK)
    expected = provisioning_template(description="of lamps", hook=HOOK)
    assert expected == await store.provisioning_template(SCOPE, FLEET)
    for scope in (OTHER_ACCOUNT, OTHER_REGION):
        assert await store.provisioning_template(scope, FLEET) is None
    assert "exists" == (await conflict(create(store))).kind
    assert (None, {"type": "FLEET_PROVISIONING", "body": TEMPLATE_BODY}) == (
        (await audited(store))[0],
        {key: (await audited(store))[1][key] for key in ("type", "body")},
    )


async def test_as_many_templates_as_allowed_are_in_a_scope(store: Store) -> None:
    made = [provisioning_template(name) for name in ("one", "two", "three")]
    for template in made[:2]:
        await store.create_provisioning_template(template, cause(), limit=2)
    refused = await conflict(store.create_provisioning_template(made[2], cause(), limit=2))
    assert ("limit", {"limit": 2}) == (refused.kind, refused.facts)
    assert await store.provisioning_template(SCOPE, TemplateName("three")) is None
    elsewhere = dataclasses.replace(made[2], scope=OTHER_ACCOUNT)
    await store.create_provisioning_template(elsewhere, cause(), limit=2)


async def test_templates_are_listed_by_name(store: Store) -> None:
    for name in ("c", "a", "b"):
        await create(store, name)
    listed = await pages(lambda page: store.list_provisioning_templates(SCOPE, page), 2)
    assert [[provisioning_template("a"), provisioning_template("b")], [provisioning_template("c")]] == listed
    assert [[]] == await pages(lambda page: store.list_provisioning_templates(OTHER_ACCOUNT, page), 2)


async def test_what_an_edit_does_not_say_stays(store: Store) -> None:
    await create(store, description="old", hook=HOOK)
    assert CHANGE == await edit(store, description="", enabled=False)
    expected = provisioning_template(description="", enabled=False, hook=HOOK, last_modified_date=LATER)
    assert expected == await store.provisioning_template(SCOPE, FLEET)
    assert ({"description": "old", "enabled": True}, {"description": "", "enabled": False}) == await audited(store)
    assert [] == await edit(store, enabled=False)
    other = dataclasses.replace(HOOK, target_arn="other")
    await edit(store, role_arn=ROLE + "2", hook=other)
    found = await store.provisioning_template(SCOPE, FLEET)
    assert found is not None
    assert (ROLE + "2", other) == (found.role_arn, found.hook)
    await edit(store, remove_hook=True)
    found = await store.provisioning_template(SCOPE, FLEET)
    assert found is not None
    assert found.hook is None


async def test_edits_that_cannot_be(store: Store) -> None:
    await create(store, "jitp", type=TemplateType.JITP)
    assert "missing" == (await conflict(edit(store))).kind
    for number in (0, -1, 2, 2**31, 2**70):
        assert "version" == (await conflict(edit(store, JITP, default_version_id=number))).kind
    assert [] == await edit(store, JITP, default_version_id=1)


async def test_a_template_goes_with_its_tags_when_nothing_but_its_default_version_is_left(store: Store) -> None:
    resource = TaggedResource(Taggable.PROVISIONING_TEMPLATE, "fleet")
    await store.create_provisioning_template(provisioning_template(), cause(), limit=9, tags={"line": "1"})
    assert {"line": "1"} == await store.tags(SCOPE, resource)
    made = await version(store)
    assert "versions" == (await conflict(delete(store, FLEET))).kind
    await delete_version(store, made.version_id)
    assert CHANGE == await delete(store, FLEET)
    assert {"line": "1"} == (await audited(store))[0]["tags"]
    assert await store.provisioning_template(SCOPE, FLEET) is None
    assert "missing" == (await conflict(delete(store, FLEET))).kind
    await create(store)
    assert {} == await store.tags(SCOPE, resource)


async def test_a_template_that_was_made_anew_is_another(store: Store) -> None:
    await create(store, creation_date=LATER)
    made = await version(store, created=LATER)
    for call in (edit(store, enabled=False), version(store), delete_version(store, made.version_id), delete(store)):
        assert "replaced" == (await conflict(call)).kind
    assert [[2, 1]] == [
        [each.version_id for each in page]
        for page in await pages(lambda page: store.list_provisioning_template_versions(SCOPE, FLEET, page), 9)
    ]


# --- versions


async def test_version_ids_count_up_and_never_come_back(store: Store) -> None:
    await create(store)
    expected = ProvisioningTemplateVersionRecord(
        scope=SCOPE, template_name=FLEET, version_id=2, body="two", is_default=False, creation_date=LATER
    )
    assert expected == await version(store)
    assert CHANGE == await delete_version(store, 2)
    assert ({"version": 2, "body": "two"}, None) == await audited(store)
    assert 3 == (await version(store, "three")).version_id
    assert await store.provisioning_template_version(SCOPE, FLEET, 2) is None
    found = await store.provisioning_template(SCOPE, FLEET)
    assert provisioning_template(last_modified_date=LATER) == found
    for scope in (OTHER_ACCOUNT, OTHER_REGION):
        assert await store.provisioning_template_version(scope, FLEET, 3) is None


async def test_the_default_version_is_the_one_that_is_read_and_stays(store: Store) -> None:
    await create(store)
    assert (await version(store, "two", set_as_default=True)).is_default
    found = await store.provisioning_template(SCOPE, FLEET)
    assert found is not None
    assert (2, "two") == (found.default_version_id, found.body)
    await edit(store, default_version_id=1)
    assert ({"defaultVersionId": 2}, {"defaultVersionId": 1}) == await audited(store)
    assert provisioning_template(last_modified_date=LATER) == await store.provisioning_template(SCOPE, FLEET)
    defaults = {
        each.version_id: each.is_default
        for page in await pages(lambda page: store.list_provisioning_template_versions(SCOPE, FLEET, page), 1)
        for each in page
    }
    assert [(2, False), (1, True)] == list(defaults.items())
    assert "default" == (await conflict(delete_version(store, 1))).kind
    await delete_version(store, 2)


async def test_versions_that_cannot_be(store: Store) -> None:
    page = PageRequest(limit=9)
    assert "missing" == (await conflict(version(store))).kind
    assert "missing" == (await conflict(store.list_provisioning_template_versions(SCOPE, FLEET, page))).kind
    assert "missing" == (await conflict(delete_version(store, 1))).kind
    await create(store)
    for number in (0, -1, 2, 2**31, 2**70):
        assert await store.provisioning_template_version(SCOPE, FLEET, number) is None
        refused = await conflict(delete_version(store, number))
        assert "version" == refused.kind


async def test_of_many_at_once_as_many_versions_are_made_as_may_be(store: Store) -> None:
    await create(store)
    found = await asyncio.gather(*[version(store) for _ in range(7)], return_exceptions=True)
    made = [each for each in found if isinstance(each, ProvisioningTemplateVersionRecord)]
    assert [2, 3, 4, 5] == sorted(each.version_id for each in made)
    assert ["limit"] * 3 == [each.kind for each in found if isinstance(each, StoreConflict)]


# --- CAs that provision by a template


def insert(store: Store, config: RegistrationConfig | None, number: int = 1) -> Any:
    ca = ca_certificate(number, registration_config=config)
    return store.insert_ca_certificate(ca, registration_code=None, subject_limit=9, cause=cause())


async def config_of(store: Store) -> RegistrationConfig | None:
    ca = await store.ca_certificate(SCOPE, certificate_id(1))
    assert ca is not None
    return ca.registration_config


async def configure(store: Store, config: RegistrationConfig | None = None, *, remove: bool = False) -> list[Change]:
    return await store.update_ca_certificate(
        SCOPE,
        certificate_id(1),
        status=None,
        auto_registration_status=None,
        registration_config=config,
        remove_registration_config=remove,
        cause=cause(at=LATER),
    )


@pytest.mark.parametrize("config", [BY_NAME, BY_BODY, None])
async def test_a_ca_comes_back_with_its_registration_configuration(
    store: Store, config: RegistrationConfig | None
) -> None:
    await create(store, "jitp", type=TemplateType.JITP)
    await insert(store, config)
    expected = ca_certificate(registration_config=config)
    assert expected == await store.ca_certificate(SCOPE, certificate_id(1))
    assert [expected] == await store.ca_certificates_of_subject(SCOPE, "5ub1ec7")
    assert [expected] == await store.default_ca_certificates("us-east-1")
    assert [expected] == list((await store.list_ca_certificates(SCOPE, PageRequest(limit=9))).items)
    assert [expected] == list((await store.ca_certificates_by_expiry(SCOPE, PageRequest(limit=9))).items)


async def test_a_registration_configuration_is_set_kept_and_removed(store: Store) -> None:
    await create(store, "jitp", type=TemplateType.JITP)
    await insert(store, None)
    assert CA_CHANGE == await configure(store, BY_BODY)
    assert {"templateBody": "{}", "roleArn": ROLE} == (await audited(store))[1]["registrationConfig"]
    assert [] == await configure(store, BY_BODY)
    assert [] == await configure(store)
    assert CA_CHANGE == await configure(store, BY_NAME)
    assert BY_NAME == await config_of(store)
    await store.update_ca_certificate(
        SCOPE, certificate_id(1), status=CACertificateStatus.ACTIVE, auto_registration_status=None, cause=cause()
    )
    assert BY_NAME == await config_of(store)
    assert CA_CHANGE == await configure(store, remove=True)
    assert await config_of(store) is None
    assert [] == await configure(store, remove=True)


async def test_only_a_template_for_jitp_of_the_same_scope_serves_a_ca(store: Store) -> None:
    await insert(store, None)
    await store.create_provisioning_template(
        provisioning_template("jitp", scope=OTHER_ACCOUNT, type=TemplateType.JITP), cause(), limit=9
    )
    await create(store, "fleet")
    for name, kind in (("jitp", "template"), ("fleet", "template_type")):
        config = RegistrationConfig(template_name=name)
        assert kind == (await conflict(insert(store, config, 2))).kind
        assert kind == (await conflict(configure(store, config))).kind
    assert await store.ca_certificate(SCOPE, certificate_id(2)) is None
    assert await config_of(store) is None


async def test_a_template_that_a_ca_provisions_by_stays_until_no_ca_does(store: Store) -> None:
    await create(store, "jitp", type=TemplateType.JITP)
    await insert(store, BY_NAME)
    await insert(store, BY_BODY, 2)
    assert "cas" == (await conflict(delete(store, JITP))).kind
    listed = await store.list_ca_certificates(SCOPE, PageRequest(limit=9), template_name="jitp")
    assert [certificate_id(1)] == [ca.certificate_id for ca in listed.items]
    assert [] == (await store.list_ca_certificates(SCOPE, PageRequest(limit=9), template_name="other")).items
    await store.delete_ca_certificate(SCOPE, certificate_id(1), cause())
    await delete(store, JITP)
    await store.delete_ca_certificate(SCOPE, certificate_id(2), cause())
