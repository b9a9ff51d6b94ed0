"""
What a policy would decide: one question, or everything that devices asked for, under a draft.

The answers come from the code that guards the gateway (`compile_connection`),
over the same collection of policies, read from the registry at this moment.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias

from handfast.core.identity.decisions import Asked, Coverage, RecordedDecision
from handfast.core.identity.ids import CertificateId, PolicyName, Scope
from handfast.core.identity.records import PrincipalRecord
from handfast.core.policy.actions import Action
from handfast.core.policy.document import parse_document
from handfast.core.policy.evaluate import CompiledPolicy, Decision, Outcome, Policy
from handfast.core.policy.variables import CERTIFICATE_ID, CERTIFICATE_PREFIX
from handfast.errors import (
    InvalidRequestError,
    MalformedPolicyError,
    PolicySyntaxError,
)
from handfast.ports import PageRequest, Store
from handfast.services.authorization import compile_connection
from handfast.services.certificates import not_found as certificate_not_found
from handfast.services.decisions import DecisionLog
from handfast.services.paging import page_of
from handfast.services.policies import not_found as policy_not_found
from handfast.services.policy_values import ConnectContext, certificate_der
from handfast.services.principal import Copies, Key, Principal

DRAFT_VERSION = "draft"
RECORDS_IN_A_PAGE = 500
_KINDS = {
    Action.CONNECT: "client",
    Action.PUBLISH: "topic",
    Action.RETAIN_PUBLISH: "topic",
    Action.SUBSCRIBE: "topicfilter",
    Action.RECEIVE: "topic",
}

Values: TypeAlias = dict[str, tuple[str, ...]]


class DraftUse(StrEnum):
    """What a draft is taken for."""

    REPLACE = "REPLACE"  # the policy of that name has this document, wherever it is attached
    ADD = "ADD"  # besides, whoever has no policy of that name has this one
    REMOVE = "REMOVE"  # the policy of that name is attached to nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A policy as it might be. `policy` is None only for REMOVE."""

    use: DraftUse
    name: PolicyName
    policy: Policy | None

    def apply(self, policies: Sequence[Policy]) -> list[Policy]:
        """The policies with the draft among them."""
        others = [policy for policy in policies if policy.name != self.name]
        return [*others, self.policy] if self.policy is not None and self.concerns(policies) else others

    def concerns(self, policies: Sequence[Policy]) -> bool:
        """Whether it says anything about who has these policies."""
        return self.use is DraftUse.ADD or any(policy.name == self.name for policy in policies)


def read_draft(name: PolicyName, document: str | None, use: DraftUse) -> Draft:
    """
    The draft, its document checked as CreatePolicy checks it.

    Raises:
        MalformedPolicyError: It could not be created.
        InvalidRequestError: A document is missing, or given where one is removed.
    """
    if (document is None) is not (use is DraftUse.REMOVE):
        raise InvalidRequestError("A draft needs policyDocument, except with use REMOVE, which takes none")
    try:
        policy = None if document is None else Policy(name, DRAFT_VERSION, parse_document(document))
    except PolicySyntaxError as error:
        raise MalformedPolicyError(f"The policy document cannot be used: {error}") from error
    return Draft(use=use, name=name, policy=policy)


class Answer(NamedTuple):
    """What is decided, with what the variables stood for. `policies` are those that were asked, draft included."""

    decision: Decision
    resource: str
    client_id: str | None
    thing_name: str | None
    values: Values
    missing: tuple[str, ...]
    policies: Sequence[tuple[str, str]]


class PolicyChange(NamedTuple):
    """A decision that the draft changes. `missing`: what has no value in the statements that no longer match."""

    record: RecordedDecision
    thing_name: str | None
    before: Decision
    after: Decision
    missing: tuple[str, ...]

    @property
    def loss(self) -> bool:
        """Whether the device may no longer do it; else it newly may."""
        return self.before.allowed


class ReplayPage(NamedTuple):
    """
    A part of the records, judged. `unregistered` are of certificates that are gone, which nothing can be said about;
    `outdated` were decided otherwise then than the policies of now decide; `concerned`, the draft has a say in.
    """

    changes: Sequence[PolicyChange]
    judged: int
    concerned: int
    unregistered: int
    outdated: int
    marker: str | None


class Live(Protocol):
    """Who is connected (services.principals)."""

    def connected(self, key: Key, client_id: str | None) -> bool: ...


