"""The ASGI application: what is answered before, around and instead of a handler."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.inprocess import (
    ACCOUNT,
    OPERATOR_ID,
    SECRET,
    CountingEntropy,
    SystemClock,
    call,
    client,
    known_keys,
)

from handfast.core.identity.refusal import ReasonCode
from handfast.errors import (
    AccessDeniedError,
    ResourceAlreadyExistsError,
    StoreConflict,
    StoreUnavailable,
    ThrottlingError,
)
from handfast.wire.http import RequestBody
from handfast.wire.parser import HttpRequest
from handfast.wire.sigv4 import Authenticator
from handfast.wire.skeleton import ApiApplication, ApiRefusal, MountedService
from handfast.wire.spec import load_service

LIMIT = 1024


class Plane:
    """An application with a few handlers, and what it was asked and refused."""

    def __init__(self, **handlers: Any) -> None:
        self.seen: list[tuple[Any, dict[str, Any]]] = []
        self.refused: list[ApiRefusal] = []
        clock = SystemClock()
        self.application = ApiApplication(
            [
                MountedService(load_service("iot"), {n: h for n, h in handlers.items() if n != "publish"}),
                MountedService(
                    load_service("iot-data"),
                    {n: h for n, h in handlers.items() if n == "publish"},
                    {"iotdata", "iotdevicegateway"},
                ),
                MountedService(load_service("handfast"), {}),
            ],
            Authenticator(known_keys, clock),
            clock,
            CountingEntropy(),
            self.refused.append,
            body_limit_bytes=LIMIT,
        )
        self.iot = client("iot", self.application)


def failing(error: Exception) -> Plane:
    async def describe_thing(ctx: Any, **members: Any) -> None:
        raise error

    return Plane(describe_thing=describe_thing)


def error_of(plane: Plane) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        plane.iot.describe_thing(thingName="n")
    response: dict[str, Any] = caught.value.response
    return response


def test_the_caller_is_who_signed() -> None:
    seen: list[Any] = []

    async def describe_thing(ctx: Any, *, thing_name: str) -> dict[str, Any]:
        seen.append(ctx)
        return {"thing_name": thing_name}

    plane = Plane(describe_thing=describe_thing)
    answer = plane.iot.describe_thing(thingName="n")
    [ctx] = seen
    assert (ACCOUNT, "us-east-1", "192.0.2.7", False) == (ctx.account_id, ctx.region, ctx.address, ctx.is_operator)
    assert answer["ResponseMetadata"]["RequestId"] == ctx.request_id
    client("iot", plane.application, key_id=OPERATOR_ID, region="eu-west-1").describe_thing(thingName="n")
    assert (None, "eu-west-1", True) == (seen[1].account_id, seen[1].region, seen[1].is_operator)


def test_an_operation_without_a_handler_names_itself() -> None:
    response = error_of(Plane())
    assert 501 == response["ResponseMetadata"]["HTTPStatusCode"]
    assert "NotImplementedException" == response["Error"]["Code"]
    assert response["Error"]["Message"].startswith("DescribeThing is not implemented by handfast")


def test_a_bug_tells_the_peer_nothing_and_the_log_everything(caplog: pytest.LogCaptureFixture) -> None:
    plane = failing(RuntimeError("the secret detail"))
    response = error_of(plane)
    assert ("InternalFailureException", 500) == (
        response["Error"]["Code"],
        response["ResponseMetadata"]["HTTPStatusCode"],
    )
    assert "secret" not in json.dumps(response)
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "the secret detail" in str(record.exc_info[1])
    assert response["ResponseMetadata"]["RequestId"] == record.__dict__["request_id"]


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (StoreUnavailable("down"), "ServiceUnavailableException", 503),
        (StoreConflict("exists"), "InternalFailureException", 500),
        (ThrottlingError("slow down"), "ThrottlingException", 400),
        (AccessDeniedError("not you"), "AccessDeniedException", 403),
    ],
)
def test_errors_of_the_project_have_their_status(error: Exception, code: str, status: int) -> None:
    response = error_of(failing(error))
    assert (code, status) == (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"])


def test_members_of_an_error_may_be_named_either_way() -> None:
    response = error_of(failing(ResourceAlreadyExistsError("taken", resource_id="i", resourceArn="a")))
    assert ("i", "a") == (response["resourceId"], response["resourceArn"])


@pytest.mark.parametrize(
    "result", [{"unknown": 1}, {"thing_name": 5}, {"version": "1"}, {"attributes": [1]}, {"thingName": "n"}]
)
def test_a_result_that_the_model_does_not_have_is_a_bug(result: dict[str, Any]) -> None:
    async def describe_thing(ctx: Any, **members: Any) -> dict[str, Any]:
        return result

    assert "InternalFailureException" == error_of(Plane(describe_thing=describe_thing))["Error"]["Code"]


def test_a_handler_that_is_named_like_nothing_is_refused_at_start() -> None:
    async def handler(ctx: Any) -> None: ...

    with pytest.raises(ValueError, match="create_thingy"):
        MountedService(load_service("iot"), {"create_thingy": handler})
    with pytest.raises(ValueError, match="twice"):
        MountedService(load_service("iot"), {"create_thing": handler, "CreateThing": handler})


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/nothing", 404, "ResourceNotFoundException"),
        ("HEAD", "/things", 404, "ResourceNotFoundException"),
        ("OPTIONS", "/things", 404, "ResourceNotFoundException"),
        ("GET", "/things/%zz", 400, "InvalidRequestException"),
        ("GET", "/a/../things", 400, "InvalidRequestException"),
        ("GET", "/things//x", 400, "InvalidRequestException"),
        ("GET", "/things", 403, "MissingAuthenticationTokenException"),
        ("POST", "/topics/a", 403, "MissingAuthenticationTokenException"),
        ("GET", "/handfast/v1/accounts", 403, "MissingAuthenticationTokenException"),
    ],
)
async def test_what_is_refused_before_a_handler_is_well_formed(
    method: str, target: str, status: int, code: str
) -> None:
    answer = await call(Plane().application, method, target, {"host": "h"})
    assert (status, code) == (answer.status, answer.headers["x-amzn-errortype"])
    assert answer.headers["x-amzn-requestid"]
    assert "application/json" == answer.headers["content-type"]
    if method == "HEAD":
        assert b"" == answer.body
    else:
        assert json.loads(answer.body)["message"]


async def test_two_hosts_are_one_too_many() -> None:
    answer = await call(Plane().application, "GET", "/things", [("host", "a"), ("host", "b")])
    assert 400 == answer.status


async def test_refusals_are_told_with_who_what_and_why() -> None:
    plane = Plane()
    answer = await call(plane.application, "GET", "/things", {"host": "h"})
    [refusal] = plane.refused
    assert refusal.request_id == answer.headers["x-amzn-requestid"]
    assert (ReasonCode.API_MISSING_SIGNATURE, "192.0.2.7", "GET", "/things", "ListThings", None) == (
        refusal.reason,
        refusal.address,
        refusal.method,
        refusal.path,
        refusal.operation,
        refusal.account_id,
    )


def test_a_refused_signature_belongs_to_no_account() -> None:
    plane = Plane()
    with pytest.raises(ClientError):
        client("iot", plane.application, secret=SECRET + "x").list_things()
    [refusal] = plane.refused
    assert (ReasonCode.API_WRONG_SIGNATURE, None, "AKIDEXAMPLE") == (
        refusal.reason,
        refusal.account_id,
        refusal.access_key_id,
    )


async def test_what_a_peer_sent_cannot_act_in_the_record() -> None:
    plane = Plane()
    await call(plane.application, "GET", "/things/%1b%5b31m", {"host": "h"})
    scope_path = "/things/\x1b[31m" + "x" * 5000
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": scope_path,
        "raw_path": b"/things/%1b%5b31m",
        "query_string": b"",
        "headers": [(b"host", b"h")],
        "client": None,
    }
    await plane.application(scope, receive, send)
    assert "\x1b" not in plane.refused[-1].path
    assert len(plane.refused[-1].path) < 300
    assert "" == plane.refused[-1].address


def test_a_body_over_the_limit_is_413_and_recorded() -> None:
    plane = Plane()
    with pytest.raises(ClientError) as caught:
        plane.iot.create_policy(policyName="p", policyDocument="x" * 2 * LIMIT)
    response = caught.value.response
    assert 413 == response["ResponseMetadata"]["HTTPStatusCode"]
    assert "RequestEntityTooLargeException" == response["Error"]["Code"]
    assert str(LIMIT) in response["Error"]["Message"]
    assert "close" == response["ResponseMetadata"]["HTTPHeaders"]["connection"]
    assert ReasonCode.LIMIT_EXCEEDED == plane.refused[0].reason


def test_the_body_of_an_unknown_key_is_never_read() -> None:
    plane = Plane()
    with pytest.raises(ClientError) as caught:
        client("iot", plane.application, key_id="AKIDNOBODY").create_policy(
            policyName="p", policyDocument="x" * 2 * LIMIT
        )
    assert "UnrecognizedClientException" == caught.value.response["Error"]["Code"]


def test_the_signature_is_judged_before_the_body_is_parsed() -> None:
    plane = Plane()
    with pytest.raises(ClientError) as caught:
        client("iot", plane.application, secret="x").create_policy(policyName="b a d", policyDocument="x")
    assert "InvalidSignatureException" == caught.value.response["Error"]["Code"]


def test_the_scope_must_be_of_the_service_whose_path_it_is() -> None:
    plane = Plane()
    for service, ask in (("iot-data", lambda c: c.publish(topic="a")), ("iot", lambda c: c.list_things())):
        made = client(service, plane.application)
        made._request_signer._signing_name = "handfast"
        with pytest.raises(ClientError, match="Credential should be scoped to") as caught:
            ask(made)
        assert "InvalidSignatureException" == caught.value.response["Error"]["Code"]


def test_a_blob_payload_and_its_headers_arrive() -> None:
    seen: list[Any] = []

    async def publish(ctx: Any, **members: Any) -> None:
        seen.append(members)

    plane = Plane(publish=publish)
    data = client("iot-data", plane.application)
    data.publish(topic="a/b +c", qos=1, retain=True, payload=b"\x00\xff", userProperties=[{"a": "ü"}], messageExpiry=5)
    assert {
        "topic": "a/b +c",
        "qos": 1,
        "retain": True,
        "payload": b"\x00\xff",
        "user_properties": [{"a": "ü"}],
        "message_expiry": 5,
    } == seen[0]


async def test_lifespan_and_websocket_scopes_are_answered() -> None:
    plane = Plane()
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return events.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await plane.application({"type": "lifespan"}, receive, send)
    await plane.application({"type": "websocket"}, receive, send)
    assert ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"] == sent


def test_a_client_that_leaves_is_not_answered() -> None:
    sent: list[Any] = []

    async def publish(ctx: Any, **members: Any) -> None: ...

    plane = Plane(publish=publish)
    data = client("iot-data", plane.application)
    data.publish(topic="a", payload=b"abc")
    headers = [
        (name.lower().encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in data.sent[0].headers.items()
    ]
    headers = [*(h for h in headers if h[0] != b"host"), (b"host", b"iot.test")]

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/topics/a",
        "raw_path": b"/topics/a",
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.7", 1),
    }
    asyncio.run(plane.application(scope, receive, send))
    assert [] == sent


def body_of(headers: dict[str, str], chunks: list[bytes], *, more: bool = False) -> tuple[RequestBody, list[bytes]]:
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        chunk = left.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": more or bool(left)}

    head = HttpRequest("POST", "/", "", list(headers.items()))
    return RequestBody(head, receive), left


async def test_a_chunked_body_is_bounded_without_a_length() -> None:
    body, left = body_of({"transfer-encoding": "chunked"}, [b"x" * 600] * 4)
    with pytest.raises(Exception, match="longer than 1024 bytes"):
        await body.read(1024)
    assert [] == left  # dropped, so that the client sees the answer
    body, _ = body_of({"transfer-encoding": "chunked"}, [b"ab", b"", b"c"])
    assert b"abc" == await body.read(3)


async def test_a_client_that_awaits_the_go_ahead_is_not_given_it() -> None:
    body, left = body_of({"content-length": "5000", "expect": "100-continue"}, [b"x" * 5000])
    with pytest.raises(Exception, match="longer than 1024 bytes"):
        await body.read(1024)
    assert 1 == len(left)


async def test_a_body_that_does_not_arrive_is_given_up() -> None:
    body, _ = body_of({"content-length": "10"}, [b"x"], more=True)
    with pytest.raises(Exception, match="did not arrive"):
        await body.read(1024, timeout_s=0.01)


async def test_an_absurd_length_is_too_long_at_once() -> None:
    body, left = body_of({"content-length": "9" * 18, "expect": "100-continue"}, [b"x"])
    with pytest.raises(Exception, match="longer than"):
        await body.read(1024)
    assert 1 == len(left)
