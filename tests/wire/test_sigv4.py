"""SigV4: the published vectors pass, and nothing that differs from what was signed does."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import replace
from typing import Any
from unittest import mock

import botocore.auth
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import normalize_url_path
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.inprocess import ACCOUNT, KEY_ID, SECRET, FixedClock, known_keys

from handfast.core.identity.refusal import ReasonCode
from handfast.errors import InvalidRequestError
from handfast.wire.parser import HttpRequest
from handfast.wire.signature import plain_path, signature
from handfast.wire.sigv4 import Authenticator, Refused, SigningKey, check_target, read_claim

AT = dt.datetime(2030, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
HOST = "iot.us-east-1.amazonaws.com"
CERT = "arn%3Aaws%3Aiot%3Aus-east-1%3A123456789012%3Acert%2F" + "a" * 64


def authenticator(at: dt.datetime = AT, **options: Any) -> Authenticator:
    return Authenticator(known_keys, FixedClock(at), **options)


async def verify(request: HttpRequest, at: dt.datetime = AT, service: str = "iot", **options: Any) -> Any:
    return await authenticator(at, **options).verify(request, signing_names={service})


async def refusal(request: HttpRequest, at: dt.datetime = AT, service: str = "iot", **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await verify(request, at, service, **options)
    return caught.value


def signed(
    method: str = "POST",
    path: str = "/policies/My%2BPolicy",
    query: str = "",
    headers: dict[str, str] | None = None,
    body: bytes = b'{"policyDocument": "{}"}',
    *,
    key_id: str = KEY_ID,
    secret: str = SECRET,
    token: str | None = None,
    service: str = "iot",
    region: str = "us-east-1",
    at: dt.datetime = AT,
    expires_s: int | None = None,
) -> HttpRequest:
    """A request as botocore signs it."""
    url = f"https://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers=headers or {}, data=body)
    credentials = Credentials(key_id, secret, token)
    signer = (
        SigV4Auth(credentials, service, region)
        if expires_s is None
        else SigV4QueryAuth(credentials, service, region, expires=expires_s)
    )
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=at.replace(tzinfo=None)):
        signer.add_auth(request)
    target = request.url.removeprefix(f"https://{HOST}")
    raw_path, _, raw_query = target.partition("?")
    lines = [(name.lower(), value) for name, value in request.headers.items()]
    return HttpRequest(method, raw_path, raw_query, [("host", HOST), *lines], body)


def vector(method: str, path: str, query: str, names: str, signature: str, extra: Any = (), body: bytes = b"") -> Any:
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20300102/us-east-1/iot/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    headers = [("host", HOST), ("x-amz-date", "20300102T030405Z"), ("authorization", authorization), *extra]
    return HttpRequest(method, path, query, headers, body)


VECTORS = [
    vector(
        "POST",
        f"/attached-policies/{CERT}",
        "pageSize=25&recursive=true",
        "host;x-amz-date",
        "02a04a4e0083549e01d0779a46ff0c4c3f07c86f58e6efd5fd7d0e3207ad597f",
    ),
    vector(
        "PUT",
        "/target-policies/My%2BPolicy",
        "",
        "content-type;host;x-amz-date",
        "2eed70fc40343a59582a58d972150d819014f90e2a0df344a062169f5ba68653",
        [("content-type", "application/json")],
        b'{"target": "x"}',
    ),
]


@pytest.mark.parametrize("request_", VECTORS)
async def test_the_published_vectors_verify(request_: HttpRequest) -> None:
    caller = await verify(request_)
    assert (ACCOUNT, "us-east-1", KEY_ID) == (caller.account_id, caller.region, caller.access_key_id)


def test_the_signature_of_the_test_suite_is_recomputed() -> None:
    """`get-vanilla` of AWS's Signature Version 4 test suite."""
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )
    headers = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        ("authorization", authorization),
    ]
    request = HttpRequest("GET", "/", "", headers)
    claim = read_claim(request)
    empty = hashlib.sha256(b"").hexdigest()
    assert claim.signature == signature(claim, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", request, "", empty)


@given(path=st.text("/.a", max_size=12).map("/{}".format))
def test_segments_are_dropped_as_botocore_drops_them(path: str) -> None:
    assert normalize_url_path(path) == plain_path(path)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"raw_path": "/target-policies/My%2BPolicz"},
        {"raw_path": "/target-policies/My+Policy"},
        {"raw_path": "/target-policies/My%2bPolicy"},
        {"raw_path": "/target-policies/My%2BPolicy/"},
        {"query": "a=b"},
        {"query": "="},
        {"body": b'{"target": "y"}'},
        {"body": b""},
    ],
)
async def test_a_vector_with_one_thing_changed_does_not(change: dict[str, Any]) -> None:
    refused = await refusal(replace(VECTORS[1], **change))
    assert ("InvalidSignatureException", ReasonCode.API_WRONG_SIGNATURE) == (refused.error.code, refused.reason)


