"""Every input of `tests/vectors/certificates/bad.json` is refused by the rule that the table names, and quickly."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.blueprint import own_ca, request, signed_by_own_ca
from tests.support.defects import DEFECTS, ODD, REQUESTS
from tests.support.registry import NOW

from handfast.core.pki import keys
from handfast.core.pki.pem import read_certificate, read_request
from handfast.errors import CertificateInputError

TABLE = json.loads((Path(__file__).parents[2] / "vectors" / "certificates" / "bad.json").read_text(encoding="utf-8"))
REFUSED: list[dict[str, Any]] = [row for group in TABLE["refused"].values() for row in group]
REFUSED_REQUESTS: list[dict[str, Any]] = TABLE["refused_requests"]
REQUEST_ROWS = [row for row in REFUSED if row.get("request")]
ODDITIES = [row["name"] for row in TABLE["oddities"]]
ENOUGH_S = 0.5
"""Processor time. The slowest of them need some ten milliseconds."""


def name_of(row: dict[str, Any]) -> str:
    return str(row["name"])


def broken(text: str, *, of: str = "certificate") -> dict[str, str]:
    """Every rule that the text breaks and what is said about it, found within the time that is enough."""
    began = time.process_time()
    try:
        if of == "certificate":
            found = keys.refusals(read_certificate(text).cert, now=NOW)
        else:
            found = keys.request_refusals(read_request(text).request)
        answer = {each.rule: each.message for each in found}
    except CertificateInputError as error:
        answer = {error.rule: str(error)}
    assert time.process_time() - began < ENOUGH_S
    return answer


def test_the_table_has_a_row_for_every_defect_and_no_other() -> None:
    assert (set(DEFECTS), set(REQUESTS), set(ODD)) == (
        {row["name"] for row in REFUSED},
        {row["name"] for row in REFUSED_REQUESTS},
        set(ODDITIES),
    )


def test_without_a_defect_nothing_is_wrong() -> None:
    assert {} == broken(signed_by_own_ca().pem) == broken(own_ca().pem)
    assert {} == broken(request().pem, of="request")


@pytest.mark.parametrize("row", REFUSED, ids=name_of)
@pytest.mark.parametrize("base", [signed_by_own_ca, own_ca], ids=["device", "CA"])
def test_a_certificate_is_refused_by_its_rule(row: dict[str, Any], base: Any) -> None:
    answer = broken(DEFECTS[row["name"]](base()).pem)
    assert row["says"] in answer[row["rule"]]


@pytest.mark.parametrize("row", REQUEST_ROWS, ids=name_of)
def test_a_request_is_refused_by_its_rule(row: dict[str, Any]) -> None:
    answer = broken(DEFECTS[row["name"]](request()).pem, of="request")
    assert row["says"] in answer[row["rule"]]


@pytest.mark.parametrize("row", REFUSED_REQUESTS, ids=name_of)
def test_what_only_a_request_can_have_wrong(row: dict[str, Any]) -> None:
    answer = broken(REQUESTS[row["name"]](request()).pem, of="request")
    assert row["says"] in answer[row["rule"]]


@pytest.mark.parametrize("name", ODDITIES)
def test_what_is_odd_and_accepted(name: str) -> None:
    assert {} == broken(ODD[name](signed_by_own_ca()).pem)


def test_a_message_quotes_nothing_of_the_text() -> None:
    secret = "MHcCAQEEIsecretsecret"
    for text in (f"-----BEGIN {secret}-----\n", f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"):
        (said,) = broken(text).values()
        assert secret not in said
