"""TestPolicy and ReplayPolicy (/handfast/v1): what policies decide, and what a draft would change."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from handfast.control.context import Handler, Result, present, scope_of
from handfast.core.identity.arns import fold_certificate_id, principal_certificate
from handfast.core.identity.caller import Caller
from handfast.core.identity.decisions import Coverage
from handfast.core.identity.ids import CertificateId, PolicyName, Scope
from handfast.core.policy.actions import Action
from handfast.core.policy.evaluate import StatementRef
from handfast.errors import InvalidRequestError
from handfast.services.what_if import Draft, DraftUse, PolicyChange, WhatIf, read_draft

_ACTIONS = {
    "CONNECT": Action.CONNECT,
    "PUBLISH": Action.PUBLISH,
    "RETAIN_PUBLISH": Action.RETAIN_PUBLISH,
    "SUBSCRIBE": Action.SUBSCRIBE,
    "RECEIVE": Action.RECEIVE,
}


class WhatIfHandlers:
    """Handlers by operation name in `handlers`. Each refuses the operator's key."""

    def __init__(self, what_if: WhatIf) -> None:
        self._what_if = what_if
        self.handlers: dict[str, Handler] = {"TestPolicy": self.test_policy, "ReplayPolicy": self.replay_policy}

    async def test_policy(
        self,
        ctx: Caller,
        *,
        principal: str,
        action: str,
        name: str,
        client_id: str | None = None,
        draft: Mapping[str, Any] | None = None,
        source_ip: str | None = None,
        domain_name: str | None = None,
        persistent_session: bool | None = None,
        last_will_topic: str | None = None,
    ) -> Result:
        scope = scope_of(ctx)
        asked = _ACTIONS.get(action)
        if asked is None:
            raise InvalidRequestError(f"action must be one of {', '.join(_ACTIONS)}")
        answer = await self._what_if.test(
            scope,
            _certificate(scope, principal),
            asked,
            name,
            client_id=client_id,
            draft=_draft(draft) if draft is not None else None,
            source_ip=source_ip,
            domain_name=domain_name,
            persistent=bool(persistent_session),
            last_will=last_will_topic,
        )
        return present(
            decision=answer.decision.outcome.value,
            resource=answer.resource,
            statements=_statements(answer.decision.statements),
            client_id=answer.client_id,
            thing_name=answer.thing_name,
            variables={name: list(values) for name, values in sorted(answer.values.items())},
            missing=list(answer.missing),
            policies=[{"policy_name": name, "version": version} for name, version in answer.policies],
        )

    async def replay_policy(
        self, ctx: Caller, *, draft: Mapping[str, Any], since: dt.datetime, marker: str | None = None
    ) -> Result:
        scope = scope_of(ctx)
        page = await self._what_if.replay(scope, _draft(draft), since, marker or None)
        coverage = None if marker else await self._what_if.coverage(scope, since)
        return present(
            changes=[_change(change) for change in page.changes],
            judged=page.judged,
            concerned=page.concerned,
            unregistered=page.unregistered,
            outdated=page.outdated,
            record=None if coverage is None else _record(coverage),
            next_marker=page.marker,
        )


def _certificate(scope: Scope, principal: str) -> CertificateId:
    return principal_certificate(scope, principal) if principal.startswith("arn:") else fold_certificate_id(principal)


def _draft(given: Mapping[str, Any]) -> Draft:
    try:
        use = DraftUse(given["use"])
    except ValueError:
        raise InvalidRequestError(f"use must be one of {', '.join(DraftUse)}") from None
    return read_draft(PolicyName(given["policy_name"]), given.get("policy_document"), use)


def _statements(statements: Sequence[StatementRef]) -> list[Result]:
    return [
        present(policy_name=each.policy, version=each.version, statement=each.number, sid=each.sid)
        for each in statements
    ]


def _change(change: PolicyChange) -> Result:
    record = change.record
    return present(
        change="LOSS" if change.loss else "GAIN",
        certificate_id=record.certificate_id,
        thing_name=change.thing_name,
        client_id=record.asked.client_id,
        action=record.asked.action,
        resource=record.asked.resource,
        before=change.before.outcome.value,
        before_statements=_statements(change.before.statements),
        after=change.after.outcome.value,
        after_statements=_statements(change.after.statements),
        missing=list(change.missing),
        count=record.count,
        first_seen=record.first_seen,
        last_seen=record.last_seen,
    )


def _record(coverage: Coverage) -> Result:
    return {
        "gaps": [{"from": start, "until": end} for start, end in coverage.gaps],
        "overflows": [
            present(certificate_id=each.certificate_id, lost=each.lost, last_seen=each.last_seen)
            for each in coverage.overflows
        ],
        "overflowed": coverage.overflowed,
    }
