"""
The functions of the template language: what they are once read, and what they are worth for one device.

An expression is worth a text, or a list of texts. Work and output are bounded by
a `Budget`, whatever a template makes of its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from handfast.core.policy.reading import shorten
from handfast.core.provisioning.values import shown

MAX_VALUE_CHARACTERS: Final = 65_536
"""Of one value: the longest that the registry takes is a certificate's PEM."""
MAX_OUTPUT_CHARACTERS: Final = 262_144
"""Of everything that one plan computes, in between and in the end."""
MAX_ITEMS: Final = 1000
"""Of one list."""

Maps: TypeAlias = Mapping[str, Mapping[str, Mapping[str, str]]]


class Unresolvable(Exception):
    """The expression is worth nothing for these parameters; the text says why and what to do."""


@dataclass(slots=True)
class Evaluation:
    """What expressions are computed with. `reference` gives a name's value or raises Unresolvable."""

    reference: Callable[[str], str]
    maps: Maps
    left: int = MAX_OUTPUT_CHARACTERS

    def spend(self, characters: int) -> None:
        """Unresolvable when a value, or all of them together, would become too long."""
        if characters > MAX_VALUE_CHARACTERS:
            raise Unresolvable(f"a value has more than {MAX_VALUE_CHARACTERS} characters; shorten the parameters")
        self.left -= characters + 1
        if self.left < 0:
            raise Unresolvable(
                f"the template makes more than {MAX_OUTPUT_CHARACTERS} characters; shorten the parameters"
            )


@dataclass(frozen=True, slots=True)
class Text:
    """A string as it was written."""

    text: str


@dataclass(frozen=True, slots=True)
class Reference:
    """`{"Ref": name}`: a parameter, or a resource."""

    name: str


@dataclass(frozen=True, slots=True)
class Join:
    """`Fn::Join`."""

    delimiter: str
    items: ListExpression


@dataclass(frozen=True, slots=True)
class Select:
    """`Fn::Select`."""

    index: TextExpression
    items: ListExpression


@dataclass(frozen=True, slots=True)
class FindInMap:
    """`Fn::FindInMap`."""

    map_name: TextExpression
    first: TextExpression
    second: TextExpression


@dataclass(frozen=True, slots=True)
class Substitution:
    """`Fn::Sub`. What is put in is never looked at again, so that no value can name another."""

    parts: tuple[Text | Reference, ...]
    variables: Mapping[str, TextExpression]


@dataclass(frozen=True, slots=True)
class Items:
    """A list as it was written."""

    items: tuple[TextExpression, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """`Fn::Split`; the delimiter is not empty."""

    delimiter: str
    source: TextExpression


TextExpression: TypeAlias = Text | Reference | Join | Select | FindInMap | Substitution
ListExpression: TypeAlias = Items | Split
Expression: TypeAlias = TextExpression | ListExpression


def references(expression: Expression, *, as_values: bool = False) -> Iterator[str]:
    """The names that it refers to, in order; `as_values`: not those that only choose among what the template holds."""
    match expression:
        case Text():
            return
        case Reference(name):
            yield name
            return
        case Join(_, items):
            parts: Iterable[Expression] = (items,)
        case Select(index, items):
            parts = (items,) if as_values else (index, items)
        case FindInMap(map_name, first, second):
            parts = () if as_values else (map_name, first, second)
        case Substitution(pieces, variables):
            yield from (each.name for each in pieces if isinstance(each, Reference) and each.name not in variables)
            parts = variables.values()
        case Items(texts):
            parts = texts
        case Split(_, source):
            parts = (source,)
    for part in parts:
        yield from references(part, as_values=as_values)


def text_of(expression: TextExpression, evaluation: Evaluation) -> str:
    """The text that it is worth, or Unresolvable."""
    match expression:
        case Text(text):
            found = text
        case Reference(name):
            found = evaluation.reference(name)
        case Join(delimiter, items):
            texts = list_of(items, evaluation)
            evaluation.spend(sum(map(len, texts)) + len(delimiter) * max(0, len(texts) - 1))
            return delimiter.join(texts)
        case Select(index, items):
            found = _selected(text_of(index, evaluation), list_of(items, evaluation))
        case FindInMap(map_name, first, second):
            wanted = [text_of(each, evaluation) for each in (map_name, first, second)]
            found = _found_in_map(wanted[0], wanted[1], wanted[2], evaluation.maps)
        case Substitution(parts, variables):
            return _substituted(parts, variables, evaluation)
    evaluation.spend(len(found))
    return found


def list_of(expression: ListExpression, evaluation: Evaluation) -> Sequence[str]:
    """The texts that it is worth, or Unresolvable."""
    if isinstance(expression, Items):
        return [text_of(each, evaluation) for each in expression.items]
    source = text_of(expression.source, evaluation)
    count = source.count(expression.delimiter) + 1
    if count > MAX_ITEMS:
        raise Unresolvable(f"Fn::Split makes {count} parts; expected at most {MAX_ITEMS}")
    evaluation.spend(len(source))
    return source.split(expression.delimiter)


def _selected(index: str, texts: Sequence[str]) -> str:
    number = index_of(index)
    if number is None:
        raise Unresolvable(f"{shown(index)} is no index for Fn::Select; expected a whole number from 0")
    if number >= len(texts):
        raise Unresolvable(f"Fn::Select: index {number} is outside of {counted(len(texts))}; the first is 0")
    return texts[number]


def index_of(text: str) -> int | None:
    """The index that is written there, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


def counted(length: int) -> str:
    """`a list of 3`."""
    return f"a list of {length}"


def _found_in_map(map_name: str, first: str, second: str, maps: Maps) -> str:
    if map_name not in maps:
        raise Unresolvable(f"Fn::FindInMap: Mappings has no map {shown(map_name)}; {one_of(maps)}")
    entries = maps[map_name]
    if first not in entries:
        raise Unresolvable(f"Fn::FindInMap: the map {shorten(map_name)} has no key {shown(first)}; {one_of(entries)}")
    if second not in entries[first]:
        place = f"{shorten(map_name)}.{shorten(first)}"
        raise Unresolvable(f"Fn::FindInMap: {place} has no key {shown(second)}; {one_of(entries[first])}")
    return entries[first][second]


def one_of(names: Mapping[str, object] | Sequence[str]) -> str:
    """`expected a, b or c`, of at most eight names."""
    given = [shorten(name) for name in sorted(names)]
    if not given:
        return "it has none"
    listed = given[:8] + ([f"{len(given) - 8} more"] if len(given) > 8 else [])
    return f"expected {', '.join(listed[:-1])} or {listed[-1]}" if len(listed) > 1 else f"expected {listed[0]}"


def _substituted(
    parts: Sequence[Text | Reference], variables: Mapping[str, TextExpression], evaluation: Evaluation
) -> str:
    # Each variable once, however often it stands there: nested substitutions would else double at each level.
    known = {name: text_of(variable, evaluation) for name, variable in variables.items()}
    pieces = []
    length = 0
    for part in parts:
        if isinstance(part, Text):
            piece = part.text
        elif part.name in known:
            piece = known[part.name]
        else:
            piece = evaluation.reference(part.name)
        length += len(piece)
        evaluation.spend(len(piece))
        if length > MAX_VALUE_CHARACTERS:
            evaluation.spend(length)
        pieces.append(piece)
    return "".join(pieces)