SEGMENT = st.text("abcXYZ019-._~%", min_size=1, max_size=8).filter(lambda s: s not in (".", ".."))
TOKEN = st.text("abcXYZ019-_.~", min_size=1, max_size=6)
HEADER = st.text("abXY 019-_.~=,;\t", min_size=1, max_size=8)
PAIRS = st.lists(st.tuples(TOKEN, TOKEN), max_size=4)
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
        "path": st.lists(SEGMENT, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
        "query": PAIRS.map(lambda pairs: "&".join(f"{n}={v}" for n, v in pairs)),
        "headers": st.fixed_dictionaries({}, optional={"x-amzn-principal": HEADER, "content-type": TOKEN}),
        "body": st.binary(max_size=64),
    }
)


@given(parts=REQUESTS)
@settings(max_examples=60, deadline=None)
async def test_what_botocore_signs_verifies(parts: dict[str, Any]) -> None:
    assert ACCOUNT == (await verify(signed(**parts))).account_id


@given(parts=REQUESTS, other=REQUESTS, which=st.sampled_from(["method", "raw_path", "query", "body", "header"]))
@settings(max_examples=150, deadline=None)
async def test_any_change_of_a_signed_part_is_refused(parts: dict[str, Any], other: dict[str, Any], which: str) -> None:
    request = signed(**parts)
    if which == "header":
        names = [name for name, _ in request.headers if name != "authorization"]
        changed = replace(
            request, headers=[(n, v + "x" if n == names[-1] and n != "x-amz-date" else v) for n, v in request.headers]
        )
        if changed.headers == request.headers:
            changed = replace(request, headers=[(n, "evil" if n == "host" else v) for n, v in request.headers])
    else:
        value = getattr(signed(**other), which)
        if value == getattr(request, which) or (which == "query" and _same_pairs(value, request.query)):
            return
        changed = replace(request, **{which: value})
    assert "InvalidSignatureException" == (await refusal(changed)).error.code


def _same_pairs(one: str, two: str) -> bool:
    return sorted(one.split("&")) == sorted(two.split("&"))


@given(position=st.integers(0, 63), digit=st.sampled_from("0123456789abcdef"))
@settings(max_examples=30, deadline=None)
async def test_any_other_signature_is_refused(position: int, digit: str) -> None:
    request = signed()
    header = dict(request.headers)["authorization"]
    signature = header[-64:]
    if signature[position] == digit:
        return
    forged = header[:-64] + signature[:position] + digit + signature[position + 1 :]
    lines = [(n, forged if n == "authorization" else v) for n, v in request.headers]
    assert "InvalidSignatureException" == (await refusal(replace(request, headers=lines))).error.code


async def test_a_query_may_be_reordered_by_a_proxy() -> None:
    request = signed("GET", "/things", "b=2&a=1&a=0", body=b"")
    assert await verify(replace(request, query="a=0&a=1&b=2"))


async def test_a_looser_encoding_of_the_same_query_verifies() -> None:
    strict = signed("GET", "/things", "name=a%20b%3Ac%2Fd", body=b"")
    assert await verify(replace(strict, query="name=a+b:c/d"))
    assert (await refusal(replace(strict, query="name=a+b:c/e"))).error.code == "InvalidSignatureException"


