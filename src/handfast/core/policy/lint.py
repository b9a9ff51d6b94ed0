"""
What is wrong with a policy document although it can be obeyed: it grants too much, or does not do what it seems to.

`IOT_POLICY_OVERLY_PERMISSIVE_CHECK` and
`IOT_POLICY_POTENTIAL_MISCONFIGURATION_CHECK` are those of AWS IoT Device
Defender's audit, with its reason codes. Patterns are tried with the code that
guards the gateway, on names that nobody would write: what matches these
matches anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from handfast.core.policy.actions import Action, expand
from handfast.core.policy.conditions import Condition, Quantifier
from handfast.core.policy.document import Document, Effect, Statement, parse_document
from handfast.core.policy.match import Glob, Token, Wildcard
from handfast.core.policy.reading import load, members, strings
from handfast.core.policy.template import Template
from handfast.core.policy.variables import (
    CERTIFICATE_ID,
    CLIENT_ID,
    CONDITION_ONLY,
    DOMAIN_NAME,
    IS_ATTACHED,
    SOURCE_IP,
    Variable,
)
from handfast.errors import PolicySyntaxError

OVERLY_PERMISSIVE: Final = "IOT_POLICY_OVERLY_PERMISSIVE_CHECK"
POTENTIAL_MISCONFIGURATION: Final = "IOT_POLICY_POTENTIAL_MISCONFIGURATION_CHECK"


class Severity(IntEnum):
    """How much is at stake; AWS's own for its checks."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One thing that is wrong.

    `code` is AWS's reason code where `check` names an audit check of AWS, else
    our own. `path` is a JSON path into the document.
    """

    code: str
    severity: Severity
    path: str
    message: str
    instead: str
    check: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {
            "code": self.code,
            "severity": self.severity.name,
            "path": self.path,
            "message": self.message,
            "instead": self.instead,
        }
        return found if self.check is None else found | {"check": self.check}


def lint_document(text: str, *, account: str | None = None, region: str | None = None) -> list[Finding]:
    """
    Everything found in the document, by statement.

    `account` and `region` are where it is, if that is known. What cannot be
    read is one finding. The work is bounded by the size of a document.
    """
    try:
        document = parse_document(text)
    except PolicySyntaxError as error:
        return [
            Finding(
                code="DOCUMENT_CANNOT_BE_USED",
                severity=Severity.CRITICAL,
                path=error.path,
                message=f"The document cannot be used: {error}.",
                instead="what the message expects",
            )
        ]
    places = _places(text)
    home = _home(document, account, region)
    found: list[Finding] = []
    for statement, place in zip(document.statements, places, strict=True):
        found += _too_broad(statement, place, home)
        found += _wildcards_in_deny(statement, place)
        found += _defeated_deny(statement, place, document, home)
        found += _never_matching(statement, place, home)
        found += _variables_of_deny(statement, place)
        found += _for_all_values(statement, place)
    found += _useless_without(document)
    return found


# --- where things stand -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """The JSON paths of a statement: itself, its resources in order, its actions as written with their paths."""

    path: str
    resources: list[str]
    actions: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Home:
    """Where the document is: the account and region, as known or as its first whole ARN says."""

    account: str
    region: str

    def arn(self, resource: str) -> str:
        return f"arn:aws:iot:{self.region}:{self.account}:{resource}"


def _places(text: str) -> list[_Place]:
    statements = members(load(text), "$", "")["Statement"]
    if not isinstance(statements, list):
        return [_place(statements, "$.Statement")]
    return [_place(each, f"$.Statement[{index}]") for index, each in enumerate(statements)]


def _place(value: Any, path: str) -> _Place:
    found = members(value, path, "")
    resource = "Resource" if "Resource" in found else "NotResource"
    action = "Action" if "Action" in found else "NotAction"
    return _Place(
        path,
        [place for _, place in strings(found[resource], f"{path}.{resource}")],
        [(each, place) for each, place in strings(found[action], f"{path}.{action}")] if action == "Action" else [],
    )


def _home(document: Document, account: str | None, region: str | None) -> _Home:
    for statement in document.statements:
        for resource in statement.resources:
            parts = resource.text.split(":", 5)
            if len(parts) == 6 and not _open(parts[3]) and not _open(parts[4]):
                return _Home(account or parts[4], region or parts[3])
    return _Home(account or "123456789012", region or "us-east-1")


def _open(part: str) -> bool:
    """Whether it may stand for several texts."""
    return any(character in part for character in "*?$")


# --- trying patterns ----------------------------------------------------------------------------------------------

_ANYTHING: Final = "zq7/wx3/vk9"
"""A name that no policy was written for."""
_UNRESOLVED: Final = "\x00"
"""In place of a variable: nothing that is tried holds it."""


def _glob(resource: Template, chosen: str | None = None) -> Glob:
    """The pattern with its variables closed; `chosen` in place of the client id, which a device chooses."""
    tokens: list[Token] = []
    for part in resource.parts:
        if isinstance(part, Variable):
            tokens.append(chosen if chosen is not None and part.name == CLIENT_ID else _UNRESOLVED)
        else:
            tokens.append(part)
    return Glob(tokens)


def _covers(statement: Statement, resource: str, chosen: str | None = None) -> int | None:
    """Which of its resources makes it match, whatever its conditions; 0 for NotResource, None when it does not."""
    matching = [index for index, each in enumerate(statement.resources) if _glob(each, chosen).matches(resource)]
    if statement.not_resource:
        return None if matching else 0
    return matching[0] if matching else None


def _requires_attached(statement: Statement) -> bool:
    """Whether it holds only for a client id that names a thing which is attached to the certificate."""
    return any(
        condition.key.name == IS_ATTACHED
        and condition.make is not None
        and not condition.negated
        and not condition.if_exists
        and condition.quantifier is not Quantifier.ALL
        and [operand.template.text.lower() for operand in condition.operands] == ["true"]
        for condition in statement.conditions
    )


# --- the checks of AWS --------------------------------------------------------------------------------------------

_THING_ACTIONS = (
    Action.GET_THING_SHADOW,
    Action.UPDATE_THING_SHADOW,
    Action.DELETE_THING_SHADOW,
    Action.DESCRIBE_JOB_EXECUTION,
    Action.GET_PENDING_JOB_EXECUTIONS,
    Action.UPDATE_JOB_EXECUTION,
    Action.START_NEXT_PENDING_JOB_EXECUTION,
    Action.IOT_DESCRIBE_JOB_EXECUTION,
    Action.IOT_GET_PENDING_JOB_EXECUTIONS,
    Action.IOT_UPDATE_JOB_EXECUTION,
    Action.IOT_START_NEXT_PENDING_JOB_EXECUTION,
)
_TRIED: Final[tuple[tuple[Action, str, str], ...]] = (
    (Action.CONNECT, f"client/{_ANYTHING}", "any client id"),
    (Action.PUBLISH, f"topic/{_ANYTHING}", "any topic"),
    (Action.PUBLISH, f"topic/$aws/things/{_ANYTHING}", "the reserved topics of any thing"),
    (Action.SUBSCRIBE, f"topicfilter/{_ANYTHING}", "any topic filter"),
    (Action.SUBSCRIBE, f"topicfilter/$aws/things/{_ANYTHING}", "the reserved topics of any thing"),
    *((action, f"thing/{_ANYTHING}", "any thing") for action in _THING_ACTIONS),
)
_NARROWER: Final = {
    Action.CONNECT: "client/${iot:Connection.Thing.ThingName}, or the condition "
    '{"Bool": {"iot:Connection.Thing.IsAttached": "true"}} besides',
    Action.PUBLISH: "topics that begin with a fixed level or with ${iot:Connection.Thing.ThingName}, and "
    "topic/$aws/things/${iot:Connection.Thing.ThingName}/…",
    Action.SUBSCRIBE: "filters that begin with a fixed level or with ${iot:Connection.Thing.ThingName}, and "
    "topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/…",
}


def _too_broad(statement: Statement, place: _Place, home: _Home) -> Iterator[Finding]:
    if statement.effect is not Effect.ALLOW:
        return
    told: set[tuple[str, str]] = set()
    for action, resource, what in _TRIED:
        if action not in statement.actions:
            continue
        if action is Action.CONNECT and _requires_attached(statement):
            continue
        index = _covers(statement, home.arn(resource), _ANYTHING if action is Action.CONNECT else None)
        # What reaches any topic reaches the reserved ones: said once.
        kind = resource.partition("/")[0]
        if index is None or (kind, place.resources[index]) in told:
            continue
        told.add((kind, place.resources[index]))
        by_client = action is Action.CONNECT and CLIENT_ID in {v.name for v in statement.resources[index].variables}
        why = "since a device chooses its client id, " if by_client else ""
        yield Finding(
            code="ALLOWS_BROAD_ACCESS_TO_IOT_DATA_PLANE_ACTIONS",
            check=OVERLY_PERMISSIVE,
            severity=Severity.CRITICAL,
            path=place.resources[index],
            message=f"{action} is allowed on {what}: {why}every device with this policy can act for every other.",
            instead=_NARROWER.get(action, "thing/${iot:Connection.Thing.ThingName}"),
        )


def _wildcards_in_deny(statement: Statement, place: _Place) -> Iterator[Finding]:
    if statement.effect is not Effect.DENY:
        return
    for resource, path in zip(statement.resources, place.resources, strict=True):
        name = _name(resource.text, ("topic", "topicfilter"))
        levels = name.split("/") if name is not None else []
        if "+" in levels or "#" in levels:
            yield Finding(
                code="POLICY_CONTAINS_MQTT_WILDCARDS_IN_DENY_STATEMENT",
                check=POTENTIAL_MISCONFIGURATION,
                severity=Severity.MEDIUM,
                path=path,
                message="In a policy, + and # are plain characters: this denies the one filter that is written so, "
                "and no topic that it would match.",
                instead="* in place of # and +, and a Deny of iot:Receive on topic/… besides",
            )


def _defeated_deny(statement: Statement, place: _Place, document: Document, home: _Home) -> Iterator[Finding]:
    if statement.effect is not Effect.DENY or statement.not_resource or Action.SUBSCRIBE not in statement.actions:
        return
    for resource, path in zip(statement.resources, place.resources, strict=True):
        name = _name(resource.text, ("topicfilter",))
        if name is None or "*" not in name:
            continue
        protected = home.arn("topic/" + _example(resource, name))
        if _denied(document, Action.RECEIVE, protected):
            continue
        wider = next((each for each in _wider(name) if _may(document, home.arn(f"topicfilter/{each}"))), None)
        if wider is not None:
            yield Finding(
                code="TOPIC_FILTERS_INTENDED_TO_DENY_ALLOWED_USING_WILDCARDS",
                check=POTENTIAL_MISCONFIGURATION,
                severity=Severity.MEDIUM,
                path=path,
                message=f"The filter {wider} is allowed, and brings the messages that this Deny is meant to keep back.",
                instead=f"a Deny of iot:Receive on topic/{name} besides: it is asked for each message",
            )


def _example(resource: Template, name: str) -> str:
    """A topic that the filter's pattern covers, as far as it can be known."""
    del resource
    return name.replace("*", _ANYTHING).replace("?", "z")


