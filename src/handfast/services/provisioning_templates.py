"""Provisioning templates: what devices are given when they provision themselves, kept in up to five versions."""

from __future__ import annotations

from handfast.core.identity.arns import provisioning_template_arn
from handfast.core.identity.ids import Scope
from handfast.core.provisioning.records import (
    PreProvisioningHook,
    ProvisioningTemplateEdit,
    ProvisioningTemplateRecord,
    ProvisioningTemplateVersionRecord,
    TemplateName,
    TemplateType,
)
from handfast.core.provisioning.template import TemplateKind
from handfast.errors import (
    ConflictingResourceUpdateError,
    DeleteConflictError,
    HandfastError,
    InvalidRequestError,
    LimitExceededError,
    ResourceAlreadyExistsError,
    ResourceNotFoundError,
    StoreConflict,
    VersionsLimitExceededError,
)
from handfast.ports import NO_TAGS, Cause, Change, ChangeKind, Page, PageRequest, Store, Tags
from handfast.services.commit import Committer
from handfast.services.hooks import KnowsHooks
from handfast.services.paging import page_of
from handfast.services.template_gate import TemplateGate
from handfast.services.template_gate import read_body as read_body

TEMPLATES_PER_ACCOUNT = 256
"""In each region."""
VERSIONS_PER_TEMPLATE = 5
PAYLOAD_VERSION = "2020-04-01"
"""The one version of what a pre-provisioning hook is asked with."""
_FIRST_VERSION = 1
_KINDS = {
    TemplateType.FLEET_PROVISIONING: TemplateKind.FLEET,
    TemplateType.JITP: TemplateKind.JITP,
}


