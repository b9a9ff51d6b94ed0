"""The real parts: a CA of openssl's, its responder, handshakes of s_client; only time is moved."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.ocsp import openssl_authority
from tests.support.pki import MovableClock, RealEntropy
from tests.support.tls_door import RecordingPlane, RunningDoor, running_door

from handfast.core.pki.ocsp import AskResult
from handfast.responders.fetch import HttpResponders
from handfast.seam import ListenerKind
from handfast.services.staple_files import StapleFiles
from handfast.services.stapling import Stapler, StaplingReport
from handfast.telemetry.metrics import PrometheusMeter
from handfast.tls.contexts import Contexts

NAME = "us-east-1"
NONE = "OCSP response: no response sent"


class Plane:
    """A door that serves the operator's certificate, and a stapler that watches it."""

    def __init__(self, folder: Path, table: Contexts, door: RunningDoor) -> None:
        self.door = door
        self.clock = MovableClock(dt.datetime.now(dt.UTC))
        self.naps: asyncio.Queue[float] = asyncio.Queue()
        self.wake = asyncio.Event()
        self.stapler = Stapler(
            HttpResponders(limit_s=5),
            table.staple,
            StapleFiles(folder),
            self.clock,
            RealEntropy(),
            PrometheusMeter(),
            sleep=self._nap,
        )

    async def _nap(self, seconds: float) -> None:
        self.naps.put_nowait(seconds)
        await self.wake.wait()
        self.wake.clear()

    async def ask(self, url: str, *, authorized: str | None = None) -> StaplingReport:
        """This responder was asked."""
        ca = openssl_authority()
        responder = ca.certificate(authorized) if authorized else None
        self.stapler.watch(NAME, "ecdsa", ca.certificate("leaf"), ca.certificate("ca"), url=url, responder=responder)
        return await self._asleep()

    async def pass_(self, time: dt.timedelta) -> StaplingReport:
        self.clock.at += time
        self.wake.set()
        return await self._asleep()

    async def _asleep(self) -> StaplingReport:
        async with asyncio.timeout(15):
            await self.naps.get()
        (report,) = self.stapler.reports(NAME)
        return report

    async def handshake(self, *options: str) -> str:
        ca = str(openssl_authority().folder / "ca.pem")
        return await self.door.s_client("-status", "-CAfile", ca, *options)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    ca = openssl_authority()
    table = Contexts("ecdsa")
    table.install(NAME, "ecdsa", (ca.folder / "leaf.pem").read_bytes(), ca.key_pem("leaf"))
    async with running_door(table, RecordingPlane(), ListenerKind.API) as door:
        made = Plane(tmp_path, table, door)
        yield made
        await made.stapler.close()


async def test_from_a_live_responder_to_none_after_its_last_words_end(plane: Plane) -> None:
    assert NONE in await plane.handshake()
    ca = openssl_authority()
    with ca.responder(minutes=90) as url:
        assert AskResult.GOOD == (await plane.ask(url)).result
        for version in ("-tls1_2", "-tls1_3"):
            output = await plane.handshake(version)
            assert "Cert Status: good" in output
            assert "Verify return code: 0 (ok)" in output
    report = await plane.pass_(dt.timedelta(minutes=70))  # the responder is dead
    assert AskResult.UNREACHABLE == report.result
    assert "Cert Status: good" in await plane.handshake()
    report = await plane.pass_(dt.timedelta(minutes=25))
    assert report.stapled is None
    for version in ("-tls1_2", "-tls1_3"):
        output = await plane.handshake(version)
        assert NONE in output
        assert "Verify return code: 0 (ok)" in output


async def test_who_signs(plane: Plane) -> None:
    ca = openssl_authority()
    with ca.responder(signer="delegate", status="R") as url:
        assert AskResult.REVOKED == (await plane.ask(url)).result
        assert "Cert Status: revoked" in await plane.handshake()
    with ca.responder(signer="stranger") as url:
        report = await plane.ask(url)
        assert (AskResult.INVALID, None) == (report.result, report.stapled)
        assert NONE in await plane.handshake()
        assert AskResult.GOOD == (await plane.ask(url, authorized="stranger")).result
        assert "Cert Status: good" in await plane.handshake()
    with ca.responder(status="") as url:  # another serial number than any that it knows
        assert AskResult.UNKNOWN == (await plane.ask(url)).result
        assert NONE in await plane.handshake()