def _wider(name: str) -> Iterator[str]:
    """Filters that cover what `name` covers, the narrowest first; levels before its first wildcard or variable."""
    levels = name.split("/")
    fixed = next((index for index, level in enumerate(levels) if _open(level)), len(levels))
    for index in range(min(fixed, 16), -1, -1):
        yield "/".join([*levels[:index], "#"])
    for index in range(min(fixed, 16)):
        yield "/".join([*levels[:index], "+", *levels[index + 1 : fixed], "#"])


def _may(document: Document, resource: str) -> bool:
    """Whether some device may subscribe: an Allow matches under some condition, no Deny without one does."""
    allowed = any(
        statement.effect is Effect.ALLOW
        and Action.SUBSCRIBE in statement.actions
        and _covers(statement, resource) is not None
        for statement in document.statements
    )
    return allowed and not _denied(document, Action.SUBSCRIBE, resource)


def _denied(document: Document, action: Action, resource: str) -> bool:
    return any(
        statement.effect is Effect.DENY
        and action in statement.actions
        and not statement.conditions
        and _covers(statement, resource) is not None
        for statement in document.statements
    )


def _name(text: str, kinds: Sequence[str]) -> str | None:
    """What stands behind TYPE/ in an ARN of one of these types."""
    parts = text.split(":", 5)
    if len(parts) < 6:
        return None
    kind, slash, name = parts[5].partition("/")
    return name if slash and kind in kinds else None


