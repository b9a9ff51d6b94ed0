"""
The service models: botocore's `iot` and `iot-data`, and our own `handfast`, as typed tables.

botocore's bundled `service-2.json` is read as plain JSON, corrected by
`patches.json` (each correction with its evidence) and compiled once into
`Shape`, `Member` and `Operation`. Nothing else in handfast reads a model.
"""

from __future__ import annotations

import gzip
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

from botocore import xform_name

log = logging.getLogger(__name__)

ServiceName = Literal["iot", "iot-data", "handfast"]
API_VERSION: Final = {"iot": "2015-05-28", "iot-data": "2015-05-28"}


class Location(StrEnum):
    """Where a member stands in an HTTP message; botocore's `location` trait."""

    BODY = "body"
    URI = "uri"
    QUERY = "querystring"
    HEADER = "header"
    HEADERS = "headers"
    STATUS = "statusCode"


@dataclass(slots=True, eq=False)
class Shape:
    """A shape of the model. Members keep the model's order; `element` is a list's, `key` and `value` a map's."""

    name: str
    type: str
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    pattern_words: str | None = None
    """What the pattern asks for, for people: what follows "Member must be". Ours alone: AWS's models have none."""
    enum: tuple[str, ...] = ()
    members: dict[str, Member] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    payload: Member | None = None
    element: Shape | None = None
    key: Shape | None = None
    value: Shape | None = None
    sensitive: bool = False
    timestamp_format: str | None = None
    error_status: int | None = None

    def __repr__(self) -> str:
        return f"<Shape {self.name}: {self.type}>"


@dataclass(slots=True, eq=False)
class Member:
    """A structure's member: the model's name, Python's snake_case name and the name on the wire."""

    name: str
    snake: str
    wire_name: str
    location: Location
    shape: Shape
    json_value: bool = False
    timestamp_format: str | None = None


@dataclass(slots=True, eq=False)
class Operation:
    """One operation; `errors` maps the names it may raise to their HTTP statuses."""

    service: str
    name: str
    snake: str
    method: str
    uri: str
    status: int
    input: Shape
    output: Shape | None
    errors: dict[str, int]
    input_headers: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<Operation {self.service}:{self.name}>"


@dataclass(slots=True, eq=False)
class Service:
    """
    A compiled model.

    Attributes:
        name: "iot", "iot-data" or "handfast".
        signing_name: What clients put into the SigV4 scope.
        operations: By the model's name, in the model's order.
        errors: Status of every exception shape of the model.
        error_members: Further members of an exception shape than its message, by shape name.
    """

    name: str
    signing_name: str
    api_version: str
    operations: dict[str, Operation]
    shapes: dict[str, Shape]
    errors: dict[str, int]


def _read_patches() -> Sequence[Mapping[str, Any]]:
    text = resources.files("handfast.wire").joinpath("patches.json").read_text("utf-8")
    patches: Sequence[Mapping[str, Any]] = json.loads(text)["patches"]
    return patches


def apply_patches(name: str, model: dict[str, Any], patches: Sequence[Mapping[str, Any]]) -> list[str]:
    """
    Correct `model` in place; the paths of corrections that no longer fit.

    A patch names the place (`path`, slash-separated), what stands there (`old`,
    absent for a new key) and what belongs there (`new`). A place that already
    says `new` was corrected upstream. A place that says something else is left
    alone, since the correction was written for another text.
    """
    stale = []
    for patch in patches:
        if patch["service"] != name:
            continue
        *parents, last = str(patch["path"]).strip("/").split("/")
        node: Any = model
        for part in parents:
            node = node.get(part) if isinstance(node, dict) else None
        current = node.get(last) if isinstance(node, dict) else None
        if current == patch["new"]:
            continue
        if not isinstance(node, dict) or current != patch.get("old"):
            stale.append(str(patch["path"]))
            continue
        node[last] = patch["new"]
    return stale


def _bundled(name: str) -> bytes:
    """
    botocore's file of a model.

    Read without botocore's loader, which lists every service and imports half of botocore's client.
    """
    folder = resources.files("botocore").joinpath("data", name, API_VERSION[name])
    packed = folder.joinpath("service-2.json.gz")
    return gzip.decompress(packed.read_bytes()) if packed.is_file() else folder.joinpath("service-2.json").read_bytes()


