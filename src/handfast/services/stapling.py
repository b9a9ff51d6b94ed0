"""
OCSP stapling: for each certificate that is watched, what its handshakes staple is what its responder last said.

For whoever serves certificates that handfast did not issue (an operator's, of a domain configuration):

    stapler.watch("domain:…", "rsa", leaf, issuer)          when the set is installed, and whenever it changes
    stapler.watch(…, url="http://…", responder=certificate)  with a responder of the operator's own
    stapler.forget("domain:…")                              when stapling is switched off, or the set removed
    stapler.reports("domain:…")                             what to tell people: state, next update, last problem

A responder is asked every hour. What it says is stapled when it is verified (`core.pki.ocsp`) and no older than what is
stapled now; `revoked` too, since a client that checks has to learn it. When it cannot be asked, answers nothing that
can be believed, or does not know the certificate, the last response stays until its nextUpdate; then handshakes go on
without a staple. Never does a handshake wait for a responder.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from handfast.core.pki.ocsp import (
    AskResult,
    CertificateState,
    ResponderFailed,
    Staple,
    build_request,
    read_response,
    responder_url,
)
from handfast.ports import Clock, Entropy, Meter
from handfast.ports.ocsp import Responders
from handfast.services.pki_folder import ChainKind
from handfast.services.staple_files import StapleFiles

log = logging.getLogger(__name__)

REFRESH: Final = dt.timedelta(hours=1)
FIRST_RETRY: Final = dt.timedelta(minutes=1)
MAX_AT_ONCE: Final = 8
MAX_WAIT_S: Final = 60.0
"""The clock is looked at this often at least, so that a machine that slept drops what ended meanwhile."""
JITTER: Final = 0.1
"""Of every wait, so that the domains of a restart do not ask together for ever."""

Give = Callable[[str, ChainKind, x509.Certificate, bytes | None], None]
"""Name of a set, kind, leaf, response: `tls.contexts.Contexts.staple`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaplingReport:
    """How stapling stands for one certificate. Instants are aware UTC; `detail` may hold words of a peer, escaped."""

    name: str
    kind: ChainKind
    url: str | None
    stapled: CertificateState | None
    """What handshakes say now; None: nothing."""
    this_update: dt.datetime | None
    next_update: dt.datetime | None
    result: AskResult | None
    """How the responder was last asked; None: not yet."""
    detail: str
    asked_at: dt.datetime | None


class _Watched:
    """One certificate, its responder and what is known."""

    def __init__(
        self,
        name: str,
        kind: ChainKind,
        leaf: x509.Certificate,
        issuer: x509.Certificate,
        url: str | None,
        responder: x509.Certificate | None,
    ) -> None:
        self.name, self.kind = name, kind
        self.leaf, self.issuer = leaf, issuer
        self.configured = url is not None
        self.url = url if url is not None else responder_url(leaf)
        self.responder = responder
        self.staple: Staple | None = None
        self.result: AskResult | None = None
        self.detail = ""
        self.asked_at: dt.datetime | None = None
        self.ask_at: dt.datetime | None = None
        self.failures = 0
        self.task: asyncio.Task[None] | None = None

    def same(self, other: _Watched) -> bool:
        return (self.leaf, self.issuer, self.url, self.configured, self.responder) == (
            other.leaf,
            other.issuer,
            other.url,
            other.configured,
            other.responder,
        )


