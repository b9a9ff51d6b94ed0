"""
What policies say about a certificate or thing without a connection: the engine of the gateway, asked ahead.

The policies are collected by `Principal.policies_for`, and values put in by
`compile_connection`, as for a connection: nothing here decides by itself.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from handfast.core.identity.ids import CertificateId, PolicyName, Scope, ThingName
from handfast.core.identity.records import PrincipalRecord
from handfast.core.policy.actions import Action
from handfast.core.policy.document import parse_document
from handfast.core.policy.evaluate import CompiledPolicy, Outcome, Policy, compile_policies
from handfast.errors import InvalidRequestError, PolicySyntaxError
from handfast.ports import Store
from handfast.services.authorization import compile_connection
from handfast.services.certificates import not_found as certificate_not_found
from handfast.services.policies import not_found as policy_not_found
from handfast.services.policy_values import certificate_der
from handfast.services.principal import Copies, Principal, collect
from handfast.services.things import not_found as thing_not_found

RESOURCES_MAX = 100
"""Of one question."""
NAMES_MAX = 50
"""Of policies to add, and of policies to leave out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectivePolicy:
    """A policy with the document of its default version."""

    name: PolicyName
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May the action be done on every one of the resources, which are ARNs?"""

    action: Action
    resources: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    ALLOWED when every resource is, EXPLICIT_DENY when one is denied so.

    Each policy stands in one of the lists: in `denying` when one of its
    statements denies one of the resources, else in `allowing` when one allows
    one of them, else in `silent`.
    """

    outcome: Outcome
    allowing: tuple[PolicyName, ...]
    denying: tuple[PolicyName, ...]
    silent: tuple[PolicyName, ...]
    missing: tuple[str, ...]
    """Variables and condition keys of statements about the action that have no value here."""


class EffectivePolicies:
    """Which policies are in effect, and what they say. Raises ServiceErrors."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(
        self, scope: Scope, certificate_id: CertificateId | None, thing: ThingName | None
    ) -> list[EffectivePolicy]:
        """The policies attached to the certificate, and those of the groups that the thing is in and of their
        ancestors, each once. Whether the thing is attached to the certificate plays no part."""
        if certificate_id is None and thing is None:
            raise InvalidRequestError("A principal or a thingName is needed")
        copies, principal = Copies(), None
        if certificate_id is not None:
            record = await self._record(scope, certificate_id)
            principal = copies.principal(record)
        attached = await self._store.attached_groups(scope, thing) if thing is not None else ()
        if attached is None:
            assert thing is not None
            raise thing_not_found(thing)
        found = collect(principal.slots if principal is not None else (), copies.groups(scope, attached))
        unique = {slot.name: slot.text for slot in found}
        return [EffectivePolicy(name=name, document=text) for name, text in unique.items() if text is not None]

    async def test(
        self,
        scope: Scope,
        certificate_id: CertificateId,
        questions: Sequence[Question],
        *,
        client_id: str | None,
        add: Sequence[PolicyName] = (),
        skip: Sequence[PolicyName] = (),
    ) -> list[Answer]:
        """
        What a connection of the certificate with this client id would be answered, in order.

        `add` are policies as if they were attached to the certificate, `skip`
        as if they were attached to nothing. Neither address nor endpoint nor
        CONNECT packet is known: their variables have no value. The status of
        the certificate is not asked.
        """
        record = await self._record(scope, certificate_id)
        if len(add) > NAMES_MAX or len(skip) > NAMES_MAX:
            raise InvalidRequestError(f"At most {NAMES_MAX} policies can be added and {NAMES_MAX} be left out")
        if any(len(question.resources) > RESOURCES_MAX for question in questions):
            raise InvalidRequestError(f"At most {RESOURCES_MAX} resources can be asked about at once")
        principal = Copies().principal(record)
        added = [await self._policy(scope, name) for name in dict.fromkeys(add)]
        for name in dict.fromkeys(skip):
            await self._policy(scope, name)
        return await asyncio.to_thread(
            _answers, principal, record.certificate.pem, questions, client_id, added, frozenset(skip)
        )

    async def _record(self, scope: Scope, certificate_id: CertificateId) -> PrincipalRecord:
        (record,) = await self._store.principals([(scope, certificate_id)])
        if record is None or record.claim_of is not None:
            raise certificate_not_found(certificate_id)
        return record

    async def _policy(self, scope: Scope, name: PolicyName) -> Policy:
        record = await self._store.policy(scope, name)
        if record is None:
            raise policy_not_found(name)
        try:
            document = parse_document(record.document)
        except PolicySyntaxError:
            document = None
        return Policy(name, record.default_version_id, document)


def _answers(
    principal: Principal,
    pem: str,
    questions: Sequence[Question],
    client_id: str | None,
    added: Sequence[Policy],
    skipped: frozenset[PolicyName],
) -> list[Answer]:
    in_effect = {policy.name: policy for policy in itertools.chain(principal.policies_for(client_id), added)}
    policies = [policy for name, policy in in_effect.items() if name not in skipped]
    compiled, values = compile_connection(
        principal,
        policies,
        client_id=client_id,
        source_ip=None,
        domain_name=None,
        certificate_der=certificate_der(pem),
    )
    alone = [(PolicyName(policy.name), compile_policies([policy], values)) for policy in policies]
    return [_answer(compiled, alone, question) for question in questions]


def _answer(compiled: CompiledPolicy, alone: Sequence[tuple[PolicyName, CompiledPolicy]], question: Question) -> Answer:
    by_outcome: dict[Outcome, list[PolicyName]] = {outcome: [] for outcome in Outcome}
    for name, policy in alone:
        said = {policy.decide(question.action, resource).outcome for resource in question.resources}
        kind = next((each for each in (Outcome.EXPLICIT_DENY, Outcome.ALLOWED) if each in said), Outcome.IMPLICIT_DENY)
        by_outcome[kind].append(name)
    outcomes = {compiled.decide(question.action, resource).outcome for resource in question.resources}
    order = (Outcome.EXPLICIT_DENY, Outcome.IMPLICIT_DENY, Outcome.ALLOWED)
    return Answer(
        # Nothing was asked about: nothing is allowed.
        outcome=next((each for each in order if each in outcomes), Outcome.IMPLICIT_DENY),
        allowing=tuple(by_outcome[Outcome.ALLOWED]),
        denying=tuple(by_outcome[Outcome.EXPLICIT_DENY]),
        silent=tuple(by_outcome[Outcome.IMPLICIT_DENY]),
        missing=compiled.missing(question.action),
    )
