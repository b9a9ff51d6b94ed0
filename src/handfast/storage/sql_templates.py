"""The part of `ports.Store` about provisioning templates."""

from __future__ import annotations

import datetime as dt

from handfast.core.identity.ids import Scope
from handfast.core.provisioning.records import (
    ProvisioningTemplateEdit,
    ProvisioningTemplateRecord,
    ProvisioningTemplateVersionRecord,
    TemplateName,
)
from handfast.ports import NO_TAGS, Cause, Change, Page, PageRequest, Tags
from handfast.storage import provisioning_templates as templates
from handfast.storage.sqlite import SQLiteDatabase


class TemplateOperations:
    """Hands each synchronous operation to the engine, as `SQLStore` does, which is this and more."""

    def __init__(self, database: SQLiteDatabase) -> None:
        self._read = database.read
        self._write = database.write

    async def create_provisioning_template(
        self, template: ProvisioningTemplateRecord, cause: Cause, *, limit: int, tags: Tags = NO_TAGS
    ) -> list[Change]:
        return await self._write(lambda c: templates.create(c, template, cause, limit=limit, given=tags))

    async def provisioning_template(self, scope: Scope, name: TemplateName) -> ProvisioningTemplateRecord | None:
        return await self._read(lambda c: templates.get(c, scope, name))

    async def update_provisioning_template(
        self, scope: Scope, name: TemplateName, edit: ProvisioningTemplateEdit, *, created: dt.datetime, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: templates.edit(c, scope, name, edit, created=created, cause=cause))

    async def delete_provisioning_template(
        self, scope: Scope, name: TemplateName, *, created: dt.datetime, cause: Cause
    ) -> list[Change]:
        return await self._write(lambda c: templates.remove(c, scope, name, created=created, cause=cause))

    async def list_provisioning_templates(self, scope: Scope, page: PageRequest) -> Page[ProvisioningTemplateRecord]:
        return await self._read(lambda c: templates.list_page(c, scope, page))

    async def create_provisioning_template_version(
        self,
        scope: Scope,
        name: TemplateName,
        body: str,
        *,
        set_as_default: bool,
        limit: int,
        created: dt.datetime,
        cause: Cause,
    ) -> tuple[ProvisioningTemplateVersionRecord, list[Change]]:
        return await self._write(
            lambda c: templates.create_version(
                c,
                scope,
                name,
                body,
                set_as_default=set_as_default,
                limit=limit,
                created=created,
                cause=cause,
            )
        )

    async def provisioning_template_version(
        self, scope: Scope, name: TemplateName, version_id: int
    ) -> ProvisioningTemplateVersionRecord | None:
        return await self._read(lambda c: templates.get_version(c, scope, name, version_id))

    async def list_provisioning_template_versions(
        self, scope: Scope, name: TemplateName, page: PageRequest
    ) -> Page[ProvisioningTemplateVersionRecord]:
        return await self._read(lambda c: templates.versions_page(c, scope, name, page))

    async def delete_provisioning_template_version(
        self, scope: Scope, name: TemplateName, version_id: int, *, created: dt.datetime, cause: Cause
    ) -> list[Change]:
        return await self._write(
            lambda c: templates.remove_version(c, scope, name, version_id, created=created, cause=cause)
        )