@pytest.mark.parametrize("minutes", [-5, 0, 5])
async def test_a_clock_within_five_minutes_is_accepted(minutes: int) -> None:
    assert await verify(signed(), AT + dt.timedelta(minutes=minutes))


@pytest.mark.parametrize(("seconds", "text"), [(301, "Signature expired"), (-301, "Signature not yet current")])
async def test_a_clock_further_off_is_refused_and_said_to_be_so(seconds: int, text: str) -> None:
    refused = await refusal(signed(), AT + dt.timedelta(seconds=seconds))
    assert ("InvalidSignatureException", ReasonCode.API_CLOCK_SKEW) == (refused.error.code, refused.reason)
    assert text in refused.error.message


async def test_unknown_revoked_and_malformed_keys_answer_alike() -> None:
    answers = {(await refusal(signed(key_id=key))).error.message for key in ("AKIDNOBODY", "AKIDREVOKED")}
    assert {"The security token included in the request is invalid."} == answers
    unknown = await refusal(signed(key_id="AKIDNOBODY"))
    assert ("UnrecognizedClientException", ReasonCode.API_UNKNOWN_KEY) == (unknown.error.code, unknown.reason)


async def test_a_wrong_secret_is_a_wrong_signature() -> None:
    assert ReasonCode.API_WRONG_SIGNATURE == (await refusal(signed(secret=SECRET + "x"))).reason


@pytest.mark.parametrize("expires_s", [None, 60])
async def test_session_tokens_are_refused_clearly(expires_s: int | None) -> None:
    refused = await refusal(signed(token="FwoGZXIvYXdz", expires_s=expires_s))
    assert "UnrecognizedClientException" == refused.error.code
    assert "handfast issues no session tokens" in refused.error.message


@pytest.mark.parametrize("service", ["iotdata", "s3", "handfast"])
async def test_a_signature_for_another_service_is_refused(service: str) -> None:
    refused = await refusal(signed(service=service))
    assert "InvalidSignatureException" == refused.error.code
    assert "correct service: 'iot'" in refused.error.message


async def test_the_day_of_the_scope_must_be_the_dates() -> None:
    request = signed()
    lines = [(n, v.replace("/20300102/", "/20300103/")) for n, v in request.headers]
    refused = await refusal(replace(request, headers=lines))
    assert "Date in Credential scope does not match" in refused.error.message


async def test_the_region_is_the_scopes() -> None:
    assert "eu-central-1" == (await verify(signed(region="eu-central-1"))).region


@pytest.mark.parametrize("extra", [("x-amz-target", "Evil"), ("x-amz-content-sha256", hashlib.sha256(b"").hexdigest())])
async def test_unsigned_x_amz_headers_are_refused(extra: tuple[str, str]) -> None:
    request = signed(body=b"")
    refused = await refusal(replace(request, headers=[*request.headers, extra]))
    assert f"These headers must be signed: {extra[0]}." == refused.error.message


async def test_an_input_header_must_be_signed() -> None:
    request = signed()
    request = replace(request, headers=[*request.headers, ("x-amzn-principal", "arn:evil")])
    with pytest.raises(Refused, match="x-amzn-principal"):
        await authenticator().begin(read_claim(request), request, signing_names={"iot"}, must_sign={"x-amzn-principal"})


async def test_a_signed_header_that_did_not_arrive_is_refused() -> None:
    request = signed(headers={"x-amzn-principal": "arn"})
    lines = [(n, v) for n, v in request.headers if n != "x-amzn-principal"]
    refused = await refusal(replace(request, headers=lines))
    assert "were not received: x-amzn-principal" in refused.error.message


async def test_a_second_value_of_a_signed_header_is_seen() -> None:
    request = signed(headers={"x-amzn-principal": "arn"})
    refused = await refusal(replace(request, headers=[*request.headers, ("x-amzn-principal", "evil")]))
    assert "InvalidSignatureException" == refused.error.code


