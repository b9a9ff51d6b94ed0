"""The rate quotas of AWS IoT Core's control plane, per account and region: `--quotas aws`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

from handfast.control.context import Handler, Result
from handfast.core.identity.caller import Caller
from handfast.errors import ThrottlingError
from handfast.services.pace import Pace

CALLS_PER_S: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "AcceptCertificateTransfer",
            "CancelCertificateTransfer",
            "CreateCertificateProvider",
            "CreateDomainConfiguration",
            "CreateKeysAndCertificate",
            "CreateProvisioningClaim",
            "CreateProvisioningTemplate",
            "CreateProvisioningTemplateVersion",
            "DeleteCACertificate",
            "DeleteCertificate",
            "DeleteCertificateProvider",
            "DeleteDomainConfiguration",
            "DeleteProvisioningTemplate",
            "DeleteProvisioningTemplateVersion",
            "DeleteRegistrationCode",
            "DescribeCACertificate",
            "DescribeCertificate",
            "DescribeCertificateProvider",
            "DescribeDomainConfiguration",
            "DescribeEndpoint",
            "DescribeProvisioningTemplate",
            "DescribeProvisioningTemplateVersion",
            "DescribeThingRegistrationTask",
            "GetRegistrationCode",
            "ListCACertificates",
            "ListCertificateProviders",
            "ListCertificates",
            "ListCertificatesByCA",
            "ListDomainConfigurations",
            "ListOutgoingCertificates",
            "ListProvisioningTemplateVersions",
            "ListProvisioningTemplates",
            "ListThingRegistrationTaskReports",
            "ListThingRegistrationTasks",
            "RegisterCACertificate",
            "RegisterCertificate",
            "RegisterCertificateWithoutCA",
            "RegisterThing",
            "RejectCertificateTransfer",
            "StartThingRegistrationTask",
            "StopThingRegistrationTask",
            "TransferCertificate",
            "UpdateCACertificate",
            "UpdateCertificate",
            "UpdateCertificateProvider",
            "UpdateDomainConfiguration",
        ),
        10,
    ),
    **dict.fromkeys(("AttachPolicy", "CreateCertificateFromCsr", "DetachPolicy"), 15),
}
"""Calls of one account in one region; an operation that is not here has no quota."""


class CallRates:
    """How often each operation is called, as a second's worth of calls that comes back at a steady rate."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now`: seconds that only grow."""
        self._now = now
        self._pace = Pace()

    def admit(self, ctx: Caller, operation: str) -> None:
        """ThrottlingError when the caller's account has no call left; a refusal costs nothing."""
        rate = CALLS_PER_S.get(operation)
        if rate is None or ctx.account_id is None:
            return
        key = (ctx.account_id, ctx.region, operation)
        if not self._pace.admit(key, self._now(), per_s=rate, burst=rate):
            raise ThrottlingError(f"Rate exceeded: {operation} is called more than {rate} times a second")

    def __len__(self) -> int:
        return len(self._pace)


def limited(rates: CallRates, operation: str, handler: Handler) -> Handler:
    """The handler, called as often as the quota allows."""

    @functools.wraps(handler)
    async def admitted(ctx: Caller, /, **members: Any) -> Result:
        rates.admit(ctx, operation)
        return await handler(ctx, **members)

    return admitted