@cache
def raw_model(name: ServiceName) -> dict[str, Any]:
    """The service-2 document, corrected; botocore's own search path only, never a user's `~/.aws/models`."""
    if name == "handfast":
        text = resources.files("handfast.wire").joinpath("handfast-v1.json").read_text("utf-8")
        model: dict[str, Any] = json.loads(text)
    else:
        model = json.loads(_bundled(name))
    for path in apply_patches(name, model, _read_patches()):
        log.warning("correction of the %s model no longer fits and was left out: %s", name, path)
    return model


@cache
def load_service(name: ServiceName) -> Service:
    """The compiled model; the same object on every call."""
    return compile_service(name, raw_model(name))


def compile_service(name: str, model: Mapping[str, Any]) -> Service:
    """
    Compile a service-2 document.

    Raises:
        ValueError: Two members of a structure share a snake_case name, or the protocol is not rest-json.
    """
    metadata = model["metadata"]
    if metadata["protocol"] != "rest-json":
        raise ValueError(f"{name}: protocol {metadata['protocol']} is not rest-json")
    shapes = _Compiler(model["shapes"])
    operations: dict[str, Operation] = {}
    for op_name, op in model["operations"].items():
        http = op["http"]
        input_shape = shapes[op["input"]["shape"]] if "input" in op else Shape("Unit", "structure")
        output_shape = shapes[op["output"]["shape"]] if "output" in op else None
        operations[op_name] = Operation(
            service=name,
            name=op_name,
            snake=xform_name(op_name),
            method=http["method"],
            uri=http["requestUri"],
            status=http.get("responseCode", 200),
            input=input_shape,
            output=output_shape,
            errors={e["shape"]: shapes[e["shape"]].error_status or 400 for e in op.get("errors", ())},
            input_headers=frozenset(
                m.wire_name.lower() for m in input_shape.members.values() if m.location is Location.HEADER
            ),
        )
    compiled = {shape_name: shapes[shape_name] for shape_name in model["shapes"]}
    return Service(
        name=name,
        signing_name=metadata.get("signingName", metadata["endpointPrefix"]),
        api_version=metadata["apiVersion"],
        operations=operations,
        shapes=compiled,
        errors={n: s.error_status for n, s in compiled.items() if s.error_status is not None},
    )


class _Compiler:
    """Compiles shapes on demand, each once, so that recursive shapes end."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self._done: dict[str, Shape] = {}

    def __getitem__(self, name: str) -> Shape:
        if name in self._done:
            return self._done[name]
        raw = self._raw[name]
        shape = Shape(
            name=name,
            type=raw["type"],
            minimum=raw.get("min"),
            maximum=raw.get("max"),
            pattern=raw.get("pattern"),
            pattern_words=raw.get("patternWords"),
            enum=tuple(raw.get("enum", ())),
            required=frozenset(raw.get("required", ())),
            sensitive=bool(raw.get("sensitive")),
            timestamp_format=raw.get("timestampFormat"),
        )
        self._done[name] = shape
        if raw.get("exception"):
            shape.error_status = raw.get("error", {}).get("httpStatusCode", 500 if raw.get("fault") else 400)
        if shape.type == "structure":
            shape.members = dict(self._members(name, raw))
            if "payload" in raw:
                shape.payload = shape.members[raw["payload"]]
        elif shape.type == "list":
            shape.element = self[raw["member"]["shape"]]
        elif shape.type == "map":
            shape.key = self[raw["key"]["shape"]]
            shape.value = self[raw["value"]["shape"]]
        return shape

    def _members(self, name: str, raw: Mapping[str, Any]) -> Iterator[tuple[str, Member]]:
        seen: dict[str, str] = {}
        for member_name, member in raw["members"].items():
            snake = xform_name(member_name)
            if snake in seen:
                raise ValueError(f"{name}: {member_name} and {seen[snake]} are both {snake}")
            seen[snake] = member_name
            yield (
                member_name,
                Member(
                    name=member_name,
                    snake=snake,
                    wire_name=member.get("locationName", member_name),
                    location=Location(member.get("location", "body")),
                    shape=self[member["shape"]],
                    json_value=bool(member.get("jsonvalue")),
                    timestamp_format=member.get("timestampFormat"),
                ),
            )


LABEL: Final = re.compile(r"\{(?P<name>[^{}+]+)(?P<greedy>\+?)\}")
"""A path label of a model's `requestUri`: `{thingName}` or, greedy, `{arn+}`."""
