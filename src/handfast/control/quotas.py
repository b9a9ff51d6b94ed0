"""The rate quotas of AWS IoT Core's control plane, per account and region: `--quotas aws`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from handfast.control.context import Handler, Result
from handfast.core.identity.caller import Caller
from handfast.errors import ThrottlingError

CALLS_PER_S: Mapping[str, int] = {
    **dict.fromkeys(
        (
            "AcceptCertificateTransfer",
            "CancelCertificateTransfer",
            "CreateKeysAndCertificate",
            "CreateProvisioningTemplate",
            "CreateProvisioningTemplateVersion",
            "DeleteCACertificate",
            "DeleteCertificate",
            "DeleteProvisioningTemplate",
            "DeleteProvisioningTemplateVersion",
            "DeleteRegistrationCode",
            "DescribeCACertificate",
            "DescribeCertificate",
            "DescribeEndpoint",
            "DescribeProvisioningTemplate",
            "DescribeProvisioningTemplateVersion",
            "GetRegistrationCode",
            "ListCACertificates",
            "ListCertificates",
            "ListCertificatesByCA",
            "ListOutgoingCertificates",
            "ListProvisioningTemplateVersions",
            "ListProvisioningTemplates",
            "RegisterCACertificate",
            "RegisterCertificate",
            "RegisterCertificateWithoutCA",
            "RejectCertificateTransfer",
            "TransferCertificate",
            "UpdateCACertificate",
            "UpdateCertificate",
        ),
        10,
    ),
    **dict.fromkeys(("AttachPolicy", "CreateCertificateFromCsr", "DetachPolicy"), 15),
}
"""Calls of one account in one region; an operation that is not here has no quota."""

_PRUNE_AT = 1024
"""Keys that are kept before any is looked at again."""


class CallRates:
    """
    How often each operation is called, as a second's worth of calls that comes back at a steady rate.

    Keys are forgotten once all of their calls are back, within a second, so
    their number is bounded by what the server answers in a second.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """`now`: seconds that only grow."""
        self._now = now
        self._whole_at: dict[Hashable, float] = {}  # when all of the key's calls are back
        self._prune_at = _PRUNE_AT

    def admit(self, ctx: Caller, operation: str) -> None:
        """ThrottlingError when the caller's account has no call left; a refusal costs nothing."""
        rate = CALLS_PER_S.get(operation)
        if rate is None or ctx.account_id is None:
            return
        now = self._now()
        key = (ctx.account_id, ctx.region, operation)
        # The generic cell rate algorithm: each call moves the instant of recovery on by its share of a second.
        whole_at = max(self._whole_at.get(key, now), now) + 1 / rate
        if whole_at > now + 1 + 1e-9:
            raise ThrottlingError(f"Rate exceeded: {operation} is called more than {rate} times a second")
        self._whole_at[key] = whole_at
        if len(self._whole_at) > self._prune_at:
            self._whole_at = {key: at for key, at in self._whole_at.items() if at > now}
            self._prune_at = max(_PRUNE_AT, 2 * len(self._whole_at))

    def __len__(self) -> int:
        return len(self._whole_at)


def limited(rates: CallRates, operation: str, handler: Handler) -> Handler:
    """The handler, called as often as the quota allows."""

    @functools.wraps(handler)
    async def admitted(ctx: Caller, /, **members: Any) -> Result:
        rates.admit(ctx, operation)
        return await handler(ctx, **members)

    return admitted