class ProvisioningTemplates:
    """The use cases of provisioning templates. Raises ServiceErrors."""

    def __init__(self, store: Store, commit: Committer, gate: TemplateGate, hooks: KnowsHooks) -> None:
        self._store = store
        self._commit = commit
        self._gate = gate
        self._hooks = hooks

    async def create(
        self,
        scope: Scope,
        cause: Cause,
        name: TemplateName,
        body: str,
        *,
        template_type: TemplateType,
        role_arn: str,
        description: str | None = None,
        enabled: bool = False,
        hook: PreProvisioningHook | None = None,
        tags: Tags = NO_TAGS,
    ) -> ProvisioningTemplateRecord:
        """The template with this body as version 1. A name that is taken is refused even for the same body."""
        await self._check_hook(scope, hook, template_type)
        self._gate.accept(scope, body, _KINDS[template_type])
        record = ProvisioningTemplateRecord(
            scope=scope,
            template_name=name,
            type=template_type,
            description=description,
            enabled=enabled,
            role_arn=role_arn,
            hook=hook,
            default_version_id=_FIRST_VERSION,
            body=body,
            creation_date=cause.at,
            last_modified_date=cause.at,
        )
        write = self._store.create_provisioning_template(record, cause, limit=TEMPLATES_PER_ACCOUNT, tags=tags)
        try:
            await self._commit(write, suspects=_suspects(scope, name))
        except StoreConflict as conflict:
            match conflict.kind:
                case "exists":
                    raise ResourceAlreadyExistsError(
                        f"Provisioning template {name} exists already in this account and region",
                        resourceId=name,
                        resourceArn=provisioning_template_arn(scope, name),
                    ) from None
                case "limit":
                    raise LimitExceededError(
                        f"There are {TEMPLATES_PER_ACCOUNT} provisioning templates in this account and region, which "
                        "is the maximum"
                    ) from None
                case _:
                    raise
        return record

    async def template_for(self, scope: Scope, name: TemplateName) -> ProvisioningTemplateRecord:
        """The template with its default version's body, or ResourceNotFoundError."""
        record = await self._store.provisioning_template(scope, name)
        if record is None:
            raise not_found(name)
        return record

    async def update(self, scope: Scope, cause: Cause, name: TemplateName, edit: ProvisioningTemplateEdit) -> None:
        """What is given is so; devices that come from now on are provisioned by it."""
        if edit.hook is not None and edit.remove_hook:
            raise InvalidRequestError("preProvisioningHook and removePreProvisioningHook are both given; give one")
        seen = await self.template_for(scope, name)
        await self._check_hook(scope, edit.hook, seen.type)
        write = self._store.update_provisioning_template(scope, name, edit, created=seen.creation_date, cause=cause)
        try:
            await self._commit(write, suspects=_suspects(scope, name))
        except StoreConflict as conflict:
            raise _refusal(conflict, name, edit.default_version_id) from None

    async def delete(self, scope: Scope, cause: Cause, name: TemplateName) -> None:
        """The template is gone; it had no version besides the default, and no CA provisioned by it."""
        seen = await self.template_for(scope, name)
        write = self._store.delete_provisioning_template(scope, name, created=seen.creation_date, cause=cause)
        try:
            await self._commit(write, suspects=_suspects(scope, name))
        except StoreConflict as conflict:
            match conflict.kind:
                case "versions":
                    raise DeleteConflictError(
                        f"Provisioning template {name} has versions besides the default one; delete them first"
                    ) from None
                case "cas":
                    raise DeleteConflictError(
                        f"CA certificates provision by the template {name} (ListCACertificates with templateName "
                        "lists them); change their registrationConfig first"
                    ) from None
                case _:
                    raise _refusal(conflict, name, None) from None

    async def list_page(self, scope: Scope, page: PageRequest) -> Page[ProvisioningTemplateRecord]:
        """One page, by name."""
        return await page_of(self._store.list_provisioning_templates(scope, page))

    # --- versions

    async def create_version(
        self, scope: Scope, cause: Cause, name: TemplateName, body: str, *, set_as_default: bool
    ) -> ProvisioningTemplateVersionRecord:
        """The body as a further version, provisioned by at once when it is the default. A template holds five."""
        seen = await self.template_for(scope, name)
        self._gate.accept(scope, body, _KINDS[seen.type])
        made: list[ProvisioningTemplateVersionRecord] = []

        async def write() -> list[Change]:
            version, changes = await self._store.create_provisioning_template_version(
                scope,
                name,
                body,
                set_as_default=set_as_default,
                limit=VERSIONS_PER_TEMPLATE,
                created=seen.creation_date,
                cause=cause,
            )
            made.append(version)
            return changes

        try:
            await self._commit(write(), suspects=_suspects(scope, name))
        except StoreConflict as conflict:
            if conflict.kind != "limit":
                raise _refusal(conflict, name, None) from None
            raise VersionsLimitExceededError(
                f"Provisioning template {name} already has the maximum number of versions ({VERSIONS_PER_TEMPLATE})"
            ) from None
        return made[0]

    async def version(self, scope: Scope, name: TemplateName, version_id: int) -> ProvisioningTemplateVersionRecord:
        """The version, or ResourceNotFoundError."""
        record = await self._store.provisioning_template_version(scope, name, version_id)
        if record is None:
            raise _version_not_found(name, version_id)
        return record

    async def list_versions(
        self, scope: Scope, name: TemplateName, page: PageRequest
    ) -> Page[ProvisioningTemplateVersionRecord]:
        """One page, the newest first."""
        try:
            return await page_of(self._store.list_provisioning_template_versions(scope, name, page))
        except StoreConflict as conflict:
            raise _refusal(conflict, name, None) from None

    async def delete_version(self, scope: Scope, cause: Cause, name: TemplateName, version_id: int) -> None:
        """The version is gone, and its id does not come back. The default one stays."""
        seen = await self.template_for(scope, name)
        write = self._store.delete_provisioning_template_version(
            scope, name, version_id, created=seen.creation_date, cause=cause
        )
        try:
            await self._commit(write, suspects=_suspects(scope, name))
        except StoreConflict as conflict:
            if conflict.kind == "default":
                raise DeleteConflictError(
                    f"Version {version_id} is the default version of provisioning template {name}; make another one "
                    "the default first"
                ) from None
            raise _refusal(conflict, name, version_id) from None

    async def _check_hook(self, scope: Scope, hook: PreProvisioningHook | None, template_type: TemplateType) -> None:
        if hook is None:
            return
        if template_type is not TemplateType.FLEET_PROVISIONING:
            raise InvalidRequestError("Only a template of type FLEET_PROVISIONING can have a preProvisioningHook")
        if hook.payload_version != PAYLOAD_VERSION:
            raise InvalidRequestError(f"preProvisioningHook.payloadVersion must be {PAYLOAD_VERSION}")
        await self._hooks.require(scope, hook.target_arn)


def not_found(name: str) -> ResourceNotFoundError:
    """The answer for an unknown template, another account's included."""
    return ResourceNotFoundError(f"Provisioning template {name} does not exist in this account and region")


def _suspects(scope: Scope, name: TemplateName) -> list[Change]:
    return [Change(ChangeKind.PROVISIONING_TEMPLATE, scope, name)]


def _refusal(conflict: StoreConflict, name: TemplateName, version_id: int | None) -> HandfastError:
    match conflict.kind:
        case "missing":
            return not_found(name)
        case "replaced":
            return ConflictingResourceUpdateError(
                f"Provisioning template {name} was deleted and made anew while the call was under way; try again"
            )
        case "version":
            return _version_not_found(name, version_id)
        case _:
            return conflict


def _version_not_found(name: TemplateName, version_id: int | None) -> ResourceNotFoundError:
    return ResourceNotFoundError(
        f"Provisioning template {name} has no version {version_id} in this account and region, or does not exist"
    )
