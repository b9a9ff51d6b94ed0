"""A rehearsal: nobody fails twice, never more than the limit, and whose failure it was; whatever clients do."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path
from typing import Any

import pytest

from handfast.errors import ConfigurationError
from handfast.services import rehearsal as rehearsals
from handfast.services import rehearsal_report
from handfast.services.rehearsal import HOLD_S, Choice, Key, Rehearsal
from handfast.services.rehearsal_report import Certainty, How, Report, dark_devices, load, save

NOW = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
A, B, C = "a" * 64, "b" * 64, "c" * 64
KEY = Key("192.0.2.7", "", "f1")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> dt.datetime:
        return NOW + dt.timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Bench:
    def __init__(self, *, share: float = 100.0, stop_after: int = 5, draw: Any = lambda: 0.5) -> None:
        self.clock = Clock()
        self.ends = 0
        self.outcomes: list[str] = []
        self.report = Report(
            rehearsal_id="r", started=NOW, share=share, stop_after=stop_after, name="canary", alone=True, chains=()
        )
        self.rehearsal = Rehearsal(
            self.report,
            clock=self.clock,
            draw=draw,
            changed=lambda: None,
            ended=lambda: setattr(self, "ends", 1),
            count=self.outcomes.append,
        )

    def choose(self, key: Key, *, canary: bool = False) -> Choice:
        return self.rehearsal.choose(key, canary=canary)[0]

    def fails(self, key: Key, **how: Any) -> None:
        assert Choice.NEXT is self.choose(key)
        self.rehearsal.failed(key, "ecdsa", how.pop("how", How.ALERT), how.pop("alert", "unknown_ca"), **how)

    def returns(self, key: Key, certificate_id: str) -> None:
        choice, failure = self.rehearsal.choose(key, canary=False)
        assert Choice.WATCHED is choice
        self.rehearsal.came_back(key, failure, certificate_id)

    def certainty(self) -> tuple[Certainty, list[str]]:
        verdict = self.report.verdict(self.report.failures[-1])
        return verdict.certainty, [each.certificate_id for each in verdict.candidates]


@pytest.mark.parametrize("seed", range(40))
def test_no_client_ever_fails_twice_and_no_more_than_the_limit_fail(seed: int) -> None:
    """Clients of a few networks, some of which change address and ClientHello when they try again, in any order."""
    chance = random.Random(seed)
    stop_after = chance.randint(1, 6)
    bench = Bench(share=chance.choice([5.0, 50.0, 100.0]), stop_after=stop_after, draw=chance.random)
    rehearsal, clock = bench.rehearsal, bench.clock
    failed: dict[int, int] = {}
    under_way: list[tuple[int, Key, bool]] = []
    for _ in range(600):
        clock.seconds += chance.choice([0.0, 1.0, 30.0])
        device = chance.randrange(12)
        verifies = device % 3 == 0
        # The first attempt is alike each time; what follows a failure may come otherwise.
        address = f"10.0.{device % 4}.{device if not failed.get(device) else chance.randrange(200)}"
        hello = f"h{device % 2}" if not failed.get(device) else chance.choice(["h0", "h1", "fallback"])
        key = Key(address, "", hello)
        choice, failure = rehearsal.choose(key, canary=False)
        if choice is Choice.NEXT:
            under_way.append((device, key, verifies))
        elif choice is Choice.WATCHED:
            rehearsal.came_back(key, failure, f"{device:064x}")
        if under_way and chance.random() < 0.7:
            one, its_key, good = under_way.pop(chance.randrange(len(under_way)))
            if good:
                rehearsal.verified(its_key, "ecdsa", f"{one:064x}")
            else:
                rehearsal.failed(its_key, "ecdsa", How.ALERT, "unknown_ca")
                failed[one] = failed.get(one, 0) + 1
        assert len(under_way) + len(bench.report.failures) <= stop_after
        keys = [(each.address, each.sni, each.fingerprint) for each in bench.report.failures]
        assert len(keys) == len(set(keys)), "no client fails twice"
        networks = [each.network for _, each, _ in under_way]
        assert len(networks) == len(set(networks)), "nobody fails twice at once"
    if sum(failed.values()) == stop_after:
        assert ("stop limit", 1) == (bench.report.end, bench.ends)


def test_two_attempts_in_a_row_never_fail_even_when_the_second_is_otherwise() -> None:
    bench = Bench()
    bench.fails(KEY)
    for key in (KEY, Key("192.0.2.7", "", "fallback"), Key("192.0.2.99", "other", "f3")):
        assert Choice.WATCHED is bench.choose(key), "it gets the old chain at once"
    assert Choice.NEXT is bench.choose(Key("198.51.100.1", "", "f1")), "another network is not concerned"
    bench.returns(KEY, A)
    assert Choice.NEXT is bench.choose(Key("192.0.2.8", "", "f1")), "it was back"
    assert Choice.WATCHED is bench.choose(Key("192.0.2.7", "", "fallback")), "what it may have come as is remembered"
    bench.clock.seconds += 10 * HOLD_S
    assert Choice.WATCHED is bench.choose(KEY), "and it is, to the end"


def test_a_hold_ends_with_its_time() -> None:
    bench = Bench()
    bench.fails(KEY)
    bench.clock.seconds += HOLD_S + 1
    assert Choice.NEXT is bench.choose(Key("192.0.2.8", "", "f1"))


def test_whose_failure_it_was() -> None:
    bench = Bench()
    bench.fails(KEY)
    assert (Certainty.UNSEEN, []) == bench.certainty()
    bench.returns(Key("192.0.2.7", "", "fallback"), C)
    assert (Certainty.AMBIGUOUS, [C]) == bench.certainty(), "another ClientHello"
    bench.returns(KEY, A)
    assert (Certainty.PROBABLE, [A]) == bench.certainty()
    bench.returns(KEY, B)
    assert (Certainty.AMBIGUOUS, [A, B]) == bench.certainty(), "two devices behind one address"
    bench.rehearsal.verified(Key("203.0.113.1", "", "x"), "ecdsa", B)
    assert (Certainty.PROBABLE, [A]) == bench.certainty(), "who verified the chain it was not"
    verdict = bench.report.verdict(bench.report.failures[0])
    assert "the alert unknown_ca" in verdict.why
    assert bench.rehearsal.watching, "the failure is explained by who comes back after the end too"
    bench.rehearsal.end("stopped")
    assert bench.rehearsal.watching
    assert Choice.PLAIN is bench.choose(Key("203.0.113.9", "", "y"))


@pytest.mark.parametrize(
    ("how", "alert", "certainty"),
    [(How.ALERT, "bad_certificate", Certainty.CERTAIN), (How.CLOSED, None, Certainty.PROBABLE)],
)
def test_who_had_shown_its_certificate_is_named_by_it(how: How, alert: str | None, certainty: Certainty) -> None:
    bench = Bench()
    bench.fails(KEY, how=how, alert=alert, shown=A)
    bench.returns(KEY, B)
    assert (certainty, [A]) == bench.certainty()


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsals, "MAX_REMEMBERED", 3)
    monkeypatch.setattr(rehearsals, "MAX_GOOD", 2)
    bench = Bench()
    for number in range(3):
        key = Key(f"198.51.{number}.1", "", "f")
        assert Choice.NEXT is bench.choose(key)
        bench.rehearsal.verified(key, "rsa", f"{number:064x}")
    assert (2, 1) == (len(bench.report.good), bench.report.good_left_out)
    bench.fails(KEY)
    for number in range(4):
        bench.choose(Key("192.0.2.9", "", f"g{number}"))
    assert "too many clients to remember" == bench.report.end
    for number in range(40):
        bench.rehearsal.came_back(KEY, bench.report.failures[0], f"{number + 100:064x}")
    assert rehearsal_report.MAX_SUSPECTS == len(bench.report.failures[0].suspects)
    assert Certainty.AMBIGUOUS is bench.certainty()[0]


def test_outcomes_are_counted() -> None:
    bench = Bench()
    bench.fails(KEY, how=How.SILENT, alert=None)
    other = Key("198.51.100.1", "", "f1")
    assert Choice.NEXT is bench.choose(other)
    bench.rehearsal.verified(other, "ecdsa", A)
    third = Key("203.0.113.1", "", "f1")
    assert Choice.NEXT is bench.choose(third)
    bench.rehearsal.released(third)  # whatever it was, not the chain
    assert ["silent", "verified"] == bench.outcomes


def test_only_the_canary_is_served_without_a_share() -> None:
    bench = Bench(share=0.0)
    assert Choice.PLAIN is bench.choose(KEY)
    assert Choice.NEXT is bench.choose(KEY, canary=True)


def test_what_was_found_is_kept(tmp_path: Path) -> None:
    assert [] == load(tmp_path)
    bench = Bench()
    bench.fails(KEY)
    bench.returns(KEY, A)
    bench.rehearsal.verified(Key("203.0.113.1", "", "x"), "rsa", B)
    save(tmp_path, [bench.report] * 30)
    kept = load(tmp_path)
    assert [bench.report] * rehearsal_report.MAX_REPORTS == kept
    (dark, *_) = dark_devices(kept[:1], since=NOW)
    assert A in dark.sentence()
    (tmp_path / "rehearsals.json").write_text('{"format": 1, "reports": [{}]}')
    with pytest.raises(ConfigurationError, match="is not what handfast writes"):
        load(tmp_path)
