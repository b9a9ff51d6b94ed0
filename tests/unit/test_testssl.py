"""What `make testssl` makes of testssl.sh's findings."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from tests.testssl import run

from handfast.core.identity.security_policy import DEFAULT_SECURITY_POLICY, SECURITY_POLICIES

EXPECTED = tomllib.loads(run.Path(run.__file__).with_name("expected.toml").read_text())


@pytest.fixture
def findings() -> list[dict[str, Any]]:
    """As on the port 8883."""
    must = [
        {"id": key, "severity": "OK", "finding": begins if isinstance(begins, str) else begins[0]}
        for key, begins in EXPECTED["must"].items()
    ]
    suites = [
        {"id": f"cipher_x{n}", "severity": "INFO", "finding": f"x{n} {suite}"}
        for n, suite in enumerate(EXPECTED["suites"])
    ]
    left = [
        {"id": each["id"], "severity": each["severity"], "finding": "so"}
        for each in EXPECTED["left"]
        if "8883" in each["ports"]
    ]
    return [*must, *suites, *left]


def test_the_suites_are_those_of_the_default_security_policy() -> None:
    policy = SECURITY_POLICIES[DEFAULT_SECURITY_POLICY]
    assert {*policy.tls12_suites, *policy.tls13_suites} == set(EXPECTED["suites"])


def test_findings_as_expected(findings: list[dict[str, Any]]) -> None:
    assert [] == run.judge("8883", findings, EXPECTED)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "TLS1", "severity": "LOW", "finding": "offered"}, "TLS1 is 'offered'"),
        ({"id": "cipher_x99", "severity": "INFO", "finding": "x99 RC4-MD5"}, "RC4-MD5"),
        ({"id": "NEW", "severity": "HIGH", "finding": "a hole"}, "NEW (HIGH) is new: a hole"),
        ({"id": "LUCKY13", "severity": "CRITICAL", "finding": "worse"}, "LUCKY13 (CRITICAL) is new"),
    ],
)
def test_what_is_not_expected_is_told(findings: list[dict[str, Any]], change: dict[str, Any], words: str) -> None:
    kept = [finding for finding in findings if finding["id"] != change["id"]]
    assert words in "\n".join(run.judge("8883", [*kept, change], EXPECTED))


def test_what_is_expected_and_gone_is_told(findings: list[dict[str, Any]]) -> None:
    kept = [finding for finding in findings if finding["id"] not in ("LUCKY13", "BREACH")]  # BREACH: sometimes
    assert ["8883: LUCKY13 (LOW) is expected and not found"] == run.judge("8883", kept, EXPECTED)
