"""`handfast claim` against the API in this process."""

from __future__ import annotations

import pytest
from tests.support.command_line import CommandLine
from tests.support.registry import OTHER_ACCOUNT, SCOPE, cause, certificate, certificate_id

CLAIM = certificate_id(50)


@pytest.fixture
def claim(handfast: CommandLine) -> str:
    handfast.wait(handfast.store.insert_certificate(certificate(50), cause()))
    return CLAIM


def test_limits_are_set_kept_shown_and_taken_away(handfast: CommandLine, claim: str) -> None:
    assert ["0", "the server's default", "any"] == [line[19:] for line in handfast.ok("claim", "show", claim).lines[1:]]
    networks = ("--address", "192.0.2.0/24", "--address", "2001:DB8::/32")
    made = handfast.ok("claim", "limit", claim, "--count", "500", "--rate", "30/min", *networks)
    assert ["0 of 500 devices", "30/min", "192.0.2.0/24, 2001:db8::/32"] == [line[19:] for line in made.lines[1:]]
    kept = handfast.ok("claim", "limit", claim.upper(), "--rate", "60", "--json").json
    assert {
        "certificateId": claim,
        "provisioned": 0,
        "devices": 500,
        "perMinute": 60,
        "addresses": ["192.0.2.0/24", "2001:db8::/32"],
    } == kept
    assert kept == handfast.ok("claim", "show", claim, "--json").json
    cleared = handfast.ok("claim", "limit", claim, "--clear", "--count", "0", "--json").json
    assert {"certificateId": claim, "provisioned": 0, "devices": 0} == cleared
    rows = handfast.ok("audit", "--operation", "SetClaimLimits", "--json").json
    assert '{"devices":0}' in [row["after"] for row in rows]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ([], 2, "nothing to limit"),
        (["--rate", "30/h"], 2, "such as 30/min"),
        (["--rate", "0"], 1, "perMinute"),
        (["--count", "-1"], 1, "devices"),
        (["--address", "192.0.2.1/24"], 1, "host bits"),
    ],
)
def test_what_cannot_be_is_one_line(
    handfast: CommandLine, claim: str, arguments: list[str], status: int, told: str
) -> None:
    refused = handfast("claim", "limit", claim, *arguments)
    assert (1, "") == (refused.err.count("\n"), refused.out)
    assert told in refused.err
    assert status == refused.status


def test_another_accounts_certificate_is_nobodys(handfast: CommandLine, claim: str) -> None:
    handfast.wait(handfast.store.insert_certificate(certificate(51, scope=OTHER_ACCOUNT), cause()))
    for arguments in (["limit", certificate_id(51), "--count", "1"], ["show", certificate_id(51)]):
        refused = handfast("claim", *arguments)
        assert 1 == refused.status
        assert "does not exist in this account and region" in refused.err
    assert None is handfast.wait(handfast.store.claim(SCOPE, certificate_id(51)))
