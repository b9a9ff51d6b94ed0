"""What is stapled is what the responder last said, until it ends; and the responder is asked in good measure."""

from __future__ import annotations

import asyncio
import datetime as dt
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from tests.support.ocsp import DELEGATE_KEY, DOWN, ISSUER_KEY, ScriptedResponders, issuer, leaf, response
from tests.support.pki import MovableClock, certificate

from handfast.core.pki.ocsp import AskResult, CertificateState, ResponderFailed
from handfast.services import staple_files
from handfast.services.backup_format import rule_of
from handfast.services.pki_folder import ChainKind
from handfast.services.staple_files import StapleFiles
from handfast.services.stapling import Stapler, StaplingReport
from handfast.telemetry.metrics import PrometheusMeter

NAME = "domain:one"
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


class MiddleEntropy:
    """Jitter of nothing."""

    def token_bytes(self, n: int) -> bytes:
        return b"\x7f\xff"[:n]

    def uuid(self) -> str:
        raise NotImplementedError


class World:
    """A stapler whose time passes when `pass_` says so; one certificate is watched at a time."""

    def __init__(self, folder: Path, answer: bytes | ResponderFailed) -> None:
        self.clock = MovableClock()
        self.folder = folder
        self.responders = ScriptedResponders(answer)
        self.stapled: dict[tuple[str, ChainKind], bytes | None] = {}
        self.meter = PrometheusMeter()
        self._asleep = asyncio.Event()
        self._wake = asyncio.Event()
        self.waits: list[float] = []
        self.stapler = self.made()

    def made(self) -> Stapler:
        def give(name: str, kind: ChainKind, leaf: x509.Certificate, response: bytes | None) -> None:
            del leaf
            self.stapled[name, kind] = response

        files = StapleFiles(self.folder)
        return Stapler(self.responders, give, files, self.clock, MiddleEntropy(), self.meter, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._asleep.set()
        await self._wake.wait()
        self._wake.clear()

    async def settled(self) -> None:
        """The watch waits for time to pass."""
        async with asyncio.timeout(10):
            await self._asleep.wait()

    async def watched(self) -> World:
        self.stapler.watch(NAME, "ecdsa", leaf(), issuer())
        await self.settled()
        return self

    async def pass_(self, time: dt.timedelta) -> None:
        """As much time is over, and what that causes has happened."""
        self.clock.at += time
        self._asleep.clear()
        self._wake.set()
        await self.settled()

    @property
    def now(self) -> bytes | None:
        return self.stapled.get((NAME, "ecdsa"))

    @property
    def report(self) -> StaplingReport:
        (report,) = self.stapler.reports(NAME)
        return report

    @property
    def questions(self) -> int:
        return len(self.responders.asked)


Make = Callable[..., World]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    worlds: list[World] = []

    def made(answer: bytes | ResponderFailed | None = None) -> World:
        world = World(tmp_path, b"")
        world.responders.answer = answer if answer is not None else response(world.clock)
        worlds.append(world)
        return world

    yield made
    for world in worlds:
        await world.stapler.close()


async def test_a_good_response_is_stapled_and_asked_for_again_after_an_hour(make: Make) -> None:
    world = await make().watched()
    assert world.responders.answer == world.now
    report = world.report
    assert (CertificateState.GOOD, AskResult.GOOD, "") == (report.stapled, report.result, report.detail)
    ((url, _, trusted),) = world.responders.asked
    assert ("http://ocsp.example.test", False) == (url, trusted)
    await world.pass_(59 * HOUR / 60)
    assert 1 == world.questions
    world.responders.answer = fresh = response(world.clock)
    await world.pass_(HOUR / 30)
    assert (2, fresh) == (world.questions, world.now)
    assert all(wait <= 60 for wait in world.waits)


async def test_the_last_response_stays_until_its_end_and_then_nothing_is_stapled(make: Make) -> None:
    world = await make().watched()
    last = world.now
    world.responders.answer = DOWN
    for _ in range(20):
        await world.pass_(HOUR)
    assert last == world.now
    assert AskResult.UNREACHABLE == world.report.result
    await world.pass_(4 * HOUR)
    assert world.now is None
    assert world.report.stapled is None
    world.responders.answer = response(world.clock)
    await world.pass_(2 * HOUR)
    assert world.responders.answer == world.now


async def test_failures_are_retried_after_a_minute_then_less_and_less_often(make: Make) -> None:
    world = await make(DOWN).watched()
    gaps, last = [], 0
    for minute in range(1, 200):
        before = world.questions
        await world.pass_(dt.timedelta(minutes=1))
        if world.questions > before:
            gaps.append(minute - last)
            last = minute
    assert [1, 2, 4, 8, 16, 32, 60] == gaps[:7]
    world.responders.answer = response(world.clock)
    await world.pass_(HOUR)
    assert world.now is not None


async def test_a_short_response_is_renewed_before_it_ends(make: Make) -> None:
    world = make()
    world.responders.answer = response(world.clock, ends=HOUR / 2)
    await world.watched()
    world.responders.answer = fresh = response(world.clock, begins=dt.timedelta(), ends=HOUR)
    await world.pass_(HOUR / 4)
    assert fresh == world.now


async def test_revoked_is_stapled_and_unknown_is_not(make: Make) -> None:
    world = await make().watched()
    good = world.now
    world.responders.answer = response(world.clock, status=ocsp.OCSPCertStatus.UNKNOWN)
    await world.pass_(HOUR * 1.2)
    assert (good, AskResult.UNKNOWN) == (world.now, world.report.result)
    world.responders.answer = revoked = response(world.clock, status=ocsp.OCSPCertStatus.REVOKED)
    await world.pass_(HOUR)
    assert (revoked, CertificateState.REVOKED) == (world.now, world.report.stapled)
    rendered = world.meter.render().decode()
    assert 'handfast_ocsp_staples{state="revoked"} 1.0' in rendered
    assert 'handfast_ocsp_refreshes_total{result="unknown"} 1.0' in rendered


async def test_an_older_response_does_not_take_the_place_of_a_newer_one(make: Make) -> None:
    world = make()
    early = response(world.clock)
    world.clock.at += HOUR
    world.responders.answer = revoked = response(world.clock, status=ocsp.OCSPCertStatus.REVOKED)
    await world.watched()
    world.responders.answer = early
    await world.pass_(HOUR * 1.2)
    assert revoked == world.now
    assert "older than the one that is held" in world.report.detail


@pytest.mark.parametrize("kind", ["garbage", "stranger", "oversized"])
async def test_what_cannot_be_believed_is_not_stapled(make: Make, kind: str) -> None:
    clock = MovableClock()
    stranger = certificate("Issuing CA", key=DELEGATE_KEY, ca=True)
    spoiled = {
        "garbage": b"<html>",
        "stranger": response(clock, signer=stranger, key=DELEGATE_KEY),
        "oversized": bytes(5000),
    }
    world = await make(spoiled[kind]).watched()
    assert world.now is None
    assert (AskResult.OVERSIZED if kind == "oversized" else AskResult.INVALID) == world.report.result
    world.responders.answer = good = response(world.clock)
    await world.pass_(HOUR)
    world.responders.answer = spoiled[kind]
    await world.pass_(HOUR * 1.2)
    assert good == world.now


async def test_a_restart_staples_what_was_saved_before_anybody_is_asked(make: Make, tmp_path: Path) -> None:
    first = await make().watched()
    good = first.now
    await first.stapler.close()
    (file,) = (tmp_path / "staples").iterdir()
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert rule_of(f"staples/{file.name}") is not None
    second = await make(DOWN).watched()
    assert good == second.now
    await second.stapler.close()
    for spoiled in (b"", b"garbage", bytes(1_000_000)):
        file.write_bytes(spoiled)
        third = await make(DOWN).watched()
        assert third.now is None
        await third.stapler.close()


async def test_a_saved_response_that_is_over_is_not_stapled(make: Make) -> None:
    await (await make().watched()).stapler.close()
    world = make(DOWN)
    world.clock.at += 2 * DAY
    await world.watched()
    assert world.now is None


async def test_forgetting_takes_the_staple_and_the_file(make: Make, tmp_path: Path) -> None:
    world = await make().watched()
    world.stapler.forget(NAME)
    assert world.now is None
    assert [] == world.stapler.reports()
    await world.stapler.close()
    assert [] == list((tmp_path / "staples").iterdir())
    world.stapler.forget("domain:of nobody")


async def test_watching_again(make: Make) -> None:
    world = await make().watched()
    world.stapled.clear()
    world.stapler.watch(NAME, "ecdsa", leaf(), issuer())  # the set was installed anew
    assert world.now is not None
    assert 1 == world.questions
    world._asleep.clear()
    world.stapler.watch(NAME, "ecdsa", leaf(), issuer(), url="http://127.0.0.1:1/")
    await world.settled()
    assert ("http://127.0.0.1:1/", True) == world.responders.asked[-1][::2]
    other = certificate("other", issuer=issuer(), issuer_key=ISSUER_KEY)
    world._asleep.clear()
    world.stapler.watch(NAME, "ecdsa", other, issuer())
    assert world.now is None
    await world.settled()
    assert (AskResult.FORBIDDEN, None) == (world.report.result, world.report.url)


async def test_a_certificate_that_signed_itself_is_not_watched(make: Make) -> None:
    world = make()
    world.stapler.watch(NAME, "ecdsa", issuer(), issuer())
    assert [] == world.stapler.reports()


async def test_a_bug_does_not_end_the_watch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make()
    with monkeypatch.context() as patched:
        patched.setattr("handfast.services.stapling.build_request", lambda *_: 1 / 0)
        await world.watched()
    assert (AskResult.FAILED, "ZeroDivisionError") == (world.report.result, world.report.detail)
    await world.pass_(HOUR)
    assert world.now is not None


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staple_files, "MAX_FILES", 2)
    files = StapleFiles(tmp_path)
    for number in range(4):
        files.save(certificate(f"c{number}"), b"%d" % number)
    assert 2 == len(list((tmp_path / "staples").iterdir()))


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "staples").write_text("a file")
    files = StapleFiles(tmp_path)
    files.save(leaf(), b"response")
    assert files.load(leaf()) is None
    files.remove(leaf())
