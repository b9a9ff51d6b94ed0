"""Checkpoints: lines that say what was signed and nothing else, and a reader that trusts no other."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable

import pytest
from tests.support.audit import AuditKey, audit_key

from handfast.core.identity.audit_chain import AuditHead
from handfast.core.identity.checkpoint import (
    NO_PREVIOUS,
    Checkpoint,
    CheckpointCheck,
    CheckpointKey,
    line_hash,
    line_of,
    parse_line,
)

KEY = CheckpointKey(audit_key().public_key_pem(""))
AT = dt.datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)


def line(checkpoint: Checkpoint, key: AuditKey | None = None) -> bytes:
    signed = checkpoint.signed_bytes()
    return line_of(signed, (key or audit_key()).sign("", signed))


def series(count: int) -> list[bytes]:
    lines: list[bytes] = []
    for number in range(1, count + 1):
        made = Checkpoint(
            number=number,
            time=AT,
            full=number == 1,
            heads={"123456789012": (number, f"{number:064x}")},
            rows=number,
            previous=line_hash(lines[-1]) if lines else NO_PREVIOUS,
            key=KEY.fingerprint,
        )
        lines.append(line(made))
    return lines


def check(lines: list[bytes], *, torn: bool = False) -> CheckpointCheck:
    found = CheckpointCheck(KEY)
    for each in lines:
        found.feed(each)
    found.finish(torn=torn)
    return found


def test_a_line_comes_back_as_it_was_written() -> None:
    made = Checkpoint(
        number=7,
        time=AT,
        full=True,
        heads={"operator": (3, "ab" * 32)},
        rows=3,
        previous="cd" * 32,
        key=KEY.fingerprint,
        breaks=(AuditHead("operator", 1, "ef" * 32),),
    )
    parsed, signature = parse_line(line(made))
    assert made == parsed
    assert KEY.verifies(made.signed_bytes(), signature)
    assert b'"time":"2030-01-02T03:04:05.678901Z"' in made.signed_bytes()


def test_lines_as_they_were_written_are_all_good() -> None:
    found = check(series(4))
    assert ([1, 2, 3, 4], []) == ([each.number for each in found.good], found.findings)


def edited(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'"rows":2', b'"rows":9'), *lines[2:]]


@pytest.mark.parametrize(
    ("harm", "good", "said"),
    [
        (edited, [1, 3, 4], "line 2 (checkpoint 2) is not what was signed"),
        (lambda lines: [lines[0], *lines[2:]], [1, 3, 4], "the checkpoints between 1 and 3 are missing"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], [1, 3, 4], "checkpoint 2 stands after 3"),
        (lambda lines: lines[1:], [2, 3, 4], "the checkpoints before 2 are missing"),
        (lambda lines: [*lines[:1], b"nonsense", *lines[2:]], [1, 3, 4], "line 2 is not a checkpoint"),
        (lambda lines: [*lines[:1], b"", *lines[1:]], [1, 2, 3, 4], "line 2 is not a checkpoint"),
        (lambda lines: [*lines[:1], lines[1].replace(b":2", b": 2"), *lines[2:]], [1, 3, 4], "not in canonical form"),
        (lambda lines: [*lines[:3], lines[3][:-40] + b'"}'], [1, 2, 3], "line 4"),
    ],
    ids=["edited", "removed", "swapped", "beginning removed", "overwritten", "inserted", "respelled", "shortened"],
)
def test_a_line_that_was_tampered_with_is_named_and_the_others_stay_good(
    harm: Callable[[list[bytes]], list[bytes]], good: list[int], said: str
) -> None:
    found = check(harm(series(4)))
    assert good == [each.number for each in found.good]
    assert any(said in finding.detail for finding in found.findings), found.findings


def test_what_another_key_signed_is_not_good() -> None:
    lines = series(2)
    stranger = AuditKey()
    fingerprint = CheckpointKey(stranger.public_key_pem("")).fingerprint
    forged, _ = parse_line(lines[1])
    for key_named in (fingerprint, KEY.fingerprint):
        last = line(dataclasses.replace(forged, rows=99, key=key_named), stranger)
        found = check([lines[0], last])
        assert [1] == [each.number for each in found.good]
        assert 1 == len(found.findings)


def test_a_last_line_without_end_is_told() -> None:
    (finding,) = check(series(2), torn=True).findings
    assert "line 3 has no end" in finding.detail


@pytest.mark.parametrize(
    "change",
    [
        (b'"version":1', b'"version":2'),
        (b'"rows":1', b'"rows":-1'),
        (b'"rows":1', b'"rows":true'),
        (b'"number":1', b'"number":"1"'),
        (b'"heads":{', b'"heads":[' + b"[" * 5000),
        (b'"full":true', b'"full":1'),
    ],
)
def test_whatever_else_stands_in_a_line_is_no_checkpoint(change: tuple[bytes, bytes]) -> None:
    (first,) = series(1)
    assert change[0] in first
    with pytest.raises(ValueError):  # noqa: PT011  whichever it is
        parse_line(first.replace(*change))
