"""Values that a service model allows, made from its shapes with a seeded generator."""

from __future__ import annotations

import datetime as dt
import functools
import random
import re._constants as sre  # the parsed form of a pattern; there is no public one
import re._parser as sre_parser
from typing import Any

from handfast.wire.patterns import translate
from handfast.wire.spec import Location, Member, Shape

PLAIN = "abcXYZ019-_.~ /:+%&=?#;,@éª中'\"\\{}"
HEADER = "abcXYZ019-_.:/+=,@"
MAX_ITEMS = 3
TRIES = 500


@functools.cache
def _parsed(pattern: str) -> Any:
    """The pattern as nested lists, each character set replaced by the characters to choose from."""
    return _simplify(sre_parser.parse(translate(pattern)))


def _simplify(parsed: Any) -> list[Any]:
    out: list[Any] = []
    for op, argument in parsed:
        if op is sre.IN:
            out.append((op, _choices(argument)))
        elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            out.append((sre.MAX_REPEAT, (argument[0], int(argument[1]), _simplify(argument[2]))))
        elif op is sre.SUBPATTERN:
            out.append((op, _simplify(argument[-1])))
        elif op is sre.BRANCH:
            out.append((op, [_simplify(branch) for branch in argument[1]]))
        else:
            out.append((op, argument))
    return out


def sample(pattern: str, rng: random.Random, low: int, reach: int) -> str:
    """A string that a pattern matches as a whole; the last open repeat aims at `low`, none goes far beyond `reach`."""
    parsed = [item for item in _parsed(pattern) if item[0] is not sre.AT]
    if parsed and parsed[-1][0] is sre.MAX_REPEAT:
        start = _emit(parsed[:-1], rng, 3)
        least, most, inner = parsed[-1][1]
        size = sum(map(len, start))
        wanted = rng.randint(max(low - size, least), max(least, low - size, min(most, reach - size)))
        return "".join(start + [part for _ in range(wanted) for part in _emit(inner, rng, reach)])
    return "".join(_emit(parsed, rng, reach))


def _emit(parsed: Any, rng: random.Random, reach: int) -> list[str]:
    out: list[str] = []
    for op, argument in parsed:
        if op is sre.LITERAL:
            out.append(chr(argument))
        elif op is sre.ANY:
            out.append(rng.choice("abc019-"))
        elif op is sre.NOT_LITERAL:
            out.append(rng.choice([c for c in "abc019" if ord(c) != argument]))
        elif op is sre.IN:
            out.append(rng.choice(argument))
        elif op is sre.MAX_REPEAT:
            low, high, inner = argument
            for _ in range(rng.randint(low, max(low, min(high, reach)))):
                out += _emit(inner, rng, reach)
        elif op is sre.SUBPATTERN:
            out += _emit(argument, rng, reach)
        elif op is sre.BRANCH:
            out += _emit(rng.choice(argument), rng, reach)
        elif op is not sre.AT:
            raise NotImplementedError(op)
    return out