async def test_a_stated_payload_hash_must_be_the_bodys() -> None:
    digest = hashlib.sha256(b"abc").hexdigest()
    assert await verify(signed(headers={"x-amz-content-sha256": digest}, body=b"abc"))
    refused = await refusal(signed(headers={"x-amz-content-sha256": digest}, body=b"abd"))
    assert "x-amz-content-sha256 does not match" in refused.error.message


async def test_an_unsigned_payload_is_taken_over_tls_only() -> None:
    request = signed(headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    assert await verify(replace(request, secure=True))
    assert "InvalidSignatureException" == (await refusal(request)).error.code


async def test_header_values_are_trimmed_and_joined_as_signed() -> None:
    request = signed(headers={"x-amzn-principal": "arn:aws   iot"})
    lines = [(n, "  arn:aws iot " if n == "x-amzn-principal" else v) for n, v in request.headers]
    assert await verify(replace(request, headers=lines))


PRESIGNED = {"method": "GET", "path": "/things", "query": "maxResults=3", "body": b"", "expires_s": 900}


async def test_a_presigned_url_verifies_until_it_expires() -> None:
    request = signed(**PRESIGNED)
    assert await verify(request)
    assert await verify(request, AT + dt.timedelta(seconds=900))
    assert await verify(request, AT - dt.timedelta(minutes=5))
    late = await refusal(request, AT + dt.timedelta(seconds=901))
    assert ReasonCode.API_CLOCK_SKEW == late.reason
    assert ReasonCode.API_CLOCK_SKEW == (await refusal(request, AT - dt.timedelta(seconds=301))).reason


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("maxResults=3", "maxResults=4"),
        ("X-Amz-Expires=900", "X-Amz-Expires=901"),
        ("20300102T030405Z", "20300102T030406Z"),
        ("&X-Amz-Signature=", "&more=1&X-Amz-Signature="),
    ],
)
async def test_a_presigned_url_with_anything_changed_is_refused(old: str, new: str) -> None:
    request = signed(**PRESIGNED)
    assert old in request.query
    assert (
        "InvalidSignatureException"
        == (await refusal(replace(request, query=request.query.replace(old, new)))).error.code
    )


async def test_a_presigned_url_with_a_body_of_its_own_is_refused() -> None:
    assert "InvalidSignatureException" == (await refusal(replace(signed(**PRESIGNED), body=b"x"))).error.code


def _header(value: str) -> HttpRequest:
    return HttpRequest(
        "GET", "/things", "", [("host", HOST), ("x-amz-date", "20300102T030405Z"), ("authorization", value)]
    )


SCOPE = "AKIDEXAMPLE/20300102/us-east-1/iot/aws4_request"
HEX = "0" * 64


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic dXNlcjpwYXNz",
        "AWS4-HMAC-SHA256",
        "AWS4-ECDSA-P256-SHA256 Credential=x, SignedHeaders=host, Signature=00",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host;x-amz-date",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, Signature={HEX}",
        f"AWS4-HMAC-SHA256 SignedHeaders=host;x-amz-date, Signature={HEX}",
        f"AWS4-HMAC-SHA256 Credential=AKID, SignedHeaders=host;x-amz-date, Signature={HEX}",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}/more, SignedHeaders=host;x-amz-date, Signature={HEX}",
        f"AWS4-HMAC-SHA256 Credential={'A' * 5000}{SCOPE}, SignedHeaders=host, Signature={HEX}",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=x-amz-date;host, Signature={HEX}",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host;host;x-amz-date, Signature={HEX}",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=Host;x-amz-date, Signature={HEX}",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host;x-amz-date, Signature={HEX.upper()[:-1]}g",
        f"AWS4-HMAC-SHA256 Credential={SCOPE}, Credential={SCOPE}, SignedHeaders=host, Signature={HEX}",
        f"AWS4-HMAC-SHA256 Credential={SCOPE.replace('us-east-1', 'US_EAST')}, SignedHeaders=host, Signature={HEX}",
    ],
)
async def test_a_malformed_authorization_is_incomplete(value: str) -> None:
    refused = await refusal(_header(value))
    assert "IncompleteSignatureException" == refused.error.code


