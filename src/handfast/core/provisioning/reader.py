"""
JSON of a template as expressions; every mistake is noted with its path and what was expected there.

A mistake is noted and reading goes on, so that one look finds all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from handfast.core.policy.reading import Number, is_object, is_text, kind, members, quote, shorten
from handfast.core.provisioning.findings import Findings, child
from handfast.core.provisioning.functions import (
    MAX_ITEMS,
    Evaluation,
    Expression,
    FindInMap,
    Items,
    Join,
    ListExpression,
    Maps,
    Reference,
    Select,
    Split,
    Substitution,
    Text,
    TextExpression,
    counted,
    index_of,
    list_of,
    one_of,
    references,
    text_of,
)
from handfast.core.provisioning.values import shown
from handfast.errors import PolicySyntaxError

FUNCTIONS: Final = ("Ref", "Fn::Join", "Fn::Select", "Fn::FindInMap", "Fn::Split", "Fn::Sub")
_NOTHING: Final = Text("")


@dataclass(frozen=True, slots=True)
class JsonText:
    """A JSON value with expressions in it. Texts between them are JSON already; what they are worth is not."""

    pieces: tuple[str | Expression, ...]

    def text(self, evaluation: Evaluation) -> str:
        """The JSON text; Unresolvable as its expressions are."""
        texts = []
        for piece in self.pieces:
            if isinstance(piece, str):
                texts.append(piece)
            elif isinstance(piece, Items | Split):
                texts.append(_dumps(list(list_of(piece, evaluation))))
            else:
                texts.append(_dumps(text_of(piece, evaluation)))
        evaluation.spend(sum(map(len, texts)))
        return "".join(texts)

    def references(self, *, as_values: bool = False) -> Iterator[str]:
        """The names that it refers to, as `functions.references` tells them."""
        for piece in self.pieces:
            if not isinstance(piece, str):
                yield from references(piece, as_values=as_values)


class Reader:
    """
    Reads the values of one template.

    `referable` says what is wrong with a name that `Ref` or `Fn::Sub` asks for, or None.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.maps: Maps = {}
        self.referable: Callable[[str], str | None] = lambda name: None

    # --- plain JSON ---------------------------------------------------------------------------------------------------

    def members(self, value: Any, path: str, expected: str) -> dict[str, Any]:
        """The members of an object; of what is none, none."""
        try:
            return members(value, path, expected)
        except PolicySyntaxError as error:
            self.findings.error(path, error.message)
            return {}

    def string(self, value: Any, path: str, expected: str) -> str | None:
        """A string as it was written."""
        if is_text(value):
            return str(value)
        self.findings.error(path, f"found {kind(value)}; expected {expected}{_as_string(value)}")
        return None

    # --- expressions --------------------------------------------------------------------------------------------------

    def text(self, value: Any, path: str) -> TextExpression:
        """What is worth a text: a string or a function."""
        if is_text(value):
            return Text(str(value))
        function = self._function(value, path)
        if function is None:
            if not is_object(value) or not _is_attempt(value):
                self.findings.error(path, f"found {kind(value)}; expected a string or a function{_as_string(value)}")
            return _NOTHING
        name, argument, place = function
        match name:
            case "Ref":
                return self._reference(argument, place)
            case "Fn::Join":
                return self._join(argument, place)
            case "Fn::Select":
                return self._select(argument, place)
            case "Fn::FindInMap":
                return self._find_in_map(argument, place)
            case "Fn::Sub":
                return self._substitution(argument, place)
        self.findings.error(path, "Fn::Split makes a list; expected a text here: select one part of it with Fn::Select")
        return _NOTHING

    def items(self, value: Any, path: str) -> ListExpression:
        """What is worth a list of texts: a list, or Fn::Split."""
        if isinstance(value, list):
            if len(value) > MAX_ITEMS:
                self.findings.error(path, f"a list of {len(value)}; expected at most {MAX_ITEMS}")
                return Items(())
            return Items(tuple(self.text(each, f"{path}[{index}]") for index, each in enumerate(value)))
        function = self._function(value, path)
        if function is not None and function[0] == "Fn::Split":
            return self._split(function[1], function[2])
        if function is not None:
            self.findings.error(path, f"{function[0]} makes a text; expected a list, or Fn::Split, which makes one")
        elif not _is_attempt(value):
            self.findings.error(path, f"found {kind(value)}; expected a list of strings, or Fn::Split")
        return Items(())

    def json(self, value: Any, path: str) -> JsonText:
        """Any JSON value with functions in it, written without white space."""
        pieces: list[str | Expression] = []
        self._json(value, path, pieces)
        merged: list[str | Expression] = []
        for piece in pieces:
            if isinstance(piece, str) and merged and isinstance(merged[-1], str):
                merged[-1] += piece
            else:
                merged.append(piece)
        return JsonText(tuple(merged))

    def is_function(self, value: Any) -> bool:
        """Whether it was written as a function, of whatever name."""
        return is_object(value) and _is_attempt(value)

    # --- the functions ------------------------------------------------------------------------------------------------

    def _function(self, value: Any, path: str) -> tuple[str, Any, str] | None:
        """Name, argument and the argument's path; None, with a finding where one was meant, when it is no function."""
        if not is_object(value) or not _is_attempt(value):
            return None
        found = self.members(value, path, "a function")
        if not found:
            return None
        if len(found) > 1:
            names = ", ".join(quote(name) for name in list(found)[:4])
            self.findings.error(path, f"an object with {names}; expected one function and nothing beside it")
            return None
        ((name, argument),) = found.items()
        if name not in FUNCTIONS:
            self.findings.error(child(path, name), f"unknown function {quote(name)}; expected {_or(FUNCTIONS)}")
            return None
        return name, argument, child(path, name)

    def _reference(self, argument: Any, path: str) -> TextExpression:
        name = self.string(argument, path, "the name of a parameter or resource")
        if name is None:
            return _NOTHING
        self._check_reference(name, path)
        return Reference(name)

    def _check_reference(self, name: str, path: str) -> None:
        problem = self.referable(name)
        if problem is not None:
            self.findings.error(path, problem)

    def _join(self, argument: Any, path: str) -> TextExpression:
        found = self._arguments(argument, path, 'expected [delimiter, list], such as ["-", ["a", {"Ref": "b"}]]', 2)
        if found is None:
            return _NOTHING
        delimiter = self.string(found[0], f"{path}[0]", "the delimiter as a string")
        return Join(delimiter or "", self.items(found[1], f"{path}[1]"))

    def _select(self, argument: Any, path: str) -> TextExpression:
        found = self._arguments(argument, path, 'expected [index, list], such as [0, ["a", "b"]]', 2)
        if found is None:
            return _NOTHING
        index = Text(str(found[0])) if isinstance(found[0], Number) else self.text(found[0], f"{path}[0]")
        items = self.items(found[1], f"{path}[1]")
        if isinstance(index, Text) and isinstance(found[0], str):
            number = index_of(index.text)
            if number is None:
                self.findings.error(f"{path}[0]", f"the index is {shown(index.text)}; expected a whole number from 0")
            elif isinstance(items, Items) and isinstance(found[1], list) and number >= len(items.items):
                self.findings.error(
                    f"{path}[0]",
                    f"index {number} of {counted(len(items.items))}; expected an index of the list, from 0",
                )
        return Select(index, items)

    def _find_in_map(self, argument: Any, path: str) -> TextExpression:
        found = self._arguments(argument, path, "expected [map, first key, second key]", 3)
        if found is None:
            return _NOTHING
        map_name, first, second = (self.text(each, f"{path}[{index}]") for index, each in enumerate(found))
        self._check_map(map_name, first, second, path)
        return FindInMap(map_name, first, second)

    def _check_map(self, map_name: TextExpression, first: TextExpression, second: TextExpression, path: str) -> None:
        """As far as the arguments are written out, the entry is there."""
        if not isinstance(map_name, Text):
            return
        if map_name.text not in self.maps:
            self.findings.error(f"{path}[0]", f"Mappings has no map {shown(map_name.text)}; {one_of(self.maps)}")
            return
        entries = self.maps[map_name.text]
        if isinstance(first, Text) and first.text not in entries:
            self.findings.error(
                f"{path}[1]", f"the map {shorten(map_name.text)} has no key {shown(first.text)}; {one_of(entries)}"
            )
        elif isinstance(second, Text):
            chosen = [entries[first.text]] if isinstance(first, Text) else list(entries.values())
            if not any(second.text in entry for entry in chosen):
                names = sorted({name for entry in chosen for name in entry})
                self.findings.error(f"{path}[2]", f"no entry there has a key {shown(second.text)}; {one_of(names)}")

    def _split(self, argument: Any, path: str) -> ListExpression:
        found = self._arguments(argument, path, 'expected [delimiter, text], such as [",", {"Ref": "a"}]', 2)
        if found is None:
            return Items(())
        delimiter = self.string(found[0], f"{path}[0]", "the delimiter as a string")
        if delimiter == "":
            self.findings.error(f"{path}[0]", "the delimiter is empty; expected at least one character")
        return Split(delimiter or "\0", self.text(found[1], f"{path}[1]"))

    def _substitution(self, argument: Any, path: str) -> TextExpression:
        variables: dict[str, TextExpression] = {}
        pattern: Any = argument
        place = path
        if isinstance(argument, list):
            found = self._arguments(argument, path, "expected a string, or [string, {name: value}]", 2)
            if found is None:
                return _NOTHING
            pattern, place = found[0], f"{path}[0]"
            given = self.members(found[1], f"{path}[1]", "an object of names and values")
            variables = {name: self.text(each, child(f"{path}[1]", name)) for name, each in given.items()}
        text = self.string(pattern, place, "a string with ${names} in it")
        if text is None:
            return _NOTHING
        parts = tuple(self._parts(text, place, variables))
        unused = variables.keys() - {part.name for part in parts if isinstance(part, Reference)}
        for name in sorted(unused):
            self.findings.error(child(f"{path}[1]", name), f"${{{shorten(name)}}} stands nowhere in the string")
        return Substitution(parts, variables)

    def _parts(self, text: str, path: str, variables: Mapping[str, TextExpression]) -> Iterator[Text | Reference]:
        plain, *rest = text.split("${")
        if plain:
            yield Text(plain)
        for piece in rest:
            name, brace, plain = piece.partition("}")
            if not brace:
                self.findings.error(path, "${ has no closing brace; a literal ${ is written ${!")
                return
            if name.startswith("!"):
                yield Text(f"${{{name[1:]}}}")  # ${!name} is the text ${name}, such as a policy variable
            else:
                if name not in variables:
                    self._check_substituted(name, path)
                yield Reference(name)
            if plain:
                yield Text(plain)

    def _check_substituted(self, name: str, path: str) -> None:
        problem = self.referable(name)
        if problem is not None:
            literal = (
                f"; for the text ${{{shorten(name)}}} itself, as of a policy variable, write ${{!{shorten(name)}}}"
            )
            self.findings.error(path, problem + literal)

    def _arguments(self, argument: Any, path: str, expected: str, count: int) -> list[Any] | None:
        if isinstance(argument, list) and len(argument) == count:
            return argument
        seen = counted(len(argument)) if isinstance(argument, list) else kind(argument)
        self.findings.error(path, f"found {seen}; {expected}")
        return None

    # --- JSON with functions in it ------------------------------------------------------------------------------------

    def _json(self, value: Any, path: str, pieces: list[str | Expression]) -> None:
        if self.is_function(value):
            name = next(iter(self.members(value, path, "a function")), "")
            pieces.append(self.items(value, path) if name == "Fn::Split" else self.text(value, path))
        elif is_object(value):
            pieces.append("{")
            for index, (name, member) in enumerate(self.members(value, path, "an object").items()):
                pieces.append(f"{',' if index else ''}{_dumps(name)}:")
                self._json(member, child(path, name), pieces)
            pieces.append("}")
        elif isinstance(value, list):
            pieces.append("[")
            for index, each in enumerate(value):
                if index:
                    pieces.append(",")
                self._json(each, f"{path}[{index}]", pieces)
            pieces.append("]")
        else:
            pieces.append(str(value) if isinstance(value, Number) else _dumps(value))


def _is_attempt(value: Any) -> bool:
    """Whether some member of the object is called as a function is, or nearly so."""
    return is_object(value) and any(name == "Ref" or name.startswith(("Fn:", "Fn.")) for name, _ in value.pairs)


def _as_string(value: Any) -> str:
    if isinstance(value, Number):
        return f"; write it as {shown(str(value))}"
    return f'; write it as "{kind(value)}"' if isinstance(value, bool) else ""


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
