"""
What the model says about values: required, length, range, pattern, enum.

Works on parsed values under the model's names. Every violation is collected,
none raises; `Violations.error` turns them into the one InvalidRequestException
that AWS answers, worded as AWS words it; patterns of our own model in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from handfast.errors import InvalidRequestError
from handfast.printable import printable
from handfast.wire.patterns import compile_pattern, matches
from handfast.wire.spec import Shape

MAX_LISTED: Final = 50
MAX_VALUE_CHARS: Final = 128
MAX_PATH_CHARS: Final = 256


class Violations:
    """The violations found in one request: an exact count, and the first `MAX_LISTED` in words."""

    def __init__(self) -> None:
        self.count = 0
        self._listed: list[str] = []

    def add(self, path: str, value: object, constraint: str, *, sensitive: bool = False) -> None:
        """One more: `value` at `path` breaks `constraint`, a whole sentence without its full stop."""
        self.count += 1
        if len(self._listed) >= MAX_LISTED:
            return
        if sensitive:
            shown = "'***'"
        elif value is None:
            shown = "null"
        else:
            shown = f"'{printable(str(value), limit=MAX_VALUE_CHARS)}'"
        where = printable(path, limit=MAX_PATH_CHARS)
        self._listed.append(f"Value {shown} at '{where}' failed to satisfy constraint: {constraint}")

    def __bool__(self) -> bool:
        return self.count > 0

    def error(self) -> InvalidRequestError:
        """The exception that names them all."""
        noun = "error" if self.count == 1 else "errors"
        message = f"{self.count} validation {noun} detected: " + "; ".join(self._listed)
        if self.count > len(self._listed):
            message += f"; and {self.count - len(self._listed)} more"
        return InvalidRequestError(message)


def validate(shape: Shape, values: Mapping[str, Any], found: Violations) -> None:
    """Check the members of an operation's input; what was mistyped is absent from `values` and already found."""
    _structure(shape, values, "", found)


def _structure(shape: Shape, values: Mapping[str, Any], path: str, found: Violations) -> None:
    prefix = f"{path}." if path else ""
    for name, member in shape.members.items():
        if name in values:
            value = values[name]
            if value is not MISTYPED:
                _value(member.shape, value, prefix + name, found)
        elif name in shape.required:
            found.add(prefix + name, None, "Member must not be null")


def prepare(shape: Shape) -> None:
    """
    Compile every pattern that the shape can reach.

    Together they take some hundredths of a second the first time: better at the start than in a request.
    """
    seen: set[int] = set()
    waiting = [shape]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if current.pattern is not None:
            compile_pattern(current.pattern)
        waiting += [member.shape for member in current.members.values()]
        waiting += [part for part in (current.element, current.key, current.value) if part is not None]


class _Mistyped:
    """Stands where a value could not be read: present, so not missing, and already reported."""

    def __repr__(self) -> str:
        return "MISTYPED"


MISTYPED: Final = _Mistyped()


def _value(shape: Shape, value: Any, path: str, found: Violations) -> None:
    kind = shape.type
    if kind == "structure":
        _structure(shape, value, path, found)
    elif kind == "list":
        _size(shape, len(value), value, path, found)
        assert shape.element is not None
        for index, item in enumerate(value, start=1):
            if item is not MISTYPED:
                _value(shape.element, item, f"{path}.{index}.member", found)
    elif kind == "map":
        _size(shape, len(value), value, path, found)
        assert shape.key is not None
        assert shape.value is not None
        for key, item in value.items():
            for constraint in _scalar(shape.key, key):
                found.add(path, key, f"Map keys must satisfy constraint: [{constraint}]", sensitive=shape.key.sensitive)
            if item is MISTYPED:
                continue
            if shape.value.type in ("structure", "list", "map"):
                _value(shape.value, item, f"{path}.{key}.member", found)
                continue
            for constraint in _scalar(shape.value, item):
                found.add(
                    path, item, f"Map value must satisfy constraint: [{constraint}]", sensitive=shape.value.sensitive
                )
    else:
        for constraint in _scalar(shape, value):
            shown = f"{len(value)} bytes" if isinstance(value, bytes) else value
            found.add(path, shown, constraint, sensitive=shape.sensitive)


def _size(shape: Shape, size: int, value: object, path: str, found: Violations) -> None:
    for constraint in _length(shape, size):
        found.add(path, f"{size} members", constraint, sensitive=shape.sensitive)


def _number(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else str(bound)


def _length(shape: Shape, size: int) -> list[str]:
    broken = []
    if shape.minimum is not None and size < shape.minimum:
        broken.append(f"Member must have length greater than or equal to {_number(shape.minimum)}")
    if shape.maximum is not None and size > shape.maximum:
        broken.append(f"Member must have length less than or equal to {_number(shape.maximum)}")
    return broken


def _scalar(shape: Shape, value: Any) -> list[str]:
    """The constraints that a string, number or blob breaks."""
    if isinstance(value, str):
        broken = _length(shape, len(value))
        too_long = shape.maximum is not None and len(value) > shape.maximum
        # A string that is too long is not matched as well: the bound is what keeps matching cheap.
        if shape.pattern is not None and not too_long and not matches(shape.pattern, value, shape.maximum):
            if shape.pattern_words is not None:
                broken.append(f"Member must be {shape.pattern_words}")
            else:
                broken.append(f"Member must satisfy regular expression pattern: {shape.pattern}")
        if shape.enum and value not in shape.enum:
            broken.append(f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
        return broken
    if isinstance(value, bytes):
        return _length(shape, len(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        broken = []
        if shape.minimum is not None and value < shape.minimum:
            broken.append(f"Member must have value greater than or equal to {_number(shape.minimum)}")
        if shape.maximum is not None and value > shape.maximum:
            broken.append(f"Member must have value less than or equal to {_number(shape.maximum)}")
        return broken
    return []
