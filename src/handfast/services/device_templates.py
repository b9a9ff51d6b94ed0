"""The provisioning templates of CAs, read once and known until they change."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from handfast.core.identity.ids import Scope
from handfast.core.identity.records import CACertificateRecord
from handfast.core.provisioning.plan import FailureKind, ProvisioningFailed
from handfast.core.provisioning.records import TemplateName, TemplateType
from handfast.core.provisioning.template import Template, TemplateError, TemplateKind, read_template
from handfast.ports import Change, ChangeKind, Store

MAX_TEMPLATES = 1024
MAX_BODIES = 256
_Key = tuple[Scope, TemplateName]


@dataclass(frozen=True, slots=True)
class DeviceTemplate:
    """What a CA's devices are provisioned by; `problem` says why by nothing. A template body has no name."""

    template: Template | None
    problem: str = ""
    name: TemplateName | None = None
    version: int | None = None

    def usable(self) -> Template:
        """The template, or ProvisioningFailed."""
        if self.template is None:
            raise ProvisioningFailed(FailureKind.TEMPLATE, "", self.problem)
        return self.template


class DeviceTemplates:
    """Belongs to one event loop. `changed` after each commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._named: dict[_Key, DeviceTemplate] = {}
        self._bodies: dict[str, DeviceTemplate] = {}
        self._tickets = itertools.count(1)
        self._changed: int = 0

    async def changed(self, changes: Sequence[Change]) -> None:
        """What is known of templates that changed is forgotten."""
        for change in changes:
            if change.kind is ChangeKind.PROVISIONING_TEMPLATE:
                self._changed = next(self._tickets)
                if change.scope is None:
                    self._named.clear()
                else:
                    self._named.pop((change.scope, TemplateName(change.subject)), None)

    async def of(self, ca: CACertificateRecord) -> DeviceTemplate:
        """The template that the CA's registrationConfig names or holds."""
        config = ca.registration_config
        if config is None:
            return DeviceTemplate(None, f"CA certificate {ca.certificate_id} has no registrationConfig")
        if config.template_name is not None:
            return await self._by_name((ca.scope, TemplateName(config.template_name)))
        body = config.template_body or ""
        found = self._bodies.get(body)
        if found is None:
            if len(self._bodies) >= MAX_BODIES:
                self._bodies.pop(next(iter(self._bodies)))
            found = self._bodies[body] = _read(body)
        return found

    async def _by_name(self, key: _Key) -> DeviceTemplate:
        found = self._named.get(key)
        if found is not None:
            return found
        before = self._changed
        found = await self._load(key)
        if before == self._changed:  # else what was read may be older than what is true now
            if len(self._named) >= MAX_TEMPLATES:
                self._named.pop(next(iter(self._named)))
            self._named[key] = found
        return found

    async def _load(self, key: _Key) -> DeviceTemplate:
        scope, name = key
        record = await self._store.provisioning_template(scope, name)
        if record is None:
            return DeviceTemplate(None, f"Provisioning template {name} does not exist", name)
        version = record.default_version_id
        if record.type is not TemplateType.JITP:
            return DeviceTemplate(None, f"Provisioning template {name} is of type {record.type}", name, version)
        if not record.enabled:
            problem = f"Provisioning template {name} is not enabled: update it with enabled true"
            return DeviceTemplate(None, problem, name, version)
        return _read(record.body, name, version)


def _read(body: str, name: TemplateName | None = None, version: int | None = None) -> DeviceTemplate:
    try:
        return DeviceTemplate(read_template(body, TemplateKind.JITP), "", name, version)
    except TemplateError as error:
        # Creation refuses such a body: an earlier version of ours took it.
        return DeviceTemplate(None, f"The template cannot be used: {error}", name, version)
