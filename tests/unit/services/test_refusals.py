"""The record of refusals: what is found, by whom, within which bounds, and in which words."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.principals import device
from tests.support.registry import NOW, OTHER_ACCOUNT, SCOPE, FakeClock, FakeEntropy, caller

from handfast.control.explain import ExplainHandlers
from handfast.core.identity.refusal import Reason, ReasonCode, Refusal, Stage
from handfast.printable import printable
from handfast.services import explanations
from handfast.services.recording import MAX_TEXT_CHARACTERS, Recorder
from handfast.services.refusals import BURST_OF_ALL, RefusalLog

CERTIFICATE = "ab" * 32


def refusal(number: int = 0, **changes: Any) -> Refusal:
    given: dict[str, Any] = {
        "trace_id": f"trace-{number}",
        "at": NOW,
        "stage": Stage.CERTIFICATE,
        "reasons": (Reason(ReasonCode.CERTIFICATE_INACTIVE, "its status is INACTIVE"),),
        "address": "192.0.2.7",
        "account": SCOPE.account,
        "region": SCOPE.region,
        "certificate_id": CERTIFICATE,
        "serial_number": "1ab",
        "client_id": "lamp",
    }
    return Refusal(**(given | changes))


class Archive:
    """What was handed on."""

    def __init__(self, *earlier: Refusal) -> None:
        self.earlier = earlier
        self.appended: list[Refusal] = []

    def load(self, limit: int) -> Sequence[Refusal]:
        return self.earlier[-limit:]

    def append(self, refusal: Refusal) -> None:
        self.appended.append(refusal)


def record(**options: Any) -> tuple[RefusalLog, FakeClock]:
    clock = FakeClock()
    return RefusalLog(clock, FakeEntropy(), **options), clock


# --- finding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "trace-0", "TRACE-0", CERTIFICATE, CERTIFICATE.upper(), f"arn:aws:iot:r:1:cert/{CERTIFICATE}", "1ab",
        "1AB", "01:AB", "serial=01AB", "0x1ab", "427", "lamp", " lamp ", "192.0.2.7", "192.0.2.7:50123",
        "CERTIFICATE_INACTIVE", "certificate_inactive", "DEVICE_CERTIFICATE_INACTIVE", "",
    ],
)  # fmt: skip
def test_a_refusal_is_found_by_whatever_a_person_has_at_hand(query: str) -> None:
    log, _ = record()
    log.record(refusal())
    revoked = (Reason(ReasonCode.CERTIFICATE_REVOKED),)
    other = refusal(1, certificate_id="cd" * 32, serial_number="2", client_id="LAMP", address="192.0.2.8")
    log.record(dataclasses.replace(other, reasons=revoked))
    assert "trace-0" in [each.trace_id for each in log.query(query, None, 10)]
    assert query == "" or [0] == [int(each.trace_id[-1]) for each in log.query(query, None, 10)]


@pytest.mark.parametrize("query", ["trace-9", "lam", "ab", "x" * 5000, "'; drop table", "\x00", "1" * 60])
def test_what_is_not_there_is_not_found(query: str) -> None:
    log, _ = record()
    log.record(refusal())
    assert [] == log.query(query, None, 10)


def test_the_newest_come_first_and_no_more_than_asked_for() -> None:
    log, _ = record()
    for number in range(10):
        log.record(refusal(number))
    assert ["trace-9", "trace-8", "trace-7"] == [each.trace_id for each in log.query("lamp", None, 3)]


def test_an_account_sees_its_own_and_the_operator_everything() -> None:
    log, _ = record()
    log.record(refusal(0))
    log.record(refusal(1, account=OTHER_ACCOUNT.account))
    log.record(refusal(2, account=None))
    assert ["trace-0"] == [each.trace_id for each in log.query("", SCOPE.account, 10)]
    assert ["trace-1"] == [each.trace_id for each in log.query("", OTHER_ACCOUNT.account, 10)]
    assert [] == log.query("trace-1", SCOPE.account, 10)
    assert 3 == len(log.query("", None, 10))


def test_ipv6_addresses_are_found_in_any_spelling() -> None:
    log, _ = record()
    log.record(refusal(address="2001:db8::1"))
    assert 1 == len(log.query("[2001:0db8:0::1]", None, 10))


# --- bounds -------------------------------------------------------------------------------------------------------


def test_the_count_is_bounded_and_the_oldest_go() -> None:
    log, clock = record(max_refusals=20, burst=10_000)
    for number in range(100):
        clock.instant += dt.timedelta(seconds=1)
        log.record(refusal(number, address=f"192.0.2.{number}"))
    assert 20 == len(log)
    assert "trace-99" == log.query("", None, 1)[0].trace_id


def test_the_bytes_are_bounded() -> None:
    log, _ = record(max_bytes=100_000)
    for number in range(100):
        log.record(refusal(number, address=f"192.0.2.{number}", facts={"fact": "x" * 1000}))
    assert 5 < len(log) < 25


def test_a_flood_from_one_address_is_counted_and_leaves_the_others_alone() -> None:
    log, clock = record(burst=5, per_second=1.0)
    for number in range(1000):
        log.record(refusal(number))
    assert log.suppressing("192.0.2.7")
    assert not log.suppressing("192.0.2.8")
    log.record(refusal(5000, address="192.0.2.8", client_id="other"))
    assert ["trace-5000"] == [each.trace_id for each in log.query("other", None, 10)]
    assert 995 == log.dropped
    summary = log.query("192.0.2.7", None, 10)[0]
    assert "995 more refusals of this address" in summary.reasons[0].detail
    assert (SCOPE.account, "995") == (summary.account, summary.facts["suppressed"])
    clock.instant += dt.timedelta(seconds=2)
    assert not log.suppressing("192.0.2.7")
    log.record(refusal(6000))
    assert "trace-6000" == log.query("192.0.2.7", None, 1)[0].trace_id


def test_a_summary_over_several_accounts_belongs_to_the_operator() -> None:
    log, _ = record(burst=1, per_second=0.001)
    for number in range(4):
        log.record(refusal(number, account=(SCOPE if number % 2 else OTHER_ACCOUNT).account))
    (summary, _) = log.query("", None, 10)
    assert (None, "3") == (summary.account, summary.facts["suppressed"])
    assert all("more refusals" not in each.reasons[0].detail for each in log.query("", SCOPE.account, 10))


def test_one_host_cannot_use_the_addresses_of_its_ipv6_network() -> None:
    log, _ = record(burst=3, per_second=0.001)
    for number in range(50):
        log.record(refusal(number, address=f"2001:db8:0:1::{number:x}"))
    assert log.suppressing("2001:db8:0:1:ffff::1")
    assert not log.suppressing("2001:db8:0:2::1")
    assert 47 == log.dropped


def test_one_address_fills_a_quarter_of_the_record_at_most() -> None:
    log, _ = record(max_refusals=40, burst=10_000)
    log.record(refusal(0, address="192.0.2.1", client_id="quiet"))
    for number in range(1, 500):
        log.record(refusal(number))
    assert ["trace-0"] == [each.trace_id for each in log.query("quiet", None, 10)]
    assert 10 == len(log.query("192.0.2.7", None, 100))


def test_many_addresses_together_are_bounded_too() -> None:
    log, _ = record()
    for number in range(BURST_OF_ALL + 100):
        log.record(refusal(number, address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
    assert 100 == log.dropped


def test_recording_never_raises() -> None:
    log, _ = record(on_record=lambda refusal: 1 / 0)  # type: ignore[arg-type, return-value]
    log.record(refusal())
    assert 1 == len(log)


def test_earlier_refusals_are_known_again_and_new_ones_handed_on() -> None:
    archive = Archive(refusal(1), refusal(2))
    log, _ = record(archive=archive)
    log.record(refusal(3))
    assert ["trace-3", "trace-2", "trace-1"] == [each.trace_id for each in log.query("", None, 10)]
    assert ["trace-3"] == [each.trace_id for each in archive.appended]


# --- making one ---------------------------------------------------------------------------------------------------


def test_what_a_peer_sent_is_bounded_and_kept_as_it_was() -> None:
    log, clock = record()
    hostile = "\x1b]0;owned\x07\u202e" * 1000
    who = device("\x1b[31mred", serial_number=0xBEEF)
    trace = Recorder(log, clock).record(
        Stage.CONNECT,
        (Reason(ReasonCode.IMPLICIT_DENY, hostile),) * 100,
        who.facts(hostile, alpn=hostile, offered={hostile: hostile} | {str(n): "x" for n in range(500)}),
        SCOPE,
        client_id=hostile,
        resource=hostile,
    )
    (found,) = log.query(trace, SCOPE.account, 10)
    texts = [found.sni, found.alpn, found.client_id, found.resource, *found.facts.values(), *found.facts]
    assert all(text is not None and len(text) <= MAX_TEXT_CHARACTERS + 1 for text in texts)
    assert len(found.facts) <= 40
    assert len(found.reasons) <= 16
    assert "beef" == found.serial_number
    for text in texts:
        shown = printable(str(text))
        assert shown.isprintable()
        assert "\u202e" not in shown


def test_an_unreadable_certificate_is_recorded_all_the_same() -> None:
    log, clock = record()
    who = device()
    who.der = b"\x30\x80" + bytes(50)
    trace = Recorder(log, clock).record(Stage.CERTIFICATE, (Reason(ReasonCode.INTERNAL),), who.facts(), None)
    (found,) = log.query(trace, None, 10)
    assert "certificate_unreadable" in found.facts
    assert who.certificate_id == found.certificate_id


# --- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", list(ReasonCode))
def test_every_reason_has_words_and_something_to_do(code: ReasonCode) -> None:
    said = explanations.explain_code(code, refusal())
    assert said.what.endswith(".")
    assert said.fix
    assert not {"{", "}"} & set(said.what + said.fix)


def test_the_command_for_an_inactive_certificate_can_be_pasted() -> None:
    ((_, said),) = explanations.explain(refusal())
    assert f"aws iot update-certificate --certificate-id {CERTIFICATE} --new-status ACTIVE" in said.fix
    assert "INACTIVE" in said.what
    assert "DEVICE_CERTIFICATE_INACTIVE" == said.aws_log_reason


def test_a_key_that_is_for_something_else_is_not_sent_to_the_policies() -> None:
    said = explanations.explain_code(ReasonCode.IMPLICIT_DENY, refusal(stage=Stage.API))
    assert "profile handfast-operator" in said.fix
    assert "policies" not in said.what + said.fix


def test_nothing_that_a_peer_sent_gets_into_a_command() -> None:
    hostile = "$(reboot)"
    made = refusal(
        sni=hostile, alpn=hostile, client_id=hostile, resource=hostile, facts={"certificate_subject": hostile}
    )
    for code in ReasonCode:
        assert hostile not in "".join(map(str, explanations.explain_code(code, made)))


def test_the_reasons_that_aws_logs() -> None:
    expected = {
        ReasonCode.CERTIFICATE_NOT_REGISTERED: "DEVICE_CERTIFICATE_NOT_REGISTERED",
        ReasonCode.CERTIFICATE_INACTIVE: "DEVICE_CERTIFICATE_INACTIVE",
        ReasonCode.CERTIFICATE_REVOKED: "DEVICE_CERTIFICATE_REVOKED",
        ReasonCode.ENDPOINT_OF_ANOTHER_ACCOUNT: "SNI_MISUSED",
        ReasonCode.IMPLICIT_DENY: "AUTHORIZATION_FAILURE",
    }
    assert expected.items() <= explanations.AWS_LOG_REASON.items()
    assert ReasonCode.CERTIFICATE_EXPIRED not in explanations.AWS_LOG_REASON, "there is no such code at AWS"


async def test_explain_answers_with_words_to_those_who_may_see_it() -> None:
    log, _ = record()
    log.record(refusal())
    explain = ExplainHandlers(log).handlers["Explain"]
    answer = await explain(caller(), query="lamp")
    (found,) = answer["refusals"]
    assert ("trace-0", "certificate", CERTIFICATE) == (found["trace_id"], found["stage"], found["certificate_id"])
    (reason,) = found["reasons"]
    assert {"code", "detail", "explanation", "fix", "aws_log_reason"} == reason.keys()
    foreign = await explain(caller(OTHER_ACCOUNT), query="lamp")
    nothing = await explain(caller(OTHER_ACCOUNT), query="nobody")
    assert {"refusals": []} == foreign == nothing


def test_a_client_identifier_told_after_the_refusal_finds_it_also_after_a_restart() -> None:
    archive = Archive()
    log, _ = record(archive=archive)
    log.record(refusal(client_id=None))
    log.name_client("trace-0", "pump-7")
    assert ["trace-0"] == [found.trace_id for found in log.query("pump-7", None, 10)]
    again, _ = record(archive=Archive(*archive.appended))
    assert ["trace-0"] == [found.trace_id for found in again.query("192.0.2.7", None, 10)]
    assert ["trace-0"] == [found.trace_id for found in again.query("pump-7", None, 10)]
