"""Which key may call what: the operator's, an account's, one that was revoked, one of a disabled account."""

from __future__ import annotations

import random
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from tests.support.keys import ACCOUNT, EVERYONE, OPERATOR
from tests.support.server import Server, start
from tests.support.shapes import structure
from tests.support.strict import leaf, operator, tenant

from handfast.app import implemented_operations
from handfast.wire.client import _client
from handfast.wire.spec import load_service

IMPLEMENTED = [(service, name) for service, names in implemented_operations().items() for name in sorted(names)]
OF_ACCOUNTS = [(service, name) for service, name in IMPLEMENTED if service != "handfast" or name in ACCOUNT]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of their own: of one address only so many refusals are recorded, and other tests ask for theirs."""
    running = start(tmp_path_factory.mktemp("own") / "data")
    yield running
    assert 0 == running.stop()
    assert "Traceback" not in running.log.read_text()


def members_of(service: str, name: str) -> dict[str, Any]:
    """Members that the model allows, and that name nothing which exists."""
    return structure(load_service(service).operations[name].input, random.Random(name), full=False)  # type: ignore[arg-type]


def client_of(server: Server, service: str, keys: tuple[str, str], token: str | None = None) -> Any:
    """One client of each service, which signs with the keys from now on: to make one takes longer than its calls."""
    found = server.clients.get((service, "any", "key"))
    if found is None:
        found = _client(service, server.api, "us-east-1", *keys, None, total_max_attempts=1)
        server.clients[service, "any", "key"] = found
    found._request_signer._credentials = Credentials(*keys, token)
    return found


def refusal(server: Server, service: str, name: str, keys: tuple[str, str]) -> tuple[str, int]:
    """What the call ends with: code and status; ("", 200) when it succeeds."""
    found = client_of(server, service, keys)
    try:
        answer = found._make_api_call(name, members_of(service, name))
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    return "", answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize(("service", "name"), OF_ACCOUNTS)
def test_the_operators_key_owns_no_resources(server: Server, service: str, name: str) -> None:
    keys = server.credentials("handfast-operator")
    assert ("AccessDeniedException", 403) == refusal(server, service, name, keys)


@pytest.mark.parametrize("name", sorted(OPERATOR))
def test_an_accounts_key_administers_nothing(server: Server, name: str) -> None:
    before = operator(server).list_accounts()["accounts"]
    assert ("AccessDeniedException", 403) == refusal(server, "handfast", name, server.credentials())
    assert before == operator(server).list_accounts()["accounts"]


@pytest.mark.parametrize("name", sorted(ACCOUNT | EVERYONE))
def test_an_accounts_key_is_answered_with_its_own(server: Server, name: str) -> None:
    mine, other = tenant(server), tenant(server)
    other.iot.describe_endpoint(endpointType="iot:Data-ATS")
    with pytest.raises(ClientError):
        other.iot.describe_thing(thingName="none")
    theirs = other.iot.register_certificate_without_ca(certificatePem=leaf())["certificateId"]
    client = client_of(server, "handfast", mine.keys)
    try:
        answer = str(client._make_api_call(name, members_of("handfast", name)))
    except ClientError as error:
        answer, code = str(error.response), error.response["Error"]["Code"]
        if code == "AccessDeniedException" or code not in load_service("handfast").operations[name].errors:
            raise
    assert other.account not in answer
    assert theirs not in answer


@pytest.mark.parametrize("name", sorted(EVERYONE))
def test_the_operators_key_sees_every_account(server: Server, name: str) -> None:
    assert ("", 200) == refusal(server, "handfast", name, server.credentials("handfast-operator"))


# --- keys that do not count


@pytest.fixture(scope="module")
def revoked(server: Server) -> tuple[str, str]:
    side = tenant(server)
    side.iot.list_things()
    operator(server).revoke_access_key(accountId=side.account, accessKeyId=side.keys[0])
    return side.keys


@pytest.fixture(scope="module")
def disabled(server: Server) -> tuple[str, str]:
    side = tenant(server)
    side.iot.list_things()
    operator(server).update_account(accountId=side.account, status="DISABLED")
    return side.keys


def test_a_disabled_account_is_told_so_and_the_operator_finds_the_refusal(
    server: Server, disabled: tuple[str, str]
) -> None:
    client = server.client(keys=disabled, config=Config(retries={"total_max_attempts": 1}))
    with pytest.raises(client.exceptions.UnauthorizedException) as caught:
        client.list_certificates()
    assert "is disabled" in caught.value.response["Error"]["Message"]
    (found,) = server.explain(caught.value.response["ResponseMetadata"]["RequestId"])
    assert "ACCOUNT_DISABLED" in str(found)


@pytest.mark.parametrize(("service", "name"), IMPLEMENTED)
def test_keys_that_do_not_count_are_refused_everywhere(
    server: Server, revoked: tuple[str, str], disabled: tuple[str, str], service: str, name: str
) -> None:
    unknown = ("AKIAQQQQQQQQQQQQQQQQ", "x" * 40)
    wrong = (disabled[0], "x" * 40)
    assert ("UnrecognizedClientException", 403) == refusal(server, service, name, revoked)
    assert ("UnrecognizedClientException", 403) == refusal(server, service, name, unknown)
    assert ("UnauthorizedException", 401) == refusal(server, service, name, disabled)
    assert ("InvalidSignatureException", 403) == refusal(server, service, name, wrong)


def test_an_account_that_is_enabled_again_goes_on_where_it_was(server: Server) -> None:
    side = tenant(server)
    side.iot.create_thing(thingName="kept")
    second = operator(server).create_access_key(accountId=side.account)
    for status, expected in (("DISABLED", ("UnauthorizedException", 401)), ("ENABLED", ("", 200))):
        operator(server).update_account(accountId=side.account, status=status)
        for keys in (side.keys, (second["accessKeyId"], second["secretAccessKey"])):
            assert expected == refusal(server, "iot", "ListThings", keys)
    assert ["kept"] == [thing["thingName"] for thing in side.iot.list_things()["things"]]
    operator(server).revoke_access_key(accountId=side.account, accessKeyId=second["accessKeyId"])
    keys = (second["accessKeyId"], second["secretAccessKey"])
    assert ("UnrecognizedClientException", 403) == refusal(server, "iot", "ListThings", keys)
    assert ("", 200) == refusal(server, "iot", "ListThings", side.keys)


# --- session tokens


def presigned(server: Server, *, token: str | None = None, appended: str = "") -> tuple[int, str]:
    """GET /things by a presigned URL: status, and the error's name."""
    key_id, secret = server.credentials()
    request = AWSRequest("GET", f"{server.api}/things")
    SigV4QueryAuth(Credentials(key_id, secret, token), "iot", "us-east-1", expires=60).add_auth(request)
    try:
        with urllib.request.urlopen(request.url + appended, timeout=10) as response:
            return response.status, ""
    except urllib.error.HTTPError as error:
        return error.code, str(error.headers["x-amzn-ErrorType"])


def test_a_session_token_is_refused_in_a_presigned_url_signed_or_appended(server: Server) -> None:
    assert (200, "") == presigned(server)
    expected = (403, "UnrecognizedClientException")
    assert expected == presigned(server, token="FwoGZXIvYXdzEXAMPLE")
    assert expected == presigned(server, appended="&X-Amz-Security-Token=FwoGZXIvYXdzEXAMPLE")


@pytest.mark.parametrize("service", ["iot", "iot-data", "handfast"])
def test_a_session_token_is_refused_in_a_header_by_every_service(server: Server, service: str) -> None:
    key_id, secret = server.credentials("handfast-operator" if service == "handfast" else "default")
    client = client_of(server, service, (key_id, secret), "FwoGZXIvYXdzEXAMPLE")
    name = {"iot": "ListThings", "iot-data": "Publish", "handfast": "ListAccounts"}[service]
    with pytest.raises(ClientError) as caught:
        client._make_api_call(name, members_of(service, name))
    assert "UnrecognizedClientException" == caught.value.response["Error"]["Code"]
    assert "session token" in caught.value.response["Error"]["Message"]
