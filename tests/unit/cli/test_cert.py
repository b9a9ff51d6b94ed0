"""`handfast cert`: what each command asks for, what it prints for people and for programs, and its exit status."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import EndpointConnectionError
from tests.support.command_line import PROFILES, CommandLine
from tests.support.registry import (
    ALLOW,
    OTHER_ACCOUNT,
    SCOPE,
    ca_certificate,
    cause,
    certificate,
    certificate_id,
)

from handfast.cli.connection import ServerAddress
from handfast.core.identity.ids import PolicyName
from handfast.core.identity.records import CACertificateStatus, CertificateMode, CertificateStatus

ACTIVE, INACTIVE, REVOKED = CertificateStatus.ACTIVE, CertificateStatus.INACTIVE, CertificateStatus.REVOKED
ID = certificate_id(1)
BY_EXPIRY = "GET /handfast/v1/certificates-by-expiry"
DAY = dt.timedelta(days=1)


def register(handfast: CommandLine, number: int = 1, *, days: float = 30, **changes: Any) -> str:
    now = dt.datetime.now(dt.UTC)
    record = certificate(number, not_after=now + days * DAY, **changes)
    handfast.wait(handfast.store.insert_certificate(record, cause()))
    return record.certificate_id


def register_ca(handfast: CommandLine, number: int, *, days: float, **changes: Any) -> None:
    record = ca_certificate(number, not_after=dt.datetime.now(dt.UTC) + days * DAY, **changes)
    handfast.wait(handfast.store.insert_ca_certificate(record, registration_code=None, subject_limit=99, cause=cause()))


def status_of(handfast: CommandLine, identifier: str = ID, scope: Any = SCOPE) -> str | None:
    found = handfast.wait(handfast.store.certificate(scope, identifier))  # type: ignore[arg-type]
    return None if found is None else found.status.value


def order(text_lines: list[str]) -> list[str]:
    """The certificate ids of a table, top to bottom."""
    return [line.split()[-1] for line in text_lines[1:]]


# --- list


def test_an_empty_listing_says_so(handfast: CommandLine) -> None:
    assert ["no certificates"] == handfast.ok("cert", "list").lines
    assert [] == handfast.ok("cert", "list", "--json").json


def test_the_listing_is_by_expiry_and_asks_once(handfast: CommandLine) -> None:
    for number, days in ((1, 90), (2, -1), (3, 7)):
        register(handfast, number, days=days, status=ACTIVE)
    ran = handfast.ok("cert", "list")
    assert ["expires", "status", "certificate", "id"] == ran.lines[0].split()
    assert [certificate_id(n) for n in (2, 3, 1)] == order(ran.lines)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d  ACTIVE  [0-9a-f]{64}", ran.lines[1])
    assert [BY_EXPIRY] == handfast.asked


def test_the_listing_as_json_holds_what_is_known_of_each(handfast: CommandLine) -> None:
    register(handfast, 1, ca_certificate_id=certificate_id(7))
    (found,) = handfast.ok("cert", "list", "--json").json
    assert {
        "kind": "DEVICE",
        "certificateId": ID,
        "certificateArn": f"arn:aws:iot:us-east-1:{SCOPE.account}:cert/{ID}",
        "status": "INACTIVE",
        "certificateMode": "DEFAULT",
        "ownedBy": SCOPE.account,
        "caCertificateId": certificate_id(7),
    } == {k: v for k, v in found.items() if k not in ("creationDate", "lastModifiedDate", "validity")}
    assert {"notBefore", "notAfter"} == set(found["validity"])
    assert dt.datetime.fromisoformat(found["validity"]["notAfter"]).tzinfo is not None


def test_the_table_stops_at_200_and_says_that_there_are_more_and_json_has_all(handfast: CommandLine) -> None:
    now = dt.datetime.now(dt.UTC)
    records = [certificate(n, not_after=now + n * DAY) for n in range(601)]
    handfast.wait(handfast.store.insert_certificates(records, cause()))
    lines = handfast.ok("cert", "list").lines
    assert "These are the first 200; there are more: --limit N shows N, --json all of them." == lines.pop()
    assert [certificate_id(n) for n in range(200)] == order(lines)
    assert 1 == len(handfast.asked)
    assert 601 == len(handfast.ok("cert", "list", "--limit", "601").lines) - 1
    del handfast.asked[:]
    assert [r.certificate_id for r in records] == [
        c["certificateId"] for c in handfast.ok("cert", "list", "--json").json
    ]
    assert [BY_EXPIRY] * 2 == handfast.asked
    assert 3 == len(handfast.ok("cert", "list", "--json", "--limit", "3").json)


def test_the_listing_of_some_statuses(handfast: CommandLine) -> None:
    for number, status in enumerate((ACTIVE, INACTIVE, REVOKED), 1):
        register(handfast, number, status=status)
    found = handfast.ok("cert", "list", "--status", "active", "--status", "REVOKED", "--json").json
    assert {certificate_id(1), certificate_id(3)} == {c["certificateId"] for c in found}
    line = handfast.refused("cert", "list", "--status", "BORED")
    assert "handfast: --status is 'BORED': expected one of ACTIVE, PENDING_TRANSFER" in line


def test_what_another_account_offers_is_listed(handfast: CommandLine) -> None:
    register(handfast, scope=OTHER_ACCOUNT)
    handfast.ok("cert", "transfer", ID, SCOPE.account, "--profile", "other")
    (found,) = handfast.ok("cert", "list", "--json").json
    assert (OTHER_ACCOUNT.account, "PENDING_TRANSFER") == (found["ownedBy"], found["status"])


# --- expiring


def fleet(handfast: CommandLine) -> None:
    """One of each kind around a span of 30 days."""
    register(handfast, 1, days=-2.5, status=ACTIVE)
    register(handfast, 2, days=10.5, status=ACTIVE)
    register(handfast, 3, days=3.5, status=INACTIVE)
    register(handfast, 4, days=1.5, status=REVOKED)
    register(handfast, 5, days=31, status=ACTIVE)
    register(handfast, 6, days=0.1, status=ACTIVE, scope=OTHER_ACCOUNT)
    register_ca(handfast, 7, days=5.5, status=CACertificateStatus.ACTIVE)
    register_ca(handfast, 8, days=-9.5)


def test_expiring_shows_those_in_use_first_and_the_time_left(handfast: CommandLine) -> None:
    fleet(handfast)
    lines = handfast.ok("cert", "expiring", "--within", "30d").lines
    assert [certificate_id(n) for n in (1, 7, 2, 8, 3)] == order(lines)
    lefts = [re.split(r"  +", line)[0] for line in lines[1:]]
    assert ["expired 2 d ago", "5 d", "10 d", "expired 9 d ago", "3 d"] == lefts
    assert ["left", "kind", "status", "certificate", "id"] == lines[0].split()
    assert [("device", "ACTIVE"), ("CA", "ACTIVE")] == [tuple(re.split(r"  +", line)[1:3]) for line in lines[1:3]]


def test_expiring_as_json_has_whole_days_left(handfast: CommandLine) -> None:
    fleet(handfast)
    found = handfast.ok("cert", "expiring", "--within", "30d", "--json").json
    assert [("DEVICE", -3), ("CA", 5), ("DEVICE", 10), ("CA", -10), ("DEVICE", 3)] == [
        (c["kind"], c["daysLeft"]) for c in found
    ]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--within", "0d"], [1, 8]),
        (["--within", "90m", "--status", "ACTIVE"], [1]),
        (["--within", "5w", "--status", "ACTIVE"], [1, 7, 2, 5]),
        (["--status", "REVOKED"], [4]),
        (["--limit", "2"], [1, 7]),
    ],
)
def test_expiring_within_a_span_of_some_statuses(handfast: CommandLine, options: list[str], numbers: list[int]) -> None:
    fleet(handfast)
    found = handfast.ok("cert", "expiring", *options, "--json").json
    assert [certificate_id(n) for n in numbers] == [c["certificateId"] for c in found]


def test_expiring_fails_only_when_asked_to_and_when_there_is_any(handfast: CommandLine) -> None:
    assert ["no certificate has expired or expires within 12h"] == handfast.ok(
        "cert", "expiring", "--within", "12h", "--fail"
    ).lines
    register(handfast, days=0.2, status=ACTIVE)
    assert 0 == handfast("cert", "expiring", "--within", "12h").status
    for form in ((), ("--json",)):
        ran = handfast("cert", "expiring", "--within", "12h", "--fail", *form)
        assert (1, "") == (ran.status, ran.err)
        assert ID in ran.out
    assert "4 h" in handfast.ok("cert", "expiring").out


def test_a_span_that_is_none_is_one_line(handfast: CommandLine) -> None:
    assert (
        "handfast: --within is 'soon': expected a whole number and one of s, m, h, d and w, such as 30d, 12h or 90m"
        == handfast.refused("cert", "expiring", "--within", "soon")
    )
    assert [] == handfast.asked


# --- with AWS itself, which has no listing by expiry


def test_with_aws_each_certificate_is_described_and_sorted_here(
    handfast: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, days in ((1, 90), (2, 3), (3, 7)):
        register(handfast, number, days=days, status=REVOKED if number == 3 else ACTIVE)
    register_ca(handfast, 4, days=5, status=CACertificateStatus.ACTIVE)
    monkeypatch.setattr(ServerAddress, "is_aws", property(lambda _: True))
    assert [certificate_id(n) for n in (2, 3, 1)] == order(handfast.ok("cert", "list").lines)
    assert "GET /certificates" == handfast.asked[0]
    assert {f"GET /certificates/{certificate_id(n)}" for n in (1, 2, 3)} == set(handfast.asked[1:])
    assert certificate_id(4) == handfast.ok("ca", "list").lines[-1].strip()
    found = handfast.ok("cert", "expiring", "--json").json
    assert [("DEVICE", certificate_id(2)), ("CA", certificate_id(4))] == [
        (c["kind"], c["certificateId"]) for c in found
    ]
    assert not [line for line in handfast.asked if "/handfast/" in line]


# --- one certificate


def test_show_tells_a_certificate_and_its_transfer(handfast: CommandLine) -> None:
    register(handfast, ca_certificate_id=certificate_id(7))
    handfast.ok("cert", "transfer", ID, OTHER_ACCOUNT.account, "--message", "yours\x1b[2J now")
    facts = {line[:18].rstrip(): line[19:] for line in handfast.ok("cert", "show", ID).lines}
    assert ("PENDING_TRANSFER", SCOPE.account, certificate_id(7)) == (
        facts["status"],
        facts["owner"],
        facts["signed by"],
    )
    assert facts["message"].startswith("yours")
    assert facts["message"].isprintable()
    assert "accepted" not in facts
    shown = handfast.ok("cert", "show", ID, "--json").json
    assert "yours\x1b[2J now" == shown["transferData"]["transferMessage"]


@pytest.mark.parametrize(
    ("command", "before", "after"),
    [("activate", INACTIVE, ACTIVE), ("deactivate", ACTIVE, INACTIVE)],
)
def test_status_commands(handfast: CommandLine, command: str, before: Any, after: Any) -> None:
    register(handfast, status=before)
    assert [f"{ID} is {after}"] == handfast.ok("cert", command, ID).lines
    assert after == status_of(handfast)
    assert [f"PUT /certificates/{ID}"] == handfast.asked
    assert {"certificateId": ID, "status": after} == handfast.ok("cert", command, ID, "--json").json


def test_revoke_answers_with_a_receipt(handfast: CommandLine) -> None:
    register(handfast, status=ACTIVE)
    ran = handfast.ok("cert", "revoke", ID, "--json")
    assert {"certificateId": ID, "status": "REVOKED", "sessionsCut": 0, "worstDelayMs": 0.0} == ran.json
    assert REVOKED == status_of(handfast)
    assert [f"PUT /handfast/v1/certificates/{ID}/revocation"] == handfast.asked
    assert [f"{ID} is REVOKED; it had no session"] == handfast.ok("cert", "revoke", ID).lines


def test_what_an_id_must_be_is_said_in_words(handfast: CommandLine) -> None:
    done = handfast("cert", "show", "z" * 64)
    assert "at 'certificateId' failed to satisfy constraint: Member must be hexadecimal digits (" in done.err
    assert (1, 1) == (done.status, len(done.err.splitlines()))


def test_delete_and_force(handfast: CommandLine) -> None:
    register(handfast)
    handfast.wait(handfast.plane.call("CreatePolicy", policy_name="p", policy_document=ALLOW))
    handfast.wait(handfast.store.attach_policy(SCOPE, PolicyName("p"), certificate_id(1), limit=9, cause=cause()))
    assert "policies must be detached" in handfast.refused("cert", "delete", ID)
    assert "INACTIVE" == status_of(handfast)
    assert [f"{ID} is deleted"] == handfast.ok("cert", "delete", ID, "--force").lines
    assert status_of(handfast) is None
    register(handfast)
    assert {"certificateId": ID, "status": "deleted"} == handfast.ok("cert", "delete", ID, "--json").json


def test_a_transfer_is_offered_accepted_and_active_at_once(handfast: CommandLine) -> None:
    register(handfast)
    offered = handfast.ok("cert", "transfer", ID, OTHER_ACCOUNT.account)
    assert [f"{ID} is PENDING_TRANSFER"] == offered.lines
    assert [f"{ID} is ACTIVE"] == handfast.ok("cert", "accept", ID, "--activate", "--profile", "other").lines
    assert (None, "ACTIVE") == (status_of(handfast), status_of(handfast, scope=OTHER_ACCOUNT))


def test_an_accepted_certificate_waits_to_be_activated_unless_asked(handfast: CommandLine) -> None:
    register(handfast)
    handfast.ok("cert", "transfer", ID, OTHER_ACCOUNT.account)
    accepted = handfast.ok("cert", "accept", ID, "--json", "--profile", "other").json
    assert {"certificateId": ID, "status": "INACTIVE"} == accepted
    assert "INACTIVE" == status_of(handfast, scope=OTHER_ACCOUNT)


def test_an_offer_is_rejected_with_a_reason_or_taken_back(handfast: CommandLine) -> None:
    register(handfast)
    handfast.ok("cert", "transfer", ID, OTHER_ACCOUNT.account)
    rejected = handfast.ok("cert", "reject", ID, "--reason", "not ours", "--profile", "other")
    assert [f"{ID} is rejected"] == rejected.lines
    assert "not ours" == handfast.ok("cert", "show", ID, "--json").json["transferData"]["rejectReason"]
    handfast.ok("cert", "transfer", ID, OTHER_ACCOUNT.account)
    assert [f"{ID} is INACTIVE"] == handfast.ok("cert", "cancel", ID).lines
    assert "INACTIVE" == status_of(handfast)


def test_forget_needs_the_operators_key_and_lets_a_revoked_certificate_back(handfast: CommandLine) -> None:
    register(handfast, status=REVOKED)
    handfast.ok("cert", "delete", ID)
    assert "needs the operator's key" in handfast.refused(
        "cert", "forget", ID, "--account", SCOPE.account, "--profile", "default"
    )
    assert [f"{ID} is forgotten"] == handfast.ok("cert", "forget", ID, "--account", SCOPE.account).lines
    register(handfast)
    assert "ResourceNotFoundException" in handfast.refused("cert", "forget", ID, "--account", SCOPE.account)


# --- errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", ID],
        ["activate", ID],
        ["revoke", ID],
        ["delete", ID],
        ["transfer", ID, OTHER_ACCOUNT.account],
        ["accept", ID],
        ["reject", ID],
        ["cancel", ID],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_certificate_is_one_line_and_exit_1(handfast: CommandLine, arguments: list[str]) -> None:
    ran = handfast("cert", *arguments)
    assert (1, "") == (ran.status, ran.out)
    (line,) = ran.err.splitlines()
    assert line.startswith("handfast: ")
    assert line.endswith("(ResourceNotFoundException)")
    assert ID in line


def test_a_status_that_forbids_it_is_told(handfast: CommandLine) -> None:
    register(handfast, status=ACTIVE)
    line = handfast.refused("cert", "delete", ID)
    assert "must be deactivated (not ACTIVE) before deletion" in line
    assert "CertificateStateException" in line


def test_the_operators_key_owns_no_certificates(handfast: CommandLine) -> None:
    line = handfast.refused("cert", "list", "--profile", "handfast-operator")
    assert "sign with an account's key" in line


def test_a_server_that_is_gone_is_one_line(handfast: CommandLine) -> None:
    def gone(*_: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="http://iot.test")

    with patch("handfast.wire.client._client", gone):
        assert handfast.refused("cert", "list").endswith("is the server running?")
    (handfast.data_dir / "serve.json").unlink()
    assert "handfast serve --data-dir" in handfast.refused("cert", "list")


def test_the_region_and_the_profile_are_what_the_options_say(handfast: CommandLine) -> None:
    register(handfast, mode=CertificateMode.SNI_ONLY)
    assert [] == handfast.ok("cert", "list", "--json", "--region", "eu-west-1").json
    assert [] == handfast.ok("cert", "list", "--json", "--profile", "other").json
    line = handfast.refused("cert", "list", "--profile", "nobody")
    assert f"has no profile 'nobody': it has {', '.join(PROFILES)}" in line


def test_an_id_that_is_too_short_is_not_mistaken_for_a_silent_server(handfast: CommandLine) -> None:
    line = handfast.refused("cert", "revoke", "1234")
    assert "certificateId is too short: it has the length 4, expected at least 64; 'handfast cert list' and" in line
    assert "is the server running" not in line
    assert [] == handfast.asked
