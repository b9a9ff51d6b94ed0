"""A flood of refusals: what it costs in rows and bytes on the disk and in memory; and every one is accounted for."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path

import pytest
from tests.support.principals import device
from tests.support.registry import FakeClock, FakeEntropy

from handfast.core.identity.refusal import Reason, ReasonCode, Refusal
from handfast.refusal_reports import BURST, PER_SECOND, RefusalReports
from handfast.services import refusals as module
from handfast.services.recording import HalfOpen, Recorder
from handfast.services.refusals import MAX_SUMMARIES, RefusalLog
from handfast.storage.refusals import SQLiteRefusals
from handfast.telemetry.metrics import PrometheusMeter

SECONDS = 5
BAD_HELLO = (Reason(ReasonCode.MALFORMED_CLIENT_HELLO, "no compression method"),)
OFFERED = {f"offered_{name}": "x" * 500 for name in ("versions", "cipher_suites", "groups", "signature_algorithms")}


def from_address(number: int) -> HalfOpen:
    return HalfOpen(listener="mqtt", address=f"10.0.{number >> 8}.{number & 255}", port=1)


class Flood:
    """Refused handshakes from as many addresses as are given, into the real record and archive."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.meter = PrometheusMeter()
        self.lines = 0
        self.archive = SQLiteRefusals(path)
        reports = RefusalReports(clock, self.meter)
        self.log = RefusalLog(
            clock, FakeEntropy(), archive=self.archive, on_record=reports.recorded, on_drop=reports.dropped
        )
        self.recorder = Recorder(self.log, clock)
        self.certificate = device().der

    def run(self, addresses: list[str], per_second: int) -> int:
        sent = 0
        for _ in range(SECONDS):
            self.clock.instant += dt.timedelta(seconds=1)
            for _ in range(per_second):
                address = addresses[sent % len(addresses)]
                failed = HalfOpen(listener="mqtt", address=address, port=1, offered=OFFERED)
                self.recorder.record_handshake(BAD_HELLO, failed)
                sent += 1
        self.log.tell_suppressed()
        self.archive.close()
        return sent


def rows_of(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("SELECT count(*) FROM refusals").fetchone()[0])


def summaries(log: RefusalLog) -> list[Refusal]:
    return [each for each in log.query("", None, 100_000) if "suppressed" in each.facts]


def accounted(log: RefusalLog) -> int:
    told = summaries(log)
    return len(log) - len(told) + sum(int(each.facts["suppressed"]) for each in told)


def test_one_address_is_sampled_and_the_rest_is_told_by_summaries(tmp_path: Path) -> None:
    path = tmp_path / "refusals.db"
    flood = Flood(path, FakeClock())
    sent = flood.run(["192.0.2.1"], 800)
    singly = 500 + 20 * SECONDS
    assert sent == accounted(flood.log)
    assert sent - singly <= sum(int(each.facts["suppressed"]) for each in summaries(flood.log)) <= sent - singly + 20
    # At most one summary stands before each that was recorded, and one at the end.
    assert rows_of(path) <= singly + 20 * SECONDS + 1
    assert rows_of(path) == len(flood.log)
    assert 0 == flood.archive.lost
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < 6 * 1024 * 1024
    assert flood.log.dropped == sent - (len(flood.log) - len(summaries(flood.log)))
    unrecorded = f"handfast_refusals_unrecorded_total {flood.log.dropped}.0".encode()
    assert unrecorded in flood.meter.render()


def test_many_addresses_share_one_rate_and_one_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BURST_OF_ALL", 200)
    monkeypatch.setattr(module, "PER_SECOND_OF_ALL", 20.0)
    path = tmp_path / "refusals.db"
    flood = Flood(path, FakeClock())
    addresses = [from_address(number).address for number in range(3_000)]
    sent = flood.run(addresses, 900)
    assert sent == accounted(flood.log)
    told = summaries(flood.log)
    (together,) = [each for each in told if "addresses" in each.facts]
    assert len(told) <= 200 + 20 * SECONDS + MAX_SUMMARIES + 1
    assert int(together.facts["addresses"]) > 2_000
    assert together.account is None
    assert "other addresses were counted and not recorded" in together.reasons[0].detail
    assert rows_of(path) == len(flood.log) < 900


def test_addresses_that_are_forgotten_are_still_accounted_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ADDRESSES", 100)
    monkeypatch.setattr(module, "BURST_OF_ALL", 10)
    monkeypatch.setattr(module, "PER_SECOND_OF_ALL", 0.001)
    clock = FakeClock()
    log = RefusalLog(clock, FakeEntropy())
    recorder = Recorder(log, clock)
    for number in range(1_000):
        recorder.record_handshake(BAD_HELLO, from_address(number))
    log.tell_suppressed()
    assert 1_000 == accounted(log)