# --- what can never match -----------------------------------------------------------------------------------------

_TYPES: Final[dict[Action, tuple[str, ...]]] = {
    Action.CONNECT: ("client",),
    Action.PUBLISH: ("topic",),
    Action.RETAIN_PUBLISH: ("topic",),
    Action.SUBSCRIBE: ("topicfilter",),
    Action.RECEIVE: ("topic",),
    Action.GET_RETAINED_MESSAGE: ("topic",),
    Action.ASSUME_ROLE_WITH_CERTIFICATE: ("rolealias",),
    Action.DELETE_CONNECTION: ("client",),
    Action.GET_CONNECTION: ("client",),
    Action.LIST_SUBSCRIPTIONS: ("client",),
    **dict.fromkeys(_THING_ACTIONS, ("thing",)),
}


def _never_matching(statement: Statement, place: _Place, home: _Home) -> Iterator[Finding]:
    if statement.not_resource:
        return
    severity = Severity.HIGH if statement.effect is Effect.DENY else Severity.MEDIUM
    effect = "denies" if statement.effect is Effect.DENY else "allows"
    alive: set[Action] = set()
    dead = False
    for resource, path in zip(statement.resources, place.resources, strict=True):
        reached = {action for action in statement.actions if _reaches(resource, action, home)}
        alive |= reached
        if reached or not statement.actions:
            continue
        dead = True
        parts = resource.text.split(":", 5)
        here = len(parts) == 6 and parts[:3] == ["arn", "aws", "iot"]
        elsewhere = _Home(parts[4], parts[3]) if here and parts[3] and parts[4] else None
        if elsewhere is not None and any(_reaches(resource, action, elsewhere) for action in statement.actions):
            yield Finding(
                code="RESOURCE_OF_ANOTHER_ACCOUNT_OR_REGION",
                severity=severity,
                path=path,
                message=f"This {effect} nothing: it is a resource of account {parts[4]} in {parts[3]}, "
                f"not of {home.account} in {home.region}.",
                instead=home.arn(parts[5]),
            )
            continue
        types = sorted({f"{kind}/…" for action in statement.actions for kind in _TYPES.get(action, ("*",))})
        yield Finding(
            code="RESOURCE_NEVER_MATCHES_ACTION",
            severity=severity,
            path=path,
            message=f"This {effect} nothing: no action of the statement is asked for such a resource.",
            instead=f"a resource of the type that the action has: {', '.join(types)}",
        )
    for pattern, path in place.actions:
        named = expand(pattern)
        # A wildcard names what the author did not mean in particular.
        if len(named) == 1 and not dead and not named & alive:
            (action,) = named
            kinds = ", ".join(f"{kind}/…" for kind in _TYPES.get(action, ("*",)))
            yield Finding(
                code="ACTION_WITHOUT_RESOURCE",
                severity=severity,
                path=path,
                message=f"{action} is named, but no resource of the statement is one that it is asked for.",
                instead=f"a statement of its own with {kinds}",
            )


