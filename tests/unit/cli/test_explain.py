"""A refusal in words: every reason, what to do, and nothing that acts on a terminal."""

from __future__ import annotations

import datetime as dt
import io
from types import SimpleNamespace

import pytest
from tests.support.command_line import CommandLine

from handfast.cli.explain import STAGES, in_words
from handfast.core.identity.refusal import Stage

REFUSAL = {
    "traceId": "0000-1111",
    "at": dt.datetime(2026, 11, 21, 4, 50, 6, tzinfo=dt.UTC),
    "stage": "certificate",
    "address": "10.0.0.7",
    "reasons": [
        {
            "code": "CERTIFICATE_INACTIVE",
            "detail": "its status is INACTIVE",
            "explanation": "The certificate is registered but INACTIVE.",
            "fix": "Activate it.",
            "awsLogReason": "DEVICE_CERTIFICATE_INACTIVE",
        },
        {"code": "CERTIFICATE_EXPIRED", "explanation": "It ended yesterday.", "fix": "Renew it."},
    ],
    "certificateId": "ab" * 32,
    "facts": {"tls_version": "TLSv1.3", "certificate_id_again": "ab" * 32},
}


def test_every_reason_is_told_with_what_to_do() -> None:
    text = in_words(REFUSAL)
    lines = text.splitlines()
    assert "2026-11-21 04:50:06Z 10.0.0.7 was refused when its certificate was looked up (trace 0000-1111)" == lines[0]
    assert "  1. The certificate is registered but INACTIVE." == lines[1]
    assert "     What to do first: Activate it." in lines
    assert "     What to do: Renew it." in lines
    assert "  2. It ended yesterday." in lines
    assert "  code: CERTIFICATE_INACTIVE, CERTIFICATE_EXPIRED (AWS logs DEVICE_CERTIFICATE_INACTIVE)" == lines[-1]


class Terminal(io.StringIO):
    """Standard output that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_no_line_is_wider_than_100_columns_and_elsewhere_each_is_whole(
    handfast: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = REFUSAL | {"reasons": [{"code": "X", "explanation": "word " * 40 + "end."}]}
    api = SimpleNamespace(explain=lambda **_: {"refusals": [long]})
    monkeypatch.setattr("handfast.cli.call.handfast_api", lambda *_, **__: api)
    assert "  " + "word " * 40 + "end." in handfast.ok("explain").lines
    monkeypatch.setattr("tests.support.command_line.io", SimpleNamespace(StringIO=Terminal))
    lines = handfast.ok("explain").lines
    assert max(map(len, lines)) <= 100
    assert ["word"] * 40 + ["end."] == [word for line in lines for word in line.split() if word in ("word", "end.")]


def test_a_fact_is_told_once() -> None:
    text = in_words(REFUSAL)
    assert 1 == text.count("ab" * 32)
    assert "  tls version: TLSv1.3" in text


def test_what_was_offered_is_told_where_the_handshake_failed() -> None:
    offering = REFUSAL | {"facts": {"offered_groups": "x25519, secp256r1", "group": "x25519"}}
    assert "offered" not in in_words(offering)
    assert "  offered groups: x25519, secp256r1\n" in in_words(offering | {"stage": "tls"})


def test_a_post_quantum_key_exchange_is_named_as_one() -> None:
    assert "  group: X25519MLKEM768 (post-quantum hybrid)" in in_words(REFUSAL | {"facts": {"group": "X25519MLKEM768"}})
    assert "  group: x25519\n" in in_words(REFUSAL | {"facts": {"group": "x25519"}})


def test_what_the_peer_sent_is_escaped() -> None:
    hostile = "x\x1b[2J\r\n\u202e"
    text = in_words(
        {
            "traceId": hostile,
            "at": hostile,
            "stage": hostile,
            "address": hostile,
            "sni": hostile,
            "clientId": hostile,
            "reasons": [{"code": hostile, "detail": hostile, "explanation": hostile + "!", "fix": hostile}],
            "facts": {hostile: hostile + "?"},
        }
    )
    assert all(line.isprintable() for line in text.split("\n"))


def test_every_stage_has_words() -> None:
    assert {str(stage) for stage in Stage} == set(STAGES)
