"""
From an HTTP request to an operation's arguments.

URI labels, query, headers and body become values under the model's names;
`to_snake` then renames them for the handler. An explicit null is as absent,
unknown members are ignored, and what cannot be read is a violation, so that
all of them are answered together with what the validator finds.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from handfast.errors import InvalidRequestError
from handfast.wire import timestamps
from handfast.wire.errors import SerializationError
from handfast.wire.router import Match
from handfast.wire.spec import Location, Member, Shape
from handfast.wire.validator import MISTYPED, Violations, validate

MAX_DEPTH: Final = 64
MAX_QUERY_PAIRS: Final = 256

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT: Final = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_INT_RANGE: Final = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_NOUN: Final = {
    "structure": "a structure",
    "list": "a list",
    "map": "a map",
    "string": "a string",
    "character": "a string",
    "boolean": "a boolean",
    "integer": "an integer",
    "long": "a long",
    "float": "a number",
    "double": "a number",
    "timestamp": "a timestamp",
    "blob": "base64",
}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it was received: the raw path and query are not decoded, header names are lower-case."""

    method: str
    raw_path: str
    query: str
    headers: Sequence[tuple[str, str]]
    body: bytes = b""
    secure: bool = False

    def header(self, name: str) -> str | None:
        """All values of a header joined with a comma, or None."""
        values = [v for n, v in self.headers if n == name]
        return ",".join(values) if values else None


class _Mistype(ValueError):
    """The value is not of the shape's type."""


def parse(match: Match, request: HttpRequest) -> dict[str, Any]:
    """
    The handler's keyword arguments, valid by the model.

    Raises:
        SerializationError: The body is not a JSON object, or is nested too deep.
        InvalidRequestError: One or more members break the model; the message lists every one.
    """
    found = Violations()
    shape = match.operation.input
    values = _parse_members(shape, match.labels, request, found)
    validate(shape, values, found)
    if found:
        raise found.error()
    arguments: dict[str, Any] = to_snake(shape, values)
    return arguments


def to_snake(shape: Shape, value: Any) -> Any:
    """The value with structures' keys in snake_case; maps keep their keys."""
    if shape.type == "structure":
        return {shape.members[name].snake: to_snake(shape.members[name].shape, v) for name, v in value.items()}
    if shape.type == "list":
        assert shape.element is not None
        return [to_snake(shape.element, item) for item in value]
    if shape.type == "map":
        assert shape.value is not None
        return {key: to_snake(shape.value, item) for key, item in value.items()}
    return value


def parse_query(query: str) -> list[tuple[str, str]]:
    """
    Names and values, decoded; a plus sign and `%20` are spaces, as SigV4's canonical form has them.

    Raises:
        InvalidRequestError: Too many pairs, a broken escape, or bytes that are not UTF-8.
    """
    if not query:
        return []
    pairs = query.split("&")
    if len(pairs) > MAX_QUERY_PAIRS:
        raise InvalidRequestError(f"the query holds more than {MAX_QUERY_PAIRS} parameters")
    try:
        return [(_unquote(name), _unquote(value)) for name, _, value in (p.partition("=") for p in pairs if p)]
    except ValueError as error:
        raise InvalidRequestError(f"the query string cannot be decoded: {error}") from error


