"""
Conditions: `{operator: {key: value or values}}`, all of which must hold for a statement to match.

They depend on the connection alone, never on the resource, so a connection's
policies are asked once, when they are compiled. Semantics are IAM's; where
IAM leaves a case open the answer is the one that grants less:

* An operator without a set qualifier on a key of several values asks all of
  them in an Allow, any of them in a Deny.
* A negated operator whose value holds a variable without a value makes an
  Allow not match; in a Deny that value excludes nothing.
* A value of the connection that is no number, date, address or ARN where one
  is compared satisfies nothing in an Allow, and every negated operator in a Deny.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, TypeAlias

from handfast.core.policy.match import Glob, Token
from handfast.core.policy.reading import Number, check_unicode, kind, members, quote, shorten
from handfast.core.policy.template import Template, TemplatePart, parse_template
from handfast.core.policy.variables import Key, Values, Variable, parse_key
from handfast.errors import PolicySyntaxError

MAX_NUMBER_CHARACTERS = 64
_ARN_PARTS = 6

Match: TypeAlias = Callable[[str], bool | None]
"""Whether a value of the connection matches an operand; None: it cannot be compared at all."""


class Quantifier(StrEnum):
    """How an operator asks the values of a key that has several."""

    ALL = "ForAllValues"
    ANY = "ForAnyValue"


@dataclass(frozen=True, slots=True)
class Operand:
    """One value of a condition. `fixed` is ready unless `template` has variables to put in."""

    template: Template
    fixed: Match | None


Make: TypeAlias = Callable[[tuple[Token, ...]], Match]


@dataclass(frozen=True, slots=True)
class _Operator:
    """`make` turns an operand's tokens into a match and raises ValueError, saying what was expected."""

    make: Make
    negated: bool = False
    variables: bool = False
    wildcards: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One operator on one key. `operands` are alternatives."""

    operator: str  # as written, with qualifier and IfExists
    key: Key
    negated: bool
    quantifier: Quantifier | None
    if_exists: bool
    operands: tuple[Operand, ...]
    make: Make | None  # None: the operator is Null

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables in its values, in order."""
        return tuple(variable for operand in self.operands for variable in operand.template.variables)

    def holds(self, values: Values, *, denying: bool) -> bool:
        """Whether the condition is met on a connection with these values; `denying`: for a Deny statement."""
        actual = self.key.values(values)
        if self.make is None:
            return any((operand.template.text == "true") is not bool(actual) for operand in self.operands)
        if not actual:
            if self.quantifier is Quantifier.ALL or self.if_exists:
                return True
            return self.negated and self.quantifier is None and self._resolvable(values, denying)
        found = [self._match(operand, values, denying) for operand in self.operands]
        matches = [match for match in found if match is not None]
        if self.negated and not denying and len(matches) < len(found):
            return False
        one = _judge(matches, negated=self.negated, denying=denying)
        # Without a qualifier the careful reading: all values in an Allow, any in a Deny.
        every = not denying if self.quantifier is None else self.quantifier is Quantifier.ALL
        return all(map(one, actual)) if every else any(map(one, actual))

    def missing(self, values: Values, *, denying: bool) -> tuple[str, ...]:
        """The names of its key and variables that have no value on such a connection."""
        found = [str(self.key)] if self.make is not None and not self.key.values(values) else []
        for operand in self.operands:
            if operand.template.tokens(values, denying=denying) is None:
                found.extend(operand.template.missing(values, denying=denying))
        return tuple(found)

    def _resolvable(self, values: Values, denying: bool) -> bool:
        return denying or all(self._match(operand, values, denying) is not None for operand in self.operands)

    def _match(self, operand: Operand, values: Values, denying: bool) -> Match | None:
        if operand.fixed is not None:
            return operand.fixed
        tokens = operand.template.tokens(values, denying=denying)
        if tokens is None or self.make is None:
            return None
        try:
            return self.make(tuple(tokens))
        except ValueError:
            return None


def _judge(matches: list[Match], *, negated: bool, denying: bool) -> Callable[[str], bool]:
    def one(value: str) -> bool:
        answers = [match(value) for match in matches]
        if None in answers:
            return negated and denying
        return (True in answers) is not negated

    return one


def parse_conditions(value: Any, path: str, *, with_variables: bool) -> tuple[Condition, ...]:
    """
    The conditions of a statement; empty for `{}`.

    Raises:
        PolicySyntaxError: An unknown operator or key, or a value that the operator cannot compare.
    """
    found: list[Condition] = []
    for name, block in members(value, path, "an object of condition operators").items():
        place = f"{path}.{shorten(name)}"
        keys = members(block, place, "an object of condition keys")
        if not keys:
            raise PolicySyntaxError("the object is empty; expected at least one condition key", place)
        for key, operands in keys.items():
            found.append(_condition(name, key, operands, place, with_variables))
    return tuple(found)