class Stapler:
    """Keeps the staples of every watched certificate fresh. Belongs to one event loop; `close` at its end."""

    def __init__(
        self,
        responders: Responders,
        give: Give,
        files: StapleFiles,
        clock: Clock,
        entropy: Entropy,
        meter: Meter,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._responders = responders
        self._give = give
        self._files = files
        self._clock = clock
        self._entropy = entropy
        self._meter = meter
        self._sleep = sleep
        self._watched: dict[tuple[str, ChainKind], _Watched] = {}
        self._at_once = asyncio.Semaphore(MAX_AT_ONCE)
        self._removals: set[asyncio.Task[None]] = set()

    def watch(
        self,
        name: str,
        kind: ChainKind,
        leaf: x509.Certificate,
        issuer: x509.Certificate,
        *,
        url: str | None = None,
        responder: x509.Certificate | None = None,
    ) -> None:
        """
        Handshakes with this certificate are stapled as soon as there is a response, until `forget`.

        Returns at once and never raises: what goes wrong stands in `reports`. The same again changes nothing;
        another leaf, URL or responder takes the place of what was watched under this name and kind.

        Args:
            name, kind: As the set is installed in `Contexts`, which must hold it already.
            issuer: The certificate that signed `leaf`. One that signed itself has no responder and is not watched.
            url: The operator's own word, http://HOST/PATH, wherever it leads; None: what the leaf names
                (authorityInfoAccess), which may not lead to this machine, its link or a metadata service.
            responder: Whose signature counts besides the issuer's and its delegates' (ocspAuthorizedResponderArn).
        """
        made = _Watched(name, kind, leaf, issuer, url, responder)
        found = self._watched.get((name, kind))
        if found is not None:
            if found.same(made):
                self._show(found)  # the set may have been installed anew
                return
            self._stop(found)
        if leaf == issuer:
            return
        self._watched[name, kind] = made
        made.task = asyncio.create_task(self._keep(made), name=f"staple {name} {kind}")

    def forget(self, name: str) -> None:
        """No certificate of this set is watched or stapled any more, and nothing is kept of it."""
        for key in [key for key in self._watched if key[0] == name]:
            self._stop(self._watched[key])

    def reports(self, name: str | None = None) -> list[StaplingReport]:
        """How stapling stands, for one set or for all."""
        return [
            StaplingReport(
                name=each.name,
                kind=each.kind,
                url=each.url,
                stapled=each.staple.state if each.staple else None,
                this_update=each.staple.this_update if each.staple else None,
                next_update=each.staple.next_update if each.staple else None,
                result=each.result,
                detail=each.detail,
                asked_at=each.asked_at,
            )
            for each in self._watched.values()
            if name is None or each.name == name
        ]

    async def close(self) -> None:
        """Nobody is asked any more. What is stapled stays, on disk too."""
        tasks = [each.task for each in self._watched.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._removals, return_exceptions=True)

    # --- one certificate

    def _stop(self, watched: _Watched) -> None:
        if watched.task is not None:
            watched.task.cancel()
        del self._watched[watched.name, watched.kind]
        self._give(watched.name, watched.kind, watched.leaf, None)
        if all(each.leaf != watched.leaf for each in self._watched.values()):
            task = asyncio.create_task(asyncio.to_thread(self._files.remove, watched.leaf))
            self._removals.add(task)
            task.add_done_callback(self._removals.discard)
        self._count()

    async def _keep(self, watched: _Watched) -> None:
        await self._take_up(watched)
        while True:
            now = self._clock.now()
            self._drop_what_is_over(watched, now)
            if watched.ask_at is None or now >= watched.ask_at:
                await self._refresh(watched)
                now = self._clock.now()
            assert watched.ask_at is not None
            until = watched.ask_at if watched.staple is None else min(watched.ask_at, watched.staple.next_update)
            await self._sleep(min(max((until - now).total_seconds(), 0.0), MAX_WAIT_S))

    async def _take_up(self, watched: _Watched) -> None:
        """What was saved by an earlier run, where it still holds."""
        saved = await asyncio.to_thread(self._files.load, watched.leaf)
        if saved is None:
            return
        try:
            watched.staple = self._read(watched, saved)
        except ResponderFailed as error:
            log.info("the saved OCSP response for %s (%s) is not used: %s", watched.name, watched.kind, error)
        else:
            self._show(watched)

    async def _refresh(self, watched: _Watched) -> None:
        try:
            async with self._at_once:
                result, detail = await self._ask(watched), ""
        except ResponderFailed as error:
            result, detail = error.result, str(error)
        except Exception as error:  # a bug of ours must not end the watch
            log.exception("OCSP response for %s (%s)", watched.name, watched.kind)
            result, detail = AskResult.FAILED, type(error).__name__
        now = self._clock.now()
        watched.asked_at, watched.result, watched.detail = now, result, detail
        self._meter.count("handfast_ocsp_refreshes_total", labels={"result": str(result)})
        said = result in (AskResult.GOOD, AskResult.REVOKED)
        watched.failures = 0 if said else watched.failures + 1
        watched.ask_at = now + self._jittered(self._wait(watched, now))
        self._tell(watched)

    async def _ask(self, watched: _Watched) -> AskResult:
        if watched.url is None:
            raise ResponderFailed(
                AskResult.FORBIDDEN, "the certificate names no OCSP responder over http, and none is configured"
            )
        request = build_request(watched.leaf, watched.issuer)
        answer = await self._responders.ask(watched.url, request, trusted=watched.configured)
        staple = self._read(watched, answer)
        if staple.state is CertificateState.UNKNOWN:
            raise ResponderFailed(AskResult.UNKNOWN, "the responder does not know the certificate")
        held = watched.staple
        if held is not None and staple.this_update < held.this_update:
            raise ResponderFailed(
                AskResult.INVALID, f"the response is older than the one that is held, {held.this_update:%FT%TZ}"
            )
        if held is None or held.der != staple.der:
            watched.staple = staple
            self._show(watched)
            await asyncio.to_thread(self._files.save, watched.leaf, staple.der)
        return AskResult(staple.state.value)

    def _read(self, watched: _Watched, der: bytes) -> Staple:
        return read_response(der, watched.leaf, watched.issuer, now=self._clock.now(), authorized=watched.responder)

    def _drop_what_is_over(self, watched: _Watched, now: dt.datetime) -> None:
        if watched.staple is not None and now >= watched.staple.next_update:
            log.warning(
                "the OCSP response for %s (%s) ended at %s and no newer one could be had: handshakes go on without",
                watched.name,
                watched.kind,
                f"{watched.staple.next_update:%FT%TZ}",
            )
            watched.staple = None
            self._show(watched)

    def _wait(self, watched: _Watched, now: dt.datetime) -> dt.timedelta:
        """An hour; less where the response ends before two; after failures from a minute on, doubled each time."""
        if watched.failures:
            return min(REFRESH, FIRST_RETRY * (1 << min(watched.failures - 1, 10)))
        assert watched.staple is not None
        return max(FIRST_RETRY, min(REFRESH, (watched.staple.next_update - now) / 2))

    def _jittered(self, wait: dt.timedelta) -> dt.timedelta:
        share = int.from_bytes(self._entropy.token_bytes(2), "big") / 65535  # 0 to 1
        return wait * (1 - JITTER + 2 * JITTER * share)

    def _show(self, watched: _Watched) -> None:
        self._give(watched.name, watched.kind, watched.leaf, watched.staple.der if watched.staple else None)
        self._count()

    def _count(self) -> None:
        states = [each.staple.state.value if each.staple else "none" for each in self._watched.values()]
        for state in ("good", "revoked", "none"):
            self._meter.gauge("handfast_ocsp_staples", states.count(state), {"state": state})

    def _tell(self, watched: _Watched) -> None:
        what = (watched.name, watched.kind)
        if watched.result is AskResult.GOOD:
            log.debug("OCSP response for %s (%s) refreshed: good", *what)
        elif watched.result is AskResult.REVOKED:
            log.error("the CA has REVOKED the certificate of %s (%s): replace it; clients that check refuse it", *what)
        else:
            held = watched.staple
            stays = f"the last one is stapled until {held.next_update:%FT%TZ}" if held else "nothing is stapled"
            log.warning(
                "no OCSP response for %s (%s) from %s: %s: %s; %s",
                *what,
                watched.url,
                watched.result,
                watched.detail,
                stays,
            )