_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _unquote(text: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    if _BAD_ESCAPE.search(text):
        raise ValueError("incomplete percent-escape")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None


def _parse_members(shape: Shape, labels: Mapping[str, str], request: HttpRequest, found: Violations) -> dict[str, Any]:
    query = parse_query(request.query)
    body = _body_members(shape, request.body)
    values: dict[str, Any] = {}
    for name, member in shape.members.items():
        try:
            raw = _locate(shape, member, labels, query, request, body)
            if raw is None:
                continue
            if member.location is Location.BODY and member is not shape.payload:
                values[name] = _json_value(member.shape, raw, name, found)
            elif member.location is Location.BODY:
                values[name] = _payload_value(member.shape, raw, name, found)
            else:
                values[name] = _text_value(member, raw)
        except _Mistype as error:
            found.add(name, _shown(raw), str(error), sensitive=member.shape.sensitive)
            values[name] = MISTYPED
    return values


def _shown(raw: Any) -> object:
    """What a message quotes of a value of the wrong type: never a whole body."""
    if isinstance(raw, bytes):
        return f"{len(raw)} bytes"
    if isinstance(raw, dict | list):
        return "{…}" if isinstance(raw, dict) else "[…]"
    if isinstance(raw, bool):
        return str(raw).lower()
    return raw


def _locate(
    shape: Shape,
    member: Member,
    labels: Mapping[str, str],
    query: Sequence[tuple[str, str]],
    request: HttpRequest,
    body: Mapping[str, Any] | bytes,
) -> Any:
    """The member's raw value, or None when it is absent."""
    where, wire = member.location, member.wire_name
    if where is Location.URI:
        return labels.get(wire)
    if where is Location.QUERY:
        if member.shape.type == "list":
            return [v for n, v in query if n == wire] or None
        if member.shape.type == "map":
            others = {m.wire_name for m in shape.members.values() if m.location is Location.QUERY and m is not member}
            return {n: v for n, v in query if n not in others} or None
        given = [v for n, v in query if n == wire]
        if len(given) > 1:
            # Which of them counts would depend on their order, which a signature does not cover.
            raise InvalidRequestError(f"the query parameter {wire} is given {len(given)} times")
        return given[0] if given else None
    if where is Location.HEADER:
        return request.header(wire.lower())
    if where is Location.HEADERS:
        prefix = wire.lower()
        return {n[len(prefix) :]: v for n, v in request.headers if n.startswith(prefix)} or None
    if member is shape.payload:
        if isinstance(body, bytes):
            return body
        return body or None
    return body.get(wire) if isinstance(body, Mapping) else None


def _body_members(shape: Shape, body: bytes) -> Mapping[str, Any] | bytes:
    if shape.payload is not None and shape.payload.shape.type in ("blob", "string"):
        return body
    if not body:
        return {}
    if shape.payload is None and all(m.location is not Location.BODY for m in shape.members.values()):
        # No member stands in the body: whatever it holds is unknown, and ignored as unknown members are.
        return {}
    return load_object(body)


def load_object(body: bytes) -> dict[str, Any]:
    """
    The JSON object of a body.

    Raises:
        SerializationError: Not UTF-8, not JSON (NaN and Infinity are not), not an object, or nested beyond `MAX_DEPTH`.
    """
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise SerializationError(f"the body is nested deeper than {MAX_DEPTH} levels")
    try:
        loaded = json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise SerializationError("the body is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise SerializationError("the body is not JSON") from error
    if not isinstance(loaded, dict):
        raise SerializationError("the body must be a JSON object")
    return loaded


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _depth(body: bytes) -> int:
    # What stands between quotes is cut out at once, its escapes first: scanning a megabyte of certificates character
    # by character would hold up everybody else.
    outside = b"".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    depth = deepest = 0
    for found in _BRACKET.finditer(outside):
        if found[0] in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _payload_value(shape: Shape, raw: Any, path: str, found: Violations) -> Any:
    if shape.type == "blob":
        return raw
    if shape.type == "string":
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise _Mistype("Member must be UTF-8") from None
    return _json_value(shape, raw, path, found)


def _json_value(shape: Shape, raw: Any, path: str, found: Violations) -> Any:
    """A value out of a JSON document; nested mistypes are found here and replaced by MISTYPED."""
    kind = shape.type
    if kind == "structure":
        if not isinstance(raw, dict):
            raise _Mistype("Member must be a structure")
        values: dict[str, Any] = {}
        for name, member in shape.members.items():
            item = raw.get(member.wire_name)
            if item is not None:
                values[name] = _nested(member.shape, item, f"{path}.{name}", found)
        return values
    if kind == "list":
        if not isinstance(raw, list):
            raise _Mistype("Member must be a list")
        assert shape.element is not None
        items = []
        for index, item in enumerate(raw, start=1):
            where = f"{path}.{index}.member"
            if item is None:
                found.add(where, None, "Member must not be null")
                items.append(MISTYPED)
            else:
                items.append(_nested(shape.element, item, where, found))
        return items
    if kind == "map":
        if not isinstance(raw, dict):
            raise _Mistype("Member must be a map")
        assert shape.value is not None
        entries: dict[str, Any] = {}
        for key, item in raw.items():
            if item is not None:
                entries[_text(key)] = _nested(shape.value, item, f"{path}.{key}.member", found)
        return entries
    return _json_scalar(shape, raw)


def _nested(shape: Shape, raw: Any, path: str, found: Violations) -> Any:
    try:
        return _json_value(shape, raw, path, found)
    except _Mistype as error:
        found.add(path, _shown(raw), str(error), sensitive=shape.sensitive)
        return MISTYPED


def _json_scalar(shape: Shape, raw: Any) -> Any:
    kind = shape.type
    if kind in ("string", "character") and isinstance(raw, str):
        return _text(raw)
    if kind == "boolean" and isinstance(raw, bool):
        return raw
    if kind in _INT_RANGE and isinstance(raw, int | float) and not isinstance(raw, bool):
        if isinstance(raw, int) or raw.is_integer():
            return _in_range(kind, int(raw))
    elif kind in ("float", "double") and isinstance(raw, int | float) and not isinstance(raw, bool):
        try:
            number = float(raw)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    elif kind == "timestamp" and isinstance(raw, int | float | str) and not isinstance(raw, bool):
        return _instant(raw)
    elif kind == "blob" and isinstance(raw, str):
        return _base64(raw)
    raise _Mistype(f"Member must be {_NOUN[kind]}")


def _text_value(member: Member, raw: Any) -> Any:
    """A value out of a label, a query parameter or a header."""
    shape = member.shape
    if member.json_value:
        return _json_header(raw)
    if shape.type == "list":
        assert shape.element is not None
        items = raw if isinstance(raw, list) else [part.strip() for part in raw.split(",")]
        return [_text_scalar(shape.element, item) for item in items]
    if shape.type == "map":
        assert shape.value is not None
        return {_text(key): _text_scalar(shape.value, item) for key, item in raw.items()}
    return _text_scalar(shape, raw)


def _text_scalar(shape: Shape, raw: str) -> Any:
    kind = shape.type
    if kind in ("string", "character"):
        return _text(raw)
    if kind == "boolean" and raw in ("true", "false"):
        return raw == "true"
    if kind in _INT_RANGE and _INTEGER.fullmatch(raw):
        return _in_range(kind, int(raw))
    if kind in ("float", "double") and _FLOAT.fullmatch(raw) and math.isfinite(float(raw)):
        return float(raw)
    if kind == "timestamp":
        return _instant(raw)
    if kind == "blob":
        return _base64(raw)
    raise _Mistype(f"Member must be {_NOUN[kind]}")


def _text(raw: str) -> str:
    """The string, once it is known that it can be stored: no lone surrogate, no U+0000."""
    if "\0" in raw:
        raise _Mistype("Member must not contain U+0000")
    if not raw.isascii():
        try:
            raw.encode("utf-8")
        except UnicodeEncodeError:
            raise _Mistype("Member must be valid Unicode") from None
    return raw


def _in_range(kind: str, number: int) -> int:
    low, high = _INT_RANGE[kind]
    if not low <= number <= high:
        raise _Mistype(f"Member must be {_NOUN[kind]} between {low} and {high}")
    return number


def _instant(raw: float | str) -> Any:
    try:
        return timestamps.parse(raw) if isinstance(raw, str) else timestamps.from_epoch(raw)
    except (ValueError, OverflowError):
        raise _Mistype("Member must be a timestamp in epoch seconds or ISO 8601") from None


def _base64(raw: str) -> bytes:
    try:
        return base64.b64decode(raw, validate=True)
    except (ValueError, binascii.Error):
        raise _Mistype("Member must be base64") from None


def _json_header(raw: str) -> Any:
    """A `jsonvalue` header: base64 of a JSON document, which is handed on decoded."""
    try:
        document = _base64(raw)
        if _depth(document) > MAX_DEPTH:
            raise _Mistype("Member is nested too deep")
        return json.loads(document.decode("utf-8"), parse_constant=_no_constant)
    except _Mistype:
        raise
    except (ValueError, RecursionError):
        raise _Mistype("Member must be base64 of a JSON document") from None
