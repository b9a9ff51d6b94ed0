"""Provisioning templates and their versions: the operations on their tables."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, exists, func, insert, select, update

from handfast.core.identity.ids import AccountId, Scope
from handfast.core.identity.tags import Taggable, TaggedResource
from handfast.core.provisioning.records import (
    PreProvisioningHook,
    ProvisioningTemplateEdit,
    ProvisioningTemplateRecord,
    ProvisioningTemplateVersionRecord,
    TemplateName,
    TemplateType,
)
from handfast.errors import StoreConflict
from handfast.ports import Cause, Change, ChangeKind, Page, PageRequest
from handfast.storage import provisioning_claims, tags
from handfast.storage.certificates import in_scope
from handfast.storage.journal import insert_or_ignore, record
from handfast.storage.paging import Listing
from handfast.storage.tables import provisioning_template_versions as versions
from handfast.storage.tables import provisioning_templates as templates
from handfast.storage.tables import registration_configs
from handfast.storage.tags import Tags

_T = templates.c
_V = versions.c
_R = registration_configs.c

_FIRST_VERSION = 1
_VERSION_MAX = 2**31 - 1
"""The largest INTEGER of every engine."""

_SAME_TEMPLATE = and_(_V.account_id == _T.account_id, _V.region == _T.region, _V.template_name == _T.template_name)
_SELECT = select(templates, _V.body).join(versions, and_(_SAME_TEMPLATE, _V.version == _T.default_version))
_SELECT_VERSION = select(versions, _T.default_version).join(templates, _SAME_TEMPLATE)


def create(
    connection: Connection, template: ProvisioningTemplateRecord, cause: Cause, *, limit: int, given: Tags
) -> list[Change]:
    scope, name = template.scope, template.template_name
    inserted = connection.execute(
        insert_or_ignore(connection, templates).returning(_T.template_name), [_row(template)]
    ).first()
    if inserted is None:
        raise StoreConflict("exists", f"Provisioning template {name} exists")
    # A conflict from here on takes the row back: the transaction ends with it.
    if connection.execute(select(func.count()).select_from(templates).where(in_scope(_T, scope))).scalar_one() > limit:
        raise StoreConflict("limit", f"There are {limit} provisioning templates", limit=limit)
    _insert_version(connection, scope, name, _FIRST_VERSION, template.body, cause)
    tagged = tags.attach(connection, scope, _tagged(name), given)
    return record(connection, cause, _change(scope, name), after={**_facts(template), **tagged})


def get(connection: Connection, scope: Scope, name: TemplateName) -> ProvisioningTemplateRecord | None:
    row = connection.execute(_SELECT.where(in_scope(_T, scope), _T.template_name == name)).first()
    return None if row is None else _template(row)


def edit(
    connection: Connection,
    scope: Scope,
    name: TemplateName,
    wanted: ProvisioningTemplateEdit,
    *,
    created: dt.datetime,
    cause: Cause,
) -> list[Change]:
    old = _seen(connection, scope, name, created)
    version = wanted.default_version_id
    if version is not None and version != old.default_version_id:
        _require_version(connection, scope, name, version)
    new = dataclasses.replace(
        old,
        description=old.description if wanted.description is None else wanted.description,
        enabled=old.enabled if wanted.enabled is None else wanted.enabled,
        role_arn=old.role_arn if wanted.role_arn is None else wanted.role_arn,
        hook=None if wanted.remove_hook else wanted.hook or old.hook,
        default_version_id=old.default_version_id if version is None else version,
    )
    if new == old:
        return []
    ended = provisioning_claims.end_all(connection, scope, name, cause) if old.enabled and not new.enabled else []
    changed = {column: value for column, value in _row(new).items() if column in _EDITABLE}
    _update(connection, scope, name, changed | {"last_modified_date": cause.at})
    before, after = _settings(old), _settings(new)
    differing = {member for member in before.keys() | after.keys() if before.get(member) != after.get(member)}
    return ended + record(
        connection,
        cause,
        _change(scope, name),
        before={member: value for member, value in before.items() if member in differing},
        after={member: value for member, value in after.items() if member in differing},
    )


def remove(
    connection: Connection, scope: Scope, name: TemplateName, *, created: dt.datetime, cause: Cause
) -> list[Change]:
    template = _seen(connection, scope, name, created)
    if _count_versions(connection, scope, name) > 1:
        raise StoreConflict("versions", f"Provisioning template {name} has versions besides the default")
    used = exists().where(in_scope(_R, scope), _R.template_name == name)
    if connection.execute(select(used)).scalar():
        raise StoreConflict("cas", f"CA certificates provision by the template {name}")
    ended = provisioning_claims.end_all(connection, scope, name, cause)
    connection.execute(delete(versions).where(in_scope(_V, scope), _V.template_name == name))
    connection.execute(delete(templates).where(in_scope(_T, scope), _T.template_name == name))
    tagged = tags.forget(connection, scope, _tagged(name))
    return ended + record(connection, cause, _change(scope, name), before={**_facts(template), **tagged})


def list_page(connection: Connection, scope: Scope, page: PageRequest) -> Page[ProvisioningTemplateRecord]:
    listing = Listing("provisioning-templates", scope, [_T.template_name], page)
    rows, marker = listing.cut(connection.execute(listing.select(_SELECT.where(in_scope(_T, scope)))).all())
    return Page([_template(row) for row in rows], marker)


def create_version(
    connection: Connection,
    scope: Scope,
    name: TemplateName,
    body: str,
    *,
    set_as_default: bool,
    limit: int,
    created: dt.datetime,
    cause: Cause,
) -> tuple[ProvisioningTemplateVersionRecord, list[Change]]:
    _seen(connection, scope, name, created)
    if _count_versions(connection, scope, name) >= limit:
        raise StoreConflict("limit", f"Provisioning template {name} has {limit} versions", limit=limit)
    last = select(_T.last_version).where(in_scope(_T, scope), _T.template_name == name)
    version = connection.execute(last).scalar_one() + 1
    _insert_version(connection, scope, name, version, body, cause)
    changed: dict[str, Any] = {"last_version": version, "last_modified_date": cause.at}
    if set_as_default:
        changed["default_version"] = version
    _update(connection, scope, name, changed)
    after = {"version": version, "body": body, "default": set_as_default}
    made = _require_version(connection, scope, name, version)
    return made, record(connection, cause, _change(scope, name), after=after)


def get_version(
    connection: Connection, scope: Scope, name: TemplateName, version_id: int
) -> ProvisioningTemplateVersionRecord | None:
    if not 0 < version_id <= _VERSION_MAX:
        return None
    query = _SELECT_VERSION.where(in_scope(_V, scope), _V.template_name == name, _V.version == version_id)
    row = connection.execute(query).first()
    return None if row is None else _version(row)


def versions_page(
    connection: Connection, scope: Scope, name: TemplateName, page: PageRequest
) -> Page[ProvisioningTemplateVersionRecord]:
    _require(connection, scope, name)
    listing = Listing("provisioning-template-versions", scope, [_V.version], page, ascending=False, filters=[name])
    query = _SELECT_VERSION.where(in_scope(_V, scope), _V.template_name == name)
    rows, marker = listing.cut(connection.execute(listing.select(query)).all())
    return Page([_version(row) for row in rows], marker)


def remove_version(
    connection: Connection, scope: Scope, name: TemplateName, version_id: int, *, created: dt.datetime, cause: Cause
) -> list[Change]:
    _seen(connection, scope, name, created)
    found = _require_version(connection, scope, name, version_id)
    if found.is_default:
        raise StoreConflict("default", f"Version {version_id} is the default of provisioning template {name}")
    connection.execute(delete(versions).where(in_scope(_V, scope), _V.template_name == name, _V.version == version_id))
    _update(connection, scope, name, {"last_modified_date": cause.at})
    return record(connection, cause, _change(scope, name), before={"version": version_id, "body": found.body})


def _insert_version(
    connection: Connection, scope: Scope, name: TemplateName, version: int, body: str, cause: Cause
) -> None:
    connection.execute(
        insert(versions).values(
            account_id=scope.account,
            region=scope.region,
            template_name=name,
            version=version,
            body=body,
            creation_date=cause.at,
        )
    )


def _count_versions(connection: Connection, scope: Scope, name: TemplateName) -> int:
    query = select(func.count()).select_from(versions).where(in_scope(_V, scope), _V.template_name == name)
    return connection.execute(query).scalar_one()


def _update(connection: Connection, scope: Scope, name: TemplateName, values: dict[str, Any]) -> None:
    connection.execute(update(templates).where(in_scope(_T, scope), _T.template_name == name).values(**values))


def _seen(connection: Connection, scope: Scope, name: TemplateName, created: dt.datetime) -> ProvisioningTemplateRecord:
    template = _require(connection, scope, name)
    if template.creation_date != created:
        raise StoreConflict("replaced", f"Provisioning template {name} is another one by now")
    return template


def _require(connection: Connection, scope: Scope, name: TemplateName) -> ProvisioningTemplateRecord:
    template = get(connection, scope, name)
    if template is None:
        raise StoreConflict("missing", f"Provisioning template {name} does not exist")
    return template


def _require_version(
    connection: Connection, scope: Scope, name: TemplateName, version_id: int
) -> ProvisioningTemplateVersionRecord:
    found = get_version(connection, scope, name, version_id)
    if found is None:
        raise StoreConflict("version", f"Provisioning template {name} has no version {version_id}")
    return found


def _change(scope: Scope, name: TemplateName) -> Change:
    return Change(ChangeKind.PROVISIONING_TEMPLATE, scope, name)


def _tagged(name: TemplateName) -> TaggedResource:
    return TaggedResource(Taggable.PROVISIONING_TEMPLATE, name)


def _facts(template: ProvisioningTemplateRecord) -> dict[str, Any]:
    return {"type": template.type.value, **_settings(template), "body": template.body}


def _settings(template: ProvisioningTemplateRecord) -> dict[str, Any]:
    """What can be edited, as an audit row says it."""
    hook = template.hook
    return {
        "description": template.description,
        "enabled": template.enabled,
        "provisioningRoleArn": template.role_arn,
        "preProvisioningHook": None if hook is None else [hook.payload_version, hook.target_arn],
        "defaultVersionId": template.default_version_id,
    }


_EDITABLE = frozenset(
    ("description", "enabled", "role_arn", "hook_payload_version", "hook_target_arn", "default_version")
)


def _row(template: ProvisioningTemplateRecord) -> dict[str, Any]:
    return {
        "account_id": template.scope.account,
        "region": template.scope.region,
        "template_name": template.template_name,
        "type": template.type.value,
        "description": template.description,
        "enabled": template.enabled,
        "role_arn": template.role_arn,
        "hook_payload_version": None if template.hook is None else template.hook.payload_version,
        "hook_target_arn": None if template.hook is None else template.hook.target_arn,
        "default_version": template.default_version_id,
        "last_version": template.default_version_id,
        "creation_date": template.creation_date,
        "last_modified_date": template.last_modified_date,
    }


def _template(row: Row[*tuple[Any, ...]]) -> ProvisioningTemplateRecord:
    hook = None
    if row.hook_target_arn is not None:
        hook = PreProvisioningHook(payload_version=row.hook_payload_version, target_arn=row.hook_target_arn)
    return ProvisioningTemplateRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        template_name=TemplateName(row.template_name),
        type=TemplateType(row.type),
        description=row.description,
        enabled=row.enabled,
        role_arn=row.role_arn,
        hook=hook,
        default_version_id=row.default_version,
        body=row.body,
        creation_date=row.creation_date,
        last_modified_date=row.last_modified_date,
    )


def _version(row: Row[*tuple[Any, ...]]) -> ProvisioningTemplateVersionRecord:
    return ProvisioningTemplateVersionRecord(
        scope=Scope(AccountId(row.account_id), row.region),
        template_name=TemplateName(row.template_name),
        version_id=row.version,
        body=row.body,
        is_default=row.version == row.default_version,
        creation_date=row.creation_date,
    )
