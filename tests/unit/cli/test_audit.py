"""What `handfast audit` says: times as people give them, changes in a few words, the outcome of a verification."""

from __future__ import annotations

import datetime as dt

import pytest
from tests.support.command_line import CommandLine
from tests.support.registry import cause, certificate

from handfast.cli.audit import difference, in_words, instant
from handfast.errors import ConfigurationError

REPORT = {
    "findings": [],
    "moreFindings": 0,
    "chains": 2,
    "events": 12,
    "unsealedEvents": 1,
    "checkpoints": 3,
    "firstCheckpoint": 1,
    "lastCheckpoint": 3,
    "vouchedCheckpoint": 3,
    "vouchedUntil": dt.datetime(2030, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
}


def test_an_instant_is_an_age_or_iso_8601() -> None:
    assert dt.datetime(2030, 1, 2, 3, 4, tzinfo=dt.UTC) == instant("2030-01-02T03:04:00Z", "--since")
    assert dt.datetime(2030, 1, 2, tzinfo=dt.UTC) == instant("2030-01-02", "--since")
    found = instant("24h", "--since")
    assert found is not None
    assert dt.timedelta(hours=24) <= dt.datetime.now(dt.UTC) - found < dt.timedelta(hours=25)
    assert instant(None, "--since") is None


@pytest.mark.parametrize("text", ["", "yesterday", "24", "h", "-1h", "9999999h", "999999w", "2030-13-01"])
def test_what_is_no_instant_says_what_is(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--since is .*: expected"):
        instant(text, "--since")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('{"status":"ACTIVE"}', '{"status":"REVOKED"}', "status ACTIVE → REVOKED"),
        (None, '{"status":"ACTIVE","mode":"DEFAULT"}', "+status ACTIVE, +mode DEFAULT"),
        ('{"policy":"a"}', None, "-policy a"),
        ('{"a":1,"b":2}', '{"a":1,"b":null}', "a 1, b 2 → -"),
        (None, None, ""),
        ('{"enabled":false,"alone":true}', '{"enabled":true,"alone":true}', "enabled no → yes, alone yes"),
        (None, '{"alone":false,"type":null,"attributes":{},"names":["a"]}', '+alone no, +names ["a"]'),
        (None, '{"document":"' + "x" * 100 + '"}', "+document " + "x" * 80 + "… (20 more characters)"),
        ("{", None, "(not readable)"),
        ("[1]", None, "(not readable)"),
    ],
)
def test_a_change_in_a_few_words(before: str | None, after: str | None, said: str) -> None:
    assert said == difference(before, after)


def test_the_table_fits_on_a_screen_and_tells_all(handfast: CommandLine) -> None:
    record = certificate(1)
    handfast.wait(handfast.store.insert_certificate(record, cause()))
    lines = handfast.ok("audit", "list", "--certificate", record.certificate_id).lines
    assert ["when", "account", "no.", "operation"] == lines[0].split()
    assert [] == [line for line in lines if len(line) > 100]
    (event,) = handfast.ok("audit", "list", "--certificate", record.certificate_id, "--json").json
    told = " ".join(" ".join(lines).split())
    for words in (f"certificate {record.certificate_id} +status", f"by {event['actor']}", event["operation"]):
        assert words in told


def test_a_clean_verification_says_up_to_when_it_vouches() -> None:
    assert [
        "12 events of 2 chains, 3 checkpoints from 1 to 3",
        "vouches for everything up to 2030-01-02 03:04:05Z (checkpoint 3)",
        "1 events after it are chained but not sealed",
    ] == in_words(REPORT)


def test_findings_are_escaped_and_follow_one_by_one() -> None:
    finding = {"kind": "CHANGED", "accountId": "123456789012", "number": 6, "detail": "row 6 \x1b[31m"}
    nothing = {name: value for name, value in REPORT.items() if not name.startswith("vouched")}
    said = in_words(nothing | {"findings": [finding], "moreFindings": 2})
    assert ["CHANGED: row 6 \\x1b[31m", "and 2 more"] == said[1:3]
    assert "vouches for nothing" in said[3]
