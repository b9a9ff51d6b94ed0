"""
The audit trail as a hash chain for each account: how a row is written as bytes, linked, and checked.

A row's encoding is a JSON array in the canonical form of RFC 8785, so that anyone can recompute a link:

    link(n) = SHA-256(link(n - 1) || encoding(n)),  link(0) = SHA-256("handfast audit chain 1 " || chain)

`chain` is the account's id, or `operator` for what belongs to no account. Format 1 is frozen: rows are never
written again, so what was chained once has to verify for ever.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from handfast.core.identity.ids import AccountId

VERSION: Final = 1
OPERATOR: Final = "operator"
"""The chain of the rows that belong to no account."""
MAX_FINDINGS: Final = 100
"""Findings told of one chain; the rest is counted."""
_WINDOW: Final = 128
"""Rows on either side among which a row that does not fit is looked for."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class AuditFields(NamedTuple):
    """What a row says. `at` is microseconds since the epoch, UTC; `before` and `after` are JSON texts as stored."""

    at: int
    actor: str
    address: str
    operation: str
    request_id: str
    account_id: AccountId | None
    region: str | None
    kind: str
    subject: str
    before: str | None
    after: str | None

    @property
    def instant(self) -> dt.datetime:
        """`at` as an aware UTC instant."""
        return _EPOCH + dt.timedelta(microseconds=self.at)


class AuditRow(NamedTuple):
    """A row in its place: `sequence` over all chains, `number` and `link` (64 hexadecimal digits) in its own."""

    sequence: int
    number: int
    link: str
    fields: AuditFields


class AuditHead(NamedTuple):
    """The last row of a chain; number 0 and the genesis link where there is none."""

    chain: str
    number: int
    link: str


class Seal(NamedTuple):
    """The link that a checkpoint sealed for a row."""

    link: str
    checkpoint: int


class FindingKind(StrEnum):
    """What verification can find."""

    CHANGED = "CHANGED"  # a row does not hash to its link
    GAP = "GAP"  # rows are missing between others
    REORDERED = "REORDERED"  # rows stand in another order than they were written
    TRUNCATED = "TRUNCATED"  # the newest rows are missing
    REWRITTEN = "REWRITTEN"  # the chain holds, but it is not the one that was sealed
    CHECKPOINT = "CHECKPOINT"  # the checkpoints themselves are damaged


class Finding(NamedTuple):
    """Something wrong. `chain` and `number` (the first row in doubt) are None where it is about the checkpoints."""

    kind: FindingKind
    chain: str | None
    number: int | None
    detail: str


def chain_of(account_id: str | None) -> str:
    """The chain that a row of this account belongs to."""
    return OPERATOR if account_id is None else account_id


def genesis(chain: str) -> bytes:
    """The link before the first row: a chain cannot be passed off as another account's."""
    return hashlib.sha256(f"handfast audit chain {VERSION} {chain}".encode()).digest()


def encode(number: int, fields: Sequence[str | int | None]) -> bytes:
    """
    The row as bytes: `[1,number,at,actor,address,operation,requestId,accountId,region,kind,subject,before,after]`.

    RFC 8785 in UTF-8: no white space, strings escaped only where JSON demands it, null for what is absent.
    Raises ValueError for text that is not Unicode (a lone surrogate).
    """
    return _ENCODER.encode([VERSION, number, *fields]).encode()


def link_of(previous: bytes, encoding: bytes) -> bytes:
    """The link of a row: 32 bytes."""
    return hashlib.sha256(previous + encoding).digest()


def links(head: AuditHead, rows: Iterable[Sequence[str | int | None]]) -> Iterable[AuditHead]:
    """The head behind each of the rows, appended in turn after `head`."""
    number, link = head.number, bytes.fromhex(head.link)
    for fields in rows:
        number += 1
        link = link_of(link, encode(number, fields))
        yield AuditHead(head.chain, number, link.hex())