def _reaches(resource: Template, action: Action, home: _Home) -> bool:
    """Whether the pattern can match anything that the action is asked for."""
    kinds = _TYPES.get(action)
    if kinds is None:
        # ListRetainedMessages and the like are asked for everything, or for what is not known.
        return action is Action.SEND_DIRECT_MESSAGE or resource.text in ("*", home.arn("*")) or _open(resource.text)
    return any(_begins(resource, home.arn(f"{kind}/")) for kind in kinds)


def _begins(resource: Template, prefix: str) -> bool:
    """Whether the pattern matches something that begins with `prefix`; a `*`, or a variable, may be all the rest."""
    position = 0
    for part in resource.parts:
        if isinstance(part, Variable) or part is Wildcard.RUN:
            return True
        text = prefix[position : position + 1] if part is Wildcard.ONE else part
        rest = prefix[position : position + len(text)]
        if not text.startswith(rest):
            return False
        position += len(text)
        if position >= len(prefix):
            return True
    return position >= len(prefix)


# --- what does not do what it seems to ----------------------------------------------------------------------------


def _variables_of_deny(statement: Statement, place: _Place) -> Iterator[Finding]:
    if statement.effect is not Effect.DENY:
        return
    always = {SOURCE_IP, DOMAIN_NAME, CERTIFICATE_ID, *CONDITION_ONLY}
    if not statement.actions - {Action.CONNECT, Action.SUBSCRIBE, Action.RECEIVE}:
        always |= {CLIENT_ID, IS_ATTACHED}  # only over HTTPS there is none
    for resource, path in zip(statement.resources, place.resources, strict=True):
        names = sorted({v.written for v in resource.variables if v.name not in always})
        if names and not statement.not_resource:
            yield _deny_without_value(path, names)
    for condition in statement.conditions:
        names = [str(condition.key)] if _fails_without(condition) and condition.key.name not in always else []
        names += [v.written for v in condition.variables if v.name not in always and not condition.negated]
        if names:
            yield _deny_without_value(f"{place.path}.Condition.{condition.operator}.{condition.key}", names)


