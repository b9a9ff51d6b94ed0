"""
Just-in-time provisioning: the template of a CA carried out for one of its devices, and what came of it.

A run that succeeds is recorded in the transaction that provisions. One that
fails changed nothing; whoever asked for it records it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from handfast.core.identity.records import CACertificateRecord, CertificateRecord
from handfast.core.pki.pem import ParsedCertificate
from handfast.core.provisioning.plan import ProvisioningFailed
from handfast.core.provisioning.runs import MAX_MESSAGE_CHARACTERS, ProvisioningRun, RunOutcome
from handfast.core.provisioning.template import builtin_parameters
from handfast.ports import Cause, Change, Store
from handfast.services.device_templates import DeviceTemplates
from handfast.services.provisioner import Provisioner


class FirstProvisioning:
    """Carries out the templates of CAs. `changed` after each commit."""

    def __init__(self, store: Store, provisioner: Provisioner) -> None:
        self._templates = DeviceTemplates(store)
        self._provisioner = provisioner

    async def changed(self, changes: Sequence[Change]) -> None:
        """Templates that changed are read again."""
        await self._templates.changed(changes)

    async def run(
        self,
        ca: CACertificateRecord,
        parsed: ParsedCertificate,
        cause: Cause,
        *,
        register: CertificateRecord | None,
    ) -> ProvisioningRun:
        """
        The run: SUCCEEDED, durable and obeyed, or FAILED, not recorded yet.

        Args:
            cause: Its request id becomes the run's id.
            register: The certificate where it is not registered; else it is
                PENDING_ACTIVATION under the CA, or the run fails.
        """
        found = await self._templates.of(ca)
        run = ProvisioningRun(
            scope=ca.scope,
            run_id=cause.request_id,  # its audit rows are found by it
            at=cause.at,
            certificate_id=parsed.certificate_id,
            ca_certificate_id=ca.certificate_id,
            template_name=found.name,
            template_version=found.version,
            outcome=RunOutcome.SUCCEEDED,
        )
        try:
            plan = found.usable().plan(builtin_parameters(parsed.cert))
            run = dataclasses.replace(run, thing_name=None if plan.thing is None else plan.thing.thing_name)
            await self._provisioner.carry_out(
                ca.scope,
                cause,
                plan,
                register=register,
                certificate_id=parsed.certificate_id if register is None else None,
                require_auto_registration=True,
                run=run,
            )
        except ProvisioningFailed as failure:
            message = str(failure)
            if len(message) > MAX_MESSAGE_CHARACTERS:
                message = message[: MAX_MESSAGE_CHARACTERS - 1] + "…"
            return dataclasses.replace(
                run, outcome=RunOutcome.FAILED, resource=failure.resource, kind=failure.kind, message=message
            )
        return run