class ChainCheck:
    """
    Reads one chain from its first row and says what is wrong with it.

    `feed` it the rows by number in pieces of any size, then `finish`. `sealed` are the links that checkpoints
    vouch for, by number. `damaged` is the first row that cannot be vouched for, or None.
    """

    def __init__(self, chain: str, sealed: Mapping[int, Seal]) -> None:
        self.chain = chain
        self.findings: list[Finding] = []
        self.uncounted = 0
        self.damaged: int | None = None
        self.rows = 0
        self._sealed = sealed
        self._link: bytes | None = genesis(chain)
        self._next = 1
        self._sequence = 0
        self._matched = 0
        self._rewritten = False
        self._before: Sequence[AuditRow] = ()

    def feed(self, rows: Sequence[AuditRow]) -> None:
        """The rows that follow, by number."""
        for place, row in enumerate(rows):
            self.rows += 1
            if row.number < self._next:
                self._find(FindingKind.REORDERED, row.number, f"row {row.number} stands there more than once")
                continue
            if row.number > self._next:
                self._gap(row.number)
            self._judge(row, rows, place)
            self._next = row.number + 1
        self._before = rows[-_WINDOW:]

    def finish(self, head: AuditHead | None) -> None:
        """There are no more rows; `head` is the last row as the store remembers it, None where it remembers none."""
        last = self._next - 1
        sealed = max(self._sealed, default=0)
        expected = max(sealed, head.number if head is not None else 0)
        if last < expected:
            said = f"checkpoint {self._sealed[sealed].checkpoint} sealed" if sealed == expected else "there were"
            missing = _span(last + 1, expected)
            self._find(FindingKind.TRUNCATED, last + 1, f"{missing} missing at the end: {said} {expected}")
        elif head is None or head.number < last or (self._link is not None and head.link != self._link.hex()):
            self._find(
                FindingKind.CHANGED,
                max(last, 1),
                f"the chain ends with row {last}, but its head says {head.number if head else 'nothing'}"
                + (" with another link" if head is not None and head.number == last else ""),
            )

    def _gap(self, number: int) -> None:
        missing = _span(self._next, number - 1)
        sealed = [n for n in self._sealed if self._next <= n < number]
        by = f"; checkpoint {self._sealed[max(sealed)].checkpoint} sealed {max(sealed)}" if sealed else ""
        self._find(FindingKind.GAP, self._next, f"{missing} missing{by}")
        self._link = None  # what the next row followed is gone: its own link has to do

    def _judge(self, row: AuditRow, rows: Sequence[AuditRow], place: int) -> None:
        number = row.number
        if self._link is not None and not _fits(row, self._link, number):
            other = self._misplaced(number, rows, place)
            if other is not None:
                detail = f"the row that belongs at {number} stands at {other.number}"
                self._find(FindingKind.REORDERED, number, detail)
                self._link = _bytes(other.link)
            else:
                # The row itself, or the link of the one before it, which a seal may vouch for.
                first = number if number - 1 <= self._matched else number - 1
                self._find(FindingKind.CHANGED, first, f"row {number} does not hash to its link")
                self._link = _bytes(row.link)
        else:
            self._link = _bytes(row.link)
        if row.sequence <= self._sequence:
            detail = f"row {number} was written before the row that it follows"
            self._find(FindingKind.REORDERED, number, detail)
        self._sequence = max(self._sequence, row.sequence)
        seal = self._sealed.get(number)
        if seal is None:
            return
        if self._link is not None and self._link.hex() == seal.link:
            self._matched = number
        elif not self._rewritten:
            self._rewritten = True
            detail = (
                f"row {number} has another link than checkpoint {seal.checkpoint} sealed: the chain was written anew "
                f"somewhere in rows {self._matched + 1} to {number}"
            )
            self._find(FindingKind.REWRITTEN, self._matched + 1, detail)

    def _misplaced(self, number: int, rows: Sequence[AuditRow], place: int) -> AuditRow | None:
        """The row that was written as this number and stands nearby under another one."""
        if self._link is None or len(self.findings) >= MAX_FINDINGS:
            return None
        near = [*self._before[-_WINDOW:], *rows[max(0, place - _WINDOW) : place], *rows[place + 1 : place + _WINDOW]]
        return next((other for other in near if _fits(other, self._link, number)), None)

    def _find(self, kind: FindingKind, number: int, detail: str) -> None:
        self.damaged = number if self.damaged is None else min(self.damaged, number)
        if len(self.findings) >= MAX_FINDINGS:
            self.uncounted += 1
            return
        self.findings.append(Finding(kind, self.chain, number, f"{self.chain}: {detail}"))


def _fits(row: AuditRow, previous: bytes, number: int) -> bool:
    try:
        return link_of(previous, encode(number, row.fields)).hex() == row.link
    except (TypeError, ValueError):  # not the kind of value that was ever written there
        return False


def _bytes(link: str) -> bytes | None:
    try:
        return bytes.fromhex(link)
    except (TypeError, ValueError):
        return None


def _span(first: int, last: int) -> str:
    return f"row {first} is" if first == last else f"rows {first} to {last} are"
