"""The operations on provisioning templates and their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.context import Handler, Result, cause_of, page_request, present, scope_of
from handfast.control.tags import given_tags
from handfast.core.identity.arns import provisioning_template_arn
from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import Scope
from handfast.core.provisioning.records import (
    PreProvisioningHook,
    ProvisioningTemplateEdit,
    ProvisioningTemplateRecord,
    ProvisioningTemplateVersionRecord,
    TemplateName,
    TemplateType,
)
from handfast.errors import InvalidRequestError
from handfast.services.provisioning_templates import PAYLOAD_VERSION, ProvisioningTemplates


class ProvisioningTemplateHandlers:
    """Handlers by operation name in `handlers`."""

    def __init__(self, templates: ProvisioningTemplates) -> None:
        self._templates = templates
        self.handlers: dict[str, Handler] = {
            "CreateProvisioningTemplate": self.create_provisioning_template,
            "DescribeProvisioningTemplate": self.describe_provisioning_template,
            "UpdateProvisioningTemplate": self.update_provisioning_template,
            "DeleteProvisioningTemplate": self.delete_provisioning_template,
            "ListProvisioningTemplates": self.list_provisioning_templates,
            "CreateProvisioningTemplateVersion": self.create_provisioning_template_version,
            "DescribeProvisioningTemplateVersion": self.describe_provisioning_template_version,
            "DeleteProvisioningTemplateVersion": self.delete_provisioning_template_version,
            "ListProvisioningTemplateVersions": self.list_provisioning_template_versions,
        }

    async def create_provisioning_template(
        self,
        ctx: Caller,
        *,
        template_name: str,
        template_body: str,
        provisioning_role_arn: str,
        description: str | None = None,
        enabled: bool | None = None,
        pre_provisioning_hook: Mapping[str, Any] | None = None,
        tags: Sequence[Mapping[str, Any]] | None = None,
        type: str | None = None,  # noqa: A002  the model's name
    ) -> Result:
        record = await self._templates.create(
            scope_of(ctx),
            cause_of(ctx, "CreateProvisioningTemplate"),
            TemplateName(template_name),
            template_body,
            template_type=_type(type),
            role_arn=provisioning_role_arn,
            description=description,
            enabled=bool(enabled),
            hook=_hook(pre_provisioning_hook),
            tags=given_tags(tags),
        )
        return _named(record.scope, record.template_name) | {"default_version_id": record.default_version_id}

    async def describe_provisioning_template(self, ctx: Caller, *, template_name: str) -> Result:
        record = await self._templates.template_for(scope_of(ctx), TemplateName(template_name))
        hook = record.hook
        return _summary(record) | present(
            default_version_id=record.default_version_id,
            template_body=record.body,
            provisioning_role_arn=record.role_arn,
            pre_provisioning_hook=(
                None if hook is None else {"payload_version": hook.payload_version, "target_arn": hook.target_arn}
            ),
        )

    async def update_provisioning_template(
        self,
        ctx: Caller,
        *,
        template_name: str,
        description: str | None = None,
        enabled: bool | None = None,
        default_version_id: int | None = None,
        provisioning_role_arn: str | None = None,
        pre_provisioning_hook: Mapping[str, Any] | None = None,
        remove_pre_provisioning_hook: bool | None = None,
    ) -> Result:
        edit = ProvisioningTemplateEdit(
            description=description,
            enabled=enabled,
            default_version_id=default_version_id,
            role_arn=provisioning_role_arn,
            hook=_hook(pre_provisioning_hook),
            remove_hook=bool(remove_pre_provisioning_hook),
        )
        cause = cause_of(ctx, "UpdateProvisioningTemplate")
        await self._templates.update(scope_of(ctx), cause, TemplateName(template_name), edit)
        return {}

    async def delete_provisioning_template(self, ctx: Caller, *, template_name: str) -> Result:
        cause = cause_of(ctx, "DeleteProvisioningTemplate")
        await self._templates.delete(scope_of(ctx), cause, TemplateName(template_name))
        return {}

    async def list_provisioning_templates(
        self, ctx: Caller, *, max_results: int | None = None, next_token: str | None = None
    ) -> Result:
        page = await self._templates.list_page(scope_of(ctx), page_request(max_results, next_token))
        return present(templates=[_summary(record) for record in page.items], next_token=page.marker)

    async def create_provisioning_template_version(
        self, ctx: Caller, *, template_name: str, template_body: str, set_as_default: bool | None = None
    ) -> Result:
        record = await self._templates.create_version(
            scope_of(ctx),
            cause_of(ctx, "CreateProvisioningTemplateVersion"),
            TemplateName(template_name),
            template_body,
            set_as_default=bool(set_as_default),
        )
        return _named(record.scope, record.template_name) | {
            "version_id": record.version_id,
            "is_default_version": record.is_default,
        }

    async def describe_provisioning_template_version(
        self, ctx: Caller, *, template_name: str, version_id: int
    ) -> Result:
        record = await self._templates.version(scope_of(ctx), TemplateName(template_name), version_id)
        return _version(record) | {"template_body": record.body}

    async def delete_provisioning_template_version(self, ctx: Caller, *, template_name: str, version_id: int) -> Result:
        cause = cause_of(ctx, "DeleteProvisioningTemplateVersion")
        await self._templates.delete_version(scope_of(ctx), cause, TemplateName(template_name), version_id)
        return {}

    async def list_provisioning_template_versions(
        self, ctx: Caller, *, template_name: str, max_results: int | None = None, next_token: str | None = None
    ) -> Result:
        page = await self._templates.list_versions(
            scope_of(ctx), TemplateName(template_name), page_request(max_results, next_token)
        )
        return present(versions=[_version(record) for record in page.items], next_token=page.marker)


def _named(scope: Scope, name: TemplateName) -> Result:
    return {"template_arn": provisioning_template_arn(scope, name), "template_name": name}


def _summary(record: ProvisioningTemplateRecord) -> Result:
    return _named(record.scope, record.template_name) | present(
        description=record.description,
        creation_date=record.creation_date,
        last_modified_date=record.last_modified_date,
        enabled=record.enabled,
        type=record.type.value,
    )


def _version(record: ProvisioningTemplateVersionRecord) -> Result:
    return {
        "version_id": record.version_id,
        "creation_date": record.creation_date,
        "is_default_version": record.is_default,
    }


def _hook(given: Mapping[str, Any] | None) -> PreProvisioningHook | None:
    if given is None:
        return None
    return PreProvisioningHook(
        payload_version=given.get("payload_version") or PAYLOAD_VERSION, target_arn=given["target_arn"]
    )


def _type(text: str | None) -> TemplateType:
    try:
        return TemplateType.FLEET_PROVISIONING if text is None else TemplateType(text)
    except ValueError:
        raise InvalidRequestError(f"type must be one of {', '.join(TemplateType)}") from None
