"""
Policy documents: text in, a checked `Document` out, or an error that names the place.

A document that uses a part of the language which is not built yet is refused,
never half-obeyed: a Condition that nobody evaluates would grant too much.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from handfast.core.policy.actions import GRANTS_NOTHING, Action, expand
from handfast.core.policy.match import ANY_ONE, ANY_RUN, Token
from handfast.core.policy.variables import Variable, parse_variable
from handfast.errors import PolicySyntaxError

MAX_CHARACTERS = 2048
"""White space between the strings excluded, as AWS counts; inside a string it means something."""
MAX_TEXT_CHARACTERS = 404_600
"""White space included: the bound of the model's PolicyDocument shape."""
MAX_RESOURCE_CHARACTERS = 2048
MAX_DEPTH = 16

VERSION_WITH_VARIABLES = "2012-10-17"
VERSION_WITHOUT_VARIABLES = "2008-10-17"

_DOCUMENT_MEMBERS = ("Version", "Id", "Statement")
_STATEMENT_MEMBERS = ("Sid", "Effect", "Action", "Resource")
_STATEMENT_LATER = ("NotAction", "NotResource", "Condition")


class Effect(StrEnum):
    """What a matching statement does."""

    ALLOW = "Allow"
    DENY = "Deny"


TemplatePart: TypeAlias = Token | Variable


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource pattern. `parts` is `text` taken apart: literals, wildcards, variables."""

    text: str
    parts: tuple[TemplatePart, ...]

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables in it, in order."""
        return tuple(part for part in self.parts if isinstance(part, Variable))


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement. `index` counts from 0; `actions` is what its Action patterns name."""

    index: int
    sid: str | None
    effect: Effect
    actions: frozenset[Action]
    resources: tuple[Resource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A policy document that can be obeyed in full."""

    version: str
    statements: tuple[Statement, ...]

    @property
    def variables(self) -> frozenset[Variable]:
        """Every variable that the document uses."""
        return frozenset(
            variable
            for statement in self.statements
            for resource in statement.resources
            for variable in resource.variables
        )


def parse_document(text: str) -> Document:
    """
    The document in `text`, checked.

    Raises:
        PolicySyntaxError: Not JSON, too large, too deep, a member twice, a
            value that is not legal, or a part of the language that is not
            supported. `path` is the JSON path of the place.

    The work is linear in the text, which may hold 404,600 characters, of
    which 2,048 are not white space.
    """
    root = _load(text)
    members = _members(root, "$", "a JSON object with Version and Statement")
    for name in members:
        if name not in _DOCUMENT_MEMBERS:
            raise PolicySyntaxError(
                f"unknown member {_quote(name)}; expected one of {', '.join(_DOCUMENT_MEMBERS)}", f"$.{_shorten(name)}"
            )
    version = members.get("Version", VERSION_WITHOUT_VARIABLES)
    if version not in (VERSION_WITH_VARIABLES, VERSION_WITHOUT_VARIABLES):
        raise PolicySyntaxError(f'{_quote(version)} is not a version; expected "{VERSION_WITH_VARIABLES}"', "$.Version")
    if "Id" in members and not isinstance(members["Id"], str):
        raise PolicySyntaxError("expected a string", "$.Id")
    if "Statement" not in members:
        raise PolicySyntaxError("the member Statement is missing", "$")
    statement = members["Statement"]
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


# --- JSON ---------------------------------------------------------------------------------------------------------