class WhatIf:
    """The use cases. Raises ServiceErrors. `decisions` None: the server records none."""

    def __init__(self, store: Store, live: Live, decisions: DecisionLog | None) -> None:
        self._store = store
        self._live = live
        self._decisions = decisions

    @property
    def recording(self) -> bool:
        """Whether decisions are recorded at all."""
        return self._decisions is not None

    async def test(
        self,
        scope: Scope,
        certificate_id: CertificateId,
        action: Action,
        name: str,
        *,
        client_id: str | None = None,
        draft: Draft | None = None,
        source_ip: str | None = None,
        domain_name: str | None = None,
        persistent: bool = False,
        last_will: str | None = None,
    ) -> Answer:
        """
        What a connection of the certificate is told when it asks to do `action` on a topic, filter or client id.

        Without `client_id`: for a connection the one that `name` is; else the
        name of its thing where it has exactly one; else none, as over HTTPS.
        """
        kind = _KINDS.get(action)
        if kind is None:
            raise InvalidRequestError(f"{action} is nothing that a device asks a gateway for: {', '.join(_KINDS)}")
        (record,) = await self._store.principals([(scope, certificate_id)])
        if record is None or record.claim_of is not None:
            raise certificate_not_found(certificate_id)
        principal = Copies().principal(record)
        if action is Action.CONNECT:
            if client_id is not None and client_id != name:
                raise InvalidRequestError("iot:Connect is asked for by the client id itself: leave clientId out")
            client_id = name
        elif client_id is None and len(record.things) == 1:
            client_id = record.things[0].thing_name
        asked = Asked(client_id, action.value, f"{kind}/{name}", persistent, last_will)
        policies = principal.policies_for(client_id)
        if draft is not None:
            policies = draft.apply(policies)
        compiled, values = _compile(principal, policies, record, asked, source_ip, domain_name)
        decision = compiled.decide(action, _arn(scope) + asked.resource)
        thing = principal.thing_for(client_id)
        names = frozenset[str]().union(*(policy.names for policy in policies))
        return Answer(
            decision,
            asked.resource,
            client_id,
            thing.thing_name if thing is not None else None,
            {name: value for name, value in values.items() if name in names},
            compiled.missing(action),
            [(policy.name, policy.version_id) for policy in policies],
        )

    async def replay(self, scope: Scope, draft: Draft, since: dt.datetime, marker: str | None) -> ReplayPage:
        """One page of the records made since then, judged with and without the draft by the registry of now."""
        if self._decisions is None:
            raise InvalidRequestError("This server records no decisions: it runs with --decisions off")
        if marker is None and draft.use is not DraftUse.ADD and await self._store.policy(scope, draft.name) is None:
            raise policy_not_found(draft.name)
        if marker is None:
            await self._decisions.flush()
        page = await page_of(self._decisions.page(scope, since, PageRequest(limit=RECORDS_IN_A_PAGE, marker=marker)))
        records = [
            record
            for record in page.items
            if record.last_seen >= since or self._live.connected((scope, record.certificate_id), record.asked.client_id)
        ]
        ids = list(dict.fromkeys(record.certificate_id for record in records))
        found = await self._store.principals([(scope, each) for each in ids])
        registered = {each: record for each, record in zip(ids, found, strict=True) if record and not record.claim_of}
        return await asyncio.to_thread(_judge_all, scope, draft, records, registered, page.marker)

    async def coverage(self, scope: Scope, since: dt.datetime) -> Coverage:
        """How far what is recorded since then can be trusted."""
        if self._decisions is None:
            raise InvalidRequestError("This server records no decisions: it runs with --decisions off")
        return await self._decisions.coverage(scope, since)


def _judge_all(
    scope: Scope,
    draft: Draft,
    records: Iterable[RecordedDecision],
    registered: dict[CertificateId, PrincipalRecord],
    marker: str | None,
) -> ReplayPage:
    principals = Copies()
    changes: list[PolicyChange] = []
    judged = concerned = unregistered = outdated = 0
    for record in records:
        found = registered.get(record.certificate_id)
        if found is None:
            unregistered += 1
            continue
        judged += 1
        principal = principals.principal(found)
        policies = principal.policies_for(record.asked.client_id)
        action, resource = Action(record.asked.action), _arn(scope) + record.asked.resource
        compiled, _ = _compile(principal, policies, found, record.asked, record.source_ip, record.domain_name)
        before = compiled.decide(action, resource)
        outdated += before.outcome != record.outcome
        if not draft.concerns(policies):
            continue
        concerned += 1
        drafted = draft.apply(policies)
        compiled, _ = _compile(principal, drafted, found, record.asked, record.source_ip, record.domain_name)
        after = compiled.decide(action, resource)
        if before.allowed is not after.allowed:
            thing = principal.thing_for(record.asked.client_id)
            missing = compiled.missing(action) if after.outcome is Outcome.IMPLICIT_DENY else ()
            changes.append(PolicyChange(record, thing.thing_name if thing else None, before, after, missing))
    return ReplayPage(changes, judged, concerned, unregistered, outdated, marker)


def _compile(
    principal: Principal,
    policies: Sequence[Policy],
    record: PrincipalRecord,
    asked: Asked,
    source_ip: str | None,
    domain_name: str | None,
) -> tuple[CompiledPolicy, Values]:
    connect = None
    if asked.action == Action.CONNECT:
        will = asked.last_will
        arn = _arn(record.certificate.scope)
        connect = ConnectContext(
            persistent=asked.persistent, last_will_topic=None if will is None else f"{arn}topic/{will}"
        )
    return compile_connection(
        principal,
        policies,
        client_id=asked.client_id,
        source_ip=source_ip,
        domain_name=domain_name,
        certificate_der=certificate_der(record.certificate.pem) if _asks_certificate(policies) else b"",
        connect=connect,
    )


def _asks_certificate(policies: Iterable[Policy]) -> bool:
    return any(
        name == CERTIFICATE_ID or name.startswith(CERTIFICATE_PREFIX) for policy in policies for name in policy.names
    )


def _arn(scope: Scope) -> str:
    return f"arn:aws:iot:{scope.region}:{scope.account}:"
