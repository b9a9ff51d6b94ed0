"""
The sealer: every second that something was audited, a signed checkpoint is appended outside the database.

It reads the heads of the chains, never the rows, so that its cost does not grow with the trail. What it sealed
before has to be there still when a chain moves on; where it is not, every later checkpoint says so.
"""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from handfast.core.identity.audit_chain import AuditHead
from handfast.core.identity.checkpoint import (
    MAX_BREAKS,
    NO_PREVIOUS,
    Checkpoint,
    CheckpointKey,
    line_hash,
    line_of,
    parse_line,
)
from handfast.ports import Clock, KeyStore, Meter, Store
from handfast.services.checkpoints import CheckpointFile, older, read_all, read_lines

log = logging.getLogger(__name__)

KEY_NAME = "audit-signing"
INTERVAL_S = 1.0
_LOG_EVERY = 60


class Sealed(NamedTuple):
    """The newest checkpoint: its number and the SHA-256 of its line. Noted elsewhere, it proves that it was there."""

    number: int
    hash: str


class AuditSealer:
    """
    Seals the audit trail of one store. `start` before use, `close` before the store closes.

    A failure is logged and counted (`handfast_audit_seal_failures_total`) and tried again: the plane goes on.
    Belongs to one event loop; files and signatures are made in threads.
    """

    def __init__(
        self,
        store: Store,
        file: CheckpointFile,
        keys: KeyStore,
        clock: Clock,
        meter: Meter,
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._store = store
        self._file = file
        self._keys = keys
        self._clock = clock
        self._meter = meter
        self._interval_s = interval_s
        self.key = CheckpointKey(keys.public_key_pem(KEY_NAME))
        self.last: Sealed | None = None
        self._heads: dict[str, tuple[int, str]] = {}
        self._breaks: list[AuditHead] = []
        self._position = -1
        self._opened = False
        self._whole = True  # the next checkpoint has the heads of all chains
        self._lock = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    async def start(self) -> None:
        """What the store holds is sealed, as far as that succeeds, and from now on every second."""
        await self.attempt()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """The last changes are sealed and the file is closed."""
        self._stopping.set()
        if self._task is not None:
            await self._task
        await self.attempt()
        await asyncio.to_thread(self._file.close)

    async def sealed_after(self, number: int) -> Sealed:
        """The newest checkpoint once it is a later one than `number`."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.last is not None and self.last.number > number)
        assert self.last is not None
        return self.last

    async def kept(self) -> tuple[list[bytes], bool, Sealed | None]:
        """Every line that is kept, whether the last has no end, and the checkpoint that should be the last of them."""
        async with self._lock:
            lines, torn = await asyncio.to_thread(read_all, self._file.path)
            return lines, torn, self.last

    async def seal(self) -> bool:
        """
        Append a checkpoint where a chain has moved on; whether it was needed.

        Raises:
            OSError: The file cannot be written.
            StoreUnavailable: The heads cannot be read.
        """
        async with self._lock:
            if not self._opened:
                await asyncio.to_thread(self._open)
            position = await self._store.audit_position()
            if position == self._position and not self._whole:
                return False
            found = {head.chain: (head.number, head.link) for head in await self._store.audit_heads()}
            breaks = [*self._breaks, *await self._broken(found)][:MAX_BREAKS]
            moved = {chain: head for chain, head in found.items() if self._heads.get(chain) != head}
            needed = bool(moved) or len(breaks) > len(self._breaks) or (self._whole and bool(found))
            if needed:
                self.last = await asyncio.to_thread(self._append, found, moved, breaks)
                self._meter.gauge("handfast_audit_checkpoint", self.last.number)
                self._meter.gauge("handfast_audit_checkpoint_timestamp_seconds", self._clock.now().timestamp())
                self._meter.gauge("handfast_audit_breaks", len(breaks))
                self._whole = False
            self._heads, self._breaks, self._position = found, breaks, position
        if needed:
            async with self._moved:
                self._moved.notify_all()
        return needed

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._stopping.wait()
            except TimeoutError:
                await self.attempt()

    async def attempt(self) -> None:
        """`seal`, whose failure is logged and counted."""
        try:
            await self.seal()
        except Exception as error:
            self._opened = False  # what is on disk may not be what is known here
            self._meter.count("handfast_audit_seal_failures_total")
            if self._failures % _LOG_EVERY == 0:
                log.error("the audit trail cannot be sealed, trying again: %s", error)
            self._failures += 1
        else:
            if self._failures:
                log.warning("the audit trail is sealed again")
            self._failures = 0

    async def _broken(self, found: dict[str, tuple[int, str]]) -> list[AuditHead]:
        """What was sealed and is not there any more. A chain that has not moved since is not looked at again."""
        known = {head.chain for head in self._breaks}
        asked = [
            AuditHead(chain, number, link)
            for chain, (number, link) in self._heads.items()
            if number and chain not in known and (self._whole or found.get(chain) != (number, link))
        ]
        links = await self._store.audit_links([(head.chain, head.number) for head in asked]) if asked else []
        broken = [head for head, link in zip(asked, links, strict=True) if link != head.link]
        for head in broken:
            log.error(
                "audit chain %s: row %d is not the one that was sealed; run 'handfast audit verify'",
                head.chain,
                head.number,
            )
        return broken

    def _open(self) -> None:
        """Where the file was left off. What was sealed by this process counts more than what the file says."""
        lines = self._file.open_tail() or read_lines(older(self._file.path))[0]
        heads: dict[str, tuple[int, str]] = {}
        breaks: list[AuditHead] = []
        number, tail = 0, None
        for line in lines:
            tail = line_hash(line)
            try:
                checkpoint, _ = parse_line(line)
            except ValueError as error:
                log.error("a line of %s is %s; run 'handfast audit verify'", self._file.path, error)
                continue
            heads = dict(checkpoint.heads) if checkpoint.full else heads | dict(checkpoint.heads)
            breaks = list(checkpoint.breaks)
            number = max(number, checkpoint.number)
        if self.last is None:
            self._heads, self._breaks = heads, breaks
            self.last = Sealed(number, tail) if tail is not None else None
        elif self.last.hash != tail:
            log.error("%s does not end with the checkpoint that was written last", self._file.path)
        self._whole = True
        self._opened = True

    def _append(
        self, heads: dict[str, tuple[int, str]], moved: dict[str, tuple[int, str]], breaks: list[AuditHead]
    ) -> Sealed:
        if self._file.is_full:
            self._file.begin()
            self._whole = True
        last = self.last or Sealed(0, NO_PREVIOUS)
        checkpoint = Checkpoint(
            number=last.number + 1,
            time=self._clock.now(),
            full=self._whole,
            heads=heads if self._whole else moved,
            rows=sum(number for number, _ in heads.values()),
            previous=last.hash,
            key=self.key.fingerprint,
            breaks=breaks,
        )
        signed = checkpoint.signed_bytes()
        line = line_of(signed, self._keys.sign(KEY_NAME, signed))
        self._file.append(line)
        return Sealed(checkpoint.number, line_hash(line))