def _condition(name: str, key: str, value: Any, path: str, with_variables: bool) -> Condition:
    prefix, colon, base = name.rpartition(":")
    quantifier = None
    if colon:
        if prefix not in (Quantifier.ALL, Quantifier.ANY):
            raise PolicySyntaxError(
                f"unknown set operator {quote(prefix)}; expected ForAllValues or ForAnyValue before the colon", path
            )
        quantifier = Quantifier(prefix)
    place = f"{path}.{shorten(key)}"
    if base == "Null":
        if quantifier is not None:
            raise PolicySyntaxError("Null takes no set operator; expected plain Null", path)
        return _null(name, parse_key(key, place), value, place)
    if_exists = base.endswith(_IF_EXISTS)
    operator = _OPERATORS.get(base.removesuffix(_IF_EXISTS))
    if operator is None:
        raise _unknown_operator(base, path)
    return Condition(
        operator=name,
        key=parse_key(key, place),
        negated=operator.negated,
        quantifier=quantifier,
        if_exists=if_exists,
        operands=tuple(
            _operand(operator, base, text, where, with_variables)
            for text, where in _texts(value, place, may_be_empty=quantifier is not None)
        ),
        make=operator.make,
    )


def _null(name: str, key: Key, value: Any, path: str) -> Condition:
    operands = []
    for text, place in _texts(value, path, may_be_empty=False):
        if text not in ("true", "false"):
            raise PolicySyntaxError(f'found {quote(text)}; expected "true" (no value) or "false" (has one)', place)
        operands.append(Operand(Template(text, (text,)), None))
    return Condition(
        operator=name,
        key=key,
        negated=False,
        quantifier=None,
        if_exists=False,
        operands=tuple(operands),
        make=None,
    )


def _texts(value: Any, path: str, *, may_be_empty: bool) -> list[tuple[str, str]]:
    """The values with their paths; JSON booleans and numbers are taken as they were written."""
    listed = value if isinstance(value, list) else [value]
    if not listed and not may_be_empty:
        raise PolicySyntaxError("the list is empty; expected at least one value", path)
    found = []
    for index, each in enumerate(listed):
        place = f"{path}[{index}]" if isinstance(value, list) else path
        if isinstance(each, bool):
            text = "true" if each else "false"
        elif isinstance(each, Number):
            text = str.__str__(each)
        elif isinstance(each, str):
            text = each
            check_unicode(text, place)
        else:
            raise PolicySyntaxError(f"found {kind(each)}; expected a string, a number, true or false", place)
        found.append((text, place))
    return found


def _operand(operator: _Operator, name: str, text: str, path: str, with_variables: bool) -> Operand:
    if not operator.variables:
        if "${" in text:
            raise PolicySyntaxError(f"{name} takes no policy variables; String and Arn operators do", path)
        template = Template(text, (text,))
    else:
        template = parse_template(text, path, with_variables=with_variables, wildcards=operator.wildcards)
    if template.variables:
        return Operand(template, None)
    tokens = tuple(part for part in template.parts if not isinstance(part, Variable))
    try:
        return Operand(template, operator.make(tokens))
    except ValueError as error:
        raise PolicySyntaxError(f"found {quote(text)}; expected {error}", path) from None


def _unknown_operator(name: str, path: str) -> PolicySyntaxError:
    for known in (*_OPERATORS, "Null", *(f"{each}{_IF_EXISTS}" for each in _OPERATORS)):
        if known.lower() == name.lower():
            return PolicySyntaxError(f"{quote(name)} is not a condition operator; did you mean {known}?", path)
    return PolicySyntaxError(
        f"unknown condition operator {quote(name)}; expected one of {', '.join(_OPERATORS)} (each may end in "
        f"{_IF_EXISTS}), or Null",
        path,
    )


# --- matches ------------------------------------------------------------------------------------------------------


def _text(tokens: tuple[TemplatePart, ...]) -> str:
    return "".join(token for token in tokens if isinstance(token, str))


def _equals(tokens: tuple[Token, ...]) -> Match:
    return _text(tokens).__eq__


def _equals_ignoring_case(tokens: tuple[Token, ...]) -> Match:
    wanted = _text(tokens).casefold()
    return lambda value: value.casefold() == wanted


def _like(tokens: tuple[Token, ...]) -> Match:
    return Glob(tokens).matches