def _choices(charset: Any) -> list[str]:
    if charset[0][0] is sre.NEGATE:
        return [c for c in PLAIN + "klm456" if not _inside(charset[1:], c)]
    choices: list[str] = []
    for op, argument in charset:
        if op is sre.LITERAL:
            choices.append(chr(argument))
        elif op is sre.RANGE:
            low, high = argument
            choices += [chr(low), chr((low + high) // 2), chr(high)]
        else:
            choices += [c for c in PLAIN if _category(argument, c)]
    return choices


def _inside(charset: Any, character: str) -> bool:
    for op, argument in charset:
        if op is sre.LITERAL and chr(argument) == character:
            return True
        if op is sre.RANGE and argument[0] <= ord(character) <= argument[1]:
            return True
        if op is sre.CATEGORY and _category(argument, character):
            return True
    return False


def _category(category: Any, character: str) -> bool:
    word = character.isascii() and (character.isalnum() or character == "_")
    digit = character.isascii() and character.isdigit()
    space = character in " \t\n\r\f\v"
    positive = {sre.CATEGORY_WORD: word, sre.CATEGORY_DIGIT: digit, sre.CATEGORY_SPACE: space}
    negative = {sre.CATEGORY_NOT_WORD: word, sre.CATEGORY_NOT_DIGIT: digit, sre.CATEGORY_NOT_SPACE: space}
    return positive[category] if category in positive else not negative[category]


def text(shape: Shape, rng: random.Random, location: Location) -> str:
    """A string of the shape that its place in the message can carry unchanged."""
    if shape.enum:
        return rng.choice(shape.enum)
    low = int(shape.minimum or 0)
    high = int(shape.maximum) if shape.maximum is not None else low + 40
    if location is not Location.BODY:
        low = max(low, 1)
    reach = min(high, max(low, 40))
    for attempt in range(TRIES):
        if shape.pattern is None:
            alphabet = HEADER if location is Location.HEADER else PLAIN
            value = "".join(rng.choice(alphabet) for _ in range(rng.randint(low, reach)))
        else:
            value = sample(shape.pattern, rng, low, reach if attempt % 2 else max(low, min(reach, 6)))
        if low <= len(value) <= high and _travels(value, location):
            return value
    raise AssertionError(f"no value of {shape} found")


def _travels(value: str, location: Location) -> bool:
    if location is Location.URI:
        # Dot segments and empty ones are what SigV4 does not pin down; nothing may be called so.
        return not ({"", ".", ".."} & set(value.split("/")))
    if location is Location.HEADER:
        return value.isascii() and value.isprintable() and value == " ".join(value.split())
    return "\0" not in value


def value_of(shape: Shape, rng: random.Random, *, full: bool, location: Location = Location.BODY) -> Any:
    """A value under the model's names, as botocore takes it; `full` gives every member, else the required ones."""
    kind = shape.type
    if kind == "structure":
        return structure(shape, rng, full=full)
    if kind in ("list", "map"):
        low = int(shape.minimum or 0)
        high = int(shape.maximum) if shape.maximum is not None else low + MAX_ITEMS
        size = rng.randint(max(low, 1 if full else 0), min(high, low + MAX_ITEMS))
        if kind == "list":
            assert shape.element is not None
            return [value_of(shape.element, rng, full=full) for _ in range(size)]
        assert shape.key is not None
        assert shape.value is not None
        size = min(size, len(shape.key.enum) or size)
        entries: dict[str, Any] = {}
        while len(entries) < size:
            entries[text(shape.key, rng, Location.BODY)] = value_of(shape.value, rng, full=full)
        return entries
    if kind == "string":
        return text(shape, rng, location)
    if kind == "boolean":
        return rng.random() < 0.5
    if kind in ("integer", "long", "float", "double"):
        low_n = shape.minimum if shape.minimum is not None else -5
        high_n = shape.maximum if shape.maximum is not None else low_n + 2_000_000_000
        number = rng.choice([low_n, high_n, rng.uniform(low_n, high_n)])
        return int(number) if kind in ("integer", "long") else round(float(number), 3)
    if kind == "timestamp":
        return dt.datetime(2001, 2, 3, tzinfo=dt.UTC) + dt.timedelta(seconds=rng.randrange(2**30))
    if kind == "blob":
        low = int(shape.minimum or 0)
        return rng.randbytes(rng.randint(low, min(int(shape.maximum or low + 40), low + 40)))
    raise AssertionError(kind)


def structure(shape: Shape, rng: random.Random, *, full: bool) -> dict[str, Any]:
    """The members of a structure."""
    return {
        name: member_value(member, rng, full=full)
        for name, member in shape.members.items()
        if full or name in shape.required
    }


def member_value(member: Member, rng: random.Random, *, full: bool) -> Any:
    if member.location is Location.STATUS:
        return rng.choice([202, 204, 200])
    if member.json_value:
        return [{"name": "välue"}, {"b": "2"}]
    return value_of(member.shape, rng, full=full, location=member.location)
