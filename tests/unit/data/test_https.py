"""The HTTPS device port: the verdict per request, one answer for every refusal, clear answers to bad requests."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import pytest
from tests.support.inprocess import CountingEntropy, call

from handfast.core.identity.caller import Caller
from handfast.core.identity.ids import AccountId, CertificateId, Scope
from handfast.core.identity.refusal import ReasonCode, Stage
from handfast.core.mqtt.properties import Property, Where, decode_block
from handfast.data.handlers import DataHandlers
from handfast.data.https import HttpsApplication
from handfast.errors import AccessDeniedError, ForbiddenError, StoreUnavailable, ThrottlingError
from handfast.seam import Admitted, ListenerKind, Refused, TLSFacts
from handfast.wire.spec import load_service

SCOPE = Scope(AccountId("123456789012"), "us-east-1")
ADMITTED = Admitted(SCOPE, CertificateId("a" * 64), "x-ats.iot.us-east-1.localhost", 2e9)
FACTS = TLSFacts(
    listener=ListenerKind.HTTPS,
    peer_address="192.0.2.7",
    peer_port=49152,
    local_address="127.0.0.1",
    certificate_der=b"",
    certificate_id=CertificateId("a" * 64),
    sni=None,
    alpn=None,
    version="TLSv1.3",
    cipher="TLS_AES_128_GCM_SHA256",
    group="X25519",
    chain_kind="rsa",
)


class FakeAuthorizer:
    version = 1
    last_trace_id: str | None = None

    def __init__(self, plane: FakePlane) -> None:
        self._plane = plane

    def publish(self, topic: str) -> bool:
        return self._decide(topic in self._plane.may_publish)

    def retain(self, topic: str) -> bool:
        return self._decide(topic in self._plane.may_retain)

    def _decide(self, allowed: bool) -> bool:
        if not allowed:
            self.last_trace_id = "trace-of-the-policy"
        return allowed


class FakePlane:
    """A Plane and a DataPlane that answer as they are told, and remember."""

    def __init__(self) -> None:
        self.now: Any = ADMITTED
        self.later: Any = ADMITTED
        self.may_publish = {"a/b", "a b", "a//b/", "é"}
        self.may_retain: set[str] = set()
        self.published: list[dict[str, Any]] = []
        self.refused: list[tuple[Any, ...]] = []
        self.accepted: bool | Exception = True

    def identify_now(self, facts: TLSFacts) -> Any:
        return self._give(self.now)

    async def identify(self, facts: TLSFacts) -> Any:
        return self._give(self.later)

    def http(self, facts: TLSFacts, admitted: Admitted) -> FakeAuthorizer:
        return FakeAuthorizer(self)

    def refuse(self, stage: Stage, reasons: Any, facts: Any, admitted: Any = None, **about: Any) -> str:
        self.refused.append((stage, reasons[0].code, about.get("resource")))
        return f"trace-{len(self.refused)}"

    async def publish(self, scope: Scope, topic: str, payload: bytes, **more: Any) -> bool:
        self.published.append({"scope": scope, "topic": topic, "payload": payload, **more})
        return bool(self._give(self.accepted))

    @staticmethod
    def _give(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value


@pytest.fixture
def plane() -> FakePlane:
    return FakePlane()


async def post(plane: FakePlane, target: str, body: bytes = b"hi", *, method: str = "POST", **headers: str) -> Any:
    application = HttpsApplication(plane, plane, CountingEntropy())  # type: ignore[arg-type]
    lines = {"host": "h", "content-length": str(len(body))} | {n.replace("_", "-"): v for n, v in headers.items()}
    answer = await call(application, method, target, lines, body, scheme="https", state={"tls": FACTS})
    return answer, json.loads(answer.body) if answer.body else {}


@pytest.mark.parametrize(
    ("target", "topic"),
    [
        ("/topics/a/b", "a/b"),
        ("/topics/a%2Fb", "a/b"),
        ("/topics/a%20b", "a b"),
        ("/topics/a//b/", "a//b/"),
        ("/topics/%C3%A9", "é"),
    ],
)
async def test_a_topic_arrives_however_its_slashes_are_written(plane: FakePlane, target: str, topic: str) -> None:
    answer, body = await post(plane, target)
    assert (200, "OK") == (answer.status, body["message"])
    assert body["traceId"] == answer.headers["x-amzn-requestid"]
    [message] = plane.published
    assert (SCOPE, topic, b"hi", 0, False, b"") == tuple(message.values())


async def test_every_member_is_published(plane: FakePlane) -> None:
    plane.may_retain = {"a/b"}
    answer, _ = await post(
        plane,
        "/topics/a%2Fb?qos=1&retain=true&contentType=text%2Fplain&responseTopic=r%2Ft&messageExpiry=9",
        x_amz_mqtt5_user_properties=base64.b64encode(b'[{"a": "b"}]').decode(),
        x_amz_mqtt5_payload_format_indicator="UTF8_DATA",
        x_amz_mqtt5_correlation_data=base64.b64encode(b"c").decode(),
    )
    assert 200 == answer.status
    [message] = plane.published
    assert (1, True) == (message["qos"], message["retain"])
    properties = decode_block(message["properties"], Where.PUBLISH)
    assert [("a", "b")] == properties.user
    assert {
        Property.PAYLOAD_FORMAT_INDICATOR: 1,
        Property.MESSAGE_EXPIRY_INTERVAL: 9,
        Property.CONTENT_TYPE: "text/plain",
        Property.RESPONSE_TOPIC: "r/t",
        Property.CORRELATION_DATA: b"c",
    } == properties.values


async def test_an_identity_that_is_not_in_memory_is_awaited(plane: FakePlane) -> None:
    plane.now = None
    assert 200 == (await post(plane, "/topics/a/b"))[0].status
    plane.later = Refused("trace-later")
    answer, body = await post(plane, "/topics/a/b")
    assert (403, "trace-later") == (answer.status, body["traceId"])


async def test_every_refusal_looks_the_same(plane: FakePlane) -> None:
    answers = [await post(plane, "/topics/denied"), await post(plane, "/topics/a/b?retain=true")]
    answers += [await post(plane, "/topics/%24SYS%2Fx")]
    for verdict in (Refused("trace-of-the-verdict"), RuntimeError("bug")):
        plane.now = verdict
        answers.append(await post(plane, "/topics/a/b"))
    traces = [body.pop("traceId") for _, body in answers]
    assert ["trace-of-the-policy", "trace-of-the-policy", "trace-1", "trace-of-the-verdict", "trace-2"] == traces
    assert all(body == {"message": "Forbidden"} for _, body in answers)
    for answer, _ in answers:
        answer.headers.pop("x-amzn-requestid")
        answer.headers.pop("content-length")
    assert all((403, answers[0][0].headers) == (answer.status, answer.headers) for answer, _ in answers)
    assert "ForbiddenException" == answers[0][0].headers["x-amzn-errortype"]
    assert [] == plane.published


async def test_a_reserved_topic_is_recorded_with_its_name(plane: FakePlane) -> None:
    await post(plane, "/topics/%24aws%2Fevents%2Fx")
    assert [(Stage.PUBLISH, ReasonCode.TOPIC_NOT_VALID, "$aws/events/x")] == plane.refused


async def test_a_request_without_the_facts_of_a_handshake_is_refused(plane: FakePlane) -> None:
    application = HttpsApplication(plane, plane, CountingEntropy())  # type: ignore[arg-type]
    answer = await call(application, "POST", "/topics/a/b", {"host": "h"}, b"x")
    assert 403 == answer.status
    assert [] == plane.published


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/topics/a/b?qos=2", 400),
        ("POST", "/topics/a/b?qos=x", 400),
        ("POST", "/topics/a/b?qos=1&qos=0", 400),
        ("POST", "/topics/a/b?retain=yes", 400),
        ("POST", "/topics/a%2B", 400),
        ("POST", "/topics/a/%23", 400),
        ("POST", "/topics/%zz", 400),
        ("POST", "/topics/%ff", 400),
        ("POST", "/topics/a%00b", 400),
        ("POST", "/topics/a/b?messageExpiry=-1", 400),
        ("POST", "/topics", 404),
        ("POST", "/topics/", 404),
        ("POST", "/nothing", 404),
        ("GET", "/topics/a", 405),
        ("PUT", "/topics/a", 405),
        ("GET", "/things/t/shadow", 501),
    ],
)
async def test_bad_requests_get_clear_answers(plane: FakePlane, method: str, target: str, status: int) -> None:
    answer, body = await post(plane, target, method=method)
    assert status == answer.status
    assert body["message"]
    assert body["traceId"]
    assert [] == plane.published
    assert bool(plane.refused) == (status == 400)
    assert ("POST" if status == 405 else None) == answer.headers.get("allow")


async def test_a_payload_over_the_limit_is_413_and_recorded(plane: FakePlane) -> None:
    answer, body = await post(plane, "/topics/a/b", b"x" * (128 * 1024 + 1))
    assert (413, "close", "trace-1") == (answer.status, answer.headers["connection"], body["traceId"])
    assert [(Stage.PROTOCOL, ReasonCode.PACKET_TOO_LARGE, None)] == plane.refused
    answer, _ = await post(plane, "/topics/a/b", b"x" * (128 * 1024))
    assert 200 == answer.status


@pytest.mark.parametrize(
    ("accepted", "status", "code"),
    [
        (False, 429, "ThrottlingException"),
        (StoreUnavailable("down"), 503, "ServiceUnavailableException"),
        (RuntimeError("the secret detail"), 500, "InternalFailureException"),
    ],
)
async def test_what_the_data_plane_could_not_do_is_said(
    plane: FakePlane, accepted: Any, status: int, code: str
) -> None:
    plane.accepted = accepted
    answer, body = await post(plane, "/topics/a/b")
    assert (status, code) == (answer.status, answer.headers["x-amzn-errortype"])
    assert "secret" not in json.dumps(body)


def caller(account: str | None) -> Caller:
    return Caller(
        account_id=None if account is None else AccountId(account),
        region="eu-west-1",
        access_key_id="AKID",
        address="192.0.2.7",
        request_id="r",
        at=dt.datetime.now(dt.UTC),
    )


async def test_an_accounts_key_publishes_into_its_own_account_and_region(plane: FakePlane) -> None:
    publish = DataHandlers(plane).handlers()["Publish"]  # type: ignore[arg-type]
    assert await publish(caller("210987654321"), topic="any/thing", payload=b"x", qos=1) is None
    [message] = plane.published
    assert (Scope(AccountId("210987654321"), "eu-west-1"), "any/thing", 1) == (
        message["scope"],
        message["topic"],
        message["qos"],
    )


async def test_the_signed_publish_refuses_what_it_must(plane: FakePlane) -> None:
    publish = DataHandlers(plane).handlers()["Publish"]  # type: ignore[arg-type]
    with pytest.raises(AccessDeniedError):
        await publish(caller(None), topic="a")
    with pytest.raises(ForbiddenError):
        await publish(caller("210987654321"), topic="$SYS/a")
    plane.accepted = False
    with pytest.raises(ThrottlingError):
        await publish(caller("210987654321"), topic="a")


def test_the_handlers_fit_the_model() -> None:
    assert DataHandlers(FakePlane()).handlers().keys() <= load_service("iot-data").operations.keys()  # type: ignore[arg-type]
