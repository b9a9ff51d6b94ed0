"""The operations on rotations (/handfast/v1)."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TypeVar

from handfast.control.context import Handler, Result, cause_of, page_request, present, scope_of
from handfast.core.identity.arns import certificate_arn, fold_certificate_id
from handfast.core.identity.caller import Caller
from handfast.core.identity.rotation import DeadlineAction, RetireAction, RotationRecord, RotationState
from handfast.errors import InvalidRequestError
from handfast.services.rotations import DEFAULT_DEADLINE, Rotations

E = TypeVar("E", bound=StrEnum)


class RotationHandlers:
    """Handlers by operation name in `handlers`. Each refuses the operator's key."""

    def __init__(self, rotations: Rotations) -> None:
        self._rotations = rotations
        self.handlers: dict[str, Handler] = {
            "RotateCertificate": self.rotate_certificate,
            "DescribeRotation": self.describe_rotation,
            "CancelRotation": self.cancel_rotation,
            "ListRotations": self.list_rotations,
        }

    async def rotate_certificate(
        self,
        ctx: Caller,
        *,
        certificate_id: str,
        certificate_signing_request: str | None = None,
        deadline_seconds: int | None = None,
        on_deadline: str | None = None,
        retire_action: str | None = None,
    ) -> Result:
        """The private key, where one was made, stands in this answer alone."""
        deadline = DEFAULT_DEADLINE if deadline_seconds is None else dt.timedelta(seconds=deadline_seconds)
        begun = await self._rotations.begin(
            scope_of(ctx),
            cause_of(ctx, "RotateCertificate"),
            fold_certificate_id(certificate_id),
            csr_pem=certificate_signing_request,
            deadline=deadline,
            on_deadline=_chosen(DeadlineAction, on_deadline, "onDeadline") or DeadlineAction.RETIRE,
            retire_action=_chosen(RetireAction, retire_action, "retireAction") or RetireAction.DEACTIVATE,
        )
        key_pair = None
        if begun.private_key_pem is not None:
            key_pair = {"public_key": begun.public_key_pem, "private_key": begun.private_key_pem}
        successor = begun.successor
        return present(
            rotation=_rotation(begun.rotation),
            certificate_id=successor.certificate_id,
            certificate_arn=certificate_arn(successor.scope, successor.certificate_id),
            certificate_pem=successor.pem,
            key_pair=key_pair,
        )

    async def describe_rotation(self, ctx: Caller, *, certificate_id: str) -> Result:
        return _rotation(await self._rotations.describe(scope_of(ctx), fold_certificate_id(certificate_id)))

    async def cancel_rotation(self, ctx: Caller, *, certificate_id: str) -> Result:
        return _rotation(
            await self._rotations.cancel(
                scope_of(ctx), cause_of(ctx, "CancelRotation"), fold_certificate_id(certificate_id)
            )
        )

    async def list_rotations(
        self,
        ctx: Caller,
        *,
        state: str | None = None,
        max_results: int | None = None,
        next_token: str | None = None,
    ) -> Result:
        page = await self._rotations.list_page(
            scope_of(ctx), page_request(max_results, next_token), state=_chosen(RotationState, state, "state")
        )
        return present(rotations=[_rotation(record) for record in page.items], next_token=page.marker)


def _chosen(kind: type[E], text: str | None, member: str) -> E | None:
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        raise InvalidRequestError(f"{member} must be one of {', '.join(kind)}") from None


def _rotation(record: RotationRecord) -> Result:
    return present(
        certificate_id=record.certificate_id,
        successor_id=record.successor_id,
        state=record.state.value,
        retire_action=record.retire_action.value,
        on_deadline=record.on_deadline.value,
        start_date=record.started_at,
        deadline=record.deadline,
        end_date=record.ended_at,
        ended_by=record.ended_by.value if record.ended_by is not None else None,
    )