def test_new_addresses_rarely_cost_a_look_at_all_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ADDRESSES", 1_000)
    monkeypatch.setattr(module, "BURST_OF_ALL", 10)
    monkeypatch.setattr(module, "PER_SECOND_OF_ALL", 100.0)
    clock = FakeClock()
    log = RefusalLog(clock, FakeEntropy(), max_refusals=8)
    recorder = Recorder(log, clock)
    for number in range(1_000):  # ten are recorded, and two of them fall out of the record; the rest is only counted
        recorder.record_handshake(BAD_HELLO, from_address(number))
    looks = 0
    forget = log._forget_sources

    def counted() -> None:
        nonlocal looks
        looks += 1
        forget()

    monkeypatch.setattr(log, "_forget_sources", counted)
    for number in range(1_000, 2_000):  # each is recorded, and another one falls out of the record
        clock.instant += dt.timedelta(seconds=0.05)
        recorder.record_handshake(BAD_HELLO, from_address(number))
    assert looks <= 12
    assert len(log._sources) <= 1_000


def test_asking_for_an_address_reads_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    log = RefusalLog(clock, FakeEntropy())
    recorder = Recorder(log, clock)
    wanted = [
        recorder.record_handshake(BAD_HELLO, HalfOpen(listener="mqtt", address=address, port=1))
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:0:0:0:0:1")
    ]
    for number in range(500):
        recorder.record_handshake(BAD_HELLO, from_address(number))
    read = []
    normal_address = module._normal_address

    def counted(text: str) -> str | None:
        read.append(text)
        return normal_address(text)

    monkeypatch.setattr(module, "_normal_address", counted)
    assert [wanted[2], wanted[0]] == [each.trace_id for each in log.query("[2001:DB8::1]:8883", None, 10)]
    assert len(read) <= 4


def test_asking_during_a_flood_of_many_addresses_pushes_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BURST_OF_ALL", 50)
    monkeypatch.setattr(module, "PER_SECOND_OF_ALL", 0.001)
    clock = FakeClock()
    log = RefusalLog(clock, FakeEntropy(), max_refusals=400)
    recorder = Recorder(log, clock)
    first = recorder.record_handshake(BAD_HELLO, HalfOpen(listener="mqtt", address="192.0.2.1", port=1))
    for number in range(2_000):
        recorder.record_handshake(BAD_HELLO, from_address(number))
    assert [first] == [each.trace_id for each in log.query("192.0.2.1", None, 10)]
    assert 50 + MAX_SUMMARIES + 1 == len(log)


def test_the_log_has_a_line_for_some_and_says_how_many_it_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    clock = FakeClock()
    meter = PrometheusMeter()
    reports = RefusalReports(clock, meter)
    log = RefusalLog(clock, FakeEntropy(), on_record=reports.recorded, burst=10_000)
    recorder = Recorder(log, clock)
    for _ in range(BURST + 100):
        recorder.record_handshake(BAD_HELLO, HalfOpen(listener="mqtt", address="192.0.2.1", port=1))
    clock.instant += dt.timedelta(seconds=1)
    recorder.record_handshake(BAD_HELLO, HalfOpen(listener="mqtt", address="192.0.2.1", port=1))
    lines = [line for line in "".join(capsys.readouterr()).splitlines() if "refused" in line]
    assert BURST + 1 == len(lines)
    assert "refusals_without_a_line" in lines[-1]
    assert "100" in lines[-1]
    assert PER_SECOND < 20
    assert f'reason="MALFORMED_CLIENT_HELLO",stage="tls"}} {BURST + 101}.0'.encode() in meter.render()


def test_what_is_only_counted_is_not_parsed_nor_put_into_words() -> None:
    class Dear(dict[str, str]):
        def __iter__(self) -> None:  # type: ignore[override]
            raise AssertionError("the offer was looked at")

        keys = items = values = __iter__  # type: ignore[assignment]

    clock = FakeClock()
    log = RefusalLog(clock, FakeEntropy(), burst=1, per_second=0.001)
    recorder = Recorder(log, clock)
    recorder.record_handshake(BAD_HELLO, HalfOpen(listener="mqtt", address="192.0.2.1", port=1))
    failed = HalfOpen(listener="mqtt", address="192.0.2.1", port=1, certificate_der=b"no DER", offered=Dear(a="b"))
    recorder.record_handshake(BAD_HELLO, failed)
    assert 1 == log.dropped
