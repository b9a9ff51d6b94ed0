"""
A rehearsal under way: which connection gets the next chain, and what became of it.

Three promises, whatever clients do:

- No client fails twice. Where one did not verify the next chain, every connection from its address with the same SNI
  and ClientHello gets the old one from then on; and for `HOLD_S`, or until it is back, so does every connection of its
  network, whatever its ClientHello is like: clients change it when they try again. From one network one connection at
  most is under way on the next chain.
- Never more than `stop_after` clients are refused: connections under way count as if they had failed.
- Memory is bounded: by `stop_after` and by `MAX_REMEMBERED`. A rehearsal that would need more ends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from handfast.ports import Clock
from handfast.services.rehearsal_report import Failure, Good, How, Report

HOLD_S: Final = 600.0
MAX_STOP_AFTER: Final = 1000
MAX_REMEMBERED: Final = 10_000
"""Clients that get the old chain because they came from the network of one that failed."""
MAX_GOOD: Final = 20_000
"""Devices that verified the next chain and are listed; more are counted."""


class Key(NamedTuple):
    """What is known of a client before it shows a certificate."""

    address: str
    sni: str
    fingerprint: str

    @property
    def network(self) -> str:
        """The /24 or /64 of the address: a device may come back from a neighbouring one."""
        return _network(self.address)


class Choice(Enum):
    """What a connection gets."""

    NEXT = "next"  # the next chain; its outcome is to be told
    WATCHED = "watched"  # the old chain; it is to be told who it was
    PLAIN = "plain"  # the old chain, and nobody looks


@dataclass(slots=True)
class _Hold:
    until: float
    failure: Failure


class Rehearsal:
    """One rehearsal. All of it is for the event loop's thread; nothing here waits."""

    def __init__(
        self,
        report: Report,
        *,
        clock: Clock,
        draw: Callable[[], float],
        changed: Callable[[], None],
        ended: Callable[[], None],
        count: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        """
        Args:
            report: As it begins; what is found is written into it.
            draw: A number from 0 to 1, anew each time.
            changed: Called when the report has something new in it.
            ended: Called once, when no connection gets the next chain any more.
            count: Called with `verified` or how a client went, for each connection on the next chain that says so.
        """
        self.report = report
        self._clock = clock
        self._draw = draw
        self._changed = changed
        self._ended = ended
        self._count = count
        self._remembered: dict[Key, Failure | None] = {}
        self._exempt = 0
        self._held: dict[str, _Hold] = {}
        self._under_way: set[str] = set()

    @property
    def running(self) -> bool:
        """Whether connections may still get the next chain."""
        return self.report.ended is None

    @property
    def watching(self) -> bool:
        """Whether anything is to be learnt from connections: it runs, or somebody failed who may come back."""
        return self.report.ended is None or bool(self.report.failures)

    def choose(self, key: Key, *, canary: bool) -> tuple[Choice, Failure | None]:
        """What a connection gets; with WATCHED, the failure that its certificate may explain."""
        if key in self._remembered:
            return Choice.WATCHED, self._remembered[key]
        network = key.network
        hold = self._held.get(network)
        if hold is not None:
            if self._clock.monotonic() < hold.until:
                self._exempt_from_now_on(key)
                return Choice.WATCHED, hold.failure
            del self._held[network]
        report = self.report
        if report.ended is not None or network in self._under_way:
            return Choice.PLAIN, None
        if len(report.failures) + len(self._under_way) >= report.stop_after:
            return Choice.PLAIN, None
        if not canary and not self._draw() * 100 < report.share:
            return Choice.PLAIN, None
        self._under_way.add(network)
        report.attempts += 1
        return Choice.NEXT, None

    def verified(self, key: Key, kind: str, certificate_id: str) -> None:
        """A connection on the next chain is open and its client has spoken."""
        self.released(key)
        self._count("verified")
        report = self.report
        if not certificate_id:
            report.verified_without += 1
            return
        now = self._clock.now()
        good = report.good.get(certificate_id)
        if good is not None:
            good.last_seen = now
            good.kinds.add(kind)
        elif len(report.good) < MAX_GOOD:
            report.good[certificate_id] = Good(first_seen=now, last_seen=now, kinds={kind})
        else:
            report.good_left_out += 1
        self._changed()

    def failed(self, key: Key, kind: str, how: How, alert: str | None, *, shown: str | None = None) -> None:
        """A client on the next chain went, and nothing but the chain explains it."""
        self.released(key)
        self._count(how.value)
        report = self.report
        failure = Failure(
            at=self._clock.now(),
            kind=kind,
            address=key.address,
            sni=key.sni,
            fingerprint=key.fingerprint,
            how=how,
            alert=alert,
            shown=shown,
        )
        report.failures.append(failure)
        self._remembered[key] = failure
        self._held[key.network] = _Hold(self._clock.monotonic() + HOLD_S, failure)
        if len(report.failures) >= report.stop_after:
            self.end("stop limit")
        self._changed()

    def released(self, key: Key) -> None:
        """A connection on the next chain is over, or open; it says nothing about the chain."""
        self._under_way.discard(key.network)

    def came_back(self, key: Key, failure: Failure | None, certificate_id: str) -> None:
        """A watched connection is open on the old chain."""
        if failure is None:
            return
        same = (key.address, key.sni, key.fingerprint) == (failure.address, failure.sni, failure.fingerprint)
        if certificate_id:
            failure.saw(certificate_id, self._clock.now(), same_hello=same)
        hold = self._held.get(key.network)
        if same and hold is not None and hold.failure is failure:
            del self._held[key.network]
        self._changed()

    def end(self, reason: str) -> None:
        """No connection gets the next chain from now on. Those that failed are still watched for."""
        if self.report.ended is None:
            self.report.ended = self._clock.now()
            self.report.end = reason
            self._ended()
            self._changed()

    def _exempt_from_now_on(self, key: Key) -> None:
        if self._exempt >= MAX_REMEMBERED:
            self.end("too many clients to remember")
            return
        self._exempt += 1
        self._remembered[key] = None


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped is not None:
        parsed = mapped
    return parsed.packed[: 3 if parsed.version == 4 else 8].hex()
