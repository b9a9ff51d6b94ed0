"""
JSON text of a policy or a template as it was written: bounded, every error with its JSON path.

Objects are kept as pairs, so that a member that stands twice is refused
instead of one of the two being obeyed.
"""

from __future__ import annotations

import json
from typing import Any

from handfast.errors import PolicySyntaxError

MAX_CHARACTERS = 2048
"""White space between the strings excluded, as AWS counts; inside a string it means something."""
MAX_TEXT_CHARACTERS = 404_600
"""White space included: the bound of the model's PolicyDocument shape."""
MAX_DEPTH = 16


class _Pairs:
    """An object as it was written, so that a member that stands twice can be refused with its path."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def load(text: str) -> Any:
    """
    The value that the text holds; its objects are read by `members`.

    Raises:
        PolicySyntaxError: Not JSON, too large or nested too deep. The work is linear in the text.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise PolicySyntaxError(
            f"the document has {len(text)} characters; expected at most {MAX_TEXT_CHARACTERS}, white space included",
            "$",
        )
    structure = _structure(text)
    solid = len(text) - sum(map(structure.count, " \t\n\r"))
    if solid > MAX_CHARACTERS:
        raise PolicySyntaxError(
            f"the document has {solid} characters besides white space; expected at most {MAX_CHARACTERS}", "$"
        )
    if solid == 0:
        raise PolicySyntaxError("the document is empty; expected a JSON object", "$")
    return _decode(text, structure, MAX_DEPTH)


def load_bounded(text: str, *, max_characters: int, max_depth: int) -> Any:
    """
    The value that any such text holds, white space counted; its objects are read by `members`.

    Raises:
        PolicySyntaxError: Not JSON, too large or nested too deep. The work is linear in the text.
    """
    if len(text) > max_characters:
        raise PolicySyntaxError(f"the text has {len(text)} characters; expected at most {max_characters}", "$")
    return _decode(text, _structure(text), max_depth)


def _structure(text: str) -> str:
    """The text without its strings: without escapes, every second piece between quotation marks is one."""
    return "".join(text.replace("\\\\", "").replace('\\"', "").split('"')[::2])


def _decode(text: str, structure: str, max_depth: int) -> Any:
    _check_depth(structure, max_depth)
    try:
        return json.loads(
            text, object_pairs_hook=_Pairs, parse_constant=_refuse_constant, parse_float=Number, parse_int=Number
        )
    except json.JSONDecodeError as error:
        raise PolicySyntaxError(
            f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}; expected one JSON object", "$"
        ) from None
    except (ValueError, RecursionError):
        raise PolicySyntaxError("not JSON that can be read; expected one JSON object", "$") from None


class Number(str):
    """A JSON number as it was written: `1.0` and `1` are two texts."""

    __slots__ = ()


def _refuse_constant(name: str) -> Any:
    raise json.JSONDecodeError(f"{name} is no JSON value", "", 0)


def _check_depth(structure: str, max_depth: int) -> None:
    """Bounds nesting before a recursive parser sees the text."""
    depth = 0
    for character in structure:
        if character in "[{":
            depth += 1
            if depth > max_depth:
                raise PolicySyntaxError(f"nested deeper than {max_depth} levels", "$")
        elif character in "]}":
            depth -= 1


def is_object(value: Any) -> bool:
    """Whether it was written as a JSON object."""
    return isinstance(value, _Pairs)


def members(value: Any, path: str, expected: str) -> dict[str, Any]:
    """The members of an object, each name once."""
    if not isinstance(value, _Pairs):
        raise PolicySyntaxError(f"found {kind(value)}; expected {expected}", path)
    found: dict[str, Any] = {}
    for name, member in value.pairs:
        if name in found:
            raise PolicySyntaxError(f"the member {quote(name)} stands twice", f"{path}.{shorten(name)}")
        found[name] = member
    return found


def strings(value: Any, path: str) -> list[tuple[str, str]]:
    """A string, or a list of at least one: each with its path."""
    if is_text(value):
        found = [(value, path)]
    elif isinstance(value, list):
        if not value:
            raise PolicySyntaxError("the list is empty; expected at least one string", path)
        found = [(each, f"{path}[{index}]") for index, each in enumerate(value)]
    else:
        raise PolicySyntaxError(f"found {kind(value)}; expected a string or a list of strings", path)
    for each, place in found:
        if not is_text(each):
            raise PolicySyntaxError(f"found {kind(each)}; expected a string", place)
        check_unicode(each, place)
    return found


def is_text(value: Any) -> bool:
    """Whether it was written as a JSON string."""
    return isinstance(value, str) and not isinstance(value, Number)


def check_unicode(text: str, path: str) -> None:
    """PolicySyntaxError where the text holds half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PolicySyntaxError("the string holds half of a surrogate pair; expected Unicode text", path) from None


def kind(value: Any) -> str:
    """What the value is, for a message."""
    if isinstance(value, _Pairs):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return "a number" if isinstance(value, Number) else "a string"


def shorten(text: str) -> str:
    """At most 64 characters of it, for a message."""
    return text if len(text) <= 64 else text[:64] + "…"


def quote(value: Any) -> str:
    """A string in quotation marks, shortened; anything else by its kind."""
    return json.dumps(shorten(value)) if is_text(value) else kind(value)