@pytest.mark.parametrize("date", ["", "2030-01-02T03:04:05Z", "20301302T030405Z", "20300102T030405Z,20300102T030405Z"])
async def test_a_date_that_is_none_is_incomplete(date: str) -> None:
    request = signed()
    lines = [(n, date if n == "x-amz-date" else v) for n, v in request.headers]
    assert "IncompleteSignatureException" == (await refusal(replace(request, headers=lines))).error.code


async def test_no_signature_at_all_is_a_missing_token() -> None:
    refused = await refusal(HttpRequest("GET", "/things", "", [("host", HOST)]))
    assert "MissingAuthenticationTokenException" == refused.error.code
    assert ReasonCode.API_MISSING_SIGNATURE == refused.reason


async def test_two_signatures_are_one_too_many() -> None:
    request = signed(**PRESIGNED)
    both = replace(request, headers=[*request.headers, ("authorization", dict(signed().headers)["authorization"])])
    assert "IncompleteSignatureException" == (await refusal(both)).error.code


@pytest.mark.parametrize("parts", [{}, PRESIGNED], ids=["header", "presigned"])
async def test_only_who_holds_the_secret_learns_that_the_account_is_disabled(parts: dict[str, Any]) -> None:
    refused = await refusal(signed(key_id="AKIDDISABLED", **parts))
    assert ("UnauthorizedException", ReasonCode.ACCOUNT_DISABLED) == (refused.error.code, refused.reason)
    assert f"Account {ACCOUNT} is disabled" in refused.error.message
    guessed = await refusal(signed(key_id="AKIDDISABLED", secret=SECRET + "x", **parts))
    assert ReasonCode.API_WRONG_SIGNATURE == guessed.reason


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "9999999999", "x", "٣"])
async def test_a_presigned_lifetime_is_bounded(expires: str) -> None:
    request = signed(**PRESIGNED)
    changed = replace(request, query=request.query.replace("X-Amz-Expires=900", f"X-Amz-Expires={expires}"))
    assert "IncompleteSignatureException" == (await refusal(changed)).error.code


async def test_in_dev_any_twelve_digits_are_an_account_whatever_the_secret_clock_and_token() -> None:
    asked: list[str] = []

    async def dev(access_key_id: str) -> SigningKey:
        asked.append(access_key_id)
        return SigningKey("", ACCOUNT)

    request = signed(key_id="000000000000", secret="test", token="test")
    caller = await verify(request, AT + dt.timedelta(days=400), dev=dev)
    assert (ACCOUNT, ["000000000000"]) == (caller.account_id, asked)
    assert "UnrecognizedClientException" == (await refusal(signed(key_id="AKIDNOBODY"), dev=dev)).error.code
    assert "InvalidSignatureException" == (await refusal(signed(secret="test"), dev=dev)).error.code
    assert "UnrecognizedClientException" == (await refusal(signed(key_id="000000000000"))).error.code


async def test_in_dev_a_disabled_account_stays_disabled() -> None:
    async def dev(_access_key_id: str) -> SigningKey:
        return SigningKey("", ACCOUNT, account_disabled=True)

    assert "UnauthorizedException" == (await refusal(signed(key_id=ACCOUNT), dev=dev)).error.code


async def test_secrets_do_not_show() -> None:
    assert SECRET not in repr(SigningKey(SECRET, ACCOUNT))


@pytest.mark.parametrize(
    "path",
    [
        "/a/../b",
        "/./a",
        "/a//b",
        "//a",
        "/a/.",
        "/a/..",
        "/a b",
        "/a#b",
        "/\x00",
        "/é",
        "a",
        "",
        "/<a>",
        '/"',
        "/a\\b",
        "/a?b",
    ],
)
def test_paths_that_a_signature_does_not_pin_down_are_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError):
        check_target(path, "")


@pytest.mark.parametrize("path", ["/", "/things/", f"/x/{CERT}", "/a/...", "/a.b/c~d", "/policies/a+b=c,d.e@f"])
def test_paths_as_sdks_send_them_pass(path: str) -> None:
    check_target(path, "a=b&c")


def test_a_query_with_raw_controls_is_refused() -> None:
    with pytest.raises(InvalidRequestError):
        check_target("/a", "a=\x00")