class _Pairs:
    """An object as it was written, so that a member that stands twice can be refused with its path."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _load(text: str) -> Any:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise PolicySyntaxError(
            f"the document has {len(text)} characters; expected at most {MAX_TEXT_CHARACTERS}, white space included",
            "$",
        )
    # Without escapes, every second piece between quotation marks is a string.
    structure = "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])
    solid = len(text) - sum(map(structure.count, " \t\n\r"))
    if solid > MAX_CHARACTERS:
        raise PolicySyntaxError(
            f"the document has {solid} characters besides white space; expected at most {MAX_CHARACTERS}", "$"
        )
    if solid == 0:
        raise PolicySyntaxError("the document is empty; expected a JSON object", "$")
    _check_depth(structure)
    try:
        return json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise PolicySyntaxError(
            f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}; expected one JSON object", "$"
        ) from None
    except (ValueError, RecursionError):
        raise PolicySyntaxError("not JSON that can be read; expected one JSON object", "$") from None


def _refuse_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is no JSON value", "", 0)


def _check_depth(structure: str) -> None:
    """Bounds nesting before a recursive parser sees the text."""
    depth = 0
    for character in structure:
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise PolicySyntaxError(f"nested deeper than {MAX_DEPTH} levels", "$")
        elif character in "]}":
            depth -= 1


def _members(value: Any, path: str, expected: str) -> dict[str, Any]:
    if not isinstance(value, _Pairs):
        raise PolicySyntaxError(f"found {_kind(value)}; expected {expected}", path)
    members: dict[str, Any] = {}
    for name, member in value.pairs:
        if name in members:
            raise PolicySyntaxError(f"the member {_quote(name)} stands twice", f"{path}.{_shorten(name)}")
        members[name] = member
    return members


def _kind(value: Any) -> str:
    if isinstance(value, _Pairs):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return "a string" if isinstance(value, str) else "a number"


def _shorten(text: str) -> str:
    return text if len(text) <= 64 else text[:64] + "…"


def _quote(value: Any) -> str:
    return json.dumps(_shorten(value)) if isinstance(value, str) else _kind(value)


# --- statements ---------------------------------------------------------------------------------------------------


def _statement(value: Any, index: int, path: str, *, with_variables: bool) -> Statement:
    members = _members(value, path, "a statement object")
    for name in members:
        place = f"{path}.{_shorten(name)}"
        if name in _STATEMENT_LATER:
            raise PolicySyntaxError(
                f"{name} is not supported yet; expected a statement of {', '.join(_STATEMENT_MEMBERS)}", place
            )
        if name in ("Principal", "NotPrincipal"):
            raise PolicySyntaxError(f"{name} is not part of an IoT policy; attach the policy to its target", place)
        if name not in _STATEMENT_MEMBERS:
            raise PolicySyntaxError(
                f"unknown member {_quote(name)}; expected one of {', '.join(_STATEMENT_MEMBERS)}", place
            )
    for name in ("Effect", "Action", "Resource"):
        if name not in members:
            raise PolicySyntaxError(f"the member {name} is missing", path)
    sid = members.get("Sid")
    if "Sid" in members and not isinstance(sid, str):
        raise PolicySyntaxError(f"found {_kind(sid)}; expected a string", f"{path}.Sid")
    effect = members["Effect"]
    if effect not in ("Allow", "Deny"):
        raise PolicySyntaxError(f'found {_quote(effect)}; expected "Allow" or "Deny"', f"{path}.Effect")
    checked = Effect(effect)
    actions: set[Action] = set()
    for pattern, place in _strings(members["Action"], f"{path}.Action"):
        actions |= _actions(pattern, place, checked)
    return Statement(
        index=index,
        sid=sid,
        effect=checked,
        actions=frozenset(actions),
        resources=tuple(
            _resource(pattern, place, with_variables=with_variables)
            for pattern, place in _strings(members["Resource"], f"{path}.Resource")
        ),
    )


def _strings(value: Any, path: str) -> list[tuple[str, str]]:
    if isinstance(value, str):
        found = [(value, path)]
    elif isinstance(value, list):
        if not value:
            raise PolicySyntaxError("the list is empty; expected at least one string", path)
        found = [(each, f"{path}[{index}]") for index, each in enumerate(value)]
    else:
        raise PolicySyntaxError(f"found {_kind(value)}; expected a string or a list of strings", path)
    for each, place in found:
        if not isinstance(each, str):
            raise PolicySyntaxError(f"found {_kind(each)}; expected a string", place)
        try:
            each.encode()
        except UnicodeEncodeError:
            raise PolicySyntaxError("the string holds half of a surrogate pair; expected Unicode text", place) from None
    return found


def _actions(pattern: str, path: str, effect: Effect) -> frozenset[Action]:
    actions = expand(pattern)
    if actions:
        return actions
    if pattern.lower() in GRANTS_NOTHING:
        if effect is Effect.ALLOW:
            return actions
        raise PolicySyntaxError(
            f"{_quote(pattern)} is checked by nothing, so this Deny would protect nothing; expected iot:RetainPublish",
            path,
        )
    raise PolicySyntaxError(
        f"{_quote(pattern)} names no action; expected one such as iot:Connect, iot:Publish, iot:Subscribe, "
        "iot:Receive, iot:RetainPublish, or a pattern such as iot:*",
        path,
    )


def _resource(text: str, path: str, *, with_variables: bool) -> Resource:
    if len(text) > MAX_RESOURCE_CHARACTERS:
        raise PolicySyntaxError(f"{len(text)} characters; expected at most {MAX_RESOURCE_CHARACTERS}", path)
    if not text.startswith(("*", "arn:")) or (text.count(":") < 5 and "*" not in text):
        raise PolicySyntaxError(
            f'{_quote(text)} is not a resource; expected "*" or arn:aws:iot:REGION:ACCOUNT:TYPE/NAME', path
        )
    if not with_variables and "${" in text:
        raise PolicySyntaxError(
            f'policy variables need "Version": "{VERSION_WITH_VARIABLES}"; without it they would be plain text', path
        )
    return Resource(text, tuple(_parts(text, path)))


def _parts(text: str, path: str) -> Iterator[TemplatePart]:
    plain, *rest = text.split("${")
    yield from _plain(plain)
    for piece in rest:
        name, brace, plain = piece.partition("}")
        if not brace:
            raise PolicySyntaxError("${ has no closing brace; a literal $ is written ${$}", path)
        # ${*}, ${?} and ${$} are those characters themselves.
        yield name if name in ("*", "?", "$") else parse_variable(name, path)
        yield from _plain(plain)


def _plain(text: str) -> Iterator[TemplatePart]:
    """`text`, which has no variables, as literals and wildcards."""
    for run, between_runs in enumerate(text.split("*")):
        if run:
            yield ANY_RUN
        for one, literal in enumerate(between_runs.split("?")):
            if one:
                yield ANY_ONE
            if literal:
                yield literal
