"""
From a handler's result to an HTTP response.

Handlers return snake_case keys at every level (maps keep theirs); the model
says where each goes and how it is written. A key that the model does not have,
or a value of the wrong type, is our own mistake and raises TypeError.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from handfast.wire import timestamps
from handfast.wire.errors import Response
from handfast.wire.spec import Location, Member, Operation, Shape


def serialize(operation: Operation, result: Mapping[str, Any] | None) -> Response:
    """
    The success response. Members that are None are left out.

    Raises:
        TypeError: The result does not fit the operation's output shape.
    """
    shape = operation.output
    if shape is None:
        if result:
            raise TypeError(f"{operation.name} has no output, but its handler returned {sorted(result)}")
        return Response(operation.status)
    status = operation.status
    headers: dict[str, str] = {}
    document: dict[str, Any] = {}
    body: bytes | None = None
    for member, value in _members(shape, result or {}, operation.name):
        if member.location is Location.STATUS:
            status = int(value)
        elif member.location is Location.HEADER:
            headers[member.wire_name.lower()] = _header(member, value)
        elif member.location is Location.HEADERS:
            headers |= {member.wire_name.lower() + key.lower(): _header_text(v) for key, v in value.items()}
        elif member is shape.payload:
            body = _payload(member.shape, value, headers)
        else:
            document[member.wire_name] = to_json(member.shape, value, member.name)
    if shape.payload is None:
        body = _dump(document)
        headers["content-type"] = "application/json"
    return Response(status, headers, body or b"")


def _members(shape: Shape, values: Mapping[str, Any], where: str) -> Sequence[tuple[Member, Any]]:
    by_snake = {member.snake: member for member in shape.members.values()}
    unknown = values.keys() - by_snake.keys()
    if unknown:
        raise TypeError(f"{where}: {sorted(unknown)} are no members of {shape.name}: {sorted(by_snake)}")
    return [(member, values[snake]) for snake, member in by_snake.items() if values.get(snake) is not None]


def to_json(shape: Shape, value: Any, where: str) -> Any:
    """
    The JSON form of a value: structures under their wire names, timestamps as epoch seconds, blobs as base64.

    Raises:
        TypeError: The value does not fit the shape; `where` says which member.
    """
    kind = shape.type
    if kind == "structure":
        if not isinstance(value, Mapping):
            raise TypeError(f"{where}: a structure is a mapping, not {type(value).__name__}")
        return {m.wire_name: to_json(m.shape, v, f"{where}.{m.name}") for m, v in _members(shape, value, where)}
    if kind == "list":
        assert shape.element is not None
        if isinstance(value, str | bytes | Mapping):
            raise TypeError(f"{where}: a list, not {type(value).__name__}")
        return [to_json(shape.element, item, f"{where}[]") for item in value]
    if kind == "map":
        assert shape.value is not None
        return {str(k): to_json(shape.value, v, f"{where}.{k}") for k, v in value.items() if v is not None}
    return _scalar(shape, value, where)


def _scalar(shape: Shape, value: Any, where: str) -> Any:
    kind = shape.type
    if kind in ("string", "character") and isinstance(value, str):
        return str(value)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind in ("integer", "long") and isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if kind in ("float", "double") and isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if kind == "timestamp" and isinstance(value, dt.datetime):
        return timestamps.to_epoch(value)
    if kind == "blob" and isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{where}: {kind} cannot be made of {type(value).__name__}")


def _payload(shape: Shape, value: Any, headers: dict[str, str]) -> bytes:
    if shape.type == "blob":
        headers.setdefault("content-type", "application/octet-stream")
        return bytes(value)
    if shape.type == "string":
        headers.setdefault("content-type", "text/plain; charset=utf-8")
        return str(value).encode()
    headers["content-type"] = "application/json"
    return _dump(to_json(shape, value, shape.name))


def _header(member: Member, value: Any) -> str:
    if member.json_value:
        return base64.b64encode(_dump(value)).decode("ascii")
    if isinstance(value, dt.datetime):
        return timestamps.to_http(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(_header_text(item) for item in value)
    return _header_text(value)


def _header_text(value: Any) -> str:
    """A header's value; what a header cannot hold (line breaks, non-ASCII) is percent-encoded."""
    text = str(value)
    return text if text.isascii() and text.isprintable() else quote(text, safe=" !#$&'()*+,/:;=?@[]~")


def _dump(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
