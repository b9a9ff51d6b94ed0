"""Patterns with variables in them: resources, and the values of conditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from handfast.core.policy.match import ANY_ONE, ANY_RUN, Token
from handfast.core.policy.reading import quote
from handfast.core.policy.variables import Values, Variable, parse_variable, substitute
from handfast.errors import PolicySyntaxError

MAX_RESOURCE_CHARACTERS = 2048
VERSION_WITH_VARIABLES = "2012-10-17"

TemplatePart: TypeAlias = Token | Variable


@dataclass(frozen=True, slots=True)
class Template:
    """A text with variables. `parts` is `text` taken apart: literals, wildcards (where they are meant), variables."""

    text: str
    parts: tuple[TemplatePart, ...]

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables in it, in order."""
        return tuple(part for part in self.parts if isinstance(part, Variable))

    def missing(self, values: Values, *, denying: bool) -> list[str]:
        """The names of its variables that nothing can be put in place of."""
        return [each.written for each in self.variables if each.resolve(values, denying=denying) is None]

    def tokens(self, values: Values, *, denying: bool) -> list[Token] | None:
        """With its variables put in as literal text; None when one has no value (`variables.substitute`)."""
        tokens: list[Token] = []
        for part in self.parts:
            if isinstance(part, Variable):
                value = substitute(part, values, denying=denying)
                if value is None:
                    return None
                tokens.append(value)
            else:
                tokens.append(part)
        return tokens


def parse_resource(text: str, path: str, *, with_variables: bool) -> Template:
    """
    A Resource or NotResource pattern.

    Raises:
        PolicySyntaxError: Not an ARN and not `*`, too long, or a variable that cannot stand there.
    """
    if len(text) > MAX_RESOURCE_CHARACTERS:
        raise PolicySyntaxError(f"{len(text)} characters; expected at most {MAX_RESOURCE_CHARACTERS}", path)
    if not text.startswith(("*", "arn:")) or (text.count(":") < 5 and "*" not in text):
        raise PolicySyntaxError(
            f'{quote(text)} is not a resource; expected "*" or arn:aws:iot:REGION:ACCOUNT:TYPE/NAME', path
        )
    return parse_template(text, path, with_variables=with_variables)


def parse_template(text: str, path: str, *, with_variables: bool, wildcards: bool = True) -> Template:
    """Any text with variables. Without `wildcards`, `*` and `?` are plain characters."""
    if not with_variables and "${" in text:
        raise PolicySyntaxError(
            f'policy variables need "Version": "{VERSION_WITH_VARIABLES}"; without it they would be plain text', path
        )
    return Template(text, tuple(_parts(text, path, wildcards)))


def _parts(text: str, path: str, wildcards: bool) -> Iterator[TemplatePart]:
    plain, *rest = text.split("${")
    yield from _plain(plain, wildcards)
    for piece in rest:
        name, brace, plain = piece.partition("}")
        if not brace:
            raise PolicySyntaxError("${ has no closing brace; a literal $ is written ${$}", path)
        # ${*}, ${?} and ${$} are those characters themselves.
        yield name if name in ("*", "?", "$") else parse_variable(name, path)
        yield from _plain(plain, wildcards)


def _plain(text: str, wildcards: bool) -> Iterator[TemplatePart]:
    """`text`, which has no variables, as literals and wildcards."""
    if not wildcards:
        if text:
            yield text
        return
    for run, between_runs in enumerate(text.split("*")):
        if run:
            yield ANY_RUN
        for one, literal in enumerate(between_runs.split("?")):
            if one:
                yield ANY_ONE
            if literal:
                yield literal