def _arn(tokens: tuple[Token, ...]) -> Match:
    """The six parts of an ARN, each matched by itself: a wildcard in one never reaches into another (IAM)."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if not isinstance(token, str) or len(parts) == _ARN_PARTS:
            parts[-1].append(token)
            continue
        first, *rest = token.split(":", _ARN_PARTS - len(parts))
        parts[-1].append(first)
        parts.extend([piece] for piece in rest)
    if len(parts) < _ARN_PARTS:
        raise ValueError("an ARN of six parts, arn:aws:iot:REGION:ACCOUNT:TYPE/NAME, each of which may hold * and ?")
    globs = [Glob(part) for part in parts]

    def match(value: str) -> bool | None:
        pieces = value.split(":", _ARN_PARTS - 1)
        if len(pieces) < _ARN_PARTS:
            return None
        return all(glob.matches(piece) for glob, piece in zip(globs, pieces, strict=True))

    return match


def _boolean(tokens: tuple[Token, ...]) -> Match:
    wanted = _text(tokens).lower()
    if wanted not in ("true", "false"):
        raise ValueError('"true" or "false"')
    return lambda value: value.lower() == wanted


def _binary(tokens: tuple[Token, ...]) -> Match:
    try:
        wanted = base64.b64decode(_text(tokens), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("base64") from None

    def match(value: str) -> bool | None:
        try:
            return base64.b64decode(value, validate=True) == wanted
        except (binascii.Error, ValueError):
            return None

    return match


def _address(tokens: tuple[Token, ...]) -> Match:
    try:
        network = ipaddress.ip_network(_text(tokens), strict=False)
    except ValueError:
        raise ValueError("an IP address or a range such as 10.0.0.0/8 or 2001:db8::/32") from None

    def match(value: str) -> bool | None:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return None
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None and network.version == 4:
            address = address.ipv4_mapped
        return address in network

    return match


def _number(text: str) -> Decimal:
    if len(text) <= MAX_NUMBER_CHARACTERS:
        try:
            number = Decimal(text)
        except InvalidOperation:
            pass
        else:
            if number.is_finite():
                return number
    raise ValueError("a number")


def _instant(text: str) -> dt.datetime:
    try:
        if text.isascii() and text.isdigit() and len(text) <= 12:
            return dt.datetime.fromtimestamp(int(text), dt.UTC)
        instant = dt.datetime.fromisoformat(text)
        return instant if instant.tzinfo is not None else instant.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError("a date such as 2030-01-31T12:00:00Z, or epoch seconds") from None


def _comparing(read: Callable[[str], Any], compare: Callable[[Any, Any], bool]) -> Make:
    def make(tokens: tuple[Token, ...]) -> Match:
        wanted = read(_text(tokens))

        def match(value: str) -> bool | None:
            try:
                return compare(read(value), wanted)
            except ValueError:
                return None

        return match

    return make


_COMPARISONS: Mapping[str, tuple[Callable[[Any, Any], bool], bool]] = {
    "Equals": (lambda a, b: bool(a == b), False),
    "NotEquals": (lambda a, b: bool(a == b), True),
    "LessThan": (lambda a, b: bool(a < b), False),
    "LessThanEquals": (lambda a, b: bool(a <= b), False),
    "GreaterThan": (lambda a, b: bool(a > b), False),
    "GreaterThanEquals": (lambda a, b: bool(a >= b), False),
}
_IF_EXISTS = "IfExists"
_OPERATORS: Mapping[str, _Operator] = {
    "StringEquals": _Operator(_equals, variables=True),
    "StringNotEquals": _Operator(_equals, negated=True, variables=True),
    "StringEqualsIgnoreCase": _Operator(_equals_ignoring_case, variables=True),
    "StringNotEqualsIgnoreCase": _Operator(_equals_ignoring_case, negated=True, variables=True),
    "StringLike": _Operator(_like, variables=True, wildcards=True),
    "StringNotLike": _Operator(_like, negated=True, variables=True, wildcards=True),
    # In IAM, ArnEquals and ArnLike are the same.
    "ArnEquals": _Operator(_arn, variables=True, wildcards=True),
    "ArnLike": _Operator(_arn, variables=True, wildcards=True),
    "ArnNotEquals": _Operator(_arn, negated=True, variables=True, wildcards=True),
    "ArnNotLike": _Operator(_arn, negated=True, variables=True, wildcards=True),
    "Bool": _Operator(_boolean),
    "BinaryEquals": _Operator(_binary),
    "IpAddress": _Operator(_address),
    "NotIpAddress": _Operator(_address, negated=True),
    **{
        f"{family}{name}": _Operator(_comparing(read, compare), negated=negated)
        for family, read in (("Numeric", _number), ("Date", _instant))
        for name, (compare, negated) in _COMPARISONS.items()
    },
}
