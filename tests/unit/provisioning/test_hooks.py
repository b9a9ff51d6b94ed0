"""What a hook is called by, what it is sent, and which answers count."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.registry import SCOPE

from handfast.core.provisioning.hooks import (
    HookFailed,
    HookName,
    check_url,
    hook_arn,
    hook_in_arn,
    overrides_of,
    read_answer,
    shown_url,
    signature,
)
from handfast.errors import InvalidRequestError


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost.example.com/",
        "ftp://hooks.example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user:password@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://hooks.example.com/ x",
        "https://hooks.example.com/\r\nHost: other",
        "https://höoks.example.com/",
        "https://hooks.example.com:99999/",
        "https://[::1/",
        "https://hooks.example.com/" + "x" * 2048,
    ],
)
def test_a_url_that_is_not_https_elsewhere_or_hides_something_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com:8443/a/b?c=d",
        "https://10.0.0.7/vet",
        "https://[2001:db8::1]/vet",
        "http://127.0.0.1:9000/vet",
        "http://[::1]/vet",
        "http://localhost/vet",
    ],
)
def test_https_anywhere_and_http_on_this_machine_are_accepted(url: str) -> None:
    check_url(url)


def test_a_listed_url_has_no_query() -> None:
    assert "https://hooks.example.com/a?…" == shown_url("https://hooks.example.com/a?code=hush&x=?")
    assert "https://hooks.example.com/a" == shown_url("https://hooks.example.com/a")


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "vet",
        "arn:aws:lambda:us-east-1:123456789012:function:",
        "arn:aws:lambda:us-east-1:123456789012:function:vet:PROD",
        "arn:aws:lambda:us-east-1:210987654321:function:vet",
        "arn:aws:lambda:eu-west-1:123456789012:function:vet",
        "arn:aws:iot:us-east-1:123456789012:function:vet",
        "arn:aws:lambda:us-east-1:123456789012:function:../vet",
        "arn:aws:lambda:us-east-1:123456789012:function:" + "x" * 65,
    ],
)
def test_an_arn_that_names_no_hook_of_this_account_and_region(arn: str) -> None:
    with pytest.raises(InvalidRequestError):
        hook_in_arn(SCOPE, arn)


def test_an_arn_names_a_hook() -> None:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:vet_2-B"
    assert "vet_2-B" == hook_in_arn(SCOPE, arn)
    assert arn == hook_arn(SCOPE, HookName("vet_2-B"))


def test_a_call_is_signed_over_timestamp_and_body() -> None:
    # printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
    expected = "v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23"
    assert expected == signature("0123456789abcdef", 1_700_000_000, b'{"a":1}')


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ({"allowProvisioning": False}, "denied"),
        ({}, "invalid"),
        ({"allowProvisioning": None}, "invalid"),
        ({"allowProvisioning": "true"}, "invalid"),
        ({"allowProvisioning": 1}, "invalid"),
        ({"AllowProvisioning": True}, "invalid"),
        ([True], "invalid"),
        (b"", "invalid"),
        (b"true", "invalid"),
        (b'{"allowProvisioning": true', "invalid"),
        (b'{"allowProvisioning": false, "allowProvisioning": true}', "invalid"),
        (b'{"allowProvisioning": true, "x": NaN}', "invalid"),
        (b'{"allowProvisioning": true, "x": "\xff"}', "invalid"),
        (b'{"allowProvisioning": true, "x": ' + b"[" * 60_000 + b"]" * 60_000 + b"}", "invalid"),
        (b'{"allowProvisioning": true, "x": "' + b"x" * 131_072 + b'"}', "invalid"),
        ({"allowProvisioning": True, "parameterOverrides": None}, "invalid"),
        ({"allowProvisioning": True, "parameterOverrides": ["Room"]}, "invalid"),
        ({"allowProvisioning": True, "parameterOverrides": {"Room": 7}}, "invalid"),
        ({"allowProvisioning": True, "parameterOverrides": {"Room": {"Ref": "x"}}}, "invalid"),
        ({"allowProvisioning": True, "parameterOverrides": {"": "7"}}, "invalid"),
        ({"allowProvisioning": True, "parameterOverrides": {"Room": "x" * 4097}}, "invalid"),
        ({"allowProvisioning": True, "parameterOverrides": {"Room": "\0"}}, "invalid"),
        ({"allowProvisioning": True, "parameterOverrides": {"Room": "\ud800"}}, "invalid"),
        ({"allowProvisioning": True, "parameterOverrides": {f"p{n}": "" for n in range(257)}}, "invalid"),
    ],
)
def test_anything_but_a_clear_yes_is_none(answer: Any, result: str) -> None:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    with pytest.raises(HookFailed) as caught:
        overrides_of(read_answer(body))
    assert result == caught.value.result


def test_a_clear_yes_and_its_overrides() -> None:
    assert {} == overrides_of(read_answer(b'{"allowProvisioning": true}'))
    body = b' {"allowProvisioning": true, "parameterOverrides": {"Room": "\\u00e9[[[["}, "more": [[1]]}\n'
    assert {"Room": "é[[[["} == overrides_of(read_answer(body))
