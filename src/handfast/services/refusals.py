"""
The record of refusals: bounded in count, in bytes and in rate per address.

Recording is an append; everything dear (parsing the certificate, writing to
disk) is left out for what a flood would drop anyway, or done elsewhere. One
address can fill a quarter of the record at most, so that a flood does not push
everybody else's refusals out. What was only counted is told by summaries: one
for each of the loudest addresses, one for all the others together.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import heapq
import ipaddress
import itertools
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from handfast.core.identity.ids import AccountId
from handfast.core.identity.refusal import Reason, ReasonCode, Refusal
from handfast.ports import Clock, Entropy
from handfast.services.explanations import AWS_LOG_REASON
from handfast.services.rates import Bucket, source_of

log = logging.getLogger(__name__)

MAX_REFUSALS = 20_000
MAX_BYTES = 32 * 1024 * 1024
SHARE_OF_ONE_ADDRESS = 4
BURST = 500
PER_SECOND = 20.0
BURST_OF_ALL = 5_000
PER_SECOND_OF_ALL = 500.0
MAX_ADDRESSES = 50_000
MAX_SUMMARIES = 64
"""Addresses with a summary of their own when all are told at once; a flood of many would fill the record with them."""
MAX_CLIENT_ID_CHARACTERS = 256
RECENT = 64
"""How far back `name_client` looks; more come between handshake and CONNECT only in a flood."""
_OVERHEAD_BYTES = 900  # of the objects that make a Refusal up, measured on CPython 3.11


class RefusalArchive(Protocol):
    """Keeps refusals over a restart. Neither call may raise or wait for the disk (`load` at start excepted)."""

    def load(self, limit: int) -> Sequence[Refusal]: ...  # the newest, oldest first
    def append(self, refusal: Refusal) -> None: ...


class _Source:
    """One address: its rate, its part of the record, and what was only counted."""

    __slots__ = ("bucket", "bytes", "first_suppressed_at", "last_suppressed", "numbers", "one_account", "suppressed")

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.numbers: deque[int] = deque()
        self.bytes = 0
        self.suppressed = 0
        self.first_suppressed_at: dt.datetime | None = None
        self.last_suppressed: Refusal | None = None
        self.one_account = True


class _Forgotten(NamedTuple):
    """What was counted of addresses that are not told of singly."""

    refusals: int = 0
    addresses: int = 0
    last: Refusal | None = None


class _Kept(NamedTuple):
    refusal: Refusal
    bytes: int
    source: str


class RefusalLog:
    """`ports.RefusalSink`, and what `handfast explain` asks. Belongs to one thread; never raises, never waits."""

    def __init__(
        self,
        clock: Clock,
        entropy: Entropy,
        *,
        archive: RefusalArchive | None = None,
        max_refusals: int = MAX_REFUSALS,
        max_bytes: int = MAX_BYTES,
        burst: int = BURST,
        per_second: float = PER_SECOND,
        on_record: Callable[[Refusal], None] | None = None,
        on_drop: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            archive: Where refusals outlive the process; what it holds is known again from the start.
            burst, per_second: Of one address (an IPv6 network of 64 bits counts as one).
            on_record: Called with each refusal that is recorded, for a log line or a counter.
            on_drop: Called for each one that is only counted.
        """
        self._clock = clock
        self._entropy = entropy
        self._archive = archive
        self._max_refusals = max_refusals
        self._max_bytes = max_bytes
        self._burst = burst
        self._per_second = per_second
        self._on_record = on_record
        self._on_drop = on_drop
        self._kept: dict[int, _Kept] = {}
        self._bytes = 0
        self._number = 0
        self._sources: dict[str, _Source] = {}
        self._suppressed: dict[str, _Source] = {}
        self._forgotten = _Forgotten()
        self._all = Bucket(BURST_OF_ALL, PER_SECOND_OF_ALL, clock.monotonic())
        self.dropped = 0
        """Refusals that were counted only, since the start."""
        loaded: dict[tuple[str, str, str | None], Refusal] = {}
        for refusal in archive.load(max_refusals) if archive is not None else ():
            # What `name_client` added lies behind the refusal that it completes.
            loaded[refusal.trace_id, refusal.stage, refusal.account] = refusal
        for refusal in loaded.values():
            self._keep(refusal)

    # --- ports.RefusalSink ------------------------------------------------------------------------------------

    def trace_id(self) -> str:
        """A new trace id: a random UUID, as in AWS's logs."""
        return self._entropy.uuid()

    def suppressing(self, address: str) -> bool:
        """Whether a refusal of this address would only be counted just now."""
        source = self._sources.get(source_of(address))
        now = self._clock.monotonic()
        return not self._all.available(now) or (source is not None and not source.bucket.available(now))

    def record(self, refusal: Refusal) -> None:
        """The refusal is in the record, or counted where its address exceeds its rate."""
        try:
            self._record(refusal)
        except Exception:
            log.exception("a refusal could not be recorded")

    def name_client(self, trace_id: str, client_id: str) -> None:
        """
        The refusal is also found by the Client Identifier, which its connection told only afterwards.

        Only among the newest refusals: the CONNECT packet follows its handshake closely.
        """
        for number in itertools.islice(reversed(self._kept), RECENT):
            kept = self._kept[number]
            if kept.refusal.trace_id == trace_id and kept.refusal.client_id is None:
                refusal = dataclasses.replace(kept.refusal, client_id=client_id[:MAX_CLIENT_ID_CHARACTERS])
                grown = _size(refusal) - kept.bytes
                self._kept[number] = kept._replace(refusal=refusal, bytes=kept.bytes + grown)
                self._bytes += grown
                self._sources[kept.source].bytes += grown
                if self._archive is not None:
                    self._archive.append(refusal)

    # --- asking -----------------------------------------------------------------------------------------------

    def query(self, text: str, account_id: AccountId | None, limit: int) -> list[Refusal]:
        """
        The newest first, at most `limit`.

        `text` is a trace id, certificateId (or the certificate's ARN), serial
        number (hex with or without colons, or decimal), client id, address (as
        logs have it, with a port, too) or the code of a reason, ours or the one
        that AWS IoT logs; empty: any. With an account only what belongs to it; None, the
        operator, sees everything.
        """
        self.tell_suppressed()
        wanted = _Wanted(text.strip())
        found: list[Refusal] = []
        for kept in reversed(self._kept.values()):
            refusal = kept.refusal
            if account_id is not None and refusal.account != account_id:
                continue
            if wanted.matches(kept):
                found.append(refusal)
                if len(found) >= limit:
                    break
        return found

    def __len__(self) -> int:
        return len(self._kept)

    def tell_suppressed(self) -> None:
        """What was only counted so far is in the record, as numbers; also asked for before the end of a process."""
        loudest = heapq.nlargest(MAX_SUMMARIES, self._suppressed.items(), key=lambda item: item[1].suppressed)
        for name, source in loudest:
            self._tell_suppressed(name, source)
        for name, source in list(self._suppressed.items()):
            self._forget_suppressed(name, source)
        forgotten, self._forgotten = self._forgotten, _Forgotten()
        last = forgotten.last
        if last is None:
            return
        text = (
            f"{forgotten.refusals} more refusals of {forgotten.addresses} other addresses were counted and not "
            "recorded; one of them was this"
        )
        facts = {"suppressed": str(forgotten.refusals), "addresses": str(forgotten.addresses)}
        self._summarize(last, text, facts, address="", of_account=False)

    # --- keeping ----------------------------------------------------------------------------------------------

    def _record(self, refusal: Refusal) -> None:
        name = source_of(refusal.address)
        source = self._source(name)
        now = self._clock.monotonic()
        if not source.bucket.available(now) or not self._all.available(now):
            self.dropped += 1
            if self._on_drop is not None:
                self._on_drop()
            self._suppressed[name] = source
            if source.suppressed == 0:
                source.first_suppressed_at = refusal.at
                source.one_account = True
            elif source.last_suppressed is not None and source.last_suppressed.account != refusal.account:
                source.one_account = False
            source.suppressed += 1
            source.last_suppressed = refusal
            return
        source.bucket.take()
        self._all.take()
        self._tell_suppressed(name, source)
        self._keep(refusal)
        self._pass_on(refusal)

    def _tell_suppressed(self, name: str, source: _Source) -> None:
        """One entry says how many were only counted."""
        last = source.last_suppressed
        if last is None:
            return
        count, since = source.suppressed, source.first_suppressed_at or last.at
        source.suppressed, source.last_suppressed = 0, None
        del self._suppressed[name]
        text = (
            f"{count} more refusals of this address since {since:%Y-%m-%dT%H:%M:%SZ} were counted and not recorded; "
            f"the last one was this"
        )
        facts = {"suppressed": str(count)}
        self._summarize(last, text, facts, address=last.address, of_account=source.one_account)

    def _summarize(self, last: Refusal, text: str, facts: Mapping[str, str], *, address: str, of_account: bool) -> None:
        summary = Refusal(
            trace_id=self.trace_id(),
            at=last.at,
            stage=last.stage,
            reasons=(Reason(last.reasons[0].code, text),),
            address=address,
            account=last.account if of_account else None,
            region=last.region if of_account else None,
            facts=facts,
        )
        self._keep(summary)
        self._pass_on(summary)

    def _forget_suppressed(self, name: str, source: _Source) -> None:
        """What was counted of the address is counted with that of others."""
        forgotten, last = self._forgotten, source.last_suppressed
        if last is not None:
            self._forgotten = _Forgotten(forgotten.refusals + source.suppressed, forgotten.addresses + 1, last)
            source.suppressed, source.last_suppressed = 0, None
            del self._suppressed[name]

    def _pass_on(self, refusal: Refusal) -> None:
        if self._archive is not None:
            self._archive.append(refusal)
        if self._on_record is not None:
            self._on_record(refusal)

    def _keep(self, refusal: Refusal) -> None:
        name = source_of(refusal.address)
        source = self._source(name)
        size = _size(refusal)
        self._number += 1
        self._kept[self._number] = _Kept(refusal, size, name)
        self._bytes += size
        source.numbers.append(self._number)
        source.bytes += size
        while (
            len(source.numbers) > max(1, self._max_refusals // SHARE_OF_ONE_ADDRESS)
            or source.bytes > self._max_bytes // SHARE_OF_ONE_ADDRESS
        ) and len(source.numbers) > 1:
            self._drop(source.numbers[0])
        while len(self._kept) > self._max_refusals or (self._bytes > self._max_bytes and len(self._kept) > 1):
            self._drop(next(iter(self._kept)))

    def _drop(self, number: int) -> None:
        kept = self._kept.pop(number)
        self._bytes -= kept.bytes
        source = self._sources[kept.source]
        source.numbers.popleft()  # both orders are that of arrival
        source.bytes -= kept.bytes

    def _source(self, name: str) -> _Source:
        source = self._sources.get(name)
        if source is None:
            if len(self._sources) >= MAX_ADDRESSES:
                self._forget_sources()
            source = self._sources[name] = _Source(Bucket(self._burst, self._per_second, self._clock.monotonic()))
        return source

    def _forget_sources(self) -> None:
        """Room for new addresses: those without a part of the record go, idle ones first, at least a tenth."""
        now = self._clock.monotonic()
        idle: list[str] = []
        others: list[str] = []
        for name, source in self._sources.items():
            if not source.numbers:
                (idle if source.bucket.full(now) and not source.suppressed else others).append(name)
        # A tenth, so that not every newcomer of a flood costs a look at all of them.
        for name in (*idle, *others[: max(0, MAX_ADDRESSES // 10 - len(idle))]):
            self._forget_suppressed(name, self._sources.pop(name))


class _Wanted:
    """A query, understood in every way that it can be meant."""

    __slots__ = ("_address", "_certificate_id", "_codes", "_serial", "_source", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        lowered = text.lower()
        self._certificate_id = lowered.rpartition(":cert/")[2]
        self._address = _normal_address(text)
        self._source = None if self._address is None else source_of(self._address)
        self._serial = _serials(lowered)
        code = text.upper()
        self._codes = frozenset(each for each in ReasonCode if code in (each, AWS_LOG_REASON.get(each)))

    def matches(self, kept: _Kept) -> bool:
        """Whether the refusal is about it."""
        refusal = kept.refusal
        if not self._text:
            return True
        return (
            refusal.trace_id == self._text.lower()
            or refusal.certificate_id == self._certificate_id
            or refusal.client_id == self._text
            or refusal.address == self._text
            or (refusal.serial_number is not None and refusal.serial_number in self._serial)
            or any(reason.code in self._codes for reason in refusal.reasons)
            # The source first, since it is known: the record has as many addresses as a flood has.
            or (kept.source == self._source and _normal_address(refusal.address) == self._address)
        )


def _serials(text: str) -> frozenset[str]:
    """`text` as a serial number in hex, read as hex and as decimal."""
    digits = text.removeprefix("serial=").removeprefix("0x").replace(":", "")
    if not digits or len(digits) > 64 or not digits.isascii() or not digits.isalnum():
        return frozenset()
    found = set()
    for base in (16, 10):
        try:
            found.add(f"{int(digits, base):x}")
        except ValueError:
            continue
    return frozenset(found)


def _normal_address(text: str) -> str | None:
    """One spelling of the address that `text` is: bare, in brackets, or with a port behind it."""
    host, colon, port = text.rpartition(":")
    for candidate in (text, host) if colon and port.isdecimal() else (text,):
        try:
            return str(ipaddress.ip_address(candidate.removeprefix("[").removesuffix("]")))
        except ValueError:
            continue
    return None


def _size(refusal: Refusal) -> int:
    texts = [refusal.sni, refusal.alpn, refusal.client_id, refusal.resource, refusal.certificate_id]
    return (
        _OVERHEAD_BYTES
        + sum(4 * len(text) for text in texts if text)
        + sum(200 + 4 * len(reason.detail) for reason in refusal.reasons)
        + sum(150 + 4 * (len(name) + len(value)) for name, value in refusal.facts.items())
    )
