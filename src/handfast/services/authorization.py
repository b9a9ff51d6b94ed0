"""What one live connection may do: its policies with its variables, kept with the registry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from handfast.core.identity.decisions import Asked
from handfast.core.identity.ids import Scope
from handfast.core.identity.refusal import Reason, ReasonCode, Stage
from handfast.core.policy.actions import Action
from handfast.core.policy.evaluate import CompiledPolicy, Decision, Outcome, Policy, compile_policies
from handfast.core.policy.variables import CONDITION_ONLY
from handfast.seam import ConnectRequest, TLSFacts
from handfast.services.policy_values import ConnectContext, asked_of, connection_values
from handfast.services.principals import Key, Principal
from handfast.services.recording import Recorder

log = logging.getLogger(__name__)

MAX_DECISIONS = 256
"""Remembered per connection; the data plane remembers its own beside these."""
MAX_RECORDED_TOPICS = 64
"""Topics per connection and version whose withheld delivery is recorded."""

_UNUSABLE = Decision(Outcome.IMPLICIT_DENY, ())

Standing = Callable[[Principal | None], tuple[Reason, ...]]
"""Why a principal may not be connected right now; empty when it may."""


class Decisions(Protocol):
    """Told of decisions when they are made (services.decisions). Cheap, never raising."""

    def made(
        self, key: Key, asked: Asked, decision: Decision, source_ip: str | None, domain_name: str | None
    ) -> None: ...


class _NoDecisions:
    """Of `--decisions off`."""

    def made(self, key: Key, asked: Asked, decision: Decision, source_ip: str | None, domain_name: str | None) -> None:
        """Nothing is kept."""


NO_DECISIONS: Decisions = _NoDecisions()


def compile_connection(
    principal: Principal,
    policies: Sequence[Policy],
    *,
    client_id: str | None,
    source_ip: str | None,
    domain_name: str | None,
    certificate_der: bytes,
    connect: ConnectContext | None = None,
) -> tuple[CompiledPolicy, dict[str, tuple[str, ...]]]:
    """The policies as a connection of the principal obeys them, and the values that its variables have."""
    values = connection_values(
        asked_of(policies),
        client_id=client_id,
        thing=principal.thing_for(client_id),
        source_ip=source_ip,
        domain_name=domain_name,
        certificate_der=certificate_der,
    )
    if connect is not None:
        connect.add_to(values)
    return compile_policies(policies, values), values


class PolicyAuthorizer:
    """
    `seam.Authorizer` for one connection.

    `version` grows whenever an answer may have changed. Without a client id
    (HTTPS) there is no thing and no `${iot:ClientId}`. Every False is recorded,
    a withheld delivery once per topic. An error of ours denies.
    """

    __slots__ = (
        "_arn",
        "_compiled",
        "_decisions",
        "_domain_name",
        "_facts",
        "_log",
        "_principal",
        "_recorded",
        "_recorder",
        "_standing",
        "client_id",
        "key",
        "last_trace_id",
        "version",
    )

    def __init__(
        self,
        key: Key,
        principal: Principal | None,
        facts: TLSFacts,
        client_id: str | None,
        recorder: Recorder,
        standing: Standing,
        *,
        domain_name: str | None = None,
        decisions: Decisions = NO_DECISIONS,
    ) -> None:
        scope = key[0]
        self.key = key
        self.client_id = client_id
        self.last_trace_id: str | None = None
        self.version = 1
        self._facts = facts
        self._domain_name = domain_name
        self._log = decisions
        self._recorder = recorder
        self._standing = standing
        self._arn = f"arn:aws:iot:{scope.region}:{scope.account}:"
        self._principal = principal
        self._compiled: CompiledPolicy | None = None
        self._decisions: dict[tuple[Action, str], bool] = {}
        self._recorded: set[str] = set()

    @property
    def scope(self) -> Scope:
        """Where the connection's principal is registered."""
        return self.key[0]

    # --- seam.Authorizer --------------------------------------------------------------------------------------

    def publish(self, topic: str) -> bool:
        """`iot:Publish` on the topic."""
        return self._may(Action.PUBLISH, "topic/", topic, Stage.PUBLISH)

    def retain(self, topic: str) -> bool:
        """`iot:RetainPublish` on the topic; `publish` is asked besides."""
        return self._may(Action.RETAIN_PUBLISH, "topic/", topic, Stage.RETAIN)

    def subscribe(self, topic_filter: str) -> bool:
        """`iot:Subscribe` on the filter, whose `+` and `#` are plain characters here."""
        return self._may(Action.SUBSCRIBE, "topicfilter/", topic_filter, Stage.SUBSCRIBE)

    def receive(self, topic: str) -> bool:
        """`iot:Receive` on the topic."""
        return self._may(Action.RECEIVE, "topic/", topic, Stage.RECEIVE)

    # --- for the verdict --------------------------------------------------------------------------------------

    def check(self, action: Action, resource: str) -> Decision:
        """The decision on `resource` (`client/NAME`, `topic/NAME`); a denial is recorded by `deny`."""
        principal = self._principal
        if principal is None:
            return _UNUSABLE
        decision = self._decide(principal, action, resource)
        self._made(Asked(self.client_id, action.value, resource), decision)
        return decision

    def check_connect(self, request: ConnectRequest) -> Decision:
        """`iot:Connect` on the client id, with the condition keys that only the CONNECT packet fills."""
        resource = f"client/{request.client_id}"
        principal = self._principal
        if principal is None:
            return _UNUSABLE
        will = request.will_topic
        if not any(CONDITION_ONLY & policy.names for policy in principal.policies_for(self.client_id)):
            decision = self._decide(principal, Action.CONNECT, resource)
        else:
            context = ConnectContext(
                persistent=request.persistent, last_will_topic=None if will is None else f"{self._arn}topic/{will}"
            )
            compiled = self._compile(principal, context)
            decision = compiled.decide(Action.CONNECT, self._arn + resource)
            if not decision.allowed:
                self._compiled = compiled  # for `explain`; a refused connection is judged no further
        self._made(Asked(self.client_id, Action.CONNECT.value, resource, request.persistent, will), decision)
        return decision

    def explain(self, action: Action, decision: Decision) -> tuple[Reason, dict[str, str]]:
        """The reason and the facts to record for a denial."""
        details = {"action": str(action)}
        compiled = self._compiled
        if compiled is None or compiled.empty:
            return Reason(ReasonCode.NO_POLICY_ATTACHED, f"{action} was asked for"), details
        if decision.outcome is Outcome.EXPLICIT_DENY:
            statements = ", ".join(map(str, decision.statements))
            details["statements"] = statements
            return Reason(ReasonCode.EXPLICIT_DENY, f"{action} is denied by {statements}"), details
        unresolved = ", ".join(compiled.missing(action))
        text = f"no statement allows {action}"
        if unresolved:
            details["variables_without_value"] = unresolved
            text += f"; this connection has no usable value for {unresolved}"
        return Reason(ReasonCode.IMPLICIT_DENY, text), details

    def deny(self, stage: Stage, action: Action, resource: str, decision: Decision) -> str:
        """Record a denial; its trace id."""
        standing = self._standing(self._principal)
        if standing:
            reasons, details = standing, {"action": str(action)}
        else:
            reason, details = self.explain(action, decision)
            reasons = (reason,)
        trace_id = self.last_trace_id = self._recorder.record(
            stage,
            reasons,
            self._facts,
            self.scope,
            client_id=self.client_id,
            resource=self._arn + resource,
            details=details,
        )
        return trace_id

    def principal_changed(self, principal: Principal | None) -> None:
        """Another registration, status, attachment or document: everything is judged anew."""
        self._principal = principal
        self._compiled = None
        self._decisions.clear()
        self._recorded.clear()
        self.version += 1

    # --- inside -----------------------------------------------------------------------------------------------

    def _may(self, action: Action, kind: str, name: str, stage: Stage) -> bool:
        known = self._decisions.get((action, name))
        if known is not None and (known or stage is Stage.RECEIVE):
            return known
        try:
            standing = self._standing(self._principal)
            decision = _UNUSABLE if standing else self.check(action, kind + name)
            if len(self._decisions) >= MAX_DECISIONS:
                self._decisions.clear()
            # Validity is a matter of time, so nothing about an unusable certificate is remembered.
            if not standing:
                self._decisions[action, name] = decision.allowed
            if not decision.allowed:
                self._denied(stage, action, kind + name, name, decision)
            return decision.allowed
        except Exception:
            log.exception("an authorization failed inside and denies")
            return False

    def _denied(self, stage: Stage, action: Action, resource: str, name: str, decision: Decision) -> None:
        if stage is Stage.RECEIVE:
            if name in self._recorded or len(self._recorded) >= MAX_RECORDED_TOPICS:
                return
            self._recorded.add(name)
        self.deny(stage, action, resource, decision)

    def _decide(self, principal: Principal, action: Action, resource: str) -> Decision:
        compiled = self._compiled
        if compiled is None:
            compiled = self._compiled = self._compile(principal)
        return compiled.decide(action, self._arn + resource)

    def _made(self, asked: Asked, decision: Decision) -> None:
        self._log.made(self.key, asked, decision, self._facts.peer_address, self._domain_name)

    def _compile(self, principal: Principal, connect: ConnectContext | None = None) -> CompiledPolicy:
        compiled, _ = compile_connection(
            principal,
            principal.policies_for(self.client_id),
            client_id=self.client_id,
            source_ip=self._facts.peer_address,
            domain_name=self._domain_name,
            certificate_der=self._facts.certificate_der,
            connect=connect,
        )
        return compiled
