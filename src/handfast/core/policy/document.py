"""
Policy documents: text in, a checked `Document` out, or an error that names the place.

A document is accepted whole or refused: what this engine does not know it
never half-obeys, since a condition that nobody evaluates would grant too much.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from handfast.core.policy.actions import GRANTS_NOTHING, Action, expand
from handfast.core.policy.conditions import Condition, parse_conditions
from handfast.core.policy.reading import is_text, kind, load, members, quote, shorten, strings
from handfast.core.policy.template import VERSION_WITH_VARIABLES, Template, parse_resource
from handfast.core.policy.variables import Variable
from handfast.errors import PolicySyntaxError

VERSION_WITHOUT_VARIABLES = "2008-10-17"

_DOCUMENT_MEMBERS = ("Version", "Id", "Statement")
_STATEMENT_MEMBERS = ("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")


class Effect(StrEnum):
    """What a matching statement does."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """
    One statement. `index` counts from 0; `actions` is what Action names, or all that NotAction does not name.

    It matches a resource that one of `resources` matches; with `not_resource`,
    one that none of them matches; and only where every condition holds.
    """

    index: int
    sid: str | None
    effect: Effect
    actions: frozenset[Action]
    resources: tuple[Template, ...]
    not_resource: bool = False
    conditions: tuple[Condition, ...] = ()

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables in its resources and conditions, in order."""
        of_resources = [variable for resource in self.resources for variable in resource.variables]
        return (*of_resources, *(variable for condition in self.conditions for variable in condition.variables))


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A policy document that can be obeyed in full."""

    version: str
    statements: tuple[Statement, ...]

    @property
    def names(self) -> frozenset[str]:
        """Every name, without an index, that it asks of a connection: variables and condition keys."""
        return frozenset(
            name
            for statement in self.statements
            for name in (
                *(variable.name for variable in statement.variables),
                *(condition.key.name for condition in statement.conditions),
            )
        )


def parse_document(text: str) -> Document:
    """
    The document in `text`, checked.

    Raises:
        PolicySyntaxError: Not JSON, too large, too deep, a member twice, a
            value that is not legal, or an action, key or operator that does
            not exist. `path` is the JSON path of the place.

    The work is linear in the text, which may hold 404,600 characters, of
    which 2,048 are not white space.
    """
    root = load(text)
    found = members(root, "$", "a JSON object with Version and Statement")
    for name in found:
        if name not in _DOCUMENT_MEMBERS:
            raise PolicySyntaxError(
                f"unknown member {quote(name)}; expected one of {', '.join(_DOCUMENT_MEMBERS)}", f"$.{shorten(name)}"
            )
    version = found.get("Version", VERSION_WITHOUT_VARIABLES)
    if version not in (VERSION_WITH_VARIABLES, VERSION_WITHOUT_VARIABLES):
        raise PolicySyntaxError(f'{quote(version)} is not a version; expected "{VERSION_WITH_VARIABLES}"', "$.Version")
    if "Id" in found and not is_text(found["Id"]):
        raise PolicySyntaxError("expected a string", "$.Id")
    if "Statement" not in found:
        raise PolicySyntaxError("the member Statement is missing", "$")
    statement = found["Statement"]
    if isinstance(statement, list):
        if not statement:
            raise PolicySyntaxError("expected at least one statement", "$.Statement")
        places = [(each, f"$.Statement[{index}]") for index, each in enumerate(statement)]
    else:
        places = [(statement, "$.Statement")]
    with_variables = version == VERSION_WITH_VARIABLES
    return Document(
        version=version,
        statements=tuple(
            _statement(value, index, path, with_variables=with_variables) for index, (value, path) in enumerate(places)
        ),
    )


# --- statements ---------------------------------------------------------------------------------------------------


def _statement(value: Any, index: int, path: str, *, with_variables: bool) -> Statement:
    found = members(value, path, "a statement object")
    for name in found:
        place = f"{path}.{shorten(name)}"
        if name in ("Principal", "NotPrincipal"):
            raise PolicySyntaxError(f"{name} is not part of an IoT policy; attach the policy to its target", place)
        if name not in _STATEMENT_MEMBERS:
            raise PolicySyntaxError(
                f"unknown member {quote(name)}; expected one of {', '.join(_STATEMENT_MEMBERS)}", place
            )
    if "Effect" not in found:
        raise PolicySyntaxError("the member Effect is missing", path)
    action_member = _one_of(found, "Action", path)
    resource_member = _one_of(found, "Resource", path)
    sid = found.get("Sid")
    if "Sid" in found and not is_text(sid):
        raise PolicySyntaxError(f"found {kind(sid)}; expected a string", f"{path}.Sid")
    effect = found["Effect"]
    if effect not in ("Allow", "Deny"):
        raise PolicySyntaxError(f'found {quote(effect)}; expected "Allow" or "Deny"', f"{path}.Effect")
    checked = Effect(effect)
    return Statement(
        index=index,
        sid=sid,
        effect=checked,
        actions=_actions_of(found[action_member], f"{path}.{action_member}", checked, named=action_member == "Action"),
        resources=tuple(
            parse_resource(pattern, place, with_variables=with_variables)
            for pattern, place in strings(found[resource_member], f"{path}.{resource_member}")
        ),
        not_resource=resource_member == "NotResource",
        conditions=parse_conditions(found["Condition"], f"{path}.Condition", with_variables=with_variables)
        if "Condition" in found
        else (),
    )


def _one_of(found: dict[str, Any], name: str, path: str) -> str:
    """Which of `name` and Not`name` the statement has."""
    given = [each for each in (name, f"Not{name}") if each in found]
    if not given:
        raise PolicySyntaxError(f"the member {name} is missing", path)
    if len(given) > 1:
        raise PolicySyntaxError(f"{name} and Not{name} stand together; expected one of them", f"{path}.Not{name}")
    return given[0]


def _actions_of(value: Any, path: str, effect: Effect, *, named: bool) -> frozenset[Action]:
    actions: set[Action] = set()
    for pattern, place in strings(value, path):
        # What NotAction leaves out of an Allow is denied, so a name that nothing checks misleads there as in a Deny.
        actions |= _actions(pattern, place, effect if named else Effect.DENY)
    return frozenset(actions) if named else frozenset(Action) - actions


def _actions(pattern: str, path: str, effect: Effect) -> frozenset[Action]:
    actions = expand(pattern)
    if actions:
        return actions
    if pattern.lower() in GRANTS_NOTHING:
        if effect is Effect.ALLOW:
            return actions
        raise PolicySyntaxError(
            f"{quote(pattern)} is checked by nothing, so this Deny would protect nothing; expected iot:RetainPublish",
            path,
        )
    raise PolicySyntaxError(
        f"{quote(pattern)} names no action; expected one such as iot:Connect, iot:Publish, iot:Subscribe, "
        "iot:Receive, iot:RetainPublish, or a pattern such as iot:*",
        path,
    )
