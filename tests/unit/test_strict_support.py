"""The stranger who checks every answer against the model does notice what is wrong with one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from tests.support.strict import check_answer

MODEL = boto3.session.Session().client("iot", region_name="us-east-1").meta.service_model
ID = "ab" * 32
GOOD = f'{{"certificates":[{{"certificateId":"{ID}","status":"ACTIVE","creationDate":1541022751.983}}]}}'


def answer(body: str, *, status: int = 200, operation: str = "ListCertificates", **headers: str) -> None:
    given = {"x-amzn-RequestId": "5f0c1d9e-0000-4000-8000-000000000001", "Content-Type": "application/json"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = SimpleNamespace(status_code=status, headers=given | named, content=body.encode())
    check_answer(response, MODEL.operation_model(operation))


def test_an_answer_of_the_model_passes() -> None:
    answer(GOOD)
    answer('{"certificates":[]}')
    answer("", operation="UpdateCertificate")
    answer('{"message":"no"}', status=400, x_amzn_ErrorType="InvalidRequestException")
    answer('{"message":"no","Message":"no"}', status=403, x_amzn_ErrorType="AccessDeniedException")


@pytest.mark.parametrize(
    "body",
    [
        '{"certificates":[],"nextMarker":null}',
        '{"certificates":[],"nextMarker":"_-_-"}',
        '{"certificates":[],"more":1}',
        '{"certificates":[],"certificates":[]}',
        GOOD.replace("1541022751.983", "1541022751983"),
        GOOD.replace("1541022751.983", '"2018-10-31T21:52:31Z"'),
        GOOD.replace("ACTIVE", "active"),
        GOOD.replace(ID, ID[1:]),
    ],
)
def test_an_answer_beside_the_model_does_not(body: str) -> None:
    with pytest.raises(AssertionError):
        answer(body)


@pytest.mark.parametrize(
    ("status", "code", "body"),
    [
        (400, "ResourceNotFoundException", '{"message":"no"}'),  # not of ListCertificates
        (404, "InvalidRequestException", '{"message":"no"}'),
        (400, "InvalidRequestException", '{"message":""}'),
        (400, "InvalidRequestException", '{"message":"no","resourceId":"x"}'),
    ],
)
def test_an_error_beside_the_model_does_not(status: int, code: str, body: str) -> None:
    with pytest.raises(AssertionError):
        answer(body, status=status, x_amzn_ErrorType=code)


def test_what_has_no_output_has_no_body() -> None:
    with pytest.raises(AssertionError):
        answer('{"status":"ACTIVE"}', operation="UpdateCertificate")


def test_headers_are_checked() -> None:
    wrong: list[dict[str, Any]] = [{"x_amzn_RequestId": "1"}, {"Content_Type": "text/plain"}]
    for headers in wrong:
        with pytest.raises((AssertionError, ValueError)):
            answer(GOOD, **headers)