def _fails_without(condition: Condition) -> bool:
    """Whether the condition does not hold where its key has no value."""
    if condition.make is None or condition.if_exists or condition.quantifier is Quantifier.ALL:
        return False
    return not condition.negated or condition.quantifier is Quantifier.ANY


def _deny_without_value(path: str, names: Sequence[str]) -> Finding:
    return Finding(
        code="DENY_DEPENDS_ON_VALUE_THAT_MAY_BE_MISSING",
        severity=Severity.MEDIUM,
        path=path,
        message=f"Where a connection has no value for {', '.join(names)}, this Deny does not apply: "
        "another certificate, a thing that is not attached, or HTTPS is enough.",
        instead="an Allow that needs the value, and no Deny; or a Deny with Null or …IfExists for the missing value",
    )


def _for_all_values(statement: Statement, place: _Place) -> Iterator[Finding]:
    if statement.effect is not Effect.ALLOW:
        return
    needed = {
        condition.key.name
        for condition in statement.conditions
        if _fails_without(condition) or (condition.make is None and condition.operands[0].template.text == "false")
    }
    for condition in statement.conditions:
        if condition.quantifier is not Quantifier.ALL or condition.key.name in needed | CONDITION_ONLY:
            continue
        yield Finding(
            code="FOR_ALL_VALUES_HOLDS_WITHOUT_VALUE",
            severity=Severity.MEDIUM,
            path=f"{place.path}.Condition.{condition.operator}.{condition.key}",
            message=f"ForAllValues also holds where there is no {condition.key} at all: "
            "a device without it passes this Allow.",
            instead=f'besides, "Null": {{"{condition.key}": "false"}}, or ForAnyValue',
        )


_NEEDED: Final = (
    (Action.CONNECT, (Action.PUBLISH, Action.SUBSCRIBE), "PUBLISH_OR_SUBSCRIBE_WITHOUT_CONNECT", "connects over MQTT"),
    (Action.RECEIVE, (Action.SUBSCRIBE,), "SUBSCRIBE_WITHOUT_RECEIVE", "is delivered a message"),
)


def _useless_without(document: Document) -> Iterator[Finding]:
    allowed = {action for each in document.statements if each.effect is Effect.ALLOW for action in each.actions}
    for needed, actions, code, nobody in _NEEDED:
        named = [action for action in actions if action in allowed]
        if named and needed not in allowed:
            yield Finding(
                code=code,
                severity=Severity.LOW,
                path="$.Statement",
                message=f"{' and '.join(named)} is allowed and {needed} is not: unless another policy allows it, "
                f"no device {nobody} with this policy.",
                instead=f"an Allow of {needed} here or in another policy that is attached too",
            )
