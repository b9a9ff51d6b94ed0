"""The API door refuses what is not signed as it should be, with the errors AWS clients know."""

from __future__ import annotations

import datetime as dt
import json
import urllib.error
import urllib.request
from typing import Any
from unittest import mock

import boto3
import botocore.auth
import botocore.crt.auth
import pytest
from botocore.exceptions import ClientError
from tests.support.server import Server

from handfast.wire.client import handfast_client


def error_of(client: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        client.list_things()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_wrong_secret_is_refused_and_recorded(server: Server) -> None:
    key_id, secret = server.credentials()
    wrong = server.client(keys=(key_id, secret[:-1] + ("a" if secret[-1] != "a" else "b")), verify=False)
    assert ("InvalidSignatureException", 403) == error_of(wrong)
    told = server.handfast("explain", "127.0.0.1").stdout
    assert "signature" in told.lower()


def test_the_request_id_of_a_refusal_finds_it(server: Server) -> None:
    with pytest.raises(ClientError) as caught:
        server.client(keys=("AKIAQQQQQQQQQQQQQQQR", "x" * 40)).list_things()
    assert "API_UNKNOWN_KEY" in str(server.explain(caught.value.response["ResponseMetadata"]["RequestId"]))


def test_an_unknown_key_is_refused(server: Server) -> None:
    assert error_of(server.client(keys=("AKIAQQQQQQQQQQQQQQQQ", "x" * 40))) == ("UnrecognizedClientException", 403)


def test_a_clock_ten_minutes_off_is_refused(server: Server) -> None:
    client = server.client()
    now = dt.datetime.now(dt.UTC)
    for shift in (dt.timedelta(minutes=10), dt.timedelta(minutes=-10)):
        moved = (now + shift).replace(tzinfo=None)
        with (
            mock.patch.object(botocore.auth, "get_current_datetime", return_value=moved),
            mock.patch.object(botocore.crt.auth, "get_current_datetime", return_value=moved),
        ):
            assert ("InvalidSignatureException", 403) == error_of(client)


def test_no_signature_is_refused(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server.api}/things", timeout=10)
    assert 403 == caught.value.code
    assert caught.value.headers["x-amzn-ErrorType"].startswith("MissingAuthenticationTokenException")
    assert json.loads(caught.value.read())["message"]


def test_a_session_token_is_refused_clearly(server: Server) -> None:
    key_id, secret = server.credentials()
    client = boto3.client(
        "iot",
        region_name="us-east-1",
        endpoint_url=server.api,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        aws_session_token="FwoGZXIvYXdzEXAMPLE",
    )
    with pytest.raises(ClientError) as caught:
        client.list_things()
    assert 403 == caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
    assert "token" in caught.value.response["Error"]["Message"].lower()


def test_the_operator_key_owns_no_resources(server: Server) -> None:
    assert error_of(server.client(keys=server.credentials("handfast-operator"))) == ("AccessDeniedException", 403)


def test_an_account_key_may_not_make_accounts(server: Server) -> None:
    key_id, secret = server.credentials()
    client = handfast_client(server.api, "us-east-1", key_id, secret)
    with pytest.raises(ClientError) as caught:
        client.create_account(name="mine")
    assert "AccessDeniedException" == caught.value.response["Error"]["Code"]


def test_a_body_over_the_limit_is_refused_and_the_server_goes_on(server: Server, iot: Any) -> None:
    with pytest.raises(ClientError) as caught:
        iot.create_policy(policyName="huge", policyDocument=" " * 400_000 + "{" * 4_000)
    assert 400 == caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
    request = urllib.request.Request(
        f"{server.api}/policies/huge",
        data=b"x" * 8_000_000,
        method="POST",
        headers={"Content-Type": "application/json"},
    )
    with pytest.raises((urllib.error.HTTPError, urllib.error.URLError, ConnectionError)) as refused:
        urllib.request.urlopen(request, timeout=10)
    if isinstance(refused.value, urllib.error.HTTPError):
        assert refused.value.code in (403, 413)
    assert iot.list_things(maxResults=1)["ResponseMetadata"]["HTTPStatusCode"] == 200
