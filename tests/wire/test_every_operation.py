"""Every operation of every model: botocore serialises and signs, we parse; we serialise, botocore parses."""

from __future__ import annotations

import functools
import random
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.inprocess import CountingEntropy, SystemClock, client, known_keys
from tests.support.shapes import structure

from handfast.errors import ServiceError
from handfast.wire.parser import to_snake
from handfast.wire.sigv4 import Authenticator
from handfast.wire.skeleton import ApiApplication, MountedService
from handfast.wire.spec import Operation, Shape, load_service, raw_model

SERVICES = ("iot", "iot-data", "handfast")
OPERATIONS = [
    pytest.param(service, name, id=f"{service}:{name}")
    for service in SERVICES
    for name in load_service(service).operations  # type: ignore[arg-type]
]
SEEDS = range(2)


class Echo:
    """Handlers for a whole model: each notes its arguments and returns the planned result."""

    def __init__(self, service: str) -> None:
        self.model = load_service(service)  # type: ignore[arg-type]
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.result: Any = None
        mounted = MountedService(
            self.model, {name: functools.partial(self._handle, name) for name in self.model.operations}
        )
        clock = SystemClock()
        self.refusals: list[Any] = []
        self.application = ApiApplication(
            [mounted], Authenticator(known_keys, clock), clock, CountingEntropy(), self.refusals.append
        )
        self.client = client(service, self.application)

    async def _handle(self, name: str, _ctx: Any, /, **members: Any) -> Any:
        self.calls.append((name, members))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def ask(self, operation: Operation, members: dict[str, Any], result: Any) -> Any:
        self.calls.clear()
        self.result = result
        response = getattr(self.client, operation.snake)(**members)
        metadata = response.pop("ResponseMetadata")
        assert metadata["RequestId"] == metadata["HTTPHeaders"]["x-amzn-requestid"]
        return response, metadata


@functools.cache
def echo(service: str) -> Echo:
    return Echo(service)


def tokens(operation: Operation) -> set[str]:
    """Members that SDKs fill in by themselves."""
    model = raw_model(operation.service)  # type: ignore[arg-type]
    shape = model["shapes"].get(operation.input.name, {})
    return {
        operation.input.members[name].snake
        for name, member in shape.get("members", {}).items()
        if member.get("idempotencyToken")
    }


@pytest.mark.parametrize("full", [True, False], ids=["every member", "required members"])
@pytest.mark.parametrize(("service", "name"), OPERATIONS)
def test_what_botocore_sends_is_what_the_handler_gets(service: str, name: str, full: bool) -> None:
    plane = echo(service)
    operation = plane.model.operations[name]
    for seed in SEEDS:
        members = structure(operation.input, random.Random(f"{name}{seed}"), full=full)
        plane.ask(operation, members, None)
        [(called, got)] = plane.calls
        assert name == called
        expected = to_snake(operation.input, members)
        for token in tokens(operation) - expected.keys():
            got.pop(token, None)
        assert expected | _empty_payload(operation, expected) == got


def _empty_payload(operation: Operation, expected: dict[str, Any]) -> dict[str, Any]:
    """A blob that is the whole body is never absent, only empty."""
    payload = operation.input.payload
    if payload is None or payload.shape.type != "blob" or payload.snake in expected:
        return {}
    return {payload.snake: b""}


@pytest.mark.parametrize("full", [True, False], ids=["every member", "required members"])
@pytest.mark.parametrize(("service", "name"), OPERATIONS)
def test_what_the_handler_returns_is_what_botocore_gives(service: str, name: str, full: bool) -> None:
    plane = echo(service)
    operation = plane.model.operations[name]
    if operation.output is None:
        response, metadata = plane.ask(operation, structure(operation.input, random.Random(1), full=False), None)
        assert {} == response
        assert "0" == metadata["HTTPHeaders"]["content-length"]
        assert "content-type" not in metadata["HTTPHeaders"]
        return
    for seed in SEEDS:
        rng = random.Random(f"{name}{seed}")
        result = structure(operation.output, rng, full=full)
        members = structure(operation.input, rng, full=False)
        response, metadata = plane.ask(operation, members, to_snake(operation.output, result))
        assert result == _read(operation.output, response, result)
        assert result.get("statusCode", operation.status) == metadata["HTTPStatusCode"]


def _read(shape: Shape, response: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The response with its streaming body read; the status member stands in every response."""
    read = {name: value.read() if hasattr(value, "read") else value for name, value in response.items()}
    if shape.payload is not None and shape.payload.name not in result:
        assert read.pop(shape.payload.name, b"") in (b"", "")
    if "statusCode" in read and "statusCode" not in result:
        assert 200 == read.pop("statusCode")
    return read


EXCEPTIONS = [
    pytest.param(service, name, id=f"{service}:{name}")
    for service in SERVICES
    for name in load_service(service).errors  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("service", "name"), EXCEPTIONS)
def test_every_exception_arrives_with_its_status_message_and_members(service: str, name: str) -> None:
    plane = echo(service)
    shape = plane.model.shapes[name]
    further = {member: f"the {member}" for member in shape.members if member.lower() != "message"}
    error = ServiceError("what was seen — what to do", **further)
    error.code = name
    operation = next(iter(plane.model.operations.values()))
    for candidate in plane.model.operations.values():
        if name in candidate.errors:
            operation = candidate
            break
    with pytest.raises(ClientError) as caught:
        plane.ask(operation, structure(operation.input, random.Random(1), full=False), error)
    response = caught.value.response
    assert {"Code": name, "Message": "what was seen — what to do"} == response["Error"]
    stated = raw_model(service)["shapes"][name]["error"]["httpStatusCode"]  # type: ignore[arg-type]
    assert stated == response["ResponseMetadata"]["HTTPStatusCode"]
    assert further == {member: response[member] for member in further}
    if name in operation.errors:
        assert isinstance(caught.value, getattr(plane.client.exceptions, name))


def test_the_models_have_the_operations_that_we_think_they_have() -> None:
    assert [272, 11] == [len(load_service(service).operations) for service in ("iot", "iot-data")]
