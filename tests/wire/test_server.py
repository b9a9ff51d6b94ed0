"""boto3 and raw sockets against the application on a real uvicorn with its bounded protocol."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.support.inprocess import ACCOUNT, KEY_ID, SECRET, CountingEntropy, SystemClock, known_keys

from handfast.errors import ResourceAlreadyExistsError
from handfast.wire import http_protocol
from handfast.wire.client import handfast_client, iot_client, iot_data_client
from handfast.wire.http_protocol import BoundedHttpProtocol
from handfast.wire.sigv4 import Authenticator
from handfast.wire.skeleton import ApiApplication, MountedService
from handfast.wire.spec import load_service

ARN = "arn:aws:iot:us-east-1:123456789012:cert/" + "a" * 64
POLICY = "a+b=c,d.e@f-_"
HEAD_TIMEOUT_S = 0.4


class Running:
    """A server on a free port, its handlers noting what they got."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        clock = SystemClock()
        application = ApiApplication(
            [
                MountedService(
                    load_service("iot"),
                    {
                        name: self._handler(name, result)
                        for name, result in {
                            "AttachPolicy": None,
                            "ListAttachedPolicies": {"policies": [{"policy_name": POLICY, "policy_arn": "x"}]},
                            "GetPolicy": {"policy_name": POLICY, "creation_date": clock.now()},
                            "AttachThingPrincipal": {},
                            "CreateThing": ResourceAlreadyExistsError("taken", resourceId="i", resourceArn="a"),
                            "ListThings": {"things": []},
                            "CreatePolicy": {},
                        }.items()
                    },
                ),
                MountedService(load_service("iot-data"), {"Publish": self._handler("Publish", None)}),
                MountedService(load_service("handfast"), {"ListAccounts": self._handler("ListAccounts", {})}),
            ],
            Authenticator(known_keys, clock),
            clock,
            CountingEntropy(),
            lambda refusal: None,
        )
        config = uvicorn.Config(
            application, port=0, http=BoundedHttpProtocol, ws="none", lifespan="off", log_level="critical"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def _handler(self, name: str, result: Any) -> Any:
        async def handle(ctx: Any, **members: Any) -> Any:
            assert ACCOUNT == ctx.account_id
            self.seen.append((name, members))
            if isinstance(result, Exception):
                raise result
            return result

        return handle

    def raw(self, *pieces: bytes) -> bytes:
        """What the server answers to bytes on a new connection, until it closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as peer:
            for piece in pieces:
                peer.sendall(piece)
            return _until_closed(peer)


def _until_closed(peer: socket.socket) -> bytes:
    got = b""
    try:
        while chunk := peer.recv(65536):
            got += chunk
    except ConnectionResetError:
        pass
    return got


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    patch = pytest.MonkeyPatch()
    patch.setattr(http_protocol, "HEAD_TIMEOUT_S", HEAD_TIMEOUT_S)
    running = Running()
    running.start()
    yield running
    running.stop()
    patch.undo()


@pytest.fixture
def iot(server: Running) -> Any:
    return boto3.client(
        "iot",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.mark.parametrize("policy", [POLICY, "p", "+", "=,@"])
def test_policy_names_and_arns_survive_the_path(server: Running, iot: Any, policy: str) -> None:
    server.seen.clear()
    iot.attach_policy(policyName=policy, target=ARN)
    iot.list_attached_policies(target=ARN, recursive=True, pageSize=25)
    assert POLICY == iot.get_policy(policyName=policy)["policyName"]
    iot.attach_thing_principal(thingName="a:b", principal=ARN)
    assert [
        ("AttachPolicy", {"policy_name": policy, "target": ARN}),
        ("ListAttachedPolicies", {"target": ARN, "recursive": True, "page_size": 25}),
        ("GetPolicy", {"policy_name": policy}),
        ("AttachThingPrincipal", {"thing_name": "a:b", "principal": ARN}),
    ] == server.seen


def test_errors_and_their_members_arrive(iot: Any) -> None:
    with pytest.raises(iot.exceptions.ResourceAlreadyExistsException) as caught:
        iot.create_thing(thingName="n")
    assert ("i", "a", 409) == (
        caught.value.response["resourceId"],
        caught.value.response["resourceArn"],
        caught.value.response["ResponseMetadata"]["HTTPStatusCode"],
    )


def test_our_own_clients_reach_their_services(server: Running) -> None:
    server.seen.clear()
    iot_client(server.url, "us-east-1", KEY_ID, SECRET).list_things()
    handfast_client(server.url, "us-east-1", KEY_ID, SECRET).list_accounts()
    iot_data_client(server.url, "us-east-1", KEY_ID, SECRET).publish(topic="a/b", payload=b"\x00")
    assert ["ListThings", "ListAccounts", "Publish"] == [name for name, _ in server.seen]


def test_our_own_clients_ignore_the_users_profile(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "leftover")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert handfast_client(server.url, "us-east-1", KEY_ID, SECRET).list_accounts()


def test_a_body_of_many_megabytes_gets_an_answer_and_the_next_call_works(server: Running, iot: Any) -> None:
    with pytest.raises(ClientError) as caught:
        iot.create_policy(policyName="huge", policyDocument="x" * 3_000_000)
    assert 413 == caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
    assert [] == iot.list_things()["things"]


def answer(raw: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 100_000], 431),
        ([b"GET /" + b"x" * 100_000], 431),
        ([b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 200 + b"\r\n"], 431),
        ([b"GET / HTTP/1.1\r\nHost: h\r\nX: slow"], 408),
        ([b"GET /mqtt HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"], 408),
        ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"], 400),
        ([b"GET / HTTP/9.9\r\n\r\n"], 400),
        ([b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"], 400),
        ([b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"], 400),
    ],
    ids=["header", "target", "count", "late", "late upgrade", "tls", "version", "lengths", "negative"],
)
def test_a_head_over_its_bounds_is_answered_and_closed(server: Running, pieces: list[bytes], status: int) -> None:
    got, body = answer(server.raw(*pieces))
    assert status == got
    assert body["message"]


def test_a_connection_that_says_nothing_is_closed_without_a_word(server: Running) -> None:
    assert b"" == server.raw(b"")


def test_trailers_are_bounded_and_never_become_headers(server: Running) -> None:
    head = b"POST /topics/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    endless = server.raw(head, b"T: " + b"x" * 200_000)
    assert endless.count(b"HTTP/1.1") <= 1  # closed, with or without the answer to what came before
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as peer:
        peer.sendall(head + b"Authorization: AWS4-HMAC-SHA256 x\r\n\r\n")
        got = peer.recv(65536)
    assert b"MissingAuthenticationTokenException" in got


def test_pipelined_and_kept_connections_are_served(server: Running) -> None:
    request = b"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as peer:
        peer.sendall(request * 3)
        got = b""
        while got.count(b"HTTP/1.1 404") < 3:
            got += peer.recv(65536)
        time.sleep(HEAD_TIMEOUT_S * 1.5)  # an idle kept connection is not a late head
        peer.sendall(request)
        assert b"404" in peer.recv(65536)
